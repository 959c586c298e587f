/* SPDX-License-Identifier: Apache-2.0 */

/* Fast kernels of op/embedding.c, in float. */

#include "op/embedding.h"

#include <string.h>

#include "base/add.h"
#include "op/op.h"

void dpt_op__embedding_dw_f32(const struct dpt_op_call *call)
{
    const int32_t *token = call->in[0].data;
    const float *dy = call->in[1].data;
    float *dw = call->out[0].data;
    const int64_t n = dpt_type_numel(&call->in[0].type), rows = call->out[0].type.dim[0], h = call->out[0].type.dim[1];
    const int64_t begin = dpt_op_begin(call, 2, 0);
    if (!call->add) {
        memset(dw, 0, (size_t)(rows * h) * sizeof *dw);
    }
    for (int64_t i = 0; i < n; i++) {
        const int64_t row = token[i] - begin;
        if (row >= 0 && row < rows) {
            dpt_add(DPT_DTYPE_F32, h, dw + row * h, dy + i * h, dw + row * h);
        }
    }
}

void dpt_op__position_f32(const struct dpt_op_call *call)
{
    const struct dpt_type *type = &call->in[0].type;
    const int64_t b = type->dim[0], numel = type->dim[1] * type->dim[2];
    const float *x = call->in[0].data, *w = call->in[1].data;
    float *y = call->out[0].data;
    w += dpt_op_begin(call, 0, 1) * type->dim[2];
    for (int64_t i = 0; i < b; i++) {
        dpt_add(DPT_DTYPE_F32, numel, x + i * numel, w, y + i * numel);
    }
}

void dpt_op__position_dw_f32(const struct dpt_op_call *call)
{
    const struct dpt_type *type = &call->in[0].type;
    const int64_t b = type->dim[0], numel = type->dim[1] * type->dim[2];
    const float *dy = call->in[0].data;
    float *dw = call->out[0].data;
    memset(dw, 0, dpt_type_nbytes(&call->out[0].type));
    dw += dpt_op_begin(call, 0, 1) * type->dim[2];
    for (int64_t i = 0; i < b; i++) {
        dpt_add(DPT_DTYPE_F32, numel, dw, dy + i * numel, dw);
    }
}
