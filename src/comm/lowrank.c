/* SPDX-License-Identifier: Apache-2.0 */

/* Sums over elements have eight places side by side in a fixed order, so that every machine gets the same bits. */

#include "comm/lowrank.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "base/simd.h"

enum { LANES = 8 };

DPT_SIMD static void dpt_lowrank__dot(int64_t n, const float *x, const float *y, float sum[LANES])
{
    for (int64_t i = 0; i + LANES <= n; i += LANES) {
#pragma omp simd
        for (int k = 0; k < LANES; k++) {
            sum[k] += x[i + k] * y[i + k];
        }
    }
}

static float dot(int64_t n, const float *x, const float *y)
{
    float sum[LANES] = {0.0f};
    dpt_lowrank__dot(n, x, y, sum);
    for (int64_t i = n / LANES * LANES; i < n; i++) {
        sum[i % LANES] += x[i] * y[i];
    }
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

/* y += a x. */
DPT_SIMD static void dpt_lowrank__add(int64_t n, float a, const float *x, float *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        y[i] += a * x[i];
    }
}

static void scale(int64_t n, float a, float *x)
{
    for (int64_t i = 0; i < n; i++) {
        x[i] *= a;
    }
}

bool dpt_comm__lowrank_gains(int64_t rows, int64_t cols, int rank)
{
    return rows > 0 && cols > 0 && 2.0 * rank * ((double)rows + (double)cols) < (double)rows * (double)cols;
}

static void draw(int64_t n, float *x, uint64_t seed, uint64_t stream)
{
    for (int64_t i = 0; i < n; i += 2) {
        uint32_t word[4];
        double normal[2];
        dpt_rng_words(seed, DPT_RNG_USE_WIRE, (uint32_t)stream & 0xffffff, stream >> 24, (uint64_t)i / 2, word);
        dpt_rng_normal(1, word, normal);
        x[i] = (float)normal[0];
        if (i + 1 < n) {
            x[i + 1] = (float)normal[1];
        }
    }
}

void dpt_comm__lowrank_begin(struct dpt_comm__lowrank_part *part, int rank, uint64_t seed, int64_t stream)
{
    draw(part->cols * rank, part->q, seed, (uint64_t)stream);
}

/*
 * Makes the columns of P (rank x rows, each column in a row) orthonormal, one after the other (Gram and Schmidt, twice for
 * each). One that lies among those before it becomes zero, and adds nothing.
 */
static void orthonormalise(int rank, int64_t rows, float *p)
{
    for (int r = 0; r < rank; r++) {
        float *column = p + r * rows;
        const float before = dot(rows, column, column);
        if (before > 0.0f && isfinite(before)) {
            scale(rows, 1.0f / sqrtf(before), column); /* so that no square below is too small */
        }
        for (int again = 0; again < 2; again++) {
            for (int s = 0; s < r; s++) {
                dpt_lowrank__add(rows, -dot(rows, column, p + s * rows), p + s * rows, column);
            }
        }
        const float after = dot(rows, column, column);
        const bool lost = before == 0.0f || after < 1e-10f; /* of a length of 1 */
        scale(rows, lost ? 0.0f : 1.0f / sqrtf(after), column);
    }
}

/* Columns of Q of length 1; those of length 0 begin anew, or they would stay so. */
static void normalise(const struct dpt_comm__lowrank_part *part, int rank)
{
    for (int r = 0; r < rank; r++) {
        float *column = part->q + r * part->cols;
        const float square = dot(part->cols, column, column);
        if (square > 0.0f && isfinite(square)) {
            scale(part->cols, 1.0f / sqrtf(square), column);
        } else {
            draw(part->cols, column, 0, (uint64_t)(part->at + r));
        }
    }
}

