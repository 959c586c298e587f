/* SPDX-License-Identifier: Apache-2.0 */

/* A plan from its parts: checks, then schedule, placement, stages, this rank's graph, state, rows, memory, actions, cost. */

#include "plan/plan.h"

#include <inttypes.h>

#include "base/hash.h"
#include "comm/fixed.h"
#include "plan/internal.h"

/* Ranks on an axis of a kind: 1 where the mesh has none. */
static int axis_size(const struct dpt_plan_conf *conf, enum dpt_plan__axis kind)
{
    const int axis = dpt_plan__axis_of(conf->mesh, kind);
    return axis >= 0 ? conf->mesh->axis[axis].size : 1;
}

static enum dpt_status check_shards(const struct dpt_graph *graph, const struct dpt_plan_conf *conf)
{
    const int ranks = axis_size(conf, DPT_PLAN__AXIS_DATA);
    DPT_CHECK(conf->fixed || conf->shards % ranks == 0, DPT_STATUS_USAGE,
              "reproducible = yes cuts a batch into parallel.shards = %" PRId64
              " parts, which %d ranks cannot share evenly: start 1, 2, 4 ... %" PRId64
              " ranks, or set parallel.reduce = fixed, which any number of ranks can share",
              conf->shards, ranks, conf->shards);
    DPT_CHECK(!conf->fixed || conf->shards >= ranks, DPT_STATUS_USAGE,
              "reduce = fixed cuts a batch into parallel.shards = %" PRId64 " parts, but there are %d ranks: set it to at "
              "least that",
              conf->shards, ranks);
    DPT_ASSERT(!conf->fixed || conf->shards <= DPT_FIXED_MAX_ADDENDS);
    DPT_CHECK(conf->fixed || conf->shards / ranks <= 1 << DPT_PLAN_MAX_LEVELS, DPT_STATUS_USAGE,
              "parallel.shards = %" PRId64 " on %d ranks is more than %d a rank: take fewer", conf->shards, ranks,
              1 << DPT_PLAN_MAX_LEVELS);
    DPT_CHECK(conf->shards <= conf->batch_rows || !graph->training, DPT_STATUS_USAGE,
              "batch.global = %" PRId64 " is less than parallel.shards = %" PRId64 ": give every shard a sample",
              conf->batch_rows, conf->shards);
    for (int axis = 0; axis < conf->mesh->naxes && conf->shards > 0; axis++) {
        DPT_CHECK(conf->mesh->axis[axis].size == 1 ||
                      dpt_plan__axis_kind(conf->mesh, axis) == DPT_PLAN__AXIS_DATA,
                  DPT_STATUS_USAGE,
                  "reproducible = yes makes the same bits on any number of ranks along data, not along %s: set it to no, or "
                  "[parallel] layout to data",
                  conf->mesh->axis[axis].name);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status check_conf(const struct dpt_graph *graph, const struct dpt_plan_conf *conf)
{
    DPT_ASSERT(conf->batch_rows > 0 && conf->micro_batches > 0 && conf->tail_rows >= 0);
    DPT_TRY(check_shards(graph, conf));
    DPT_CHECK(conf->micro_batches <= conf->batch_rows, DPT_STATUS_USAGE,
              "batch.micro_batches = %" PRId64 " is more than batch.global = %" PRId64, conf->micro_batches,
              conf->batch_rows);
    DPT_CHECK(!conf->layout || !graph->training, DPT_STATUS_FAILED, "only an evaluation takes another plan's layout");
    DPT_CHECK(!conf->backward || conf->schedule == DPT_PIPELINE_NONE || conf->schedule == DPT_PIPELINE_GPIPE,
              DPT_STATUS_USAGE,
              "[parallel] backward: gradients on other ranks need schedule = none or gpipe, whose orders all ranks "
              "share");
    return DPT_STATUS_OK;
}

/* The units of this rank, in order. */
static enum dpt_status schedule(struct dpt_plan *plan)
{
    const struct dpt_plan_conf *conf = &plan->conf;
    const int axis = dpt_plan__axis_of(conf->mesh, DPT_PLAN__AXIS_PIPELINE);
    plan->micros = conf->micro_batches;
    if (conf->shards) {
        const int data = dpt_plan__axis_of(conf->mesh, DPT_PLAN__AXIS_DATA), ranks = axis_size(conf, DPT_PLAN__AXIS_DATA);
        const int coord = data >= 0 ? conf->mesh->axis[data].coord : 0;
        plan->first_shard = dpt_split_begin(conf->shards, ranks, coord);
        plan->micros = dpt_split_begin(conf->shards, ranks, coord + 1) - plan->first_shard;
    }
    DPT_CHECK(plan->micros <= 1 << 20, DPT_STATUS_USAGE, "%" PRId64 " micro-batches a step are more than 2^20",
              plan->micros);
    plan->pipeline = (struct dpt_pipeline){
        .schedule = axis_size(conf, DPT_PLAN__AXIS_PIPELINE) > 1 ? conf->schedule : DPT_PIPELINE_NONE,
        .ranks = axis_size(conf, DPT_PLAN__AXIS_PIPELINE),
        .chunks = axis_size(conf, DPT_PLAN__AXIS_PIPELINE) > 1 && conf->chunks > 0 ? conf->chunks : 1,
        .micros = (int)plan->micros,
    };
    DPT_TRY(dpt_pipeline_check(&plan->pipeline));
    plan->nunits = dpt_pipeline_units(&plan->pipeline, axis >= 0 ? conf->mesh->axis[axis].coord : 0, plan->arena,
                                      &plan->unit);
    return DPT_STATUS_OK;
}

static void add_node_cost(const struct dpt_op *op, const struct dpt_op_types *types, struct dpt_op_cost *total)
{
    struct dpt_op_cost cost;
    dpt_op_cost(op, types, &cost);
    total->flops += cost.flops;
    total->bytes_read += cost.bytes_read;
    total->bytes_written += cost.bytes_written;
}

/* Adds the cost of this rank's nodes for `rows` samples; collectives cost traffic instead. */
static void add_cost(const struct dpt_plan *plan, int64_t rows, struct dpt_op_cost *total)
{
    for (int n = 0; n < plan->graph->nnodes && rows > 0; n++) {
        const struct dpt_op *op = plan->graph->node[n].op;
        if (!op->update && !op->collective) {
            struct dpt_op_types types;
            dpt_plan__types(plan, n, rows, &types);
            add_node_cost(op, &types, total);
        }
    }
}

static void add_update_cost(const struct dpt_plan *plan, struct dpt_op_cost *total)
{
    for (int n = 0; n < plan->graph->nnodes; n++) {
        const struct dpt_node *node = &plan->graph->node[n];
        if (node->op->update) {
            struct dpt_op_types types;
            dpt_graph_types(plan->graph, node, &types);
            add_node_cost(node->op, &types, total);
        }
    }
}

/* Work of the whole global batch on all ranks: that of the logical graph. */
static double flops_of_batch(const struct dpt_plan *plan)
{
    const struct dpt_graph *graph = plan->logical;
    struct dpt_op_cost whole = {0};
    for (int n = 0; n < graph->nnodes; n++) {
        struct dpt_op_types types;
        if (graph->node[n].op->update) {
            continue;
        }
        dpt_graph_types(graph, &graph->node[n], &types);
        for (int i = 0; i < types.nin + types.nout; i++) {
            struct dpt_type *type = i < types.nin ? &types.in[i] : &types.out[i - types.nin];
            const int value = i < types.nin ? graph->node[n].in[i] : graph->node[n].out[i - types.nin];
            type->dim[0] = graph->value[value].batch ? plan->conf.batch_rows : type->dim[0];
        }
        add_node_cost(graph->node[n].op, &types, &whole);
    }
    return whole.flops;
}

static void count_cost(struct dpt_plan *plan)
{
    for (int64_t micro = 0; micro < plan->micros; micro++) {
        int64_t first, rows, all;
        dpt_plan_rows(plan, plan->conf.batch_rows, micro, &first, &rows, &all);
        add_cost(plan, rows, &plan->cost);
    }
    add_update_cost(plan, &plan->cost);
    plan->flops_step = flops_of_batch(plan);
}

/* Field by field: what lies between them may be anything. */
static uint64_t hash_buckets(const struct dpt_plan *plan)
{
    uint64_t hash = 0;
    for (const struct dpt_plan_bucket *b = plan->bucket; b < plan->bucket + plan->nbuckets; b++) {
        const int64_t flags = b->counted | b->trained << 1 | b->scatter << 2 | b->gather << 3;
        const int64_t all[] = {(int64_t)hash, b->range.begin,  b->range.end,       b->group,      flags, b->chunk, b->first,
                               b->end,        b->param_offset, b->gradient_offset, b->slot_offset};
        hash = dpt_hash64(all, sizeof all);
    }
    return hash;
}

/* Hash of what must be equal on all ranks: what each sends must be what the others expect. */
static uint64_t hash_global(const struct dpt_plan *plan, const struct dpt_plan__placed *placed)
{
    const struct dpt_plan_conf *conf = &plan->conf;
    const struct dpt_graph *logical = plan->logical;
    const bool alike = axis_size(conf, DPT_PLAN__AXIS_TENSOR) == 1 && axis_size(conf, DPT_PLAN__AXIS_ROWS) == 1 &&
                       axis_size(conf, DPT_PLAN__AXIS_COLUMNS) == 1 && plan->pipeline.ranks == 1 &&
                       conf->shard == DPT_PLAN_SHARD_NONE && !conf->fixed;
    int64_t axes[2 * DPT_MESH_MAX_AXES] = {0};
    for (int axis = 0; axis < conf->mesh->naxes; axis++) {
        axes[2 * axis] = conf->mesh->axis[axis].size;
        axes[2 * axis + 1] = (int64_t)dpt_plan__axis_kind(conf->mesh, axis);
    }
    const uint64_t all[] = {
        placed->graph_hash,
        dpt_hash64(axes, sizeof axes),
        (uint64_t)conf->batch_rows,
        (uint64_t)conf->tail_rows,
        (uint64_t)conf->micro_batches,
        (uint64_t)conf->shards * 2 + conf->fixed,
        (uint64_t)conf->bucket_bytes,
        (uint64_t)conf->shard * 2 + conf->average,
        (uint64_t)plan->pipeline.schedule * 1000 + (uint64_t)plan->pipeline.chunks,
        dpt_hash64(conf->share, conf->share ? (size_t)axis_size(conf, DPT_PLAN__AXIS_DATA) * sizeof *conf->share : 0),
        dpt_hash64(placed->letter, (size_t)logical->nnodes * sizeof *placed->letter),
        dpt_hash64(placed->coord, (size_t)logical->nnodes * sizeof *placed->coord),
        dpt_hash64(placed->chunk, (size_t)logical->nnodes * sizeof *placed->chunk),
        /* where all ranks do the same */
        alike ? (uint64_t)plan->nflat : 0,
        alike ? hash_buckets(plan) : 0,
        alike ? dpt_hash64(plan->action, (size_t)plan->nactions * sizeof *plan->action) : 0,
    };
    return dpt_hash64(all, sizeof all);
}

/* What is decided about the logical graph, once for all ranks. */
static enum dpt_status decide(struct dpt_plan *plan)
{
    if (plan->conf.like) {
        DPT_ASSERT(plan->conf.like->logical == plan->logical);
        plan->placed = plan->conf.like->placed;
        return DPT_STATUS_OK;
    }
    struct dpt_plan__placed *placed = dpt_arena_alloc(plan->arena, sizeof *placed);
    DPT_TRY(dpt_plan__place(plan, placed));
    DPT_TRY(dpt_plan__stages(plan, placed));
    placed->graph_hash = dpt_graph_hash(plan->logical);
    plan->placed = placed;
    return DPT_STATUS_OK;
}

static enum dpt_status make(struct dpt_plan *plan)
{
    DPT_TRY(schedule(plan));
    DPT_TRY(decide(plan));
    DPT_TRY(dpt_plan__local(plan, plan->placed));
    DPT_TRY(dpt_plan__layout(plan, plan->placed));
    DPT_TRY(dpt_plan__variants(plan));
    const struct dpt_graph *graph = plan->graph;
    for (int v = 0; v < graph->nvalues; v++) {
        plan->value[v].type = graph->value[v].type;
        if (graph->value[v].batch) {
            plan->value[v].type.dim[0] = plan->max_rows;
        }
        DPT_TRY(dpt_type_check(&plan->value[v].type, graph->value[v].name));
    }
    DPT_TRY(dpt_plan__memory(plan));
    DPT_TRY(dpt_plan__actions(plan));
    dpt_plan__traffic(plan);
    count_cost(plan);
    plan->hash = hash_global(plan, plan->placed);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_plan_stages(const struct dpt_graph *graph, const struct dpt_plan_conf *conf, struct dpt_arena *arena,
                                int **stage)
{
    struct dpt_plan plan = {.arena = arena, .logical = graph, .graph = graph, .conf = *conf};
    struct dpt_plan__placed placed = {0};
    plan.conf.backward = NULL; /* who computes a gradient does not change the stage */
    DPT_TRY(schedule(&plan));
    DPT_TRY(dpt_plan__stages(&plan, &placed));
    *stage = dpt_arena_array(arena, (size_t)graph->nnodes + 1, sizeof **stage);
    for (int n = 0; n < graph->nnodes; n++) {
        (*stage)[n] = placed.chunk[n] * plan.pipeline.ranks + placed.coord[n];
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_plan_new(const struct dpt_graph *graph, const struct dpt_plan_conf *conf, struct dpt_plan **plan)
{
    *plan = NULL;
    DPT_TRY(check_conf(graph, conf));
    struct dpt_arena *arena = dpt_arena_new();
    struct dpt_plan *made = dpt_arena_alloc(arena, sizeof *made);
    *made = (struct dpt_plan){.arena = arena, .logical = graph, .graph = graph, .conf = *conf};
    const enum dpt_status status = make(made);
    if (status != DPT_STATUS_OK) {
        dpt_plan_free(made);
        return status;
    }
    *plan = made;
    return DPT_STATUS_OK;
}

void dpt_plan_free(struct dpt_plan *plan)
{
    if (!plan) {
        return;
    }
    for (int i = 0; i < plan->nvariants; i++) {
        for (int n = 0; n < plan->graph->nnodes; n++) {
            if (plan->variant[i].prep) {
                dpt_op_release(plan->graph->node[n].op, &plan->variant[i].types[n], plan->conf.run,
                               plan->variant[i].prep[n]);
            }
        }
    }
    dpt_arena_free(plan->arena);
}
