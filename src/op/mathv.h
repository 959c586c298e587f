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
/* At most so many vectors at a time; loops over them are unrolled, so that they stay in registers. */
enum { DPT_OP__TOGETHER = 4 };
#if defined(__clang__)
#define DPT_OP__UNROLL _Pragma("unroll")
#else
#define DPT_OP__UNROLL _Pragma("GCC unroll 4")
#endif

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
 * e^x of `count` vectors, as in dpt_op__expf but with n added to the exponent at once. Step by step for all of them,
 * since a core looks ahead over two or three chains of so many operations only. max and min give their second operand
 * where one is nan.
 */
DPT_OP__INLINE8 void dpt_op__exp8(const int count, __m256 *x)
{
    const __m256 lowest = _mm256_set1_ps(-87.0f), round = _mm256_set1_ps(0x1.8p23f);
    enum { MOST = DPT_OP__TOGETHER };
    __m256 c[MOST], shifted[MOST], n[MOST], r[MOST], q[MOST];
#define EACH(...)                                                                                                      \
    DPT_OP__UNROLL for (int k = 0; k < count; k++)                                                                     \
    {                                                                                                                  \
        __VA_ARGS__;                                                                                                   \
    }
    EACH(c[k] = _mm256_min_ps(_mm256_set1_ps(88.0f), _mm256_max_ps(lowest, x[k])))
    EACH(shifted[k] = _mm256_fmadd_ps(c[k], _mm256_set1_ps(1.44269504f), round))
    EACH(n[k] = _mm256_sub_ps(shifted[k], round))
    EACH(r[k] = _mm256_fnmadd_ps(n[k], _mm256_set1_ps(0.693359375f), c[k]))
    EACH(r[k] = _mm256_fmadd_ps(n[k], _mm256_set1_ps(2.12194440e-4f), r[k]))
    EACH(q[k] = _mm256_fmadd_ps(_mm256_set1_ps(1.381459398e-3f), r[k], _mm256_set1_ps(8.3687192e-3f)))
    EACH(q[k] = _mm256_fmadd_ps(q[k], r[k], _mm256_set1_ps(4.166838827e-2f)))
    EACH(q[k] = _mm256_fmadd_ps(q[k], r[k], _mm256_set1_ps(1.666652061e-1f)))
    EACH(q[k] = _mm256_fmadd_ps(q[k], r[k], _mm256_set1_ps(4.999999345e-1f)))
    EACH(r[k] = _mm256_fmadd_ps(_mm256_mul_ps(r[k], r[k]), q[k], r[k]))
    EACH(r[k] = _mm256_add_ps(_mm256_set1_ps(1.0f), r[k]))
    /* The low bits of `shifted` are n; the others leave in the shift. r is between 0.7 and 1.5, n from -126 to 127. */
    EACH(const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted[k]), 23);
         q[k] = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(r[k]), exponent)))
    /* 0 below the lowest, and nan, whose bits the sum has changed. */
    EACH(x[k] = _mm256_blendv_ps(q[k], _mm256_max_ps(_mm256_setzero_ps(), x[k]),
                                 _mm256_cmp_ps(x[k], lowest, _CMP_NGE_UQ)))
#undef EACH
}

/* 1 / (1 + e^-x) of `count` vectors, by e^-|x|, which cannot be too large. */
DPT_OP__INLINE8 void dpt_op__sigmoid8(const int count, __m256 *x)
{
    const __m256 one = _mm256_set1_ps(1.0f);
    __m256 e[DPT_OP__TOGETHER];
    DPT_OP__UNROLL
    for (int k = 0; k < count; k++) {
        e[k] = _mm256_or_ps(x[k], _mm256_set1_ps(-0.0f));
    }
    dpt_op__exp8(count, e);
    DPT_OP__UNROLL
    for (int k = 0; k < count; k++) {
        x[k] = _mm256_div_ps(_mm256_blendv_ps(one, e[k], x[k]), _mm256_add_ps(one, e[k]));
    }
}

#endif
