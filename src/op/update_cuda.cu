/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Twins of update.c. A rule says what happens to one element; it is launched over one range, or over all ranges of a table
 * that was made for them at the start: a block a piece, so that the number of launches is not that of the parameters.
 */

#include <stdlib.h>

#include "op/cuda.cuh"

extern "C" {
#include "op/update.h"
}

/* Where a launch finds the operands of consecutive elements, and the number that differs from range to range. */
struct dpt_update_piece {
    float *p, *m, *v;
    const float *g;
    float own, rest; /* that number, and 1 less it */
    int64_t n;
};

struct dpt_update_table {
    int64_t pieces;
    struct dpt_update_piece *piece; /* on the card */
    size_t nbytes;
};

/* What makes every update: lr, and what the gradient is multiplied by. */
struct step {
    float lr, scale;
};

/*
 * Rules. Of each element they have the parameter p, the gradient g and `averages` of its kind, m and v; `at` is the piece. sgd
 * may be without its own.
 */
struct sgd {
    static constexpr int averages = 1;
    struct step step;
    float momentum, kept;
    bool first, nesterov;

    __device__ void operator()(const struct dpt_update_piece &at, float &p, float g, float &m, float &) const
    {
        float d = step.scale * g + at.own * p;
        if (at.m) {
            m = first ? d : momentum * m + kept * d;
            d = nesterov ? d + momentum * m : m;
        }
        p -= step.lr * d;
    }
};

struct adam {
    static constexpr int averages = 2;
    struct step step;
    float beta1, beta2, rest1, rest2, eps;
    float bias1, root2; /* corrections of averages that begin at 0: 1 / (1 - beta1^t), sqrt(1 / (1 - beta2^t)) */
    bool decoupled;

    __device__ void operator()(const struct dpt_update_piece &at, float &p, float g, float &m, float &v) const
    {
        const float decay = at.own * p;
        const float d = step.scale * g + (decoupled ? 0.0f : decay);
        const float left = decoupled ? p - step.lr * decay : p;
        m = beta1 * m + rest1 * d;
        v = beta2 * v + rest2 * d * d;
        p = left - step.lr * (m * bias1) / (sqrtf(v) * root2 + eps);
    }
};

struct ema {
    static constexpr int averages = 0;

    __device__ void operator()(const struct dpt_update_piece &at, float &p, float g, float &, float &) const
    {
        p = at.rest * p + at.own * g;
    }
};

/* The elements of a piece, shared out to threads. */
template <class RULE>
static __device__ inline void run(const RULE &rule, const struct dpt_update_piece &at, int64_t thread, int64_t threads)
{
    const struct dpt_floats p = {at.p}, g = {at.g}, m = {at.m}, v = {at.v};
    const bool has_m = RULE::averages > 0 && at.m, has_v = RULE::averages > 1 && at.v;
    dpt_share_out(at.n, dpt_lines(0, p, g, m, v), thread, threads, [&](int64_t i, auto w) {
        float to_p[w.n], slope[w.n], to_m[w.n] = {}, to_v[w.n] = {};
        if (has_v) {
            dpt_load(i, p, to_p, g, slope, m, to_m, v, to_v);
        } else if (has_m) {
            dpt_load(i, p, to_p, g, slope, m, to_m);
        } else {
            dpt_load(i, p, to_p, g, slope);
        }
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            rule(at, to_p[k], slope[k], to_m[k], to_v[k]);
        }
        dpt_store(at.p, i, to_p);
        if (has_m) {
            dpt_store(at.m, i, to_m);
        }
        if (has_v) {
            dpt_store(at.v, i, to_v);
        }
    });
}

template <class RULE> static __global__ void update(int64_t, RULE rule, struct dpt_update_piece all)
{
    run(rule, all, (int64_t)blockIdx.x * blockDim.x + threadIdx.x, (int64_t)gridDim.x * blockDim.x);
}

template <class RULE> static __global__ void update_pieces(RULE rule, const struct dpt_update_piece *piece)
{
    const struct dpt_update_piece at = piece[blockIdx.x];
    run(rule, at, threadIdx.x, blockDim.x);
}

static struct dpt_update_piece piece_of(const struct dpt_tensor *in, int nin, double own)
{
    struct dpt_update_piece piece = {};
    piece.p = (float *)in[0].data;
    piece.g = (const float *)in[1].data;
    piece.m = nin > 2 ? (float *)in[2].data : NULL;
    piece.v = nin > 3 ? (float *)in[3].data : NULL;
    piece.own = (float)own;
    piece.rest = (float)(1.0 - own);
    piece.n = dpt_type_numel(&in[0].type);
    return piece;
}

/* Over the operands of the call, or over the pieces that the call has been prepared for. */
template <class RULE> static enum dpt_status launch(const struct dpt_op_call *call, RULE rule, double own)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_update_table *table = (const struct dpt_update_table *)call->prep;
    if (table) {
        DPT_LAUNCH(update_pieces<RULE>, (unsigned)table->pieces, DPT_BLOCK, cuda->stream, rule, table->piece);
        return DPT_STATUS_OK;
    }
    const struct dpt_update_piece all = piece_of(call->in, call->types->nin, own);
    DPT_LAUNCH_EACH(cuda, all.n, update<RULE>, rule, all);
    return DPT_STATUS_OK;
}

