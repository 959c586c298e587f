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

#include "base/simd.h"
#include "exec/internal.h"

/* y = a + y and a = a + y differ in nothing but where the sum goes. */
DPT_SIMD static void dpt_exec__add_f32(int64_t n, const float *a, const float *b, float *sum)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        sum[i] = a[i] + b[i];
    }
}

DPT_SIMD static void dpt_exec__add_f64(int64_t n, const double *a, const double *b, double *sum)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        sum[i] = a[i] + b[i];
    }
}

/* Squares in double: no float overflows there. Eight sums side by side, in a fixed order on every machine. */
enum { LANES = 8 };

DPT_SIMD static void dpt_exec__square_f32(int64_t n, const float *x, double sum[LANES])
{
    for (int64_t i = 0; i + LANES <= n; i += LANES) {
#pragma omp simd
        for (int k = 0; k < LANES; k++) {
            sum[k] += (double)x[i + k] * (double)x[i + k];
        }
    }
}

DPT_SIMD static void dpt_exec__square_f64(int64_t n, const double *x, double sum[LANES])
{
    for (int64_t i = 0; i + LANES <= n; i += LANES) {
#pragma omp simd
        for (int k = 0; k < LANES; k++) {
            sum[k] += x[i + k] * x[i + k];
        }
    }
}

static double square(enum dpt_dtype real, const void *data, int64_t begin, int64_t end)
{
    double sum[LANES] = {0.0};
    const int64_t n = end - begin, whole = n / LANES * LANES;
    if (real == DPT_DTYPE_F32) {
        dpt_exec__square_f32(n, (const float *)data + begin, sum);
    } else {
        dpt_exec__square_f64(n, (const double *)data + begin, sum);
    }
    for (int64_t i = whole; i < n; i++) {
        const double x = real == DPT_DTYPE_F32 ? ((const float *)data)[begin + i] : ((const double *)data)[begin + i];
        sum[i - whole] += x * x;
    }
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

/* The square over the parts that this rank has of so many, added up in a binary tree. */
static double square_of_shards(const struct dpt_exec *exec)
{
    const struct dpt_plan *plan = exec->plan;
    const int64_t parts = plan->conf.shards, mine = plan->micros;
    double level[DPT_PLAN_MAX_LEVELS + 1], sum = 0.0;
    for (int64_t i = 0; i < mine; i++) {
        const int part = (int)(plan->conf.mesh->axis[0].coord * mine + i);
        sum = square(plan->graph->real, exec->state->gradient, dpt_split_begin(plan->ntrained, (int)parts, part),
                     dpt_split_begin(plan->ntrained, (int)parts, part + 1));
        int at = 0;
        for (; i >> at & 1; at++) {
            sum = level[at] + sum;
        }
        level[at] = sum;
    }
    return sum;
}

/* Every element counts on one rank: of equal sums in a group each rank takes its slice. */
/* The same where the state is one copy a host: of this rank's slices, where no other host counts them. */
static double square_by_host(const struct dpt_exec *exec)
{
    const struct dpt_plan *plan = exec->plan;
    double sum = 0.0;
    for (int b = 0; b < plan->nbuckets && dpt_exchange_slice_counts(exec->exchange) > 0; b++) {
        if (plan->bucket[b].trained) {
            const struct dpt_range slice = dpt_exchange_slice(exec->exchange, exec->slot_of[b]);
            sum += square(plan->graph->real, exec->state->gradient, slice.begin, slice.end);
        }
    }
    return sum;
}

double dpt_exec__square_alone(const struct dpt_exec *exec, int ranks)
{
    const struct dpt_plan *plan = exec->plan;
    double sum = 0.0;
    for (int b = 0; b < plan->nbuckets; b++) {
        const struct dpt_range range = plan->bucket[b].range;
        if (plan->bucket[b].trained) {
            sum += square(plan->graph->real, exec->state->gradient, range.begin, range.end);
            continue;
        }
        for (int64_t i = range.begin; i < range.end; i++) { /* the update of statistics takes no grad_scale */
            if (plan->graph->real == DPT_DTYPE_F32) {
                ((float *)exec->state->gradient)[i] *= (float)ranks;
            } else {
                ((double *)exec->state->gradient)[i] *= ranks;
            }
        }
    }
    return (double)ranks * ranks * sum;
}

double dpt_exec__square(const struct dpt_exec *exec)
{
    const struct dpt_plan *plan = exec->plan;
    double sum = 0.0;
    if (plan->conf.shards) {
        return square_of_shards(exec);
    }
    if (exec->by_host) {
        return square_by_host(exec);
    }
    for (int b = 0; b < plan->nbuckets; b++) {
        const struct dpt_plan_bucket *bucket = &plan->bucket[b];
        if (bucket->trained && bucket->counted) {
            const struct dpt_range range =
                bucket->group < 0 ? bucket->range
                                  : dpt_plan_slice(plan, b, dpt_plan_group_rank(plan, bucket->group));
            sum += square(plan->graph->real, exec->state->gradient, range.begin, range.end);
        }
    }
    return sum;
}

static void add(enum dpt_dtype real, int64_t n, const void *a, const void *b, void *sum)
{
    if (real == DPT_DTYPE_F32) {
        dpt_exec__add_f32(n, a, b, sum);
    } else {
        dpt_exec__add_f64(n, a, b, sum);
    }
}

void dpt_exec__accumulate(struct dpt_exec *exec, int micro, struct dpt_range range)
{
    const struct dpt_plan *plan = exec->plan;
    const enum dpt_dtype real = plan->graph->real;
    const size_t offset = (size_t)range.begin * dpt_dtype_nbytes(real);
    const int64_t n = range.end - range.begin;
    const bool last = micro == plan->micros - 1;
    char *gradient = (char *)exec->state->gradient + offset;
    if (!plan->conf.shards) {
        char *before = (char *)exec->state->accumulator[0] + offset;
        if (micro == 0) {
            memcpy(before, gradient, (size_t)n * dpt_dtype_nbytes(real));
        } else {
            add(real, n, before, gradient, last ? gradient : before);
        }
        return;
    }
    int at = 0;
    for (; micro >> at & 1; at++) {
        add(real, n, (char *)exec->state->accumulator[at] + offset, gradient, gradient);
    }
    if (!last) {
        memcpy((char *)exec->state->accumulator[at] + offset, gradient, (size_t)n * dpt_dtype_nbytes(real));
    }
}

void dpt_exec__add_metric(struct dpt_exec *exec, int micro)
{
    const struct dpt_plan *plan = exec->plan;
    const int64_t count = dpt_type_numel(&plan->value[plan->graph->metric].type);
    const double *now = dpt_exec__tensor(exec, plan->graph->metric, micro).data;
    double *sum = exec->control.metric;
    double working[DPT_EXEC_METRICS] = {0.0};
    memcpy(working, now, (size_t)count * sizeof *now);
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
}
