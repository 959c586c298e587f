/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Losses and what the log shows of them. n samples, V classes, E elements a sample, B samples of the global batch.
 *
 *   cross_entropy     loss[n] = lse(x[n]) - sum_v q[n,v] x[n,v]      q = (1 - s) onehot(target) + s / V
 *                     lse(x) = max + log sum_v exp(x_v - max)        label smoothing: Szegedy and others, 2016
 *   cross_entropy_dx  dx[n,v] = (softmax(x[n])_v - q[n,v]) / B
 *   mse               loss[n] = sum_e (y[n,e] - t[n,e])^2 / E
 *   mse_dx            dy[n,e] = 2 (y[n,e] - t[n,e]) / (E B)
 *
 * A loss is the end of the graph: its gradient is DPT_OP_SEED, 1 / B for every sample, and stands in the _dx ops.
 * Metrics are sums in F64, to be added over calls and ranks.
 */

#include "op/loss.h"

#include <math.h>

#include "op/op.h"

#define DPT_REF "op/loss_ref.inc"
#include "op/real.h"
DPT_REF_RUN(cross_entropy, in[0])
DPT_REF_RUN(cross_entropy_dx, in[0])
DPT_REF_RUN(mse, in[0])
DPT_REF_RUN(mse_dx, in[0])
DPT_REF_RUN(class_metrics, in[0])
DPT_REF_RUN(real_metrics, in[0])
DPT_CPU_RUN(cross_entropy, in[0])
DPT_CPU_RUN(cross_entropy_dx, in[0])
DPT_CPU_RUN(mse, in[0])
DPT_CPU_RUN(mse_dx, in[0])

/* logits [n,V] in a real type and one I32 target a sample. */
static enum dpt_status check_classes(const struct dpt_op *op, const struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(op, types));
    DPT_TRY(dpt_op__check_real(types, 1));
    const struct dpt_type *logits = &types->in[0], *target = &types->in[1];
    DPT_CHECK(logits->dim[1] > 0, DPT_STATUS_USAGE, "the logits have no classes");
    DPT_CHECK(target->dtype == DPT_DTYPE_I32, DPT_STATUS_USAGE,
              "the target holds %s, expected class numbers (I32); use mse for real targets",
              dpt_dtype_name(target->dtype));
    DPT_CHECK(target->dim[0] == logits->dim[0], DPT_STATUS_USAGE, "%lld targets for %lld samples",
              (long long)target->dim[0], (long long)logits->dim[0]);
    return DPT_STATUS_OK;
}

/* y and target of one shape and real type, with at least one element a sample. */
static enum dpt_status check_reals(const struct dpt_op *op, const struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(op, types));
    DPT_TRY(dpt_op__check_real(types, 2));
    DPT_TRY(dpt_op__check_same(types, 0, 1));
    for (int i = 1; i < types->in[0].ndim; i++) {
        DPT_CHECK(types->in[0].dim[i] > 0, DPT_STATUS_USAGE, "a sample of y has no elements");
    }
    return DPT_STATUS_OK;
}

static enum dpt_status check_smoothing(const struct dpt_op_types *types)
{
    const struct dpt_cross_entropy_param *param = types->param;
    DPT_CHECK(param->smoothing >= 0.0 && param->smoothing < 1.0, DPT_STATUS_USAGE,
              "label smoothing is %g, expected 0 <= smoothing < 1", param->smoothing);
    return DPT_STATUS_OK;
}

/* One value a sample. */
static void set_loss(struct dpt_op_types *types)
{
    types->nout = 1;
    types->out[0] = (struct dpt_type){types->in[0].dtype, 1, {types->in[0].dim[0]}};
}

static void set_like_input(struct dpt_op_types *types)
{
    types->nout = 1;
    types->out[0] = types->in[0];
}

static enum dpt_status shape_cross_entropy(struct dpt_op_types *types)
{
    DPT_TRY(check_classes(&dpt_op_cross_entropy, types));
    DPT_TRY(check_smoothing(types));
    set_loss(types);
    return DPT_STATUS_OK;
}

static enum dpt_status shape_cross_entropy_dx(struct dpt_op_types *types)
{
    DPT_TRY(check_classes(&dpt_op_cross_entropy_dx, types));
    DPT_TRY(check_smoothing(types));
    set_like_input(types);
    return DPT_STATUS_OK;
}

static enum dpt_status shape_mse(struct dpt_op_types *types)
{
    DPT_TRY(check_reals(&dpt_op_mse, types));
    set_loss(types);
    return DPT_STATUS_OK;
}

static enum dpt_status shape_mse_dx(struct dpt_op_types *types)
{
    DPT_TRY(check_reals(&dpt_op_mse_dx, types));
    set_like_input(types);
    return DPT_STATUS_OK;
}

