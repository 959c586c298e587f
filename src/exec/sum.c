/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Sums within a rank: gradients and metrics over micro-batches, and the square of the norm.
 *
 * Virtual shards (reproducible = yes) are added in a fixed binary tree, ((0 + 1) + (2 + 3)) + ..., whatever part of
 * them this rank has: a binary counter whose bit l says that accumulator l holds the sum of 2^l shards. The tree goes
 * on over the ranks (dpt_comm_allreduce_tree), so that every number of ranks makes the same sum. Micro-batches are
 * added in order.
 */

#include <string.h>

#include "exec/internal.h"
#include "op/flat.h"

/* Adds the square over a range of the gradients. */
static enum dpt_status square(const struct dpt_exec *exec, int64_t begin, int64_t end, double *sum)
{
    const enum dpt_dtype real = exec->plan->graph->real;
    const char *gradient = (const char *)exec->state->gradient + (size_t)begin * dpt_dtype_nbytes(real);
    double part = 0.0;
    DPT_TRY(dpt_flat_square(exec->dev, real, end - begin, gradient, &part));
    *sum += part;
    return DPT_STATUS_OK;
}

/* The square over the parts that this rank has of so many, added up in a binary tree. */
static enum dpt_status square_of_shards(const struct dpt_exec *exec, double *out)
{
    const struct dpt_plan *plan = exec->plan;
    const int64_t parts = plan->conf.shards, mine = plan->micros;
    double level[DPT_PLAN_MAX_LEVELS + 1], sum = 0.0;
    for (int64_t i = 0; i < mine; i++) {
        const int part = (int)(plan->conf.mesh->axis[0].coord * mine + i);
        sum = 0.0;
        DPT_TRY(square(exec, dpt_split_begin(plan->ntrained, (int)parts, part),
                       dpt_split_begin(plan->ntrained, (int)parts, part + 1), &sum));
        int at = 0;
        for (; i >> at & 1; at++) {
            sum = level[at] + sum;
        }
        level[at] = sum;
    }
    *out = sum;
    return DPT_STATUS_OK;
}

/* The same where the state is one copy a host: of this rank's slices, where no other host counts them. */
static enum dpt_status square_by_host(const struct dpt_exec *exec, double *sum)
{
    const struct dpt_plan *plan = exec->plan;
    for (int b = 0; b < plan->nbuckets && dpt_exchange_slice_counts(exec->exchange) > 0; b++) {
        if (plan->bucket[b].trained) {
            const struct dpt_range slice = dpt_exchange_slice(exec->exchange, exec->slot_of[b]);
            DPT_TRY(square(exec, slice.begin, slice.end, sum));
        }
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_exec__square_alone(const struct dpt_exec *exec, int ranks, double *out)
{
    const struct dpt_plan *plan = exec->plan;
    const enum dpt_dtype real = plan->graph->real;
    double sum = 0.0;
    for (int b = 0; b < plan->nbuckets; b++) {
        const struct dpt_range range = plan->bucket[b].range;
        if (plan->bucket[b].trained) {
            DPT_TRY(square(exec, range.begin, range.end, &sum));
        } else { /* the update of statistics takes no grad_scale */
            char *statistics = (char *)exec->state->gradient + (size_t)range.begin * dpt_dtype_nbytes(real);
            DPT_TRY(dpt_flat_scale(exec->dev, real, range.end - range.begin, ranks, statistics));
        }
    }
    *out = (double)ranks * ranks * sum;
    return DPT_STATUS_OK;
}

/* Every element counts on one rank: of equal sums in a group each rank takes its slice. */
enum dpt_status dpt_exec__square(const struct dpt_exec *exec, double *sum)
{
    const struct dpt_plan *plan = exec->plan;
    *sum = 0.0;
    if (plan->conf.shards) {
        return square_of_shards(exec, sum);
    }
    if (exec->by_host) {
        return square_by_host(exec, sum);
    }
    for (int b = 0; b < plan->nbuckets; b++) {
        const struct dpt_plan_bucket *bucket = &plan->bucket[b];
        if (bucket->trained && bucket->counted) {
            const struct dpt_range range =
                bucket->group < 0 ? bucket->range
                                  : dpt_plan_slice(plan, b, dpt_plan_group_rank(plan, bucket->group));
            DPT_TRY(square(exec, range.begin + bucket->gradient_offset, range.end + bucket->gradient_offset, sum));
        }
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_exec__keep(struct dpt_exec *exec, int micro, int bucket, const void *slice)
{
    const enum dpt_dtype real = exec->plan->graph->real;
    const struct dpt_range kept = dpt_plan_kept(exec->plan, bucket);
    const int64_t n = kept.end - kept.begin, width = (int64_t)dpt_dtype_nbytes(real);
    char *sum = (char *)exec->state->gradient + (kept.begin + exec->plan->bucket[bucket].gradient_offset) * width;
    return micro == 0 ? dpt_dev_copy(exec->dev, sum, slice, (size_t)(n * width))
                      : dpt_flat_add(exec->dev, real, n, sum, slice, sum);
}

enum dpt_status dpt_exec__accumulate(struct dpt_exec *exec, int micro, int bucket)
{
    const struct dpt_plan *plan = exec->plan;
    const struct dpt_plan_bucket *at_bucket = &plan->bucket[bucket];
    const enum dpt_dtype real = plan->graph->real;
    const int64_t width = (int64_t)dpt_dtype_nbytes(real), begin = at_bucket->range.begin;
    const int64_t n = at_bucket->range.end - begin, offset = (begin + at_bucket->accumulator_offset) * width;
    const bool last = micro == plan->micros - 1;
    char *gradient = (char *)exec->state->gradient + (begin + at_bucket->gradient_offset) * width;
    if (!plan->conf.shards) {
        char *before = (char *)exec->state->accumulator[0] + offset;
        return micro == 0 ? dpt_dev_copy(exec->dev, before, gradient, (size_t)n * dpt_dtype_nbytes(real))
                          : dpt_flat_add(exec->dev, real, n, before, gradient, last ? gradient : before);
    }
    int at = 0;
    for (; micro >> at & 1; at++) {
        const char *before = (const char *)exec->state->accumulator[at] + offset;
        DPT_TRY(dpt_flat_add(exec->dev, real, n, before, gradient, gradient));
    }
    return last ? DPT_STATUS_OK
                : dpt_dev_copy(exec->dev, (char *)exec->state->accumulator[at] + offset, gradient,
                               (size_t)n * dpt_dtype_nbytes(real));
}

enum dpt_status dpt_exec__add_metric(struct dpt_exec *exec, int micro)
{
    const struct dpt_plan *plan = exec->plan;
    const int64_t count = dpt_type_numel(&plan->value[plan->graph->metric].type);
    double *sum = exec->control.metric;
    double working[DPT_EXEC_METRICS] = {0.0};
    DPT_TRY(dpt_dev_copy_out(exec->dev, working, dpt_exec__tensor(exec, plan->graph->metric, micro).data,
                             (size_t)count * sizeof *working));
    int at = 0;
    for (; plan->conf.shards && (micro >> at & 1); at++) {
        for (int64_t i = 0; i < count; i++) {
            working[i] = exec->metric[at][i] + working[i];
        }
    }
    if (plan->conf.shards) {
        memcpy(exec->metric[at], working, sizeof working);
    }
    for (int64_t i = 0; i < count; i++) {
        sum[i] = plan->conf.shards || micro == 0 ? working[i] : sum[i] + working[i];
    }
    return DPT_STATUS_OK;
}
