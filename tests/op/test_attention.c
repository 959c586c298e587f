/* SPDX-License-Identifier: Apache-2.0 */
#include "op/attention.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "optest.h"

static const struct dpt_attention_param plain = {.scale = 0.5}, dropping = {.scale = 0.4, .rate = 0.3, .stream = 2};

static void all_questions(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        const struct dpt_attention_param *param = i ? &dropping : &plain;
        optest_run(&(struct optest){.op = "attention", .param = param, .nin = 3,
                                    .in = {OPTEST_F32(3, 5, 3, 2, 4), OPTEST_F32(3, 5, 3, 4), OPTEST_F32(3, 5, 3, 4)},
                                    .flops = 3 * 5 * 6 * 3 * (2 * 2 * 4 + 5)});
        optest_run(&(struct optest){.op = "attention", .param = param, .nin = 3,
                                    .in = {OPTEST_F32(2, 3, 1, 1, 5), OPTEST_F32(2, 7, 1, 5),
                                           OPTEST_F32(2, 7, 1, 5)}});
        optest_run(&(struct optest){.op = "attention_qkv", .param = param, .nin = 1,
                                    .in = {OPTEST_F32(3, 5, 3, 3, 4)}, .flops = 3 * 5 * 3 * 3 * (2 * 2 * 4 + 5)});
        optest_run(&(struct optest){.op = "attention_qkv", .param = param, .nin = 1,
                                    .in = {OPTEST_F32(1, 1, 3, 1, 2)}});
    }
}

/*
 * More rows and keys than one tile, and ends of tiles inside. The backward op alone, on numbers that no forward pass
 * gave, since finite differences would take long.
 */
static void several_tiles(void **state)
{
    (void)state;
    optest_run(&(struct optest){.op = "attention_qkv", .param = &plain, .nin = 1, .in = {OPTEST_F32(1, 67, 3, 1, 2)}});
    for (int i = 0; i < 2; i++) {
        const struct dpt_attention_param *param = i ? &dropping : &plain;
        optest_run(&(struct optest){.op = "attention", .param = param, .nin = 3, .fixed = 7,
                                    .in = {OPTEST_F32(1, 300, 1, 2, 3), OPTEST_F32(1, 300, 1, 3),
                                           OPTEST_F32(1, 300, 1, 3)}});
        optest_run(&(struct optest){.op = "attention_dx", .param = param, .nin = 6,
                                    .in = {OPTEST_F32(1, 300, 1, 2, 3), OPTEST_F32(1, 300, 1, 3),
                                           OPTEST_F32(1, 300, 1, 3), OPTEST_F32(1, 300, 1, 2, 3),
                                           OPTEST_F32(1, 300, 1, 2), OPTEST_F32(1, 300, 1, 2, 3)}});
    }
}

/* Both forms are the same function. */
static void packed_and_apart_agree(void **state)
{
    (void)state;
    enum { B = 2, S = 70, A = 2, D = 3, ROW = A * D };
    static float qkv[B][S][3][ROW], part[3][B][S][ROW], y[2][B][S][ROW], lse[2][B][S][A];
    for (int i = 0; i < B * S * 3 * ROW; i++) {
        const int f = i % ROW, p = i / ROW % 3, s = i / (3 * ROW) % S, b = i / (3 * ROW * S);
        qkv[b][s][p][f] = part[p][b][s][f] = sinf(0.7f * (float)i + (float)p);
    }
    const struct dpt_op_ctx ctx = {.seed = 3, .step = 7, .rows = B, .first_row = 4};
    const struct dpt_type keys = {DPT_DTYPE_F32, 4, {B, S, A, D}}, queries = {DPT_DTYPE_F32, 5, {B, S, A, 1, D}};
    const struct dpt_tensor packed = {{DPT_DTYPE_F32, 5, {B, S, 3, A, D}}, qkv};
    const struct dpt_tensor apart[] = {{queries, part[0]}, {keys, part[1]}, {keys, part[2]}};
    const struct dpt_tensor out[] = {{keys, y[0]}, {{DPT_DTYPE_F32, 3, {B, S, A}}, lse[0]}};
    const struct dpt_tensor out_apart[] = {{queries, y[1]}, {{DPT_DTYPE_F32, 4, {B, S, A, 1}}, lse[1]}};
    for (enum dpt_run run = DPT_RUN_REF; run <= DPT_RUN_CPU; run++) {
        optest_call("attention_qkv", run, &dropping, 1, &packed, 2, out, &ctx);
        optest_call("attention", run, &dropping, 3, apart, 2, out_apart, &ctx);
        assert_memory_equal(y[0], y[1], sizeof y[0]);
        assert_memory_equal(lse[0], lse[1], sizeof lse[0]);
    }
}

