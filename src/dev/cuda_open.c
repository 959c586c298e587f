/* SPDX-License-Identifier: Apache-2.0 */
#include "dev/cuda_open.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

bool dpt_cuda__open_library(const char *const *name, size_t count, const struct dpt_cuda_function *function, void **library,
                            const char **missing)
{
    *library = NULL;
    *missing = NULL;
    for (; *name && !*library; name++) {
        *library = dlopen(*name, RTLD_NOW | RTLD_LOCAL);
    }
    for (size_t i = 0; i < count && *library; i++) {
        void *symbol = dlsym(*library, function[i].name);
        if (!symbol) {
            *missing = function[i].name;
            dlclose(*library);
            *library = NULL;
            break;
        }
        memcpy(function[i].slot, &symbol, sizeof symbol);
    }
    return *library != NULL;
}

const char *dpt_cuda__try_library(const char *const *name, size_t count, const struct dpt_cuda_function *function,
                                  void **library, char problem[DPT_CUDA_PROBLEM])
{
    const char *missing;
    if (dpt_cuda__open_library(name, count, function, library, &missing)) {
        return NULL;
    }
    if (missing) {
        snprintf(problem, DPT_CUDA_PROBLEM, "%.64s has no function %s", name[0], missing);
    } else {
        snprintf(problem, DPT_CUDA_PROBLEM, "%.64s was not found: add its folder to LD_LIBRARY_PATH", name[0]);
    }
    return problem;
}
