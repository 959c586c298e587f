/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * dev/: a device: memory, copies, queues and events behind one table of functions. cpu.c is this machine's memory and
 * cores; null.c has sizes but no memory, so that a plan for a thousand ranks can be made on a laptop; cuda.c is a card
 * of CUDA, cuda_stub.c stands for it in builds without. It promises 64-byte
 * aligned memory (4096 for large blocks) and exact counting of what is allocated. It knows no tensors and runs no kernels:
 * those are in op/. It can say how fast its arithmetic is at best (peak.c), so that a step can be held against that.
 *
 * The memory of a device may be its own ("apart"): the host gives and takes bytes by copies only, and whoever uses a device
 * goes through the functions below, which are plain memory functions where it is not. Copies, zeroing and kernels stand in
 * one line: they are done in the order in which they were asked for, and dpt_dev_wait and dpt_dev_copy_out wait for all of
 * them. Beside the line go copies from and to pinned memory of the host (dpt_dev_copy_out_beside, _in_beside, _in_ahead),
 * each of which reaches a mark when it is done; so what ranks exchange, and the next samples, travel while kernels compute.
 * A device that is not apart has no marks, and there everything is done when it is asked for.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct dpt_dev_tape; /* recorded work */
struct dpt_dev_mark; /* what a copy reaches when it is done; NULL where it is done at once */

enum dpt_dev_kind { DPT_DEV_KIND_CPU, DPT_DEV_KIND_NULL, DPT_DEV_KIND_CUDA };

/* Who computes the convolutions of a card: its library where it is found, or has to be, or dpt itself. */
enum dpt_dev_convolution { DPT_DEV_CONVOLUTION_AUTO, DPT_DEV_CONVOLUTION_OWN, DPT_DEV_CONVOLUTION_CUDNN };

struct dpt_dev {
    enum dpt_dev_kind kind;
    char name[128];      /* "cpu: Intel(R) Xeon(R) Processor"  */
    int threads;         /* compute threads of a rank          */
    bool tf32;           /* set by the owner: products of F32 may round their factors to 11 bits, if that is fast */
    enum dpt_dev_convolution convolution; /* set by the owner */
    char convolutions[160]; /* of a card, once one was prepared: "cuDNN 9.19.0", or "kernels of dpt" and why */
    uint64_t nbytes;     /* allocated now                      */
    uint64_t nbytes_peak;

    /* nbytes zeroed bytes, or DPT_STATUS_SPACE with what was asked and what is free. */
    enum dpt_status (*alloc)(struct dpt_dev *dev, size_t nbytes, const char *what, void **block);
    void (*release)(struct dpt_dev *dev, void *block, size_t nbytes);
    /* Optional, all or none: NULL means that host and device memory are the same. */
    enum dpt_status (*copy_in)(struct dpt_dev *dev, void *to, const void *from_host, size_t nbytes);
    enum dpt_status (*copy_out)(struct dpt_dev *dev, void *to_host, const void *from, size_t nbytes);
    enum dpt_status (*copy)(struct dpt_dev *dev, void *to, const void *from, size_t nbytes);
    enum dpt_status (*zero)(struct dpt_dev *dev, void *to, size_t nbytes);
    enum dpt_status (*host_alloc)(struct dpt_dev *dev, size_t nbytes, const char *what, void **block);
    void (*host_release)(struct dpt_dev *dev, void *block, size_t nbytes);
    /* Optional, all or none: NULL means that copies are done when they are asked for. */
    enum dpt_status (*mark_new)(struct dpt_dev *dev, struct dpt_dev_mark **mark);
    void (*mark_free)(struct dpt_dev *dev, struct dpt_dev_mark *mark);
    enum dpt_status (*mark_wait)(struct dpt_dev *dev, struct dpt_dev_mark *mark);
    enum dpt_status (*copy_in_later)(struct dpt_dev *dev, void *to, const void *from_host, size_t nbytes,
                                     struct dpt_dev_mark *mark);
    enum dpt_status (*copy_out_later)(struct dpt_dev *dev, void *to_host, const void *from, size_t nbytes);
    enum dpt_status (*copy_in_beside)(struct dpt_dev *dev, void *to, const void *from_host, size_t nbytes);
    enum dpt_status (*copy_out_beside)(struct dpt_dev *dev, void *to_host, const void *from, size_t nbytes,
                                       struct dpt_dev_mark *mark);
    enum dpt_status (*copy_in_ahead)(struct dpt_dev *dev, void *to, const void *from_host, size_t nbytes,
                                     struct dpt_dev_mark *after, struct dpt_dev_mark *mark);
    enum dpt_status (*mark_line)(struct dpt_dev *dev, struct dpt_dev_mark *mark);
    enum dpt_status (*follow)(struct dpt_dev *dev, struct dpt_dev_mark *mark);
    enum dpt_status (*wait)(struct dpt_dev *dev);
    /* Optional, all or none: what stands in line is recorded instead of done, and then done as often as it is played. */
    enum dpt_status (*record_begin)(struct dpt_dev *dev);
    enum dpt_status (*record_end)(struct dpt_dev *dev, struct dpt_dev_tape **tape);
    enum dpt_status (*play)(struct dpt_dev *dev, struct dpt_dev_tape *tape);
    void (*tape_free)(struct dpt_dev *dev, struct dpt_dev_tape *tape);
    enum dpt_status (*step)(struct dpt_dev *dev, uint64_t step);
    /* Optional: called before and after each kernel; _end says when it could not be started. */
    enum dpt_status (*kernel_begin)(struct dpt_dev *dev);
    enum dpt_status (*kernel_end)(struct dpt_dev *dev);
    void (*close)(struct dpt_dev *dev);
};

