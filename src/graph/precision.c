/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Mixed precision (Micikevicius and others: "Mixed precision training", 2018): in bfloat16, whose range is that of float, or
 * in IEEE half, whose range is small: there the loss is scaled (dpt_op_seed), so that gradients do not vanish.
 *
 * Values are marked, and no nodes that convert are put in: an op takes operands of either type (op/half.c), so that what
 * a converting node would write, a second copy of every weight for one, exists nowhere but in registers or scratch memory.
 */

#include "graph/graph.h"

/* Marks what must stay as it is: the result, and what it is a view of. */
static void mark_result(const struct dpt_graph *graph, bool *exact)
{
    int value = graph->output;
    while (value >= 0) {
        const int producer = graph->value[value].producer;
        exact[value] = true;
        value = producer >= 0 && graph->node[producer].op->view ? graph->node[producer].in[0] : -1;
    }
}

void dpt_graph_precision(struct dpt_graph *graph, enum dpt_dtype half)
{
    DPT_ASSERT(graph->real == DPT_DTYPE_F32);
    bool *exact = dpt_arena_array(graph->arena, (size_t)graph->nvalues, sizeof *exact);
    mark_result(graph, exact);
    for (int n = 0; n < graph->nnodes; n++) {
        struct dpt_node *node = &graph->node[n];
        DPT_ASSERT(!node->op->update);
        node->half = half;
        for (int o = 0; o < node->nout; o++) {
            struct dpt_value *out = &graph->value[node->out[o]];
            const bool narrow = node->op->view
                                    ? graph->value[node->in[0]].type.dtype == half
                                    : out->kind == DPT_VALUE_KIND_ACTIVATION && out->type.dtype == DPT_DTYPE_F32 &&
                                          out->batch && !(node->op->exact >> o & 1) && !exact[node->out[o]];
            if (narrow) {
                out->type.dtype = half;
                node->narrow |= (unsigned char)(1u << o);
            }
        }
    }
}
