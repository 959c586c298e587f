/* SPDX-License-Identifier: Apache-2.0 */

/* NCCL is opened at run time, by ranks that each have a card of their own. */

#include "dev/cuda_nccl.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

const char *dpt_cuda__open_nccl(struct dpt_nccl *nccl)
{
    static char problem[160];
    static const char *const name[] = {"libnccl.so.2", DPT_CUDA_LIBDIR "/libnccl.so.2", "libnccl.so"};
    for (size_t i = 0; i < sizeof name / sizeof name[0] && !nccl->library; i++) {
        nccl->library = dlopen(name[i], RTLD_NOW | RTLD_LOCAL);
    }
    if (!nccl->library) {
        snprintf(problem, sizeof problem, "%s was not found: add its folder to LD_LIBRARY_PATH", name[0]);
        return problem;
    }
    const struct {
        void *slot;
        const char *name;
    } function[] = {
        {&nccl->version, "ncclGetVersion"},
        {&nccl->text, "ncclGetErrorString"},
        {&nccl->id, "ncclGetUniqueId"},
        {&nccl->open, "ncclCommInitRank"},
        {&nccl->close, "ncclCommDestroy"},
        {&nccl->sum, "ncclAllReduce"},
        {&nccl->sum_at, "ncclReduce"},
        {&nccl->tell, "ncclBroadcast"},
        {&nccl->group_begin, "ncclGroupStart"},
        {&nccl->group_end, "ncclGroupEnd"},
    };
    for (size_t i = 0; i < sizeof function / sizeof function[0]; i++) {
        void *symbol = dlsym(nccl->library, function[i].name);
        if (!symbol) {
            snprintf(problem, sizeof problem, "%s has no function %s", name[0], function[i].name);
            dlclose(nccl->library);
            nccl->library = NULL;
            return problem;
        }
        memcpy(function[i].slot, &symbol, sizeof symbol);
    }
    return NULL;
}
