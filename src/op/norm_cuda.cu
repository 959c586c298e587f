/* SPDX-License-Identifier: Apache-2.0 */

/* Twins of layer_norm.c and rms_norm.c, a block a row; and of bias_dw (linear.c), which is a sum over rows as theirs. */

#include "op/cuda.cuh"

extern "C" {
#include "op/layer_norm.h"
#include "op/rms_norm.h"
}

/* ------------------------------------------------------------------------------------------------------ layer norm */

static __global__ void layer_norm(int64_t h, float eps, struct dpt_in x, struct dpt_in gamma, struct dpt_in beta,
                                  struct dpt_out y, struct dpt_out mean, struct dpt_out rstd)
{
    const int64_t row = blockIdx.x;
    float sum = 0.0f, squares = 0.0f;
    x = x + row * h;
    y = y + row * h;
    for (int64_t j = threadIdx.x; j < h; j += blockDim.x) {
        sum += x[j];
    }
    const float centre = dpt_block_sum(sum) / (float)h;
    for (int64_t j = threadIdx.x; j < h; j += blockDim.x) {
        squares += (x[j] - centre) * (x[j] - centre);
    }
    const float factor = 1.0f / sqrtf(dpt_block_sum(squares) / (float)h + eps);
    for (int64_t j = threadIdx.x; j < h; j += blockDim.x) {
        y[j] = gamma[j] * (x[j] - centre) * factor + (beta.data ? beta[j] : 0.0f);
    }
    if (threadIdx.x == 0) {
        mean[row] = centre;
        rstd[row] = factor;
    }
}

extern "C" enum dpt_status dpt_op__layer_norm_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_layer_norm_param *param = (const struct dpt_layer_norm_param *)call->types->param;
    const int64_t h = call->in[1].type.dim[0], n = dpt_type_numel(&call->in[0].type) / h;
    DPT_LAUNCH_ROWS(cuda, n, layer_norm, h, (float)param->eps, dpt_in_of(call, 0),
                    dpt_in_of(call, 1), dpt_in_of(call, 2), dpt_out_of(call, 0), dpt_out_of(call, 1),
                    dpt_out_of(call, 2));
    return DPT_STATUS_OK;
}

static __global__ void layer_norm_dx(int64_t h, struct dpt_in dy, struct dpt_in x, struct dpt_in mean,
                                     struct dpt_in rstd, struct dpt_in gamma, struct dpt_out dx)
{
    const int64_t row = blockIdx.x;
    const float centre = mean[row], factor = rstd[row];
    float sum = 0.0f, product = 0.0f;
    dy = dy + row * h;
    x = x + row * h;
    dx = dx + row * h;
    for (int64_t j = threadIdx.x; j < h; j += blockDim.x) {
        const float e = dy[j] * gamma[j];
        sum += e;
        product += e * (x[j] - centre) * factor;
    }
    sum = dpt_block_sum(sum) / (float)h;
    product = dpt_block_sum(product) / (float)h;
    for (int64_t j = threadIdx.x; j < h; j += blockDim.x) {
        dx[j] = factor * (dy[j] * gamma[j] - sum - (x[j] - centre) * factor * product);
    }
}

extern "C" enum dpt_status dpt_op__layer_norm_dx_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const int64_t h = call->in[4].type.dim[0], n = dpt_type_numel(&call->in[1].type) / h;
    DPT_LAUNCH_ROWS(cuda, n, layer_norm_dx, h, dpt_in_of(call, 0), dpt_in_of(call, 1),
                    dpt_in_of(call, 2), dpt_in_of(call, 3), dpt_in_of(call, 4),
                    dpt_out_of(call, 0));
    return DPT_STATUS_OK;
}

/* What an element adds to dgamma and dbeta. */
struct layer_norm_dw {
    int64_t h;
    struct dpt_in dy, x, mean, rstd;

    __device__ void operator()(int64_t row, int64_t j, float out[2]) const
    {
        const float d = dy[row * h + j];
        out[0] = d * (x[row * h + j] - mean[row]) * rstd[row];
        out[1] = d;
    }
};

extern "C" enum dpt_status dpt_op__layer_norm_dw_cuda(const struct dpt_op_call *call)
{
    const int64_t h = call->out[0].type.dim[0], n = h ? dpt_type_numel(&call->in[1].type) / h : 0;
    const struct layer_norm_dw value = {h, dpt_in_of(call, 0), dpt_in_of(call, 1), dpt_in_of(call, 2),
                                        dpt_in_of(call, 3)};
    const struct dpt_columns<2> out = {{(float *)call->out[0].data, (float *)call->out[1].data}};
    dpt_column_sums<2>(dpt_cuda_of(call->dev), n, h, value, call->scratch, out);
    return DPT_STATUS_OK;
}

