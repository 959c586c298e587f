/* SPDX-License-Identifier: Apache-2.0 */

/* Fast kernels of op/activation.c, in float: one vector loop for each formula. x and y may be the same memory. */

#include "op/activation.h"

#include "base/simd.h"
#include "op/mathf.h"
#include "op/op.h"

/* Twice the argument of tanh in gelu_tanh. */
DPT_OP_INLINE float gelu_twice(float x)
{
    return x * (1.59576912f + 0.0713548163f * (x * x));
}

/* y[i] = f(x[i]) */
#define FORWARD(name, f)                                                                                               \
    DPT_SIMD static void activation_##name(int64_t n, const float *in, float *y)                                       \
    {                                                                                                                  \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++)                                                            \
        {                                                                                                              \
            const float x = in[i];                                                                                     \
            y[i] = (f);                                                                                                \
        }                                                                                                              \
    }

FORWARD(relu, dpt_op__reluf(x))
FORWARD(gelu, x * dpt_op__phif(x, dpt_op__gaussf(x)))
FORWARD(silu, x * dpt_op__sigmoidf(x))
FORWARD(sigmoid, dpt_op__sigmoidf(x))
FORWARD(tanh, dpt_op__tanhf(x))
FORWARD(gelu_tanh, x * dpt_op__sigmoidf(gelu_twice(x)))

/* dx[i] = f(dy[i], t[i]) */
#define BACKWARD(name, f)                                                                                              \
    DPT_SIMD static void activation_dx_##name(int64_t n, const float *from, const float *saved, float *dx)             \
    {                                                                                                                  \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++)                                                            \
        {                                                                                                              \
            const float dy = from[i], t = saved[i];                                                                    \
            dx[i] = (f);                                                                                               \
        }                                                                                                              \
    }

/* s (1 + x (1 - s)) */
DPT_OP_INLINE float silu_slope(float x)
{
    const float s = dpt_op__sigmoidf(x);
    return s * (1.0f + x * (1.0f - s));
}

/* Phi(x) + x phi(x) */
DPT_OP_INLINE float gelu_slope(float x)
{
    const float gauss = dpt_op__gaussf(x);
    return dpt_op__phif(x, gauss) + x * 0.398942280f * gauss;
}

/* s (1 + x u' (1 - s)) with s of u, u' = 2 sqrt(2 / pi) (1 + 3 * 0.044715 x^2) */
DPT_OP_INLINE float gelu_tanh_slope(float x)
{
    const float s = dpt_op__sigmoidf(gelu_twice(x));
    return s * (1.0f + x * (1.59576912f + 0.214064449f * (x * x)) * (1.0f - s));
}

BACKWARD(relu, t <= 0.0f ? 0.0f : dy)
BACKWARD(gelu, dy * gelu_slope(t))
BACKWARD(silu, dy * silu_slope(t))
BACKWARD(sigmoid, dy * t * (1.0f - t))
BACKWARD(tanh, dy * (1.0f - t * t))
BACKWARD(gelu_tanh, dy * gelu_tanh_slope(t))

void dpt_op__activation_f32(const struct dpt_op_call *call)
{
    static void (*const kernel[])(int64_t, const float *, float *) = {
        [DPT_ACTIVATION_KIND_RELU] = activation_relu,       [DPT_ACTIVATION_KIND_GELU] = activation_gelu,
        [DPT_ACTIVATION_KIND_SILU] = activation_silu,       [DPT_ACTIVATION_KIND_SIGMOID] = activation_sigmoid,
        [DPT_ACTIVATION_KIND_TANH] = activation_tanh,       [DPT_ACTIVATION_KIND_GELU_TANH] = activation_gelu_tanh,
    };
    const struct dpt_activation_param *param = call->types->param;
    kernel[param->kind](dpt_type_numel(&call->in[0].type), call->in[0].data, call->out[0].data);
}

void dpt_op__activation_dx_f32(const struct dpt_op_call *call)
{
    static void (*const kernel[])(int64_t, const float *, const float *, float *) = {
        [DPT_ACTIVATION_KIND_RELU] = activation_dx_relu,    [DPT_ACTIVATION_KIND_GELU] = activation_dx_gelu,
        [DPT_ACTIVATION_KIND_SILU] = activation_dx_silu,    [DPT_ACTIVATION_KIND_SIGMOID] = activation_dx_sigmoid,
        [DPT_ACTIVATION_KIND_TANH] = activation_dx_tanh,    [DPT_ACTIVATION_KIND_GELU_TANH] = activation_dx_gelu_tanh,
    };
    const struct dpt_activation_param *param = call->types->param;
    kernel[param->kind](dpt_type_numel(&call->in[0].type), call->in[0].data, call->in[1].data, call->out[0].data);
}
