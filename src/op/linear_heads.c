/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The products of op/linear.c with several named dimensions for outputs or inputs: heads of attention as an index of
 * their own, which is split over ranks like any other, evenly or not. The memory of w[a,d,h] is that of PyTorch's
 * [out, in] weight with a * d outputs, so that names and bytes in checkpoints are the usual ones. Vaswani and others,
 * "Attention is all you need", 2017; grouped queries: Ainslie and others, "GQA", 2023.
 *
 * Equations and kernels are those of linear, with k = the product of the output dimensions and h = that of the input
 * dimensions. There is no activation.
 */

#include <string.h>

#include "op/linear.h"
#include "op/op.h"

/* One of the forward ops: how many dimensions w has of each kind, and the ops of its gradient. */
struct variant {
    const struct dpt_op *op, *dx, *dw;
    int outs, ins;
};

/* True when the last `count` dimensions of `type` are those of w from `first` on. */
static bool ends_like(const struct dpt_type *type, int count, const struct dpt_type *w, int first)
{
    return type->ndim >= count && memcmp(type->dim + type->ndim - count, w->dim + first,
                                         (size_t)count * sizeof w->dim[0]) == 0;
}

/* `from` with its last `drop` dimensions replaced by `count` of w from `first` on. */
static enum dpt_status with_end(struct dpt_op_types *types, const struct dpt_type *from, int drop,
                                const struct dpt_type *w, int first, int count)
{
    const int ndim = from->ndim - drop + count;
    DPT_CHECK(ndim <= DPT_MAX_DIM, DPT_STATUS_USAGE, "the result would have %d dimensions, at most %d fit", ndim,
              DPT_MAX_DIM);
    struct dpt_type type = {.dtype = from->dtype, .ndim = ndim};
    memcpy(type.dim, from->dim, (size_t)(from->ndim - drop) * sizeof type.dim[0]);
    memcpy(type.dim + from->ndim - drop, w->dim + first, (size_t)count * sizeof type.dim[0]);
    types->nout = 1;
    types->out[0] = type;
    return DPT_STATUS_OK;
}

/* Refuses `type` unless it ends with the dimensions of w from `first` on. */
static enum dpt_status check_end(const struct dpt_type *type, const char *name, int count, const struct dpt_type *w,
                                 int first)
{
    char text[96], text_w[96];
    DPT_CHECK(ends_like(type, count, w, first), DPT_STATUS_USAGE,
              "%s is %s, but w is %s: expected %s to end with dimensions %d to %d of w", name,
              dpt_type_text(text, sizeof text, type), dpt_type_text(text_w, sizeof text_w, w), name, first,
              first + count - 1);
    return DPT_STATUS_OK;
}

static enum dpt_status shape(struct dpt_op_types *types, const struct variant *variant)
{
    DPT_TRY(dpt_op__check_inputs(variant->op, types));
    DPT_TRY(dpt_op__check_real(types, types->nin));
    const struct dpt_type *x = &types->in[0], *w = &types->in[1];
    DPT_TRY(check_end(x, "x", variant->ins, w, variant->outs));
    if (types->nin > 2) {
        DPT_TRY(check_end(&types->in[2], "bias", variant->outs, w, 0));
    }
    return with_end(types, x, variant->ins, w, 0, variant->outs);
}

static enum dpt_status shape_dx(struct dpt_op_types *types, const struct variant *variant)
{
    DPT_TRY(dpt_op__check_inputs(variant->dx, types));
    DPT_TRY(dpt_op__check_real(types, 2));
    const struct dpt_type *dy = &types->in[0], *w = &types->in[1];
    DPT_TRY(check_end(dy, "dy", variant->outs, w, 0));
    return with_end(types, dy, variant->outs, w, variant->outs, variant->ins);
}

