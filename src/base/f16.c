/* SPDX-License-Identifier: Apache-2.0 */
#include "base/f16.h"

#include <string.h>

#include "base/simd.h"

/* Bits of floats: 2^-14, below which a half has a fixed unit; 65536, from which there is none; infinity. */
enum { LEAST_NORMAL = 0x38800000, TOO_LARGE = 0x47800000, INFINITE = 0x7f800000 };

/* The difference between the exponents' biases, 127 and 15, where a float has its exponent. */
enum { BIAS = (127 - 15) << 23 };

static inline uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/*
 * A small number is added to 1/2, whose last bit counts 2^-24 as a small half's does: the sum is rounded as it must be. Of
 * others half a unit of the last bit that stays is added, less the least where that bit is even; a carry goes on into the
 * exponent, and from the greatest number to infinity.
 */
static inline uint16_t narrow(float x)
{
    const uint32_t all = bits_of(x), sign = all & 0x80000000u, bits = all ^ sign;
    const uint32_t small = bits_of(float_of(bits) + 0.5f) - bits_of(0.5f);
    const uint32_t normal = (bits - BIAS + 0xfff + (bits >> 13 & 1)) >> 13;
    const uint32_t special = bits > INFINITE ? 0x7e00 : 0x7c00;
    const uint32_t half = bits < LEAST_NORMAL ? small : bits < TOO_LARGE ? normal : special;
    return (uint16_t)(half | sign >> 16);
}

static inline float widen(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, bits = (uint32_t)(half & 0x7fff) << 13;
    const uint32_t normal = bits + BIAS, special = bits + 2 * (uint32_t)BIAS;
    const uint32_t small = bits_of((float)(half & 0x3ff) * 0x1p-24f), exponent = half & 0x7c00;
    return float_of((exponent == 0 ? small : exponent == 0x7c00 ? special : normal) | sign);
}

DPT_SIMD static void dpt_f16__narrow(int64_t n, const float *restrict x, uint16_t *restrict y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        y[i] = narrow(x[i]);
    }
}

DPT_SIMD static void dpt_f16__widen(int64_t n, const uint16_t *restrict x, float *restrict y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        y[i] = widen(x[i]);
    }
}

void dpt_f16_narrow(int64_t count, const float *x, uint16_t *y)
{
    dpt_f16__narrow(count, x, y);
}

void dpt_f16_widen(int64_t count, const uint16_t *x, float *y)
{
    dpt_f16__widen(count, x, y);
}