/* This machine's cores, with `threads` compute threads for BLAS and oneDNN. Local. Closed by dpt_dev_close. */
enum dpt_status dpt_dev_cpu(int threads, struct dpt_dev **dev);

/* A device with sizes and no memory. Local. */
enum dpt_status dpt_dev_null(struct dpt_dev **dev);

/* What a card says of itself. */
enum { DPT_DEV_ID = 16 };
struct dpt_dev_info {
    char name[128];
    unsigned char id[DPT_DEV_ID];   /* its own in the whole world, and the same for whoever sees it */
    uint64_t nbytes;                /* of its memory               */
    int major, minor;               /* compute capability          */
    int multiprocessors;
    int driver_major, driver_minor; /* the newest CUDA that the driver runs */
};

/* Cards of CUDA that this process sees, from 0. *why: "", or the reason why there is none. Needs no driver. Local. */
int dpt_dev_cuda_count(const char **why);

/* DPT_STATUS_USAGE for a card that is not there, DPT_STATUS_FAILED when it does not answer. Local. */
enum dpt_status dpt_dev_cuda_info(int card, struct dpt_dev_info *info);

/* Opens a card for this thread. The statuses of _info, and DPT_STATUS_FAILED without cuBLASLt. Local. */
enum dpt_status dpt_dev_cuda(int card, struct dpt_dev **dev);

void dpt_dev_close(struct dpt_dev *dev);

/*
 * dev->alloc and dev->release with counting; no bytes are a NULL block, and so is every block of the null device.
 * Local.
 */
enum dpt_status dpt_dev_alloc(struct dpt_dev *dev, size_t nbytes, const char *what, void **block);
void dpt_dev_release(struct dpt_dev *dev, void *block, size_t nbytes);

/* True where the host may not touch the device's memory. Local. */
static inline bool dpt_dev_is_apart(const struct dpt_dev *dev)
{
    return dev->copy_in != NULL;
}

/*
 * Copies from the host, to the host, and within the device; zeroes. _copy_in returns when `from_host` may be written again,
 * _copy_out when the bytes are there. DPT_STATUS_FAILED when the device failed, then or earlier. Local.
 */
enum dpt_status dpt_dev_copy_in(struct dpt_dev *dev, void *to, const void *from_host, size_t nbytes);
enum dpt_status dpt_dev_copy_out(struct dpt_dev *dev, void *to_host, const void *from, size_t nbytes);
enum dpt_status dpt_dev_copy(struct dpt_dev *dev, void *to, const void *from, size_t nbytes);
enum dpt_status dpt_dev_zero(struct dpt_dev *dev, void *to, size_t nbytes);

/*
 * Zeroed memory of the host from and to which the device copies fastest; it counts as allocated only where that is the
 * device's own memory. No bytes are a NULL block. DPT_STATUS_SPACE. Local.
 */
enum dpt_status dpt_dev_host_alloc(struct dpt_dev *dev, size_t nbytes, const char *what, void **block);
void dpt_dev_host_release(struct dpt_dev *dev, void *block, size_t nbytes);

/* A mark that is reached. *mark is NULL for a device that has none. DPT_STATUS_FAILED. Local. */
enum dpt_status dpt_dev_mark_new(struct dpt_dev *dev, struct dpt_dev_mark **mark);
void dpt_dev_mark_free(struct dpt_dev *dev, struct dpt_dev_mark *mark);

