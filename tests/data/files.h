/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the tests of data/ share: a folder for small files, IDX and gzip writers, jobs by hand, refusals. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

#include "base/file.h"
#include "base/rng.h"
#include "data/data.h"

static char folder[256];

static inline int make_folder(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/dpt-test-XXXXXX", base && *base ? base : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static inline int remove_folder(void **state)
{
    (void)state;
    return dpt_file_remove_dir(folder) == DPT_STATUS_OK ? 0 : -1;
}

/* The path of a file in the folder; eight results live at a time. */
static inline char *path_of(const char *name)
{
    static char path[8][512];
    static int turn;
    turn = (turn + 1) % 8;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

/* A new file each time: to cut an old one short makes some file systems wait for the disk. */
static inline void write_bytes(const char *name, const void *bytes, size_t nbytes)
{
    unlink(path_of(name));
    FILE *file = fopen(path_of(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, nbytes, file), nbytes);
    assert_int_equal(fclose(file), 0);
}

static inline void write_text(const char *name, const char *text)
{
    write_bytes(name, text, strlen(text));
}

static inline void write_gz(const char *name, const void *bytes, size_t nbytes)
{
    gzFile file = gzopen(path_of(name), "wb");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, bytes, (unsigned)nbytes), nbytes);
    assert_int_equal(gzclose(file), Z_OK);
}

static inline void put_big_endian(unsigned char *p, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        p[i] = (unsigned char)(value >> (24 - 8 * i));
    }
}

/* An IDX file of bytes (type 8), or of 32-bit words (0x0c, 0x0d) given as words; returns its size. */
static inline size_t make_idx(unsigned char *out, int type, int ndim, const int64_t *dim, const void *values)
{
    size_t count = 1;
    out[0] = out[1] = 0;
    out[2] = (unsigned char)type;
    out[3] = (unsigned char)ndim;
    for (int i = 0; i < ndim; i++) {
        put_big_endian(out + 4 + 4 * i, (uint32_t)dim[i]);
        count *= (size_t)dim[i];
    }
    unsigned char *at = out + 4 + 4 * ndim;
    if (type == 8) {
        memcpy(at, values, count);
        return 4 + 4 * (size_t)ndim + count;
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t word;
        memcpy(&word, (const char *)values + 4 * i, 4);
        put_big_endian(at + 4 * i, word);
    }
    return 4 + 4 * (size_t)ndim + 4 * count;
}

/* A job with every text of [data] set, as conf promises. */
static inline struct dpt_job plain_job(enum dpt_data_format format)
{
    static char empty[] = "", automatic[] = "auto";
    struct dpt_job job;
    memset(&job, 0, sizeof job);
    job.run.seed = 42;
    job.data.format = format;
    job.data.train = job.data.valid = job.data.test = empty;
    job.data.train_labels = job.data.valid_labels = job.data.test_labels = empty;
    job.data.delimiter = automatic;
    job.data.missing = empty;
    return job;
}

static inline int64_t numel_of(const struct dpt_data *data)
{
    const struct dpt_data_info *info = dpt_data_info(data);
    return info->ndim == 1 ? info->dim[0] : info->dim[0] * info->dim[1] * info->dim[2];
}

/* Opens and must succeed. */
static inline struct dpt_data *opened(const struct dpt_job *job, enum dpt_split split, const struct dpt_data *train)
{
    struct dpt_data *data = NULL;
    if (dpt_data_open(job, split, train, &data) != DPT_STATUS_OK) {
        fail_msg("%s", dpt_error_text());
    }
    return data;
}

/* The last call must have failed with this status and a sentence that holds `words`. */
static inline void refused(enum dpt_status got, enum dpt_status expected, const char *words)
{
    if (got != expected || !strstr(dpt_error_text(), words)) {
        fail_msg("expected status %d and '%s', got %d and '%s'", expected, words, got, dpt_error_text());
    }
}

/* Opening a split must be refused so. */
static inline void refuses(const struct dpt_job *job, enum dpt_split split, const struct dpt_data *train,
                           enum dpt_status status, const char *words)
{
    struct dpt_data *data = NULL;
    dpt_error_clear();
    const enum dpt_status got = dpt_data_open(job, split, train, &data);
    assert_null(data);
    refused(got, status, words);
}

/* Random numbers for mutations: `n` words of one stream, one after the other. */
static inline uint32_t draw(uint64_t stream, uint64_t *turn)
{
    uint32_t word[4];
    dpt_rng_words(stream, DPT_RNG_USE_DATA, 0, 0, (*turn)++, word);
    return word[0];
}
