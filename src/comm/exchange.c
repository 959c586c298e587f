/* SPDX-License-Identifier: Apache-2.0 */
#include "comm/exchange.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "comm/exchange_impl.h"

/* The exchange that has the turn at MPI while dpt_comm__pending > 0. */
static const struct dpt_exchange *owner;

static size_t job_nbytes(int64_t count, enum dpt_dtype dtype)
{
    return (size_t)count * dpt_dtype_nbytes(dtype);
}

enum dpt_status dpt_exchange__run(struct dpt_exchange *exchange, const struct dpt_exchange__job *job)
{
    if (exchange->tree) {
        return dpt_comm__allreduce_tree(exchange->comm, job->data, job->count, job->dtype, job->scratch);
    }
    return dpt_comm__allreduce(exchange->comm, job->data, job->count, job->dtype, DPT_COMM_REDUCE_SUM);
}

/* A thread or none, the same on all ranks: what may be called when depends on it. Collective. */
static enum dpt_status choose_way(const struct dpt_exchange_conf *conf, const struct dpt_exchange__way **way)
{
    const bool able = dpt_comm__process.thread_level >= MPI_THREAD_SERIALIZED;
    DPT_CHECK(able || conf->thread != DPT_EXCHANGE_THREAD_ON, DPT_STATUS_COMM,
              "a communication thread was asked for, but %s gives no MPI_THREAD_SERIALIZED; turn the thread off",
              dpt_comm_library());
    int32_t thread = conf->thread == DPT_EXCHANGE_THREAD_ON ||
                     (conf->thread == DPT_EXCHANGE_THREAD_AUTO && conf->spare_core && able);
    DPT_TRY(dpt_comm_allreduce(conf->comm, &thread, 1, DPT_DTYPE_I32, DPT_COMM_REDUCE_MIN));
    *way = thread ? &dpt_exchange__thread : &dpt_exchange__inline;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_exchange_new(const struct dpt_exchange_conf *conf, struct dpt_exchange **exchange)
{
    const int size = dpt_comm_size(conf->comm);
    DPT_CHECK(!conf->tree || (size & (size - 1)) == 0, DPT_STATUS_USAGE,
              "sums over a fixed tree need 1, 2, 4, 8, ... ranks, but there are %d; use such a number of ranks, or turn "
              "reproducible off",
              size);
    const struct dpt_exchange__way *way = NULL;
    if (size > 1) {
        DPT_TRY(choose_way(conf, &way));
    }
    struct dpt_exchange *e = calloc(1, sizeof *e);
    enum dpt_status status = DPT_STATUS_OK;
    if (!e) {
        status = dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "out of memory for the exchange");
    } else {
        *e = (struct dpt_exchange){.way = way, .comm = conf->comm, .tree = conf->tree};
        status = way && way->open ? way->open(e) : DPT_STATUS_OK;
    }
    status = dpt_agree(status, conf->comm);
    if (status != DPT_STATUS_OK) {
        dpt_exchange_free(e);
        return status;
    }
    *exchange = e;
    return DPT_STATUS_OK;
}

static void unbind(struct dpt_exchange *exchange)
{
    free(exchange->bucket);
    free(exchange->number);
    free(exchange->scratch);
    exchange->bucket = NULL;
    exchange->number = NULL;
    exchange->scratch = NULL;
    exchange->nbuckets = 0;
}

void dpt_exchange_free(struct dpt_exchange *exchange)
{
    if (!exchange) {
        return;
    }
    DPT_ASSERT(dpt_comm__pending == 0);
    if (exchange->way && exchange->way->close) {
        exchange->way->close(exchange);
    }
    unbind(exchange);
    free(exchange->sum_scratch);
    free(exchange);
}

const char *dpt_exchange_name(const struct dpt_exchange *exchange)
{
    if (!exchange->way) {
        return "none (one rank)";
    }
    return exchange->tree ? exchange->way->tree_name : exchange->way->name;
}

/* Takes over the buckets and makes room for them. Local. */
static enum dpt_status bind_here(struct dpt_exchange *e, int nbuckets, const struct dpt_range *bucket)
{
    int64_t longest = 0;
    e->bucket = calloc((size_t)nbuckets + 1, sizeof *e->bucket);
    e->number = calloc((size_t)nbuckets + 1, sizeof *e->number);
    DPT_CHECK(e->bucket && e->number, DPT_STATUS_SPACE, "out of memory for %d buckets", nbuckets);
    for (int b = 0; b < nbuckets; b++) {
        DPT_ASSERT(bucket[b].begin >= 0 && bucket[b].begin <= bucket[b].end);
        const int64_t length = bucket[b].end - bucket[b].begin;
        longest = length > longest ? length : longest;
        e->bucket[b] = bucket[b];
        e->number[b] = -1;
    }
    if (e->way && e->tree && longest > 0) {
        e->scratch = malloc(job_nbytes(longest, e->dtype));
        DPT_CHECK(e->scratch, DPT_STATUS_SPACE, "out of memory: %zu bytes for the tree sum of the largest bucket",
                  job_nbytes(longest, e->dtype));
    }
    e->nbuckets = nbuckets;
    return e->way && e->way->reserve ? e->way->reserve(e, nbuckets + 1) : DPT_STATUS_OK;
}

