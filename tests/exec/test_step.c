/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Training on one rank, without MPI, against the same training done plainly: the graph without fusion is interpreted
 * node by node on the whole batch with the reference kernels, and each update is written out here as a formula.
 */

#include "rig.h"

#include <math.h>

#include "../graph/interpret.h"
#include "exec/internal.h"

static const double tolerance = 1e-12;

static void expect_near(const char *what, double a, double b, double share)
{
    if (!(fabs(a - b) <= share * fabs(b))) {
        fail_msg("%s: %.17g, expected %.17g", what, a, b);
    }
}

static void expect_close(const char *what, double a, double b)
{
    expect_near(what, a, b, tolerance);
}

/* ------------------------------------------------------------------------------------------------ the plain way */

/* A parameter or buffer with its slots. */
struct plain_param {
    const char *name;
    int64_t numel;
    double *p, *m, *v;
};

struct plain {
    const struct rig *rig;
    int nparams;
    struct plain_param *param;
    int64_t step;
};

static double *numbers(int64_t count)
{
    double *at = calloc((size_t)count + 1, sizeof *at);
    assert_non_null(at);
    return at;
}

/* Begins where the rig stands. */
static struct plain plain_new(const struct rig *rig)
{
    const struct dpt_plan *plan = rig->plan;
    struct plain plain = {.rig = rig, .nparams = plan->nparams};
    plain.param = calloc((size_t)plan->nparams, sizeof *plain.param);
    assert_non_null(plain.param);
    for (int i = 0; i < plan->nparams; i++) {
        const struct dpt_tensor tensor = dpt_state_tensor(rig->state, plan->param[i].value);
        struct plain_param *param = &plain.param[i];
        param->name = rig->graph->value[plan->param[i].value].name;
        param->numel = dpt_type_numel(&tensor.type);
        param->p = numbers(param->numel);
        param->m = numbers(param->numel);
        param->v = numbers(param->numel);
        for (int64_t e = 0; e < param->numel; e++) {
            param->p[e] = rig_get(&tensor, e);
        }
    }
    return plain;
}

static void plain_free(struct plain *plain)
{
    for (int i = 0; i < plain->nparams; i++) {
        free(plain->param[i].p);
        free(plain->param[i].m);
        free(plain->param[i].v);
    }
    free(plain->param);
}

/* Puts samples and parameters into an interpreter of `graph`. `epoch` -1: stored order. */
static void plain_fill(const struct plain *plain, struct interpret *run, int64_t epoch, int64_t first)
{
    const struct dpt_graph *graph = run->graph;
    const int64_t rows = graph->rows, numel = dpt_type_numel(&graph->value[graph->input].type);
    float *x = malloc((size_t)numel * sizeof *x);
    int32_t *target = malloc((size_t)rows * sizeof *target); /* or as many floats */
    assert_non_null(x);
    assert_non_null(target);
    EXPECT_OK(dpt_data_fetch(plain->rig->data, epoch, first, rows, x, target));
    for (int64_t e = 0; e < numel; e++) {
        interpret_set(run, graph->input, e, (double)x[e]);
    }
    for (int64_t e = 0; e < rows; e++) {
        float real;
        memcpy(&real, &target[e], sizeof real);
        interpret_set(run, graph->target, e, plain->rig->io.classes ? (double)target[e] : (double)real);
    }
    free(x);
    free(target);
    for (int i = 0; i < plain->nparams; i++) {
        const int value = dpt_graph_find(graph, plain->param[i].name);
        assert_true(value >= 0);
        for (int64_t e = 0; e < plain->param[i].numel; e++) {
            interpret_set(run, value, e, plain->param[i].p[e]);
        }
    }
}

