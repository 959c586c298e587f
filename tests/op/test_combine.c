/* SPDX-License-Identifier: Apache-2.0 */
#include "op/combine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "optest.h"

static void sums_and_products(void **state)
{
    (void)state;
    const char *const op[] = {"add", "mul"};
    for (int i = 0; i < 2; i++) {
        optest_run(&(struct optest){.op = op[i], .nin = 2, .in = {OPTEST_F32(7, 5, 3), OPTEST_F32(7, 5, 3)},
                                    .tolerance = 1e-7, .flops = 7 * 5 * 3});
        optest_run(&(struct optest){.op = op[i], .nin = 2, .in = {OPTEST_F32(1), OPTEST_F32(1)}, .tolerance = 1e-7});
        optest_run(&(struct optest){.op = op[i], .nin = 2, .in = {OPTEST_F32(67), OPTEST_F32(67)}, .tolerance = 1e-7});
        optest_refuses(&(struct optest){.op = op[i], .nin = 2, .in = {OPTEST_F32(7, 3), OPTEST_F32(7, 4)}},
                       "input 1 is F32[7,4], expected the shape of input 0, F32[7,3]");
    }
}

static void concatenation(void **state)
{
    (void)state;
    optest_run(&(struct optest){.op = "concat", .nin = 2, .in = {OPTEST_F32(5, 3), OPTEST_F32(5, 4)},
                                .tolerance = 1e-7});
    optest_run(&(struct optest){.op = "concat", .nin = 4,
                                .in = {OPTEST_F32(3, 2, 1), OPTEST_F32(3, 2, 7), OPTEST_F32(3, 2, 2),
                                       OPTEST_F32(3, 2, 1)},
                                .tolerance = 1e-7});
    optest_refuses(&(struct optest){.op = "concat", .nin = 1, .in = {OPTEST_F32(5, 3)}}, "has one input");
    optest_refuses(&(struct optest){.op = "concat", .nin = 2, .in = {OPTEST_F32(5, 3), OPTEST_F32(4, 3)}},
                   "input 1 differs from input 0 in more than the last dimension");
    optest_refuses(&(struct optest){.op = "concat", .nin = 2, .in = {OPTEST_F32(5, 3), OPTEST_F32(5, 1, 3)}},
                   "input 1 has 3 dimensions, but input 0 has 2");
}

/* x0 then x1 in every row. */
static void order(void **state)
{
    (void)state;
    float a[4] = {1, 2, 5, 6}, b[2] = {3, 7}, z[6], part[4];
    const float expected[6] = {1, 2, 3, 5, 6, 7}, middle[4] = {2, 3, 6, 7};
    const struct dpt_op_ctx ctx = {.rows = 2};
    const struct dpt_tensor in[] = {{{DPT_DTYPE_F32, 2, {2, 2}}, a}, {{DPT_DTYPE_F32, 2, {2, 1}}, b}};
    const struct dpt_tensor out = {{DPT_DTYPE_F32, 2, {2, 3}}, z}, out_part = {{DPT_DTYPE_F32, 2, {2, 2}}, part};
    optest_call("concat", DPT_RUN_CPU, NULL, 2, in, 1, &out, &ctx);
    assert_memory_equal(z, expected, sizeof z);
    optest_call("slice", DPT_RUN_CPU, &(struct dpt_slice_param){1, 2}, 1, &out, 1, &out_part, &ctx);
    assert_memory_equal(part, middle, sizeof part);
}

static void slices(void **state)
{
    (void)state;
    const struct dpt_slice_param middle = {2, 3}, none = {4, 0}, beyond = {3, INT64_MAX};
    optest_run(&(struct optest){.op = "slice", .param = &middle, .nin = 1, .in = {OPTEST_F32(5, 2, 7)},
                                .tolerance = 1e-7});
    optest_refuses(&(struct optest){.op = "slice", .param = &beyond, .nin = 1, .in = {OPTEST_F32(5, 7)}},
                   "from element 3 on, but the last dimension has 7");
    optest_refuses(&(struct optest){.op = "slice", .param = &none, .nin = 1, .in = {OPTEST_F32(5, 3)}},
                   "from element 4 on, but the last dimension has 3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_and_products),
        cmocka_unit_test(concatenation),
        cmocka_unit_test(order),
        cmocka_unit_test(slices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
