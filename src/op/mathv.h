/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Functions of op/mathf.h for eight floats at a time, on processors with AVX2 and FMA: half the instructions of what
 * compilers make of the plain loops, since a product and a sum are one here. Only where dpt_op__tile_runs() says so
 * (op/tile.h), in functions marked DPT_OP__AVX2. Other processors have the loops over op/mathf.h.
 *
 *   dpt_op__exp8      1 ulp for x up to 88; 0 below -87
 *   dpt_op__sigmoid8  2.5 ulp; 0 below -87
 *
 * nan stays. tests/op/test_mathf.c holds them.
 */

#if defined(__x86_64__)

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define DPT_OP__AVX2 __attribute__((target("avx2,fma")))
#define DPT_OP__INLINE8 static inline __attribute__((always_inline, unused)) DPT_OP__AVX2

/* The eight floats at x, of which `left` are there; the others are 0. */
DPT_OP__INLINE8 __m256 dpt_op__load8(const float *x, int64_t left)
{
    float part[8] = {0.0f};
    if (left >= 8) {
        return _mm256_loadu_ps(x);
    }
    memcpy(part, x, (size_t)left * sizeof *x);
    return _mm256_loadu_ps(part);
}

/* Stores as many as there are. */
DPT_OP__INLINE8 void dpt_op__store8(float *y, int64_t left, __m256 value)
{
    float part[8];
    if (left >= 8) {
        _mm256_storeu_ps(y, value);
        return;
    }
    _mm256_storeu_ps(part, value);
    memcpy(y, part, (size_t)left * sizeof *y);
}

/*
 * e^x as in dpt_op__expf, but with n added to the exponent at once. max and min give their second operand where one is
 * nan.
 */
DPT_OP__INLINE8 __m256 dpt_op__exp8(__m256 x)
{
    const __m256 lowest = _mm256_set1_ps(-87.0f), round = _mm256_set1_ps(0x1.8p23f);
    const __m256 c = _mm256_min_ps(_mm256_set1_ps(88.0f), _mm256_max_ps(lowest, x));
    const __m256 shifted = _mm256_fmadd_ps(c, _mm256_set1_ps(1.44269504f), round);
    const __m256 n = _mm256_sub_ps(shifted, round);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), c);
    r = _mm256_fmadd_ps(n, _mm256_set1_ps(2.12194440e-4f), r);
    __m256 q = _mm256_set1_ps(1.381459398e-3f);
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(8.3687192e-3f));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(4.166838827e-2f));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(1.666652061e-1f));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(4.999999345e-1f));
    const __m256 e = _mm256_add_ps(_mm256_set1_ps(1.0f), _mm256_fmadd_ps(_mm256_mul_ps(r, r), q, r));
    /* The low bits of `shifted` are n; the others leave in the shift. e is between 0.7 and 1.5, n from -126 to 127. */
    const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    const __m256 y = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(e), exponent));
    /* 0 below the lowest, and nan, whose bits the sum has changed. */
    return _mm256_blendv_ps(y, _mm256_max_ps(_mm256_setzero_ps(), x), _mm256_cmp_ps(x, lowest, _CMP_NGE_UQ));
}

/* 1 / (1 + e^-x), by e^-|x|, which cannot be too large. */
DPT_OP__INLINE8 __m256 dpt_op__sigmoid8(__m256 x)
{
    const __m256 one = _mm256_set1_ps(1.0f);
    const __m256 e = dpt_op__exp8(_mm256_or_ps(x, _mm256_set1_ps(-0.0f)));
    return _mm256_div_ps(_mm256_blendv_ps(one, e, x), _mm256_add_ps(one, e));
}

#endif
