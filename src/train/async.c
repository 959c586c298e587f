/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Training in which no rank waits for another, but for a bound that the job sets: ranks draw shares of the work, tell
 * their clocks, and reach each other through mailboxes (comm/mailbox.h). Every now and then they meet, to evaluate and
 * to save: then all that was sent has been read, and they make one state of what they have.
 *
 * The bound (stale synchronous parallel: Ho and others, "More effective distributed ML via a stale synchronous parallel
 * parameter server", 2013): a rank begins its share number c only when every rank has done c - s of its own.
 *
 * Turns at MPI: while a phase is open, whoever holds the lock; outside, the compute thread.
 */

#include "train/async.h"

#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"

/* A rank's word: the phase, then its clock, or DONE when it does no more in this phase. */
enum { CLOCK_BITS = 40 };
static const int64_t done_word = (INT64_C(1) << CLOCK_BITS) - 1;

/* Added to the counter of shares to end a phase: far more than any phase has. */
static const int64_t closing = INT64_C(1) << 40;

enum { NAP_US = 50, LONG_NAP_US = 400, NAPS = 20 };

bool dpt_train__is_async(const struct dpt_train *train)
{
    return train->job->parallel.update >= DPT_UPDATE_ASYNC_OWNER && dpt_train__apart(train);
}

static const struct dpt_train__async_method *method_of(const struct dpt_train *train)
{
    return train->job->parallel.update == DPT_UPDATE_ASYNC_OWNER ? &dpt_train__owner : &dpt_train__gossip;
}

/* ------------------------------------------------------------------------------------------------------ arithmetic */

static void mix_f32(int64_t n, float a, const float *restrict x, float b, float *restrict y)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = a * x[i] + b * y[i];
    }
}

static void mix_f64(int64_t n, double a, const double *restrict x, double b, double *restrict y)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = a * x[i] + b * y[i];
    }
}

void dpt_train__mix(enum dpt_dtype real, int64_t n, double a, const void *x, double b, void *y)
{
    if (real == DPT_DTYPE_F32) {
        mix_f32(n, (float)a, x, (float)b, y);
    } else {
        mix_f64(n, a, x, b, y);
    }
}

