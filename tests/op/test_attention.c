/* SPDX-License-Identifier: Apache-2.0 */
#include "op/attention.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "optest.h"
#include "optest_impl.h"

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

/* About the logarithm of a sum over some keys. */
static double near_three(double normal)
{
    return 3.0 + 0.1 * normal;
}

/*
 * Heads of widths for which cards have kernels on tensor cores: rows and keys that end inside their tiles, one row, more
 * keys than rows, several queries a head. They round probabilities, and slopes of scores, before they multiply them.
 */
static void on_tensor_cores(void **state)
{
    (void)state;
    static const struct dpt_attention_param params[] = {{.scale = 0.125}, {.scale = 0.2, .rate = 0.3, .stream = 2}};
    static const struct {
        int64_t b, s, t, a, g, d;
    } sizes[] = {{1, 1, 1, 1, 1, 8},
                 {2, 5, 9, 2, 3, 24},
                 {1, 150, 150, 1, 1, 64},
                 {1, 70, 81, 1, 2, 72},
                 {1, 40, 40, 2, 1, 128}};
    for (int i = 0; i < 2; i++) {
        optest_run(&(struct optest){.op = "attention", .param = &params[i], .nin = 3, .card16 = 0x1p-9,
                                    .in = {OPTEST_F32(2, 4, 2, 2, 8), OPTEST_F32(2, 4, 2, 8), OPTEST_F32(2, 4, 2, 8)}});
        optest_run(&(struct optest){.op = "attention_qkv", .param = &params[i], .nin = 1, .card16 = 0x1p-9,
                                    .in = {OPTEST_F32(2, 4, 3, 2, 8)}});
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
            const int64_t b = sizes[k].b, s = sizes[k].s, t = sizes[k].t, a = sizes[k].a, g = sizes[k].g, d = sizes[k].d;
            optest_run(&(struct optest){.op = "attention", .param = &params[i], .nin = 3, .fixed = 7, .card16 = 0x1p-9,
                                        .in = {OPTEST_F32(b, s, a, g, d), OPTEST_F32(b, t, a, d),
                                               OPTEST_F32(b, t, a, d)}});
            optest_run(&(struct optest){.op = "attention_dx", .param = &params[i], .nin = 6, .exact = 1u << 4,
                                        .card16 = 0x1p-9, .draw = {[4] = near_three},
                                        .in = {OPTEST_F32(b, s, a, g, d), OPTEST_F32(b, t, a, d), OPTEST_F32(b, t, a, d),
                                               OPTEST_F32(b, s, a, g, d), OPTEST_F32(b, s, a, g),
                                               OPTEST_F32(b, s, a, g, d)}});
        }
    }
}

enum { ROWS = 150, BEGIN = 70, QUERIES = 2, WIDTH = 16 };

/* Rows from `begin` of a tensor with one sample. */
static struct dpt_tensor rows_from(const struct dpt_tensor *whole, int64_t begin)
{
    struct dpt_type type = whole->type;
    const size_t row = dpt_type_nbytes(&type) / (size_t)type.dim[1];
    type.dim[1] -= begin;
    struct dpt_tensor rows = tensor_new(&type, 0);
    memcpy(rows.data, (const char *)whole->data + (size_t)begin * row, dpt_type_nbytes(&type));
    return rows;
}

/* A card in 16 bits on rows from `begin` of q and what has its rows. */
static void run_rows(const char *name, int nin, const struct dpt_tensor *in, int64_t begin, struct results *results)
{
    const struct dpt_op *op = dpt_op_find(name);
    const struct dpt_op_ctx ctx = {.seed = 9, .step = 2, .rows = 1, .first_row = 3, .micro_rows = 1, .batch_rows = 1};
    struct dpt_op_types types = {.param = &dropping, .nin = nin, .half = DPT_DTYPE_BF16};
    struct dpt_op_part part[DPT_OP_MAX_IN + DPT_OP_MAX_OUT] = {{{0}, {0}}};
    struct dpt_tensor mine[DPT_OP_MAX_IN];
    for (int i = 0; i < nin; i++) {
        const bool keys = i == 1 || i == 2;
        memcpy(part[i].whole, in[i].type.dim, sizeof part[i].whole);
        part[i].begin[1] = keys ? 0 : begin;
        mine[i] = rows_from(&in[i], keys ? 0 : begin);
        types.in[i] = mine[i].type;
    }
    for (int pass = 0; pass < 2; pass++) {
        assert_int_equal(dpt_op_shape(op, &types), DPT_STATUS_OK);
        types.narrow = (unsigned char)(((1u << types.nout) - 1) & ~op->exact);
    }
    run_types(op, DPT_RUN_CUDA, &types, mine, &ctx, -1, part, results);
    for (int i = 0; i < nin; i++) {
        tensor_free(&mine[i], name);
    }
}

/* A rank with some of the rows gives the same bits for them, masks included: y, lse and dq. */
static void rows_of_a_rank(void **state)
{
    (void)state;
    const struct dpt_type queries = OPTEST_F32(1, ROWS, 1, QUERIES, WIDTH), keys = OPTEST_F32(1, ROWS, 1, WIDTH);
    struct dpt_tensor in[6];
    struct results y[2], dq[2];
    if (!card_runs(dpt_op_find("attention"))) {
        return;
    }
    for (int i = 0; i < 6; i++) { /* q, k, v, y, lse, dy; y and lse below */
        struct dpt_tensor real = tensor_new(i == 1 || i == 2 ? &keys : &queries, 0);
        for (int64_t k = 0; k < dpt_type_numel(&real.type); k++) {
            set_element(&real, k, sin(0.37 * (double)k + i));
        }
        in[i] = tensor_convert(&real, DPT_DTYPE_BF16);
        tensor_free(&real, "rows");
    }
    for (int p = 0; p < 2; p++) {
        run_rows("attention", 3, in, p * BEGIN, &y[p]);
    }
    for (int i = 3; i < 5; i++) {
        tensor_free(&in[i], "rows");
        in[i] = y[0].tensor[i - 3];
    }
    for (int p = 0; p < 2; p++) {
        run_rows("attention_dx", 6, in, p * BEGIN, &dq[p]);
    }
    struct dpt_tensor expected[] = {rows_from(&y[0].tensor[0], BEGIN), rows_from(&y[0].tensor[1], BEGIN),
                                    rows_from(&dq[0].tensor[0], BEGIN)};
    const struct dpt_tensor *got[] = {&y[1].tensor[0], &y[1].tensor[1], &dq[1].tensor[0]};
    for (int i = 0; i < 3; i++) {
        assert_memory_equal(got[i]->data, expected[i].data, dpt_type_nbytes(&expected[i].type));
        tensor_free(&expected[i], "rows");
    }
    for (int p = 0; p < 2; p++) {
        results_free(&y[p], "rows");
        results_free(&dq[p], "rows");
    }
    for (int i = 0; i < 6; i++) {
        if (i < 3 || i == 5) {
            tensor_free(&in[i], "rows");
        }
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
        cmocka_unit_test(on_tensor_cores),
        cmocka_unit_test(rows_of_a_rank),
        cmocka_unit_test(packed_and_apart_agree),
        cmocka_unit_test(sees_what_it_should),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
