/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "train/tensorboard.h"

/* The vectors of RFC 3720, appendix B.4, and the check value of the CRC catalogues. */
static void known_checksums(void **state)
{
    (void)state;
    unsigned char data[32];
    memset(data, 0, sizeof data);
    assert_int_equal(dpt_tensorboard__crc32c(data, 32), 0x8a9136aa);
    memset(data, 0xff, sizeof data);
    assert_int_equal(dpt_tensorboard__crc32c(data, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++) {
        data[i] = (unsigned char)i;
    }
    assert_int_equal(dpt_tensorboard__crc32c(data, 32), 0x46dd794e);
    for (int i = 0; i < 32; i++) {
        data[i] = (unsigned char)(31 - i);
    }
    assert_int_equal(dpt_tensorboard__crc32c(data, 32), 0x113fdb5c);
    assert_int_equal(dpt_tensorboard__crc32c("123456789", 9), 0xe3069283);
    assert_int_equal(dpt_tensorboard__crc32c("", 0), 0);
}

/* A reader of its own, bit by bit, that shares nothing with the writer. */
static uint32_t slow_masked_crc(const unsigned char *data, size_t nbytes)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < nbytes * 8; i++) {
        const uint32_t bit = (uint32_t)(data[i / 8] >> i % 8) & 1;
        crc = (crc & 1) != bit ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    }
    crc = ~crc;
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8;
}

struct value {
    double wall_time;
    int64_t step;
    char version[32], tag[64];
    float number;
};

struct reader {
    const unsigned char *at, *end;
};

static uint64_t get(struct reader *r, int nbytes)
{
    uint64_t value = 0;
    assert_true(r->end - r->at >= nbytes);
    for (int i = 0; i < nbytes; i++) {
        value |= (uint64_t)*r->at++ << 8 * i;
    }
    return value;
}

static uint64_t get_varint(struct reader *r)
{
    uint64_t value = 0, byte = 128;
    for (int shift = 0; byte & 128; shift += 7) {
        assert_true(shift < 70);
        byte = get(r, 1);
        value |= (byte & 127) << shift;
    }
    return value;
}

/* Any of the three messages: their field numbers and wire types do not clash but for 1 and 2, told apart by `depth`. */
static void get_message(struct reader *r, int depth, struct value *out)
{
    while (r->at < r->end) {
        const uint64_t key = get_varint(r);
        const unsigned field = (unsigned)(key >> 3), wire = (unsigned)(key & 7);
        struct reader inner = *r;
        if (wire == 2) {
            const uint64_t length = get_varint(r);
            assert_true(length <= (uint64_t)(r->end - r->at));
            inner = (struct reader){r->at, r->at + length};
            r->at += length;
        }
        const int length = (int)(inner.end - inner.at);
        if (depth == 0 && field == 1 && wire == 1) {
            const uint64_t bits = get(r, 8);
            memcpy(&out->wall_time, &bits, 8);
        } else if (depth == 0 && field == 2 && wire == 0) {
            out->step = (int64_t)get_varint(r);
        } else if (depth == 0 && field == 3 && wire == 2) {
            snprintf(out->version, sizeof out->version, "%.*s", length, (const char *)inner.at);
        } else if ((depth == 0 && field == 5 && wire == 2) || (depth == 1 && field == 1 && wire == 2)) {
            get_message(&inner, depth + 1, out);
        } else if (depth == 2 && field == 1 && wire == 2) {
            snprintf(out->tag, sizeof out->tag, "%.*s", length, (const char *)inner.at);
        } else if (depth == 2 && field == 2 && wire == 5) {
            const uint32_t bits = (uint32_t)get(r, 4);
            memcpy(&out->number, &bits, 4);
        } else {
            fail_msg("field %u of wire type %u at depth %d", field, wire, depth);
        }
    }
}

static void get_record(struct reader *r, struct value *out)
{
    memset(out, 0, sizeof *out);
    const unsigned char *frame = r->at;
    const uint64_t length = get(r, 8);
    assert_int_equal(get(r, 4), slow_masked_crc(frame, 8));
    assert_true(length <= (uint64_t)(r->end - r->at));
    struct reader event = {r->at, r->at + length};
    r->at += length;
    assert_int_equal(get(r, 4), slow_masked_crc(event.at, (size_t)length));
    get_message(&event, 0, out);
}

static void scalars_are_read_back(void **state)
{
    (void)state;
    char folder[] = "test_tensorboard-XXXXXX", path[512] = "";
    assert_non_null(mkdtemp(folder));
    const int64_t steps[] = {0, 1, 127, 128, 300, (int64_t)1 << 40};
    const double values[] = {0.25, -1.5, 3.0e38, 0.1, 0.0, 1e-30};
    enum { COUNT = sizeof steps / sizeof steps[0] };
    struct dpt_tensorboard *writer;
    assert_int_equal(dpt_tensorboard_open(folder, &writer), DPT_STATUS_OK);
    for (int i = 0; i < COUNT; i++) {
        const char *tag = i % 2 ? "train/loss" : "lr";
        assert_int_equal(dpt_tensorboard_scalar(writer, tag, steps[i], values[i]), DPT_STATUS_OK);
    }
    dpt_tensorboard_close(writer);

    DIR *dir = opendir(folder);
    for (const struct dirent *entry; (entry = readdir(dir));) {
        /* TensorBoard looks for this word in the name. */
        if (strstr(entry->d_name, "tfevents")) {
            assert_string_equal(path, "");
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        }
    }
    closedir(dir);
    char *data;
    size_t nbytes;
    assert_int_equal(dpt_file_read(path, 1 << 16, &data, &nbytes), DPT_STATUS_OK);
    struct reader r = {(const unsigned char *)data, (const unsigned char *)data + nbytes};
    struct value value;
    get_record(&r, &value);
    assert_string_equal(value.version, "brain.Event:2");
    const double now = (double)time(NULL);
    for (int i = 0; i < COUNT; i++) {
        get_record(&r, &value);
        assert_string_equal(value.tag, i % 2 ? "train/loss" : "lr");
        assert_int_equal(value.step, steps[i]);
        assert_true(value.number == (float)values[i]);
        assert_true(value.wall_time > now - 60 && value.wall_time < now + 60);
    }
    assert_ptr_equal(r.at, r.end);
    free(data);
    assert_int_equal(dpt_file_remove_dir(folder), DPT_STATUS_OK);
}

static void a_missing_folder_is_a_failure(void **state)
{
    (void)state;
    struct dpt_tensorboard *writer;
    assert_int_equal(dpt_tensorboard_open("/nowhere/at/all", &writer), DPT_STATUS_FAILED);
    assert_non_null(strstr(dpt_error_text(), "/nowhere/at/all"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_checksums),
        cmocka_unit_test(scalars_are_read_back),
        cmocka_unit_test(a_missing_folder_is_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
