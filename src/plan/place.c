/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Placement: on each mesh axis a node is split along one letter of its op's index signature or not at all, and the rest
 * follows: an operand that has the letter is split there, an output that lost it is a partial sum, else it is copied.
 * On the axis "data" the letter of every node is b, the sample.
 *
 * Where a partial value meets a reader that wants it whole, it is summed over the ranks as soon as it is computed.
 * Gradients and metrics stay partial: they are summed once a step, in buckets and with the control message.
 */

#include <string.h>

#include "plan/internal.h"

static const char letter = 'b';

static const struct dpt_place *place_of(const struct dpt_plan *plan, int value, int axis)
{
    return &plan->value[value].place[axis];
}

/* True when an input is split along its dimension of the letter; refuses one that is split elsewhere. */
static enum dpt_status is_split(const struct dpt_plan *plan, const struct dpt_node *node,
                                const struct dpt_op_types *types, int axis, bool *split)
{
    *split = false;
    for (int i = 0; i < node->nin; i++) {
        const struct dpt_place *place = place_of(plan, node->in[i], axis);
        const int dim = dpt_op_index_dim(node->op, types, i, letter);
        if (place->kind == DPT_PLACE_KIND_SPLIT) {
            DPT_CHECK(dim == place->dim, DPT_STATUS_FAILED,
                      "%s: %s reads %s, which is split along dimension %d of axis %s, but may be split only along %c",
                      node->name, node->op->name, plan->graph->value[node->in[i]].name, place->dim,
                      plan->conf.mesh->axis[axis].name, letter);
            *split = true;
        }
    }
    DPT_CHECK(!*split || dpt_op_may_split(node->op, types, letter), DPT_STATUS_USAGE,
              "%s: %s cannot be split along %c on axis %s", node->name, node->op->name, letter,
              plan->conf.mesh->axis[axis].name);
    return DPT_STATUS_OK;
}

/* The sum of partial values is partial; nothing else is linear in all its inputs. */
static bool stays_partial(const struct dpt_plan *plan, const struct dpt_node *node, int axis)
{
    bool all = node->op == &dpt_op_add;
    for (int i = 0; i < node->nin; i++) {
        all = all && place_of(plan, node->in[i], axis)->kind == DPT_PLACE_KIND_PARTIAL;
    }
    return all;
}

static struct dpt_place output_place(const struct dpt_node *node, const struct dpt_op_types *types, int output,
                                     bool split, bool partial)
{
    const int dim = dpt_op_index_dim(node->op, types, node->nin + output, letter);
    const bool local = node->op->local && node->op->local(node->param);
    if (partial || (node->op->partial >> output & 1)) {
        return (struct dpt_place){.kind = DPT_PLACE_KIND_PARTIAL};
    }
    if (!split) {
        return (struct dpt_place){.kind = DPT_PLACE_KIND_COPIED};
    }
    if (dim >= 0) {
        return (struct dpt_place){.kind = DPT_PLACE_KIND_SPLIT, .dim = dim};
    }
    return (struct dpt_place){.kind = local ? DPT_PLACE_KIND_COPIED : DPT_PLACE_KIND_PARTIAL};
}

/* Asks for the sum of every partial input, which is a copied value from then on. */
static void sum_inputs(struct dpt_plan *plan, const struct dpt_node *node, int axis, bool *sum)
{
    for (int i = 0; i < node->nin; i++) {
        struct dpt_place *place = &plan->value[node->in[i]].place[axis];
        if (place->kind == DPT_PLACE_KIND_PARTIAL) {
            place->kind = DPT_PLACE_KIND_COPIED;
            sum[node->in[i]] = plan->conf.shards == 0 && plan->conf.mesh->axis[axis].size > 1;
        }
    }
}

static enum dpt_status place_node(struct dpt_plan *plan, const struct dpt_node *node, int axis, bool *sum)
{
    struct dpt_op_types types;
    bool split;
    dpt_graph_types(plan->graph, node, &types);
    DPT_TRY(is_split(plan, node, &types, axis, &split));
    const bool partial = !split && node->nin > 0 && stays_partial(plan, node, axis);
    if (!partial && !node->op->update) {
        sum_inputs(plan, node, axis, sum);
    }
    for (int o = 0; o < node->nout; o++) {
        plan->value[node->out[o]].place[axis] = output_place(node, &types, o, split, partial);
    }
    return DPT_STATUS_OK;
}

/* A sum of partial sums would be wrong if one of them were summed over the ranks before, for another reader. */
static enum dpt_status check_partial(const struct dpt_plan *plan, const struct dpt_node *node, int axis)
{
    const bool partial = node->op == &dpt_op_add && place_of(plan, node->out[0], axis)->kind == DPT_PLACE_KIND_PARTIAL;
    for (int i = 0; i < node->nin; i++) {
        DPT_CHECK(!partial || place_of(plan, node->in[i], axis)->kind == DPT_PLACE_KIND_PARTIAL, DPT_STATUS_FAILED,
                  "%s: %s is read as a partial sum and as a whole one", node->name,
                  plan->graph->value[node->in[i]].name);
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_plan__place(struct dpt_plan *plan, bool *sum)
{
    const struct dpt_graph *graph = plan->graph;
    for (int axis = 0; axis < plan->conf.mesh->naxes; axis++) {
        for (int v = 0; v < graph->nvalues; v++) {
            const bool split = graph->value[v].kind == DPT_VALUE_KIND_INPUT && graph->value[v].batch;
            plan->value[v].place[axis] =
                (struct dpt_place){.kind = split ? DPT_PLACE_KIND_SPLIT : DPT_PLACE_KIND_COPIED};
        }
        for (int n = 0; n < graph->nnodes; n++) {
            DPT_TRY(place_node(plan, &graph->node[n], axis, sum));
        }
        for (int n = 0; n < graph->nnodes; n++) {
            DPT_TRY(check_partial(plan, &graph->node[n], axis));
        }
        for (int v = 0; v < graph->nvalues; v++) {
            const bool summed_late =
                graph->value[v].kind == DPT_VALUE_KIND_GRADIENT || graph->value[v].kind == DPT_VALUE_KIND_METRIC;
            DPT_CHECK(!summed_late || place_of(plan, v, axis)->kind == DPT_PLACE_KIND_PARTIAL, DPT_STATUS_FAILED,
                      "%s: is %s, expected a partial sum on axis %s", graph->value[v].name,
                      place_of(plan, v, axis)->kind == DPT_PLACE_KIND_SPLIT ? "split" : "copied",
                      plan->conf.mesh->axis[axis].name);
        }
    }
    return DPT_STATUS_OK;
}
