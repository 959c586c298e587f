/* SPDX-License-Identifier: Apache-2.0 */
#include "op/linear.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "optest.h"

static const struct dpt_linear_param plain = {DPT_ACTIVATION_KIND_NONE, 0}, relu = {DPT_ACTIVATION_KIND_RELU, 0};

static void all_questions(void **state)
{
    (void)state;
    for (int kind = DPT_ACTIVATION_KIND_NONE; kind <= DPT_ACTIVATION_KIND_GELU_TANH; kind++) {
        for (int keep = 0; keep <= (kind != DPT_ACTIVATION_KIND_NONE); keep++) {
            const struct dpt_linear_param param = {(enum dpt_activation_kind)kind, keep};
            optest_run(&(struct optest){.op = "bias_act", .param = &param, .nin = 2,
                                        .in = {OPTEST_F32(7, 5), OPTEST_F32(5)},
                                        .flops = (kind ? 2 : 1) * 7 * 5, .tolerance = 1e-6});
            optest_run(&(struct optest){.op = "bias_act", .param = &param, .nin = 2,
                                        .in = {OPTEST_F32(3, 4, 5, 67), OPTEST_F32(67)}, .tolerance = 1e-6});
            optest_run(&(struct optest){.op = "bias_act", .param = &param, .nin = 2, /* lines of cards */
                                        .in = {OPTEST_F32(5, 24), OPTEST_F32(24)}, .tolerance = 1e-6});
            optest_run(&(struct optest){.op = "bias_act", .param = &param, .nin = 1, .in = {OPTEST_F32(4, 3)},
                                        .tolerance = 1e-6});
        }
    }
}

/* A linear layer over a part of its inputs on each of two ranks, the sum, and then this: the whole layer. */
static void finishes_a_split_product(void **state)
{
    (void)state;
    enum { N = 3, K = 4, H = 5, LEFT = 2 };
    double x[N * H], w[K * H], bias[K], whole[N * K], sum[N * K] = {0.0}, y[N * K];
    for (int i = 0; i < N * H; i++) {
        x[i] = sin(i + 1.0);
    }
    for (int i = 0; i < K * H; i++) {
        w[i] = cos(3.0 * i);
    }
    for (int i = 0; i < K; i++) {
        bias[i] = 0.3 * i - 0.5;
    }
    const struct dpt_op_ctx ctx = {.rows = N};
    const struct dpt_tensor in[] = {{{DPT_DTYPE_F64, 2, {N, H}}, x}, {{DPT_DTYPE_F64, 2, {K, H}}, w},
                                    {{DPT_DTYPE_F64, 1, {K}}, bias}};
    const struct dpt_tensor out = {{DPT_DTYPE_F64, 2, {N, K}}, whole};
    optest_call("linear", DPT_RUN_CPU, &relu, 3, in, 1, &out, &ctx);
    for (int begin = 0; begin < H; begin += LEFT) {
        const int count = begin + LEFT < H ? LEFT : H - begin;
        double part_x[N * LEFT], part_w[K * LEFT], part[N * K];
        for (int j = 0; j < count; j++) {
            for (int i = 0; i < N; i++) {
                part_x[i * count + j] = x[i * H + begin + j];
            }
            for (int o = 0; o < K; o++) {
                part_w[o * count + j] = w[o * H + begin + j];
            }
        }
        const struct dpt_tensor part_in[] = {{{DPT_DTYPE_F64, 2, {N, count}}, part_x},
                                             {{DPT_DTYPE_F64, 2, {K, count}}, part_w}};
        const struct dpt_tensor part_out = {{DPT_DTYPE_F64, 2, {N, K}}, part};
        optest_call("linear", DPT_RUN_CPU, &plain, 2, part_in, 1, &part_out, &ctx);
        for (int i = 0; i < N * K; i++) {
            sum[i] += part[i];
        }
    }
    const struct dpt_tensor last_in[] = {{{DPT_DTYPE_F64, 2, {N, K}}, sum}, in[2]};
    const struct dpt_tensor last_out = {{DPT_DTYPE_F64, 2, {N, K}}, y};
    optest_call("bias_act", DPT_RUN_CPU, &relu, 2, last_in, 1, &last_out, &ctx);
    for (int i = 0; i < N * K; i++) {
        assert_true(fabs(y[i] - whole[i]) < 1e-14);
    }
}

static void keeps_nan(void **state)
{
    (void)state;
    float x[2] = {NAN, -1.0f}, bias[2] = {0.0f, 0.5f}, y[2];
    const struct dpt_op_ctx ctx = {.rows = 1};
    const struct dpt_tensor in[] = {{{DPT_DTYPE_F32, 2, {1, 2}}, x}, {{DPT_DTYPE_F32, 1, {2}}, bias}};
    const struct dpt_tensor out = {{DPT_DTYPE_F32, 2, {1, 2}}, y};
    for (enum dpt_run run = DPT_RUN_REF; run <= DPT_RUN_CPU; run++) {
        optest_call("bias_act", run, &relu, 2, in, 1, &out, &ctx);
        assert_true(isnan(y[0]) && y[1] == 0.0f);
    }
}

static void refusals(void **state)
{
    (void)state;
    const struct dpt_linear_param nothing = {DPT_ACTIVATION_KIND_NONE, 1};
    optest_refuses(&(struct optest){.op = "bias_act", .param = &plain, .nin = 2, .in = {OPTEST_F32(7, 5), OPTEST_F32(7)}},
                   "bias has 7 elements, but x 5 features in its last dimension");
    optest_refuses(&(struct optest){.op = "bias_act", .param = &nothing, .nin = 2,
                                    .in = {OPTEST_F32(7, 5), OPTEST_F32(5)}}, "cannot keep");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_questions),
        cmocka_unit_test(finishes_a_split_product),
        cmocka_unit_test(keeps_nan),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
