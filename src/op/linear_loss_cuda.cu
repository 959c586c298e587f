/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Twins of linear_loss.c and vocab_loss.c: logits of a chunk of positions at a time, by cuBLASLt, which one kernel turns
 * into losses, counts and their own gradients; two further products give dx of the chunk and add to dw. With a part of the
 * vocabulary what ranks must know of one another stands between the two halves.
 *
 * In 16 bits rows of logits are wider than there are tokens, a multiple of WIDTH, since rows of an odd length make the
 * products slow: the copy of w has rows of zeros at its end, the logits that come of them are not looked at, and their
 * gradients are 0.
 *
 * Scratch of linear_loss: losses, counts and hits of all positions, then the logits of a chunk; of the others: logits.
 */

#include "op/cuda.cuh"

extern "C" {
#include "op/vocab_loss.h"
}

#include "op/gemm_cuda.h"

#ifndef DPT_LOSS_LOGITS
#define DPT_LOSS_LOGITS (1 << 25)
#endif

/* About so many logits in a chunk, 128 MiB, but no more chunks than so many: each of them reads and writes all of dw. */
enum { CHUNK = DPT_LOSS_LOGITS, CHUNKS = 16, WIDTH = 64 };

static int64_t rounded(int64_t n)
{
    return (n + 15) / 16 * 16;
}

/* Chunks begin at multiples of 64 bytes. */
static int64_t chunk_rows(int64_t positions, int64_t classes)
{
    const int64_t few = CHUNK / (classes > 0 ? classes : 1) / 16 * 16, many = rounded((positions + CHUNKS - 1) / CHUNKS);
    const int64_t rows = few > many ? few : many;
    return rows >= positions ? positions : rows > 0 ? rows : 16;
}

/* Numbers from row to row of logits. */
static int64_t width_of(int64_t classes, enum dpt_dtype factors)
{
    return factors == DPT_DTYPE_F32 ? classes : (classes + WIDTH - 1) / WIDTH * WIDTH;
}

/* The factor is not used where it lies. */
static bool is_copied(const struct dpt_type *type, int64_t rows, enum dpt_dtype factors)
{
    return type->dtype != factors || rows != type->dim[0];
}

static size_t aligned(int64_t count, enum dpt_dtype dtype)
{
    return ((size_t)count * dpt_dtype_nbytes(dtype) + 63) / 64 * 64;
}

/*
 * The products of a call, whose inputs 0 and 1 are x and w. In 16 bits w is rounded first, and so are the gradients of the
 * logits, which are then no longer where the logits are. Rows of both are `width` apart, and so many rows w has.
 */
struct products {
    struct dpt_cuda *cuda;
    enum dpt_dtype factors;
    int64_t n, h, classes, width, rows; /* n positions, `rows` of a chunk */
    const char *x, *w;
    float *z;
    struct dpt_out slope;
};

extern "C" size_t dpt_op__vocab_scratch_cuda(const struct dpt_op_types *types)
{
    const enum dpt_dtype factors = types->half;
    const struct dpt_type *x = &types->in[0], *w = &types->in[1];
    const int64_t n = x->dim[0] * x->dim[1], width = width_of(w->dim[0], factors), rows = chunk_rows(n, width);
    size_t nbytes = aligned(rows * width, DPT_DTYPE_F32);
    nbytes += is_copied(x, x->dim[0], factors) ? aligned(dpt_type_numel(x), factors) : 0;
    nbytes += is_copied(w, width, factors) ? aligned(width * w->dim[1], factors) : 0;
    return nbytes + (factors == DPT_DTYPE_F32 ? 0 : aligned(rows * width, factors));
}

extern "C" size_t dpt_op__linear_loss_scratch_cuda(const struct dpt_op_types *types)
{
    const int64_t positions = types->in[0].dim[0] * types->in[0].dim[1];
    return (size_t)(3 * rounded(positions)) * sizeof(float) + dpt_op__vocab_scratch_cuda(types);
}

/* A factor with so many rows, as it lies or in memory from *at on, which is moved. */
static enum dpt_status make_factor(const struct dpt_op_call *call, const struct dpt_tensor *from, int64_t rows,
                                   enum dpt_dtype factors, char **at, const char **factor)
{
    *factor = (const char *)from->data;
    if (is_copied(&from->type, rows, factors)) {
        const int64_t numel = dpt_type_numel(&from->type), row = from->type.dim[0] > 0 ? numel / from->type.dim[0] : 0;
        const size_t nbytes = (size_t)numel * dpt_dtype_nbytes(factors);
        dpt_op__convert_cuda(dpt_cuda_of(call->dev), from, factors, *at);
        DPT_TRY(dpt_dev_zero(call->dev, *at + nbytes, (size_t)(rows * row) * dpt_dtype_nbytes(factors) - nbytes));
        *factor = *at;
        *at += aligned(rows * row, factors);
    }
    return DPT_STATUS_OK;
}

