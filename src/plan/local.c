/* SPDX-License-Identifier: Apache-2.0 */

/*
 * From the logical graph to the graph of this rank: the nodes of its stages with the shapes of its parts, and on the
 * edges what brings a value from the place that it has to the place that its reader wants. Collectives, sends and receives
 * are nodes like others.
 *
 * A value of the logical graph keeps its number here in the place in which it is produced; its other forms are further
 * values, each made once, before its first reader. Sends stand behind their producer, receives before their first reader.
 */

#include <string.h>

#include "op/collective.h"
#include "op/linear.h"
#include "plan/internal.h"

struct localizer {
    struct dpt_plan *plan;
    const struct dpt_graph *logical;
    struct dpt_graph *graph;
    const struct dpt_plan__placed *placed;
    int coord;            /* of this rank on the pipeline axis                                          */
    int *first;           /* of each logical value: its newest form, -1; next: the one before           */
    int *next;            /* of each value                                                              */
    int *target;          /* of each logical value: the value it is written to (a gradient), or itself  */
    int *message_of;      /* of each logical value: its newest message, -1                              */
    size_t next_capacity, value_capacity, node_capacity, unit_capacity, message_capacity;
    int *message_next;    /* of each message: the next of the same value, -1                            */
    size_t message_next_capacity;
    const char *layer;    /* of the logical node at work, with its phase and chunk: what is put in gets them */
    enum dpt_phase phase;
    int chunk;
};

/* On such an axis nothing has to be moved: one rank, or virtual shards that are each whole. */
static bool is_idle(const struct dpt_plan *plan, int axis)
{
    return plan->conf.mesh->axis[axis].size == 1 ||
           (plan->conf.shards > 0 && dpt_plan__axis_kind(plan->conf.mesh, axis) == DPT_PLAN__AXIS_DATA);
}

static bool same_place(const struct dpt_plan *plan, const struct dpt_place *a, const struct dpt_place *b)
{
    for (int axis = 0; axis < plan->conf.mesh->naxes; axis++) {
        const bool split = a[axis].kind == DPT_PLACE_KIND_SPLIT;
        if (!is_idle(plan, axis) && (a[axis].kind != b[axis].kind || (split && a[axis].dim != b[axis].dim))) {
            return false;
        }
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------ sizes of parts */

/*
 * Begin and length of a dimension at a place of the mesh: all axes that split it, the first the slowest, make one
 * partition (so that splits over several axes are not nested roundings).
 */
static void part_of(const struct dpt_mesh *mesh, const struct dpt_place *place, int dim, int64_t whole, int axis,
                    int coord, int64_t *begin, int64_t *length)
{
    int parts = 1, part = 0;
    for (int a = 0; a < mesh->naxes; a++) {
        if (place[a].kind == DPT_PLACE_KIND_SPLIT && place[a].dim == dim) {
            parts *= mesh->axis[a].size;
            part = part * mesh->axis[a].size + (a == axis ? coord : mesh->axis[a].coord);
        }
    }
    *begin = dpt_split_begin(whole, parts, part);
    *length = dpt_split_begin(whole, parts, part + 1) - *begin;
}

int64_t dpt_plan_extent(const struct dpt_plan *plan, int value, int dim, int axis, int coord)
{
    const struct dpt_plan_value *at = &plan->value[value];
    int64_t begin, length;
    part_of(plan->conf.mesh, at->place, dim, at->part.whole[dim], axis, coord, &begin, &length);
    return length;
}

/* Local type and part of a value with this logical type; the sample dimension stays whole: its rows change. */
static void set_local(struct localizer *local, int id, const struct dpt_type *logical)
{
    struct dpt_plan *plan = local->plan;
    struct dpt_plan_value *value = &plan->value[id];
    struct dpt_value *at = &local->graph->value[id];
    at->type = *logical;
    for (int d = 0; d < logical->ndim; d++) {
        value->part.whole[d] = logical->dim[d];
        if (d > 0 || !at->batch) {
            part_of(plan->conf.mesh, value->place, d, logical->dim[d], -1, 0, &value->part.begin[d], &at->type.dim[d]);
        }
    }
}

/* ------------------------------------------------------------------------------------------------ values and nodes */

/* A further form of logical value `of`. */
static int add_value(struct localizer *local, int of, const struct dpt_place *place, const char *what)
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
        .name = dpt_arena_printf(plan->arena, "%s (%s)", local->logical->value[of].name, what),
        .kind = DPT_VALUE_KIND_ACTIVATION,
        .batch = local->logical->value[of].batch,
        .producer = -1,
        .of = -1,
        .gradient = -1,
    };
    plan->value[id] = (struct dpt_plan_value){.alias = -1, .offset = -1, .here = true};
    memcpy(plan->value[id].place, place, sizeof plan->value[id].place);
    set_local(local, id, &local->logical->value[of].type);
    local->next[id] = local->first[of];
    local->first[of] = id;
    return id;
}

