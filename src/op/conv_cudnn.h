/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What stands around a convolution of cuDNN: weights OIHW in F32 are there OHWI in the type of the product, images of another
 * type are rounded to it, bias and activation come behind it. Each is a kernel of its own (conv_layout_cuda.cu). Local.
 */

#include "op/conv.h"

struct dpt_cuda;

#ifdef __cplusplus
extern "C" {
#endif

/* to = w as OHWI; dw = from, which is OHWI. */
void dpt_op__conv_lay_weights(struct dpt_cuda *cuda, const struct dpt_op__conv *conv, const struct dpt_tensor *w,
                              enum dpt_dtype type, void *to);
void dpt_op__conv_read_weights(struct dpt_cuda *cuda, const struct dpt_op__conv *conv, enum dpt_dtype type, const void *from,
                               const struct dpt_tensor *dw);

/* to = x, rounded. */
void dpt_op__conv_round(struct dpt_cuda *cuda, const struct dpt_tensor *x, enum dpt_dtype type, void *to);

/* y = act(y + bias); bias NULL: none. */
void dpt_op__conv_finish(struct dpt_cuda *cuda, const struct dpt_tensor *bias, bool relu, const struct dpt_tensor *y);

#ifdef __cplusplus
}
#endif
