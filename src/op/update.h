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

/* Fast kernels in float, update_cpu.c. */
struct dpt_op_call;
void dpt_op__sgd_f32(const struct dpt_op_call *call);
void dpt_op__adam_f32(const struct dpt_op_call *call);
void dpt_op__ema_f32(const struct dpt_op_call *call);