/* With scratch memory from `at` on. */
static enum dpt_status products_of(const struct dpt_op_call *call, char *at, struct products *of)
{
    const struct dpt_tensor *x = &call->in[0], *w = &call->in[1];
    *of = {};
    of->cuda = dpt_cuda_of(call->dev);
    of->factors = call->types->half;
    of->n = x->type.dim[0] * x->type.dim[1];
    of->h = x->type.dim[2];
    of->classes = w->type.dim[0];
    of->width = width_of(of->classes, of->factors);
    of->rows = chunk_rows(of->n, of->width);
    DPT_TRY(make_factor(call, x, x->type.dim[0], of->factors, &at, &of->x));
    DPT_TRY(make_factor(call, w, of->width, of->factors, &at, &of->w));
    of->z = (float *)at;
    of->slope.data = of->factors == DPT_DTYPE_F32 ? at : at + aligned(of->rows * of->width, DPT_DTYPE_F32);
    of->slope.type = of->factors;
    return DPT_STATUS_OK;
}

/* z: the logits of positions [first, first + rows). */
static enum dpt_status make_logits(const struct products *of, int64_t first, int64_t rows)
{
    struct dpt_cuda_gemm logits = {};
    logits.tb = true;
    logits.factors = of->factors;
    logits.sums = DPT_DTYPE_F32;
    logits.m = rows;
    logits.n = of->width;
    logits.k = of->h;
    logits.a = of->x + (size_t)(first * of->h) * dpt_dtype_nbytes(of->factors);
    logits.b = of->w;
    logits.c = of->z;
    return dpt_cuda_gemm(of->cuda, &logits);
}

/*
 * From the gradients of those logits dx of the positions, and what they add to dw: to rows that are a multiple of EVEN, for the
 * sake of the library's fast kernels, and to the few behind them.
 */
static enum dpt_status make_gradients(const struct products *of, int64_t first, int64_t rows, const struct dpt_tensor *dx,
                                      const struct dpt_tensor *dw)
{
    enum { EVEN = 8 };
    const int64_t even = of->width == of->classes ? of->classes : of->classes / EVEN * EVEN;
    struct dpt_cuda_gemm back = {}, add = {}, rest;
    back.factors = add.factors = of->factors;
    back.sums = dx->type.dtype;
    back.m = rows;
    back.n = of->h;
    back.k = of->width;
    back.a = of->slope.data;
    back.b = of->w;
    back.c = (char *)dx->data + (size_t)(first * of->h) * dpt_dtype_nbytes(dx->type.dtype);
    add.ta = true;
    add.add = first > 0;
    add.sums = dw->type.dtype;
    add.m = even;
    add.n = of->h;
    add.k = rows;
    add.a_row = of->width;
    add.a = of->slope.data;
    add.b = of->x + (size_t)(first * of->h) * dpt_dtype_nbytes(of->factors);
    add.c = dw->data;
    rest = add;
    rest.m = of->classes - even;
    rest.a = (const char *)add.a + (size_t)even * dpt_dtype_nbytes(of->factors);
    rest.c = (char *)add.c + (size_t)(even * of->h) * dpt_dtype_nbytes(add.sums);
    DPT_TRY(dpt_cuda_gemm(of->cuda, &back));
    DPT_TRY(dpt_cuda_gemm(of->cuda, &add));
    return dpt_cuda_gemm(of->cuda, &rest);
}

/* Logit v, which was loaded into a line with others; there are none at the end of a row. */
static __device__ float logit_at(int64_t v, int64_t classes, float loaded)
{
    return v < classes ? loaded : -INFINITY;
}

/* The largest of some logits, and the sum of exp(logit - most): in one pass (Milakov and Gimelshein, 2018). */
struct top {
    float most, sum;

    __device__ void add(float logit)
    {
        if (logit > most) {
            sum *= expf(most - logit);
            most = logit;
        }
        sum += logit > -INFINITY || logit != logit ? expf(logit - most) : 0.0f;
    }

    /* That of the logits of all threads. */
    __device__ void whole()
    {
        const float mine = most;
        most = dpt_block_max(most);
        sum = dpt_block_sum(mine > -INFINITY ? sum * expf(mine - most) : sum);
    }
};

