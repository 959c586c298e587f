/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "ckpt/manifest.h"
#include "toy.h"

/* Two files; tensor "w" F32[4,6] in three pieces, "s" a scalar in one. */
static void make(struct dpt_ckpt__manifest *manifest, struct dpt_text *text)
{
    static struct dpt_ckpt__file file[] = {
        {"model.safetensors", 4192, "00112233445566778899aabbccddeeff"},
        {"config.ini", 10, "ffeeddccbbaa99887766554433221100"},
    };
    static struct dpt_ckpt__piece w[] = {
        {0, 4096, 48, {0, 0}, {2, 6}, "0123456789abcdef0123456789abcdef"},
        {0, 4144, 16, {2, 0}, {2, 2}, "1123456789abcdef0123456789abcdef"},
        {0, 4160, 32, {2, 2}, {2, 4}, "2123456789abcdef0123456789abcdef"},
    };
    static struct dpt_ckpt__piece s[] = {{0, 4096, 8, {0}, {0}, "3123456789abcdef0123456789abcdef"}};
    static struct dpt_ckpt__tensor tensor[] = {
        {"w", DPT_CKPT_FILE_MODEL, {DPT_DTYPE_F32, 2, {4, 6}}, 3, w},
        {"s", DPT_CKPT_FILE_OPTIMIZER, {DPT_DTYPE_I64, 0, {0}}, 1, s},
    };
    *manifest = (struct dpt_ckpt__manifest){
        .meta = toy_meta(20), .nfiles = 2, .file = file, .ntensors = 2, .tensor = tensor};
    manifest->meta.saved_utc = "2026-11-24T10:02:11Z";
    manifest->meta.loss_shift = 13;
    manifest->meta.steady = 1999;
    dpt_ckpt__manifest_print(manifest, text);
}

static enum dpt_status parse(const char *text, size_t nbytes)
{
    struct dpt_arena *arena = dpt_arena_new();
    struct dpt_ckpt__manifest manifest;
    const enum dpt_status status = dpt_ckpt__manifest_parse("M", text, nbytes, arena, &manifest);
    dpt_arena_free(arena);
    return status;
}

static void what_is_printed_is_parsed_back(void **state)
{
    (void)state;
    struct dpt_ckpt__manifest out, in;
    struct dpt_text text = {0}, again = {0};
    make(&out, &text);
    struct dpt_arena *arena = dpt_arena_new();
    assert_int_equal(dpt_ckpt__manifest_parse("M", text.data, text.length, arena, &in), DPT_STATUS_OK);
    /* Every field is printed, so equal texts mean equal fields. */
    dpt_ckpt__manifest_print(&in, &again);
    assert_string_equal(text.data, again.data);
    assert_true(in.meta.graph_hash == out.meta.graph_hash);
    assert_int_equal(in.tensor[0].npieces, 3);
    assert_int_equal(in.tensor[0].piece[2].start[1], 2);
    assert_int_equal(in.tensor[0].piece[2].extent[1], 4);
    assert_int_equal(in.tensor[1].kind, DPT_CKPT_FILE_OPTIMIZER);
    dpt_arena_free(arena);
    dpt_text_free(&text);
    dpt_text_free(&again);
}

/* A loss that is no number must not make a manifest that is no JSON. */
static void values_that_are_not_finite_are_left_out(void **state)
{
    (void)state;
    struct dpt_ckpt__manifest manifest;
    struct dpt_text text = {0};
    make(&manifest, &text);
    dpt_text_free(&text);
    manifest.meta.best_value = strtod("nan", NULL);
    dpt_ckpt__manifest_print(&manifest, &text);
    assert_int_equal(parse(text.data, text.length), DPT_STATUS_OK);
    dpt_text_free(&text);
}

static void any_cut_or_changed_byte_is_refused(void **state)
{
    (void)state;
    struct dpt_ckpt__manifest manifest;
    struct dpt_text text = {0};
    make(&manifest, &text);
    for (size_t n = 0; n < text.length; n++) {
        assert_int_equal(parse(text.data, n), DPT_STATUS_DATA);
        for (int bit = 0; bit < 8; bit++) {
            text.data[n] = (char)(text.data[n] ^ (1 << bit));
            assert_int_equal(parse(text.data, text.length), DPT_STATUS_DATA);
            text.data[n] = (char)(text.data[n] ^ (1 << bit));
        }
    }
    assert_int_equal(parse(text.data, text.length), DPT_STATUS_OK);
    dpt_text_free(&text);
}

/* The manifest with the first `from` replaced by `to`, and a checksum that fits again. */
static enum dpt_status parse_changed(const char *from, const char *to)
{
    struct dpt_ckpt__manifest manifest;
    struct dpt_text text = {0}, changed = {0};
    make(&manifest, &text);
    char *tail = strstr(text.data, "\"checksum\": \"");
    for (char *next; (next = strstr(tail + 1, "\n\"checksum\": \""));) {
        tail = next + 1;
    }
    *tail = '\0';
    const char *at = strstr(text.data, from);
    assert_non_null(at);
    dpt_text_add(&changed, "%.*s%s%s", (int)(at - text.data), text.data, to, at + strlen(from));
    char checksum[33];
    dpt_hash128(changed.data, changed.length, checksum);
    dpt_text_add(&changed, "\"checksum\": \"%s\"}\n", checksum);
    const enum dpt_status status = parse(changed.data, changed.length);
    dpt_text_free(&text);
    dpt_text_free(&changed);
    return status;
}

