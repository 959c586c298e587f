/* SPDX-License-Identifier: Apache-2.0 */

/* Numbers of 16 bits: both types, by what their bits mean. */

#include "base/half.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ALL = 1 << 16 };

/* A type: bits of its fraction, its infinity. */
struct type {
    enum dpt_dtype dtype;
    int fraction;
    uint16_t infinite;
};

static const struct type types[] = {{DPT_DTYPE_BF16, 7, 0x7f80}, {DPT_DTYPE_F16, 10, 0x7c00}};

enum { TYPES = sizeof types / sizeof types[0] };

/* The definition: sign, exponent around its middle, fraction; below the normal numbers the exponent stays. */
static double value_of(const struct type *type, uint16_t bits)
{
    const int exponents = 15 - type->fraction, middle = (1 << (exponents - 1)) - 1;
    const int exponent = (bits & 0x7fff) >> type->fraction, fraction = bits & ((1 << type->fraction) - 1);
    const int whole = exponent > 0 ? fraction + (1 << type->fraction) : fraction;
    const double size = ldexp(whole, (exponent > 0 ? exponent : 1) - middle - type->fraction);
    return bits & 0x8000 ? -size : size;
}

static uint16_t narrowed(const struct type *type, float x)
{
    uint16_t bits;
    dpt_half_narrow(type->dtype, 1, &x, &bits);
    return bits;
}

static float widened(const struct type *type, uint16_t bits)
{
    float x;
    dpt_half_widen(type->dtype, 1, &bits, &x);
    return x;
}

static bool is_nan(const struct type *type, uint32_t bits)
{
    return (bits & 0x7fff) > type->infinite;
}

/* Every number of 16 bits, subnormal ones, infinities and zeros of both signs too, is what it means and comes back. */
static void keeps_what_it_has(void **state)
{
    (void)state;
    uint16_t *half = malloc(ALL * sizeof *half), *back = malloc(ALL * sizeof *back);
    float *wide = malloc(ALL * sizeof *wide), *round = malloc(ALL * sizeof *round);
    for (uint32_t i = 0; i < ALL; i++) {
        half[i] = (uint16_t)i;
    }
    for (const struct type *type = types; type < types + TYPES; type++) {
        dpt_half_widen(type->dtype, ALL, half, wide);
        dpt_half_narrow(type->dtype, ALL, wide, back);
        dpt_half_round(type->dtype, ALL, wide, round);
        for (uint32_t i = 0; i < ALL; i++) {
            if (is_nan(type, i)) {
                assert_true(isnan(wide[i]) && is_nan(type, back[i]) && isnan(round[i]));
                continue;
            }
            assert_true((i & 0x7fff) == type->infinite ? isinf(wide[i]) : wide[i] == value_of(type, half[i]));
            assert_true(!signbit(wide[i]) == !(i & 0x8000));
            assert_int_equal(back[i], i);
            assert_memory_equal(&round[i], &wide[i], sizeof *wide);
        }
    }
    free(half);
    free(back);
    free(wide);
    free(round);
}

/*
 * Between each number of 16 bits and the next: just above the lower, just below, at and just above the middle, just below the
 * upper. The middle goes to the one whose last bit is 0. Above the largest lies infinity, as if it were the next.
 */
