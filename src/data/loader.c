/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The loader: micro-batches in order of step and micro, read ahead by one thread into a ring.
 *
 *   slot:    [held][ready][ready][being filled] ...      ahead + 1 slots
 *
 * The caller holds one slot until it asks for the next; up to `ahead` further ones are ready or being filled, so the
 * thread never writes into what the caller reads. All memory is allocated when the loader is made. The thread sleeps
 * on a condition while the ring is full: on a rank with one core it takes time only when there is something to read.
 * With ahead = 0 there is no thread, and the one slot is filled when it is asked for.
 *
 * Guarded by `lock` while there is a thread: all of struct dpt_loader below it. The slot being filled is the thread's
 * alone.
 */

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/data.h"

enum { ALIGNMENT = 64 };

/* Where the next micro-batch to be read stands. */
struct place {
    int64_t step, micro;
};

struct dpt_loader {
    struct dpt_loader_conf conf;
    int64_t samples;
    int64_t steps; /* of a pass                                   */
    int64_t nslots;
    struct dpt_batch *slot;
    void *memory; /* of all slots                                 */
    size_t nbytes;
    bool threaded;
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t room;  /* the thread may have something to do */
    pthread_cond_t ready; /* the caller may have something to get */
    bool leave;
    uint64_t fills; /* so far                                     */
    int64_t next;   /* slot to hand out next                      */
    int64_t filled; /* ready slots from there on                  */
    struct place place;
    int64_t seeks; /* counts seeks: a fill that a seek overtook is dropped */
    enum dpt_status status; /* of the thread; it rests after a failure      */
    char problem[1024];
};

/* True when `place` lies behind the last of a pass. */
static bool at_end(const struct dpt_loader *loader, struct place place)
{
    return !loader->conf.train && place.step >= loader->steps;
}

static struct place after(const struct dpt_loader *loader, struct place place)
{
    place.micro++;
    if (place.micro == loader->conf.micros) {
        place.micro = 0;
        place.step++;
    }
    return place;
}

/* Reads the micro-batch at `place` into a slot. */
static enum dpt_status fill(const struct dpt_loader *loader, struct place place, struct dpt_batch *batch)
{
    const struct dpt_loader_conf *conf = &loader->conf;
    const struct dpt_batch_place where = dpt_batch_place(loader->samples, conf->global, place.step);
    batch->step = place.step;
    batch->micro = place.micro;
    batch->epoch = where.epoch;
    batch->batch_rows = where.count;
    conf->rows(conf->layout, where.count, place.micro, &batch->first_row, &batch->rows, &batch->micro_rows);
    DPT_CHECK(batch->rows >= 0 && batch->rows <= conf->max_rows && batch->first_row >= 0 &&
                  batch->rows <= where.count - batch->first_row,
              DPT_STATUS_FAILED,
              "step %lld: rows %lld to %lld of a batch of %lld were asked of a loader of at most %lld rows",
              (long long)place.step, (long long)batch->first_row, (long long)(batch->first_row + batch->rows - 1),
              (long long)where.count, (long long)conf->max_rows);
    return dpt_data_fetch(conf->data, conf->train ? where.epoch : -1, where.first + batch->first_row, batch->rows,
                          batch->x, batch->target);
}

/* --------------------------------------------------------------------------------------------- the thread */

static void *read_ahead(void *argument)
{
    struct dpt_loader *loader = argument;
    pthread_mutex_lock(&loader->lock);
    while (!loader->leave) {
        if (loader->filled == loader->conf.ahead || loader->status != DPT_STATUS_OK || at_end(loader, loader->place)) {
            pthread_cond_wait(&loader->room, &loader->lock);
            continue;
        }
        const struct place place = loader->place;
        const int64_t seeks = loader->seeks;
        struct dpt_batch *batch = &loader->slot[(loader->next + loader->filled) % loader->nslots];
        pthread_mutex_unlock(&loader->lock);
        const enum dpt_status status = fill(loader, place, batch);
        pthread_mutex_lock(&loader->lock);
        if (seeks != loader->seeks) {
            continue;
        }
        if (status == DPT_STATUS_OK) {
            batch->number = ++loader->fills;
            loader->filled++;
            loader->place = after(loader, place);
        } else {
            loader->status = status;
            snprintf(loader->problem, sizeof loader->problem, "%s", dpt_error_text());
        }
        pthread_cond_signal(&loader->ready);
    }
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

/* Starts the thread with all signals blocked: they are for the thread that trains. */
static enum dpt_status start_thread(struct dpt_loader *loader)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&loader->thread, NULL, read_ahead, loader);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    DPT_CHECK(error == 0, DPT_STATUS_SPACE,
              "no thread to read data ahead could be started: %s; set [data] prefetch = 0", strerror(error));
    loader->threaded = true;
    return DPT_STATUS_OK;
}

/* ------------------------------------------------------------------------------------------- the interface */

