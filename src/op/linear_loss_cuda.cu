/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Twins of linear_loss.c and vocab_loss.c: logits of a chunk of positions at a time, by cuBLASLt, which one kernel turns
 * into losses, counts and their own gradients; two further products give dx of the chunk and add to dw. With a part of the
 * vocabulary what ranks must know of one another stands between the two halves.
 *
 * Scratch of linear_loss: losses, counts and hits of all positions, then the logits of a chunk; of the others: logits.
 */

#include "op/cuda.cuh"

extern "C" {
#include "op/vocab_loss.h"
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

static int64_t positions_of(const struct dpt_op_types *types)
{
    return types->in[0].dim[0] * types->in[0].dim[1];
}

extern "C" size_t dpt_op__vocab_scratch_cuda(const struct dpt_op_types *types)
{
    const int64_t positions = positions_of(types), classes = types->in[1].dim[0], rows = chunk_rows(positions, classes);
    return (size_t)((rows < positions ? rows : positions) * classes) * sizeof(float);
}

extern "C" size_t dpt_op__linear_loss_scratch_cuda(const struct dpt_op_types *types)
{
    return (size_t)(3 * rounded(positions_of(types))) * sizeof(float) + dpt_op__vocab_scratch_cuda(types);
}

/* z: the logits of positions [first, first + rows); x and w are inputs 0 and 1. */
static enum dpt_status make_logits(const struct dpt_op_call *call, int64_t first, int64_t rows, float *z)
{
    const int64_t h = call->in[0].type.dim[2], classes = call->in[1].type.dim[0];
    const float *x = (const float *)call->in[0].data + first * h, *w = (const float *)call->in[1].data;
    const struct dpt_cuda_gemm logits = {false, true, false, rows, classes, h, x, w, NULL, z};
    return dpt_cuda_gemm(dpt_cuda_of(call->dev), &logits);
}

/* From the gradients z of those logits dx of the positions, and what they add to dw: outputs dx and dx + 1. */
static enum dpt_status make_gradients(const struct dpt_op_call *call, int64_t first, int64_t rows, const float *z, int dx)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const int64_t h = call->in[0].type.dim[2], classes = call->in[1].type.dim[0];
    const float *x = (const float *)call->in[0].data + first * h, *w = (const float *)call->in[1].data;
    float *to_x = (float *)call->out[dx].data + first * h, *to_w = (float *)call->out[dx + 1].data;
    const struct dpt_cuda_gemm back = {false, false, false, rows, h, classes, z, w, NULL, to_x};
    const struct dpt_cuda_gemm add = {true, false, first > 0, classes, h, rows, z, x, NULL, to_w};
    DPT_TRY(dpt_cuda_gemm(cuda, &back));
    return dpt_cuda_gemm(cuda, &add);
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
    const int64_t classes = call->in[1].type.dim[0];
    const int32_t *target = (const int32_t *)call->in[2].data + first;
    const double scale = 1.0 / ((double)dpt_op_whole(call, 0, 1) * (double)call->ctx->batch_rows);
    DPT_TRY(make_logits(call, first, rows, z));
    DPT_LAUNCH_ROWS(cuda, rows, losses, classes, (float)scale, target, z, loss + first, tokens + first, right + first);
    return param->gradients ? make_gradients(call, first, rows, z, 2) : DPT_STATUS_OK;
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

/* ----------------------------------------------------------------------------------------- a part of the vocabulary */

enum { NUMBERS = 3 }; /* letter t of vocab_loss.h */

/* A block a position of the chunk; `begin`: the first token that is here. */
static __global__ void part_stat(int64_t classes, int64_t begin, const int32_t *target, const float *z, double *top,
                                 double *stat)
{
    const int64_t row = blockIdx.x, mine = target[row] - begin;
    float most = -INFINITY;
    double sum = 0.0, first = -INFINITY; /* less the first token with the largest logit: the largest of those */
    z += row * classes;
    stat += row * NUMBERS;
    if (target[row] < 0) {
        if (threadIdx.x == 0) {
            top[row] = stat[0] = stat[1] = stat[2] = 0.0;
        }
        return;
    }
    for (int64_t v = threadIdx.x; v < classes; v += blockDim.x) {
        most = fmaxf(most, z[v]);
    }
    most = dpt_block_max(most);
    for (int64_t v = threadIdx.x; v < classes; v += blockDim.x) {
        sum += expf(z[v] - most);
        first = z[v] == most ? fmax(first, -(double)(begin + v)) : first;
    }
    sum = dpt_block_sum(sum);
    first = dpt_block_max(first);
    if (threadIdx.x == 0) {
        top[row] = most;
        stat[0] = sum; /* nan comes back with it */
        stat[1] = mine >= 0 && mine < classes ? z[mine] : 0.0;
        stat[2] = -first;
    }
}

extern "C" enum dpt_status dpt_op__vocab_stat_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const int64_t n = call->in[0].type.dim[0] * call->in[0].type.dim[1], classes = call->in[1].type.dim[0];
    const int64_t most = chunk_rows(n, classes);
    float *z = (float *)call->scratch;
    for (int64_t first = 0; first < n; first += most) {
        const int64_t rows = n - first < most ? n - first : most;
        DPT_TRY(make_logits(call, first, rows, z));
        DPT_LAUNCH_ROWS(cuda, rows, part_stat, classes, dpt_op_begin(call, 1, 0),
                        (const int32_t *)call->in[2].data + first, (const float *)z, (double *)call->out[0].data + first,
                        (double *)call->out[1].data + first * NUMBERS);
    }
    return DPT_STATUS_OK;
}

