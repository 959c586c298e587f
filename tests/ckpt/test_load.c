/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/text.h"
#include "ckpt/manifest.h"
#include "ckpt/safetensors.h"
#include "toy.h"

static struct dpt_comm *alone;
static char run[256];

static int new_run(void **state)
{
    (void)state;
    snprintf(run, sizeof run, "%s", toy_folder());
    return 0;
}

static int remove_run(void **state)
{
    (void)state;
    toy_remove(run);
    return 0;
}

static struct dpt_ckpt *open_path(const char *path)
{
    struct dpt_text notes = {0};
    struct dpt_ckpt *ckpt = NULL;
    const enum dpt_status status = dpt_ckpt_open(path, false, &ckpt, &notes);
    if (status != DPT_STATUS_OK) {
        fail_msg("%s", dpt_error_text());
    }
    dpt_text_free(&notes);
    return ckpt;
}

static void expect_refusal(struct dpt_ckpt *ckpt, int nitems, struct dpt_ckpt_item *item, bool subset, const char *word)
{
    dpt_error_clear();
    assert_int_equal(dpt_ckpt_load(ckpt, nitems, item, subset), DPT_STATUS_DATA);
    if (!strstr(dpt_error_text(), word)) {
        fail_msg("'%s' is not in: %s", word, dpt_error_text());
    }
}

static void what_does_not_fit_is_refused_before_a_byte_is_read(void **state)
{
    (void)state;
    assert_int_equal(toy_save(run, alone, 20, 5, 1, false), DPT_STATUS_OK);
    struct dpt_ckpt *ckpt = open_path(run);
    struct toy toy, untouched;
    struct dpt_ckpt_item item[TOY_ITEMS];
    toy_fill(&toy, 77);
    untouched = toy;
    toy_items(&toy, false, item);
    item[7].name = "conv.weight.exp_avg";
    expect_refusal(ckpt, TOY_ITEMS, item, false, "conv.weight.exp_avg");
    toy_items(&toy, false, item);
    item[7].file = DPT_CKPT_FILE_MODEL;
    expect_refusal(ckpt, TOY_ITEMS, item, false, "no model tensor 'conv.weight.momentum'");
    toy_items(&toy, false, item);
    item[6].type.dim[1] = item[6].extent[1] = 5;
    expect_refusal(ckpt, TOY_ITEMS, item, false, "F32[0,4]");
    toy_items(&toy, false, item);
    item[5].type = (struct dpt_type){DPT_DTYPE_I32, 1, {4}};
    expect_refusal(ckpt, TOY_ITEMS, item, false, "another model");
    toy_items(&toy, false, item);
    item[3].type.dtype = DPT_DTYPE_F32;
    expect_refusal(ckpt, TOY_ITEMS, item, false, "precision");
    toy_items(&toy, false, item);
    expect_refusal(ckpt, 3, item, false, "4 tensors that this model does not have");
    assert_memory_equal(&toy, &untouched, sizeof toy);

    /* A subset may be asked for; an optimizer's tensors may be left out in any case. */
    assert_int_equal(dpt_ckpt_load(ckpt, 3, item, true), DPT_STATUS_OK);
    assert_int_equal(dpt_ckpt_load(ckpt, 7, item, false), DPT_STATUS_OK);
    struct toy want;
    toy_fill(&want, 5);
    memcpy(want.momentum, untouched.momentum, sizeof want.momentum);
    assert_memory_equal(&toy, &want, sizeof toy);
    dpt_ckpt_close(ckpt);
}

/* ------------------------------------------------------------------------- tensors in pieces, as many ranks write */

struct piece {
    int tensor, file;
    int64_t start[3], extent[3];
};

static const struct dpt_type type[2] = {
    {DPT_DTYPE_F32, 2, {6, 8}},
    {DPT_DTYPE_I64, 3, {3, 4, 5}},
};

