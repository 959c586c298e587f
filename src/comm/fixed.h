/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Sums of real numbers that are the same bits in every order and grouping, for every number of ranks and every library:
 * the numbers are cut at fixed places into whole digits, and whole numbers add up exactly.
 *
 * A block of DPT_FIXED_BLOCK numbers has one window of two digits (24 bits each for F32, 56 for F64), which begins above
 * the largest number that was ever added to the block; what lies below the window is cut off, from each number by itself.
 * Windows begin at multiples of a digit, so that a number's digits do not depend on when it came: where the window rises
 * by a digit, the upper sums become the lower ones. (The binned sums of Demmel and Nguyen, "Parallel reproducible
 * summation", 2015, with whole numbers in the bins.) What is cut off an addend is less than 2^-24 (F32), 2^-56 (F64), of
 * the largest in its block, mostly much less.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"

enum {
    DPT_FIXED_BLOCK = 16,      /* numbers with a window in common   */
    DPT_FIXED_MAX_ADDENDS = 128,
    DPT_FIXED_NOT_FINITE = 1000, /* the window of a block to which something was added that is not a number */
};

/*
 * Adds n numbers of type real, F32 or F64, to their digits: for each block the upper and then the lower digits of its
 * numbers, I32 or I64, and its window. n is a multiple of the block. `first` begins the sum. Local.
 */
void dpt_fixed_add(enum dpt_dtype real, int64_t n, const void *x, void *digits, int32_t *window, bool first);

/* Raises the windows of n numbers to those of `to`, none of which is lower: then digits can be added as they are. Local. */
void dpt_fixed_raise(enum dpt_dtype real, int64_t n, void *digits, const int32_t *window, const int32_t *to);

/* The sums as numbers, rounded once. Local. */
void dpt_fixed_value(enum dpt_dtype real, int64_t n, const void *digits, const int32_t *window, void *x);

/* The type of digits. Pure. */
static inline enum dpt_dtype dpt_fixed_dtype(enum dpt_dtype real)
{
    return real == DPT_DTYPE_F32 ? DPT_DTYPE_I32 : DPT_DTYPE_I64;
}
