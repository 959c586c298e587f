/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The forms of a value: on the edges of a rank's graph what brings a value from the place that it has to the one that
 * its reader wants. Each form is made once, before its first reader, by a collective for each axis on which it differs.
 */

#include "plan/local.h"

#include <string.h>

bool dpt_plan__is_idle(const struct dpt_plan *plan, int axis)
{
    return plan->conf.mesh->axis[axis].size == 1 ||
           (plan->conf.shards > 0 && dpt_plan__axis_kind(plan->conf.mesh, axis) == DPT_PLAN__AXIS_DATA);
}

struct dpt_plan__form dpt_plan__form_as(const struct dpt_place *place)
{
    struct dpt_plan__form form = {.border = {0}};
    memcpy(form.place, place, sizeof form.place);
    return form;
}

static struct dpt_plan__form form_at(const struct dpt_plan__localizer *local, int id)
{
    struct dpt_plan__form form = dpt_plan__form_as(local->plan->value[id].place);
    memcpy(form.border, local->plan->value[id].border, sizeof form.border);
    return form;
}

static bool is_same(const struct dpt_plan *plan, const struct dpt_plan_value *value, const struct dpt_plan__form *want,
                    int axis)
{
    const struct dpt_place *have = &value->place[axis];
    const bool split = have->kind == DPT_PLACE_KIND_SPLIT;
    const bool same = have->dim == want->place[axis].dim && value->border[axis] == want->border[axis];
    return dpt_plan__is_idle(plan, axis) || (have->kind == want->place[axis].kind && (!split || same));
}