enum dpt_status dpt_exchange_bind(struct dpt_exchange *exchange, void *buffer, enum dpt_dtype dtype, int nbuckets,
                                  const struct dpt_range *bucket)
{
    DPT_ASSERT(dpt_comm__pending == 0 && nbuckets >= 0);
    unbind(exchange);
    exchange->buffer = buffer;
    exchange->dtype = dtype;
    enum dpt_status status = bind_here(exchange, nbuckets, bucket);

    /* Ranks with different buckets would add what does not belong together. */
    const uint64_t parts[] = {(uint64_t)dtype, (uint64_t)nbuckets,
                              nbuckets > 0 ? dpt_hash64(bucket, (size_t)nbuckets * sizeof *bucket) : 0};
    const uint64_t mine = dpt_hash64(parts, sizeof parts);
    uint64_t first = mine;
    DPT_TRY(dpt_comm_bcast(exchange->comm, &first, sizeof first, 0));
    if (status == DPT_STATUS_OK && first != mine) {
        status = dpt_error_set(DPT_STATUS_COMM, __FILE__, __LINE__,
                               "internal error: has other gradient buckets than rank 0 (%d here); please report it",
                               nbuckets);
    }
    return dpt_agree(status, exchange->comm);
}

/* Hands a job to the way and counts it. */
static enum dpt_status post(struct dpt_exchange *e, const struct dpt_exchange__job *job)
{
    DPT_ASSERT(dpt_comm__pending == 0 || owner == e);
    owner = e;
    dpt_comm__pending++;
    dpt_comm__begin();
    e->posted++;
    e->stats.ncalls++;
    e->stats.nbytes += job_nbytes(job->count, job->dtype);
    const enum dpt_status status = e->way->post(e, job);
    if (status != DPT_STATUS_OK) {
        dpt_comm__pending--;
    }
    return status;
}

static enum dpt_status finish(struct dpt_exchange *e, uint64_t number)
{
    dpt_comm__pending--;
    return e->way->finish(e, number);
}

enum dpt_status dpt_exchange_start(struct dpt_exchange *exchange, int bucket)
{
    struct dpt_exchange *e = exchange;
    DPT_ASSERT(bucket >= 0 && bucket < e->nbuckets && e->number[bucket] == -1);
    if (!e->way) {
        return DPT_STATUS_OK;
    }
    const struct dpt_range range = e->bucket[bucket];
    const struct dpt_exchange__job job = {
        .data = e->buffer + job_nbytes(range.begin, e->dtype),
        .count = range.end - range.begin,
        .dtype = e->dtype,
        .scratch = e->scratch,
    };
    const double start = dpt_clock_s();
    const int64_t number = (int64_t)e->posted;
    const enum dpt_status status = post(e, &job);
    e->number[bucket] = status == DPT_STATUS_OK ? number : -1;
    e->stats.exposed_s += dpt_clock_s() - start;
    return status;
}

enum dpt_status dpt_exchange_wait(struct dpt_exchange *exchange, int bucket)
{
    struct dpt_exchange *e = exchange;
    DPT_ASSERT(bucket >= 0 && bucket < e->nbuckets);
    if (!e->way) {
        return DPT_STATUS_OK;
    }
    DPT_ASSERT(e->number[bucket] >= 0);
    const double start = dpt_clock_s();
    const uint64_t number = (uint64_t)e->number[bucket];
    e->number[bucket] = -1;
    const enum dpt_status status = finish(e, number);
    e->stats.exposed_s += dpt_clock_s() - start;
    return status;
}

/* Room for the tree sum of another array; a larger one than ever before makes it grow. */
static enum dpt_status need_scratch(struct dpt_exchange *e, size_t nbytes)
{
    if (nbytes > e->sum_scratch_nbytes) {
        free(e->sum_scratch);
        e->sum_scratch_nbytes = 0;
        e->sum_scratch = malloc(nbytes);
        DPT_CHECK(e->sum_scratch, DPT_STATUS_SPACE, "out of memory: %zu bytes for a tree sum", nbytes);
        e->sum_scratch_nbytes = nbytes;
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_exchange_sum(struct dpt_exchange *exchange, void *data, int64_t count, enum dpt_dtype dtype)
{
    struct dpt_exchange *e = exchange;
    if (!e->way) {
        return DPT_STATUS_OK;
    }
    if (e->tree) {
        DPT_TRY(need_scratch(e, job_nbytes(count, dtype)));
    }
    const struct dpt_exchange__job job = {.data = data, .count = count, .dtype = dtype, .scratch = e->sum_scratch};
    const double start = dpt_clock_s();
    const uint64_t number = e->posted;
    enum dpt_status status = post(e, &job);
    if (status == DPT_STATUS_OK) {
        status = finish(e, number);
    }
    e->stats.exposed_s += dpt_clock_s() - start;
    return status;
}

void dpt_exchange_stats(const struct dpt_exchange *exchange, struct dpt_exchange_stats *stats)
{
    *stats = exchange->stats;
}

void dpt_exchange_stats_reset(struct dpt_exchange *exchange)
{
    exchange->stats = (struct dpt_exchange_stats){0};
}
