/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Training in which no rank waits for another, but for a bound that the job sets: ranks draw shares of the work, tell
 * their clocks, and reach each other through mailboxes (comm/mailbox.h). Every now and then they meet, to evaluate and
 * to save: then all that was sent has been read, and they make one state of what they have.
 *
 * Turns at MPI: while a phase is open, whoever holds the lock; outside, the compute thread.
 */

#include "train/async.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* Added to the counter of shares to end a phase: far more than any phase has. */
static const int64_t closing = INT64_C(1) << 40;

bool dpt_train__is_async(const struct dpt_train *train)
{
    return train->job->parallel.update >= DPT_UPDATE_ASYNC_OWNER && dpt_train__apart(train);
}

static const struct dpt_train__async_method *method_of(const struct dpt_train *train)
{
    return train->job->parallel.update == DPT_UPDATE_ASYNC_OWNER ? &dpt_train__owner : &dpt_train__gossip;
}

/* ---------------------------------------------------------------------------------------------------- open, close */

int64_t dpt_train__async_nbytes(const struct dpt_train *train)
{
    return dpt_train__is_async(train) ? method_of(train)->nbytes(train) : 0;
}

/* The boxes of the method, then one from each rank to rank 0. */
static enum dpt_status open_boxes(struct dpt_train *train)
{
    static const enum dpt_mailbox_way way[] = {
        [DPT_MAILBOX_BY_AUTO] = DPT_MAILBOX_WAY_AUTO,
        [DPT_MAILBOX_BY_SHM] = DPT_MAILBOX_WAY_SHM,
        [DPT_MAILBOX_BY_RMA] = DPT_MAILBOX_WAY_RMA,
        [DPT_MAILBOX_BY_P2P] = DPT_MAILBOX_WAY_P2P,
    };
    struct dpt_train__async *async = train->async;
    const int count = async->method->boxes(train, NULL) + async->ranks - 1;
    struct dpt_mailbox *box = calloc((size_t)count, sizeof *box);
    DPT_TRY(dpt_agree(box ? DPT_STATUS_OK
                          : dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "no memory for the list of mailboxes"),
                      train->world));
    async->tales = async->method->boxes(train, box);
    for (int r = 1; r < async->ranks; r++) {
        box[async->tales + r - 1] = (struct dpt_mailbox){.writer = r, .reader = 0, .nbytes = sizeof async->metric};
    }
    const struct dpt_mailbox_conf conf = {
        .comm = train->world, .way = way[train->job->parallel.mailbox], .nboxes = count, .box = box};
    const enum dpt_status status = dpt_mailboxes_open(&conf, &async->boxes);
    free(box);
    return status;
}

static enum dpt_status take_memory(struct dpt_train *train)
{
    struct dpt_train__async *async = calloc(1, sizeof *async);
    DPT_CHECK(async, DPT_STATUS_SPACE, "no memory for an asynchronous training");
    train->async = async;
    async->method = method_of(train);
    async->rank = dpt_comm_rank(train->world);
    async->ranks = dpt_comm_size(train->world);
    pthread_mutex_init(&async->lock, NULL);
    async->tale = calloc((size_t)async->ranks * DPT_EXEC_METRICS, sizeof *async->tale);
    DPT_CHECK(async->tale, DPT_STATUS_SPACE, "no memory for an asynchronous training");
    return async->method->open(train);
}

enum dpt_status dpt_train__async_open(struct dpt_train *train)
{
    if (!dpt_train__is_async(train)) {
        return DPT_STATUS_OK;
    }
    DPT_TRY(dpt_agree(take_memory(train), train->world));
    return open_boxes(train);
}

void dpt_train__async_close(struct dpt_train *train)
{
    struct dpt_train__async *async = train->async;
    if (async) {
        dpt_mailboxes_close(async->boxes);
        async->method->close(train);
        pthread_mutex_destroy(&async->lock);
        free(async->tale);
        free(async);
        train->async = NULL;
    }
}

const char *dpt_train__async_name(const struct dpt_train *train)
{
    return dpt_mailboxes_name(train->async->boxes);
}

const char *dpt_train__async_note(const struct dpt_train *train)
{
    return dpt_mailboxes_note(train->async->boxes);
}

/* ----------------------------------------------------------------------------------------------------------- phases */

static int64_t next_multiple(int64_t step, int64_t every)
{
    return every > 0 ? (step / every + 1) * every : INT64_MAX;
}

