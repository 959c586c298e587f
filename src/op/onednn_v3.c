/* SPDX-License-Identifier: Apache-2.0 */

/* Descriptions for oneDNN 3: primitive descriptors at once; memory descriptors are objects. */

#include "op/onednn_desc.h"

#define TRY DPT_ONEDNN__TRY

/* Operands x, w, bias (NULL for none) and y of a convolution, or a, b, bias and out of a product. */
struct operands {
    dnnl_memory_desc_t x, w, bias, y;
    dnnl_primitive_attr_t attr;
};

static dnnl_status_t attributes(dnnl_primitive_attr_t *attr)
{
    TRY(dnnl_primitive_attr_create(attr));
    TRY(dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user));
    return dnnl_success;
}

static dnnl_status_t conv_operands(const struct dpt_onednn_conv *conv, const struct dpt_onednn__dims *at,
                                   struct operands *of)
{
    TRY(dnnl_memory_desc_create_with_tag(&of->x, 4, at->x, dnnl_f32, dnnl_nhwc));
    TRY(dnnl_memory_desc_create_with_tag(&of->y, 4, at->y, dnnl_f32, dnnl_nhwc));
    TRY(dnnl_memory_desc_create_with_tag(&of->w, at->w_ndim, at->w, dnnl_f32, dnnl_format_tag_any));
    if (conv->bias) {
        TRY(dnnl_memory_desc_create_with_tag(&of->bias, 1, at->bias, dnnl_f32, dnnl_x));
    }
    return attributes(&of->attr);
}

static dnnl_status_t matmul_operands(const struct dpt_onednn_matmul *matmul, struct operands *of)
{
    const dnnl_dims_t a_dims = {matmul->m, matmul->k}, b_dims = {matmul->k, matmul->n};
    const dnnl_dims_t out_dims = {matmul->m, matmul->n}, bias_dims = {1, matmul->n};
    const dnnl_data_type_t factor = matmul->bf16 ? dnnl_bf16 : dnnl_f32, sum = matmul->narrow ? dnnl_bf16 : dnnl_f32;
    TRY(dnnl_memory_desc_create_with_tag(&of->x, 2, a_dims, factor, matmul->ta ? dnnl_ba : dnnl_ab));
    TRY(dnnl_memory_desc_create_with_tag(&of->w, 2, b_dims, factor, matmul->tb ? dnnl_ba : dnnl_ab));
    TRY(dnnl_memory_desc_create_with_tag(&of->y, 2, out_dims, sum, dnnl_ab));
    if (matmul->bias) {
        TRY(dnnl_memory_desc_create_with_tag(&of->bias, 2, bias_dims, dnnl_f32, dnnl_ab));
    }
    return attributes(&of->attr);
}

static void destroy_operands(struct operands *of)
{
    dnnl_memory_desc_destroy(of->x);
    dnnl_memory_desc_destroy(of->y);
    dnnl_memory_desc_destroy(of->w);
    if (of->bias) {
        dnnl_memory_desc_destroy(of->bias);
    }
    dnnl_primitive_attr_destroy(of->attr);
}

/* Steps *desc to the first accepted kernel, a convolution's where `conv` is not NULL; NULL when there is none. */
static dnnl_status_t choose(const struct dpt_onednn_conv *conv, bool best, dnnl_primitive_desc_t *desc)
{
    for (;;) {
        const char *name = "";
        dnnl_primitive_desc_query(*desc, dnnl_query_impl_info_str, 0, (void *)&name);
        if (conv ? dpt_onednn__accept_conv(conv, name, best) : dpt_onednn__accept_matmul(name)) {
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

/* The kernel for this pass. The backward ones want the forward one as a hint, for as long as they are walked. */
static dnnl_status_t describe_pass(const struct dpt_onednn_conv *conv, const struct dpt_onednn__dims *at,
                                   const struct operands *of, dnnl_engine_t engine, bool best,
                                   dnnl_primitive_desc_t *desc)
{
    dnnl_primitive_desc_t forward;
    TRY(dnnl_convolution_forward_primitive_desc_create(&forward, engine, dnnl_forward_training, dnnl_convolution_direct,
                                                       of->x, of->w, of->bias, of->y, at->stride, at->gap, at->pad,
                                                       at->behind, of->attr));
    if (conv->pass == DPT_ONEDNN_PASS_FORWARD) {
        *desc = forward;
        return choose(conv, best, desc);
    }
    dnnl_status_t status;
    if (conv->pass == DPT_ONEDNN_PASS_BACKWARD_DATA) {
        status = dnnl_convolution_backward_data_primitive_desc_create(desc, engine, dnnl_convolution_direct, of->x,
                                                                      of->w, of->y, at->stride, at->gap, at->pad,
                                                                      at->behind, forward, of->attr);
    } else {
        status = dnnl_convolution_backward_weights_primitive_desc_create(
            desc, engine, dnnl_convolution_direct, of->x, of->w, of->bias, of->y, at->stride, at->gap, at->pad,
            at->behind, forward, of->attr);
    }
    status = status == dnnl_success ? choose(conv, best, desc) : status;
    dnnl_primitive_desc_destroy(forward);
    return status;
}

dnnl_status_t dpt_onednn__conv_desc(const struct dpt_onednn_conv *conv, dnnl_engine_t engine, bool best,
                                    dnnl_primitive_desc_t *desc)
{
    *desc = NULL;
    struct dpt_onednn__dims at;
    dpt_onednn__dims(conv, &at);
    struct operands of = {0};
    TRY(conv_operands(conv, &at, &of));
    const dnnl_status_t status = describe_pass(conv, &at, &of, engine, best, desc);
    destroy_operands(&of);
    return status == dnnl_unimplemented ? dnnl_success : status;
}

dnnl_status_t dpt_onednn__matmul_desc(const struct dpt_onednn_matmul *matmul, dnnl_engine_t engine,
                                      dnnl_primitive_desc_t *desc)
{
    *desc = NULL;
    struct operands of = {0};
    TRY(matmul_operands(matmul, &of));
    dnnl_status_t status = dnnl_matmul_primitive_desc_create(desc, engine, of.x, of.w, of.bias, of.y, of.attr);
    if (status == dnnl_success) {
        status = choose(NULL, false, desc);
    }
    destroy_operands(&of);
    return status == dnnl_unimplemented ? dnnl_success : status;
}

dnnl_status_t dpt_onednn__weights_desc(const struct dpt_onednn_conv *conv, const_dnnl_primitive_desc_t pass,
                                       dnnl_engine_t engine, dnnl_primitive_desc_t *desc)
{
    *desc = NULL;
    const bool out = conv->pass == DPT_ONEDNN_PASS_BACKWARD_WEIGHTS;
    const dnnl_query_t query = out ? dnnl_query_diff_weights_md : dnnl_query_weights_md;
    const_dnnl_memory_desc_t library = dnnl_primitive_desc_query_md(pass, query, 0);
    struct dpt_onednn__dims at;
    dpt_onednn__dims(conv, &at);
    dnnl_memory_desc_t plain;
    TRY(dnnl_memory_desc_create_with_tag(&plain, at.w_ndim, at.w, dnnl_f32, at.w_plain));
    dnnl_status_t status = dnnl_success;
    if (!dnnl_memory_desc_equal(library, plain)) {
        dnnl_primitive_attr_t attr;
        TRY(attributes(&attr));
        status = dnnl_reorder_primitive_desc_create(desc, out ? library : plain, engine, out ? plain : library, engine,
                                                    attr);
        dnnl_primitive_attr_destroy(attr);
    }
    dnnl_memory_desc_destroy(plain);
    return status;
}
