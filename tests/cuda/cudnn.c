/* SPDX-License-Identifier: Apache-2.0 */

/*
 * cuDNN for the card that is not there, after its documentation: convolutions of images whose channels come last, by plain
 * loops, with sums in double, when their turn comes in the stream. Of its algorithms the fastest gives other bits each time and
 * the next needs more memory than there is; who takes one of these, or gives less workspace than asked for, ends with a
 * message. It knows no way where windows are dilated, so that callers need another then. DPT_EMULATED_NO_CUDNN in the
 * environment: it is not there.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "dev/cuda_dnn.h"

enum { ALGO_WILD, ALGO_HUGE, ALGO_GOOD, ALGOS };

struct emulated_dnn {
    cudaStream_t stream;
};

/* n, c, h, w of images; o, c, h, w of weights. */
struct emulated_sizes {
    cudnnDataType_t type;
    int size[4];
};

struct emulated_conv {
    int pad[2], stride[2], dilation[2], groups;
    cudnnMathType_t math;
};

enum what { WHAT_Y, WHAT_DX, WHAT_DW };

struct job {
    enum what what;
    struct emulated_sizes x, w, y;
    struct emulated_conv conv;
    const void *in[2];
    void *out, *workspace;
    size_t workspace_nbytes;
};

static long convolutions;

long emulated_convolutions(void);
long emulated_convolutions(void)
{
    return convolutions;
}

static size_t version(void)
{
    return 90102;
}

static const char *text(cudnnStatus_t status)
{
    return status == CUDNN_STATUS_NOT_SUPPORTED ? "not supported" : "bad parameter";
}

