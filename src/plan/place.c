/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Placement: on each mesh axis a node is split along one letter of its op's index signature or not at all, and the rest
 * follows: an operand that has the letter is split there, an output that lost it is a partial sum, else it is copied.
 * Only the choice of the letter is a matter of policy:
 *
 *   data      b, the sample, wherever an input is split along it.
 *   tensor    A product whose input is copied is split along its outputs (column), one whose input is split along the
 *             features that it sums over along these (row): so pairs of layers need one sum. Ops without a weight keep
 *             the split of what they read. Where tokens are read, the ops between a row and the next column are split
 *             along the sequence, so that the sum becomes a reduce-scatter and an all-gather (Korthikanti and others,
 *             2022).
 *   rows,     The rows or columns of images, from the input on, as long as each coordinate gets some of what an op reads and
 *   columns   gives; weights are copied. Convolution and pooling read a border of the neighbours' parts as well (part.c).
 *   pipeline  none: there nodes, not indices, are divided (stage.c).
 *
 * Backward nodes keep the letter of the node whose gradient they are part of, or its lack of one; what has not this
 * letter keeps the split of what it reads. Nothing here depends on the rank: what a rank does with it is local.c's.
 */

#include <string.h>

#include "plan/internal.h"

enum dpt_plan__axis dpt_plan__axis_kind(const struct dpt_mesh *mesh, int axis)
{
    static const char *const name[] = {
        [DPT_PLAN__AXIS_DATA] = "data", [DPT_PLAN__AXIS_TENSOR] = "tensor",   [DPT_PLAN__AXIS_PIPELINE] = "pipeline",
        [DPT_PLAN__AXIS_ROWS] = "rows", [DPT_PLAN__AXIS_COLUMNS] = "columns",
    };
    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++) {
        if (strcmp(mesh->axis[axis].name, name[i]) == 0) {
            return (enum dpt_plan__axis)i;
        }
    }
    return DPT_PLAN__AXIS_TENSOR;
}

/* What the choice of letters looks at. */
struct placer {
    const struct dpt_plan *plan;
    const struct dpt_graph *graph;
    struct dpt_plan__placed *placed;
    int axis;
    int size;       /* of the axis                                  */
    int image;      /* dimension of images that the axis splits, 0: none */
    bool sequence;  /* the samples are rows of tokens               */
    bool *decided;  /* of each PARAM and BUFFER: a reader was there */
};

static struct dpt_place place_of(const struct placer *placer, int value)
{
    return placer->placed->place[value][placer->axis];
}

static bool is_state(const struct dpt_graph *graph, int value)
{
    return graph->value[value].kind == DPT_VALUE_KIND_PARAM || graph->value[value].kind == DPT_VALUE_KIND_BUFFER;
}

/* The place of an operand when the node is split along `letter` (0: not). */
static struct dpt_place operand_place(const struct dpt_node *node, const struct dpt_op_types *types, int operand,
                                      char letter)
{
    const int dim = letter ? dpt_op_index_dim(node->op, types, operand, letter) : -1;
    return dim >= 0 ? (struct dpt_place){.kind = DPT_PLACE_KIND_SPLIT, .dim = dim}
                    : (struct dpt_place){.kind = DPT_PLACE_KIND_COPIED};
}

/* The sum of partial values is partial, and so is a partial value in another shape; nothing else is linear in all inputs. */
static bool stays_partial(const struct placer *placer, const struct dpt_node *node)
{
    bool all = node->op == &dpt_op_add || node->op->view;
    for (int i = 0; i < node->nin; i++) {
        all = all && place_of(placer, node->in[i]).kind == DPT_PLACE_KIND_PARTIAL;
    }
    return all && node->nin > 0;
}

bool dpt_plan__strip(const struct dpt_node *node, struct dpt_arena *arena, const void **param, struct dpt_op_rest *rest)
{
    if (!node->op->strip) {
        return false;
    }
    void *bare = dpt_arena_memdup(arena, node->param, node->op->param_nbytes);
    node->op->strip(bare, rest);
    *param = bare;
    return true;
}

/* True when the op is to be split along the letter in steps. */
static bool needs_steps(const struct placer *placer, const struct dpt_node *node, char letter)
{
    return letter && node->op->stat && strchr(node->op->stat, letter) && placer->plan->conf.split_vocabulary &&
           !placer->image;
}

