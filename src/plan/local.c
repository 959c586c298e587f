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
#include "plan/local.h"

static struct dpt_plan__form wanted(const struct dpt_plan__localizer *local, int n, int i)
{
    struct dpt_plan__form want = {.border = {0}};
    for (int axis = 0; axis < local->plan->conf.mesh->naxes; axis++) {
        want.place[axis] = dpt_plan__want(local->placed, local->logical, n, i, axis);
    }
    return want;
}

/* Sets the borders of an operand that is an image, where the node has a part of its windows; true: there is one. */
static bool set_borders(struct dpt_plan__localizer *local, int n, int operand, struct dpt_plan__form *form)
{
    const struct dpt_node *node = &local->logical->node[n];
    struct dpt_op_types types;
    bool any = false;
    dpt_graph_types(local->logical, node, &types);
    for (int axis = 0; axis < local->plan->conf.mesh->naxes; axis++) {
        const char letter = local->placed->letter[n][axis];
        if (letter && !dpt_plan__is_idle(local->plan, axis) && dpt_op_is_image(node->op, node->nin, operand, letter)) {
            const int dim = dpt_op_index_dim(node->op, &types, operand, letter);
            const int64_t whole = operand < types.nin ? types.in[operand].dim[dim] : types.out[0].dim[dim];
            struct dpt_op_window window;
            node->op->window(&types, letter, &window);
            form->border[axis] = dpt_plan__border(local->plan, &window, dpt_plan__windows(node->op, &types, letter),
                                                  axis, whole);
            any = any || form->border[axis];
        }
    }
    return any;
}

/* ------------------------------------------------------------------------------------------------ messages */

static void add_message(struct dpt_plan__localizer *local, int value, int to, int window, const struct dpt_place *place)
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
        .window = window,
    };
    memcpy(plan->message[m].place, place, sizeof plan->message[m].place);
    local->message_next[m] = local->message_of[value];
    local->message_of[value] = m;
    plan->nmessages++;
}

/*
 * Two are enough to compute one while the other travels. But what a backward pass reads first, on another rank than the
 * forward pass, is taken only when that has gone through all micro-batches that the schedule has under way.
 */
static int window_of(const struct dpt_plan *plan, enum dpt_phase from, enum dpt_phase to)
{
    const bool kept = from == DPT_PHASE_FORWARD && to != DPT_PHASE_FORWARD &&
                      plan->pipeline.schedule != DPT_PIPELINE_NONE;
    return kept || plan->pipeline.micros < 2 ? plan->pipeline.micros : 2;
}

/* Every value that is read on another stage than its own goes there once, as its first reader wants it. */
static void find_messages(struct dpt_plan__localizer *local)
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
                dpt_plan__find_message(local, node->in[i], local->placed->coord[n]) < 0) {
                const struct dpt_plan__form want = wanted(local, n, i);
                const int window = window_of(local->plan, graph->node[producer].phase, node->phase);
                add_message(local, node->in[i], local->placed->coord[n], window, want.place);
            }
        }
    }
}

static enum dpt_status send_outputs(struct dpt_plan__localizer *local, const struct dpt_node *node)
{
    for (int o = 0; o < node->nout; o++) {
        for (int m = local->message_of[node->out[o]]; m >= 0; m = local->message_next[m]) {
            const struct dpt_plan__form want = dpt_plan__form_as(local->plan->message[m].place);
            int id;
            DPT_TRY(dpt_plan__form_of(local, node->out[o], &want, &id));
            local->plan->message[m].value = id;
            dpt_plan__add_collective(local, &dpt_op_send,
                           (struct dpt_collective_param){.axis = -1, .from = -1, .to = -1, .message = m}, id, -1);
        }
    }
    return DPT_STATUS_OK;
}

/* ------------------------------------------------------------------------------------------------ joint sums */

/* True when this rank computes the value, or a part of the joint sum that it is. */
static bool contributes(const struct dpt_plan__localizer *local, int value)
{
    const int producer = local->logical->value[value].producer;
    if (!local->placed->joint[producer]) {
        return local->placed->coord[producer] == local->coord;
    }
    const struct dpt_node *node = &local->logical->node[producer];
    return contributes(local, node->in[0]) || contributes(local, node->in[1]);
}

/* Lets a joint sum of which this rank has one term be written by that term; newest first, so that sums of sums pass on. */
static void aim_terms(struct dpt_plan__localizer *local)
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
static bool is_mine(const struct dpt_plan__localizer *local, int n)
{
    const struct dpt_node *node = &local->logical->node[n];
    if (local->placed->joint[n]) {
        return contributes(local, node->in[0]) && contributes(local, node->in[1]);
    }
    return local->placed->coord[n] == local->coord;
}