/* The next step at which something is due that needs all ranks. */
static int64_t next_meeting(const struct dpt_train *train)
{
    const int64_t step = train->state->step, per_epoch = train->steps_per_epoch;
    const int64_t save = next_multiple(step, dpt_span_steps(train->job->checkpoint.every, per_epoch));
    const int64_t score = train->valid.data ? next_multiple(step, dpt_span_steps(train->job->eval.every, per_epoch))
                                            : INT64_MAX;
    const int64_t next = save < score ? save : score;
    return next < train->steps ? next : train->steps;
}

/* Collective. */
static enum dpt_status open_phase(struct dpt_train *train)
{
    struct dpt_train__async *async = train->async;
    DPT_TRY(async->method->begin(train));
    async->begin = train->state->step;
    async->end = next_meeting(train);
    async->clock = 0;
    async->bad = 0.0;
    async->closed = false;
    async->phase++;
    memset(async->flag, 0, sizeof async->flag);
    memset(async->metric, 0, sizeof async->metric);
    memset(async->metered, 0, sizeof async->metered);
    memset(async->tale, 0, (size_t)async->ranks * DPT_EXEC_METRICS * sizeof *async->tale);
    if (async->rank == 0) {
        DPT_TRY(dpt_mailboxes_draw(async->boxes, 0, &async->base));
    }
    DPT_TRY(dpt_comm_bcast(train->world, &async->base, sizeof async->base, 0));
    DPT_TRY(dpt_comm_barrier(train->world));
    DPT_TRY(dpt_train__pump_start(train));
    async->open = true;
    return DPT_STATUS_OK;
}

/* Ends the phase for all: nobody draws a share any more. */
static enum dpt_status close_phase(struct dpt_train__async *async)
{
    int64_t before;
    if (async->closed) {
        return DPT_STATUS_OK;
    }
    async->closed = true;
    return dpt_mailboxes_draw(async->boxes, closing, &before);
}

/* Ends the phase if this rank knows a reason to. */
static enum dpt_status ask(struct dpt_train *train)
{
    struct dpt_train__async *async = train->async;
    double flag[DPT_EXEC_FLAGS];
    bool asked = async->bad > 0.0;
    dpt_train__ask(train, flag);
    for (int i = 0; i < DPT_EXEC_FLAGS; i++) {
        const bool bits = i == DPT_TRAIN__FLAG_RANK0;
        async->flag[i] = bits ? (double)((int)async->flag[i] | (int)flag[i]) : async->flag[i] + flag[i];
        asked = asked || async->flag[i] > 0.0;
    }
    return asked ? close_phase(async) : DPT_STATUS_OK;
}

/* Rank 0 gets what all ranks have measured so far, as far as it has arrived: the sum since the last time, in `metric`.
 */
static enum dpt_status tell_metrics(struct dpt_train *train, double metric[DPT_EXEC_METRICS])
{
    struct dpt_train__async *async = train->async;
    double sum[DPT_EXEC_METRICS];
    bool replaced;
    memset(metric, 0, sizeof sum);
    if (async->rank > 0) {
        const struct dpt_mailbox_header header = {.version = async->phase};
        return dpt_mailbox_post(async->boxes, async->tales + async->rank - 1, &header, async->metric,
                                sizeof async->metric, &replaced);
    }
    memcpy(sum, async->metric, sizeof sum);
    for (int r = 1; r < async->ranks; r++) {
        double *tale = &async->tale[r * DPT_EXEC_METRICS];
        const struct dpt_mailbox_header *header;
        const void *data;
        DPT_TRY(dpt_mailbox_take(async->boxes, async->tales + r - 1, &header, &data));
        if (header && header->version == async->phase) {
            memcpy(tale, data, sizeof sum);
        }
        for (int i = 0; i < DPT_EXEC_METRICS; i++) {
            sum[i] += tale[i];
        }
    }
    for (int i = 0; i < DPT_EXEC_METRICS; i++) {
        metric[i] = sum[i] - async->metered[i];
        async->metered[i] = sum[i];
    }
    return DPT_STATUS_OK;
}

/* What the ranks tell each other when they meet. */
struct meeting {
    double metric[DPT_EXEC_METRICS];
    double flag[DPT_EXEC_FLAGS];
    double shares, bad, square;
};

