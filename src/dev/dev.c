/* SPDX-License-Identifier: Apache-2.0 */
#include "dev/dev.h"

#include <stdlib.h>

void dpt_dev_close(struct dpt_dev *dev)
{
    if (dev) {
        dev->close(dev);
    }
}

enum dpt_status dpt_dev_alloc(struct dpt_dev *dev, size_t nbytes, const char *what, void **block)
{
    *block = NULL;
    if (nbytes == 0) {
        return DPT_STATUS_OK;
    }
    DPT_TRY(dev->alloc(dev, nbytes, what, block));
    dev->nbytes += nbytes;
    if (dev->nbytes > dev->nbytes_peak) {
        dev->nbytes_peak = dev->nbytes;
    }
    return DPT_STATUS_OK;
}

void dpt_dev_release(struct dpt_dev *dev, void *block, size_t nbytes)
{
    if (nbytes == 0) {
        return;
    }
    DPT_ASSERT(dev->nbytes >= nbytes);
    dev->release(dev, block, nbytes);
    dev->nbytes -= nbytes;
}
