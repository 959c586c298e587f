/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Training in every kind of layout against the same training that each rank does alone as well: losses, norms, gathered
 * parameters, slots and running statistics after some steps are the same up to the order of sums. Memory and traffic are
 * what the plan says.
 */

#include "../comm/world.h"
#include "rig.h"

#include <math.h>

#define COUNT(list) (sizeof(list) / sizeof *(list))

enum { STEPS = 5 };     /* over the end of an epoch                                */
enum { NO_IMAGES = 2 }; /* so many jobs of each kind come first that read no images */

/* Several buckets a rank. */
#define BUCKETS "[parallel]\nbucket = 1 KiB\n"

static const char *const jobs[] = {
    RIG_FP64 BUCKETS RIG_MLP RIG_BATCH("16", "4") "[optimizer]\ntype = adamw\nlr = 0.01\nweight_decay = 0.1\nclip = 0.5\n",
    RIG_FP64 RIG_GELU RIG_BATCH("14", "4") RIG_ADAMW,
    RIG_FP64 BUCKETS RIG_CNN RIG_BATCH("10", "4") RIG_SGD,
    RIG_FP64 BUCKETS RIG_RESNET RIG_BATCH("14", "4") RIG_SGD,
    RIG_FP64 RIG_LAYERS RIG_BATCH("14", "4") RIG_ADAMW,
};
/* Each in both precisions. Of 16 bits no deep net: with batch norm over three samples it carries any rounding everywhere. */
#define BOTH(...) {RIG_BF16 __VA_ARGS__, RIG_FP32 __VA_ARGS__}
static const char *const bf16_jobs[][2] = {
    BOTH(RIG_MLP RIG_BATCH("16", "4") "[optimizer]\ntype = adamw\nlr = 0.01\nweight_decay = 0.1\nclip = 0.5\n"),
    BOTH(RIG_GELU RIG_BATCH("14", "4") RIG_ADAMW),
    BOTH(RIG_CNN RIG_BATCH("10", "4") RIG_SGD),
    BOTH(RIG_LAYERS RIG_BATCH("14", "4") RIG_ADAMW),
};
static const char *const float_job = RIG_FP32 RIG_CNN RIG_BATCH("10", "4") RIG_SGD;

#define AXIS(NAME, SIZE) {.name = NAME, .size = SIZE}
#define SCHEDULE(NAME) .schedule = DPT_PIPELINE_##NAME

static const double shares[] = {5.0, 3.0, 1.0, 0.0};
static const int swapped[] = {1, 0};