/* Collective. */
static enum dpt_status meet(struct dpt_train *train, struct dpt_exec_step *step)
{
    struct dpt_train__async *async = train->async;
    dpt_train__pump_stop(train);
    async->meeting = true;
    DPT_TRY(dpt_train__settle(train));
    async->open = async->meeting = false;
    dpt_comm_action("meet", "all ranks");
    struct meeting meeting = {.shares = (double)async->clock, .bad = async->bad, .square = async->square};
    memcpy(meeting.metric, async->metric, sizeof meeting.metric);
    memcpy(meeting.flag, async->flag, sizeof meeting.flag);
    DPT_TRY(dpt_comm_allreduce(train->world, &meeting, sizeof meeting / sizeof(double), DPT_DTYPE_F64,
                               DPT_COMM_REDUCE_SUM));
    memcpy(step->flag, meeting.flag, sizeof step->flag);
    for (int i = 0; i < DPT_EXEC_METRICS; i++) {
        step->metric[i] = meeting.metric[i] - async->metered[i];
    }
    step->grad_norm = sqrt(meeting.square / async->ranks);
    step->finite = meeting.bad == 0.0;
    train->state->step = async->begin + (int64_t)meeting.shares / async->ranks;
    if (!step->finite) {
        return DPT_STATUS_OK;
    }
    DPT_TRY(async->method->meet(train));
    int64_t updates = train->state->updates;
    DPT_TRY(dpt_comm_allreduce(train->world, &updates, 1, DPT_DTYPE_I64, DPT_COMM_REDUCE_MAX));
    train->state->updates = updates;
    train->local.meetings++;
    return dpt_loader_seek(train->loader, train->state->step);
}

/* -------------------------------------------------------------------------------------------------------- the steps */

/* A share: number `share` of those since the last meeting. */
static enum dpt_status do_share(struct dpt_train *train, struct dpt_exec_step *step, int64_t share)
{
    struct dpt_train__async *async = train->async;
    const int64_t global = async->begin + share / async->ranks;
    const double lr = dpt_schedule_lr(train->job, global, train->steps, train->steps_per_epoch);
    step->lr = lr;
    step->alone = async->ranks;
    async->method->set(train, step);
    train->state->step = async->begin + async->clock; /* which batch this rank reads next */
    DPT_TRY(dpt_train__put(train, DPT_TRAIN__PARAM));
    DPT_TRY(dpt_exec_train(train->exec, train->loader, step));
    DPT_TRY(dpt_train__fetch(train, step->keep ? DPT_TRAIN__GRADIENT : DPT_TRAIN__PARAM));
    step->lr = lr;               /* as the job has it, for the line */
    train->state->step = global; /* about where all are; the end is a meeting */
    for (int i = 0; i < DPT_EXEC_METRICS; i++) {
        async->metric[i] += step->metric[i];
    }
    async->square = step->grad_norm * step->grad_norm;
    async->bad += !step->finite;
    async->counts.shares++;
    return DPT_STATUS_OK;
}

/* After a share, with the lock held. */
static enum dpt_status pass_on(struct dpt_train *train, struct dpt_exec_step *step)
{
    struct dpt_train__async *async = train->async;
    if (step->finite) {
        DPT_TRY(async->method->after(train, step));
    }
    async->clock++;
    DPT_TRY(dpt_train__tell_clock(train));
    DPT_TRY(tell_metrics(train, step->metric));
    DPT_TRY(ask(train));
    step->finite = true; /* decided when the ranks meet */
    return DPT_STATUS_OK;
}

enum dpt_status dpt_train__async_step(struct dpt_train *train, struct dpt_exec_step *step, bool *meets)
{
    struct dpt_train__async *async = train->async;
    double begin_s = dpt_clock_s();
    int64_t share;
    if (!async->open) {
        DPT_TRY(open_phase(train));
    }
    DPT_TRY(dpt_train__await_turn(train));
    pthread_mutex_lock(&async->lock);
    enum dpt_status status = dpt_mailboxes_draw(async->boxes, 1, &share);
    pthread_mutex_unlock(&async->lock);
    DPT_TRY(status);
    share -= async->base;
    *meets = share >= (async->end - async->begin) * async->ranks;
    if (*meets) {
        DPT_TRY(meet(train, step));
    } else {
        const double waited_s = dpt_clock_s() - begin_s;
        DPT_TRY(do_share(train, step, share));
        begin_s = dpt_clock_s() - waited_s;
        pthread_mutex_lock(&async->lock);
        status = pass_on(train, step);
        pthread_mutex_unlock(&async->lock);
        DPT_TRY(status);
    }
    dpt_exec_seconds(train->exec)[DPT_SECTION_EXCHANGE] += dpt_clock_s() - begin_s;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_train__async_save(struct dpt_train *train)
{
    return train->async->method->save(train);
}
