/* SPDX-License-Identifier: Apache-2.0 */
#include "op/batch_norm.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "optest.h"

#define TYPE(...) ((struct dpt_type)OPTEST_F32(__VA_ARGS__))
#define STAT(c) ((struct dpt_type)OPTEST_F64(2, c))

static const struct dpt_batch_norm_param plain = {.eps = 1e-3};
static const struct dpt_batch_norm_param relu = {.eps = 1e-3, .act = DPT_ACTIVATION_KIND_RELU};

/* Channels below, at and above the run of coefficients of the fast kernels, and rows that leave a rest. */
static const struct dpt_type shapes[] = {
    OPTEST_F32(7, 3),       OPTEST_F32(5, 4, 3, 16),    OPTEST_F32(3, 9, 7, 24),
    OPTEST_F32(40, 3, 600), OPTEST_F32(6, 16, 17, 16), OPTEST_F32(300, 10),
};

enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static int64_t channels(struct dpt_type x)
{
    return x.dim[x.ndim - 1];
}

/* Sums of x and x^2 that leave a positive variance for 20 elements and more. */
static double near_one(double normal)
{
    return 1.0 + 0.2 * tanh(normal);
}

static void sums(void **state)
{
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        optest_run(&(struct optest){.op = "batch_stat", .param = &plain, .nin = 1, .in = {shapes[i]}});
    }
}

/*
 * Gradients of gamma, beta and the residual by finite differences with the statistics held; that of x is below. Of many
 * elements some are too near the kink of relu for differences.
 */
static void with_given_statistics(void **state)
{
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        const struct dpt_type x = shapes[i], c = TYPE(channels(x)), stat = STAT(channels(x));
        for (int k = 0; k < 4; k++) {
            const struct dpt_batch_norm_param *param = k % 2 ? &relu : &plain;
            const int residual = k / 2;
            if (param == &plain || dpt_type_numel(&x) < 1000) {
                optest_run(&(struct optest){.op = "batch_norm", .param = param, .nin = 4 + residual,
                                            .in = {x, stat, c, c, x}, .draw = {NULL, near_one}, .fixed = 3});
            }
            optest_run(&(struct optest){.op = "batch_norm_eval", .param = param, .nin = 5 + residual,
                                        .in = {x, c, c, c, c, x}, .draw = {NULL, NULL, optest_positive}});
        }
        for (int k = 0; k < 2; k++) {
            const struct dpt_batch_norm_param *param = k ? &relu : &plain;
            optest_run(&(struct optest){.op = "batch_grad_stat", .param = param, .nin = 5, .in = {x, x, stat, c, c},
                                        .draw = {NULL, NULL, near_one}});
            optest_run(&(struct optest){.op = "batch_norm_dx", .param = param, .nin = 6, .in = {x, x, stat, stat, c, c},
                                        .draw = {NULL, NULL, near_one}});
        }
        optest_run(&(struct optest){.op = "batch_residual_dx", .param = &relu, .nin = 4, .in = {x, x, x, stat},
                                    .draw = {NULL, NULL, NULL, near_one}});
    }
    optest_run(&(struct optest){.op = "batch_norm_dw", .param = &plain, .nin = 1, .in = {STAT(5)}});
    const struct dpt_batch_norm_param six = {.eps = 1e-3, .per_sample = 6};
    optest_run(&(struct optest){.op = "batch_moments", .param = &six, .nin = 1, .in = {STAT(5)}, .draw = {near_one}});
}

static void costs(void **state)
{
    (void)state;
    const struct dpt_type x = TYPE(4, 3, 5), c = TYPE(5);
    optest_run(&(struct optest){
        .op = "batch_stat", .param = &plain, .nin = 1, .in = {x}, .flops = 60 * 3});
    optest_run(&(struct optest){.op = "batch_norm", .param = &relu, .nin = 5, .in = {x, STAT(5), c, c, x},
                                .draw = {NULL, near_one}, .fixed = 3, .flops = 60 * 4});
}

/* ---- a whole normalisation, in double ---- */

enum { N = 6, PLACES = 4, C = 3, NUMEL = N * PLACES * C };

