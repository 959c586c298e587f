/* SPDX-License-Identifier: Apache-2.0 */
#include "op/embedding.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "optest.h"

static void all_questions(void **state)
{
    (void)state;
    /* 11 tokens for 10 rows of a table: some rows more than once, some not at all. */
    optest_run(&(struct optest){.op = "embedding", .nin = 2, .in = {OPTEST_I32(11), OPTEST_F32(10, 5)}, .below = {10}});
    optest_run(&(struct optest){.op = "embedding", .nin = 2, .in = {OPTEST_I32(3, 7), OPTEST_F32(5, 67)},
                                .below = {5}});
    optest_run(&(struct optest){.op = "position", .nin = 2, .in = {OPTEST_F32(3, 5, 7), OPTEST_F32(5, 7)},
                                .flops = 3 * 5 * 7});
    optest_run(&(struct optest){.op = "position", .nin = 2, .in = {OPTEST_F32(3, 4, 67), OPTEST_F32(9, 67)}});
    /* Columns that a card takes in lines. */
    optest_run(&(struct optest){.op = "embedding", .nin = 2, .in = {OPTEST_I32(3, 7), OPTEST_F32(5, 24)}, .below = {5}});
    optest_run(&(struct optest){.op = "position", .nin = 2, .in = {OPTEST_F32(3, 4, 16), OPTEST_F32(9, 16)}});
}

/* A token that the local rows do not have gives zeros and adds nothing, on either side of them. */
static void foreign_tokens(void **state)
{
    (void)state;
    const int32_t token[4] = {2, 5, 0, 3};
    const float w[2 * 2] = {1.0f, 2.0f, 3.0f, 4.0f}, dy[4 * 2] = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f, 7.0f, 8.0f};
    const float expected[4 * 2] = {1.0f, 2.0f, 0.0f, 0.0f, 0.0f, 0.0f, 3.0f, 4.0f};
    float y[4 * 2], dw[2 * 2];
    const struct dpt_type tokens = {DPT_DTYPE_I32, 1, {4}}, rows = {DPT_DTYPE_F32, 2, {2, 2}};
    const struct dpt_type out = {DPT_DTYPE_F32, 2, {4, 2}};
    const struct dpt_tensor in[] = {{tokens, (void *)token}, {rows, (void *)w}}, to = {out, y};
    const struct dpt_tensor in_dw[] = {{tokens, (void *)token}, {out, (void *)dy}, {rows, (void *)w}};
    const struct dpt_tensor to_dw = {rows, dw};
    const struct dpt_op_part part[3] = {[1] = {.begin = {2}, .whole = {6, 2}}},
                             part_dw[4] = {[2] = {.begin = {2}, .whole = {6, 2}}};
    for (enum dpt_run run = DPT_RUN_REF; run <= DPT_RUN_CPU; run++) {
        const struct dpt_op_types types = {.nin = 2, .nout = 1, .in = {tokens, rows}, .out = {out}};
        const struct dpt_op_types types_dw = {.nin = 3, .nout = 1, .in = {tokens, out, rows}, .out = {rows}};
        const struct dpt_op_call call = {.types = &types, .in = in, .out = &to, .part = part};
        const struct dpt_op_call back = {.types = &types_dw, .in = in_dw, .out = &to_dw, .part = part_dw};
        assert_int_equal(dpt_op_call(&dpt_op_embedding, run, &call), DPT_STATUS_OK);
        assert_int_equal(dpt_op_call(&dpt_op_embedding_dw, run, &back), DPT_STATUS_OK);
        assert_memory_equal(y, expected, sizeof y);
        assert_true(dw[0] == 1.0f && dw[1] == 2.0f && dw[2] == 7.0f && dw[3] == 8.0f);
    }
}

static void refusals(void **state)
{
    (void)state;
    optest_refuses(&(struct optest){.op = "embedding", .nin = 2, .in = {OPTEST_F32(11), OPTEST_F32(10, 5)}},
                   "tokens hold F32, expected I32");
    optest_refuses(&(struct optest){.op = "embedding_dw", .nin = 3,
                                    .in = {OPTEST_I32(11), OPTEST_F32(11, 4), OPTEST_F32(10, 5)}},
                   "dy is F32[11,4], expected F32[11,5]");
    optest_refuses(&(struct optest){.op = "position", .nin = 2, .in = {OPTEST_F32(3, 5, 7), OPTEST_F32(4, 7)}},
                   "x has 5 positions, but the table only 4");
    optest_refuses(&(struct optest){.op = "position", .nin = 2, .in = {OPTEST_F32(3, 5, 7), OPTEST_F32(5, 6)}},
                   "x has 7 features, but the table of positions 6");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_questions),
        cmocka_unit_test(foreign_tokens),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
