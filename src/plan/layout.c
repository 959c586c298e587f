/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The flat state: parameters, then buffers, one after the other in flat buffers, in the order in which the backward
 * pass finishes their gradients. So a bucket, a contiguous range, is complete as early as can be, and neighbours with
 * equal settings are updated by one call.
 */

#include <stdlib.h>
#include <string.h>

#include "plan/internal.h"

/* Bytes after which a bucket is closed when the job says nothing, and for the one that is ready first. */
enum { BUCKET_NBYTES = 8 << 20, FIRST_BUCKET_NBYTES = 1 << 20 };

bool dpt_plan__is_flat(const struct dpt_plan *plan, int value)
{
    const enum dpt_value_kind kind = plan->graph->value[value].kind;
    return kind == DPT_VALUE_KIND_PARAM || kind == DPT_VALUE_KIND_BUFFER || kind == DPT_VALUE_KIND_SLOT ||
           kind == DPT_VALUE_KIND_GRADIENT;
}

/* What decides the place of a parameter: kind, the node that finishes its gradient, id. */
struct key {
    int value;
    bool buffer;
    int finish;
};

static int by_finish(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    if (x->buffer != y->buffer) {
        return x->buffer ? 1 : -1;
    }
    if (x->finish != y->finish) {
        return x->finish < y->finish ? -1 : 1;
    }
    return x->value < y->value ? -1 : 1;
}

/* Gives every parameter and buffer of a graph without a layout its offset. */
static enum dpt_status lay_out(struct dpt_plan *plan)
{
    const struct dpt_graph *graph = plan->graph;
    struct key *key = dpt_arena_array(plan->arena, (size_t)plan->nparams, sizeof *key);
    int count = 0;
    for (int v = 0; v < graph->nvalues; v++) {
        const struct dpt_value *value = &graph->value[v];
        if (value->kind == DPT_VALUE_KIND_PARAM || value->kind == DPT_VALUE_KIND_BUFFER) {
            key[count++] = (struct key){
                .value = v,
                .buffer = value->kind == DPT_VALUE_KIND_BUFFER,
                .finish = value->gradient >= 0 ? graph->value[value->gradient].producer : -1,
            };
        }
    }
    qsort(key, (size_t)count, sizeof *key, by_finish);
    int64_t at = 0;
    for (int i = 0; i < count; i++) {
        const struct dpt_value *value = &graph->value[key[i].value];
        struct dpt_plan_param *param = &plan->param[i];
        *param = (struct dpt_plan_param){
            .value = key[i].value,
            .gradient = value->gradient,
            .offset = at,
            .numel = dpt_type_numel(&value->type),
        };
        const int64_t room = (param->numel + DPT_PLAN__ALIGN - 1) / DPT_PLAN__ALIGN * DPT_PLAN__ALIGN;
        DPT_CHECK(!__builtin_add_overflow(at, room, &at) && at < INT64_C(1) << 50, DPT_STATUS_SPACE,
                  "%s: with it the parameters have more than 2^50 elements", value->name);
        if (!key[i].buffer) {
            plan->ntrained = at;
        }
    }
    plan->nflat = at;
    return DPT_STATUS_OK;
}

/* Takes the offsets of the training's plan, by name. */
static enum dpt_status take_layout(struct dpt_plan *plan, const struct dpt_plan *layout)
{
    const struct dpt_graph *graph = plan->graph;
    int count = 0;
    for (int i = 0; i < layout->nparams; i++) {
        const struct dpt_value *value = &layout->graph->value[layout->param[i].value];
        const int v = dpt_graph_find(graph, value->name);
        if (v < 0) {
            continue; /* nothing in an evaluation reads it */
        }
        DPT_CHECK(dpt_type_equal(&graph->value[v].type, &value->type), DPT_STATUS_FAILED,
                  "%s: has another shape in evaluation than in training", value->name);
        plan->param[count] = layout->param[i];
        plan->param[count].value = v;
        plan->param[count].gradient = -1;
        plan->param[count].nslots = 0;
        count++;
    }
    DPT_CHECK(count == plan->nparams, DPT_STATUS_FAILED,
              "evaluation has %d parameters and buffers, of which training knows %d", plan->nparams, count);
    plan->ntrained = layout->ntrained;
    plan->nflat = layout->nflat;
    return DPT_STATUS_OK;
}

