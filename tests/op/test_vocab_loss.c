/* SPDX-License-Identifier: Apache-2.0 */

/* linear_loss in steps, on virtual ranks that have a part of the vocabulary each: the same as in one. */

#include "op/vocab_loss.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "optest.h"

static const struct dpt_linear_loss_param param = {.gradients = 1, .real = DPT_DTYPE_F64};

static void all_questions(void **state)
{
    (void)state;
    optest_run(&(struct optest){.op = "vocab_stat", .param = &param, .nin = 3,
                                .in = {OPTEST_F32(3, 5, 4), OPTEST_F32(37, 4), OPTEST_I32(3, 5)}, .below = {0, 0, 37},
                                .flops = 2 * 15 * 37 * 4 + 2 * 15 * 37});
    optest_run(&(struct optest){
        .op = "vocab_share", .param = &param, .nin = 4,
        .in = {OPTEST_F64(3, 5), OPTEST_F64(3, 5, 3), OPTEST_F64(3, 5), OPTEST_I32(3, 5)}, .below = {0, 0, 0, 7}});
    optest_run(&(struct optest){.op = "vocab_loss", .param = &param, .nin = 3,
                                .in = {OPTEST_F64(3, 5, 3), OPTEST_F64(3, 5), OPTEST_I32(3, 5)}, .below = {0, 0, 7},
                                .draw = {optest_positive}});
    optest_run(&(struct optest){
        .op = "vocab_loss_dx", .param = &param, .nin = 5, .card16 = OPTEST_CARD_LOGITS,
        .in = {OPTEST_F32(3, 5, 4), OPTEST_F32(37, 4), OPTEST_I32(3, 5), OPTEST_F64(3, 5), OPTEST_F64(3, 5, 3)},
        .below = {0, 0, 37}, .draw = {NULL, NULL, NULL, NULL, optest_positive},
        .flops = 3 * 2 * 15 * 37 * 4 + 2 * 15 * 37});
}

enum { B = 2, S = 4, H = 3, V = 11, MOST = 11 };

/* Everything that a loss gives. */
struct result {
    double loss[B], count[B][2], dx[B][S][H], dw[V][H];
};

static double x[B][S][H], w[V][H];
static const int32_t target[B][S] = {{0, 10, -1, 5}, {3, 3, 7, -1}};
static const struct dpt_op_ctx ctx = {.rows = B, .batch_rows = 5};

#define TENSOR(DTYPE, DATA, ...)                                                                                       \
    ((struct dpt_tensor){                                                                                              \
        {DTYPE, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), {__VA_ARGS__}}, (void *)(DATA)})
#define REALS(DATA, ...) TENSOR(DPT_DTYPE_F64, DATA, __VA_ARGS__)

static void in_one(struct result *result)
{
    const struct dpt_tensor in[] = {REALS(x, B, S, H), REALS(w, V, H), TENSOR(DPT_DTYPE_I32, target, B, S)};
    const struct dpt_tensor out[] = {REALS(result->loss, B), REALS(result->count, B, 2), REALS(result->dx, B, S, H),
                                     REALS(result->dw, V, H)};
    optest_call("linear_loss", DPT_RUN_REF, &param, 3, in, 4, out, &ctx);
}

/* A call of an op whose operand 1 is the part of w that begins at `begin`. */
static void call(const char *name, int64_t begin, int nin, const struct dpt_tensor *in, int nout,
                 const struct dpt_tensor *out)
{
    const struct dpt_op *op = dpt_op_find(name);
    double scratch[V];
    struct dpt_op_part part[DPT_OP_MAX_IN + DPT_OP_MAX_OUT] = {{{0}, {0}}};
    struct dpt_op_types types = {.param = &param, .nin = nin, .nout = nout};
    for (int i = 0; i < nin + nout; i++) {
        const struct dpt_tensor *tensor = i < nin ? &in[i] : &out[i - nin];
        memcpy(part[i].whole, tensor->type.dim, sizeof part[i].whole);
        *(i < nin ? &types.in[i] : &types.out[i - nin]) = tensor->type;
    }
    part[1].begin[0] = begin;
    const struct dpt_op_call made = {
        .types = &types, .in = in, .out = out, .scratch = scratch, .ctx = &ctx, .part = part};
    assert_int_equal(dpt_op_call(op, DPT_RUN_REF, &made), DPT_STATUS_OK);
}

