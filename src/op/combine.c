/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Several values into one, and a part of one.
 *
 *   add     z = x + y              dx = dz, dy = dz: no node
 *   mul     z = x y                dx = dz y, dy = dz x
 *   concat  z = [x0, x1, ...]      dxi = slice(dz) at the place of xi
 *   slice   x = z[.., begin : begin + length]
 *
 * concat and slice work on the last dimension: features, or the channels of NHWC images.
 */

#include "op/combine.h"

#include <string.h>

#include "op/op.h"

#define DPT_REF "op/combine_ref.inc"
#include "op/real.h"
DPT_REF_RUN(add, in[0])
DPT_REF_RUN(mul, in[0])
DPT_CPU_RUN(add, in[0])
DPT_CPU_RUN(mul, in[0])

static int64_t last_dim(const struct dpt_type *type)
{
    return type->dim[type->ndim - 1];
}

/* Copies `rows` runs of nbytes; the runs lie to_stride and from_stride apart. */
static void copy_runs(int64_t rows, size_t nbytes, char *to, size_t to_stride, const char *from, size_t from_stride)
{
    for (int64_t i = 0; i < rows && nbytes; i++) {
        memcpy(to + (size_t)i * to_stride, from + (size_t)i * from_stride, nbytes);
    }
}

static enum dpt_status run_concat(const struct dpt_op_call *call)
{
    const struct dpt_type *z = &call->out[0].type;
    const size_t size = dpt_dtype_nbytes(z->dtype), z_stride = (size_t)last_dim(z) * size;
    char *to = call->out[0].data;
    for (int i = 0; i < call->types->nin; i++) {
        const struct dpt_type *x = &call->in[i].type;
        const size_t nbytes = (size_t)last_dim(x) * size;
        copy_runs(nbytes ? dpt_type_numel(x) / last_dim(x) : 0, nbytes, to, z_stride, call->in[i].data, nbytes);
        to += nbytes;
    }
    return DPT_STATUS_OK;
}

static enum dpt_status run_slice(const struct dpt_op_call *call)
{
    const struct dpt_slice_param *param = call->types->param;
    const struct dpt_type *z = &call->in[0].type, *x = &call->out[0].type;
    const size_t size = dpt_dtype_nbytes(z->dtype), nbytes = (size_t)last_dim(x) * size;
    const char *from = (const char *)call->in[0].data + (size_t)param->begin * size;
    copy_runs(nbytes ? dpt_type_numel(x) / last_dim(x) : 0, nbytes, call->out[0].data, nbytes, from,
              (size_t)last_dim(z) * size);
    return DPT_STATUS_OK;
}

static enum dpt_status shape_pair(const struct dpt_op *op, struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(op, types));
    DPT_TRY(dpt_op__check_real(types, 2));
    DPT_TRY(dpt_op__check_same(types, 0, 1));
    types->nout = 1;
    types->out[0] = types->in[0];
    return DPT_STATUS_OK;
}

static enum dpt_status shape_add(struct dpt_op_types *types)
{
    return shape_pair(&dpt_op_add, types);
}

static enum dpt_status shape_mul(struct dpt_op_types *types)
{
    return shape_pair(&dpt_op_mul, types);
}

static enum dpt_status shape_concat(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_concat, types));
    DPT_TRY(dpt_op__check_real(types, types->nin));
    DPT_CHECK(types->nin >= 2, DPT_STATUS_USAGE, "has one input, takes 2 to %d", DPT_OP_MAX_IN);
    struct dpt_type *z = &types->out[0];
    types->nout = 1;
    *z = types->in[0];
    for (int i = 1; i < types->nin; i++) {
        struct dpt_type alike = types->in[i];
        DPT_CHECK(alike.ndim == z->ndim, DPT_STATUS_USAGE, "input %d has %d dimensions, but input 0 has %d", i,
                  alike.ndim, z->ndim);
        const int64_t more = last_dim(&alike);
        alike.dim[alike.ndim - 1] = last_dim(z);
        DPT_CHECK(dpt_type_equal(&alike, z), DPT_STATUS_USAGE,
                  "input %d differs from input 0 in more than the last dimension", i);
        DPT_CHECK(!__builtin_add_overflow(last_dim(z), more, &z->dim[z->ndim - 1]), DPT_STATUS_USAGE,
                  "the last dimension becomes too large");
    }
    return dpt_type_check(z, "the result");
}

