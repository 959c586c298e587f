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

#include "op/onednn_desc.h"

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        const dnnl_status_t dnnl_try_status = (call);                                                                  \
        if (dnnl_try_status != dnnl_success) {                                                                         \
            return failed(dnnl_try_status, #call);                                                                     \
        }                                                                                                              \
    } while (0)

enum { MAX_ARG = 5, ALIGN = 64 };

/* What the library calls the operands of an operation, in the order of dpt_onednn_run, and how it is asked for them. */
struct names {
    struct {
        int arg, query, index;
    } a, b, bias, out;
};

static const struct names conv_names[] = {
    [DPT_ONEDNN_PASS_FORWARD] = {{DNNL_ARG_SRC, dnnl_query_src_md, 0},
                                 {DNNL_ARG_WEIGHTS, dnnl_query_weights_md, 0},
                                 {DNNL_ARG_BIAS, dnnl_query_weights_md, 1},
                                 {DNNL_ARG_DST, dnnl_query_dst_md, 0}},
    [DPT_ONEDNN_PASS_BACKWARD_DATA] = {{DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md, 0},
                                       {DNNL_ARG_WEIGHTS, dnnl_query_weights_md, 0},
                                       {DNNL_ARG_BIAS, dnnl_query_weights_md, 1},
                                       {DNNL_ARG_DIFF_SRC, dnnl_query_diff_src_md, 0}},
    [DPT_ONEDNN_PASS_BACKWARD_WEIGHTS] = {{DNNL_ARG_SRC, dnnl_query_src_md, 0},
                                          {DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md, 0},
                                          {DNNL_ARG_DIFF_BIAS, dnnl_query_diff_weights_md, 1},
                                          {DNNL_ARG_DIFF_WEIGHTS, dnnl_query_diff_weights_md, 0}},
};

/* A primitive and the memory objects of its arguments; empty when `handle` is NULL. */
struct primitive {
    dnnl_primitive_t handle;
    int narg;
    dnnl_exec_arg_t arg[MAX_ARG];
    size_t scratchpad; /* bytes */
};

struct dpt_onednn {
    const struct names *names;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    struct primitive pass, reorder;
    bool weights_out; /* the reorder comes after the pass                          */
    size_t weights;   /* bytes of w or dw in the library's format; 0: no reorder */
    char name[64];
};

static enum dpt_status failed(dnnl_status_t status, const char *call)
{
    const enum dpt_status ours = status == dnnl_out_of_memory ? DPT_STATUS_SPACE : DPT_STATUS_FAILED;
    return dpt_error_set(ours, __FILE__, __LINE__, "oneDNN %d.%d: status %d from %s", dnnl_version()->major,
                         dnnl_version()->minor, (int)status, call);
}

/* As before the image, where the sizes allow it: a part of an image has other borders on its two sides. */
static int64_t pad_behind(const struct dpt_onednn_conv *conv, int axis)
{
    const int64_t reach = (conv->kernel[axis] - 1) * conv->dilation[axis] + 1, pad = conv->pad[axis];
    const int64_t least = (conv->out[axis] - 1) * conv->stride[axis] + reach - conv->in[axis] - pad;
    const int64_t most = least + conv->stride[axis] - 1;
    return pad < least ? least : pad > most ? most : pad;
}

void dpt_onednn__dims(const struct dpt_onednn_conv *conv, struct dpt_onednn__dims *dims)
{
    const int64_t o = conv->o / conv->groups, c = conv->c / conv->groups;
    const bool groups = conv->groups > 1;
    *dims = (struct dpt_onednn__dims){
        .x = {conv->n, conv->c, conv->in[0], conv->in[1]},
        .y = {conv->n, conv->o, conv->out[0], conv->out[1]},
        .bias = {conv->o},
        .stride = {conv->stride[0], conv->stride[1]},
        .pad = {conv->pad[0], conv->pad[1]},
        .behind = {pad_behind(conv, 0), pad_behind(conv, 1)},
        .gap = {conv->dilation[0] - 1, conv->dilation[1] - 1},
        .w_ndim = groups ? 5 : 4,
        .w_plain = groups ? dnnl_goihw : dnnl_oihw,
    };
    int i = 0;
    if (groups) {
        dims->w[i++] = conv->groups;
    }
    dims->w[i++] = o;
    dims->w[i++] = c;
    dims->w[i++] = conv->kernel[0];
    dims->w[i++] = conv->kernel[1];
}

/*
 * "ref" loops are slow; "gemm" is im2col and a matrix product, with more scratch memory than our own. The batch-reduced
 * kernels ("brg") multiply matrices of c columns; measured with versions 2.6, 3.2 and 3.7 the older "jit" ones are up to
 * twice as fast below one vector of channels, as in first layers, and a tenth faster for the gradient of one vector.
 */
