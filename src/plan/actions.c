/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The order of a step. Each micro-batch: load, forward, backward. A bucket is accumulated as soon as the last gradient
 * in it is there, and with the last micro-batch its sum over the ranks begins while backward goes on. Then all buckets
 * are waited for, the control message goes round, and the updates run. Every rank has the same actions in the same
 * order.
 */

#include "plan/internal.h"

struct list {
    struct dpt_plan *plan;
    size_t capacity;
};

static void put(struct list *list, enum dpt_action_kind kind, int micro, int arg)
{
    struct dpt_plan *plan = list->plan;
    plan->action = dpt_arena_grow(plan->arena, plan->action, (size_t)plan->nactions, &list->capacity,
                                  sizeof *plan->action);
    plan->action[plan->nactions++] = (struct dpt_action){kind, micro, arg};
}

/* For each bucket the node after which it is complete. */
static int *find_ends(const struct dpt_plan *plan)
{
    int *end = dpt_arena_array(plan->arena, (size_t)plan->nbuckets, sizeof *end);
    for (int b = 0; b < plan->nbuckets; b++) {
        end[b] = -1;
        for (int i = 0; i < plan->nparams; i++) {
            const struct dpt_plan_param *param = &plan->param[i];
            const bool inside = param->offset >= plan->bucket[b].begin && param->offset < plan->bucket[b].end;
            const int producer = param->gradient >= 0 ? plan->graph->value[param->gradient].producer : -1;
            end[b] = inside && producer > end[b] ? producer : end[b];
        }
        if (b > 0 && end[b] < end[b - 1]) {
            end[b] = end[b - 1]; /* buffers: ready early, summed in their turn */
        }
        DPT_ASSERT(end[b] >= 0);
    }
    return end;
}

static void micro_batch(struct list *list, int micro, const bool *sum, const int *end)
{
    struct dpt_plan *plan = list->plan;
    const struct dpt_graph *graph = plan->graph;
    const bool last = micro == plan->micros - 1;
    const bool ranks = plan->conf.mesh->axis[0].size > 1;
    put(list, DPT_ACTION_LOAD, micro, -1);
    for (int n = 0; n < graph->nnodes; n++) {
        const struct dpt_node *node = &graph->node[n];
        if (node->op->update) {
            continue;
        }
        if (!node->op->view) {
            put(list, DPT_ACTION_RUN, micro, n);
        }
        for (int o = 0; o < node->nout; o++) {
            if (sum[node->out[o]]) {
                put(list, DPT_ACTION_SUM, micro, node->out[o]);
            }
            if (node->out[o] == graph->metric) {
                put(list, DPT_ACTION_METRIC, micro, graph->metric);
            }
        }
        for (int b = 0; b < plan->nbuckets; b++) {
            if (end[b] == n && plan->micros > 1) {
                put(list, DPT_ACTION_ACCUMULATE, micro, b);
            }
            if (end[b] == n && last && ranks) {
                put(list, DPT_ACTION_REDUCE, micro, b);
            }
        }
    }
}

enum dpt_status dpt_plan__actions(struct dpt_plan *plan, const bool *sum)
{
    struct list list = {.plan = plan};
    const int *end = find_ends(plan);
    for (int64_t micro = 0; micro < plan->micros; micro++) {
        micro_batch(&list, (int)micro, sum, end);
    }
    for (int b = 0; b < plan->nbuckets && plan->conf.mesh->axis[0].size > 1; b++) {
        put(&list, DPT_ACTION_WAIT, -1, b);
    }
    put(&list, DPT_ACTION_CONTROL, -1, -1);
    for (int u = 0; u < plan->nupdates; u++) {
        put(&list, DPT_ACTION_UPDATE, -1, u);
    }
    return DPT_STATUS_OK;
}
