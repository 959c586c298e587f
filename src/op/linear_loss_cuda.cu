/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Twin of linear_loss.c: logits of a chunk of positions at a time, by cuBLASLt, which one kernel turns into losses, counts
 * and their own gradients; two further products give dx of the chunk and add to dw.
 *
 * Scratch: losses, counts and hits of all positions, then the logits of a chunk.
 */

#include "op/cuda.cuh"

extern "C" {
#include "op/linear_loss.h"
}

#include "op/gemm_cuda.h"

enum { CHUNK = 1 << 25 }; /* logits in a chunk, about: 128 MiB */

static int64_t chunk_rows(int64_t positions, int64_t classes)
{
    const int64_t rows = CHUNK / (classes > 0 ? classes : 1) / 16 * 16; /* chunks begin at multiples of 64 bytes */
    return rows >= positions ? positions : rows > 0 ? rows : 16;
}

static int64_t rounded(int64_t n)
{
    return (n + 15) / 16 * 16;
}

extern "C" size_t dpt_op__linear_loss_scratch_cuda(const struct dpt_op_types *types)
{
    const int64_t positions = types->in[0].dim[0] * types->in[0].dim[1], classes = types->in[1].dim[0];
    const int64_t rows = chunk_rows(positions, classes);
    return (size_t)(3 * rounded(positions) + (rows < positions ? rows : positions) * classes) * sizeof(float);
}

/*
 * A block a position of the chunk. z becomes scale (softmax(z) - onehot), or 0 where there is no target; of equal logits
 * the lowest token is the largest. A target that no token has makes the loss nan.
 */
static __global__ void losses(int64_t classes, float scale, const int32_t *target, float *z, float *loss, float *tokens,
                              float *right)
{
    const int64_t row = blockIdx.x, wanted = target[row];
    float most = -INFINITY, sum = 0.0f;
    int beaten = 0;
    z += row * classes;
    if (wanted < 0) {
        for (int64_t v = threadIdx.x; v < classes; v += blockDim.x) {
            z[v] = 0.0f;
        }
        if (threadIdx.x == 0) {
            loss[row] = tokens[row] = right[row] = 0.0f;
        }
        return;
    }
    const float hit = wanted < classes ? z[wanted] : nanf("");
    for (int64_t v = threadIdx.x; v < classes; v += blockDim.x) {
        most = fmaxf(most, z[v]);
        beaten += z[v] < hit || (z[v] == hit && v >= wanted);
    }
    most = dpt_block_max(most);
    for (int64_t v = threadIdx.x; v < classes; v += blockDim.x) {
        sum += expf(z[v] - most);
    }
    sum = dpt_block_sum(sum);
    beaten = dpt_block_sum(beaten);
    for (int64_t v = threadIdx.x; v < classes; v += blockDim.x) {
        z[v] = scale * (expf(z[v] - most) / sum - (v == wanted ? 1.0f : 0.0f));
    }
    if (threadIdx.x == 0) {
        loss[row] = most + logf(sum) - hit;
        tokens[row] = 1.0f;
        right[row] = beaten == classes ? 1.0f : 0.0f;
    }
}

/* A block a sample: its loss and counts. */
static __global__ void add_positions(int64_t s, float positions, const float *loss, const float *tokens,
                                     const float *right, float *out, float *count)
{
    const int64_t sample = blockIdx.x;
    double sums[3] = {0.0, 0.0, 0.0};
    for (int64_t i = sample * s + threadIdx.x; i < (sample + 1) * s; i += blockDim.x) {
        sums[0] += loss[i];
        sums[1] += tokens[i];
        sums[2] += right[i];
    }
    for (int k = 0; k < 3; k++) {
        sums[k] = dpt_block_sum(sums[k]);
    }
    if (threadIdx.x == 0) {
        out[sample] = (float)(sums[0] / positions);
        count[2 * sample] = (float)sums[1];
        count[2 * sample + 1] = (float)sums[2];
    }
}

/* Loss and gradients of positions [first, first + rows). */
static enum dpt_status do_chunk(const struct dpt_op_call *call, int64_t first, int64_t rows, float *z, float *loss,
                                float *tokens, float *right)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_linear_loss_param *param = (const struct dpt_linear_loss_param *)call->types->param;
    const int64_t h = call->in[0].type.dim[2], classes = call->in[1].type.dim[0];
    const float *x = (const float *)call->in[0].data + first * h, *w = (const float *)call->in[1].data;
    const int32_t *target = (const int32_t *)call->in[2].data + first;
    const double scale = 1.0 / ((double)dpt_op_whole(call, 0, 1) * (double)call->ctx->batch_rows);
    const struct dpt_cuda_gemm logits = {false, true, false, rows, classes, h, x, w, NULL, z};
    DPT_TRY(dpt_cuda_gemm(cuda, &logits));
    DPT_LAUNCH_ROWS(cuda, rows, losses, classes, (float)scale, target, z, loss + first, tokens + first, right + first);
    if (param->gradients) {
        float *dx = (float *)call->out[2].data + first * h, *dw = (float *)call->out[3].data;
        const struct dpt_cuda_gemm back = {false, false, false, rows, h, classes, z, w, NULL, dx};
        const struct dpt_cuda_gemm add = {true, false, first > 0, classes, h, rows, z, x, NULL, dw};
        DPT_TRY(dpt_cuda_gemm(cuda, &back));
        DPT_TRY(dpt_cuda_gemm(cuda, &add));
    }
    return DPT_STATUS_OK;
}

extern "C" enum dpt_status dpt_op__linear_loss_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_linear_loss_param *param = (const struct dpt_linear_loss_param *)call->types->param;
    const int64_t b = call->in[0].type.dim[0], s = call->in[0].type.dim[1], n = b * s;
    const int64_t most = chunk_rows(n, call->in[1].type.dim[0]);
    float *loss = (float *)call->scratch, *tokens = loss + rounded(n), *right = tokens + rounded(n);
    float *z = right + rounded(n);
    if (param->gradients && n == 0) {
        DPT_TRY(dpt_dev_zero(call->dev, call->out[3].data, dpt_type_nbytes(&call->out[3].type)));
    }
    for (int64_t first = 0; first < n; first += most) {
        DPT_TRY(do_chunk(call, first, n - first < most ? n - first : most, z, loss, tokens, right));
    }
    DPT_LAUNCH_ROWS(cuda, b, add_positions, s, (float)dpt_op_whole(call, 0, 1), (const float *)loss, (const float *)tokens,
                    (const float *)right, (float *)call->out[0].data, (float *)call->out[1].data);
    return DPT_STATUS_OK;
}
