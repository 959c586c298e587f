/* SPDX-License-Identifier: Apache-2.0 */

/* Products on the tensor cores of a card, op/cuda_mma.cuh, against a plain loop. */

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/half.h"
#include "dev/dev.h"
#include "mma_kernels.h"
#include "tensor/tensor.h"

static void expect_ok(enum dpt_status status)
{
    if (status != DPT_STATUS_OK) {
        fail_msg("%s", dpt_error_text());
    }
}

static void *there(struct dpt_dev *card, const void *data, size_t nbytes)
{
    void *at;
    expect_ok(dpt_dev_alloc(card, nbytes, "an operand", &at));
    expect_ok(dpt_dev_copy_in(card, at, data, nbytes));
    return at;
}

/* Numbers of a matrix that are exact in both types, no two rows or columns alike. */
static float number(int which, int row, int column)
{
    return (float)((row * 37 + column * 101 + row * column * 7 + which * 13) % 63 - 31) / 8.0f;
}

/* The largest difference between what a card and a plain loop give. */
static double difference(struct dpt_dev *card, enum dpt_dtype type, enum mma_form form, int width, int swap)
{
    static uint16_t a[MMA_M * MMA_K], b[MMA_K * MMA_N];
    static float c[MMA_M * MMA_N];
    const bool trans = form == MMA_TRANSPOSED;
    double most = 0.0;
    for (int k = 0; k < MMA_K; k++) {
        for (int i = 0; i < MMA_M; i++) {
            const float value = number(0, i, k);
            dpt_half_narrow(type, 1, &value, &a[trans ? k * MMA_M + i : i * MMA_K + k]);
        }
        for (int i = 0; i < MMA_N; i++) {
            const float value = number(1, k, i);
            dpt_half_narrow(type, 1, &value, &b[trans ? i * MMA_K + k : k * MMA_N + i]);
        }
    }
    void *at_a = there(card, a, sizeof a), *at_b = there(card, b, sizeof b), *at_c = there(card, c, sizeof c);
    mma_product(card, type, form, width, swap, at_a, at_b, at_c);
    expect_ok(dpt_dev_copy_out(card, c, at_c, sizeof c));
    dpt_dev_release(card, at_a, sizeof a);
    dpt_dev_release(card, at_b, sizeof b);
    dpt_dev_release(card, at_c, sizeof c);
    for (int i = 0; i < MMA_M; i++) {
        for (int j = 0; j < MMA_N; j++) {
            double sum = 0.0;
            for (int k = 0; k < MMA_K; k++) {
                sum += (double)number(0, i, k) * number(1, k, j);
            }
            most = fmax(most, fabs(sum - c[i * MMA_N + j]));
        }
    }
    return most;
}

/* The numbers are few enough that every sum is exact. */
static void products(void **state)
{
    struct dpt_dev *card = *state;
    static const enum dpt_dtype types[] = {DPT_DTYPE_BF16, DPT_DTYPE_F16};
    for (int i = 0; i < 2; i++) {
        const enum dpt_dtype type = types[i];
        assert_true(difference(card, type, MMA_BY_HAND, 32, 0) == 0.0);
        for (int width = 32; width <= 128; width *= 2) {
            assert_true(difference(card, type, MMA_BY_ROWS, width, 0) == 0.0);
            assert_true(difference(card, type, MMA_TRANSPOSED, width, 0) == 0.0);
        }
    }
}

/* Lanes that have each other's numbers of a give something else, so that the test above says which lane has which. */
static void lanes_are_told_apart(void **state)
{
    for (int swap = 1; swap < 32; swap *= 2) {
        assert_true(difference(*state, DPT_DTYPE_BF16, MMA_BY_HAND, 32, swap) > 0.5);
    }
}

static struct dpt_dev *card;

static int open_card(void **state)
{
    const enum dpt_status status = dpt_dev_cuda(0, &card);
    *state = card;
    return status == DPT_STATUS_OK ? 0 : 1;
}

static int close_card(void **state)
{
    (void)state;
    dpt_dev_close(card);
    return 0;
}

int main(void)
{
    const char *why;
    setenv("DPT_EMULATED_CARDS", "1", 0);
    if (dpt_dev_cuda_count(&why) == 0) {
        print_message("kernels for cards were not run: %s\n", why);
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products),
        cmocka_unit_test(lanes_are_told_apart),
    };
    return cmocka_run_group_tests(tests, open_card, close_card);
}
