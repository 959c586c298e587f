/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Training on several ranks against the same training that each rank does alone as well: losses, norms, parameters,
 * slots and running statistics are the same up to the order of sums, whatever way the ranks and micro-batches cut the
 * batch.
 */

#include "../comm/world.h"
#include "rig.h"

#include <math.h>

enum { STEPS = 5 }; /* over the end of an epoch */

/* Both trainings of a job. */
struct pair {
    struct dpt_exchange *exchange;
    struct rig *together, *alone;
};

/* How gradients travel in the trainings together: through memory, or as if ranks were hosts. */
static enum dpt_exchange_path path;
static int node_ranks;

static struct pair pair_new(const char *job, bool thread, enum dpt_run run)
{
    struct pair pair;
    struct dpt_mesh mesh;
    EXPECT_OK(dpt_mesh_data(world, &mesh));
    const struct dpt_exchange_conf conf = {
        .comm = world,
        .thread = thread ? DPT_EXCHANGE_THREAD_ON : DPT_EXCHANGE_THREAD_OFF,
        .path = path,
        .node_ranks = node_ranks,
    };
    EXPECT_OK(dpt_exchange_new(&conf, &pair.exchange));
    pair.together = rig_new(job, &mesh, pair.exchange, run);
    pair.alone = rig_new(job, NULL, NULL, run);
    return pair;
}

static void pair_free(struct pair *pair)
{
    rig_free(pair->together);
    rig_free(pair->alone);
    dpt_exchange_free(pair->exchange);
}

static void expect_close(const char *what, double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance * fabs(b))) {
        fail_msg("%s: %.17g on %d ranks, %.17g alone", what, a, dpt_comm_size(world), b);
    }
}

/* The same bits on all ranks. */
static void expect_replicas(const struct rig *rig)
{
    const int64_t hash = (int64_t)dpt_state_hash(rig->state);
    int64_t least = hash, most = hash;
    EXPECT_OK(dpt_comm_allreduce(world, &least, 1, DPT_DTYPE_I64, DPT_COMM_REDUCE_MIN));
    EXPECT_OK(dpt_comm_allreduce(world, &most, 1, DPT_DTYPE_I64, DPT_COMM_REDUCE_MAX));
    assert_true(least == most);
}

static void expect_same_within(double tolerance, const char *job, bool thread)
{
    struct pair pair = pair_new(job, thread, DPT_RUN_CPU);
    for (int i = 0; i < STEPS; i++) {
        const struct dpt_exec_step a = rig_train(pair.together), b = rig_train(pair.alone);
        for (int k = 0; k < DPT_EXEC_METRICS; k++) {
            expect_close("metric", a.metric[k], b.metric[k], tolerance);
        }
        expect_close("norm of the gradient", a.grad_norm, b.grad_norm, tolerance);
        assert_true(a.finite);
    }
    expect_replicas(pair.together);
    const double distance = rig_distance(pair.together, pair.alone);
    if (!(distance <= tolerance)) {
        fail_msg("the states differ by %.3g", distance);
    }
    pair_free(&pair);
}

static void expect_same_training(const char *job, bool thread)
{
    expect_same_within(1e-12, job, thread);
}

static void mlp_is_the_same_on_any_ranks(void **state)
{
    (void)state;
    for (int thread = 0; thread < 2; thread++) {
        expect_same_training(RIG_FP64 RIG_MLP RIG_BATCH("13", "1") RIG_SGD, thread);
        expect_same_training(RIG_FP64 RIG_MLP RIG_BATCH("22", "2") RIG_ADAMW, thread); /* a last batch of 1 */
        expect_same_training(RIG_FP64 RIG_MLP RIG_BATCH("2", "1") RIG_SGD "[parallel]\nbucket = 200 B\n", thread);
    }
    expect_same_training(RIG_FP64 RIG_REGRESSION RIG_BATCH("10", "3") RIG_ADAMW "clip = 0.2\n", false);
}

static void cnn_is_the_same_on_any_ranks(void **state)
{
    (void)state;
    expect_same_training(RIG_FP64 RIG_CNN RIG_BATCH("11", "1") RIG_SGD "[parallel]\nbucket = 1000 B\n", true);
    expect_same_training(RIG_FP64 RIG_CNN RIG_BATCH("11", "2") RIG_SGD, false);
}

