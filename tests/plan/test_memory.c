/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The memory that a plan says, held against what is published of each kind of layout, within 5 %. In single precision with
 * AdamW a parameter takes 16 bytes: itself, its gradient, two numbers of the optimizer (Rajbhandari and others, "ZeRO",
 * 2020). A layer of a transformer with fused attention keeps 16 numbers for each token and feature (Korthikanti and others,
 * "Reducing activation recomputation in large transformer models", 2022: 34 bytes at 2 a number, 2 of them masks of
 * dropout): inputs of both norms, their results, query, key and value, the attention, before and after GELU. What does not
 * grow with the layers is left out by taking the difference of two depths.
 */

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "conf/job.h"
#include "graph/graph.h"
#include "model/model.h"
#include "optim/optim.h"
#include "plan/plan.h"

enum { CONTEXT = 128, WIDTH = 768, BATCH = 8, VOCAB = 512, SHALLOW = 12, DEEP = 24 };

/* A layout, and what else a plan is made for. */
struct way {
    int naxes;
    struct dpt_mesh_axis axis[DPT_MESH_MAX_AXES]; /* coordinates are those of the rank that is asked about */
    enum dpt_plan_shard shard;
    enum dpt_pipeline_schedule schedule;
    int64_t micros;
    enum dpt_recompute recompute;
    int64_t vocab;  /* 0: VOCAB */
    bool split_vocabulary;
};

#define AXIS(NAME, SIZE, COORD) {.name = NAME, .size = SIZE, .coord = COORD}

static const struct way alone = {.naxes = 1, .axis = {AXIS("data", 1, 0)}};

/* The memory of a GPT of this depth, and its parameters. */
static struct dpt_plan_memory memory_of(const struct way *way, int depth, double *parameters)
{
    char text[256];
    struct dpt_job *job;
    snprintf(text, sizeof text,
             "[data]\nformat = tokens\ntrain = t\n[model]\ntype = gpt\ndepth = %d\nwidth = %d\nheads = 12\n"
             "[optimizer]\ntype = adamw\n",
             depth, WIDTH);
    const struct dpt_model_io io = {
        .ndim = 1, .dim = {CONTEXT}, .dtype = DPT_DTYPE_I32, .classes = way->vocab ? way->vocab : VOCAB, .targets = CONTEXT};
    const int64_t micros = way->micros ? way->micros : 1;
    struct dpt_graph *graph = dpt_graph_new(DPT_DTYPE_F32, BATCH / micros, true);
    const struct dpt_mesh mesh = {.naxes = way->naxes,
                                  .axis = {way->axis[0], way->axis[1], way->axis[2], way->axis[3]}};
    const struct dpt_plan_conf conf = {
        .mesh = &mesh, .run = DPT_RUN_CPU, .threads = 1, .batch_rows = BATCH, .micro_batches = micros,
        .schedule = way->schedule, .shard = way->shard, .split_vocabulary = way->split_vocabulary, .sketch = true};
    struct dpt_plan *plan = NULL;
    if (dpt_job_read_text("test", text, &job, NULL) != DPT_STATUS_OK ||
        dpt_model_build(job, &io, false, graph) != DPT_STATUS_OK || dpt_graph_fuse(graph) != DPT_STATUS_OK ||
        dpt_graph_gradient(graph) != DPT_STATUS_OK ||
        dpt_graph_recompute(graph, way->recompute, NULL) != DPT_STATUS_OK ||
        dpt_optim_build(job, graph) != DPT_STATUS_OK || dpt_plan_new(graph, &conf, &plan) != DPT_STATUS_OK) {
        fail_msg("%s", dpt_error_text());
    }
    *parameters = 0.0;
    for (int v = 0; v < graph->nvalues; v++) {
        const struct dpt_value *value = &graph->value[v];
        *parameters += value->kind == DPT_VALUE_KIND_PARAM ? (double)dpt_type_numel(&value->type) : 0.0;
    }
    const struct dpt_plan_memory memory = plan->memory;
    dpt_plan_free(plan);
    dpt_graph_free(graph);
    dpt_job_free(job);
    return memory;
}

static void expect_near(const char *what, double got, double expected)
{
    if (!(fabs(got - expected) <= 0.05 * expected)) {
        fail_msg("%s: %.4g, the formula says %.4g", what, got, expected);
    }
}

