/* SPDX-License-Identifier: Apache-2.0 */

/* Descriptions of convolutions for oneDNN 2: first an operation descriptor, then a primitive descriptor. */

#include "op/onednn_conv.h"

#define TRY DPT_ONEDNN__TRY

static dnnl_status_t attributes(const struct dpt_onednn_conv_spec *spec, dnnl_primitive_attr_t *attr)
{
    TRY(dnnl_primitive_attr_create(attr));
    TRY(dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user));
    if (spec->relu) {
        dnnl_post_ops_t ops;
        TRY(dnnl_post_ops_create(&ops));
        TRY(dnnl_post_ops_append_eltwise(ops, 1.0f, dnnl_eltwise_relu, 0.0f, 0.0f));
        TRY(dnnl_primitive_attr_set_post_ops(*attr, ops));
        TRY(dnnl_post_ops_destroy(ops));
    }
    return dnnl_success;
}

/* Walks the kernels for this operation. */
static dnnl_status_t choose(const struct dpt_onednn_conv_spec *spec, const dnnl_convolution_desc_t *op,
                            dnnl_primitive_attr_t attr, dnnl_engine_t engine, dnnl_primitive_desc_t hint,
                            dpt_onednn__accept_fn *accept, dnnl_primitive_desc_t *desc)
{
    *desc = NULL;
    dnnl_primitive_desc_iterator_t at;
    dnnl_status_t status = dnnl_primitive_desc_iterator_create(&at, op, attr, engine, hint);
    if (status != dnnl_success) {
        return status == dnnl_unimplemented ? dnnl_success : status;
    }
    while (status == dnnl_success && !*desc) {
        const char *name = "";
        *desc = dnnl_primitive_desc_iterator_fetch(at);
        dnnl_primitive_desc_query(*desc, dnnl_query_impl_info_str, 0, (void *)&name);
        if (!accept(spec, name)) {
            dnnl_primitive_desc_destroy(*desc);
            *desc = NULL;
            status = dnnl_primitive_desc_iterator_next(at);
        }
    }
    dnnl_primitive_desc_iterator_destroy(at);
    return status == dnnl_iterator_ends ? dnnl_success : status;
}

dnnl_status_t dpt_onednn__conv_desc(const struct dpt_onednn_conv_spec *spec, dnnl_engine_t engine,
                                    dpt_onednn__accept_fn *accept, dnnl_primitive_desc_t *desc)
{
    *desc = NULL;
    struct dpt_onednn__dims at;
    dpt_onednn__dims(spec, &at);
    dnnl_memory_desc_t x, y, w, bias;
    TRY(dnnl_memory_desc_init_by_tag(&x, 4, at.x, dnnl_f32, dnnl_nhwc));
    TRY(dnnl_memory_desc_init_by_tag(&y, 4, at.y, dnnl_f32, dnnl_nhwc));
    TRY(dnnl_memory_desc_init_by_tag(&w, at.w_ndim, at.w, dnnl_f32, dnnl_format_tag_any));
    TRY(dnnl_memory_desc_init_by_tag(&bias, 1, at.bias, dnnl_f32, dnnl_x));
    dnnl_primitive_attr_t attr;
    TRY(attributes(spec, &attr));

    dnnl_convolution_desc_t op;
    TRY(dnnl_dilated_convolution_forward_desc_init(&op, dnnl_forward_training, dnnl_convolution_direct, &x, &w,
                                                   spec->bias ? &bias : NULL, &y, at.stride, at.gap, at.pad, at.pad));
    dnnl_status_t status;
    if (spec->pass == DPT_ONEDNN_PASS_FORWARD) {
        status = choose(spec, &op, attr, engine, NULL, accept, desc);
    } else {
        /* The backward passes want the forward one as a hint. */
        dnnl_primitive_desc_t forward;
        status = dnnl_primitive_desc_create(&forward, &op, attr, engine, NULL);
        if (status == dnnl_success) {
            if (spec->pass == DPT_ONEDNN_PASS_BACKWARD_DATA) {
                TRY(dnnl_dilated_convolution_backward_data_desc_init(&op, dnnl_convolution_direct, &x, &w, &y,
                                                                     at.stride, at.gap, at.pad, at.pad));
            } else {
                TRY(dnnl_dilated_convolution_backward_weights_desc_init(&op, dnnl_convolution_direct, &x, &w,
                                                                        spec->bias ? &bias : NULL, &y, at.stride,
                                                                        at.gap, at.pad, at.pad));
            }
            status = choose(spec, &op, attr, engine, forward, accept, desc);
            dnnl_primitive_desc_destroy(forward);
        }
    }
    dnnl_primitive_attr_destroy(attr);
    return status == dnnl_unimplemented ? dnnl_success : status;
}

dnnl_status_t dpt_onednn__weights_desc(const struct dpt_onednn_conv_spec *spec, const_dnnl_primitive_desc_t conv,
                                       dnnl_engine_t engine, dnnl_primitive_desc_t *desc)
{
    *desc = NULL;
    const bool out = spec->pass == DPT_ONEDNN_PASS_BACKWARD_WEIGHTS;
    const dnnl_query_t query = out ? dnnl_query_diff_weights_md : dnnl_query_weights_md;
    const dnnl_memory_desc_t *library = dnnl_primitive_desc_query_md(conv, query, 0);
    struct dpt_onednn__dims at;
    dpt_onednn__dims(spec, &at);
    dnnl_memory_desc_t plain;
    TRY(dnnl_memory_desc_init_by_tag(&plain, at.w_ndim, at.w, dnnl_f32, at.w_plain));
    if (dnnl_memory_desc_equal(library, &plain)) {
        return dnnl_success;
    }
    dnnl_primitive_attr_t attr;
    TRY(dnnl_primitive_attr_create(&attr));
    TRY(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user));
    const dnnl_status_t status = dnnl_reorder_primitive_desc_create(desc, out ? library : &plain, engine,
                                                                    out ? &plain : library, engine, attr);
    dnnl_primitive_attr_destroy(attr);
    return status;
}
