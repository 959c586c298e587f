/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The invariants of a finished graph. plan/ and exec/ rely on them without asking again:
 *
 *   1. Every operand of a node is given or comes from an earlier node; every produced value knows its producer.
 *   2. The outputs of a node have the types that its op's shape rule gives for the types of its inputs.
 *   3. Phases follow one another: all forward nodes, then both backward phases mixed, then updates.
 *   4. A weight-gradient node is read by weight-gradient and update nodes only.
 *   5. A GRADIENT has the type of the PARAM or BUFFER that names it as its gradient; only updates and collectives
 *      (added later) read it.
 *   6. An update reads the gradient of what it moves; nothing is moved twice; nothing else writes what is given.
 *   7. Names are there and are unique; batch values have graph->rows in their first dimension.
 */

#include <string.h>

#include "graph/graph.h"

#define BROKEN(cond, ...) DPT_CHECK(cond, DPT_STATUS_FAILED, "graph: " __VA_ARGS__)

static bool is_value(const struct dpt_graph *graph, int id)
{
    return id >= 0 && id < graph->nvalues;
}

/* Invariants 1 and 2 for one node. */
static enum dpt_status check_operands(const struct dpt_graph *graph, int n)
{
    const struct dpt_node *node = &graph->node[n];
    for (int i = 0; i < node->nin; i++) {
        BROKEN(is_value(graph, node->in[i]), "node %d (%s): input %d is no value", n, node->op->name, i);
        BROKEN(graph->value[node->in[i]].producer < n, "node %d (%s): %s is computed after its use", n, node->op->name,
               graph->value[node->in[i]].name);
    }
    for (int i = 0; i < node->nout; i++) {
        BROKEN(is_value(graph, node->out[i]), "node %d (%s): output %d is no value", n, node->op->name, i);
        const struct dpt_value *out = &graph->value[node->out[i]];
        BROKEN(out->producer == n && out->output == i, "node %d (%s): %s says that it comes from node %d, output %d", n,
               node->op->name, out->name, out->producer, out->output);
    }
    struct dpt_op_types types, shaped;
    dpt_graph_types(graph, node, &types);
    shaped = types;
    BROKEN(dpt_op_shape(node->op, &shaped) == DPT_STATUS_OK, "node %d (%s): %s", n, node->op->name, dpt_error_text());
    BROKEN(shaped.nout == node->nout, "node %d (%s): has %d outputs, its op gives %d", n, node->op->name, node->nout,
           shaped.nout);
    for (int i = 0; i < node->nout; i++) {
        BROKEN(dpt_type_equal(&types.out[i], &shaped.out[i]), "node %d (%s): %s has not the type of its op", n,
               node->op->name, graph->value[node->out[i]].name);
    }
    return DPT_STATUS_OK;
}

static int stage(enum dpt_phase phase)
{
    return phase == DPT_PHASE_FORWARD ? 0 : phase == DPT_PHASE_UPDATE ? 2 : 1;
}

/* Invariants 3, 4 and 5 for one node. */
static enum dpt_status check_phase(const struct dpt_graph *graph, int n)
{
    const struct dpt_node *node = &graph->node[n];
    BROKEN(n == 0 || stage(graph->node[n - 1].phase) <= stage(node->phase),
           "node %d (%s): its phase comes before that of the node before it", n, node->op->name);
    BROKEN(node->op->update == (node->phase == DPT_PHASE_UPDATE), "node %d (%s): is not of its op's phase", n,
           node->op->name);
    for (int i = 0; i < node->nin; i++) {
        const struct dpt_value *in = &graph->value[node->in[i]];
        const bool last = node->phase == DPT_PHASE_WEIGHT_GRADIENT || node->phase == DPT_PHASE_UPDATE;
        BROKEN(in->producer < 0 || graph->node[in->producer].phase != DPT_PHASE_WEIGHT_GRADIENT || last,
               "node %d (%s): reads %s of a weight gradient", n, node->op->name, in->name);
        BROKEN(in->kind != DPT_VALUE_KIND_GRADIENT || node->phase == DPT_PHASE_UPDATE, "node %d (%s): reads %s", n,
               node->op->name, in->name);
    }
    return DPT_STATUS_OK;
}