/*
 * A block a position of the chunk. slope: scale (softmax(z) - onehot), or 0 where there is no target; it may be z; of equal
 * logits the lowest token is the largest. A target that no token has makes the loss nan.
 */
static __global__ void losses(int64_t classes, int64_t width, float scale, const int32_t *target, const float *z,
                              struct dpt_out slope, float *loss, float *tokens, float *right)
{
    const int64_t row = blockIdx.x, wanted = target[row];
    struct top top = {-INFINITY, 0.0f};
    int beaten = 0;
    z += row * width;
    slope = slope + row * width;
    if (wanted < 0) {
        for (int64_t v = threadIdx.x; v < width; v += blockDim.x) {
            slope[v] = 0.0f;
        }
        if (threadIdx.x == 0) {
            loss[row] = tokens[row] = right[row] = 0.0f;
        }
        return;
    }
    const float hit = wanted < classes ? z[wanted] : nanf("");
    const struct dpt_floats logits = {z};
    const bool lines = dpt_lines(width, logits, slope);
    dpt_row(width, lines, [&](int64_t v, auto w) {
        float at[w.n];
        dpt_load(v, logits, at);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            const float logit = logit_at(v + k, classes, at[k]);
            top.add(logit);
            beaten += v + k < classes && (logit < hit || (logit == hit && v + k >= wanted));
        }
    });
    top.whole();
    beaten = dpt_block_sum(beaten);
    dpt_row(width, lines, [&](int64_t v, auto w) {
        float at[w.n];
        dpt_load(v, logits, at);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            const float share = expf(logit_at(v + k, classes, at[k]) - top.most) / top.sum;
            at[k] = scale * (share - (v + k == wanted ? 1.0f : 0.0f));
        }
        slope.store(v, at);
    });
    if (threadIdx.x == 0) {
        loss[row] = top.most + logf(top.sum) - hit;
        tokens[row] = 1.0f;
        right[row] = beaten == classes ? 1.0f : 0.0f;
    }
}

/* A block a sample: its loss and counts. */
static __global__ void add_positions(int64_t s, float positions, const float *loss, const float *tokens,
                                     const float *right, struct dpt_out out, struct dpt_out count)
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

extern "C" enum dpt_status dpt_op__linear_loss_cuda(const struct dpt_op_call *call)
{
    const struct dpt_linear_loss_param *param = (const struct dpt_linear_loss_param *)call->types->param;
    const int64_t b = call->in[0].type.dim[0], s = call->in[0].type.dim[1], n = b * s;
    const int32_t *target = (const int32_t *)call->in[2].data;
    const double scale = dpt_op_seed(call->ctx) / (double)dpt_op_whole(call, 0, 1);
    float *loss = (float *)call->scratch, *tokens = loss + rounded(n), *right = tokens + rounded(n);
    struct products of;
    DPT_TRY(products_of(call, (char *)(right + rounded(n)), &of));
    if (param->gradients && n == 0) {
        DPT_TRY(dpt_dev_zero(call->dev, call->out[3].data, dpt_type_nbytes(&call->out[3].type)));
    }
    for (int64_t first = 0; first < n; first += of.rows) {
        const int64_t rows = n - first < of.rows ? n - first : of.rows;
        DPT_TRY(make_logits(&of, first, rows));
        DPT_LAUNCH_ROWS(of.cuda, rows, of.width, losses, of.classes, of.width, (float)scale, target + first,
                        (const float *)of.z, of.slope, loss + first, tokens + first, right + first);
        if (param->gradients) {
            DPT_TRY(make_gradients(&of, first, rows, &call->out[2], &call->out[3]));
        }
    }
    DPT_LAUNCH_ROWS(of.cuda, b, s, add_positions, s, (float)dpt_op_whole(call, 0, 1), (const float *)loss,
                    (const float *)tokens, (const float *)right, dpt_out_of(call, 0), dpt_out_of(call, 1));
    return DPT_STATUS_OK;
}

/* ----------------------------------------------------------------------------------------- a part of the vocabulary */

enum { NUMBERS = 3 }; /* letter t of vocab_loss.h */

