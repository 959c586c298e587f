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

#include "op/op.h"

struct dpt_pool_param {
    int64_t kernel[2], stride[2], pad[2]; /* y, x; unused by global_pool; kernel area <= 256 for max_pool */
    int64_t in[2];                        /* _dx only: y, x of dx                                         */
    int64_t more[2];                      /* by how much the pad behind is more: a part of an image */
};

/* One pooling with all its sizes, the same for an op and its gradient. */
struct dpt_op__pool {
    int64_t n, c;
    int64_t in[2], out[2], kernel[2], stride[2], pad[2]; /* y, x */
};

/* From the types of x and y or of their gradients. Local. */
struct dpt_op__pool dpt_op__pool_sizes(const struct dpt_pool_param *param, const struct dpt_type *x,
                                       const struct dpt_type *y);

/* Kernel places [begin, end) of the window at output place `out` that lie inside the image, along one axis. Local. */
static inline void dpt_op__pool_window(const struct dpt_op__pool *pool, int axis, int64_t out, int64_t *begin,
                                       int64_t *end)
{
    const int64_t first = out * pool->stride[axis] - pool->pad[axis], left = pool->in[axis] - first;
    *begin = first < 0 ? -first : 0;
    *end = pool->kernel[axis] < left ? pool->kernel[axis] : left;
}

/* Fast kernels, pool_cpu.c. */
enum dpt_status dpt_op__max_pool_cpu(const struct dpt_op_call *call);
enum dpt_status dpt_op__max_pool_dx_cpu(const struct dpt_op_call *call);
enum dpt_status dpt_op__avg_pool_cpu(const struct dpt_op_call *call);
enum dpt_status dpt_op__avg_pool_dx_cpu(const struct dpt_op_call *call);
enum dpt_status dpt_op__global_pool_cpu(const struct dpt_op_call *call);
enum dpt_status dpt_op__global_pool_dx_cpu(const struct dpt_op_call *call);
