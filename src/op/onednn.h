/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * oneDNN behind one small wrapper, so that 2.6 and 3.x look the same: onednn.c with onednn_v2.c or onednn_v3.c (the one
 * thing that differs is how an operation is described), or, where configure found no oneDNN, onednn_none.c, which
 * always answers "not here", so that callers fall back to their own kernels.
 *
 * It promises: F32, or for products BF16 with sums in F32, activations NHWC, weights OIHW in and out (the library's own weight format exists only inside a
 * call, in the caller's scratch memory), in a call no memory beyond some hundred bytes of the library's bookkeeping, and
 * never the library's reference loops, which are hundreds of times slower than the fallback. It knows no ops.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum dpt_onednn_pass {
    DPT_ONEDNN_PASS_FORWARD,          /* x, w, bias? -> y    */
    DPT_ONEDNN_PASS_BACKWARD_DATA,    /* dy, w -> dx         */
    DPT_ONEDNN_PASS_BACKWARD_WEIGHTS, /* x, dy -> dw, dbias? */
};

/* A convolution with all its sizes; pairs are y, x. */
struct dpt_onednn_conv {
    enum dpt_onednn_pass pass;
    bool bias;               /* not BACKWARD_DATA                     */
    int64_t n, c, o, groups; /* samples, channels of x, channels of y */
    int64_t in[2], out[2], kernel[2];
    int64_t stride[2], pad[2], dilation[2];
};

/* A product out[m,n] = a[m,k] b[k,n] + bias[n]; with ta, tb the memory of a, b is that of its transpose. */
struct dpt_onednn_matmul {
    bool ta, tb;
    bool bias;
    bool bf16;   /* a and b hold BF16, and only instructions of the machine for that will do */
    bool narrow; /* out holds BF16, with bf16                                                */
    int64_t m, n, k;
};

/* An operation that is ready to run. */
struct dpt_onednn;

/*
 * Makes one pass of a convolution, or a product. *op is NULL, with OK, where there is no oneDNN or it has no fast kernel
 * for these sizes on this machine. Local. Freed by dpt_onednn_free.
 */
enum dpt_status dpt_onednn_conv(const struct dpt_onednn_conv *conv, struct dpt_onednn **op);
enum dpt_status dpt_onednn_matmul(const struct dpt_onednn_matmul *matmul, struct dpt_onednn **op);

/* Frees it; NULL is fine. Local. */
void dpt_onednn_free(struct dpt_onednn *op);

/* Bytes of scratch memory that dpt_onednn_run needs, for weights in the library's format and its own use. Local. */
size_t dpt_onednn_scratch(const struct dpt_onednn *op);

/* The library's name of the kernel, "brgconv:avx512_core", for logs and tests. Local. */
const char *dpt_onednn_name(const struct dpt_onednn *op);

/*
 * Runs it. Convolution: `a` is x or, for BACKWARD_DATA, dy; `b` is w or, for BACKWARD_WEIGHTS, dy; `out` is y, dx or dw;
 * `bias`, NULL unless asked for, is read by FORWARD and written by BACKWARD_WEIGHTS. Product: as named there. `scratch`
 * is 64-byte aligned. Not from two threads at once on the same op. Local.
 */
enum dpt_status dpt_onednn_run(struct dpt_onednn *op, const void *a, const void *b, float *bias, void *out,
                               void *scratch);
