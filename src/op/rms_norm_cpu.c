/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fast kernels of op/rms_norm.c, in float, in the manner of op/layer_norm_cpu.c, which says what may share memory.
 */

#include "op/rms_norm.h"

#include <math.h>

#include "base/simd.h"
#include "op/norm.h"

DPT_SIMD static void rms_norm_row(int64_t h, float eps, const float *x, const float *gamma, float *y, float *rstd)
{
    float squares = 0.0f;
#pragma omp simd reduction(+ : squares)
    for (int64_t j = 0; j < h; j++) {
        squares += x[j] * x[j];
    }
    const float factor = 1.0f / sqrtf(squares / (float)h + eps);
#pragma omp simd
    for (int64_t j = 0; j < h; j++) {
        y[j] = gamma[j] * (x[j] * factor);
    }
    *rstd = factor;
}

void dpt_op__rms_norm_f32(const struct dpt_op_call *call)
{
    const struct dpt_rms_norm_param *param = call->types->param;
    const int64_t h = call->in[1].type.dim[0], n = dpt_type_numel(&call->in[0].type) / h;
    const float *x = call->in[0].data;
    float *y = call->out[0].data, *rstd = call->out[1].data;
    for (int64_t i = 0; i < n; i++) {
        rms_norm_row(h, (float)param->eps, x + i * h, call->in[1].data, y + i * h, &rstd[i]);
    }
}

void dpt_op__add_rms_norm_f32(const struct dpt_op_call *call)
{
    const struct dpt_rms_norm_param *param = call->types->param;
    const int64_t h = call->in[2].type.dim[0], n = dpt_type_numel(&call->in[0].type) / h;
    const float *x = call->in[0].data, *more = call->in[1].data;
    float *r = call->out[0].data, *y = call->out[1].data, *rstd = call->out[2].data;
    for (int64_t i = 0; i < n; i++) {
        dpt_op__sum_row(dpt_op_kept(call->types, 0), h, x + i * h, more + i * h, r + i * h);
        rms_norm_row(h, (float)param->eps, r + i * h, call->in[2].data, y + i * h, &rstd[i]);
    }
}

DPT_SIMD static void rms_norm_dx_row(int64_t h, float rstd, const float *dy, const float *x, const float *gamma,
                                     float *dx)
{
    float product = 0.0f;
#pragma omp simd reduction(+ : product)
    for (int64_t j = 0; j < h; j++) {
        product += dy[j] * gamma[j] * (x[j] * rstd);
    }
    const float slope = product / (float)h;
#pragma omp simd
    for (int64_t j = 0; j < h; j++) {
        dx[j] = rstd * (dy[j] * gamma[j] - x[j] * rstd * slope);
    }
}

void dpt_op__rms_norm_dx_f32(const struct dpt_op_call *call)
{
    const int64_t h = call->in[3].type.dim[0], n = h ? dpt_type_numel(&call->in[1].type) / h : 0;
    const float *dy = call->in[0].data, *x = call->in[1].data, *rstd = call->in[2].data;
    float *dx = call->out[0].data;
    for (int64_t i = 0; i < n; i++) {
        rms_norm_dx_row(h, rstd[i], dy + i * h, x + i * h, call->in[3].data, dx + i * h);
        if (call->types->nin > 4) {
            dpt_op__add_row(dpt_op_kept(call->types, 0), h, (const float *)call->in[4].data + i * h, dx + i * h);
        }
    }
}

enum { COLUMNS = 256, ROWS = 128 }; /* sums of so many rows are made in float before they join a sum in double */

/* Adds rows i < n of `count` columns to dgamma; rows lie h apart. */
DPT_SIMD static void rms_norm_dw_block(int64_t n, int64_t count, int64_t h, const float *dy, const float *x,
                                       const float *rstd, double *dgamma)
{
    float product[COLUMNS] = {0};
    for (int64_t i = 0; i < n; i++, dy += h, x += h) {
#pragma omp simd
        for (int64_t j = 0; j < count; j++) {
            product[j] += dy[j] * (x[j] * rstd[i]);
        }
    }
    for (int64_t j = 0; j < count; j++) {
        dgamma[j] += product[j];
    }
}

void dpt_op__rms_norm_dw_f32(const struct dpt_op_call *call)
{
    const int64_t h = call->out[0].type.dim[0], n = h ? dpt_type_numel(&call->in[1].type) / h : 0;
    const float *dy = call->in[0].data, *x = call->in[1].data, *rstd = call->in[2].data;
    float *dgamma = call->out[0].data;
    for (int64_t begin = 0; begin < h; begin += COLUMNS) {
        double product[COLUMNS] = {0};
        const int64_t count = h - begin < COLUMNS ? h - begin : COLUMNS;
        for (int64_t i = 0; i < n; i += ROWS) {
            rms_norm_dw_block(n - i < ROWS ? n - i : ROWS, count, h, dy + i * h + begin, x + i * h + begin, rstd + i,
                              product);
        }
        for (int64_t j = 0; j < count; j++) {
            dgamma[begin + j] = (float)product[j];
        }
    }
}
