/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Values and nodes. Both are arrays that grow in the graph's arena, and an id is a place in them. Nodes are only ever
 * added at the end with operands that exist, so the order of the array is an order of execution.
 */

#include "graph/graph.h"

#include <string.h>

#include "base/hash.h"
#include "graph/internal.h"

/* Starts a refusal: the functions that return ids answer -1. */
#define REFUSE(...) (dpt_error_set(DPT_STATUS_USAGE, __FILE__, __LINE__, __VA_ARGS__), -1)

struct dpt_graph *dpt_graph_new(enum dpt_dtype real, int64_t rows, bool training)
{
    DPT_ASSERT(real == DPT_DTYPE_F32 || real == DPT_DTYPE_F64);
    DPT_ASSERT(rows > 0);
    struct dpt_arena *arena = dpt_arena_new();
    struct dpt_graph *graph = dpt_arena_alloc(arena, sizeof *graph);
    *graph = (struct dpt_graph){
        .arena = arena,
        .real = real,
        .rows = rows,
        .training = training,
        .input = -1,
        .target = -1,
        .output = -1,
        .loss = -1,
        .metric = -1,
        .layer = "",
    };
    return graph;
}

void dpt_graph_free(struct dpt_graph *graph)
{
    if (graph) {
        dpt_arena_free(graph->arena);
    }
}

/* The place of a name in the index, or the gap where it belongs. What was renamed stays where its old name belongs. */
static size_t place_of(const struct dpt_graph *graph, const char *name)
{
    size_t at = (size_t)dpt_hash64(name, strlen(name)) & (graph->index_size - 1);
    while (graph->index[at] >= 0 && strcmp(graph->value[graph->index[at]].name, name) != 0) {
        at = (at + 1) & (graph->index_size - 1);
    }
    return at;
}

int dpt_graph_find(const struct dpt_graph *graph, const char *name)
{
    return graph->index_size > 0 ? graph->index[place_of(graph, name)] : -1;
}

/* Notes the name of a value; of two with one name the first stays. */
static void note_name(struct dpt_graph *graph, int id)
{
    const size_t at = place_of(graph, graph->value[id].name);
    graph->index[at] = graph->index[at] >= 0 ? graph->index[at] : id;
}

void dpt_graph__index(struct dpt_graph *graph)
{
    const size_t needed = 4 * (size_t)graph->nvalues;
    if (graph->index_size < needed || graph->index_size == 0) {
        for (graph->index_size = 64; graph->index_size < needed;) {
            graph->index_size *= 2;
        }
        graph->index = dpt_arena_array(graph->arena, graph->index_size, sizeof *graph->index);
    }
    memset(graph->index, -1, graph->index_size * sizeof *graph->index);
    for (int id = 0; id < graph->nvalues; id++) {
        note_name(graph, id);
    }
}

/* Appends a value whose name and type were checked. */
static int append_value(struct dpt_graph *graph, const char *name, enum dpt_value_kind kind,
                        const struct dpt_type *type)
{
    graph->value = dpt_arena_grow(graph->arena, graph->value, (size_t)graph->nvalues, &graph->value_capacity,
                                  sizeof *graph->value);
    graph->value[graph->nvalues] = (struct dpt_value){
        .name = name,
        .kind = kind,
        .type = *type,
        .producer = -1,
        .of = -1,
        .gradient = -1,
    };
    graph->nvalues++;
    if (3 * (size_t)graph->nvalues > graph->index_size) { /* a renamed value has two places */
        dpt_graph__index(graph);
    } else {
        note_name(graph, graph->nvalues - 1);
    }
    return graph->nvalues - 1;
}

