/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Element-wise activations.
 *
 *             y                      dx
 *   relu      max(x, 0)              dy where y > 0, else 0
 *   gelu      x Phi(x)               dy (Phi(x) + x phi(x))          Hendrycks, Gimpel, 2016; the exact form
 *   silu      x s(x)                 dy s(x) (1 + x (1 - s(x)))      s: the logistic function
 *   sigmoid   s(x)                   dy y (1 - y)
 *   tanh      tanh(x)                dy (1 - y^2)
 *   gelu_tanh x s(2 u)               dy s(2 u) (1 + 2 x u' (1 - s(2 u)))
 *             u = sqrt(2 / pi) (x + 0.044715 x^3), u' its derivative: the same as 0.5 x (1 + tanh u)
 *
 * The gradient of relu, sigmoid and tanh reads y, so that x need not be kept; that of the others reads x.
 */

#include "op/activation.h"

#include <math.h>

#include "op/op.h"

static double logistic(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

/* Phi: the normal distribution function. */
static double normal(double x)
{
    return 0.5 * erfc(-x * 0.70710678118654752440);
}

/* Twice the argument of tanh in gelu_tanh, and the derivative of that. */
static double gelu_twice(double x)
{
    return 1.59576912160573071176 * (x + 0.044715 * x * x * x);
}

static double gelu_twice_slope(double x)
{
    return 1.59576912160573071176 * (1.0 + 3.0 * 0.044715 * x * x);
}

double dpt_op__activation_at(enum dpt_activation_kind kind, double x)
{
    switch (kind) {
    case DPT_ACTIVATION_KIND_NONE:
        break;
    case DPT_ACTIVATION_KIND_RELU:
        return x < 0.0 ? 0.0 : x;
    case DPT_ACTIVATION_KIND_GELU:
        return x * normal(x);
    case DPT_ACTIVATION_KIND_SILU:
        return x * logistic(x);
    case DPT_ACTIVATION_KIND_SIGMOID:
        return logistic(x);
    case DPT_ACTIVATION_KIND_TANH:
        return tanh(x);
    case DPT_ACTIVATION_KIND_GELU_TANH:
        return x * logistic(gelu_twice(x));
    }
    return x;
}

double dpt_op__activation_dx_at(enum dpt_activation_kind kind, double dy, double t)
{
    switch (kind) {
    case DPT_ACTIVATION_KIND_NONE:
        break;
    case DPT_ACTIVATION_KIND_RELU:
        return t <= 0.0 ? 0.0 : dy;
    case DPT_ACTIVATION_KIND_GELU:
        return dy * (normal(t) + t * 0.39894228040143267794 * exp(-0.5 * t * t));
    case DPT_ACTIVATION_KIND_SILU:
        return dy * logistic(t) * (1.0 + t * (1.0 - logistic(t)));
    case DPT_ACTIVATION_KIND_SIGMOID:
        return dy * t * (1.0 - t);
    case DPT_ACTIVATION_KIND_TANH:
        return dy * (1.0 - t * t);
    case DPT_ACTIVATION_KIND_GELU_TANH:
        return dy * logistic(gelu_twice(t)) * (1.0 + t * gelu_twice_slope(t) * (1.0 - logistic(gelu_twice(t))));
    }
    return dy;
}

#define DPT_REF "op/activation_ref.inc"
#include "op/real.h"
DPT_REF_RUN(activation, in[0])
DPT_REF_RUN(activation_dx, in[0])
DPT_CPU_RUN(activation, in[0])
DPT_CPU_RUN(activation_dx, in[0])

static enum dpt_status check_kind(const struct dpt_op_types *types)
{
    const struct dpt_activation_param *param = types->param;
    DPT_CHECK(param->kind > DPT_ACTIVATION_KIND_NONE && param->kind <= DPT_ACTIVATION_KIND_GELU_TANH, DPT_STATUS_USAGE,
              "has no activation of number %d", (int)param->kind);
    return DPT_STATUS_OK;
}

static enum dpt_status shape(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_activation, types));
    DPT_TRY(dpt_op__check_real(types, 1));
    DPT_TRY(check_kind(types));
    types->nout = 1;
    types->out[0] = types->in[0];
    return DPT_STATUS_OK;
}

static enum dpt_status shape_dx(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_activation_dx, types));
    DPT_TRY(dpt_op__check_real(types, 2));
    DPT_TRY(dpt_op__check_same(types, 0, 1));
    DPT_TRY(check_kind(types));
    types->nout = 1;
    types->out[0] = types->in[0];
    return DPT_STATUS_OK;
}

static enum dpt_status grad(struct dpt_op_grad *grad)
{
    const struct dpt_activation_param *param = grad->types->param;
    const int t = dpt_activation_reads_x(param->kind) ? grad->in[0] : grad->out[0];
    if (!grad->need[0]) {
        return DPT_STATUS_OK;
    }
    return dpt_op__add(grad, "activation_dx", param, 2, (int[]){grad->dout[0], t}, &grad->din[0]);
}

const struct dpt_op dpt_op_activation = {
    .name = "activation",
    .doc = "relu, gelu, silu, sigmoid, tanh or gelu_tanh of every element",
    .param_nbytes = sizeof(struct dpt_activation_param),
    .signature = "b.->b.",
    .alias = 1u << 0,
    .shape = shape,
    .cost = dpt_op__cost_elements,
    .grad = grad,
    .run = {[DPT_RUN_REF] = ref_activation, [DPT_RUN_CPU] = cpu_activation},
};

const struct dpt_op dpt_op_activation_dx = {
    .name = "activation_dx",
    .doc = "gradient of the input of activation",
    .param_nbytes = sizeof(struct dpt_activation_param),
    .signature = "b.,b.->b.",
    .alias = 1u << 0 | 1u << 1,
    .shape = shape_dx,
    .cost = dpt_op__cost_elements,
    .run = {[DPT_RUN_REF] = ref_activation_dx, [DPT_RUN_CPU] = cpu_activation_dx},
};