static void in_parts(int parts, struct result *result)
{
    static double here[MOST][B][S], stat[MOST][B][S][3], top[B][S], share[B][S][3], sums[B][S][3], dx[B][S][H];
    const struct dpt_tensor targets = TENSOR(DPT_DTYPE_I32, target, B, S);
    memset(sums, 0, sizeof sums);
    memset(result, 0, sizeof *result);
    for (int p = 0; p < parts; p++) {
        const int64_t begin = dpt_split_begin(V, parts, p), end = dpt_split_begin(V, parts, p + 1);
        call("vocab_stat", begin, 3,
             (struct dpt_tensor[]){REALS(x, B, S, H), REALS(w[begin], end - begin, H), targets}, 2,
             (struct dpt_tensor[]){REALS(here[p], B, S), REALS(stat[p], B, S, 3)});
        for (int i = 0; i < B * S; i++) {
            top[i / S][i % S] = p == 0 ? here[p][i / S][i % S] : fmax(top[i / S][i % S], here[p][i / S][i % S]);
        }
    }
    for (int p = 0; p < parts; p++) {
        call("vocab_share", 0, 4,
             (struct dpt_tensor[]){REALS(here[p], B, S), REALS(stat[p], B, S, 3), REALS(top, B, S), targets}, 1,
             (struct dpt_tensor[]){REALS(share, B, S, 3)});
        for (int i = 0; i < B * S * 3; i++) {
            (&sums[0][0][0])[i] += (&share[0][0][0])[i];
        }
    }
    call("vocab_loss", 0, 3, (struct dpt_tensor[]){REALS(sums, B, S, 3), REALS(top, B, S), targets}, 2,
         (struct dpt_tensor[]){REALS(result->loss, B), REALS(result->count, B, 2)});
    for (int p = 0; p < parts; p++) {
        const int64_t begin = dpt_split_begin(V, parts, p), end = dpt_split_begin(V, parts, p + 1);
        call("vocab_loss_dx", begin, 5,
             (struct dpt_tensor[]){REALS(x, B, S, H), REALS(w[begin], end - begin, H), targets, REALS(top, B, S),
                                   REALS(sums, B, S, 3)},
             2, (struct dpt_tensor[]){REALS(dx, B, S, H), REALS(result->dw[begin], end - begin, H)});
        for (int i = 0; i < B * S * H; i++) {
            (&result->dx[0][0][0])[i] += (&dx[0][0][0])[i];
        }
    }
}

static void expect_same(const struct result *a, const struct result *b)
{
    const double *u = (const double *)a, *v = (const double *)b;
    for (size_t i = 0; i < sizeof *a / sizeof *u; i++) {
        if (!(fabs(u[i] - v[i]) <= 1e-12)) {
            fail_msg("number %zu of the result is %.17g in parts, %.17g in one", i, u[i], v[i]);
        }
    }
}

static void parts_give_the_whole(void **state)
{
    (void)state;
    for (int ties = 0; ties < 2; ties++) {
        for (int i = 0; i < B * S * H; i++) {
            (&x[0][0][0])[i] = 30.0 * sin(i);
        }
        for (int i = 0; i < V * H; i++) {
            (&w[0][0])[i] = ties ? 1.0 : 10.0 * cos(2.0 * i); /* all tokens alike: the first is the answer */
        }
        struct result one, many;
        in_one(&one);
        assert_true(one.count[0][0] == 3.0 && one.count[1][0] == 3.0);
        for (int parts = 1; parts <= V; parts++) {
            in_parts(parts, &many);
            expect_same(&many, &one);
        }
    }
}

static void refusals(void **state)
{
    (void)state;
    optest_refuses(&(struct optest){.op = "vocab_stat", .param = &param, .nin = 3,
                                    .in = {OPTEST_F32(3, 5, 4), OPTEST_F32(7, 5), OPTEST_I32(3, 5)}},
                   "x has 4 features in its last dimension, but w takes 5");
    optest_refuses(&(struct optest){.op = "vocab_loss", .param = &param, .nin = 3,
                                    .in = {OPTEST_F64(3, 5, 2), OPTEST_F64(3, 5), OPTEST_I32(3, 5)}},
                   "input 0 is F64[3,5,2], expected F64[3,5,3]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_questions),
        cmocka_unit_test(parts_give_the_whole),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