static const struct piece pieces[] = {
    {0, 0, {0, 0}, {4, 3}},       {0, 1, {0, 3}, {1, 5}},       {0, 2, {1, 3}, {3, 5}},
    {0, 3, {4, 0}, {2, 8}},       {1, 0, {0, 0, 0}, {3, 2, 5}}, {1, 1, {0, 2, 0}, {1, 2, 5}},
    {1, 2, {1, 2, 0}, {2, 2, 1}}, {1, 3, {1, 2, 1}, {2, 2, 4}},
};

enum { NPIECES = sizeof pieces / sizeof pieces[0], NFILES = 4 };

/* The value of an element is its place in the whole tensor. */
static void put_element(int tensor, int64_t value, void *data, int64_t at)
{
    if (type[tensor].dtype == DPT_DTYPE_F32) {
        ((float *)data)[at] = (float)value;
    } else {
        ((int64_t *)data)[at] = value;
    }
}

static int64_t element(int tensor, const void *data, int64_t at)
{
    return type[tensor].dtype == DPT_DTYPE_F32 ? (int64_t)((const float *)data)[at] : ((const int64_t *)data)[at];
}

/* The elements of a box of two or three dimensions. */
static void fill_box(int tensor, const int64_t *start, const int64_t *extent, void *data)
{
    const struct dpt_type *t = &type[tensor];
    const bool cube = t->ndim == 3;
    const int64_t n2 = cube ? extent[2] : 1, d2 = cube ? t->dim[2] : 1, s2 = cube ? start[2] : 0;
    int64_t at = 0;
    for (int64_t i = 0; i < extent[0]; i++) {
        for (int64_t j = 0; j < extent[1]; j++) {
            for (int64_t k = 0; k < n2; k++) {
                put_element(tensor, ((start[0] + i) * t->dim[1] + start[1] + j) * d2 + s2 + k, data, at++);
            }
        }
    }
}

/* Writes one file with its pieces of both tensors and completes them. */
static void write_part(int f, struct dpt_ckpt__file *file, struct dpt_ckpt__piece *done)
{
    struct dpt_ckpt__entry entry[2];
    struct dpt_text bytes = {0};
    int which[2], count = 0;
    int64_t nbytes;
    for (int i = NPIECES - 1; i >= 0; i--) { /* the wide tensor first */
        if (pieces[i].file == f) {
            const int tensor = pieces[i].tensor;
            entry[count] = (struct dpt_ckpt__entry){.name = tensor ? "b" : "a", .type = type[tensor]};
            memcpy(entry[count].type.dim, pieces[i].extent, sizeof pieces[i].extent);
            which[count++] = i;
        }
    }
    assert_int_equal(dpt_ckpt__safetensors_layout(count, entry, &bytes, &nbytes), DPT_STATUS_OK);
    char *data = calloc(1, (size_t)nbytes), path[512];
    memcpy(data, bytes.data, bytes.length);
    for (int k = 0; k < count; k++) {
        const struct piece *from = &pieces[which[k]];
        struct dpt_ckpt__piece *to = &done[which[k]];
        fill_box(from->tensor, from->start, from->extent, data + entry[k].offset);
        *to = (struct dpt_ckpt__piece){.file = f, .offset = entry[k].offset, .nbytes = entry[k].nbytes};
        memcpy(to->start, from->start, sizeof from->start);
        memcpy(to->extent, from->extent, sizeof from->extent);
        dpt_hash128(data + entry[k].offset, (size_t)entry[k].nbytes, to->checksum);
    }
    snprintf(path, sizeof path, "%s/%s", run, file->name);
    assert_int_equal(dpt_file_replace(path, data, (size_t)nbytes), DPT_STATUS_OK);
    file->nbytes = nbytes;
    dpt_hash128(data, (size_t)nbytes, file->checksum);
    free(data);
    dpt_text_free(&bytes);
}

