/* SPDX-License-Identifier: Apache-2.0 */

/* The device that counts and has nothing: every block is NULL. */

#include <stdio.h>
#include <stdlib.h>

#include "dev/dev.h"

static enum dpt_status null_alloc(struct dpt_dev *dev, size_t nbytes, const char *what, void **block)
{
    (void)dev;
    (void)nbytes;
    (void)what;
    *block = NULL;
    return DPT_STATUS_OK;
}

static void null_release(struct dpt_dev *dev, void *block, size_t nbytes)
{
    (void)dev;
    (void)block;
    (void)nbytes;
}

static void null_close(struct dpt_dev *dev)
{
    free(dev);
}

enum dpt_status dpt_dev_null(struct dpt_dev **dev)
{
    struct dpt_dev *d = malloc(sizeof *d);
    DPT_CHECK(d, DPT_STATUS_SPACE, "out of memory for a device");
    *d = (struct dpt_dev){
        .kind = DPT_DEV_KIND_NULL,
        .name = "null: sizes without memory",
        .threads = 1,
        .alloc = null_alloc,
        .release = null_release,
        .close = null_close,
    };
    *dev = d;
    return DPT_STATUS_OK;
}
