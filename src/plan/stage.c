/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Stages: which place of the pipeline axis computes which node. The forward pass is cut between layers into as many
 * ranges as there are stages, all about as costly; the gradient of a node is computed where the node was, unless the job
 * gives the backward passes to other ranks. Stage s lies on place s mod P of the axis, as chunk s / P of it.
 *
 * A parameter has a copy wherever a node reads it. Where its gradient is a sum over several places, each adds its own
 * part and the parts are summed over these places once a step (a "joint" sum).
 */

#include <string.h>

#include "plan/internal.h"

int dpt_plan__axis_of(const struct dpt_mesh *mesh, enum dpt_plan__axis kind)
{
    for (int axis = 0; axis < mesh->naxes; axis++) {
        if (dpt_plan__axis_kind(mesh, axis) == kind) {
            return axis;
        }
    }
    return -1;
}

/* Forward nodes in a row that belong to one layer, and what they cost. */
struct layer {
    const char *name;
    int first, end; /* nodes */
    double cost;
};

/* Work of a node with its backward pass, in flops; memory traffic counts where it takes longer. */
static double node_cost(const struct dpt_graph *graph, const struct dpt_node *node)
{
    enum { FLOPS_A_BYTE = 8 }; /* of a core that is kept busy from memory; only ratios between layers matter */
    struct dpt_op_types types;
    struct dpt_op_cost cost;
    dpt_graph_types(graph, node, &types);
    dpt_op_cost(node->op, &types, &cost);
    const double bytes = FLOPS_A_BYTE * (cost.bytes_read + cost.bytes_written);
    return cost.flops > bytes ? cost.flops : bytes;
}

static int find_layers(const struct dpt_plan *plan, struct layer **layers)
{
    const struct dpt_graph *graph = plan->logical;
    struct layer *layer = dpt_arena_array(plan->arena, (size_t)graph->nnodes + 1, sizeof *layer);
    int count = 0;
    for (int n = 0; n < graph->nnodes && graph->node[n].phase == DPT_PHASE_FORWARD; n++) {
        const struct dpt_node *node = &graph->node[n];
        if (count == 0 || strcmp(layer[count - 1].name, node->name) != 0) {
            layer[count++] = (struct layer){.name = node->name, .first = n};
        }
        layer[count - 1].end = n + 1;
        layer[count - 1].cost += node_cost(graph, node);
    }
    *layers = layer;
    return count;
}

/*
 * Puts layers together where more than one value is alive between them, such as within a residual block: a cut there
 * would send them all. Returns how many there are then.
 */
static int join_layers(const struct dpt_plan *plan, struct layer *layer, int count)
{
    const struct dpt_graph *graph = plan->logical;
    int *alive = dpt_arena_array(plan->arena, (size_t)graph->nnodes + 1, sizeof *alive); /* before node n, as changes */
    int *last = dpt_arena_array(plan->arena, (size_t)graph->nvalues, sizeof *last);
    for (int n = 0; n < layer[count - 1].end; n++) {
        for (int i = 0; i < graph->node[n].nin; i++) {
            last[graph->node[n].in[i]] = n;
        }
    }
    for (int v = 0; v < graph->nvalues; v++) {
        const struct dpt_value *value = &graph->value[v];
        if (value->producer >= 0 && value->producer < last[v]) {
            alive[value->producer + 1]++;
            alive[last[v] + 1]--;
        }
    }
    int joined = 1, values = 0, n = 0;
    for (int i = 1; i < count; i++) {
        for (; n <= layer[i].first; n++) {
            values += alive[n];
        }
        if (values <= 1) {
            layer[joined++] = layer[i];
        } else {
            layer[joined - 1].end = layer[i].end;
            layer[joined - 1].cost += layer[i].cost;
        }
    }
    return joined;
}

/* Stages that are needed when none may cost more than `most`; the first layer of each goes to `begin`. */
static int stages_within(const struct layer *layer, int count, int stages, double most, int *begin)
{
    int used = 0;
    double sum = 0.0;
    for (int i = 0; i < count; i++) {
        const bool rest = count - i <= stages - used; /* one layer for each stage that is left */
        if (i == 0 || rest || sum + layer[i].cost > most) {
            if (used < stages) {
                begin[used] = i;
            }
            used++;
            sum = 0.0;
        }
        sum += layer[i].cost;
    }
    return used;
}

/* The cuts with the cheapest dearest stage, by bisection. */
static void balance(const struct layer *layer, int count, int stages, int *begin)
{
    double low = 0.0, high = 0.0;
    for (int i = 0; i < count; i++) {
        low = layer[i].cost > low ? layer[i].cost : low;
        high += layer[i].cost;
    }
    for (int i = 0; i < 60; i++) {
        const double middle = 0.5 * (low + high);
        if (stages_within(layer, count, stages, middle, begin) <= stages) {
            high = middle;
        } else {
            low = middle;
        }
    }
    DPT_ASSERT(stages_within(layer, count, stages, high, begin) == stages);
}