static enum dpt_status shape_dw(struct dpt_op_types *types, const struct variant *variant)
{
    DPT_TRY(dpt_op__check_inputs(variant->dw, types));
    DPT_TRY(dpt_op__check_real(types, 2));
    const struct dpt_type *x = &types->in[0], *dy = &types->in[1];
    const int between = x->ndim - variant->ins;
    DPT_CHECK(between == dy->ndim - variant->outs &&
                  memcmp(x->dim, dy->dim, (size_t)between * sizeof x->dim[0]) == 0,
              DPT_STATUS_USAGE, "x and dy differ in more than the last dimensions");
    struct dpt_type w = {.dtype = x->dtype, .ndim = variant->outs + variant->ins};
    struct dpt_type db = {.dtype = x->dtype, .ndim = variant->outs};
    memcpy(w.dim, dy->dim + between, (size_t)variant->outs * sizeof w.dim[0]);
    memcpy(w.dim + variant->outs, x->dim + between, (size_t)variant->ins * sizeof w.dim[0]);
    memcpy(db.dim, w.dim, (size_t)variant->outs * sizeof w.dim[0]);
    types->nout = ((const struct dpt_linear_dw_param *)types->param)->bias ? 2 : 1;
    types->out[0] = w;
    types->out[1] = db;
    return DPT_STATUS_OK;
}

/* n, k, h: multiply, add. */
static double product_flops(const struct dpt_type *x, const struct dpt_type *w, const struct dpt_type *y)
{
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(x, w, y);
    return 2.0 * (double)size.n * (double)size.k * (double)size.h;
}

static void cost(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    cost->flops = product_flops(&types->in[0], &types->in[1], &types->out[0]);
    cost->flops += types->nin > 2 ? (double)dpt_type_numel(&types->out[0]) : 0.0; /* n, k: add the bias */
    dpt_op_cost_bytes(types, cost);
}

static void cost_dx(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    cost->flops = product_flops(&types->out[0], &types->in[1], &types->in[0]);
    dpt_op_cost_bytes(types, cost);
}

static void cost_dw(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    cost->flops = product_flops(&types->in[0], &types->out[0], &types->in[1]);
    cost->flops += dpt_op__linear_bias_flops(types);
    dpt_op_cost_bytes(types, cost);
}

static enum dpt_status grad(struct dpt_op_grad *grad, const struct variant *variant)
{
    const int dy = grad->dout[0];
    DPT_TRY(dpt_op__linear_add_dw(grad, variant->dw->name, dy));
    if (grad->need[0]) {
        DPT_TRY(dpt_op__add(grad, variant->dx->name, NULL, 2, (int[]){dy, grad->in[1]}, &grad->din[0]));
    }
    return DPT_STATUS_OK;
}

/* The bias goes behind the sum. There are no parameters and no activation. */
static void strip(void *param, struct dpt_op_rest *rest)
{
    const struct dpt_linear_param none = {DPT_ACTIVATION_KIND_NONE, 0};
    (void)param;
    rest->op = &dpt_op_bias_act;
    memcpy(rest->param, &none, sizeof none);
}

/*
 * The three ops of a variant. OUT and IN are the letters of w; a bias is added once the sum over IN is complete, so
 * that with one IN may not be split, unless plan/ takes the bias out, which it can where the bias has one dimension
 * (STRIP).
 */
