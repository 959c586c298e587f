/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fast kernel of op/rotary.c, in float. Sines and cosines of all rows are made once a call, by turning each row by one
 * more step in double: an error of about 1e-16 a row.
 */

#include "op/rotary.h"

#include <math.h>

#include "base/simd.h"

/* Per row d / 2 cosines and sines in float; then, in double, the present and the step's cosines and sines. */
size_t dpt_op__rotary_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep)
{
    (void)threads, (void)prep;
    const struct dpt_type *x = &types->in[0];
    const size_t s = (size_t)x->dim[1], half = (size_t)x->dim[x->ndim - 1] / 2;
    const bool fast = run == DPT_RUN_CPU && x->dtype == DPT_DTYPE_F32;
    return fast ? 4 * half * sizeof(double) + 2 * s * half * sizeof(float) : 0;
}

/* Writes the row's cosines and sines and turns on to the next row. */
DPT_SIMD static void rotary_next(int64_t half, double *c, double *s, const double *step_c, const double *step_s,
                                 float *row_c, float *row_s)
{
#pragma omp simd
    for (int64_t j = 0; j < half; j++) {
        const double now_c = c[j], now_s = s[j];
        row_c[j] = (float)now_c;
        row_s[j] = (float)now_s;
        c[j] = now_c * step_c[j] - now_s * step_s[j];
        s[j] = now_s * step_c[j] + now_c * step_s[j];
    }
}

/* y may be x. */
DPT_SIMD static void rotary_head(int64_t half, const float *c, const float *s, const float *x, float *y)
{
#pragma omp simd
    for (int64_t j = 0; j < half; j++) {
        const float first = x[j], second = x[j + half];
        y[j] = first * c[j] - second * s[j];
        y[j + half] = second * c[j] + first * s[j];
    }
}

void dpt_op__rotary_f32(const struct dpt_op_call *call)
{
    const struct dpt_rotary_param *param = call->types->param;
    const struct dpt_type *type = &call->in[0].type;
    const int64_t b = type->dim[0], s = type->dim[1], d = type->dim[type->ndim - 1], half = d / 2;
    const int64_t rows = b * s, a = rows * d > 0 ? dpt_type_numel(type) / (rows * d) : 0;
    const double sign = param->inverse ? -1.0 : 1.0, first = (double)dpt_op_begin(call, 0, 1);
    double *now = call->scratch;
    float *table = (float *)(now + 4 * half);
    if (rows * a * half == 0) {
        return;
    }
    for (int64_t j = 0; j < half; j++) {
        const double step = sign * pow(param->base, -2.0 * (double)j / (double)d);
        now[j] = cos(first * step);
        now[half + j] = sin(first * step);
        now[2 * half + j] = cos(step);
        now[3 * half + j] = sin(step);
    }
    for (int64_t i = 0; i < s; i++) {
        rotary_next(half, now, now + half, now + 2 * half, now + 3 * half, table + 2 * i * half,
                    table + (2 * i + 1) * half);
    }
    const float *x = call->in[0].data;
    float *y = call->out[0].data;
    for (int64_t i = 0; i < rows; i++) {
        const float *c = table + 2 * (i % s) * half;
        for (int64_t k = 0; k < a; k++, x += d, y += d) {
            rotary_head(half, c, c + half, x, y);
        }
    }
}
