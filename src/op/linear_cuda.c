/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Twins of op/linear.c and op/linear_heads.c: products with what follows them (gemm_cuda.h).
 *
 * In 16 bits what is kept in 32, a weight or the samples, is rounded into scratch memory first; so is the bias where the
 * result has 16 bits, which is how the library takes it.
 */

#include "op/linear.h"

#include "dev/cuda.h"
#include "op/cuda.h"
#include "op/gemm_cuda.h"

enum { ALIGN = 64 };

static size_t copy_nbytes(const struct dpt_type *type, enum dpt_dtype dtype)
{
    const size_t nbytes = (size_t)dpt_type_numel(type) * dpt_dtype_nbytes(dtype);
    return type->dtype == dtype ? 0 : (nbytes + ALIGN - 1) / ALIGN * ALIGN;
}

size_t dpt_op__linear_scratch_cuda(const struct dpt_op_types *types)
{
    size_t nbytes = 0;
    for (int i = 0; i < types->nin; i++) {
        nbytes += copy_nbytes(&types->in[i], types->half);
    }
    return nbytes;
}

/* The sums of the bias lie behind the copies. */
size_t dpt_op__linear_dw_scratch_cuda(const struct dpt_op_types *types)
{
    const size_t sums = types->nout > 1 ? dpt_op__bias_scratch_cuda(dpt_type_numel(&types->out[1])) : 0;
    return dpt_op__linear_scratch_cuda(types) + sums;
}

/* Input i in that type: as it lies, or a copy at *at, which moves on. NULL for an input that the call has not. */
static const void *operand(const struct dpt_op_call *call, int i, enum dpt_dtype dtype, char **at)
{
    if (i >= call->types->nin || call->in[i].type.dtype == dtype) {
        return i < call->types->nin ? call->in[i].data : NULL;
    }
    void *copy = *at;
    dpt_op__convert_cuda(dpt_cuda_of(call->dev), &call->in[i], dtype, copy);
    *at += copy_nbytes(&call->in[i].type, dtype);
    return copy;
}

/* Runs the product whose factors are inputs a and b and whose sizes and form are set. */
static enum dpt_status run(const struct dpt_op_call *call, struct dpt_cuda_gemm gemm, int a, int b, int bias)
{
    char *at = call->scratch;
    gemm.factors = call->types->half;
    gemm.sums = call->out[0].type.dtype;
    gemm.a = operand(call, a, gemm.factors, &at);
    gemm.b = operand(call, b, gemm.factors, &at);
    gemm.bias = bias < 0 ? NULL : operand(call, bias, gemm.z.data ? gemm.z.type.dtype : gemm.sums, &at);
    gemm.c = call->out[0].data;
    return dpt_cuda_gemm(dpt_cuda_of(call->dev), &gemm);
}

enum dpt_status dpt_op__linear_cuda(const struct dpt_op_call *call)
{
    const struct dpt_tensor *x = &call->in[0], *w = &call->in[1], *y = &call->out[0];
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&x->type, &w->type, &y->type);
    struct dpt_cuda_gemm gemm = {
        .tb = true, .act = dpt_op__linear_act(call->types), .m = size.n, .n = size.k, .k = size.h};
    if (call->types->nout > 1) {
        gemm.z = call->out[1];
    }
    return run(call, gemm, 0, 1, 2);
}

enum dpt_status dpt_op__linear_dx_cuda(const struct dpt_op_call *call)
{
    const struct dpt_tensor *dy = &call->in[0], *w = &call->in[1], *dx = &call->out[0];
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&dx->type, &w->type, &dy->type);
    struct dpt_cuda_gemm gemm = {.act = dpt_op__linear_act(call->types), .m = size.n, .n = size.h, .k = size.k};
    if (call->types->nin > 2) {
        gemm.t = call->in[2];
    }
    return run(call, gemm, 0, 1, -1);
}

/* True where this rank has a part of the features of x, and so of the columns of dw. */
static bool is_part(const struct dpt_op_call *call)
{
    const struct dpt_type *x = &call->in[0].type, *dy = &call->in[1].type, *dw = &call->out[0].type;
    bool part = false;
    for (int d = (dw->ndim + dy->ndim - x->ndim) / 2; d < dw->ndim; d++) {
        part = part || dpt_op_whole(call, call->types->nin, d) != dw->dim[d];
    }
    return part;
}

enum dpt_status dpt_op__linear_dw_cuda(const struct dpt_op_call *call)
{
    const struct dpt_tensor *x = &call->in[0], *dy = &call->in[1], *dw = &call->out[0];
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&x->type, &dw->type, &dy->type);
    struct dpt_cuda_gemm gemm = {.ta = true, .add = call->add, .m = size.k, .n = size.h, .k = size.n};
    if (call->types->nout > 1) {
        gemm.db = call->out[1].data;
        gemm.db_apart = is_part(call);
        gemm.db_scratch = (char *)call->scratch + dpt_op__linear_scratch_cuda(call->types);
    }
    return run(call, gemm, 1, 0, -1);
}
