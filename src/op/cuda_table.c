/* SPDX-License-Identifier: Apache-2.0 */

/* The list of twins. */

#include "op/cuda.h"

#define DPT_CUDA_SCRATCH(name)
#define DPT_CUDA_CHECK(name)
static const struct dpt_op_cuda table[] = {
#define DPT_CUDA(name, kernel, scratch, check) {&dpt_op_##name, kernel, scratch, check, NULL},
#define DPT_CUDA_LIBRARY(name, kernel, scratch, check, library) {&dpt_op_##name, kernel, scratch, check, &library},
#include "op/cuda.def"
#undef DPT_CUDA
#undef DPT_CUDA_LIBRARY
};

const struct dpt_op_cuda *dpt_op__cuda(const struct dpt_op *op)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (table[i].op == op) {
            return &table[i];
        }
    }
    return NULL;
}
