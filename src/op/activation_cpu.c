/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fast kernels of op/activation.c, in float: one vector loop for each formula, and another for those of language models
 * where there are AVX2 and FMA. x and y may be the same memory.
 */

#include "op/activation.h"

#include "base/simd.h"
#include "op/mathf.h"
#include "op/mathv.h"
#include "op/op.h"
#include "op/tile.h"

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

enum { KINDS = DPT_ACTIVATION_KIND_GELU_TANH + 1 };

typedef void forward_fn(int64_t n, const float *in, float *y);
typedef void backward_fn(int64_t n, const float *from, const float *saved, float *dx);

#if defined(__x86_64__)

enum { STEP = 3 }; /* vectors at a time: more do not fit in the registers */

/* y = x s and dx = dy slope(x, s), where s is the sigmoid of `argument`, for `count` vectors; then for all. */
#define GATED8(name, argument, slope)                                                                                  \
    DPT_OP__INLINE8 void name##_step(const int count, int64_t left, const float *in, const float *dy, float *out)      \
    {                                                                                                                  \
        __m256 each[STEP], s[STEP];                                                                                    \
        DPT_OP__UNROLL for (int k = 0; k < count; k++)                                                                 \
        {                                                                                                              \
            const __m256 x = each[k] = dpt_op__load8(in + 8 * k, left - 8 * k);                                        \
            s[k] = (argument);                                                                                         \
        }                                                                                                              \
        dpt_op__sigmoid8(count, s);                                                                                    \
        DPT_OP__UNROLL for (int k = 0; k < count; k++)                                                                 \
        {                                                                                                              \
            const __m256 x = each[k];                                                                                  \
            const __m256 y = dy ? dpt_op__load8(dy + 8 * k, left - 8 * k) * (slope) : x * s[k];                        \
            dpt_op__store8(out + 8 * k, left - 8 * k, y);                                                              \
        }                                                                                                              \
    }                                                                                                                  \
    DPT_OP__AVX2 static void name##_avx2(int64_t n, const float *in, float *y)                                         \
    {                                                                                                                  \
        int64_t i = 0;                                                                                                 \
        for (; n - i >= 8 * STEP; i += 8 * STEP) {                                                                     \
            name##_step(STEP, 8 * STEP, in + i, NULL, y + i);                                                          \
        }                                                                                                              \
        for (; i < n; i += 8) {                                                                                        \
            name##_step(1, n - i, in + i, NULL, y + i);                                                                \
        }                                                                                                              \
    }                                                                                                                  \
    DPT_OP__AVX2 static void name##_dx_avx2(int64_t n, const float *dy, const float *saved, float *dx)                 \
    {                                                                                                                  \
        int64_t i = 0;                                                                                                 \
        for (; n - i >= 8 * STEP; i += 8 * STEP) {                                                                     \
            name##_step(STEP, 8 * STEP, saved + i, dy + i, dx + i);                                                    \
        }                                                                                                              \
        for (; i < n; i += 8) {                                                                                        \
            name##_step(1, n - i, saved + i, dy + i, dx + i);                                                          \
        }                                                                                                              \
    }

/* The formulas above. */
GATED8(silu, x, s[k] * (1.0f + x * (1.0f - s[k])))
GATED8(gelu_tanh, x * (1.59576912f + 0.0713548163f * (x * x)),
       s[k] * (1.0f + x * (1.59576912f + 0.214064449f * (x * x)) * (1.0f - s[k])))

static forward_fn *const forward8[KINDS] = {
    [DPT_ACTIVATION_KIND_SILU] = silu_avx2, [DPT_ACTIVATION_KIND_GELU_TANH] = gelu_tanh_avx2};
static backward_fn *const backward8[KINDS] = {
    [DPT_ACTIVATION_KIND_SILU] = silu_dx_avx2, [DPT_ACTIVATION_KIND_GELU_TANH] = gelu_tanh_dx_avx2};

#else

static forward_fn *const forward8[KINDS];
static backward_fn *const backward8[KINDS];

#endif

void dpt_op__activate(enum dpt_activation_kind kind, int64_t n, const float *x, float *y)
{
    static forward_fn *const plain[] = {
        [DPT_ACTIVATION_KIND_RELU] = activation_relu,       [DPT_ACTIVATION_KIND_GELU] = activation_gelu,
        [DPT_ACTIVATION_KIND_SILU] = activation_silu,       [DPT_ACTIVATION_KIND_SIGMOID] = activation_sigmoid,
        [DPT_ACTIVATION_KIND_TANH] = activation_tanh,       [DPT_ACTIVATION_KIND_GELU_TANH] = activation_gelu_tanh,
    };
    forward_fn *const fast = dpt_op__tile_runs() ? forward8[kind] : NULL;
    (fast ? fast : plain[kind])(n, x, y);
}

void dpt_op__activate_dx(enum dpt_activation_kind kind, int64_t n, const float *dy, const float *t, float *dx)
{
    static backward_fn *const plain[] = {
        [DPT_ACTIVATION_KIND_RELU] = activation_dx_relu,    [DPT_ACTIVATION_KIND_GELU] = activation_dx_gelu,
        [DPT_ACTIVATION_KIND_SILU] = activation_dx_silu,    [DPT_ACTIVATION_KIND_SIGMOID] = activation_dx_sigmoid,
        [DPT_ACTIVATION_KIND_TANH] = activation_dx_tanh,    [DPT_ACTIVATION_KIND_GELU_TANH] = activation_dx_gelu_tanh,
    };
    backward_fn *const fast = dpt_op__tile_runs() ? backward8[kind] : NULL;
    (fast ? fast : plain[kind])(n, dy, t, dx);
}

void dpt_op__activation_f32(const struct dpt_op_call *call)
{
    const struct dpt_activation_param *param = call->types->param;
    dpt_op__activate(param->kind, dpt_type_numel(&call->in[0].type), call->in[0].data, call->out[0].data);
}

void dpt_op__activation_dx_f32(const struct dpt_op_call *call)
{
    const struct dpt_activation_param *param = call->types->param;
    dpt_op__activate_dx(param->kind, dpt_type_numel(&call->in[0].type), call->in[0].data, call->in[1].data,
                        call->out[0].data);
}
