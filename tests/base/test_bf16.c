/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bf16.h"

enum { ALL = 1 << 16, INFINITE = 0x7f80 };

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint16_t narrowed(float x)
{
    uint16_t bits;
    dpt_bf16_narrow(1, &x, &bits);
    return bits;
}

static bool is_nan(uint32_t half)
{
    return (half & 0x7fff) > INFINITE;
}

/* Every number of 16 bits, subnormal ones, infinities and zeros of both signs too, comes back as it was. */
static void keeps_what_it_has(void **state)
{
    (void)state;
    uint16_t *half = malloc(ALL * sizeof *half), *back = malloc(ALL * sizeof *back);
    float *wide = malloc(ALL * sizeof *wide), *round = malloc(ALL * sizeof *round);
    for (uint32_t i = 0; i < ALL; i++) {
        half[i] = (uint16_t)i;
    }
    dpt_bf16_widen(ALL, half, wide);
    dpt_bf16_narrow(ALL, wide, back);
    dpt_bf16_round(ALL, wide, round);
    for (uint32_t i = 0; i < ALL; i++) {
        const float expected = float_of(i << 16);
        assert_memory_equal(&wide[i], &expected, sizeof expected);
        if (is_nan(i)) {
            assert_true(isnan(wide[i]) && is_nan(back[i]) && isnan(round[i]));
        } else {
            assert_int_equal(back[i], i);
            assert_memory_equal(&round[i], &wide[i], sizeof expected);
        }
    }
    free(half);
    free(back);
    free(wide);
    free(round);
}

/*
 * Between each number of 16 bits and the next: just above the lower, just below, at and just above the middle, just below the
 * upper. The middle goes to the one whose last bit is 0. Above the largest lies infinity.
 */
static void rounds_to_the_nearest(void **state)
{
    (void)state;
    for (uint32_t sign = 0; sign <= 0x8000; sign += 0x8000) {
        for (uint32_t i = 0; i < INFINITE; i++) {
            const uint32_t low = sign | i, high = low + 1, at = low << 16;
            assert_int_equal(narrowed(float_of(at + 1)), low);
            assert_int_equal(narrowed(float_of(at + 0x7fff)), low);
            assert_int_equal(narrowed(float_of(at + 0x8000)), low & 1 ? high : low);
            assert_int_equal(narrowed(float_of(at + 0x8001)), high);
            assert_int_equal(narrowed(float_of(at + 0xffff)), high);
        }
    }
}

/* Whatever the low half of what is not a number, it does not become infinite. */
static void keeps_nan(void **state)
{
    (void)state;
    for (uint32_t low = 1; low < ALL; low++) {
        assert_true(is_nan(narrowed(float_of(0x7f800000 | low))) && is_nan(narrowed(float_of(0xff800000 | low))));
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
        x[i] = float_of((i * 2654435761u) >> 1); /* of many sizes, none negative */
        x[i] = isfinite(x[i]) ? x[i] : (float)i;
    }
    for (size_t k = 0; k < sizeof length / sizeof length[0]; k++) {
        half[length[k]] = 0x1234;
        memcpy(round, x, sizeof x);
        dpt_bf16_narrow(length[k], x, half);
        dpt_bf16_widen(length[k], half, wide);
        dpt_bf16_round(length[k], round, round);
        for (int64_t i = 0; i < length[k]; i++) {
            assert_int_equal(half[i], narrowed(x[i]));
            assert_true(fabsf(wide[i] - x[i]) <= 0x1p-8f * x[i] || x[i] < 0x1p-126f || isinf(wide[i]));
        }
        assert_memory_equal(round, wide, (size_t)length[k] * sizeof *wide);
        assert_memory_equal(round + length[k], x + length[k], (size_t)(MOST - length[k]) * sizeof *x);
        assert_int_equal(half[length[k]], 0x1234);
    }
}

/* Sums of two numbers, made in float, where a sum of 8-bit numbers of like size is exact, and rounded once. */
static void adds(void **state)
{
    (void)state;
    enum { N = 1500 };
    uint16_t x[N], y[N], expected[N];
    for (int i = 0; i < N; i++) {
        const float a = (float)(i % 251 - 125), b = (float)(i * 7 % 509) / 8.0f;
        x[i] = narrowed(a);
        y[i] = narrowed(b);
        expected[i] = narrowed(float_of((uint32_t)x[i] << 16) + float_of((uint32_t)y[i] << 16));
    }
    dpt_bf16_add(N, x, y);
    assert_memory_equal(y, expected, sizeof y);
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