/* Bytes for each parameter of the model: parameters, gradients and optimizer. What is whole for a while lies elsewhere. */
static void state_is_what_the_formulas_say(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct way way;
        double bytes; /* for each parameter of the model */
    } cases[] = {
        {"one rank", {.naxes = 1, .axis = {AXIS("data", 1, 0)}}, 16.0},
        {"data 4", {.naxes = 1, .axis = {AXIS("data", 4, 1)}}, 16.0},
        {"data 4, ZeRO 1", {.naxes = 1, .axis = {AXIS("data", 4, 1)}, .shard = DPT_PLAN_SHARD_OPTIMIZER},
         8.0 + 8.0 / 4},
        {"data 16, ZeRO 1", {.naxes = 1, .axis = {AXIS("data", 16, 9)}, .shard = DPT_PLAN_SHARD_OPTIMIZER},
         8.0 + 8.0 / 16},
        {"data 4, ZeRO 2", {.naxes = 1, .axis = {AXIS("data", 4, 1)}, .shard = DPT_PLAN_SHARD_GRADIENTS},
         4.0 + 12.0 / 4},
        {"data 4, ZeRO 3", {.naxes = 1, .axis = {AXIS("data", 4, 1)}, .shard = DPT_PLAN_SHARD_PARAMETERS}, 16.0 / 4},
        {"tensor 2", {.naxes = 1, .axis = {AXIS("tensor", 2, 1)}}, 16.0 / 2},
        {"tensor 3, uneven", {.naxes = 1, .axis = {AXIS("tensor", 3, 1)}}, 16.0 / 3},
        {"tensor 2, large vocabulary",
         {.naxes = 1, .axis = {AXIS("tensor", 2, 1)}, .vocab = 60000, .split_vocabulary = true}, 16.0 / 2},
        {"pipeline 2, first", {.naxes = 1, .axis = {AXIS("pipeline", 2, 0)}, .micros = 2}, 16.0 / 2},
        {"pipeline 2, last", {.naxes = 1, .axis = {AXIS("pipeline", 2, 1)}, .micros = 2}, 16.0 / 2},
        {"tensor 2 x pipeline 2", {.naxes = 2, .axis = {AXIS("tensor", 2, 0), AXIS("pipeline", 2, 0)}}, 16.0 / 4},
        {"data 4 x tensor 2, ZeRO 1",
         {.naxes = 2, .axis = {AXIS("data", 4, 2), AXIS("tensor", 2, 1)}, .shard = DPT_PLAN_SHARD_OPTIMIZER},
         (8.0 + 8.0 / 4) / 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double parameters;
        const struct dpt_plan_memory memory = memory_of(&cases[i].way, DEEP, &parameters);
        expect_near(cases[i].name, (double)(memory.params + memory.gradients + memory.accumulators + memory.slots),
                    cases[i].bytes * parameters);
    }
}

/* Numbers a token and feature that a layer more takes on one rank, for all micro-batches under way. */
static double numbers_a_layer(const struct way *way)
{
    double parameters;
    const int64_t more = memory_of(way, DEEP, &parameters).activations - memory_of(way, SHALLOW, &parameters).activations;
    return (double)more / (DEEP - SHALLOW) / (4.0 * CONTEXT * BATCH * WIDTH);
}

static void activations_are_what_the_formulas_say(void **state)
{
    (void)state;
    enum { MICROS = 4 };
    const struct way tensor = {.naxes = 1, .axis = {AXIS("tensor", 2, 0)}};
    const struct way tensor4 = {.naxes = 1, .axis = {AXIS("tensor", 4, 3)}};
    const struct way data = {.naxes = 1, .axis = {AXIS("data", 4, 1)}};
    const struct way blocks = {.naxes = 1, .axis = {AXIS("data", 1, 0)}, .recompute = DPT_RECOMPUTE_BLOCKS};
    struct way pipeline = {
        .naxes = 1, .axis = {AXIS("pipeline", 2, 0)}, .schedule = DPT_PIPELINE_1F1B, .micros = MICROS};
    expect_near("one rank", numbers_a_layer(&alone), 16.0);
    expect_near("data 4", numbers_a_layer(&data), 16.0 / 4);
    /* All but the results of the two norms, which are gathered for the products behind them and kept for their weights. */
    expect_near("tensor 2, sequence split", numbers_a_layer(&tensor), 2.0 + 14.0 / 2);
    expect_near("tensor 4, sequence split", numbers_a_layer(&tensor4), 2.0 + 14.0 / 4);
    expect_near("recompute blocks", numbers_a_layer(&blocks), 1.0); /* the input of a block */
    /* Half of the layers; of the micro-batches those under way: p - i of them on place i, or all. */
    expect_near("pipeline 2, 1f1b, first", numbers_a_layer(&pipeline), 16.0 / 2 * 2 / MICROS);
    pipeline.axis[0].coord = 1;
    expect_near("pipeline 2, 1f1b, last", numbers_a_layer(&pipeline), 16.0 / 2 * 1 / MICROS);
    pipeline.schedule = DPT_PIPELINE_GPIPE;
    expect_near("pipeline 2, gpipe", numbers_a_layer(&pipeline), 16.0 / 2 * MICROS / MICROS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(state_is_what_the_formulas_say),
        cmocka_unit_test(activations_are_what_the_formulas_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
