/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the kernels of convolutions for cards share: conv_cuda.cu on any operands, conv_mma_cuda.cu on tensor cores. */

#include "op/cuda.cuh"

extern "C" {
#include "op/conv.h"
}

/* Sizes, and where the tensors are. */
struct images {
    struct dpt_op__conv conv;
    struct dpt_in x, w, dy, bias;
    struct dpt_out out;
    bool relu;
};

static __device__ inline float w_at(const struct images &im, int64_t g, int64_t o, int64_t c, int64_t i, int64_t j)
{
    const struct dpt_op__conv &conv = im.conv;
    return im.w[(((g * conv.o + o) * conv.c + c) * conv.kernel[0] + i) * conv.kernel[1] + j];
}

/*
 * The kernels on tensor cores, for nodes that compute in `half`, BF16 or F16. Each gives false, and does nothing, where it
 * is not made for the call. scratch: as many bytes as the function below each asks for.
 */
bool dpt_op__conv_mma(struct dpt_cuda *cuda, const struct images *im, enum dpt_dtype half, void *scratch);
size_t dpt_op__conv_mma_scratch(const struct dpt_op__conv *conv, enum dpt_dtype half);
bool dpt_op__conv_dx_mma(struct dpt_cuda *cuda, const struct images *im, enum dpt_dtype half, void *scratch);
size_t dpt_op__conv_dx_mma_scratch(const struct dpt_op__conv *conv, enum dpt_dtype half);
bool dpt_op__conv_dw_mma(struct dpt_cuda *cuda, const struct images *im, enum dpt_dtype half, void *scratch);
size_t dpt_op__conv_dw_mma_scratch(const struct dpt_op__conv *conv, enum dpt_dtype half);
