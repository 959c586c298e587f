/* SPDX-License-Identifier: Apache-2.0 */
#include "dev/dev.h"

#include <string.h>

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

enum dpt_status dpt_dev_copy_in(struct dpt_dev *dev, void *to, const void *from_host, size_t nbytes)
{
    if (nbytes > 0 && dpt_dev_is_apart(dev)) {
        return dev->copy_in(dev, to, from_host, nbytes);
    }
    if (nbytes > 0) {
        memcpy(to, from_host, nbytes);
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_dev_copy_out(struct dpt_dev *dev, void *to_host, const void *from, size_t nbytes)
{
    if (nbytes > 0 && dpt_dev_is_apart(dev)) {
        return dev->copy_out(dev, to_host, from, nbytes);
    }
    if (nbytes > 0) {
        memcpy(to_host, from, nbytes);
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_dev_copy(struct dpt_dev *dev, void *to, const void *from, size_t nbytes)
{
    if (nbytes > 0 && dpt_dev_is_apart(dev)) {
        return dev->copy(dev, to, from, nbytes);
    }
    if (nbytes > 0) {
        memcpy(to, from, nbytes);
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_dev_zero(struct dpt_dev *dev, void *to, size_t nbytes)
{
    if (nbytes > 0 && dpt_dev_is_apart(dev)) {
        return dev->zero(dev, to, nbytes);
    }
    if (nbytes > 0) {
        memset(to, 0, nbytes);
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_dev_host_alloc(struct dpt_dev *dev, size_t nbytes, const char *what, void **block)
{
    *block = NULL;
    if (!dpt_dev_is_apart(dev)) {
        return dpt_dev_alloc(dev, nbytes, what, block);
    }
    return nbytes > 0 ? dev->host_alloc(dev, nbytes, what, block) : DPT_STATUS_OK;
}

void dpt_dev_host_release(struct dpt_dev *dev, void *block, size_t nbytes)
{
    if (!dpt_dev_is_apart(dev)) {
        dpt_dev_release(dev, block, nbytes);
    } else if (nbytes > 0) {
        dev->host_release(dev, block, nbytes);
    }
}

enum dpt_status dpt_dev_mark_new(struct dpt_dev *dev, struct dpt_dev_mark **mark)
{
    *mark = NULL;
    return dev->mark_new ? dev->mark_new(dev, mark) : DPT_STATUS_OK;
}

void dpt_dev_mark_free(struct dpt_dev *dev, struct dpt_dev_mark *mark)
{
    if (mark) {
        dev->mark_free(dev, mark);
    }
}

enum dpt_status dpt_dev_mark_wait(struct dpt_dev *dev, struct dpt_dev_mark *mark)
{
    return mark ? dev->mark_wait(dev, mark) : DPT_STATUS_OK;
}

enum dpt_status dpt_dev_copy_in_later(struct dpt_dev *dev, void *to, const void *from_host, size_t nbytes,
                                      struct dpt_dev_mark *mark)
{
    return nbytes > 0 && dev->copy_in_later ? dev->copy_in_later(dev, to, from_host, nbytes, mark)
                                            : dpt_dev_copy_in(dev, to, from_host, nbytes);
}

enum dpt_status dpt_dev_copy_out_later(struct dpt_dev *dev, void *to_host, const void *from, size_t nbytes)
{
    return nbytes > 0 && dev->copy_out_later ? dev->copy_out_later(dev, to_host, from, nbytes)
                                             : dpt_dev_copy_out(dev, to_host, from, nbytes);
}

enum dpt_status dpt_dev_copy_in_beside(struct dpt_dev *dev, void *to, const void *from_host, size_t nbytes)
{
    return nbytes > 0 && dev->copy_in_beside ? dev->copy_in_beside(dev, to, from_host, nbytes)
                                             : dpt_dev_copy_in(dev, to, from_host, nbytes);
}

enum dpt_status dpt_dev_copy_out_beside(struct dpt_dev *dev, void *to_host, const void *from, size_t nbytes,
                                        struct dpt_dev_mark *mark)
{
    /* Of no bytes too: what comes behind its mark comes behind all that was asked for. */
    return dev->copy_out_beside ? dev->copy_out_beside(dev, to_host, from, nbytes, mark)
                                : dpt_dev_copy_out(dev, to_host, from, nbytes);
}

enum dpt_status dpt_dev_copy_in_ahead(struct dpt_dev *dev, void *to, const void *from_host, size_t nbytes,
                                      struct dpt_dev_mark *after, struct dpt_dev_mark *mark)
{
    return nbytes > 0 && dev->copy_in_ahead ? dev->copy_in_ahead(dev, to, from_host, nbytes, after, mark)
                                            : dpt_dev_copy_in(dev, to, from_host, nbytes);
}

enum dpt_status dpt_dev_mark_line(struct dpt_dev *dev, struct dpt_dev_mark *mark)
{
    return mark ? dev->mark_line(dev, mark) : DPT_STATUS_OK;
}

enum dpt_status dpt_dev_follow(struct dpt_dev *dev, struct dpt_dev_mark *mark)
{
    return mark ? dev->follow(dev, mark) : DPT_STATUS_OK;
}

enum dpt_status dpt_dev_wait(struct dpt_dev *dev)
{
    return dev->wait ? dev->wait(dev) : DPT_STATUS_OK;
}

enum dpt_status dpt_dev_record_begin(struct dpt_dev *dev)
{
    return dev->record_begin(dev);
}

enum dpt_status dpt_dev_record_end(struct dpt_dev *dev, struct dpt_dev_tape **tape)
{
    *tape = NULL;
    return dev->record_end(dev, tape);
}

enum dpt_status dpt_dev_play(struct dpt_dev *dev, struct dpt_dev_tape *tape)
{
    return dev->play(dev, tape);
}

void dpt_dev_tape_free(struct dpt_dev *dev, struct dpt_dev_tape *tape)
{
    if (tape) {
        dev->tape_free(dev, tape);
    }
}

enum dpt_status dpt_dev_step(struct dpt_dev *dev, uint64_t step)
{
    return dev->step ? dev->step(dev, step) : DPT_STATUS_OK;
}

enum dpt_status dpt_dev_kernel_begin(struct dpt_dev *dev)
{
    return dev && dev->kernel_begin ? dev->kernel_begin(dev) : DPT_STATUS_OK;
}

enum dpt_status dpt_dev_kernel_end(struct dpt_dev *dev)
{
    return dev && dev->kernel_end ? dev->kernel_end(dev) : DPT_STATUS_OK;
}
