/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Products of op/linear.c and op/linear_heads.c in bfloat16, by oneDNN on machines with instructions for that: factors of
 * 16 bits, sums of 32, the result in either. A factor that is kept in 32 bits, a weight or the samples, is rounded into
 * scratch memory first.
 *
 *   scratch:   [rounded a][rounded b][sum to be added][the library's]
 */

#include <string.h>

#include "base/bf16.h"
#include "op/flat.h"
#include "op/linear.h"

enum { ALIGN = 64 };

static size_t aligned(int64_t count, size_t width)
{
    return ((size_t)count * width + ALIGN - 1) / ALIGN * ALIGN;
}

static size_t rounded_nbytes(const struct dpt_type *type)
{
    return type->dtype == DPT_DTYPE_BF16 ? 0 : aligned(dpt_type_numel(type), sizeof(uint16_t));
}

static enum dpt_status prepare(const struct dpt_op_types *types, int64_t rows, struct dpt_onednn_matmul matmul,
                               void **prep)
{
    *prep = NULL;
    matmul.bf16 = true;
    matmul.narrow = types->out[types->nout - 1].dtype == DPT_DTYPE_BF16; /* of z, where it is kept */
    return rows > 0 ? dpt_op__linear_prep_new(&matmul, rows, prep) : DPT_STATUS_OK;
}

static size_t scratch(const struct dpt_op_types *types, const void *prep)
{
    const size_t sum = types->out[0].dtype == DPT_DTYPE_F32 ? aligned(dpt_type_numel(&types->out[0]), sizeof(float)) : 0;
    return rounded_nbytes(&types->in[0]) + rounded_nbytes(&types->in[1]) + sum +
           dpt_onednn_scratch(((const struct dpt_linear_prep *)prep)->library);
}

/* The factor in 16 bits. */
static const void *rounded(const struct dpt_tensor *factor, char **at)
{
    void *copy = *at;
    if (factor->type.dtype == DPT_DTYPE_BF16) {
        return factor->data;
    }
    dpt_bf16_narrow(dpt_type_numel(&factor->type), factor->data, copy);
    *at += rounded_nbytes(&factor->type);
    return copy;
}

/*
 * The product to `out`, where it is prepared for so many rows; `swap`: the second input is the first factor, of which `sums`,
 * where it is not NULL, takes the sum over the rows.
 */
static enum dpt_status run(const struct dpt_op_call *call, int64_t rows, bool swap, float *bias, float *sums,
                           const struct dpt_tensor *out, bool *done)
{
    const struct dpt_linear_prep *prep = call->prep;
    char *at = call->scratch;
    *done = prep->rows == rows;
    if (!*done) {
        return DPT_STATUS_OK;
    }
    const void *a = rounded(&call->in[swap ? 1 : 0], &at), *b = rounded(&call->in[swap ? 0 : 1], &at);
    if (sums) {
        dpt_op__bias_sums(DPT_DTYPE_BF16, rows, dpt_type_numel(&call->in[1].type) / rows, a, sums);
    }
    void *sum = call->add ? at : out->data;
    at += call->add ? aligned(dpt_type_numel(&out->type), sizeof(float)) : 0;
    DPT_TRY(dpt_onednn_run(prep->library, a, b, bias, sum, at));
    return call->add ? dpt_flat_add(NULL, DPT_DTYPE_F32, dpt_type_numel(&out->type), sum, out->data, out->data)
                     : DPT_STATUS_OK;
}

/* Numbers [at, at + count) as floats, in `copy` unless that is how they lie; and back. */
static const float *widened(const struct dpt_tensor *x, int64_t at, int64_t count, float *copy)
{
    if (x->type.dtype == DPT_DTYPE_F32) {
        return (const float *)x->data + at;
    }
    dpt_bf16_widen(count, (const uint16_t *)x->data + at, copy);
    return copy;
}

static void put(const struct dpt_tensor *y, int64_t at, int64_t count, const float *from)
{
    if (y->type.dtype == DPT_DTYPE_F32) {
        memcpy((float *)y->data + at, from, (size_t)count * sizeof *from);
    } else {
        dpt_bf16_narrow(count, from, (uint16_t *)y->data + at);
    }
}

/* y = act(z) of numbers as they are kept, or with t y = act'(t) z; some at a time, in the first-level cache. */
static void activate(enum dpt_activation_kind act, const struct dpt_tensor *z, const struct dpt_tensor *t,
                     const struct dpt_tensor *y)
{
    enum { COUNT = 1024 };
    float from[COUNT], saved[COUNT], to[COUNT];
    const int64_t numel = dpt_type_numel(&y->type);
    for (int64_t at = 0; at < numel && act != DPT_ACTIVATION_KIND_NONE; at += COUNT) {
        const int64_t count = numel - at < COUNT ? numel - at : COUNT;
        const float *x = widened(z, at, count, from);
        if (t) {
            dpt_op__activate_dx(act, count, x, widened(t, at, count, saved), to);
        } else {
            dpt_op__activate(act, count, x, to);
        }
        put(y, at, count, to);
    }
}

static enum dpt_status prepare_forward(const struct dpt_op_types *types, int threads, void **prep)
{
    (void)threads; /* the device has set the library's number */
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&types->in[0], &types->in[1], &types->out[0]);
    const struct dpt_onednn_matmul matmul = {
        .tb = true, .bias = types->nin > 2, .m = size.n, .n = size.k, .k = size.h};
    return prepare(types, size.n, matmul, prep);
}

