/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Parameters that are combined in fragments, one after the other, while steps go on (Douillard and others: "Streaming
 * DiLoCo with overlapping communication", 2025). A round of `every` steps has as many turns as fragments. In a turn the
 * fragment of the turn before, which travelled meanwhile, is taken in, and the next one sent: a copy of it as it is now.
 * What a rank learned of a fragment while it travelled is kept: w = result + (w - what was sent). So ranks are never quite
 * equal between turns; where they must be, for an evaluation, a checkpoint or the end, all of it is combined at once.
 */

#include <string.h>

#include "train/internal.h"

static size_t width_of(const struct dpt_train *train)
{
    return dpt_dtype_nbytes(train->graph->real);
}

static struct dpt_range fragment(const struct dpt_train *train, int f)
{
    return dpt_exchange_slice_of((struct dpt_range){0, train->plan->nflat}, (int)train->job->parallel.fragments, f);
}

static size_t longest_nbytes(const struct dpt_train *train)
{
    int64_t longest = 0;
    for (int f = 0; f < train->job->parallel.fragments; f++) {
        const struct dpt_range range = fragment(train, f);
        longest = range.end - range.begin > longest ? range.end - range.begin : longest;
    }
    return (size_t)longest * width_of(train);
}

bool dpt_train__streams(const struct dpt_train *train)
{
    return dpt_train__apart(train) && train->job->parallel.fragments > 1;
}

int64_t dpt_train__stream_nbytes(const struct dpt_train *train)
{
    return dpt_train__streams(train) ? 2 * (int64_t)longest_nbytes(train) : 0;
}

enum dpt_status dpt_train__stream_open(struct dpt_train *train)
{
    struct dpt_train__local *local = &train->local;
    const int64_t every = dpt_span_steps(train->job->parallel.every, train->steps_per_epoch);
    local->under_way = -1;
    if (!dpt_train__streams(train)) {
        return DPT_STATUS_OK;
    }
    DPT_CHECK(every % train->job->parallel.fragments == 0, DPT_STATUS_USAGE,
              "[parallel] fragments = %lld, but every = %lld steps: expected a multiple, so that each has its turn",
              (long long)train->job->parallel.fragments, (long long)every);
    /* Before what may fail on one rank alone: this is collective. */
    DPT_TRY(dpt_exchange_alloc(train->exchange, longest_nbytes(train), DPT_EXCHANGE_MEMORY_OWN, &local->travels));
    local->lent_travels = local->travels != NULL;
    if (!local->lent_travels) {
        DPT_TRY(dpt_dev_host_alloc(train->dev, longest_nbytes(train), "a fragment that travels", &local->travels));
    }
    return dpt_dev_host_alloc(train->dev, longest_nbytes(train), "a fragment as it was sent", &local->old);
}

void dpt_train__stream_close(struct dpt_train *train)
{
    if (train->local.old) {
        dpt_dev_host_release(train->dev, train->local.old, longest_nbytes(train));
    }
    if (train->local.travels && !train->local.lent_travels) {
        dpt_dev_host_release(train->dev, train->local.travels, longest_nbytes(train));
    }
}

enum dpt_status dpt_train__stream_bind(struct dpt_train *train)
{
    enum { MOST = 64 };
    struct dpt_range range[MOST];
    const int fragments = (int)train->job->parallel.fragments;
    DPT_ASSERT(fragments <= MOST);
    for (int f = 0; f < fragments; f++) { /* one at a time, all in the same place */
        const struct dpt_range at = fragment(train, f);
        range[f] = (struct dpt_range){0, at.end - at.begin};
    }
    return dpt_exchange_bind(train->exchange, train->local.travels, train->graph->real, fragments, range);
}

/* w += result - old */
static void take_in(enum dpt_dtype real, int64_t n, const void *result, const void *old, void *w)
{
    for (int64_t i = 0; i < n; i++) {
        if (real == DPT_DTYPE_F32) {
            ((float *)w)[i] += ((const float *)result)[i] - ((const float *)old)[i];
        } else {
            ((double *)w)[i] += ((const double *)result)[i] - ((const double *)old)[i];
        }
    }
}

/* Takes in the fragment that is under way, if one is. Collective. */
static enum dpt_status arrive(struct dpt_train *train)
{
    struct dpt_train__local *local = &train->local;
    if (local->under_way < 0) {
        return DPT_STATUS_OK;
    }
    const struct dpt_range range = fragment(train, local->under_way);
    dpt_comm_action("average", "a fragment of the parameters");
    DPT_TRY(dpt_exchange_wait(train->exchange, local->under_way));
    local->under_way = -1;
    dpt_train__local_result(train, range, local->travels);
    DPT_TRY(dpt_train__fetch_params(train, range));
    take_in(train->graph->real, range.end - range.begin, local->travels, local->old,
            (char *)train->host.param + (size_t)range.begin * width_of(train));
    return dpt_train__put_params(train, range);
}

enum dpt_status dpt_train__stream_turn(struct dpt_train *train)
{
    struct dpt_train__local *local = &train->local;
    const int64_t fragments = train->job->parallel.fragments;
    const int64_t turn = dpt_span_steps(train->job->parallel.every, train->steps_per_epoch) / fragments;
    DPT_TRY(arrive(train));
    const int f = (int)(train->state->step / turn % fragments);
    const struct dpt_range range = fragment(train, f);
    const size_t nbytes = (size_t)(range.end - range.begin) * width_of(train);
    DPT_TRY(dpt_train__fetch_params(train, range));
    memcpy(local->old, (const char *)train->host.param + (size_t)range.begin * width_of(train), nbytes);
    memcpy(local->travels, local->old, nbytes);
    local->under_way = f;
    return dpt_exchange_start(train->exchange, f);
}

enum dpt_status dpt_train__stream_join(struct dpt_train *train)
{
    if (!dpt_train__streams(train) || !train->local.bound) {
        return DPT_STATUS_OK;
    }
    DPT_TRY(arrive(train));
    dpt_comm_action("average", "the parameters");
    DPT_TRY(dpt_train__fetch(train, DPT_TRAIN__PARAM));
    DPT_TRY(dpt_comm_allreduce(train->world, train->host.param, train->plan->nflat, train->graph->real,
                               DPT_COMM_REDUCE_SUM));
    dpt_train__local_result(train, (struct dpt_range){0, train->plan->nflat}, train->host.param);
    return dpt_train__put(train, DPT_TRAIN__PARAM);
}
