/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The way with a thread: one communication thread does blocking collectives from a queue while the compute thread goes
 * on. Non-blocking collectives would hide nothing: an MPI library may move data only inside its own calls.
 *
 * Turns at MPI (MPI_THREAD_SERIALIZED): the queue is the only way to the thread, and the thread calls MPI only between
 * taking a job and counting it as done. The compute thread may call MPI itself when all posted jobs are done and
 * waited for; reading `done` under the lock orders its calls after the thread's.
 */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"
#include "comm/exchange_impl.h"

struct entry {
    struct dpt_exchange__job job;
    struct dpt_exchange__spent spent;
};

struct own {
    pthread_t thread;
    pthread_mutex_t lock;      /* holds for all below                        */
    pthread_cond_t work, idle; /* a job was posted; a job was done           */
    struct entry *ring;        /* job number n is at n % capacity            */
    uint64_t capacity;
    uint64_t posted, done;     /* jobs; done <= posted <= done + capacity    */
    uint64_t counted;          /* jobs that are in the statistics            */
    bool stop;
    enum dpt_status status;    /* the first failure; later jobs are not done */
    char error[1024];
};

static void *serve(void *arg)
{
    struct dpt_exchange *exchange = arg;
    struct own *own = exchange->own;
    pthread_mutex_lock(&own->lock);
    for (;;) {
        while (own->done == own->posted && !own->stop) {
            pthread_cond_wait(&own->work, &own->lock);
        }
        if (own->stop) {
            break;
        }
        struct entry *entry = &own->ring[own->done % own->capacity];
        enum dpt_status status = own->status;
        pthread_mutex_unlock(&own->lock);
        entry->spent = (struct dpt_exchange__spent){0};
        if (status == DPT_STATUS_OK) {
            status = dpt_exchange__run(exchange, &entry->job, &entry->spent);
            dpt_comm__progress();
        }
        pthread_mutex_lock(&own->lock);
        if (status != DPT_STATUS_OK && own->status == DPT_STATUS_OK) {
            own->status = status;
            snprintf(own->error, sizeof own->error, "%s", dpt_error_text());
        }
        own->done++;
        pthread_cond_signal(&own->idle);
    }
    pthread_mutex_unlock(&own->lock);
    return NULL;
}

static enum dpt_status reserve(struct dpt_exchange *exchange, int jobs)
{
    struct own *own = exchange->own;
    pthread_mutex_lock(&own->lock);
    struct entry *ring = calloc((size_t)jobs, sizeof *ring);
    if (ring) {
        /* No job is under way: the numbers can go on in the new ring. */
        DPT_ASSERT(own->done == own->posted && own->counted == own->done);
        free(own->ring);
        own->ring = ring;
        own->capacity = (uint64_t)jobs;
    }
    pthread_mutex_unlock(&own->lock);
    DPT_CHECK(ring, DPT_STATUS_SPACE, "out of memory for a queue of %d buckets", jobs);
    return DPT_STATUS_OK;
}

static void discard(struct own *own)
{
    pthread_mutex_destroy(&own->lock);
    pthread_cond_destroy(&own->work);
    pthread_cond_destroy(&own->idle);
    free(own->ring);
    free(own);
}

static enum dpt_status open_thread(struct dpt_exchange *exchange)
{
    struct own *own = calloc(1, sizeof *own);
    DPT_CHECK(own, DPT_STATUS_SPACE, "out of memory for the communication thread");
    pthread_mutex_init(&own->lock, NULL);
    pthread_cond_init(&own->work, NULL);
    pthread_cond_init(&own->idle, NULL);
    exchange->own = own;
    enum dpt_status status = reserve(exchange, DPT_EXCHANGE_TICKETS + 1);
    if (status == DPT_STATUS_OK) {
        status = dpt_thread_new(&own->thread, "dpt-exchange", serve, exchange);
    }
    if (status != DPT_STATUS_OK) {
        discard(own);
        exchange->own = NULL;
    }
    return status;
}

static void close_thread(struct dpt_exchange *exchange)
{
    struct own *own = exchange->own;
    if (!own) {
        return;
    }
    pthread_mutex_lock(&own->lock);
    own->stop = true;
    pthread_cond_signal(&own->work);
    pthread_mutex_unlock(&own->lock);
    pthread_join(own->thread, NULL);
    discard(own);
}

static enum dpt_status post(struct dpt_exchange *exchange, const struct dpt_exchange__job *job)
{
    struct own *own = exchange->own;
    pthread_mutex_lock(&own->lock);
    DPT_ASSERT(own->posted - own->counted < own->capacity);
    own->ring[own->posted++ % own->capacity].job = *job;
    pthread_cond_signal(&own->work);
    pthread_mutex_unlock(&own->lock);
    return DPT_STATUS_OK;
}

static enum dpt_status finish(struct dpt_exchange *exchange, uint64_t number)
{
    struct own *own = exchange->own;
    pthread_mutex_lock(&own->lock);
    while (own->done <= number) {
        pthread_cond_wait(&own->idle, &own->lock);
    }
    for (; own->counted < own->done; own->counted++) {
        dpt_exchange__count(exchange, &own->ring[own->counted % own->capacity].spent);
    }
    const enum dpt_status status = own->status;
    pthread_mutex_unlock(&own->lock);
    /* The thread's error record is its own: bring the sentence over. After the first failure it does not change. */
    DPT_CHECK(status == DPT_STATUS_OK, status, "%s", own->error);
    return DPT_STATUS_OK;
}

const struct dpt_exchange__way dpt_exchange__thread = {
    .name = "MPI_Allreduce on a thread",
    .tree_name = "tree sum on a thread",
    .shared_name = "shared memory on a thread",
    .hierarchical_name = "shared memory and MPI on a thread",
    .wire_name = "messages on a thread",
    .open = open_thread,
    .close = close_thread,
    .reserve = reserve,
    .post = post,
    .finish = finish,
};