/* One element: the update rules as the papers have them. */
static void plain_update(const struct plain *plain, const struct dpt_value *value, struct plain_param *param, int64_t e,
                         double g)
{
    const struct dpt_job *job = plain->rig->job;
    const double lr = job->optimizer.lr, u = (double)(plain->step + 1);
    const double decay = value->decay || job->optimizer.decay_all ? job->optimizer.weight_decay : 0.0;
    if (value->kind == DPT_VALUE_KIND_BUFFER) {
        param->p[e] = (1.0 - value->rate) * param->p[e] + value->rate * g;
    } else if (job->optimizer.type == DPT_OPTIMIZER_TYPE_SGD) {
        const double momentum = job->optimizer.momentum, d = g + decay * param->p[e];
        param->m[e] = momentum * param->m[e] + d;
        param->p[e] -= lr * (job->optimizer.nesterov ? d + momentum * param->m[e] : param->m[e]);
    } else {
        const double b1 = job->optimizer.beta1, b2 = job->optimizer.beta2;
        param->p[e] -= lr * decay * param->p[e];
        param->m[e] = b1 * param->m[e] + (1.0 - b1) * g;
        param->v[e] = b2 * param->v[e] + (1.0 - b2) * g * g;
        param->p[e] -= lr * (param->m[e] / (1.0 - pow(b1, u))) /
                       (sqrt(param->v[e] / (1.0 - pow(b2, u))) + job->optimizer.eps);
    }
}

/* One step; the sum of losses and the norm of the gradient. */
static void plain_train(struct plain *plain, double *loss, double *norm)
{
    const struct rig *rig = plain->rig;
    const struct dpt_batch_place place =
        dpt_batch_place(dpt_data_info(rig->data)->samples, rig->job->batch.global, plain->step);
    struct dpt_graph *graph = rig_graph(rig, place.count, true, false);
    struct interpret *run = interpret_new(graph, 2);
    run->ctx.seed = (uint64_t)rig->job->run.seed;
    run->ctx.step = (uint64_t)plain->step;
    plain_fill(plain, run, place.epoch, place.first);
    interpret_run(run, DPT_PHASE_WEIGHT_GRADIENT);
    *loss = interpret_loss(run) * (double)place.count;
    double square = 0.0;
    for (int v = 0; v < graph->nvalues; v++) {
        const int g = graph->value[v].kind == DPT_VALUE_KIND_PARAM ? graph->value[v].gradient : -1;
        for (int64_t e = 0; g >= 0 && e < dpt_type_numel(&graph->value[v].type); e++) {
            square += interpret_get(run, g, e) * interpret_get(run, g, e);
        }
    }
    *norm = sqrt(square);
    const double clip = rig->job->optimizer.clip, scale = clip > 0.0 && *norm > clip ? clip / *norm : 1.0;
    for (int i = 0; i < plain->nparams; i++) {
        const struct dpt_value *value = &graph->value[dpt_graph_find(graph, plain->param[i].name)];
        const double c = value->kind == DPT_VALUE_KIND_PARAM ? scale : 1.0;
        for (int64_t e = 0; e < plain->param[i].numel; e++) {
            plain_update(plain, value, &plain->param[i], e, c * interpret_get(run, value->gradient, e));
        }
    }
    plain->step++;
    interpret_free(run);
    dpt_graph_free(graph);
}

/* max |x - y| / max |y| against a tensor of the rig. */
static void expect_numbers(const char *name, const struct dpt_tensor *x, const double *y)
{
    double most = 0.0, largest = 0.0;
    for (int64_t e = 0; e < dpt_type_numel(&x->type); e++) {
        assert_false(isnan(rig_get(x, e)));
        most = fmax(most, fabs(rig_get(x, e) - y[e]));
        largest = fmax(largest, fabs(y[e]));
    }
    if (!(most <= tolerance * largest)) {
        fail_msg("%s: differs by %.3g of %.3g", name, most, largest);
    }
}

