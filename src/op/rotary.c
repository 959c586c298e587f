/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rotary positions. For j < d / 2 and row s:
 *
 *   a = s base^(-2 j / d)
 *   y[j]         = x[j] cos a - x[j + d/2] sin a
 *   y[j + d/2]   = x[j + d/2] cos a + x[j] sin a
 *
 * The gradient turns dy by -a.
 */

#include "op/rotary.h"

#include <math.h>

#define DPT_REF "op/rotary_ref.inc"
#include "op/real.h"
DPT_REF_RUN(rotary, in[0])
DPT_CPU_RUN(rotary, in[0])

static enum dpt_status shape(struct dpt_op_types *types)
{
    const struct dpt_rotary_param *param = types->param;
    DPT_TRY(dpt_op__check_inputs(&dpt_op_rotary, types));
    DPT_TRY(dpt_op__check_real(types, 1));
    const struct dpt_type *x = &types->in[0];
    const int64_t d = x->dim[x->ndim - 1];
    DPT_CHECK(d % 2 == 0, DPT_STATUS_USAGE, "heads are %lld wide, expected an even number for rotary positions",
              (long long)d);
    DPT_CHECK(param->base > 0.0 && isfinite(param->base), DPT_STATUS_USAGE,
              "the base of rotary positions is %g, expected a positive number", param->base);
    types->nout = 1;
    types->out[0] = *x;
    return DPT_STATUS_OK;
}

static void cost(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    cost->flops = 3.0 * (double)dpt_type_numel(&types->in[0]); /* every feature: two products, one sum */
    dpt_op_cost_bytes(types, cost);
}

static enum dpt_status grad(struct dpt_op_grad *grad)
{
    struct dpt_rotary_param back = *(const struct dpt_rotary_param *)grad->types->param;
    back.inverse = !back.inverse;
    return grad->need[0] ? dpt_op__add(grad, "rotary", &back, 1, &grad->dout[0], &grad->din[0]) : DPT_STATUS_OK;
}

const struct dpt_op dpt_op_rotary = {
    .name = "rotary",
    .doc = "turns pairs of features by angles that grow with the position",
    .param_nbytes = sizeof(struct dpt_rotary_param),
    .signature = "bs.d->bs.d",
    .whole = "d",
    .alias = 1u << 0,
    .shape = shape,
    .cost = cost,
    .grad = grad,
    .scratch = dpt_op__rotary_scratch,
    .run = {[DPT_RUN_REF] = ref_rotary, [DPT_RUN_CPU] = cpu_rotary},
};