struct net {
    struct dpt_batch_norm_param param;
    bool residual;
    double x[NUMEL], other[NUMEL], gamma[C], beta[C], dy[NUMEL];
    double stat[2 * C], gstat[2 * C], y[NUMEL], dz[NUMEL], dx[NUMEL], dgamma[C], dbeta[C];
};

static struct dpt_tensor real(double *data, int64_t rows)
{
    return (struct dpt_tensor){{DPT_DTYPE_F64, 3, {rows, PLACES, C}}, data};
}

static struct dpt_tensor vector(double *data)
{
    return (struct dpt_tensor){{DPT_DTYPE_F64, 1, {C}}, data};
}

static struct dpt_tensor stat_of(double *data)
{
    return (struct dpt_tensor){{DPT_DTYPE_F64, 2, {2, C}}, data};
}

static void draw(double *data, int n, unsigned seed)
{
    for (int i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        data[i] = (double)(seed >> 8) * 0x1p-23 - 1.0;
    }
}

static struct net new_net(enum dpt_activation_kind act, bool residual, bool local)
{
    struct net net = {.param = {.eps = 1e-3, .act = act, .local = local, .real = DPT_DTYPE_F64}, .residual = residual};
    draw(net.x, NUMEL, 1);
    draw(net.other, NUMEL, 2);
    draw(net.gamma, C, 3);
    draw(net.beta, C, 4);
    draw(net.dy, NUMEL, 5);
    return net;
}

/*
 * What `rows` samples from `first` on give to the sums of `stat` or `gstat`, added there. Ranks may have no samples.
 */
static void add_stat(struct net *net, int first, const struct dpt_op_ctx *ctx)
{
    double part[2 * C];
    const struct dpt_tensor x = real(net->x + first * PLACES * C, ctx->rows), out = stat_of(part);
    optest_call("batch_stat", DPT_RUN_REF, &net->param, 1, &x, 1, &out, ctx);
    for (int i = 0; i < 2 * C; i++) {
        net->stat[i] += part[i];
    }
}

static void forward(struct net *net, int first, const struct dpt_op_ctx *ctx)
{
    const int at = first * PLACES * C;
    const struct dpt_tensor in[] = {real(net->x + at, ctx->rows), stat_of(net->stat), vector(net->gamma),
                                    vector(net->beta), real(net->other + at, ctx->rows)};
    const struct dpt_tensor y = real(net->y + at, ctx->rows);
    optest_call("batch_norm", DPT_RUN_REF, &net->param, net->residual ? 5 : 4, in, 1, &y, ctx);
}

static void add_grad_stat(struct net *net, int first, const struct dpt_op_ctx *ctx)
{
    const int at = first * PLACES * C;
    double part[2 * C];
    const struct dpt_tensor out[] = {real(net->dz + at, ctx->rows), stat_of(part)};
    const struct dpt_tensor dy = real(net->dy + at, ctx->rows), x = real(net->x + at, ctx->rows);
    if (net->residual && net->param.act == DPT_ACTIVATION_KIND_RELU) {
        const struct dpt_tensor in[] = {dy, real(net->y + at, ctx->rows), x, stat_of(net->stat)};
        optest_call("batch_residual_dx", DPT_RUN_REF, &net->param, 4, in, 2, out, ctx);
    } else {
        const struct dpt_tensor in[] = {dy, x, stat_of(net->stat), vector(net->gamma), vector(net->beta)};
        optest_call("batch_grad_stat", DPT_RUN_REF, &net->param, 5, in, 1, out + 1, ctx);
        memcpy(net->dz + at, net->dy + at, (size_t)ctx->rows * PLACES * C * sizeof(double));
    }
    for (int i = 0; i < 2 * C; i++) {
        net->gstat[i] += part[i];
    }
}

static void backward(struct net *net, int first, const struct dpt_op_ctx *ctx)
{
    const int at = first * PLACES * C;
    struct dpt_batch_norm_param param = net->param;
    param.act = net->residual ? DPT_ACTIVATION_KIND_NONE : param.act;
    const struct dpt_tensor in[] = {real(net->dz + at, ctx->rows), real(net->x + at, ctx->rows), stat_of(net->stat),
                                    stat_of(net->gstat),           vector(net->gamma),           vector(net->beta)};
    const struct dpt_tensor dx = real(net->dx + at, ctx->rows);
    optest_call("batch_norm_dx", DPT_RUN_REF, &param, 6, in, 1, &dx, ctx);

    double dgamma[C], dbeta[C];
    const struct dpt_tensor gstat = stat_of(net->gstat), dw[] = {vector(dgamma), vector(dbeta)};
    optest_call("batch_norm_dw", DPT_RUN_REF, &net->param, 1, &gstat, 2, dw, ctx);
    for (int i = 0; i < C; i++) {
        net->dgamma[i] += dgamma[i];
        net->dbeta[i] += dbeta[i];
    }
}