static void expect_same_state(const struct rig *rig, const struct plain *plain)
{
    for (int i = 0; i < plain->nparams; i++) {
        const struct dpt_plan_param *at = &rig->plan->param[i];
        const struct dpt_tensor p = dpt_state_tensor(rig->state, at->value);
        expect_numbers(plain->param[i].name, &p, plain->param[i].p);
        for (int k = 0; k < at->nslots; k++) {
            const struct dpt_tensor slot = dpt_state_tensor(rig->state, at->slot[k]);
            expect_numbers(rig->graph->value[at->slot[k]].name, &slot, k == 0 ? plain->param[i].m : plain->param[i].v);
        }
    }
}

/* ------------------------------------------------------------------------------------------------------ training */

/* `steps` steps of a job both ways. */
static void expect_plain_training(const char *job, int steps)
{
    struct rig *rig = rig_new(job, NULL, NULL, DPT_RUN_CPU);
    struct plain plain = plain_new(rig);
    for (int i = 0; i < steps; i++) {
        double loss, norm;
        plain_train(&plain, &loss, &norm);
        const struct dpt_exec_step step = rig_train(rig);
        assert_true(step.finite);
        expect_close("loss", step.metric[0], loss);
        expect_close("norm of the gradient", step.grad_norm, norm);
    }
    assert_int_equal(rig->state->step, steps);
    assert_int_equal(rig->state->updates, steps);
    expect_same_state(rig, &plain);
    plain_free(&plain);
    rig_free(rig);
}

static void mlp_is_trained_as_written(void **state)
{
    (void)state;
    expect_plain_training(RIG_FP64 RIG_MLP RIG_BATCH("45", "1") RIG_SGD, 4);
    expect_plain_training(RIG_FP64 RIG_MLP RIG_BATCH("13", "1") RIG_SGD, 9); /* 13 13 13 6: a short last batch */
    expect_plain_training(RIG_FP64 RIG_MLP RIG_BATCH("13", "1") RIG_ADAMW, 5);
}

static void regression_is_trained_as_written(void **state)
{
    (void)state;
    expect_plain_training(RIG_FP64 RIG_REGRESSION RIG_BATCH("10", "1") RIG_ADAMW, 6);
    expect_plain_training(RIG_FP64 RIG_REGRESSION RIG_BATCH("10", "1") RIG_SGD, 6);
}

static void cnn_is_trained_as_written(void **state)
{
    (void)state;
    expect_plain_training(RIG_FP64 RIG_CNN RIG_BATCH("12", "1") RIG_SGD, 5);
}

static void resnet_is_trained_as_written(void **state)
{
    (void)state;
    expect_plain_training(RIG_FP64 RIG_RESNET RIG_BATCH("14", "1") RIG_SGD, 4);
}

static void layers_are_trained_as_written(void **state)
{
    (void)state;
    expect_plain_training(RIG_FP64 RIG_LAYERS RIG_BATCH("12", "1") RIG_SGD, 5);
    expect_plain_training(RIG_FP64 RIG_LAYERS RIG_BATCH("12", "1") RIG_ADAMW "decay_all = yes\n", 4);
}

/* The whole batch at once is what every number of pieces is compared with. */
static void micro_batches_change_nothing(void **state)
{
    (void)state;
    expect_plain_training(RIG_FP64 RIG_MLP RIG_BATCH("13", "3") RIG_SGD, 5);
    expect_plain_training(RIG_FP64 RIG_MLP RIG_BATCH("13", "13") RIG_SGD, 4); /* the short batch has empty ones */
    expect_plain_training(RIG_FP64 RIG_CNN RIG_BATCH("12", "3") RIG_SGD, 4);
    expect_plain_training(RIG_FP64 RIG_REGRESSION RIG_BATCH("10", "4") RIG_ADAMW, 5);
    expect_plain_training(RIG_FP64 "reproducible = yes\n" RIG_MLP RIG_BATCH("13", "1") RIG_SGD, 5);
}

