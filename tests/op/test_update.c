/* SPDX-License-Identifier: Apache-2.0 */
#include "op/update.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "optest.h"

enum { N = 37, STEPS = 12 };

static double positive(double normal)
{
    return optest_positive(normal);
}

static void all_questions(void **state)
{
    (void)state;
    const struct dpt_sgd_param sgd[] = {
        {.momentum = 0.0},
        {.weight_decay = 0.1},
        {.momentum = 0.9, .weight_decay = 1e-4},
        {.momentum = 0.9, .dampening = 0.3, .weight_decay = 0.1},
        {.momentum = 0.9, .weight_decay = 0.1, .nesterov = true},
    };
    for (size_t i = 0; i < sizeof sgd / sizeof sgd[0]; i++) {
        optest_run(&(struct optest){.op = "sgd", .param = &sgd[i], .nin = sgd[i].momentum != 0.0 ? 3 : 2,
                                    .in = {OPTEST_F32(67), OPTEST_F32(67), OPTEST_F32(67)}, .tolerance = 1e-6});
    }
    const struct dpt_adam_param adam[] = {
        {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8},
        {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.1},
        {.beta1 = 0.8, .beta2 = 0.9, .eps = 1e-6, .weight_decay = 0.1, .decoupled = true},
    };
    for (size_t i = 0; i < sizeof adam / sizeof adam[0]; i++) {
        optest_run(&(struct optest){.op = "adam", .param = &adam[i], .nin = 4,
                                    .in = {OPTEST_F32(67), OPTEST_F32(67), OPTEST_F32(67), OPTEST_F32(67)},
                                    .draw = {[3] = positive}, .tolerance = 1e-6});
    }
    const struct dpt_ema_param ema = {0.1};
    optest_run(&(struct optest){.op = "ema", .param = &ema, .nin = 2, .in = {OPTEST_F32(67), OPTEST_F32(67)},
                                .tolerance = 1e-6});
}

/* A gradient that depends on the step and the element, and on p so that errors would grow. */
static double gradient_at(int step, int i, double p)
{
    return 0.5 * p + sin(1.0 + 0.7 * i + 1.3 * step);
}

static void close_to(double got, double expected, double tolerance)
{
    if (!(fabs(got - expected) <= tolerance * fmax(1.0, fabs(expected)))) {
        fail_msg("got %.17g, expected %.17g", got, expected);
    }
}

/* Runs STEPS updates of an op from p = cos(i) in float or double and compares p with `expected` at the end. */
static void run_steps(const char *op, const void *param, int nslots, enum dpt_dtype dtype, const double *expected)
{
    float p32[N], g32[N], slot32[2][N] = {{0}};
    double p64[N], g64[N], slot64[2][N] = {{0}};
    const struct dpt_type type = {dtype, 1, {N}};
    const bool wide = dtype == DPT_DTYPE_F64;
    const struct dpt_tensor in[] = {{type, wide ? (void *)p64 : p32}, {type, wide ? (void *)g64 : g32},
                                    {type, wide ? (void *)slot64[0] : slot32[0]},
                                    {type, wide ? (void *)slot64[1] : slot32[1]}};
    for (int i = 0; i < N; i++) {
        p64[i] = cos(i);
        p32[i] = (float)p64[i];
        if (nslots == 1) {
            slot64[0][i] = slot32[0][i] = 7.0f; /* the first update of sgd does not read it */
        }
    }
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < N; i++) {
            g64[i] = gradient_at(step, i, wide ? p64[i] : p32[i]);
            g32[i] = (float)g64[i];
        }
        const struct dpt_op_ctx ctx = {.lr = 0.1 / (1 + step), .grad_scale = 0.8, .update = step + 1};
        optest_call(op, DPT_RUN_CPU, param, 2 + nslots, in, 0, NULL, &ctx);
    }
    for (int i = 0; i < N; i++) {
        close_to(wide ? p64[i] : p32[i], expected[i], wide ? 1e-13 : 3e-6);
    }
}

static void compare_steps(const char *op, const void *param, int nslots, const double *expected)
{
    run_steps(op, param, nslots, DPT_DTYPE_F64, expected);
    run_steps(op, param, nslots, DPT_DTYPE_F32, expected);
}

/* The loop of PyTorch's documentation of SGD, element by element. */
static void sgd_is_the_published_one(void **state)
{
    (void)state;
    const struct dpt_sgd_param rules[] = {
        {.momentum = 0.0},
        {.momentum = 0.9},
        {.momentum = 0.9, .dampening = 0.5, .weight_decay = 0.1},
        {.momentum = 0.9, .weight_decay = 0.1, .nesterov = true},
    };
    for (size_t r = 0; r < sizeof rules / sizeof rules[0]; r++) {
        const double mu = rules[r].momentum, tau = rules[r].dampening, lambda = rules[r].weight_decay;
        double theta[N];
        for (int i = 0; i < N; i++) {
            double b = 0.0;
            theta[i] = cos(i);
            for (int t = 1; t <= STEPS; t++) {
                double g = 0.8 * gradient_at(t - 1, i, theta[i]);
                if (lambda != 0.0) {
                    g = g + lambda * theta[i];
                }
                if (mu != 0.0) {
                    if (t > 1) {
                        b = mu * b + (1.0 - tau) * g;
                    } else {
                        b = g;
                    }
                    if (rules[r].nesterov) {
                        g = g + mu * b;
                    } else {
                        g = b;
                    }
                }
                theta[i] = theta[i] - 0.1 / t * g;
            }
        }
        compare_steps("sgd", &rules[r], mu != 0.0 ? 1 : 0, theta);
    }
}

