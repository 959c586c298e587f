/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Products with a weight. n = all dimensions of x but the last, h inputs, k outputs, weights [out, in] as in PyTorch's
 * nn.Linear.
 *
 *   forward   z[n,k]  = sum_h x[n,h] w[k,h] + bias[k]
 *             y       = act(z)
 *   backward  dz      = dy act'(t), t = y or z (activation.c)
 *             dx[n,h] = sum_k dz[n,k] w[k,h]; times act'(t) of the layer before, where graph/fuse.c says so
 *             dw[k,h] = sum_n dz[n,k] x[n,h]
 *             db[k]   = sum_n dz[n,k], by the op that makes dw: a card's library has both in one pass
 */

#include "op/linear.h"

#include <string.h>

#include "op/op.h"

#define DPT_REF "op/linear_ref.inc"
#include "op/real.h"
DPT_REF_RUN(linear, in[0])
DPT_REF_RUN(linear_dx, in[0])
DPT_REF_RUN(linear_dw, in[0])

enum dpt_status dpt_op__linear_ref(const struct dpt_op_call *call)
{
    return ref_linear(call);
}

enum dpt_status dpt_op__linear_dx_ref(const struct dpt_op_call *call)
{
    return ref_linear_dx(call);
}

enum dpt_status dpt_op__linear_dw_ref(const struct dpt_op_call *call)
{
    return ref_linear_dw(call);
}

static int64_t last_dim(const struct dpt_type *type)
{
    return type->dim[type->ndim - 1];
}

/* A tensor like `type`, with another last dimension. */
static struct dpt_type with_last_dim(struct dpt_type type, int64_t dim)
{
    type.dim[type.ndim - 1] = dim;
    return type;
}

enum dpt_status dpt_op__linear_check(const struct dpt_linear_param *param, bool may_keep)
{
    DPT_CHECK(param->act >= DPT_ACTIVATION_KIND_NONE && param->act <= DPT_ACTIVATION_KIND_GELU_TANH, DPT_STATUS_USAGE,
              "has no activation of number %d", (int)param->act);
    DPT_CHECK(!param->keep || (may_keep && param->keep == 1 && param->act != DPT_ACTIVATION_KIND_NONE), DPT_STATUS_USAGE,
              "cannot keep what its activation reads: it has none, or is a gradient");
    return DPT_STATUS_OK;
}

static enum dpt_status shape(struct dpt_op_types *types)
{
    const struct dpt_linear_param *param = types->param;
    DPT_TRY(dpt_op__check_inputs(&dpt_op_linear, types));
    DPT_TRY(dpt_op__check_real(types, types->nin));
    const struct dpt_type *x = &types->in[0], *w = &types->in[1];
    DPT_CHECK(w->dim[0] > 0, DPT_STATUS_USAGE, "w has no outputs, expected at least one");
    DPT_CHECK(last_dim(x) == w->dim[1], DPT_STATUS_USAGE, "x has %lld features in its last dimension, but w takes %lld",
              (long long)last_dim(x), (long long)w->dim[1]);
    DPT_CHECK(types->nin < 3 || types->in[2].dim[0] == w->dim[0], DPT_STATUS_USAGE,
              "bias has %lld elements, but w %lld outputs", (long long)types->in[2].dim[0], (long long)w->dim[0]);
    DPT_TRY(dpt_op__linear_check(param, true));
    types->nout = 1 + param->keep;
    types->out[0] = types->out[1] = with_last_dim(*x, w->dim[0]);
    return DPT_STATUS_OK;
}

static enum dpt_status shape_dx(struct dpt_op_types *types)
{
    const struct dpt_linear_param *param = types->param;
    DPT_TRY(dpt_op__check_inputs(&dpt_op_linear_dx, types));
    DPT_TRY(dpt_op__check_real(types, types->nin));
    DPT_TRY(dpt_op__linear_check(param, false));
    const struct dpt_type *dy = &types->in[0], *w = &types->in[1];
    DPT_CHECK(last_dim(dy) == w->dim[0], DPT_STATUS_USAGE, "dy has %lld features in its last dimension, w %lld outputs",
              (long long)last_dim(dy), (long long)w->dim[0]);
    types->nout = 1;
    types->out[0] = with_last_dim(*dy, w->dim[1]);
    DPT_CHECK((types->nin > 2) == (param->act != DPT_ACTIVATION_KIND_NONE), DPT_STATUS_USAGE,
              "the gradient of an activation and t come together");
    return types->nin > 2 ? dpt_op__check_shape(types, 2, types->out[0], "t") : DPT_STATUS_OK;
}

