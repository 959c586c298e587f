/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between onednn.c and onednn_v2.c or onednn_v3.c: what the two versions of the library say differently. */

#include <oneapi/dnnl/dnnl.h>

#include "op/onednn.h"

#define DPT_ONEDNN__TRY(call)                                                                                          \
    do {                                                                                                               \
        const dnnl_status_t dnnl_try_status = (call);                                                                  \
        if (dnnl_try_status != dnnl_success) {                                                                         \
            return dnnl_try_status;                                                                                    \
        }                                                                                                              \
    } while (0)

/* A convolution in the library's order of dimensions (its order of names, not of memory). */
struct dpt_onednn__dims {
    dnnl_dims_t x, y, w, bias;
    dnnl_dims_t stride, gap; /* gap: dilation - 1 */
    dnnl_dims_t pad, behind; /* before and behind x      */
    int w_ndim;                   /* 5 with groups     */
    dnnl_format_tag_t w_plain;    /* [g]OIHW           */
};

/* Local. */
void dpt_onednn__dims(const struct dpt_onednn_conv *conv, struct dpt_onednn__dims *dims);

/* Whether we take a kernel of the library, by its name; `best`: only if none is likely to be faster. Local. */
bool dpt_onednn__accept_conv(const struct dpt_onednn_conv *conv, const char *kernel, bool best);
bool dpt_onednn__accept_matmul(const char *kernel);

/*
 * The library's description of this operation, weights of convolutions in the format that it prefers, scratch memory
 * from the caller, for the first of its kernels, in its own order of preference, that is accepted. *desc is NULL when
 * there is none. Local.
 */
dnnl_status_t dpt_onednn__conv_desc(const struct dpt_onednn_conv *conv, dnnl_engine_t engine, bool best,
                                    dnnl_primitive_desc_t *desc);
dnnl_status_t dpt_onednn__matmul_desc(const struct dpt_onednn_matmul *matmul, dnnl_engine_t engine,
                                      dnnl_primitive_desc_t *desc);

/*
 * The description of a reorder between OIHW weights and those of `pass`: into the library's format for FORWARD and
 * BACKWARD_DATA, out of it for BACKWARD_WEIGHTS. *desc is NULL when the two formats are the same. Local.
 */
dnnl_status_t dpt_onednn__weights_desc(const struct dpt_onednn_conv *conv, const_dnnl_primitive_desc_t pass,
                                       dnnl_engine_t engine, dnnl_primitive_desc_t *desc);
