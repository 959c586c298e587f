/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Sums within a rank: gradients and metrics over micro-batches, and the square of the norm.
 *
 * Gradients of virtual shards (reproducible = yes) are added in a fixed binary tree, ((0 + 1) + (2 + 3)) + ..., whatever
 * part of them this rank has: a binary counter whose bit l says that accumulator l holds the sum of 2^l shards. The tree
 * goes on over the ranks (dpt_comm_allreduce_tree), so that every number of ranks makes the same sum. With reduce = fixed
 * they are cut into whole digits instead (comm/fixed.h), whose sum has no order. Micro-batches are added in order, by the
 * kernels themselves where these can.
 */

#include <string.h>

#include "comm/fixed.h"
#include "exec/internal.h"

static double *squares_of(const struct dpt_exec *exec)
{
    return exec->figures + exec->plan->micros * DPT_EXEC_METRICS;
}

/* Notes a range of the gradients whose square is wanted. */
static void note_square(struct dpt_exec *exec, int64_t begin, int64_t end)
{
    const size_t offset = (size_t)begin * dpt_dtype_nbytes(exec->plan->graph->real);
    exec->square[exec->nsquares++] = (struct dpt_flat_range){(const char *)exec->state->gradient + offset, end - begin};
}

/* Asks for the squares of the ranges that were noted. */
static enum dpt_status ask_squares(struct dpt_exec *exec)
{
    return dpt_flat_squares(exec->dev, exec->plan->graph->real, exec->nsquares, exec->square, squares_of(exec));
}

/* Of a shard in the control message: the square of the norm of a part of the gradient, and the metrics of its samples. */
enum { ROW = 1 + DPT_EXEC_METRICS };

static double *row_of(const struct dpt_exec *exec, int64_t micro)
{
    return exec->part + (exec->plan->first_shard + micro) * ROW;
}

static void square_shards(struct dpt_exec *exec)
{
    const struct dpt_plan *plan = exec->plan;
    const int parts = (int)plan->conf.shards;
    for (int64_t i = 0; i < plan->micros; i++) {
        const int part = (int)(plan->first_shard + i);
        note_square(exec, dpt_split_begin(plan->ntrained, parts, part), dpt_split_begin(plan->ntrained, parts, part + 1));
    }
}

enum dpt_status dpt_exec__sum_control(struct dpt_exec *exec)
{
    struct dpt_exec__control *message = &exec->control;
    const int64_t shards = exec->plan->conf.shards, count = shards * ROW + DPT_EXEC_FLAGS;
    if (!exec->part) {
        return dpt_exec__sum_world(exec, (double *)message, sizeof *message / sizeof(double));
    }
    memcpy(exec->part + shards * ROW, message->flag, sizeof message->flag);
    DPT_TRY(dpt_exec__sum_world(exec, exec->part, count));
    *message = (struct dpt_exec__control){0};
    for (int64_t i = 0; i < shards; i++) {
        message->square += exec->part[i * ROW];
        for (int k = 0; k < DPT_EXEC_METRICS; k++) {
            message->metric[k] += exec->part[i * ROW + 1 + k];
        }
    }
    memcpy(message->flag, exec->part + shards * ROW, sizeof message->flag);
    memset(exec->part, 0, (size_t)count * sizeof *exec->part);
    return DPT_STATUS_OK;
}

/* Where the state is one copy a host: of this rank's slices, where no other host counts them. */
static double square_by_host(const struct dpt_exec *exec)
{
    const struct dpt_plan *plan = exec->plan;
    double sum = 0.0;
    for (int b = 0; b < plan->nbuckets && dpt_exchange_slice_counts(exec->exchange) > 0; b++) {
        sum += plan->bucket[b].trained ? dpt_exchange_square(exec->exchange, exec->slot_of[b]) : 0.0;
    }
    return sum;
}

