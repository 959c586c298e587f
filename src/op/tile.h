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

/* The processor can run these loops, so that tile_gather and tile_outer may be called. Local. */
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

/*
 * c[r][j] = bias[j] + sum over p < depth of a[r a_row + p a_step] b[p][j] (+ what c was), then not below 0 with `relu`
 * (nan stays nan), for rows [0, rows) and columns [0, columns). One of a_row and a_step is 1. All of b is read, and of
 * a, where a_row is 1, six rows. depth may be 0.
 */
struct dpt_op__tile_product {
    int64_t depth;
    const float *a;
    int64_t a_row, a_step;
    const float *b;    /* [depth, 16]      */
    float *c;
    int64_t ldc;
    const float *bias; /* [16], or NULL: 0 */
    bool add, relu;
    int rows, columns; /* 1 .. 6, 1 .. 16  */
};

/* Computes it: the fast loops, where there are any, and those of every processor. Local. */
void dpt_op__tile_product(const struct dpt_op__tile_product *tile);
void dpt_op__tile_product_ref(const struct dpt_op__tile_product *tile);

/*
 * to[p step + r] = from[r ld + p] for p < count and r < rows; 0 for r from `rows`, at most 8, up to 7. Goes from the
 * first p to the last, so that with a step below 8 what is written behind `step` is only left behind the last p. On any
 * processor. Local.
 */
void dpt_op__tile_turn(int64_t count, const float *from, int64_t ld, int rows, float *to, int64_t step);
