/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * exp, tanh and the normal distribution in float, as straight-line code that vectorises inside DPT_SIMD loops. (Scalar
 * calls of libm take ten times as long; its vector variants are not on every system.) inf and nan behave as in libm.
 * Largest errors over all floats, in units in the last place (ulp) of the exact result; tests/op/test_mathf.c holds
 * them:
 *
 *   dpt_op__expf    1 ulp          dpt_op__sigmoidf  2.5 ulp; 0 where the result is below the smallest normal float
 *   dpt_op__tanhf   1.4 ulp        dpt_op__phif      4.4 ulp down to x = -5, 11 ulp beyond (where Phi < 3e-7)
 *   dpt_op__gaussf  2 ulp
 *
 * Polynomials are our own minimax fits (Remez's exchange in long double); the bound in each comment is that of the fit.
 */

#include <math.h>
#include <stdint.h>
#include <string.h>

#define DPT_OP_INLINE static inline __attribute__((always_inline))

DPT_OP_INLINE uint32_t dpt_op__bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

DPT_OP_INLINE float dpt_op__from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The part above zero; nan stays. */
DPT_OP_INLINE float dpt_op__reluf(float x)
{
    return x < 0.0f ? 0.0f : x;
}

/* e^x: x = n ln 2 + r with |r| <= ln 2 / 2, then e^r by a polynomial, then 2^n in two exact factors. */
DPT_OP_INLINE float dpt_op__expf(float x)
{
    const float round = 0x1.8p23f; /* adding it leaves the nearest integer in the low bits */
    const float c = x > 89.0f ? 89.0f : x < -104.0f ? -104.0f : x;
    const float shifted = c * 1.44269504f + round;
    const float n = shifted - round;
    /* ln 2 in two parts, the first with so few bits that n times it is exact. */
    const float r = (c - n * 0.693359375f) + n * 2.12194440e-4f;
    /* (e^r - 1 - r) / r^2 within 2^-28 of e^r */
    float q = 1.381459398e-3f;
    q = q * r + 8.3687192e-3f;
    q = q * r + 4.166838827e-2f;
    q = q * r + 1.666652061e-1f;
    q = q * r + 4.999999345e-1f;
    const float e = 1.0f + (r + r * r * q);
    /* n lies in -151 .. 129; both halves of it are exponents of normal floats. */
    const uint32_t biased = dpt_op__bits(shifted) - dpt_op__bits(round) + 256u;
    const uint32_t half = biased >> 1;
    const float first = dpt_op__from_bits((half - 1u) << 23);            /* 2^(half - 128) */
    const float second = dpt_op__from_bits((biased - half - 1u) << 23);
    return e * first * second;
}

/* 1 / (1 + e^-x) */
DPT_OP_INLINE float dpt_op__sigmoidf(float x)
{
    return 1.0f / (1.0f + dpt_op__expf(-x));
}

/* tanh x: an odd polynomial up to 0.625, 1 - 2 / (e^2|x| + 1) beyond. */
DPT_OP_INLINE float dpt_op__tanhf(float x)
{
    const float a = fabsf(x), z = x * x;
    /* (tanh(x) / x - 1) / x^2 within 2^-27.8 of tanh(x) / x */
    float q = -5.705032267e-3f;
    q = q * z + 2.063913321e-2f;
    q = q * z - 5.373973154e-2f;
    q = q * z + 1.333144244e-1f;
    q = q * z - 3.333328195e-1f;
    const float small = a + a * (z * q);
    const float large = 1.0f - 2.0f / (dpt_op__expf(2.0f * a) + 1.0f);
    return copysignf(a < 0.625f ? small : large, x);
}

/* e^(-x^2 / 2): x^2 as an exact square of its upper bits and a small rest, so that far tails keep their digits. */
DPT_OP_INLINE float dpt_op__gaussf(float x)
{
    const float a = fabsf(x) > 15.0f ? 15.0f : fabsf(x); /* 0 from 14.5 on */
    const float upper = dpt_op__from_bits(dpt_op__bits(a) & 0xfffff000u);
    const float rest = -0.5f * (a - upper) * (a + upper); /* |rest| < 0.06 */
    const float correction = 1.0f + rest * (1.0f + rest * (0.5f + rest * (1.666666667e-1f + rest * 4.166666667e-2f)));
    return dpt_op__expf(-0.5f * upper * upper) * correction;
}

/*
 * The normal distribution function: 1/2 + x P(x^2) up to 1; beyond, Phi(-a) = e^(-a^2 / 2) m(a), where m, half of
 * erfcx(a / sqrt 2), is a polynomial in (3 - a) / (3 + a). `gauss` is dpt_op__gaussf(x), which callers need as well.
 */
DPT_OP_INLINE float dpt_op__phif(float x, float gauss)
{
    const float a = fabsf(x) > 15.0f ? 15.0f : fabsf(x), z = x * x;
    /* (Phi(x) - 1/2) / x: x times it is within 2^-30.9 of Phi(-|x|) */
    float p = -7.463217794e-6f;
    p = p * z + 1.129531535e-4f;
    p = p * z - 1.185786099e-3f;
    p = p * z + 9.973078959e-3f;
    p = p * z - 6.64903145e-2f;
    p = p * z + 3.989422777e-1f;
    /* m within 2^-26.5 for a from 1 to 14.5 */
    const float u = (3.0f - a) / (3.0f + a);
    float m = 1.64366248e-4f;
    m = m * u + 3.17889406e-4f;
    m = m * u - 1.00957161e-3f;
    m = m * u - 2.90278364e-3f;
    m = m * u + 6.13641328e-3f;
    m = m * u + 4.6213419e-2f;
    m = m * u + 1.23224795e-1f;
    m = m * u + 2.06402608e-1f;
    m = m * u + 1.2151395e-1f;
    const float tail = gauss * m;
    const float far = x < 0.0f ? tail : 1.0f - tail;
    return a < 1.0f ? 0.5f + x * p : far;
}
