/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * linear_loss with the vocabulary divided: what is known of a part of the logits, how parts are put together, and the
 * gradients from the whole. Letters as in linear_loss.h; t: three numbers a position. "all": over all parts.
 *
 *   vocab_stat     x[bsh], w[vh], target[bs]               -> top F64[bs], stat F64[bst]   top: the largest logit here;
 *                      stat: the sum of exp(logit - top), the target's logit or 0, the first token with the largest
 *   vocab_share    top[bs], stat[bst], top of all, target  -> sums F64[bst]   to be added over the parts: the sum of
 *                      exp(logit - top of all), the target's logit or 0, 1 for a lower token with the largest of all
 *   vocab_loss     sums of all, top of all, target         -> loss[b], count[bm]   as those of linear_loss
 *   vocab_loss_dx  x, w, target, top of all, sums of all   -> dx[bsh], dw[vh]      dx is a sum over the parts
 *
 * The parameters are those of linear_loss. In training logits are made twice: four products where linear_loss has three.
 */

#include "op/linear_loss.h"

/* Fast kernels in float, linear_loss_cpu.c. */
enum dpt_status dpt_op__vocab_stat_f32(const struct dpt_op_call *call);
enum dpt_status dpt_op__vocab_loss_dx_f32(const struct dpt_op_call *call);
