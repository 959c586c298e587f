/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The flat state: parameters, then buffers, one after the other in flat buffers, in the order in which the backward
 * pass finishes their gradients. So a bucket, a contiguous range, is complete as early as can be, and neighbours with
 * equal settings are updated by one call. What is summed over other ranks, or counted elsewhere, lies apart: a bucket is
 * of one kind.
 */

#include <stdlib.h>
#include <string.h>

#include "comm/fixed.h"
#include "plan/internal.h"

/* Bytes after which the bucket that is ready first is closed when the job says nothing. */
enum { FIRST_BUCKET_NBYTES = 1 << 20 };

bool dpt_plan__is_flat(const struct dpt_plan *plan, int value)
{
    const enum dpt_value_kind kind = plan->graph->value[value].kind;
    return kind == DPT_VALUE_KIND_PARAM || kind == DPT_VALUE_KIND_BUFFER || kind == DPT_VALUE_KIND_SLOT ||
           (kind == DPT_VALUE_KIND_GRADIENT && !plan->value[value].apart);
}

static bool is_state(const struct dpt_graph *graph, int value)
{
    return graph->value[value].kind == DPT_VALUE_KIND_PARAM || graph->value[value].kind == DPT_VALUE_KIND_BUFFER;
}

/* ------------------------------------------------------------------------------------------------ groups */

int dpt_plan_group_rank(const struct dpt_plan *plan, int group)
{
    const struct dpt_mesh *mesh = plan->conf.mesh;
    const struct dpt_plan_group *at = &plan->group[group];
    int rank = 0;
    for (int axis = 0; axis < mesh->naxes; axis++) {
        if (at->axes >> axis & 1) {
            const bool some = at->places && dpt_plan__axis_kind(mesh, axis) == DPT_PLAN__AXIS_PIPELINE;
            const int coord = mesh->axis[axis].coord;
            rank = some ? rank * __builtin_popcountll(at->places) +
                              __builtin_popcountll(at->places & ((UINT64_C(1) << coord) - 1))
                        : rank * mesh->axis[axis].size + coord;
        }
    }
    return rank;
}

/* The group with these axes and places, made where there is none. */
static enum dpt_status find_group(struct dpt_plan *plan, unsigned axes, uint64_t places, bool average, int *group)
{
    const struct dpt_mesh *mesh = plan->conf.mesh;
    for (*group = 0; *group < plan->ngroups; ++*group) {
        const struct dpt_plan_group *at = &plan->group[*group];
        if (at->axes == axes && at->places == places && at->average == average) {
            return DPT_STATUS_OK;
        }
    }
    DPT_CHECK(plan->ngroups < DPT_PLAN_MAX_GROUPS, DPT_STATUS_USAGE,
              "parameters are shared by stages in more than %d ways: take fewer stages", DPT_PLAN_MAX_GROUPS);
    struct dpt_plan_group *made = &plan->group[plan->ngroups++];
    *made = (struct dpt_plan_group){.axes = axes, .places = places, .average = average, .size = 1, .member = true};
    for (int axis = 0; axis < mesh->naxes; axis++) {
        const bool some = places && dpt_plan__axis_kind(mesh, axis) == DPT_PLAN__AXIS_PIPELINE;
        if (axes >> axis & 1) {
            made->size *= some ? __builtin_popcountll(places) : mesh->axis[axis].size;
            made->member = made->member && (!some || (places >> mesh->axis[axis].coord & 1));
        }
    }
    return DPT_STATUS_OK;
}

/* Axes over which the gradient of a state value is a partial sum. */
static unsigned partial_axes(const struct dpt_plan *plan, const struct dpt_plan__placed *placed, int value)
{
    const int gradient = plan->logical->value[value].gradient;
    unsigned axes = 0;
    for (int axis = 0; gradient >= 0 && axis < plan->conf.mesh->naxes; axis++) {
        const bool partial = placed->place[gradient][axis].kind == DPT_PLACE_KIND_PARTIAL;
        axes |= partial && plan->conf.mesh->axis[axis].size > 1 ? 1u << axis : 0;
    }
    return axes;
}

/* The group over which the gradient of a state value is summed; the same groups in the same order on all ranks. */
static enum dpt_status group_of(struct dpt_plan *plan, const struct dpt_plan__placed *placed, int value, int *group)
{
    const int pipeline = dpt_plan__axis_of(plan->conf.mesh, DPT_PLAN__AXIS_PIPELINE);
    unsigned axes = partial_axes(plan, placed, value);
    uint64_t places = 0;
    *group = -1;
    if (plan->logical->value[value].gradient >= 0 && __builtin_popcountll(placed->holders[value]) > 1 &&
        !plan->conf.average) {
        axes |= 1u << pipeline;
        places = placed->holders[value];
    }
    return axes ? find_group(plan, axes, places, false, group) : DPT_STATUS_OK;
}

