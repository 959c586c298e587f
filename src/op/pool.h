/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Pooling of NHWC images. Output size floor((in + 2 pad - kernel) / stride) + 1; padding counts for neither maximum
 * nor average.
 *
 *   max_pool        x[byxc]              -> y[byxc], at U8[byxc]   at: place of the maximum in the window
 *   max_pool_dx     dy[byxc], at[byxc]   -> dx[byxc]
 *   avg_pool        x[byxc]              -> y[byxc]
 *   avg_pool_dx     dy[byxc]             -> dx[byxc]
 *   global_pool     x[byxc]              -> y[bc]                  the mean over y, x
 *   global_pool_dx  dy[bc]               -> dx[byxc]
 */

#include <stdint.h>

struct dpt_pool_param {
    int64_t kernel[2], stride[2], pad[2]; /* y, x; unused by global_pool; kernel area <= 256 for max_pool */
    int64_t in[2];                        /* _dx only: y, x of dx                                         */
};
