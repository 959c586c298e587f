/* SPDX-License-Identifier: Apache-2.0 */

/* cuDNN is opened at run time, by a process that has a card and a convolution to compute there. */

#include "dev/cuda_dnn.h"
#include "dev/cuda_open.h"

#define NAME "libcudnn.so." DPT_CUDA_NUMBER(CUDNN_MAJOR)

const char *dpt_cuda__open_cudnn(struct dpt_cudnn *dnn)
{
    static char problem[DPT_CUDA_PROBLEM];
    static const char *const name[] = {NAME, DPT_CUDA_LIBDIR "/" NAME, NULL};
    const struct dpt_cuda_function function[] = {
        {&dnn->version, "cudnnGetVersion"},
        {&dnn->text, "cudnnGetErrorString"},
        {&dnn->create, "cudnnCreate"},
        {&dnn->destroy, "cudnnDestroy"},
        {&dnn->set_stream, "cudnnSetStream"},
        {&dnn->tensor_new, "cudnnCreateTensorDescriptor"},
        {&dnn->tensor_set, "cudnnSetTensor4dDescriptor"},
        {&dnn->tensor_free, "cudnnDestroyTensorDescriptor"},
        {&dnn->filter_new, "cudnnCreateFilterDescriptor"},
        {&dnn->filter_set, "cudnnSetFilter4dDescriptor"},
        {&dnn->filter_free, "cudnnDestroyFilterDescriptor"},
        {&dnn->conv_new, "cudnnCreateConvolutionDescriptor"},
        {&dnn->conv_set, "cudnnSetConvolution2dDescriptor"},
        {&dnn->conv_math, "cudnnSetConvolutionMathType"},
        {&dnn->conv_groups, "cudnnSetConvolutionGroupCount"},
        {&dnn->conv_free, "cudnnDestroyConvolutionDescriptor"},
        {&dnn->find_y, "cudnnGetConvolutionForwardAlgorithm_v7"},
        {&dnn->find_dx, "cudnnGetConvolutionBackwardDataAlgorithm_v7"},
        {&dnn->find_dw, "cudnnGetConvolutionBackwardFilterAlgorithm_v7"},
        {&dnn->y, "cudnnConvolutionForward"},
        {&dnn->dx, "cudnnConvolutionBackwardData"},
        {&dnn->dw, "cudnnConvolutionBackwardFilter"},
    };
    return dpt_cuda__try_library(name, sizeof function / sizeof function[0], function, &dnn->library, problem);
}