static void write_pieces(void)
{
    struct dpt_ckpt__file file[NFILES + 1] = {
        {.name = "model-1.safetensors"}, {.name = "model-2.safetensors"}, {.name = "model-3.safetensors"},
        {.name = "model-4.safetensors"}, {.name = "config.ini", .nbytes = 1},
    };
    struct dpt_ckpt__piece piece[NPIECES];
    for (int f = 0; f < NFILES; f++) {
        write_part(f, &file[f], piece);
    }
    char path[512];
    snprintf(path, sizeof path, "%s/config.ini", run);
    assert_int_equal(dpt_file_replace(path, "\n", 1), DPT_STATUS_OK);
    dpt_hash128("\n", 1, file[NFILES].checksum);
    struct dpt_ckpt__tensor tensor[2] = {
        {"a", DPT_CKPT_FILE_MODEL, type[0], 4, piece},
        {"b", DPT_CKPT_FILE_MODEL, type[1], 4, piece + 4},
    };
    struct dpt_ckpt__manifest manifest = {
        .meta = toy_meta(3), .nfiles = NFILES + 1, .file = file, .ntensors = 2, .tensor = tensor};
    manifest.meta.saved_utc = "2026-11-24T10:02:11Z";
    struct dpt_text text = {0};
    dpt_ckpt__manifest_print(&manifest, &text);
    snprintf(path, sizeof path, "%s/MANIFEST.json", run);
    assert_int_equal(dpt_file_replace(path, text.data, text.length), DPT_STATUS_OK);
    dpt_text_free(&text);
}

/* Loads one box into memory of just its size (so that a sanitizer sees a byte too far) and compares. */
static void check_box(struct dpt_ckpt *ckpt, int tensor, const int64_t start[3], const int64_t extent[3])
{
    struct dpt_ckpt_item item = {.name = tensor ? "b" : "a", .type = type[tensor]};
    int64_t numel = 1;
    for (int d = 0; d < item.type.ndim; d++) {
        item.start[d] = start[d];
        item.extent[d] = extent[d];
        numel *= extent[d];
    }
    const size_t nbytes = (size_t)numel * dpt_dtype_nbytes(item.type.dtype);
    void *want = malloc(nbytes);
    item.data = malloc(nbytes);
    memset(item.data, 0xff, nbytes);
    fill_box(tensor, start, extent, want);
    assert_int_equal(dpt_ckpt_load(ckpt, 1, &item, true), DPT_STATUS_OK);
    for (int64_t i = 0; i < numel; i++) {
        assert_int_equal(element(tensor, item.data, i), element(tensor, want, i));
    }
    free(item.data);
    free(want);
}

static void any_box_is_read_from_any_pieces(void **state)
{
    (void)state;
    write_pieces();
    struct dpt_ckpt *ckpt = open_path(run);
    for (int tensor = 0; tensor < 2; tensor++) {
        const struct dpt_type *t = &type[tensor];
        const int64_t n2 = t->ndim == 3 ? t->dim[2] : 1;
        int64_t s[3], e[3];
        for (s[0] = 0; s[0] < t->dim[0]; s[0]++) {
            for (s[1] = 0; s[1] < t->dim[1]; s[1]++) {
                for (s[2] = 0; s[2] < n2; s[2]++) {
                    for (e[0] = 1; s[0] + e[0] <= t->dim[0]; e[0]++) {
                        for (e[1] = 1; s[1] + e[1] <= t->dim[1]; e[1]++) {
                            for (e[2] = 1; s[2] + e[2] <= n2; e[2]++) {
                                check_box(ckpt, tensor, s, e);
                            }
                        }
                    }
                }
            }
        }
    }
    dpt_ckpt_close(ckpt);
}

int main(void)
{
    if (dpt_comm_start_alone(&alone) != DPT_STATUS_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_does_not_fit_is_refused_before_a_byte_is_read, new_run, remove_run),
        cmocka_unit_test_setup_teardown(any_box_is_read_from_any_pieces, new_run, remove_run),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    dpt_comm_end(alone);
    return failed;
}