void dpt_train__late(struct dpt_train *train, int64_t late, double count)
{
    struct dpt_train__async_counts *counts = &train->async->counts;
    late = late > 0 ? late : 0;
    counts->stale[late < DPT_TRAIN__STALE ? late : DPT_TRAIN__STALE - 1] += count;
    counts->used += count;
    counts->lateness += count * (double)late;
    counts->latest = fmax(counts->latest, (double)late);
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
    DPT_CHECK(
        !dpt_dev_is_apart(train->dev), DPT_STATUS_USAGE,
        "[parallel] update: asynchronous ranks need the memory of the host: set update = sync, or run.device = cpu");
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

/* --------------------------------------------------------------------------------------------------------- the pump */

/* One round, with the lock held. */
static enum dpt_status pump(struct dpt_train *train, bool *worked)
{
    DPT_TRY(train->async->method->pump(train, worked));
    return dpt_mailboxes_pump(train->async->boxes);
}

/*
 * Others may need this rank while it computes: an owner's updates, and a library that moves data only inside its own
 * calls. A nap between two rounds leaves the core to the computation.
 */
static void *run_pump(void *argument)
{
    struct dpt_train *train = argument;
    struct dpt_train__async *async = train->async;
    for (int idle = 0;; idle++) {
        bool worked = false;
        pthread_mutex_lock(&async->lock);
        const bool leave = async->leave;
        if (!leave) {
            dpt_train__must(pump(train, &worked));
        }
        pthread_mutex_unlock(&async->lock);
        if (leave) {
            return NULL;
        }
        idle = worked ? 0 : idle;
        usleep(idle < NAPS ? NAP_US : LONG_NAP_US);
    }
}

static enum dpt_status start_pump(struct dpt_train *train)
{
    struct dpt_train__async *async = train->async;
    if (async->method->needs_pump || dpt_mailboxes_need_pump(async->boxes)) {
        async->leave = false;
        DPT_TRY(dpt_thread_new(&async->thread, "dpt-async", run_pump, train));
        async->pumping = true;
    }
    return DPT_STATUS_OK;
}

static void stop_pump(struct dpt_train__async *async)
{
    if (async->pumping) {
        pthread_mutex_lock(&async->lock);
        async->leave = true;
        pthread_mutex_unlock(&async->lock);
        pthread_join(async->thread, NULL);
        async->pumping = false;
    }
}

/* ----------------------------------------------------------------------------------------------------------- clocks */

static int64_t word_of(const struct dpt_train__async *async, int64_t clock)
{
    return (async->phase << CLOCK_BITS) | clock;
}

/* The clock of a rank, as far as it is known here. */
static enum dpt_status clock_of(struct dpt_train__async *async, int rank, int64_t *clock)
{
    int64_t word;
    DPT_TRY(dpt_mailboxes_told(async->boxes, rank, &word));
    *clock = word >> CLOCK_BITS == async->phase ? word & done_word : 0;
    return DPT_STATUS_OK;
}

/* The clocks of all ranks: the one that has done least, and whether one does no more. */
struct clocks {
    int64_t least;
    int rank;
    bool any_done;
};

static enum dpt_status look_at_clocks(struct dpt_train__async *async, struct clocks *clocks)
{
    int64_t theirs;
    *clocks = (struct clocks){.least = INT64_MAX};
    for (int r = 0; r < async->ranks; r++) {
        DPT_TRY(clock_of(async, r, &theirs));
        clocks->any_done = clocks->any_done || theirs == done_word;
        if (theirs < clocks->least) {
            clocks->least = theirs;
            clocks->rank = r;
        }
    }
    return DPT_STATUS_OK;
}

/*
 * One look at whether this rank may begin its next share. Where a rank is done there are no more shares to be had: then
 * it may go and see.
 */
static enum dpt_status look(struct dpt_train *train, struct clocks *clocks, bool *may)
{
    struct dpt_train__async *async = train->async;
    const int64_t bound = train->job->parallel.max_staleness, least = bound < 0 ? 0 : async->clock - bound;
    bool worked, fresh;
    DPT_TRY(pump(train, &worked));
    DPT_TRY(look_at_clocks(async, clocks));
    DPT_TRY(async->method->before(train, least, &fresh));
    *may = bound < 0 || clocks->any_done || (clocks->least >= least && fresh);
    return DPT_STATUS_OK;
}

/* Returns when this rank may begin its next share. Progress of the slowest rank is progress for the deadline. */
static enum dpt_status await_turn(struct dpt_train *train)
{
    struct dpt_train__async *async = train->async;
    struct clocks clocks;
    int64_t before = -1;
    for (bool may = false; !may;) {
        pthread_mutex_lock(&async->lock);
        const enum dpt_status status = look(train, &clocks, &may);
        pthread_mutex_unlock(&async->lock);
        DPT_TRY(status);
        if (!may && clocks.least != before) {
            dpt_comm_action("wait", "for slower ranks");
            dpt_comm_waits_for(clocks.rank);
            before = clocks.least;
        }
        if (!may) {
            usleep(NAP_US);
        }
    }
    dpt_comm_waits_for(-1);
    return DPT_STATUS_OK;
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
    DPT_TRY(start_pump(train));
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

/* ---------------------------------------------------------------------------------------------------------- meeting */

/* Whether all that this rank has to give away was taken. */
static enum dpt_status all_read(struct dpt_train *train, bool *all)
{
    struct dpt_train__async *async = train->async;
    *all = true;
    const int count = async->method->carrying(train);
    for (int b = 0; b < count && *all; b++) {
        if (dpt_mailbox_is_written_here(async->boxes, b)) {
            DPT_TRY(dpt_mailbox_settled(async->boxes, b, all));
        }
    }
    return DPT_STATUS_OK;
}

/*
 * Waits until nothing is under way: this rank reads what comes until all it has sent was taken, says so, and goes on
 * reading until all ranks have said so. Then nobody sends any more.
 */
static enum dpt_status settle(struct dpt_train *train)
{
    struct dpt_train__async *async = train->async;
    bool worked, said = false;
    struct clocks clocks = {0};
    int named = -1;
    while (clocks.least != done_word) {
        enum dpt_status status = pump(train, &worked);
        bool all = said;
        if (status == DPT_STATUS_OK && !said) {
            status = all_read(train, &all);
        }
        if (status == DPT_STATUS_OK && all && !said) {
            said = true;
            status = dpt_mailboxes_tell(async->boxes, word_of(async, done_word));
        }
        DPT_TRY(status);
        DPT_TRY(look_at_clocks(async, &clocks));
        if (clocks.rank != named) {
            dpt_comm_action("wait", "for all ranks to meet");
            dpt_comm_waits_for(clocks.rank);
            named = clocks.rank;
        }
        usleep(NAP_US);
    }
    dpt_comm_waits_for(-1);
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
    stop_pump(async);
    async->meeting = true;
    DPT_TRY(settle(train));
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
    int64_t updates = train->state->updates;
    DPT_TRY(async->method->meet(train));
    updates = train->state->updates;
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
    DPT_TRY(dpt_exec_train(train->exec, train->loader, step));
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
    DPT_TRY(dpt_mailboxes_tell(async->boxes, word_of(async, async->clock)));
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
    DPT_TRY(await_turn(train));
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

/* ------------------------------------------------------------------------------------------------------ the last page
 */

enum dpt_status dpt_train__async_sum(struct dpt_train *train)
{
    struct dpt_train__async *async = train->async;
    const struct dpt_mailbox_stats *stats = dpt_mailboxes_stats(async->boxes);
    struct dpt_train__async_counts all = async->counts;
    int64_t sent[] = {(int64_t)stats->posted, (int64_t)stats->posted_nbytes, (int64_t)stats->reclaimed,
                      (int64_t)stats->replaced, (int64_t)stats->taken};
    DPT_TRY(dpt_comm_allreduce(train->world, &all, sizeof all / sizeof(double), DPT_DTYPE_F64, DPT_COMM_REDUCE_SUM));
    all.latest = async->counts.latest;
    DPT_TRY(dpt_comm_allreduce(train->world, &all.latest, 1, DPT_DTYPE_F64, DPT_COMM_REDUCE_MAX));
    DPT_TRY(dpt_comm_allreduce(train->world, sent, sizeof sent / sizeof *sent, DPT_DTYPE_I64, DPT_COMM_REDUCE_SUM));
    async->total = all;
    async->sent = (struct dpt_mailbox_stats){(uint64_t)sent[0], (uint64_t)sent[1], (uint64_t)sent[2], (uint64_t)sent[3],
                                             (uint64_t)sent[4]};
    return DPT_STATUS_OK;
}
