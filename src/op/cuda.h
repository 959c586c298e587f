/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Kernels for cards: the twins of ops, listed in cuda.def, and arithmetic on flat buffers. A build without CUDA has
 * cuda_none.c, where no op has a twin. Twins take F32, where the node computes in 16 bits each operand in F32 or that,
 * integers, and statistics in F64.
 */

#include "op/op.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Kernels of a library, beside a twin. prepare leaves *prep NULL where there is no library or it does not take these types;
 * run sets *done to false, and nothing else, where it was not prepared for the sizes of the call: then the twin runs.
 */
struct dpt_op_cuda_library {
    enum dpt_status (*prepare)(struct dpt_dev *dev, const struct dpt_op_types *types, void **prep);
    void (*release)(void *prep);
    size_t (*scratch)(const void *prep);
    enum dpt_status (*run)(const struct dpt_op_call *call, bool *done);
};

extern const struct dpt_op_cuda_library dpt_op__conv_library, dpt_op__conv_dx_library, dpt_op__conv_dw_library;

/* The twin of an op. */
struct dpt_op_cuda {
    const struct dpt_op *op;
    enum dpt_status (*run)(const struct dpt_op_call *call);
    size_t (*scratch)(const struct dpt_op_types *types);         /* optional, bytes                         */
    enum dpt_status (*check)(const struct dpt_op_types *types);  /* optional: refuses sizes it is not made for */
    const struct dpt_op_cuda_library *library;                   /* optional                                */
};

#define DPT_CUDA(name, kernel, scratch, check) enum dpt_status kernel(const struct dpt_op_call *call);
#define DPT_CUDA_LIBRARY(name, kernel, scratch, check, library) enum dpt_status kernel(const struct dpt_op_call *call);
#define DPT_CUDA_SCRATCH(name) size_t name(const struct dpt_op_types *types);
#define DPT_CUDA_CHECK(name) enum dpt_status name(const struct dpt_op_types *types);
#include "op/cuda.def"
#undef DPT_CUDA
#undef DPT_CUDA_LIBRARY
#undef DPT_CUDA_SCRATCH
#undef DPT_CUDA_CHECK

/* NULL where the op has none. Local. */
const struct dpt_op_cuda *dpt_op__cuda(const struct dpt_op *op);

/* flat.h for F32 on a card. */
struct dpt_flat_range;
enum dpt_status dpt_flat__add_cuda(struct dpt_dev *dev, int64_t n, const float *x, const float *y, float *z);
enum dpt_status dpt_flat__scale_cuda(struct dpt_dev *dev, int64_t n, double factor, float *x);
enum dpt_status dpt_flat__squares_cuda(struct dpt_dev *dev, int count, const struct dpt_flat_range *range, double *sum);

/* update.h: ranges in the memory of a card. */
struct dpt_update_range;
struct dpt_update_table;
enum dpt_status dpt_update__table_cuda(struct dpt_dev *dev, const struct dpt_op *op, int count,
                                       const struct dpt_update_range *range, struct dpt_update_table **table);
void dpt_update__table_free_cuda(struct dpt_dev *dev, struct dpt_update_table *table);

#ifdef __cplusplus
}
#endif
