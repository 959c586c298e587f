/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Between a node that computes in 16 bits and an op whose rules and kernels know float. Shape rules see F32 for BF16, and
 * give outputs that the node keeps in 16 bits back as BF16. Where the op has kernels for 16 bits and this machine the
 * instructions, they run; else the float kernel runs on operands in scratch memory: inputs widened, factors of products
 * rounded, outputs narrowed afterwards. Both compute the same: products of bfloat16 added up in float, all else in float,
 * one rounding of each number that is kept in 16 bits.
 *
 *   scratch:   [widened or rounded inputs][outputs before narrowing][scratch of the float kernel]
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bf16.h"
#include "op/cuda.h"
#include "op/op.h"

enum { ALIGN = 64 };

/* What was prepared for a node that computes in 16 bits. */
struct prep {
    void *narrow; /* for the op's kernels of 16 bits, or NULL          */
    void *wide;   /* for the float kernel: only where `narrow` is NULL */
};

typedef enum dpt_status kernel_fn(const struct dpt_op_call *call);

static kernel_fn *kernel(const struct dpt_op *op, enum dpt_run run)
{
    if (run == DPT_RUN_CUDA) {
        return dpt_op__cuda(op)->run; /* dpt_op_check_run has seen it */
    }
    return op->run[run] ? op->run[run] : op->run[DPT_RUN_REF];
}

static bool is_bf16(const struct dpt_op *op, const struct dpt_op_types *types)
{
    return types->bf16 && !op->view && !op->collective && !op->update;
}

/* The types as the op's own functions know them. */
static struct dpt_op_types widened(const struct dpt_op_types *types)
{
    struct dpt_op_types wide = *types;
    for (int i = 0; i < types->nin; i++) {
        wide.in[i].dtype = types->in[i].dtype == DPT_DTYPE_BF16 ? DPT_DTYPE_F32 : types->in[i].dtype;
    }
    for (int o = 0; o < types->nout; o++) {
        wide.out[o].dtype = types->out[o].dtype == DPT_DTYPE_BF16 ? DPT_DTYPE_F32 : types->out[o].dtype;
    }
    wide.bf16 = false;
    wide.narrow = 0;
    return wide;
}

