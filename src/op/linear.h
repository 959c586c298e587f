/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Products with a weight. Letters: b samples, . any dimensions between, h inputs, k outputs.
 *
 *   linear     x[b.h], w[kh], bias[k]?  -> y[b.k]   y = act(x w^T + bias)
 *   linear_dx  dy[b.k], w[kh]           -> dx[b.h]
 *   linear_dw  x[b.h], dy[b.k]          -> dw[kh]
 *   bias_dw    dy[b.k]                  -> db[k]     the sum over all but the last dimension
 *   bias_act   x[b.k], bias[k]?         -> y[b.k]    y = act(x + bias), behind a product that was summed over ranks
 */

#include "base/status.h"
#include "op/activation.h"
#include "op/op.h"

struct dpt_linear_param {
    enum dpt_activation_kind act; /* NONE or RELU, fused by graph/fuse.c */
};

/* Fast kernels, linear_cpu.c. */
enum dpt_status dpt_op__linear_prepare(const struct dpt_op_types *types, enum dpt_run run, int threads, void **prep);
enum dpt_status dpt_op__linear_dx_prepare(const struct dpt_op_types *types, enum dpt_run run, int threads, void **prep);
enum dpt_status dpt_op__linear_dw_prepare(const struct dpt_op_types *types, enum dpt_run run, int threads, void **prep);
void dpt_op__linear_release(void *prep);
size_t dpt_op__linear_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep);
enum dpt_status dpt_op__linear_cpu(const struct dpt_op_call *call);
enum dpt_status dpt_op__linear_dx_cpu(const struct dpt_op_call *call);
enum dpt_status dpt_op__linear_dw_cpu(const struct dpt_op_call *call);
void dpt_op__bias_act_f32(const struct dpt_op_call *call);
