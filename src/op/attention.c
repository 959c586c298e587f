/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Causal attention. For every sample, head and query of that head, with rows i and keys j <= i:
 *
 *   forward   s[i,j] = scale q[i].k[j],  lse[i] = log sum_j exp(s[i,j]),  p[i,j] = exp(s[i,j] - lse[i])
 *             y[i]   = sum_j m[i,j] p[i,j] v[j]          m = 1, or with dropout 0 or 1 / (1 - rate)
 *   backward  D[i]   = dy[i].y[i]
 *             ds[i,j] = p[i,j] (m[i,j] dy[i].v[j] - D[i])
 *             dq[i]  = scale sum_j ds[i,j] k[j],  dk[j] = scale sum_i ds[i,j] q[i],  dv[j] = sum_i m[i,j] p[i,j] dy[i]
 *
 * dk and dv are sums over the g queries of a head too.
 */

#include "op/attention.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#include "base/rng.h"

/* Factor on the probability at this place of the global matrix. */
static double mask_at(const struct dpt_op_call *call, int64_t place)
{
    const struct dpt_attention_param *param = call->types->param;
    if (param->rate == 0.0) {
        return 1.0;
    }
    uint32_t word[4];
    dpt_rng_words(call->ctx->seed, DPT_RNG_USE_DROPOUT, param->stream, call->ctx->step, (uint64_t)place / 4, word);
    return word[place % 4] < (uint32_t)(param->rate * 0x1p32) ? 0.0 : 1.0 / (1.0 - param->rate);
}

#define DPT_REF "op/attention_ref.inc"
#include "op/real.h"

/* Whole size of a dimension of an input. */
static int64_t whole_dim(const struct dpt_op_call *call, int input, int dim)
{
    return call->part ? call->part[input].whole[dim] : call->in[input].type.dim[dim];
}

/* Places in the global matrix [samples, heads, queries of a head, rows, keys]. Input 0 holds the queries. */
static void set_places(const struct dpt_op_call *call, struct dpt_attention *at, int head_dim, int query_dim)
{
    const int64_t heads = whole_dim(call, 0, head_dim), rows = whole_dim(call, 0, 1);
    const int64_t queries = query_dim ? whole_dim(call, 0, query_dim) : 1;
    at->first = dpt_op_begin(call, 0, 1);
    at->place_query = rows * at->t;
    at->place_head = queries * at->place_query;
    at->place_sample = heads * at->place_head;
    at->place = call->ctx->first_row * at->place_sample + dpt_op_begin(call, 0, head_dim) * at->place_head +
                (query_dim ? dpt_op_begin(call, 0, query_dim) * at->place_query : 0) + at->first * at->t;
}

/* A call of attention or attention_dx: q[bsagd], k[btad], v[btad]. */
static struct dpt_attention describe(const struct dpt_op_call *call)
{
    const struct dpt_type *q = &call->in[0].type, *k = &call->in[1].type;
    struct dpt_attention at = {
        .b = q->dim[0], .s = q->dim[1], .t = k->dim[1], .a = q->dim[2], .g = q->dim[3], .d = q->dim[4],
        .q = call->in[0].data, .k = call->in[1].data, .v = call->in[2].data};
    at.q_row = at.y_row = at.a * at.g * at.d;
    at.k_row = at.a * at.d;
    at.q_sample = at.y_sample = at.s * at.q_row;
    at.k_sample = at.t * at.k_row;
    set_places(call, &at, 2, 3);
    return at;
}

/* A call of attention_qkv or attention_qkv_dx: qkv[bspad]. */
static struct dpt_attention describe_qkv(const struct dpt_op_call *call, size_t size)
{
    const struct dpt_type *qkv = &call->in[0].type;
    struct dpt_attention at = {
        .b = qkv->dim[0], .s = qkv->dim[1], .t = qkv->dim[1], .a = qkv->dim[3], .g = 1, .d = qkv->dim[4]};
    const size_t part = (size_t)(at.a * at.d) * size;
    at.q = call->in[0].data;
    at.k = (const char *)call->in[0].data + part;
    at.v = (const char *)call->in[0].data + 2 * part;
    at.q_row = at.k_row = 3 * at.a * at.d;
    at.y_row = at.a * at.d;
    at.q_sample = at.k_sample = at.s * at.q_row;
    at.y_sample = at.s * at.y_row;
    set_places(call, &at, 3, 0);
    return at;
}

