/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fast kernels of op/attention.c, in float. A tile is ROWS queries of one head times KEYS keys; its products are
 * BLAS's, which reads rows of heads where they lie. Tiles that the mask hides whole are never made; of one that it
 * hides in part, only columns up to the last that some row of it sees.
 *
 * Forward, tile by tile: scores s = scale q k, the running maximum m and sum l of each row,
 * y = y e^(m - m') + e^(s - m') v, at the end y / l. Backward: p = e^(s - lse) again, then the products that use it.
 */

#include "op/attention.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "base/simd.h"
#include "op/mathf.h"
#include "op/softmax.h"

enum { ROWS = 64, KEYS = 256 };

/* Two tiles, a row of random words with room to begin anywhere in a block of four, and three numbers a row. */
struct scratch {
    float *p, *dp; /* [ROWS,KEYS] */
    uint32_t *word;
    float *max, *sum, *product;
};

size_t dpt_op__attention_scratch_f32(int64_t s, int64_t t)
{
    (void)s, (void)t;
    return (2 * (size_t)ROWS * KEYS + KEYS + 8 + 3 * (size_t)ROWS) * sizeof(float);
}

static struct scratch divide(void *memory)
{
    struct scratch scratch = {.p = memory};
    scratch.dp = scratch.p + ROWS * KEYS;
    scratch.word = (uint32_t *)(scratch.dp + ROWS * KEYS);
    scratch.max = (float *)(scratch.word + KEYS + 8);
    scratch.sum = scratch.max + ROWS;
    scratch.product = scratch.sum + ROWS;
    return scratch;
}

/* A block of queries of one head: where its rows and the head's keys are. */
struct block {
    const struct dpt_attention *at;
    const struct dpt_op_call *call;
    const float *q, *k, *v;
    float *y, *lse;
    const float *dy;
    float *dq, *dk, *dv;
    int64_t lse_row;    /* between rows of lse                               */
    int64_t rows, seen; /* queries; keys that the last of them sees          */
    int64_t first;      /* keys that the first of them sees, less one        */
    int64_t place;      /* of (row 0, key 0) in the global matrix            */
    float scale;
};

/* Keys of the tile from `key` on that row i of the block sees: 0 .. count. */
static int64_t visible(const struct block *block, int64_t i, int64_t key, int64_t count)
{
    const int64_t seen = block->first + i + 1 - key;
    return seen < 0 ? 0 : seen < count ? seen : count;
}

DPT_SIMD static void attention_scale(int64_t n, float factor, float *x)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        x[i] *= factor;
    }
}

DPT_SIMD static float attention_dot(int64_t n, const float *x, const float *y)
{
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        sum += x[i] * y[i];
    }
    return sum;
}

/* x = 0 where the word is below `drop`, else x * factor. */
DPT_SIMD static void attention_drop(int64_t n, uint32_t drop, float factor, const uint32_t *word, float *x)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        x[i] = word[i] < drop ? 0.0f : x[i] * factor;
    }
}

/* dp = p (dp - shift) scale */
DPT_SIMD static void attention_ds(int64_t n, float shift, float scale, const float *p, float *dp)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        dp[i] = p[i] * (dp[i] - shift) * scale;
    }
}

static int blas(int64_t size)
{
    return (int)size; /* sizes of tiles and distances between rows, checked by the shape rule's 62 bits and below */
}

/* The words of the n keys from `key` on of row i. */
static const uint32_t *words_of(const struct block *block, int64_t i, int64_t key, int64_t n, uint32_t *word)
{
    const struct dpt_attention_param *param = block->call->types->param;
    const uint64_t place = (uint64_t)(block->place + i * block->at->t + key);
    const size_t skip = place % 4;
    dpt_rng_fill(block->call->ctx->seed, DPT_RNG_USE_DROPOUT, param->stream, block->call->ctx->step, place / 4,
                 ((size_t)n + skip + 3) / 4, word);
    return word + skip;
}