/* True when the op may be split along the letter, if need be without what follows its sum. */
static bool may_split(const struct placer *placer, const struct dpt_node *node, const struct dpt_op_types *types,
                      char letter)
{
    if (dpt_op_may_split(node->op, types, letter) || needs_steps(placer, node, letter)) {
        return true;
    }
    struct dpt_op_types bare = *types;
    struct dpt_op_rest rest;
    if (!dpt_plan__strip(node, placer->plan->arena, &bare.param, &rest)) {
        return false;
    }
    bare.nin = bare.nin > 2 ? 2 : bare.nin;
    bare.nout = 1;
    return dpt_op_may_split(node->op, &bare, letter);
}

static const struct dpt_type *type_of(const struct dpt_op_types *types, int operand)
{
    return operand < types->nin ? &types->in[operand] : &types->out[operand - types->nin];
}

int64_t dpt_plan__windows(const struct dpt_op *op, const struct dpt_op_types *types, char letter)
{
    for (int i = 0; i < types->nin + types->nout; i++) {
        const int dim = dpt_op_index_dim(op, types, i, letter);
        if (dim >= 0 && !dpt_op_is_image(op, types->nin, i, letter)) {
            return type_of(types, i)->dim[dim];
        }
    }
    return 0;
}

/* True where each coordinate of the axis gets a part of the letter in all operands, and its windows one of the image. */
static bool has_parts(const struct placer *placer, const struct dpt_op *op, const struct dpt_op_types *types,
                      char letter)
{
    const int image = op->spreads ? types->nin : 0;
    bool all = true;
    for (int i = 0; i < types->nin + types->nout && all; i++) {
        const int dim = dpt_op_index_dim(op, types, i, letter);
        all = dim < 0 || type_of(types, i)->dim[dim] >= placer->size;
    }
    for (int c = 0; c < placer->size && all && dpt_op_is_image(op, types->nin, image, letter); c++) {
        const int64_t windows = dpt_plan__windows(op, types, letter);
        struct dpt_op_window window;
        int64_t range[2];
        op->window(types, letter, &window);
        dpt_op_window_range(&window, dpt_split_begin(windows, placer->size, c),
                            dpt_split_begin(windows, placer->size, c + 1),
                            type_of(types, image)->dim[dpt_op_index_dim(op, types, image, letter)], range);
        all = range[0] < range[1];
    }
    return all;
}

/* The letter of dimension `dim` of an operand, where every coordinate of the axis gets a part of it; else 0. */
static char split_letter(const struct placer *placer, const struct dpt_node *node, const struct dpt_op_types *types,
                         int operand, int dim)
{
    const char letter = dim < type_of(types, operand)->ndim ? dpt_op_letter_at(node->op, types, operand, dim) : 0;
    const bool legal = letter && letter != 'b' && may_split(placer, node, types, letter) &&
                       has_parts(placer, node->op, types, letter);
    return legal ? letter : 0;
}

/* Keeps the split of what the node reads; where only partial sums are read, those of tokens become split by place. */
static char follow(const struct placer *placer, const struct dpt_node *node, const struct dpt_op_types *types)
{
    for (int i = 0; i < node->nin; i++) {
        const struct dpt_place place = place_of(placer, node->in[i]);
        const bool state = is_state(placer->graph, node->in[i]) && !placer->decided[node->in[i]];
        const bool image = placer->image && node->in[i] == placer->graph->input; /* every rank has all of it */
        if ((place.kind == DPT_PLACE_KIND_SPLIT && !state) || image) {
            const char letter = split_letter(placer, node, types, i, image ? placer->image : place.dim);
            if (letter) {
                return letter;
            }
        }
    }
    for (int i = 0; i < node->nin && placer->sequence && node->of < 0; i++) {
        if (place_of(placer, node->in[i]).kind == DPT_PLACE_KIND_PARTIAL && types->in[i].ndim >= 3) {
            return split_letter(placer, node, types, i, 1);
        }
    }
    return 0;
}

/* True when the signature gives the letter to some dimension of the operand. */
static bool has(const struct dpt_node *node, const struct dpt_op_types *types, int operand, char letter)
{
    return dpt_op_index_dim(node->op, types, operand, letter) >= 0;
}

