/* SPDX-License-Identifier: Apache-2.0 */
#include "op/swiglu.h"

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
    optest_run(&(struct optest){.op = "swiglu", .nin = 2, .in = {OPTEST_F32(7, 5), OPTEST_F32(7, 5)},
                                .flops = 5 * 7 * 5});
    optest_run(&(struct optest){.op = "swiglu", .nin = 2, .in = {OPTEST_F32(3, 4, 67), OPTEST_F32(3, 4, 67)}});
    optest_run(&(struct optest){.op = "swiglu", .nin = 2, .in = {OPTEST_F32(1), OPTEST_F32(1)}});
}

/* The product of the two ops that it stands for. */
static void like_silu_and_mul(void **state)
{
    (void)state;
    enum { N = 41 };
    float gate[N], up[N], y[N];
    for (int i = 0; i < N; i++) {
        gate[i] = 0.4f * (float)(i - 20);
        up[i] = 2.0f - 0.1f * (float)i;
    }
    const struct dpt_op_ctx ctx = {.rows = N};
    const struct dpt_type type = {DPT_DTYPE_F32, 1, {N}};
    const struct dpt_tensor in[] = {{type, gate}, {type, up}}, out = {type, y};
    optest_call("swiglu", DPT_RUN_CPU, NULL, 2, in, 1, &out, &ctx);
    for (int i = 0; i < N; i++) {
        const double expected = gate[i] / (1.0 + exp(-(double)gate[i])) * up[i];
        assert_true(fabs(y[i] - expected) < 1e-6 * (1.0 + fabs(expected)));
    }
}

static void refusals(void **state)
{
    (void)state;
    optest_refuses(&(struct optest){.op = "swiglu", .nin = 2, .in = {OPTEST_F32(7, 5), OPTEST_F32(5, 7)}},
                   "input 1 is F32[5,7], expected the shape of input 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_questions),
        cmocka_unit_test(like_silu_and_mul),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
