/* SPDX-License-Identifier: Apache-2.0 */

/* In builds for cards without cuDNN: convolutions are done by kernels of dpt. */

#include <stdio.h>

#include "dev/cuda.h"

enum dpt_status dpt_cuda_dnn(struct dpt_dev *dev, struct dpt_cudnn **found)
{
    *found = NULL;
    snprintf(dev->convolutions, sizeof dev->convolutions, "kernels of dpt (built without cuDNN)");
    DPT_CHECK(dev->convolution != DPT_DEV_CONVOLUTION_CUDNN, DPT_STATUS_USAGE,
              "[device] convolution = cudnn: this dpt was built without cuDNN (configure --with-cudnn); set it to auto");
    return DPT_STATUS_OK;
}

void dpt_cuda__close_dnn(struct dpt_cuda *cuda)
{
    (void)cuda;
}
