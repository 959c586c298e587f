/* SPDX-License-Identifier: Apache-2.0 */
#include "op/linear_loss.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "optest.h"

static const struct dpt_linear_loss_param training = {.gradients = 1}, evaluating = {.gradients = 0};

static void all_questions(void **state)
{
    (void)state;
    optest_run(&(struct optest){.op = "linear_loss", .param = &training, .nin = 3, .card16 = OPTEST_CARD_LOGITS,
                                .in = {OPTEST_F32(3, 5, 4), OPTEST_F32(7, 4), OPTEST_I32(3, 5)}, .below = {0, 0, 7},
                                .flops = 3 * 2 * 15 * 7 * 4 + 4 * 15 * 7});
    optest_run(&(struct optest){.op = "linear_loss", .param = &training, .nin = 3, .card16 = OPTEST_CARD_LOGITS, /* in lines */
                                .in = {OPTEST_F32(2, 2, 3), OPTEST_F32(24, 3), OPTEST_I32(2, 2)}, .below = {0, 0, 24}});
    optest_run(&(struct optest){.op = "linear_loss", .param = &training, .nin = 3, .card16 = OPTEST_CARD_LOGITS, /* 3 chunks */
                                .in = {OPTEST_F32(2, 20, 4), OPTEST_F32(37, 4), OPTEST_I32(2, 20)}, .below = {0, 0, 37}});
    optest_run(&(struct optest){.op = "linear_loss", .param = &evaluating, .nin = 3, .fixed = 3,
                                .in = {OPTEST_F32(3, 5, 4), OPTEST_F32(37, 4), OPTEST_I32(3, 5)}, .below = {0, 0, 37},
                                .flops = 2 * 15 * 37 * 4 + 4 * 15 * 37});
    optest_run(&(struct optest){.op = "linear_loss", .param = &training, .nin = 3, .card16 = OPTEST_CARD_LOGITS,
                                .in = {OPTEST_F32(1, 1, 1), OPTEST_F32(1, 1), OPTEST_I32(1, 1)}, .below = {0, 0, 1}});
    optest_run(&(struct optest){.op = "token_metrics", .nin = 2, .in = {OPTEST_F32(5), OPTEST_F32(5, 2)}});
}

/* So many tokens that a chunk holds one position less than there are. Once, since the plain loops take long. */
static void several_chunks(void **state)
{
    (void)state;
    enum { SAMPLES = 2, POSITIONS = 56, TOKENS = 300000 };
    static float x[SAMPLES][POSITIONS][2], w[TOKENS][2], dx[2][SAMPLES][POSITIONS][2], dw[2][TOKENS][2];
    static int32_t target[SAMPLES][POSITIONS];
    float loss[2][SAMPLES], count[2][SAMPLES][2];
    for (int i = 0; i < SAMPLES * POSITIONS; i++) {
        x[i / POSITIONS][i % POSITIONS][0] = sinf((float)i);
        x[i / POSITIONS][i % POSITIONS][1] = cosf((float)i);
        target[i / POSITIONS][i % POSITIONS] = i * 2003;
    }
    for (int v = 0; v < TOKENS; v++) {
        w[v][0] = sinf(0.1f * (float)v);
        w[v][1] = cosf(0.3f * (float)v);
    }
    const struct dpt_op_ctx ctx = {.rows = SAMPLES, .batch_rows = SAMPLES};
    const struct dpt_type xs = {DPT_DTYPE_F32, 3, {SAMPLES, POSITIONS, 2}}, ws = {DPT_DTYPE_F32, 2, {TOKENS, 2}};
    const struct dpt_tensor in[] = {{xs, x}, {ws, w}, {{DPT_DTYPE_I32, 2, {SAMPLES, POSITIONS}}, target}};
    for (enum dpt_run kernels = DPT_RUN_REF; kernels <= DPT_RUN_CPU; kernels++) {
        const int k = kernels == DPT_RUN_CPU;
        const struct dpt_tensor out[] = {{{DPT_DTYPE_F32, 1, {SAMPLES}}, loss[k]},
                                         {{DPT_DTYPE_F32, 2, {SAMPLES, 2}}, count[k]},
                                         {xs, dx[k]},
                                         {ws, dw[k]}};
        optest_call("linear_loss", kernels, &training, 3, in, 4, out, &ctx);
    }
    for (int n = 0; n < SAMPLES; n++) {
        assert_true(fabsf(loss[1][n] - loss[0][n]) < 2e-5f * loss[0][n]);
        assert_true(count[1][n][0] == POSITIONS && count[1][n][1] == count[0][n][1]);
        for (int i = 0; i < POSITIONS * 2; i++) { /* each up to 1 / (56 * 2) */
            assert_true(fabsf(dx[1][n][i / 2][i % 2] - dx[0][n][i / 2][i % 2]) < 2e-7f);
        }
    }
    for (int i = 0; i < TOKENS * 2; i++) {
        assert_true(fabsf(dw[1][i / 2][i % 2] - dw[0][i / 2][i % 2]) < 2e-7f);
    }
}

enum { B = 2, S = 3, H = 2, V = 4 };

