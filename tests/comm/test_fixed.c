/* SPDX-License-Identifier: Apache-2.0 */

/* Sums of whole digits: the same bits in every order and grouping, near the true sum, and honest about what is no number. */

#include "world.h"

#include <math.h>

#include "comm/fixed.h"

enum { N = 64 * DPT_FIXED_BLOCK, PARTS = 24, BLOCKS = N / DPT_FIXED_BLOCK };

struct digits {
    int64_t room[2 * N]; /* of I32 or I64 */
    int32_t window[BLOCKS];
};

/* Of very unequal sizes: windows rise while parts are added, some by several digits. */
static double part_of(int part, int i)
{
    const double size = ldexp(1.0, (part * 37 + i / DPT_FIXED_BLOCK * 11) % 150 - 100);
    return value_of(part, i) * size;
}

static void fill(enum dpt_dtype real, int part, void *x)
{
    for (int i = 0; i < N; i++) {
        if (real == DPT_DTYPE_F32) {
            ((float *)x)[i] = (float)part_of(part, i);
        } else {
            ((double *)x)[i] = part_of(part, i);
        }
    }
}

/* The sum of the parts in an order, dealt to so many groups whose digits are then added up. */
static void sum(enum dpt_dtype real, const int *order, int groups, void *result)
{
    static struct digits group[PARTS];
    static double x[N];
    static int32_t top[BLOCKS];
    int added[PARTS] = {0};
    for (int p = 0; p < PARTS; p++) {
        const int g = p % groups;
        fill(real, order[p], x);
        dpt_fixed_add(real, N, x, group[g].room, group[g].window, added[g]++ == 0);
    }
    memcpy(top, group[0].window, sizeof top);
    for (int g = 1; g < groups; g++) {
        for (int b = 0; b < BLOCKS; b++) {
            top[b] = group[g].window[b] > top[b] ? group[g].window[b] : top[b];
        }
    }
    for (int g = 0; g < groups; g++) {
        dpt_fixed_raise(real, N, group[g].room, group[g].window, top);
        for (int i = 0; i < 2 * N && g > 0; i++) {
            if (real == DPT_DTYPE_F32) {
                ((int32_t *)group[0].room)[i] += ((int32_t *)group[g].room)[i];
            } else {
                group[0].room[i] += group[g].room[i];
            }
        }
    }
    dpt_fixed_value(real, N, group[0].room, top, result);
}

static void every_order_has_the_same_bits(void **state)
{
    (void)state;
    static double first[N], again[N], plain[N];
    const enum dpt_dtype reals[] = {DPT_DTYPE_F32, DPT_DTYPE_F64};
    for (int r = 0; r < 2; r++) {
        int order[PARTS], differ = 0;
        for (int trial = 0; trial < 60; trial++) {
            for (int p = 0; p < PARTS; p++) { /* shuffled */
                const int at = (int)((uint32_t)(trial * 7919 + p * 104729) * 2654435761u >> 16) % (p + 1);
                order[p] = order[at];
                order[at] = p;
            }
            sum(reals[r], order, 1 + trial % PARTS, trial == 0 ? first : again);
            assert_true(trial == 0 || memcmp(first, again, N * dpt_dtype_nbytes(reals[r])) == 0);
            for (int i = 0; i < N; i++) { /* while plain sums of floats do depend on the order */
                float s = 0.0f;
                for (int p = 0; p < PARTS; p++) {
                    s += (float)part_of(order[p], i);
                }
                differ += trial > 0 && s != (float)plain[i];
                plain[i] = trial == 0 ? (double)s : plain[i];
            }
        }
        assert_true(differ > 0);
    }
}

