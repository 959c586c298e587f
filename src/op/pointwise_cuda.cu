/* SPDX-License-Identifier: Apache-2.0 */

/* Twins of ops that compute each element by itself: activation.c, bias_act.c, combine.c, dropout.c, swiglu.c. */

#include "op/cuda.cuh"

extern "C" {
#include "op/combine.h"
#include "op/dropout.h"
#include "op/gemm_cuda.h"
#include "op/linear.h"
}

static __device__ float logistic(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

/* ------------------------------------------------------------------------------------------------------ activation */

/* Phi: the normal distribution function. */
static __device__ float normal(float x)
{
    return 0.5f * erfcf(-x * 0.70710678118654752440f);
}

/* Twice the argument of tanh in gelu_tanh. */
static __device__ float gelu_twice(float x)
{
    return 1.59576912160573071176f * (x + 0.044715f * x * x * x);
}

static __device__ float activate(enum dpt_activation_kind kind, float x)
{
    switch (kind) {
    case DPT_ACTIVATION_KIND_NONE:
        break;
    case DPT_ACTIVATION_KIND_RELU:
        return x < 0.0f ? 0.0f : x;
    case DPT_ACTIVATION_KIND_GELU:
        return x * normal(x);
    case DPT_ACTIVATION_KIND_SILU:
        return x * logistic(x);
    case DPT_ACTIVATION_KIND_SIGMOID:
        return logistic(x);
    case DPT_ACTIVATION_KIND_TANH:
        return tanhf(x);
    case DPT_ACTIVATION_KIND_GELU_TANH:
        return x * logistic(gelu_twice(x));
    }
    return x;
}

static __device__ float activate_back(enum dpt_activation_kind kind, float dy, float t)
{
    switch (kind) {
    case DPT_ACTIVATION_KIND_NONE:
        break;
    case DPT_ACTIVATION_KIND_RELU:
        return t <= 0.0f ? 0.0f : dy;
    case DPT_ACTIVATION_KIND_GELU:
        return dy * (normal(t) + t * 0.39894228040143267794f * expf(-0.5f * t * t));
    case DPT_ACTIVATION_KIND_SILU: {
        const float s = logistic(t);
        return dy * s * (1.0f + t * (1.0f - s));
    }
    case DPT_ACTIVATION_KIND_SIGMOID:
        return dy * t * (1.0f - t);
    case DPT_ACTIVATION_KIND_TANH:
        return dy * (1.0f - t * t);
    case DPT_ACTIVATION_KIND_GELU_TANH: {
        const float s = logistic(gelu_twice(t)), slope = 1.59576912160573071176f * (1.0f + 3.0f * 0.044715f * t * t);
        return dy * s * (1.0f + t * slope * (1.0f - s));
    }
    }
    return dy;
}

static __global__ void activation(int64_t n, enum dpt_activation_kind kind, struct dpt_in x, struct dpt_out y)
{
    dpt_each(n, dpt_lines(0, x, y), [&](int64_t i, auto w) {
        float at[w.n];
        dpt_load(i, x, at);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            at[k] = activate(kind, at[k]);
        }
        y.store(i, at);
    });
}

static __global__ void activation_dx(int64_t n, enum dpt_activation_kind kind, struct dpt_in dy, struct dpt_in t,
                                     struct dpt_out dx)
{
    dpt_each(n, dpt_lines(0, dy, t, dx), [&](int64_t i, auto w) {
        float slope[w.n], at[w.n];
        dpt_load(i, dy, slope, t, at);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            at[k] = activate_back(kind, slope[k], at[k]);
        }
        dx.store(i, at);
    });
}

extern "C" enum dpt_status dpt_op__activation_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_activation_param *param = (const struct dpt_activation_param *)call->types->param;
    const int64_t n = dpt_type_numel(&call->in[0].type);
    DPT_LAUNCH_EACH(cuda, n, activation, param->kind, dpt_in_of(call, 0), dpt_out_of(call, 0));
    return DPT_STATUS_OK;
}

extern "C" enum dpt_status dpt_op__activation_dx_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_activation_param *param = (const struct dpt_activation_param *)call->types->param;
    const int64_t n = dpt_type_numel(&call->in[0].type);
    DPT_LAUNCH_EACH(cuda, n, activation_dx, param->kind, dpt_in_of(call, 0), dpt_in_of(call, 1), dpt_out_of(call, 0));
    return DPT_STATUS_OK;
}

/* bias and `kept` may be missing; x and y may be the same. A nan stays one. */
static __global__ void bias_act(int64_t n, int64_t k, struct dpt_in x, struct dpt_in bias, enum dpt_activation_kind act,
                                struct dpt_out y, struct dpt_out kept)
{
    dpt_each(n, dpt_lines(bias.data ? k : 0, x, bias, y, kept), [&](int64_t i, auto w) {
        float z[w.n], shift[w.n];
        dpt_load(i, x, z);
        dpt_load(dpt_mod(i, k), bias, shift);
        DPT_UNROLL for (int e = 0; e < w.n; e++)
        {
            z[e] += shift[e];
        }
        if (kept.data) {
            kept.store(i, z);
        }
        DPT_UNROLL for (int e = 0; e < w.n; e++)
        {
            z[e] = activate(act, z[e]);
        }
        y.store(i, z);
    });
}