/* All steps on `ranks` ranks that share the samples 0 .. N-1 unevenly, the last of them without any. */
static void run_net(struct net *net, int ranks, bool with_backward)
{
    typedef void step_fn(struct net *net, int first, const struct dpt_op_ctx *ctx);
    step_fn *const steps[] = {add_stat, forward, add_grad_stat, backward};
    memset(net->stat, 0, sizeof net->stat);
    memset(net->gstat, 0, sizeof net->gstat);
    memset(net->dgamma, 0, sizeof net->dgamma);
    memset(net->dbeta, 0, sizeof net->dbeta);
    for (int s = 0; s < (with_backward ? 4 : 2); s++) {
        for (int rank = 0; rank < ranks; rank++) {
            const int with = ranks > 1 ? ranks - 1 : 1; /* ranks with samples */
            const int first = rank < with ? N * rank / with : N, last = rank < with ? N * (rank + 1) / with : N;
            const struct dpt_op_ctx ctx = {
                .rows = last - first, .first_row = first, .micro_rows = N, .batch_rows = 2 * N};
            steps[s](net, first, &ctx);
        }
    }
}

static double objective(struct net *net)
{
    run_net(net, 1, false);
    double sum = 0.0;
    for (int i = 0; i < NUMEL; i++) {
        sum += net->y[i] * net->dy[i];
    }
    return sum;
}

static void check(const char *what, double got, double expected, double limit)
{
    if (!(fabs(got - expected) <= limit)) {
        fail_msg("%s: got %.15g, expected %.15g", what, got, expected);
    }
}

static void check_differences(struct net *net, double *input, int n, const double *got, const char *what)
{
    for (int i = 0; i < n; i++) {
        const double saved = input[i], step = 1e-6;
        input[i] = saved + step;
        const double above = objective(net);
        input[i] = saved - step;
        const double below = objective(net);
        input[i] = saved;
        check(what, got[i], (above - below) / (2.0 * step), 1e-7);
    }
}

/* Through the statistics too, which depend on every x. */
static void gradient_through_the_statistics(void **state)
{
    (void)state;
    for (int k = 0; k < 8; k++) {
        struct net net = new_net(k % 2 ? DPT_ACTIVATION_KIND_RELU : DPT_ACTIVATION_KIND_NONE, k / 2 % 2, k / 4);
        run_net(&net, 1, true);
        const struct net done = net;
        check_differences(&net, net.x, NUMEL, done.dx, "dx");
        check_differences(&net, net.gamma, C, done.dgamma, "dgamma");
        check_differences(&net, net.beta, C, done.dbeta, "dbeta");
        if (net.residual) {
            check_differences(&net, net.other, NUMEL, done.dz, "dresidual");
        }
    }
}

static void ranks_merge_to_the_whole(void **state)
{
    (void)state;
    for (int k = 0; k < 4; k++) {
        struct net one = new_net(k % 2 ? DPT_ACTIVATION_KIND_RELU : DPT_ACTIVATION_KIND_NONE, k / 2, false);
        struct net many = one;
        run_net(&one, 1, true);
        for (int ranks = 2; ranks <= 4; ranks++) {
            run_net(&many, ranks, true);
            for (int i = 0; i < NUMEL; i++) {
                check("y", many.y[i], one.y[i], 1e-12);
                check("dx", many.dx[i], one.dx[i], 1e-12);
            }
            for (int i = 0; i < C; i++) {
                check("dgamma", many.dgamma[i], one.dgamma[i], 1e-12);
                check("dbeta", many.dbeta[i], one.dbeta[i], 1e-12);
            }
        }
    }
}

