/* SPDX-License-Identifier: Apache-2.0 */
#include "op/flat.h"

#include "base/add.h"
#include "base/square.h"
#include "op/cuda.h"

/* Cards have F32 alone: dpt_op_check_run refuses other nodes. */
static bool is_card(const struct dpt_dev *dev)
{
    return dev && dev->kind == DPT_DEV_KIND_CUDA;
}

enum dpt_status dpt_flat_add(struct dpt_dev *dev, enum dpt_dtype real, int64_t n, const void *x, const void *y, void *z)
{
    if (is_card(dev)) {
        return dpt_flat__add_cuda(dev, n, x, y, z);
    }
    DPT_TRY(dpt_dev_kernel_begin(dev));
    dpt_add(real, n, x, y, z);
    return dpt_dev_kernel_end(dev);
}

enum dpt_status dpt_flat_scale(struct dpt_dev *dev, enum dpt_dtype real, int64_t n, double factor, void *x)
{
    if (is_card(dev)) {
        return dpt_flat__scale_cuda(dev, n, factor, x);
    }
    DPT_TRY(dpt_dev_kernel_begin(dev));
    for (int64_t i = 0; i < n; i++) {
        if (real == DPT_DTYPE_F32) {
            ((float *)x)[i] *= (float)factor;
        } else {
            ((double *)x)[i] *= factor;
        }
    }
    return dpt_dev_kernel_end(dev);
}

enum dpt_status dpt_flat_squares(struct dpt_dev *dev, enum dpt_dtype real, int count, const struct dpt_flat_range *range,
                                 double *sum)
{
    if (is_card(dev)) {
        return dpt_flat__squares_cuda(dev, count, range, sum);
    }
    DPT_TRY(dpt_dev_kernel_begin(dev));
    for (int i = 0; i < count; i++) {
        struct dpt_square square = {{0.0}};
        dpt_square_add(real, range[i].n, range[i].x, &square);
        sum[i] = dpt_square_sum(&square);
    }
    return dpt_dev_kernel_end(dev);
}
