/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "ckpt/private.h"
#include "ckpt/safetensors.h"
#include "toy.h"

static char folder[256];

/* Writes bytes to a file and reads its header. */
static enum dpt_status read_bytes(const void *data, size_t nbytes, struct dpt_arena *arena, int *count,
                                  struct dpt_ckpt__entry **entry)
{
    char path[512];
    snprintf(path, sizeof path, "%s/x.safetensors", folder);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, nbytes, file), nbytes);
    assert_int_equal(fclose(file), 0);
    const int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    const enum dpt_status status = dpt_ckpt__safetensors_read(fd, path, (int64_t)nbytes, arena, count, entry);
    close(fd);
    return status;
}

/* A file with this header, its true length or another one, and so many bytes of values. */
static enum dpt_status read_header(const char *header, uint64_t length, size_t nvalues)
{
    const size_t nheader = strlen(header);
    unsigned char *data = calloc(1, 8 + nheader + nvalues);
    for (int i = 0; i < 8; i++) {
        data[i] = (unsigned char)(length >> 8 * i);
    }
    memcpy(data + 8, header, nheader);
    struct dpt_arena *arena = dpt_arena_new();
    int count;
    struct dpt_ckpt__entry *entry;
    const enum dpt_status status = read_bytes(data, 8 + nheader + nvalues, arena, &count, &entry);
    dpt_arena_free(arena);
    free(data);
    return status;
}

#define T(shape, begin, end) "{\"dtype\":\"F32\",\"shape\":[" shape "],\"data_offsets\":[" begin "," end "]}"

static void good_headers_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t nvalues;
    } good[] = {
        {"{}", 0},
        {"{\"a\":" T("2", "0", "8") "}   ", 8},
        {"{\"__metadata__\":{\"format\":\"pt\"},\"a\":" T("", "0", "4") "}", 4},
        {"{\"b\":" T("2", "4", "12") ",\"a\":" T("1", "0", "4") "}", 12},
        {"{\"b\":" T("0,9", "4", "4") ",\"a\":" T("1", "0", "4") ",\"c\":" T("1", "4", "8") "}", 8},
        {"{\"a\":" T("1,1,1,1,1,2", "0", "8") "}", 8},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(read_header(good[i].header, strlen(good[i].header), good[i].nvalues), DPT_STATUS_OK);
    }
}

static void bad_headers_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t nvalues;
    } bad[] = {
        {" {}", 0},
        {"[]", 0},
        {"null", 0},
        {"{", 0},
        {"{}{}", 0},
        {"{\"a\":" T("2", "0", "8") ",\"a\":" T("2", "0", "8") "}", 8},
        {"{\"a\":1}", 0},
        {"{\"\":" T("2", "0", "8") "}", 8},
        {"{\"a\\nb\":" T("2", "0", "8") "}", 8},
        {"{\"\xff\":" T("2", "0", "8") "}", 8},
        {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8},
        {"{\"a\":{\"dtype\":\"F8_E5M2\",\"shape\":[8],\"data_offsets\":[0,8]}}", 8},
        {"{\"a\":{\"dtype\":4,\"shape\":[2],\"data_offsets\":[0,8]}}", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}}", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8},
        {"{\"a\":" T("2.0", "0", "8") "}", 8},
        {"{\"a\":" T("-2", "0", "8") "}", 8},
        {"{\"a\":" T("2,\"1\"", "0", "8") "}", 8},
        {"{\"a\":" T("1,1,1,1,1,1,2", "0", "8") "}", 8},
        {"{\"a\":" T("9223372036854775807", "0", "8") "}", 8},
        {"{\"a\":" T("9223372036854775808", "0", "8") "}", 8},
        {"{\"a\":" T("4294967296,4294967296,4", "0", "0") "}", 0},
        {"{\"a\":" T("3", "0", "8") "}", 8},
        {"{\"a\":" T("2", "-8", "0") "}", 8},
        {"{\"a\":" T("2", "8", "0") "}", 8},
        {"{\"a\":" T("2", "0", "9223372036854775808") "}", 8},
        {"{\"a\":" T("2", "9223372036854775800", "9223372036854775807") "}", 8},
        {"{\"a\":" T("2", "0", "8") "}", 7},
        {"{\"a\":" T("2", "0", "8") "}", 9},
        {"{\"a\":" T("2", "4", "12") "}", 12},
        {"{\"a\":" T("2", "0", "8") ",\"b\":" T("2", "4", "12") "}", 12},
        {"{\"a\":" T("2", "0", "8") ",\"b\":" T("2", "0", "8") "}", 8},
        {"{\"a\":" T("1", "0", "4") ",\"b\":" T("1", "8", "12") "}", 12},
        {"{}", 1},
        {"{\"__metadata__\":[]}", 0},
        {"{\"__metadata__\":{\"a\":1}}", 0},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (read_header(bad[i].header, strlen(bad[i].header), bad[i].nvalues) != DPT_STATUS_DATA) {
            fail_msg("accepted: %s", bad[i].header);
        }
    }
}

static void wrong_lengths_are_refused(void **state)
{
    (void)state;
    const char *header = "{\"a\":" T("2", "0", "8") "}";
    const uint64_t right = strlen(header);
    const uint64_t wrong[] = {0,         1,          right - 1, right + 1, right + 8,           right + 9,
                              100000001, 0xffffffff, INT64_MAX, (uint64_t)1 << 63, UINT64_MAX - 7, UINT64_MAX};
    assert_int_equal(read_header(header, right, 8), DPT_STATUS_OK);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(read_header(header, wrong[i], 8), DPT_STATUS_DATA);
    }
    struct dpt_arena *arena = dpt_arena_new();
    int count;
    struct dpt_ckpt__entry *entry;
    for (size_t n = 0; n < 8; n++) {
        assert_int_equal(read_bytes("\2\0\0\0\0\0\0\0", n, arena, &count, &entry), DPT_STATUS_DATA);
    }
    dpt_arena_free(arena);
}