/* Notes the slots of each parameter in the order in which the graph has them. */
static enum dpt_status lay_out_slots(struct dpt_plan *plan)
{
    const struct dpt_graph *graph = plan->graph;
    for (int i = 0; i < plan->nparams; i++) {
        struct dpt_plan_param *param = &plan->param[i];
        for (int v = 0; v < graph->nvalues; v++) {
            if (graph->value[v].kind == DPT_VALUE_KIND_SLOT && graph->value[v].of == param->value) {
                DPT_CHECK(param->nslots < DPT_PLAN_MAX_SLOTS, DPT_STATUS_FAILED, "%s: has more than %d slots",
                          graph->value[param->value].name, DPT_PLAN_MAX_SLOTS);
                param->slot[param->nslots++] = v;
            }
        }
        plan->nslots = param->nslots > plan->nslots ? param->nslots : plan->nslots;
    }
    return DPT_STATUS_OK;
}

/* Cuts [0, nflat) at parameters into ranges of about the wanted size. */
static void cut_buckets(struct dpt_plan *plan)
{
    const int64_t wanted = plan->conf.bucket_bytes ? plan->conf.bucket_bytes : BUCKET_NBYTES;
    const int64_t width = (int64_t)dpt_dtype_nbytes(plan->graph->real);
    plan->bucket = dpt_arena_array(plan->arena, (size_t)plan->nparams, sizeof *plan->bucket);
    int64_t begin = 0;
    for (int i = 0; i < plan->nparams; i++) {
        const int64_t end = i + 1 < plan->nparams ? plan->param[i + 1].offset : plan->nflat;
        const bool first = plan->nbuckets == 0 && plan->conf.bucket_bytes == 0;
        if (i + 1 == plan->nparams || (end - begin) * width >= (first ? FIRST_BUCKET_NBYTES : wanted)) {
            plan->bucket[plan->nbuckets++] = (struct dpt_range){begin, end};
            begin = end;
        }
    }
}

/* The update node of a parameter. */
static const struct dpt_node *update_node(const struct dpt_graph *graph, int value)
{
    for (int n = 0; n < graph->nnodes; n++) {
        if (graph->node[n].op->update && graph->node[n].in[0] == value) {
            return &graph->node[n];
        }
    }
    return NULL;
}

static bool same_update(const struct dpt_plan_update *update, const struct dpt_node *node, int nslots)
{
    return update->op == node->op && update->nslots == nslots &&
           memcmp(update->param, node->param, node->op->param_nbytes) == 0;
}

/* One update for each run of neighbours with equal settings. */
static enum dpt_status join_updates(struct dpt_plan *plan)
{
    plan->update = dpt_arena_array(plan->arena, (size_t)plan->nparams, sizeof *plan->update);
    for (int i = 0; i < plan->nparams; i++) {
        const struct dpt_plan_param *param = &plan->param[i];
        const int64_t end = i + 1 < plan->nparams ? plan->param[i + 1].offset : plan->nflat;
        if (param->gradient < 0) {
            continue;
        }
        const struct dpt_node *node = update_node(plan->graph, param->value);
        DPT_CHECK(node, DPT_STATUS_FAILED, "%s: has a gradient, but no update reads it",
                  plan->graph->value[param->value].name);
        struct dpt_plan_update *last = plan->nupdates > 0 ? &plan->update[plan->nupdates - 1] : NULL;
        if (last && last->end == param->offset && same_update(last, node, param->nslots)) {
            last->end = end;
        } else {
            plan->update[plan->nupdates++] = (struct dpt_plan_update){
                .op = node->op,
                .param = node->param,
                .nslots = param->nslots,
                .begin = param->offset,
                .end = end,
            };
        }
    }
    return DPT_STATUS_OK;
}

/* Accumulators: the partial sums that a binary counter over the micro-batches holds at most, or one running sum. */
static int count_levels(const struct dpt_plan *plan)
{
    int levels = 0;
    for (int64_t micros = plan->micros; plan->conf.shards && micros > 1; micros /= 2) {
        levels++;
    }
    return plan->conf.shards ? levels : plan->micros > 1;
}

enum dpt_status dpt_plan__layout(struct dpt_plan *plan)
{
    const struct dpt_graph *graph = plan->graph;
    for (int v = 0; v < graph->nvalues; v++) {
        const enum dpt_value_kind kind = graph->value[v].kind;
        plan->nparams += kind == DPT_VALUE_KIND_PARAM || kind == DPT_VALUE_KIND_BUFFER;
    }
    plan->param = dpt_arena_array(plan->arena, (size_t)plan->nparams, sizeof *plan->param);
    if (plan->conf.layout) {
        return take_layout(plan, plan->conf.layout);
    }
    DPT_TRY(lay_out(plan));
    if (graph->training) {
        DPT_TRY(lay_out_slots(plan));
        cut_buckets(plan);
        DPT_TRY(join_updates(plan));
        plan->nlevels = count_levels(plan);
    }
    return DPT_STATUS_OK;
}