/* Algorithm 1 of Kingma and Ba; with decoupled decay algorithm 2 of Loshchilov and Hutter. */
static void adam_is_the_published_one(void **state)
{
    (void)state;
    const struct dpt_adam_param rules[] = {
        {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8},
        {.beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3, .weight_decay = 0.2},
        {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.2, .decoupled = true},
    };
    for (size_t r = 0; r < sizeof rules / sizeof rules[0]; r++) {
        double theta[N];
        for (int i = 0; i < N; i++) {
            double m = 0.0, v = 0.0;
            theta[i] = cos(i);
            for (int t = 1; t <= STEPS; t++) {
                const double alpha = 0.1 / t;
                double g = 0.8 * gradient_at(t - 1, i, theta[i]);
                if (!rules[r].decoupled) {
                    g += rules[r].weight_decay * theta[i];
                }
                m = rules[r].beta1 * m + (1.0 - rules[r].beta1) * g;
                v = rules[r].beta2 * v + (1.0 - rules[r].beta2) * g * g;
                const double mhat = m / (1.0 - pow(rules[r].beta1, t)), vhat = v / (1.0 - pow(rules[r].beta2, t));
                const double decay = rules[r].decoupled ? rules[r].weight_decay * theta[i] : 0.0;
                theta[i] = theta[i] - alpha * (mhat / (sqrt(vhat) + rules[r].eps) + decay);
            }
        }
        compare_steps("adam", &rules[r], 2, theta);
    }
}

/* plan/ runs one call over a range of several parameters: any cut gives the same bits. */
static void ranges_give_the_same_bits(void **state)
{
    (void)state;
    enum { M = 320 };
    static float whole[4][M], parts[4][M];
    const struct dpt_adam_param adam = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .decoupled = true};
    const struct dpt_op_ctx ctx = {.lr = 0.01, .grad_scale = 0.3, .update = 2};
    for (int k = 0; k < 4; k++) {
        for (int i = 0; i < M; i++) {
            whole[k][i] = parts[k][i] = (float)fabs(sin(1.0 + 7.0 * k + 0.37 * i));
        }
    }
    const int cut[] = {0, 16, 144, 320};
    for (int c = 0; c <= 3; c++) {
        float(*at)[M] = c == 0 ? whole : parts;
        const int begin = c == 0 ? 0 : cut[c - 1], end = c == 0 ? M : cut[c];
        struct dpt_tensor in[4];
        for (int k = 0; k < 4; k++) {
            in[k] = (struct dpt_tensor){{DPT_DTYPE_F32, 1, {end - begin}}, at[k] + begin};
        }
        optest_call("adam", DPT_RUN_CPU, &adam, 4, in, 0, NULL, &ctx);
    }
    assert_memory_equal(whole, parts, sizeof whole);
}

static void refusals(void **state)
{
    (void)state;
    const struct dpt_sgd_param plain = {.momentum = 0.0};
    const struct dpt_sgd_param nesterov = {.momentum = 0.9, .dampening = 0.1, .nesterov = true};
    const struct dpt_adam_param adam = {.beta1 = 1.0, .beta2 = 0.999, .eps = 1e-8};
    optest_refuses(&(struct optest){.op = "sgd", .param = &plain, .nin = 3,
                                    .in = {OPTEST_F32(5), OPTEST_F32(5), OPTEST_F32(5)}},
                   "momentum is 0, but there is a slot for it");
    optest_refuses(&(struct optest){.op = "sgd", .param = &nesterov, .nin = 3,
                                    .in = {OPTEST_F32(5), OPTEST_F32(5), OPTEST_F32(5)}},
                   "nesterov needs momentum and no dampening");
    optest_refuses(&(struct optest){.op = "adam", .param = &adam, .nin = 4,
                                    .in = {OPTEST_F32(5), OPTEST_F32(5), OPTEST_F32(5), OPTEST_F32(5)}},
                   "beta1 is 1");
    optest_refuses(&(struct optest){.op = "adam", .param = &adam, .nin = 4,
                                    .in = {OPTEST_F32(5), OPTEST_F32(5), OPTEST_F32(5), OPTEST_F32(4)}},
                   "input 3 is F32[4], expected the shape of input 0, F32[5]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_questions),
        cmocka_unit_test(sgd_is_the_published_one),
        cmocka_unit_test(adam_is_the_published_one),
        cmocka_unit_test(ranges_give_the_same_bits),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
