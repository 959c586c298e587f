/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The functions of NCCL that are used. */

#include <nccl.h>

#include "dev/cuda.h"

struct dpt_nccl {
    void *library;
    ncclResult_t (*version)(int *version);
    const char *(*text)(ncclResult_t result);
    ncclResult_t (*id)(ncclUniqueId *id);
    ncclResult_t (*open)(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank);
    ncclResult_t (*close)(ncclComm_t comm);
    ncclResult_t (*sum)(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,
                        cudaStream_t stream);
    ncclResult_t (*sum_at)(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op, int root,
                           ncclComm_t comm, cudaStream_t stream);
    ncclResult_t (*tell)(const void *from, void *to, size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                         cudaStream_t stream);
    ncclResult_t (*group_begin)(void);
    ncclResult_t (*group_end)(void);
};

/* Opens the library and finds its functions; NULL, or why not. It stays open. Local. */
const char *dpt_cuda__open_nccl(struct dpt_nccl *nccl);
