/* SPDX-License-Identifier: Apache-2.0 */

/* A plan from its parts: checks, then placement, state, rows, memory, actions, cost, one after the other. */

#include "plan/plan.h"

#include <inttypes.h>

#include "base/hash.h"
#include "plan/internal.h"

static enum dpt_status check_conf(const struct dpt_graph *graph, const struct dpt_plan_conf *conf)
{
    const int ranks = conf->mesh->axis[0].size;
    DPT_ASSERT(conf->mesh->naxes == 1); /* the axis "data"; others come with their letters */
    DPT_ASSERT(conf->batch_rows > 0 && conf->micro_batches > 0 && conf->tail_rows >= 0);
    DPT_CHECK(conf->shards % ranks == 0, DPT_STATUS_USAGE,
              "reproducible = yes cuts a batch into parallel.shards = %" PRId64
              " parts, which %d ranks cannot share evenly: start 1, 2, 4 ... %" PRId64
              " ranks, or set reproducible = no",
              conf->shards, ranks, conf->shards);
    DPT_CHECK(conf->shards / ranks <= 1 << DPT_PLAN_MAX_LEVELS, DPT_STATUS_USAGE,
              "parallel.shards = %" PRId64 " on %d ranks is more than %d a rank: take fewer", conf->shards, ranks,
              1 << DPT_PLAN_MAX_LEVELS);
    DPT_CHECK(conf->shards <= conf->batch_rows || !graph->training, DPT_STATUS_USAGE,
              "batch.global = %" PRId64 " is less than parallel.shards = %" PRId64 ": give every shard a sample",
              conf->batch_rows, conf->shards);
    DPT_CHECK(conf->micro_batches <= conf->batch_rows, DPT_STATUS_USAGE,
              "batch.micro_batches = %" PRId64 " is more than batch.global = %" PRId64, conf->micro_batches,
              conf->batch_rows);
    DPT_CHECK(!conf->layout || !graph->training, DPT_STATUS_FAILED, "only an evaluation takes another plan's layout");
    return DPT_STATUS_OK;
}

/* Adds the cost of all nodes but updates for `rows` samples. */
static void add_cost(const struct dpt_plan *plan, int64_t rows, struct dpt_op_cost *total)
{
    for (int n = 0; n < plan->graph->nnodes && rows > 0; n++) {
        const struct dpt_op *op = plan->graph->node[n].op;
        if (!op->update) {
            struct dpt_op_types types;
            struct dpt_op_cost cost;
            dpt_plan__types(plan, n, rows, &types);
            dpt_op_cost(op, &types, &cost);
            total->flops += cost.flops;
            total->bytes_read += cost.bytes_read;
            total->bytes_written += cost.bytes_written;
        }
    }
}

static void add_update_cost(const struct dpt_plan *plan, struct dpt_op_cost *total)
{
    for (int n = 0; n < plan->graph->nnodes; n++) {
        const struct dpt_node *node = &plan->graph->node[n];
        if (node->op->update) {
            struct dpt_op_types types;
            struct dpt_op_cost cost;
            dpt_graph_types(plan->graph, node, &types);
            dpt_op_cost(node->op, &types, &cost);
            total->flops += cost.flops;
            total->bytes_read += cost.bytes_read;
            total->bytes_written += cost.bytes_written;
        }
    }
}

static void count_cost(struct dpt_plan *plan)
{
    for (int64_t micro = 0; micro < plan->micros; micro++) {
        int64_t first, rows, all;
        dpt_plan_rows(plan, plan->conf.batch_rows, micro, &first, &rows, &all);
        add_cost(plan, rows, &plan->cost);
    }
    add_update_cost(plan, &plan->cost);
    struct dpt_op_cost whole = {0};
    add_cost(plan, plan->conf.batch_rows, &whole);
    plan->flops_step = whole.flops;
}

/* Hash of what must be equal on all ranks: what each sends must be what the others expect. */
static uint64_t hash_global(const struct dpt_plan *plan)
{
    const uint64_t all[] = {
        dpt_graph_hash(plan->graph),
        (uint64_t)plan->conf.mesh->axis[0].size,
        (uint64_t)plan->conf.batch_rows,
        (uint64_t)plan->conf.tail_rows,
        (uint64_t)plan->conf.micro_batches,
        (uint64_t)plan->conf.shards,
        (uint64_t)plan->ntrained,
        (uint64_t)plan->nflat,
        dpt_hash64(plan->bucket, (size_t)plan->nbuckets * sizeof *plan->bucket),
        dpt_hash64(plan->action, (size_t)plan->nactions * sizeof *plan->action),
    };
    return dpt_hash64(all, sizeof all);
}

static enum dpt_status make(struct dpt_plan *plan)
{
    const struct dpt_graph *graph = plan->graph;
    plan->micros = plan->conf.shards ? plan->conf.shards / plan->conf.mesh->axis[0].size : plan->conf.micro_batches;
    plan->value = dpt_arena_array(plan->arena, (size_t)graph->nvalues, sizeof *plan->value);
    for (int v = 0; v < graph->nvalues; v++) {
        plan->value[v].alias = -1;
        plan->value[v].offset = -1;
    }
    bool *sum = dpt_arena_array(plan->arena, (size_t)graph->nvalues, sizeof *sum);
    DPT_TRY(dpt_plan__place(plan, sum));
    DPT_TRY(dpt_plan__layout(plan));
    DPT_TRY(dpt_plan__variants(plan));
    for (int v = 0; v < graph->nvalues; v++) {
        plan->value[v].type = graph->value[v].type;
        if (graph->value[v].batch) {
            plan->value[v].type.dim[0] = plan->max_rows;
        }
        DPT_TRY(dpt_type_check(&plan->value[v].type, graph->value[v].name));
    }
    DPT_TRY(dpt_plan__memory(plan));
    DPT_TRY(dpt_plan__actions(plan, sum));
    count_cost(plan);
    plan->hash = hash_global(plan);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_plan_new(const struct dpt_graph *graph, const struct dpt_plan_conf *conf, struct dpt_plan **plan)
{
    *plan = NULL;
    DPT_TRY(check_conf(graph, conf));
    struct dpt_arena *arena = dpt_arena_new();
    struct dpt_plan *made = dpt_arena_alloc(arena, sizeof *made);
    *made = (struct dpt_plan){.arena = arena, .graph = graph, .conf = *conf};
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
            const struct dpt_op *op = plan->graph->node[n].op;
            if (op->release && plan->variant[i].prep && plan->variant[i].prep[n]) {
                op->release(plan->variant[i].prep[n]);
            }
        }
    }
    dpt_arena_free(plan->arena);
}
