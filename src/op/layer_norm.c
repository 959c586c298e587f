/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Layer normalisation (Ba, Kiros, Hinton, 2016) over the last dimension. n = all other dimensions, h features.
 *
 *   forward   mean[n] = sum_h x / h,  rstd[n] = 1 / sqrt(sum_h (x - mean)^2 / h + eps)
 *             xhat = (x - mean) rstd,  y = gamma xhat + beta, beta may be missing
 *             with a sum before it (add_layer_norm): x = r, r = x' + more, which is an output, too
 *   backward  e = dy gamma
 *             dx = rstd (e - mean_h(e) - xhat mean_h(e xhat)) (+ dr)
 *             dgamma[h] = sum_n dy xhat,  dbeta[h] = sum_n dy
 *
 * mean and rstd are kept for the backward pass; they have no gradient of their own. dr, which may be missing, is the gradient
 * that x gets from its other readers (graph/fuse.c). dx is rounded to what it is kept in before dr is added, as if add did that;
 * so is r before it is normalised. add_layer_norm is put in when the backward pass is there (graph/fuse.c): it has no gradient.
 */

#include "op/layer_norm.h"

#include <math.h>

#include "op/norm.h"

#define DPT_REF "op/layer_norm_ref.inc"
#include "op/real.h"
DPT_REF_RUN(layer_norm, in[0])
DPT_REF_RUN(add_layer_norm, in[0])
DPT_REF_RUN(layer_norm_dx, in[0])
DPT_REF_RUN(layer_norm_dw, in[0])
DPT_CPU_RUN(layer_norm, in[0])
DPT_CPU_RUN(add_layer_norm, in[0])
DPT_CPU_RUN(layer_norm_dx, in[0])
DPT_CPU_RUN(layer_norm_dw, in[0])

/* Of x, input 0; gamma and beta are the inputs from number `gamma` on, and the outputs of the norm come last. */
static enum dpt_status shape_of(struct dpt_op_types *types, int gamma)
{
    const struct dpt_layer_norm_param *param = types->param;
    DPT_TRY(dpt_op__check_real(types, types->nin));
    const struct dpt_type *x = &types->in[0];
    DPT_CHECK(x->dim[x->ndim - 1] > 0, DPT_STATUS_USAGE, "x has no features in its last dimension");
    DPT_TRY(dpt_op__check_shape(types, gamma, dpt_op__features(x), "gamma"));
    DPT_TRY(types->nin > gamma + 1 ? dpt_op__check_shape(types, gamma + 1, dpt_op__features(x), "beta") : DPT_STATUS_OK);
    DPT_CHECK(param->eps > 0.0, DPT_STATUS_USAGE, "eps is %g, must be above 0", param->eps);
    types->nout = gamma + 2;
    types->out[0] = types->out[gamma - 1] = *x;
    types->out[gamma] = types->out[gamma + 1] = dpt_op__rows(x);
    return DPT_STATUS_OK;
}

static enum dpt_status shape(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_layer_norm, types));
    return shape_of(types, 1);
}

static enum dpt_status shape_add(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_add_layer_norm, types));
    DPT_TRY(dpt_op__check_same(types, 0, 1));
    return shape_of(types, 2);
}

static enum dpt_status shape_dx(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_layer_norm_dx, types));
    DPT_TRY(dpt_op__check_real(types, types->nin));
    DPT_TRY(dpt_op__check_same(types, 0, 1));
    DPT_TRY(dpt_op__check_shape(types, 2, dpt_op__rows(&types->in[1]), "mean"));
    DPT_TRY(dpt_op__check_shape(types, 3, dpt_op__rows(&types->in[1]), "rstd"));
    DPT_TRY(dpt_op__check_shape(types, 4, dpt_op__features(&types->in[1]), "gamma"));
    DPT_TRY(types->nin > 5 ? dpt_op__check_same(types, 1, 5) : DPT_STATUS_OK);
    types->nout = 1;
    types->out[0] = types->in[1];
    return DPT_STATUS_OK;
}

