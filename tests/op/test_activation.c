/* SPDX-License-Identifier: Apache-2.0 */
#include "op/activation.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "optest.h"

static double wide(double normal)
{
    return 5.0 * normal;
}

static void every_kind(void **state)
{
    (void)state;
    for (int kind = DPT_ACTIVATION_KIND_RELU; kind <= DPT_ACTIVATION_KIND_GELU_TANH; kind++) {
        const struct dpt_activation_param param = {(enum dpt_activation_kind)kind};
        optest_run(&(struct optest){.op = "activation", .param = &param, .nin = 1, .in = {OPTEST_F32(7, 5, 3)},
                                    .tolerance = 1e-6, .flops = 7 * 5 * 3});
        optest_run(&(struct optest){.op = "activation", .param = &param, .nin = 1, .in = {OPTEST_F32(9, 131)},
                                    .draw = {wide}, .tolerance = 1e-6});
        optest_run(&(struct optest){.op = "activation", .param = &param, .nin = 1, .in = {OPTEST_F32(1)}});
    }
}

/* A loss that is nan must be seen: no activation may turn nan into a number, on either side of the vector loop. */
static void nan_stays(void **state)
{
    (void)state;
    enum { N = 37 };
    float x[N], y[N];
    for (int i = 0; i < N; i++) {
        x[i] = NAN;
    }
    const struct dpt_op_ctx ctx = {.rows = N};
    const struct dpt_tensor in = {{DPT_DTYPE_F32, 1, {N}}, x}, out = {{DPT_DTYPE_F32, 1, {N}}, y};
    for (int kind = DPT_ACTIVATION_KIND_RELU; kind <= DPT_ACTIVATION_KIND_GELU_TANH; kind++) {
        const struct dpt_activation_param param = {(enum dpt_activation_kind)kind};
        for (enum dpt_run run = DPT_RUN_REF; run <= DPT_RUN_CPU; run++) {
            optest_call("activation", run, &param, 1, &in, 1, &out, &ctx);
            for (int i = 0; i < N; i++) {
                assert_true(isnan(y[i]));
            }
        }
    }
}

/* Known values: relu'(0) = 0; gelu, silu and tanh of large numbers are the number, 0 and 1. */
static void limits(void **state)
{
    (void)state;
    float x[4] = {-200.0f, -0.0f, 30.0f, INFINITY}, y[4];
    const struct dpt_op_ctx ctx = {.rows = 4};
    const struct dpt_tensor in = {{DPT_DTYPE_F32, 1, {4}}, x}, out = {{DPT_DTYPE_F32, 1, {4}}, y};
    const float expected[7][4] = {[DPT_ACTIVATION_KIND_RELU] = {0.0f, 0.0f, 30.0f, INFINITY},
                                  [DPT_ACTIVATION_KIND_GELU] = {0.0f, 0.0f, 30.0f, INFINITY},
                                  [DPT_ACTIVATION_KIND_SILU] = {0.0f, 0.0f, 30.0f, INFINITY},
                                  [DPT_ACTIVATION_KIND_SIGMOID] = {0.0f, 0.5f, 1.0f, 1.0f},
                                  [DPT_ACTIVATION_KIND_TANH] = {-1.0f, 0.0f, 1.0f, 1.0f},
                                  [DPT_ACTIVATION_KIND_GELU_TANH] = {0.0f, 0.0f, 30.0f, INFINITY}};
    for (int kind = DPT_ACTIVATION_KIND_RELU; kind <= DPT_ACTIVATION_KIND_GELU_TANH; kind++) {
        const struct dpt_activation_param param = {(enum dpt_activation_kind)kind};
        for (enum dpt_run run = DPT_RUN_REF; run <= DPT_RUN_CPU; run++) {
            optest_call("activation", run, &param, 1, &in, 1, &out, &ctx);
            for (int i = 0; i < 4; i++) {
                assert_true(fabsf(y[i] - expected[kind][i]) < 1e-6f || y[i] == expected[kind][i]);
            }
        }
    }
}

static void refusals(void **state)
{
    (void)state;
    const struct dpt_activation_param none = {DPT_ACTIVATION_KIND_NONE}, relu = {DPT_ACTIVATION_KIND_RELU};
    optest_refuses(&(struct optest){.op = "activation", .param = &none, .nin = 1, .in = {OPTEST_F32(3)}},
                   "has no activation of number 0");
    optest_refuses(&(struct optest){.op = "activation_dx", .param = &relu, .nin = 2,
                                    .in = {OPTEST_F32(3), OPTEST_F32(4)}},
                   "input 1 is F32[4], expected the shape of input 0, F32[3]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind),
        cmocka_unit_test(nan_stays),
        cmocka_unit_test(limits),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
