/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the tests of data/ share: IDX and gzip writers, jobs by hand, what must open and what must not. */

#include <zlib.h>

#include "../folder.h"
#include "data/data.h"

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
    must(dpt_data_open(job, split, train, &data));
    return data;
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
