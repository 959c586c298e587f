/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A gated activation. s: the logistic function.
 *
 *   forward   y = gate s(gate) up
 *   backward  dgate = dy up s(gate) (1 + gate (1 - s(gate))),  dup = dy gate s(gate)
 */

#include "op/swiglu.h"

#include <math.h>

#include "op/op.h"

static double logistic(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

#define DPT_REF "op/swiglu_ref.inc"
#include "op/real.h"
DPT_REF_RUN(swiglu, in[0])
DPT_REF_RUN(swiglu_dx, in[0])
DPT_CPU_RUN(swiglu, in[0])
DPT_CPU_RUN(swiglu_dx, in[0])

static enum dpt_status shape(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_swiglu, types));
    DPT_TRY(dpt_op__check_real(types, 2));
    DPT_TRY(dpt_op__check_same(types, 0, 1));
    types->nout = 1;
    types->out[0] = types->in[0];
    return DPT_STATUS_OK;
}

static enum dpt_status shape_dx(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_swiglu_dx, types));
    DPT_TRY(dpt_op__check_real(types, 3));
    DPT_TRY(dpt_op__check_same(types, 0, 1));
    DPT_TRY(dpt_op__check_same(types, 0, 2));
    types->nout = 2;
    types->out[0] = types->out[1] = types->in[0];
    return DPT_STATUS_OK;
}

static void cost(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    cost->flops = 5.0 * (double)dpt_type_numel(&types->in[0]); /* exp, sum, quotient, two products */
    dpt_op_cost_bytes(types, cost);
}

static void cost_dx(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    cost->flops = 11.0 * (double)dpt_type_numel(&types->in[0]); /* s 3; slope 4; dgate 2; dup 2 */
    dpt_op_cost_bytes(types, cost);
}

static enum dpt_status grad(struct dpt_op_grad *grad)
{
    if (grad->need[0] || grad->need[1]) {
        int first;
        DPT_TRY(dpt_op__add(grad, "swiglu_dx", NULL, 3, (int[]){grad->dout[0], grad->in[0], grad->in[1]}, &first));
        grad->din[0] = grad->need[0] ? first : -1;
        grad->din[1] = grad->need[1] ? first + 1 : -1;
    }
    return DPT_STATUS_OK;
}

const struct dpt_op dpt_op_swiglu = {
    .name = "swiglu",
    .doc = "y = silu(gate) up",
    .signature = "b.,b.->b.",
    .alias = 1u << 0 | 1u << 1,
    .shape = shape,
    .cost = cost,
    .grad = grad,
    .run = {[DPT_RUN_REF] = ref_swiglu, [DPT_RUN_CPU] = cpu_swiglu},
};

const struct dpt_op dpt_op_swiglu_dx = {
    .name = "swiglu_dx",
    .doc = "gradients of gate and up of swiglu",
    .signature = "b.,b.,b.->b.,b.",
    .alias = 1u << 0 | 1u << 1 | 1u << 2,
    .shape = shape_dx,
    .cost = cost_dx,
    .run = {[DPT_RUN_REF] = ref_swiglu_dx, [DPT_RUN_CPU] = cpu_swiglu_dx},
};