static enum dpt_status shape_dw(struct dpt_op_types *types)
{
    const struct dpt_linear_dw_param *param = types->param;
    DPT_TRY(dpt_op__check_inputs(&dpt_op_linear_dw, types));
    DPT_TRY(dpt_op__check_real(types, 2));
    const struct dpt_type *x = &types->in[0], *dy = &types->in[1];
    const struct dpt_type like_x = with_last_dim(*dy, last_dim(x));
    DPT_CHECK(dpt_type_equal(x, &like_x), DPT_STATUS_USAGE, "x and dy differ in more than the last dimension");
    types->nout = param->bias ? 2 : 1;
    types->out[0] = (struct dpt_type){x->dtype, 2, {last_dim(dy), last_dim(x)}};
    types->out[1] = (struct dpt_type){x->dtype, 1, {last_dim(dy)}};
    return DPT_STATUS_OK;
}

/* The sum over h is not finished on one part of h, so nothing may follow it in the same op. */
static const char *whole_for(const struct dpt_op_types *types)
{
    const struct dpt_linear_param *param = types->param;
    return types->nin > 2 || param->act != DPT_ACTIVATION_KIND_NONE ? "h" : "";
}

static const char *whole_for_dx(const struct dpt_op_types *types)
{
    return types->nin > 2 ? "k" : "";
}

static void cost(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    const double outputs = (double)dpt_type_numel(&types->out[0]);
    const struct dpt_linear_param *param = types->param;
    cost->flops = 2.0 * outputs * (double)types->in[1].dim[1];            /* n, k, h: multiply, add */
    cost->flops += types->nin > 2 ? outputs : 0.0;                         /* n, k: add the bias     */
    cost->flops += param->act != DPT_ACTIVATION_KIND_NONE ? outputs : 0.0; /* n, k: the activation   */
    dpt_op_cost_bytes(types, cost);
}

static void cost_dx(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    const double outputs = (double)dpt_type_numel(&types->out[0]);
    cost->flops = 2.0 * outputs * (double)types->in[1].dim[0]; /* n, h, k                       */
    cost->flops += types->nin > 2 ? outputs : 0.0;             /* n, h: gradient of activations */
    dpt_op_cost_bytes(types, cost);
}

static void cost_dw(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    cost->flops = 2.0 * (double)dpt_type_numel(&types->in[0]) * (double)types->out[0].dim[0]; /* n, h, k */
    cost->flops += dpt_op__linear_bias_flops(types);
    dpt_op_cost_bytes(types, cost);
}

double dpt_op__linear_bias_flops(const struct dpt_op_types *types)
{
    return types->nout > 1 ? (double)dpt_type_numel(&types->in[1]) : 0.0; /* n, k: add */
}

enum dpt_status dpt_op__linear_add_dw(struct dpt_op_grad *grad, const char *dw, int dz)
{
    const bool weight = grad->need[1], bias = grad->types->nin > 2 && grad->need[2];
    const struct dpt_linear_dw_param param = {bias};
    int made = -1;
    if (weight || bias) {
        DPT_TRY(dpt_op__add(grad, dw, &param, 2, (int[]){grad->in[0], dz}, &made));
    }
    if (weight) {
        grad->din[1] = made;
    }
    if (bias) {
        grad->din[2] = made + 1;
    }
    return DPT_STATUS_OK;
}

