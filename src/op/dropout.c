/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Dropout (Srivastava and others, 2014), scaled at training time.
 *
 *   y[e] = x[e] / (1 - rate) where word(e) >= rate 2^32, else 0        dx: the same on dy
 *
 * word(e) is word e % 4 of the Philox block e / 4, keyed by seed, stream and step; e is the element of the GLOBAL
 * batch: (place of the sample in the batch) * (elements a sample) + (element of the sample), also where the call has only
 * a part of it. No mask is stored: the backward pass draws it again, and so does every other layout.
 */

#include "op/dropout.h"

#include "base/rng.h"
#include "base/simd.h"
#include "op/op.h"

/* Words below it drop their element: a chance of rate, to 2^-32. */
static uint32_t threshold(double rate)
{
    return (uint32_t)(rate * 0x1p32);
}

/* Elements of dimensions [first, last) of a part. */
static int64_t elements(const struct dpt_type *type, int first, int last)
{
    int64_t numel = 1;
    for (int dim = first; dim < last; dim++) {
        numel *= type->dim[dim];
    }
    return numel;
}

/* The dimension from which on a part is contiguous in the global batch: 0 unless another than the samples is split. */
static int run_dim(const struct dpt_op_call *call)
{
    const struct dpt_type *type = &call->in[0].type;
    int dim = type->ndim - 1;
    while (dim > 0 && type->dim[dim] == dpt_op_whole(call, 0, dim)) {
        dim--;
    }
    return dim;
}

/* Index in the global batch of the first element of run `run`, of those that begin at dimension `dim`. */
static uint64_t first_element(const struct dpt_op_call *call, int dim, int64_t run)
{
    const struct dpt_type *type = &call->in[0].type;
    uint64_t element = 0, stride = 1;
    for (int d = type->ndim - 1; d >= 0; d--) {
        int64_t index = d > 0 ? dpt_op_begin(call, 0, d) : call->ctx->first_row;
        if (d < dim) {
            index += run % type->dim[d];
            run /= type->dim[d];
        }
        element += (uint64_t)index * stride;
        stride *= d > 0 ? (uint64_t)dpt_op_whole(call, 0, d) : 1;
    }
    return element;
}

#define DPT_REF "op/dropout_ref.inc"
#include "op/real.h"
DPT_REF_RUN(dropout, in[0])

static enum dpt_status shape(struct dpt_op_types *types)
{
    const struct dpt_dropout_param *param = types->param;
    DPT_TRY(dpt_op__check_inputs(&dpt_op_dropout, types));
    DPT_TRY(dpt_op__check_real(types, 1));
    DPT_CHECK(param->rate >= 0.0 && param->rate < 1.0, DPT_STATUS_USAGE, "rate is %g, expected 0 <= rate < 1",
              param->rate);
    types->nout = 1;
    types->out[0] = types->in[0];
    return DPT_STATUS_OK;
}

static enum dpt_status grad(struct dpt_op_grad *grad)
{
    if (!grad->need[0]) {
        return DPT_STATUS_OK;
    }
    return dpt_op__add(grad, "dropout", grad->types->param, 1, &grad->dout[0], &grad->din[0]);
}

const struct dpt_op dpt_op_dropout = {
    .name = "dropout",
    .doc = "drops elements with the given rate and scales the others",
    .param_nbytes = sizeof(struct dpt_dropout_param),
    .signature = "b.->b.",
    .alias = 1u << 0,
    .shape = shape,
    .cost = dpt_op__cost_elements,
    .grad = grad,
    .run = {[DPT_RUN_REF] = ref_dropout},
};
