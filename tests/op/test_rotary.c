/* SPDX-License-Identifier: Apache-2.0 */
#include "op/rotary.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "optest.h"

static const struct dpt_rotary_param param = {.base = 100.0};

static void all_questions(void **state)
{
    (void)state;
    optest_run(&(struct optest){.op = "rotary", .param = &param, .nin = 1, .in = {OPTEST_F32(3, 5, 2, 6)},
                                .flops = 3 * 3 * 5 * 2 * 6});
    optest_run(&(struct optest){.op = "rotary", .param = &param, .nin = 1, .in = {OPTEST_F32(2, 4, 3, 2, 10)}});
    optest_run(&(struct optest){.op = "rotary", .param = &param, .nin = 1, .in = {OPTEST_F32(2, 4, 2)}});
    const struct dpt_rotary_param wide = {.base = 500000.0};
    optest_run(&(struct optest){.op = "rotary", .param = &wide, .nin = 1, .in = {OPTEST_F32(1, 300, 1, 34)}});
}

/* The product of a turned query and a turned key depends on the distance of their rows alone. */
static void only_distance_counts(void **state)
{
    (void)state;
    enum { S = 9, D = 8 };
    double x[2][S][D], y[2][S][D];
    for (int i = 0; i < S * D; i++) {
        x[0][i / D][i % D] = sin(1.0 + i % D);
        x[1][i / D][i % D] = cos(3.0 + 2.0 * (i % D));
    }
    const struct dpt_op_ctx ctx = {.rows = 2};
    const struct dpt_type type = {DPT_DTYPE_F64, 4, {2, S, 1, D}};
    const struct dpt_tensor in = {type, x}, out = {type, y};
    optest_call("rotary", DPT_RUN_CPU, &param, 1, &in, 1, &out, &ctx);
    for (int distance = 0; distance < S; distance++) {
        double first = 0.0;
        for (int i = 0; i + distance < S; i++) {
            double product = 0.0;
            for (int j = 0; j < D; j++) {
                product += y[0][i + distance][j] * y[1][i][j];
            }
            first = i == 0 ? product : first;
            assert_true(fabs(product - first) < 1e-12);
        }
    }
}

static void refusals(void **state)
{
    (void)state;
    const struct dpt_rotary_param zero = {.base = 0.0};
    optest_refuses(&(struct optest){.op = "rotary", .param = &param, .nin = 1, .in = {OPTEST_F32(3, 5, 2, 7)}},
                   "heads are 7 wide, expected an even number");
    optest_refuses(&(struct optest){.op = "rotary", .param = &zero, .nin = 1, .in = {OPTEST_F32(3, 5, 2, 6)}},
                   "the base of rotary positions is 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_questions),
        cmocka_unit_test(only_distance_counts),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