#define VARIANT(NAME, OUT, IN, OUTS, INS, STRIP, DOC)                                                                  \
    static const struct variant NAME = {&dpt_op_##NAME, &dpt_op_##NAME##_dx, &dpt_op_##NAME##_dw, OUTS, INS};           \
    static enum dpt_status NAME##_shape(struct dpt_op_types *types)                                                    \
    {                                                                                                                  \
        return shape(types, &NAME);                                                                                    \
    }                                                                                                                  \
    static enum dpt_status NAME##_shape_dx(struct dpt_op_types *types)                                                 \
    {                                                                                                                  \
        return shape_dx(types, &NAME);                                                                                 \
    }                                                                                                                  \
    static enum dpt_status NAME##_shape_dw(struct dpt_op_types *types)                                                 \
    {                                                                                                                  \
        return shape_dw(types, &NAME);                                                                                 \
    }                                                                                                                  \
    static const char *NAME##_whole(const struct dpt_op_types *types)                                                  \
    {                                                                                                                  \
        return types->nin > 2 ? IN : "";                                                                               \
    }                                                                                                                  \
    static enum dpt_status NAME##_grad(struct dpt_op_grad *of)                                                         \
    {                                                                                                                  \
        return grad(of, &NAME);                                                                                        \
    }                                                                                                                  \
    const struct dpt_op dpt_op_##NAME = {                                                                              \
        .name = #NAME,                                                                                                 \
        .doc = DOC,                                                                                                    \
        .signature = "b." IN "," OUT IN "," OUT "?->b." OUT,                                                           \
        .whole_for = NAME##_whole,                                                                                     \
        .strip = STRIP,                                                                                                \
        .factors = 1u << 0 | 1u << 1,                                                                                  \
        .shape = NAME##_shape,                                                                                         \
        .cost = cost,                                                                                                  \
        .grad = NAME##_grad,                                                                                           \
        .prepare = dpt_op__linear_prepare,                                                                             \
        .release = dpt_op__linear_release,                                                                             \
        .scratch = dpt_op__linear_scratch,                                                                             \
        .run = {[DPT_RUN_REF] = dpt_op__linear_ref, [DPT_RUN_CPU] = dpt_op__linear_cpu},                               \
        .bf16 = &dpt_op__linear_bf16,                                                                                  \
    };                                                                                                                 \
    const struct dpt_op dpt_op_##NAME##_dx = {                                                                         \
        .name = #NAME "_dx",                                                                                           \
        .doc = "gradient of the input of " #NAME,                                                                      \
        .signature = "b." OUT "," OUT IN "->b." IN,                                                                    \
        .factors = 1u << 0 | 1u << 1,                                                                                  \
        .shape = NAME##_shape_dx,                                                                                      \
        .cost = cost_dx,                                                                                               \
        .prepare = dpt_op__linear_dx_prepare,                                                                          \
        .release = dpt_op__linear_release,                                                                             \
        .scratch = dpt_op__linear_dx_scratch,                                                                          \
        .run = {[DPT_RUN_REF] = dpt_op__linear_dx_ref, [DPT_RUN_CPU] = dpt_op__linear_dx_cpu},                         \
        .bf16 = &dpt_op__linear_dx_bf16,                                                                               \
    };                                                                                                                 \
    const struct dpt_op dpt_op_##NAME##_dw = {                                                                         \
        .name = #NAME "_dw",                                                                                           \
        .doc = "gradients of the weight and the bias of " #NAME,                                                       \
        .param_nbytes = sizeof(struct dpt_linear_dw_param),                                                            \
        .signature = "b." IN ",b." OUT "->" OUT IN "," OUT,                                                            \
        .from = {[1] = 1u << 1},                                                                                       \
        .factors = 1u << 0 | 1u << 1,                                                                                  \
        .shape = NAME##_shape_dw,                                                                                      \
        .cost = cost_dw,                                                                                               \
        .prepare = dpt_op__linear_dw_prepare,                                                                          \
        .release = dpt_op__linear_release,                                                                             \
        .scratch = dpt_op__linear_dw_scratch,                                                                          \
        .adds = 1u << DPT_RUN_CPU | 1u << DPT_RUN_CUDA,                                                                \
        .run = {[DPT_RUN_REF] = dpt_op__linear_dw_ref, [DPT_RUN_CPU] = dpt_op__linear_dw_cpu},                         \
        .bf16 = &dpt_op__linear_dw_bf16,                                                                               \
    }

VARIANT(linear_heads, "ad", "h", 2, 1, NULL, "a product whose outputs are heads");
VARIANT(linear_grouped, "agd", "h", 3, 1, NULL, "a product whose outputs are groups of queries of a head");
VARIANT(linear_qkv, "pad", "h", 3, 1, NULL, "a product whose outputs are queries, keys and values of heads");
VARIANT(linear_merge, "k", "ad", 1, 2, strip, "a product whose inputs are heads");
VARIANT(linear_merge_grouped, "k", "agd", 1, 3, strip, "a product whose inputs are groups of queries of a head");
