/* SPDX-License-Identifier: Apache-2.0 */
#include "op/reshape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "optest.h"

static void keeps_elements(void **state)
{
    (void)state;
    const struct dpt_reshape_param flat = {.ndim = 1, .dim = {12}}, square = {.ndim = 2, .dim = {6, 2}};
    const struct dpt_reshape_param scalar = {.ndim = 0}, heads = {.ndim = 3, .dim = {6, 2, 2}};
    optest_run(&(struct optest){.op = "reshape", .param = &flat, .nin = 1, .in = {OPTEST_F32(5, 2, 3, 2)}});
    optest_run(&(struct optest){.op = "reshape", .param = &square, .nin = 1, .in = {OPTEST_F32(5, 12)}});
    optest_run(&(struct optest){.op = "reshape", .param = &scalar, .nin = 1, .in = {OPTEST_F32(5, 1, 1)}});
    optest_run(&(struct optest){.op = "reshape", .param = &heads, .nin = 1, .in = {OPTEST_F32(5, 6, 4)}});
}

/* Dimensions that are the same, up to the first that is not, are the only ones that may be split. */
static void letters(void **state)
{
    (void)state;
    const struct dpt_reshape_param heads = {.ndim = 3, .dim = {6, 2, 2}}, more = {.ndim = 3, .dim = {6, 4, 1}};
    struct dpt_op_types types = {.param = &heads, .nin = 1, .in = {OPTEST_F32(5, 6, 4)}};
    assert_int_equal(dpt_op_reshape.shape(&types), DPT_STATUS_OK);
    assert_true(dpt_op_may_split(&dpt_op_reshape, &types, 'b') && dpt_op_may_split(&dpt_op_reshape, &types, '1'));
    assert_false(dpt_op_may_split(&dpt_op_reshape, &types, '2') || dpt_op_may_split(&dpt_op_reshape, &types, '3'));
    types.param = &more;
    assert_int_equal(dpt_op_reshape.shape(&types), DPT_STATUS_OK);
    assert_true(dpt_op_may_split(&dpt_op_reshape, &types, '2'));
    assert_false(dpt_op_may_split(&dpt_op_reshape, &types, '3'));
}

static void refusals(void **state)
{
    (void)state;
    const struct dpt_reshape_param other = {.ndim = 1, .dim = {11}}, huge = {.ndim = 2, .dim = {INT64_MAX, 4}};
    const struct dpt_reshape_param many = {.ndim = 6, .dim = {1, 1, 1, 1, 1, 12}};
    const struct dpt_reshape_param negative = {.ndim = 2, .dim = {-3, -4}};
    optest_refuses(&(struct optest){.op = "reshape", .param = &other, .nin = 1, .in = {OPTEST_F32(5, 12)}},
                   "F32[5,11] does not have as many elements as F32[5,12]");
    optest_refuses(&(struct optest){.op = "reshape", .param = &huge, .nin = 1, .in = {OPTEST_F32(5, 12)}},
                   "more than 2^62 bytes");
    optest_refuses(&(struct optest){.op = "reshape", .param = &many, .nin = 1, .in = {OPTEST_F32(5, 12)}},
                   "asks for 6 dimensions");
    optest_refuses(&(struct optest){.op = "reshape", .param = &negative, .nin = 1, .in = {OPTEST_F32(5, 12)}},
                   "must not be negative");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_elements),
        cmocka_unit_test(letters),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