static enum dpt_status grad(struct dpt_op_grad *grad)
{
    const struct dpt_linear_param *param = grad->types->param;
    int dz = grad->dout[0];
    if (param->act != DPT_ACTIVATION_KIND_NONE) {
        const struct dpt_activation_param act = {param->act};
        const bool from_z = dpt_activation_reads_x(param->act);
        DPT_CHECK(!from_z || param->keep, DPT_STATUS_FAILED, "linear: has not kept what the gradient of its activation reads");
        DPT_TRY(dpt_op__add(grad, "activation_dx", &act, 2, (int[]){dz, grad->out[from_z ? 1 : 0]}, &dz));
    }
    DPT_TRY(dpt_op__linear_add_dw(grad, "linear_dw", dz));
    if (grad->need[0]) {
        const struct dpt_linear_param plain = {DPT_ACTIVATION_KIND_NONE, 0};
        DPT_TRY(dpt_op__add(grad, "linear_dx", &plain, 2, (int[]){dz, grad->in[1]}, &grad->din[0]));
    }
    return DPT_STATUS_OK;
}

/* Bias and activation go behind the sum over h. */
static void strip(void *param, struct dpt_op_rest *rest)
{
    rest->op = &dpt_op_bias_act;
    memcpy(rest->param, param, sizeof(struct dpt_linear_param));
    *(struct dpt_linear_param *)param = (struct dpt_linear_param){DPT_ACTIVATION_KIND_NONE, 0};
}

/* The gradient of an activation goes behind the sum over k. */
static void strip_dx(void *param, struct dpt_op_rest *rest)
{
    const struct dpt_activation_param act = {((struct dpt_linear_param *)param)->act};
    rest->op = &dpt_op_activation_dx;
    memcpy(rest->param, &act, sizeof act);
    *(struct dpt_linear_param *)param = (struct dpt_linear_param){DPT_ACTIVATION_KIND_NONE, 0};
}

const struct dpt_op dpt_op_linear = {
    .name = "linear",
    .doc = "y = act(x w^T + bias)",
    .param_nbytes = sizeof(struct dpt_linear_param),
    .signature = "b.h,kh,k?->b.k,b.k",
    .whole_for = whole_for,
    .strip = strip,
    .factors = 1u << 0 | 1u << 1,
    .shape = shape,
    .cost = cost,
    .grad = grad,
    .prepare = dpt_op__linear_prepare,
    .release = dpt_op__linear_release,
    .scratch = dpt_op__linear_scratch,
    .run = {[DPT_RUN_REF] = ref_linear, [DPT_RUN_CPU] = dpt_op__linear_cpu},
    .bf16 = &dpt_op__linear_bf16,
};

const struct dpt_op dpt_op_linear_dx = {
    .name = "linear_dx",
    .doc = "gradient of the input of linear, and of the activation before it",
    .param_nbytes = sizeof(struct dpt_linear_param),
    .signature = "b.k,kh,b.h?->b.h",
    .whole_for = whole_for_dx,
    .strip = strip_dx,
    .factors = 1u << 0 | 1u << 1,
    .shape = shape_dx,
    .cost = cost_dx,
    .prepare = dpt_op__linear_dx_prepare,
    .release = dpt_op__linear_release,
    .scratch = dpt_op__linear_dx_scratch,
    .run = {[DPT_RUN_REF] = ref_linear_dx, [DPT_RUN_CPU] = dpt_op__linear_dx_cpu},
    .bf16 = &dpt_op__linear_dx_bf16,
};

const struct dpt_op dpt_op_linear_dw = {
    .name = "linear_dw",
    .doc = "gradients of the weight and the bias of linear",
    .param_nbytes = sizeof(struct dpt_linear_dw_param),
    .signature = "b.h,b.k->kh,k",
    .from = {[1] = 1u << 1}, /* db comes from dy alone */
    .factors = 1u << 0 | 1u << 1,
    .shape = shape_dw,
    .cost = cost_dw,
    .prepare = dpt_op__linear_dw_prepare,
    .release = dpt_op__linear_release,
    .scratch = dpt_op__linear_dw_scratch,
    .adds = 1u << DPT_RUN_CPU | 1u << DPT_RUN_CUDA,
    .run = {[DPT_RUN_REF] = ref_linear_dw, [DPT_RUN_CPU] = dpt_op__linear_dw_cpu},
    .bf16 = &dpt_op__linear_dw_bf16,
};
