/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Output layer and cross-entropy with the vocabulary divided into parts P; z[n,v] = sum_h x[n,h] w[v,h] as in
 * linear_loss.c.
 *
 *   m_P[n]   = max of z[n,v] in P,  s_P[n] = sum of exp(z[n,v] - m_P[n]) in P
 *   m[n]     = max of m_P[n],  s[n] = sum of s_P[n] exp(m_P[n] - m[n])      (online softmax: Milakov, Gimelshein, 2018)
 *   loss[b]  = sum_s (m[n] + log s[n] - z[n,target]) / S
 *   dz[n,v]  = (exp(z[n,v] - m[n]) / s[n] - [v = target]) / (S B)
 *   dx[n,h]  = sum_P sum_v dz[n,v] w[v,h],  dw[v,h] = sum_n dz[n,v] x[n,h]
 */

#include "op/vocab_loss.h"

#include <math.h>
#include <string.h>

enum { NUMBERS = 3 }; /* letter t */

#define DPT_REF "op/vocab_loss_ref.inc"
#include "op/real.h"
DPT_REF_RUN(vocab_stat, in[0])
DPT_REF_RUN(vocab_loss_dx, in[0])
DPT_REF_RUN(vocab_loss, out[0])

static enum dpt_status cpu_vocab_stat(const struct dpt_op_call *call)
{
    return call->in[0].type.dtype == DPT_DTYPE_F64 ? ref_vocab_stat(call) : dpt_op__vocab_stat_f32(call);
}

static enum dpt_status cpu_vocab_loss_dx(const struct dpt_op_call *call)
{
    return call->in[0].type.dtype == DPT_DTYPE_F64 ? ref_vocab_loss_dx(call) : dpt_op__vocab_loss_dx_f32(call);
}

static enum dpt_status ref_vocab_share(const struct dpt_op_call *call)
{
    const double *here = call->in[0].data, *stat = call->in[1].data, *top = call->in[2].data;
    const int32_t *target = call->in[3].data;
    double *sums = call->out[0].data;
    const int64_t n = call->in[0].type.dim[0] * call->in[0].type.dim[1];
    for (int64_t i = 0; i < n; i++, stat += NUMBERS, sums += NUMBERS) {
        sums[0] = stat[0] * exp(here[i] - top[i]);
        sums[1] = stat[1];
        sums[2] = here[i] == top[i] && stat[2] < target[i];
    }
    return DPT_STATUS_OK;
}

/* x, w and target that fit together: inputs 0, 1 and 2. */
static enum dpt_status check_product(const struct dpt_op_types *types)
{
    const struct dpt_type *x = &types->in[0], *w = &types->in[1], *target = &types->in[2];
    const struct dpt_type targets = {DPT_DTYPE_I32, 2, {x->dim[0], x->dim[1]}};
    char text[96], text2[96];
    DPT_TRY(dpt_op__check_real(types, 2));
    DPT_CHECK(x->dim[2] == w->dim[1], DPT_STATUS_USAGE, "x has %lld features in its last dimension, but w takes %lld",
              (long long)x->dim[2], (long long)w->dim[1]);
    DPT_CHECK(dpt_type_equal(target, &targets), DPT_STATUS_USAGE, "the target is %s, expected %s",
              dpt_type_text(text, sizeof text, target), dpt_type_text(text2, sizeof text2, &targets));
    return DPT_STATUS_OK;
}

/* Input i is F64 with one number a position, or three. */
static enum dpt_status check_numbers(const struct dpt_op_types *types, int i, const struct dpt_type *target, bool three)
{
    const struct dpt_type expected = {
        DPT_DTYPE_F64, three ? 3 : 2, {target->dim[0], target->dim[1], three ? NUMBERS : 0}};
    char text[96], text2[96];
    DPT_CHECK(dpt_type_equal(&types->in[i], &expected), DPT_STATUS_USAGE, "input %d is %s, expected %s", i,
              dpt_type_text(text, sizeof text, &types->in[i]), dpt_type_text(text2, sizeof text2, &expected));
    return DPT_STATUS_OK;
}

static enum dpt_status shape_stat(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_vocab_stat, types));
    DPT_TRY(check_product(types));
    const struct dpt_type *target = &types->in[2];
    types->nout = 2;
    types->out[0] = (struct dpt_type){DPT_DTYPE_F64, 2, {target->dim[0], target->dim[1]}};
    types->out[1] = (struct dpt_type){DPT_DTYPE_F64, 3, {target->dim[0], target->dim[1], NUMBERS}};
    return DPT_STATUS_OK;
}

