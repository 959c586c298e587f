/* SPDX-License-Identifier: Apache-2.0 */

/* cuDNN is opened at run time, by a process that has a card and a convolution to compute there. */

#include "dev/cuda_dnn.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

const char *dpt_cuda__open_cudnn(struct dpt_cudnn *dnn)
{
    static char problem[160];
    char name[2][256];
    snprintf(name[0], sizeof name[0], "libcudnn.so.%d", CUDNN_MAJOR);
    snprintf(name[1], sizeof name[1], DPT_CUDA_LIBDIR "/libcudnn.so.%d", CUDNN_MAJOR);
    for (int i = 0; i < 2 && !dnn->library; i++) {
        dnn->library = dlopen(name[i], RTLD_NOW | RTLD_LOCAL);
    }
    if (!dnn->library) {
        snprintf(problem, sizeof problem, "%.64s was not found: add its folder to LD_LIBRARY_PATH", name[0]);
        return problem;
    }
    const struct {
        void *slot;
        const char *name;
    } function[] = {
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
    for (size_t i = 0; i < sizeof function / sizeof function[0]; i++) {
        void *symbol = dlsym(dnn->library, function[i].name);
        if (!symbol) {
            snprintf(problem, sizeof problem, "%.64s has no function %s", name[0], function[i].name);
            dlclose(dnn->library);
            dnn->library = NULL;
            return problem;
        }
        memcpy(function[i].slot, &symbol, sizeof symbol);
    }
    return NULL;
}
