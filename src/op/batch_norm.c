/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Batch normalisation (Ioffe, Szegedy: "Batch normalization: accelerating deep network training by reducing internal
 * covariate shift", 2015). n rows (samples and their places), c channels, N = the rows of all ranks that share the
 * statistics.
 *
 *   forward   stat  = sum_n x, sum_n x^2                                     merged over the ranks
 *             mean  = stat[0] / N, var = stat[1] / N - mean^2, rstd = 1 / sqrt(var + eps)
 *             xhat  = (x - mean) rstd, z = gamma xhat + beta, y = act(z + residual)
 *   backward  dz    = dy masked by act
 *             gstat = sum_n dz, sum_n dz xhat                                merged over the ranks
 *             dx    = gamma rstd (dz - gstat[0] / N - xhat gstat[1] / N)
 *             dgamma = gstat[1], dbeta = gstat[0], dresidual = dz
 *
 * Numerics: x^2 of a float is exact in double and all sums are in double, so that the subtraction in var leaves
 * 16 - 2 log10(|mean| / sqrt(var)) digits: more than float has, up to a ratio of 10^4.
 *
 * The gradient of x through stat is in batch_norm_dx, so batch_stat itself has none.
 */

#include "op/batch_norm.h"

#include <math.h>

double dpt_op__batch_count(const struct dpt_op_call *call)
{
    const struct dpt_batch_norm_param *param = call->types->param;
    double places = 1.0;
    for (int i = 1; i < call->in[0].type.ndim - 1; i++) {
        places *= (double)dpt_op_whole(call, 0, i);
    }
    return places * (double)(param->local ? call->ctx->rows : call->ctx->micro_rows);
}

/* Mean and biased variance of channel k; those of no elements are 0. */
static void moments(const double *stat, int64_t k, int64_t c, double count, double *mean, double *var)
{
    *mean = count > 0.0 ? stat[k] / count : 0.0;
    *var = count > 0.0 ? fmax(stat[c + k] / count - *mean * *mean, 0.0) : 0.0;
}

void dpt_op__batch_moments(const double *stat, int64_t k, int64_t c, double count, double eps, double *mean,
                           double *rstd)
{
    double var;
    moments(stat, k, c, count, mean, &var);
    *rstd = 1.0 / sqrt(var + eps);
}

#define DPT_REF "op/batch_norm_ref.inc"
#include "op/real.h"
DPT_REF_RUN(batch_stat, in[0])
DPT_REF_RUN(batch_norm, in[0])
DPT_REF_RUN(batch_norm_eval, in[0])
DPT_REF_RUN(batch_grad_stat, in[0])
DPT_REF_RUN(batch_residual_dx, in[0])
DPT_REF_RUN(batch_norm_dx, in[0])

/* Element k of a tensor of c real numbers. */
static void set_real(const struct dpt_tensor *tensor, int64_t k, double value)
{
    if (tensor->type.dtype == DPT_DTYPE_F64) {
        ((double *)tensor->data)[k] = value;
    } else {
        ((float *)tensor->data)[k] = (float)value;
    }
}

static enum dpt_status ref_batch_norm_dw(const struct dpt_op_call *call)
{
    const struct dpt_batch_norm_param *param = call->types->param;
    const struct dpt_op_ctx *ctx = call->ctx;
    const double *gstat = call->in[0].data; /* [2,c] */
    const int64_t c = call->in[0].type.dim[1];
    const bool whole = param->local || ctx->rows == ctx->micro_rows;
    const double share = whole ? 1.0 : (double)ctx->rows / (double)ctx->micro_rows;
    for (int64_t k = 0; k < c; k++) {
        set_real(&call->out[0], k, share * gstat[c + k]);
        set_real(&call->out[1], k, share * gstat[k]);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status ref_batch_moments(const struct dpt_op_call *call)
{
    const struct dpt_batch_norm_param *param = call->types->param;
    const struct dpt_op_ctx *ctx = call->ctx;
    const double *stat = call->in[0].data; /* [2,c] */
    const int64_t c = call->in[0].type.dim[1];
    const double count = (double)param->per_sample * (double)(param->local ? ctx->rows : ctx->micro_rows);
    const double share = (double)ctx->rows / (double)ctx->batch_rows;
    const double unbiased = count > 1.0 ? count / (count - 1.0) : 1.0;
    for (int64_t k = 0; k < c; k++) {
        double mean, var;
        moments(stat, k, c, count, &mean, &var);
        set_real(&call->out[0], k, share * mean);
        set_real(&call->out[1], k, share * unbiased * var);
    }
    return DPT_STATUS_OK;
}

static int64_t channels_of(const struct dpt_type *x)
{
    return x->dim[x->ndim - 1];
}

static struct dpt_type stat_type(int64_t c)
{
    return (struct dpt_type){DPT_DTYPE_F64, 2, {2, c}};
}

/* Refuses input i unless it is F64[2,c]. */
static enum dpt_status check_stat(const struct dpt_op_types *types, int i, int64_t c)
{
    const struct dpt_type expected = stat_type(c);
    char text[96], text2[96];
    DPT_CHECK(dpt_type_equal(&types->in[i], &expected), DPT_STATUS_USAGE, "input %d is %s, expected statistics %s", i,
              dpt_type_text(text, sizeof text, &types->in[i]), dpt_type_text(text2, sizeof text2, &expected));
    return DPT_STATUS_OK;
}

/* Refuses inputs i .. i + count - 1 unless they are a number of x's type for each of its c channels. */
static enum dpt_status check_channels(const struct dpt_op_types *types, int i, int count, int64_t c)
{
    const struct dpt_type expected = {types->in[0].dtype, 1, {c}};
    for (int k = i; k < i + count; k++) {
        char text[96];
        DPT_CHECK(dpt_type_equal(&types->in[k], &expected), DPT_STATUS_USAGE,
                  "input %d is %s, expected a number for each of %lld channels, like x", k,
                  dpt_type_text(text, sizeof text, &types->in[k]), (long long)c);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status check_param(const struct dpt_op_types *types)
{
    const struct dpt_batch_norm_param *param = types->param;
    DPT_CHECK(param->eps > 0.0, DPT_STATUS_USAGE, "eps is %g, expected a small positive number", param->eps);
    DPT_CHECK(param->act == DPT_ACTIVATION_KIND_NONE || param->act == DPT_ACTIVATION_KIND_RELU, DPT_STATUS_USAGE,
              "activation %d cannot be fused, expected none or relu", (int)param->act);
    return DPT_STATUS_OK;
}

/* What all ops on x share: inputs as in the signature, real numbers in the first `real` ones. */
static enum dpt_status check(const struct dpt_op *op, const struct dpt_op_types *types, int real)
{
    DPT_TRY(dpt_op__check_inputs(op, types));
    DPT_TRY(dpt_op__check_real(types, real));
    return check_param(types);
}

static enum dpt_status shape_stat(struct dpt_op_types *types)
{
    DPT_TRY(check(&dpt_op_batch_stat, types, 1));
    types->nout = 1;
    types->out[0] = stat_type(channels_of(&types->in[0]));
    return DPT_STATUS_OK;
}

/* y is like x; a residual, input i, too. */
static enum dpt_status set_y(struct dpt_op_types *types, int i)
{
    if (types->nin > i) {
        DPT_TRY(dpt_op__check_same(types, 0, i));
        DPT_CHECK(types->in[i].dtype == types->in[0].dtype, DPT_STATUS_USAGE, "residual holds %s, but x %s",
                  dpt_dtype_name(types->in[i].dtype), dpt_dtype_name(types->in[0].dtype));
    }
    types->nout = 1;
    types->out[0] = types->in[0];
    return DPT_STATUS_OK;
}

static enum dpt_status shape(struct dpt_op_types *types)
{
    DPT_TRY(check(&dpt_op_batch_norm, types, 1));
    const int64_t c = channels_of(&types->in[0]);
    DPT_TRY(check_stat(types, 1, c));
    DPT_TRY(check_channels(types, 2, 2, c));
    return set_y(types, 4);
}

static enum dpt_status shape_eval(struct dpt_op_types *types)
{
    DPT_TRY(check(&dpt_op_batch_norm_eval, types, 1));
    DPT_TRY(check_channels(types, 1, 4, channels_of(&types->in[0])));
    return set_y(types, 5);
}

static enum dpt_status shape_grad_stat(struct dpt_op_types *types)
{
    DPT_TRY(check(&dpt_op_batch_grad_stat, types, 2));
    DPT_TRY(dpt_op__check_same(types, 0, 1));
    const int64_t c = channels_of(&types->in[0]);
    DPT_TRY(check_stat(types, 2, c));
    DPT_TRY(check_channels(types, 3, 2, c));
    types->nout = 1;
    types->out[0] = stat_type(c);
    return DPT_STATUS_OK;
}

static enum dpt_status shape_residual_dx(struct dpt_op_types *types)
{
    DPT_TRY(check(&dpt_op_batch_residual_dx, types, 3));
    DPT_TRY(dpt_op__check_same(types, 0, 1));
    DPT_TRY(dpt_op__check_same(types, 0, 2));
    const int64_t c = channels_of(&types->in[0]);
    DPT_TRY(check_stat(types, 3, c));
    types->nout = 2;
    types->out[0] = types->in[0];
    types->out[1] = stat_type(c);
    return DPT_STATUS_OK;
}

static enum dpt_status shape_dx(struct dpt_op_types *types)
{
    DPT_TRY(check(&dpt_op_batch_norm_dx, types, 2));
    DPT_TRY(dpt_op__check_same(types, 0, 1));
    const int64_t c = channels_of(&types->in[0]);
    DPT_TRY(check_stat(types, 2, c));
    DPT_TRY(check_stat(types, 3, c));
    DPT_TRY(check_channels(types, 4, 2, c));
    types->nout = 1;
    types->out[0] = types->in[0];
    return DPT_STATUS_OK;
}

/* Two numbers a channel, of the real type that the parameters say: statistics do not tell it. */
static enum dpt_status shape_contribution(const struct dpt_op *op, struct dpt_op_types *types)
{
    const struct dpt_batch_norm_param *param = types->param;
    DPT_TRY(dpt_op__check_inputs(op, types));
    DPT_TRY(check_param(types));
    DPT_TRY(check_stat(types, 0, types->in[0].dim[1]));
    DPT_CHECK(param->real == DPT_DTYPE_F32 || param->real == DPT_DTYPE_F64, DPT_STATUS_USAGE,
              "outputs of type %d, expected F32 or F64", (int)param->real);
    types->nout = 2;
    types->out[0] = types->out[1] = (struct dpt_type){param->real, 1, {types->in[0].dim[1]}};
    return DPT_STATUS_OK;
}

static enum dpt_status shape_dw(struct dpt_op_types *types)
{
    return shape_contribution(&dpt_op_batch_norm_dw, types);
}

static enum dpt_status shape_moments(struct dpt_op_types *types)
{
    const struct dpt_batch_norm_param *param = types->param;
    DPT_CHECK(param->per_sample >= 1, DPT_STATUS_USAGE, "%d positions a sample, expected at least 1",
              param->per_sample);
    return shape_contribution(&dpt_op_batch_moments, types);
}

/* Costs count what is done for every element of x; work of order c is left out. */
static void add_cost(const struct dpt_op_types *types, double flops, struct dpt_op_cost *cost)
{
    cost->flops = flops * (double)dpt_type_numel(&types->in[0]);
    dpt_op_cost_bytes(types, cost);
}

static double act_flops(const struct dpt_op_types *types)
{
    return ((const struct dpt_batch_norm_param *)types->param)->act == DPT_ACTIVATION_KIND_NONE ? 0.0 : 1.0;
}

static void cost_stat(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    add_cost(types, 3.0, cost); /* square, two sums */
}

static void cost(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    add_cost(types, 2.0 + (types->nin > 4 ? 1.0 : 0.0) + act_flops(types), cost); /* scale, shift, residual, act */
}

static void cost_eval(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    add_cost(types, 2.0 + (types->nin > 5 ? 1.0 : 0.0) + act_flops(types), cost); /* scale, shift, residual, act */
}

static void cost_grad_stat(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    add_cost(types, 5.0 + 3.0 * act_flops(types), cost); /* xhat: 2; product, two sums; mask: z, compare */
}

static void cost_residual_dx(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    add_cost(types, 6.0, cost); /* mask; xhat: 2; product, two sums */
}

static void cost_dx(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    add_cost(types, 4.0 + 3.0 * act_flops(types), cost); /* scale dz, scale x, two sums; mask: z, compare */
}

static bool is_local(const void *param)
{
    return ((const struct dpt_batch_norm_param *)param)->local;
}

/* Statistics of a rank alone are those of its samples, not of a part of their places. */
static const char *whole_for(const struct dpt_op_types *types)
{
    return is_local(types->param) ? "." : "";
}

/* Sets *gstat and *dy of the ops behind it; adds the residual's gradient on the way. */
static enum dpt_status grad_residual(struct dpt_op_grad *grad, struct dpt_batch_norm_param *param, int *dy, int *gstat)
{
    const int x = grad->in[0], stat = grad->in[1], gamma = grad->in[2], beta = grad->in[3];
    const bool residual = grad->types->nin > 4;
    if (residual && param->act != DPT_ACTIVATION_KIND_NONE) {
        DPT_TRY(dpt_op__add(grad, "batch_residual_dx", param, 4, (int[]){*dy, grad->out[0], x, stat}, dy));
        *gstat = *dy + 1;
        param->act = DPT_ACTIVATION_KIND_NONE;
    } else {
        DPT_TRY(dpt_op__add(grad, "batch_grad_stat", param, 5, (int[]){*dy, x, stat, gamma, beta}, gstat));
    }
    if (residual && grad->need[4]) {
        grad->din[4] = *dy;
    }
    return DPT_STATUS_OK;
}

static enum dpt_status grad(struct dpt_op_grad *grad)
{
    struct dpt_batch_norm_param param = *(const struct dpt_batch_norm_param *)grad->types->param;
    const int x = grad->in[0], stat = grad->in[1], gamma = grad->in[2], beta = grad->in[3];
    int dy = grad->dout[0], gstat, dgamma;
    param.real = grad->types->in[0].dtype;
    DPT_TRY(grad_residual(grad, &param, &dy, &gstat));
    if (grad->need[2] || grad->need[3]) {
        DPT_TRY(dpt_op__add(grad, "batch_norm_dw", &param, 1, &gstat, &dgamma));
        grad->din[2] = grad->need[2] ? dgamma : -1;
        grad->din[3] = grad->need[3] ? dgamma + 1 : -1;
    }
    if (grad->need[0]) {
        DPT_TRY(dpt_op__add(grad, "batch_norm_dx", &param, 6, (int[]){dy, x, stat, gstat, gamma, beta},
                            &grad->din[0]));
    }
    return DPT_STATUS_OK;
}

const struct dpt_op dpt_op_batch_stat = {
    .name = "batch_stat",
    .doc = "sums of x and x^2 of each channel",
    .param_nbytes = sizeof(struct dpt_batch_norm_param),
    .signature = "b.c->tc",
    .whole = "t",
    .whole_for = whole_for,
    .local = is_local,
    .shape = shape_stat,
    .cost = cost_stat,
    .scratch = dpt_op__batch_scratch,
    .run = {[DPT_RUN_REF] = ref_batch_stat, [DPT_RUN_CPU] = dpt_op__batch_stat_cpu},
};

const struct dpt_op dpt_op_batch_norm = {
    .name = "batch_norm",
    .doc = "y = act(gamma (x - mean) / sqrt(var + eps) + beta + residual) with the batch's mean and var",
    .param_nbytes = sizeof(struct dpt_batch_norm_param),
    .signature = "b.c,tc,c,c,b.c?->b.c",
    .whole = "t",
    .whole_for = whole_for,
    .alias = 1u << 0 | 1u << 4,
    .shape = shape,
    .cost = cost,
    .grad = grad,
    .scratch = dpt_op__batch_scratch,
    .run = {[DPT_RUN_REF] = ref_batch_norm, [DPT_RUN_CPU] = dpt_op__batch_norm_cpu},
};

/* Not differentiable: evaluation only. */
const struct dpt_op dpt_op_batch_norm_eval = {
    .name = "batch_norm_eval",
    .doc = "batch_norm with given mean and var",
    .param_nbytes = sizeof(struct dpt_batch_norm_param),
    .signature = "b.c,c,c,c,c,b.c?->b.c",
    .alias = 1u << 0 | 1u << 5,
    .shape = shape_eval,
    .cost = cost_eval,
    .scratch = dpt_op__batch_scratch,
    .run = {[DPT_RUN_REF] = ref_batch_norm_eval, [DPT_RUN_CPU] = dpt_op__batch_norm_eval_cpu},
};

const struct dpt_op dpt_op_batch_grad_stat = {
    .name = "batch_grad_stat",
    .doc = "sums of dz and dz xhat of each channel",
    .param_nbytes = sizeof(struct dpt_batch_norm_param),
    .signature = "b.c,b.c,tc,c,c->tc",
    .whole = "t",
    .whole_for = whole_for,
    .local = is_local,
    .shape = shape_grad_stat,
    .cost = cost_grad_stat,
    .scratch = dpt_op__batch_scratch,
    .run = {[DPT_RUN_REF] = ref_batch_grad_stat, [DPT_RUN_CPU] = dpt_op__batch_grad_stat_cpu},
};

const struct dpt_op dpt_op_batch_residual_dx = {
    .name = "batch_residual_dx",
    .doc = "gradient of the residual of batch_norm, and the sums of batch_grad_stat",
    .param_nbytes = sizeof(struct dpt_batch_norm_param),
    .signature = "b.c,b.c,b.c,tc->b.c,tc",
    .whole = "t",
    .whole_for = whole_for,
    .alias = 1u << 0,
    .local = is_local,
    .shape = shape_residual_dx,
    .cost = cost_residual_dx,
    .scratch = dpt_op__batch_scratch,
    .run = {[DPT_RUN_REF] = ref_batch_residual_dx, [DPT_RUN_CPU] = dpt_op__batch_residual_dx_cpu},
};

const struct dpt_op dpt_op_batch_norm_dx = {
    .name = "batch_norm_dx",
    .doc = "gradient of x of batch_norm, through the statistics too",
    .param_nbytes = sizeof(struct dpt_batch_norm_param),
    .signature = "b.c,b.c,tc,tc,c,c->b.c",
    .whole = "t",
    .whole_for = whole_for,
    .alias = 1u << 0 | 1u << 1,
    .shape = shape_dx,
    .cost = cost_dx,
    .scratch = dpt_op__batch_scratch,
    .run = {[DPT_RUN_REF] = ref_batch_norm_dx, [DPT_RUN_CPU] = dpt_op__batch_norm_dx_cpu},
};

const struct dpt_op dpt_op_batch_norm_dw = {
    .name = "batch_norm_dw",
    .doc = "gradients of gamma and beta of batch_norm",
    .param_nbytes = sizeof(struct dpt_batch_norm_param),
    .signature = "tc->c,c",
    .whole = "t",
    .partial = 1u << 0 | 1u << 1,
    .shape = shape_dw,
    .run = {[DPT_RUN_REF] = ref_batch_norm_dw},
};

const struct dpt_op dpt_op_batch_moments = {
    .name = "batch_moments",
    .doc = "contribution to the mean and variance of a step, for the running statistics",
    .param_nbytes = sizeof(struct dpt_batch_norm_param),
    .signature = "tc->c,c",
    .whole = "t",
    .partial = 1u << 0 | 1u << 1,
    .shape = shape_moments,
    .run = {[DPT_RUN_REF] = ref_batch_moments},
};
