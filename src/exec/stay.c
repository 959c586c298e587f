/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Buckets of which this rank keeps a slice (ZeRO 2 and 3): whole in the activation block while a unit of work needs them.
 * Where a parameter lies changes with every stay.
 */

#include <stdlib.h>

#include "exec/internal.h"

static int64_t width_of(const struct dpt_exec *exec)
{
    return (int64_t)dpt_dtype_nbytes(exec->plan->graph->real);
}

static char *stay_data(const struct dpt_exec *exec, const struct dpt_plan_stay *stay)
{
    return (char *)exec->block + stay->offset;
}

/* Bytes from the begin of its bucket to a parameter or its gradient. */
static int64_t offset_in(const struct dpt_exec *exec, const struct dpt_plan_param *param)
{
    return (param->offset - exec->plan->bucket[param->bucket].range.begin) * width_of(exec);
}

void dpt_exec__prepare_stays(struct dpt_exec *exec)
{
    const struct dpt_plan *plan = exec->plan;
    if (plan->nstays == 0) {
        return;
    }
    int *param = calloc((size_t)plan->graph->nvalues, sizeof *param); /* of each value, + 1 */
    if (!param) {
        dpt_fatal(DPT_STATUS_SPACE, "out of memory for the places of %d values", plan->graph->nvalues);
    }
    for (int i = 0; i < plan->nparams; i++) {
        param[plan->param[i].value] = i + 1;
    }
    for (int v = 0; v < plan->graph->nvalues; v++) {
        const int i = param[dpt_plan_root(plan, v)] - 1;
        if (i >= 0 && plan->bucket[plan->param[i].bucket].gather) {
            exec->stayer[exec->nstayers++] =
                (struct dpt_exec__stayer){v, plan->param[i].bucket, offset_in(exec, &plan->param[i])};
        }
    }
    free(param);
    for (int s = 0; s < plan->nstays; s++) {
        const struct dpt_plan_bucket *bucket = &plan->bucket[plan->stay[s].bucket];
        for (int i = bucket->first; i < bucket->end && plan->stay[s].gradient; i++) {
            exec->data[plan->param[i].gradient] = stay_data(exec, &plan->stay[s]) + offset_in(exec, &plan->param[i]);
        }
    }
}

/* The slice of this rank in a bucket that begins at `data`. */
static char *slice_in(const struct dpt_exec *exec, int bucket, char *data)
{
    return data + (dpt_plan_kept(exec->plan, bucket).begin - exec->plan->bucket[bucket].range.begin) * width_of(exec);
}

static size_t slice_nbytes(const struct dpt_exec *exec, int bucket)
{
    const struct dpt_range kept = dpt_plan_kept(exec->plan, bucket);
    return (size_t)((kept.end - kept.begin) * width_of(exec));
}

static size_t bucket_nbytes(const struct dpt_exec *exec, int bucket)
{
    const struct dpt_range range = exec->plan->bucket[bucket].range;
    return (size_t)((range.end - range.begin) * width_of(exec));
}

/* Two of each kind are under way at a time, and they are neighbours. */
enum { UNDER_WAY = 2 };

enum dpt_status dpt_exec__take_stays(struct dpt_exec *exec)
{
    void *stays = NULL;
    for (int s = 0; s < exec->plan->nstays; s++) {
        const size_t nbytes = 2 * UNDER_WAY * (size_t)exec->plan->stay[s].nbytes;
        exec->stays_nbytes = nbytes > exec->stays_nbytes ? nbytes : exec->stays_nbytes;
    }
    DPT_TRY(dpt_dev_host_alloc(exec->dev, exec->stays_nbytes, "buckets on the host", &stays));
    exec->stays = stays;
    return DPT_STATUS_OK;
}

/* What MPI sees of a stay. */
static char *travelling(const struct dpt_exec *exec, const struct dpt_plan_stay *stay)
{
    const int64_t place = (stay - exec->plan->stay) % UNDER_WAY + (stay->gradient ? UNDER_WAY : 0);
    return dpt_dev_is_apart(exec->dev) ? exec->stays + place * (int64_t)(exec->stays_nbytes / (2 * UNDER_WAY))
                                       : stay_data(exec, stay);
}

