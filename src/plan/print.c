/* SPDX-License-Identifier: Apache-2.0 */

/* A plan as text: memory, placements, actions. */

#include <inttypes.h>

#include "op/collective.h"
#include "plan/internal.h"

static const char *const action_name[] = {
    [DPT_ACTION_LOAD] = "load",       [DPT_ACTION_RUN] = "run",         [DPT_ACTION_ADD] = "add",
    [DPT_ACTION_ACCUMULATE] = "accumulate",
    [DPT_ACTION_METRIC] = "metric",   [DPT_ACTION_REDUCE] = "reduce",   [DPT_ACTION_WAIT] = "wait",
    [DPT_ACTION_CONTROL] = "control", [DPT_ACTION_UPDATE] = "update",   [DPT_ACTION_ZERO] = "zero",
    [DPT_ACTION_PUBLISH] = "publish", [DPT_ACTION_COLLECT] = "collect", [DPT_ACTION_AVERAGE] = "average",
    [DPT_ACTION_GATHER] = "gather",   [DPT_ACTION_GATHERED] = "gathered",
    [DPT_ACTION_SCATTER] = "scatter", [DPT_ACTION_SCATTERED] = "scattered",
};

static void print_memory(const struct dpt_plan *plan, struct dpt_text *text)
{
    const struct {
        const char *name;
        int64_t nbytes;
    } row[] = {
        {"parameters", plan->memory.params},     {"gradients", plan->memory.gradients},
        {"accumulators", plan->memory.accumulators}, {"optimizer", plan->memory.slots},
        {"activations", plan->memory.activations}, {"messages", plan->memory.messages},
        {"scratch", plan->memory.scratch},       {"samples", plan->memory.batches},
        {"next samples", plan->memory.ahead},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        dpt_text_add(text, "memory %-12s %12" PRId64 " B\n", row[i].name, row[i].nbytes);
    }
}

static void print_values(const struct dpt_plan *plan, struct dpt_text *text)
{
    for (int v = 0; v < plan->graph->nvalues; v++) {
        const struct dpt_plan_value *value = &plan->value[v];
        char type[96];
        if (!value->here) {
            continue;
        }
        dpt_text_add(text, "value  %-40s %-28s", plan->graph->value[v].name,
                     dpt_type_text(type, sizeof type, &value->type));
        for (int axis = 0; axis < plan->conf.mesh->naxes; axis++) {
            const struct dpt_place *place = &value->place[axis];
            const char *name = plan->conf.mesh->axis[axis].name;
            if (place->kind == DPT_PLACE_KIND_SPLIT) {
                dpt_text_add(text, " %s:split(%d%s)", name, place->dim, value->border[axis] ? " and border" : "");
            } else {
                dpt_text_add(text, " %s:%s", name, place->kind == DPT_PLACE_KIND_COPIED ? "copied" : "partial");
            }
        }
        if (value->offset >= 0) {
            dpt_text_add(text, " at %" PRId64 "%s", value->offset, value->frame >= 0 ? " of a frame" : "");
        } else if (value->alias >= 0) {
            dpt_text_add(text, " in %s", plan->graph->value[value->alias].name);
        }
        dpt_text_add(text, "\n");
    }
}

static void print_state(const struct dpt_plan *plan, struct dpt_text *text)
{
    for (int i = 0; i < plan->nparams; i++) {
        dpt_text_add(text, "state  %-40s [%" PRId64 ", +%" PRId64 ")\n", plan->graph->value[plan->param[i].value].name,
                     plan->param[i].offset, plan->param[i].numel);
    }
    for (int b = 0; b < plan->nbuckets; b++) {
        const struct dpt_plan_bucket *bucket = &plan->bucket[b];
        dpt_text_add(text, "bucket %d [%" PRId64 ", %" PRId64 ")", b, bucket->range.begin, bucket->range.end);
        if (bucket->group >= 0) {
            dpt_text_add(text, " summed over %d ranks%s", plan->group[bucket->group].size,
                         dpt_plan_is_sliced(plan, b) ? ", sliced" : "");
            dpt_text_add(text, "%s%s", bucket->scatter ? ", gradients kept in slices" : "",
                         bucket->gather ? ", parameters too" : "");
        }
        dpt_text_add(text, "\n");
    }
    for (int s = 0; s < plan->nstays; s++) {
        static const char *const unit[] = {
            [DPT_UNIT_FORWARD] = "forward", [DPT_UNIT_BACKWARD] = "backward", [DPT_UNIT_WEIGHT] = "weight gradients"};
        const struct dpt_plan_stay *stay = &plan->stay[s];
        dpt_text_add(text, "stay %d %s of bucket %d in %s of chunk %d, %" PRId64 " B at %" PRId64 "\n", s,
                     stay->gradient ? "gradients" : "parameters", stay->bucket, unit[stay->unit], stay->chunk,
                     stay->nbytes, stay->offset);
    }
    for (int u = 0; u < plan->nupdates; u++) {
        dpt_text_add(text, "update %d %s [%" PRId64 ", %" PRId64 ")\n", u, plan->update[u].op->name,
                     plan->update[u].begin, plan->update[u].end);
    }
}

