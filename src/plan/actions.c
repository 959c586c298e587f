/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The order of a step: the units of work of this rank as the schedule has them, each the nodes of a chunk and a phase for
 * one micro-batch. A bucket is accumulated as soon as the last gradient in it is there, and with the last micro-batch its
 * sum over the ranks begins while backward goes on, where data is the only axis; where ranks meet in other collectives, or
 * wait for what this one sends, only when all units are done. Then all buckets are waited for, the control message goes
 * round, and the updates run. What is whole during a stay only is summed over the ranks after each micro-batch.
 *
 * Ranks meet in collectives of one group at a time, and every rank has them in the same order: buckets are sorted by group.
 */

#include "op/update.h"
#include "plan/internal.h"

struct list {
    struct dpt_plan *plan;
    size_t capacity;
    const int *end;  /* of each bucket: the node after which it is complete, -1: this rank adds nothing to it */
    const int *turn; /* of each bucket: the node after which its sum begins: not before the one in front of it */
    int reading, writing; /* in a unit: the stays whose turn is next */
    const int *param; /* of each gradient: its parameter */
    bool early;      /* sums begin during the backward pass */
    bool ahead;      /* stays begin a turn early and end a turn late */
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

bool dpt_plan__is_data_only(const struct dpt_plan *plan)
{
    bool only = true;
    for (int axis = 0; axis < plan->conf.mesh->naxes; axis++) {
        only = only && (plan->conf.mesh->axis[axis].size == 1 ||
                        dpt_plan__axis_kind(plan->conf.mesh, axis) == DPT_PLAN__AXIS_DATA);
    }
    return only;
}

/* True when stay s is one of the unit, of parameters or of gradients. */
static bool is_stay_of(const struct dpt_plan *plan, int s, const struct dpt_unit *unit, bool gradient)
{
    return s < plan->nstays && plan->stay[s].chunk == unit->chunk && plan->stay[s].unit == unit->kind &&
           plan->stay[s].gradient == gradient;
}

static int first_stay(const struct dpt_plan *plan, const struct dpt_unit *unit, bool gradient)
{
    int s = 0;
    while (s < plan->nstays && !is_stay_of(plan, s, unit, gradient)) {
        s++;
    }
    return s;
}

/* Parameters that node n reads first; those of the next turn set out. */
static void gather(struct list *list, const struct dpt_unit *unit, int n)
{
    const struct dpt_plan *plan = list->plan;
    for (int *s = &list->reading; is_stay_of(plan, *s, unit, false) && plan->stay[*s].turn == n; ++*s) {
        if (!list->ahead || *s == 0 || !is_stay_of(plan, *s - 1, unit, false)) {
            put(list, DPT_ACTION_GATHER, unit->micro, *s);
        }
        put(list, DPT_ACTION_GATHERED, unit->micro, *s);
        if (list->ahead && is_stay_of(plan, *s + 1, unit, false)) {
            put(list, DPT_ACTION_GATHER, unit->micro, *s + 1);
        }
    }
}

/* Gradients that node n wrote last; those of the turn before must have come home. */
static void scatter(struct list *list, const struct dpt_unit *unit, int n)
{
    const struct dpt_plan *plan = list->plan;
    for (int *s = &list->writing; is_stay_of(plan, *s, unit, true) && plan->stay[*s].turn == n; ++*s) {
        if (list->ahead && *s > 0 && is_stay_of(plan, *s - 1, unit, true)) {
            put(list, DPT_ACTION_SCATTERED, unit->micro, *s - 1);
        }
        put(list, DPT_ACTION_SCATTER, unit->micro, *s);
        if (!list->ahead || !is_stay_of(plan, *s + 1, unit, true)) {
            put(list, DPT_ACTION_SCATTERED, unit->micro, *s);
        }
    }
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
    for (int o = 0; o < node->nout; o++) {
        if (plan->value[node->out[o]].apart) {
            put(list, DPT_ACTION_ADD, micro, list->param[node->out[o]]);
        }
    }
    for (int b = 0; b < plan->nbuckets; b++) {
        if (list->end[b] == n && plan->conf.shards && (plan->micros > 1 || plan->conf.fixed)) {
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
    list->reading = first_stay(plan, unit, false);
    list->writing = first_stay(plan, unit, true);
    for (int n = 0; n < plan->graph->nnodes; n++) {
        if (!plan->graph->node[n].op->update && plan->node[n].chunk == unit->chunk &&
            dpt_plan__unit(plan, n) == unit->kind) {
            gather(list, unit, n);
            run_node(list, n, unit->micro);
            scatter(list, unit, n);
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

/*
 * What goes on with the buckets of a group one after the other, each begun and later waited for in the same order: sums, or
 * parameters that are made known. At most `most` are under way.
 */
struct flow {
    enum dpt_action_kind begin, end;
    int group, most;
    int next; /* bucket to wait for */
    int open;
};

/* The first bucket of the flow from b on, or nbuckets: what is scattered or gathered in stays is not in it. */
static int find_bucket(const struct dpt_plan *plan, const struct flow *flow, int b)
{
    for (; b < plan->nbuckets; b++) {
        const struct dpt_plan_bucket *bucket = &plan->bucket[b];
        if (bucket->group == flow->group && !(flow->begin == DPT_ACTION_REDUCE ? bucket->scatter : bucket->gather)) {
            break;
        }
    }
    return b;
}

/* Buckets with memory of their own in the exchange are all begun before the first is waited for. */
static struct flow new_flow(const struct dpt_plan *plan, int group, enum dpt_action_kind begin, enum dpt_action_kind end)
{
    const bool tickets = plan->conf.shard >= DPT_PLAN_SHARD_GRADIENTS;
    struct flow flow = {.begin = begin, .end = end, .group = group};
    flow.most = tickets ? DPT_EXCHANGE_TICKETS : plan->nbuckets + 1;
    flow.next = find_bucket(plan, &flow, 0);
    return flow;
}

static void wait_one(struct list *list, struct flow *flow)
{
    put(list, flow->end, -1, flow->next);
    flow->next = find_bucket(list->plan, flow, flow->next + 1);
    flow->open--;
}

static void begin_one(struct list *list, struct flow *flow, int bucket)
{
    if (flow->open == flow->most) {
        wait_one(list, flow);
    }
    put(list, flow->begin, -1, bucket);
    flow->open++;
}

static void wait_all(struct list *list, struct flow *flow)
{
    while (flow->next < list->plan->nbuckets) {
        wait_one(list, flow);
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
        struct flow flow = new_flow(plan, g, DPT_ACTION_REDUCE, DPT_ACTION_WAIT);
        if (plan->group[g].size == 1) {
            continue;
        }
        for (int b = flow.next; b < plan->nbuckets; b = find_bucket(plan, &flow, b + 1)) {
            if (!list->early || list->turn[b] < 0) {
                begin_one(list, &flow, b);
            }
        }
        wait_all(list, &flow);
    }
}

/* How many updates from u on, before `end`, may be ranges of one call, which is one launch on a card. */
static int count_joined(const struct dpt_plan *plan, int u, int end)
{
    const struct dpt_plan_update *first = &plan->update[u];
    int next = u + 1;
    while (next < end && plan->update[next].op == first->op && plan->update[next].nslots == first->nslots &&
           dpt_update_joins(first->op, first->param, plan->update[next].param)) {
        next++;
    }
    return next - u;
}

/* Updates [begin, end). */
static void put_updates(struct list *list, int begin, int end)
{
    struct dpt_plan_update *update = list->plan->update;
    for (int u = begin; u < end; u += update[u].joined) {
        update[u].joined = count_joined(list->plan, u, end);
        put(list, DPT_ACTION_UPDATE, -1, u);
    }
}

/* Updates; slices are made known at once where there is one group, else group after group. */
static void update_all(struct list *list)
{
    const struct dpt_plan *plan = list->plan;
    const bool sliced = plan->conf.shard != DPT_PLAN_SHARD_NONE, at_once = plan->ngroups == 1;
    struct flow flow = new_flow(plan, 0, DPT_ACTION_PUBLISH, DPT_ACTION_COLLECT);
    for (int b = 0, done = 0, u = 0; b < plan->nbuckets; b++) {
        const bool told = sliced && at_once && plan->group[0].size > 1 && find_bucket(plan, &flow, b) == b;
        while (u < plan->nupdates && plan->update[u].bucket <= b) {
            u++;
        }
        if (told || b + 1 == plan->nbuckets) {
            put_updates(list, done, u);
            done = u;
        }
        if (told) {
            begin_one(list, &flow, b);
        }
    }
    for (int g = 0; g < plan->ngroups && sliced; g++) {
        if (plan->group[g].size == 1) {
            continue;
        }
        if (!at_once) {
            flow = new_flow(plan, g, DPT_ACTION_PUBLISH, DPT_ACTION_COLLECT);
            for (int b = flow.next; b < plan->nbuckets; b = find_bucket(plan, &flow, b + 1)) {
                begin_one(list, &flow, b);
            }
        }
        wait_all(list, &flow);
    }
}

static int *find_params(const struct dpt_plan *plan)
{
    int *param = dpt_arena_array(plan->arena, (size_t)plan->graph->nvalues, sizeof *param);
    for (int i = 0; i < plan->nparams; i++) {
        if (plan->param[i].gradient >= 0) {
            param[plan->param[i].gradient] = i;
        }
    }
    return param;
}

enum dpt_status dpt_plan__actions(struct dpt_plan *plan)
{
    const int *end = find_ends(plan);
    struct list list = {
        .plan = plan,
        .end = end,
        .turn = find_turns(plan, end),
        .param = find_params(plan),
        .ahead = dpt_plan__is_data_only(plan),
        .early = dpt_plan__is_data_only(plan) && plan->conf.shard < DPT_PLAN_SHARD_GRADIENTS,
    };
    for (int u = 0; u < plan->nunits; u++) {
        run_unit(&list, &plan->unit[u]);
    }
    if (!plan->graph->training) {
        put(&list, DPT_ACTION_CONTROL, -1, -1);
        return DPT_STATUS_OK;
    }
    zero_untouched(&list);
    sum_groups(&list);
    put(&list, DPT_ACTION_CONTROL, -1, -1);
    update_all(&list);
    for (int i = 0; i < plan->ngroups; i++) {
        if (plan->group[i].average && plan->group[i].member) {
            put(&list, DPT_ACTION_AVERAGE, -1, i);
        }
    }
    return DPT_STATUS_OK;
}
