/* SPDX-License-Identifier: Apache-2.0 */

/* Kernels around a convolution of cuDNN. */

#include "op/cuda.cuh"

extern "C" {
#include "op/conv_cudnn.h"
}

static struct dpt_in in_of(enum dpt_dtype type, const void *data)
{
    const struct dpt_in in = {data, type, DPT_DTYPE_F32};
    return in;
}

/* The place in OIHW of element i of OHWI; `places` of a kernel, c channels. */
static __device__ int64_t from_last(int64_t i, int64_t places, int64_t c)
{
    const int64_t at = dpt_div(i, c), o = dpt_div(at, places);
    return (o * c + (i - at * c)) * places + (at - o * places);
}

static __global__ void lay_weights(int64_t n, int64_t places, int64_t c, struct dpt_in w, struct dpt_out to)
{
    DPT_EACH(i, n)
    {
        to[i] = w[from_last(i, places, c)];
    }
}

static __global__ void read_weights(int64_t n, int64_t places, int64_t c, struct dpt_in from, struct dpt_out dw)
{
    DPT_EACH(i, n)
    {
        dw[from_last(i, places, c)] = from[i];
    }
}

extern "C" void dpt_op__conv_lay_weights(struct dpt_cuda *cuda, const struct dpt_op__conv *conv, const struct dpt_tensor *w,
                                         enum dpt_dtype type, void *to)
{
    const int64_t n = dpt_type_numel(&w->type), places = conv->kernel[0] * conv->kernel[1];
    const struct dpt_out out = {to, type};
    DPT_LAUNCH_EACH(cuda, n, lay_weights, places, conv->c, in_of(w->type.dtype, w->data), out);
}

extern "C" void dpt_op__conv_read_weights(struct dpt_cuda *cuda, const struct dpt_op__conv *conv, enum dpt_dtype type,
                                          const void *from, const struct dpt_tensor *dw)
{
    const int64_t n = dpt_type_numel(&dw->type), places = conv->kernel[0] * conv->kernel[1];
    const struct dpt_out out = {dw->data, dw->type.dtype};
    DPT_LAUNCH_EACH(cuda, n, read_weights, places, conv->c, in_of(type, from), out);
}
