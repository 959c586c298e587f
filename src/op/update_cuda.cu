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

struct sgd {
    struct step step;
    float momentum, kept;
    bool first, nesterov;

    __device__ void operator()(const struct dpt_update_piece &at, int64_t i) const
    {
        float d = step.scale * at.g[i] + at.own * at.p[i];
        if (at.m) {
            const float moved = first ? d : momentum * at.m[i] + kept * d;
            at.m[i] = moved;
            d = nesterov ? d + momentum * moved : moved;
        }
        at.p[i] -= step.lr * d;
    }
};

struct adam {
    struct step step;
    float beta1, beta2, rest1, rest2, eps;
    float bias1, root2; /* corrections of averages that begin at 0: 1 / (1 - beta1^t), sqrt(1 / (1 - beta2^t)) */
    bool decoupled;

    __device__ void operator()(const struct dpt_update_piece &at, int64_t i) const
    {
        const float decay = at.own * at.p[i];
        const float d = step.scale * at.g[i] + (decoupled ? 0.0f : decay);
        const float left = decoupled ? at.p[i] - step.lr * decay : at.p[i];
        const float m1 = beta1 * at.m[i] + rest1 * d;
        const float v1 = beta2 * at.v[i] + rest2 * d * d;
        at.m[i] = m1;
        at.v[i] = v1;
        at.p[i] = left - step.lr * (m1 * bias1) / (sqrtf(v1) * root2 + eps);
    }
};

struct ema {
    __device__ void operator()(const struct dpt_update_piece &at, int64_t i) const
    {
        at.p[i] = at.rest * at.p[i] + at.own * at.g[i];
    }
};

template <class RULE> static __global__ void update(int64_t n, RULE rule, struct dpt_update_piece all)
{
    DPT_EACH(i, n)
    {
        rule(all, i);
    }
}

template <class RULE> static __global__ void update_pieces(RULE rule, const struct dpt_update_piece *piece)
{
    const struct dpt_update_piece at = piece[blockIdx.x];
    for (int64_t i = threadIdx.x; i < at.n; i += blockDim.x) {
        rule(at, i);
    }
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
