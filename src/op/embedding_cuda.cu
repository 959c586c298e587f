/* SPDX-License-Identifier: Apache-2.0 */

/* Twins of embedding.c and rotary.c. */

#include "op/cuda.cuh"

extern "C" {
#include "op/embedding.h"
#include "op/rotary.h"
}

/* The local row of a table that begins at `begin` and has `rows` rows; -1 for a row that is elsewhere. */
static __device__ int64_t local_row(int64_t token, int64_t begin, int64_t rows)
{
    return token >= begin && token < begin + rows ? token - begin : -1;
}

static __global__ void embedding(int64_t n, int64_t h, int64_t begin, int64_t rows, const int32_t *token,
                                 struct dpt_in w, struct dpt_out y)
{
    dpt_each(n, dpt_lines(h, w, y), [&](int64_t i, auto run) {
        const int64_t place = dpt_div(i, h), row = local_row(token[place], begin, rows);
        float at[run.n] = {};
        if (row >= 0) {
            dpt_load(row * h + (i - place * h), w, at);
        }
        y.store(i, at);
    });
}

extern "C" enum dpt_status dpt_op__embedding_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const int64_t rows = call->in[1].type.dim[0], h = call->in[1].type.dim[1];
    const int64_t n = dpt_type_numel(&call->out[0].type);
    DPT_LAUNCH_EACH(cuda, n, embedding, h, dpt_op_begin(call, 1, 0), rows, (const int32_t *)call->in[0].data,
                    dpt_in_of(call, 1), dpt_out_of(call, 0));
    return DPT_STATUS_OK;
}

/*
 * A block a token: where it is the first of its kind it adds up the rows of dy of all of them, in order, so that no two
 * blocks write one row of dw and the sum has one order. The others find an earlier one and leave.
 */
static __global__ void embedding_dw(int64_t n, int64_t h, int64_t begin, int64_t rows, const int32_t *token,
                                    struct dpt_in dy, struct dpt_out dw)
{
    enum { EACH = 4 }; /* columns of a thread */
    __shared__ int same[DPT_BLOCK];
    const int64_t mine = blockIdx.x, row = local_row(token[mine], begin, rows);
    int earlier = 0;
    for (int64_t i = threadIdx.x; i < mine; i += blockDim.x) {
        earlier |= token[i] == token[mine];
    }
    if (dpt_block_sum(earlier) > 0 || row < 0) { /* the same for all threads */
        return;
    }
    for (int64_t from = 0; from < h; from += EACH * blockDim.x) {
        const int64_t first = from + threadIdx.x;
        float sum[EACH] = {};
        for (int64_t tile = mine; tile < n; tile += blockDim.x) {
            const int64_t i = tile + threadIdx.x;
            const int found = i < n && token[i] == token[mine];
            const int any = dpt_block_sum(found);
            same[threadIdx.x] = found;
            __syncthreads();
            for (int k = 0; k < (int)blockDim.x && any > 0; k++) {
                if (same[k]) {
                    struct dpt_raw<1> raw[EACH];
                    DPT_UNROLL for (int e = 0; e < EACH; e++)
                    {
                        const int64_t j = first + e * blockDim.x;
                        dy.fetch((tile + k) * h + j, raw[e], j < h);
                    }
                    DPT_UNROLL for (int e = 0; e < EACH; e++)
                    {
                        float at[1];
                        dy.widen(raw[e], at);
                        sum[e] += at[0];
                    }
                }
            }
            __syncthreads();
        }
        for (int e = 0; e < EACH; e++) {
            if (first + e * blockDim.x < h) {
                dw[row * h + first + e * blockDim.x] = sum[e];
            }
        }
    }
}

extern "C" enum dpt_status dpt_op__embedding_dw_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const int64_t n = dpt_type_numel(&call->in[0].type), rows = call->out[0].type.dim[0], h = call->out[0].type.dim[1];
    DPT_TRY(dpt_dev_zero(call->dev, call->out[0].data, dpt_type_nbytes(&call->out[0].type)));
    /* Threads look at a token each, so that there are as many as columns, not as runs of them. */
    DPT_LAUNCH_ROWS(cuda, n, DPT_RUN * h, embedding_dw, n, h, dpt_op_begin(call, 2, 0), rows,
                    (const int32_t *)call->in[0].data, dpt_in_of(call, 1), dpt_out_of(call, 0));
    return DPT_STATUS_OK;
}

