/* SPDX-License-Identifier: Apache-2.0 */

/* Fast kernels of op/combine.c, in float. z may be the memory of x or y. */

#include "op/combine.h"

#include "base/add.h"
#include "base/simd.h"
#include "op/op.h"

DPT_SIMD static void combine_mul(int64_t n, const float *x, const float *y, float *z)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        z[i] = x[i] * y[i];
    }
}

void dpt_op__add_f32(const struct dpt_op_call *call)
{
    dpt_add(DPT_DTYPE_F32, dpt_type_numel(&call->in[0].type), call->in[0].data, call->in[1].data, call->out[0].data);
}

void dpt_op__mul_f32(const struct dpt_op_call *call)
{
    combine_mul(dpt_type_numel(&call->in[0].type), call->in[0].data, call->in[1].data, call->out[0].data);
}
