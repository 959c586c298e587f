/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * tensor/: number type, shape and placement of a tensor, and where each rank's part of a split dimension begins. It
 * does arithmetic on sizes, with every product checked; it owns no memory and runs no kernel.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"

enum { DPT_MAX_DIM = 6 };

/* What a tensor is, without its values. Row-major, packed. */
struct dpt_type {
    enum dpt_dtype dtype;
    int ndim;                 /* 0: a scalar */
    int64_t dim[DPT_MAX_DIM];
};

/* A view: a type and where the values are. Owns nothing. */
struct dpt_tensor {
    struct dpt_type type;
    void *data;
};

/* Product of the dimensions (1 for a scalar). The type must have passed dpt_type_check. Local. */
int64_t dpt_type_numel(const struct dpt_type *type);
size_t dpt_type_nbytes(const struct dpt_type *type);

/* Refuses negative dimensions, ndim outside 0..DPT_MAX_DIM, and products beyond 2^62 bytes. Local. */
enum dpt_status dpt_type_check(const struct dpt_type *type, const char *name);

bool dpt_type_equal(const struct dpt_type *a, const struct dpt_type *b);

/* "F32[128,28,28,1]" into `out` (at least 96 bytes). Local. */
const char *dpt_type_text(char *out, size_t size, const struct dpt_type *type);

/*
 * Where part `part` of `parts` begins when `total` things are dealt out as evenly as possible, in order:
 * floor(total * part / parts). Part p is [begin(p), begin(p + 1)). Exact for 64-bit totals. Local.
 */
int64_t dpt_split_begin(int64_t total, int parts, int part);

/* How a tensor lies on one mesh axis. */
enum dpt_place_kind {
    DPT_PLACE_KIND_COPIED,  /* every coordinate has all of it                 */
    DPT_PLACE_KIND_SPLIT,   /* along dimension `dim`, by dpt_split_begin      */
    DPT_PLACE_KIND_PARTIAL, /* the value is the sum over the coordinates      */
};

struct dpt_place {
    enum dpt_place_kind kind;
    int dim; /* for SPLIT */
};
