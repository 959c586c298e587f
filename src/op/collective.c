/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Collectives as ops, so that a plan shows communication as nodes with a cost. They are put on edges by plan/ after the
 * gradient is made, so they have none of their own, and plan/ knows their shapes; exec/ runs them through comm/. The
 * kernel here is what an all_reduce is on one rank: a copy.
 */

#include "op/collective.h"

#include <string.h>

#include "base/half.h"

#include "op/op.h"

static enum dpt_status shape(struct dpt_op_types *types)
{
    types->nout = types->nin;
    if (types->nin == 1) {
        types->out[0] = types->in[0];
    }
    return DPT_STATUS_OK;
}

static enum dpt_status shape_all_reduce(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_all_reduce, types));
    DPT_TRY(dpt_half_is(types->in[0].dtype) ? DPT_STATUS_OK : dpt_op__check_real(types, 1));
    return shape(types);
}

static enum dpt_status copy(const struct dpt_op_call *call)
{
    if (call->out[0].data != call->in[0].data && dpt_type_numel(&call->in[0].type) > 0) {
        memcpy(call->out[0].data, call->in[0].data, dpt_type_nbytes(&call->in[0].type));
    }
    return DPT_STATUS_OK;
}

/* Only exec/ can do it. */
static enum dpt_status refuse(const struct dpt_op_call *call)
{
    (void)call;
    return dpt_error_set(DPT_STATUS_FAILED, __FILE__, __LINE__, "a collective was called as a kernel");
}

const struct dpt_op dpt_op_all_reduce = {
    .name = "all_reduce",
    .doc = "the sum over the ranks",
    .param_nbytes = sizeof(struct dpt_collective_param),
    .signature = ".->.",
    .collective = true,
    .alias = 1u << 0,
    .shape = shape_all_reduce,
    .run = {[DPT_RUN_REF] = copy},
};

#define COLLECTIVE(NAME, DOC)                                                                                          \
    const struct dpt_op dpt_op_##NAME = {                                                                              \
        .name = #NAME,                                                                                                 \
        .doc = DOC,                                                                                                    \
        .param_nbytes = sizeof(struct dpt_collective_param),                                                           \
        .signature = ".->.",                                                                                           \
        .collective = true,                                                                                            \
        .shape = shape,                                                                                                \
        .run = {[DPT_RUN_REF] = refuse},                                                                               \
    }

COLLECTIVE(all_max, "the greatest over the ranks");
COLLECTIVE(reduce_scatter, "the sum over the ranks, of which each keeps its part");
COLLECTIVE(all_gather, "the parts of all ranks, put together");
COLLECTIVE(all_to_all, "split along another dimension");
COLLECTIVE(part, "this rank's part of a copied value");
COLLECTIVE(halo, "a part of an image with the border that its windows read");
COLLECTIVE(halo_sum, "a part of an image, the sum of what windows of all ranks add to it");
COLLECTIVE(send, "to another stage");
COLLECTIVE(receive, "from another stage");
