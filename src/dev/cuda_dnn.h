/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The functions of cuDNN that are used: those for one convolution at a time, which version 9 still has beside its graphs.
 * They say all that is needed here - sizes, order of channels, what algorithm - in three calls.
 */

#include <cudnn.h>

#include "dev/cuda.h"

struct dpt_cudnn {
    void *library;
    cudnnHandle_t handle;
    size_t (*version)(void);
    const char *(*text)(cudnnStatus_t status);
    cudnnStatus_t (*create)(cudnnHandle_t *handle);
    cudnnStatus_t (*destroy)(cudnnHandle_t handle);
    cudnnStatus_t (*set_stream)(cudnnHandle_t handle, cudaStream_t stream);
    cudnnStatus_t (*tensor_new)(cudnnTensorDescriptor_t *tensor);
    cudnnStatus_t (*tensor_set)(cudnnTensorDescriptor_t tensor, cudnnTensorFormat_t format, cudnnDataType_t type, int n, int c,
                                int h, int w);
    cudnnStatus_t (*tensor_free)(cudnnTensorDescriptor_t tensor);
    cudnnStatus_t (*filter_new)(cudnnFilterDescriptor_t *filter);
    cudnnStatus_t (*filter_set)(cudnnFilterDescriptor_t filter, cudnnDataType_t type, cudnnTensorFormat_t format, int k, int c,
                                int h, int w);
    cudnnStatus_t (*filter_free)(cudnnFilterDescriptor_t filter);
    cudnnStatus_t (*conv_new)(cudnnConvolutionDescriptor_t *conv);
    cudnnStatus_t (*conv_set)(cudnnConvolutionDescriptor_t conv, int pad_h, int pad_w, int stride_h, int stride_w,
                              int dilation_h, int dilation_w, cudnnConvolutionMode_t mode, cudnnDataType_t compute);
    cudnnStatus_t (*conv_math)(cudnnConvolutionDescriptor_t conv, cudnnMathType_t math);
    cudnnStatus_t (*conv_groups)(cudnnConvolutionDescriptor_t conv, int groups);
    cudnnStatus_t (*conv_free)(cudnnConvolutionDescriptor_t conv);
    cudnnStatus_t (*find_y)(cudnnHandle_t handle, const cudnnTensorDescriptor_t x, const cudnnFilterDescriptor_t w,
                            const cudnnConvolutionDescriptor_t conv, const cudnnTensorDescriptor_t y, const int wanted,
                            int *found, cudnnConvolutionFwdAlgoPerf_t *result);
    cudnnStatus_t (*find_dx)(cudnnHandle_t handle, const cudnnFilterDescriptor_t w, const cudnnTensorDescriptor_t dy,
                             const cudnnConvolutionDescriptor_t conv, const cudnnTensorDescriptor_t dx, const int wanted,
                             int *found, cudnnConvolutionBwdDataAlgoPerf_t *result);
    cudnnStatus_t (*find_dw)(cudnnHandle_t handle, const cudnnTensorDescriptor_t x, const cudnnTensorDescriptor_t dy,
                             const cudnnConvolutionDescriptor_t conv, const cudnnFilterDescriptor_t dw, const int wanted,
                             int *found, cudnnConvolutionBwdFilterAlgoPerf_t *result);
    cudnnStatus_t (*y)(cudnnHandle_t handle, const void *alpha, const cudnnTensorDescriptor_t x_desc, const void *x,
                       const cudnnFilterDescriptor_t w_desc, const void *w, const cudnnConvolutionDescriptor_t conv,
                       cudnnConvolutionFwdAlgo_t algo, void *workspace, size_t workspace_nbytes, const void *beta,
                       const cudnnTensorDescriptor_t y_desc, void *y);
    cudnnStatus_t (*dx)(cudnnHandle_t handle, const void *alpha, const cudnnFilterDescriptor_t w_desc, const void *w,
                        const cudnnTensorDescriptor_t dy_desc, const void *dy, const cudnnConvolutionDescriptor_t conv,
                        cudnnConvolutionBwdDataAlgo_t algo, void *workspace, size_t workspace_nbytes, const void *beta,
                        const cudnnTensorDescriptor_t dx_desc, void *dx);
    cudnnStatus_t (*dw)(cudnnHandle_t handle, const void *alpha, const cudnnTensorDescriptor_t x_desc, const void *x,
                        const cudnnTensorDescriptor_t dy_desc, const void *dy, const cudnnConvolutionDescriptor_t conv,
                        cudnnConvolutionBwdFilterAlgo_t algo, void *workspace, size_t workspace_nbytes, const void *beta,
                        const cudnnFilterDescriptor_t dw_desc, void *dw);
};

/* Opens the library and finds its functions; NULL, or why not. Local. */
const char *dpt_cuda__open_cudnn(struct dpt_cudnn *dnn);
