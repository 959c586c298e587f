/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Losses are sums over samples with one global divisor, ctx->batch_rows, applied in the gradient.
 *
 *   cross_entropy     logits[bv], target I32[b]        -> loss[b]    softmax, negative log likelihood
 *   cross_entropy_dx  logits[bv], target I32[b]        -> dlogits[bv], times 1 / batch_rows
 *   mse               y[b.], target[b.]                -> loss[b]    mean over a sample's elements of (y - t)^2
 *   mse_dx            y[b.], target[b.]                -> dy[b.], times 1 / batch_rows
 *   class_metrics     logits[bv], target I32[b], loss[b]  -> F64[4]  loss, right, right in the first 5, samples
 *   real_metrics      y[b.], target[b.], loss[b]          -> F64[6]  loss, (y - t)^2, t, t^2, elements, samples
 *
 * A target outside 0 .. V-1 is refused by the reader of the data; the kernels assert it. Ties in the ranking count
 * for the lower class.
 */

#include "op/op.h"

struct dpt_cross_entropy_param {
    double smoothing; /* target distribution (1 - s) onehot + s / V */
};

/* Fast kernels in float, loss_cpu.c. */
void dpt_op__cross_entropy_f32(const struct dpt_op_call *call);
void dpt_op__cross_entropy_dx_f32(const struct dpt_op_call *call);
size_t dpt_op__cross_entropy_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep);
void dpt_op__mse_f32(const struct dpt_op_call *call);
void dpt_op__mse_dx_f32(const struct dpt_op_call *call);