static void sums_are_near_the_truth(void **state)
{
    (void)state;
    static double result[N];
    int order[PARTS];
    for (int p = 0; p < PARTS; p++) {
        order[p] = p;
    }
    for (int r = 0; r < 2; r++) {
        const enum dpt_dtype real = r ? DPT_DTYPE_F64 : DPT_DTYPE_F32;
        sum(real, order, 3, result);
        for (int b = 0; b < BLOCKS; b++) {
            double largest = 0.0;
            for (int p = 0; p < PARTS; p++) {
                for (int i = b * DPT_FIXED_BLOCK; i < (b + 1) * DPT_FIXED_BLOCK; i++) {
                    largest = fmax(largest, fabs(part_of(p, i)));
                }
            }
            for (int i = b * DPT_FIXED_BLOCK; i < (b + 1) * DPT_FIXED_BLOCK; i++) {
                long double truth = 0.0L;
                for (int p = 0; p < PARTS; p++) {
                    truth += real == DPT_DTYPE_F32 ? (long double)(float)part_of(p, i) : (long double)part_of(p, i);
                }
                const double got = real == DPT_DTYPE_F32 ? (double)((float *)result)[i] : result[i];
                const double cut = PARTS * (real == DPT_DTYPE_F32 ? 0x1p-24 : 0x1p-52); /* a number has 53 bits */
                assert_true(fabs((double)(got - truth)) <= (cut + 0x1p-24) * largest);
                assert_true(real == DPT_DTYPE_F32 || fabs((double)(got - truth)) <= cut * largest + 0x1p-52 * fabs((double)truth));
            }
        }
    }
}

/* One number is that number where it is not much smaller than its neighbours, down to the lowest window. */
static void a_number_alone_stays(void **state)
{
    (void)state;
    static struct digits digits;
    float x[DPT_FIXED_BLOCK], y[DPT_FIXED_BLOCK];
    for (int e = -90; e < 127; e++) {
        for (int i = 0; i < DPT_FIXED_BLOCK; i++) {
            x[i] = ldexpf(i % 2 ? -1.0f - (float)i / 64 : 1.0f, e);
        }
        dpt_fixed_add(DPT_DTYPE_F32, DPT_FIXED_BLOCK, x, digits.room, digits.window, true);
        dpt_fixed_value(DPT_DTYPE_F32, DPT_FIXED_BLOCK, digits.room, digits.window, y);
        assert_memory_equal(x, y, sizeof x);
    }
    memset(x, 0, sizeof x);
    x[3] = 3.4e38f;
    dpt_fixed_add(DPT_DTYPE_F32, DPT_FIXED_BLOCK, x, digits.room, digits.window, true);
    dpt_fixed_value(DPT_DTYPE_F32, DPT_FIXED_BLOCK, digits.room, digits.window, y);
    assert_memory_equal(x, y, sizeof x);
}

static void what_is_no_number_is_not_lost(void **state)
{
    (void)state;
    static struct digits digits;
    const float odd[] = {NAN, INFINITY, -INFINITY};
    for (int k = 0; k < 3; k++) {
        float x[DPT_FIXED_BLOCK] = {1.0f}, y[DPT_FIXED_BLOCK];
        dpt_fixed_add(DPT_DTYPE_F32, DPT_FIXED_BLOCK, x, digits.room, digits.window, true);
        x[5] = odd[k];
        dpt_fixed_add(DPT_DTYPE_F32, DPT_FIXED_BLOCK, x, digits.room, digits.window, false);
        x[5] = 1.0f;
        dpt_fixed_add(DPT_DTYPE_F32, DPT_FIXED_BLOCK, x, digits.room, digits.window, false);
        dpt_fixed_value(DPT_DTYPE_F32, DPT_FIXED_BLOCK, digits.room, digits.window, y);
        for (int i = 0; i < DPT_FIXED_BLOCK; i++) {
            assert_true(isnan(y[i]));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_order_has_the_same_bits),
        cmocka_unit_test(sums_are_near_the_truth),
        cmocka_unit_test(a_number_alone_stays),
        cmocka_unit_test(what_is_no_number_is_not_lost),
    };
    return RUN_IN_WORLD(tests);
}
