/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The part of NCCL that dpt uses, for cards that are not there (cuda_runtime_api.h); nccl.c does the sums. */

#include "cuda_runtime_api.h"

typedef enum { ncclSuccess = 0, ncclSystemError = 2, ncclInvalidArgument = 4 } ncclResult_t;
typedef enum { ncclFloat32 = 7 } ncclDataType_t;
typedef enum { ncclSum = 0 } ncclRedOp_t;
typedef struct {
    char internal[128];
} ncclUniqueId;
typedef struct emulated_ring *ncclComm_t;