static void run(enum dpt_run kernels, const int32_t *target, float loss[B], float count[B][2], float dx[B][S][H],
                float dw[V][H])
{
    static float x[B][S][H], w[V][H];
    for (int i = 0; i < B * S * H; i++) {
        x[i / (S * H)][i / H % S][i % H] = sinf((float)i);
    }
    for (int i = 0; i < V * H; i++) {
        w[i / H][i % H] = cosf(2.0f * (float)i);
    }
    const struct dpt_op_ctx ctx = {.rows = B, .batch_rows = B};
    const struct dpt_tensor in[] = {{{DPT_DTYPE_F32, 3, {B, S, H}}, x},
                                    {{DPT_DTYPE_F32, 2, {V, H}}, w},
                                    {{DPT_DTYPE_I32, 2, {B, S}}, (void *)target}};
    const struct dpt_tensor out[] = {{{DPT_DTYPE_F32, 1, {B}}, loss},
                                     {{DPT_DTYPE_F32, 2, {B, 2}}, count},
                                     {{DPT_DTYPE_F32, 3, {B, S, H}}, dx},
                                     {{DPT_DTYPE_F32, 2, {V, H}}, dw}};
    optest_call("linear_loss", kernels, &training, 3, in, 4, out, &ctx);
}

/* An ignored target counts nowhere: the others' loss and gradients add up to those without it. */
static void ignored_targets(void **state)
{
    (void)state;
    const int32_t all[B * S] = {1, 3, 0, 2, 2, 1};
    const int32_t some[B * S] = {1, -1, -1, 2, -1, 1}, rest[B * S] = {-1, 3, 0, -1, 2, -1};
    float loss[3][B], count[3][B][2], dx[3][B][S][H], dw[3][V][H];
    for (enum dpt_run kernels = DPT_RUN_REF; kernels <= DPT_RUN_CPU; kernels++) {
        run(kernels, all, loss[0], count[0], dx[0], dw[0]);
        run(kernels, some, loss[1], count[1], dx[1], dw[1]);
        run(kernels, rest, loss[2], count[2], dx[2], dw[2]);
        for (int n = 0; n < B; n++) {
            assert_true(fabsf(loss[0][n] - loss[1][n] - loss[2][n]) < 1e-6f);
            assert_true(count[0][n][0] == 3.0f && count[1][n][0] + count[2][n][0] == 3.0f);
            assert_true(count[0][n][1] == count[1][n][1] + count[2][n][1]);
        }
        assert_true(count[1][0][0] == 1.0f && count[1][1][0] == 2.0f);
        assert_true(dx[1][0][1][0] == 0.0f && dx[1][0][2][1] == 0.0f && dx[1][1][1][0] == 0.0f);
        for (int i = 0; i < V * H; i++) {
            assert_true(fabsf(dw[0][i / H][i % H] - dw[1][i / H][i % H] - dw[2][i / H][i % H]) < 1e-6f);
        }
    }
}

/* With w = 0 every token is as likely as any other, and the first is the answer. */
static void no_knowledge(void **state)
{
    (void)state;
    static const float zero[V][H], x[B][S][H] = {{{1.0f}}};
    const int32_t target[B][S] = {{0, 1, 2}, {0, 0, 3}};
    float loss[B], count[B][2];
    double sum[4];
    const struct dpt_op_ctx ctx = {.rows = B, .batch_rows = B};
    const struct dpt_tensor in[] = {{{DPT_DTYPE_F32, 3, {B, S, H}}, (void *)x},
                                    {{DPT_DTYPE_F32, 2, {V, H}}, (void *)zero},
                                    {{DPT_DTYPE_I32, 2, {B, S}}, (void *)target}};
    const struct dpt_tensor out[] = {{{DPT_DTYPE_F32, 1, {B}}, loss}, {{DPT_DTYPE_F32, 2, {B, 2}}, count}};
    const struct dpt_tensor metrics = {{DPT_DTYPE_F64, 1, {4}}, sum};
    for (enum dpt_run kernels = DPT_RUN_REF; kernels <= DPT_RUN_CPU; kernels++) {
        optest_call("linear_loss", kernels, &evaluating, 3, in, 2, out, &ctx);
        optest_call("token_metrics", kernels, NULL, 2, out, 1, &metrics, &ctx);
        assert_true(fabs(sum[0] - 2.0 * log(V)) < 1e-6);
        assert_true(sum[1] == 3.0 && sum[2] == 6.0 && sum[3] == 2.0);
    }
}

static void refusals(void **state)
{
    (void)state;
    optest_refuses(&(struct optest){.op = "linear_loss", .param = &training, .nin = 3,
                                    .in = {OPTEST_F32(3, 5, 4), OPTEST_F32(7, 5), OPTEST_I32(3, 5)}},
                   "x has 4 features in its last dimension, but w takes 5");
    optest_refuses(&(struct optest){.op = "linear_loss", .param = &training, .nin = 3,
                                    .in = {OPTEST_F32(3, 5, 4), OPTEST_F32(7, 4), OPTEST_I32(3, 4)}},
                   "the target is I32[3,4], expected I32[3,5]");
    optest_refuses(&(struct optest){.op = "linear_loss", .param = &training, .nin = 3,
                                    .in = {OPTEST_F32(3, 5, 4), OPTEST_F32(7, 4), OPTEST_F32(3, 5)}},
                   "the target is F32[3,5], expected I32[3,5]");
    optest_refuses(&(struct optest){.op = "token_metrics", .nin = 2, .in = {OPTEST_F32(3), OPTEST_F32(3, 3)}},
                   "the counts are not two for each of 3 samples");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_questions),
        cmocka_unit_test(several_chunks),
        cmocka_unit_test(ignored_targets),
        cmocka_unit_test(no_knowledge),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