static void gradients_are_clipped_by_their_norm(void **state)
{
    (void)state;
    expect_plain_training(RIG_FP64 RIG_MLP RIG_BATCH("13", "2") RIG_SGD "clip = 0.05\n", 5);
    expect_plain_training(RIG_FP64 RIG_MLP RIG_BATCH("13", "2") RIG_SGD "clip = 1000\n", 3);
    expect_plain_training(RIG_FP64 RIG_RESNET RIG_BATCH("14", "1") RIG_SGD "clip = 0.1\n", 2);
}

/* The fast kernels in float stay near the plain ones in double. */
static void float_is_near_double(void **state)
{
    (void)state;
    const char *const jobs[][2] = {
        {RIG_FP32 RIG_MLP RIG_BATCH("13", "1") RIG_SGD, RIG_FP64 RIG_MLP RIG_BATCH("13", "1") RIG_SGD},
        {RIG_FP32 RIG_CNN RIG_BATCH("12", "2") RIG_SGD, RIG_FP64 RIG_CNN RIG_BATCH("12", "2") RIG_SGD},
        {RIG_FP32 RIG_REGRESSION RIG_BATCH("9", "1") RIG_ADAMW, RIG_FP64 RIG_REGRESSION RIG_BATCH("9", "1") RIG_ADAMW},
    };
    for (size_t i = 0; i < sizeof jobs / sizeof jobs[0]; i++) {
        struct rig *single = rig_new(jobs[i][0], NULL, NULL, DPT_RUN_CPU);
        struct rig *precise = rig_new(jobs[i][1], NULL, NULL, DPT_RUN_REF);
        for (int s = 0; s < 4; s++) {
            const struct dpt_exec_step a = rig_train(single), b = rig_train(precise);
            assert_true(fabs(a.metric[0] - b.metric[0]) <= 1e-4 * b.metric[0]);
            assert_true(fabs(a.grad_norm - b.grad_norm) <= 1e-3 * b.grad_norm);
        }
        assert_true(rig_distance(single, precise) < 5e-3);
        rig_free(single);
        rig_free(precise);
    }
}

/* Writes element i of a flat buffer; returns what was there. */
static double exchange_element(const struct rig *rig, void *flat, int64_t i, double value)
{
    if (rig->plan->graph->real == DPT_DTYPE_F64) {
        const double before = ((double *)flat)[i];
        ((double *)flat)[i] = value;
        return before;
    }
    const float before = ((float *)flat)[i];
    ((float *)flat)[i] = (float)value;
    return before;
}

static void check_poison(const char *job, double poison)
{
    struct rig *rig = rig_new(job, NULL, NULL, DPT_RUN_CPU);
    rig_train(rig);
    void *p = rig->state->param;
    /* the last parameter in flat order belongs to the first layer: a relu stands behind it */
    const int64_t at = rig->plan->param[rig->plan->nparams - 1].offset;
    const double before = exchange_element(rig, p, at, poison);
    const size_t nbytes = (size_t)rig->plan->nflat * dpt_dtype_nbytes(rig->plan->graph->real);
    void *params = malloc(nbytes), *slots = malloc(nbytes);
    assert_non_null(params);
    assert_non_null(slots);
    memcpy(params, p, nbytes);
    memcpy(slots, rig->state->slot[0], nbytes);
    const struct dpt_exec_step bad = rig_train(rig);
    assert_false(bad.finite);
    assert_memory_equal(params, p, nbytes);
    assert_memory_equal(slots, rig->state->slot[0], nbytes);
    assert_int_equal(rig->state->step, 2);
    assert_int_equal(rig->state->updates, 1);
    exchange_element(rig, p, at, before);
    assert_true(rig_train(rig).finite); /* nothing of the bad step is left in the buffers */
    assert_int_equal(rig->state->updates, 2);
    free(params);
    free(slots);
    rig_free(rig);
}