static const struct {
    const char *name;
    int ranks;
    struct rig_layout layout;
} layouts[] = {
    {"data 2", 2, {.naxes = 1, .axis = {AXIS("data", 2)}}},
    {"data 3, uneven shares", 3, {.naxes = 1, .axis = {AXIS("data", 3)}, .share = shares}},
    {"data 4, one without samples", 4, {.naxes = 1, .axis = {AXIS("data", 4)}, .share = shares}},
    {"tensor 2", 2, {.naxes = 1, .axis = {AXIS("tensor", 2)}}},
    {"tensor 3, uneven", 3, {.naxes = 1, .axis = {AXIS("tensor", 3)}}},
    {"tensor 4", 4, {.naxes = 1, .axis = {AXIS("tensor", 4)}}},
    {"rows 2", 2, {.naxes = 1, .axis = {AXIS("rows", 2)}}},
    {"rows 3, uneven", 3, {.naxes = 1, .axis = {AXIS("rows", 3)}}},
    {"columns 2", 2, {.naxes = 1, .axis = {AXIS("columns", 2)}}},
    {"rows 4", 4, {.naxes = 1, .axis = {AXIS("rows", 4)}}},
    {"rows 2 x columns 2", 4, {.naxes = 2, .axis = {AXIS("rows", 2), AXIS("columns", 2)}}},
    {"data 2 x rows 2", 4, {.naxes = 2, .axis = {AXIS("data", 2), AXIS("rows", 2)}}},
    {"rows 2 x pipeline 2", 4, {.naxes = 2, .axis = {AXIS("rows", 2), AXIS("pipeline", 2)}, SCHEDULE(1F1B)}},
    {"tensor 2 x rows 2, zb-h1 on 2 stages", 8,
     {.naxes = 3, .axis = {AXIS("tensor", 2), AXIS("rows", 2), AXIS("pipeline", 2)}, SCHEDULE(ZB_H1)}},
    {"layers on 2 ranks", 2, {.naxes = 1, .axis = {AXIS("pipeline", 2)}, SCHEDULE(NONE)}},
    {"backward on the other rank", 2, {.naxes = 1, .axis = {AXIS("pipeline", 2)}, SCHEDULE(NONE), .backward = swapped}},
    {"backward on the other rank, gpipe", 2,
     {.naxes = 1, .axis = {AXIS("pipeline", 2)}, SCHEDULE(GPIPE), .backward = swapped}},
    {"pipeline 2, gpipe", 2, {.naxes = 1, .axis = {AXIS("pipeline", 2)}, SCHEDULE(GPIPE)}},
    {"pipeline 2, 1f1b", 2, {.naxes = 1, .axis = {AXIS("pipeline", 2)}, SCHEDULE(1F1B)}},
    {"pipeline 2, 1f1b, messages by MPI", 2, {.naxes = 1, .axis = {AXIS("pipeline", 2)}, SCHEDULE(1F1B), .flat = true}},
    {"pipeline 3, 1f1b", 3, {.naxes = 1, .axis = {AXIS("pipeline", 3)}, SCHEDULE(1F1B)}},
    {"pipeline 3, zb-h1", 3, {.naxes = 1, .axis = {AXIS("pipeline", 3)}, SCHEDULE(ZB_H1)}},
    {"pipeline 4, 1f1b", 4, {.naxes = 1, .axis = {AXIS("pipeline", 4)}, SCHEDULE(1F1B)}},
    {"pipeline 4, zb-h1", 4, {.naxes = 1, .axis = {AXIS("pipeline", 4)}, SCHEDULE(ZB_H1)}},
    {"pipeline 4, zb-h1, messages by MPI", 4,
     {.naxes = 1, .axis = {AXIS("pipeline", 4)}, SCHEDULE(ZB_H1), .flat = true}},
    {"pipeline 2 x 2 chunks", 2, {.naxes = 1, .axis = {AXIS("pipeline", 2)}, SCHEDULE(INTERLEAVED), .chunks = 2}},
    {"data 2 x tensor 2", 4, {.naxes = 2, .axis = {AXIS("data", 2), AXIS("tensor", 2)}}},
    {"tensor 2 x data 2", 4, {.naxes = 2, .axis = {AXIS("tensor", 2), AXIS("data", 2)}}},
    {"data 2 x pipeline 2", 4, {.naxes = 2, .axis = {AXIS("data", 2), AXIS("pipeline", 2)}, SCHEDULE(1F1B)}},
    {"pipeline 2 x tensor 2, zb-h1", 4,
     {.naxes = 2, .axis = {AXIS("pipeline", 2), AXIS("tensor", 2)}, SCHEDULE(ZB_H1)}},
    {"data 2 x tensor 2 x pipeline 2", 8,
     {.naxes = 3, .axis = {AXIS("data", 2), AXIS("tensor", 2), AXIS("pipeline", 2)}, SCHEDULE(1F1B)}},
    {"ZeRO 1, data 2", 2, {.naxes = 1, .axis = {AXIS("data", 2)}, .shard = DPT_PLAN_SHARD_OPTIMIZER}},
    {"ZeRO 1, data 3", 3, {.naxes = 1, .axis = {AXIS("data", 3)}, .shard = DPT_PLAN_SHARD_OPTIMIZER}},
    {"ZeRO 1, data 2 x tensor 2", 4,
     {.naxes = 2, .axis = {AXIS("data", 2), AXIS("tensor", 2)}, .shard = DPT_PLAN_SHARD_OPTIMIZER}},
    {"ZeRO 1, pipeline 2 x data 2", 4,
     {.naxes = 2, .axis = {AXIS("pipeline", 2), AXIS("data", 2)}, SCHEDULE(1F1B), .shard = DPT_PLAN_SHARD_OPTIMIZER}},
    {"ZeRO 2, data 2", 2, {.naxes = 1, .axis = {AXIS("data", 2)}, .shard = DPT_PLAN_SHARD_GRADIENTS}},
    {"ZeRO 2, data 2 x tensor 2", 4,
     {.naxes = 2, .axis = {AXIS("data", 2), AXIS("tensor", 2)}, .shard = DPT_PLAN_SHARD_GRADIENTS}},
    {"ZeRO 2, data 2 x pipeline 2, zb-h1", 4,
     {.naxes = 2, .axis = {AXIS("data", 2), AXIS("pipeline", 2)}, SCHEDULE(ZB_H1), .shard = DPT_PLAN_SHARD_GRADIENTS}},
    {"ZeRO 3, data 2", 2, {.naxes = 1, .axis = {AXIS("data", 2)}, .shard = DPT_PLAN_SHARD_PARAMETERS}},
    {"ZeRO 3, data 3, uneven shares", 3,
     {.naxes = 1, .axis = {AXIS("data", 3)}, .share = shares, .shard = DPT_PLAN_SHARD_PARAMETERS}},
    {"ZeRO 3, pipeline 2 x data 2", 4,
     {.naxes = 2, .axis = {AXIS("pipeline", 2), AXIS("data", 2)}, SCHEDULE(1F1B), .shard = DPT_PLAN_SHARD_PARAMETERS}},
    {"ZeRO 3, data 2 x pipeline 2 x 2 chunks", 4,
     {.naxes = 2, .axis = {AXIS("data", 2), AXIS("pipeline", 2)}, SCHEDULE(INTERLEAVED), .chunks = 2,
      .shard = DPT_PLAN_SHARD_PARAMETERS}},
    {"ZeRO 3, data 2 x tensor 2 x pipeline 2, zb-h1", 8,
     {.naxes = 3, .axis = {AXIS("data", 2), AXIS("tensor", 2), AXIS("pipeline", 2)}, SCHEDULE(ZB_H1),
      .shard = DPT_PLAN_SHARD_PARAMETERS}},
};