static int64_t round_up(int64_t nbytes)
{
    return (nbytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* True where the samples are on their way to a device of its own memory. */
static bool is_staged(const struct dpt_loader *loader)
{
    return loader->conf.dev && dpt_dev_is_apart(loader->conf.dev);
}

/* One block for the values and targets of all slots. */
static enum dpt_status allocate(struct dpt_loader *loader)
{
    const struct dpt_loader_conf *conf = &loader->conf;
    const struct dpt_data_info *info = dpt_data_info(conf->data);
    const int64_t numel = info->ndim == 1 ? info->dim[0] : info->dim[0] * info->dim[1] * info->dim[2];
    int64_t x_nbytes = 0, target_nbytes = 0, nbytes = 0;
    const bool overflow = __builtin_mul_overflow(numel * 4, conf->max_rows, &x_nbytes) ||
                          __builtin_mul_overflow(info->targets * 4, conf->max_rows, &target_nbytes) ||
                          x_nbytes > INT64_MAX / 4 || target_nbytes > INT64_MAX / 4 ||
                          __builtin_mul_overflow(round_up(x_nbytes) + round_up(target_nbytes), loader->nslots, &nbytes);
    loader->slot = calloc((size_t)loader->nslots, sizeof *loader->slot);
    if (!overflow && loader->slot && is_staged(loader)) {
        loader->nbytes = (size_t)nbytes + ALIGNMENT;
        DPT_TRY(dpt_dev_host_alloc(conf->dev, loader->nbytes, "batches read ahead", &loader->memory));
    } else if (!overflow && loader->slot) {
        loader->memory = aligned_alloc(ALIGNMENT, (size_t)nbytes + ALIGNMENT);
    }
    DPT_CHECK(loader->memory, DPT_STATUS_SPACE,
              "%s: no memory to read %lld micro-batches of %lld samples ahead; lower [data] prefetch or [batch] global",
              info->source, (long long)conf->ahead, (long long)conf->max_rows);
    char *at = loader->memory;
    for (int64_t i = 0; i < loader->nslots; i++) {
        loader->slot[i].x = at;
        at += round_up(x_nbytes);
        loader->slot[i].target = info->labelled ? at : NULL;
        at += round_up(target_nbytes);
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_loader_new(const struct dpt_loader_conf *conf, int64_t step, struct dpt_loader **loader)
{
    DPT_ASSERT(conf->micros > 0 && conf->max_rows >= 0 && conf->ahead >= 0 && step >= 0);
    *loader = NULL;
    struct dpt_loader *made = calloc(1, sizeof *made);
    DPT_CHECK(made, DPT_STATUS_SPACE, "no memory for a data loader");
    made->conf = *conf;
    made->samples = dpt_data_info(conf->data)->samples;
    made->steps = dpt_batch_steps_per_epoch(made->samples, conf->global);
    made->nslots = conf->ahead + 1;
    made->place.step = step;
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->room, NULL);
    pthread_cond_init(&made->ready, NULL);
    enum dpt_status status = allocate(made);
    if (status == DPT_STATUS_OK && conf->ahead > 0) {
        status = start_thread(made);
    }
    if (status != DPT_STATUS_OK) {
        dpt_loader_free(made);
        return status;
    }
    *loader = made;
    return DPT_STATUS_OK;
}

void dpt_loader_free(struct dpt_loader *loader)
{
    if (!loader) {
        return;
    }
    if (loader->threaded) {
        pthread_mutex_lock(&loader->lock);
        loader->leave = true;
        pthread_cond_signal(&loader->room);
        pthread_mutex_unlock(&loader->lock);
        pthread_join(loader->thread, NULL);
    }
    pthread_cond_destroy(&loader->ready);
    pthread_cond_destroy(&loader->room);
    pthread_mutex_destroy(&loader->lock);
    if (!is_staged(loader)) {
        free(loader->memory);
    } else if (loader->memory) {
        dpt_dev_host_release(loader->conf.dev, loader->memory, loader->nbytes);
    }
    free(loader->slot);
    free(loader);
}

enum dpt_status dpt_loader_seek(struct dpt_loader *loader, int64_t step)
{
    DPT_ASSERT(step >= 0);
    pthread_mutex_lock(&loader->lock);
    loader->place = (struct place){.step = step};
    loader->filled = 0;
    loader->seeks++;
    loader->status = DPT_STATUS_OK;
    pthread_cond_signal(&loader->room);
    pthread_mutex_unlock(&loader->lock);
    return DPT_STATUS_OK;
}

/* The next micro-batch without a thread. */
static enum dpt_status next_now(struct dpt_loader *loader, const struct dpt_batch **batch)
{
    if (!at_end(loader, loader->place)) {
        DPT_TRY(fill(loader, loader->place, &loader->slot[0]));
        loader->slot[0].number = ++loader->fills;
        loader->place = after(loader, loader->place);
        *batch = &loader->slot[0];
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_loader_next(struct dpt_loader *loader, const struct dpt_batch **batch)
{
    *batch = NULL;
    if (!loader->threaded) {
        return next_now(loader, batch);
    }
    pthread_mutex_lock(&loader->lock);
    while (loader->filled == 0 && loader->status == DPT_STATUS_OK && !at_end(loader, loader->place)) {
        pthread_cond_wait(&loader->ready, &loader->lock);
    }
    /* What was read before a failure is handed out first. */
    enum dpt_status status = DPT_STATUS_OK;
    if (loader->filled > 0) {
        *batch = &loader->slot[loader->next];
        loader->next = (loader->next + 1) % loader->nslots;
        loader->filled--;
        pthread_cond_signal(&loader->room);
    } else if (loader->status != DPT_STATUS_OK) {
        status = dpt_error_set(loader->status, __FILE__, __LINE__, "%s", loader->problem);
    }
    pthread_mutex_unlock(&loader->lock);
    return status;
}

const struct dpt_batch *dpt_loader_peek(struct dpt_loader *loader)
{
    const struct dpt_batch *batch = NULL;
    if (loader->threaded) {
        pthread_mutex_lock(&loader->lock);
        batch = loader->filled > 0 ? &loader->slot[loader->next] : NULL;
        pthread_mutex_unlock(&loader->lock);
    }
    return batch;
}
