/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The part of the oneDNN wrapper that is the same for versions 2 and 3: a primitive with its arguments, run on memory
 * that the caller gives for each call.
 *
 * A convolution is two primitives: the pass itself and, where the library's weight format is not plain OIHW, a reorder
 * before it (w) or after it (dw). Weights in the library's format, the scratchpad of the pass and that of the reorder
 * follow each other in the caller's scratch memory.
 */

#include "op/onednn.h"

#include <stdlib.h>
#include <string.h>

#include "op/onednn_conv.h"

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        const dnnl_status_t dnnl_try_status = (call);                                                                  \
        if (dnnl_try_status != dnnl_success) {                                                                         \
            return failed(dnnl_try_status, #call);                                                                     \
        }                                                                                                              \
    } while (0)

enum { MAX_ARG = 5, ALIGN = 64 };

/* A primitive and the memory objects of its arguments; empty when `handle` is NULL. */
struct primitive {
    dnnl_primitive_t handle;
    int narg;
    dnnl_exec_arg_t arg[MAX_ARG];
    size_t scratchpad; /* bytes */
};

struct dpt_onednn_conv {
    struct dpt_onednn_conv_spec spec;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    struct primitive pass, reorder;
    size_t weights; /* bytes of w or dw in the library's format; 0 when that is OIHW */
    char name[64];
};

static enum dpt_status failed(dnnl_status_t status, const char *call)
{
    const enum dpt_status ours = status == dnnl_out_of_memory ? DPT_STATUS_SPACE : DPT_STATUS_FAILED;
    return dpt_error_set(ours, __FILE__, __LINE__, "oneDNN %d.%d: status %d from %s", dnnl_version()->major,
                         dnnl_version()->minor, (int)status, call);
}

void dpt_onednn__dims(const struct dpt_onednn_conv_spec *spec, struct dpt_onednn__dims *dims)
{
    const int64_t o = spec->o / spec->groups, c = spec->c / spec->groups;
    const bool groups = spec->groups > 1;
    *dims = (struct dpt_onednn__dims){
        .x = {spec->n, spec->c, spec->in[0], spec->in[1]},
        .y = {spec->n, spec->o, spec->out[0], spec->out[1]},
        .bias = {spec->o},
        .stride = {spec->stride[0], spec->stride[1]},
        .pad = {spec->pad[0], spec->pad[1]},
        .gap = {spec->dilation[0] - 1, spec->dilation[1] - 1},
        .w_ndim = groups ? 5 : 4,
        .w_plain = groups ? dnnl_goihw : dnnl_oihw,
    };
    int i = 0;
    if (groups) {
        dims->w[i++] = spec->groups;
    }
    dims->w[i++] = o;
    dims->w[i++] = c;
    dims->w[i++] = spec->kernel[0];
    dims->w[i++] = spec->kernel[1];
}