enum dpt_status dpt_op_shape(const struct dpt_op *op, struct dpt_op_types *types)
{
    if (!is_bf16(op, types)) {
        return op->shape(types);
    }
    struct dpt_op_types wide = widened(types);
    DPT_TRY(op->shape(&wide));
    types->nout = wide.nout;
    for (int o = 0; o < wide.nout; o++) {
        const bool narrow = types->narrow >> o & 1;
        DPT_CHECK(!narrow || (wide.out[o].dtype == DPT_DTYPE_F32 && !(op->exact >> o & 1)), DPT_STATUS_FAILED,
                  "output %d of %s cannot be kept in 16 bits", o, op->name);
        types->out[o] = wide.out[o];
        types->out[o].dtype = narrow ? DPT_DTYPE_BF16 : wide.out[o].dtype;
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_op_prepare(const struct dpt_op *op, const struct dpt_op_types *types, enum dpt_run run, int threads,
                               void **prep)
{
    *prep = NULL;
    if (!is_bf16(op, types)) {
        return op->prepare && run != DPT_RUN_CUDA ? op->prepare(types, run, threads, prep) : DPT_STATUS_OK;
    }
    struct prep made = {NULL, NULL};
    const struct dpt_op_types wide = widened(types);
    if (op->bf16 && run == DPT_RUN_CPU) {
        DPT_TRY(op->bf16->prepare(types, threads, &made.narrow));
    }
    if (op->prepare && !made.narrow) {
        DPT_TRY(op->prepare(&wide, run, threads, &made.wide));
    }
    if (!made.narrow && !made.wide) {
        return DPT_STATUS_OK;
    }
    *prep = malloc(sizeof made);
    if (!*prep) {
        op->release(made.narrow ? made.narrow : made.wide);
        return dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "no memory to prepare %s", op->name);
    }
    memcpy(*prep, &made, sizeof made);
    return DPT_STATUS_OK;
}

void dpt_op_release(const struct dpt_op *op, const struct dpt_op_types *types, void *prep)
{
    if (!prep) {
        return;
    }
    if (!is_bf16(op, types)) {
        op->release(prep);
        return;
    }
    const struct prep *made = prep;
    op->release(made->narrow ? made->narrow : made->wide);
    free(prep);
}

/* ------------------------------------------------------------------------------------------------ float kernels */

static bool is_rounded(const struct dpt_op *op, const struct dpt_type *type, int i)
{
    return type->dtype == DPT_DTYPE_F32 && (op->factors >> i & 1);
}

/* The input in whose widened copy the kernel may write output 0, or -1. */
static int shared_input(const struct dpt_op *op, const struct dpt_op_types *types)
{
    for (int i = 0; i < types->nin && types->nout > 0; i++) {
        if ((op->alias >> i & 1) && types->in[i].dtype == DPT_DTYPE_BF16 &&
            dpt_type_equal(&types->in[i], &types->out[0])) {
            return i;
        }
    }
    return -1;
}

static size_t float_nbytes(const struct dpt_type *type)
{
    return ((size_t)dpt_type_numel(type) * sizeof(float) + ALIGN - 1) / ALIGN * ALIGN;
}

/* Bytes of the operands of the float kernel that do not lie where the caller has them. */
static size_t copies_nbytes(const struct dpt_op *op, const struct dpt_op_types *types)
{
    size_t nbytes = 0;
    for (int i = 0; i < types->nin; i++) {
        const bool copied = types->in[i].dtype == DPT_DTYPE_BF16 || is_rounded(op, &types->in[i], i);
        nbytes += copied ? float_nbytes(&types->in[i]) : 0;
    }
    for (int o = 0; o < types->nout; o++) {
        const bool shared = o == 0 && shared_input(op, types) >= 0;
        nbytes += types->out[o].dtype == DPT_DTYPE_BF16 && !shared ? float_nbytes(&types->out[o]) : 0;
    }
    return nbytes;
}

size_t dpt_op_scratch(const struct dpt_op *op, const struct dpt_op_types *types, enum dpt_run run, int threads,
                      const void *prep)
{
    if (run == DPT_RUN_CUDA) {
        const struct dpt_op_cuda *twin = dpt_op__cuda(op);
        return twin && twin->scratch ? twin->scratch(types) : 0;
    }
    if (!is_bf16(op, types)) {
        return op->scratch ? op->scratch(types, run, threads, prep) : 0;
    }
    const struct prep *made = prep;
    const struct dpt_op_types wide = widened(types);
    const size_t floats = op->scratch ? op->scratch(&wide, run, threads, made ? made->wide : NULL) : 0;
    const size_t least = made && made->narrow ? op->bf16->scratch(types, made->narrow) : 0;
    const size_t all = copies_nbytes(op, types) + floats;
    return all > least ? all : least;
}

/* The next `type` floats of the scratch memory. */
static struct dpt_tensor take(char **at, struct dpt_type type)
{
    struct dpt_tensor tensor = {type, *at};
    tensor.type.dtype = DPT_DTYPE_F32;
    *at += float_nbytes(&type);
    return tensor;
}

static enum dpt_status call_float(const struct dpt_op *op, enum dpt_run run, const struct dpt_op_call *call)
{
    const struct dpt_op_types types = widened(call->types);
    const struct prep *made = call->prep;
    struct dpt_tensor in[DPT_OP_MAX_IN], out[DPT_OP_MAX_OUT];
    char *at = call->scratch;
    const int shared = shared_input(op, call->types);
    for (int i = 0; i < types.nin; i++) {
        const struct dpt_type *type = &call->in[i].type;
        in[i] = call->in[i];
        if (type->dtype == DPT_DTYPE_BF16) {
            in[i] = take(&at, *type);
            dpt_bf16_widen(dpt_type_numel(type), call->in[i].data, in[i].data);
        } else if (is_rounded(op, type, i)) {
            in[i] = take(&at, *type);
            dpt_bf16_round(dpt_type_numel(type), call->in[i].data, in[i].data);
        }
    }
    for (int o = 0; o < types.nout; o++) {
        out[o] = call->out[o].type.dtype != DPT_DTYPE_BF16 ? call->out[o]
                 : o == 0 && shared >= 0                  ? in[shared]
                                                           : take(&at, call->out[o].type);
    }
    struct dpt_op_call wide = *call;
    wide.types = &types;
    wide.in = in;
    wide.out = out;
    wide.prep = made ? made->wide : NULL;
    wide.scratch = at;
    DPT_TRY(kernel(op, run)(&wide));
    for (int o = 0; o < types.nout; o++) {
        if (call->out[o].type.dtype == DPT_DTYPE_BF16) {
            dpt_bf16_narrow(dpt_type_numel(&out[o].type), out[o].data, call->out[o].data);
        }
    }
    return DPT_STATUS_OK;
}

/* In 16 bits, by the op's kernels for them or its float kernel. */
static enum dpt_status call_bf16(const struct dpt_op *op, enum dpt_run run, const struct dpt_op_call *call)
{
    const struct prep *made = call->prep;
    DPT_CHECK(run != DPT_RUN_CUDA, DPT_STATUS_FAILED, "%s: no kernels in 16 bits for this device", op->name);
    if (run == DPT_RUN_CPU && made && made->narrow && !call->add) { /* none of these adds */
        struct dpt_op_call narrow = *call;
        bool done = true;
        narrow.prep = made->narrow;
        DPT_TRY(op->bf16->run(&narrow, &done));
        if (done) {
            return DPT_STATUS_OK;
        }
    }
    return call_float(op, run, call);
}

/* "linear (F32[64,784], F32[256,784]): the sentence of the failure". */
static enum dpt_status name_failure(enum dpt_status status, const struct dpt_op *op, const struct dpt_op_call *call)
{
    char operands[DPT_OP_MAX_IN * 98], text[96];
    size_t at = 0;
    operands[0] = '\0';
    for (int i = 0; i < call->types->nin; i++) {
        at += (size_t)snprintf(operands + at, sizeof operands - at, "%s%s", i ? ", " : "",
                               dpt_type_text(text, sizeof text, &call->in[i].type));
    }
    return dpt_error_set(status, __FILE__, __LINE__, "%s (%s): %s", op->name, operands, dpt_error_text());
}

enum dpt_status dpt_op_call(const struct dpt_op *op, enum dpt_run run, const struct dpt_op_call *call)
{
    DPT_TRY(dpt_dev_kernel_begin(call->dev));
    const enum dpt_status status = is_bf16(op, call->types) ? call_bf16(op, run, call) : kernel(op, run)(call);
    const enum dpt_status ended = dpt_dev_kernel_end(call->dev);
    const enum dpt_status first = status != DPT_STATUS_OK ? status : ended;
    return first != DPT_STATUS_OK && run == DPT_RUN_CUDA ? name_failure(first, op, call) : first;
}