/* The stages among which copies of a parameter are averaged, or -1. */
static enum dpt_status average_of(struct dpt_plan *plan, const struct dpt_plan__placed *placed, int value, int *group)
{
    const int pipeline = dpt_plan__axis_of(plan->conf.mesh, DPT_PLAN__AXIS_PIPELINE);
    const bool copies = __builtin_popcountll(placed->holders[value]) > 1;
    *group = -1;
    return plan->conf.average && copies ? find_group(plan, 1u << pipeline, placed->holders[value], true, group)
                                        : DPT_STATUS_OK;
}

/* Of equal sums on several ranks that of the first counts: the first on every axis where the parameter is copied. */
static bool is_counted(const struct dpt_plan *plan, const struct dpt_plan__placed *placed, int value, int group)
{
    const unsigned summed = group >= 0 ? plan->group[group].axes : 0;
    bool counted = true;
    for (int axis = 0; axis < plan->conf.mesh->naxes; axis++) {
        const bool copies = dpt_plan__axis_kind(plan->conf.mesh, axis) != DPT_PLAN__AXIS_PIPELINE &&
                            placed->place[value][axis].kind == DPT_PLACE_KIND_COPIED && !(summed >> axis & 1);
        counted = counted && (!copies || plan->conf.mesh->axis[axis].coord == 0);
    }
    return counted;
}

/* ------------------------------------------------------------------------------------------------ the order */

/* What decides the place of a parameter, most important first. */
struct key {
    int buffer;
    int group;
    int uncounted;
    int average; /* in which its copies are averaged    */
    int chunk;
    int unit;    /* in which its gradient is finished   */
    int finish;  /* the node that finishes its gradient */
    int value;
};

static int by_finish(const void *a, const void *b)
{
    const int *x = a, *y = b;
    for (size_t i = 0; i < sizeof(struct key) / sizeof(int); i++) {
        if (x[i] != y[i]) {
            return x[i] < y[i] ? -1 : 1;
        }
    }
    return 0;
}

/* The chunk whose work finishes the gradient, or else that reads the value first. */
static int chunk_of(const struct dpt_plan *plan, int value)
{
    const int gradient = plan->graph->value[value].gradient;
    if (gradient >= 0 && plan->graph->value[gradient].producer >= 0) {
        return plan->node[plan->graph->value[gradient].producer].chunk;
    }
    for (int n = 0; n < plan->graph->nnodes; n++) {
        for (int i = 0; i < plan->graph->node[n].nin; i++) {
            if (plan->graph->node[n].in[i] == value) {
                return plan->node[n].chunk;
            }
        }
    }
    return 0;
}

/* A bucket is accumulated after one unit of work, so that all of it is finished in that; a joint one stands alone. */
static bool same_kind(const struct dpt_plan *plan, const struct key *a, const struct key *b)
{
    const bool joint = a->group >= 0 && plan->group[a->group].places != 0;
    return !joint && a->buffer == b->buffer && a->group == b->group && a->uncounted == b->uncounted &&
           a->average == b->average && a->chunk == b->chunk && a->unit == b->unit;
}

/* Cuts the parameters of one kind, [first, end), into ranges of about the wanted size. */
static void cut_buckets(struct dpt_plan *plan, const struct key *key, int first, int end)
{
    const int64_t wanted = plan->conf.bucket_bytes ? plan->conf.bucket_bytes : DPT_PLAN_BUCKET_NBYTES;
    const int64_t width = (int64_t)dpt_dtype_nbytes(plan->graph->real);
    const bool joint = key->group >= 0 && plan->group[key->group].places != 0;
    int64_t begin = plan->param[first].offset;
    int begun = first;
    for (int i = first; i < end; i++) {
        const int64_t stop = i + 1 < plan->nparams ? plan->param[i + 1].offset : plan->nflat;
        const bool early = plan->nbuckets == 0 && plan->conf.bucket_bytes == 0 && !joint;
        struct dpt_plan_bucket *bucket = &plan->bucket[plan->nbuckets];
        plan->param[i].bucket = plan->nbuckets;
        if (i + 1 == end || (stop - begin) * width >= (early ? FIRST_BUCKET_NBYTES : wanted)) {
            *bucket = (struct dpt_plan_bucket){
                .range = {begin, stop},
                .group = key->group,
                .counted = !key->uncounted,
                .trained = !key->buffer,
                .chunk = key->chunk,
                .first = begun,
                .end = i + 1,
            };
            /* What several stages sum together is whole until they meet; what they average, for good. */
            const bool split = dpt_plan_is_sliced(plan, plan->nbuckets++) && bucket->trained && key->unit >= 0;
            bucket->scatter = split && plan->conf.shard >= DPT_PLAN_SHARD_GRADIENTS;
            bucket->gather = split && plan->conf.shard >= DPT_PLAN_SHARD_PARAMETERS && key->average < 0;
            begun = i + 1;
            begin = stop;
        }
    }
}