static enum dpt_status forward(const struct dpt_op_call *call, struct dpt_attention at, bool fast)
{
    at.y = call->out[0].data;
    at.lse = call->out[1].data;
    if (call->in[0].type.dtype == DPT_DTYPE_F64) {
        attention_f64(call, &at);
    } else if (fast) {
        dpt_op__attention_f32(call, &at);
    } else {
        attention_f32(call, &at);
    }
    return DPT_STATUS_OK;
}

/* Inputs `saved` and the next two are y, lse, dy. */
static enum dpt_status backward(const struct dpt_op_call *call, struct dpt_attention at, int saved, bool fast)
{
    at.y = call->in[saved].data;
    at.lse = call->in[saved + 1].data;
    at.dy = call->in[saved + 2].data;
    if (call->in[0].type.dtype == DPT_DTYPE_F64) {
        attention_dx_f64(call, &at);
    } else if (fast) {
        dpt_op__attention_dx_f32(call, &at);
    } else {
        attention_dx_f32(call, &at);
    }
    return DPT_STATUS_OK;
}

static struct dpt_attention describe_dx(const struct dpt_op_call *call)
{
    struct dpt_attention at = describe(call);
    at.dq = call->out[0].data;
    at.dk = call->out[1].data;
    at.dv = call->out[2].data;
    return at;
}

static struct dpt_attention describe_qkv_dx(const struct dpt_op_call *call)
{
    const size_t size = dpt_dtype_nbytes(call->in[0].type.dtype);
    struct dpt_attention at = describe_qkv(call, size);
    const size_t part = (size_t)(at.a * at.d) * size;
    at.dq = call->out[0].data;
    at.dk = (char *)call->out[0].data + part;
    at.dv = (char *)call->out[0].data + 2 * part;
    return at;
}

struct dpt_attention dpt_op__attention_of(const struct dpt_op_call *call)
{
    const bool qkv = call->types->nin == 1 || call->types->nin == 4, backward = call->types->nin > 3;
    const int saved = qkv ? 1 : 3;
    const size_t size = dpt_dtype_nbytes(call->in[0].type.dtype);
    struct dpt_attention at = !backward ? (qkv ? describe_qkv(call, size) : describe(call))
                              : qkv     ? describe_qkv_dx(call)
                                        : describe_dx(call);
    at.y = backward ? call->in[saved].data : call->out[0].data;
    at.lse = backward ? call->in[saved + 1].data : call->out[1].data;
    at.dy = backward ? call->in[saved + 2].data : NULL;
    return at;
}

static enum dpt_status ref_attention(const struct dpt_op_call *call)
{
    return forward(call, describe(call), false);
}

static enum dpt_status cpu_attention(const struct dpt_op_call *call)
{
    return forward(call, describe(call), true);
}

static enum dpt_status ref_attention_dx(const struct dpt_op_call *call)
{
    return backward(call, describe_dx(call), 3, false);
}

static enum dpt_status cpu_attention_dx(const struct dpt_op_call *call)
{
    return backward(call, describe_dx(call), 3, true);
}

static enum dpt_status ref_attention_qkv(const struct dpt_op_call *call)
{
    return forward(call, describe_qkv(call, dpt_dtype_nbytes(call->in[0].type.dtype)), false);
}

static enum dpt_status cpu_attention_qkv(const struct dpt_op_call *call)
{
    return forward(call, describe_qkv(call, dpt_dtype_nbytes(call->in[0].type.dtype)), true);
}

static enum dpt_status ref_attention_qkv_dx(const struct dpt_op_call *call)
{
    return backward(call, describe_qkv_dx(call), 1, false);
}

static enum dpt_status cpu_attention_qkv_dx(const struct dpt_op_call *call)
{
    return backward(call, describe_qkv_dx(call), 1, true);
}

/* Plain kernels: a row of probabilities and two of sums in double. */
size_t dpt_op__attention_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep)
{
    (void)threads, (void)prep;
    const struct dpt_type *q = &types->in[0];
    const bool qkv = types->nin == 1 || types->nin == 4;
    const int64_t t = qkv ? q->dim[1] : types->in[1].dim[1];
    if (run == DPT_RUN_CPU && q->dtype == DPT_DTYPE_F32) {
        return dpt_op__attention_scratch_f32(q->dim[4], q->dim[1] * (qkv ? 1 : q->dim[3]));
    }
    return (size_t)(t + 2 * q->dim[4]) * sizeof(double);
}