extern "C" enum dpt_status dpt_op__bias_act_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_linear_param *param = (const struct dpt_linear_param *)call->types->param;
    const struct dpt_type *type = &call->in[0].type;
    const int64_t n = dpt_type_numel(type), k = type->dim[type->ndim - 1];
    const struct dpt_out none = {NULL, DPT_DTYPE_F32};
    DPT_LAUNCH_EACH(cuda, n, bias_act, k, dpt_in_of(call, 0), dpt_in_of(call, 1), param->act, dpt_out_of(call, 0),
                    call->types->nout > 1 ? dpt_out_of(call, 1) : none);
    return DPT_STATUS_OK;
}

extern "C" void dpt_op__activate_cuda(struct dpt_cuda *cuda, enum dpt_activation_kind act, int64_t n,
                                      const struct dpt_tensor *x, const struct dpt_tensor *t, const struct dpt_tensor *y)
{
    const struct dpt_in from = {x->data, x->type.dtype, DPT_DTYPE_F32};
    const struct dpt_out to = {y->data, y->type.dtype};
    if (t) {
        const struct dpt_in saved = {t->data, t->type.dtype, DPT_DTYPE_F32};
        DPT_LAUNCH_EACH(cuda, n, activation_dx, act, from, saved, to);
    } else {
        DPT_LAUNCH_EACH(cuda, n, activation, act, from, to);
    }
}

static __global__ void convert(int64_t n, struct dpt_in x, struct dpt_out y)
{
    dpt_each(n, dpt_lines(0, x, y), [&](int64_t i, auto w) {
        float at[w.n];
        dpt_load(i, x, at);
        y.store(i, at);
    });
}

extern "C" void dpt_op__bias_cuda(struct dpt_cuda *cuda, enum dpt_activation_kind act, const struct dpt_tensor *y,
                                  const struct dpt_tensor *bias)
{
    const int64_t n = dpt_type_numel(&y->type), k = y->type.dim[y->type.ndim - 1];
    const struct dpt_in from = {y->data, y->type.dtype, DPT_DTYPE_F32};
    const struct dpt_in more = {bias ? bias->data : NULL, bias ? bias->type.dtype : DPT_DTYPE_F32, DPT_DTYPE_F32};
    const struct dpt_out to = {y->data, y->type.dtype}, nowhere = {NULL, DPT_DTYPE_F32};
    DPT_LAUNCH_EACH(cuda, n, bias_act, k, from, more, act, to, nowhere);
}

extern "C" void dpt_op__convert_cuda(struct dpt_cuda *cuda, const struct dpt_tensor *x, enum dpt_dtype dtype, void *y)
{
    const struct dpt_in from = {x->data, x->type.dtype, DPT_DTYPE_F32};
    const struct dpt_out to = {y, dtype};
    const int64_t n = dpt_type_numel(&x->type);
    DPT_LAUNCH_EACH(cuda, n, convert, from, to);
}

/* --------------------------------------------------------------------------------------------------------- combine */

static __global__ void add(int64_t n, struct dpt_in x, struct dpt_in y, struct dpt_out z)
{
    dpt_each(n, dpt_lines(0, x, y, z), [&](int64_t i, auto w) {
        float a[w.n], b[w.n];
        dpt_load(i, x, a, y, b);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            a[k] += b[k];
        }
        z.store(i, a);
    });
}

static __global__ void mul(int64_t n, struct dpt_in x, struct dpt_in y, struct dpt_out z)
{
    dpt_each(n, dpt_lines(0, x, y, z), [&](int64_t i, auto w) {
        float a[w.n], b[w.n];
        dpt_load(i, x, a, y, b);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            a[k] *= b[k];
        }
        z.store(i, a);
    });
}

extern "C" enum dpt_status dpt_op__add_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const int64_t n = dpt_type_numel(&call->in[0].type);
    DPT_LAUNCH_EACH(cuda, n, add, dpt_in_of(call, 0), dpt_in_of(call, 1), dpt_out_of(call, 0));
    return DPT_STATUS_OK;
}

extern "C" enum dpt_status dpt_op__mul_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const int64_t n = dpt_type_numel(&call->in[0].type);
    DPT_LAUNCH_EACH(cuda, n, mul, dpt_in_of(call, 0), dpt_in_of(call, 1), dpt_out_of(call, 0));
    return DPT_STATUS_OK;
}

/* n elements of rows of `width`: from rows `from_stride` apart to rows `to_stride` apart. */
static __global__ void copy_columns(int64_t n, int64_t width, struct dpt_in x, int64_t from_stride, struct dpt_out y,
                                    int64_t to_stride)
{
    DPT_EACH(i, n)
    {
        const int64_t column = dpt_mod(i, width), row = i / width;
        y[row * to_stride + column] = x[row * from_stride + column];
    }
}