/* The layers that the job names as the first ones of stages 1, 2, ... */
static enum dpt_status take_cuts(const struct dpt_plan *plan, const struct layer *layer, int count, int stages,
                                 int *begin)
{
    const struct dpt_plan_conf *conf = &plan->conf;
    DPT_CHECK(conf->ncuts == stages - 1, DPT_STATUS_USAGE,
              "[parallel] stages names %d layer%s, expected %d: the first layer of each of %d stages but the first",
              conf->ncuts, conf->ncuts == 1 ? "" : "s", stages - 1, stages);
    begin[0] = 0;
    for (int s = 1; s < stages; s++) {
        int at = -1;
        for (int i = begin[s - 1] + 1; i < count && at < 0; i++) {
            at = strcmp(layer[i].name, conf->cut[s - 1]) == 0 ? i : -1;
        }
        DPT_CHECK(at >= 0, DPT_STATUS_USAGE,
                  "[parallel] stages: there is no layer %s behind %s, with which stage %d begins; --dry-run with "
                  "DPT_DEBUG=plan names the layers in order",
                  conf->cut[s - 1], layer[begin[s - 1]].name, s - 1);
        begin[s] = at;
    }
    return DPT_STATUS_OK;
}

static void set_stage(const struct dpt_plan *plan, struct dpt_plan__placed *placed, int n, int stage, bool backward)
{
    const struct dpt_plan_conf *conf = &plan->conf;
    const int places = conf->mesh->axis[dpt_plan__axis_of(conf->mesh, DPT_PLAN__AXIS_PIPELINE)].size;
    placed->coord[n] = backward && conf->backward ? conf->backward[stage % places] : stage % places;
    placed->chunk[n] = stage / places;
}

static enum dpt_status cut(struct dpt_plan *plan, struct dpt_plan__placed *placed, int stages)
{
    const struct dpt_graph *graph = plan->logical;
    struct layer *layer;
    int count = find_layers(plan, &layer);
    int *begin = dpt_arena_array(plan->arena, (size_t)stages + 1, sizeof *begin);
    int *stage = dpt_arena_array(plan->arena, (size_t)graph->nnodes + 1, sizeof *stage);
    DPT_CHECK(count >= stages, DPT_STATUS_USAGE,
              "the model has %d layers, which %d stages cannot share: take fewer in [parallel] layout and schedule",
              count, stages);
    if (plan->conf.ncuts > 0) {
        DPT_TRY(take_cuts(plan, layer, count, stages, begin));
    } else {
        struct layer *whole = dpt_arena_memdup(plan->arena, layer, (size_t)count * sizeof *layer);
        const int joined = join_layers(plan, whole, count);
        layer = joined >= stages ? whole : layer;
        count = joined >= stages ? joined : count;
        balance(layer, count, stages, begin);
    }
    begin[stages] = count;
    for (int s = 0; s < stages; s++) {
        for (int n = layer[begin[s]].first; n < layer[begin[s + 1] - 1].end; n++) {
            stage[n] = s;
            set_stage(plan, placed, n, s, false);
        }
    }
    for (int n = 0; n < graph->nnodes; n++) {
        if (graph->node[n].of >= 0) {
            set_stage(plan, placed, n, stage[graph->node[n].of], true);
        }
    }
    return DPT_STATUS_OK;
}

/* A sum whose terms come from several places, or from such a sum, where all of it ends in a parameter's gradient. */
static void find_joint_sums(const struct dpt_graph *graph, struct dpt_plan__placed *placed)
{
    for (int n = 0; n < graph->nnodes; n++) {
        const struct dpt_node *node = &graph->node[n];
        const bool sum = node->op == &dpt_op_add && node->phase == DPT_PHASE_WEIGHT_GRADIENT;
        for (int i = 0; sum && i < node->nin; i++) {
            const int producer = graph->value[node->in[i]].producer;
            const int first = graph->value[node->in[0]].producer;
            placed->joint[n] = placed->joint[n] || placed->joint[producer] ||
                               placed->coord[producer] != placed->coord[first];
        }
    }
}

static void find_holders(const struct dpt_graph *graph, struct dpt_plan__placed *placed)
{
    for (int n = 0; n < graph->nnodes; n++) {
        const struct dpt_node *node = &graph->node[n];
        const uint64_t here = UINT64_C(1) << placed->coord[n];
        for (int i = 0; !node->op->update && i < node->nin; i++) {
            const enum dpt_value_kind kind = graph->value[node->in[i]].kind;
            if (kind == DPT_VALUE_KIND_PARAM || kind == DPT_VALUE_KIND_BUFFER) {
                placed->holders[node->in[i]] |= here;
            }
        }
        for (int o = 0; o < node->nout && !placed->joint[n]; o++) {
            if (graph->value[node->out[o]].kind == DPT_VALUE_KIND_GRADIENT) {
                placed->holders[graph->value[node->out[o]].of] |= here;
            }
        }
    }
}

enum dpt_status dpt_plan__stages(struct dpt_plan *plan, struct dpt_plan__placed *placed)
{
    const struct dpt_graph *graph = plan->logical;
    const int axis = dpt_plan__axis_of(plan->conf.mesh, DPT_PLAN__AXIS_PIPELINE);
    const int places = axis >= 0 ? plan->conf.mesh->axis[axis].size : 1;
    const size_t nodes = (size_t)graph->nnodes + 1;
    placed->coord = dpt_arena_array(plan->arena, nodes, sizeof *placed->coord);
    placed->chunk = dpt_arena_array(plan->arena, nodes, sizeof *placed->chunk);
    placed->joint = dpt_arena_array(plan->arena, nodes, sizeof *placed->joint);
    placed->holders = dpt_arena_array(plan->arena, (size_t)graph->nvalues, sizeof *placed->holders);
    DPT_CHECK(places <= 64, DPT_STATUS_USAGE, "[parallel] layout: %d stages on the pipeline axis, at most 64", places);
    if (places > 1) {
        DPT_TRY(cut(plan, placed, places * plan->pipeline.chunks));
        find_joint_sums(graph, placed);
    }
    find_holders(graph, placed);
    return DPT_STATUS_OK;
}