/* True when a loss reads the parameter too. */
static bool is_tied(const struct dpt_graph *graph, int param)
{
    for (int n = 0; n < graph->nnodes; n++) {
        for (int i = 0; graph->node[n].op->seed && i < graph->node[n].nin; i++) {
            if (graph->node[n].in[i] == param) {
                return true;
            }
        }
    }
    return false;
}

/* True when the first node of the forward pass that reads output 0 of node n can keep its split along dimension `dim`. */
static bool is_kept(const struct placer *placer, int n, int dim)
{
    const struct dpt_graph *graph = placer->graph;
    for (int m = n + 1; m < graph->nnodes && graph->node[m].phase == DPT_PHASE_FORWARD; m++) {
        for (int i = 0; i < graph->node[m].nin; i++) {
            if (graph->node[m].in[i] == graph->node[n].out[0]) {
                struct dpt_op_types types;
                dpt_graph_types(graph, &graph->node[m], &types);
                return split_letter(placer, &graph->node[m], &types, i, dim) != 0;
            }
        }
    }
    return false;
}

/* An output letter that is the weight's and not the input's; of several one that the reader keeps: heads, not their kind. */
static char column(const struct placer *placer, int n, const struct dpt_op_types *types, int w)
{
    const struct dpt_node *node = &placer->graph->node[n];
    char found = 0;
    for (int d = 1; d < types->out[0].ndim && types->in[0].dtype != DPT_DTYPE_I32; d++) {
        const char letter = split_letter(placer, node, types, types->nin, d);
        if (letter && has(node, types, w, letter) && !has(node, types, 0, letter)) {
            if (is_kept(placer, n, d)) {
                return letter;
            }
            found = found ? found : letter;
        }
    }
    return found;
}

/* The letter of node n with a weight: input `w`, of two dimensions or more. */
static char weighted(const struct placer *placer, int n, const struct dpt_op_types *types, int w)
{
    const struct dpt_node *node = &placer->graph->node[n];
    const struct dpt_place x = place_of(placer, node->in[0]);
    const char kept = x.kind == DPT_PLACE_KIND_SPLIT ? split_letter(placer, node, types, 0, x.dim) : 0;
    const char rows_of_w = split_letter(placer, node, types, w, 0);
    if (needs_steps(placer, node, rows_of_w)) {
        return rows_of_w;
    }
    if (kept && (has(node, types, w, kept) || node->op->seed)) {
        return kept; /* row; a loss keeps the places that it has */
    }
    const char outputs = column(placer, n, types, w);
    if (outputs) {
        return outputs;
    }
    for (int d = 0; d < types->in[w].ndim; d++) { /* a table, or the weight of a loss: its rows */
        const char letter = split_letter(placer, node, types, w, d);
        const bool rows = letter && !has(node, types, 0, letter) && !has(node, types, types->nin, letter);
        const bool tied = types->in[0].dtype == DPT_DTYPE_I32 && is_tied(placer->graph, node->in[w]);
        if (rows && (!tied || placer->plan->conf.split_vocabulary)) {
            return letter;
        }
    }
    return types->in[0].ndim >= 2 && placer->sequence ? split_letter(placer, node, types, 0, 1) : kept;
}

static int weight_of(const struct placer *placer, const struct dpt_node *node, const struct dpt_op_types *types)
{
    for (int i = 1; i < node->nin; i++) {
        const bool param = placer->graph->value[node->in[i]].kind == DPT_VALUE_KIND_PARAM;
        bool other = false; /* a letter that the samples have not, and that is therefore no place */
        for (int d = 0; param && types->in[i].ndim >= 2 && d < types->in[i].ndim; d++) {
            const char letter = dpt_op_letter_at(node->op, types, i, d);
            other = other || (letter && !has(node, types, 0, letter));
        }
        if (other) {
            return i;
        }
    }
    return -1;
}

/* A sum of gradients: split as the parameter whose gradient it is. */
static char gradient_sum(const struct placer *placer, const struct dpt_node *node, const struct dpt_op_types *types)
{
    const int of = placer->graph->value[node->out[0]].of;
    if (placer->graph->value[node->out[0]].kind == DPT_VALUE_KIND_GRADIENT && of >= 0) {
        const struct dpt_place place = place_of(placer, of);
        return place.kind == DPT_PLACE_KIND_SPLIT ? dpt_op_letter_at(node->op, types, 0, place.dim) : 0;
    }
    return follow(placer, node, types);
}