static int add_node(struct localizer *local, const struct dpt_op *op, const void *param, int logical, int nin,
                    const int *in, int nout, const int *out)
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

static void add_collective(struct localizer *local, const struct dpt_op *op, struct dpt_collective_param param, int in,
                           int out)
{
    const void *copy = dpt_arena_memdup(local->plan->arena, &param, sizeof param);
    add_node(local, op, copy, -1, in >= 0, &in, out >= 0, &out);
}

/* ------------------------------------------------------------------------------------------------ edges */

/* Brings value `id`, a form of `of`, to another place on one axis; returns the new form. */
static int move(struct localizer *local, int of, int id, int axis, struct dpt_place want)
{
    static const char *const what[] = {
        [DPT_PLACE_KIND_COPIED] = "whole", [DPT_PLACE_KIND_SPLIT] = "part", [DPT_PLACE_KIND_PARTIAL] = "sum"};
    struct dpt_place place[DPT_MESH_MAX_AXES];
    memcpy(place, local->plan->value[id].place, sizeof place);
    const struct dpt_place have = place[axis];
    place[axis] = want;
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
    const int out = add_value(local, of, place, what[want.kind]);
    add_collective(local, op, param, id, out);
    return out;
}

/* The message that brings a value to a place of the pipeline axis, or -1. */
static int find_message(const struct localizer *local, int value, int to)
{
    int m = local->message_of[value];
    while (m >= 0 && local->plan->message[m].to != to) {
        m = local->message_next[m];
    }
    return m;
}

static int receive(struct localizer *local, int value)
{
    const int m = find_message(local, value, local->coord);
    DPT_ASSERT(m >= 0);
    const int out = add_value(local, value, local->plan->message[m].place, "received");
    local->plan->message[m].value = out;
    add_collective(local, &dpt_op_receive, (struct dpt_collective_param){.axis = -1, .from = -1, .to = -1, .message = m},
                   -1, out);
    return out;
}

/* The form of a logical value that lies as `want`, made where there is none yet. */
static enum dpt_status form_of(struct localizer *local, int value, const struct dpt_place *want, int *form)
{
    const struct dpt_plan *plan = local->plan;
    int id = -1;
    for (int at = local->first[value]; at >= 0; at = local->next[at]) {
        if (same_place(plan, plan->value[at].place, want)) {
            *form = at;
            return DPT_STATUS_OK;
        }
        id = at; /* the oldest: as it was produced, given or received */
    }
    id = id >= 0 ? id : receive(local, value);
    for (int pass = 0; pass < 2; pass++) { /* sums and gathers, the fastest axis first; then parts */
        for (int k = 0; k < plan->conf.mesh->naxes; k++) {
            const int axis = pass == 0 ? plan->conf.mesh->naxes - 1 - k : k;
            const struct dpt_place have = plan->value[id].place[axis];
            const bool same = have.kind == want[axis].kind &&
                              (have.kind != DPT_PLACE_KIND_SPLIT || have.dim == want[axis].dim);
            if (is_idle(plan, axis) || same || (have.kind == DPT_PLACE_KIND_COPIED) != (pass == 1)) {
                continue;
            }
            DPT_CHECK(want[axis].kind != DPT_PLACE_KIND_PARTIAL &&
                          dpt_plan__axis_kind(plan->conf.mesh, axis) != DPT_PLAN__AXIS_PIPELINE &&
                          (dpt_plan__axis_kind(plan->conf.mesh, axis) != DPT_PLAN__AXIS_DATA ||
                           want[axis].kind == DPT_PLACE_KIND_COPIED),
                      DPT_STATUS_FAILED, "%s: cannot be brought to the place that %s wants on axis %s",
                      local->logical->value[value].name, local->layer, plan->conf.mesh->axis[axis].name);
            id = move(local, value, id, axis, want[axis]);
        }
    }
    *form = id;
    return DPT_STATUS_OK;
}

static void want_places(const struct localizer *local, int n, int i, struct dpt_place *want)
{
    memset(want, 0, DPT_MESH_MAX_AXES * sizeof *want);
    for (int axis = 0; axis < local->plan->conf.mesh->naxes; axis++) {
        want[axis] = dpt_plan__want(local->placed, local->logical, n, i, axis);
    }
}

/* ------------------------------------------------------------------------------------------------ messages */

