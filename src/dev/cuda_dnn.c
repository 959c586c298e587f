/* SPDX-License-Identifier: Apache-2.0 */

/* cuDNN of a card: looked for when the first convolution is prepared, and closed with the card. */

#include "dev/cuda_dnn.h"

#include <stdio.h>
#include <stdlib.h>

/* NULL, or why it is not there. */
static const char *open_library(struct dpt_cuda *cuda, struct dpt_cudnn *dnn)
{
    const char *why = dpt_cuda__open_cudnn(dnn);
    if (why) {
        return why;
    }
    cudnnStatus_t status = dnn->create(&dnn->handle);
    if (status == CUDNN_STATUS_SUCCESS) {
        status = dnn->set_stream(dnn->handle, cuda->stream);
    }
    return status == CUDNN_STATUS_SUCCESS ? NULL : dnn->text(status);
}

enum dpt_status dpt_cuda_dnn(struct dpt_dev *dev, struct dpt_cudnn **found)
{
    struct dpt_cuda *cuda = dpt_cuda_of(dev);
    *found = cuda->dnn;
    if (dev->convolution == DPT_DEV_CONVOLUTION_OWN) {
        *found = NULL;
        snprintf(dev->convolutions, sizeof dev->convolutions, "kernels of dpt (device.convolution = own)");
        return DPT_STATUS_OK;
    }
    if (!cuda->dnn && !cuda->no_dnn) {
        cuda->dnn = calloc(1, sizeof *cuda->dnn);
        DPT_CHECK(cuda->dnn, DPT_STATUS_SPACE, "out of memory for cuDNN");
        const char *why = open_library(cuda, cuda->dnn);
        const size_t version = why ? 0 : cuda->dnn->version();
        snprintf(dev->convolutions, sizeof dev->convolutions, "kernels of dpt (no cuDNN: %s)", why ? why : "");
        cuda->no_dnn = why != NULL;
        if (why) {
            dpt_cuda__close_dnn(cuda);
        } else {
            snprintf(dev->convolutions, sizeof dev->convolutions, "cuDNN %zu.%zu.%zu", version / 10000, version / 100 % 100,
                     version % 100);
        }
        *found = cuda->dnn;
    }
    DPT_CHECK(cuda->dnn || dev->convolution != DPT_DEV_CONVOLUTION_CUDNN, DPT_STATUS_USAGE,
              "[device] convolution = cudnn: %s; set it to auto", dev->convolutions);
    return DPT_STATUS_OK;
}

/* The library itself stays open: it does not like to be closed. */
void dpt_cuda__close_dnn(struct dpt_cuda *cuda)
{
    if (cuda->dnn && cuda->dnn->handle) {
        cuda->dnn->destroy(cuda->dnn->handle);
    }
    free(cuda->dnn);
    cuda->dnn = NULL;
}