static void expect_close(const char *layout, int job, const char *what, double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance * fabs(b))) {
        fail_msg("%s, job %d: %s: %.17g together, %.17g alone", layout, job, what, a, b);
    }
}

static void expect_planned_memory(const struct rig *rig)
{
    const struct dpt_plan_memory *memory = &rig->plan->memory;
    assert_int_equal((int64_t)rig->dev->nbytes + dpt_exec_shared_nbytes(rig->exec),
                     memory->params + memory->gradients + memory->accumulators + memory->slots + memory->activations +
                         memory->messages + memory->scratch + memory->ahead);
}

/* The training that each rank does by itself: the same for every layout, so once for all of them. */
struct alone {
    struct rig *fresh, *trained; /* before the first step, after the last */
    struct dpt_exec_step step[STEPS];
};

static struct alone alone_new(const char *job)
{
    struct alone alone = {.fresh = rig_new(job, NULL, NULL, DPT_RUN_CPU), .trained = rig_new(job, NULL, NULL, DPT_RUN_CPU)};
    for (int i = 0; i < STEPS; i++) {
        alone.step[i] = rig_train(alone.trained);
    }
    return alone;
}

static void alone_free(const struct alone *alone)
{
    rig_free(alone->fresh);
    rig_free(alone->trained);
}

/* Trains in the layout and compares; the tolerance is that of sums in another order. */
static void compare(const char *name, int number, const char *job, const struct alone *alone,
                    const struct rig_layout *layout, double tolerance)
{
    struct rig *together = rig_new_layout(job, world, layout);
    rig_expect_equal_copies(together, world);
    if (rig_distance_gathered(together, alone->fresh) != 0.0) {
        fail_msg("%s, job %d: other first values", name, number);
    }
    for (int i = 0; i < STEPS; i++) {
        const double before = dpt_exec_sent(together->exec);
        const struct dpt_exec_step a = rig_train(together), b = alone->step[i];
        expect_close(name, number, "loss", a.metric[0], b.metric[0], tolerance);
        expect_close(name, number, "metric", a.metric[1], b.metric[1], tolerance);
        expect_close(name, number, "norm of the gradient", a.grad_norm, b.grad_norm, tolerance);
        const struct dpt_plan_traffic *planned = &together->plan->traffic;
        if (i == 0) {
            expect_close(name, number, "bytes sent", dpt_exec_sent(together->exec) - before,
                         planned->gradients + planned->values + planned->messages, 1e-12);
        }
    }
    rig_expect_equal_copies(together, world);
    const double distance = rig_distance_gathered(together, alone->trained);
    if (!(distance <= tolerance)) {
        fail_msg("%s, job %d: states are %g apart", name, number, distance);
    }
    expect_planned_memory(together);
    rig_free(together);
}