static bool is_form(const struct dpt_plan *plan, const struct dpt_plan_value *value, const struct dpt_plan__form *want)
{
    for (int axis = 0; axis < plan->conf.mesh->naxes; axis++) {
        if (!is_same(plan, value, want, axis)) {
            return false;
        }
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------ sizes of parts */

void dpt_plan__set_local(struct dpt_plan__localizer *local, int id, const struct dpt_type *logical)
{
    struct dpt_plan *plan = local->plan;
    struct dpt_plan_value *value = &plan->value[id];
    struct dpt_value *at = &local->graph->value[id];
    at->type = *logical;
    for (int d = 0; d < logical->ndim; d++) {
        value->part.whole[d] = logical->dim[d];
        if (d > 0 || !at->batch) {
            int64_t range[2];
            dpt_plan__range(plan, id, d, logical->dim[d], range);
            value->part.begin[d] = range[0];
            at->type.dim[d] = range[1] - range[0];
        }
    }
}

/* ------------------------------------------------------------------------------------------------ values and nodes */

/* Appends a value of this rank's graph that is no logical one. */
static int append_value(struct dpt_plan__localizer *local, const char *name, bool batch,
                        const struct dpt_plan__form *form)
{
    struct dpt_graph *graph = local->graph;
    struct dpt_plan *plan = local->plan;
    const size_t count = (size_t)graph->nvalues;
    size_t capacity = local->value_capacity, values = local->value_capacity;
    const int id = graph->nvalues;
    graph->value = dpt_arena_grow(plan->arena, graph->value, count, &capacity, sizeof *graph->value);
    plan->value = dpt_arena_grow(plan->arena, plan->value, count, &values, sizeof *plan->value);
    local->value_capacity = capacity;
    local->next = dpt_arena_grow(plan->arena, local->next, count, &local->next_capacity, sizeof *local->next);
    graph->nvalues++;
    graph->value[id] = (struct dpt_value){
        .name = name,
        .kind = DPT_VALUE_KIND_ACTIVATION,
        .batch = batch,
        .producer = -1,
        .of = -1,
        .gradient = -1,
    };
    plan->value[id] = (struct dpt_plan_value){.alias = -1, .offset = -1, .here = true};
    memcpy(plan->value[id].place, form->place, sizeof plan->value[id].place);
    memcpy(plan->value[id].border, form->border, sizeof plan->value[id].border);
    local->next[id] = -1;
    return id;
}

int dpt_plan__add_value(struct dpt_plan__localizer *local, int of, const struct dpt_plan__form *form, const char *what)
{
    const struct dpt_value *logical = &local->logical->value[of];
    const int id = append_value(local, dpt_arena_printf(local->plan->arena, "%s (%s)", logical->name, what),
                                logical->batch, form);
    dpt_plan__set_local(local, id, &logical->type);
    local->next[id] = local->first[of];
    local->first[of] = id;
    return id;
}

int dpt_plan__add_between(struct dpt_plan__localizer *local, int like, int axis, const struct dpt_op *op,
                          const struct dpt_type *type)
{
    struct dpt_plan__form form = form_at(local, like);
    form.place[axis].kind = op->collective ? DPT_PLACE_KIND_COPIED : DPT_PLACE_KIND_PARTIAL;
    const char *name = dpt_arena_printf(local->plan->arena, "%s.%s", local->layer, op->name);
    const int id = append_value(local, name, local->graph->value[like].batch, &form);
    local->graph->value[id].type = *type;
    memcpy(local->plan->value[id].part.whole, type->dim, sizeof type->dim);
    return id;
}

int dpt_plan__add_node(struct dpt_plan__localizer *local, const struct dpt_op *op, const void *param, int logical,
                       int nin, const int *in, int nout, const int *out)
{
    struct dpt_graph *graph = local->graph;
    struct dpt_plan *plan = local->plan;
    const int n = graph->nnodes;
    graph->node = dpt_arena_grow(plan->arena, graph->node, (size_t)n, &local->node_capacity, sizeof *graph->node);
    plan->node = dpt_arena_grow(plan->arena, plan->node, (size_t)n, &local->unit_capacity, sizeof *plan->node);
    graph->node[n] = (struct dpt_node){
        .op = op,
        .name = local->layer,
        .phase = local->phase,
        .param = param,
        .of = -1,
        .half = local->half,
        .narrow = local->narrow,
        .nin = nin,
        .nout = nout,
    };
    plan->node[n] = (struct dpt_plan_node){.logical = logical, .chunk = local->chunk};
    for (int i = 0; i < nin; i++) {
        graph->node[n].in[i] = in[i];
    }
    for (int o = 0; o < nout; o++) {
        graph->node[n].out[o] = out[o];
        graph->value[out[o]].producer = n;
        graph->value[out[o]].output = o;
        plan->value[out[o]].here = true;
    }
    graph->nnodes++;
    return n;
}

void dpt_plan__add_collective(struct dpt_plan__localizer *local, const struct dpt_op *op,
                              struct dpt_collective_param param, int in, int out)
{
    const void *copy = dpt_arena_memdup(local->plan->arena, &param, sizeof param);
    dpt_plan__add_node(local, op, copy, -1, in >= 0, &in, out >= 0, &out);
}

/* ------------------------------------------------------------------------------------------------ edges */

/* Brings value `id`, a form of `of`, to another place on one axis, copied ones with a border; returns the new form. */
static int move(struct dpt_plan__localizer *local, int of, int id, int axis, struct dpt_place want, int border)
{
    static const char *const what[] = {
        [DPT_PLACE_KIND_COPIED] = "whole", [DPT_PLACE_KIND_SPLIT] = "part", [DPT_PLACE_KIND_PARTIAL] = "sum"};
    struct dpt_plan__form form = form_at(local, id);
    const struct dpt_place have = form.place[axis];
    form.place[axis] = want;
    form.border[axis] = have.kind == DPT_PLACE_KIND_COPIED ? border : 0;
    const struct dpt_collective_param param = {
        .axis = axis,
        .from = have.kind == DPT_PLACE_KIND_SPLIT ? have.dim : -1,
        .to = want.kind == DPT_PLACE_KIND_SPLIT ? want.dim : -1,
        .message = -1,
    };
    const struct dpt_op *op = have.kind == DPT_PLACE_KIND_PARTIAL
                                  ? (want.kind == DPT_PLACE_KIND_SPLIT ? &dpt_op_reduce_scatter : &dpt_op_all_reduce)
                              : have.kind == DPT_PLACE_KIND_COPIED ? &dpt_op_part
                              : want.kind == DPT_PLACE_KIND_SPLIT  ? &dpt_op_all_to_all
                                                                   : &dpt_op_all_gather;
    const int out = dpt_plan__add_value(local, of, &form, what[want.kind]);
    dpt_plan__add_collective(local, op, param, id, out);
    return out;
}

int dpt_plan__move_border(struct dpt_plan__localizer *local, int of, int id, int axis, int border, bool sum)
{
    struct dpt_plan__form form = form_at(local, id);
    const int dim = form.place[axis].dim;
    form.border[axis] = border;
    const int out = dpt_plan__add_value(local, of, &form, sum ? "sum" : "with border");
    dpt_plan__add_collective(local, sum ? &dpt_op_halo_sum : &dpt_op_halo,
                   (struct dpt_collective_param){.axis = axis, .from = dim, .to = dim, .message = -1}, id, out);
    return out;
}

int dpt_plan__find_message(const struct dpt_plan__localizer *local, int value, int to)
{
    int m = local->message_of[value];
    while (m >= 0 && local->plan->message[m].to != to) {
        m = local->message_next[m];
    }
    return m;
}

static int receive(struct dpt_plan__localizer *local, int value)
{
    const int m = dpt_plan__find_message(local, value, local->coord);
    DPT_ASSERT(m >= 0);
    const struct dpt_plan__form form = dpt_plan__form_as(local->plan->message[m].place);
    const int out = dpt_plan__add_value(local, value, &form, "received");
    local->plan->message[m].value = out;
    dpt_plan__add_collective(local, &dpt_op_receive,
                             (struct dpt_collective_param){.axis = -1, .from = -1, .to = -1, .message = m}, -1, out);
    return out;
}

/* The form of a logical value that lies as `want`, or -1. *oldest: the one that was produced, given or received, or -1. */
static int find_form(const struct dpt_plan__localizer *local, int value, const struct dpt_plan__form *want, int *oldest)
{
    int found = -1;
    *oldest = -1;
    for (int at = local->first[value]; at >= 0; at = local->next[at]) {
        found = found < 0 && is_form(local->plan, &local->plan->value[at], want) ? at : found;
        *oldest = at;
    }
    return found;
}

/* Moves the oldest form, `id`, to where `want` says, but for borders of what is split. */
static enum dpt_status make_form(struct dpt_plan__localizer *local, int value, const struct dpt_plan__form *want, int id,
                                 int *form)
{
    const struct dpt_plan *plan = local->plan;
    for (int pass = 0; pass < 2; pass++) { /* sums and gathers, the fastest axis first; then parts */
        for (int k = 0; k < plan->conf.mesh->naxes; k++) {
            const int axis = pass == 0 ? plan->conf.mesh->naxes - 1 - k : k;
            const struct dpt_place have = plan->value[id].place[axis], to = want->place[axis];
            const enum dpt_plan__axis kind = dpt_plan__axis_kind(plan->conf.mesh, axis);
            if (is_same(plan, &plan->value[id], want, axis) || (have.kind == DPT_PLACE_KIND_COPIED) != (pass == 1)) {
                continue;
            }
            DPT_CHECK(to.kind != DPT_PLACE_KIND_PARTIAL && kind != DPT_PLAN__AXIS_PIPELINE &&
                          (kind != DPT_PLAN__AXIS_DATA || to.kind == DPT_PLACE_KIND_COPIED),
                      DPT_STATUS_FAILED, "%s: cannot be brought to the place that %s wants on axis %s",
                      local->logical->value[value].name, local->layer, plan->conf.mesh->axis[axis].name);
            id = move(local, value, id, axis, to, want->border[axis]);
        }
    }
    *form = id;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_plan__form_of(struct dpt_plan__localizer *local, int value, const struct dpt_plan__form *want,
                                  int *form)
{
    const struct dpt_plan *plan = local->plan;
    int oldest;
    *form = find_form(local, value, want, &oldest);
    if (*form >= 0) {
        return DPT_STATUS_OK;
    }
    oldest = oldest >= 0 ? oldest : receive(local, value);
    /* A part of what is copied is cut with its border; to other parts it is added. */
    struct dpt_plan__form base = *want;
    for (int axis = 0; axis < plan->conf.mesh->naxes; axis++) {
        base.border[axis] = plan->value[oldest].place[axis].kind == DPT_PLACE_KIND_COPIED ? want->border[axis] : 0;
    }
    int id = find_form(local, value, &base, &oldest);
    if (id < 0) {
        DPT_TRY(make_form(local, value, &base, oldest, &id));
    }
    for (int axis = 0; axis < plan->conf.mesh->naxes; axis++) {
        if (!is_same(plan, &plan->value[id], want, axis)) {
            id = dpt_plan__move_border(local, value, id, axis, want->border[axis], false);
        }
    }
    *form = id;
    return DPT_STATUS_OK;
}

