/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The sum of squares of an array, in double: no float overflows there. Eight sums side by side, in a fixed order on every
 * machine, so that an array that is taken in pieces gives the same bits as one that is taken at once.
 */

#include <stdint.h>

#include "base/dtype.h"

enum { DPT_SQUARE_LANES = 8 };

struct dpt_square {
    double lane[DPT_SQUARE_LANES];
};

/* Adds the squares of n numbers of F32 or F64; n is a multiple of DPT_SQUARE_LANES but in the last piece. Local. */
void dpt_square_add(enum dpt_dtype dtype, int64_t n, const void *x, struct dpt_square *square);

/*
 * z = x + y, and adds the squares of z: the same bits as dpt_add and dpt_square_add, in one pass. z may be one of them.
 * Local.
 */
void dpt_square_add_sum(enum dpt_dtype dtype, int64_t n, const void *x, const void *y, void *z, struct dpt_square *square);

/* The sum so far. Local. */
double dpt_square_sum(const struct dpt_square *square);
