/* SPDX-License-Identifier: Apache-2.0 */
#include "op/layer_norm.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "optest.h"

static const struct dpt_layer_norm_param param = {1e-5};

static void all_questions(void **state)
{
    (void)state;
    optest_run(&(struct optest){.op = "layer_norm", .param = &param, .nin = 3,
                                .in = {OPTEST_F32(7, 5), OPTEST_F32(5), OPTEST_F32(5)}, .flops = 8 * 7 * 5});
    optest_run(&(struct optest){.op = "layer_norm", .param = &param, .nin = 3,
                                .in = {OPTEST_F32(3, 4, 67), OPTEST_F32(67), OPTEST_F32(67)}});
    optest_run(&(struct optest){.op = "layer_norm", .param = &param, .nin = 2, .in = {OPTEST_F32(6, 3, 19), OPTEST_F32(19)}});
    /* Rows of whole lines for cards, and a tile of columns of layer_norm_dw with some over. */
    optest_run(&(struct optest){.op = "layer_norm", .param = &param, .nin = 3,
                                .in = {OPTEST_F32(5, 72), OPTEST_F32(72), OPTEST_F32(72)}});
    /* More columns and rows than one block of layer_norm_dw. */
    optest_run(&(struct optest){.op = "layer_norm", .param = &param, .nin = 3,
                                .in = {OPTEST_F32(131, 259), OPTEST_F32(259), OPTEST_F32(259)}});
}

/*
 * The gradient of x with what its other readers add. dx is rounded before the sum, by up to 2^-9 of itself: where both nearly
 * cancel, that is more than the last rounding.
 */
static void gradients_with_a_residual(void **state)
{
    (void)state;
    const struct dpt_type wide[] = {OPTEST_F32(7, 5), OPTEST_F32(3, 4, 67), OPTEST_F32(5, 72), OPTEST_F32(131, 259)};
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++) {
        const struct dpt_type x = wide[i], gamma = OPTEST_F32(x.dim[x.ndim - 1]);
        struct dpt_type row = x;
        row.dim[--row.ndim] = 0;
        optest_run(&(struct optest){.op = "layer_norm_dx", .nin = 6, .in = {x, x, row, row, gamma, x},
                                    .draw = {[3] = optest_positive}, .exact = 1u << 2 | 1u << 3, .sum = true,
                                    .all16 = 0x1p-9, .flops = 11.0 * (double)dpt_type_numel(&x)});
    }
    optest_refuses(&(struct optest){.op = "layer_norm_dx", .nin = 6,
                                    .in = {OPTEST_F32(7, 5), OPTEST_F32(7, 5), OPTEST_F32(7), OPTEST_F32(7), OPTEST_F32(5),
                                           OPTEST_F32(7, 4)}},
                   "input 5");
}

/* The sum is rounded before its statistics are taken, by up to 2^-9 of itself, which is more than the last rounding of y. */
static void norms_of_a_sum(void **state)
{
    (void)state;
    const struct dpt_type wide[] = {OPTEST_F32(7, 5), OPTEST_F32(3, 4, 67), OPTEST_F32(5, 72), OPTEST_F32(131, 259)};
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++) {
        const struct dpt_type x = wide[i], h = OPTEST_F32(x.dim[x.ndim - 1]);
        optest_run(&(struct optest){.op = "add_layer_norm", .param = &param, .nin = 4 - (int)(i % 2), .in = {x, x, h, h},
                                    .reader = "layer_norm", .all16 = 0x1p-9, .flops = 9.0 * (double)dpt_type_numel(&x)});
    }
    optest_refuses(&(struct optest){.op = "add_layer_norm", .param = &param, .nin = 3,
                                    .in = {OPTEST_F32(7, 5), OPTEST_F32(7, 4), OPTEST_F32(5)}},
                   "input 1");
    optest_refuses(&(struct optest){.op = "add_layer_norm", .param = &param, .nin = 3,
                                    .in = {OPTEST_F32(7, 5), OPTEST_F32(7, 5), OPTEST_F32(4)}},
                   "gamma is F32[4], expected F32[5]");
}

/* With gamma 1 and beta 0 every row has mean 0 and variance 1, wherever it lay before. */
static void rows_become_standard(void **state)
{
    (void)state;
    enum { N = 3, H = 50 };
    static float x[N * H], gamma[H], beta[H], y[N * H], mean[N], rstd[N];
    for (int i = 0; i < N * H; i++) {
        x[i] = 100.0f * (float)(i / H) + (float)(i * i % 17);
    }
    for (int j = 0; j < H; j++) {
        gamma[j] = 1.0f;
    }
    const struct dpt_op_ctx ctx = {.rows = N};
    const struct dpt_tensor in[] = {{{DPT_DTYPE_F32, 2, {N, H}}, x}, {{DPT_DTYPE_F32, 1, {H}}, gamma},
                                    {{DPT_DTYPE_F32, 1, {H}}, beta}};
    const struct dpt_tensor out[] = {{{DPT_DTYPE_F32, 2, {N, H}}, y}, {{DPT_DTYPE_F32, 1, {N}}, mean},
                                     {{DPT_DTYPE_F32, 1, {N}}, rstd}};
    optest_call("layer_norm", DPT_RUN_CPU, &param, 3, in, 3, out, &ctx);
    for (int i = 0; i < N; i++) {
        double sum = 0.0, squares = 0.0;
        for (int j = 0; j < H; j++) {
            sum += y[i * H + j];
            squares += (double)y[i * H + j] * y[i * H + j];
        }
        assert_true(fabs(sum / H) < 1e-5 && fabs(squares / H - 1.0) < 1e-4);
    }
}

static void refusals(void **state)
{
    (void)state;
    const struct dpt_layer_norm_param zero = {0.0};
    optest_refuses(&(struct optest){.op = "layer_norm", .param = &param, .nin = 3,
                                    .in = {OPTEST_F32(7, 5), OPTEST_F32(4), OPTEST_F32(5)}},
                   "gamma is F32[4], expected F32[5]");
    optest_refuses(&(struct optest){.op = "layer_norm", .param = &param, .nin = 3,
                                    .in = {OPTEST_F32(7, 5), OPTEST_F32(5), OPTEST_F32(7)}},
                   "beta is F32[7], expected F32[5]");
    optest_refuses(&(struct optest){.op = "layer_norm", .param = &zero, .nin = 3,
                                    .in = {OPTEST_F32(7, 5), OPTEST_F32(5), OPTEST_F32(5)}},
                   "eps is 0, must be above 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_questions),
        cmocka_unit_test(gradients_with_a_residual),
        cmocka_unit_test(norms_of_a_sum),
        cmocka_unit_test(rows_become_standard),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
