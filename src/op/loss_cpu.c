/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fast kernels of op/loss.c, in float. With few classes a loop over one sample is too short for vectors, so
 * exponentials are taken of many samples at once: first x - max of each sample, then exp of the whole block, then the
 * sums.
 */

#include "op/loss.h"

#include <math.h>

#include "base/simd.h"
#include "op/mathf.h"
#include "op/op.h"
#include "op/softmax.h"

enum { BLOCK = 4096 }; /* elements; fits the first-level cache twice */

/* Samples whose exponentials are taken together: at least one. */
static int64_t block_rows(int64_t classes)
{
    return classes >= BLOCK ? 1 : BLOCK / classes;
}

size_t dpt_op__cross_entropy_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep)
{
    (void)threads;
    (void)prep;
    const int64_t rows = types->in[0].dim[0], classes = types->in[0].dim[1];
    const int64_t most = block_rows(classes) < rows ? block_rows(classes) : rows;
    return run == DPT_RUN_CPU && types->in[0].dtype == DPT_DTYPE_F32 ? (size_t)(most * classes) * sizeof(float) : 0;
}

/* e = x - shift; e may be x. */
DPT_SIMD static void loss_subtract(int64_t n, float shift, const float *x, float *e)
{
#pragma omp simd
    for (int64_t v = 0; v < n; v++) {
        e[v] = x[v] - shift;
    }
}

/* e[i,v] = x[i,v] - max_v x[i,v]; e may be x. */
static void subtract_max(int64_t rows, int64_t classes, const float *x, float *e)
{
    for (int64_t i = 0; i < rows; i++, x += classes, e += classes) {
        loss_subtract(classes, dpt_op__max_f32(classes, x, x[0]), x, e);
    }
}

DPT_SIMD static void loss_exp(int64_t n, float *e)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        e[i] = dpt_op__expf(e[i]);
    }
}

DPT_SIMD static float loss_sum(int64_t n, const float *e)
{
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        sum += e[i];
    }
    return sum;
}

/* dx = dx * scale - shift */
DPT_SIMD static void loss_scale(int64_t n, float scale, float shift, float *dx)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        dx[i] = dx[i] * scale - shift;
    }
}

void dpt_op__cross_entropy_f32(const struct dpt_op_call *call)
{
    const struct dpt_cross_entropy_param *param = call->types->param;
    const int64_t n = call->in[0].type.dim[0], classes = call->in[0].type.dim[1], rows = block_rows(classes);
    const float onehot = (float)(1.0 - param->smoothing), rest = (float)(param->smoothing / (double)classes);
    const float *x = call->in[0].data;
    const int32_t *target = call->in[1].data;
    float *loss = call->out[0].data, *e = call->scratch;
    for (int64_t begin = 0; begin < n; begin += rows) {
        const int64_t count = n - begin < rows ? n - begin : rows;
        subtract_max(count, classes, x + begin * classes, e);
        /* The linear part first, then the same memory holds the exponentials. */
        for (int64_t i = 0; i < count; i++) {
            const int32_t right = target[begin + i];
            DPT_ASSERT(right >= 0 && right < classes);
            loss[begin + i] = -onehot * e[i * classes + right];
            if (rest > 0.0f) {
                loss[begin + i] -= rest * loss_sum(classes, e + i * classes);
            }
        }
        loss_exp(count * classes, e);
        for (int64_t i = 0; i < count; i++) {
            loss[begin + i] += logf(loss_sum(classes, e + i * classes));
        }
    }
}

void dpt_op__cross_entropy_dx_f32(const struct dpt_op_call *call)
{
    const struct dpt_cross_entropy_param *param = call->types->param;
    const int64_t n = call->in[0].type.dim[0], classes = call->in[0].type.dim[1], rows = block_rows(classes);
    const double scale = dpt_op_seed(call->ctx);
    const float onehot = (float)((1.0 - param->smoothing) * scale);
    const float rest = (float)(param->smoothing / (double)classes * scale);
    const float *x = call->in[0].data;
    const int32_t *target = call->in[1].data;
    float *dx = call->out[0].data;
    for (int64_t begin = 0; begin < n; begin += rows) {
        const int64_t count = n - begin < rows ? n - begin : rows;
        subtract_max(count, classes, x + begin * classes, dx + begin * classes);
        loss_exp(count * classes, dx + begin * classes);
        for (int64_t i = begin; i < begin + count; i++) {
            DPT_ASSERT(target[i] >= 0 && target[i] < classes);
            float *row = dx + i * classes;
            loss_scale(classes, (float)scale / loss_sum(classes, row), rest, row);
            row[target[i]] -= onehot;
        }
    }
}

DPT_SIMD static float loss_squares(int64_t n, const float *y, const float *t)
{
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        const float error = y[i] - t[i];
        sum += error * error;
    }
    return sum;
}

DPT_SIMD static void loss_errors(int64_t n, float factor, const float *y, const float *t, float *dy)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        dy[i] = factor * (y[i] - t[i]);
    }
}

void dpt_op__mse_f32(const struct dpt_op_call *call)
{
    const int64_t n = call->out[0].type.dim[0], elements = n ? dpt_type_numel(&call->in[0].type) / n : 0;
    const float *y = call->in[0].data, *t = call->in[1].data;
    float *loss = call->out[0].data;
    for (int64_t i = 0; i < n; i++) {
        loss[i] = loss_squares(elements, y + i * elements, t + i * elements) / (float)dpt_op_whole_sample(call, 0);
    }
}

void dpt_op__mse_dx_f32(const struct dpt_op_call *call)
{
    const double factor = 2.0 * dpt_op_seed(call->ctx) / (double)dpt_op_whole_sample(call, 0);
    loss_errors(dpt_type_numel(&call->in[0].type), (float)factor, call->in[0].data, call->in[1].data,
                call->out[0].data);
}
