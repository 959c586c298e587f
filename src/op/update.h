/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Update rules, in place, element-wise, so that plan/ may run one call over a range of several parameters. The
 * gradient is first multiplied by ctx->grad_scale; the rate is ctx->lr.
 *
 *   sgd   p, g, m?    PyTorch's: g += decay p; m = momentum m + (1 - dampening) g (m = g at the first update);
 *                     d = nesterov ? g + momentum m : m; p -= lr d       m is absent when momentum is 0
 *   adam  p, g, m, v  Kingma, Ba, 2015; decoupled: AdamW, Loshchilov, Hutter, 2019: p -= lr decay p first
 *   ema   p, g        p = (1 - rate) p + rate g      running statistics; takes neither lr nor grad_scale
 */

#include <stdbool.h>

#include "op/op.h"

struct dpt_sgd_param {
    double momentum, dampening, weight_decay;
    bool nesterov;
    char zero[7]; /* no padding, see op.h */
};

struct dpt_adam_param {
    double beta1, beta2, eps, weight_decay;
    bool decoupled;
    char zero[7]; /* no padding, see op.h */
};

struct dpt_ema_param {
    double rate;
};

enum { DPT_UPDATE_MAX_IN = 4 }; /* p, g and two slots */

/* A range of the flat buffers, with the settings of its update. */
struct dpt_update_range {
    struct dpt_op_types types;
    struct dpt_tensor in[DPT_UPDATE_MAX_IN];
};

struct dpt_update_table; /* ranges in the memory of a card */

/*
 * Whether ranges with these parameters may be updated by one call: they differ in weight_decay at most, those of ema in the
 * rate. Pure.
 */
bool dpt_update_joins(const struct dpt_op *op, const void *a, const void *b);

/*
 * What makes one launch of an update over these ranges, which have the same operands and join: on a card a table there, for
 * _release, elsewhere NULL. The ranges must stay where they are. DPT_STATUS_SPACE. Local.
 */
enum dpt_status dpt_update_prepare(struct dpt_dev *dev, const struct dpt_op *op, int count,
                                   const struct dpt_update_range *range, struct dpt_update_table **table);
void dpt_update_release(struct dpt_dev *dev, struct dpt_update_table *table);

/* Updates the ranges that `table`, or NULL, was prepared for. Local. */
enum dpt_status dpt_update_ranges(struct dpt_dev *dev, const struct dpt_op *op, enum dpt_run run, int count,
                                  const struct dpt_update_range *range, struct dpt_update_table *table,
                                  const struct dpt_op_ctx *ctx);

/* The number that may differ between ranges of one call. */
double dpt_update__own(const struct dpt_op *op, const void *param);

/* Fast kernels in float, update_cpu.c. */
void dpt_op__sgd_f32(const struct dpt_op_call *call);
void dpt_op__adam_f32(const struct dpt_op_call *call);
void dpt_op__ema_f32(const struct dpt_op_call *call);
