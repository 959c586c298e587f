/* SPDX-License-Identifier: Apache-2.0 */
#include "op/op.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "op/cuda.h"

/* What every entry of the table must have. */
static void entries_are_complete(void **state)
{
    (void)state;
    int count = 0;
    for (const struct dpt_op *op; (op = dpt_op_at(count)) != NULL; count++) {
        assert_ptr_equal(dpt_op_find(op->name), op);
        assert_true(op->doc && op->doc[0]);
        assert_non_null(op->shape);
        assert_true(op->view || op->run[DPT_RUN_REF]);
        assert_true(!op->update == !op->writes);
        assert_true(!op->prepare == !op->release);
        /* Letters that may not be split are letters of the signature. */
        for (const char *letter = op->whole ? op->whole : ""; *letter; letter++) {
            assert_non_null(strchr(op->signature, *letter));
        }
        const char *const arrow = strstr(op->signature, "->");
        assert_non_null(arrow);
        int inputs = 1;
        for (const char *at = op->signature; at < arrow; at++) {
            inputs += *at == ',';
        }
        assert_true(op->alias >> inputs == 0 && op->writes >> inputs == 0);
        assert_int_equal(strspn(op->signature, "abcdefghijklmnopqrstuvwxyz.,?*->"), strlen(op->signature));
    }
    assert_true(count > 0);
    assert_null(dpt_op_at(-1));
    assert_null(dpt_op_find("no such op"));
}

/* In a build with CUDA all that computes does so on cards. */
static void all_have_twins(void **state)
{
    (void)state;
    for (int i = 0; dpt_op__cuda(&dpt_op_linear) && dpt_op_at(i); i++) {
        const struct dpt_op *op = dpt_op_at(i);
        if (!op->view && !op->collective && !dpt_op__cuda(op)) {
            fail_msg("the op %s has no kernel for cards: op/cuda.def", op->name);
        }
    }
}

/* Signatures as the planner reads them, on made-up ops. */
static void dimensions_of_letters(void **state)
{
    (void)state;
    const struct dpt_op linear = {.name = "l", .signature = "b.h,kh,k?->b.k", .whole = "h"};
    struct dpt_op_types types = {.nin = 3, .nout = 1,
                                 .in = {{DPT_DTYPE_F32, 4, {2, 3, 4, 5}}, {DPT_DTYPE_F32, 2, {6, 5}},
                                        {DPT_DTYPE_F32, 1, {6}}},
                                 .out = {{DPT_DTYPE_F32, 4, {2, 3, 4, 6}}}};
    assert_int_equal(dpt_op_index_dim(&linear, &types, 0, 'b'), 0);
    assert_int_equal(dpt_op_index_dim(&linear, &types, 0, 'h'), 3);
    assert_int_equal(dpt_op_index_dim(&linear, &types, 0, 'k'), -1);
    assert_int_equal(dpt_op_index_dim(&linear, &types, 1, 'h'), 1);
    assert_int_equal(dpt_op_index_dim(&linear, &types, 2, 'k'), 0);
    assert_int_equal(dpt_op_index_dim(&linear, &types, 3, 'k'), 3);
    assert_true(dpt_op_may_split(&linear, &types, 'b') && dpt_op_may_split(&linear, &types, 'k'));
    assert_false(dpt_op_may_split(&linear, &types, 'h') || dpt_op_may_split(&linear, &types, 'z'));
    /* Unnamed dimensions count from 1. */
    assert_int_equal(dpt_op_index_dim(&linear, &types, 0, '1'), 1);
    assert_int_equal(dpt_op_index_dim(&linear, &types, 3, '2'), 2);
    assert_int_equal(dpt_op_index_dim(&linear, &types, 0, '3'), -1);
    assert_int_equal(dpt_op_index_dim(&linear, &types, 1, '1'), -1);
    assert_true(dpt_op_may_split(&linear, &types, '2') && !dpt_op_may_split(&linear, &types, '3'));
    const struct dpt_op rows = {.name = "r", .signature = "b.h,kh,k?->b.k", .whole = "h."};
    assert_true(!dpt_op_may_split(&rows, &types, '2') && dpt_op_may_split(&rows, &types, 'k'));
    const char letters[4][6] = {"b12h", "kh", "k", "b12k"};
    for (int operand = 0; operand < 4; operand++) {
        for (int dim = 0; dim < 6; dim++) {
            const char expected = dim < (int)strlen(letters[operand]) ? letters[operand][dim] : '\0';
            assert_int_equal(dpt_op_letter_at(&linear, &types, operand, dim), expected);
        }
    }
    /* Without the optional operand the output moves up; '.' may stand for nothing. */
    types.nin = 2;
    types.in[0] = (struct dpt_type){DPT_DTYPE_F32, 2, {2, 5}};
    types.out[0] = (struct dpt_type){DPT_DTYPE_F32, 2, {2, 6}};
    assert_int_equal(dpt_op_index_dim(&linear, &types, 0, 'h'), 1);
    assert_int_equal(dpt_op_index_dim(&linear, &types, 2, 'b'), 0);
    assert_int_equal(dpt_op_index_dim(&linear, &types, 2, 'k'), 1);
    /* '*': every further input has the last pattern. */
    const struct dpt_op concat = {.name = "c", .signature = "bc*->bk"};
    types.nin = 3;
    types.in[1] = types.in[2] = types.in[0];
    assert_int_equal(dpt_op_index_dim(&concat, &types, 2, 'c'), 1);
    assert_int_equal(dpt_op_index_dim(&concat, &types, 3, 'k'), 1);
    assert_int_equal(dpt_op_index_dim(&concat, &types, 3, 'c'), -1);
}

static void numbers_of_inputs(void **state)
{
    (void)state;
    const struct dpt_op op = {.name = "o", .signature = "b.h,h,h?->b."};
    struct dpt_op_types types = {.nin = 1, .in = {{DPT_DTYPE_F32, 2, {2, 5}}, {DPT_DTYPE_F32, 1, {5}},
                                                  {DPT_DTYPE_F32, 1, {5}}, {DPT_DTYPE_F32, 1, {5}}}};
    const enum dpt_status expected[] = {DPT_STATUS_USAGE, DPT_STATUS_USAGE, DPT_STATUS_OK, DPT_STATUS_OK,
                                        DPT_STATUS_USAGE};
    for (types.nin = 0; types.nin <= 4; types.nin++) {
        assert_int_equal(dpt_op__check_inputs(&op, &types), expected[types.nin]);
    }
    types.nin = 2;
    types.in[1].ndim = 2;
    assert_int_equal(dpt_op__check_inputs(&op, &types), DPT_STATUS_USAGE);
    types.in[1].ndim = 1;
    types.in[0].ndim = 1;
    assert_int_equal(dpt_op__check_inputs(&op, &types), DPT_STATUS_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_complete),
        cmocka_unit_test(all_have_twins),
        cmocka_unit_test(dimensions_of_letters),
        cmocka_unit_test(numbers_of_inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
