/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Where the ranks along data share out gradients (ZeRO 2) or parameters (ZeRO 3), a bucket is whole only while a unit of
 * work needs it. Where data is the only axis its stay begins one turn before its own, so that parameters travel while the
 * kernels of the bucket before run, and ends one turn later, so that gradients travel while those of the next are computed:
 * at most two buckets of a kind stay at a time. With more axes, whose collectives are between them, nothing is under way.
 */

#include <stdlib.h>

#include "plan/internal.h"

/* The nodes of a unit of work that read or write a bucket. */
struct use {
    int first, last; /* -1: none */
};

static void use(struct use *use, int n)
{
    use->first = use->first < 0 ? n : use->first;
    use->last = n;
}

/* The bucket of the parameters that are kept in slices in which a value lies, or -1. */
static int gathered_bucket(const struct dpt_plan *plan, const int *bucket, int value)
{
    const int b = bucket[dpt_plan_root(plan, value)];
    return b >= 0 && plan->bucket[b].gather ? b : -1;
}

static void add_stay(struct dpt_plan *plan, int bucket, bool gradient, int chunk, enum dpt_unit_kind unit,
                     const struct use *use)
{
    const struct dpt_range range = plan->bucket[bucket].range;
    plan->stay[plan->nstays++] = (struct dpt_plan_stay){
        .bucket = bucket,
        .gradient = gradient,
        .chunk = chunk,
        .unit = unit,
        .turn = gradient ? use->last : use->first,
        .begin = use->first,
        .end = use->last,
        .offset = -1,
        .nbytes = (range.end - range.begin) * (int64_t)dpt_dtype_nbytes(plan->graph->real),
    };
}

/* Finds what a unit of work reads of the parameters and writes of the gradients. */
static void add_unit(struct dpt_plan *plan, const int *bucket, int chunk, enum dpt_unit_kind unit, struct use *read,
                     struct use *written)
{
    const struct dpt_graph *graph = plan->graph;
    for (int b = 0; b < plan->nbuckets; b++) {
        read[b] = written[b] = (struct use){-1, -1};
    }
    for (int n = 0; n < graph->nnodes; n++) {
        const struct dpt_node *node = &graph->node[n];
        if (node->op->update || node->op->view || plan->node[n].chunk != chunk || dpt_plan__unit(plan, n) != unit) {
            continue;
        }
        for (int i = 0; i < node->nin; i++) {
            const int b = gathered_bucket(plan, bucket, node->in[i]);
            if (b >= 0) {
                use(&read[b], n);
            }
        }
        for (int o = 0; o < node->nout; o++) {
            const int v = node->out[o], b = graph->value[v].kind == DPT_VALUE_KIND_GRADIENT ? bucket[v] : -1;
            if (b >= 0 && plan->bucket[b].scatter) {
                use(&written[b], n);
            }
        }
    }
    for (int b = 0; b < plan->nbuckets; b++) {
        if (read[b].first >= 0) {
            add_stay(plan, b, false, chunk, unit, &read[b]);
        }
        if (written[b].first >= 0) {
            add_stay(plan, b, true, chunk, unit, &written[b]);
        }
    }
}

static int by_turn(const void *a, const void *b)
{
    const struct dpt_plan_stay *x = a, *y = b;
    const int order[] = {x->chunk - y->chunk, (int)x->unit - (int)y->unit, x->gradient - y->gradient,
                         x->turn - y->turn, x->bucket - y->bucket};
    int at = 0;
    while (at < 4 && order[at] == 0) {
        at++;
    }
    return order[at];
}

static bool same_unit(const struct dpt_plan_stay *a, const struct dpt_plan_stay *b)
{
    return a->chunk == b->chunk && a->unit == b->unit && a->gradient == b->gradient;
}

void dpt_plan__stays(struct dpt_plan *plan)
{
    enum { KINDS = 3 };
    const struct dpt_graph *graph = plan->graph;
    bool any = false;
    for (int b = 0; b < plan->nbuckets; b++) {
        any = any || plan->bucket[b].gather || plan->bucket[b].scatter;
    }
    if (!any) {
        return;
    }
    int *bucket = dpt_arena_array(plan->arena, (size_t)graph->nvalues, sizeof *bucket);
    struct use *read = dpt_arena_array(plan->arena, (size_t)plan->nbuckets, sizeof *read);
    struct use *written = dpt_arena_array(plan->arena, (size_t)plan->nbuckets, sizeof *written);
    for (int v = 0; v < graph->nvalues; v++) {
        bucket[v] = -1;
    }
    for (int i = 0; i < plan->nparams; i++) {
        bucket[plan->param[i].value] = plan->param[i].bucket;
        if (plan->param[i].gradient >= 0) {
            bucket[plan->param[i].gradient] = plan->param[i].bucket;
        }
    }
    plan->stay = dpt_arena_array(plan->arena, (size_t)plan->nbuckets * 2 * KINDS * (size_t)plan->pipeline.chunks,
                                 sizeof *plan->stay);
    for (int c = 0; c < plan->pipeline.chunks; c++) {
        for (int kind = 0; kind < KINDS; kind++) {
            add_unit(plan, bucket, c, (enum dpt_unit_kind)kind, read, written);
        }
    }
    qsort(plan->stay, (size_t)plan->nstays, sizeof *plan->stay, by_turn);
    for (int s = 0; s < plan->nstays && dpt_plan__is_data_only(plan); s++) {
        struct dpt_plan_stay *stay = &plan->stay[s];
        if (!stay->gradient && s > 0 && same_unit(stay, stay - 1)) {
            stay->begin = plan->stay[s - 1].turn;
        }
        if (stay->gradient && s + 1 < plan->nstays && same_unit(stay, stay + 1)) {
            stay->end = plan->stay[s + 1].turn;
        }
    }
}