static __global__ void part_share(int64_t n, const double *here, const double *stat, const double *top,
                                  const int32_t *target, double *sums)
{
    DPT_EACH(i, n)
    {
        sums[NUMBERS * i] = stat[NUMBERS * i] * exp(here[i] - top[i]);
        sums[NUMBERS * i + 1] = stat[NUMBERS * i + 1];
        sums[NUMBERS * i + 2] = here[i] == top[i] && stat[NUMBERS * i + 2] < target[i] ? 1.0 : 0.0;
    }
}

extern "C" enum dpt_status dpt_op__vocab_share_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const int64_t n = dpt_type_numel(&call->in[0].type);
    DPT_LAUNCH_EACH(cuda, n, part_share, (const double *)call->in[0].data, (const double *)call->in[1].data,
                    (const double *)call->in[2].data, (const int32_t *)call->in[3].data, (double *)call->out[0].data);
    return DPT_STATUS_OK;
}

/* A block a sample of s positions, of which `positions` make the whole. */
static __global__ void whole_loss(int64_t s, double positions, const double *sums, const double *top,
                                  const int32_t *target, struct dpt_out loss, struct dpt_out count)
{
    const int64_t sample = blockIdx.x;
    double sum = 0.0, tokens = 0.0, right = 0.0;
    for (int64_t i = sample * s + threadIdx.x; i < (sample + 1) * s; i += blockDim.x) {
        const double *at = sums + NUMBERS * i;
        if (target[i] >= 0) {
            sum += top[i] + log(at[0]) - at[1];
            tokens += 1.0;
            right += at[1] == top[i] && at[2] == 0.0 && at[0] == at[0] ? 1.0 : 0.0;
        }
    }
    sum = dpt_block_sum(sum);
    tokens = dpt_block_sum(tokens);
    right = dpt_block_sum(right);
    if (threadIdx.x == 0) {
        loss[sample] = (float)(sum / positions);
        count[2 * sample] = (float)tokens;
        count[2 * sample + 1] = (float)right;
    }
}

extern "C" enum dpt_status dpt_op__vocab_loss_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const int64_t b = call->in[2].type.dim[0], s = call->in[2].type.dim[1];
    DPT_LAUNCH_ROWS(cuda, b, whole_loss, s, (double)dpt_op_whole(call, 2, 1), (const double *)call->in[0].data,
                    (const double *)call->in[1].data, (const int32_t *)call->in[2].data, dpt_out_of(call, 0),
                    dpt_out_of(call, 1));
    return DPT_STATUS_OK;
}

/* A block a position: z becomes scale (softmax(z) - onehot), or 0 where there is no target. */
static __global__ void part_back(int64_t classes, int64_t begin, float scale, const int32_t *target, const double *top,
                                 const double *sums, float *z)
{
    const int64_t row = blockIdx.x, mine = target[row] - begin;
    const float most = (float)top[row], factor = (float)(scale / sums[NUMBERS * row]);
    z += row * classes;
    for (int64_t v = threadIdx.x; v < classes; v += blockDim.x) {
        z[v] = target[row] < 0 ? 0.0f : factor * expf(z[v] - most) - (v == mine ? scale : 0.0f);
    }
}

extern "C" enum dpt_status dpt_op__vocab_loss_dx_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const int64_t n = call->in[0].type.dim[0] * call->in[0].type.dim[1], classes = call->in[1].type.dim[0];
    const int64_t most = chunk_rows(n, classes);
    const double scale = 1.0 / ((double)dpt_op_whole(call, 0, 1) * (double)call->ctx->batch_rows);
    float *z = (float *)call->scratch;
    if (n == 0) {
        DPT_TRY(dpt_dev_zero(call->dev, call->out[1].data, dpt_type_nbytes(&call->out[1].type)));
    }
    for (int64_t first = 0; first < n; first += most) {
        const int64_t rows = n - first < most ? n - first : most;
        DPT_TRY(make_logits(call, first, rows, z));
        DPT_LAUNCH_ROWS(cuda, rows, part_back, classes, dpt_op_begin(call, 1, 0), (float)scale,
                        (const int32_t *)call->in[2].data + first, (const double *)call->in[3].data + first,
                        (const double *)call->in[4].data + first * NUMBERS, z);
        DPT_TRY(make_gradients(call, first, rows, z, 0));
    }
    return DPT_STATUS_OK;
}
