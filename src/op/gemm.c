/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A block of RANGE x WIDTH of b is copied into panels of 16 columns, a block of HEIGHT x DEPTH of a into panels
 * of 6 rows; each pair of panels is one tile of c (op/tile.h). A panel of b stays in the first-level cache while all
 * panels of a, which are in the second, go past it; rows of c are finished for all of RANGE before the next, so that
 * they seldom come from memory again. What is missing at the edges are zeros in the panels.
 */

#include "op/gemm.h"

#include <cblas.h>
#include <limits.h>
#include <string.h>

#include "base/simd.h"
#include "op/tile.h"

enum { ROWS = DPT_OP__TILE_ROWS, COLUMNS = DPT_OP__TILE_COLUMNS };
enum { DEPTH = 384, HEIGHT = 32 * ROWS, WIDTH = 128 * COLUMNS, RANGE = 768 };
enum { FEW_ROWS = ROWS }; /* of c, below which packing b costs more than it brings */
enum { SLACK = 16 }; /* floats behind the panels of a: the last column of one is written as eight floats */

static int64_t least(int64_t x, int64_t y)
{
    return x < y ? x : y;
}

static int64_t round_up(int64_t x, int64_t unit)
{
    return (x + unit - 1) / unit * unit;
}

/* The size of the blocks into which `whole` is cut: equal ones of at most `most`; not 0. */
static int64_t block_of(int64_t whole, int64_t most, int64_t unit)
{
    const int64_t blocks = whole > 0 ? (whole + most - 1) / most : 1;
    return round_up(whole > 0 ? (whole + blocks - 1) / blocks : 1, unit);
}

/* Floats of the panels of a, with which the panels of b begin. */
static int64_t panels_of_a(int64_t m, int64_t k)
{
    return round_up(round_up(least(m, HEIGHT), ROWS) * least(k, DEPTH) + SLACK, SLACK);
}

size_t dpt_op__gemm_scratch(enum dpt_dtype dtype, int64_t m, int64_t n, int64_t k)
{
    if (dtype != DPT_DTYPE_F32 || !dpt_op__tile_pays()) {
        return 0;
    }
    return (size_t)(panels_of_a(m, k) + round_up(least(n, WIDTH), COLUMNS) * least(k, RANGE)) * sizeof(float);
}

/*
 * to[panel, depth, unit]: row p of a panel is `unit` floats of row p of `from`, whose rows lie ld apart and have
 * `width` floats. Goes through a few rows at a time, so that what is read and what is written lie together.
 */
static inline __attribute__((always_inline)) void copy_panels(const float *from, int64_t ld, int64_t width,
                                                              int64_t depth, const int64_t unit, float *to)
{
    enum { TOGETHER = 8 };
    for (int64_t begin = 0; begin < depth; begin += TOGETHER) {
        const int64_t end = least(begin + TOGETHER, depth);
        for (int64_t j = 0; j < width; j += unit) {
            float *panel = to + j * depth;
            for (int64_t p = begin; p < end && j + unit <= width; p++) {
                memcpy(panel + p * unit, from + p * ld + j, (size_t)unit * sizeof *to);
            }
            for (int64_t p = begin; p < end && j + unit > width; p++) {
                memset(panel + p * unit, 0, (size_t)unit * sizeof *to);
                memcpy(panel + p * unit, from + p * ld + j, (size_t)(width - j) * sizeof *to);
            }
        }
    }
}

/* to[panel, depth, 6] of rows [row, row + rows) and depths [from, from + depth) of a. */
static void pack_a(const struct dpt_op__gemm *gemm, int64_t row, int64_t rows, int64_t from, int64_t depth, float *to)
{
    const float *a = gemm->a;
    if (gemm->ta) {
        copy_panels(a + from * gemm->lda + row, gemm->lda, rows, depth, ROWS, to);
        return;
    }
    for (int64_t r = 0; r < rows; r += ROWS) {
        dpt_op__tile_turn(depth, a + (row + r) * gemm->lda + from, gemm->lda, (int)least(rows - r, ROWS),
                          to + r * depth, ROWS);
    }
}