static void drop(const struct block *block, int64_t i, int64_t key, int64_t n, uint32_t *word, float *x)
{
    const struct dpt_attention_param *param = block->call->types->param;
    if (param->rate > 0.0 && n > 0) {
        attention_drop(n, (uint32_t)(param->rate * 0x1p32), (float)(1.0 / (1.0 - param->rate)),
                       words_of(block, i, key, n, word), x);
    }
}

/* Columns of the tile from `key` on. */
static int64_t tile_width(const struct block *block, int64_t key)
{
    return block->seen - key < KEYS ? block->seen - key : KEYS;
}

/* p[rows,width] = scale q k^T for keys from `key` on. */
static void scores(const struct block *block, int64_t key, int64_t width, float *p)
{
    const struct dpt_attention *at = block->at;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, blas(block->rows), blas(width), blas(at->d), block->scale,
                block->q, blas(at->q_row), block->k + key * at->k_row, blas(at->k_row), 0.0f, p, KEYS);
}

static void forward_tile(const struct block *block, int64_t key, const struct scratch *scratch)
{
    const struct dpt_attention *at = block->at;
    const int64_t width = tile_width(block, key);
    scores(block, key, width, scratch->p);
    for (int64_t i = 0; i < block->rows; i++) {
        float *p = scratch->p + i * KEYS, *y = block->y + i * at->y_row;
        const int64_t n = visible(block, i, key, width);
        const float max = dpt_op__max_f32(n, p, scratch->max[i]);
        if (key > 0 && max > scratch->max[i]) {
            const float factor = dpt_op__expf(scratch->max[i] - max);
            scratch->sum[i] *= factor;
            attention_scale(at->d, factor, y);
        }
        scratch->max[i] = max;
        scratch->sum[i] += dpt_op__exp_f32(n, max, p);
        drop(block, i, key, n, scratch->word, p);
        memset(p + n, 0, (size_t)(width - n) * sizeof *p);
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, blas(block->rows), blas(at->d), blas(width), 1.0f,
                scratch->p, KEYS, block->v + key * at->k_row, blas(at->k_row), key > 0 ? 1.0f : 0.0f, block->y,
                blas(at->y_row));
}

static void forward_block(const struct block *block, const struct scratch *scratch)
{
    for (int64_t i = 0; i < block->rows; i++) {
        scratch->max[i] = -INFINITY;
        scratch->sum[i] = 0.0f;
    }
    for (int64_t key = 0; key < block->seen; key += KEYS) {
        forward_tile(block, key, scratch);
    }
    for (int64_t i = 0; i < block->rows; i++) {
        attention_scale(block->at->d, 1.0f / scratch->sum[i], block->y + i * block->at->y_row);
        block->lse[i * block->lse_row] = scratch->max[i] + logf(scratch->sum[i]);
    }
}

static void backward_tile(const struct block *block, int64_t key, const struct scratch *scratch)
{
    const struct dpt_attention *at = block->at;
    const int64_t width = tile_width(block, key);
    const int rows = blas(block->rows), keys = blas(width), d = blas(at->d), k_row = blas(at->k_row);
    float *dk = block->dk + key * at->k_row, *dv = block->dv + key * at->k_row;
    scores(block, key, width, scratch->p);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, keys, d, 1.0f, block->dy, blas(at->y_row),
                block->v + key * at->k_row, k_row, 0.0f, scratch->dp, KEYS);
    for (int64_t i = 0; i < block->rows; i++) {
        float *p = scratch->p + i * KEYS, *dp = scratch->dp + i * KEYS;
        const int64_t n = visible(block, i, key, width);
        dpt_op__exp_f32(n, block->lse[i * block->lse_row], p);
        drop(block, i, key, n, scratch->word, dp);
        attention_ds(n, scratch->product[i], block->scale, p, dp);
        drop(block, i, key, n, scratch->word, p);
        memset(p + n, 0, (size_t)(width - n) * sizeof *p);
        memset(dp + n, 0, (size_t)(width - n) * sizeof *dp);
    }
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, keys, d, rows, 1.0f, scratch->p, KEYS, block->dy,
                blas(at->y_row), 1.0f, dv, k_row);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, keys, d, rows, 1.0f, scratch->dp, KEYS, block->q,
                blas(at->q_row), 1.0f, dk, k_row);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, d, keys, 1.0f, scratch->dp, KEYS,
                block->k + key * at->k_row, k_row, key > 0 ? 1.0f : 0.0f, block->dq, blas(at->q_row));
}

