/* SPDX-License-Identifier: Apache-2.0 */

/* In builds without CUDA: no op has a twin, and since no card can be opened nobody asks for the rest. */

#include "op/cuda.h"

const struct dpt_op_cuda *dpt_op__cuda(const struct dpt_op *op)
{
    (void)op;
    return NULL;
}

static enum dpt_status refuse(void)
{
    return dpt_error_set(DPT_STATUS_FAILED, __FILE__, __LINE__, "this dpt was built without CUDA");
}

enum dpt_status dpt_flat__add_cuda(struct dpt_dev *dev, int64_t n, const float *x, const float *y, float *z)
{
    (void)dev, (void)n, (void)x, (void)y, (void)z;
    return refuse();
}

enum dpt_status dpt_flat__scale_cuda(struct dpt_dev *dev, int64_t n, double factor, float *x)
{
    (void)dev, (void)n, (void)factor, (void)x;
    return refuse();
}

enum dpt_status dpt_flat__squares_cuda(struct dpt_dev *dev, int count, const struct dpt_flat_range *range, double *sum)
{
    (void)dev, (void)count, (void)range, (void)sum;
    return refuse();
}

enum dpt_status dpt_update__table_cuda(struct dpt_dev *dev, const struct dpt_op *op, int count,
                                       const struct dpt_update_range *range, struct dpt_update_table **table)
{
    (void)dev, (void)op, (void)count, (void)range, (void)table;
    return refuse();
}

void dpt_update__table_free_cuda(struct dpt_dev *dev, struct dpt_update_table *table)
{
    (void)dev, (void)table;
}
