/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Loops of attention_cpu.c over one row of a tile, in vector code. `count` is a multiple of 16 there, so that nothing
 * is left over for slow loops.
 */

#include <stdint.h>

#include "base/simd.h"
#include "op/mathf.h"
#include "op/mathv.h"
#include "op/tile.h"

/* x = 0 where the word is below `drop`, else x * factor. */
DPT_SIMD static void attention_drop(int64_t count, uint32_t drop, float factor, const uint32_t *word, float *x)
{
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        x[i] = word[i] < drop ? 0.0f : x[i] * factor;
    }
}

/* p = e^(p - lse), dp = p (dp - product) */
DPT_SIMD static void attention_ds_plain(int64_t count, float lse, float product, float *p, float *dp)
{
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        const float e = dpt_op__expf(p[i] - lse);
        p[i] = e;
        dp[i] = e * (dp[i] - product);
    }
}

/* The same where m is 0 below `drop`, else `factor`: dp = p (m dp - product), then p = m p. */
DPT_SIMD static void attention_ds_drop_plain(int64_t count, float lse, float product, uint32_t drop, float factor,
                                             const uint32_t *word, float *p, float *dp)
{
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        const float e = dpt_op__expf(p[i] - lse), m = word[i] < drop ? 0.0f : factor;
        p[i] = m * e;
        dp[i] = e * (m * dp[i] - product);
    }
}

#if defined(__x86_64__)

DPT_OP__AVX2 static void attention_ds_avx2(int64_t count, float lse, float product, float *p, float *dp)
{
    for (int64_t i = 0; i < count; i += 8) {
        __m256 e = _mm256_loadu_ps(p + i) - lse;
        dpt_op__exp8(1, &e);
        _mm256_storeu_ps(p + i, e);
        _mm256_storeu_ps(dp + i, e * (_mm256_loadu_ps(dp + i) - product));
    }
}

DPT_OP__AVX2 static void attention_ds_drop_avx2(int64_t count, float lse, float product, uint32_t drop, float factor,
                                                const uint32_t *word, float *p, float *dp)
{
    const __m256i least = _mm256_set1_epi32((int)drop);
    for (int64_t i = 0; i < count; i += 8) {
        const __m256i here = _mm256_loadu_si256((const __m256i *)(word + i));
        const __m256i kept = _mm256_cmpeq_epi32(_mm256_max_epu32(here, least), here);
        const __m256 m = _mm256_and_ps(_mm256_set1_ps(factor), _mm256_castsi256_ps(kept));
        __m256 e = _mm256_loadu_ps(p + i) - lse;
        dpt_op__exp8(1, &e);
        _mm256_storeu_ps(p + i, m * e);
        _mm256_storeu_ps(dp + i, e * (m * _mm256_loadu_ps(dp + i) - product));
    }
}

static void attention_ds(int64_t count, float lse, float product, float *p, float *dp)
{
    (dpt_op__tile_runs() ? attention_ds_avx2 : attention_ds_plain)(count, lse, product, p, dp);
}

static void attention_ds_drop(int64_t count, float lse, float product, uint32_t drop, float factor,
                              const uint32_t *word, float *p, float *dp)
{
    (dpt_op__tile_runs() ? attention_ds_drop_avx2 : attention_ds_drop_plain)(count, lse, product, drop, factor, word, p,
                                                                             dp);
}

#else

static void attention_ds(int64_t count, float lse, float product, float *p, float *dp)
{
    attention_ds_plain(count, lse, product, p, dp);
}

static void attention_ds_drop(int64_t count, float lse, float product, uint32_t drop, float factor,
                              const uint32_t *word, float *p, float *dp)
{
    attention_ds_drop_plain(count, lse, product, drop, factor, word, p, dp);
}

#endif

DPT_SIMD static void attention_scale(int64_t n, float factor, const float *x, float *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        y[i] = factor * x[i];
    }
}

DPT_SIMD static float attention_dot(int64_t n, const float *x, const float *y)
{
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        sum += x[i] * y[i];
    }
    return sum;
}