/* Parameters of an op whose sizes are those of the part. */
static const void *resized(struct dpt_plan__localizer *local, const struct dpt_op *op, const void *param, int nin,
                           const int *in, int nout, const int *out)
{
    if (!op->resize) {
        return param;
    }
    struct dpt_op_types types = {.param = param, .nin = nin, .nout = nout};
    struct dpt_op_part place[DPT_OP_MAX_IN + DPT_OP_MAX_OUT];
    void *copy = dpt_arena_memdup(local->plan->arena, param, op->param_nbytes);
    for (int i = 0; i < nin; i++) {
        types.in[i] = local->graph->value[in[i]].type;
        place[i] = local->plan->value[in[i]].part;
    }
    for (int o = 0; o < nout; o++) {
        types.out[o] = local->graph->value[out[o]].type;
        place[nin + o] = local->plan->value[out[o]].part;
    }
    op->resize(&types, place, copy);
    return copy;
}

/* The op's own rule must give the sizes that follow from the letters. */
static enum dpt_status check_types(const struct dpt_plan__localizer *local, int n)
{
    const struct dpt_node *node = &local->graph->node[n];
    struct dpt_op_types types, shaped;
    dpt_graph_types(local->graph, node, &types);
    shaped = types;
    DPT_CHECK(dpt_op_shape(node->op, &shaped) == DPT_STATUS_OK, DPT_STATUS_FAILED, "%s: %s cannot run on this rank's part: %s",
              node->name, node->op->name, dpt_error_text());
    for (int o = 0; o < node->nout; o++) {
        char want[96], got[96];
        DPT_CHECK(dpt_type_equal(&types.out[o], &shaped.out[o]), DPT_STATUS_FAILED,
                  "%s: %s gives %s on this rank's part, its letters say %s", node->name, node->op->name,
                  dpt_type_text(got, sizeof got, &shaped.out[o]), dpt_type_text(want, sizeof want, &types.out[o]));
    }
    return DPT_STATUS_OK;
}

/* The op without what follows its sum, the sum over the ranks, then that. */
static enum dpt_status add_stripped(struct dpt_plan__localizer *local, int n, const int *in)
{
    const struct dpt_node *node = &local->logical->node[n];
    const int y = node->out[0];
    const struct dpt_plan__form whole = dpt_plan__form_as(local->plan->value[y].place);
    struct dpt_plan__form part = whole;
    struct dpt_op_rest rest;
    const void *bare;
    int operands[DPT_OP_MAX_IN] = {-1};
    const int nin = node->nin > 2 ? 2 : node->nin;
    for (int axis = 0; axis < local->plan->conf.mesh->naxes; axis++) {
        part.place[axis].kind = local->placed->stripped[n] >> axis & 1 ? DPT_PLACE_KIND_PARTIAL : part.place[axis].kind;
    }
    DPT_ASSERT(dpt_plan__strip(node, local->plan->arena, &bare, &rest));
    const int first = local->first[y]; /* the result itself is no form to start from yet */
    local->first[y] = -1;
    const int product = dpt_plan__add_value(local, y, &part, "of this rank");
    dpt_plan__add_node(local, node->op, resized(local, node->op, bare, nin, in, 1, &product), n, nin, in, 1, &product);
    DPT_TRY(dpt_plan__form_of(local, y, &whole, &operands[0]));
    local->first[y] = first;
    memcpy(operands + 1, in + nin, (size_t)(node->nin - nin) * sizeof *operands);
    const void *param = dpt_arena_memdup(local->plan->arena, rest.param, rest.op->param_nbytes);
    return check_types(local, dpt_plan__add_node(local, rest.op, param, -1, 1 + node->nin - nin, operands, node->nout,
                                                 node->out));
}

/* The op gives what its windows add to the image; the sum is taken behind it. */
static enum dpt_status add_spreading(struct dpt_plan__localizer *local, int n, const struct dpt_plan__form *form,
                                     const int *in, int *out)
{
    const struct dpt_node *node = &local->logical->node[n];
    const int y = node->out[0], target = out[0];
    out[0] = dpt_plan__add_value(local, y, form, "of windows here");
    const void *param = resized(local, node->op, node->param, node->nin, in, node->nout, out);
    DPT_TRY(check_types(local, dpt_plan__add_node(local, node->op, param, n, node->nin, in, node->nout, out)));
    int last = -1, id = out[0];
    for (int axis = 0; axis < local->plan->conf.mesh->naxes; axis++) {
        last = form->border[axis] ? axis : last;
    }
    for (int axis = 0; axis < last; axis++) {
        id = form->border[axis] ? dpt_plan__move_border(local, y, id, axis, 0, true) : id;
    }
    const int dim = form->place[last].dim;
    dpt_plan__add_collective(local, &dpt_op_halo_sum,
                   (struct dpt_collective_param){.axis = last, .from = dim, .to = dim, .message = -1}, id, target);
    local->first[y] = target; /* the others are no form that anyone may read */
    return DPT_STATUS_OK;
}

/* The axis along which the node is split in steps, or -1. */
static int axis_of_steps(const struct dpt_plan__localizer *local, int n)
{
    const struct dpt_op *op = local->logical->node[n].op;
    int found = -1;
    for (int axis = 0; axis < local->plan->conf.mesh->naxes && op->stat; axis++) {
        const char letter = local->placed->letter[n][axis];
        found = letter && strchr(op->stat, letter) && !dpt_plan__is_idle(local->plan, axis) ? axis : found;
    }
    return found;
}