static void add_message(struct localizer *local, int value, int to, const struct dpt_place *place)
{
    struct dpt_plan *plan = local->plan;
    const int m = plan->nmessages;
    plan->message = dpt_arena_grow(plan->arena, plan->message, (size_t)m, &local->message_capacity,
                                   sizeof *plan->message);
    local->message_next = dpt_arena_grow(plan->arena, local->message_next, (size_t)m, &local->message_next_capacity,
                                         sizeof *local->message_next);
    plan->message[m] = (struct dpt_plan_message){
        .from = local->placed->coord[local->logical->value[value].producer],
        .to = to,
        .value = -1,
    };
    memcpy(plan->message[m].place, place, sizeof plan->message[m].place);
    local->message_next[m] = local->message_of[value];
    local->message_of[value] = m;
    plan->nmessages++;
}

/* Every value that is read on another stage than its own goes there once, as its first reader wants it. */
static void find_messages(struct localizer *local)
{
    const struct dpt_graph *graph = local->logical;
    for (int v = 0; v < graph->nvalues; v++) {
        local->message_of[v] = -1;
    }
    for (int n = 0; n < graph->nnodes; n++) {
        const struct dpt_node *node = &graph->node[n];
        for (int i = 0; !node->op->update && !local->placed->joint[n] && i < node->nin; i++) {
            const int producer = graph->value[node->in[i]].producer;
            if (producer >= 0 && local->placed->coord[producer] != local->placed->coord[n] &&
                find_message(local, node->in[i], local->placed->coord[n]) < 0) {
                struct dpt_place want[DPT_MESH_MAX_AXES];
                want_places(local, n, i, want);
                add_message(local, node->in[i], local->placed->coord[n], want);
            }
        }
    }
}

static enum dpt_status send_outputs(struct localizer *local, const struct dpt_node *node)
{
    for (int o = 0; o < node->nout; o++) {
        for (int m = local->message_of[node->out[o]]; m >= 0; m = local->message_next[m]) {
            int id;
            DPT_TRY(form_of(local, node->out[o], local->plan->message[m].place, &id));
            local->plan->message[m].value = id;
            add_collective(local, &dpt_op_send,
                           (struct dpt_collective_param){.axis = -1, .from = -1, .to = -1, .message = m}, id, -1);
        }
    }
    return DPT_STATUS_OK;
}

/* ------------------------------------------------------------------------------------------------ joint sums */

/* True when this rank computes the value, or a part of the joint sum that it is. */
static bool contributes(const struct localizer *local, int value)
{
    const int producer = local->logical->value[value].producer;
    if (!local->placed->joint[producer]) {
        return local->placed->coord[producer] == local->coord;
    }
    const struct dpt_node *node = &local->logical->node[producer];
    return contributes(local, node->in[0]) || contributes(local, node->in[1]);
}

/* Lets a joint sum of which this rank has one term be written by that term; newest first, so that sums of sums pass on. */
static void aim_terms(struct localizer *local)
{
    const struct dpt_graph *graph = local->logical;
    for (int v = 0; v < graph->nvalues; v++) {
        local->target[v] = v;
    }
    for (int n = graph->nnodes - 1; n >= 0; n--) {
        const struct dpt_node *node = &graph->node[n];
        if (local->placed->joint[n]) {
            const bool left = contributes(local, node->in[0]), right = contributes(local, node->in[1]);
            if (left != right) {
                local->target[node->in[left ? 0 : 1]] = local->target[node->out[0]];
            }
        }
    }
}

/* ------------------------------------------------------------------------------------------------ nodes */

/* True when this rank runs the node. */
static bool is_mine(const struct localizer *local, int n)
{
    const struct dpt_node *node = &local->logical->node[n];
    if (local->placed->joint[n]) {
        return contributes(local, node->in[0]) && contributes(local, node->in[1]);
    }
    return local->placed->coord[n] == local->coord;
}

