/* SPDX-License-Identifier: Apache-2.0 */

/* cuBLASLt is some 500 MB: it is opened at run time, by a process that has a card. */

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "dev/cuda.h"

enum { NAMES = 3 };

static void *find(void *library, const char *name, const char **missing)
{
    void *symbol = dlsym(library, name);
    *missing = symbol ? *missing : name;
    return symbol;
}

enum dpt_status dpt_cuda__open_blas(struct dpt_cublas *blas)
{
    char name[NAMES][256];
    const char *missing = NULL;
    snprintf(name[0], sizeof name[0], "libcublasLt.so.%d", CUBLAS_VER_MAJOR);
    snprintf(name[1], sizeof name[1], DPT_CUDA_LIBDIR "/libcublasLt.so.%d", CUBLAS_VER_MAJOR);
    snprintf(name[2], sizeof name[2], "libcublasLt.so");
    for (int i = 0; i < NAMES && !blas->library; i++) {
        blas->library = dlopen(name[i], RTLD_NOW | RTLD_LOCAL);
    }
    DPT_CHECK(blas->library, DPT_STATUS_FAILED,
              "%s was not found, neither where the system looks for libraries nor in %s: add its folder to "
              "LD_LIBRARY_PATH, or set device.kind = cpu",
              name[0], DPT_CUDA_LIBDIR);
    const struct {
        void *slot;
        const char *name;
    } function[] = {
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
    for (size_t i = 0; i < sizeof function / sizeof function[0]; i++) {
        void *symbol = find(blas->library, function[i].name, &missing);
        memcpy(function[i].slot, &symbol, sizeof symbol);
    }
    if (missing) {
        dpt_cuda__close_blas(blas);
        return dpt_error_set(DPT_STATUS_FAILED, __FILE__, __LINE__,
                             "%s has no function %s: its version is not the one that dpt was built with", name[0], missing);
    }
    return DPT_STATUS_OK;
}

void dpt_cuda__close_blas(struct dpt_cublas *blas)
{
    if (blas->library) {
        dlclose(blas->library);
        blas->library = NULL;
    }
}
