/* SPDX-License-Identifier: Apache-2.0 */

/* cuBLASLt is some 500 MB: it is opened at run time, by a process that has a card. */

#include <dlfcn.h>

#include "dev/cuda.h"
#include "dev/cuda_open.h"

#define NAME "libcublasLt.so." DPT_CUDA_NUMBER(CUBLAS_VER_MAJOR)

enum dpt_status dpt_cuda__open_blas(struct dpt_cublas *blas)
{
    static const char *const name[] = {NAME, DPT_CUDA_LIBDIR "/" NAME, "libcublasLt.so", NULL};
    const struct dpt_cuda_function function[] = {
        {&blas->create, "cublasLtCreate"},
        {&blas->destroy, "cublasLtDestroy"},
        {&blas->desc_init, "cublasLtMatmulDescInit_internal"},
        {&blas->desc_set, "cublasLtMatmulDescSetAttribute"},
        {&blas->layout_init, "cublasLtMatrixLayoutInit_internal"},
        {&blas->preference_init, "cublasLtMatmulPreferenceInit_internal"},
        {&blas->preference_set, "cublasLtMatmulPreferenceSetAttribute"},
        {&blas->heuristic, "cublasLtMatmulAlgoGetHeuristic"},
        {&blas->matmul, "cublasLtMatmul"},
    };
    const char *missing;
    const bool open = dpt_cuda__open_library(name, sizeof function / sizeof function[0], function, &blas->library, &missing);
    DPT_CHECK(!missing, DPT_STATUS_FAILED,
              "%s has no function %s: its version is not the one that dpt was built with", name[0], missing);
    DPT_CHECK(open, DPT_STATUS_FAILED,
              "%s was not found, neither where the system looks for libraries nor in %s: add its folder to "
              "LD_LIBRARY_PATH, or set device.kind = cpu",
              name[0], DPT_CUDA_LIBDIR);
    return DPT_STATUS_OK;
}

void dpt_cuda__close_blas(struct dpt_cublas *blas)
{
    if (blas->library) {
        dlclose(blas->library);
        blas->library = NULL;
    }
}