/* What lies between the matrices: to `packed` or back. Returns how much. */
static int64_t copy_rest(const struct dpt_comm__lowrank *l, float *data, float *packed, bool back)
{
    int64_t at = 0, count = 0;
    for (int i = 0; i <= l->nparts; i++) {
        const int64_t end = i < l->nparts ? l->part[i].at : l->n, n = end - at;
        memcpy(back ? data + at : packed + count, back ? packed + count : data + at, (size_t)n * sizeof *data);
        count += n;
        at = i < l->nparts ? end + l->part[i].rows * l->part[i].cols : end;
    }
    return count;
}

/* P = M Q, with what was kept added to M first. */
static void multiply(const struct dpt_comm__lowrank *l, const float *data, float *residual, float *p)
{
    for (int i = 0; i < l->nparts; i++) {
        const struct dpt_comm__lowrank_part *part = &l->part[i];
        for (int64_t row = 0; row < part->rows; row++) {
            float *m = residual + part->at + row * part->cols;
            dpt_lowrank__add(part->cols, 1.0f, data + part->at + row * part->cols, m);
            for (int r = 0; r < l->rank; r++) {
                p[r * part->rows + row] = dot(part->cols, m, part->q + r * part->cols);
            }
        }
        p += l->rank * part->rows;
    }
}

/* P made orthonormal, Q = M' P; M becomes M - P Q', what this rank does not send. */
static void project(const struct dpt_comm__lowrank *l, float *residual, float *p, float *q)
{
    memset(q, 0, (size_t)l->wide * sizeof *q);
    for (int i = 0; i < l->nparts; i++) {
        const struct dpt_comm__lowrank_part *part = &l->part[i];
        const int64_t rows = part->rows, cols = part->cols;
        orthonormalise(l->rank, rows, p);
        for (int64_t row = 0; row < rows; row++) {
            for (int r = 0; r < l->rank; r++) {
                dpt_lowrank__add(cols, p[r * rows + row], residual + part->at + row * cols, q + r * cols);
            }
        }
        for (int64_t row = 0; row < rows; row++) {
            for (int r = 0; r < l->rank; r++) {
                dpt_lowrank__add(cols, -p[r * rows + row], q + r * cols, residual + part->at + row * cols);
            }
        }
        p += l->rank * rows;
        q += l->rank * cols;
    }
}

/* The sum P Q'; Q is where the next time begins. */
static void expand(const struct dpt_comm__lowrank *l, const float *p, const float *q, float *data)
{
    for (int i = 0; i < l->nparts; i++) {
        const struct dpt_comm__lowrank_part *part = &l->part[i];
        const int64_t rows = part->rows, cols = part->cols;
        for (int64_t row = 0; row < rows; row++) {
            float *sum = data + part->at + row * cols;
            memset(sum, 0, (size_t)cols * sizeof *sum);
            for (int r = 0; r < l->rank; r++) {
                dpt_lowrank__add(cols, p[r * rows + row], q + r * cols, sum);
            }
        }
        memcpy(part->q, q, (size_t)(l->rank * cols) * sizeof *q);
        normalise(part, l->rank);
        p += l->rank * rows;
        q += l->rank * cols;
    }
}

enum dpt_status dpt_comm__lowrank_sum(struct dpt_comm *comm, const struct dpt_comm__lowrank *lowrank, float *data,
                                      float *residual, float *scratch)
{
    float *p = scratch + copy_rest(lowrank, data, scratch, false), *q = scratch + lowrank->thin;
    multiply(lowrank, data, residual, p);
    DPT_TRY(dpt_comm__allreduce(comm, scratch, lowrank->thin, DPT_DTYPE_F32, DPT_COMM_REDUCE_SUM));
    copy_rest(lowrank, data, scratch, true);
    project(lowrank, residual, p, q);
    DPT_TRY(dpt_comm__allreduce(comm, q, lowrank->wide, DPT_DTYPE_F32, DPT_COMM_REDUCE_SUM));
    expand(lowrank, p, q, data);
    return DPT_STATUS_OK;
}
