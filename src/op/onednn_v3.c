/* SPDX-License-Identifier: Apache-2.0 */

/* Descriptions of convolutions for oneDNN 3: primitive descriptors at once; memory descriptors are objects. */

#include "op/onednn_conv.h"

#define TRY DPT_ONEDNN__TRY

/* The operands of a convolution, w in any format. */
struct operands {
    dnnl_memory_desc_t x, y, w, bias; /* bias: NULL for none */
    dnnl_primitive_attr_t attr;
};

static dnnl_status_t attributes(const struct dpt_onednn_conv_spec *spec, dnnl_primitive_attr_t *attr)
{
    TRY(dnnl_primitive_attr_create(attr));
    TRY(dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user));
    if (spec->relu) {
        dnnl_post_ops_t ops;
        TRY(dnnl_post_ops_create(&ops));
        TRY(dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_relu, 0.0f, 0.0f));
        TRY(dnnl_primitive_attr_set_post_ops(*attr, ops));
        TRY(dnnl_post_ops_destroy(ops));
    }
    return dnnl_success;
}

static dnnl_status_t make_operands(const struct dpt_onednn_conv_spec *spec, const struct dpt_onednn__dims *at,
                                   struct operands *operands)
{
    TRY(dnnl_memory_desc_create_with_tag(&operands->x, 4, at->x, dnnl_f32, dnnl_nhwc));
    TRY(dnnl_memory_desc_create_with_tag(&operands->y, 4, at->y, dnnl_f32, dnnl_nhwc));
    TRY(dnnl_memory_desc_create_with_tag(&operands->w, at->w_ndim, at->w, dnnl_f32, dnnl_format_tag_any));
    if (spec->bias) {
        TRY(dnnl_memory_desc_create_with_tag(&operands->bias, 1, at->bias, dnnl_f32, dnnl_x));
    }
    return attributes(spec, &operands->attr);
}

static void destroy_operands(struct operands *operands)
{
    dnnl_memory_desc_destroy(operands->x);
    dnnl_memory_desc_destroy(operands->y);
    dnnl_memory_desc_destroy(operands->w);
    if (operands->bias) {
        dnnl_memory_desc_destroy(operands->bias);
    }
    dnnl_primitive_attr_destroy(operands->attr);
}

/* Steps *desc to the first kernel that is taken; destroys it when there is none. */
static dnnl_status_t choose(const struct dpt_onednn_conv_spec *spec, dpt_onednn__accept_fn *accept,
                            dnnl_primitive_desc_t *desc)
{
    for (;;) {
        const char *name = "";
        dnnl_primitive_desc_query(*desc, dnnl_query_impl_info_str, 0, (void *)&name);
        if (accept(spec, name)) {
            return dnnl_success;
        }
        const dnnl_status_t status = dnnl_primitive_desc_next_impl(*desc);
        if (status != dnnl_success) {
            dnnl_primitive_desc_destroy(*desc);
            *desc = NULL;
            return status == dnnl_last_impl_reached ? dnnl_success : status;
        }
    }
}

dnnl_status_t dpt_onednn__conv_desc(const struct dpt_onednn_conv_spec *spec, dnnl_engine_t engine,
                                    dpt_onednn__accept_fn *accept, dnnl_primitive_desc_t *desc)
{
    *desc = NULL;
    struct dpt_onednn__dims at;
    dpt_onednn__dims(spec, &at);
    struct operands of = {0};
    TRY(make_operands(spec, &at, &of));

    dnnl_primitive_desc_t forward = NULL;
    dnnl_status_t status = dnnl_convolution_forward_primitive_desc_create(
        &forward, engine, dnnl_forward_training, dnnl_convolution_direct, of.x, of.w, of.bias, of.y, at.stride, at.gap,
        at.pad, at.pad, of.attr);
    if (spec->pass == DPT_ONEDNN_PASS_FORWARD || status != dnnl_success) {
        *desc = forward;
    } else {
        /* The backward passes want the forward one as a hint. */
        if (spec->pass == DPT_ONEDNN_PASS_BACKWARD_DATA) {
            status = dnnl_convolution_backward_data_primitive_desc_create(desc, engine, dnnl_convolution_direct, of.x,
                                                                          of.w, of.y, at.stride, at.gap, at.pad, at.pad,
                                                                          forward, of.attr);
        } else {
            status = dnnl_convolution_backward_weights_primitive_desc_create(
                desc, engine, dnnl_convolution_direct, of.x, of.w, of.bias, of.y, at.stride, at.gap, at.pad, at.pad,
                forward, of.attr);
        }
        dnnl_primitive_desc_destroy(forward);
    }
    if (status == dnnl_success) {
        status = choose(spec, accept, desc);
    }
    destroy_operands(&of);
    return status == dnnl_unimplemented ? dnnl_success : status;
}

dnnl_status_t dpt_onednn__weights_desc(const struct dpt_onednn_conv_spec *spec, const_dnnl_primitive_desc_t conv,
                                       dnnl_engine_t engine, dnnl_primitive_desc_t *desc)
{
    *desc = NULL;
    const bool out = spec->pass == DPT_ONEDNN_PASS_BACKWARD_WEIGHTS;
    const dnnl_query_t query = out ? dnnl_query_diff_weights_md : dnnl_query_weights_md;
    const_dnnl_memory_desc_t library = dnnl_primitive_desc_query_md(conv, query, 0);
    struct dpt_onednn__dims at;
    dpt_onednn__dims(spec, &at);
    dnnl_memory_desc_t plain;
    TRY(dnnl_memory_desc_create_with_tag(&plain, at.w_ndim, at.w, dnnl_f32, at.w_plain));
    dnnl_status_t status = dnnl_success;
    if (!dnnl_memory_desc_equal(library, plain)) {
        dnnl_primitive_attr_t attr;
        TRY(dnnl_primitive_attr_create(&attr));
        TRY(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user));
        status = dnnl_reorder_primitive_desc_create(desc, out ? library : plain, engine, out ? plain : library, engine,
                                                    attr);
        dnnl_primitive_attr_destroy(attr);
    }
    dnnl_memory_desc_destroy(plain);
    return status;
}
