/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Output layer and cross-entropy. n positions of all samples, h features, V tokens of the vocabulary, S positions of a
 * sample, B samples of the global batch.
 *
 *   forward   z[n,v] = sum_h x[n,h] w[v,h],  loss[b] = sum_s (lse(z[n]) - z[n,target]) / S     lse: log sum_v exp
 *   backward  dz[n,v] = (softmax(z[n])_v - [v = target]) / (S B), 0 where the target is ignored
 *             dx[n,h] = sum_v dz[n,v] w[v,h],  dw[v,h] = sum_n dz[n,v] x[n,h]
 */

#include "op/linear_loss.h"

#include <math.h>
#include <string.h>

#define DPT_REF "op/linear_loss_ref.inc"
#include "op/real.h"
DPT_REF_RUN(linear_loss, in[0])
DPT_REF_RUN(token_metrics, in[0])

static enum dpt_status cpu_linear_loss(const struct dpt_op_call *call)
{
    return call->in[0].type.dtype == DPT_DTYPE_F64 ? ref_linear_loss(call) : dpt_op__linear_loss_f32(call);
}

static enum dpt_status shape(struct dpt_op_types *types)
{
    const struct dpt_linear_loss_param *param = types->param;
    DPT_TRY(dpt_op__check_inputs(&dpt_op_linear_loss, types));
    DPT_TRY(dpt_op__check_real(types, 2));
    const struct dpt_type *x = &types->in[0], *w = &types->in[1], *target = &types->in[2];
    const struct dpt_type targets = {DPT_DTYPE_I32, 2, {x->dim[0], x->dim[1]}};
    char text[96], text2[96];
    DPT_CHECK(x->dim[2] == w->dim[1], DPT_STATUS_USAGE, "x has %lld features in its last dimension, but w takes %lld",
              (long long)x->dim[2], (long long)w->dim[1]);
    DPT_CHECK(w->dim[0] > 0, DPT_STATUS_USAGE, "w has no tokens, expected at least one");
    DPT_CHECK(dpt_type_equal(target, &targets), DPT_STATUS_USAGE, "the target is %s, expected %s",
              dpt_type_text(text, sizeof text, target), dpt_type_text(text2, sizeof text2, &targets));
    types->nout = param->gradients ? 4 : 2;
    types->out[0] = (struct dpt_type){x->dtype, 1, {x->dim[0]}};
    types->out[1] = (struct dpt_type){x->dtype, 2, {x->dim[0], 2}};
    types->out[2] = *x;
    types->out[3] = *w;
    return DPT_STATUS_OK;
}

static enum dpt_status shape_metrics(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_token_metrics, types));
    DPT_TRY(dpt_op__check_real(types, 2));
    DPT_CHECK(types->in[1].dim[0] == types->in[0].dim[0] && types->in[1].dim[1] == 2, DPT_STATUS_USAGE,
              "the counts are not two for each of %lld samples", (long long)types->in[0].dim[0]);
    types->nout = 1;
    types->out[0] = (struct dpt_type){DPT_DTYPE_F64, 1, {4}};
    return DPT_STATUS_OK;
}

static void cost(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    const struct dpt_linear_loss_param *param = types->param;
    const double n = (double)types->in[0].dim[0] * (double)types->in[0].dim[1], h = (double)types->in[0].dim[2];
    const double v = (double)types->in[1].dim[0], products = param->gradients ? 3.0 : 1.0;
    cost->flops = products * 2.0 * n * v * h; /* n, v, h: logits; dx, dw */
    cost->flops += 4.0 * n * v;               /* n, v: maximum, difference, exp, sum */
    dpt_op_cost_bytes(types, cost);
}

static enum dpt_status grad(struct dpt_op_grad *grad)
{
    const struct dpt_linear_loss_param *param = grad->types->param;
    DPT_CHECK(grad->dout[0] == DPT_OP_SEED && grad->dout[1] == -1, DPT_STATUS_FAILED,
              "a loss must be the end of the graph; nothing may be computed from it but metrics");
    DPT_CHECK(param->gradients || !(grad->need[0] || grad->need[1]), DPT_STATUS_FAILED,
              "linear_loss was made without its gradients");
    DPT_CHECK(!grad->need[2], DPT_STATUS_FAILED, "the target of a loss has no gradient");
    grad->din[0] = grad->need[0] ? grad->out[2] : -1;
    grad->din[1] = grad->need[1] ? grad->out[3] : -1;
    return DPT_STATUS_OK;
}

/* With v split (vocab_loss.h). Values: 0 x, 1 w, 2 target; 3 top, 4 stat; 5 top of all; 6 sums; 7 sums of all. */
static const struct dpt_op_step steps[] = {
    {"vocab_stat", 3, {0, 1, 2}, -1},       {"all_max", 1, {3}, -1},
    {"vocab_share", 4, {3, 4, 5, 2}, -1},   {"all_reduce", 1, {6}, -1},
    {"vocab_loss", 3, {7, 5, 2}, 0},        {"vocab_loss_dx", 5, {0, 1, 2, 5, 7}, 2},
    {0},
};

const struct dpt_op dpt_op_linear_loss = {
    .name = "linear_loss",
    .doc = "an output layer and the cross-entropy of the target tokens, with both gradients",
    .param_nbytes = sizeof(struct dpt_linear_loss_param),
    .signature = "bsh,vh,bs->b,bm,bsh,vh",
    .whole = "hvm",
    .stat = "v",
    .steps = steps,
    .seed = true,
    .factors = 1u << 0 | 1u << 1,
    .exact = 1u << 0 | 1u << 1,
    .shape = shape,
    .cost = cost,
    .grad = grad,
    .scratch = dpt_op__linear_loss_scratch,
    .run = {[DPT_RUN_REF] = ref_linear_loss, [DPT_RUN_CPU] = cpu_linear_loss},
};

const struct dpt_op dpt_op_token_metrics = {
    .name = "token_metrics",
    .doc = "sums of loss, right tokens, tokens, samples",
    .signature = "b,bm->k",
    .whole = "mk",
    .shape = shape_metrics,
    .run = {[DPT_RUN_REF] = ref_token_metrics},
};