static char tensor_letter(const struct placer *placer, int n, const struct dpt_op_types *types)
{
    const struct dpt_node *node = &placer->graph->node[n];
    if (node->op == &dpt_op_add && node->phase != DPT_PHASE_FORWARD) {
        return gradient_sum(placer, node, types);
    }
    if (node->of >= 0) {
        const char letter = placer->placed->letter[node->of][placer->axis];
        return !letter || may_split(placer, node, types, letter) ? letter : follow(placer, node, types);
    }
    const int w = placer->image ? -1 : weight_of(placer, node, types);
    return w >= 0 ? weighted(placer, n, types, w) : follow(placer, node, types);
}

/* b where an input is split along it; refuses an input that is split elsewhere. */
static enum dpt_status data_letter(const struct placer *placer, const struct dpt_node *node,
                                   const struct dpt_op_types *types, char *letter)
{
    *letter = 0;
    for (int i = 0; i < node->nin; i++) {
        const struct dpt_place place = place_of(placer, node->in[i]);
        if (place.kind == DPT_PLACE_KIND_SPLIT) {
            DPT_CHECK(dpt_op_index_dim(node->op, types, i, 'b') == place.dim, DPT_STATUS_FAILED,
                      "%s: %s reads %s, which is split along dimension %d of axis %s, but may be split only along b",
                      node->name, node->op->name, placer->graph->value[node->in[i]].name, place.dim,
                      placer->plan->conf.mesh->axis[placer->axis].name);
            *letter = 'b';
        }
    }
    DPT_CHECK(!*letter || dpt_op_may_split(node->op, types, 'b'), DPT_STATUS_USAGE,
              "%s: %s cannot be split along b on axis %s", node->name, node->op->name,
              placer->plan->conf.mesh->axis[placer->axis].name);
    return DPT_STATUS_OK;
}

static struct dpt_place output_place(const struct placer *placer, const struct dpt_node *node,
                                     const struct dpt_op_types *types, int o, char letter)
{
    const bool data = dpt_plan__axis_kind(placer->plan->conf.mesh, placer->axis) == DPT_PLAN__AXIS_DATA;
    const struct dpt_place place = operand_place(node, types, node->nin + o, letter);
    if (needs_steps(placer, node, letter) && !strchr(dpt_op_find(dpt_op_step_of(node->op, o)->op)->signature, letter)) {
        return (struct dpt_place){.kind = DPT_PLACE_KIND_COPIED}; /* from what all ranks know by then */
    }
    if (data && (node->op->partial >> o & 1)) {
        return (struct dpt_place){.kind = DPT_PLACE_KIND_PARTIAL};
    }
    if (place.kind == DPT_PLACE_KIND_SPLIT || !(letter && dpt_op_depends(node->op, types, o, letter))) {
        return place;
    }
    const bool local = data && node->op->local && node->op->local(node->param);
    return (struct dpt_place){.kind = local ? DPT_PLACE_KIND_COPIED : DPT_PLACE_KIND_PARTIAL};
}

/* The first reader of a parameter or buffer decides how it lies; slots lie like their parameter. */
static void decide_state(struct placer *placer, const struct dpt_node *node, const struct dpt_op_types *types,
                         char letter)
{
    for (int i = 0; i < node->nin; i++) {
        const int value = node->in[i];
        if (is_state(placer->graph, value) && !placer->decided[value]) {
            placer->placed->place[value][placer->axis] = operand_place(node, types, i, letter);
            placer->decided[value] = true;
        }
    }
}

/* The op runs without what follows its sum, and that behind it: by place in the sequence where that is possible. */
static struct dpt_place stripped_place(const struct placer *placer, const struct dpt_op_types *types)
{
    const bool split = placer->sequence && types->out[0].ndim >= 3 && types->out[0].dim[1] >= placer->size;
    return split ? (struct dpt_place){.kind = DPT_PLACE_KIND_SPLIT, .dim = 1}
                 : (struct dpt_place){.kind = DPT_PLACE_KIND_COPIED};
}

