/* SPDX-License-Identifier: Apache-2.0 */

/* Descriptions for oneDNN 2: first an operation descriptor, then a walk over its primitive descriptors. */

#include "op/onednn_desc.h"

#define TRY DPT_ONEDNN__TRY

static dnnl_status_t attributes(dnnl_primitive_attr_t *attr)
{
    TRY(dnnl_primitive_attr_create(attr));
    TRY(dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user));
    return dnnl_success;
}

/* The first accepted kernel for this operation; a convolution where `conv` is not NULL, else a product. */
static dnnl_status_t choose(const_dnnl_op_desc_t op, dnnl_primitive_attr_t attr, dnnl_engine_t engine,
                            dnnl_primitive_desc_t hint, const struct dpt_onednn_conv *conv, bool best,
                            dnnl_primitive_desc_t *desc)
{
    dnnl_primitive_desc_iterator_t at;
    dnnl_status_t status = dnnl_primitive_desc_iterator_create(&at, op, attr, engine, hint);
    if (status != dnnl_success) {
        return status == dnnl_unimplemented ? dnnl_success : status;
    }
    while (status == dnnl_success && !*desc) {
        const char *name = "";
        *desc = dnnl_primitive_desc_iterator_fetch(at);
        dnnl_primitive_desc_query(*desc, dnnl_query_impl_info_str, 0, (void *)&name);
        if (!(conv ? dpt_onednn__accept_conv(conv, name, best) : dpt_onednn__accept_matmul(name))) {
            dnnl_primitive_desc_destroy(*desc);
            *desc = NULL;
            status = dnnl_primitive_desc_iterator_next(at);
        }
    }
    dnnl_primitive_desc_iterator_destroy(at);
    return status == dnnl_iterator_ends ? dnnl_success : status;
}

/* With the forward pass as the hint that the library wants for a backward one. */
static dnnl_status_t choose_backward(const struct dpt_onednn_conv *conv, const dnnl_convolution_desc_t *forward,
                                     const dnnl_convolution_desc_t *op, dnnl_primitive_attr_t attr,
                                     dnnl_engine_t engine, bool best, dnnl_primitive_desc_t *desc)
{
    dnnl_primitive_desc_t hint;
    dnnl_status_t status = dnnl_primitive_desc_create(&hint, forward, attr, engine, NULL);
    if (status != dnnl_success) {
        return status == dnnl_unimplemented ? dnnl_success : status;
    }
    status = choose(op, attr, engine, hint, conv, best, desc);
    dnnl_primitive_desc_destroy(hint);
    return status;
}

dnnl_status_t dpt_onednn__conv_desc(const struct dpt_onednn_conv *conv, dnnl_engine_t engine, bool best,
                                    dnnl_primitive_desc_t *desc)
{
    *desc = NULL;
    struct dpt_onednn__dims at;
    dpt_onednn__dims(conv, &at);
    dnnl_memory_desc_t x, y, w, b;
    TRY(dnnl_memory_desc_init_by_tag(&x, 4, at.x, dnnl_f32, dnnl_nhwc));
    TRY(dnnl_memory_desc_init_by_tag(&y, 4, at.y, dnnl_f32, dnnl_nhwc));
    TRY(dnnl_memory_desc_init_by_tag(&w, at.w_ndim, at.w, dnnl_f32, dnnl_format_tag_any));
    TRY(dnnl_memory_desc_init_by_tag(&b, 1, at.bias, dnnl_f32, dnnl_x));
    const dnnl_memory_desc_t *bias = conv->bias ? &b : NULL;
    dnnl_convolution_desc_t forward, op;
    TRY(dnnl_dilated_convolution_forward_desc_init(&forward, dnnl_forward_training, dnnl_convolution_direct, &x, &w,
                                                   bias, &y, at.stride, at.gap, at.pad, at.behind));
    dnnl_primitive_attr_t attr;
    TRY(attributes(&attr));
    dnnl_status_t status = dnnl_success;
    switch (conv->pass) {
    case DPT_ONEDNN_PASS_FORWARD:
        status = choose(&forward, attr, engine, NULL, conv, best, desc);
        break;
    case DPT_ONEDNN_PASS_BACKWARD_DATA:
        TRY(dnnl_dilated_convolution_backward_data_desc_init(&op, dnnl_convolution_direct, &x, &w, &y, at.stride,
                                                             at.gap, at.pad, at.behind));
        status = choose_backward(conv, &forward, &op, attr, engine, best, desc);
        break;
    case DPT_ONEDNN_PASS_BACKWARD_WEIGHTS:
        TRY(dnnl_dilated_convolution_backward_weights_desc_init(&op, dnnl_convolution_direct, &x, &w, bias, &y,
                                                                at.stride, at.gap, at.pad, at.behind));
        status = choose_backward(conv, &forward, &op, attr, engine, best, desc);
        break;
    }
    dnnl_primitive_attr_destroy(attr);
    return status;
}