/* to[panel, depth, 16] of columns [column, column + columns) and depths [from, from + depth) of b. */
static void pack_b(const struct dpt_op__gemm *gemm, int64_t column, int64_t columns, int64_t from, int64_t depth,
                   float *to)
{
    const float *b = gemm->b;
    if (!gemm->tb) {
        copy_panels(b + from * gemm->ldb + column, gemm->ldb, columns, depth, COLUMNS, to);
        return;
    }
    enum { HALF = COLUMNS / 2 };
    for (int64_t j = 0; j < round_up(columns, COLUMNS); j += HALF) {
        const int64_t count = least(columns - j, HALF);
        dpt_op__tile_turn(depth, b + (column + least(j, columns)) * gemm->ldb + from, gemm->ldb,
                          count < 0 ? 0 : (int)count, to + j / COLUMNS * COLUMNS * depth + j % COLUMNS, COLUMNS);
    }
}

/* Where sums are made: in z, where that is kept. */
static float *sums_of(const struct dpt_op__gemm *gemm)
{
    return gemm->z ? gemm->z : gemm->c;
}

/* Finished sums of columns [column, column + columns) of row i become the result. */
static void finish_row(const struct dpt_op__gemm *gemm, int64_t i, int64_t column, int64_t columns)
{
    const int64_t at = i * gemm->ldc + column;
    float *c = (float *)gemm->c + at, *sum = sums_of(gemm) + at;
    if (gemm->t) {
        dpt_op__activate_dx(gemm->act, columns, sum, (const float *)gemm->t + at, c);
    } else if (gemm->act != DPT_ACTIVATION_KIND_NONE) {
        dpt_op__activate(gemm->act, columns, sum, c);
    }
}

/* The tiles themselves do relu. */
static bool by_tile(const struct dpt_op__gemm *gemm)
{
    return gemm->act == DPT_ACTIVATION_KIND_RELU && !gemm->z && !gemm->t;
}

/* A block of c from packed panels of depth `depth`. */
static void multiply(const struct dpt_op__gemm *gemm, int64_t row, int64_t rows, int64_t column, int64_t columns,
                     int64_t depth, const float *a, const float *b, bool first, bool last)
{
    struct dpt_op__tile_product tile = {
        .depth = depth,
        .a_row = 1,
        .a_step = ROWS,
        .ldc = gemm->ldc,
        .add = !first || gemm->add,
        .relu = last && by_tile(gemm),
    };
    for (int64_t j = 0; j < columns; j += COLUMNS) {
        float bias[COLUMNS] = {0};
        tile.columns = (int)least(columns - j, COLUMNS);
        tile.b = b + j * depth;
        if (first && gemm->bias) {
            memcpy(bias, (const float *)gemm->bias + column + j, (size_t)tile.columns * sizeof *bias);
            tile.bias = bias;
        }
        for (int64_t r = 0; r < rows; r += ROWS) {
            tile.rows = (int)least(rows - r, ROWS);
            tile.a = a + r * depth;
            tile.c = sums_of(gemm) + (row + r) * gemm->ldc + column + j;
            dpt_op__tile_product(&tile);
        }
    }
}

/* All rows of c from the packed columns [column, column + columns) of b, of depths [from, from + range). */
static void multiply_rows(const struct dpt_op__gemm *gemm, int64_t column, int64_t columns, int64_t from, int64_t range,
                          float *a, const float *b)
{
    const int64_t height = block_of(gemm->m, HEIGHT, ROWS), depth = block_of(range, DEPTH, 8);
    const int64_t wide = round_up(columns, COLUMNS);
    for (int64_t row = 0; row < gemm->m; row += height) {
        const int64_t rows = least(gemm->m - row, height);
        for (int64_t at = 0; at == 0 || at < range; at += depth) {
            const int64_t deep = least(range - at, depth);
            pack_a(gemm, row, rows, from + at, deep, a);
            multiply(gemm, row, rows, column, columns, deep, a, b + at * wide, from + at == 0,
                     from + at + deep >= gemm->k);
        }
        for (int64_t r = 0; r < rows && from + range >= gemm->k && !by_tile(gemm); r++) { /* still in a cache */
            finish_row(gemm, row + r, column, columns);
        }
    }
}

