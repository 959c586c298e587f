/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Convolutions of a card by cuDNN, channels last, in the type that the node computes in and with sums in float. A node is
 * prepared for its number of samples: descriptions, and an algorithm that the library deems the fastest of those which give
 * the same bits each time and need no more than WORKSPACE bytes. What it does not do - pads that differ, other numbers of
 * samples, results of another type - the kernels of conv_cuda.cu do.
 *
 * Numbers of 16 bits are rounded twice where the kernels of dpt round once: y before bias and activation, and dw.
 *
 *   scratch:   [weights OHWI][images rounded to the type][the library's workspace]
 */

#include <limits.h>
#include <stdlib.h>

#include "dev/cuda_dnn.h"
#include "op/conv_cudnn.h"
#include "op/cuda.h"
#include "op/gemm_cuda.h"

enum { WORKSPACE = 256 << 20, ALIGN = 256, CANDIDATES = 8 };

enum pass { PASS_Y, PASS_DX, PASS_DW };

struct prep {
    const struct dpt_cudnn *dnn;
    enum pass pass;
    struct dpt_op__conv conv;
    enum dpt_dtype type;                /* of images and weights, as the library sees them */
    bool bias, relu;
    bool exact;                         /* factors of products keep their 24 bits           */
    bool lays;                          /* weights have another order or type there        */
    bool rounds[2];                     /* input i, an image, has another type             */
    size_t weights_nbytes, rounded_nbytes[2], workspace_nbytes;
    cudnnTensorDescriptor_t x, y;
    cudnnFilterDescriptor_t w;
    cudnnConvolutionDescriptor_t how;
    int algo;
};

static cudnnDataType_t data_type(enum dpt_dtype type)
{
    return type == DPT_DTYPE_BF16 ? CUDNN_DATA_BFLOAT16 : type == DPT_DTYPE_F16 ? CUDNN_DATA_HALF : CUDNN_DATA_FLOAT;
}

static size_t rounded_up(size_t nbytes)
{
    return (nbytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* ------------------------------------------------------------------------------------------------------- preparing */

static const struct dpt_type *x_of(const struct dpt_op_types *types, enum pass pass)
{
    return pass == PASS_DX ? &types->out[0] : &types->in[0];
}

static const struct dpt_type *y_of(const struct dpt_op_types *types, enum pass pass)
{
    return pass == PASS_Y ? &types->out[0] : pass == PASS_DX ? &types->in[0] : &types->in[1];
}

static const struct dpt_type *w_of(const struct dpt_op_types *types, enum pass pass)
{
    return pass == PASS_DW ? &types->out[0] : &types->in[1];
}

/* True for what the library can be told: equal pads, numbers that are ints, an image as a result in the type of the product. */
static bool is_known(const struct dpt_op_types *types, const struct prep *prep)
{
    const struct dpt_op__conv *conv = &prep->conv;
    const struct dpt_type *result = &types->out[0];
    bool known = conv->n > 0 && dpt_type_numel(x_of(types, prep->pass)) <= INT_MAX &&
                 dpt_type_numel(y_of(types, prep->pass)) <= INT_MAX && dpt_type_numel(w_of(types, prep->pass)) <= INT_MAX &&
                 dpt_type_numel(w_of(types, prep->pass)) > 0 && (prep->pass == PASS_DW || result->dtype == prep->type);
    for (int a = 0; a < 2 && known; a++) {
        const int64_t reach = (conv->kernel[a] - 1) * conv->dilation[a] + 1, padded = conv->in[a] + 2 * conv->pad[a];
        known = conv->stride[a] <= INT_MAX && conv->dilation[a] <= INT_MAX && padded <= INT_MAX && reach <= padded &&
                (padded - reach) / conv->stride[a] + 1 == conv->out[a];
    }
    return known;
}

static cudnnStatus_t describe(struct prep *prep)
{
    const struct dpt_cudnn *dnn = prep->dnn;
    const struct dpt_op__conv *conv = &prep->conv;
    const cudnnDataType_t type = data_type(prep->type);
    const cudnnMathType_t math = prep->exact                   ? CUDNN_FMA_MATH
                                 : prep->type == DPT_DTYPE_F32 ? CUDNN_DEFAULT_MATH
                                                               : CUDNN_TENSOR_OP_MATH;
    const int n = (int)conv->n, c = (int)(conv->groups * conv->c), o = (int)(conv->groups * conv->o);
    cudnnStatus_t all[] = {
        dnn->tensor_new(&prep->x), dnn->tensor_new(&prep->y), dnn->filter_new(&prep->w), dnn->conv_new(&prep->how)};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (all[i] != CUDNN_STATUS_SUCCESS) {
            return all[i];
        }
    }
    const cudnnStatus_t set[] = {
        dnn->tensor_set(prep->x, CUDNN_TENSOR_NHWC, type, n, c, (int)conv->in[0], (int)conv->in[1]),
        dnn->tensor_set(prep->y, CUDNN_TENSOR_NHWC, type, n, o, (int)conv->out[0], (int)conv->out[1]),
        dnn->filter_set(prep->w, type, CUDNN_TENSOR_NHWC, o, (int)conv->c, (int)conv->kernel[0], (int)conv->kernel[1]),
        dnn->conv_set(prep->how, (int)conv->pad[0], (int)conv->pad[1], (int)conv->stride[0], (int)conv->stride[1],
                      (int)conv->dilation[0], (int)conv->dilation[1], CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT),
        dnn->conv_math(prep->how, math),
        dnn->conv_groups(prep->how, (int)conv->groups),
    };
    for (size_t i = 0; i < sizeof set / sizeof set[0]; i++) {
        if (set[i] != CUDNN_STATUS_SUCCESS) {
            return set[i];
        }
    }
    return CUDNN_STATUS_SUCCESS;
}

/* Takes the first of the library's answers, which are in order of time, that may be taken; false: there is none. */
#define TAKE(result, count, prep)                                                                                      \
    for (int i = 0; i < (count); i++) {                                                                                \
        if ((result)[i].status == CUDNN_STATUS_SUCCESS && (result)[i].determinism == CUDNN_DETERMINISTIC &&            \
            (result)[i].memory <= WORKSPACE) {                                                                         \
            (prep)->algo = (int)(result)[i].algo;                                                                      \
            (prep)->workspace_nbytes = (result)[i].memory;                                                             \
            return (prep)->exact ||                                                                                    \
                   (prep)->dnn->conv_math((prep)->how, (result)[i].mathType) == CUDNN_STATUS_SUCCESS;                  \
        }                                                                                                              \
    }                                                                                                                  \
    return false

static bool find_y(struct prep *prep)
{
    cudnnConvolutionFwdAlgoPerf_t result[CANDIDATES];
    int found = 0;
    if (prep->dnn->find_y(prep->dnn->handle, prep->x, prep->w, prep->how, prep->y, CANDIDATES, &found, result) !=
        CUDNN_STATUS_SUCCESS) {
        return false;
    }
    TAKE(result, found, prep);
}

static bool find_dx(struct prep *prep)
{
    cudnnConvolutionBwdDataAlgoPerf_t result[CANDIDATES];
    int found = 0;
    if (prep->dnn->find_dx(prep->dnn->handle, prep->w, prep->y, prep->how, prep->x, CANDIDATES, &found, result) !=
        CUDNN_STATUS_SUCCESS) {
        return false;
    }
    TAKE(result, found, prep);
}

static bool find_dw(struct prep *prep)
{
    cudnnConvolutionBwdFilterAlgoPerf_t result[CANDIDATES];
    int found = 0;
    if (prep->dnn->find_dw(prep->dnn->handle, prep->x, prep->y, prep->how, prep->w, CANDIDATES, &found, result) !=
        CUDNN_STATUS_SUCCESS) {
        return false;
    }
    TAKE(result, found, prep);
}

static void release(void *made)
{
    struct prep *prep = made;
    if (prep->x) {
        prep->dnn->tensor_free(prep->x);
    }
    if (prep->y) {
        prep->dnn->tensor_free(prep->y);
    }
    if (prep->w) {
        prep->dnn->filter_free(prep->w);
    }
    if (prep->how) {
        prep->dnn->conv_free(prep->how);
    }
    free(prep);
}

/* What of the operands has to be changed for the library, and in how many bytes. */
static void count(const struct dpt_op_types *types, struct prep *prep)
{
    const struct dpt_op__conv *conv = &prep->conv;
    const struct dpt_type *w = w_of(types, prep->pass);
    const size_t width = dpt_dtype_nbytes(prep->type);
    prep->lays = w->dtype != prep->type || (conv->c > 1 && conv->kernel[0] * conv->kernel[1] > 1);
    prep->weights_nbytes = prep->lays ? rounded_up((size_t)dpt_type_numel(w) * width) : 0;
    for (int i = 0; i < 2; i++) {
        const bool image = i == 0 || prep->pass == PASS_DW;
        prep->rounds[i] = image && types->in[i].dtype != prep->type;
        prep->rounded_nbytes[i] = prep->rounds[i] ? rounded_up((size_t)dpt_type_numel(&types->in[i]) * width) : 0;
    }
}

static enum dpt_status prepare(struct dpt_dev *dev, const struct dpt_op_types *types, enum pass pass, void **made)
{
    const struct dpt_conv_param *param = types->param;
    struct dpt_cudnn *dnn;
    *made = NULL;
    DPT_TRY(dpt_cuda_dnn(dev, &dnn));
    if (!dnn) {
        return DPT_STATUS_OK;
    }
    struct prep *prep = calloc(1, sizeof *prep);
    DPT_CHECK(prep, DPT_STATUS_SPACE, "no memory to prepare a convolution");
    *prep = (struct prep){
        .dnn = dnn,
        .pass = pass,
        .conv = dpt_op__conv_sizes(param, x_of(types, pass), w_of(types, pass), y_of(types, pass)),
        .type = types->half,
        .bias = pass == PASS_Y ? types->nin > 2 : types->nout > 1,
        .relu = pass == PASS_Y && param->act == DPT_ACTIVATION_KIND_RELU,
        .exact = types->half == DPT_DTYPE_F32 && !dev->tf32,
    };
    const bool can = is_known(types, prep) && describe(prep) == CUDNN_STATUS_SUCCESS &&
                     (pass == PASS_Y ? find_y(prep) : pass == PASS_DX ? find_dx(prep) : find_dw(prep));
    if (!can) {
        release(prep);
        return DPT_STATUS_OK;
    }
    count(types, prep);
    *made = prep;
    return DPT_STATUS_OK;
}

static enum dpt_status prepare_y(struct dpt_dev *dev, const struct dpt_op_types *types, void **prep)
{
    return prepare(dev, types, PASS_Y, prep);
}

static enum dpt_status prepare_dx(struct dpt_dev *dev, const struct dpt_op_types *types, void **prep)
{
    return prepare(dev, types, PASS_DX, prep);
}

static enum dpt_status prepare_dw(struct dpt_dev *dev, const struct dpt_op_types *types, void **prep)
{
    return prepare(dev, types, PASS_DW, prep);
}

static size_t scratch(const void *made)
{
    const struct prep *prep = made;
    return prep->weights_nbytes + prep->rounded_nbytes[0] + prep->rounded_nbytes[1] + prep->workspace_nbytes;
}

/* --------------------------------------------------------------------------------------------------------- running */

/* Operands and workspace of a call, as the library takes them. */
struct operands {
    void *weights;        /* where they are laid, or in place */
    const void *image[2]; /* inputs                           */
    void *workspace;
};

static struct operands take(const struct prep *prep, const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_tensor *w = prep->pass == PASS_DW ? &call->out[0] : &call->in[1];
    char *at = call->scratch;
    struct operands operands = {.weights = prep->lays ? at : w->data};
    if (prep->lays && prep->pass != PASS_DW) {
        dpt_op__conv_lay_weights(cuda, &prep->conv, w, prep->type, at);
    }
    at += prep->weights_nbytes;
    for (int i = 0; i < 2; i++) {
        operands.image[i] = prep->rounds[i] ? at : call->in[i].data;
        if (prep->rounds[i]) {
            dpt_op__convert_cuda(cuda, &call->in[i], prep->type, at);
        }
        at += prep->rounded_nbytes[i];
    }
    operands.workspace = at;
    return operands;
}

static enum dpt_status run(const struct dpt_op_call *call, bool *done)
{
    const struct prep *prep = call->prep;
    const struct dpt_cudnn *dnn = prep->dnn;
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const float one = 1.0f, zero = 0.0f;
    cudnnStatus_t status;
    *done = call->in[0].type.dim[0] == prep->conv.n;
    if (!*done) {
        return DPT_STATUS_OK;
    }
    const struct operands at = take(prep, call);
    if (prep->pass == PASS_Y) {
        status = dnn->y(dnn->handle, &one, prep->x, at.image[0], prep->w, at.weights, prep->how,
                        (cudnnConvolutionFwdAlgo_t)prep->algo, at.workspace, prep->workspace_nbytes, &zero, prep->y,
                        call->out[0].data);
    } else if (prep->pass == PASS_DX) {
        status = dnn->dx(dnn->handle, &one, prep->w, at.weights, prep->y, at.image[0], prep->how,
                         (cudnnConvolutionBwdDataAlgo_t)prep->algo, at.workspace, prep->workspace_nbytes, &zero, prep->x,
                         call->out[0].data);
    } else {
        status = dnn->dw(dnn->handle, &one, prep->x, at.image[0], prep->y, at.image[1], prep->how,
                         (cudnnConvolutionBwdFilterAlgo_t)prep->algo, at.workspace, prep->workspace_nbytes, &zero, prep->w,
                         at.weights);
    }
    DPT_CHECK(status == CUDNN_STATUS_SUCCESS, DPT_STATUS_FAILED, "%s: %s: %s; device.convolution = own does without it",
              cuda->dev.name, cuda->dev.convolutions, dnn->text(status));
    if (prep->pass == PASS_Y && (prep->bias || prep->relu)) {
        dpt_op__bias_cuda(cuda, prep->relu ? DPT_ACTIVATION_KIND_RELU : DPT_ACTIVATION_KIND_NONE, &call->out[0],
                          prep->bias ? &call->in[2] : NULL);
    }
    if (prep->pass == PASS_DW && prep->lays) {
        dpt_op__conv_read_weights(cuda, &prep->conv, prep->type, at.weights, &call->out[0]);
    }
    if (prep->pass == PASS_DW && prep->bias) { /* all else in the scratch memory has been read by then */
        const struct dpt_tensor *dy = &call->in[1], *dbias = &call->out[1];
        const int64_t channels = dbias->type.dim[0];
        dpt_op__bias_sums_cuda(cuda, channels ? dpt_type_numel(&dy->type) / channels : 0, channels, dy->type.dtype, dy->data,
                               call->scratch, dbias->data);
    }
    return DPT_STATUS_OK;
}

const struct dpt_op_cuda_library dpt_op__conv_library = {prepare_y, release, scratch, run};
const struct dpt_op_cuda_library dpt_op__conv_dx_library = {prepare_dx, release, scratch, run};
const struct dpt_op_cuda_library dpt_op__conv_dw_library = {prepare_dw, release, scratch, run};
