/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Our own convolutions in float (op/tile.h), for processors where they are faster than oneDNN's, or where there is no
 * oneDNN: no patches are copied, a table says where each place of y reads x (Dukhan, "The Indirect Convolution
 * Algorithm", 2019). One group, one thread, whole tiles of output channels; any number of samples.
 */

#include <stdbool.h>
#include <stddef.h>

#include "op/conv.h"

enum dpt_op__direct_pass {
    DPT_OP__DIRECT_FORWARD, /* x, w, bias? -> y */
    DPT_OP__DIRECT_TURNED,  /* dy, w -> dx: a forward pass with w turned and its channels exchanged; stride 1 only */
    DPT_OP__DIRECT_DW,      /* x, dy -> dw      */
};

struct dpt_op__direct;

/*
 * *direct is NULL, with OK, where these loops do not serve this convolution, or would not pay when `needed` is false.
 * `conv` is of the forward pass in every case; its n does not matter. Local. Freed by dpt_op__direct_free.
 */
enum dpt_status dpt_op__direct_new(const struct dpt_op__conv *conv, enum dpt_op__direct_pass pass, int threads,
                                   bool needed, struct dpt_op__direct **direct);
void dpt_op__direct_free(struct dpt_op__direct *direct);

/* Bytes of scratch memory that a call needs. Local. */
size_t dpt_op__direct_scratch(const struct dpt_op__direct *direct);

/* FORWARD: y of n samples; bias may be NULL. TURNED: dx (as y) from dy (as x), without bias and relu. Local. */
void dpt_op__direct_forward(const struct dpt_op__direct *direct, int64_t n, const float *x, const float *w,
                            const float *bias, bool relu, float *y, void *scratch);

/* DW: dw from n samples. Local. */
void dpt_op__direct_dw(const struct dpt_op__direct *direct, int64_t n, const float *x, const float *dy, float *dw,
                       void *scratch);
