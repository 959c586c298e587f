/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Convolution in two dimensions (cross-correlation, as every framework calls it). Activations NHWC [b,y,x,c], weights
 * OIHW [o,c/groups,i,j].
 *
 *   conv     x[byxc], w[ocij], bias[o]?  -> y[byxo]   y = act(conv(x, w) + bias)
 *   conv_dx  dy[byxo], w[ocij]           -> dx[byxc]  needs in[] of the parameters
 *   conv_dw  x[byxc], dy[byxo]           -> dw[ocij]  needs kernel[] of the parameters
 *   The bias gradient is bias_dw of op/linear.h.
 */

#include <stdint.h>

#include "op/activation.h"

struct dpt_conv_param {
    int64_t stride[2], pad[2], dilation[2]; /* y, x; dilation 1 is dense      */
    int64_t groups;
    enum dpt_activation_kind act;           /* NONE or RELU, fused            */
    int zero;                               /* no padding, see op.h           */
    int64_t kernel[2];                      /* conv_dw only: i, j             */
    int64_t in[2];                          /* conv_dx only: y, x of dx       */
};
