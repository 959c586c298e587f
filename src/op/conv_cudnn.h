/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Weights for a convolution of cuDNN: OIHW in F32 are there OHWI in the type of the product (conv_layout_cuda.cu). Local.
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

#ifdef __cplusplus
}
#endif
