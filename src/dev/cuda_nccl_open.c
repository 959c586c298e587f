/* SPDX-License-Identifier: Apache-2.0 */

/* NCCL is opened at run time, by ranks that each have a card of their own. */

#include "dev/cuda_nccl.h"
#include "dev/cuda_open.h"

const char *dpt_cuda__open_nccl(struct dpt_nccl *nccl)
{
    static char problem[DPT_CUDA_PROBLEM];
    static const char *const name[] = {"libnccl.so.2", DPT_CUDA_LIBDIR "/libnccl.so.2", "libnccl.so", NULL};
    const struct dpt_cuda_function function[] = {
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
    return dpt_cuda__try_library(name, sizeof function / sizeof function[0], function, &nccl->library, problem);
}
