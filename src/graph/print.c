/* SPDX-License-Identifier: Apache-2.0 */

/* The graph as text, for people, and as a hash of a text, for comparison. */

#include <inttypes.h>
#include <string.h>

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

/* Chains a block of bytes to a hash. */
static uint64_t chain(uint64_t hash, const void *data, size_t nbytes)
{
    const uint64_t both[2] = {hash, nbytes > 0 ? dpt_hash64(data, nbytes) : 0};
    return dpt_hash64(both, sizeof both);
}

static uint64_t chain_value(uint64_t hash, const struct dpt_value *value)
{
    int64_t part[9 + DPT_MAX_DIM] = {(int64_t)value->kind, value->batch, value->producer, (int64_t)value->init.kind,
                                     value->decay, value->of, value->gradient, (int64_t)value->type.dtype,
                                     value->type.ndim};
    const double real[2] = {value->init.scale, value->rate};
    for (int d = 0; d < value->type.ndim; d++) {
        part[9 + d] = value->type.dim[d];
    }
    hash = chain(hash, value->name, strlen(value->name));
    hash = chain(hash, real, sizeof real);
    return chain(hash, part, sizeof part);
}

static uint64_t chain_node(uint64_t hash, const struct dpt_node *node)
{
    int part[6 + DPT_OP_MAX_IN + DPT_OP_MAX_OUT] = {(int)node->phase, node->nin,  node->nout,
                                                    node->of,         node->half, node->narrow};
    memcpy(part + 6, node->in, (size_t)node->nin * sizeof *part);
    memcpy(part + 6 + DPT_OP_MAX_IN, node->out, (size_t)node->nout * sizeof *part);
    hash = chain(hash, node->op->name, strlen(node->op->name));
    hash = chain(hash, node->name, strlen(node->name));
    hash = chain(hash, part, sizeof part);
    return chain(hash, node->param, node->op->param_nbytes);
}

uint64_t dpt_graph_hash(const struct dpt_graph *graph)
{
    const int64_t head[] = {(int64_t)graph->real, graph->rows,   graph->training, graph->input,
                            graph->target,        graph->output, graph->loss,     graph->metric};
    uint64_t hash = chain(0, head, sizeof head);
    for (int i = 0; i < graph->nvalues; i++) {
        hash = chain_value(hash, &graph->value[i]);
    }
    for (int n = 0; n < graph->nnodes; n++) {
        hash = chain_node(hash, &graph->node[n]);
    }
    return hash;
}