static void backward_block(const struct block *block, const struct scratch *scratch)
{
    for (int64_t i = 0; i < block->rows; i++) {
        const int64_t at = i * block->at->y_row;
        scratch->product[i] = attention_dot(block->at->d, block->dy + at, block->y + at);
    }
    for (int64_t key = 0; key < block->seen; key += KEYS) {
        backward_tile(block, key, scratch);
    }
}

/* Rows from `row` on of query g of head a of sample n. */
static struct block block_at(const struct dpt_op_call *call, const struct dpt_attention *at, int64_t n, int64_t a,
                             int64_t g, int64_t row)
{
    const struct dpt_attention_param *param = call->types->param;
    const int64_t h = a * at->g + g, queries = at->a * at->g;
    const int64_t q = n * at->q_sample + row * at->q_row + h * at->d, k = n * at->k_sample + a * at->d;
    const int64_t y = n * at->y_sample + row * at->y_row + h * at->d;
    struct block block = {
        .at = at,
        .call = call,
        .q = (const float *)at->q + q,
        .k = (const float *)at->k + k,
        .v = (const float *)at->v + k,
        .y = (float *)at->y + y,
        .lse = (float *)at->lse + (n * at->s + row) * queries + h,
        .lse_row = queries,
        .rows = at->s - row < ROWS ? at->s - row : ROWS,
        .first = at->first + row,
        .place = at->place + n * at->place_sample + a * at->place_head + g * at->place_query + row * at->t,
        .scale = (float)param->scale,
    };
    block.seen = block.first + block.rows < at->t ? block.first + block.rows : at->t;
    if (at->dy) {
        block.dy = (const float *)at->dy + y;
        block.dq = (float *)at->dq + q;
        block.dk = (float *)at->dk + k;
        block.dv = (float *)at->dv + k;
    }
    return block;
}

void dpt_op__attention_f32(const struct dpt_op_call *call, const struct dpt_attention *at)
{
    const struct scratch scratch = divide(call->scratch);
    for (int64_t n = 0; n < at->b; n++) {
        for (int64_t h = 0; h < at->a * at->g; h++) {
            for (int64_t row = 0; row < at->s; row += ROWS) {
                const struct block block = block_at(call, at, n, h / at->g, h % at->g, row);
                forward_block(&block, &scratch);
            }
        }
    }
}

void dpt_op__attention_dx_f32(const struct dpt_op_call *call, const struct dpt_attention *at)
{
    const struct scratch scratch = divide(call->scratch);
    for (int64_t n = 0; n < at->b; n++) {
        for (int64_t a = 0; a < at->a; a++) {
            for (int64_t j = 0; j < at->t; j++) {
                const int64_t key = n * at->k_sample + j * at->k_row + a * at->d;
                memset((float *)at->dk + key, 0, (size_t)at->d * sizeof(float));
                memset((float *)at->dv + key, 0, (size_t)at->d * sizeof(float));
            }
            for (int64_t g = 0; g < at->g; g++) {
                for (int64_t row = 0; row < at->s; row += ROWS) {
                    const struct block block = block_at(call, at, n, a, g, row);
                    backward_block(&block, &scratch);
                }
            }
        }
    }
}
