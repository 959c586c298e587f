/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Collectives as ops, so that a plan shows communication as nodes with a cost. They are put on edges by plan/ after the
 * gradient is made, so they have none of their own; the executor runs them through the exchange of comm/. The kernel
 * here is what they are on one rank: a copy.
 */

#include "op/collective.h"

#include <string.h>

#include "op/op.h"

static enum dpt_status shape(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_all_reduce, types));
    DPT_TRY(dpt_op__check_real(types, 1));
    types->nout = 1;
    types->out[0] = types->in[0];
    return DPT_STATUS_OK;
}

static enum dpt_status copy(const struct dpt_op_call *call)
{
    if (call->out[0].data != call->in[0].data && dpt_type_numel(&call->in[0].type) > 0) {
        memcpy(call->out[0].data, call->in[0].data, dpt_type_nbytes(&call->in[0].type));
    }
    return DPT_STATUS_OK;
}

const struct dpt_op dpt_op_all_reduce = {
    .name = "all_reduce",
    .doc = "the sum over the ranks",
    .signature = ".->.",
    .alias = 1u << 0,
    .shape = shape,
    .run = {[DPT_RUN_REF] = copy},
};
