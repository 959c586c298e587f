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

struct dpt_dropout_place dpt_op__dropout_place(const struct dpt_op_call *call)
{
    const struct dpt_type *type = &call->in[0].type;
    struct dpt_dropout_place place = {.length = 1};
    int dim = type->ndim - 1; /* from which on the part is contiguous: 0 unless another than the samples is split */
    while (dim > 0 && type->dim[dim] == dpt_op_whole(call, 0, dim)) {
        dim--;
    }
    uint64_t stride = 1;
    place.ndim = dim > 0 ? dim : 0;
    for (int d = type->ndim - 1; d >= 0; d--) {
        const int64_t begin = d > 0 ? dpt_op_begin(call, 0, d) : call->ctx->first_row;
        place.first += (uint64_t)begin * stride;
        if (d < place.ndim) {
            place.dim[d] = type->dim[d];
            place.step[d] = stride;
        } else {
            place.length *= type->dim[d];
        }
        stride *= d > 0 ? (uint64_t)dpt_op_whole(call, 0, d) : 1;
    }
    return place;
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
