/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Arithmetic on ranges of flat buffers that is no node of a graph: sums of gradients over micro-batches, the square of
 * their norm. In the memory of a device, and done by it; F32 or F64.
 */

#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"
#include "dev/dev.h"

/* z = x + y, n elements; z may be one of them. Local. */
enum dpt_status dpt_flat_add(struct dpt_dev *dev, enum dpt_dtype real, int64_t n, const void *x, const void *y, void *z);

/* x = factor x, n elements. Local. */
enum dpt_status dpt_flat_scale(struct dpt_dev *dev, enum dpt_dtype real, int64_t n, double factor, void *x);

/* Elements of a flat buffer. */
struct dpt_flat_range {
    const void *x;
    int64_t n;
};

/*
 * sum[i] = the sum of the squares of range i in double, in an order that depends on its n alone. A card does all of them in
 * two launches for each DPT_CUDA_SQUARES. `sum` is in memory of dpt_dev_host_alloc, and is there after the next
 * dpt_dev_wait. Local.
 */
enum dpt_status dpt_flat_squares(struct dpt_dev *dev, enum dpt_dtype real, int count, const struct dpt_flat_range *range,
                                 double *sum);