/* Parameters, and a row of input 0. */
static enum dpt_status check_param(const struct dpt_op_types *types)
{
    const struct dpt_attention_param *param = types->param;
    const double row = (double)types->in[0].dim[2] * (double)types->in[0].dim[3] * (double)types->in[0].dim[4];
    DPT_CHECK(row <= INT_MAX, DPT_STATUS_USAGE, "a row of heads has %.0f numbers, at most %d are possible", row,
              INT_MAX);
    DPT_CHECK(isfinite(param->scale), DPT_STATUS_USAGE, "the scale is %g, expected a number", param->scale);
    DPT_CHECK(param->rate >= 0.0 && param->rate < 1.0, DPT_STATUS_USAGE, "rate is %g, expected 0 <= rate < 1",
              param->rate);
    return DPT_STATUS_OK;
}

/* Queries, keys and values that fit together: inputs 0, 1 and 2. */
static enum dpt_status check_apart(const struct dpt_op_types *types)
{
    const struct dpt_type *q = &types->in[0], *k = &types->in[1];
    DPT_TRY(check_param(types));
    const struct dpt_type keys = {q->dtype, 4, {q->dim[0], k->dim[1], q->dim[2], q->dim[4]}};
    DPT_TRY(dpt_op__check_shape(types, 1, keys, "k"));
    DPT_TRY(dpt_op__check_shape(types, 2, keys, "v"));
    DPT_CHECK(q->dim[1] <= k->dim[1], DPT_STATUS_USAGE, "there are %lld rows of queries, but only %lld keys",
              (long long)q->dim[1], (long long)k->dim[1]);
    return DPT_STATUS_OK;
}

/* One number for every query: q without its last dimension. */
static struct dpt_type rows_of(const struct dpt_type *y)
{
    struct dpt_type type = *y;
    type.dim[--type.ndim] = 0;
    return type;
}

static enum dpt_status shape(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_attention, types));
    DPT_TRY(dpt_op__check_real(types, 3));
    DPT_TRY(check_apart(types));
    types->nout = 2;
    types->out[0] = types->in[0];
    types->out[1] = rows_of(&types->in[0]);
    return DPT_STATUS_OK;
}

static enum dpt_status shape_dx(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_attention_dx, types));
    DPT_TRY(dpt_op__check_real(types, 6));
    DPT_TRY(check_apart(types));
    DPT_TRY(dpt_op__check_shape(types, 3, types->in[0], "y"));
    DPT_TRY(dpt_op__check_shape(types, 4, rows_of(&types->in[0]), "lse"));
    DPT_TRY(dpt_op__check_shape(types, 5, types->in[0], "dy"));
    types->nout = 3;
    for (int i = 0; i < 3; i++) {
        types->out[i] = types->in[i];
    }
    return DPT_STATUS_OK;
}

/* What attention_qkv gives for input 0. */
static enum dpt_status check_packed(const struct dpt_op_types *types, struct dpt_type *y)
{
    const struct dpt_type *qkv = &types->in[0];
    DPT_TRY(check_param(types));
    DPT_CHECK(qkv->dim[2] == 3, DPT_STATUS_USAGE, "dimension 2 of qkv is %lld, expected 3: query, key and value",
              (long long)qkv->dim[2]);
    *y = (struct dpt_type){qkv->dtype, 4, {qkv->dim[0], qkv->dim[1], qkv->dim[3], qkv->dim[4]}};
    return DPT_STATUS_OK;
}

static enum dpt_status shape_qkv(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_attention_qkv, types));
    DPT_TRY(dpt_op__check_real(types, 1));
    DPT_TRY(check_packed(types, &types->out[0]));
    types->nout = 2;
    types->out[1] = rows_of(&types->out[0]);
    return DPT_STATUS_OK;
}

static enum dpt_status shape_qkv_dx(struct dpt_op_types *types)
{
    struct dpt_type y;
    DPT_TRY(dpt_op__check_inputs(&dpt_op_attention_qkv_dx, types));
    DPT_TRY(dpt_op__check_real(types, 4));
    DPT_TRY(check_packed(types, &y));
    DPT_TRY(dpt_op__check_shape(types, 1, y, "y"));
    DPT_TRY(dpt_op__check_shape(types, 2, rows_of(&y), "lse"));
    DPT_TRY(dpt_op__check_shape(types, 3, y, "dy"));
    types->nout = 1;
    types->out[0] = types->in[0];
    return DPT_STATUS_OK;
}

/*
 * Products of rows and keys: `products` of them, 2 d flops each, and about 5 more for softmax, for half of the matrix:
 * s t d multiply-adds are 2 s t d flops, and half of the pairs are masked. Parts of s count the mean.
 */
