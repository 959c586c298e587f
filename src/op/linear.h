/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Products with a weight. Letters: b samples, . any dimensions between, h inputs, k outputs.
 *
 *   linear     x[b.h], w[kh], bias[k]?  -> y[b.k], z[b.k]?   y = act(z), z = x w^T + bias
 *   linear_dx  dy[b.k], w[kh], t[b.h]?  -> dx[b.h]           with t the gradient of the activation before: act'(t) (dy w)
 *   linear_dw  x[b.h], dy[b.k]          -> dw[kh], db[k]?    db, with `bias`, the sum of dy over all but the last dimension
 *   bias_act   x[b.k], bias[k]?         -> y[b.k], z[b.k]?   y = act(z), z = x + bias, behind a sum over ranks
 *
 * z is there for the gradient of activations that reads it, as t (activation.h), and only with `keep`.
 *
 * The same products with several named dimensions for the outputs or the inputs, so that heads of attention are split
 * like any other index (linear_heads.c). Letters: a heads, g queries of a head, d width of a head, p query, key, value.
 * Each has _dx and _dw like linear.
 *
 *   linear_heads          x[b.h], w[adh], bias[ad]?      -> y[b.ad]
 *   linear_grouped        x[b.h], w[agdh], bias[agd]?    -> y[b.agd]
 *   linear_qkv            x[b.h], w[padh], bias[pad]?    -> y[b.pad]
 *   linear_merge          x[b.ad], w[kad], bias[k]?      -> y[b.k]
 *   linear_merge_grouped  x[b.agd], w[kagd], bias[k]?    -> y[b.k]
 */

#include "base/status.h"
#include "op/activation.h"
#include "op/onednn.h"
#include "op/op.h"

struct dpt_linear_param {
    enum dpt_activation_kind act; /* or NONE; fused by graph/fuse.c                  */
    int32_t keep;                 /* 1: output 1 is z; never of linear_dx, nor with NONE */
};

/* Of linear_dw, and of all _dw of linear_heads.c. */
struct dpt_linear_dw_param {
    int32_t bias; /* 1: output 1 is db */
};

/* A product as one of matrices: y[n,k] = x[n,h] w[k,h]^T. */
struct dpt_linear_sizes {
    int64_t n, k, h;
};

/*
 * Sizes of a product from the types of x, w and y: w has its output dimensions first, which are the last ones of y,
 * then its input dimensions, which are the last ones of x. Local.
 */
static inline struct dpt_linear_sizes dpt_op__linear_sizes(const struct dpt_type *x, const struct dpt_type *w,
                                                           const struct dpt_type *y)
{
    const int outs = (w->ndim + y->ndim - x->ndim) / 2;
    struct dpt_linear_sizes size = {1, 1, 1};
    for (int i = 0; i < w->ndim; i++) {
        *(i < outs ? &size.k : &size.h) *= w->dim[i];
    }
    for (int i = 0; i < y->ndim - outs; i++) {
        size.n *= y->dim[i];
    }
    return size;
}

/* The activation of a product forward or to x; that of linear_heads.c has no parameters and no activation. Local. */
static inline enum dpt_activation_kind dpt_op__linear_act(const struct dpt_op_types *types)
{
    const struct dpt_linear_param *param = (const struct dpt_linear_param *)types->param; /* C++ wants the cast */
    return param ? param->act : DPT_ACTIVATION_KIND_NONE;
}

/* For shape rules: refuses an activation that there is not, and z without one or where there cannot be any. Local. */
enum dpt_status dpt_op__linear_check(const struct dpt_linear_param *param, bool may_keep);

/* For grad rules: adds `dw` for the gradients of the weight, and with it of the bias where there is one, from dz. Local. */
enum dpt_status dpt_op__linear_add_dw(struct dpt_op_grad *grad, const char *dw, int dz);

/* For cost: a sum over dy where db is wanted. Local. */
double dpt_op__linear_bias_flops(const struct dpt_op_types *types);

/* Plain kernels of all ops here (linear.c). */
enum dpt_status dpt_op__linear_ref(const struct dpt_op_call *call);
enum dpt_status dpt_op__linear_dx_ref(const struct dpt_op_call *call);
enum dpt_status dpt_op__linear_dw_ref(const struct dpt_op_call *call);

/* What is prepared for a product with one number of rows, in 32 or 16 bits; freed by dpt_op__linear_release. */
struct dpt_linear_prep {
    struct dpt_onednn *library; /* not NULL */
    int64_t rows;
};

/* Makes *prep for a product; it stays NULL where the library has none that is fast on this machine. */
enum dpt_status dpt_op__linear_prep_new(const struct dpt_onednn_matmul *matmul, int64_t rows, void **prep);

/* Products of bfloat16, linear_bf16.c. */
extern const struct dpt_op_bf16 dpt_op__linear_bf16, dpt_op__linear_dx_bf16, dpt_op__linear_dw_bf16;

/* Fast kernels, linear_cpu.c. */
enum dpt_status dpt_op__linear_prepare(const struct dpt_op_types *types, enum dpt_run run, int threads, void **prep);
enum dpt_status dpt_op__linear_dx_prepare(const struct dpt_op_types *types, enum dpt_run run, int threads, void **prep);
enum dpt_status dpt_op__linear_dw_prepare(const struct dpt_op_types *types, enum dpt_run run, int threads, void **prep);
void dpt_op__linear_release(void *prep);
size_t dpt_op__linear_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep);
size_t dpt_op__linear_dx_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep);
size_t dpt_op__linear_dw_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep);
enum dpt_status dpt_op__linear_cpu(const struct dpt_op_call *call);
enum dpt_status dpt_op__linear_dx_cpu(const struct dpt_op_call *call);
enum dpt_status dpt_op__linear_dw_cpu(const struct dpt_op_call *call);
void dpt_op__bias_act_f32(const struct dpt_op_call *call);

/* db[k] = the sum over n of dy[n,k], which is F32, F64 or BF16; db has its type, F32 for BF16. Local. */
void dpt_op__bias_sums(enum dpt_dtype dtype, int64_t n, int64_t k, const void *dy, void *db);
