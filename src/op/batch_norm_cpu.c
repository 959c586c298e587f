/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fast kernels of op/batch_norm.c in F32; F64 runs REF. They are bound by memory, so each reads its operands once, in
 * order. The coefficients of the channels are repeated over a run of some hundred elements (`period`, a whole number of
 * rows), so that every loop is long, contiguous and the same for any number of channels.
 *
 * Sums: four runs at a time. x and x^2 are summed in double from the start. dz and dz xhat are rounded to float
 * already, so that four of each are added in float, then to a sum in double.
 */

#include "op/batch_norm.h"

#include <math.h>
#include <string.h>

#include "base/simd.h"

enum { LEAST_PERIOD = 512, STREAMS = 4 };

/* Coefficients (floats) and sums (doubles) that the neediest kernel has, each over a period. */
enum { COEFFICIENTS = 4, SUMS = 2 };

/* Scratch memory of a call: coefficient k at a[k], sum k at sum[k]. */
struct tables {
    int64_t c, period;
    float *a[COEFFICIENTS];
    double *sum[SUMS];
};

static int64_t period_of(int64_t c)
{
    return c >= LEAST_PERIOD ? c : c * ((LEAST_PERIOD + c - 1) / c);
}

size_t dpt_op__batch_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep)
{
    (void)threads;
    (void)prep;
    if (run != DPT_RUN_CPU || types->in[0].dtype != DPT_DTYPE_F32) {
        return 0;
    }
    const size_t period = (size_t)period_of(types->in[0].dim[types->in[0].ndim - 1]);
    return period * (SUMS * sizeof(double) + COEFFICIENTS * sizeof(float));
}

static struct tables tables_of(const struct dpt_op_call *call)
{
    const struct dpt_type *x = &call->in[0].type;
    struct tables tables = {.c = x->dim[x->ndim - 1]};
    tables.period = period_of(tables.c);
    double *sums = call->scratch;
    for (int i = 0; i < SUMS; i++) {
        tables.sum[i] = sums + i * tables.period;
    }
    float *coefficients = (float *)(sums + SUMS * tables.period);
    for (int i = 0; i < COEFFICIENTS; i++) {
        tables.a[i] = coefficients + i * tables.period;
    }
    return tables;
}

/* Coefficient i of channel k. */
static void set(const struct tables *tables, int i, int64_t k, double value)
{
    for (int64_t at = k; at < tables->period; at += tables->c) {
        tables->a[i][at] = (float)value;
    }
}

/* out[k] = factor times the sum over the rows of a period. */
static void gather(const struct tables *tables, int i, double *out)
{
    for (int64_t k = 0; k < tables->c; k++) {
        double sum = 0.0;
        for (int64_t at = k; at < tables->period; at += tables->c) {
            sum += tables->sum[i][at];
        }
        out[k] = sum;
    }
}

/* ---- sums of x and x^2 ---- */

DPT_SIMD static void dpt_op__batch_stat_four(int64_t n, const float *x, double *restrict sum, double *restrict squares)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const double a = x[i], b = x[n + i], c = x[2 * n + i], d = x[3 * n + i];
        sum[i] += (a + b) + (c + d);
        squares[i] += (a * a + b * b) + (c * c + d * d);
    }
}

DPT_SIMD static void dpt_op__batch_stat_one(int64_t n, const float *x, double *restrict sum, double *restrict squares)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const double a = x[i];
        sum[i] += a;
        squares[i] += a * a;
    }
}

enum dpt_status dpt_op__batch_stat_cpu(const struct dpt_op_call *call)
{
    if (call->in[0].type.dtype != DPT_DTYPE_F32) {
        return dpt_op_batch_stat.run[DPT_RUN_REF](call);
    }
    const struct tables tables = tables_of(call);
    const float *x = call->in[0].data; /* [n,c] */
    double *stat = call->out[0].data;  /* [2,c] */
    const int64_t numel = dpt_type_numel(&call->in[0].type), period = tables.period;
    memset(tables.sum[0], 0, (size_t)period * SUMS * sizeof(double));
    int64_t at = 0;
    for (; at + STREAMS * period <= numel; at += STREAMS * period) {
        dpt_op__batch_stat_four(period, x + at, tables.sum[0], tables.sum[1]);
    }
    for (; at < numel; at += period) {
        const int64_t n = numel - at < period ? numel - at : period;
        dpt_op__batch_stat_one(n, x + at, tables.sum[0], tables.sum[1]);
    }
    gather(&tables, 0, stat);
    gather(&tables, 1, stat + tables.c);
    return DPT_STATUS_OK;
}