static void contents_that_cannot_be_are_refused(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"\"dpt checkpoint\"", "\"another\""},
        {"\"exponent\": 13", "\"exponent\": 25"},
        {"\"exponent\": 13, ", ""},
        {"\"steady\": 1999", "\"steady\": -1"},
        {"\"format_version\": 1", "\"format_version\": 2"},
        {"\"step\": 20", "\"step\": -20"},
        {"\"step\": 20", "\"step\": \"20\""},
        {"\"step\": 20", "\"step\": 20.5"},
        {"\"step\": 20", "\"step\": 9223372036854775808"},
        {"\"step\": 20", "\"step\": 20, \"step\": 20"},
        {"\"step\": 20,", ""},
        {"\"samples_seen\": ", "\"samples_seen\": -"},
        {"\"epoch\": ", "\"epoch\": -"},
        {"\"elapsed_s\": ", "\"elapsed_s\": -"},
        {"\"elapsed_s\": ", "\"elapsed_s\": 1e999, \"x\": "},
        {"\"finished\": false", "\"finished\": 0"},
        {"\"value\": 0.9", "\"value\": null, \"x\": 0.9"},
        {"\"best\": {\"step\": 20", "\"best\": {\"step\": -20"},
        {"\"data:2\"", "\"data\\u001b[31m\""},
        {"\"data:2\"", "\"\""},
        {"\"valid accuracy\"", "\"valid\\naccuracy\""},
        {"\"graph_hash\": \"f", "\"graph_hash\": \"g"},
        {"\"graph_hash\": \"f", "\"graph_hash\": \"ff"},
        {"\"name\": \"model.safetensors\"", "\"name\": \"../model.safetensors\""},
        {"\"name\": \"model.safetensors\"", "\"name\": \"/etc/passwd\""},
        {"\"name\": \"model.safetensors\"", "\"name\": \".model\""},
        {"\"name\": \"model.safetensors\"", "\"name\": \"\""},
        {"\"name\": \"model.safetensors\"", "\"name\": \"config.ini\""},
        {"\"nbytes\": 4192", "\"nbytes\": -4192"},
        {"\"nbytes\": 4192", "\"nbytes\": 4191"},
        {"\"00112233", "\"0011223"},
        {"\"00112233", "\"0011223G"},
        {"\"name\": \"w\"", "\"name\": \"\""},
        {"\"name\": \"w\"", "\"name\": \"w\\u0007\""},
        {"\"kind\": \"model\"", "\"kind\": \"other\""},
        {"\"dtype\": \"F32\"", "\"dtype\": \"F8_E4M3\""},
        {"\"dtype\": \"F32\"", "\"dtype\": \"F64\""},
        {"\"shape\": [4, 6]", "\"shape\": [4, 7]"},
        {"\"shape\": [4, 6]", "\"shape\": [24]"},
        {"\"shape\": [4, 6]", "\"shape\": [-4, -6]"},
        {"\"shape\": [4, 6]", "\"shape\": [4611686018427387904, 4611686018427387904]"},
        {"\"shape\": [4, 6]", "\"shape\": \"4\""},
        {"\"file\": \"model.safetensors\"", "\"file\": \"missing.safetensors\""},
        {"\"offset\": 4096", "\"offset\": -1"},
        {"\"offset\": 4096", "\"offset\": 4145"},
        {"\"offset\": 4096", "\"offset\": 9223372036854775807"},
        {"\"nbytes\": 48", "\"nbytes\": 44"},
        {"\"nbytes\": 48", "\"nbytes\": -48"},
        {"\"start\": [0, 0]", "\"start\": [0]"},
        {"\"start\": [0, 0]", "\"start\": [-1, 0]"},
        {"\"start\": [0, 0]", "\"start\": [1, 0]"},
        {"\"start\": [0, 0]", "\"start\": [9223372036854775807, 0]"},
        {"\"start\": [0, 0]", "\"start\": [0.0, 0]"},
        {"\"start\": [2, 2]", "\"start\": [2, 1]"},
        {"\"start\": [2, 2]", "\"start\": [0, 2]"},
        {"\"extent\": [2, 6]", "\"extent\": [6, 2]"},
        {"\"extent\": [2, 6]", "\"extent\": [2, 9223372036854775807]"},
        {"\"nbytes\": 16, \"start\": [2, 0], \"extent\": [2, 2]",
         "\"nbytes\": 8, \"start\": [2, 0], \"extent\": [1, 2]"},
        {"\"pieces\": [{", "\"pieces\": [], \"x\": [{"},
        {"\"files\": [", "\"files\": {}, \"x\": ["},
        {"\"tensors\": [", "\"tensors\": null, \"x\": ["},
        {"\"tensors\": [", "\"tensors\": [[],"},
    };
    assert_int_equal(parse_changed("\"step\": 20", "\"step\": 21"), DPT_STATUS_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (parse_changed(bad[i][0], bad[i][1]) != DPT_STATUS_DATA) {
            fail_msg("accepted: %s -> %s", bad[i][0], bad[i][1]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_printed_is_parsed_back),
        cmocka_unit_test(values_that_are_not_finite_are_left_out),
        cmocka_unit_test(any_cut_or_changed_byte_is_refused),
        cmocka_unit_test(contents_that_cannot_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