enum dpt_status dpt_exec__ask_squares_alone(struct dpt_exec *exec, int ranks, bool keep)
{
    const struct dpt_plan *plan = exec->plan;
    const enum dpt_dtype real = plan->graph->real;
    for (int b = 0; b < plan->nbuckets; b++) {
        const struct dpt_range range = plan->bucket[b].range;
        if (plan->bucket[b].trained) {
            note_square(exec, range.begin, range.end);
        } else if (!keep) { /* the update of statistics takes no grad_scale */
            char *statistics = (char *)exec->state->gradient + (size_t)range.begin * dpt_dtype_nbytes(real);
            DPT_TRY(dpt_flat_scale(exec->dev, real, range.end - range.begin, ranks, statistics));
        }
    }
    return ask_squares(exec);
}

/* The sum of what was asked for, in that order. */
static double add_squares(struct dpt_exec *exec)
{
    double sum = 0.0;
    for (int i = 0; i < exec->nsquares; i++) {
        sum += squares_of(exec)[i];
    }
    exec->nsquares = 0;
    return sum;
}

void dpt_exec__take_squares_alone(struct dpt_exec *exec, int ranks)
{
    exec->control.square = (double)ranks * ranks * add_squares(exec);
}

/* Every element counts on one rank: of equal sums in a group each rank takes its slice. */
static void square_by_slices(struct dpt_exec *exec)
{
    const struct dpt_plan *plan = exec->plan;
    for (int b = 0; b < plan->nbuckets; b++) {
        const struct dpt_plan_bucket *bucket = &plan->bucket[b];
        if (bucket->trained && bucket->counted) {
            const struct dpt_range range =
                bucket->group < 0 ? bucket->range
                                  : dpt_plan_slice(plan, b, dpt_plan_group_rank(plan, bucket->group));
            note_square(exec, range.begin + bucket->gradient_offset, range.end + bucket->gradient_offset);
        }
    }
}

/* Adds what one micro-batch has of elements [begin, end) of the flat layout to those before it. */
static enum dpt_status add(struct dpt_exec *exec, int micro, int bucket, int64_t begin, int64_t end, const void *part)
{
    const enum dpt_dtype real = exec->plan->graph->real;
    const int64_t n = end - begin, width = (int64_t)dpt_dtype_nbytes(real);
    char *sum = (char *)exec->state->gradient + (begin + exec->plan->bucket[bucket].gradient_offset) * width;
    return micro == 0 ? dpt_dev_copy(exec->dev, sum, part, (size_t)(n * width))
                      : dpt_flat_add(exec->dev, real, n, sum, part, sum);
}

enum dpt_status dpt_exec__add(struct dpt_exec *exec, int micro, int i)
{
    const struct dpt_plan_param *param = &exec->plan->param[i];
    return add(exec, micro, param->bucket, param->offset, param->offset + param->numel,
               dpt_exec__tensor(exec, param->gradient, micro).data);
}

enum dpt_status dpt_exec__keep(struct dpt_exec *exec, int micro, int bucket, const void *slice)
{
    const struct dpt_range kept = dpt_plan_kept(exec->plan, bucket);
    return add(exec, micro, bucket, kept.begin, kept.end, slice);
}

enum dpt_status dpt_exec__ask_squares(struct dpt_exec *exec)
{
    if (exec->part) {
        square_shards(exec);
    } else if (!exec->by_host) {
        square_by_slices(exec);
    }
    return ask_squares(exec);
}

void dpt_exec__take_squares(struct dpt_exec *exec)
{
    for (int i = 0; i < exec->nsquares && exec->part; i++) {
        *row_of(exec, i) = squares_of(exec)[i];
    }
    const double asked = add_squares(exec);
    exec->control.square = exec->by_host ? square_by_host(exec) : asked;
}

/* A bucket of digits and its windows. */
struct digits {
    void *at, *gradient;
    int32_t *window, *top;
    int64_t n;
};

static struct digits digits_of(const struct dpt_exec *exec, int bucket)
{
    const struct dpt_range range = exec->plan->bucket[bucket].range;
    const size_t offset = (size_t)range.begin * dpt_dtype_nbytes(exec->plan->graph->real);
    return (struct digits){
        .at = (char *)exec->state->digits + 2 * offset,
        .gradient = (char *)exec->gradient + offset,
        .window = exec->state->window + range.begin / DPT_FIXED_BLOCK,
        .top = exec->state->top + range.begin / DPT_FIXED_BLOCK,
        .n = range.end - range.begin,
    };
}

