/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Convolution in two dimensions (cross-correlation, as every framework calls it). Activations NHWC [b,y,x,c], weights
 * OIHW [o,c/groups,i,j].
 *
 *   conv     x[byxc], w[ocij], bias[o]?  -> y[byxo]   y = act(conv(x, w) + bias)
 *   conv_dx  dy[byxo], w[ocij]           -> dx[byxc]  needs in[] of the parameters
 *   conv_dw  x[byxc], dy[byxo]           -> dw[ocij], dbias[o]?  needs kernel[], and bias for the second output
 */

#include <stdint.h>

#include "op/activation.h"
#include "op/op.h"

struct dpt_conv_param {
    int64_t stride[2], pad[2], dilation[2]; /* y, x; dilation 1 is dense      */
    int64_t groups;
    enum dpt_activation_kind act;           /* NONE or RELU, fused            */
    int bias;                               /* conv_dw only: 1: dbias as well */
    int64_t kernel[2];                      /* conv_dw only: i, j             */
    int64_t in[2];                          /* conv_dx only: y, x of dx       */
    int64_t more[2];                        /* by how much the pad behind is more: a part of an image */
};

/* One convolution with all its sizes, the same for the three ops; o and c are channels of ONE group. */
struct dpt_op__conv {
    int64_t n, groups, o, c;
    int64_t in[2], out[2], kernel[2]; /* y, x of x; y, x of y; i, j */
    int64_t stride[2], pad[2], dilation[2];
};

/* From the types of x, w and y or of their gradients. Local. */
struct dpt_op__conv dpt_op__conv_sizes(const struct dpt_conv_param *param, const struct dpt_type *x,
                                       const struct dpt_type *w, const struct dpt_type *y);

/* Fast kernels, conv_cpu.c. */
enum dpt_status dpt_op__conv_prepare(const struct dpt_op_types *types, enum dpt_run run, int threads, void **prep);
enum dpt_status dpt_op__conv_dx_prepare(const struct dpt_op_types *types, enum dpt_run run, int threads, void **prep);
enum dpt_status dpt_op__conv_dw_prepare(const struct dpt_op_types *types, enum dpt_run run, int threads, void **prep);
void dpt_op__conv_release(void *prep);
size_t dpt_op__conv_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep);
size_t dpt_op__conv_dx_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep);
size_t dpt_op__conv_dw_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep);
enum dpt_status dpt_op__conv_cpu(const struct dpt_op_call *call);
enum dpt_status dpt_op__conv_dx_cpu(const struct dpt_op_call *call);
enum dpt_status dpt_op__conv_dw_cpu(const struct dpt_op_call *call);