static enum dpt_status place_node(struct placer *placer, int n)
{
    const struct dpt_node *node = &placer->graph->node[n];
    const enum dpt_plan__axis kind = dpt_plan__axis_kind(placer->plan->conf.mesh, placer->axis);
    struct dpt_op_types types;
    char letter = 0;
    dpt_graph_types(placer->graph, node, &types);
    if (stays_partial(placer, node)) {
        placer->placed->letter[n][placer->axis] = DPT_PLAN__PARTIAL;
        placer->placed->place[node->out[0]][placer->axis] = (struct dpt_place){.kind = DPT_PLACE_KIND_PARTIAL};
        return DPT_STATUS_OK;
    }
    if (kind == DPT_PLAN__AXIS_DATA) {
        DPT_TRY(data_letter(placer, node, &types, &letter));
    } else if (kind != DPT_PLAN__AXIS_PIPELINE && placer->size > 1) {
        letter = tensor_letter(placer, n, &types);
    }
    placer->placed->letter[n][placer->axis] = letter;
    decide_state(placer, node, &types, letter);
    for (int o = 0; o < node->nout; o++) {
        placer->placed->place[node->out[o]][placer->axis] = output_place(placer, node, &types, o, letter);
    }
    if (letter && !dpt_op_may_split(node->op, &types, letter) && !needs_steps(placer, node, letter)) {
        placer->placed->stripped[n] |= 1u << placer->axis;
        for (int o = 0; o < node->nout; o++) {
            placer->placed->place[node->out[o]][placer->axis] = stripped_place(placer, &types);
        }
    }
    return DPT_STATUS_OK;
}

struct dpt_place dpt_plan__want(const struct dpt_plan__placed *placed, const struct dpt_graph *graph, int n, int i,
                                int axis)
{
    const struct dpt_node *node = &graph->node[n];
    const char letter = placed->letter[n][axis];
    struct dpt_op_types types;
    if (letter == DPT_PLAN__PARTIAL) {
        return (struct dpt_place){.kind = DPT_PLACE_KIND_PARTIAL};
    }
    dpt_graph_types(graph, node, &types);
    if (i >= 2 && (placed->stripped[n] >> axis & 1)) { /* read behind the sum: element by element, or by all alike */
        const struct dpt_type *out = &types.out[0];
        const bool alike = types.in[i].ndim == out->ndim && memcmp(types.in[i].dim, out->dim, sizeof out->dim) == 0;
        return alike ? placed->place[node->out[0]][axis] : (struct dpt_place){.kind = DPT_PLACE_KIND_COPIED};
    }
    return operand_place(node, &types, i, letter);
}

/* A gradient lies like its parameter, or is a partial sum where that is copied: then it is summed once a step. */
static enum dpt_status check_sums(const struct placer *placer)
{
    const struct dpt_graph *graph = placer->graph;
    const struct dpt_mesh_axis *axis = &placer->plan->conf.mesh->axis[placer->axis];
    const bool data = dpt_plan__axis_kind(placer->plan->conf.mesh, placer->axis) == DPT_PLAN__AXIS_DATA;
    for (int v = 0; v < graph->nvalues; v++) {
        const struct dpt_value *value = &graph->value[v];
        const struct dpt_place place = place_of(placer, v);
        const bool metric = value->kind == DPT_VALUE_KIND_METRIC;
        if (value->kind == DPT_VALUE_KIND_GRADIENT || metric) {
            const struct dpt_place of =
                metric ? (struct dpt_place){.kind = DPT_PLACE_KIND_COPIED} : place_of(placer, value->of);
            const bool alike = place.kind == of.kind && (place.kind != DPT_PLACE_KIND_SPLIT || place.dim == of.dim);
            const bool partial = place.kind == DPT_PLACE_KIND_PARTIAL && of.kind == DPT_PLACE_KIND_COPIED;
            DPT_CHECK(partial || (alike && !data), DPT_STATUS_FAILED,
                      "%s: is %s on axis %s, expected a partial sum%s", value->name,
                      place.kind == DPT_PLACE_KIND_SPLIT    ? "split"
                      : place.kind == DPT_PLACE_KIND_COPIED ? "copied"
                                                            : "partial",
                      axis->name, data ? "" : " or the place of its parameter");
        }
    }
    return DPT_STATUS_OK;
}

