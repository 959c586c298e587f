/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The watchdog: a thread that looks at this rank's progress counter a few times within the deadline. It never calls
 * MPI, but for the abort.
 */

#include "comm/comm.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/text.h"
#include "base/thread.h"
#include "comm/board.h"
#include "comm/impl.h"

enum { TICKS = 20, NAMED_PEERS = 4 };

/* What this rank does now. A verb beside the next action's name would be harmless: the counters alone decide. */
static _Atomic(const char *) doing_verb, doing_name;

/* Each counter has one writer at a time, so that a load and a store will do for a locked addition. */
static _Atomic uint64_t actions;  /* begun by the compute thread                */
static _Atomic uint64_t begun;    /* collectives begun by the compute thread    */
static _Atomic uint64_t finished; /* pieces of work of the communication thread */

static atomic_int paused;
static atomic_int waiting; /* 1 + the rank of the world whose message this one waits for; 0: none */

static struct {
    bool on;
    bool stop;
    double seconds;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void put(_Atomic uint64_t *counter, uint64_t value)
{
    atomic_store_explicit(counter, value, memory_order_relaxed);
}

void dpt_comm_action(const char *verb, const char *name)
{
    atomic_store_explicit(&doing_verb, verb, memory_order_relaxed);
    atomic_store_explicit(&doing_name, name, memory_order_relaxed);
    put(&actions, get(&actions) + 1);
}

void dpt_comm__begin(void)
{
    put(&begun, get(&begun) + 1);
}

void dpt_comm_waits_for(int rank)
{
    atomic_store_explicit(&waiting, rank + 1, memory_order_relaxed);
}

void dpt_comm__progress(void)
{
    put(&finished, get(&finished) + 1);
}

void dpt_comm_deadline_pause(void)
{
    atomic_fetch_add_explicit(&paused, 1, memory_order_relaxed);
}

void dpt_comm_deadline_resume(void)
{
    const int before = atomic_fetch_sub_explicit(&paused, 1, memory_order_relaxed);
    DPT_ASSERT(before > 0);
}

/* Writes "forward conv1", or "receive conv1.y, waiting for rank 3", into `out`. */
static void describe(char *out, size_t size)
{
    const char *verb = atomic_load_explicit(&doing_verb, memory_order_relaxed);
    const char *name = atomic_load_explicit(&doing_name, memory_order_relaxed);
    const int peer = atomic_load_explicit(&waiting, memory_order_relaxed) - 1;
    char rank[32] = "";
    if (peer >= 0) {
        snprintf(rank, sizeof rank, ", waiting for rank %d", peer);
    }
    const int room = (int)(size - sizeof rank - 16); /* a long name must not hide the rank */
    snprintf(out, size, "%s%s%.*s%s", verb ? verb : "the start", verb && name ? " " : "", room,
             verb && name ? name : "", rank);
}

static uint64_t now_us(void)
{
    return (uint64_t)(1e6 * dpt_clock_s());
}

/* Tells the other ranks of the host what this one does, and that it runs. */
static void publish(void)
{
    struct dpt_comm__slot *slot = dpt_comm__board_slot(dpt_comm__process.node_rank);
    if (slot) {
        describe(slot->doing, sizeof slot->doing);
        put(&slot->begun, get(&begun));
        atomic_store_explicit(&slot->at_us, now_us(), memory_order_release);
    }
}

/*
 * Adds the ranks of this host for which this one may be waiting: those that have begun fewer collectives, and those
 * whose watchdog is still, because the process is stopped or dead.
 */
static void add_peers(struct dpt_text *text)
{
    int found = 0;
    for (int i = 0; i < dpt_comm__process.node_size; i++) {
        const struct dpt_comm__slot *slot = dpt_comm__board_slot(i);
        if (!slot || i == dpt_comm__process.node_rank) {
            continue;
        }
        const uint64_t at = atomic_load_explicit(&slot->at_us, memory_order_acquire), now = now_us();
        const bool still = at > 0 && now > at && (double)(now - at) > 0.5e6 * watch.seconds;
        if (!still && (at == 0 || get(&slot->begun) >= get(&begun))) {
            continue;
        }
        if (found++ < NAMED_PEERS) {
            dpt_text_add(text, "%s rank %d ", found == 1 ? "; on this host" : ",", slot->rank);
            if (still) {
                dpt_text_add(text, "is stopped or dead (it was in %.*s)", (int)sizeof slot->doing - 1, slot->doing);
            } else {
                dpt_text_add(text, "is behind, in %.*s", (int)sizeof slot->doing - 1, slot->doing);
            }
        }
    }
    if (found > NAMED_PEERS) {
        dpt_text_add(text, " and %d more", found - NAMED_PEERS);
    }
}

static _Noreturn void expire(void)
{
    char doing[96];
    struct dpt_text text = {0};
    describe(doing, sizeof doing);
    dpt_text_add(&text, "made no progress for %g s in %s", watch.seconds, doing);
    add_peers(&text);
    dpt_fatal(DPT_STATUS_COMM, "%s", text.data);
}

static void *watchdog(void *unused)
{
    (void)unused;
    const double tick_s = watch.seconds / TICKS;
    double idle_s = 0.0, before = dpt_clock_s();
    uint64_t seen = 0;
    pthread_mutex_lock(&watch.lock);
    while (!watch.stop) {
        const double until = before + tick_s;
        const struct timespec at = {(time_t)floor(until), (long)(1e9 * (until - floor(until)))};
        pthread_cond_timedwait(&watch.wake, &watch.lock, &at);
        /* A longer tick means that this whole process was stopped or starved: that time is nobody's fault. */
        const double now = dpt_clock_s();
        idle_s += fmin(now - before, 2.0 * tick_s);
        before = now;
        const uint64_t progress = get(&actions) + get(&begun) + get(&finished);
        if (progress != seen || atomic_load_explicit(&paused, memory_order_relaxed) > 0) {
            seen = progress;
            idle_s = 0.0;
        }
        publish();
        if (idle_s >= watch.seconds) {
            expire();
        }
    }
    pthread_mutex_unlock(&watch.lock);
    return NULL;
}

static void stop_watching(void)
{
    pthread_mutex_lock(&watch.lock);
    watch.stop = true;
    pthread_cond_signal(&watch.wake);
    pthread_mutex_unlock(&watch.lock);
    pthread_join(watch.thread, NULL);
    pthread_cond_destroy(&watch.wake);
    watch.on = false;
    struct dpt_comm__slot *slot = dpt_comm__board_slot(dpt_comm__process.node_rank);
    if (slot) {
        atomic_store_explicit(&slot->at_us, 0, memory_order_relaxed);
    }
}

enum dpt_status dpt_comm_deadline(struct dpt_comm *comm, double seconds)
{
    (void)comm;
    DPT_ASSERT(seconds >= 0.0);
    if (watch.on) {
        stop_watching();
    }
    if (seconds == 0.0) {
        return DPT_STATUS_OK;
    }
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&watch.wake, &attributes);
    pthread_condattr_destroy(&attributes);
    watch.stop = false;
    watch.seconds = seconds;
    DPT_TRY(dpt_thread_new(&watch.thread, "dpt-watchdog", watchdog, NULL));
    watch.on = true;
    return DPT_STATUS_OK;
}
