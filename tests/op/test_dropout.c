/* SPDX-License-Identifier: Apache-2.0 */
#include "op/dropout.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "optest.h"

static void all_questions(void **state)
{
    (void)state;
    const struct dpt_dropout_param some = {.rate = 0.4, .stream = 2}, none = {.rate = 0.0, .stream = 0};
    /* 5 and 21 elements a sample: parts of a split begin in the middle of a block of four. */
    optest_run(&(struct optest){.op = "dropout", .param = &some, .nin = 1, .in = {OPTEST_F32(7, 5)}});
    optest_run(&(struct optest){.op = "dropout", .param = &some, .nin = 1, .in = {OPTEST_F32(31, 7, 3)}});
    optest_run(&(struct optest){.op = "dropout", .param = &some, .nin = 1, .in = {OPTEST_F32(3, 2, 24)}}); /* lines of cards */
    optest_run(&(struct optest){.op = "dropout", .param = &none, .nin = 1, .in = {OPTEST_F32(3)}, .tolerance = 1e-7});
}

enum { ROWS = 96, SAMPLE = 37, NUMEL = ROWS * SAMPLE };

/* The masked ones of rows [first, first + rows). */
static void draw(float *y, int64_t first, int64_t rows, uint64_t step, uint32_t stream, double rate)
{
    static float ones[NUMEL];
    for (int i = 0; i < NUMEL; i++) {
        ones[i] = 1.0f;
    }
    const struct dpt_dropout_param param = {.rate = rate, .stream = stream};
    const struct dpt_op_ctx ctx = {.seed = 9, .step = step, .rows = rows, .first_row = first};
    const struct dpt_tensor in = {{DPT_DTYPE_F32, 2, {rows, SAMPLE}}, ones};
    const struct dpt_tensor out = {{DPT_DTYPE_F32, 2, {rows, SAMPLE}}, y};
    optest_call("dropout", DPT_RUN_CPU, &param, 1, &in, 1, &out, &ctx);
}

/* However the batch is cut, into ranks or micro-batches, every element meets the same fate. */
static void any_split_draws_the_same_mask(void **state)
{
    (void)state;
    static float whole[NUMEL], parts[NUMEL];
    draw(whole, 0, ROWS, 4, 1, 0.3);
    for (int64_t share = 1; share < ROWS; share = share * 2 + 1) {
        for (int64_t first = 0; first < ROWS; first += share) {
            draw(parts + first * SAMPLE, first, ROWS - first < share ? ROWS - first : share, 4, 1, 0.3);
        }
        assert_memory_equal(parts, whole, sizeof whole);
    }
}

static void rate_and_scale(void **state)
{
    (void)state;
    static float y[NUMEL];
    draw(y, 0, ROWS, 0, 0, 0.25);
    int dropped = 0;
    for (int i = 0; i < NUMEL; i++) {
        dropped += y[i] == 0.0f;
        assert_true(y[i] == 0.0f || fabsf(y[i] - 1.0f / 0.75f) < 1e-6f);
    }
    /* Five standard deviations of a binomial distribution. */
    assert_true(fabs(dropped - 0.25 * NUMEL) < 5.0 * sqrt(0.25 * 0.75 * NUMEL));
}

static void steps_and_streams_differ(void **state)
{
    (void)state;
    static float y[NUMEL], other[NUMEL];
    draw(y, 0, ROWS, 0, 0, 0.5);
    const uint64_t step[] = {1, 0, 0};
    const uint32_t stream[] = {0, 1, 2};
    for (int k = 0; k < 3; k++) {
        draw(other, 0, ROWS, step[k], stream[k], 0.5);
        int same = 0;
        for (int i = 0; i < NUMEL; i++) {
            same += y[i] == other[i];
        }
        assert_true(fabs(same - 0.5 * NUMEL) < 5.0 * sqrt(0.25 * NUMEL));
    }
}

static void refusals(void **state)
{
    (void)state;
    const struct dpt_dropout_param all = {.rate = 1.0, .stream = 0}, nothing = {.rate = NAN, .stream = 0};
    optest_refuses(&(struct optest){.op = "dropout", .param = &all, .nin = 1, .in = {OPTEST_F32(5)}}, "rate is 1");
    optest_refuses(&(struct optest){.op = "dropout", .param = &nothing, .nin = 1, .in = {OPTEST_F32(5)}}, "rate is");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_questions),
        cmocka_unit_test(any_split_draws_the_same_mask),
        cmocka_unit_test(rate_and_scale),
        cmocka_unit_test(steps_and_streams_differ),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