/* Gives every parameter and buffer of a graph without a layout its offset and its bucket. */
static enum dpt_status lay_out(struct dpt_plan *plan, const struct dpt_plan__placed *placed)
{
    const struct dpt_graph *graph = plan->graph;
    struct key *key = dpt_arena_array(plan->arena, (size_t)plan->nparams + 1, sizeof *key);
    int *average = dpt_arena_array(plan->arena, (size_t)graph->nvalues, sizeof *average);
    int count = 0;
    for (int v = 0; v < plan->logical->nvalues; v++) {
        int group;
        if (!is_state(graph, v)) {
            continue;
        }
        DPT_TRY(group_of(plan, placed, v, &group));
        DPT_TRY(average_of(plan, placed, v, &average[v]));
        if (plan->value[v].here) {
            /* What several stages have lies in the same order on each of them. */
            const int gradient = graph->value[v].gradient;
            const bool joint = group >= 0 && plan->group[group].places != 0;
            const int finish = gradient >= 0 && !joint ? graph->value[gradient].producer : -1;
            key[count++] = (struct key){
                .buffer = graph->value[v].kind == DPT_VALUE_KIND_BUFFER,
                .group = group,
                .uncounted = !is_counted(plan, placed, v, group),
                .average = average[v],
                .chunk = joint ? 0 : chunk_of(plan, v),
                .unit = finish >= 0 ? (int)dpt_plan__unit(plan, finish) : -1,
                .finish = finish,
                .value = v,
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
            .bucket = -1,
            .average = average[key[i].value],
        };
        const int64_t room = (param->numel + DPT_PLAN__ALIGN - 1) / DPT_PLAN__ALIGN * DPT_PLAN__ALIGN;
        DPT_CHECK(!__builtin_add_overflow(at, room, &at) && at < INT64_C(1) << 50, DPT_STATUS_SPACE,
                  "%s: with it the parameters have more than 2^50 elements", value->name);
        if (!key[i].buffer) {
            plan->ntrained = at;
        }
    }
    plan->nflat = at;
    if (graph->training) {
        plan->bucket = dpt_arena_array(plan->arena, (size_t)plan->nparams + 1, sizeof *plan->bucket);
        for (int first = 0, end; first < count; first = end) {
            for (end = first + 1; end < count && same_kind(plan, &key[first], &key[end]);) {
                end++;
            }
            cut_buckets(plan, &key[first], first, end);
        }
    }
    return DPT_STATUS_OK;
}

/* Takes the offsets of the training's plan, by name, and its buckets. */
static enum dpt_status take_layout(struct dpt_plan *plan, const struct dpt_plan *layout)
{
    const struct dpt_graph *graph = plan->graph;
    int count = 0;
    for (int i = 0; i < layout->nparams; i++) {
        const struct dpt_value *value = &layout->graph->value[layout->param[i].value];
        const int v = dpt_graph_find(graph, value->name);
        if (v < 0 || !plan->value[v].here) {
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
    plan->ngroups = layout->ngroups;
    memcpy(plan->group, layout->group, sizeof plan->group);
    plan->nbuckets = layout->nbuckets;
    plan->bucket = dpt_arena_memdup(plan->arena, layout->bucket, (size_t)layout->nbuckets * sizeof *layout->bucket);
    for (int b = 0; b < plan->nbuckets; b++) { /* what is in them is less here */
        plan->bucket[b].first = plan->bucket[b].end = 0;
    }
    for (int i = plan->nparams - 1; i >= 0; i--) {
        struct dpt_plan_bucket *bucket = &plan->bucket[plan->param[i].bucket];
        bucket->end = bucket->end > 0 ? bucket->end : i + 1;
        bucket->first = i;
    }
    return DPT_STATUS_OK;
}

/* ------------------------------------------------------------------------------------------------ updates */

/* Notes the slots of each parameter in the order in which the graph has them. */
static enum dpt_status lay_out_slots(struct dpt_plan *plan)
{
    const struct dpt_graph *graph = plan->graph;
    int *index = dpt_arena_array(plan->arena, (size_t)graph->nvalues, sizeof *index);
    for (int i = 0; i < plan->nparams; i++) {
        index[plan->param[i].value] = i + 1;
    }
    for (int v = 0; v < graph->nvalues; v++) {
        if (graph->value[v].kind == DPT_VALUE_KIND_SLOT && index[graph->value[v].of] > 0) {
            struct dpt_plan_param *param = &plan->param[index[graph->value[v].of] - 1];
            DPT_CHECK(param->nslots < DPT_PLAN_MAX_SLOTS, DPT_STATUS_FAILED, "%s: has more than %d slots",
                      graph->value[param->value].name, DPT_PLAN_MAX_SLOTS);
            param->slot[param->nslots++] = v;
            plan->nslots = param->nslots > plan->nslots ? param->nslots : plan->nslots;
        }
    }
    return DPT_STATUS_OK;
}

bool dpt_plan_is_sliced(const struct dpt_plan *plan, int bucket)
{
    const int group = plan->bucket[bucket].group;
    return plan->conf.shard != DPT_PLAN_SHARD_NONE && group >= 0 && plan->group[group].size > 1;
}

struct dpt_range dpt_plan_slice(const struct dpt_plan *plan, int bucket, int rank)
{
    return dpt_exchange_slice_of(plan->bucket[bucket].range, plan->group[plan->bucket[bucket].group].size, rank);
}

struct dpt_range dpt_plan_kept(const struct dpt_plan *plan, int bucket)
{
    return dpt_plan_is_sliced(plan, bucket)
               ? dpt_plan_slice(plan, bucket, dpt_plan_group_rank(plan, plan->bucket[bucket].group))
               : plan->bucket[bucket].range;
}

int64_t dpt_plan_param_at(const struct dpt_plan *plan, const struct dpt_plan_param *param)
{
    return param->offset + (plan->nbuckets > 0 ? plan->bucket[param->bucket].param_offset : 0);
}

/* Puts a range behind what a buffer has so far; returns from where its elements are counted. */
static int64_t append(int64_t *elements, struct dpt_range range)
{
    const int64_t offset = *elements - range.begin;
    *elements += range.end - range.begin;
    return offset;
}

/* Where each bucket lies in the buffers, of which this rank has all or its slice; what has a slot is what it updates. */
static void lay_out_buffers(struct dpt_plan *plan)
{
    for (int b = 0; b < plan->nbuckets; b++) {
        struct dpt_plan_bucket *bucket = &plan->bucket[b];
        const struct dpt_range kept = dpt_plan_kept(plan, b);
        bucket->param_offset = append(&plan->kept.params, bucket->gather ? kept : bucket->range);
        bucket->gradient_offset = append(&plan->kept.gradients, bucket->scatter ? kept : bucket->range);
        bucket->slot_offset = append(&plan->kept.slots, kept);
    }
}

static bool same_update(const struct dpt_plan_update *update, const struct dpt_node *node, int nslots, int bucket,
                        bool whole)
{
    return update->op == node->op && update->nslots == nslots && (whole || update->bucket == bucket) &&
           memcmp(update->param, node->param, node->op->param_nbytes) == 0;
}

/* One update for each run of neighbours with equal settings, of the part that this rank keeps. */
static enum dpt_status join_updates(struct dpt_plan *plan)
{
    const struct dpt_graph *graph = plan->graph;
    int *by = dpt_arena_array(plan->arena, (size_t)graph->nvalues, sizeof *by); /* node + 1 that updates a value */
    for (int n = 0; n < graph->nnodes; n++) {
        if (graph->node[n].op->update) {
            by[graph->node[n].in[0]] = n + 1;
        }
    }
    const bool whole = plan->conf.shard == DPT_PLAN_SHARD_NONE; /* buckets lie one behind the other in every buffer */
    plan->update = dpt_arena_array(plan->arena, (size_t)plan->nparams + 1, sizeof *plan->update);
    for (int i = 0; i < plan->nparams; i++) {
        const struct dpt_plan_param *param = &plan->param[i];
        const struct dpt_range kept = dpt_plan_kept(plan, param->bucket);
        int64_t begin = param->offset, end = i + 1 < plan->nparams ? plan->param[i + 1].offset : plan->nflat;
        begin = begin > kept.begin ? begin : kept.begin;
        end = end < kept.end ? end : kept.end;
        if (param->gradient < 0 || begin >= end) {
            continue;
        }
        DPT_CHECK(by[param->value] > 0, DPT_STATUS_FAILED, "%s: has a gradient, but no update reads it",
                  graph->value[param->value].name);
        const struct dpt_node *node = &graph->node[by[param->value] - 1];
        struct dpt_plan_update *last = plan->nupdates > 0 ? &plan->update[plan->nupdates - 1] : NULL;
        if (last && last->end == begin && same_update(last, node, param->nslots, param->bucket, whole)) {
            last->end = end;
        } else {
            plan->update[plan->nupdates++] = (struct dpt_plan_update){
                .op = node->op,
                .param = node->param,
                .nslots = param->nslots,
                .bucket = param->bucket,
                .begin = begin,
                .end = end,
            };
        }
    }
    return DPT_STATUS_OK;
}

/* Accumulators: the partial sums that a binary counter over the virtual shards holds at most. */
static int count_levels(const struct dpt_plan *plan)
{
    int levels = 0;
    for (int64_t micros = plan->micros; plan->conf.shards && !plan->conf.fixed && micros > 1; micros /= 2) {
        levels++;
    }
    return levels;
}

/* How the gradients of micro-batches come together in the flat buffer: by their kernels, or added from elsewhere. */
static void find_sums(struct dpt_plan *plan)
{
    for (int i = 0; i < plan->nparams; i++) {
        const int gradient = plan->param[i].gradient;
        const int n = gradient >= 0 ? plan->graph->value[gradient].producer : -1;
        if (n < 0 || plan->bucket[plan->param[i].bucket].scatter) {
            continue;
        }
        const struct dpt_node *node = &plan->graph->node[n];
        const bool adds = node->out[0] == gradient && (node->op->adds >> plan->conf.run & 1);
        plan->node[n].adds = plan->node[n].adds || adds; /* its other outputs may be gradients, too */
        plan->value[gradient].apart = !adds;
    }
}

int64_t dpt_plan_offset(const struct dpt_plan *plan, int value)
{
    for (int i = 0; i < plan->nparams; i++) {
        if (plan->param[i].value == value) {
            return plan->param[i].offset;
        }
    }
    DPT_ASSERT(!"a parameter of this rank");
    return -1;
}

static void list_matrices(struct dpt_plan *plan)
{
    plan->matrix = dpt_arena_array(plan->arena, (size_t)plan->nparams + 1, sizeof *plan->matrix);
    for (int i = 0; i < plan->nparams; i++) {
        const struct dpt_plan_param *param = &plan->param[i];
        const struct dpt_type *type = &plan->graph->value[param->value].type;
        if (type->ndim > 1 && type->dim[0] > 0 && param->offset < plan->ntrained) {
            plan->matrix[plan->nmatrices++] =
                (struct dpt_exchange_matrix){param->offset, type->dim[0], param->numel / type->dim[0]};
        }
    }
}

enum dpt_status dpt_plan__layout(struct dpt_plan *plan, const struct dpt_plan__placed *placed)
{
    const struct dpt_graph *graph = plan->graph;
    for (int v = 0; v < graph->nvalues; v++) {
        plan->nparams += is_state(graph, v) && plan->value[v].here;
    }
    plan->param = dpt_arena_array(plan->arena, (size_t)plan->nparams + 1, sizeof *plan->param);
    if (plan->conf.layout) {
        return take_layout(plan, plan->conf.layout);
    }
    DPT_TRY(lay_out(plan, placed));
    plan->kept.params = graph->training ? 0 : plan->nflat;
    if (graph->training) {
        DPT_TRY(lay_out_slots(plan));
        lay_out_buffers(plan);
        DPT_TRY(join_updates(plan));
        list_matrices(plan);
        plan->nlevels = count_levels(plan);
        if (plan->micros > 1 && !plan->conf.shards) {
            find_sums(plan);
        }
        if (plan->conf.fixed) {
            plan->digits_nbytes = 2 * plan->nflat * (int64_t)dpt_dtype_nbytes(graph->real);
            plan->windows_nbytes = 2 * plan->nflat / DPT_FIXED_BLOCK * (int64_t)sizeof(int32_t);
        }
    }
    return DPT_STATUS_OK;
}
