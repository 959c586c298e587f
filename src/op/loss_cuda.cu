/* SPDX-License-Identifier: Apache-2.0 */

/* Twins of loss.c: a block a sample; sums over the samples of a call in one block, in a fixed order. */

#include "op/cuda.cuh"

extern "C" {
#include "op/loss.h"
}

/* The largest of a row and the sum of exponentials above it, in every thread. */
static __device__ void softmax_sums(struct dpt_in x, int64_t classes, float *max, float *sum)
{
    float most = -INFINITY, mine = 0.0f;
    const bool lines = dpt_lines(classes, x);
    dpt_row(classes, lines, [&](int64_t v, auto w) {
        float at[w.n];
        dpt_load(v, x, at);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            most = fmaxf(most, at[k]);
        }
    });
    *max = dpt_block_max(most);
    dpt_row(classes, lines, [&](int64_t v, auto w) {
        float at[w.n];
        dpt_load(v, x, at);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            mine += expf(at[k] - *max);
        }
    });
    *sum = dpt_block_sum(mine);
}

static __global__ void cross_entropy(int64_t classes, float smoothing, struct dpt_in x, const int32_t *target,
                                     struct dpt_out loss)
{
    const int64_t row = blockIdx.x;
    float max, sum, above = 0.0f;
    x = x + row * classes;
    softmax_sums(x, classes, &max, &sum);
    dpt_row(classes, dpt_lines(classes, x), [&](int64_t v, auto w) {
        float at[w.n];
        dpt_load(v, x, at);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            above += at[k] - max;
        }
    });
    above = dpt_block_sum(above);
    if (threadIdx.x == 0) {
        const float right = x[target[row]] - max;
        loss[row] = logf(sum) - (1.0f - smoothing) * right - smoothing / (float)classes * above;
    }
}

extern "C" enum dpt_status dpt_op__cross_entropy_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_cross_entropy_param *param = (const struct dpt_cross_entropy_param *)call->types->param;
    const int64_t n = call->in[0].type.dim[0], classes = call->in[0].type.dim[1];
    DPT_LAUNCH_ROWS(cuda, n, classes, cross_entropy, classes, (float)param->smoothing, dpt_in_of(call, 0),
                    (const int32_t *)call->in[1].data, dpt_out_of(call, 0));
    return DPT_STATUS_OK;
}

static __global__ void cross_entropy_dx(int64_t classes, float smoothing, float scale, struct dpt_in x,
                                        const int32_t *target, struct dpt_out dx)
{
    const int64_t row = blockIdx.x;
    const float others = smoothing / (float)classes;
    float max, sum;
    x = x + row * classes;
    dx = dx + row * classes;
    softmax_sums(x, classes, &max, &sum);
    const int64_t right = target[row];
    dpt_row(classes, dpt_lines(classes, x, dx), [&](int64_t v, auto w) {
        float at[w.n];
        dpt_load(v, x, at);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            const float wanted = (v + k == right ? 1.0f - smoothing : 0.0f) + others;
            at[k] = (expf(at[k] - max) / sum - wanted) * scale;
        }
        dx.store(v, at);
    });
}

extern "C" enum dpt_status dpt_op__cross_entropy_dx_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_cross_entropy_param *param = (const struct dpt_cross_entropy_param *)call->types->param;
    const int64_t n = call->in[0].type.dim[0], classes = call->in[0].type.dim[1];
    DPT_LAUNCH_ROWS(cuda, n, classes, cross_entropy_dx, classes, (float)param->smoothing, (float)dpt_op_seed(call->ctx),
                    dpt_in_of(call, 0), (const int32_t *)call->in[1].data, dpt_out_of(call, 0));
    return DPT_STATUS_OK;
}

static __global__ void mse(int64_t elements, float divisor, struct dpt_in y, struct dpt_in t, struct dpt_out loss)
{
    const int64_t row = blockIdx.x;
    float sum = 0.0f;
    for (int64_t e = row * elements + threadIdx.x; e < (row + 1) * elements; e += blockDim.x) {
        sum += (y[e] - t[e]) * (y[e] - t[e]);
    }
    sum = dpt_block_sum(sum);
    if (threadIdx.x == 0) {
        loss[row] = sum / divisor;
    }
}

extern "C" enum dpt_status dpt_op__mse_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const int64_t n = call->out[0].type.dim[0], elements = n ? dpt_type_numel(&call->in[0].type) / n : 0;
    DPT_LAUNCH_ROWS(cuda, n, elements, mse, elements, (float)dpt_op_whole_sample(call, 0), dpt_in_of(call, 0),
                    dpt_in_of(call, 1), dpt_out_of(call, 0));
    return DPT_STATUS_OK;
}

