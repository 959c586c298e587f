/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The output layer of a language model and its cross-entropy in one, so that logits of all positions never exist at
 * once. Letters: b samples, s positions, h features, v vocabulary, m sums.
 *
 *   linear_loss    x[bsh], w[vh], target I32[bs]  -> loss[b], count[bm], and with `gradients` dx[bsh], dw[vh]
 *   token_metrics  loss[b], count[bm]             -> F64[4]  loss, right tokens, tokens, samples
 *
 * loss is the sum over the positions of a sample divided by s. A target of -1 is ignored: it adds nothing, and the
 * divisor stays s. count holds, for each sample, the tokens that were not ignored and those whose logit is the largest
 * (of equal ones, the lower token's).
 *
 * The seed of a loss is known before backward (DPT_OP_SEED), so in training the logits of a chunk serve for the loss
 * and for both gradients, and are not made twice. dx and dw are then the gradients of x and w.
 */

#include <stddef.h>
#include <stdint.h>

#include "op/op.h"

struct dpt_linear_loss_param {
    int32_t gradients; /* 0 or 1: has the outputs dx and dw */
    int32_t real;      /* enum dpt_dtype of the loss, F32 or F64: for vocab_loss, whose inputs do not tell */
};

/* Fast kernel in float, linear_loss_cpu.c. */
size_t dpt_op__linear_loss_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep);
enum dpt_status dpt_op__linear_loss_f32(const struct dpt_op_call *call);
