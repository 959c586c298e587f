/* SPDX-License-Identifier: Apache-2.0 */
#include "comm/fixed.h"

#include <string.h>

#include "base/simd.h"
#include "base/status.h"

enum { B = DPT_FIXED_BLOCK };

/* Lowest windows: their scales are normal numbers still. All that is smaller is cut off. */
enum { DIGIT_F32 = 24, LOWEST_F32 = -4, DIGIT_F64 = 56, LOWEST_F64 = -17 };

static int window_of(int exponent, int digit, int lowest)
{
    int window = lowest;
    while (exponent >= digit * (window + 1)) {
        window++;
    }
    return window;
}

/* 2^e as a float or double, e within the normal numbers. */
static float power_f32(int e)
{
    const uint32_t bits = (uint32_t)(e + 127) << 23;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static double power_f64(int e)
{
    const uint64_t bits = (uint64_t)(e + 1023) << 52;
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The exponent of the largest of a block: 128 where one is not finite. */
static int top_f32(const float *x)
{
    uint32_t bits[B], top = 0;
    memcpy(bits, x, sizeof bits);
    for (int i = 0; i < B; i++) {
        const uint32_t size = bits[i] & 0x7fffffff;
        top = size > top ? size : top;
    }
    return (int)(top >> 23) - 127;
}

static int top_f64(const double *x)
{
    uint64_t bits[B], top = 0;
    memcpy(bits, x, sizeof bits);
    for (int i = 0; i < B; i++) {
        const uint64_t size = bits[i] & INT64_C(0x7fffffffffffffff);
        top = size > top ? size : top;
    }
    return (int)(top >> 52) - 1023;
}

static void raise_i32(int32_t *digits, int by)
{
    if (by > 1) {
        memset(digits, 0, 2 * B * sizeof *digits);
    } else if (by == 1) {
        memcpy(digits + B, digits, B * sizeof *digits);
        memset(digits, 0, B * sizeof *digits);
    }
}

static void raise_i64(int64_t *digits, int by)
{
    if (by > 1) {
        memset(digits, 0, 2 * B * sizeof *digits);
    } else if (by == 1) {
        memcpy(digits + B, digits, B * sizeof *digits);
        memset(digits, 0, B * sizeof *digits);
    }
}

/*
 * Cuts a block of numbers: all steps are exact, since scales are powers of two and a - (its upper digit) needs no more
 * bits than a. Conversion to whole numbers cuts towards zero, so that cutting twice is cutting once.
 */
static void cut_f32(const float *x, int window, int32_t *digits)
{
    const float up = power_f32(DIGIT_F32 * window), down = power_f32(-DIGIT_F32 * window);
    const float lower = power_f32(-DIGIT_F32 * (window - 1));
    for (int i = 0; i < B; i++) {
        const int32_t high = (int32_t)(x[i] * down);
        digits[i] += high;
        digits[B + i] += (int32_t)((x[i] - (float)high * up) * lower);
    }
}

static void cut_f64(const double *x, int window, int64_t *digits)
{
    const double up = power_f64(DIGIT_F64 * window), down = power_f64(-DIGIT_F64 * window);
    const double lower = power_f64(-DIGIT_F64 * (window - 1));
    for (int i = 0; i < B; i++) {
        const int64_t high = (int64_t)(x[i] * down);
        digits[i] += high;
        digits[B + i] += (int64_t)((x[i] - (double)high * up) * lower);
    }
}

DPT_SIMD static void dpt_fixed__add_f32(int64_t blocks, const float *x, int32_t *digits, int32_t *window)
{
    for (int64_t b = 0; b < blocks; b++, x += B, digits += 2 * B) {
        const int top = top_f32(x);
        const int mine = top > 127 ? DPT_FIXED_NOT_FINITE : window_of(top, DIGIT_F32, LOWEST_F32);
        if (mine > window[b]) {
            raise_i32(digits, mine - window[b]);
            window[b] = mine;
        }
        if (window[b] != DPT_FIXED_NOT_FINITE) {
            cut_f32(x, window[b], digits);
        }
    }
}

DPT_SIMD static void dpt_fixed__add_f64(int64_t blocks, const double *x, int64_t *digits, int32_t *window)
{
    for (int64_t b = 0; b < blocks; b++, x += B, digits += 2 * B) {
        const int top = top_f64(x);
        const int mine = top > 1023 ? DPT_FIXED_NOT_FINITE : window_of(top, DIGIT_F64, LOWEST_F64);
        if (mine > window[b]) {
            raise_i64(digits, mine - window[b]);
            window[b] = mine;
        }
        if (window[b] != DPT_FIXED_NOT_FINITE) {
            cut_f64(x, window[b], digits);
        }
    }
}

void dpt_fixed_add(enum dpt_dtype real, int64_t n, const void *x, void *digits, int32_t *window, bool first)
{
    DPT_ASSERT((real == DPT_DTYPE_F32 || real == DPT_DTYPE_F64) && n % B == 0);
    if (first) {
        memset(digits, 0, 2 * (size_t)n * dpt_dtype_nbytes(real));
        for (int64_t b = 0; b < n / B; b++) {
            window[b] = real == DPT_DTYPE_F32 ? LOWEST_F32 : LOWEST_F64;
        }
    }
    if (real == DPT_DTYPE_F32) {
        dpt_fixed__add_f32(n / B, x, digits, window);
    } else {
        dpt_fixed__add_f64(n / B, x, digits, window);
    }
}

void dpt_fixed_raise(enum dpt_dtype real, int64_t n, void *digits, const int32_t *window, const int32_t *to)
{
    for (int64_t b = 0; b < n / B; b++) {
        DPT_ASSERT(to[b] >= window[b]);
        if (real == DPT_DTYPE_F32) {
            raise_i32((int32_t *)digits + 2 * B * b, to[b] - window[b]);
        } else {
            raise_i64((int64_t *)digits + 2 * B * b, to[b] - window[b]);
        }
    }
}

/*
 * Both digits as doubles. For F32 all of it is exact but the last conversion (a sum of at most 55 bits is rounded to 53
 * first, by the same rule everywhere); for F64 the upper digit is rounded and then the sum.
 */
void dpt_fixed_value(enum dpt_dtype real, int64_t n, const void *digits, const int32_t *window, void *x)
{
    const double nan = __builtin_nan("");
    const int digit = real == DPT_DTYPE_F32 ? DIGIT_F32 : DIGIT_F64;
    for (int64_t b = 0; b < n / B; b++) {
        const bool finite = window[b] != DPT_FIXED_NOT_FINITE;
        const double high = finite ? power_f64(digit * window[b]) : nan;
        const double low = finite ? power_f64(digit * (window[b] - 1)) : nan;
        for (int64_t i = B * b; i < B * (b + 1); i++) {
            const int64_t at = B * b + i; /* two digits a number lie before each block */
            if (real == DPT_DTYPE_F32) {
                const int32_t *d = (const int32_t *)digits + at;
                ((float *)x)[i] = (float)((double)d[0] * high + (double)d[B] * low);
            } else {
                const int64_t *d = (const int64_t *)digits + at;
                ((double *)x)[i] = (double)d[0] * high + (double)d[B] * low;
            }
        }
    }
}