static size_t aligned(size_t nbytes)
{
    return (nbytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* Makes the primitive, and an argument for each of these queries for which the description has a memory. */
static enum dpt_status make(struct primitive *primitive, const_dnnl_primitive_desc_t desc, dnnl_engine_t engine,
                            const dnnl_query_t *query, const int *arg, int count)
{
    TRY(dnnl_primitive_create(&primitive->handle, desc));
    for (int i = 0; i < count; i++) {
        const void *md = dnnl_primitive_desc_query_md(desc, query[i], 0);
        const size_t nbytes = md ? dnnl_memory_desc_get_size(md) : 0;
        if (nbytes > 0) {
            dnnl_memory_t memory;
            TRY(dnnl_memory_create(&memory, md, engine, DNNL_MEMORY_NONE));
            primitive->arg[primitive->narg++] = (dnnl_exec_arg_t){arg[i], memory};
            primitive->scratchpad = arg[i] == DNNL_ARG_SCRATCHPAD ? nbytes : primitive->scratchpad;
        }
    }
    return DPT_STATUS_OK;
}

static enum dpt_status make_pass(struct dpt_onednn_conv *conv, const_dnnl_primitive_desc_t desc)
{
    static const dnnl_query_t query[3][MAX_ARG] = {
        {dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md, dnnl_query_scratchpad_md},
        {dnnl_query_diff_dst_md, dnnl_query_weights_md, dnnl_query_diff_src_md, dnnl_query_scratchpad_md},
        {dnnl_query_src_md, dnnl_query_diff_dst_md, dnnl_query_diff_weights_md, dnnl_query_scratchpad_md},
    };
    static const int arg[3][MAX_ARG] = {
        {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD},
        {DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_SRC, DNNL_ARG_SCRATCHPAD},
        {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_SCRATCHPAD},
    };
    const int pass = conv->spec.pass;
    DPT_TRY(make(&conv->pass, desc, conv->engine, query[pass], arg[pass], 4));
    if (conv->spec.bias) {
        const bool out = pass == DPT_ONEDNN_PASS_BACKWARD_WEIGHTS;
        const void *md = dnnl_primitive_desc_query_md(desc, out ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 1);
        dnnl_memory_t memory;
        TRY(dnnl_memory_create(&memory, md, conv->engine, DNNL_MEMORY_NONE));
        conv->pass.arg[conv->pass.narg++] = (dnnl_exec_arg_t){out ? DNNL_ARG_DIFF_BIAS : DNNL_ARG_BIAS, memory};
    }
    return DPT_STATUS_OK;
}

static enum dpt_status make_reorder(struct dpt_onednn_conv *conv, const_dnnl_primitive_desc_t pass)
{
    dnnl_primitive_desc_t desc;
    TRY(dpt_onednn__weights_desc(&conv->spec, pass, conv->engine, &desc));
    if (!desc) {
        return DPT_STATUS_OK;
    }
    const dnnl_query_t query[] = {dnnl_query_src_md, dnnl_query_dst_md, dnnl_query_scratchpad_md};
    const int arg[] = {DNNL_ARG_FROM, DNNL_ARG_TO, DNNL_ARG_SCRATCHPAD};
    const bool out = conv->spec.pass == DPT_ONEDNN_PASS_BACKWARD_WEIGHTS;
    conv->weights = dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(desc, query[out ? 0 : 1], 0));
    const enum dpt_status status = make(&conv->reorder, desc, conv->engine, query, arg, 3);
    dnnl_primitive_desc_destroy(desc);
    return status;
}

/*
 * Which kernels we take. "ref" loops are slow; "gemm" is im2col and a matrix product, with more scratch memory than our
 * own. The batch-reduced ones ("brgconv") multiply matrices of c columns, which with few channels, as in first layers,
 * leaves them at a half of what the older "jit" ones reach.
 */
static bool is_fast(const struct dpt_onednn_conv_spec *spec, const char *kernel)
{
    const bool few = spec->pass == DPT_ONEDNN_PASS_FORWARD && spec->c / spec->groups < 16;
    return !strstr(kernel, "ref") && !strstr(kernel, "gemm") && !(few && strncmp(kernel, "brgconv", 7) == 0);
}

static enum dpt_status make_all(struct dpt_onednn_conv *conv, bool *made)
{
    TRY(dnnl_engine_create(&conv->engine, dnnl_cpu, 0));
    TRY(dnnl_stream_create(&conv->stream, conv->engine, dnnl_stream_default_flags));
    dnnl_primitive_desc_t desc;
    TRY(dpt_onednn__conv_desc(&conv->spec, conv->engine, is_fast, &desc));
    *made = desc != NULL;
    if (!desc) {
        return DPT_STATUS_OK;
    }
    const char *name = "";
    dnnl_primitive_desc_query(desc, dnnl_query_impl_info_str, 0, (void *)&name);
    strncpy(conv->name, name, sizeof conv->name - 1);
    enum dpt_status status = make_pass(conv, desc);
    status = status == DPT_STATUS_OK ? make_reorder(conv, desc) : status;
    dnnl_primitive_desc_destroy(desc);
    return status;
}

enum dpt_status dpt_onednn_conv_new(const struct dpt_onednn_conv_spec *spec, struct dpt_onednn_conv **out)
{
    *out = NULL;
    struct dpt_onednn_conv *conv = calloc(1, sizeof *conv);
    DPT_CHECK(conv, DPT_STATUS_SPACE, "no memory for the primitives of a convolution");
    conv->spec = *spec;
    bool made = false;
    const enum dpt_status status = make_all(conv, &made);
    if (status != DPT_STATUS_OK || !made) {
        dpt_onednn_conv_free(conv);
        return status;
    }
    *out = conv;
    return DPT_STATUS_OK;
}

static void destroy(struct primitive *primitive)
{
    for (int i = 0; i < primitive->narg; i++) {
        dnnl_memory_destroy(primitive->arg[i].memory);
    }
    if (primitive->handle) {
        dnnl_primitive_destroy(primitive->handle);
    }
}

void dpt_onednn_conv_free(struct dpt_onednn_conv *conv)
{
    if (!conv) {
        return;
    }
    destroy(&conv->pass);
    destroy(&conv->reorder);
    if (conv->stream) {
        dnnl_stream_destroy(conv->stream);
    }
    if (conv->engine) {
        dnnl_engine_destroy(conv->engine);
    }
    free(conv);
}

size_t dpt_onednn_conv_scratch(const struct dpt_onednn_conv *conv)
{
    return aligned(conv->weights) + aligned(conv->pass.scratchpad) + aligned(conv->reorder.scratchpad);
}

const char *dpt_onednn_conv_name(const struct dpt_onednn_conv *conv)
{
    return conv->name;
}

/* Points the argument `arg` of the primitive, where it has that one, to `data`. */
static enum dpt_status point(const struct primitive *primitive, int arg, const void *data)
{
    for (int i = 0; i < primitive->narg; i++) {
        if (primitive->arg[i].arg == arg) {
            TRY(dnnl_memory_set_data_handle(primitive->arg[i].memory, (void *)data));
        }
    }
    return DPT_STATUS_OK;
}

static enum dpt_status reorder(struct dpt_onednn_conv *conv, const void *from, void *to, void *scratchpad)
{
    if (!conv->reorder.handle) {
        return DPT_STATUS_OK;
    }
    DPT_TRY(point(&conv->reorder, DNNL_ARG_FROM, from));
    DPT_TRY(point(&conv->reorder, DNNL_ARG_TO, to));
    DPT_TRY(point(&conv->reorder, DNNL_ARG_SCRATCHPAD, scratchpad));
    TRY(dnnl_primitive_execute(conv->reorder.handle, conv->stream, conv->reorder.narg, conv->reorder.arg));
    return DPT_STATUS_OK;
}

enum dpt_status dpt_onednn_conv_run(struct dpt_onednn_conv *conv, const float *a, const float *b, float *bias,
                                    float *out, void *scratch)
{
    static const int first[] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_SRC};
    static const int second[] = {DNNL_ARG_WEIGHTS, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST};
    static const int third[] = {DNNL_ARG_DST, DNNL_ARG_DIFF_SRC, DNNL_ARG_DIFF_WEIGHTS};
    const int pass = conv->spec.pass;
    const bool weights_out = pass == DPT_ONEDNN_PASS_BACKWARD_WEIGHTS;
    char *weights = scratch; /* in the library's format */
    char *pass_pad = weights + aligned(conv->weights);
    char *reorder_pad = pass_pad + aligned(conv->pass.scratchpad);
    const bool plain = !conv->reorder.handle;
    DPT_TRY(point(&conv->pass, first[pass], a));
    DPT_TRY(point(&conv->pass, second[pass], plain || weights_out ? (const void *)b : weights));
    DPT_TRY(point(&conv->pass, third[pass], plain || !weights_out ? (void *)out : weights));
    DPT_TRY(point(&conv->pass, weights_out ? DNNL_ARG_DIFF_BIAS : DNNL_ARG_BIAS, bias));
    DPT_TRY(point(&conv->pass, DNNL_ARG_SCRATCHPAD, pass_pad));
    if (!weights_out) {
        DPT_TRY(reorder(conv, b, weights, reorder_pad));
    }
    TRY(dnnl_primitive_execute(conv->pass.handle, conv->stream, conv->pass.narg, conv->pass.arg));
    if (weights_out) {
        DPT_TRY(reorder(conv, weights, out, reorder_pad));
    }
    TRY(dnnl_stream_wait(conv->stream));
    return DPT_STATUS_OK;
}
