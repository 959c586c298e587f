/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What follows a product whose inner dimension is split over ranks, when the parts have been summed. n = all dimensions
 * of x but the last, k outputs of a linear layer or channels of a convolution.
 *
 *   forward   z[n,k] = x[n,k] + bias[k], or without bias
 *             y      = act(z)
 *
 * plan/ puts it behind the sum in place of the bias and the activation inside linear or conv, after the gradient is
 * made, so it has none of its own.
 */

#include "op/linear.h"

#include "op/op.h"

#define DPT_REF "op/bias_act_ref.inc"
#include "op/real.h"
DPT_REF_RUN(bias_act, in[0])
DPT_CPU_RUN(bias_act, in[0])

static enum dpt_status shape(struct dpt_op_types *types)
{
    const struct dpt_linear_param *param = types->param;
    DPT_TRY(dpt_op__check_inputs(&dpt_op_bias_act, types));
    DPT_TRY(dpt_op__check_real(types, types->nin));
    const struct dpt_type *x = &types->in[0];
    DPT_CHECK(types->nin < 2 || types->in[1].dim[0] == x->dim[x->ndim - 1], DPT_STATUS_USAGE,
              "bias has %lld elements, but x %lld features in its last dimension", (long long)types->in[1].dim[0],
              (long long)x->dim[x->ndim - 1]);
    DPT_TRY(dpt_op__linear_check(param, true));
    types->nout = 1 + param->keep;
    types->out[0] = types->out[1] = *x;
    return DPT_STATUS_OK;
}

static void cost(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    const struct dpt_linear_param *param = types->param;
    const double outputs = (double)dpt_type_numel(&types->out[0]);
    cost->flops = types->nin > 1 ? outputs : 0.0;                          /* n, k: add            */
    cost->flops += param->act != DPT_ACTIVATION_KIND_NONE ? outputs : 0.0; /* n, k: the activation */
    dpt_op_cost_bytes(types, cost);
}

const struct dpt_op dpt_op_bias_act = {
    .name = "bias_act",
    .doc = "y = act(x + bias), behind the sum of a product over ranks",
    .param_nbytes = sizeof(struct dpt_linear_param),
    .signature = "b.k,k?->b.k,b.k",
    .alias = 1u << 0,
    .shape = shape,
    .cost = cost,
    .run = {[DPT_RUN_REF] = ref_bias_act, [DPT_RUN_CPU] = cpu_bias_act},
};
