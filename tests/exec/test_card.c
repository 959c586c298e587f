/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Training and evaluation on a card, which ranks share, against the cores of one rank: alone and in layouts whose ranks exchange
 * gradients, parameters and activations. A card that the emulator plays does its copies and kernels in each of its orders
 * (tests/cuda/runtime.cu), so that a wait that is missing shows in the numbers. Skipped where there is no card.
 */

#include <math.h>
#include <unistd.h>

#include "../comm/world.h"
#include "rig.h"

enum { STEPS = 5, PASSES = 3, SHOWN = 5 };
static const double TOLERANCE = 2e-5; /* sums of floats in another order, over some steps */

/* In a build --with-cuda=emulate: kernels of this name that the card ran. Elsewhere it is not there. */
long emulated_launches(const char *words) __attribute__((weak));

static const char *const orders[] = {"late", "copies", "kernels"};

#define AXIS(NAME, SIZE) {.name = NAME, .size = SIZE}

static const double uneven[] = {0.7, 0.3};

static const struct rig_layout layouts[] = {
    {.naxes = 1, .axis = {AXIS("data", 1)}},
    {.naxes = 1, .axis = {AXIS("data", 2)}},
    {.naxes = 1, .axis = {AXIS("data", 2)}, .share = uneven},
    {.naxes = 1, .axis = {AXIS("data", 2)}, .shard = DPT_PLAN_SHARD_OPTIMIZER},
    {.naxes = 1, .axis = {AXIS("data", 2)}, .shard = DPT_PLAN_SHARD_GRADIENTS},
    {.naxes = 1, .axis = {AXIS("data", 2)}, .shard = DPT_PLAN_SHARD_PARAMETERS},
    {.naxes = 1, .axis = {AXIS("tensor", 2)}},
    {.naxes = 1, .axis = {AXIS("pipeline", 2)}, .schedule = DPT_PIPELINE_1F1B},
};

static int ranks_of(const struct rig_layout *layout)
{
    int ranks = 1;
    for (int a = 0; a < layout->naxes; a++) {
        ranks *= layout->axis[a].size;
    }
    return ranks;
}

static void expect_near(const char *what, const char *order, double card, double cores)
{
    if (!(fabs(card - cores) <= TOLERANCE * fabs(cores))) {
        fail_msg("%s: %.9g on the card (%s), %.9g on the cores", what, card, order, cores);
    }
}

static void compare_evaluations(struct rig *card, struct rig *cores, const char *order)
{
    struct rig *rig[2] = {card, cores};
    struct rig_eval eval[2];
    double metric[2][DPT_EXEC_METRICS];
    int64_t played[PASSES];
    for (int i = 0; i < 2; i++) {
        rig_eval_new(rig[i], 20, true, &eval[i]);
    }
    for (int p = 0; p < PASSES; p++) {
        for (int i = 0; i < 2; i++) {
            rig_evaluate(rig[i], &eval[i], metric[i], NULL, NULL);
        }
        expect_near("loss of an evaluation", order, metric[0][0], metric[1][0]);
        played[p] = dpt_exec_played(eval[0].exec);
        const struct dpt_exec_step a = rig_train(card), b = rig_train(cores);
        expect_near("norm behind an evaluation", order, a.grad_norm, b.grad_norm);
    }
    /* Of batches of 20, 20 and 5 the first pass plays the second, and the next passes the first two: the recording stays. */
    assert_true(played[0] > 0 || !dpt_dev_records(card->dev));
    assert_int_equal(played[1], 3 * played[0]);
    assert_int_equal(played[2], 5 * played[0]);
    for (int i = 0; i < 2; i++) {
        rig_eval_free(&eval[i]);
    }
}

/* What an evaluation shows of each batch is the same whether it was played or not. */
struct shown {
    double sum[2 * SHOWN];
    int count;
};

static enum dpt_status note_shown(void *user, const struct dpt_batch *batch, const struct dpt_tensor *output)
{
    struct shown *shown = user;
    const float *y = output->data;
    double sum = 0.0;
    for (int64_t i = 0; i < dpt_type_numel(&output->type); i++) {
        sum += (double)(i % 7 + 1) * (double)y[i];
    }
    assert_true(shown->count < 2 * SHOWN && batch->rows == output->type.dim[0]);
    shown->sum[shown->count++] = sum;
    return DPT_STATUS_OK;
}

static void predictions_are_shown_of_every_batch(void **state)
{
    const struct rig_layout layout = {.naxes = 1, .axis = {AXIS("data", 1)}, .card = true};
    struct shown shown = {.count = 0};
    struct rig_eval eval;
    double metric[DPT_EXEC_METRICS];
    const char *why;
    (void)state;
    if (dpt_dev_cuda_count(&why) == 0 || dpt_comm_size(world) > 1) {
        skip();
    }
    struct rig *rig = rig_new_layout(RIG_FP32 RIG_MLP RIG_BATCH("16", "1") RIG_SGD, world, &layout);
    rig_eval_new(rig, 9, true, &eval); /* of 45 samples: five alike */
    for (int p = 0; p < 2; p++) {
        rig_evaluate(rig, &eval, metric, note_shown, &shown);
    }
    assert_int_equal(shown.count, 2 * SHOWN);
    for (int i = 0; i < SHOWN; i++) { /* the first was done without a recording in the first pass alone */
        assert_true(shown.sum[i] == shown.sum[SHOWN + i]);
        assert_true(i == 0 || shown.sum[i] != shown.sum[i - 1]);
    }
    rig_eval_free(&eval);
    rig_free(rig);
}

