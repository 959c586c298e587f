/* SPDX-License-Identifier: Apache-2.0 */
#include "op/linear.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "optest.h"

/* Every variant, small enough for finite differences, with 5 heads that no number of parts divides evenly. */
static void all_questions(void **state)
{
    (void)state;
    optest_run(&(struct optest){.op = "linear_heads", .nin = 3, .card16 = OPTEST_CARD_BIAS,
                                .in = {OPTEST_F32(3, 2, 4), OPTEST_F32(5, 3, 4), OPTEST_F32(5, 3)},
                                .flops = 6 * 15 * 4 * 2 + 6 * 15});
    optest_run(&(struct optest){.op = "linear_heads", .nin = 2, .in = {OPTEST_F32(3, 2, 4), OPTEST_F32(5, 3, 4)},
                                .flops = 6 * 15 * 4 * 2});
    optest_run(&(struct optest){.op = "linear_grouped", .nin = 3, .card16 = OPTEST_CARD_BIAS,
                                .in = {OPTEST_F32(3, 2, 4), OPTEST_F32(5, 2, 3, 4), OPTEST_F32(5, 2, 3)}});
    optest_run(&(struct optest){.op = "linear_grouped", .nin = 2, .in = {OPTEST_F32(3, 2, 4), OPTEST_F32(3, 2, 3, 4)}});
    optest_run(&(struct optest){.op = "linear_qkv", .nin = 3, .card16 = OPTEST_CARD_BIAS,
                                .in = {OPTEST_F32(3, 2, 4), OPTEST_F32(3, 5, 3, 4), OPTEST_F32(3, 5, 3)}});
    optest_run(&(struct optest){.op = "linear_merge", .nin = 3, .card16 = OPTEST_CARD_BIAS,
                                .in = {OPTEST_F32(3, 2, 5, 3), OPTEST_F32(4, 5, 3), OPTEST_F32(4)},
                                .flops = 6 * 4 * 15 * 2 + 6 * 4});
    optest_run(&(struct optest){.op = "linear_merge", .nin = 2, .in = {OPTEST_F32(3, 2, 5, 3), OPTEST_F32(4, 5, 3)}});
    optest_run(&(struct optest){.op = "linear_merge_grouped", .nin = 2,
                                .in = {OPTEST_F32(3, 2, 5, 2, 3), OPTEST_F32(4, 5, 2, 3)}});
}

/* More columns and rows than one block of the sums of a bias. */
static void large(void **state)
{
    (void)state;
    optest_run(&(struct optest){.op = "linear_qkv", .nin = 3, .card16 = OPTEST_CARD_BIAS,
                                .in = {OPTEST_F32(3, 70, 4), OPTEST_F32(3, 11, 16, 4), OPTEST_F32(3, 11, 16)}});
}

static void refusals(void **state)
{
    (void)state;
    optest_refuses(&(struct optest){.op = "linear_heads", .nin = 2,
                                    .in = {OPTEST_F32(3, 2, 4), OPTEST_F32(5, 3, 5)}},
                   "x is F32[3,2,4], but w is F32[5,3,5]");
    optest_refuses(&(struct optest){.op = "linear_qkv", .nin = 3,
                                    .in = {OPTEST_F32(3, 2, 4), OPTEST_F32(3, 5, 2, 4), OPTEST_F32(3, 2, 5)}},
                   "expected bias to end with dimensions 0 to 2 of w");
    optest_refuses(&(struct optest){.op = "linear_merge", .nin = 2,
                                    .in = {OPTEST_F32(3, 2, 4), OPTEST_F32(5, 3, 4)}}, "x is F32[3,2,4], but w");
    optest_refuses(&(struct optest){.op = "linear_merge", .nin = 2, .in = {OPTEST_F32(3, 4), OPTEST_F32(5, 3, 4)}},
                   "input 0 has 2 dimensions");
    optest_refuses(&(struct optest){.op = "linear_grouped", .nin = 2,
                                    .in = {OPTEST_F32(1, 1, 1, 1, 4), OPTEST_F32(1, 1, 1, 4)}},
                   "the result would have 7 dimensions");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_questions),
        cmocka_unit_test(large),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
