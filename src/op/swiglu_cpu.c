/* SPDX-License-Identifier: Apache-2.0 */

/* Fast kernels of op/swiglu.c, in float. Output 0 may be the memory of any input. */

#include "op/swiglu.h"

#include "base/simd.h"
#include "op/mathf.h"
#include "op/op.h"

DPT_SIMD static void swiglu(int64_t n, const float *gate, const float *up, float *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float g = gate[i];
        y[i] = g * dpt_op__sigmoidf(g) * up[i];
    }
}

DPT_SIMD static void swiglu_dx(int64_t n, const float *dy, const float *gate, const float *up, float *dgate, float *dup)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float g = gate[i], d = dy[i], u = up[i], s = dpt_op__sigmoidf(g);
        dgate[i] = d * u * (s * (1.0f + g * (1.0f - s)));
        dup[i] = d * (g * s);
    }
}

void dpt_op__swiglu_f32(const struct dpt_op_call *call)
{
    swiglu(dpt_type_numel(&call->in[0].type), call->in[0].data, call->in[1].data, call->out[0].data);
}

void dpt_op__swiglu_dx_f32(const struct dpt_op_call *call)
{
    swiglu_dx(dpt_type_numel(&call->in[0].type), call->in[0].data, call->in[1].data, call->in[2].data,
              call->out[0].data, call->out[1].data);
}
