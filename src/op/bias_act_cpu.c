/* SPDX-License-Identifier: Apache-2.0 */

/* Fast kernel of op/bias_act.c, in float. x and y may be the same memory. */

#include "base/simd.h"
#include "op/linear.h"

/* Of one row; `bias` may be NULL. */
DPT_SIMD static void bias_act_row(int64_t k, const float *x, const float *bias, float *z)
{
#pragma omp simd
    for (int64_t o = 0; o < k; o++) {
        z[o] = x[o] + (bias ? bias[o] : 0.0f);
    }
}

void dpt_op__bias_act_f32(const struct dpt_op_call *call)
{
    const struct dpt_linear_param *param = call->types->param;
    const struct dpt_type *type = &call->in[0].type;
    const float *x = call->in[0].data;                                   /* [n,k] */
    const float *bias = call->types->nin > 1 ? call->in[1].data : NULL; /* [k]   */
    float *y = call->out[0].data;                                        /* [n,k] */
    float *z = call->types->nout > 1 ? call->out[1].data : y;            /* [n,k] */
    const int64_t k = type->dim[type->ndim - 1], numel = dpt_type_numel(type);
    for (int64_t at = 0; at < numel; at += k) {
        bias_act_row(k, x + at, bias, z + at);
        if (param->act != DPT_ACTIVATION_KIND_NONE) {
            dpt_op__activate(param->act, k, z + at, y + at);
        }
    }
}