static void rounds_to_the_nearest(void **state)
{
    (void)state;
    for (const struct type *type = types; type < types + TYPES; type++) {
        for (uint32_t sign = 0; sign <= 0x8000; sign += 0x8000) {
            for (uint32_t i = 0; i < type->infinite; i++) {
                const uint16_t low = (uint16_t)(sign | i), high = (uint16_t)(low + 1);
                const double a = value_of(type, low), b = value_of(type, high); /* of infinity too: the power of two */
                const float middle = (float)(0.5 * (a + b));
                const float up = sign ? -INFINITY : INFINITY;
                assert_int_equal(narrowed(type, nextafterf((float)a, up)), low);
                assert_int_equal(narrowed(type, nextafterf(middle, 0.0f)), low);
                assert_int_equal(narrowed(type, middle), low & 1 ? high : low);
                assert_int_equal(narrowed(type, nextafterf(middle, up)), high);
                assert_int_equal(narrowed(type, nextafterf((float)b, 0.0f)), high);
            }
        }
        const float large[] = {1e6f, 3e38f, 0x1.fffffep127f, INFINITY};
        for (int k = type->dtype == DPT_DTYPE_BF16 ? 2 : 0; k < 4; k++) {
            assert_int_equal(narrowed(type, large[k]), type->infinite);
            assert_int_equal(narrowed(type, -large[k]), type->infinite | 0x8000);
        }
        assert_int_equal(narrowed(type, 0x1p-149f), 0); /* the least float */
    }
}

/* Whatever the low bits of what is not a number, it does not become infinite. */
static void keeps_nan(void **state)
{
    (void)state;
    for (const struct type *type = types; type < types + TYPES; type++) {
        for (uint32_t low = 1; low < ALL; low++) {
            const uint32_t bits[2] = {0x7f800000 | low, 0xff800000 | low};
            float x[2];
            memcpy(x, bits, sizeof x);
            assert_true(is_nan(type, narrowed(type, x[0])) && is_nan(type, narrowed(type, x[1])));
        }
    }
}

/* Lengths around the size of a block: the same as one by one; rounding is widening what was narrowed, in place too. */
static void takes_any_length(void **state)
{
    (void)state;
    enum { MOST = 2051 };
    static const int64_t length[] = {0, 1, 7, 1023, 1024, 1025, MOST};
    float x[MOST], wide[MOST], round[MOST];
    uint16_t half[MOST + 1];
    for (uint32_t i = 0; i < MOST; i++) {
        const uint32_t bits = (i * 2654435761u) >> 1; /* of many sizes, none negative */
        memcpy(&x[i], &bits, sizeof x[i]);
        x[i] = isfinite(x[i]) ? x[i] : (float)i;
    }
    for (const struct type *type = types; type < types + TYPES; type++) {
        for (size_t k = 0; k < sizeof length / sizeof length[0]; k++) {
            half[length[k]] = 0x1234;
            memcpy(round, x, sizeof x);
            dpt_half_narrow(type->dtype, length[k], x, half);
            dpt_half_widen(type->dtype, length[k], half, wide);
            dpt_half_round(type->dtype, length[k], round, round);
            for (int64_t i = 0; i < length[k]; i++) {
                assert_int_equal(half[i], narrowed(type, x[i]));
                assert_true(wide[i] == widened(type, half[i]));
            }
            assert_memory_equal(round, wide, (size_t)length[k] * sizeof *wide);
            assert_memory_equal(round + length[k], x + length[k], (size_t)(MOST - length[k]) * sizeof *x);
            assert_int_equal(half[length[k]], 0x1234);
        }
    }
}

/* Sums of two numbers, made in float, where a sum of numbers of 16 bits and like size is exact, and rounded once. */
static void adds(void **state)
{
    (void)state;
    enum { N = 1500 };
    for (const struct type *type = types; type < types + TYPES; type++) {
        uint16_t x[N], y[N], expected[N];
        for (int i = 0; i < N; i++) {
            x[i] = narrowed(type, (float)(i % 251 - 125));
            y[i] = narrowed(type, (float)(i * 7 % 509) / 8.0f);
            expected[i] = narrowed(type, widened(type, x[i]) + widened(type, y[i]));
        }
        dpt_half_add(type->dtype, N, x, y);
        assert_memory_equal(y, expected, sizeof y);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_what_it_has),
        cmocka_unit_test(rounds_to_the_nearest),
        cmocka_unit_test(keeps_nan),
        cmocka_unit_test(takes_any_length),
        cmocka_unit_test(adds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