enum dpt_status dpt_exec__level_digits(struct dpt_exec *exec, int bucket)
{
    const struct digits digits = digits_of(exec, bucket);
    memcpy(digits.top, digits.window, (size_t)(digits.n / DPT_FIXED_BLOCK) * sizeof *digits.top);
    DPT_TRY(dpt_exchange_max(dpt_exec__exchange(exec, bucket), digits.top, digits.n / DPT_FIXED_BLOCK));
    dpt_fixed_raise(exec->plan->graph->real, digits.n, digits.at, digits.window, digits.top);
    return DPT_STATUS_OK;
}

void dpt_exec__read_digits(struct dpt_exec *exec, int bucket)
{
    const struct digits digits = digits_of(exec, bucket);
    dpt_fixed_value(exec->plan->graph->real, digits.n, digits.at, digits.top, digits.gradient);
}

static enum dpt_status accumulate_digits(struct dpt_exec *exec, int micro, int bucket)
{
    const struct digits digits = digits_of(exec, bucket);
    const struct dpt_range range = exec->plan->bucket[bucket].range;
    const enum dpt_dtype real = exec->plan->graph->real;
    DPT_TRY(dpt_exec__out(exec, exec->gradient, exec->state->gradient, range));
    dpt_fixed_add(real, digits.n, digits.gradient, digits.at, digits.window, micro == 0);
    if (micro < exec->plan->micros - 1 || dpt_exec__exchange(exec, bucket)) {
        return DPT_STATUS_OK;
    }
    dpt_fixed_value(real, digits.n, digits.at, digits.window, digits.gradient);
    return dpt_exec__in(exec, exec->state->gradient, exec->gradient, range);
}

enum dpt_status dpt_exec__accumulate(struct dpt_exec *exec, int micro, int bucket)
{
    const struct dpt_plan *plan = exec->plan;
    const enum dpt_dtype real = plan->graph->real;
    const struct dpt_range range = plan->bucket[bucket].range;
    const size_t width = dpt_dtype_nbytes(real), offset = (size_t)range.begin * width;
    const int64_t n = range.end - range.begin;
    char *gradient = (char *)exec->state->gradient + offset;
    if (plan->conf.fixed) {
        return accumulate_digits(exec, micro, bucket);
    }
    int at = 0;
    for (; micro >> at & 1; at++) {
        const char *before = (const char *)exec->state->accumulator[at] + offset;
        DPT_TRY(dpt_flat_add(exec->dev, real, n, before, gradient, gradient));
    }
    return micro == plan->micros - 1
               ? DPT_STATUS_OK
               : dpt_dev_copy(exec->dev, (char *)exec->state->accumulator[at] + offset, gradient, (size_t)n * width);
}

enum dpt_status dpt_exec__ask_metric(struct dpt_exec *exec, int micro)
{
    const struct dpt_plan *plan = exec->plan;
    const int64_t count = dpt_type_numel(&plan->value[plan->graph->metric].type);
    exec->nmetrics++;
    return dpt_dev_copy_out_later(exec->dev, exec->figures + micro * DPT_EXEC_METRICS,
                                  dpt_exec__tensor(exec, plan->graph->metric, micro).data,
                                  (size_t)count * sizeof *exec->figures);
}

void dpt_exec__take_metrics(struct dpt_exec *exec)
{
    double *sum = exec->control.metric;
    for (int micro = 0; micro < exec->nmetrics; micro++) {
        const double *metric = exec->figures + micro * DPT_EXEC_METRICS;
        if (exec->part) {
            memcpy(row_of(exec, micro) + 1, metric, sizeof exec->control.metric);
            continue;
        }
        for (int i = 0; i < DPT_EXEC_METRICS; i++) {
            sum[i] = micro == 0 ? metric[i] : sum[i] + metric[i];
        }
    }
    exec->nmetrics = 0;
}