static cudnnStatus_t create(cudnnHandle_t *handle)
{
    *handle = calloc(1, sizeof **handle);
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t destroy(cudnnHandle_t handle)
{
    free(handle);
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t set_stream(cudnnHandle_t handle, cudaStream_t stream)
{
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t sizes_new(struct emulated_sizes **sizes)
{
    *sizes = calloc(1, sizeof **sizes);
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t sizes_free(struct emulated_sizes *sizes)
{
    free(sizes);
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t sizes_set(struct emulated_sizes *sizes, cudnnTensorFormat_t format, cudnnDataType_t type, int a, int b,
                               int h, int w)
{
    *sizes = (struct emulated_sizes){type, {a, b, h, w}};
    return format == CUDNN_TENSOR_NHWC && a > 0 && b > 0 && h > 0 && w > 0 ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
}

static cudnnStatus_t filter_set(struct emulated_sizes *sizes, cudnnDataType_t type, cudnnTensorFormat_t format, int k, int c,
                                int h, int w)
{
    return sizes_set(sizes, format, type, k, c, h, w);
}

static cudnnStatus_t conv_new(struct emulated_conv **conv)
{
    *conv = calloc(1, sizeof **conv);
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t conv_set(struct emulated_conv *conv, int pad_h, int pad_w, int stride_h, int stride_w, int dilation_h,
                              int dilation_w, cudnnConvolutionMode_t mode, cudnnDataType_t compute)
{
    *conv = (struct emulated_conv){
        {pad_h, pad_w}, {stride_h, stride_w}, {dilation_h, dilation_w}, 1, CUDNN_DEFAULT_MATH};
    return mode == CUDNN_CROSS_CORRELATION && compute == CUDNN_DATA_FLOAT && pad_h >= 0 && pad_w >= 0 && stride_h > 0 &&
                   stride_w > 0 && dilation_h > 0 && dilation_w > 0
               ? CUDNN_STATUS_SUCCESS
               : CUDNN_STATUS_BAD_PARAM;
}

static cudnnStatus_t conv_math(struct emulated_conv *conv, cudnnMathType_t math)
{
    conv->math = math;
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t conv_groups(struct emulated_conv *conv, int groups)
{
    conv->groups = groups;
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t conv_free(struct emulated_conv *conv)
{
    free(conv);
    return CUDNN_STATUS_SUCCESS;
}

/* ----------------------------------------------------------------------------------------------------- algorithms */

static bool fits(const struct emulated_sizes *x, const struct emulated_sizes *w, const struct emulated_sizes *y,
                 const struct emulated_conv *conv)
{
    bool fit = x->type == w->type && x->type == y->type && x->size[0] == y->size[0] &&
               x->size[1] == w->size[1] * conv->groups && y->size[1] == w->size[0] && w->size[0] % conv->groups == 0;
    for (int a = 0; a < 2 && fit; a++) {
        const int reach = (w->size[2 + a] - 1) * conv->dilation[a] + 1;
        fit = y->size[2 + a] == (x->size[2 + a] + 2 * conv->pad[a] - reach) / conv->stride[a] + 1;
    }
    return fit;
}

static size_t workspace_of(const struct emulated_sizes *w)
{
    return 100 + (size_t)w->size[0];
}

static cudnnStatus_t find(const struct emulated_sizes *x, const struct emulated_sizes *w, const struct emulated_sizes *y,
                          const struct emulated_conv *conv, int wanted, int *found, cudnnConvolutionFwdAlgoPerf_t *result)
{
    const cudnnStatus_t status =
        conv->dilation[0] > 1 || conv->dilation[1] > 1 ? CUDNN_STATUS_NOT_SUPPORTED : CUDNN_STATUS_SUCCESS;
    const cudnnMathType_t math = conv->math == CUDNN_FMA_MATH ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH;
    const cudnnConvolutionFwdAlgoPerf_t all[ALGOS] = {
        [ALGO_WILD] = {ALGO_WILD, status, 1.0f, 0, CUDNN_NON_DETERMINISTIC, math},
        [ALGO_HUGE] = {ALGO_HUGE, status, 2.0f, (size_t)1 << 40, CUDNN_DETERMINISTIC, math},
        [ALGO_GOOD] = {ALGO_GOOD, status, 3.0f, workspace_of(w), CUDNN_DETERMINISTIC, math},
    };
    if (!fits(x, w, y, conv)) {
        return CUDNN_STATUS_BAD_PARAM;
    }
    *found = wanted < ALGOS ? wanted : ALGOS;
    memcpy(result, all, (size_t)*found * sizeof *result);
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t find_y(cudnnHandle_t handle, const cudnnTensorDescriptor_t x, const cudnnFilterDescriptor_t w,
                            const cudnnConvolutionDescriptor_t conv, const cudnnTensorDescriptor_t y, const int wanted,
                            int *found, cudnnConvolutionFwdAlgoPerf_t *result)
{
    (void)handle;
    return find(x, w, y, conv, wanted, found, result);
}

static cudnnStatus_t find_dx(cudnnHandle_t handle, const cudnnFilterDescriptor_t w, const cudnnTensorDescriptor_t dy,
                             const cudnnConvolutionDescriptor_t conv, const cudnnTensorDescriptor_t dx, const int wanted,
                             int *found, cudnnConvolutionBwdDataAlgoPerf_t *result)
{
    (void)handle;
    return find(dx, w, dy, conv, wanted, found, result);
}

static cudnnStatus_t find_dw(cudnnHandle_t handle, const cudnnTensorDescriptor_t x, const cudnnTensorDescriptor_t dy,
                             const cudnnConvolutionDescriptor_t conv, const cudnnFilterDescriptor_t dw, const int wanted,
                             int *found, cudnnConvolutionBwdFilterAlgoPerf_t *result)
{
    (void)handle;
    return find(x, dw, dy, conv, wanted, found, result);
}

/* --------------------------------------------------------------------------------------------------- convolutions */

static double load(cudnnDataType_t type, const void *data, size_t i)
{
    float number;
    if (type == CUDNN_DATA_FLOAT) {
        return ((const float *)data)[i];
    }
    dpt_half_widen(type == CUDNN_DATA_BFLOAT16 ? DPT_DTYPE_BF16 : DPT_DTYPE_F16, 1, (const uint16_t *)data + i, &number);
    return number;
}

static void store(cudnnDataType_t type, void *data, size_t i, double value)
{
    const float number = (float)value;
    if (type == CUDNN_DATA_FLOAT) {
        ((float *)data)[i] = number;
        return;
    }
    dpt_half_narrow(type == CUDNN_DATA_BFLOAT16 ? DPT_DTYPE_BF16 : DPT_DTYPE_F16, 1, &number, (uint16_t *)data + i);
}

static size_t numel_of(const struct emulated_sizes *sizes)
{
    return (size_t)sizes->size[0] * (size_t)sizes->size[1] * (size_t)sizes->size[2] * (size_t)sizes->size[3];
}

/* Element of an image or a weight: its first size, channel, row, column; channels lie last. */
static size_t at(const struct emulated_sizes *sizes, int a, int c, int h, int w)
{
    const int *size = sizes->size;
    return (((size_t)a * (size_t)size[2] + (size_t)h) * (size_t)size[3] + (size_t)w) * (size_t)size[1] + (size_t)c;
}

/* Adds all products of one place of y and one of its channels to what is wanted. */
static void add_place(const struct job *job, int n, int o, int i, int j, double *sum)
{
    const struct emulated_conv *conv = &job->conv;
    const int o_each = job->w.size[0] / conv->groups, first = o / o_each * job->w.size[1];
    const size_t y = at(&job->y, n, o, i, j);
    for (int kh = 0; kh < job->w.size[2]; kh++) {
        for (int kw = 0; kw < job->w.size[3]; kw++) {
            const int h = i * conv->stride[0] + kh * conv->dilation[0] - conv->pad[0];
            const int w = j * conv->stride[1] + kw * conv->dilation[1] - conv->pad[1];
            for (int c = 0; h >= 0 && w >= 0 && h < job->x.size[2] && w < job->x.size[3] && c < job->w.size[1]; c++) {
                const size_t in = at(&job->x, n, first + c, h, w), weight = at(&job->w, o, c, kh, kw);
                if (job->what == WHAT_Y) {
                    sum[y] += load(job->x.type, job->in[0], in) * load(job->w.type, job->in[1], weight);
                } else if (job->what == WHAT_DX) {
                    sum[in] += load(job->y.type, job->in[0], y) * load(job->w.type, job->in[1], weight);
                } else {
                    sum[weight] += load(job->x.type, job->in[0], in) * load(job->y.type, job->in[1], y);
                }
            }
        }
    }
}

static void do_job(const void *argument)
{
    const struct job *job = argument;
    const struct emulated_sizes *out = job->what == WHAT_Y ? &job->y : job->what == WHAT_DX ? &job->x : &job->w;
    double *sum = calloc(numel_of(out), sizeof *sum);
    memset(job->workspace, 0x5A, job->workspace_nbytes);
    for (int n = 0; n < job->y.size[0]; n++) {
        for (int o = 0; o < job->y.size[1]; o++) {
            for (int i = 0; i < job->y.size[2]; i++) {
                for (int j = 0; j < job->y.size[3]; j++) {
                    add_place(job, n, o, i, j, sum);
                }
            }
        }
    }
    for (size_t i = 0; i < numel_of(out); i++) {
        store(out->type, job->out, i, sum[i]);
    }
    free(sum);
    convolutions++;
}

static cudnnStatus_t ask(cudnnHandle_t handle, const struct job *job, int algo, const void *alpha, const void *beta)
{
    float factor[2];
    memcpy(&factor[0], alpha, sizeof factor[0]);
    memcpy(&factor[1], beta, sizeof factor[1]);
    if (!fits(&job->x, &job->w, &job->y, &job->conv) || factor[0] != 1.0f || factor[1] != 0.0f) {
        return CUDNN_STATUS_BAD_PARAM;
    }
    if (algo != ALGO_GOOD || job->workspace_nbytes < workspace_of(&job->w)) {
        fprintf(stderr, "cuDNN: algorithm %d with %zu bytes of workspace\n", algo, job->workspace_nbytes);
        abort();
    }
    emulated_do_copy(handle->stream, do_job, job, sizeof *job);
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t get_y(cudnnHandle_t handle, const void *alpha, const cudnnTensorDescriptor_t x_desc, const void *x,
                           const cudnnFilterDescriptor_t w_desc, const void *w, const cudnnConvolutionDescriptor_t conv,
                           cudnnConvolutionFwdAlgo_t algo, void *workspace, size_t workspace_nbytes, const void *beta,
                           const cudnnTensorDescriptor_t y_desc, void *y)
{
    const struct job job = {WHAT_Y, *x_desc, *w_desc, *y_desc, *conv, {x, w}, y, workspace, workspace_nbytes};
    return ask(handle, &job, algo, alpha, beta);
}

static cudnnStatus_t get_dx(cudnnHandle_t handle, const void *alpha, const cudnnFilterDescriptor_t w_desc, const void *w,
                            const cudnnTensorDescriptor_t dy_desc, const void *dy, const cudnnConvolutionDescriptor_t conv,
                            cudnnConvolutionBwdDataAlgo_t algo, void *workspace, size_t workspace_nbytes, const void *beta,
                            const cudnnTensorDescriptor_t dx_desc, void *dx)
{
    const struct job job = {WHAT_DX, *dx_desc, *w_desc, *dy_desc, *conv, {dy, w}, dx, workspace, workspace_nbytes};
    return ask(handle, &job, algo, alpha, beta);
}

static cudnnStatus_t get_dw(cudnnHandle_t handle, const void *alpha, const cudnnTensorDescriptor_t x_desc, const void *x,
                            const cudnnTensorDescriptor_t dy_desc, const void *dy, const cudnnConvolutionDescriptor_t conv,
                            cudnnConvolutionBwdFilterAlgo_t algo, void *workspace, size_t workspace_nbytes, const void *beta,
                            const cudnnFilterDescriptor_t dw_desc, void *dw)
{
    const struct job job = {WHAT_DW, *x_desc, *dw_desc, *dy_desc, *conv, {x, dy}, dw, workspace, workspace_nbytes};
    return ask(handle, &job, algo, alpha, beta);
}

const char *dpt_cuda__open_cudnn(struct dpt_cudnn *dnn)
{
    static char library;
    if (getenv("DPT_EMULATED_NO_CUDNN")) {
        return "it was not found";
    }
    *dnn = (struct dpt_cudnn){
        .library = &library,
        .version = version,
        .text = text,
        .create = create,
        .destroy = destroy,
        .set_stream = set_stream,
        .tensor_new = sizes_new,
        .tensor_set = sizes_set,
        .tensor_free = sizes_free,
        .filter_new = sizes_new,
        .filter_set = filter_set,
        .filter_free = sizes_free,
        .conv_new = conv_new,
        .conv_set = conv_set,
        .conv_math = conv_math,
        .conv_groups = conv_groups,
        .conv_free = conv_free,
        .find_y = find_y,
        .find_dx = find_dx,
        .find_dw = find_dw,
        .y = get_y,
        .dx = get_dx,
        .dw = get_dw,
    };
    return NULL;
}