bool dpt_onednn__accept_conv(const struct dpt_onednn_conv *conv, const char *kernel, bool best)
{
    const int64_t enough = conv->pass == DPT_ONEDNN_PASS_BACKWARD_DATA ? 32 : 16;
    const bool few = conv->c / conv->groups < enough && strncmp(kernel, "brg", 3) == 0;
    return !strstr(kernel, "ref") && !strstr(kernel, "gemm") && !(best && few);
}

/* Without AVX-512 the library's product ("gemm") takes memory for its packed operands in every call. */
bool dpt_onednn__accept_matmul(const char *kernel)
{
    return !strstr(kernel, "ref") && !strstr(kernel, "gemm:");
}

static size_t aligned(size_t nbytes)
{
    return (nbytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* Adds an argument, to be pointed at memory in each call. */
static enum dpt_status add_arg(struct primitive *primitive, const_dnnl_primitive_desc_t desc, dnnl_engine_t engine,
                               int arg, int query, int index)
{
    const void *md = dnnl_primitive_desc_query_md(desc, (dnnl_query_t)query, index);
    const size_t nbytes = md ? dnnl_memory_desc_get_size(md) : 0;
    if (nbytes == 0) {
        return DPT_STATUS_OK; /* it has none: no scratchpad, no bias */
    }
    dnnl_memory_t memory;
    TRY(dnnl_memory_create(&memory, md, engine, DNNL_MEMORY_NONE));
    DPT_ASSERT(primitive->narg < MAX_ARG);
    primitive->arg[primitive->narg++] = (dnnl_exec_arg_t){arg, memory};
    primitive->scratchpad = arg == DNNL_ARG_SCRATCHPAD ? nbytes : primitive->scratchpad;
    return DPT_STATUS_OK;
}

static enum dpt_status make_pass(struct dpt_onednn *op, const_dnnl_primitive_desc_t desc, bool bias)
{
    const struct names *names = op->names;
    struct primitive *pass = &op->pass;
    const char *name = "";
    dnnl_primitive_desc_query(desc, dnnl_query_impl_info_str, 0, (void *)&name);
    strncpy(op->name, name, sizeof op->name - 1);
    TRY(dnnl_primitive_create(&pass->handle, desc));
    DPT_TRY(add_arg(pass, desc, op->engine, names->a.arg, names->a.query, names->a.index));
    DPT_TRY(add_arg(pass, desc, op->engine, names->b.arg, names->b.query, names->b.index));
    DPT_TRY(add_arg(pass, desc, op->engine, names->out.arg, names->out.query, names->out.index));
    if (bias) {
        DPT_TRY(add_arg(pass, desc, op->engine, names->bias.arg, names->bias.query, names->bias.index));
    }
    return add_arg(pass, desc, op->engine, DNNL_ARG_SCRATCHPAD, dnnl_query_scratchpad_md, 0);
}

static enum dpt_status make_reorder(struct dpt_onednn *op, const_dnnl_primitive_desc_t desc)
{
    const dnnl_query_t library = op->weights_out ? dnnl_query_src_md : dnnl_query_dst_md;
    op->weights = dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(desc, library, 0));
    TRY(dnnl_primitive_create(&op->reorder.handle, desc));
    DPT_TRY(add_arg(&op->reorder, desc, op->engine, DNNL_ARG_FROM, dnnl_query_src_md, 0));
    DPT_TRY(add_arg(&op->reorder, desc, op->engine, DNNL_ARG_TO, dnnl_query_dst_md, 0));
    return add_arg(&op->reorder, desc, op->engine, DNNL_ARG_SCRATCHPAD, dnnl_query_scratchpad_md, 0);
}

/* An op without primitives. */
static enum dpt_status new_op(const struct names *names, struct dpt_onednn **out)
{
    struct dpt_onednn *op = calloc(1, sizeof *op);
    DPT_CHECK(op, DPT_STATUS_SPACE, "no memory for the library objects of an operation");
    *out = op;
    op->names = names;
    TRY(dnnl_engine_create(&op->engine, dnnl_cpu, 0));
    TRY(dnnl_stream_create(&op->stream, op->engine, dnnl_stream_default_flags));
    return DPT_STATUS_OK;
}

/* Leaves op->pass empty where the library has no kernel. */
static enum dpt_status make_conv(struct dpt_onednn *op, const struct dpt_onednn_conv *conv)
{
    dnnl_primitive_desc_t pass, reorder = NULL;
    TRY(dpt_onednn__conv_desc(conv, op->engine, true, &pass));
    if (!pass) {
        TRY(dpt_onednn__conv_desc(conv, op->engine, false, &pass));
    }
    if (!pass) {
        return DPT_STATUS_OK;
    }
    op->weights_out = conv->pass == DPT_ONEDNN_PASS_BACKWARD_WEIGHTS;
    enum dpt_status status = make_pass(op, pass, conv->bias);
    if (status == DPT_STATUS_OK) {
        const dnnl_status_t described = dpt_onednn__weights_desc(conv, pass, op->engine, &reorder);
        status = described == dnnl_success ? DPT_STATUS_OK : failed(described, "dpt_onednn__weights_desc");
    }
    if (reorder) {
        status = make_reorder(op, reorder);
        dnnl_primitive_desc_destroy(reorder);
    }
    dnnl_primitive_desc_destroy(pass);
    return status;
}

static enum dpt_status make_matmul(struct dpt_onednn *op, const struct dpt_onednn_matmul *matmul)
{
    dnnl_primitive_desc_t desc;
    TRY(dpt_onednn__matmul_desc(matmul, op->engine, &desc));
    if (!desc) {
        return DPT_STATUS_OK;
    }
    const enum dpt_status status = make_pass(op, desc, matmul->bias);
    dnnl_primitive_desc_destroy(desc);
    return status;
}

/* Hands out what was made, or frees it where that failed or made nothing. */
static enum dpt_status finish(enum dpt_status status, struct dpt_onednn **op)
{
    if (status != DPT_STATUS_OK || !(*op)->pass.handle) {
        dpt_onednn_free(*op);
        *op = NULL;
    }
    return status;
}

enum dpt_status dpt_onednn_conv(const struct dpt_onednn_conv *conv, struct dpt_onednn **op)
{
    *op = NULL;
    enum dpt_status status = new_op(&conv_names[conv->pass], op);
    status = status == DPT_STATUS_OK ? make_conv(*op, conv) : status;
    return finish(status, op);
}

enum dpt_status dpt_onednn_matmul(const struct dpt_onednn_matmul *matmul, struct dpt_onednn **op)
{
    *op = NULL;
    enum dpt_status status = new_op(&conv_names[DPT_ONEDNN_PASS_FORWARD], op); /* a product has the same names */
    status = status == DPT_STATUS_OK ? make_matmul(*op, matmul) : status;
    return finish(status, op);
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

void dpt_onednn_free(struct dpt_onednn *op)
{
    if (!op) {
        return;
    }
    destroy(&op->pass);
    destroy(&op->reorder);
    if (op->stream) {
        dnnl_stream_destroy(op->stream);
    }
    if (op->engine) {
        dnnl_engine_destroy(op->engine);
    }
    free(op);
}

size_t dpt_onednn_scratch(const struct dpt_onednn *op)
{
    return aligned(op->weights) + aligned(op->pass.scratchpad) + aligned(op->reorder.scratchpad);
}

const char *dpt_onednn_name(const struct dpt_onednn *op)
{
    return op->name;
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

static enum dpt_status execute(struct dpt_onednn *op, const struct primitive *primitive)
{
    TRY(dnnl_primitive_execute(primitive->handle, op->stream, primitive->narg, primitive->arg));
    return DPT_STATUS_OK;
}

static enum dpt_status reorder(struct dpt_onednn *op, const void *from, void *to, void *scratchpad)
{
    DPT_TRY(point(&op->reorder, DNNL_ARG_FROM, from));
    DPT_TRY(point(&op->reorder, DNNL_ARG_TO, to));
    DPT_TRY(point(&op->reorder, DNNL_ARG_SCRATCHPAD, scratchpad));
    return execute(op, &op->reorder);
}

enum dpt_status dpt_onednn_run(struct dpt_onednn *op, const void *a, const void *b, float *bias, void *out,
                               void *scratch)
{
    const bool before = op->weights && !op->weights_out, after = op->weights && op->weights_out;
    char *weights = scratch; /* in the library's format */
    char *pass_pad = weights + aligned(op->weights);
    char *reorder_pad = pass_pad + aligned(op->pass.scratchpad);
    DPT_TRY(point(&op->pass, op->names->a.arg, a));
    DPT_TRY(point(&op->pass, op->names->b.arg, before ? weights : b));
    DPT_TRY(point(&op->pass, op->names->bias.arg, bias));
    DPT_TRY(point(&op->pass, op->names->out.arg, after ? weights : out));
    DPT_TRY(point(&op->pass, DNNL_ARG_SCRATCHPAD, pass_pad));
    if (before) {
        DPT_TRY(reorder(op, b, weights, reorder_pad));
    }
    DPT_TRY(execute(op, &op->pass));
    if (after) {
        DPT_TRY(reorder(op, weights, out, reorder_pad));
    }
    TRY(dnnl_stream_wait(op->stream));
    return DPT_STATUS_OK;
}
