/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * dev/: a device: memory, copies, queues and events behind one table of functions. cpu.c is this machine's memory and
 * cores; null.c has sizes but no memory, so that a plan for a thousand ranks can be made on a laptop; cuda.c or
 * cuda_stub.c will be the GPU. It promises 64-byte aligned memory (4096 for large blocks) and exact counting of what
 * is allocated. It knows no tensors and runs no kernels: those are in op/. It
 * can say how fast its arithmetic is at best (peak.c), so that a step can be held against that.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum dpt_dev_kind { DPT_DEV_KIND_CPU, DPT_DEV_KIND_NULL, DPT_DEV_KIND_CUDA };

struct dpt_dev {
    enum dpt_dev_kind kind;
    char name[128];      /* "cpu: Intel(R) Xeon(R) Processor"  */
    int threads;         /* compute threads of a rank          */
    uint64_t nbytes;     /* allocated now                      */
    uint64_t nbytes_peak;

    /* nbytes zeroed bytes, or DPT_STATUS_SPACE with what was asked and what is free. */
    enum dpt_status (*alloc)(struct dpt_dev *dev, size_t nbytes, const char *what, void **block);
    void (*release)(struct dpt_dev *dev, void *block, size_t nbytes);
    /* Optional: NULL means that host and device memory are the same. */
    enum dpt_status (*copy_in)(struct dpt_dev *dev, void *to, const void *from_host, size_t nbytes);
    enum dpt_status (*copy_out)(struct dpt_dev *dev, void *to_host, const void *from, size_t nbytes);
    void (*close)(struct dpt_dev *dev);
};

/* This machine's cores, with `threads` compute threads for BLAS and oneDNN. Local. Closed by dpt_dev_close. */
enum dpt_status dpt_dev_cpu(int threads, struct dpt_dev **dev);

/* A device with sizes and no memory. Local. */
enum dpt_status dpt_dev_null(struct dpt_dev **dev);

void dpt_dev_close(struct dpt_dev *dev);

/*
 * dev->alloc and dev->release with counting; no bytes are a NULL block, and so is every block of the null device.
 * Local.
 */
enum dpt_status dpt_dev_alloc(struct dpt_dev *dev, size_t nbytes, const char *what, void **block);
void dpt_dev_release(struct dpt_dev *dev, void *block, size_t nbytes);

/*
 * Measures the best fp32 multiply-adds that the device's threads do together, in flops per second (two for each), taking
 * about `seconds`; 0.03 is enough. More threads than cores are counted as if each had a core. 0 for a device that does
 * not compute. DPT_STATUS_SPACE, or DPT_STATUS_FAILED when the system gives no threads. Local.
 */
enum dpt_status dpt_dev_peak(struct dpt_dev *dev, double seconds, double *flops_per_s);