/* Begins a sum of slices, or a collection of slices, of a bucket that begins at `data`. */
static enum dpt_status begin(struct dpt_exec *exec, int bucket, bool sum, char *data, uint64_t *ticket)
{
    const struct dpt_range range = exec->plan->bucket[bucket].range;
    exec->sent += dpt_plan_slices_sent(exec->plan, bucket);
    return (sum ? dpt_exchange_scatter : dpt_exchange_gather)(dpt_exec__exchange(exec, bucket), data,
                                                              range.end - range.begin, exec->plan->graph->real, ticket);
}

/* Which of exec->arrival is that of a stay. */
static int arrival_of(const struct dpt_exec *exec, const struct dpt_plan_stay *stay)
{
    return exec->plan->nbuckets + (int)(stay - exec->plan->stay);
}

/* What has travelled, in line: its place in the block may be in use until then. */
static enum dpt_status copy_in(struct dpt_exec *exec, const struct dpt_plan_stay *stay, void *to, const void *from,
                               size_t nbytes)
{
    struct dpt_dev_mark *mark = exec->arrival[arrival_of(exec, stay)].mark;
    DPT_TRY(dpt_dev_mark_wait(exec->dev, mark)); /* an exchange of one rank does not wait for it */
    return dpt_dev_copy_in_later(exec->dev, to, from, nbytes, mark);
}

static enum dpt_status gather(struct dpt_exec *exec, const struct dpt_plan_stay *stay, uint64_t *ticket)
{
    const struct dpt_range kept = dpt_plan_kept(exec->plan, stay->bucket);
    const char *mine = (char *)exec->state->param +
                       (kept.begin + exec->plan->bucket[stay->bucket].param_offset) * width_of(exec);
    char *data = travelling(exec, stay);
    if (exec->ring) {
        DPT_TRY(dpt_dev_copy(exec->dev, slice_in(exec, stay->bucket, stay_data(exec, stay)), mine,
                             slice_nbytes(exec, stay->bucket)));
        return dpt_exec__ring_slices(exec, stay->bucket, false, stay_data(exec, stay));
    }
    DPT_TRY(dpt_dev_is_apart(exec->dev)
                ? dpt_exec__send_out(exec, dpt_exec__exchange(exec, stay->bucket), arrival_of(exec, stay),
                                     slice_in(exec, stay->bucket, data), mine, slice_nbytes(exec, stay->bucket))
                : dpt_dev_copy(exec->dev, slice_in(exec, stay->bucket, data), mine, slice_nbytes(exec, stay->bucket)));
    return begin(exec, stay->bucket, false, data, ticket);
}

/* Points the parameters at the stay. */
static enum dpt_status enter(struct dpt_exec *exec, const struct dpt_plan_stay *stay)
{
    for (int i = 0; i < exec->nstayers; i++) {
        if (exec->stayer[i].bucket == stay->bucket) {
            exec->data[exec->stayer[i].value] = stay_data(exec, stay) + exec->stayer[i].offset;
        }
    }
    return dpt_dev_is_apart(exec->dev) && !exec->ring
               ? copy_in(exec, stay, stay_data(exec, stay), travelling(exec, stay), bucket_nbytes(exec, stay->bucket))
               : DPT_STATUS_OK;
}

/* What lies between the parameters of a bucket is summed with them, and its square is in the norm. */
static enum dpt_status zero_gaps(const struct dpt_exec *exec, const struct dpt_plan_stay *stay)
{
    const struct dpt_plan *plan = exec->plan;
    const struct dpt_plan_bucket *bucket = &plan->bucket[stay->bucket];
    for (int i = bucket->first; i < bucket->end; i++) {
        const int64_t begin = plan->param[i].offset + plan->param[i].numel;
        const int64_t end = i + 1 < bucket->end ? plan->param[i + 1].offset : bucket->range.end;
        DPT_TRY(dpt_dev_zero(exec->dev, stay_data(exec, stay) + (begin - bucket->range.begin) * width_of(exec),
                             (size_t)((end - begin) * width_of(exec))));
    }
    return DPT_STATUS_OK;
}