extern "C" size_t dpt_op__layer_norm_dw_scratch_cuda(const struct dpt_op_types *types)
{
    return dpt_column_scratch(2, types->out[0].dim[0]);
}

/* -------------------------------------------------------------------------------------------------------- rms norm */

static __global__ void rms_norm(int64_t h, float eps, struct dpt_in x, struct dpt_in gamma, struct dpt_out y,
                                struct dpt_out rstd)
{
    const int64_t row = blockIdx.x;
    float squares = 0.0f;
    x = x + row * h;
    y = y + row * h;
    for (int64_t j = threadIdx.x; j < h; j += blockDim.x) {
        squares += x[j] * x[j];
    }
    const float factor = 1.0f / sqrtf(dpt_block_sum(squares) / (float)h + eps);
    for (int64_t j = threadIdx.x; j < h; j += blockDim.x) {
        y[j] = gamma[j] * x[j] * factor;
    }
    if (threadIdx.x == 0) {
        rstd[row] = factor;
    }
}

extern "C" enum dpt_status dpt_op__rms_norm_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_rms_norm_param *param = (const struct dpt_rms_norm_param *)call->types->param;
    const int64_t h = call->in[1].type.dim[0], n = dpt_type_numel(&call->in[0].type) / h;
    DPT_LAUNCH_ROWS(cuda, n, rms_norm, h, (float)param->eps, dpt_in_of(call, 0),
                    dpt_in_of(call, 1), dpt_out_of(call, 0), dpt_out_of(call, 1));
    return DPT_STATUS_OK;
}

static __global__ void rms_norm_dx(int64_t h, struct dpt_in dy, struct dpt_in x, struct dpt_in rstd, struct dpt_in gamma,
                                   struct dpt_out dx)
{
    const int64_t row = blockIdx.x;
    const float factor = rstd[row];
    float product = 0.0f;
    dy = dy + row * h;
    x = x + row * h;
    dx = dx + row * h;
    for (int64_t j = threadIdx.x; j < h; j += blockDim.x) {
        product += dy[j] * gamma[j] * x[j] * factor;
    }
    product = dpt_block_sum(product) / (float)h;
    for (int64_t j = threadIdx.x; j < h; j += blockDim.x) {
        dx[j] = factor * (dy[j] * gamma[j] - x[j] * factor * product);
    }
}

extern "C" enum dpt_status dpt_op__rms_norm_dx_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const int64_t h = call->in[3].type.dim[0], n = dpt_type_numel(&call->in[1].type) / h;
    DPT_LAUNCH_ROWS(cuda, n, rms_norm_dx, h, dpt_in_of(call, 0), dpt_in_of(call, 1),
                    dpt_in_of(call, 2), dpt_in_of(call, 3), dpt_out_of(call, 0));
    return DPT_STATUS_OK;
}

/* What an element adds to dgamma. */
struct rms_norm_dw {
    int64_t h;
    struct dpt_in dy, x, rstd;

    __device__ void operator()(int64_t row, int64_t j, float out[1]) const
    {
        out[0] = dy[row * h + j] * x[row * h + j] * rstd[row];
    }
};

extern "C" enum dpt_status dpt_op__rms_norm_dw_cuda(const struct dpt_op_call *call)
{
    const int64_t h = call->out[0].type.dim[0], n = h ? dpt_type_numel(&call->in[1].type) / h : 0;
    const struct rms_norm_dw value = {h, dpt_in_of(call, 0), dpt_in_of(call, 1), dpt_in_of(call, 2)};
    const struct dpt_columns<1> out = {{(float *)call->out[0].data}};
    dpt_column_sums<1>(dpt_cuda_of(call->dev), n, h, value, call->scratch, out);
    return DPT_STATUS_OK;
}

/* Of ops with one sum for each element of output 0. */
extern "C" size_t dpt_op__column_scratch_cuda(const struct dpt_op_types *types)
{
    return dpt_column_scratch(1, dpt_type_numel(&types->out[0]));
}

/* ------------------------------------------------------------------------------------------------------------ bias */

struct bias_dw {
    int64_t k;
    struct dpt_in dy;

    __device__ void operator()(int64_t row, int64_t o, float out[1]) const
    {
        out[0] = dy[row * k + o];
    }
};

extern "C" enum dpt_status dpt_op__bias_dw_cuda(const struct dpt_op_call *call)
{
    const int64_t k = dpt_type_numel(&call->out[0].type), n = k ? dpt_type_numel(&call->in[0].type) / k : 0;
    const struct bias_dw value = {k, dpt_in_of(call, 0)};
    const struct dpt_columns<1> out = {{(float *)call->out[0].data}};
    dpt_column_sums<1>(dpt_cuda_of(call->dev), n, k, value, call->scratch, out);
    return DPT_STATUS_OK;
}