/* A query that fits one key alone gets its value; keys behind a row, even infinite ones, do not touch it. */
static void sees_what_it_should(void **state)
{
    (void)state;
    enum { S = 5 };
    float qkv[S][3], y[S], lse[S];
    for (int i = 0; i < S; i++) {
        qkv[i][0] = 100.0f;
        qkv[i][1] = i == 1 ? 5.0f : i == 4 ? INFINITY : -5.0f;
        qkv[i][2] = (float)(10 + i);
    }
    const struct dpt_op_ctx ctx = {.rows = 1};
    const struct dpt_tensor in = {{DPT_DTYPE_F32, 5, {1, S, 3, 1, 1}}, qkv};
    const struct dpt_tensor out[] = {{{DPT_DTYPE_F32, 4, {1, S, 1, 1}}, y}, {{DPT_DTYPE_F32, 3, {1, S, 1}}, lse}};
    for (enum dpt_run run = DPT_RUN_REF; run <= DPT_RUN_CPU; run++) {
        optest_call("attention_qkv", run, &plain, 1, &in, 2, out, &ctx);
        assert_true(y[0] == 10.0f && y[1] == 11.0f && y[2] == 11.0f && y[3] == 11.0f && isnan(y[4]));
    }
}

static void refusals(void **state)
{
    (void)state;
    const struct dpt_attention_param all = {.scale = 1.0, .rate = 1.0}, nothing = {.scale = NAN};
    optest_refuses(&(struct optest){.op = "attention", .param = &plain, .nin = 3,
                                    .in = {OPTEST_F32(2, 3, 2, 1, 5), OPTEST_F32(2, 7, 3, 5), OPTEST_F32(2, 7, 3, 5)}},
                   "k is F32[2,7,3,5], expected F32[2,7,2,5]");
    optest_refuses(&(struct optest){.op = "attention", .param = &plain, .nin = 3,
                                    .in = {OPTEST_F32(2, 8, 2, 1, 5), OPTEST_F32(2, 7, 2, 5), OPTEST_F32(2, 7, 2, 5)}},
                   "there are 8 rows of queries, but only 7 keys");
    optest_refuses(&(struct optest){.op = "attention_qkv", .param = &plain, .nin = 1,
                                    .in = {OPTEST_F32(2, 8, 2, 4, 5)}}, "dimension 2 of qkv is 2");
    optest_refuses(&(struct optest){.op = "attention_qkv", .param = &all, .nin = 1,
                                    .in = {OPTEST_F32(2, 8, 3, 4, 5)}}, "rate is 1");
    optest_refuses(&(struct optest){.op = "attention_qkv", .param = &nothing, .nin = 1,
                                    .in = {OPTEST_F32(2, 8, 3, 4, 5)}}, "the scale is nan");
    optest_refuses(&(struct optest){.op = "attention_qkv", .param = &plain, .nin = 1,
                                    .in = {OPTEST_F32(1, 1, 3, 1 << 20, 1 << 11)}}, "a row of heads has");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_questions),
        cmocka_unit_test(several_tiles),
        cmocka_unit_test(packed_and_apart_agree),
        cmocka_unit_test(sees_what_it_should),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
