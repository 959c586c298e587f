/* SPDX-License-Identifier: Apache-2.0 */
#include "far.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MAX_BLOCKS = 64, PAGE = 4096 };

/* The device and its blocks, each on pages of its own. */
struct far {
    struct dpt_dev dev; /* first: a struct dpt_dev * is one of these */
    void *block[MAX_BLOCKS];
    size_t nbytes[MAX_BLOCKS];
};

static size_t pages(size_t nbytes)
{
    return (nbytes + PAGE - 1) / PAGE * PAGE;
}

static void protect(struct dpt_dev *dev, int access)
{
    struct far *far = (struct far *)dev;
    for (int i = 0; i < MAX_BLOCKS; i++) {
        DPT_ASSERT(!far->block[i] || mprotect(far->block[i], far->nbytes[i], access) == 0);
    }
}

static enum dpt_status far_alloc(struct dpt_dev *dev, size_t nbytes, const char *what, void **block)
{
    struct far *far = (struct far *)dev;
    int i = 0;
    while (i < MAX_BLOCKS && far->block[i]) {
        i++;
    }
    DPT_ASSERT(i < MAX_BLOCKS);
    *block = mmap(NULL, pages(nbytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    DPT_CHECK(*block != MAP_FAILED, DPT_STATUS_SPACE, "no memory for %s", what);
    far->block[i] = *block;
    far->nbytes[i] = pages(nbytes);
    return DPT_STATUS_OK;
}

static void far_release(struct dpt_dev *dev, void *block, size_t nbytes)
{
    struct far *far = (struct far *)dev;
    for (int i = 0; i < MAX_BLOCKS; i++) {
        if (far->block[i] == block) {
            far->block[i] = NULL;
        }
    }
    munmap(block, pages(nbytes));
}

static enum dpt_status begin(struct dpt_dev *dev)
{
    protect(dev, PROT_READ | PROT_WRITE);
    return DPT_STATUS_OK;
}

static enum dpt_status end(struct dpt_dev *dev)
{
    protect(dev, PROT_NONE);
    return DPT_STATUS_OK;
}

static enum dpt_status far_copy(struct dpt_dev *dev, void *to, const void *from, size_t nbytes)
{
    begin(dev);
    memcpy(to, from, nbytes);
    return end(dev);
}

static enum dpt_status far_zero(struct dpt_dev *dev, void *to, size_t nbytes)
{
    begin(dev);
    memset(to, 0, nbytes);
    return end(dev);
}

static enum dpt_status host_alloc(struct dpt_dev *dev, size_t nbytes, const char *what, void **block)
{
    (void)dev;
    *block = calloc(1, nbytes);
    DPT_CHECK(*block, DPT_STATUS_SPACE, "no memory for %s", what);
    return DPT_STATUS_OK;
}

static void host_release(struct dpt_dev *dev, void *block, size_t nbytes)
{
    (void)dev;
    (void)nbytes;
    free(block);
}

static void far_close(struct dpt_dev *dev)
{
    free(dev);
}

enum dpt_status far_dev(struct dpt_dev **dev)
{
    struct far *far = calloc(1, sizeof *far);
    DPT_CHECK(far, DPT_STATUS_SPACE, "no memory for a device");
    far->dev = (struct dpt_dev){
        .kind = DPT_DEV_KIND_CPU,
        .name = "far",
        .threads = 1,
        .alloc = far_alloc,
        .release = far_release,
        .copy_in = far_copy,
        .copy_out = far_copy,
        .copy = far_copy,
        .zero = far_zero,
        .host_alloc = host_alloc,
        .host_release = host_release,
        .kernel_begin = begin,
        .kernel_end = end,
        .close = far_close,
    };
    *dev = &far->dev;
    return DPT_STATUS_OK;
}
