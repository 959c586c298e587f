/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Training in which ranks go their own ways for a while: each takes `parallel.every` steps on its share of the batches
 * with its own parameters and optimizer state, then they meet.
 *
 *   local-sgd       w = mean of w over the ranks       (Stich: "Local SGD converges fast and communicates little", 2019)
 *   post-local-sgd  the same, after every step was synchronous for a while       (Lin et al.: "Don't use large
 *                   mini-batches, use local SGD", 2020)
 *   diloco          d = start - mean of w;  m = momentum m + d;  w = start - rate (d + momentum m), the next start
 *                   (Douillard et al.: "DiLoCo: distributed low-communication training of language models", 2023)
 *
 * Running statistics are averaged in all of them. A rank's gradient is the mean over its own samples: the sum over them
 * by the divisor of the whole batch, times the number of ranks. So with one step between meetings and plain SGD all this
 * is the synchronous training. The optimizer's own state is each rank's; where it is saved the ranks take its mean, so
 * that going on from the checkpoint and going on without it are the same.
 */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "train/internal.h"

/* What the ranks tell each other when they meet. */
struct meeting {
    double metric[DPT_EXEC_METRICS];
    double flag[DPT_EXEC_FLAGS];
    double square; /* of the norm of the last step's gradient */
    double bad;    /* steps whose gradient was not finite     */
};

static int ranks_of(const struct dpt_train *train)
{
    return dpt_train__axis(train, "data");
}

static bool is_diloco(const struct dpt_train *train)
{
    return train->job->parallel.update == DPT_UPDATE_DILOCO;
}

/* The step from which on ranks go their own ways. */
static int64_t first_alone(const struct dpt_train *train)
{
    const struct dpt_job *job = train->job;
    if (job->parallel.update != DPT_UPDATE_POST_LOCAL_SGD) {
        return 0;
    }
    const int64_t asked = dpt_span_steps(job->parallel.sync_until, train->steps_per_epoch);
    if (asked > 0) {
        return asked;
    }
    const struct dpt_spans *drops = &job->schedule.milestones;
    const struct dpt_span drop = {drops->unit, drops->count > 0 ? drops->value[0] : 0.0};
    const bool drops_once = job->schedule.type == DPT_SCHEDULE_TYPE_STEP && drops->count > 0;
    return drops_once ? dpt_span_steps(drop, train->steps_per_epoch) : train->steps / 2;
}

bool dpt_train__apart(const struct dpt_train *train)
{
    return train->job->parallel.update != DPT_UPDATE_SYNC && ranks_of(train) > 1;
}

bool dpt_train__alone(const struct dpt_train *train)
{
    return dpt_train__apart(train) && train->state->step >= first_alone(train);
}

bool dpt_train__meets(const struct dpt_train *train)
{
    const int64_t every = dpt_span_steps(train->job->parallel.every, train->steps_per_epoch);
    const int64_t next = train->state->step + 1, turn = every / train->job->parallel.fragments;
    return !dpt_train__alone(train) || next >= train->steps || next % (turn > 0 ? turn : 1) == 0;
}

/* ---------------------------------------------------------------------------------------------------------- memory */

static size_t flat_nbytes(const struct dpt_train *train)
{
    return (size_t)train->plan->nflat * dpt_dtype_nbytes(train->graph->real);
}

int64_t dpt_train__local_nbytes(const struct dpt_train *train)
{
    const int64_t outer = dpt_train__apart(train) && is_diloco(train) ? 2 * (int64_t)flat_nbytes(train) : 0;
    return outer + dpt_train__stream_nbytes(train);
}

enum dpt_status dpt_train__local_open(struct dpt_train *train)
{
    const struct dpt_plan *plan = train->plan;
    if (!dpt_train__apart(train)) {
        return DPT_STATUS_OK;
    }
    for (int n = 0; n < plan->graph->nnodes; n++) {
        DPT_CHECK(!plan->graph->node[n].op->collective, DPT_STATUS_USAGE,
                  "[parallel] update: ranks that go their own ways cannot share the statistics of batch normalisation: "
                  "set model.batch_norm = local, or update = sync");
    }
    DPT_TRY(dpt_train__stream_open(train));
    if (is_diloco(train)) {
        DPT_TRY(dpt_dev_host_alloc(train->dev, flat_nbytes(train), "the outer start", &train->local.start));
        DPT_TRY(dpt_dev_host_alloc(train->dev, flat_nbytes(train), "the outer momentum", &train->local.momentum));
    }
    return DPT_STATUS_OK;
}

void dpt_train__local_close(struct dpt_train *train)
{
    dpt_train__stream_close(train);
    if (train->local.start) {
        dpt_dev_host_release(train->dev, train->local.start, flat_nbytes(train));
    }
    if (train->local.momentum) {
        dpt_dev_host_release(train->dev, train->local.momentum, flat_nbytes(train));
    }
}

/* From here on the exchange sums parameters, not gradients. Collective. */
static enum dpt_status bind_params(struct dpt_train *train)
{
    const struct dpt_range all = {0, train->plan->nflat};
    if (train->local.start) {
        DPT_TRY(dpt_train__fetch(train, DPT_TRAIN__PARAM));
        memcpy(train->local.start, train->host.param, flat_nbytes(train));
    }
    train->local.bound = true;
    return dpt_train__streams(train)
               ? dpt_train__stream_bind(train)
               : dpt_exchange_bind(train->exchange, train->host.param, train->graph->real, 1, &all);
}

enum dpt_status dpt_train__local_begin(struct dpt_train *train)
{
    return dpt_train__alone(train) && !train->local.bound ? bind_params(train) : DPT_STATUS_OK;
}

/* --------------------------------------------------------------------------------------------------------- meeting */

static void scale(enum dpt_dtype real, int64_t n, double factor, void *data)
{
    for (int64_t i = 0; i < n; i++) {
        if (real == DPT_DTYPE_F32) {
            ((float *)data)[i] *= (float)factor;
        } else {
            ((double *)data)[i] *= factor;
        }
    }
}

static void outer_f32(int64_t n, float rate, float keep, float *restrict start, float *restrict m, float *restrict w)
{
    for (int64_t i = 0; i < n; i++) {
        const float d = start[i] - w[i];
        m[i] = keep * m[i] + d;
        w[i] = start[i] - rate * (d + keep * m[i]);
        start[i] = w[i];
    }
}

static void outer_f64(int64_t n, double rate, double keep, double *restrict start, double *restrict m,
                      double *restrict w)
{
    for (int64_t i = 0; i < n; i++) {
        const double d = start[i] - w[i];
        m[i] = keep * m[i] + d;
        w[i] = start[i] - rate * (d + keep * m[i]);
        start[i] = w[i];
    }
}

/* The outer rule on a range of the flat layout, whose means are in w. */
static void outer(struct dpt_train *train, struct dpt_range range, void *w)
{
    const double rate = train->job->parallel.outer_lr, keep = train->job->parallel.outer_momentum;
    const int64_t n = range.end - range.begin;
    if (train->graph->real == DPT_DTYPE_F32) {
        outer_f32(n, (float)rate, (float)keep, (float *)train->local.start + range.begin,
                  (float *)train->local.momentum + range.begin, w);
    } else {
        outer_f64(n, rate, keep, (double *)train->local.start + range.begin,
                  (double *)train->local.momentum + range.begin, w);
    }
}

void dpt_train__local_result(struct dpt_train *train, struct dpt_range range, void *sum)
{
    const struct dpt_plan *plan = train->plan;
    const size_t width = dpt_dtype_nbytes(train->graph->real);
    scale(train->graph->real, range.end - range.begin, 1.0 / ranks_of(train), sum);
    for (int b = 0; b < plan->nbuckets && is_diloco(train); b++) {
        struct dpt_range part = plan->bucket[b].range;
        part.begin = part.begin > range.begin ? part.begin : range.begin;
        part.end = part.end < range.end ? part.end : range.end;
        if (plan->bucket[b].trained && part.begin < part.end) {
            outer(train, part, (char *)sum + (size_t)(part.begin - range.begin) * width);
        }
    }
}

/* The parameters become their mean, or what the outer rule makes of it. Collective. */
static enum dpt_status combine(struct dpt_train *train)
{
    dpt_comm_action("average", "the parameters");
    DPT_TRY(dpt_train__fetch(train, DPT_TRAIN__PARAM));
    DPT_TRY(dpt_exchange_start(train->exchange, 0));
    DPT_TRY(dpt_exchange_wait(train->exchange, 0));
    dpt_train__local_result(train, (struct dpt_range){0, train->plan->nflat}, train->host.param);
    return dpt_train__put(train, DPT_TRAIN__PARAM);
}

/* Sums of all steps since the last meeting, over all ranks; flags. Collective. */
static enum dpt_status compare(struct dpt_train *train, struct dpt_exec_step *step)
{
    struct dpt_train__local *local = &train->local;
    struct meeting meeting = {.square = step->grad_norm * step->grad_norm, .bad = (double)local->bad};
    memcpy(meeting.metric, local->metric, sizeof meeting.metric);
    memcpy(meeting.flag, step->flag, sizeof meeting.flag);
    dpt_comm_action("sum", "loss and flags");
    DPT_TRY(dpt_exchange_sum(train->exchange, &meeting, sizeof meeting / sizeof(double), DPT_DTYPE_F64));
    memcpy(step->metric, meeting.metric, sizeof step->metric);
    memcpy(step->flag, meeting.flag, sizeof step->flag);
    step->grad_norm = sqrt(meeting.square / ranks_of(train));
    step->finite = meeting.bad == 0.0 && isfinite(step->metric[0]) && isfinite(step->grad_norm);
    memset(local->metric, 0, sizeof local->metric);
    local->bad = 0;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_train__local_step(struct dpt_train *train, struct dpt_exec_step *step, bool meets)
{
    struct dpt_train__local *local = &train->local;
    const double begin_s = dpt_clock_s();
    for (int i = 0; i < DPT_EXEC_METRICS; i++) {
        local->metric[i] += step->metric[i];
    }
    local->bad += !step->finite;
    if (!meets) {
        memset(step->metric, 0, sizeof step->metric); /* counted when the ranks meet */
        step->finite = true;                          /* decided when the ranks meet */
        return DPT_STATUS_OK;
    }
    DPT_TRY(compare(train, step));
    if (step->finite) {
        DPT_TRY(dpt_train__streams(train) ? dpt_train__stream_turn(train) : combine(train));
        local->meetings++;
    }
    dpt_exec_seconds(train->exec)[DPT_SECTION_EXCHANGE] += dpt_clock_s() - begin_s;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_train__local_save(struct dpt_train *train)
{
    const enum dpt_dtype real = train->graph->real;
    if (train->async) {
        return dpt_train__async_save(train);
    }
    if (!dpt_train__apart(train) || !train->local.bound) {
        return DPT_STATUS_OK;
    }
    DPT_TRY(dpt_train__fetch(train, DPT_TRAIN__SLOTS));
    for (int k = 0; k < train->plan->nslots; k++) {
        DPT_TRY(dpt_comm_allreduce(train->world, train->host.slot[k], train->plan->nflat, real, DPT_COMM_REDUCE_SUM));
        scale(real, train->plan->nflat, 1.0 / ranks_of(train), train->host.slot[k]);
    }
    return dpt_train__put(train, DPT_TRAIN__SLOTS);
}