/* With `local`, a rank's results are those of its own samples as a batch. */
static void local_statistics(void **state)
{
    (void)state;
    struct net whole = new_net(DPT_ACTIVATION_KIND_RELU, false, true), part = whole;
    const struct dpt_op_ctx alone = {.rows = 2, .micro_rows = 2, .batch_rows = 2};
    const struct dpt_op_ctx among = {.rows = 2, .micro_rows = N, .batch_rows = N};
    struct net *const nets[] = {&whole, &part};
    const struct dpt_op_ctx *const ctx[] = {&alone, &among};
    for (int i = 0; i < 2; i++) {
        add_stat(nets[i], 0, ctx[i]);
        forward(nets[i], 0, ctx[i]);
        add_grad_stat(nets[i], 0, ctx[i]);
        backward(nets[i], 0, ctx[i]);
    }
    assert_memory_equal(whole.y, part.y, 2 * PLACES * C * sizeof(double));
    assert_memory_equal(whole.dx, part.dx, 2 * PLACES * C * sizeof(double));
    assert_memory_equal(whole.dgamma, part.dgamma, sizeof whole.dgamma);
    const struct dpt_op *op = dpt_op_find("batch_stat");
    assert_true(op->local(&whole.param));
    assert_false(op->local(&plain));
}

/* A rank without samples: sums of nothing, no output, no division by zero, whatever the statistics. */
static void no_rows(void **state)
{
    (void)state;
    for (enum dpt_run run = DPT_RUN_REF; run <= DPT_RUN_CPU; run++) {
        for (int local = 0; local < 2; local++) {
            const struct dpt_batch_norm_param param = {.eps = 1e-3, .local = local, .per_sample = 4};
            const struct dpt_op_ctx ctx = {.rows = 0, .micro_rows = 3, .batch_rows = 3};
            float nothing[1] = {0}, gamma[2] = {1, 1}, beta[2] = {0, 0}, dw[4];
            double stat[4] = {1, 1, 1, 1};
            const struct dpt_tensor x = {TYPE(0, 2, 2, 2), nothing}, s = {STAT(2), stat};
            const struct dpt_tensor g = {TYPE(2), gamma}, b = {TYPE(2), beta};
            const struct dpt_tensor out[] = {{TYPE(2), dw}, {TYPE(2), dw + 2}};
            optest_call("batch_stat", run, &param, 1, &x, 1, &s, &ctx);
            for (int i = 0; i < 4; i++) {
                assert_true(stat[i] == 0.0);
            }
            optest_call("batch_norm", run, &param, 4, (struct dpt_tensor[]){x, s, g, b}, 1, &x, &ctx);
            optest_call("batch_norm_dx", run, &param, 6, (struct dpt_tensor[]){x, x, s, s, g, b}, 1, &x, &ctx);
            optest_call("batch_grad_stat", run, &param, 5, (struct dpt_tensor[]){x, x, s, g, b}, 1, &s, &ctx);
            optest_call("batch_norm_dw", run, &param, 1, &s, 2, out, &ctx);
            for (int i = 0; i < 4; i++) {
                assert_true(dw[i] == 0.0f);
            }
            optest_call("batch_moments", run, &param, 1, &s, 2, out, &ctx);
            for (int i = 0; i < 4; i++) {
                assert_true(dw[i] == 0.0f);
            }
        }
    }
}

/* Contributions of micro-batches add up to the sample-weighted mean and the mean of unbiased variances. */
static void moments(void **state)
{
    (void)state;
    const struct dpt_batch_norm_param param = {.eps = 1e-3, .per_sample = PLACES, .real = DPT_DTYPE_F64};
    struct net net = new_net(DPT_ACTIVATION_KIND_NONE, false, false);
    const int rows[2] = {2, 4};
    double mean[C] = {0}, var[C] = {0};
    for (int micro = 0, first = 0; micro < 2; first += rows[micro++]) {
        const struct dpt_op_ctx ctx = {.rows = rows[micro], .micro_rows = rows[micro], .batch_rows = N};
        memset(net.stat, 0, sizeof net.stat);
        add_stat(&net, first, &ctx);
        double part[2][C];
        const struct dpt_tensor stat = stat_of(net.stat), out[] = {vector(part[0]), vector(part[1])};
        optest_call("batch_moments", DPT_RUN_REF, &param, 1, &stat, 2, out, &ctx);
        for (int k = 0; k < C; k++) {
            mean[k] += part[0][k];
            var[k] += part[1][k];
        }
    }
    for (int k = 0; k < C; k++) {
        double expected_mean = 0.0, expected_var = 0.0;
        for (int micro = 0, first = 0; micro < 2; first += rows[micro++]) {
            const int count = rows[micro] * PLACES;
            const double *x = net.x + first * PLACES * C;
            double sum = 0.0, squares = 0.0;
            for (int i = 0; i < count; i++) {
                sum += x[i * C + k] / count;
            }
            for (int i = 0; i < count; i++) {
                squares += (x[i * C + k] - sum) * (x[i * C + k] - sum);
            }
            expected_mean += sum * rows[micro] / N;
            expected_var += squares / (count - 1) * rows[micro] / N;
        }
        check("mean", mean[k], expected_mean, 1e-12);
        check("var", var[k], expected_var, 1e-12);
    }
}