static void gemm_tiles(const struct dpt_op__gemm *gemm, float *scratch)
{
    const int64_t n = gemm->n, k = gemm->k;
    float *a = scratch, *b = scratch + panels_of_a(gemm->m, k);
    const int64_t width = block_of(n, WIDTH, COLUMNS), range = block_of(k, RANGE, DEPTH);
    for (int64_t column = 0; column < n; column += width) {
        const int64_t columns = least(n - column, width), wide = round_up(columns, COLUMNS);
        for (int64_t from = 0; from == 0 || from < k; from += range) {
            const int64_t here = least(k - from, range), depth = block_of(here, DEPTH, 8);
            for (int64_t at = 0; at < here; at += depth) {
                pack_b(gemm, column, columns, from + at, least(here - at, depth), b + at * wide);
            }
            multiply_rows(gemm, column, columns, from, here, a, b);
        }
    }
}

DPT_SIMD static void gemm_add_f32(int64_t n, const float *bias, float *c)
{
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        c[j] += bias[j];
    }
}

/* Bias and activation of row i, behind BLAS. */
static void finish_row_f32(const struct dpt_op__gemm *gemm, int64_t i)
{
    if (gemm->bias) {
        gemm_add_f32(gemm->n, gemm->bias, sums_of(gemm) + i * gemm->ldc);
    }
    finish_row(gemm, i, 0, gemm->n);
}

static void finish_row_f64(const struct dpt_op__gemm *gemm, int64_t i)
{
    const int64_t at = i * gemm->ldc;
    double *c = (double *)gemm->c + at, *sum = gemm->z ? (double *)gemm->z + at : c;
    const double *bias = gemm->bias, *t = gemm->t ? (const double *)gemm->t + at : NULL;
    for (int64_t j = 0; j < gemm->n; j++) {
        sum[j] += bias ? bias[j] : 0.0;
        c[j] = t ? dpt_op__activation_dx_at(gemm->act, sum[j], t[j]) : dpt_op__activation_at(gemm->act, sum[j]);
    }
}

static enum dpt_status gemm_blas(const struct dpt_op__gemm *gemm)
{
    const int64_t size[] = {gemm->m, gemm->n, gemm->k, gemm->lda, gemm->ldb, gemm->ldc};
    for (size_t i = 0; i < sizeof size / sizeof size[0]; i++) {
        DPT_CHECK(size[i] <= INT_MAX, DPT_STATUS_FAILED,
                  "a matrix product of %lld x %lld x %lld is beyond the 32-bit sizes of BLAS; use smaller "
                  "micro-batches",
                  (long long)gemm->m, (long long)gemm->n, (long long)gemm->k);
    }
    const CBLAS_TRANSPOSE ta = gemm->ta ? CblasTrans : CblasNoTrans, tb = gemm->tb ? CblasTrans : CblasNoTrans;
    const blasint m = (blasint)gemm->m, n = (blasint)gemm->n, k = (blasint)gemm->k;
    const blasint lda = (blasint)gemm->lda, ldb = (blasint)gemm->ldb, ldc = (blasint)gemm->ldc;
    const bool wide = gemm->dtype == DPT_DTYPE_F64;
    void *sum = gemm->z ? gemm->z : gemm->c;
    if (wide) {
        cblas_dgemm(CblasRowMajor, ta, tb, m, n, k, 1.0, gemm->a, lda, gemm->b, ldb, gemm->add ? 1.0 : 0.0, sum, ldc);
    } else {
        cblas_sgemm(CblasRowMajor, ta, tb, m, n, k, 1.0f, gemm->a, lda, gemm->b, ldb, gemm->add ? 1.0f : 0.0f, sum, ldc);
    }
    for (int64_t i = 0; i < gemm->m && (gemm->bias || gemm->act != DPT_ACTIVATION_KIND_NONE); i++) {
        (wide ? finish_row_f64 : finish_row_f32)(gemm, i);
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_op__gemm(const struct dpt_op__gemm *gemm, void *scratch)
{
    if (gemm->m == 0 || gemm->n == 0) {
        return DPT_STATUS_OK;
    }
    /* The device has given BLAS the rank's number of threads (dev/cpu.c). */
    const bool fits = gemm->dtype == DPT_DTYPE_F32 && gemm->m >= FEW_ROWS;
    if (fits && dpt_op__tile_pays() && openblas_get_num_threads() == 1) {
        gemm_tiles(gemm, scratch);
        return DPT_STATUS_OK;
    }
    return gemm_blas(gemm);
}
