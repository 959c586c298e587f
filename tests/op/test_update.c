/* SPDX-License-Identifier: Apache-2.0 */
#include "op/update.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "op/flat.h"
#include "optest.h"

/* In a build --with-cuda=emulate: kernels of this name that the card ran. Elsewhere it is not there. */
long emulated_launches(const char *words) __attribute__((weak));

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

/* The same ranges on a card by themselves and in one call, each with a number of its own: the same bits, and one launch. */
static void expect_one_call(struct dpt_dev *card, const char *name, const void *const param[3], int nin)
{
    enum { M = 5200 };
    static float host[2][4][M];
    static const int cut[] = {0, 16, 4176, M};
    const struct dpt_op *op = dpt_op_find(name);
    const struct dpt_op_ctx ctx = {.lr = 0.01, .grad_scale = 0.3, .update = 3};
    struct dpt_update_range range[2][3];
    struct dpt_update_table *table;
    void *there[2][4];
    for (int way = 0; way < 2; way++) {
        for (int k = 0; k < nin; k++) {
            for (int i = 0; i < M; i++) {
                host[way][k][i] = (float)fabs(sin(1.0 + 7.0 * k + 0.37 * i));
            }
            assert_int_equal(dpt_dev_alloc(card, sizeof host[way][k], "an operand", &there[way][k]), DPT_STATUS_OK);
            assert_int_equal(dpt_dev_copy_in(card, there[way][k], host[way][k], sizeof host[way][k]), DPT_STATUS_OK);
            for (int r = 0; r < 3; r++) {
                const struct dpt_type type = {DPT_DTYPE_F32, 1, {cut[r + 1] - cut[r]}};
                range[way][r].types.param = param[r];
                range[way][r].types.nin = nin;
                range[way][r].types.in[k] = type;
                range[way][r].in[k] = (struct dpt_tensor){type, (float *)there[way][k] + cut[r]};
            }
        }
    }
    assert_true(dpt_update_joins(op, param[0], param[1]) && dpt_update_joins(op, param[1], param[2]));
    assert_int_equal(dpt_update_prepare(card, op, 3, range[1], &table), DPT_STATUS_OK);
    assert_non_null(table);
    const long before = emulated_launches ? emulated_launches("update") : 0;
    assert_int_equal(dpt_update_ranges(card, op, DPT_RUN_CUDA, 3, range[0], NULL, &ctx), DPT_STATUS_OK);
    assert_int_equal(dpt_dev_wait(card), DPT_STATUS_OK);
    const long single = emulated_launches ? emulated_launches("update") : 0;
    assert_int_equal(dpt_update_ranges(card, op, DPT_RUN_CUDA, 3, range[1], table, &ctx), DPT_STATUS_OK);
    for (int way = 0; way < 2; way++) {
        for (int k = 0; k < nin; k++) {
            assert_int_equal(dpt_dev_copy_out(card, host[way][k], there[way][k], sizeof host[way][k]), DPT_STATUS_OK);
            dpt_dev_release(card, there[way][k], sizeof host[way][k]);
        }
    }
    if (emulated_launches) {
        assert_int_equal(single - before, 3);
        assert_int_equal(emulated_launches("update") - single, 1);
    }
    for (int k = 0; k < nin; k++) {
        assert_memory_equal(host[0][k], host[1][k], sizeof host[0][k]);
    }
    assert_true(host[0][0][20] != (float)fabs(sin(1.0 + 0.37 * 20)));
    dpt_update_release(card, table);
}