/* Runs one step: adds the values that it gives, or takes those of the op, to `value`, of which there are *count. */
static enum dpt_status add_step(struct dpt_plan__localizer *local, int n, int axis, const struct dpt_op_step *step,
                                int *value, int *count)
{
    const struct dpt_node *node = &local->logical->node[n];
    const struct dpt_op *op = dpt_op_find(step->op);
    local->narrow = step->out >= 0 ? (unsigned char)(node->narrow >> step->out) : 0;
    struct dpt_op_types types = {
        .param = node->param, .nin = step->nin, .half = local->half, .narrow = local->narrow};
    int in[DPT_OP_MAX_IN], *out = value + *count;
    for (int i = 0; i < step->nin; i++) {
        in[i] = value[step->in[i]];
        types.in[i] = local->graph->value[in[i]].type;
    }
    DPT_CHECK(dpt_op_shape(op, &types) == DPT_STATUS_OK, DPT_STATUS_FAILED, "%s: %s cannot run on this rank's part: %s",
              node->name, op->name, dpt_error_text());
    for (int o = 0; o < types.nout; o++) {
        out[o] = step->out >= 0 ? local->target[node->out[step->out + o]]
                                : dpt_plan__add_between(local, value[node->nin - 1], axis, op, &types.out[o]);
    }
    *count += types.nout;
    if (op->collective) {
        dpt_plan__add_collective(local, op,
                                 (struct dpt_collective_param){.axis = axis, .from = -1, .to = -1, .message = -1}, in[0],
                                 out[0]);
        return DPT_STATUS_OK;
    }
    return check_types(local, dpt_plan__add_node(local, op, node->param, step->out >= 0 ? n : -1, step->nin, in,
                                                 types.nout, out));
}

/* An op that is split along a letter for which the ranks of the axis must know of one another. */
static enum dpt_status add_steps(struct dpt_plan__localizer *local, int n, int axis, const int *in)
{
    const struct dpt_node *node = &local->logical->node[n];
    int value[64], count = node->nin;
    memcpy(value, in, (size_t)node->nin * sizeof *value);
    for (const struct dpt_op_step *step = node->op->steps; step->op; step++) {
        DPT_ASSERT(count + DPT_OP_MAX_OUT <= (int)(sizeof value / sizeof value[0]));
        if (step->out < node->nout) {
            DPT_TRY(add_step(local, n, axis, step, value, &count));
        }
    }
    local->narrow = node->narrow;
    return DPT_STATUS_OK;
}

static enum dpt_status add_logical(struct dpt_plan__localizer *local, int n)
{
    const struct dpt_node *node = &local->logical->node[n];
    int in[DPT_OP_MAX_IN], out[DPT_OP_MAX_OUT];
    local->layer = node->name;
    local->phase = node->phase;
    local->half = node->half;
    local->narrow = node->narrow;
    local->chunk = local->placed->chunk[n];
    for (int i = 0; i < node->nin; i++) {
        struct dpt_plan__form want = wanted(local, n, i);
        set_borders(local, n, i, &want);
        DPT_TRY(dpt_plan__form_of(local, node->in[i], &want, &in[i]));
    }
    for (int o = 0; o < node->nout; o++) {
        out[o] = local->target[node->out[o]];
        local->first[node->out[o]] = out[o];
    }
    const int steps = axis_of_steps(local, n);
    struct dpt_plan__form given = dpt_plan__form_as(local->plan->value[node->out[0]].place);
    if (node->op->spreads && set_borders(local, n, node->nin, &given)) {
        DPT_TRY(add_spreading(local, n, &given, in, out));
    } else if (steps >= 0) {
        DPT_TRY(add_steps(local, n, steps, in));
    } else if (local->placed->stripped[n]) {
        DPT_TRY(add_stripped(local, n, in));
    } else {
        const void *param = resized(local, node->op, node->param, node->nin, in, node->nout, out);
        DPT_TRY(check_types(local, dpt_plan__add_node(local, node->op, param, n, node->nin, in, node->nout, out)));
    }
    return send_outputs(local, node);
}

/* ------------------------------------------------------------------------------------------------ the whole */

/* The values of the logical graph, with the sizes of this rank's parts. */
static void begin(struct dpt_plan__localizer *local)
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
        dpt_plan__set_local(local, v, &logical->value[v].type);
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
static void set_roles(struct dpt_plan__localizer *local)
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
static void add_updates(struct dpt_plan__localizer *local)
{
    for (int n = 0; n < local->logical->nnodes; n++) {
        const struct dpt_node *node = &local->logical->node[n];
        if (node->op->update && local->plan->value[node->in[0]].here) {
            local->layer = node->name;
            local->phase = node->phase;
            local->half = node->half;
            local->narrow = node->narrow;
            local->chunk = 0;
            dpt_plan__add_node(local, node->op, node->param, n, node->nin, node->in, 0, NULL);
        }
    }
}

/* Parts of operands, for kernels that ask where they are. */
static void set_parts(struct dpt_plan__localizer *local)
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
    struct dpt_plan__localizer local = {
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
