/* SPDX-License-Identifier: Apache-2.0 */
#include "op/linear.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "optest.h"

static const struct dpt_linear_param plain = {DPT_ACTIVATION_KIND_NONE};

static void with_and_without_bias(void **state)
{
    (void)state;
    optest_run(&(struct optest){.op = "linear", .param = &plain, .nin = 3, .card16 = OPTEST_CARD_BIAS,
                                .in = {OPTEST_F32(7, 5), OPTEST_F32(3, 5), OPTEST_F32(3)},
                                .flops = 7 * 3 * 5 * 2 + 7 * 3});
    optest_run(&(struct optest){.op = "linear", .param = &plain, .nin = 2,
                                .in = {OPTEST_F32(7, 5), OPTEST_F32(3, 5)}, .flops = 7 * 3 * 5 * 2});
}

static void odd_sizes(void **state)
{
    (void)state;
    optest_run(&(struct optest){.op = "linear", .param = &plain, .nin = 3, .card16 = OPTEST_CARD_BIAS,
                                .in = {OPTEST_F32(1, 1), OPTEST_F32(1, 1), OPTEST_F32(1)}});
    optest_run(&(struct optest){.op = "linear", .param = &plain, .nin = 3, .card16 = OPTEST_CARD_BIAS,
                                .in = {OPTEST_F32(33, 67), OPTEST_F32(10, 67), OPTEST_F32(10)}});
    optest_run(&(struct optest){.op = "linear", .param = &plain, .nin = 3, .card16 = OPTEST_CARD_BIAS,
                                .in = {OPTEST_F32(2, 3, 2, 17), OPTEST_F32(19, 17), OPTEST_F32(19)}});
}

static void with_activation(void **state)
{
    (void)state;
    const struct dpt_linear_param relu = {DPT_ACTIVATION_KIND_RELU};
    optest_run(&(struct optest){.op = "linear", .param = &relu, .nin = 3, .card16 = OPTEST_CARD_BIAS,
                                .in = {OPTEST_F32(7, 5), OPTEST_F32(3, 5), OPTEST_F32(3)},
                                .flops = 7 * 3 * 5 * 2 + 2 * 7 * 3});
    optest_run(&(struct optest){.op = "linear", .param = &relu, .nin = 2, .in = {OPTEST_F32(5, 3), OPTEST_F32(33, 3)}});
}

static void refusals(void **state)
{
    (void)state;
    optest_refuses(&(struct optest){.op = "linear", .param = &plain, .nin = 2,
                                    .in = {OPTEST_F32(7, 5), OPTEST_F32(3, 4)}},
                   "x has 5 features in its last dimension, but w takes 4");
    optest_refuses(&(struct optest){.op = "linear", .param = &plain, .nin = 3,
                                    .in = {OPTEST_F32(7, 5), OPTEST_F32(3, 5), OPTEST_F32(5)}},
                   "bias has 5 elements, but w 3 outputs");
    optest_refuses(&(struct optest){.op = "linear", .param = &plain, .nin = 1,
                                    .in = {OPTEST_F32(7, 5)}}, "has 1 inputs, takes 2 to 3");
    optest_refuses(&(struct optest){.op = "linear", .param = &plain, .nin = 2,
                                    .in = {OPTEST_F32(7), OPTEST_F32(3, 7)}}, "input 0 has 1 dimensions");
    optest_refuses(&(struct optest){.op = "linear", .param = &plain, .nin = 2,
                                    .in = {OPTEST_I32(7, 5), OPTEST_F32(3, 5)}}, "input 0 holds I32");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_and_without_bias),
        cmocka_unit_test(odd_sizes),
        cmocka_unit_test(with_activation),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