static void numbers_that_are_not_finite_update_nothing(void **state)
{
    (void)state;
    const double poison[] = {(double)INFINITY, (double)NAN};
    for (int k = 0; k < 2; k++) {
        check_poison(RIG_FP64 RIG_MLP RIG_BATCH("13", "1") RIG_SGD "clip = 1\n", poison[k]);
        check_poison(RIG_MLP RIG_BATCH("13", "1") RIG_SGD "clip = 1\n", poison[k]);
    }
}

/* The losses are finite and so is each gradient, but not the sum of the squares. */
static void a_norm_that_overflows_updates_nothing(void **state)
{
    (void)state;
    struct rig *rig = rig_new(RIG_FP64 RIG_REGRESSION RIG_BATCH("10", "1") RIG_SGD, NULL, NULL, DPT_RUN_CPU);
    const struct dpt_tensor w = dpt_state_tensor(rig->state, dpt_graph_find(rig->graph, "fc2.weight"));
    for (int64_t e = 0; e < dpt_type_numel(&w.type); e++) {
        ((double *)w.data)[e] *= 1e152;
    }
    const uint64_t before = dpt_state_hash(rig->state);
    const struct dpt_exec_step step = rig_train(rig);
    assert_true(isfinite(step.metric[0]));
    assert_false(step.finite);
    assert_true(dpt_state_hash(rig->state) == before);
    rig_free(rig);
}

/* Adam's first update moves each number by the rate, whatever its gradient; a step without update is none. */
static void updates_are_counted_not_steps(void **state)
{
    (void)state;
    struct rig *rig = rig_new(RIG_FP64 RIG_REGRESSION RIG_BATCH("10", "1") RIG_ADAMW, NULL, NULL, DPT_RUN_CPU);
    double *p = rig->state->param;
    const double before = p[0];
    p[0] = (double)NAN;
    assert_false(rig_train(rig).finite);
    p[0] = before;
    assert_true(rig_train(rig).finite);
    const struct dpt_plan_param *param = &rig->plan->param[0];
    const double decay = rig->graph->value[param->value].decay ? rig->job->optimizer.weight_decay : 0.0;
    const double lr = rig->job->optimizer.lr;
    expect_near("first update", fabs(p[0] - before * (1.0 - lr * decay)), lr, 1e-4);
    rig_free(rig);
}

static void flags_come_back_summed(void **state)
{
    (void)state;
    struct rig *rig = rig_new(RIG_FP64 RIG_MLP RIG_BATCH("13", "1") RIG_SGD, NULL, NULL, DPT_RUN_CPU);
    struct dpt_exec_step step = {.lr = 0.1, .flag = {1.0, 0.0, 3.0, 0.0}};
    EXPECT_OK(dpt_exec_train(rig->exec, rig->loader, &step));
    assert_true(step.flag[0] == 1.0 && step.flag[1] == 0.0 && step.flag[2] == 3.0 && step.flag[3] == 0.0);
    assert_true(step.metric[3] == 13.0); /* samples */
    for (int i = 4; i < DPT_EXEC_METRICS; i++) {
        assert_true(step.metric[i] == 0.0);
    }
    const double *seconds = dpt_exec_seconds(rig->exec);
    for (int s = 0; s < DPT_SECTION_COUNT; s++) {
        assert_true(seconds[s] >= 0.0);
    }
    assert_true(seconds[DPT_SECTION_FORWARD] > 0.0 && seconds[DPT_SECTION_BACKWARD] > 0.0);
    rig_free(rig);
}

/* --------------------------------------------------------------------------------------------------- first values */

/* The first values of a job when `rank` of `ranks` has it, in buckets of so many bytes. */
static struct dpt_state *first_state(const struct rig *rig, const struct dpt_graph *graph, int ranks, int rank,
                                     int64_t bucket_bytes, struct dpt_plan **plan)
{
    const struct dpt_mesh mesh = rig_mesh(ranks, rank);
    struct dpt_plan_conf conf = rig_plan_conf(rig);
    struct dpt_state *state;
    conf.mesh = &mesh;
    conf.bucket_bytes = bucket_bytes;
    EXPECT_OK(dpt_plan_new(graph, &conf, plan));
    EXPECT_OK(dpt_state_new(*plan, rig->dev, (uint64_t)rig->job->run.seed, &state));
    return state;
}