static enum dpt_status shape_share(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_vocab_share, types));
    DPT_TRY(check_numbers(types, 0, &types->in[3], false));
    DPT_TRY(check_numbers(types, 1, &types->in[3], true));
    DPT_TRY(check_numbers(types, 2, &types->in[3], false));
    types->nout = 1;
    types->out[0] = types->in[1];
    return DPT_STATUS_OK;
}

static enum dpt_status shape_loss(struct dpt_op_types *types)
{
    const struct dpt_linear_loss_param *param = types->param;
    const struct dpt_type *target = &types->in[2];
    DPT_TRY(dpt_op__check_inputs(&dpt_op_vocab_loss, types));
    DPT_TRY(check_numbers(types, 0, target, true));
    DPT_TRY(check_numbers(types, 1, target, false));
    DPT_CHECK(param->real == DPT_DTYPE_F32 || param->real == DPT_DTYPE_F64, DPT_STATUS_USAGE,
              "a loss of type %d, expected F32 or F64", (int)param->real);
    types->nout = 2;
    types->out[0] = (struct dpt_type){(enum dpt_dtype)param->real, 1, {target->dim[0]}};
    types->out[1] = (struct dpt_type){(enum dpt_dtype)param->real, 2, {target->dim[0], 2}};
    return DPT_STATUS_OK;
}

static enum dpt_status shape_dx(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_vocab_loss_dx, types));
    DPT_TRY(check_product(types));
    DPT_TRY(check_numbers(types, 3, &types->in[2], false));
    DPT_TRY(check_numbers(types, 4, &types->in[2], true));
    types->nout = 2;
    types->out[0] = types->in[0];
    types->out[1] = types->in[1];
    return DPT_STATUS_OK;
}

static void add_products(const struct dpt_op_types *types, double products, struct dpt_op_cost *cost)
{
    const double n = (double)types->in[0].dim[0] * (double)types->in[0].dim[1], h = (double)types->in[0].dim[2];
    const double v = (double)types->in[1].dim[0];
    cost->flops = products * 2.0 * n * v * h + 2.0 * n * v; /* n, v, h: products; n, v: difference, exp */
    dpt_op_cost_bytes(types, cost);
}

static void cost_stat(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    add_products(types, 1.0, cost);
}

static void cost_dx(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    add_products(types, 3.0, cost);
}

const struct dpt_op dpt_op_vocab_stat = {
    .name = "vocab_stat",
    .doc = "largest logit and sum of a part of the vocabulary",
    .param_nbytes = sizeof(struct dpt_linear_loss_param),
    .signature = "bsh,vh,bs->bs,bst",
    .whole = "hvt",
    .factors = 1u << 0 | 1u << 1,
    .shape = shape_stat,
    .cost = cost_stat,
    .scratch = dpt_op__linear_loss_scratch,
    .run = {[DPT_RUN_REF] = ref_vocab_stat, [DPT_RUN_CPU] = cpu_vocab_stat},
};

const struct dpt_op dpt_op_vocab_share = {
    .name = "vocab_share",
    .doc = "what a part of the vocabulary adds to the sums of all",
    .param_nbytes = sizeof(struct dpt_linear_loss_param),
    .signature = "bs,bst,bs,bs->bst",
    .whole = "t",
    .shape = shape_share,
    .run = {[DPT_RUN_REF] = ref_vocab_share},
};

const struct dpt_op dpt_op_vocab_loss = {
    .name = "vocab_loss",
    .doc = "cross-entropy from the sums over all parts of the vocabulary",
    .param_nbytes = sizeof(struct dpt_linear_loss_param),
    .signature = "bst,bs,bs->b,bm",
    .whole = "tm",
    .shape = shape_loss,
    .run = {[DPT_RUN_REF] = ref_vocab_loss},
};

const struct dpt_op dpt_op_vocab_loss_dx = {
    .name = "vocab_loss_dx",
    .doc = "gradients of an output layer with a part of the vocabulary",
    .param_nbytes = sizeof(struct dpt_linear_loss_param),
    .signature = "bsh,vh,bs,bs,bst->bsh,vh",
    .whole = "ht",
    .factors = 1u << 0 | 1u << 1,
    .shape = shape_dx,
    .cost = cost_dx,
    .scratch = dpt_op__linear_loss_scratch,
    .run = {[DPT_RUN_REF] = ref_vocab_loss_dx, [DPT_RUN_CPU] = cpu_vocab_loss_dx},
};