/* Sums: `count` numbers in F64. The third input is the loss of every sample. */
static enum dpt_status set_metrics(struct dpt_op_types *types, int64_t count)
{
    const struct dpt_type loss = {types->in[0].dtype, 1, {types->in[0].dim[0]}};
    DPT_CHECK(dpt_type_equal(&types->in[2], &loss), DPT_STATUS_USAGE, "the loss is not one value a sample");
    types->nout = 1;
    types->out[0] = (struct dpt_type){DPT_DTYPE_F64, 1, {count}};
    return DPT_STATUS_OK;
}

static enum dpt_status shape_class_metrics(struct dpt_op_types *types)
{
    DPT_TRY(check_classes(&dpt_op_class_metrics, types));
    return set_metrics(types, 4);
}

static enum dpt_status shape_real_metrics(struct dpt_op_types *types)
{
    DPT_TRY(check_reals(&dpt_op_real_metrics, types));
    return set_metrics(types, 6);
}

/* n, V: maximum, difference, exp, sum. The _dx does the same and scales. */
static void cost_cross_entropy(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    cost->flops = 4.0 * (double)dpt_type_numel(&types->in[0]);
    dpt_op_cost_bytes(types, cost);
}

/* n, E: difference, square, sum; or difference, factor and no sum, counted alike. */
static void cost_mse(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    cost->flops = 3.0 * (double)dpt_type_numel(&types->in[0]);
    dpt_op_cost_bytes(types, cost);
}

static enum dpt_status grad_loss(struct dpt_op_grad *grad, const char *op)
{
    DPT_CHECK(grad->dout[0] == DPT_OP_SEED, DPT_STATUS_FAILED,
              "a loss must be the end of the graph; nothing may be computed from it but metrics");
    DPT_CHECK(!grad->need[1], DPT_STATUS_FAILED, "the target of a loss has no gradient");
    return grad->need[0] ? dpt_op__add(grad, op, grad->types->param, 2, grad->in, &grad->din[0]) : DPT_STATUS_OK;
}

static enum dpt_status grad_cross_entropy(struct dpt_op_grad *grad)
{
    return grad_loss(grad, "cross_entropy_dx");
}

static enum dpt_status grad_mse(struct dpt_op_grad *grad)
{
    return grad_loss(grad, "mse_dx");
}

const struct dpt_op dpt_op_cross_entropy = {
    .name = "cross_entropy",
    .doc = "softmax and negative log likelihood of the target class",
    .param_nbytes = sizeof(struct dpt_cross_entropy_param),
    .signature = "bv,b->b",
    .whole = "v",
    .seed = true,
    .exact = 1u << 0,
    .shape = shape_cross_entropy,
    .cost = cost_cross_entropy,
    .grad = grad_cross_entropy,
    .scratch = dpt_op__cross_entropy_scratch,
    .run = {[DPT_RUN_REF] = ref_cross_entropy, [DPT_RUN_CPU] = cpu_cross_entropy},
};

const struct dpt_op dpt_op_cross_entropy_dx = {
    .name = "cross_entropy_dx",
    .doc = "gradient of the logits of cross_entropy, over the samples of the batch",
    .param_nbytes = sizeof(struct dpt_cross_entropy_param),
    .signature = "bv,b->bv",
    .whole = "v",
    .alias = 1u << 0,
    .shape = shape_cross_entropy_dx,
    .cost = cost_cross_entropy,
    .run = {[DPT_RUN_REF] = ref_cross_entropy_dx, [DPT_RUN_CPU] = cpu_cross_entropy_dx},
};

const struct dpt_op dpt_op_mse = {
    .name = "mse",
    .doc = "mean squared error of every sample",
    .signature = "b.,b.->b",
    .seed = true,
    .exact = 1u << 0,
    .shape = shape_mse,
    .cost = cost_mse,
    .grad = grad_mse,
    .run = {[DPT_RUN_REF] = ref_mse, [DPT_RUN_CPU] = cpu_mse},
};

const struct dpt_op dpt_op_mse_dx = {
    .name = "mse_dx",
    .doc = "gradient of the prediction of mse, over the samples of the batch",
    .signature = "b.,b.->b.",
    .alias = 1u << 0 | 1u << 1,
    .shape = shape_mse_dx,
    .cost = cost_mse,
    .run = {[DPT_RUN_REF] = ref_mse_dx, [DPT_RUN_CPU] = cpu_mse_dx},
};

const struct dpt_op dpt_op_class_metrics = {
    .name = "class_metrics",
    .doc = "sums of loss, right answers, right answers in the first five, samples",
    .signature = "bv,b,b->m",
    .whole = "vm",
    .shape = shape_class_metrics,
    .run = {[DPT_RUN_REF] = ref_class_metrics},
};

const struct dpt_op dpt_op_real_metrics = {
    .name = "real_metrics",
    .doc = "sums of loss, squared error, target, squared target, elements, samples",
    .signature = "b.,b.,b->m",
    .whole = "m.",
    .shape = shape_real_metrics,
    .run = {[DPT_RUN_REF] = ref_real_metrics},
};
