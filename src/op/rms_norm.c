/* SPDX-License-Identifier: Apache-2.0 */

/*
 * RMS normalisation (Zhang, Sennrich, "Root mean square layer normalization", 2019) over the last dimension. n = all
 * other dimensions, h features.
 *
 *   forward   rstd[n] = 1 / sqrt(sum_h x^2 / h + eps),  xhat = x rstd,  y = gamma xhat
 *   backward  e = dy gamma
 *             dx = rstd (e - xhat mean_h(e xhat)) (+ dr),  dgamma[h] = sum_n dy xhat
 *
 * rstd is kept for the backward pass; it has no gradient of its own. dr and add_rms_norm are as in
 * op/layer_norm.c.
 */

#include "op/rms_norm.h"

#include <math.h>

#include "op/norm.h"

#define DPT_REF "op/rms_norm_ref.inc"
#include "op/real.h"
DPT_REF_RUN(rms_norm, in[0])
DPT_REF_RUN(add_rms_norm, in[0])
DPT_REF_RUN(rms_norm_dx, in[0])
DPT_REF_RUN(rms_norm_dw, in[0])
DPT_CPU_RUN(rms_norm, in[0])
DPT_CPU_RUN(add_rms_norm, in[0])
DPT_CPU_RUN(rms_norm_dx, in[0])
DPT_CPU_RUN(rms_norm_dw, in[0])

/* Of x, input 0; gamma is input number `gamma`, and the outputs of the norm come last. */
static enum dpt_status shape_of(struct dpt_op_types *types, int gamma)
{
    const struct dpt_rms_norm_param *param = types->param;
    DPT_TRY(dpt_op__check_real(types, types->nin));
    const struct dpt_type *x = &types->in[0];
    DPT_CHECK(x->dim[x->ndim - 1] > 0, DPT_STATUS_USAGE, "x has no features in its last dimension");
    DPT_TRY(dpt_op__check_shape(types, gamma, dpt_op__features(x), "gamma"));
    DPT_CHECK(param->eps > 0.0, DPT_STATUS_USAGE, "eps is %g, must be above 0", param->eps);
    types->nout = gamma + 1;
    types->out[0] = types->out[gamma - 1] = *x;
    types->out[gamma] = dpt_op__rows(x);
    return DPT_STATUS_OK;
}

static enum dpt_status shape(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_rms_norm, types));
    return shape_of(types, 1);
}

static enum dpt_status shape_add(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_add_rms_norm, types));
    DPT_TRY(dpt_op__check_same(types, 0, 1));
    return shape_of(types, 2);
}

static enum dpt_status shape_dx(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_rms_norm_dx, types));
    DPT_TRY(dpt_op__check_real(types, types->nin));
    DPT_TRY(dpt_op__check_same(types, 0, 1));
    DPT_TRY(dpt_op__check_shape(types, 2, dpt_op__rows(&types->in[1]), "rstd"));
    DPT_TRY(dpt_op__check_shape(types, 3, dpt_op__features(&types->in[1]), "gamma"));
    DPT_TRY(types->nin > 4 ? dpt_op__check_same(types, 1, 4) : DPT_STATUS_OK);
    types->nout = 1;
    types->out[0] = types->in[1];
    return DPT_STATUS_OK;
}

static enum dpt_status shape_dw(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_rms_norm_dw, types));
    DPT_TRY(dpt_op__check_real(types, 3));
    DPT_TRY(dpt_op__check_same(types, 0, 1));
    DPT_TRY(dpt_op__check_shape(types, 2, dpt_op__rows(&types->in[1]), "rstd"));
    types->nout = 1;
    types->out[0] = dpt_op__features(&types->in[1]);
    return DPT_STATUS_OK;
}

static void cost(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    dpt_op__cost_each(types, 0, 4.0, cost); /* n, h: sum of squares 2; xhat 1; gamma 1 */
}

static void cost_add(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    dpt_op__cost_each(types, 0, 5.0, cost); /* n, h: the sum 1; what rms_norm does 4 */
}

static void cost_dx(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    dpt_op__cost_each(types, 1, types->nin > 4 ? 8.0 : 7.0, cost); /* n, h: e 1; xhat 1; sum 2; dx 3; dr 1 */
}

static void cost_dw(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    dpt_op__cost_each(types, 1, 3.0, cost); /* n, h: xhat 1; dgamma 2 */
}

static enum dpt_status grad(struct dpt_op_grad *grad)
{
    const int x = grad->in[0], gamma = grad->in[1], rstd = grad->out[1], dy = grad->dout[0];
    if (grad->need[1]) {
        DPT_TRY(dpt_op__add(grad, "rms_norm_dw", NULL, 3, (int[]){dy, x, rstd}, &grad->din[1]));
    }
    if (grad->need[0]) {
        DPT_TRY(dpt_op__add(grad, "rms_norm_dx", NULL, 4, (int[]){dy, x, rstd, gamma}, &grad->din[0]));
    }
    return DPT_STATUS_OK;
}

const struct dpt_op dpt_op_rms_norm = {
    .name = "rms_norm",
    .doc = "divides every row by its root mean square",
    .param_nbytes = sizeof(struct dpt_rms_norm_param),
    .signature = "b.h,h->b.h,b.",
    .whole = "h",
    .alias = 1u << 0,
    .exact = 1u << 1,
    .shape = shape,
    .cost = cost,
    .grad = grad,
    .run = {[DPT_RUN_REF] = ref_rms_norm, [DPT_RUN_CPU] = cpu_rms_norm},
};

const struct dpt_op dpt_op_add_rms_norm = {
    .name = "add_rms_norm",
    .doc = "r = x + more, and every row of that divided by its root mean square",
    .param_nbytes = sizeof(struct dpt_rms_norm_param),
    .signature = "b.h,b.h,h->b.h,b.h,b.",
    .whole = "h",
    .alias = 1u << 0 | 1u << 1,
    .exact = 1u << 2,
    .from = {[0] = 1u << 0 | 1u << 1},
    .shape = shape_add,
    .cost = cost_add,
    .run = {[DPT_RUN_REF] = ref_add_rms_norm, [DPT_RUN_CPU] = cpu_add_rms_norm},
};

const struct dpt_op dpt_op_rms_norm_dx = {
    .name = "rms_norm_dx",
    .doc = "gradient of the input of rms_norm, and what its other readers add to it",
    .signature = "b.h,b.h,b.,h,b.h?->b.h",
    .whole = "h",
    .alias = 1u << 0 | 1u << 1,
    .shape = shape_dx,
    .cost = cost_dx,
    .run = {[DPT_RUN_REF] = ref_rms_norm_dx, [DPT_RUN_CPU] = cpu_rms_norm_dx},
};

const struct dpt_op dpt_op_rms_norm_dw = {
    .name = "rms_norm_dw",
    .doc = "gradient of gamma of rms_norm",
    .signature = "b.h,b.h,b.->h",
    .shape = shape_dw,
    .cost = cost_dw,
    .run = {[DPT_RUN_REF] = ref_rms_norm_dw, [DPT_RUN_CPU] = cpu_rms_norm_dw},
};