static void first_values_are_those_of_the_name(void **state)
{
    (void)state;
    struct rig *rig = rig_new(RIG_FP32 RIG_RESNET RIG_BATCH("14", "1") RIG_SGD, NULL, NULL, DPT_RUN_REF);
    struct dpt_plan *plan;
    struct dpt_graph *plain = rig_graph(rig, 14, true, false); /* other nodes, another order of values */
    struct dpt_state *other = first_state(rig, plain, 4, 3, 1000, &plan);
    for (int v = 0; v < rig->graph->nvalues; v++) {
        const struct dpt_value *value = &rig->graph->value[v];
        if (value->kind == DPT_VALUE_KIND_PARAM || value->kind == DPT_VALUE_KIND_BUFFER) {
            const struct dpt_tensor a = dpt_state_tensor(rig->state, v);
            const struct dpt_tensor b = dpt_state_tensor(other, dpt_graph_find(plain, value->name));
            assert_memory_equal(a.data, b.data, dpt_type_nbytes(&a.type));
        }
    }
    dpt_state_free(other);
    dpt_plan_free(plan);
    dpt_graph_free(plain);

    struct dpt_state *same, *seeded;
    EXPECT_OK(dpt_state_new(rig->plan, rig->dev, 5, &same));
    EXPECT_OK(dpt_state_new(rig->plan, rig->dev, 6, &seeded));
    assert_true(dpt_state_hash(same) == dpt_state_hash(rig->state));
    assert_true(dpt_state_hash(seeded) != dpt_state_hash(rig->state));
    dpt_state_free(same);
    dpt_state_free(seeded);
    rig_free(rig);
}

/* Mean, deviation and bounds of what was drawn; places drawn together or with one another's key would be equal. */
static void expect_spread(const struct dpt_value *value, const struct dpt_tensor *x)
{
    const int64_t n = dpt_type_numel(&x->type), lags[] = {1, 2, 3, 4, 256, 512, 1024};
    const bool normal = value->init.kind == DPT_INIT_KIND_NORMAL;
    const double deviation = normal ? value->init.scale : value->init.scale / sqrt(3.0);
    double sum = 0.0, squares = 0.0, most = 0.0;
    for (int64_t e = 0; e < n; e++) {
        const double y = rig_get(x, e);
        sum += y;
        squares += y * y;
        most = fmax(most, fabs(y));
    }
    assert_true(most <= value->init.scale * (normal ? 6.0 : 1.0));
    assert_true(fabs(sum / (double)n) <= 5.0 * deviation / sqrt((double)n));
    assert_true(fabs(squares / (double)n / (deviation * deviation) - 1.0) <= 5.0 * sqrt(2.0 / (double)n));
    for (size_t k = 0; k < sizeof lags / sizeof lags[0]; k++) {
        int equal = 0;
        for (int64_t e = 0; e + lags[k] < n; e++) {
            equal += rig_get(x, e) == rig_get(x, e + lags[k]);
        }
        assert_true(equal <= 1 + n / 10000);
    }
}

