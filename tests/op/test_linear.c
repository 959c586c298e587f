/* SPDX-License-Identifier: Apache-2.0 */
#include "op/linear.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/bf16.h"

#include "optest.h"

static const struct dpt_linear_param plain = {DPT_ACTIVATION_KIND_NONE, 0};

static void with_and_without_bias(void **state)
{
    (void)state;
    optest_run(&(struct optest){.op = "linear", .param = &plain, .nin = 3, .card16 = OPTEST_CARD_BIAS,
                                .in = {OPTEST_F32(7, 5), OPTEST_F32(3, 5), OPTEST_F32(3)},
                                .flops = 7 * 3 * 5 * 2 + 7 * 3});
    optest_run(&(struct optest){.op = "linear", .param = &plain, .nin = 2,
                                .in = {OPTEST_F32(7, 5), OPTEST_F32(3, 5)}, .flops = 7 * 3 * 5 * 2});
}

static void odd_sizes(void **state)
{
    (void)state;
    optest_run(&(struct optest){.op = "linear", .param = &plain, .nin = 3, .card16 = OPTEST_CARD_BIAS,
                                .in = {OPTEST_F32(1, 1), OPTEST_F32(1, 1), OPTEST_F32(1)}});
    optest_run(&(struct optest){.op = "linear", .param = &plain, .nin = 3, .card16 = OPTEST_CARD_BIAS,
                                .in = {OPTEST_F32(33, 67), OPTEST_F32(10, 67), OPTEST_F32(10)}});
    optest_run(&(struct optest){.op = "linear", .param = &plain, .nin = 3, .card16 = OPTEST_CARD_BIAS,
                                .in = {OPTEST_F32(2, 3, 2, 17), OPTEST_F32(19, 17), OPTEST_F32(19)}});
}

/*
 * A card rounds the bias and, where the library does not know the activation, the sum before it; both may be a few times as
 * large as what comes out.
 */
#define CARD_SUM (4.0 * OPTEST_CARD_BIAS)

static void with_activation(void **state)
{
    (void)state;
    for (int kind = DPT_ACTIVATION_KIND_RELU; kind <= DPT_ACTIVATION_KIND_GELU_TANH; kind++) {
        const struct dpt_linear_param act = {(enum dpt_activation_kind)kind,
                                             dpt_activation_reads_x((enum dpt_activation_kind)kind)};
        optest_run(&(struct optest){.op = "linear", .param = &act, .nin = 3, .card16 = CARD_SUM,
                                    .in = {OPTEST_F32(7, 5), OPTEST_F32(3, 5), OPTEST_F32(3)},
                                    .flops = 7 * 3 * 5 * 2 + 2 * 7 * 3});
        optest_run(&(struct optest){.op = "linear", .param = &act, .nin = 2, .card16 = CARD_SUM,
                                    .in = {OPTEST_F32(5, 3), OPTEST_F32(33, 3)}});
        /* Sizes of which the library of cards does all, or nothing but the product. */
        optest_run(&(struct optest){.op = "linear", .param = &act, .nin = 3, .card16 = CARD_SUM,
                                    .in = {OPTEST_F32(9, 2, 3), OPTEST_F32(16, 3), OPTEST_F32(16)}});
        optest_run(&(struct optest){.op = "linear", .param = &act, .nin = 2, .card16 = CARD_SUM,
                                    .in = {OPTEST_F32(13, 4), OPTEST_F32(24, 4)}});
    }
}