/* Returns when the mark is reached. Any thread. DPT_STATUS_FAILED. Local wait. */
enum dpt_status dpt_dev_mark_wait(struct dpt_dev *dev, struct dpt_dev_mark *mark);

/*
 * Copies in line that the host does not wait for, from and to memory of dpt_dev_host_alloc: of _in the bytes must stay
 * until `mark` is reached, of _out they are there after the next dpt_dev_wait. DPT_STATUS_FAILED. Local.
 */
enum dpt_status dpt_dev_copy_in_later(struct dpt_dev *dev, void *to, const void *from_host, size_t nbytes,
                                      struct dpt_dev_mark *mark);
enum dpt_status dpt_dev_copy_out_later(struct dpt_dev *dev, void *to_host, const void *from, size_t nbytes);

/*
 * Copies beside the line, from and to memory of dpt_dev_host_alloc. _out comes behind all that was asked for before it;
 * what is asked for later may overtake it, and must not write to `from` before `mark` is reached. _in waits for nothing
 * that stands in line, so that none of that may use `to`; what is asked for later comes behind it, also on its way out.
 * DPT_STATUS_FAILED. Local.
 */
enum dpt_status dpt_dev_copy_out_beside(struct dpt_dev *dev, void *to_host, const void *from, size_t nbytes,
                                        struct dpt_dev_mark *mark);
enum dpt_status dpt_dev_copy_in_beside(struct dpt_dev *dev, void *to, const void *from_host, size_t nbytes);

/*
 * A copy beside the line, from memory of dpt_dev_host_alloc, that comes behind what reaches `after` and what was copied so
 * before; nothing in line waits for it. `mark` is reached when it is done. DPT_STATUS_FAILED. Local.
 */
enum dpt_status dpt_dev_copy_in_ahead(struct dpt_dev *dev, void *to, const void *from_host, size_t nbytes,
                                      struct dpt_dev_mark *after, struct dpt_dev_mark *mark);

/* The mark is reached when all is done that stands in line now. DPT_STATUS_FAILED. Local. */
enum dpt_status dpt_dev_mark_line(struct dpt_dev *dev, struct dpt_dev_mark *mark);

/* What is asked for in line from now on comes behind what reaches the mark. DPT_STATUS_FAILED. Local. */
enum dpt_status dpt_dev_follow(struct dpt_dev *dev, struct dpt_dev_mark *mark);

/* Returns when all that stands in line is done. DPT_STATUS_FAILED when the device failed, then or earlier. Local wait. */
enum dpt_status dpt_dev_wait(struct dpt_dev *dev);

/* Whether the device records. Local. */
static inline bool dpt_dev_records(const struct dpt_dev *dev)
{
    return dev->record_begin != NULL;
}

/*
 * From _begin to _end, which is called after failures between them too, what is asked for in line is recorded and not done:
 * kernels, copies within the device and zeroing, _copy_out_later. Pointers and numbers are as they were then. _play does it
 * in line; the tape stays the caller's, for _free. Not while another thread asks the device for anything but copies beside
 * the line. DPT_STATUS_FAILED: the device does not record this; nothing of it was done. Local.
 */
enum dpt_status dpt_dev_record_begin(struct dpt_dev *dev);
enum dpt_status dpt_dev_record_end(struct dpt_dev *dev, struct dpt_dev_tape **tape);
enum dpt_status dpt_dev_play(struct dpt_dev *dev, struct dpt_dev_tape *tape);
void dpt_dev_tape_free(struct dpt_dev *dev, struct dpt_dev_tape *tape);

/* The step from which the next kernels draw random numbers, recorded ones too, where the device keeps it. Local. */
enum dpt_status dpt_dev_step(struct dpt_dev *dev, uint64_t step);

/* Before and after a kernel on the device's memory; NULL is this machine. Local. */
enum dpt_status dpt_dev_kernel_begin(struct dpt_dev *dev);
enum dpt_status dpt_dev_kernel_end(struct dpt_dev *dev);

/*
 * Measures the best fp32 multiply-adds that the device's threads do together, in flops per second (two for each), taking
 * about `seconds`; 0.03 is enough. More threads than cores are counted as if each had a core. 0 for a device that does
 * not compute. DPT_STATUS_SPACE, or DPT_STATUS_FAILED when the system gives no threads. Local.
 */
enum dpt_status dpt_dev_peak(struct dpt_dev *dev, double seconds, double *flops_per_s);