static int64_t width_of(const struct dpt_type *type)
{
    return type->dim[type->ndim - 1];
}

extern "C" enum dpt_status dpt_op__concat_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    struct dpt_out to = dpt_out_of(call, 0);
    for (int i = 0; i < call->types->nin; i++) {
        const struct dpt_type *x = &call->in[i].type;
        const int64_t n = dpt_type_numel(x), width = width_of(x);
        DPT_LAUNCH_EACH(cuda, n, copy_columns, width, dpt_in_of(call, i), width, to, width_of(&call->out[0].type));
        to = to + width;
    }
    return DPT_STATUS_OK;
}

extern "C" enum dpt_status dpt_op__slice_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_slice_param *param = (const struct dpt_slice_param *)call->types->param;
    const int64_t n = dpt_type_numel(&call->out[0].type), width = width_of(&call->out[0].type);
    DPT_LAUNCH_EACH(cuda, n, copy_columns, width, dpt_in_of(call, 0) + param->begin, width_of(&call->in[0].type),
                    dpt_out_of(call, 0), width);
    return DPT_STATUS_OK;
}

/* --------------------------------------------------------------------------------------------------------- dropout */

static __global__ void dropout(int64_t n, int64_t length, struct dpt_dropout_place place, uint64_t seed,
                               const uint64_t *step, uint32_t stream, uint32_t drop, float scale, struct dpt_in x, struct dpt_out y)
{
    const uint64_t now = *step;
    dpt_each(n, dpt_lines(length, x, y), [&](int64_t i, auto w) { /* a run is one of the global batch, too */
        const uint64_t element = dpt_dropout_first(&place, i / length) + (uint64_t)dpt_mod(i, length);
        const unsigned shift = (unsigned)(element % 4);
        float at[w.n];
        uint32_t word[4];
        dpt_load(i, x, at);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            const unsigned which = (shift + k) % 4;
            if (k == 0 || which == 0) {
                dpt_dropout_words(seed, stream, now, (element + k) / 4, word);
            }
            at[k] = dpt_word_of(word, which) < drop ? 0.0f : at[k] * scale;
        }
        y.store(i, at);
    });
}

extern "C" enum dpt_status dpt_op__dropout_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_dropout_param *param = (const struct dpt_dropout_param *)call->types->param;
    const struct dpt_dropout_place place = dpt_op__dropout_place(call);
    const int64_t n = dpt_type_numel(&call->in[0].type);
    DPT_TRY(dpt_cuda_step(cuda, call->ctx->step));
    DPT_LAUNCH_EACH(cuda, n, dropout, place.length, place, call->ctx->seed, (const uint64_t *)cuda->step, param->stream,
                    dpt_dropout_threshold(param->rate), (float)(1.0 / (1.0 - param->rate)),
                    dpt_in_of(call, 0), dpt_out_of(call, 0));
    return DPT_STATUS_OK;
}

/* ---------------------------------------------------------------------------------------------------------- swiglu */

static __global__ void swiglu(int64_t n, struct dpt_in gate, struct dpt_in up, struct dpt_out y)
{
    dpt_each(n, dpt_lines(0, gate, up, y), [&](int64_t i, auto w) {
        float g[w.n], u[w.n];
        dpt_load(i, gate, g, up, u);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            u[k] *= g[k] * logistic(g[k]);
        }
        y.store(i, u);
    });
}

static __global__ void swiglu_dx(int64_t n, struct dpt_in dy, struct dpt_in gate, struct dpt_in up, struct dpt_out dgate,
                                 struct dpt_out dup)
{
    dpt_each(n, dpt_lines(0, dy, gate, up, dgate, dup), [&](int64_t i, auto w) {
        float d[w.n], g[w.n], u[w.n];
        dpt_load(i, dy, d, gate, g, up, u);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            const float s = logistic(g[k]), slope = d[k];
            d[k] = slope * g[k] * s;
            u[k] = slope * u[k] * s * (1.0f + g[k] * (1.0f - s));
        }
        dgate.store(i, u);
        dup.store(i, d);
    });
}

extern "C" enum dpt_status dpt_op__swiglu_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const int64_t n = dpt_type_numel(&call->in[0].type);
    DPT_LAUNCH_EACH(cuda, n, swiglu, dpt_in_of(call, 0), dpt_in_of(call, 1), dpt_out_of(call, 0));
    return DPT_STATUS_OK;
}

extern "C" enum dpt_status dpt_op__swiglu_dx_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const int64_t n = dpt_type_numel(&call->in[0].type);
    DPT_LAUNCH_EACH(cuda, n, swiglu_dx, dpt_in_of(call, 0), dpt_in_of(call, 1), dpt_in_of(call, 2), dpt_out_of(call, 0),
                    dpt_out_of(call, 1));
    return DPT_STATUS_OK;
}