static void first_values_have_the_right_spread(void **state)
{
    (void)state;
    const char *const jobs[] = {
        RIG_FP32 RIG_RESNET RIG_BATCH("14", "1") RIG_SGD,
        RIG_FP64 RIG_RESNET RIG_BATCH("14", "1") RIG_SGD,
        RIG_FP64 "[model]\ntype = mlp\nwidths = 61\n" RIG_DATA("101", "10") RIG_BATCH("14", "1") RIG_SGD,
    };
    int kinds[3] = {0};
    for (size_t j = 0; j < sizeof jobs / sizeof jobs[0]; j++) {
        struct rig *rig = rig_new(jobs[j], NULL, NULL, DPT_RUN_REF);
        double first[256];
        int count = 0;
        for (int i = 0; i < rig->plan->nparams; i++) {
            const struct dpt_value *value = &rig->graph->value[rig->plan->param[i].value];
            const struct dpt_tensor x = dpt_state_tensor(rig->state, rig->plan->param[i].value);
            kinds[value->init.kind]++;
            if (value->init.kind == DPT_INIT_KIND_CONST) {
                for (int64_t e = 0; e < dpt_type_numel(&x.type); e++) {
                    assert_true(rig_get(&x, e) == value->init.scale);
                }
                continue;
            }
            expect_spread(value, &x);
            first[count] = rig_get(&x, 0) / value->init.scale; /* no two parameters draw the same */
            for (int k = 0; k < count; k++) {
                assert_true(first[k] != first[count]);
            }
            count++;
        }
        rig_free(rig);
    }
    assert_true(kinds[DPT_INIT_KIND_CONST] > 10 && kinds[DPT_INIT_KIND_NORMAL] > 10);
    assert_true(kinds[DPT_INIT_KIND_UNIFORM] > 5);
}

/* ------------------------------------------------------------------------------------------------------ evaluation */

/* What evaluation must give for class or real targets, from the outputs of the plain graph of all samples. */
static void plain_metrics(const struct interpret *run, int64_t classes, double want[DPT_EXEC_METRICS])
{
    const struct dpt_graph *graph = run->graph;
    const int64_t width = graph->value[graph->output].type.dim[1];
    memset(want, 0, DPT_EXEC_METRICS * sizeof *want);
    for (int64_t i = 0; i < graph->rows; i++) {
        const double target = interpret_get(run, graph->target, i);
        if (!classes) {
            const double y = interpret_get(run, graph->output, i), error = y - target;
            const double sums[6] = {error * error, error * error, target, target * target, 1.0, 1.0};
            for (int k = 0; k < 6; k++) {
                want[k] += sums[k];
            }
            continue;
        }
        double sum = 0.0, right = interpret_get(run, graph->output, i * width + (int64_t)target);
        int above = 0;
        for (int64_t v = 0; v < width; v++) {
            const double x = interpret_get(run, graph->output, i * width + v);
            sum += exp(x - right);
            above += x > right;
        }
        want[0] += log(sum);
        want[1] += above == 0;
        want[2] += above < 5;
        want[3] += 1.0;
    }
}

struct collected {
    int64_t next;   /* sample expected next */
    int64_t width;
    double value[45 * 8];
};

/* Keeps the predictions, which must come in order. */
static enum dpt_status collect(void *user, const struct dpt_batch *batch, const struct dpt_tensor *output)
{
    struct collected *to = user;
    assert_int_equal(output->type.dim[0], batch->rows);
    assert_int_equal(output->type.ndim, 2);
    to->width = output->type.dim[1];
    for (int64_t e = 0; e < dpt_type_numel(&output->type); e++) {
        to->value[to->next * to->width + e] = rig_get(output, e);
    }
    to->next += batch->rows;
    return DPT_STATUS_OK;
}

