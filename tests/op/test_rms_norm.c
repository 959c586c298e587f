/* SPDX-License-Identifier: Apache-2.0 */
#include "op/rms_norm.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "optest.h"

static const struct dpt_rms_norm_param param = {1e-5};

static void all_questions(void **state)
{
    (void)state;
    optest_run(&(struct optest){.op = "rms_norm", .param = &param, .nin = 2, .in = {OPTEST_F32(7, 5), OPTEST_F32(5)},
                                .flops = 4 * 7 * 5});
    optest_run(&(struct optest){.op = "rms_norm", .param = &param, .nin = 2,
                                .in = {OPTEST_F32(3, 4, 67), OPTEST_F32(67)}});
    /* Rows of whole lines for cards, and a tile of columns of rms_norm_dw with some over. */
    optest_run(&(struct optest){.op = "rms_norm", .param = &param, .nin = 2, .in = {OPTEST_F32(5, 72), OPTEST_F32(72)}});
    /* More columns and rows than one block of rms_norm_dw. */
    optest_run(&(struct optest){.op = "rms_norm", .param = &param, .nin = 2,
                                .in = {OPTEST_F32(131, 259), OPTEST_F32(259)}});
}

/* As of layer_norm. */
static void gradients_with_a_residual(void **state)
{
    (void)state;
    const struct dpt_type wide[] = {OPTEST_F32(7, 5), OPTEST_F32(3, 4, 67), OPTEST_F32(5, 72), OPTEST_F32(131, 259)};
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++) {
        const struct dpt_type x = wide[i], gamma = OPTEST_F32(x.dim[x.ndim - 1]);
        struct dpt_type row = x;
        row.dim[--row.ndim] = 0;
        optest_run(&(struct optest){.op = "rms_norm_dx", .nin = 5, .in = {x, x, row, gamma, x},
                                    .draw = {[2] = optest_positive}, .exact = 1u << 2, .sum = true, .all16 = 0x1p-9,
                                    .flops = 8.0 * (double)dpt_type_numel(&x)});
    }
    optest_refuses(&(struct optest){.op = "rms_norm_dx", .nin = 5,
                                    .in = {OPTEST_F32(7, 5), OPTEST_F32(7, 5), OPTEST_F32(7), OPTEST_F32(5), OPTEST_F32(7, 4)}},
                   "input 4");
}

static void norms_of_a_sum(void **state)
{
    (void)state;
    const struct dpt_type wide[] = {OPTEST_F32(7, 5), OPTEST_F32(3, 4, 67), OPTEST_F32(5, 72), OPTEST_F32(131, 259)};
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++) {
        const struct dpt_type x = wide[i], h = OPTEST_F32(x.dim[x.ndim - 1]);
        optest_run(&(struct optest){.op = "add_rms_norm", .param = &param, .nin = 3, .in = {x, x, h}, .reader = "rms_norm",
                                    .all16 = 0x1p-9, .flops = 5.0 * (double)dpt_type_numel(&x)});
    }
    optest_refuses(&(struct optest){.op = "add_rms_norm", .param = &param, .nin = 3,
                                    .in = {OPTEST_F32(7, 5), OPTEST_F32(7, 4), OPTEST_F32(5)}},
                   "input 1");
}

/* With gamma 1 the mean of squares of every row is 1, however large it was. */
static void rows_have_one_size(void **state)
{
    (void)state;
    enum { N = 3, H = 50 };
    static float x[N * H], gamma[H], y[N * H], rstd[N];
    for (int i = 0; i < N * H; i++) {
        x[i] = 100.0f * (float)(i / H + 1) * (float)(i * i % 17 - 8);
    }
    for (int j = 0; j < H; j++) {
        gamma[j] = 1.0f;
    }
    const struct dpt_op_ctx ctx = {.rows = N};
    const struct dpt_tensor in[] = {{{DPT_DTYPE_F32, 2, {N, H}}, x}, {{DPT_DTYPE_F32, 1, {H}}, gamma}};
    const struct dpt_tensor out[] = {{{DPT_DTYPE_F32, 2, {N, H}}, y}, {{DPT_DTYPE_F32, 1, {N}}, rstd}};
    optest_call("rms_norm", DPT_RUN_CPU, &param, 2, in, 2, out, &ctx);
    for (int i = 0; i < N; i++) {
        double squares = 0.0;
        for (int j = 0; j < H; j++) {
            squares += (double)y[i * H + j] * y[i * H + j];
        }
        assert_true(fabs(squares / H - 1.0) < 1e-4);
    }
}

static void refusals(void **state)
{
    (void)state;
    const struct dpt_rms_norm_param zero = {0.0};
    optest_refuses(&(struct optest){.op = "rms_norm", .param = &param, .nin = 2,
                                    .in = {OPTEST_F32(7, 5), OPTEST_F32(4)}},
                   "gamma is F32[4], expected F32[5]");
    optest_refuses(&(struct optest){.op = "rms_norm", .param = &zero, .nin = 2,
                                    .in = {OPTEST_F32(7, 5), OPTEST_F32(5)}},
                   "eps is 0, must be above 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_questions),
        cmocka_unit_test(gradients_with_a_residual),
        cmocka_unit_test(norms_of_a_sum),
        cmocka_unit_test(rows_have_one_size),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
