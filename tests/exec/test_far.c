/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Training and evaluation on a device whose memory is its own, against the same on this machine's memory: the same bits,
 * alone, in every kind of layout, and where some ranks have such a device and others not. A host access to memory of the
 * device is a fault (far.h).
 */

#include "../comm/world.h"
#include "rig.h"

enum { STEPS = 4 };

#define AXIS(NAME, SIZE) {.name = NAME, .size = SIZE}

static const struct rig_layout layouts[] = {
    {.naxes = 1, .axis = {AXIS("data", 1)}},
    {.naxes = 1, .axis = {AXIS("data", 2)}},
    {.naxes = 1, .axis = {AXIS("data", 2)}, .shard = DPT_PLAN_SHARD_OPTIMIZER},
    {.naxes = 1, .axis = {AXIS("tensor", 2)}},
    {.naxes = 1, .axis = {AXIS("pipeline", 2)}, .schedule = DPT_PIPELINE_1F1B},
    {.naxes = 2, .axis = {AXIS("data", 2), AXIS("tensor", 2)}},
    {.naxes = 2, .axis = {AXIS("pipeline", 2), AXIS("data", 2)}, .schedule = DPT_PIPELINE_1F1B,
     .shard = DPT_PLAN_SHARD_OPTIMIZER},
    {.naxes = 1, .axis = {AXIS("data", 2)}, .shard = DPT_PLAN_SHARD_GRADIENTS},
    {.naxes = 2, .axis = {AXIS("pipeline", 2), AXIS("data", 2)}, .schedule = DPT_PIPELINE_1F1B,
     .shard = DPT_PLAN_SHARD_PARAMETERS},
};

static const char *const jobs[] = {
    RIG_FP32 RIG_MLP RIG_BATCH("16", "3") RIG_ADAMW "clip = 0.5\n",
    RIG_FP64 RIG_LAYERS RIG_BATCH("14", "2") RIG_SGD,
};

static int ranks_of(const struct rig_layout *layout)
{
    int ranks = 1;
    for (int a = 0; a < layout->naxes; a++) {
        ranks *= layout->axis[a].size;
    }
    return ranks;
}

/* Bits of a step's figures: metrics, norm. */
static void expect_equal(const char *what, double far, double near)
{
    if (memcmp(&far, &near, sizeof far) != 0) {
        fail_msg("%s: %.17g on the device, %.17g in memory of the host", what, far, near);
    }
}

static void expect_same_state(const struct rig *far, const struct rig *near)
{
    assert_true(dpt_state_hash(far->state) == dpt_state_hash(near->state));
    for (int v = 0; v < far->plan->logical->nvalues; v++) {
        const struct dpt_value *value = &far->plan->logical->value[v];
        const size_t nbytes = dpt_type_nbytes(&value->type);
        void *a = malloc(nbytes + 1), *b = malloc(nbytes + 1);
        if (value->kind == DPT_VALUE_KIND_PARAM || value->kind == DPT_VALUE_KIND_BUFFER ||
            value->kind == DPT_VALUE_KIND_SLOT) {
            EXPECT_OK(dpt_state_gather(far->state, v, a));
            EXPECT_OK(dpt_state_gather(near->state, v, b));
            assert_memory_equal(a, b, nbytes);
            EXPECT_OK(dpt_state_scatter(far->state, v, b)); /* what is written is what was read */
            EXPECT_OK(dpt_state_gather(far->state, v, a));
            assert_memory_equal(a, b, nbytes);
        }
        free(a);
        free(b);
    }
}

enum { MAX_OUTPUTS = 4096 };

/* The predictions of an evaluation, one after the other. */
struct outputs {
    int64_t count;
    double value[MAX_OUTPUTS];
};

static enum dpt_status keep(void *user, const struct dpt_batch *batch, const struct dpt_tensor *output)
{
    struct outputs *outputs = user;
    (void)batch;
    for (int64_t i = 0; i < dpt_type_numel(&output->type) && outputs->count < MAX_OUTPUTS; i++) {
        outputs->value[outputs->count++] = rig_get(output, i);
    }
    return DPT_STATUS_OK;
}

static void compare_evaluations(struct rig *far, struct rig *near)
{
    struct rig *rig[2] = {far, near};
    struct outputs *outputs = calloc(2, sizeof *outputs);
    double metric[2][DPT_EXEC_METRICS];
    assert_non_null(outputs);
    for (int i = 0; i < 2; i++) {
        struct rig_eval eval;
        rig_eval_new(rig[i], 20, i == 0, &eval);
        rig_evaluate(rig[i], &eval, metric[i], keep, &outputs[i]);
        rig_eval_free(&eval);
    }
    assert_memory_equal(metric[0], metric[1], sizeof metric[0]);
    assert_true(outputs[0].count > 0);
    assert_memory_equal(&outputs[0], &outputs[1], sizeof outputs[0]);
    free(outputs);
}

/* `mixed`: every second rank has the device only. */
static void compare(const char *job, const struct rig_layout *layout, bool mixed)
{
    struct rig_layout on = *layout;
    on.far = !mixed || dpt_comm_rank(world) % 2 == 0;
    struct rig *far = rig_new_layout(job, world, &on), *near = rig_new_layout(job, world, layout);
    assert_false(on.far && dpt_state_is_whole(far->state));
    for (int i = 0; i < STEPS; i++) {
        const struct dpt_exec_step a = rig_train(far), b = rig_train(near);
        expect_equal("norm", a.grad_norm, b.grad_norm);
        for (int k = 0; k < DPT_EXEC_METRICS; k++) {
            expect_equal("metric", a.metric[k], b.metric[k]);
        }
    }
    expect_same_state(far, near);
    if (layout->naxes == 1 && strcmp(layout->axis[0].name, "data") == 0) {
        compare_evaluations(far, near);
    }
    rig_free(far);
    rig_free(near);
}

static void trainings_have_the_same_bits(void **state)
{
    (void)state;
    for (size_t l = 0; l < sizeof layouts / sizeof layouts[0]; l++) {
        for (size_t j = 0; j < sizeof jobs / sizeof jobs[0] && ranks_of(&layouts[l]) == dpt_comm_size(world); j++) {
            compare(jobs[j], &layouts[l], false);
            compare(jobs[j], &layouts[l], true);
        }
    }
}

/* The sums of a reproducible run, through one exchange over all ranks. */
static void reproducible_training_has_the_same_bits(void **state)
{
    (void)state;
    const char *job = RIG_SHARDS RIG_MLP RIG_BATCH("16", "1") RIG_SGD;
    struct dpt_exchange *exchange;
    struct dpt_mesh mesh;
    EXPECT_OK(dpt_mesh_data(world, &mesh));
    EXPECT_OK(dpt_exchange_new(&(struct dpt_exchange_conf){.comm = world, .tree = true}, &exchange));
    struct rig *far = rig_new_far(job, &mesh, exchange), *near = rig_new(job, NULL, NULL, DPT_RUN_CPU);
    for (int i = 0; i < STEPS; i++) {
        expect_equal("norm", rig_train(far).grad_norm, rig_train(near).grad_norm);
    }
    assert_true(dpt_state_hash(far->state) == dpt_state_hash(near->state));
    rig_free(far);
    rig_free(near);
    dpt_exchange_free(exchange);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trainings_have_the_same_bits),
        cmocka_unit_test(reproducible_training_has_the_same_bits),
    };
    return RUN_IN_WORLD(tests);
}