static void cost_products(const struct dpt_op_types *types, double queries, double t, double d, double products,
                          struct dpt_op_cost *cost)
{
    cost->flops = queries * (t + 1.0) / 2.0 * (products * 2.0 * d + 5.0);
    dpt_op_cost_bytes(types, cost);
}

static void cost_of(const struct dpt_op_types *types, double products, struct dpt_op_cost *cost)
{
    const struct dpt_type *q = &types->in[0];
    const bool qkv = types->nin == 1 || types->nin == 4;
    const double d = (double)q->dim[4], t = (double)(qkv ? q->dim[1] : types->in[1].dim[1]);
    const double queries = (double)q->dim[0] * (double)q->dim[1] * (double)q->dim[3] * (qkv ? 1.0 : (double)q->dim[2]);
    cost_products(types, queries, t, d, products, cost);
}

static void cost(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    cost_of(types, 2.0, cost); /* q k, p v */
}

static void cost_dx(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    cost_of(types, 5.0, cost); /* q k again, dy v, ds k, ds q, p dy */
}

static enum dpt_status grad(struct dpt_op_grad *grad)
{
    DPT_CHECK(grad->dout[1] == -1, DPT_STATUS_FAILED, "lse of attention has no gradient");
    if (grad->need[0] || grad->need[1] || grad->need[2]) {
        int first;
        const int in[] = {grad->in[0], grad->in[1], grad->in[2], grad->out[0], grad->out[1], grad->dout[0]};
        DPT_TRY(dpt_op__add(grad, "attention_dx", grad->types->param, 6, in, &first));
        for (int i = 0; i < 3; i++) {
            grad->din[i] = grad->need[i] ? first + i : -1;
        }
    }
    return DPT_STATUS_OK;
}

static enum dpt_status grad_qkv(struct dpt_op_grad *grad)
{
    DPT_CHECK(grad->dout[1] == -1, DPT_STATUS_FAILED, "lse of attention has no gradient");
    const int in[] = {grad->in[0], grad->out[0], grad->out[1], grad->dout[0]};
    return grad->need[0] ? dpt_op__add(grad, "attention_qkv_dx", grad->types->param, 4, in, &grad->din[0])
                         : DPT_STATUS_OK;
}

const struct dpt_op dpt_op_attention = {
    .name = "attention",
    .doc = "causal attention of queries to keys and values, with grouped queries",
    .param_nbytes = sizeof(struct dpt_attention_param),
    .signature = "bsagd,btad,btad->bsagd,bsag",
    .whole = "td",
    .exact = 1u << 1,
    .shape = shape,
    .cost = cost,
    .grad = grad,
    .scratch = dpt_op__attention_scratch,
    .run = {[DPT_RUN_REF] = ref_attention, [DPT_RUN_CPU] = cpu_attention},
};

const struct dpt_op dpt_op_attention_dx = {
    .name = "attention_dx",
    .doc = "gradients of queries, keys and values of attention",
    .param_nbytes = sizeof(struct dpt_attention_param),
    .signature = "bsagd,btad,btad,bsagd,bsag,bsagd->bsagd,btad,btad",
    .whole = "td",
    .shape = shape_dx,
    .cost = cost_dx,
    .scratch = dpt_op__attention_scratch,
    .run = {[DPT_RUN_REF] = ref_attention_dx, [DPT_RUN_CPU] = cpu_attention_dx},
};

const struct dpt_op dpt_op_attention_qkv = {
    .name = "attention_qkv",
    .doc = "causal attention with queries, keys and values in one tensor",
    .param_nbytes = sizeof(struct dpt_attention_param),
    .signature = "bspad->bsad,bsa",
    .whole = "spd",
    .exact = 1u << 1,
    .shape = shape_qkv,
    .cost = cost,
    .grad = grad_qkv,
    .scratch = dpt_op__attention_scratch,
    .run = {[DPT_RUN_REF] = ref_attention_qkv, [DPT_RUN_CPU] = cpu_attention_qkv},
};

const struct dpt_op dpt_op_attention_qkv_dx = {
    .name = "attention_qkv_dx",
    .doc = "gradient of the input of attention_qkv",
    .param_nbytes = sizeof(struct dpt_attention_param),
    .signature = "bspad,bsad,bsa,bsad->bspad",
    .whole = "spd",
    .shape = shape_qkv_dx,
    .cost = cost_dx,
    .scratch = dpt_op__attention_scratch,
    .run = {[DPT_RUN_REF] = ref_attention_qkv_dx, [DPT_RUN_CPU] = cpu_attention_qkv_dx},
};