static __global__ void mse_dx(int64_t n, float factor, struct dpt_in y, struct dpt_in t, struct dpt_out dy)
{
    dpt_each(n, dpt_lines(0, y, t, dy), [&](int64_t i, auto w) {
        float a[w.n], b[w.n];
        dpt_load(i, y, a, t, b);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            a[k] = factor * (a[k] - b[k]);
        }
        dy.store(i, a);
    });
}

extern "C" enum dpt_status dpt_op__mse_dx_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const int64_t n = dpt_type_numel(&call->in[0].type);
    const double factor = 2.0 * dpt_op_seed(call->ctx) / (double)dpt_op_whole_sample(call, 0);
    DPT_LAUNCH_EACH(cuda, n, mse_dx, (float)factor, dpt_in_of(call, 0),
                    dpt_in_of(call, 1), dpt_out_of(call, 0));
    return DPT_STATUS_OK;
}

/* --------------------------------------------------------------------------------------------------------- metrics */

/* One block, a sample a warp: a class beats the target when it is larger, or equal and lower in number. */
static __global__ void class_metrics(int64_t n, int64_t classes, struct dpt_in x, const int32_t *target,
                                     struct dpt_in loss, double *out)
{
    const int lane = (int)threadIdx.x % DPT_WARP, warps = (int)blockDim.x / DPT_WARP;
    double losses = 0.0, first = 0.0, first_five = 0.0;
    for (int64_t i = threadIdx.x / DPT_WARP; i < n; i += warps) {
        const struct dpt_in row = x + i * classes;
        const float right = row[target[i]];
        int beaten = 0;
        for (int64_t v = lane; v < classes; v += DPT_WARP) {
            beaten += row[v] < right || (row[v] == right && v > target[i]);
        }
        const int64_t place = classes - 1 - dpt_warp_sum(beaten);
        if (lane == 0) {
            losses += loss[i];
            first += place == 0;
            first_five += place < 5;
        }
    }
    losses = dpt_block_sum(losses);
    first = dpt_block_sum(first);
    first_five = dpt_block_sum(first_five);
    if (threadIdx.x == 0) {
        out[0] = losses;
        out[1] = first;
        out[2] = first_five;
        out[3] = (double)n;
    }
}

extern "C" enum dpt_status dpt_op__class_metrics_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    DPT_LAUNCH(class_metrics, 1u, DPT_BLOCK, cuda->stream, call->in[0].type.dim[0], call->in[0].type.dim[1],
               dpt_in_of(call, 0), (const int32_t *)call->in[1].data, dpt_in_of(call, 2),
               (double *)call->out[0].data);
    return DPT_STATUS_OK;
}

static __global__ void real_metrics(int64_t n, int64_t numel, struct dpt_in y, struct dpt_in t, struct dpt_in loss,
                                    double *out)
{
    double losses = 0.0, errors = 0.0, sum = 0.0, squares = 0.0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        losses += loss[i];
    }
    for (int64_t e = threadIdx.x; e < numel; e += blockDim.x) {
        const double error = (double)y[e] - t[e];
        errors += error * error;
        sum += t[e];
        squares += (double)t[e] * t[e];
    }
    losses = dpt_block_sum(losses);
    errors = dpt_block_sum(errors);
    sum = dpt_block_sum(sum);
    squares = dpt_block_sum(squares);
    if (threadIdx.x == 0) {
        out[0] = losses;
        out[1] = errors;
        out[2] = sum;
        out[3] = squares;
        out[4] = (double)numel;
        out[5] = (double)n;
    }
}

extern "C" enum dpt_status dpt_op__real_metrics_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    DPT_LAUNCH(real_metrics, 1u, DPT_BLOCK, cuda->stream, call->in[0].type.dim[0], dpt_type_numel(&call->in[0].type),
               dpt_in_of(call, 0), dpt_in_of(call, 1), dpt_in_of(call, 2),
               (double *)call->out[0].data);
    return DPT_STATUS_OK;
}

/* Sums of linear_loss over samples: loss, right tokens, tokens, samples. */
static __global__ void token_metrics(int64_t n, struct dpt_in loss, struct dpt_in count, double *out)
{
    double losses = 0.0, right = 0.0, tokens = 0.0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        losses += loss[i];
        tokens += count[2 * i];
        right += count[2 * i + 1];
    }
    losses = dpt_block_sum(losses);
    right = dpt_block_sum(right);
    tokens = dpt_block_sum(tokens);
    if (threadIdx.x == 0) {
        out[0] = losses;
        out[1] = right;
        out[2] = tokens;
        out[3] = (double)n;
    }
}

extern "C" enum dpt_status dpt_op__token_metrics_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    DPT_LAUNCH(token_metrics, 1u, DPT_BLOCK, cuda->stream, call->in[0].type.dim[0], dpt_in_of(call, 0),
               dpt_in_of(call, 1), (double *)call->out[0].data);
    return DPT_STATUS_OK;
}