/* Appends a value that is given. */
static int append_given(struct dpt_graph *graph, const char *name, enum dpt_value_kind kind, enum dpt_dtype dtype,
                        bool batch, int ndim, const int64_t *dim)
{
    const int more = batch ? 1 : 0;
    if (ndim < 0 || ndim + more > DPT_MAX_DIM) {
        return REFUSE("%s: has %d dimensions, at most %d fit", name, ndim + more, DPT_MAX_DIM);
    }
    struct dpt_type type = {.dtype = dtype, .ndim = ndim + more};
    if (batch) {
        type.dim[0] = graph->rows;
    }
    for (int i = 0; i < ndim; i++) {
        if (dim[i] <= 0) {
            return REFUSE("%s: dimension %d is %lld, must be positive", name, i, (long long)dim[i]);
        }
        type.dim[i + more] = dim[i];
    }
    if (dpt_type_check(&type, name) != DPT_STATUS_OK) {
        return -1;
    }
    if (dpt_graph_find(graph, name) >= 0) {
        return REFUSE("%s: this name is taken by another value of the graph", name);
    }
    const int id = append_value(graph, dpt_arena_strdup(graph->arena, name), kind, &type);
    graph->value[id].batch = batch;
    return id;
}

int dpt_graph_input(struct dpt_graph *graph, const char *name, enum dpt_dtype dtype, int ndim, const int64_t *dim)
{
    return append_given(graph, name, DPT_VALUE_KIND_INPUT, dtype, true, ndim, dim);
}

int dpt_graph_param(struct dpt_graph *graph, const char *name, struct dpt_init init, bool decay, int ndim,
                    const int64_t *dim)
{
    const int id = append_given(graph, name, DPT_VALUE_KIND_PARAM, graph->real, false, ndim, dim);
    if (id >= 0) {
        graph->value[id].init = init;
        graph->value[id].decay = decay;
    }
    return id;
}

int dpt_graph_buffer(struct dpt_graph *graph, const char *name, struct dpt_init init, int ndim, const int64_t *dim)
{
    const int id = append_given(graph, name, DPT_VALUE_KIND_BUFFER, graph->real, false, ndim, dim);
    if (id >= 0) {
        graph->value[id].init = init;
    }
    return id;
}

int dpt_graph_slot(struct dpt_graph *graph, int of, const char *suffix)
{
    DPT_ASSERT(of >= 0 && of < graph->nvalues && graph->value[of].kind == DPT_VALUE_KIND_PARAM);
    const struct dpt_type type = graph->value[of].type;
    const char *name = dpt_arena_printf(graph->arena, "%s.%s", graph->value[of].name, suffix);
    const int id = append_given(graph, name, DPT_VALUE_KIND_SLOT, type.dtype, false, type.ndim, type.dim);
    if (id >= 0) {
        graph->value[id].init = (struct dpt_init){DPT_INIT_KIND_CONST, 0.0};
        graph->value[id].of = of;
        graph->value[id].merged = graph->value[of].merged;
    }
    return id;
}

struct dpt_type dpt_graph_stored(const struct dpt_graph *graph, int value)
{
    const struct dpt_type *type = &graph->value[value].type;
    const int merged = graph->value[value].merged;
    if (merged == 0) {
        return *type;
    }
    struct dpt_type stored = {.dtype = type->dtype, .ndim = merged < type->ndim ? 2 : 1, .dim = {1, 1}};
    for (int i = 0; i < type->ndim; i++) {
        stored.dim[i < merged ? 0 : 1] *= type->dim[i];
    }
    if (stored.ndim == 1) {
        stored.dim[1] = 0; /* unused dimensions are 0 */
    }
    return stored;
}

void dpt_graph_types(const struct dpt_graph *graph, const struct dpt_node *node, struct dpt_op_types *types)
{
    *types = (struct dpt_op_types){
        .param = node->param, .nin = node->nin, .nout = node->nout, .half = node->half, .narrow = node->narrow};
    for (int i = 0; i < node->nin; i++) {
        types->in[i] = graph->value[node->in[i]].type;
    }
    for (int i = 0; i < node->nout; i++) {
        types->out[i] = graph->value[node->out[i]].type;
    }
}

