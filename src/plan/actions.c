/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The order of a step: the units of work of this rank as the schedule has them, each the nodes of a chunk and a phase for
 * one micro-batch. A bucket is accumulated as soon as the last gradient in it is there, and with the last micro-batch its
 * sum over the ranks begins while backward goes on, where data is the only axis; where ranks meet in other collectives, or
 * wait for what this one sends, only when all units are done. Then all buckets are waited for, the control message goes round, and the updates run.
 *
 * Ranks meet in collectives of one group at a time, and every rank has them in the same order: buckets are sorted by group.
 */

#include "plan/internal.h"

struct list {
    struct dpt_plan *plan;
    size_t capacity;
    const int *end;  /* of each bucket: the node after which it is complete, -1: this rank adds nothing to it */
    const int *turn; /* of each bucket: the node after which its sum begins: not before the one in front of it */
    bool early;      /* sums begin during the backward pass */
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
    int *end = dpt_arena_array(plan->arena, (size_t)plan->nbuckets + 1, sizeof *end);
    for (int b = 0; b < plan->nbuckets; b++) {
        end[b] = -1;
    }
    for (int i = 0; i < plan->nparams && plan->nbuckets > 0; i++) {
        const struct dpt_plan_param *param = &plan->param[i];
        const int producer = param->gradient >= 0 ? plan->graph->value[param->gradient].producer : -1;
        end[param->bucket] = producer > end[param->bucket] ? producer : end[param->bucket];
    }
    return end;
}

/* Sums begin in the order of the buckets: those of buffers, ready early, in their turn. */
static int *find_turns(const struct dpt_plan *plan, const int *end)
{
    int *turn = dpt_arena_array(plan->arena, (size_t)plan->nbuckets + 1, sizeof *turn);
    for (int b = 0; b < plan->nbuckets; b++) {
        turn[b] = b > 0 && turn[b - 1] > end[b] ? turn[b - 1] : end[b];
    }
    return turn;
}

static bool is_summed(const struct dpt_plan *plan, int bucket)
{
    const int group = plan->bucket[bucket].group;
    return group >= 0 && plan->group[group].size > 1;
}

static void run_node(struct list *list, int n, int micro)
{
    struct dpt_plan *plan = list->plan;
    const struct dpt_graph *graph = plan->graph;
    const struct dpt_node *node = &graph->node[n];
    if (!node->op->view) {
        put(list, DPT_ACTION_RUN, micro, n);
    }
    for (int o = 0; o < node->nout; o++) {
        if (node->out[o] == graph->metric) {
            put(list, DPT_ACTION_METRIC, micro, graph->metric);
        }
    }
    for (int b = 0; b < plan->nbuckets; b++) {
        if (list->end[b] == n && plan->micros > 1) {
            put(list, DPT_ACTION_ACCUMULATE, micro, b);
        }
        if (list->turn[b] == n && micro == plan->micros - 1 && list->early && is_summed(plan, b)) {
            put(list, DPT_ACTION_REDUCE, micro, b);
        }
    }
}

static void run_unit(struct list *list, const struct dpt_unit *unit)
{
    const struct dpt_plan *plan = list->plan;
    if (unit->kind == DPT_UNIT_FORWARD && unit->chunk == 0) {
        put(list, DPT_ACTION_LOAD, unit->micro, -1);
    }
    for (int n = 0; n < plan->graph->nnodes; n++) {
        if (!plan->graph->node[n].op->update && plan->node[n].chunk == unit->chunk &&
            dpt_plan__unit(plan, n) == unit->kind) {
            run_node(list, n, unit->micro);
        }
    }
}

/* What this rank adds nothing to begins at zero. */
static void zero_untouched(struct list *list)
{
    const struct dpt_plan *plan = list->plan;
    for (int i = 0; i < plan->nparams; i++) {
        const int gradient = plan->param[i].gradient;
        if (gradient >= 0 && plan->graph->value[gradient].producer < 0) {
            put(list, DPT_ACTION_ZERO, -1, i);
        }
    }
}

/* All actions of a kind on the buckets of a group. */
static void put_group(struct list *list, enum dpt_action_kind kind, int group)
{
    for (int b = 0; b < list->plan->nbuckets; b++) {
        if (list->plan->bucket[b].group == group) {
            put(list, kind, -1, b);
        }
    }
}

/*
 * Sums that did not begin during the backward pass, and the wait for all: group after group, since each has an exchange of
 * its own and MPI has one user at a time.
 */
static void sum_groups(struct list *list)
{
    const struct dpt_plan *plan = list->plan;
    for (int g = 0; g < plan->ngroups; g++) {
        for (int b = 0; b < plan->nbuckets && plan->group[g].size > 1; b++) {
            if (plan->bucket[b].group == g && !(list->early && list->turn[b] >= 0)) {
                put(list, DPT_ACTION_REDUCE, -1, b);
            }
        }
        if (plan->group[g].size > 1) {
            put_group(list, DPT_ACTION_WAIT, g);
        }
    }
}

static void update_all(struct list *list)
{
    const struct dpt_plan *plan = list->plan;
    for (int b = 0, u = 0; b < plan->nbuckets; b++) {
        for (; u < plan->nupdates && plan->update[u].bucket <= b; u++) {
            put(list, DPT_ACTION_UPDATE, -1, u);
        }
        if (dpt_plan_is_sliced(plan, b) && plan->ngroups == 1) {
            put(list, DPT_ACTION_PUBLISH, -1, b);
        }
    }
    for (int g = 0; g < plan->ngroups && plan->conf.shard != DPT_PLAN_SHARD_NONE; g++) {
        if (plan->group[g].size > 1) {
            if (plan->ngroups > 1) {
                put_group(list, DPT_ACTION_PUBLISH, g);
            }
            put_group(list, DPT_ACTION_COLLECT, g);
        }
    }
}

static bool is_data_only(const struct dpt_plan *plan)
{
    bool only = true;
    for (int axis = 0; axis < plan->conf.mesh->naxes; axis++) {
        only = only && (plan->conf.mesh->axis[axis].size == 1 ||
                        dpt_plan__axis_kind(plan->conf.mesh, axis) == DPT_PLAN__AXIS_DATA);
    }
    return only;
}

enum dpt_status dpt_plan__actions(struct dpt_plan *plan)
{
    const int *end = find_ends(plan);
    struct list list = {
        .plan = plan,
        .end = end,
        .turn = find_turns(plan, end),
        .early = is_data_only(plan),
    };
    for (int u = 0; u < plan->nunits; u++) {
        run_unit(&list, &plan->unit[u]);
    }
    zero_untouched(&list);
    sum_groups(&list);
    put(&list, DPT_ACTION_CONTROL, -1, -1);
    update_all(&list);
    for (int i = 0; i < plan->ngroups && plan->graph->training; i++) {
        if (plan->group[i].average && plan->group[i].member) {
            put(&list, DPT_ACTION_AVERAGE, -1, i);
        }
    }
    return DPT_STATUS_OK;
}