static enum dpt_status run_forward(const struct dpt_op_call *call, bool *done)
{
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&call->in[0].type, &call->in[1].type, &call->out[0].type);
    const struct dpt_tensor *z = &call->out[call->types->nout - 1]; /* y itself where z is not kept */
    DPT_TRY(run(call, size.n, false, call->types->nin > 2 ? call->in[2].data : NULL, NULL, z, done));
    if (*done) {
        activate(dpt_op__linear_act(call->types), z, NULL, &call->out[0]);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status prepare_dx(const struct dpt_op_types *types, int threads, void **prep)
{
    (void)threads;
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&types->out[0], &types->in[1], &types->in[0]);
    return prepare(types, size.n, (struct dpt_onednn_matmul){.m = size.n, .n = size.h, .k = size.k}, prep);
}

static enum dpt_status run_dx(const struct dpt_op_call *call, bool *done)
{
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&call->out[0].type, &call->in[1].type, &call->in[0].type);
    DPT_TRY(run(call, size.n, false, NULL, NULL, &call->out[0], done));
    if (*done) {
        activate(dpt_op__linear_act(call->types), &call->out[0], call->types->nin > 2 ? &call->in[2] : NULL, &call->out[0]);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status prepare_dw(const struct dpt_op_types *types, int threads, void **prep)
{
    (void)threads;
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&types->in[0], &types->out[0], &types->in[1]);
    return prepare(types, size.n, (struct dpt_onednn_matmul){.ta = true, .m = size.k, .n = size.h, .k = size.n}, prep);
}

static enum dpt_status run_dw(const struct dpt_op_call *call, bool *done)
{
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&call->in[0].type, &call->out[0].type, &call->in[1].type);
    float *db = call->types->nout > 1 ? call->out[1].data : NULL;
    return run(call, size.n, true, NULL, db, &call->out[0], done); /* dw = dy^T x */
}

const struct dpt_op_bf16 dpt_op__linear_bf16 = {prepare_forward, scratch, run_forward};
const struct dpt_op_bf16 dpt_op__linear_dx_bf16 = {prepare_dx, scratch, run_dx};
const struct dpt_op_bf16 dpt_op__linear_dw_bf16 = {prepare_dw, scratch, run_dw};
