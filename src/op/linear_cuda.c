/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Twins of op/linear.c and op/linear_heads.c. The bias is added by the library; relu in a pass of its own, since the
 * library's would make 0 of nan and hide that a training diverged.
 */

#include "op/linear.h"

#include "dev/cuda.h"
#include "op/cuda.h"
#include "op/gemm_cuda.h"

/* pointwise_cuda.cu: y = max(y, 0), where nan stays. */
void dpt_op__relu_cuda(struct dpt_cuda *cuda, int64_t n, float *y);

enum dpt_status dpt_op__linear_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_tensor *x = &call->in[0], *w = &call->in[1], *y = &call->out[0];
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&x->type, &w->type, &y->type);
    const struct dpt_cuda_gemm gemm = {
        .tb = true,
        .m = size.n,
        .n = size.k,
        .k = size.h,
        .a = x->data,
        .b = w->data,
        .bias = call->types->nin > 2 ? call->in[2].data : NULL,
        .c = y->data,
    };
    DPT_TRY(dpt_cuda_gemm(cuda, &gemm));
    if (dpt_op__linear_act(call->types) == DPT_ACTIVATION_KIND_RELU) {
        dpt_op__relu_cuda(cuda, size.n * size.k, y->data);
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_op__linear_dx_cuda(const struct dpt_op_call *call)
{
    const struct dpt_tensor *dy = &call->in[0], *w = &call->in[1], *dx = &call->out[0];
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&dx->type, &w->type, &dy->type);
    const struct dpt_cuda_gemm gemm = {
        .m = size.n, .n = size.h, .k = size.k, .a = dy->data, .b = w->data, .c = dx->data};
    return dpt_cuda_gemm(dpt_cuda_of(call->dev), &gemm);
}

enum dpt_status dpt_op__linear_dw_cuda(const struct dpt_op_call *call)
{
    const struct dpt_tensor *x = &call->in[0], *dy = &call->in[1], *dw = &call->out[0];
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&x->type, &dw->type, &dy->type);
    const struct dpt_cuda_gemm gemm = {
        .ta = true, .m = size.k, .n = size.h, .k = size.n, .a = dy->data, .b = x->data, .c = dw->data};
    return dpt_cuda_gemm(dpt_cuda_of(call->dev), &gemm);
}