/* w begins at the row of the first position. */
static __global__ void position(int64_t n, int64_t sample, struct dpt_in x, struct dpt_in w, struct dpt_out y)
{
    dpt_each(n, dpt_lines(sample, x, w, y), [&](int64_t i, auto run) {
        float at[run.n], more[run.n];
        dpt_load(i, x, at);
        dpt_load(dpt_mod(i, sample), w, more);
        DPT_UNROLL for (int k = 0; k < run.n; k++)
        {
            at[k] += more[k];
        }
        y.store(i, at);
    });
}

extern "C" enum dpt_status dpt_op__position_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_type *type = &call->in[0].type;
    const int64_t h = type->dim[2], n = dpt_type_numel(type);
    DPT_LAUNCH_EACH(cuda, n, position, type->dim[1] * h, dpt_in_of(call, 0),
                    dpt_in_of(call, 1) + dpt_op_begin(call, 0, 1) * h, dpt_out_of(call, 0));
    return DPT_STATUS_OK;
}

static __global__ void position_dw(int64_t n, int64_t samples, struct dpt_in dy, struct dpt_out dw)
{
    enum { AT_ONCE = 4 };
    DPT_EACH(k, n)
    {
        double sum = 0.0;
        for (int64_t i = 0; i < samples; i += AT_ONCE) {
            struct dpt_raw<1> raw[AT_ONCE];
            DPT_UNROLL for (int e = 0; e < AT_ONCE; e++)
            {
                dy.fetch((i + e) * n + k, raw[e], i + e < samples);
            }
            DPT_UNROLL for (int e = 0; e < AT_ONCE; e++)
            {
                float at[1];
                dy.widen(raw[e], at);
                sum += at[0];
            }
        }
        dw[k] = (float)sum;
    }
}

extern "C" enum dpt_status dpt_op__position_dw_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_type *type = &call->in[0].type;
    const int64_t h = type->dim[2], n = type->dim[1] * h;
    DPT_TRY(dpt_dev_zero(call->dev, call->out[0].data, dpt_type_nbytes(&call->out[0].type)));
    DPT_LAUNCH_EACH(cuda, n, position_dw, type->dim[0], dpt_in_of(call, 0),
                    dpt_out_of(call, 0) + dpt_op_begin(call, 0, 1) * h);
    return DPT_STATUS_OK;
}

/* ---------------------------------------------------------------------------------------------------------- rotary */

/* n: rows times half a head; one angle serves all heads. It is made in double: positions are large. */
static __global__ void rotary(int64_t n, int64_t s, int64_t heads, int64_t d, int64_t begin, double base, bool inverse,
                              struct dpt_in x, struct dpt_out y)
{
    const int64_t half = d / 2;
    DPT_EACH(i, n)
    {
        const int64_t j = i % half, row = i / half;
        const double angle = (double)(begin + row % s) * pow(base, -2.0 * (double)j / (double)d);
        const float c = (float)cos(angle), turn = (float)(inverse ? -sin(angle) : sin(angle));
        for (int64_t head = row * heads; head < (row + 1) * heads; head++) {
            const int64_t at = head * d + j;
            const float first = x[at], second = x[at + half];
            y[at] = first * c - second * turn;
            y[at + half] = second * c + first * turn;
        }
    }
}

extern "C" enum dpt_status dpt_op__rotary_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_rotary_param *param = (const struct dpt_rotary_param *)call->types->param;
    const struct dpt_type *type = &call->in[0].type;
    const int64_t s = type->dim[1], d = type->dim[type->ndim - 1], rows = type->dim[0] * s;
    const int64_t n = rows * (d / 2), heads = rows * d > 0 ? dpt_type_numel(type) / (rows * d) : 1;
    DPT_LAUNCH_EACH(cuda, n, rotary, s, heads, d, dpt_op_begin(call, 0, 1), param->base, param->inverse != 0,
                    dpt_in_of(call, 0), dpt_out_of(call, 0));
    return DPT_STATUS_OK;
}