static void ranges_are_one_launch_on_a_card(void **state)
{
    const struct dpt_sgd_param plain[] = {{.weight_decay = 0.1}, {.weight_decay = 0.0}, {.weight_decay = 0.1}};
    const struct dpt_sgd_param sgd[] = {
        {.momentum = 0.9, .nesterov = true}, {.momentum = 0.9, .weight_decay = 0.2, .nesterov = true},
        {.momentum = 0.9, .nesterov = true}};
    const struct dpt_adam_param adam[] = {
        {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.1, .decoupled = true},
        {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .decoupled = true},
        {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.3, .decoupled = true}};
    const struct dpt_adam_param other = {.beta1 = 0.9, .beta2 = 0.98, .eps = 1e-8, .decoupled = true};
    const struct dpt_ema_param ema[] = {{0.1}, {0.25}, {0.1}};
    struct dpt_dev *card = NULL;
    const char *why;
    (void)state;
    assert_false(dpt_update_joins(&dpt_op_adam, &adam[0], &other));
    setenv("DPT_EMULATED_CARDS", "1", 0);
    if (dpt_dev_cuda_count(&why) == 0) {
        print_message("SKIP: %s\n", why);
        skip();
    }
    assert_int_equal(dpt_dev_cuda(0, &card), DPT_STATUS_OK);
    expect_one_call(card, "sgd", (const void *const[]){&plain[0], &plain[1], &plain[2]}, 2);
    expect_one_call(card, "sgd", (const void *const[]){&sgd[0], &sgd[1], &sgd[2]}, 3);
    expect_one_call(card, "adam", (const void *const[]){&adam[0], &adam[1], &adam[2]}, 4);
    expect_one_call(card, "ema", (const void *const[]){&ema[0], &ema[1], &ema[2]}, 2);
    dpt_dev_close(card);
}

/* Of ranges of many lengths, in more calls than one: what a sum of the same range alone is, to the bit, and right. */
static void squares_are_summed_together(void **state)
{
    enum { M = 3000, RANGES = 150 };
    static float x[M];
    struct dpt_flat_range range[RANGES];
    struct dpt_dev *card = NULL;
    void *there, *figures;
    const char *why;
    (void)state;
    setenv("DPT_EMULATED_CARDS", "1", 0);
    if (dpt_dev_cuda_count(&why) == 0) {
        print_message("SKIP: %s\n", why);
        skip();
    }
    for (int i = 0; i < M; i++) {
        x[i] = (float)sin(0.7 * i);
    }
    assert_int_equal(dpt_dev_cuda(0, &card), DPT_STATUS_OK);
    assert_int_equal(dpt_dev_alloc(card, sizeof x, "numbers", &there), DPT_STATUS_OK);
    assert_int_equal(dpt_dev_host_alloc(card, 2 * RANGES * sizeof(double), "figures", &figures), DPT_STATUS_OK);
    assert_int_equal(dpt_dev_copy_in(card, there, x, sizeof x), DPT_STATUS_OK);
    for (int r = 0; r < RANGES; r++) {
        range[r] = (struct dpt_flat_range){(float *)there + 3 * r, r == 7 ? 0 : 19 * r % (M - 3 * r)};
    }
    double *sum = figures, *alone = sum + RANGES;
    const long before = emulated_launches ? emulated_launches("square") : 0;
    assert_int_equal(dpt_flat_squares(card, DPT_DTYPE_F32, RANGES, range, sum), DPT_STATUS_OK);
    assert_int_equal(dpt_dev_wait(card), DPT_STATUS_OK);
    assert_true(!emulated_launches || emulated_launches("square") - before == 2); /* 128 ranges a launch */
    for (int r = 0; r < RANGES; r++) {
        assert_int_equal(dpt_flat_squares(card, DPT_DTYPE_F32, 1, &range[r], &alone[r]), DPT_STATUS_OK);
    }
    assert_int_equal(dpt_dev_wait(card), DPT_STATUS_OK);
    assert_memory_equal(sum, alone, RANGES * sizeof *sum);
    for (int r = 0; r < RANGES; r++) {
        double expected = 0.0;
        for (int64_t i = 0; i < range[r].n; i++) {
            expected += (double)x[3 * r + i] * x[3 * r + i];
        }
        close_to(sum[r], expected, 1e-13);
    }
    dpt_dev_host_release(card, figures, 2 * RANGES * sizeof(double));
    dpt_dev_release(card, there, sizeof x);
    dpt_dev_close(card);
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
        cmocka_unit_test(ranges_are_one_launch_on_a_card),
        cmocka_unit_test(squares_are_summed_together),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
