/* SPDX-License-Identifier: Apache-2.0 */
#include "op/softmax.h"

#include "base/simd.h"
#include "op/mathf.h"
#include "op/mathv.h"
#include "op/tile.h"

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

#if defined(__x86_64__)

DPT_OP__AVX2 static float max_avx2(int64_t n, const float *x, float max)
{
    float lane[8];
    __m256 most = _mm256_set1_ps(max), other = most; /* max gives its second operand where one is nan */
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        most = _mm256_max_ps(_mm256_loadu_ps(x + i), most);
        other = _mm256_max_ps(_mm256_loadu_ps(x + i + 8), other);
    }
    _mm256_storeu_ps(lane, _mm256_max_ps(most, other));
    for (; i < n; i++) {
        max = x[i] > max ? x[i] : max;
    }
    for (int k = 0; k < 8; k++) {
        max = lane[k] > max ? lane[k] : max;
    }
    return max;
}

DPT_OP__AVX2 static float exp_avx2(int64_t n, float shift, float *x)
{
    float lane[8], sum = 0.0f;
    const __m256 each = _mm256_set1_ps(shift);
    __m256 sums = _mm256_setzero_ps();
    int64_t i = 0;
    for (__m256 e[DPT_OP__TOGETHER]; n - i >= 8 * DPT_OP__TOGETHER; i += 8 * DPT_OP__TOGETHER) {
        DPT_OP__UNROLL
        for (int k = 0; k < DPT_OP__TOGETHER; k++) {
            e[k] = _mm256_sub_ps(_mm256_loadu_ps(x + i + 8 * k), each);
        }
        dpt_op__exp8(DPT_OP__TOGETHER, e);
        DPT_OP__UNROLL
        for (int k = 0; k < DPT_OP__TOGETHER; k++) {
            _mm256_storeu_ps(x + i + 8 * k, e[k]);
            sums = _mm256_add_ps(sums, e[k]);
        }
    }
    for (; i < n; i += 8) {
        __m256 e = _mm256_sub_ps(dpt_op__load8(x + i, n - i), each);
        dpt_op__exp8(1, &e);
        dpt_op__store8(x + i, n - i, e);
        /* From memory at the end, since e holds something for numbers that are not there. */
        sums = _mm256_add_ps(sums, n - i >= 8 ? e : dpt_op__load8(x + i, n - i));
    }
    _mm256_storeu_ps(lane, sums);
    for (int k = 0; k < 8; k++) {
        sum += lane[k];
    }
    return sum;
}

#else

static float max_avx2(int64_t n, const float *x, float max)
{
    return softmax_max(n, x, max);
}

static float exp_avx2(int64_t n, float shift, float *x)
{
    return softmax_exp(n, shift, x);
}

#endif

float dpt_op__max_f32(int64_t n, const float *x, float max)
{
    return dpt_op__tile_runs() ? max_avx2(n, x, max) : softmax_max(n, x, max);
}

float dpt_op__exp_f32(int64_t n, float shift, float *x)
{
    return dpt_op__tile_runs() ? exp_avx2(n, shift, x) : softmax_exp(n, shift, x);
}