/* Invariant 6 for one node. */
static enum dpt_status check_update(const struct dpt_graph *graph, int n)
{
    const struct dpt_node *node = &graph->node[n];
    if (node->phase != DPT_PHASE_UPDATE) {
        BROKEN(!node->op->writes, "node %d (%s): writes its inputs outside the update phase", n, node->op->name);
        return DPT_STATUS_OK;
    }
    BROKEN(node->nin >= 2 && graph->value[node->in[0]].gradient == node->in[1],
           "node %d (%s): does not read the gradient of what it moves", n, node->op->name);
    for (int i = 2; i < node->nin; i++) {
        BROKEN(graph->value[node->in[i]].of == node->in[0], "node %d (%s): moves %s, which belongs to another value", n,
               node->op->name, graph->value[node->in[i]].name);
    }
    for (int m = n - 1; m >= 0 && graph->node[m].phase == DPT_PHASE_UPDATE; m--) {
        BROKEN(graph->node[m].in[0] != node->in[0], "%s is moved twice in a step", graph->value[node->in[0]].name);
    }
    return DPT_STATUS_OK;
}

/* Invariants 5 and 7 for one value. */
static enum dpt_status check_value(const struct dpt_graph *graph, int id)
{
    const struct dpt_value *value = &graph->value[id];
    BROKEN(value->name && *value->name, "value %d has no name", id);
    BROKEN(dpt_graph_find(graph, value->name) == id, "two values have the name %s", value->name);
    BROKEN(!value->batch || (value->type.ndim > 0 && value->type.dim[0] == graph->rows),
           "%s: its first dimension is not the number of rows", value->name);
    const bool computed = value->kind == DPT_VALUE_KIND_ACTIVATION || value->kind == DPT_VALUE_KIND_GRADIENT ||
                          value->kind == DPT_VALUE_KIND_METRIC;
    BROKEN(computed == (value->producer >= 0) && value->producer < graph->nnodes,
           "%s: %s", value->name, computed ? "nothing computes it" : "is given and computed");
    if (value->producer >= 0) {
        BROKEN(graph->node[value->producer].out[value->output] == id, "%s: its producer does not know it", value->name);
    }
    if (value->kind == DPT_VALUE_KIND_GRADIENT) {
        BROKEN(is_value(graph, value->of) && graph->value[value->of].gradient == id &&
                   dpt_type_equal(&graph->value[value->of].type, &value->type),
               "%s: is not the gradient of what it says", value->name);
    }
    BROKEN(value->kind != DPT_VALUE_KIND_METRIC || value->type.dtype == DPT_DTYPE_F64, "%s: a metric is F64",
           value->name);
    BROKEN(value->gradient == -1 ||
               (is_value(graph, value->gradient) && graph->value[value->gradient].of == id &&
                (value->kind == DPT_VALUE_KIND_PARAM || value->kind == DPT_VALUE_KIND_BUFFER)),
           "%s: its gradient is another's", value->name);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_graph_check(const struct dpt_graph *graph)
{
    BROKEN(is_value(graph, graph->input) && is_value(graph, graph->output), "has no input or no output");
    BROKEN(graph->value[graph->input].batch && graph->value[graph->output].batch,
           "input and output must have the sample index");
    BROKEN(graph->loss == -1 || (is_value(graph, graph->loss) && is_value(graph, graph->target)),
           "has a loss but no target");
    BROKEN(graph->metric == -1 || graph->value[graph->metric].kind == DPT_VALUE_KIND_METRIC, "its metric is none");
    for (int n = 0; n < graph->nnodes; n++) {
        DPT_TRY(check_operands(graph, n));
        DPT_TRY(check_phase(graph, n));
        DPT_TRY(check_update(graph, n));
    }
    for (int i = 0; i < graph->nvalues; i++) {
        DPT_TRY(check_value(graph, i));
    }
    return DPT_STATUS_OK;
}