/* Where no gradient is wanted nothing is kept: the same y. */
static void nothing_is_kept_in_vain(void **state)
{
    (void)state;
    enum { N = 7, H = 5, K = 16 };
    static float x[N * H], w[K * H], bias[K], y[2][N * K], z[N * K];
    for (int i = 0; i < K * H; i++) {
        x[i % (N * H)] = (float)sin(i % (N * H));
        w[i] = (float)cos(3.0 * i);
        bias[i % K] = 0.1f * (float)(i % K) - 0.8f;
    }
    const struct dpt_op_ctx ctx = {.rows = N};
    const struct dpt_tensor in[] = {{{DPT_DTYPE_F32, 2, {N, H}}, x}, {{DPT_DTYPE_F32, 2, {K, H}}, w},
                                    {{DPT_DTYPE_F32, 1, {K}}, bias}};
    for (int kind = DPT_ACTIVATION_KIND_RELU; kind <= DPT_ACTIVATION_KIND_GELU_TANH; kind++) {
        for (enum dpt_run run = DPT_RUN_REF; run <= DPT_RUN_CPU; run++) {
            for (int keep = 0; keep < 2; keep++) {
                const struct dpt_linear_param param = {(enum dpt_activation_kind)kind, keep};
                const struct dpt_tensor out[] = {{{DPT_DTYPE_F32, 2, {N, K}}, y[keep]}, {{DPT_DTYPE_F32, 2, {N, K}}, z}};
                optest_call("linear", run, &param, 3, in, 1 + keep, out, &ctx);
            }
            for (int i = 0; i < N * K; i++) {
                assert_true(fabsf(y[0][i] - y[1][i]) < 1e-6f);
            }
        }
    }
}

/* The gradient of the input and of the activation before it. */
static void with_gradient_of_activation(void **state)
{
    (void)state;
    for (int kind = DPT_ACTIVATION_KIND_RELU; kind <= DPT_ACTIVATION_KIND_GELU_TANH; kind++) {
        const struct dpt_linear_param act = {(enum dpt_activation_kind)kind, 0};
        optest_run(&(struct optest){.op = "linear_dx", .param = &act, .nin = 3, .card16 = CARD_SUM,
                                    .in = {OPTEST_F32(7, 5), OPTEST_F32(5, 3), OPTEST_F32(7, 3)},
                                    .flops = 7 * 3 * 5 * 2 + 7 * 3});
        optest_run(&(struct optest){.op = "linear_dx", .param = &act, .nin = 3, .card16 = CARD_SUM,
                                    .in = {OPTEST_F32(9, 2, 3), OPTEST_F32(3, 16), OPTEST_F32(9, 2, 16)}});
        optest_run(&(struct optest){.op = "linear_dx", .param = &act, .nin = 3, .card16 = CARD_SUM,
                                    .in = {OPTEST_F32(13, 4), OPTEST_F32(4, 40), OPTEST_F32(13, 40)}});
    }
}

/* The gradients of the weight and the bias; a card's library does both at some sizes, at some the product alone. */
static void gradients_of_parameters(void **state)
{
    (void)state;
    static const struct {
        int64_t n, h, k;
    } size[] = {{7, 5, 3}, {1, 1, 1}, {130, 3, 5}, {9, 16, 8}, {9, 24, 8}, {300, 8, 530}};
    for (size_t i = 0; i < sizeof size / sizeof size[0]; i++) {
        const double products = (double)(size[i].n * size[i].h * size[i].k);
        for (int bias = 0; bias < 2; bias++) {
            const struct dpt_linear_dw_param param = {bias};
            optest_run(&(struct optest){.op = "linear_dw", .param = &param, .nin = 2,
                                        .in = {OPTEST_F32(size[i].n, size[i].h), OPTEST_F32(size[i].n, size[i].k)},
                                        .flops = 2.0 * products + (bias ? (double)(size[i].n * size[i].k) : 0.0)});
        }
    }
}