static enum dpt_status shape_dw(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_layer_norm_dw, types));
    DPT_TRY(dpt_op__check_real(types, 4));
    DPT_TRY(dpt_op__check_same(types, 0, 1));
    DPT_TRY(dpt_op__check_shape(types, 2, dpt_op__rows(&types->in[1]), "mean"));
    DPT_TRY(dpt_op__check_shape(types, 3, dpt_op__rows(&types->in[1]), "rstd"));
    types->nout = 2;
    types->out[0] = types->out[1] = dpt_op__features(&types->in[1]);
    return DPT_STATUS_OK;
}

static void cost(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    dpt_op__cost_each(types, 0, 8.0, cost); /* n, h: mean 1; variance 3; xhat 2; gamma, beta 2 */
}

static void cost_add(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    dpt_op__cost_each(types, 0, 9.0, cost); /* n, h: the sum 1; what layer_norm does 8 */
}

static void cost_dx(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    const double more = types->nin > 5 ? 1.0 : 0.0;
    dpt_op__cost_each(types, 1, 10.0 + more, cost); /* n, h: e 1; xhat 2; two sums 3; dx 4; dr 1 */
}

static void cost_dw(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    dpt_op__cost_each(types, 1, 5.0, cost); /* n, h: xhat 2; dgamma 2; dbeta 1 */
}

static enum dpt_status grad(struct dpt_op_grad *grad)
{
    const int x = grad->in[0], gamma = grad->in[1], mean = grad->out[1], rstd = grad->out[2], dy = grad->dout[0];
    const bool offset = grad->types->nin > 2 && grad->need[2];
    if (grad->need[1] || offset) {
        int first;
        DPT_TRY(dpt_op__add(grad, "layer_norm_dw", NULL, 4, (int[]){dy, x, mean, rstd}, &first));
        grad->din[1] = grad->need[1] ? first : -1;
        if (offset) {
            grad->din[2] = first + 1;
        }
    }
    if (grad->need[0]) {
        const int in[] = {dy, x, mean, rstd, gamma};
        DPT_TRY(dpt_op__add(grad, "layer_norm_dx", NULL, 5, in, &grad->din[0]));
    }
    return DPT_STATUS_OK;
}

const struct dpt_op dpt_op_layer_norm = {
    .name = "layer_norm",
    .doc = "normalises every row over the last dimension",
    .param_nbytes = sizeof(struct dpt_layer_norm_param),
    .signature = "b.h,h,h?->b.h,b.,b.",
    .whole = "h",
    .alias = 1u << 0,
    .exact = 1u << 1 | 1u << 2,
    .shape = shape,
    .cost = cost,
    .grad = grad,
    .run = {[DPT_RUN_REF] = ref_layer_norm, [DPT_RUN_CPU] = cpu_layer_norm},
};

const struct dpt_op dpt_op_add_layer_norm = {
    .name = "add_layer_norm",
    .doc = "r = x + more, and every row of that normalised",
    .param_nbytes = sizeof(struct dpt_layer_norm_param),
    .signature = "b.h,b.h,h,h?->b.h,b.h,b.,b.",
    .whole = "h",
    .alias = 1u << 0 | 1u << 1,
    .exact = 1u << 2 | 1u << 3,
    .from = {[0] = 1u << 0 | 1u << 1},
    .shape = shape_add,
    .cost = cost_add,
    .run = {[DPT_RUN_REF] = ref_add_layer_norm, [DPT_RUN_CPU] = cpu_add_layer_norm},
};

const struct dpt_op dpt_op_layer_norm_dx = {
    .name = "layer_norm_dx",
    .doc = "gradient of the input of layer_norm, and what its other readers add to it",
    .signature = "b.h,b.h,b.,b.,h,b.h?->b.h",
    .whole = "h",
    .alias = 1u << 0 | 1u << 1,
    .shape = shape_dx,
    .cost = cost_dx,
    .run = {[DPT_RUN_REF] = ref_layer_norm_dx, [DPT_RUN_CPU] = cpu_layer_norm_dx},
};

const struct dpt_op dpt_op_layer_norm_dw = {
    .name = "layer_norm_dw",
    .doc = "gradients of gamma and beta of layer_norm",
    .signature = "b.h,b.h,b.,b.->h,h",
    .shape = shape_dw,
    .cost = cost_dw,
    .run = {[DPT_RUN_REF] = ref_layer_norm_dw, [DPT_RUN_CPU] = cpu_layer_norm_dw},
};