/* The op without bias and activation, the sum over the ranks, then these. */
static enum dpt_status add_stripped(struct localizer *local, int n, const int *in)
{
    const struct dpt_node *node = &local->logical->node[n];
    const int y = node->out[0];
    struct dpt_place place[DPT_MESH_MAX_AXES];
    enum dpt_activation_kind act;
    const void *bare;
    int sum, operands[2];
    memcpy(place, local->plan->value[y].place, sizeof place);
    for (int axis = 0; axis < local->plan->conf.mesh->naxes; axis++) {
        place[axis].kind = local->placed->stripped[n] >> axis & 1 ? DPT_PLACE_KIND_PARTIAL : place[axis].kind;
    }
    DPT_ASSERT(dpt_plan__strip(node, local->plan->arena, &bare, &act));
    const int first = local->first[y]; /* the result itself is no form to start from yet */
    local->first[y] = -1;
    const int product = add_value(local, y, place, "of this rank");
    add_node(local, node->op, bare, n, node->nin > 2 ? 2 : node->nin, in, 1, &product);
    const bool more = node->nin > 2 || act != DPT_ACTIVATION_KIND_NONE;
    DPT_TRY(form_of(local, y, local->plan->value[y].place, &sum));
    local->first[y] = first;
    const struct dpt_linear_param param = {more ? act : DPT_ACTIVATION_KIND_NONE};
    operands[0] = sum;
    operands[1] = node->nin > 2 ? in[2] : -1;
    add_node(local, &dpt_op_bias_act, dpt_arena_memdup(local->plan->arena, &param, sizeof param), -1,
             node->nin > 2 ? 2 : 1, operands, 1, &y);
    return DPT_STATUS_OK;
}

/* Parameters of an op whose sizes are those of the part. */
static const void *resized(struct localizer *local, const struct dpt_node *node, const int *in, const int *out)
{
    if (!node->op->resize) {
        return node->param;
    }
    struct dpt_op_types types = {.param = node->param, .nin = node->nin, .nout = node->nout};
    void *param = dpt_arena_memdup(local->plan->arena, node->param, node->op->param_nbytes);
    for (int i = 0; i < node->nin; i++) {
        types.in[i] = local->graph->value[in[i]].type;
    }
    for (int o = 0; o < node->nout; o++) {
        types.out[o] = local->graph->value[out[o]].type;
    }
    node->op->resize(&types, param);
    return param;
}

/* The op's own rule must give the sizes that follow from the letters. */
static enum dpt_status check_types(const struct localizer *local, int n)
{
    const struct dpt_node *node = &local->graph->node[n];
    struct dpt_op_types types, shaped;
    dpt_graph_types(local->graph, node, &types);
    shaped = types;
    DPT_CHECK(node->op->shape(&shaped) == DPT_STATUS_OK, DPT_STATUS_FAILED, "%s: %s cannot run on this rank's part: %s",
              node->name, node->op->name, dpt_error_text());
    for (int o = 0; o < node->nout; o++) {
        char want[96], got[96];
        DPT_CHECK(dpt_type_equal(&types.out[o], &shaped.out[o]), DPT_STATUS_FAILED,
                  "%s: %s gives %s on this rank's part, its letters say %s", node->name, node->op->name,
                  dpt_type_text(got, sizeof got, &shaped.out[o]), dpt_type_text(want, sizeof want, &types.out[o]));
    }
    return DPT_STATUS_OK;
}

static enum dpt_status add_logical(struct localizer *local, int n)
{
    const struct dpt_node *node = &local->logical->node[n];
    int in[DPT_OP_MAX_IN], out[DPT_OP_MAX_OUT];
    local->layer = node->name;
    local->phase = node->phase;
    local->chunk = local->placed->chunk[n];
    for (int i = 0; i < node->nin; i++) {
        struct dpt_place want[DPT_MESH_MAX_AXES];
        want_places(local, n, i, want);
        DPT_TRY(form_of(local, node->in[i], want, &in[i]));
    }
    for (int o = 0; o < node->nout; o++) {
        out[o] = local->target[node->out[o]];
        local->first[node->out[o]] = out[o];
    }
    if (local->placed->stripped[n]) {
        DPT_TRY(add_stripped(local, n, in));
    } else {
        const int at = add_node(local, node->op, resized(local, node, in, out), n, node->nin, in, node->nout, out);
        DPT_TRY(check_types(local, at));
    }
    return send_outputs(local, node);
}

/* ------------------------------------------------------------------------------------------------ the whole */