/* A name for output `output` of an op in the current layer that no value has yet: "conv1.conv", "conv1.conv#2". */
static const char *output_name(struct dpt_graph *graph, const char *op, int output)
{
    const char *layer = graph->layer, *dot = *layer ? "." : "";
    const char *name = output == 0 ? dpt_arena_printf(graph->arena, "%s%s%s", layer, dot, op)
                                   : dpt_arena_printf(graph->arena, "%s%s%s.%d", layer, dot, op, output);
    const char *free_name = name;
    for (int n = 2; dpt_graph_find(graph, free_name) >= 0; n++) {
        free_name = dpt_arena_printf(graph->arena, "%s#%d", name, n);
    }
    return free_name;
}

/*
 * Whether an output has the sample index: the signature gives it the letter b, and an input that has the letter too is
 * a batch value (a sum of two weight gradients is an `add` without one).
 */
static bool is_batch_output(const struct dpt_graph *graph, const struct dpt_node *node,
                            const struct dpt_op_types *types, int output)
{
    if (dpt_op_index_dim(node->op, types, types->nin + output, 'b') != 0) {
        return false;
    }
    for (int i = 0; i < node->nin; i++) {
        if (graph->value[node->in[i]].batch && dpt_op_index_dim(node->op, types, i, 'b') == 0) {
            return true;
        }
    }
    return false;
}

int dpt_graph_add(struct dpt_graph *graph, const char *op, const void *param, int nin, const int *in)
{
    struct dpt_node node = {.op = dpt_op_find(op), .name = graph->layer, .of = -1};
    if (!node.op) {
        return REFUSE("%s: there is no op \"%s\"", graph->layer, op);
    }
    while (nin > 0 && in[nin - 1] == -1) {
        nin--;
    }
    DPT_ASSERT(nin <= DPT_OP_MAX_IN);
    for (int i = 0; i < nin; i++) {
        DPT_ASSERT(in[i] >= 0 && in[i] < graph->nvalues);
        node.in[i] = in[i];
    }
    node.nin = nin;
    node.phase = node.op->update ? DPT_PHASE_UPDATE : DPT_PHASE_FORWARD;
    DPT_ASSERT(!param == !node.op->param_nbytes);
    node.param = dpt_arena_memdup(graph->arena, param, node.op->param_nbytes);

    struct dpt_op_types types;
    dpt_graph_types(graph, &node, &types);
    if (dpt_op_shape(node.op, &types) != DPT_STATUS_OK) {
        return REFUSE("%s: %s: %s", graph->layer, op, dpt_error_text());
    }
    node.nout = types.nout;
    for (int i = 0; i < types.nout; i++) {
        const char *name = output_name(graph, op, i);
        if (dpt_type_check(&types.out[i], name) != DPT_STATUS_OK) {
            return -1;
        }
        const int id = append_value(graph, name, DPT_VALUE_KIND_ACTIVATION, &types.out[i]);
        graph->value[id].batch = is_batch_output(graph, &node, &types, i);
        graph->value[id].producer = graph->nnodes;
        graph->value[id].output = i;
        node.out[i] = id;
    }
    graph->node = dpt_arena_grow(graph->arena, graph->node, (size_t)graph->nnodes, &graph->node_capacity,
                                 sizeof *graph->node);
    graph->node[graph->nnodes++] = node;
    return node.nout > 0 ? node.out[0] : 0;
}

enum dpt_status dpt_graph__set_gradient(struct dpt_graph *graph, int of, int id)
{
    struct dpt_value *param = &graph->value[of], *gradient = &graph->value[id];
    DPT_CHECK(gradient->kind == DPT_VALUE_KIND_ACTIVATION && gradient->producer >= 0, DPT_STATUS_FAILED,
              "%s: its gradient %s belongs to another value; it needs a node of its own", param->name, gradient->name);
    DPT_CHECK(dpt_type_equal(&gradient->type, &param->type), DPT_STATUS_FAILED,
              "%s: its gradient has another shape", param->name);
    gradient->kind = DPT_VALUE_KIND_GRADIENT;
    gradient->name = dpt_arena_printf(graph->arena, "%s.grad", param->name);
    note_name(graph, id);
    gradient->of = of;
    param->gradient = id;
    return DPT_STATUS_OK;
}