static enum dpt_status scatter(struct dpt_exec *exec, const struct dpt_plan_stay *stay, uint64_t *ticket)
{
    char *data = travelling(exec, stay);
    DPT_TRY(zero_gaps(exec, stay));
    if (exec->ring) {
        return dpt_exec__ring_slices(exec, stay->bucket, true, stay_data(exec, stay));
    }
    DPT_TRY(dpt_exec__send_out(exec, dpt_exec__exchange(exec, stay->bucket), arrival_of(exec, stay), data,
                               stay_data(exec, stay), bucket_nbytes(exec, stay->bucket)));
    return begin(exec, stay->bucket, true, data, ticket);
}

static enum dpt_status keep(struct dpt_exec *exec, const struct dpt_plan_stay *stay, int micro)
{
    char *slice = slice_in(exec, stay->bucket, stay_data(exec, stay));
    if (dpt_dev_is_apart(exec->dev) && !exec->ring) {
        DPT_TRY(copy_in(exec, stay, slice, slice_in(exec, stay->bucket, travelling(exec, stay)),
                        slice_nbytes(exec, stay->bucket)));
    }
    return dpt_exec__keep(exec, micro, stay->bucket, slice);
}

static enum dpt_status finish(const struct dpt_exec *exec, int bucket, uint64_t ticket)
{
    return exec->ring ? dpt_dev_ring_join(exec->ring) : dpt_exchange_finish(dpt_exec__exchange(exec, bucket), ticket);
}

enum dpt_status dpt_exec__stay(struct dpt_exec *exec, const struct dpt_action *action)
{
    const struct dpt_plan_stay *stay = &exec->plan->stay[action->arg];
    uint64_t *ticket = &exec->ticket[exec->plan->nbuckets + action->arg];
    dpt_comm_action(stay->gradient ? "sum" : "gather", stay->gradient ? "of gradients" : "of parameters");
    switch (action->kind) {
    case DPT_ACTION_GATHER:
        return gather(exec, stay, ticket);
    case DPT_ACTION_GATHERED:
        DPT_TRY(finish(exec, stay->bucket, *ticket));
        return enter(exec, stay);
    case DPT_ACTION_SCATTER:
        return scatter(exec, stay, ticket);
    default:
        DPT_TRY(finish(exec, stay->bucket, *ticket));
        return keep(exec, stay, action->micro);
    }
}

enum dpt_status dpt_exec__exchange_slices(struct dpt_exec *exec, const struct dpt_action *action)
{
    const int b = action->arg;
    const struct dpt_plan_bucket *bucket = &exec->plan->bucket[b];
    const bool sum = action->kind == DPT_ACTION_REDUCE || action->kind == DPT_ACTION_WAIT;
    const bool begins = action->kind == DPT_ACTION_REDUCE || action->kind == DPT_ACTION_PUBLISH;
    const int64_t offset = sum ? bucket->gradient_offset : bucket->param_offset;
    const struct dpt_range kept = dpt_plan_kept(exec->plan, b);
    const struct dpt_range all = {bucket->range.begin + offset, bucket->range.end + offset};
    const struct dpt_range mine = {kept.begin + offset, kept.end + offset};
    void *host = sum ? exec->gradient : exec->param, *flat = sum ? exec->state->gradient : exec->state->param;
    dpt_comm_action(sum ? "sum" : "gather", sum ? "of gradients" : "of parameters");
    if (begins) {
        DPT_TRY(dpt_exec__send_bucket(exec, b, host, flat, sum ? all : mine));
        return begin(exec, b, sum, (char *)host + all.begin * width_of(exec), &exec->ticket[b]);
    }
    DPT_TRY(dpt_exchange_finish(dpt_exec__exchange(exec, b), exec->ticket[b]));
    return dpt_exec__take_bucket(exec, b, flat, host, sum ? mine : all);
}