/* ---- y ---- */

/* y = act(a x + b + residual); y may be x or residual. */
DPT_SIMD static void dpt_op__batch_norm_run(int64_t n, bool relu, const float *a, const float *b, const float *x,
                                            const float *residual, float *y)
{
    if (residual && relu) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            const float z = a[i] * x[i] + b[i] + residual[i];
            y[i] = z < 0.0f ? 0.0f : z;
        }
    } else if (residual) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            y[i] = a[i] * x[i] + b[i] + residual[i];
        }
    } else if (relu) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            const float z = a[i] * x[i] + b[i];
            y[i] = z < 0.0f ? 0.0f : z;
        }
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            y[i] = a[i] * x[i] + b[i];
        }
    }
}

/* With coefficients 0 and 1 set: all of x. */
static void normalise(const struct dpt_op_call *call, const struct tables *tables, const float *residual)
{
    const struct dpt_batch_norm_param *param = call->types->param;
    const float *x = call->in[0].data; /* [n,c] */
    float *y = call->out[0].data;      /* [n,c] */
    const int64_t numel = dpt_type_numel(&call->in[0].type), period = tables->period;
    for (int64_t at = 0; at < numel; at += period) {
        const int64_t n = numel - at < period ? numel - at : period;
        dpt_op__batch_norm_run(n, param->act == DPT_ACTIVATION_KIND_RELU, tables->a[0], tables->a[1], x + at,
                               residual ? residual + at : NULL, y + at);
    }
}

/* Coefficients 0, 1 of z = a x + b. */
static void set_affine(const struct tables *tables, int64_t k, double mean, double rstd, double gamma, double beta)
{
    set(tables, 0, k, gamma * rstd);
    set(tables, 1, k, beta - gamma * rstd * mean);
}

enum dpt_status dpt_op__batch_norm_cpu(const struct dpt_op_call *call)
{
    if (call->in[0].type.dtype != DPT_DTYPE_F32) {
        return dpt_op_batch_norm.run[DPT_RUN_REF](call);
    }
    const struct dpt_batch_norm_param *param = call->types->param;
    const struct tables tables = tables_of(call);
    const float *gamma = call->in[2].data, *beta = call->in[3].data; /* [c] */
    const double count = dpt_op__batch_count(call);
    for (int64_t k = 0; k < tables.c; k++) {
        double mean, rstd;
        dpt_op__batch_moments(call->in[1].data, k, tables.c, count, param->eps, &mean, &rstd);
        set_affine(&tables, k, mean, rstd, gamma[k], beta[k]);
    }
    normalise(call, &tables, call->types->nin > 4 ? call->in[4].data : NULL);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_op__batch_norm_eval_cpu(const struct dpt_op_call *call)
{
    if (call->in[0].type.dtype != DPT_DTYPE_F32) {
        return dpt_op_batch_norm_eval.run[DPT_RUN_REF](call);
    }
    const struct dpt_batch_norm_param *param = call->types->param;
    const struct tables tables = tables_of(call);
    const float *mean = call->in[1].data, *var = call->in[2].data;   /* [c] */
    const float *gamma = call->in[3].data, *beta = call->in[4].data; /* [c] */
    for (int64_t k = 0; k < tables.c; k++) {
        set_affine(&tables, k, mean[k], 1.0 / sqrt((double)var[k] + param->eps), gamma[k], beta[k]);
    }
    normalise(call, &tables, call->types->nin > 5 ? call->in[5].data : NULL);
    return DPT_STATUS_OK;
}

/* ---- sums of dz and dz xhat ---- */

/* Where dz comes from: dy; dy where z = a x + b > 0, in the rounding of the forward pass; dy where y > 0, and kept. */
enum mask { MASK_NONE, MASK_Z, MASK_Y };

/* One run of operands with the coefficients of its channels. dz may be dy. */
struct run {
    const float *dy, *x, *y; /* y: MASK_Y only                 */
    float *dz;               /* MASK_Y only                    */
    const float *a, *b;      /* z = a x + b, MASK_Z only       */
    const float *r, *s;      /* xhat = r x + s                 */
    double *sum, *product;
};

#define INLINE __attribute__((always_inline)) static inline

/* dz of element `at`, whose channel has the coefficients of element i. */
INLINE float dz_at(enum mask mask, const struct run *run, int64_t i, int64_t at)
{
    const float dy = run->dy[at]; /* loaded in any case: the compiler is better at choosing values than at choosing loads */
    if (mask == MASK_NONE) {
        return dy;
    }
    const float z = mask == MASK_Z ? run->a[i] * run->x[at] + run->b[i] : run->y[at];
    const float dz = z > 0.0f ? dy : 0.0f;
    if (mask == MASK_Y) {
        run->dz[at] = dz;
    }
    return dz;
}

INLINE float xhat_at(const struct run *run, int64_t i, int64_t at)
{
    return run->r[i] * run->x[at] + run->s[i];
}

/* `streams` runs of n elements that follow each other: 1 or 4. */
INLINE void add_terms(enum mask mask, int streams, const struct run run, int64_t n)
{
    if (streams == 1) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            const float dz = dz_at(mask, &run, i, i);
            run.sum[i] += dz;
            run.product[i] += dz * xhat_at(&run, i, i);
        }
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const int64_t j = n + i, k = 2 * n + i, l = 3 * n + i;
        const float a = dz_at(mask, &run, i, i), b = dz_at(mask, &run, i, j);
        const float c = dz_at(mask, &run, i, k), d = dz_at(mask, &run, i, l);
        run.sum[i] += (a + b) + (c + d);
        run.product[i] += (a * xhat_at(&run, i, i) + b * xhat_at(&run, i, j)) +
                          (c * xhat_at(&run, i, k) + d * xhat_at(&run, i, l));
    }
}