static void compare(const char *job, const struct rig_layout *layout, const char *order)
{
    struct rig_layout on = *layout;
    on.card = true;
    setenv("DPT_EMULATED_ORDER", order, 1);
    struct rig *card = rig_new_layout(job, world, &on), *cores = rig_new(job, NULL, NULL, DPT_RUN_CPU);
    const bool reads_ahead = card->job->data.prefetch > 0;
    for (int i = 0; i < STEPS; i++) {
        if (reads_ahead && i == 3) { /* what is on its way is dropped, and comes again */
            EXPECT_OK(dpt_loader_seek(card->loader, i));
        }
        if (reads_ahead) {
            usleep(20000); /* for the loader's thread to read all that it may */
        }
        const struct dpt_exec_step a = rig_train(card), b = rig_train(cores);
        expect_near("norm", order, a.grad_norm, b.grad_norm);
        expect_near("loss", order, a.metric[0], b.metric[0]);
    }
    /* The first micro-batch of a step and, where there are several, the later ones, too. */
    assert_int_equal(dpt_exec_came_ahead(card->exec) > (card->plan->micros > 1 && reads_ahead ? STEPS : 0), reads_ahead);
    assert_true(dpt_exec_played(card->exec) > 0 || !dpt_dev_records(card->dev));
    const double distance = rig_distance_gathered(card, cores);
    if (!(distance <= TOLERANCE)) {
        fail_msg("the state on the card (%s) is %.3g away from that of the cores", order, distance);
    }
    rig_expect_equal_copies(card, world);
    if (layout->naxes == 1 && strcmp(layout->axis[0].name, "data") == 0) {
        compare_evaluations(card, cores, order);
    }
    rig_free(card);
    rig_free(cores);
}

#define DATA_AHEAD "[data]\nformat = synthetic\nsamples = 45\nprefetch = 8\nshape = 6\nclasses = 4\n"

/* Three micro-batches, a short last batch, dropout, clipping; the next batches read ahead. */
static void a_card_trains_as_the_cores_do(void **state)
{
    static const char *const jobs[] = {
        RIG_FP32 RIG_MLP RIG_BATCH("16", "3") RIG_ADAMW "clip = 0.5\n",
        RIG_FP32 RIG_CNN RIG_BATCH("14", "1") RIG_SGD,
        RIG_FP32 "[model]\ntype = mlp\nwidths = 9 7\n" DATA_AHEAD RIG_BATCH("16", "1") RIG_ADAMW,
        RIG_FP32 "[model]\ntype = mlp\nwidths = 9 7\n" DATA_AHEAD RIG_BATCH("16", "3") RIG_ADAMW,
        /* 9 and 8 features on two ranks: the library of the emulated card does more for one than for the other. */
        RIG_FP32 "[model]\ntype = mlp\nwidths = 17 7\n" DATA_AHEAD RIG_BATCH("64", "1") RIG_ADAMW,
    };
    const char *why;
    (void)state;
    if (dpt_dev_cuda_count(&why) == 0) {
        print_message("SKIP: %s\n", why);
        skip();
    }
    for (size_t l = 0; l < sizeof layouts / sizeof layouts[0]; l++) {
        for (size_t j = 0; j < sizeof jobs / sizeof jobs[0] && ranks_of(&layouts[l]) == dpt_comm_size(world); j++) {
            /* Convolutions are slow there: one order for each layout. */
            for (size_t o = 0; o < sizeof orders / sizeof orders[0]; o++) {
                if (j != 1 || o == l % 3) {
                    compare(jobs[j], &layouts[l], orders[o]);
                }
            }
        }
    }
}

/* Launches of updates and norms in a step of a net with so many layers. */
static void count_launches(const char *widths, long *updates, long *norms)
{
    const struct rig_layout layout = {.naxes = 1, .axis = {AXIS("data", 1)}, .card = true};
    char job[600];
    snprintf(job, sizeof job, RIG_FP32 "[model]\ntype = mlp\nwidths = %s\n" RIG_DATA("6", "4") RIG_BATCH("16", "1") RIG_ADAMW
             "clip = 0.5\n", widths);
    struct rig *rig = rig_new_layout(job, world, &layout);
    rig_train(rig);
    EXPECT_OK(dpt_dev_wait(rig->dev));
    const long before[2] = {emulated_launches("update"), emulated_launches("square")};
    rig_train(rig);
    EXPECT_OK(dpt_dev_wait(rig->dev));
    *updates = emulated_launches("update") - before[0];
    *norms = emulated_launches("square") - before[1];
    rig_free(rig);
}

/* Biases do not decay and weights do, so that each is a range of its own: all of them are one launch. */
static void launches_do_not_grow_with_the_net(void **state)
{
    static const char *const widths[] = {"9", "9 8 7 9 8 7 9 8 7"};
    (void)state;
    if (!emulated_launches || dpt_comm_size(world) > 1) {
        skip();
    }
    for (int i = 0; i < 2; i++) {
        long updates, norms;
        count_launches(widths[i], &updates, &norms);
        assert_int_equal(updates, 1);
        assert_int_equal(norms, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_card_trains_as_the_cores_do),
        cmocka_unit_test(predictions_are_shown_of_every_batch),
        cmocka_unit_test(launches_do_not_grow_with_the_net),
    };
    setenv("DPT_EMULATED_CARDS", "1", 1); /* in a build without the emulator it means nothing */
    return RUN_IN_WORLD(tests);
}
