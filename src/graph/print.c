/* SPDX-License-Identifier: Apache-2.0 */

/* The graph as text, for people, and as a hash of a text, for comparison. */

#include <inttypes.h>

#include "base/hash.h"
#include "base/text.h"
#include "graph/graph.h"

static const char *const phase_name[] = {
    [DPT_PHASE_FORWARD] = "forward",
    [DPT_PHASE_INPUT_GRADIENT] = "input-gradient",
    [DPT_PHASE_WEIGHT_GRADIENT] = "weight-gradient",
    [DPT_PHASE_UPDATE] = "update",
};

static const char *const kind_name[] = {
    [DPT_VALUE_KIND_INPUT] = "input",           [DPT_VALUE_KIND_PARAM] = "param",
    [DPT_VALUE_KIND_BUFFER] = "buffer",         [DPT_VALUE_KIND_SLOT] = "slot",
    [DPT_VALUE_KIND_ACTIVATION] = "activation", [DPT_VALUE_KIND_GRADIENT] = "gradient",
    [DPT_VALUE_KIND_METRIC] = "metric",
};

static void print_type(struct dpt_text *text, const struct dpt_value *value)
{
    char type[96];
    dpt_text_add(text, "%s %s", value->name, dpt_type_text(type, sizeof type, &value->type));
}

static void print_node(const struct dpt_graph *graph, int n, struct dpt_text *text)
{
    const struct dpt_node *node = &graph->node[n];
    dpt_text_add(text, "%5d %-15s %-24s %-16s ", n, phase_name[node->phase], node->name, node->op->name);
    for (int i = 0; i < node->nin; i++) {
        dpt_text_add(text, "%s%s", i ? ", " : "", graph->value[node->in[i]].name);
    }
    for (int i = 0; i < node->nout; i++) {
        dpt_text_add(text, "%s", i ? ", " : " -> ");
        print_type(text, &graph->value[node->out[i]]);
    }
    dpt_text_add(text, "\n");
}

void dpt_graph_print(const struct dpt_graph *graph, struct dpt_text *text)
{
    dpt_text_add(text, "graph: %s, %" PRId64 " rows, %s, %d values, %d nodes\n", dpt_dtype_name(graph->real),
                 graph->rows, graph->training ? "training" : "evaluation", graph->nvalues, graph->nnodes);
    for (int i = 0; i < graph->nvalues; i++) {
        const struct dpt_value *value = &graph->value[i];
        if (value->producer < 0) {
            dpt_text_add(text, "      %-15s ", kind_name[value->kind]);
            print_type(text, value);
            dpt_text_add(text, "\n");
        }
    }
    for (int n = 0; n < graph->nnodes; n++) {
        print_node(graph, n, text);
    }
}

uint64_t dpt_graph_hash(const struct dpt_graph *graph)
{
    struct dpt_text text = {0};
    dpt_text_add(&text, "%d %" PRId64 " %d %d %d %d %d %d\n", (int)graph->real, graph->rows, graph->training,
                 graph->input, graph->target, graph->output, graph->loss, graph->metric);
    for (int i = 0; i < graph->nvalues; i++) {
        const struct dpt_value *v = &graph->value[i];
        dpt_text_add(&text, "%d %d %d %d %a %d %a %d %d ", (int)v->kind, v->batch, v->producer, (int)v->init.kind,
                     v->init.scale, v->decay, v->rate, v->of, v->gradient);
        print_type(&text, v);
        dpt_text_add(&text, "\n");
    }
    for (int n = 0; n < graph->nnodes; n++) {
        const struct dpt_node *node = &graph->node[n];
        print_node(graph, n, &text);
        for (size_t i = 0; i < node->op->param_nbytes; i++) {
            dpt_text_add(&text, "%02x", ((const unsigned char *)node->param)[i]);
        }
    }
    const uint64_t hash = dpt_hash64(text.data, text.length);
    dpt_text_free(&text);
    return hash;
}