static enum dpt_status shape_slice(struct dpt_op_types *types)
{
    const struct dpt_slice_param *param = types->param;
    DPT_TRY(dpt_op__check_inputs(&dpt_op_slice, types));
    DPT_TRY(dpt_op__check_real(types, 1));
    const int64_t extent = last_dim(&types->in[0]);
    const bool inside = param->begin >= 0 && param->begin <= extent && param->length >= 0 &&
                        param->length <= extent - param->begin;
    DPT_CHECK(inside, DPT_STATUS_USAGE, "takes %lld elements from element %lld on, but the last dimension has %lld",
              (long long)param->length, (long long)param->begin, (long long)extent);
    types->nout = 1;
    types->out[0] = types->in[0];
    types->out[0].dim[types->in[0].ndim - 1] = param->length;
    return DPT_STATUS_OK;
}

/* What is read is what is written. */
static void cost_slice(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    cost->bytes_read = cost->bytes_written = (double)dpt_type_nbytes(&types->out[0]);
}

static enum dpt_status grad_add(struct dpt_op_grad *grad)
{
    for (int i = 0; i < 2; i++) {
        grad->din[i] = grad->need[i] ? grad->dout[0] : -1;
    }
    return DPT_STATUS_OK;
}

static enum dpt_status grad_mul(struct dpt_op_grad *grad)
{
    for (int i = 0; i < 2; i++) {
        if (grad->need[i]) {
            const int factors[] = {grad->dout[0], grad->in[1 - i]};
            DPT_TRY(dpt_op__add(grad, "mul", NULL, 2, factors, &grad->din[i]));
        }
    }
    return DPT_STATUS_OK;
}

static enum dpt_status grad_concat(struct dpt_op_grad *grad)
{
    struct dpt_slice_param slice = {0, 0};
    for (int i = 0; i < grad->types->nin; i++) {
        slice.length = last_dim(&grad->types->in[i]);
        if (grad->need[i]) {
            DPT_TRY(dpt_op__add(grad, "slice", &slice, 1, &grad->dout[0], &grad->din[i]));
        }
        slice.begin += slice.length;
    }
    return DPT_STATUS_OK;
}

const struct dpt_op dpt_op_add = {
    .name = "add",
    .doc = "z = x + y",
    .signature = "b.,b.->b.",
    .alias = 1u << 0 | 1u << 1,
    .shape = shape_add,
    .cost = dpt_op__cost_elements,
    .grad = grad_add,
    .run = {[DPT_RUN_REF] = ref_add, [DPT_RUN_CPU] = cpu_add},
};

const struct dpt_op dpt_op_mul = {
    .name = "mul",
    .doc = "z = x y, element by element",
    .signature = "b.,b.->b.",
    .alias = 1u << 0 | 1u << 1,
    .shape = shape_mul,
    .cost = dpt_op__cost_elements,
    .grad = grad_mul,
    .run = {[DPT_RUN_REF] = ref_mul, [DPT_RUN_CPU] = cpu_mul},
};

const struct dpt_op dpt_op_concat = {
    .name = "concat",
    .doc = "inputs side by side in the last dimension",
    .signature = "b.c*->b.k",
    .whole = "ck",
    .shape = shape_concat,
    .grad = grad_concat,
    .run = {[DPT_RUN_REF] = run_concat},
};

const struct dpt_op dpt_op_slice = {
    .name = "slice",
    .doc = "a range of the last dimension: the gradient of concat",
    .param_nbytes = sizeof(struct dpt_slice_param),
    .signature = "b.k->b.c",
    .whole = "ck",
    .shape = shape_slice,
    .cost = cost_slice,
    .run = {[DPT_RUN_REF] = run_slice},
};