/* True for layouts that want a job with images: not the first. */
static bool splits_images(const struct rig_layout *layout)
{
    bool images = false;
    for (int axis = 0; axis < layout->naxes; axis++) {
        images = images || strcmp(layout->axis[axis].name, "rows") == 0 || strcmp(layout->axis[axis].name, "columns") == 0;
    }
    return images;
}

/*
 * In 16 bits. What is split along samples or layers makes the same roundings, but for the order of sums in float, which
 * turns one over now and then. What is split along inputs, or adds to a neighbour's rows, is rounded once a rank before it
 * is summed: that is as far from one rank as roundings are, which is how far one rank in 16 bits is from one in 32.
 */
static void compare_bf16(const char *name, int number, const char *job, struct rig *alone, struct rig *exact,
                         const struct rig_layout *layout)
{
    struct rig *together = rig_new_layout(job, world, layout);
    bool sums = splits_images(layout);
    for (int axis = 0; axis < layout->naxes; axis++) {
        sums = sums || strcmp(layout->axis[axis].name, "tensor") == 0;
    }
    for (int i = 0; i < STEPS; i++) {
        const double before = dpt_exec_sent(together->exec);
        rig_train(together);
        const struct dpt_plan_traffic *planned = &together->plan->traffic;
        if (i == 0) {
            expect_close(name, number, "bytes sent in 16 bits", dpt_exec_sent(together->exec) - before,
                         planned->gradients + planned->values + planned->messages, 1e-12);
        }
    }
    const double rounding = rig_distance(alone, exact), distance = rig_distance_gathered(together, alone);
    if (!(rounding > 0.0 && distance <= (sums ? 2.0 * rounding : 1e-3))) {
        fail_msg("%s, job %d: in 16 bits states are %g apart, %g from those in 32", name, number, distance, rounding);
    }
    rig_expect_equal_copies(together, world);
    expect_planned_memory(together);
    rig_free(together);
}

/* Whether a layout is for so many ranks, and for job number `job`. */
static bool takes(size_t layout, int job)
{
    return layouts[layout].ranks == dpt_comm_size(world) && (job >= NO_IMAGES || !splits_images(&layouts[layout].layout));
}

static void compare_all(int number, const char *job, double tolerance)
{
    const struct alone alone = alone_new(job);
    for (size_t i = 0; i < COUNT(layouts); i++) {
        if (takes(i, number)) {
            compare(layouts[i].name, number, job, &alone, &layouts[i].layout, tolerance);
        }
    }
    alone_free(&alone);
}

static void trainings_are_the_same_in_every_layout(void **state)
{
    (void)state;
    for (size_t j = 0; j < COUNT(jobs); j++) {
        compare_all((int)j, jobs[j], 1e-10);
    }
    compare_all(COUNT(jobs), float_job, 1e-5);
}

static void so_they_are_in_16_bits(void **state)
{
    (void)state;
    for (int j = 0; j < (int)COUNT(bf16_jobs); j++) {
        const struct alone alone = alone_new(bf16_jobs[j][0]), exact = alone_new(bf16_jobs[j][1]);
        for (size_t i = 0; i < COUNT(layouts); i++) {
            if (takes(i, j)) {
                compare_bf16(layouts[i].name, j, bf16_jobs[j][0], alone.trained, exact.trained, &layouts[i].layout);
            }
        }
        alone_free(&alone);
        alone_free(&exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trainings_are_the_same_in_every_layout),
        cmocka_unit_test(so_they_are_in_16_bits),
    };
    return RUN_IN_WORLD(tests);
}