DPT_SIMD static void dpt_op__batch_terms(enum mask mask, int streams, const struct run *run, int64_t n)
{
    if (streams == STREAMS) {
        switch (mask) {
        case MASK_NONE:
            add_terms(MASK_NONE, STREAMS, *run, n);
            break;
        case MASK_Z:
            add_terms(MASK_Z, STREAMS, *run, n);
            break;
        case MASK_Y:
            add_terms(MASK_Y, STREAMS, *run, n);
            break;
        }
        return;
    }
    switch (mask) {
    case MASK_NONE:
        add_terms(MASK_NONE, 1, *run, n);
        break;
    case MASK_Z:
        add_terms(MASK_Z, 1, *run, n);
        break;
    case MASK_Y:
        add_terms(MASK_Y, 1, *run, n);
        break;
    }
}

/* All of dy and x, with the coefficients set; the sums into gstat [2,c]. */
static void sum_terms(const struct tables *tables, enum mask mask, struct run run, int64_t numel, double *gstat)
{
    const int64_t period = tables->period;
    memset(tables->sum[0], 0, (size_t)period * SUMS * sizeof(double));
    run.a = tables->a[0], run.b = tables->a[1], run.r = tables->a[2], run.s = tables->a[3];
    run.sum = tables->sum[0], run.product = tables->sum[1];
    while (numel > 0) {
        const int streams = numel >= STREAMS * period ? STREAMS : 1;
        const int64_t n = numel < period ? numel : period;
        dpt_op__batch_terms(mask, streams, &run, n);
        run.dy += streams * n, run.x += streams * n;
        run.y = mask == MASK_Y ? run.y + streams * n : NULL;
        run.dz = mask == MASK_Y ? run.dz + streams * n : NULL;
        numel -= streams * n;
    }
    gather(tables, 0, gstat);
    gather(tables, 1, gstat + tables->c);
}

