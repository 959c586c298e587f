/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reverse-mode differentiation of the graph by the ops' own rules (op->grad).
 *
 * Nodes are visited newest first, so when a node's turn comes every user of its outputs has been visited and the
 * gradient of the outputs is complete. Contributions to one value are summed in the order of the visits, by `add`
 * nodes, each as soon as there are two: the result does not depend on anything but the graph.
 *
 * Of the nodes that one rule adds, those that lead to the gradient of an activation are of the INPUT_GRADIENT phase,
 * the others lead to gradients of parameters only. The latter, with what they need, are moved before the rest, so that
 * a gradient is ready for its reduction as early as possible.
 */

#include "graph/graph.h"

#include <string.h>

#include "graph/internal.h"

struct walk {
    struct dpt_graph *graph;
    int *gradient; /* of each forward value: value id so far, DPT_OP_SEED, or -1 */
    bool *needed;  /* the forward value depends on a PARAM through differentiable ops */
};

static int add_node(void *graph, const char *op, const void *param, int nin, const int *in)
{
    return dpt_graph_add(graph, op, param, nin, in);
}

/* Marks the forward values that a PARAM reaches. */
static void mark_needed(struct walk *walk)
{
    const struct dpt_graph *graph = walk->graph;
    for (int i = 0; i < graph->nvalues; i++) {
        walk->needed[i] = graph->value[i].kind == DPT_VALUE_KIND_PARAM;
    }
    for (int n = 0; n < graph->nnodes; n++) {
        const struct dpt_node *node = &graph->node[n];
        bool needed = false;
        for (int i = 0; i < node->nin; i++) {
            needed = needed || walk->needed[node->in[i]];
        }
        for (int i = 0; i < node->nout; i++) {
            walk->needed[node->out[i]] = needed && node->op->grad;
        }
    }
}

/* Adds `id` to the gradient of a forward value. */
static enum dpt_status accumulate(struct walk *walk, int value, int id)
{
    int *gradient = &walk->gradient[value];
    DPT_CHECK(*gradient != DPT_OP_SEED, DPT_STATUS_FAILED, "%s: is the loss and an operand of a differentiable node",
              walk->graph->value[value].name);
    if (*gradient == -1) {
        *gradient = id;
        return DPT_STATUS_OK;
    }
    const int in[2] = {*gradient, id};
    *gradient = dpt_graph_add(walk->graph, "add", NULL, 2, in);
    return *gradient < 0 ? DPT_STATUS_FAILED : DPT_STATUS_OK;
}

/* True when a node of [first, last) marked in `mark` reads an output of `node`. */
static bool feeds_marked(const struct dpt_graph *graph, const struct dpt_node *node, int first, int last,
                         const bool *mark)
{
    for (int n = first; n < last; n++) {
        for (int i = 0; mark[n - first] && i < graph->node[n].nin; i++) {
            for (int o = 0; o < node->nout; o++) {
                if (graph->node[n].in[i] == node->out[o]) {
                    return true;
                }
            }
        }
    }
    return false;
}

/* Sets the phases of the nodes from `first` on, which one rule added for the forward node `of`. */
static void set_phases(struct walk *walk, const struct dpt_node *of, int first)
{
    struct dpt_graph *graph = walk->graph;
    const int last = graph->nnodes;
    bool *input = dpt_arena_array(graph->arena, (size_t)(last - first), sizeof *input);
    for (int n = last - 1; n >= first; n--) {
        struct dpt_node *node = &graph->node[n];
        bool leads = feeds_marked(graph, node, first, last, input);
        for (int i = 0; i < of->nin; i++) {
            const int gradient = walk->gradient[of->in[i]];
            const bool activation = graph->value[of->in[i]].kind != DPT_VALUE_KIND_PARAM;
            leads = leads || (activation && gradient >= 0 && graph->value[gradient].producer == n);
        }
        input[n - first] = leads;
        node->phase = leads ? DPT_PHASE_INPUT_GRADIENT : DPT_PHASE_WEIGHT_GRADIENT;
    }
}