static void layers_are_the_same_on_any_ranks(void **state)
{
    (void)state;
    expect_same_training(RIG_FP64 RIG_LAYERS RIG_BATCH("14", "1") RIG_ADAMW "[parallel]\nbucket = 300 B\n", true);
}

/*
 * The statistics are those of the whole micro-batch. With pieces the short batch has one of a single sample, 4 numbers
 * a channel in the last stage: there a change of every weight by one part in 2^52 moves the state by 2e-12 alone.
 */
static void resnet_is_the_same_on_any_ranks(void **state)
{
    (void)state;
    expect_same_training(RIG_FP64 RIG_RESNET RIG_BATCH("14", "1") RIG_SGD "[parallel]\nbucket = 20000 B\n", true);
    expect_same_within(2e-11, RIG_FP64 RIG_RESNET RIG_BATCH("14", "2") RIG_SGD, false);
}

/* Each rank its own statistics: no longer the training of one rank, but still one training. */
static void local_statistics_leave_replicas_equal(void **state)
{
    (void)state;
    const char *job = RIG_FP64 "[model]\ntype = resnet\ndepth = 20\nbatch_norm = local\n" RIG_DATA("8 8 1", "3")
        RIG_BATCH("14", "1") RIG_SGD;
    struct pair pair = pair_new(job, false, DPT_RUN_CPU);
    for (int i = 0; i < STEPS; i++) {
        assert_true(rig_train(pair.together).finite && rig_train(pair.alone).finite);
    }
    expect_replicas(pair.together);
    const double distance = rig_distance(pair.together, pair.alone);
    assert_true(dpt_comm_size(world) == 1 ? distance == 0.0 : distance > 1e-6);
    pair_free(&pair);
}

/* The kernels of practice, in float. */
static void float_is_close_on_any_ranks(void **state)
{
    (void)state;
    struct pair pair = pair_new(RIG_FP32 RIG_CNN RIG_BATCH("22", "1") RIG_SGD, true, DPT_RUN_CPU);
    for (int i = 0; i < STEPS; i++) {
        const struct dpt_exec_step a = rig_train(pair.together), b = rig_train(pair.alone);
        expect_close("loss", a.metric[0], b.metric[0], 1e-4);
        expect_close("norm of the gradient", a.grad_norm, b.grad_norm, 1e-3);
    }
    expect_replicas(pair.together);
    pair_free(&pair);
}

static void all_ranks_decide_alike(void **state)
{
    (void)state;
    path = DPT_EXCHANGE_PATH_FLAT; /* a number on one rank only needs parameters of its own */
    struct pair pair = pair_new(RIG_FP64 RIG_MLP RIG_BATCH("22", "1") RIG_SGD, false, DPT_RUN_CPU);
    path = DPT_EXCHANGE_PATH_AUTO;
    const int rank = dpt_comm_rank(world), size = dpt_comm_size(world);
    struct rig *rig = pair.together;
    struct dpt_exec_step step = {.lr = 0.1, .flag = {rank + 1.0, 0.0, 0.0, rank == size - 1 ? 1.0 : 0.0}};
    EXPECT_OK(dpt_exec_train(rig->exec, rig->loader, &step));
    assert_true(step.flag[0] == size * (size + 1) / 2.0 && step.flag[1] == 0.0 && step.flag[3] == 1.0);

    /* A number that is not finite on one rank stops the update of all. */
    double *p = rig->state->param;
    const double before = p[2];
    p[2] = rank == size - 1 ? (double)NAN : before;
    step.flag[0] = 1.0;
    EXPECT_OK(dpt_exec_train(rig->exec, rig->loader, &step));
    assert_false(step.finite);
    assert_true(step.flag[0] == size);
    p[2] = before;
    expect_replicas(rig);
    assert_int_equal(rig->state->step, 2);
    assert_int_equal(rig->state->updates, 1);
    assert_true(rig_train(rig).finite);
    expect_replicas(rig);
    pair_free(&pair);
}