static struct step step_of(const struct dpt_op_call *call)
{
    const struct step step = {(float)call->ctx->lr, (float)call->ctx->grad_scale};
    return step;
}

extern "C" enum dpt_status dpt_op__sgd_cuda(const struct dpt_op_call *call)
{
    const struct dpt_sgd_param *param = (const struct dpt_sgd_param *)call->types->param;
    const struct sgd rule = {step_of(call), (float)param->momentum, (float)(1.0 - param->dampening),
                             call->ctx->update == 1, param->nesterov};
    return launch(call, rule, param->weight_decay);
}

extern "C" enum dpt_status dpt_op__adam_cuda(const struct dpt_op_call *call)
{
    const struct dpt_adam_param *param = (const struct dpt_adam_param *)call->types->param;
    const double t = (double)call->ctx->update;
    const struct adam rule = {
        step_of(call),
        (float)param->beta1,
        (float)param->beta2,
        (float)(1.0 - param->beta1),
        (float)(1.0 - param->beta2),
        (float)param->eps,
        (float)(1.0 / (1.0 - pow(param->beta1, t))),
        (float)sqrt(1.0 / (1.0 - pow(param->beta2, t))),
        param->decoupled,
    };
    return launch(call, rule, param->weight_decay);
}

extern "C" enum dpt_status dpt_op__ema_cuda(const struct dpt_op_call *call)
{
    const struct dpt_ema_param *param = (const struct dpt_ema_param *)call->types->param;
    return launch(call, ema(), param->rate);
}

/* ------------------------------------------------------------------------------------------------------ the table */

/* Elements of a piece: enough pieces for a card, and none so short that its block has nothing to do. */
static int64_t piece_length(const struct dpt_cuda *cuda, int count, const struct dpt_update_range *range)
{
    enum { A_MULTIPROCESSOR = 16, LEAST = 4 * DPT_BLOCK };
    int64_t all = 0;
    for (int r = 0; r < count; r++) {
        all += dpt_type_numel(&range[r].in[0].type);
    }
    const int64_t blocks = (int64_t)A_MULTIPROCESSOR * cuda->multiprocessors, wanted = (all + blocks - 1) / blocks;
    return wanted > LEAST ? (wanted + DPT_BLOCK - 1) / DPT_BLOCK * DPT_BLOCK : (int64_t)LEAST;
}

static int64_t pieces_of(const struct dpt_update_range *range, int64_t length)
{
    return (dpt_type_numel(&range->in[0].type) + length - 1) / length;
}

/* Writes the pieces of a range. */
static void cut(const struct dpt_op *op, const struct dpt_update_range *range, int64_t length,
                struct dpt_update_piece *piece)
{
    const struct dpt_update_piece all =
        piece_of(range->in, range->types.nin, dpt_update__own(op, range->types.param));
    for (int64_t begin = 0, i = 0; begin < all.n; begin += length, i++) {
        piece[i] = all;
        piece[i].p += begin;
        piece[i].g += begin;
        piece[i].m = all.m ? all.m + begin : NULL;
        piece[i].v = all.v ? all.v + begin : NULL;
        piece[i].n = all.n - begin < length ? all.n - begin : length;
    }
}

extern "C" void dpt_update__table_free_cuda(struct dpt_dev *dev, struct dpt_update_table *table)
{
    if (table->piece) {
        dpt_dev_release(dev, table->piece, table->nbytes);
    }
    free(table);
}

extern "C" enum dpt_status dpt_update__table_cuda(struct dpt_dev *dev, const struct dpt_op *op, int count,
                                                  const struct dpt_update_range *range, struct dpt_update_table **table)
{
    const int64_t length = piece_length(dpt_cuda_of(dev), count, range);
    struct dpt_update_table *made = (struct dpt_update_table *)calloc(1, sizeof *made);
    DPT_CHECK(made, DPT_STATUS_SPACE, "no memory for a table of updates");
    for (int r = 0; r < count; r++) {
        made->pieces += pieces_of(&range[r], length);
    }
    made->nbytes = (size_t)made->pieces * sizeof *made->piece;
    struct dpt_update_piece *host = (struct dpt_update_piece *)calloc((size_t)made->pieces + 1, sizeof *host);
    enum dpt_status status = host ? DPT_STATUS_OK
                                  : dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "no memory for a table of updates");
    if (status == DPT_STATUS_OK) {
        status = dpt_dev_alloc(dev, made->nbytes, "the ranges of updates", (void **)&made->piece);
    }
    if (status == DPT_STATUS_OK) {
        for (int64_t r = 0, at = 0; r < count; at += pieces_of(&range[r], length), r++) {
            cut(op, &range[r], length, host + at);
        }
        status = dpt_dev_copy_in(dev, made->piece, host, made->nbytes);
    }
    free(host);
    if (status != DPT_STATUS_OK) {
        dpt_update__table_free_cuda(dev, made);
        return status;
    }
    *table = made;
    return DPT_STATUS_OK;
}