enum dpt_status dpt_op__batch_grad_stat_cpu(const struct dpt_op_call *call)
{
    if (call->in[0].type.dtype != DPT_DTYPE_F32) {
        return dpt_op_batch_grad_stat.run[DPT_RUN_REF](call);
    }
    const struct dpt_batch_norm_param *param = call->types->param;
    const struct tables tables = tables_of(call);
    const float *gamma = call->in[3].data, *beta = call->in[4].data; /* [c] */
    const double count = dpt_op__batch_count(call);
    for (int64_t k = 0; k < tables.c; k++) {
        double mean, rstd;
        dpt_op__batch_moments(call->in[2].data, k, tables.c, count, param->eps, &mean, &rstd);
        set_affine(&tables, k, mean, rstd, gamma[k], beta[k]);
        set(&tables, 2, k, rstd);
        set(&tables, 3, k, -mean * rstd);
    }
    const struct run run = {.dy = call->in[0].data, .x = call->in[1].data};
    const enum mask mask = param->act == DPT_ACTIVATION_KIND_RELU ? MASK_Z : MASK_NONE;
    sum_terms(&tables, mask, run, dpt_type_numel(&call->in[0].type), call->out[0].data);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_op__batch_residual_dx_cpu(const struct dpt_op_call *call)
{
    if (call->in[0].type.dtype != DPT_DTYPE_F32) {
        return dpt_op_batch_residual_dx.run[DPT_RUN_REF](call);
    }
    const struct dpt_batch_norm_param *param = call->types->param;
    const struct tables tables = tables_of(call);
    const double count = dpt_op__batch_count(call);
    for (int64_t k = 0; k < tables.c; k++) {
        double mean, rstd;
        dpt_op__batch_moments(call->in[3].data, k, tables.c, count, param->eps, &mean, &rstd);
        set(&tables, 2, k, rstd);
        set(&tables, 3, k, -mean * rstd);
    }
    const struct run run = {
        .dy = call->in[0].data, .y = call->in[1].data, .x = call->in[2].data, .dz = call->out[0].data};
    sum_terms(&tables, MASK_Y, run, dpt_type_numel(&call->in[0].type), call->out[1].data);
    return DPT_STATUS_OK;
}

/* ---- dx ---- */

/* dx = a dz + g x + h, where with `relu` dz = dy where a x + b > 0. dx may be dy or x. */
DPT_SIMD static void dpt_op__batch_norm_dx_run(int64_t n, bool relu, const float *a, const float *b, const float *g,
                                               const float *h, const float *dy, const float *x, float *dx)
{
    if (relu) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            const float dz = a[i] * x[i] + b[i] > 0.0f ? dy[i] : 0.0f;
            dx[i] = a[i] * dz + (g[i] * x[i] + h[i]);
        }
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            dx[i] = a[i] * dy[i] + (g[i] * x[i] + h[i]);
        }
    }
}

enum dpt_status dpt_op__batch_norm_dx_cpu(const struct dpt_op_call *call)
{
    if (call->in[0].type.dtype != DPT_DTYPE_F32) {
        return dpt_op_batch_norm_dx.run[DPT_RUN_REF](call);
    }
    const struct dpt_batch_norm_param *param = call->types->param;
    const struct tables tables = tables_of(call);
    const double *gstat = call->in[3].data;                          /* [2,c] */
    const float *gamma = call->in[4].data, *beta = call->in[5].data; /* [c]   */
    const double count = dpt_op__batch_count(call);
    for (int64_t k = 0; k < tables.c; k++) {
        double mean, rstd;
        dpt_op__batch_moments(call->in[2].data, k, tables.c, count, param->eps, &mean, &rstd);
        set_affine(&tables, k, mean, rstd, gamma[k], beta[k]);
        /* gamma rstd (-gstat0 / N - xhat gstat1 / N) = g x + h */
        const double scale = count > 0.0 ? gamma[k] * rstd / count : 0.0, slope = -scale * gstat[tables.c + k] * rstd;
        set(&tables, 2, k, slope);
        set(&tables, 3, k, -scale * gstat[k] - slope * mean);
    }
    const float *dy = call->in[0].data, *x = call->in[1].data; /* [n,c] */
    float *dx = call->out[0].data;                             /* [n,c] */
    const int64_t numel = dpt_type_numel(&call->in[0].type), period = tables.period;
    for (int64_t at = 0; at < numel; at += period) {
        const int64_t n = numel - at < period ? numel - at : period;
        dpt_op__batch_norm_dx_run(n, param->act == DPT_ACTIVATION_KIND_RELU, tables.a[0], tables.a[1], tables.a[2],
                                  tables.a[3], dy + at, x + at, dx + at);
    }
    return DPT_STATUS_OK;
}