/* A block a position of the chunk; `begin`: the first token that is here. */
static __global__ void part_stat(int64_t classes, int64_t width, int64_t begin, const int32_t *target, const float *z,
                                 double *top, double *stat)
{
    const int64_t row = blockIdx.x, mine = target[row] - begin;
    struct top part = {-INFINITY, 0.0f};
    int64_t first = -1; /* the first token with the largest logit of this thread */
    z += row * width;
    stat += row * NUMBERS;
    if (target[row] < 0) {
        if (threadIdx.x == 0) {
            top[row] = stat[0] = stat[1] = stat[2] = 0.0;
        }
        return;
    }
    const struct dpt_floats logits = {z};
    dpt_row(width, dpt_lines(width, logits), [&](int64_t v, auto w) {
        float at[w.n];
        dpt_load(v, logits, at);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            const float logit = logit_at(v + k, classes, at[k]);
            first = logit > part.most ? begin + v + k : first;
            part.add(logit);
        }
    });
    const float most = part.most;
    part.whole();
    const double whole_first = dpt_block_max(first >= 0 && most == part.most ? -(double)first : -INFINITY);
    if (threadIdx.x == 0) {
        top[row] = part.most;
        stat[0] = part.sum; /* nan comes back with it */
        stat[1] = mine >= 0 && mine < classes ? z[mine] : 0.0;
        stat[2] = -whole_first;
    }
}

extern "C" enum dpt_status dpt_op__vocab_stat_cuda(const struct dpt_op_call *call)
{
    struct products of;
    const int32_t *target = (const int32_t *)call->in[2].data;
    double *top = (double *)call->out[0].data, *stat = (double *)call->out[1].data;
    DPT_TRY(products_of(call, (char *)call->scratch, &of));
    for (int64_t first = 0; first < of.n; first += of.rows) {
        const int64_t rows = of.n - first < of.rows ? of.n - first : of.rows;
        DPT_TRY(make_logits(&of, first, rows));
        DPT_LAUNCH_ROWS(of.cuda, rows, of.width, part_stat, of.classes, of.width, dpt_op_begin(call, 1, 0),
                        target + first, (const float *)of.z, top + first, stat + first * NUMBERS);
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
    DPT_LAUNCH_ROWS(cuda, b, s, whole_loss, s, (double)dpt_op_whole(call, 2, 1), (const double *)call->in[0].data,
                    (const double *)call->in[1].data, (const int32_t *)call->in[2].data, dpt_out_of(call, 0),
                    dpt_out_of(call, 1));
    return DPT_STATUS_OK;
}

/* A block a position: slope is scale (softmax(z) - onehot), or 0 where there is no target; it may be z. */
static __global__ void part_back(int64_t classes, int64_t width, int64_t begin, float scale, const int32_t *target,
                                 const double *top, const double *sums, const float *z, struct dpt_out slope)
{
    const int64_t row = blockIdx.x, here = target[row] - begin, mine = here < classes ? here : -1;
    const float most = (float)top[row], factor = (float)(scale / sums[NUMBERS * row]);
    z += row * width;
    slope = slope + row * width;
    const struct dpt_floats logits = {z};
    dpt_row(width, dpt_lines(width, logits, slope), [&](int64_t v, auto w) {
        float at[w.n];
        dpt_load(v, logits, at);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            const float share = factor * expf(logit_at(v + k, classes, at[k]) - most);
            at[k] = target[row] < 0 ? 0.0f : share - (v + k == mine ? scale : 0.0f);
        }
        slope.store(v, at);
    });
}

extern "C" enum dpt_status dpt_op__vocab_loss_dx_cuda(const struct dpt_op_call *call)
{
    struct products of;
    const int32_t *target = (const int32_t *)call->in[2].data;
    const double *top = (const double *)call->in[3].data, *sums = (const double *)call->in[4].data;
    const double scale = dpt_op_seed(call->ctx) / (double)dpt_op_whole(call, 0, 1);
    DPT_TRY(products_of(call, (char *)call->scratch, &of));
    if (of.n == 0) {
        DPT_TRY(dpt_dev_zero(call->dev, call->out[1].data, dpt_type_nbytes(&call->out[1].type)));
    }
    for (int64_t first = 0; first < of.n; first += of.rows) {
        const int64_t rows = of.n - first < of.rows ? of.n - first : of.rows;
        DPT_TRY(make_logits(&of, first, rows));
        DPT_LAUNCH_ROWS(of.cuda, rows, of.width, part_back, of.classes, of.width, dpt_op_begin(call, 1, 0), (float)scale,
                        target + first, top + first, sums + first * NUMBERS, (const float *)of.z, of.slope);
        DPT_TRY(make_gradients(&of, first, rows, &call->out[0], &call->out[1]));
    }
    return DPT_STATUS_OK;
}