static void deep_and_long_headers_are_refused(void **state)
{
    (void)state;
    enum { DEEP = 100000 };
    char *deep = malloc(DEEP + 6);
    memcpy(deep, "{\"a\":", 5);
    memset(deep + 5, '[', DEEP);
    deep[DEEP + 5] = '\0';
    assert_int_equal(read_header(deep, strlen(deep), 0), DPT_STATUS_DATA);
    /* A name of 256 bytes. */
    char name[256 + 1], header[512];
    memset(name, 'n', 256);
    name[256] = '\0';
    snprintf(header, sizeof header, "{\"%s\":" T("2", "0", "8") "}", name);
    assert_int_equal(read_header(header, strlen(header), 8), DPT_STATUS_DATA);
    name[255] = '\0';
    snprintf(header, sizeof header, "{\"%s\":" T("2", "0", "8") "}", name);
    assert_int_equal(read_header(header, strlen(header), 8), DPT_STATUS_OK);
    free(deep);
}

static void what_is_laid_out_is_read_back(void **state)
{
    (void)state;
    struct dpt_ckpt__entry out[] = {
        {.name = "double", .type = {DPT_DTYPE_F64, 2, {3, 5}}},
        {.name = "weird \"name\" \\ \xc3\xa9", .type = {DPT_DTYPE_F32, 1, {9}}},
        {.name = "scalar", .type = {DPT_DTYPE_I32, 0, {0}}},
        {.name = "none", .type = {DPT_DTYPE_I64, 1, {0}}},
        {.name = "bytes", .type = {DPT_DTYPE_U8, 1, {5}}},
    };
    enum { COUNT = sizeof out / sizeof out[0] };
    struct dpt_text head = {0};
    int64_t nbytes;
    assert_int_equal(dpt_ckpt__safetensors_layout(COUNT, out, &head, &nbytes), DPT_STATUS_OK);
    assert_int_equal(head.length, 4096);
    assert_int_equal(nbytes, 4096 + 120 + 36 + 4 + 5);
    assert_int_equal(out[0].offset, 4096);

    unsigned char *data = calloc(1, (size_t)nbytes);
    memcpy(data, head.data, head.length);
    struct dpt_arena *arena = dpt_arena_new();
    int count;
    struct dpt_ckpt__entry *in;
    assert_int_equal(read_bytes(data, (size_t)nbytes, arena, &count, &in), DPT_STATUS_OK);
    assert_int_equal(count, COUNT);
    qsort(out, COUNT, sizeof out[0], dpt_ckpt__entry_compare);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(dpt_ckpt__entry_compare(&in[i], &out[i]), 0);
        assert_true(dpt_type_equal(&in[i].type, &out[i].type));
    }
    dpt_arena_free(arena);
    dpt_text_free(&head);
    free(data);
}

/* tests/reference/tiny.safetensors was written by the reference package (safetensors_fixture.py beside it). */
static void the_reference_package_is_understood(void **state)
{
    (void)state;
    const float weight[6] = {-1.0f, -0.5f, 0.0f, 0.5f, 1.0f, 1.5f};
    const double bias[2] = {1.0 / 3.0, -2.5e300};
    const int64_t times = -((int64_t)1 << 40);
    const int32_t index[2] = {7, -8};
    const unsigned char mask[3] = {0, 1, 255};
    const struct {
        const char *name;
        struct dpt_type type;
        const void *data;
    } want[] = {
        {"layer.weight", {DPT_DTYPE_F32, 2, {2, 3}}, weight}, {"layer.bias", {DPT_DTYPE_F64, 1, {2}}, bias},
        {"count", {DPT_DTYPE_I64, 0, {0}}, &times},           {"index", {DPT_DTYPE_I32, 1, {2}}, index},
        {"mask", {DPT_DTYPE_U8, 1, {3}}, mask},               {"empty", {DPT_DTYPE_F32, 2, {0, 2}}, ""},
    };
    enum { COUNT = sizeof want / sizeof want[0] };
    const char *source = getenv("abs_srcdir");
    char path[512], *data;
    size_t nbytes;
    snprintf(path, sizeof path, "%s/tests/reference/tiny.safetensors", source ? source : ".");
    assert_int_equal(dpt_file_read(path, 4096, &data, &nbytes), DPT_STATUS_OK);
    struct dpt_arena *arena = dpt_arena_new();
    int count;
    struct dpt_ckpt__entry *entry;
    assert_int_equal(read_bytes(data, nbytes, arena, &count, &entry), DPT_STATUS_OK);
    assert_int_equal(count, COUNT);
    for (int i = 0; i < COUNT; i++) {
        int k = 0;
        while (k < COUNT && strcmp(entry[k].name, want[i].name) != 0) {
            k++;
        }
        assert_true(k < COUNT && dpt_type_equal(&entry[k].type, &want[i].type));
        assert_memory_equal(data + entry[k].offset, want[i].data, (size_t)entry[k].nbytes);
    }
    dpt_arena_free(arena);
    free(data);
}

int main(void)
{
    snprintf(folder, sizeof folder, "%s", toy_folder());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_headers_are_read),
        cmocka_unit_test(bad_headers_are_refused),
        cmocka_unit_test(wrong_lengths_are_refused),
        cmocka_unit_test(deep_and_long_headers_are_refused),
        cmocka_unit_test(what_is_laid_out_is_read_back),
        cmocka_unit_test(the_reference_package_is_understood),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    toy_remove(folder);
    return failed;
}
