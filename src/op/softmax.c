/* SPDX-License-Identifier: Apache-2.0 */
#include "op/softmax.h"

#include "base/simd.h"
#include "op/mathf.h"

/* Lanes, since not every compiler makes vector code of one maximum. */
DPT_SIMD static float softmax_max(int64_t n, const float *x, float max)
{
    enum { LANES = 16 };
    float lane[LANES];
    int64_t begin = 0;
    for (int k = 0; k < LANES; k++) {
        lane[k] = max;
    }
    for (; begin + LANES <= n; begin += LANES) {
#pragma omp simd
        for (int k = 0; k < LANES; k++) {
            lane[k] = x[begin + k] > lane[k] ? x[begin + k] : lane[k];
        }
    }
    for (int64_t i = begin; i < n; i++) {
        max = x[i] > max ? x[i] : max;
    }
    for (int k = 0; k < LANES; k++) {
        max = lane[k] > max ? lane[k] : max;
    }
    return max;
}

DPT_SIMD static float softmax_exp(int64_t n, float shift, float *x)
{
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        const float e = dpt_op__expf(x[i] - shift);
        x[i] = e;
        sum += e;
    }
    return sum;
}

float dpt_op__max_f32(int64_t n, const float *x, float max)
{
    return softmax_max(n, x, max);
}

float dpt_op__exp_f32(int64_t n, float shift, float *x)
{
    return softmax_exp(n, shift, x);
}
