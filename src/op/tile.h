/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The innermost loops of our own products and convolutions: a tile of 6 x 16 sums that lives in the registers of a core
 * with AVX2, which is 12 of its 16 vectors. They use nine tenths of such a core, where oneDNN 2 and 3 use six to eight
 * tenths in convolutions (bench/ops); with AVX-512 the library is at the peak, and nothing here is wanted.
 *
 * It promises: one thread, a fixed order of sums, no memory. It knows no ops.
 */

#include <stdbool.h>
#include <stdint.h>

enum { DPT_OP__TILE_ROWS = 6, DPT_OP__TILE_COLUMNS = 16 };

/* The processor can run these loops, so that the others may be called. Local. */
bool dpt_op__tile_runs(void);

/* Nothing that is known here is faster on this processor. Local. */
bool dpt_op__tile_pays(void);

/*
 * Row r of a gathered product is made of `taps` runs of c floats: run t begins at base[r] + from[r][t], or, where that
 * is negative, at `zeros`. y[r][k] = bias[k] + sum over all runs of x w[.,k], not below 0 with `relu` (nan stays nan),
 * for rows [0, rows) and 16 columns. The rows of `base` and `from` beyond those are read too.
 */
struct dpt_op__tile_gather {
    int64_t taps, c;
    const float *base[DPT_OP__TILE_ROWS];
    const int32_t *from[DPT_OP__TILE_ROWS];
    const float *zeros; /* [c]           */
    const float *w;     /* [taps, c, 16] */
    const float *bias;  /* [16]          */
    bool relu;
    int rows;
    float *y; /* [rows, 16], ldy floats from row to row */
    int64_t ldy;
};

/* Computes it. Local. */
void dpt_op__tile_gather(const struct dpt_op__tile_gather *tile);

/*
 * sum[r][k] += sum over `count` places p of x[p][at + r] dy[p][k], for rows [0, rows), at most 6, and 16 columns. x[p]
 * are pointers; dy has ldy floats from place to place, sum has ldsum from row to row. Local.
 */
void dpt_op__tile_outer(int64_t count, const float *const *x, int64_t at, int rows, const float *dy, int64_t ldy,
                        float *sum, int64_t ldsum);
