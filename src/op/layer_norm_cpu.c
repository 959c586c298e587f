/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fast kernels of op/layer_norm.c, in float. A row is read again for each of its sums; it is in the first-level cache
 * by then. y may be the memory of x, r that of x or of what is added to it, and dx that of dy or x, but not of dr.
 */

#include "op/layer_norm.h"

#include <math.h>

#include "base/simd.h"
#include "op/norm.h"

DPT_SIMD static void layer_norm_row(int64_t h, float eps, const float *x, const float *gamma, const float *beta,
                                    float *y, float *mean, float *rstd)
{
    float sum = 0.0f, squares = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < h; j++) {
        sum += x[j];
    }
    const float centre = sum / (float)h;
#pragma omp simd reduction(+ : squares)
    for (int64_t j = 0; j < h; j++) {
        squares += (x[j] - centre) * (x[j] - centre);
    }
    const float factor = 1.0f / sqrtf(squares / (float)h + eps);
#pragma omp simd
    for (int64_t j = 0; j < h; j++) {
        y[j] = gamma[j] * ((x[j] - centre) * factor);
    }
#pragma omp simd
    for (int64_t j = 0; j < (beta ? h : 0); j++) {
        y[j] += beta[j];
    }
    *mean = centre;
    *rstd = factor;
}

void dpt_op__layer_norm_f32(const struct dpt_op_call *call)
{
    const struct dpt_layer_norm_param *param = call->types->param;
    const int64_t h = call->in[1].type.dim[0], n = dpt_type_numel(&call->in[0].type) / h;
    const float *x = call->in[0].data, *beta = call->types->nin > 2 ? call->in[2].data : NULL;
    float *y = call->out[0].data, *mean = call->out[1].data, *rstd = call->out[2].data;
    for (int64_t i = 0; i < n; i++) {
        layer_norm_row(h, (float)param->eps, x + i * h, call->in[1].data, beta, y + i * h, &mean[i],
                       &rstd[i]);
    }
}

void dpt_op__add_layer_norm_f32(const struct dpt_op_call *call)
{
    const struct dpt_layer_norm_param *param = call->types->param;
    const int64_t h = call->in[2].type.dim[0], n = dpt_type_numel(&call->in[0].type) / h;
    const float *x = call->in[0].data, *more = call->in[1].data, *beta = call->types->nin > 3 ? call->in[3].data : NULL;
    float *r = call->out[0].data, *y = call->out[1].data, *mean = call->out[2].data, *rstd = call->out[3].data;
    for (int64_t i = 0; i < n; i++) {
        dpt_op__sum_row(dpt_op_kept(call->types, 0), h, x + i * h, more + i * h, r + i * h);
        layer_norm_row(h, (float)param->eps, r + i * h, call->in[2].data, beta, y + i * h, &mean[i], &rstd[i]);
    }
}

DPT_SIMD static void layer_norm_dx_row(int64_t h, float mean, float rstd, const float *dy, const float *x,
                                       const float *gamma, float *dx)
{
    float sum = 0.0f, product = 0.0f;
#pragma omp simd reduction(+ : sum, product)
    for (int64_t j = 0; j < h; j++) {
        const float e = dy[j] * gamma[j];
        sum += e;
        product += e * ((x[j] - mean) * rstd);
    }
    const float shift = sum / (float)h, slope = product / (float)h;
#pragma omp simd
    for (int64_t j = 0; j < h; j++) {
        dx[j] = rstd * (dy[j] * gamma[j] - shift - (x[j] - mean) * rstd * slope);
    }
}

void dpt_op__layer_norm_dx_f32(const struct dpt_op_call *call)
{
    const int64_t h = call->in[4].type.dim[0], n = h ? dpt_type_numel(&call->in[1].type) / h : 0;
    const float *dy = call->in[0].data, *x = call->in[1].data, *mean = call->in[2].data, *rstd = call->in[3].data;
    float *dx = call->out[0].data;
    for (int64_t i = 0; i < n; i++) {
        layer_norm_dx_row(h, mean[i], rstd[i], dy + i * h, x + i * h, call->in[4].data, dx + i * h);
        if (call->types->nin > 5) {
            dpt_op__add_row(dpt_op_kept(call->types, 0), h, (const float *)call->in[5].data + i * h, dx + i * h);
        }
    }
}

enum { COLUMNS = 256, ROWS = 128 }; /* sums of so many rows are made in float before they join a sum in double */

/* Adds rows i < n of `count` columns to dgamma and dbeta; rows lie h apart. */
DPT_SIMD static void layer_norm_dw_block(int64_t n, int64_t count, int64_t h, const float *dy, const float *x,
                                         const float *mean, const float *rstd, double *dgamma, double *dbeta)
{
    float product[COLUMNS] = {0}, sum[COLUMNS] = {0};
    for (int64_t i = 0; i < n; i++, dy += h, x += h) {
#pragma omp simd
        for (int64_t j = 0; j < count; j++) {
            product[j] += dy[j] * ((x[j] - mean[i]) * rstd[i]);
            sum[j] += dy[j];
        }
    }
    for (int64_t j = 0; j < count; j++) {
        dgamma[j] += product[j];
        dbeta[j] += sum[j];
    }
}

void dpt_op__layer_norm_dw_f32(const struct dpt_op_call *call)
{
    const int64_t h = call->out[0].type.dim[0], n = h ? dpt_type_numel(&call->in[1].type) / h : 0;
    const float *dy = call->in[0].data, *x = call->in[1].data, *mean = call->in[2].data, *rstd = call->in[3].data;
    float *dgamma = call->out[0].data, *dbeta = call->out[1].data;
    for (int64_t begin = 0; begin < h; begin += COLUMNS) {
        double product[COLUMNS] = {0}, sum[COLUMNS] = {0};
        const int64_t count = h - begin < COLUMNS ? h - begin : COLUMNS;
        for (int64_t i = 0; i < n; i += ROWS) {
            layer_norm_dw_block(n - i < ROWS ? n - i : ROWS, count, h, dy + i * h + begin, x + i * h + begin, mean + i,
                                rstd + i, product, sum);
        }
        for (int64_t j = 0; j < count; j++) {
            dgamma[begin + j] = (float)product[j];
            dbeta[begin + j] = (float)sum[j];
        }
    }
}