/* A mean a thousand times the deviation leaves the variance with four digits or more. */
static void far_mean(void **state)
{
    (void)state;
    enum { ROWS = 40000 };
    float *x = malloc(ROWS * sizeof *x);
    double sum = 0.0, squares = 0.0, stat[2];
    for (int i = 0; i < ROWS; i++) {
        x[i] = 1000.0f + (float)(i % 7 - 3);
        sum += (double)x[i] / ROWS;
    }
    for (int i = 0; i < ROWS; i++) {
        squares += (x[i] - sum) * (x[i] - sum) / ROWS;
    }
    const struct dpt_tensor in = {TYPE(ROWS, 1), x}, out = {STAT(1), stat};
    const struct dpt_op_ctx ctx = {.rows = ROWS, .micro_rows = ROWS, .batch_rows = ROWS};
    optest_call("batch_stat", DPT_RUN_CPU, &plain, 1, &in, 1, &out, &ctx);
    const double mean = stat[0] / ROWS;
    check("variance", stat[1] / ROWS - mean * mean, squares, 1e-6 * squares);
    free(x);
}

static void refuses(const char *op, const struct dpt_batch_norm_param *param, int nin, const struct dpt_type *in,
                    const char *words)
{
    struct optest test = {.op = op, .param = param, .nin = nin};
    memcpy(test.in, in, (size_t)nin * sizeof *in);
    optest_refuses(&test, words);
}

static void refusals(void **state)
{
    (void)state;
    const struct dpt_type x = TYPE(4, 2, 3), c = TYPE(3);
    const struct dpt_batch_norm_param none = {.eps = 0.0};
    const struct dpt_batch_norm_param gelu = {.eps = 1e-3, .act = DPT_ACTIVATION_KIND_GELU};
    refuses("batch_stat", &none, 1, &x, "eps is 0");
    refuses("batch_stat", &gelu, 1, &x, "cannot be fused");
    refuses("batch_stat", &plain, 1, (struct dpt_type[]){TYPE(3)}, "input 0 has 1 dimensions");
    refuses("batch_norm", &plain, 4, (struct dpt_type[]){x, STAT(4), c, c}, "input 1 is F64[2,4], expected statistics");
    refuses("batch_norm", &plain, 4, (struct dpt_type[]){x, STAT(3), TYPE(4), c}, "input 2 is F32[4]");
    refuses("batch_norm", &plain, 5, (struct dpt_type[]){x, STAT(3), c, c, TYPE(4, 3, 3)}, "input 4 is F32[4,3,3]");
    refuses("batch_norm_dx", &plain, 6, (struct dpt_type[]){TYPE(4, 1, 3), x, STAT(3), STAT(3), c, c},
            "expected the shape of input 0");
    refuses("batch_moments", &plain, 1, (struct dpt_type[]){STAT(3)}, "0 positions a sample");
    refuses("batch_norm_dw", &plain, 1, (struct dpt_type[]){TYPE(2, 3)}, "expected statistics F64[2,3]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums),
        cmocka_unit_test(with_given_statistics),
        cmocka_unit_test(costs),
        cmocka_unit_test(gradient_through_the_statistics),
        cmocka_unit_test(ranks_merge_to_the_whole),
        cmocka_unit_test(local_statistics),
        cmocka_unit_test(no_rows),
        cmocka_unit_test(moments),
        cmocka_unit_test(far_mean),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