static int place_of_stage(const struct dpt_plan *plan)
{
    const int axis = dpt_plan__axis_of(plan->conf.mesh, DPT_PLAN__AXIS_PIPELINE);
    return axis >= 0 ? plan->conf.mesh->axis[axis].coord : 0;
}

/* Bytes that one node of this rank sends, at the most rows. */
static double node_sent(const struct dpt_plan *plan, int n)
{
    struct dpt_op_types types;
    dpt_plan__types(plan, n, plan->max_rows, &types);
    return dpt_plan__node_sent(plan, n, &types);
}

static void print_action(const struct dpt_plan *plan, const struct dpt_action *action, struct dpt_text *text)
{
    const struct dpt_graph *graph = plan->graph;
    dpt_text_add(text, "action %-10s", action_name[action->kind]);
    if (action->micro >= 0) {
        dpt_text_add(text, " micro %d", action->micro);
    }
    if (action->kind == DPT_ACTION_RUN) {
        const struct dpt_node *node = &graph->node[action->arg];
        dpt_text_add(text, " %s %s", node->op->name,
                     node->op->collective ? graph->value[node->nin > 0 ? node->in[0] : node->out[0]].name : node->name);
        if (node->op->collective && node_sent(plan, action->arg) > 0.0) {
            dpt_text_add(text, " %.0f B", node_sent(plan, action->arg));
        }
    } else if (action->kind == DPT_ACTION_METRIC) {
        dpt_text_add(text, " %s", graph->value[action->arg].name);
    } else if (action->arg >= 0) {
        dpt_text_add(text, " %d", action->arg);
    }
    dpt_text_add(text, "\n");
}

/* Where the rank is, which layers it has, what it sends in a step. */
static void print_place(const struct dpt_plan *plan, struct dpt_text *text)
{
    const struct dpt_graph *graph = plan->graph;
    dpt_text_add(text, "place ");
    for (int axis = 0; axis < plan->conf.mesh->naxes; axis++) {
        const struct dpt_mesh_axis *at = &plan->conf.mesh->axis[axis];
        dpt_text_add(text, " %s %d of %d", at->name, at->coord, at->size);
    }
    dpt_text_add(text, "\n");
    for (int c = 0; c < plan->pipeline.chunks; c++) {
        const char *first = NULL, *last = NULL;
        for (int n = 0; n < graph->nnodes; n++) {
            const bool forward = graph->node[n].phase == DPT_PHASE_FORWARD && !graph->node[n].op->collective;
            if (forward && plan->node[n].chunk == c) {
                first = first ? first : graph->node[n].name;
                last = graph->node[n].name;
            }
        }
        dpt_text_add(text, "stage  %d forward %s to %s | micro-batches under way %d\n", c * plan->pipeline.ranks +
                     place_of_stage(plan), first ? first : "nothing", last ? last : "nothing", plan->frame[c].count);
    }
    dpt_text_add(text, "sends  gradients %.0f B, values %.0f B, messages %.0f B a step\n", plan->traffic.gradients,
                 plan->traffic.values, plan->traffic.messages);
}

void dpt_plan_print(const struct dpt_plan *plan, struct dpt_text *text)
{
    print_place(plan, text);
    print_memory(plan, text);
    print_values(plan, text);
    print_state(plan, text);
    for (int i = 0; i < plan->nactions; i++) {
        print_action(plan, &plan->action[i], text);
    }
}
