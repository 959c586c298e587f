/* SPDX-License-Identifier: Apache-2.0 */
#include "op/collective.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "optest.h"

static void one_rank_copies(void **state)
{
    (void)state;
    const struct dpt_collective_param param = {.from = -1, .to = -1, .message = -1};
    optest_run(&(struct optest){.op = "all_reduce", .param = &param, .nin = 1, .in = {OPTEST_F32(7, 3)}});
    float x[3] = {1.0f, -2.0f, 3.0f}, y[3];
    const struct dpt_op_ctx ctx = {.rows = 3};
    const struct dpt_tensor in = {{DPT_DTYPE_F32, 1, {3}}, x}, out = {{DPT_DTYPE_F32, 1, {3}}, y};
    optest_call("all_reduce", DPT_RUN_CPU, &param, 1, &in, 1, &out, &ctx);
    assert_memory_equal(x, y, sizeof x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_rank_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
