/* SPDX-License-Identifier: Apache-2.0 */

/* In builds without cuDNN: the kernels of conv_cuda.cu do every convolution. */

#include <stddef.h>

#include "dev/cuda.h"
#include "op/cuda.h"

/* Asks all the same, so that a job that wants the library is refused. */
static enum dpt_status prepare(struct dpt_dev *dev, const struct dpt_op_types *types, void **prep)
{
    struct dpt_cudnn *none;
    (void)types;
    *prep = NULL;
    return dpt_cuda_dnn(dev, &none);
}

const struct dpt_op_cuda_library dpt_op__conv_library = {.prepare = prepare};
const struct dpt_op_cuda_library dpt_op__conv_dx_library = {.prepare = prepare};
const struct dpt_op_cuda_library dpt_op__conv_dw_library = {.prepare = prepare};
