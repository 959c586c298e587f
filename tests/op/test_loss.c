/* SPDX-License-Identifier: Apache-2.0 */
#include "op/loss.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "optest.h"

static double wide(double normal)
{
    return 20.0 * normal;
}

static void cross_entropy(void **state)
{
    (void)state;
    const struct dpt_cross_entropy_param plain = {0.0}, smooth = {0.1};
    for (int i = 0; i < 2; i++) {
        const struct dpt_cross_entropy_param *param = i ? &smooth : &plain;
        optest_run(&(struct optest){.op = "cross_entropy", .param = param, .nin = 2,
                                    .in = {OPTEST_F32(7, 5), OPTEST_I32(7)}, .below = {0, 5}});
        optest_run(&(struct optest){.op = "cross_entropy", .param = param, .nin = 2,
                                    .in = {OPTEST_F32(13, 10), OPTEST_I32(13)}, .below = {0, 10}, .draw = {wide}});
        optest_run(&(struct optest){.op = "cross_entropy", .param = param, .nin = 2,
                                    .in = {OPTEST_F32(3, 1), OPTEST_I32(3)}, .below = {0, 1}});
        optest_run(&(struct optest){.op = "cross_entropy", .param = param, .nin = 2, /* lines of cards */
                                    .in = {OPTEST_F32(3, 24), OPTEST_I32(3)}, .below = {0, 24}});
        /* More than one block of exponentials: many samples, and many classes. */
        optest_run(&(struct optest){.op = "cross_entropy", .param = param, .nin = 2,
                                    .in = {OPTEST_F32(450, 10), OPTEST_I32(450)}, .below = {0, 10}});
        optest_run(&(struct optest){.op = "cross_entropy", .param = param, .nin = 2,
                                    .in = {OPTEST_F32(3, 5001), OPTEST_I32(3)}, .below = {0, 5001}});
    }
}

/* Equal logits, however large: log V. A certain wrong answer: the distance. */
static void known_values(void **state)
{
    (void)state;
    float x[8] = {1e4f, 1e4f, 1e4f, 1e4f, 0.0f, 500.0f, -3.0f, 2.0f}, loss[2];
    int32_t target[2] = {2, 0};
    const struct dpt_cross_entropy_param plain = {0.0};
    const struct dpt_op_ctx ctx = {.rows = 2, .batch_rows = 2};
    const struct dpt_tensor in[] = {{{DPT_DTYPE_F32, 2, {2, 4}}, x}, {{DPT_DTYPE_I32, 1, {2}}, target}};
    const struct dpt_tensor out = {{DPT_DTYPE_F32, 1, {2}}, loss};
    for (enum dpt_run run = DPT_RUN_REF; run <= DPT_RUN_CPU; run++) {
        optest_call("cross_entropy", run, &plain, 2, in, 1, &out, &ctx);
        assert_true(fabsf(loss[0] - logf(4.0f)) < 1e-6f && fabsf(loss[1] - 500.0f) < 1e-4f);
        x[1] = NAN;
        optest_call("cross_entropy", run, &plain, 2, in, 1, &out, &ctx);
        assert_true(isnan(loss[0]) && !isnan(loss[1]));
        x[1] = 1e4f;
    }
}

static void mean_squared_error(void **state)
{
    (void)state;
    optest_run(&(struct optest){.op = "mse", .nin = 2, .in = {OPTEST_F32(7, 5), OPTEST_F32(7, 5)}, .fixed = 2,
                                .flops = 3 * 7 * 5});
    optest_run(&(struct optest){.op = "mse", .nin = 2, .in = {OPTEST_F32(9), OPTEST_F32(9)}, .fixed = 2});
    optest_run(&(struct optest){.op = "mse", .nin = 2, .in = {OPTEST_F32(3, 7, 11), OPTEST_F32(3, 7, 11)}, .fixed = 2});
}

static void metrics(void **state)
{
    (void)state;
    optest_run(&(struct optest){.op = "class_metrics", .nin = 3,
                                .in = {OPTEST_F32(61, 9), OPTEST_I32(61), OPTEST_F32(61)}, .below = {0, 9}});
    optest_run(&(struct optest){.op = "class_metrics", .nin = 3,
                                .in = {OPTEST_F32(5, 3), OPTEST_I32(5), OPTEST_F32(5)}, .below = {0, 3}});
    optest_run(&(struct optest){.op = "real_metrics", .nin = 3,
                                .in = {OPTEST_F32(13, 4), OPTEST_F32(13, 4), OPTEST_F32(13)}});
}

/* Ranks by hand: first, fifth, sixth, sixth by ties with lower classes, first in a tie with a higher one, nan (wrong). */
static void places(void **state)
{
    (void)state;
    float x[6][7] = {{9, 1, 2, 3, 4, 5, 6}, {2, 9, 8, 7, 6, 1, 0}, {1, 9, 8, 7, 6, 5, 0},
                     {5, 5, 5, 5, 5, 5, 0}, {5, 5, 0, 0, 0, 0, 0}, {NAN, 1, 1, 1, 1, 1, 1}};
    int32_t target[6] = {0, 0, 0, 5, 0, 0};
    float loss[6] = {1, 2, 3, 4, 5, 6};
    double sum[4];
    const struct dpt_op_ctx ctx = {.rows = 6};
    const struct dpt_tensor in[] = {{{DPT_DTYPE_F32, 2, {6, 7}}, x}, {{DPT_DTYPE_I32, 1, {6}}, target},
                                    {{DPT_DTYPE_F32, 1, {6}}, loss}};
    const struct dpt_tensor out = {{DPT_DTYPE_F64, 1, {4}}, sum};
    optest_call("class_metrics", DPT_RUN_CPU, NULL, 3, in, 1, &out, &ctx);
    assert_true(sum[0] == 21.0 && sum[1] == 2.0 && sum[2] == 3.0 && sum[3] == 6.0);
}

static void refusals(void **state)
{
    (void)state;
    const struct dpt_cross_entropy_param plain = {0.0}, much = {1.0};
    optest_refuses(&(struct optest){.op = "cross_entropy", .param = &plain, .nin = 2,
                                    .in = {OPTEST_F32(7, 5), OPTEST_F32(7)}},
                   "the target holds F32, expected class numbers (I32)");
    optest_refuses(&(struct optest){.op = "cross_entropy", .param = &plain, .nin = 2,
                                    .in = {OPTEST_F32(7, 5), OPTEST_I32(6)}},
                   "6 targets for 7 samples");
    optest_refuses(&(struct optest){.op = "cross_entropy", .param = &much, .nin = 2,
                                    .in = {OPTEST_F32(7, 5), OPTEST_I32(7)}},
                   "label smoothing is 1");
    optest_refuses(&(struct optest){.op = "mse", .nin = 2, .in = {OPTEST_F32(7, 5), OPTEST_F32(7)}},
                   "input 1 is F32[7], expected the shape of input 0, F32[7,5]");
    optest_refuses(&(struct optest){.op = "mse", .nin = 2, .in = {OPTEST_F32(7, 5), OPTEST_I32(7, 5)}},
                   "input 1 holds I32");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cross_entropy),
        cmocka_unit_test(known_values),
        cmocka_unit_test(mean_squared_error),
        cmocka_unit_test(metrics),
        cmocka_unit_test(places),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
