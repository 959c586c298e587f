/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How many rows a micro-batch may have on this rank. Batches are dealt out by floor(total * part / parts), so that a
 * full batch gives at most two sizes and the short last one of an epoch two more. Kernels prepare for each; what was
 * not prepared for (as when an evaluation ends with another count) they compute more slowly.
 */

#include "plan/internal.h"

/* Where the part of a coordinate of the data axis begins among `total` samples: equal parts, or shares of the job. */
static int64_t share_begin(const struct dpt_plan *plan, int64_t total, int size, int coord)
{
    const double *share = plan->conf.share;
    double before = 0.0, all = 0.0;
    if (!share) {
        return dpt_split_begin(total, size, coord);
    }
    for (int c = 0; c < size; c++) {
        before += c < coord ? share[c] : 0.0;
        all += share[c];
    }
    const int64_t begin = (int64_t)(before / all * (double)total + 0.5);
    return coord == size ? total : begin < total ? begin : total;
}

void dpt_plan_rows(const void *layout, int64_t count, int64_t micro, int64_t *first_row, int64_t *rows,
                   int64_t *micro_rows)
{
    const struct dpt_plan *plan = layout;
    const int axis = dpt_plan__axis_of(plan->conf.mesh, DPT_PLAN__AXIS_DATA);
    const int size = axis >= 0 ? plan->conf.mesh->axis[axis].size : 1;
    const int coord = axis >= 0 ? plan->conf.mesh->axis[axis].coord : 0;
    if (plan->conf.shards) {
        const int shard = (int)(plan->first_shard + micro), shards = (int)plan->conf.shards;
        *first_row = dpt_split_begin(count, shards, shard);
        *rows = dpt_split_begin(count, shards, shard + 1) - *first_row;
        *micro_rows = *rows;
        return;
    }
    const int64_t begin = dpt_split_begin(count, (int)plan->conf.micro_batches, (int)micro);
    *micro_rows = dpt_split_begin(count, (int)plan->conf.micro_batches, (int)micro + 1) - begin;
    *first_row = begin + share_begin(plan, *micro_rows, size, coord);
    *rows = begin + share_begin(plan, *micro_rows, size, coord + 1) - *first_row;
}

void dpt_plan__types(const struct dpt_plan *plan, int node, int64_t rows, struct dpt_op_types *types)
{
    const struct dpt_graph *graph = plan->graph;
    dpt_graph_types(graph, &graph->node[node], types);
    for (int i = 0; i < types->nin; i++) {
        if (graph->value[graph->node[node].in[i]].batch) {
            types->in[i].dim[0] = rows;
        }
    }
    for (int i = 0; i < types->nout; i++) {
        if (graph->value[graph->node[node].out[i]].batch) {
            types->out[i].dim[0] = rows;
        }
    }
}

static enum dpt_status prepare(struct dpt_plan *plan, struct dpt_plan_variant *variant)
{
    const struct dpt_graph *graph = plan->graph;
    variant->types = dpt_arena_array(plan->arena, (size_t)graph->nnodes, sizeof *variant->types);
    variant->prep = dpt_arena_array(plan->arena, (size_t)graph->nnodes, sizeof *variant->prep);
    for (int n = 0; n < graph->nnodes; n++) {
        const struct dpt_op *op = graph->node[n].op;
        dpt_plan__types(plan, n, variant->rows, &variant->types[n]);
        DPT_TRY(dpt_op_check_run(op, &variant->types[n], plan->conf.run));
        if (!plan->conf.sketch) {
            DPT_TRY(dpt_op_prepare(op, &variant->types[n], plan->conf.run, plan->conf.threads, plan->conf.dev,
                                   &variant->prep[n]));
        }
    }
    return DPT_STATUS_OK;
}

/* Adds the sizes that a batch of `count` samples gives. */
static enum dpt_status add_sizes(struct dpt_plan *plan, int64_t count)
{
    for (int64_t micro = 0; micro < plan->micros; micro++) {
        int64_t first, rows, all;
        dpt_plan_rows(plan, count, micro, &first, &rows, &all);
        plan->max_rows = rows > plan->max_rows ? rows : plan->max_rows;
        bool known = rows == 0 || plan->nvariants == DPT_PLAN_MAX_VARIANTS;
        for (int i = 0; i < plan->nvariants; i++) {
            known = known || plan->variant[i].rows == rows;
        }
        if (!known) {
            plan->variant[plan->nvariants].rows = rows;
            DPT_TRY(prepare(plan, &plan->variant[plan->nvariants++]));
        }
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_plan__variants(struct dpt_plan *plan)
{
    DPT_TRY(add_sizes(plan, plan->conf.batch_rows));
    if (plan->conf.tail_rows > 0) {
        DPT_TRY(add_sizes(plan, plan->conf.tail_rows));
    }
    if (plan->nvariants == 0) { /* more ranks than samples: this one has none, ever */
        plan->max_rows = 1;
        plan->variant[plan->nvariants].rows = 1;
        DPT_TRY(prepare(plan, &plan->variant[plan->nvariants++]));
    }
    return DPT_STATUS_OK;
}