/* `share`: ask for the blocks of the training; `fits`: they are large enough. */
static void expect_plain_evaluation(const char *job, int64_t batch, bool share, bool fits)
{
    struct rig *rig = rig_new(job, NULL, NULL, DPT_RUN_CPU);
    struct rig_eval eval;
    const uint64_t before = rig->dev->nbytes;
    rig_eval_new(rig, batch, share, &eval);
    assert_true((share && fits) == (rig->dev->nbytes == before));
    assert_true((share && fits) == (eval.exec->block == rig->exec->block && eval.exec->scratch == rig->exec->scratch));
    rig_train(rig);
    rig_train(rig);

    struct dpt_graph *graph = rig_graph(rig, 45, false, false);
    struct interpret *run = interpret_new(graph, 2);
    struct plain plain = plain_new(rig);
    plain_fill(&plain, run, -1, 0);
    interpret_run(run, DPT_PHASE_FORWARD);
    double want[DPT_EXEC_METRICS], got[DPT_EXEC_METRICS];
    plain_metrics(run, rig->io.classes, want);

    struct collected collected = {0};
    for (int k = 0; k < 2; k++) { /* a second pass, without training between, is the same */
        collected.next = 0;
        rig_evaluate(rig, &eval, got, k == 0 ? collect : NULL, &collected);
        for (int i = 0; i < DPT_EXEC_METRICS; i++) {
            expect_close("metric", got[i], want[i]);
        }
    }
    collected.next = 0;
    rig_evaluate(rig, &eval, got, collect, &collected);
    assert_int_equal(collected.next, 45);
    for (int64_t e = 0; e < 45 * collected.width; e++) {
        assert_true(fabs(collected.value[e] - interpret_get(run, graph->output, e)) <= 1e-12);
    }
    /* An evaluation between steps leaves the training alone. */
    struct rig *undisturbed = rig_new(job, NULL, NULL, DPT_RUN_CPU);
    rig_train(rig);
    for (int i = 0; i < 3; i++) {
        rig_train(undisturbed);
    }
    assert_true(dpt_state_hash(rig->state) == dpt_state_hash(undisturbed->state));
    plain_free(&plain);
    interpret_free(run);
    dpt_graph_free(graph);
    rig_eval_free(&eval);
    rig_free(rig);
    rig_free(undisturbed);
}

static void evaluation_is_plain(void **state)
{
    (void)state;
    expect_plain_evaluation(RIG_FP64 RIG_MLP RIG_BATCH("13", "1") RIG_SGD, 45, false, true);
    expect_plain_evaluation(RIG_FP64 RIG_MLP RIG_BATCH("13", "1") RIG_SGD, 11, true, true); /* 11 11 11 11 1 */
    expect_plain_evaluation(RIG_FP64 RIG_REGRESSION RIG_BATCH("10", "2") RIG_SGD, 4, true, true);
    expect_plain_evaluation(RIG_FP64 RIG_CNN RIG_BATCH("12", "1") RIG_SGD, 7, true, true);
    expect_plain_evaluation(RIG_FP64 RIG_RESNET RIG_BATCH("14", "1") RIG_SGD, 8, true, true);
    expect_plain_evaluation(RIG_FP64 RIG_LAYERS RIG_BATCH("14", "1") RIG_SGD, 8, true, true);
    expect_plain_evaluation(RIG_FP64 RIG_CNN RIG_BATCH("1", "1") RIG_SGD, 45, true, false);
    expect_plain_evaluation(RIG_FP64 "reproducible = yes\n" RIG_MLP RIG_BATCH("13", "1") RIG_SGD, 11, false, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mlp_is_trained_as_written),
        cmocka_unit_test(regression_is_trained_as_written),
        cmocka_unit_test(cnn_is_trained_as_written),
        cmocka_unit_test(resnet_is_trained_as_written),
        cmocka_unit_test(layers_are_trained_as_written),
        cmocka_unit_test(micro_batches_change_nothing),
        cmocka_unit_test(gradients_are_clipped_by_their_norm),
        cmocka_unit_test(float_is_near_double),
        cmocka_unit_test(numbers_that_are_not_finite_update_nothing),
        cmocka_unit_test(a_norm_that_overflows_updates_nothing),
        cmocka_unit_test(updates_are_counted_not_steps),
        cmocka_unit_test(flags_come_back_summed),
        cmocka_unit_test(first_values_are_those_of_the_name),
        cmocka_unit_test(first_values_have_the_right_spread),
        cmocka_unit_test(evaluation_is_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