/* One copy of the state: a gradient that is not finite on one rank leaves it as it was. */
static void common_state_is_left_alone(void **state)
{
    (void)state;
    struct pair pair = pair_new(RIG_FP64 RIG_MLP RIG_BATCH("22", "1") RIG_SGD, false, DPT_RUN_CPU);
    struct rig *rig = pair.together;
    assert_true(rig->state->common == (dpt_comm_size(world) > 1));
    assert_true(rig_train(rig).finite);
    const uint64_t before = dpt_state_hash(rig->state);
    struct dpt_exec_step step = {.lr = 0.1};
    double *p = rig->state->param;
    const double kept = p[2];
    EXPECT_OK(dpt_comm_barrier(world));
    p[2] = (double)NAN;
    EXPECT_OK(dpt_exec_train(rig->exec, rig->loader, &step));
    assert_false(step.finite);
    EXPECT_OK(dpt_comm_barrier(world));
    p[2] = kept;
    EXPECT_OK(dpt_comm_barrier(world));
    assert_true(dpt_state_hash(rig->state) == before);
    assert_true(rig_train(rig).finite);
    expect_replicas(rig);
    pair_free(&pair);
}

static void evaluation_is_the_same_on_any_ranks(void **state);

static void by_messages_too(void **state)
{
    path = DPT_EXCHANGE_PATH_FLAT;
    mlp_is_the_same_on_any_ranks(state);
    cnn_is_the_same_on_any_ranks(state);
    evaluation_is_the_same_on_any_ranks(state);
    path = DPT_EXCHANGE_PATH_AUTO;
}

/* Two ranks a host, where they come out even: every host updates its copy, alike. */
static void on_several_hosts_too(void **state)
{
    node_ranks = 2;
    mlp_is_the_same_on_any_ranks(state);
    resnet_is_the_same_on_any_ranks(state);
    node_ranks = 0;
}

/* -------------------------------------------------------------------------------------------------- evaluation */

/* How often each sample was put out. */
static enum dpt_status count_samples(void *user, const struct dpt_batch *batch, const struct dpt_tensor *output)
{
    float *count = user;
    assert_int_equal(output->type.dim[0], batch->rows);
    for (int64_t i = 0; i < batch->rows; i++) {
        count[batch->step * 11 + batch->first_row + i] += 1.0f;
    }
    return DPT_STATUS_OK;
}

static void evaluation_is_the_same_on_any_ranks(void **state)
{
    (void)state;
    const char *const jobs[] = {
        RIG_FP64 RIG_RESNET RIG_BATCH("14", "1") RIG_SGD,
        RIG_FP64 RIG_REGRESSION RIG_BATCH("10", "1") RIG_SGD,
    };
    for (int j = 0; j < 2; j++) {
        struct pair pair = pair_new(jobs[j], j, DPT_RUN_CPU);
        struct rig_eval together, alone;
        rig_eval_new(pair.together, 11, true, &together); /* 11 11 11 11 1 */
        rig_eval_new(pair.alone, 45, false, &alone);
        rig_train(pair.together);
        rig_train(pair.alone);
        double a[DPT_EXEC_METRICS], b[DPT_EXEC_METRICS];
        float count[45] = {0.0f};
        rig_evaluate(pair.together, &together, a, count_samples, count);
        rig_evaluate(pair.alone, &alone, b, NULL, NULL);
        for (int k = 0; k < DPT_EXEC_METRICS; k++) {
            expect_close("metric", a[k], b[k], 1e-12);
        }
        EXPECT_OK(dpt_comm_allreduce(world, count, 45, DPT_DTYPE_F32, DPT_COMM_REDUCE_SUM));
        for (int i = 0; i < 45; i++) {
            assert_true(count[i] == 1.0f);
        }
        rig_eval_free(&together);
        rig_eval_free(&alone);
        pair_free(&pair);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mlp_is_the_same_on_any_ranks),
        cmocka_unit_test(cnn_is_the_same_on_any_ranks),
        cmocka_unit_test(layers_are_the_same_on_any_ranks),
        cmocka_unit_test(resnet_is_the_same_on_any_ranks),
        cmocka_unit_test(local_statistics_leave_replicas_equal),
        cmocka_unit_test(float_is_close_on_any_ranks),
        cmocka_unit_test(all_ranks_decide_alike),
        cmocka_unit_test(common_state_is_left_alone),
        cmocka_unit_test(by_messages_too),
        cmocka_unit_test(on_several_hosts_too),
        cmocka_unit_test(evaluation_is_the_same_on_any_ranks),
    };
    return RUN_IN_WORLD(tests);
}