/* The values of the logical graph, with the sizes of this rank's parts. */
static void begin(struct localizer *local)
{
    struct dpt_plan *plan = local->plan;
    const struct dpt_graph *logical = local->logical;
    struct dpt_graph *graph = dpt_arena_alloc(plan->arena, sizeof *graph);
    const size_t count = (size_t)logical->nvalues;
    *graph = *logical;
    graph->arena = plan->arena;
    graph->value = dpt_arena_memdup(plan->arena, logical->value, count * sizeof *graph->value);
    graph->node = NULL;
    graph->nnodes = 0;
    plan->graph = local->graph = graph;
    plan->value = dpt_arena_array(plan->arena, count, sizeof *plan->value);
    local->value_capacity = local->next_capacity = count;
    local->first = dpt_arena_array(plan->arena, count, sizeof *local->first);
    local->next = dpt_arena_array(plan->arena, count, sizeof *local->next);
    local->target = dpt_arena_array(plan->arena, count, sizeof *local->target);
    local->message_of = dpt_arena_array(plan->arena, count, sizeof *local->message_of);
    for (int v = 0; v < logical->nvalues; v++) {
        const enum dpt_value_kind kind = logical->value[v].kind;
        const bool state = kind == DPT_VALUE_KIND_PARAM || kind == DPT_VALUE_KIND_BUFFER;
        plan->value[v] = (struct dpt_plan_value){.alias = -1, .offset = -1};
        memcpy(plan->value[v].place, local->placed->place[v], sizeof plan->value[v].place);
        plan->value[v].here = kind == DPT_VALUE_KIND_INPUT || (state && (local->placed->holders[v] >> local->coord & 1));
        set_local(local, v, &logical->value[v].type);
        graph->value[v].producer = -1;
        local->next[v] = -1;
        local->first[v] = logical->value[v].producer < 0 ? v : -1;
    }
    for (int v = 0; v < logical->nvalues; v++) {
        const int of = logical->value[v].of;
        if (logical->value[v].kind == DPT_VALUE_KIND_SLOT || logical->value[v].kind == DPT_VALUE_KIND_GRADIENT) {
            plan->value[v].here = plan->value[of].here;
        }
    }
}

/* What this rank does not have is no role of its graph. */
static void set_roles(struct localizer *local)
{
    struct dpt_graph *graph = local->graph;
    int *role[] = {&graph->output, &graph->loss, &graph->metric};
    for (size_t i = 0; i < sizeof role / sizeof role[0]; i++) {
        if (*role[i] >= 0 && local->logical->value[*role[i]].producer >= 0 &&
            graph->value[*role[i]].producer < 0) {
            *role[i] = -1;
        }
    }
}

/* Updates of the parameters that are here: they name op, settings and slots; the layout makes ranges of them. */
static void add_updates(struct localizer *local)
{
    for (int n = 0; n < local->logical->nnodes; n++) {
        const struct dpt_node *node = &local->logical->node[n];
        if (node->op->update && local->plan->value[node->in[0]].here) {
            local->layer = node->name;
            local->phase = node->phase;
            local->chunk = 0;
            add_node(local, node->op, node->param, n, node->nin, node->in, 0, NULL);
        }
    }
}

/* Parts of operands, for kernels that ask where they are. */
static void set_parts(struct localizer *local)
{
    struct dpt_plan *plan = local->plan;
    for (int n = 0; n < local->graph->nnodes; n++) {
        const struct dpt_node *node = &local->graph->node[n];
        struct dpt_op_part part[DPT_OP_MAX_IN + DPT_OP_MAX_OUT];
        bool any = false;
        for (int i = 0; i < node->nin + node->nout; i++) {
            const int value = i < node->nin ? node->in[i] : node->out[i - node->nin];
            const struct dpt_value *at = &local->graph->value[value];
            part[i] = plan->value[value].part;
            for (int d = at->batch; d < at->type.ndim; d++) {
                any = any || part[i].whole[d] != at->type.dim[d];
            }
        }
        if (any && !node->op->collective) {
            plan->node[n].part =
                dpt_arena_memdup(plan->arena, part, (size_t)(node->nin + node->nout) * sizeof *part);
        }
    }
}

enum dpt_status dpt_plan__local(struct dpt_plan *plan, const struct dpt_plan__placed *placed)
{
    const int axis = dpt_plan__axis_of(plan->conf.mesh, DPT_PLAN__AXIS_PIPELINE);
    struct localizer local = {
        .plan = plan,
        .logical = plan->logical,
        .placed = placed,
        .coord = axis >= 0 ? plan->conf.mesh->axis[axis].coord : 0,
    };
    begin(&local);
    find_messages(&local);
    aim_terms(&local);
    /* Where a schedule puts the weight gradients off, what they share with the input gradients is made for these. */
    const bool late = dpt_pipeline_splits_weights(&plan->pipeline);
    for (int pass = 0; pass <= late; pass++) {
        for (int n = 0; n < plan->logical->nnodes; n++) {
            const struct dpt_node *node = &plan->logical->node[n];
            const bool now = !late || (node->phase == DPT_PHASE_WEIGHT_GRADIENT) == (pass == 1);
            if (!node->op->update && now && is_mine(&local, n)) {
                DPT_TRY(add_logical(&local, n));
            }
        }
    }
    add_updates(&local);
    set_roles(&local);
    set_parts(&local);
    return DPT_STATUS_OK;
}