dnnl_status_t dpt_onednn__matmul_desc(const struct dpt_onednn_matmul *matmul, dnnl_engine_t engine,
                                      dnnl_primitive_desc_t *desc)
{
    *desc = NULL;
    const dnnl_dims_t a_dims = {matmul->m, matmul->k}, b_dims = {matmul->k, matmul->n};
    const dnnl_dims_t out_dims = {matmul->m, matmul->n}, bias_dims = {1, matmul->n};
    const dnnl_data_type_t factor = matmul->bf16 ? dnnl_bf16 : dnnl_f32, sum = matmul->narrow ? dnnl_bf16 : dnnl_f32;
    dnnl_memory_desc_t a, b, out, bias;
    TRY(dnnl_memory_desc_init_by_tag(&a, 2, a_dims, factor, matmul->ta ? dnnl_ba : dnnl_ab));
    TRY(dnnl_memory_desc_init_by_tag(&b, 2, b_dims, factor, matmul->tb ? dnnl_ba : dnnl_ab));
    TRY(dnnl_memory_desc_init_by_tag(&out, 2, out_dims, sum, dnnl_ab));
    TRY(dnnl_memory_desc_init_by_tag(&bias, 2, bias_dims, dnnl_f32, dnnl_ab));
    dnnl_matmul_desc_t op;
    TRY(dnnl_matmul_desc_init(&op, &a, &b, matmul->bias ? &bias : NULL, &out));
    dnnl_primitive_attr_t attr;
    TRY(attributes(&attr));
    const dnnl_status_t status = choose(&op, attr, engine, NULL, NULL, false, desc);
    dnnl_primitive_attr_destroy(attr);
    return status;
}

dnnl_status_t dpt_onednn__weights_desc(const struct dpt_onednn_conv *conv, const_dnnl_primitive_desc_t pass,
                                       dnnl_engine_t engine, dnnl_primitive_desc_t *desc)
{
    *desc = NULL;
    const bool out = conv->pass == DPT_ONEDNN_PASS_BACKWARD_WEIGHTS;
    const dnnl_query_t query = out ? dnnl_query_diff_weights_md : dnnl_query_weights_md;
    const dnnl_memory_desc_t *library = dnnl_primitive_desc_query_md(pass, query, 0);
    struct dpt_onednn__dims at;
    dpt_onednn__dims(conv, &at);
    dnnl_memory_desc_t plain;
    TRY(dnnl_memory_desc_init_by_tag(&plain, at.w_ndim, at.w, dnnl_f32, at.w_plain));
    if (dnnl_memory_desc_equal(library, &plain)) {
        return dnnl_success;
    }
    dnnl_primitive_attr_t attr;
    TRY(attributes(&attr));
    const dnnl_status_t status = dnnl_reorder_primitive_desc_create(desc, out ? library : &plain, engine,
                                                                    out ? &plain : library, engine, attr);
    dnnl_primitive_attr_destroy(attr);
    return status;
}