/* The dimension that an axis splits in images, or 0; refuses such an axis for what is not images. */
static enum dpt_status image_dim(const struct dpt_plan *plan, int axis, int *dim)
{
    const struct dpt_type *input = &plan->logical->value[plan->logical->input].type;
    const enum dpt_plan__axis kind = dpt_plan__axis_kind(plan->conf.mesh, axis);
    *dim = kind == DPT_PLAN__AXIS_ROWS ? 1 : kind == DPT_PLAN__AXIS_COLUMNS ? 2 : 0;
    char text[96];
    DPT_CHECK(!*dim || input->ndim == 4, DPT_STATUS_USAGE,
              "[parallel] layout: %s:%d splits images, but the model reads %s; take data or tensor",
              plan->conf.mesh->axis[axis].name, plan->conf.mesh->axis[axis].size,
              dpt_type_text(text, sizeof text, input));
    return DPT_STATUS_OK;
}

/* An axis of images on which nothing is split would have ranks that do the same. */
static enum dpt_status check_images(const struct placer *placer)
{
    const struct dpt_mesh_axis *axis = &placer->plan->conf.mesh->axis[placer->axis];
    bool any = !placer->image || axis->size == 1;
    for (int n = 0; n < placer->graph->nnodes; n++) {
        any = any || placer->placed->letter[n][placer->axis] != 0;
    }
    DPT_CHECK(any, DPT_STATUS_USAGE,
              "[parallel] layout: %s:%d: the model's first layer reads images whole, or they have fewer than %d %s for "
              "it; take fewer ranks, or data or tensor",
              axis->name, axis->size, axis->size, axis->name);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_plan__place(struct dpt_plan *plan, struct dpt_plan__placed *placed)
{
    const struct dpt_graph *graph = plan->logical;
    const struct dpt_type *input = &graph->value[graph->input].type;
    placed->letter = dpt_arena_array(plan->arena, (size_t)graph->nnodes + 1, sizeof *placed->letter);
    placed->place = dpt_arena_array(plan->arena, (size_t)graph->nvalues, sizeof *placed->place);
    placed->stripped = dpt_arena_array(plan->arena, (size_t)graph->nnodes + 1, sizeof *placed->stripped);
    for (int axis = 0; axis < plan->conf.mesh->naxes; axis++) {
        struct placer placer = {
            .plan = plan,
            .graph = graph,
            .placed = placed,
            .axis = axis,
            .size = plan->conf.mesh->axis[axis].size,
            .sequence = input->dtype == DPT_DTYPE_I32 && input->ndim == 2,
            .decided = dpt_arena_array(plan->arena, (size_t)graph->nvalues, sizeof(bool)),
        };
        const bool data = dpt_plan__axis_kind(plan->conf.mesh, axis) == DPT_PLAN__AXIS_DATA;
        DPT_TRY(image_dim(plan, axis, &placer.image));
        for (int v = 0; v < graph->nvalues; v++) {
            const bool split = data && graph->value[v].kind == DPT_VALUE_KIND_INPUT && graph->value[v].batch;
            placed->place[v][axis] =
                (struct dpt_place){.kind = split ? DPT_PLACE_KIND_SPLIT : DPT_PLACE_KIND_COPIED};
        }
        for (int n = 0; n < graph->nnodes; n++) {
            if (!graph->node[n].op->update) {
                DPT_TRY(place_node(&placer, n));
            }
        }
        for (int v = 0; v < graph->nvalues; v++) {
            const int gradient = graph->value[v].gradient;
            if (is_state(graph, v) && !placer.decided[v] && gradient >= 0 &&
                placed->place[gradient][axis].kind == DPT_PLACE_KIND_SPLIT) { /* read by its update alone */
                placed->place[v][axis] = placed->place[gradient][axis];
            }
            if (graph->value[v].kind == DPT_VALUE_KIND_SLOT) {
                placed->place[v][axis] = placed->place[graph->value[v].of][axis];
            }
        }
        DPT_TRY(check_sums(&placer));
        DPT_TRY(check_images(&placer));
    }
    return DPT_STATUS_OK;
}
