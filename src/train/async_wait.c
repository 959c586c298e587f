/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Where an asynchronous rank waits, and what it does for others meanwhile: clocks, the bound of staleness, the pump,
 * and the end of a phase.
 *
 * The bound (stale synchronous parallel: Ho and others, "More effective distributed ML via a stale synchronous parallel
 * parameter server", 2013): a rank begins its share number c only when every rank has done c - s of its own.
 */

#include <unistd.h>

#include "base/thread.h"
#include "train/async.h"

/* A rank's word: the phase, then its clock, or DONE when it does no more in this phase. */
enum { CLOCK_BITS = 40 };
static const int64_t done_word = (INT64_C(1) << CLOCK_BITS) - 1;

enum { NAP_US = 50, LONG_NAP_US = 400, NAPS = 20 };

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

enum dpt_status dpt_train__pump_start(struct dpt_train *train)
{
    struct dpt_train__async *async = train->async;
    if (async->method->needs_pump || dpt_mailboxes_need_pump(async->boxes)) {
        async->leave = false;
        DPT_TRY(dpt_thread_new(&async->thread, "dpt-async", run_pump, train));
        async->pumping = true;
    }
    return DPT_STATUS_OK;
}

void dpt_train__pump_stop(struct dpt_train *train)
{
    struct dpt_train__async *async = train->async;
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

enum dpt_status dpt_train__tell_clock(struct dpt_train *train)
{
    return dpt_mailboxes_tell(train->async->boxes, word_of(train->async, train->async->clock));
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

enum dpt_status dpt_train__await_turn(struct dpt_train *train)
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

enum dpt_status dpt_train__settle(struct dpt_train *train)
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