/* Ranks with unlike parts of x have the same gradient of the bias, bit for bit: nothing sums it over them. */
static void a_bias_knows_no_parts(void **state)
{
    (void)state;
    enum { N = 300, K = 3, H = 9 };
    static uint16_t x[N * H], dy[N * K];
    static float dw[K * H], db[2][K];
    const struct dpt_linear_dw_param param = {1};
    const struct dpt_op_ctx ctx = {.rows = N, .micro_rows = N, .batch_rows = N};
    const size_t before = dpt_op__slice_nbytes;
    for (int i = 0; i < N * K; i++) {
        const float value = (float)ldexp(1.0 + sin(i), i * 31 % 20);
        dpt_bf16_narrow(1, &value, &dy[i]);
    }
    dpt_op__slice_nbytes = 400;
    for (int wide = 0; wide < 2; wide++) {
        const struct dpt_type tx = {DPT_DTYPE_BF16, 2, {N, wide ? H : 4}}, tdy = {DPT_DTYPE_BF16, 2, {N, K}};
        struct dpt_op_types types = {.param = &param, .nin = 2, .in = {tx, tdy}, .half = DPT_DTYPE_BF16};
        assert_int_equal(dpt_op_shape(&dpt_op_linear_dw, &types), DPT_STATUS_OK);
        const struct dpt_tensor in[] = {{tx, x}, {tdy, dy}}, out[] = {{types.out[0], dw}, {types.out[1], db[wide]}};
        struct dpt_op_call call = {.types = &types, .in = in, .out = out, .ctx = &ctx};
        assert_int_equal(dpt_op_prepare(&dpt_op_linear_dw, &types, DPT_RUN_CPU, 1, NULL, &call.prep), DPT_STATUS_OK);
        const size_t nbytes = dpt_op_scratch(&dpt_op_linear_dw, &types, DPT_RUN_CPU, 1, call.prep);
        call.scratch = aligned_alloc(64, (nbytes + 63) / 64 * 64);
        assert_non_null(call.scratch);
        assert_int_equal(dpt_op_call(&dpt_op_linear_dw, DPT_RUN_CPU, &call), DPT_STATUS_OK);
        free(call.scratch);
        dpt_op_release(&dpt_op_linear_dw, &types, DPT_RUN_CPU, call.prep);
    }
    dpt_op__slice_nbytes = before;
    assert_memory_equal(db[0], db[1], sizeof db[0]);
}

static void refusals(void **state)
{
    (void)state;
    optest_refuses(&(struct optest){.op = "linear", .param = &plain, .nin = 2,
                                    .in = {OPTEST_F32(7, 5), OPTEST_F32(3, 4)}},
                   "x has 5 features in its last dimension, but w takes 4");
    optest_refuses(&(struct optest){.op = "linear", .param = &plain, .nin = 3,
                                    .in = {OPTEST_F32(7, 5), OPTEST_F32(3, 5), OPTEST_F32(5)}},
                   "bias has 5 elements, but w 3 outputs");
    optest_refuses(&(struct optest){.op = "linear", .param = &plain, .nin = 1,
                                    .in = {OPTEST_F32(7, 5)}}, "has 1 inputs, takes 2 to 3");
    optest_refuses(&(struct optest){.op = "linear", .param = &plain, .nin = 2,
                                    .in = {OPTEST_F32(7), OPTEST_F32(3, 7)}}, "input 0 has 1 dimensions");
    optest_refuses(&(struct optest){.op = "linear", .param = &plain, .nin = 2,
                                    .in = {OPTEST_I32(7, 5), OPTEST_F32(3, 5)}}, "input 0 holds I32");
    const struct dpt_linear_param gelu = {DPT_ACTIVATION_KIND_GELU, 0}, kept = {DPT_ACTIVATION_KIND_GELU, 1};
    const struct dpt_linear_param nothing = {DPT_ACTIVATION_KIND_NONE, 1}, unknown = {(enum dpt_activation_kind)99, 0};
    const struct optest product = {.op = "linear", .nin = 2, .in = {OPTEST_F32(7, 5), OPTEST_F32(3, 5)}};
    const struct optest back = {.op = "linear_dx", .nin = 2, .in = {OPTEST_F32(7, 5), OPTEST_F32(5, 3), OPTEST_F32(7, 4)}};
    struct optest test = product;
    test.param = &nothing;
    optest_refuses(&test, "cannot keep");
    test.param = &unknown;
    optest_refuses(&test, "no activation of number 99");
    test = back;
    test.param = &gelu;
    optest_refuses(&test, "come together");
    test.nin = 3;
    optest_refuses(&test, "t is F32[7,4]");
    test.param = &plain;
    optest_refuses(&test, "come together");
    test.param = &kept;
    optest_refuses(&test, "cannot keep");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_and_without_bias),
        cmocka_unit_test(odd_sizes),
        cmocka_unit_test(with_activation),
        cmocka_unit_test(nothing_is_kept_in_vain),
        cmocka_unit_test(with_gradient_of_activation),
        cmocka_unit_test(gradients_of_parameters),
        cmocka_unit_test(a_bias_knows_no_parts),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