/* Moves the weight-gradient nodes from `first` on, with what they read, before the others. */
static void weights_first(struct dpt_graph *graph, int first)
{
    const int last = graph->nnodes, count = last - first;
    bool *early = dpt_arena_array(graph->arena, (size_t)count, sizeof *early);
    for (int n = last - 1; n >= first; n--) {
        const struct dpt_node *node = &graph->node[n];
        early[n - first] = node->phase == DPT_PHASE_WEIGHT_GRADIENT || feeds_marked(graph, node, first, last, early);
    }
    const struct dpt_node *before =
        dpt_arena_memdup(graph->arena, graph->node + first, (size_t)count * sizeof *graph->node);
    int at = first;
    for (int pass = 0; pass < 2; pass++) {
        for (int k = 0; k < count; k++) {
            if (early[k] == (pass == 0)) {
                graph->node[at++] = before[k];
            }
        }
    }
    for (int n = first; n < last; n++) {
        for (int o = 0; o < graph->node[n].nout; o++) {
            graph->value[graph->node[n].out[o]].producer = n;
        }
    }
}

/* Adds the backward nodes of one forward node. */
static enum dpt_status visit(struct walk *walk, int n)
{
    struct dpt_graph *graph = walk->graph;
    const struct dpt_node node = graph->node[n]; /* a copy: the array may move */
    int dout[DPT_OP_MAX_OUT], din[DPT_OP_MAX_IN];
    bool need[DPT_OP_MAX_IN], reached = false, wanted = false;
    for (int o = 0; o < node.nout; o++) {
        dout[o] = walk->gradient[node.out[o]];
        reached = reached || dout[o] != -1;
    }
    for (int i = 0; i < node.nin; i++) {
        din[i] = -1;
        need[i] = walk->needed[node.in[i]];
        wanted = wanted || need[i];
    }
    if (!reached || !wanted) {
        return DPT_STATUS_OK;
    }
    DPT_ASSERT(node.op->grad); /* else mark_needed would have stopped the gradient behind it */

    struct dpt_op_types types;
    dpt_graph_types(graph, &node, &types);
    struct dpt_op_grad grad = {
        .types = &types,
        .in = node.in,
        .out = node.out,
        .dout = dout,
        .need = need,
        .din = din,
        .graph = graph,
        .add = add_node,
    };
    const int first = graph->nnodes;
    graph->layer = node.name;
    DPT_TRY(node.op->grad(&grad));
    for (int i = 0; i < node.nin; i++) {
        if (need[i]) {
            DPT_CHECK(din[i] >= 0, DPT_STATUS_FAILED, "%s: the gradient rule of %s left out operand %d", node.name,
                      node.op->name, i);
            DPT_TRY(accumulate(walk, node.in[i], din[i]));
        }
    }
    for (int i = first; i < graph->nnodes; i++) {
        graph->node[i].of = n;
    }
    if (graph->nnodes > first) {
        set_phases(walk, &node, first);
        weights_first(graph, first);
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_graph_gradient(struct dpt_graph *graph)
{
    DPT_ASSERT(graph->loss >= 0 && graph->value[graph->loss].producer >= 0);
    const int nnodes = graph->nnodes, nvalues = graph->nvalues;
    struct walk walk = {
        .graph = graph,
        .gradient = dpt_arena_array(graph->arena, (size_t)nvalues, sizeof(int)),
        .needed = dpt_arena_array(graph->arena, (size_t)nvalues, sizeof(bool)),
    };
    for (int i = 0; i < nvalues; i++) {
        walk.gradient[i] = -1;
    }
    DPT_CHECK(graph->node[graph->value[graph->loss].producer].op->seed, DPT_STATUS_FAILED, "%s: is not a loss",
              graph->value[graph->loss].name);
    walk.gradient[graph->loss] = DPT_OP_SEED;
    mark_needed(&walk);

    const char *layer = graph->layer;
    enum dpt_status status = DPT_STATUS_OK;
    for (int n = nnodes - 1; n >= 0 && status == DPT_STATUS_OK; n--) {
        status = visit(&walk, n);
    }
    graph->layer = layer;
    DPT_TRY(status);

    for (int i = 0; i < nvalues; i++) {
        if (graph->value[i].kind == DPT_VALUE_KIND_PARAM) {
            DPT_CHECK(walk.gradient[i] >= 0, DPT_STATUS_USAGE,
                      "%s: the loss does not depend on this parameter, so it could not be trained; connect its layer "
                      "to the output or remove it",
                      graph->value[i].name);
            DPT_TRY(dpt_graph__set_gradient(graph, i, walk.gradient[i]));
        }
    }
    return DPT_STATUS_OK;
}
