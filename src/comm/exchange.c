/* SPDX-License-Identifier: Apache-2.0 */
#include "comm/exchange.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "comm/exchange_impl.h"
#include "comm/exchange_node.h"
#include "comm/exchange_wire.h"

/* The exchange that has the turn at MPI while dpt_comm__pending > 0. */
static const struct dpt_exchange *owner;

static size_t job_nbytes(int64_t count, enum dpt_dtype dtype)
{
    return (size_t)count * dpt_dtype_nbytes(dtype);
}

static enum dpt_status run_messages(struct dpt_exchange *e, const struct dpt_exchange__job *job)
{
    if (job->kind == DPT_EXCHANGE__KIND_SCATTER) {
        const struct dpt_comm__code code = dpt_exchange__code(e, job, 0);
        dpt_comm__slices_even(e->comm, &e->slices, job->count);
        return job->wire == DPT_WIRE_KIND_FP32
                   ? dpt_comm__scatter(e->comm, &e->slices, job->data, job->dtype, job->scratch)
                   : dpt_comm__wire_scatter(e->comm, &e->slices, &code, job->data, job->scratch);
    }
    if (job->kind == DPT_EXCHANGE__KIND_COLLECT) {
        dpt_comm__slices_even(e->comm, &e->slices, job->count);
        return dpt_comm__collect(e->comm, &e->slices, job->data, job->dtype);
    }
    return dpt_exchange__wire_sum(e, job, e->comm, &e->slices, (struct dpt_range){0, job->count});
}

static uint64_t moved(const struct dpt_exchange *e)
{
    return e->comm->moved + (e->node && e->node->rail ? e->node->rail->moved : 0);
}

enum dpt_status dpt_exchange__run(struct dpt_exchange *exchange, const struct dpt_exchange__job *job,
                                  struct dpt_exchange__spent *spent)
{
    *spent = (struct dpt_exchange__spent){0};
    DPT_TRY(job->arrived ? job->arrived(job->arrived_arg) : DPT_STATUS_OK);
    const double start = dpt_clock_s();
    const uint64_t before = moved(exchange);
    const enum dpt_status status =
        job->shared ? dpt_exchange__node_run(exchange, job) : run_messages(exchange, job);
    *spent = (struct dpt_exchange__spent){dpt_clock_s() - start, moved(exchange) - before};
    return status;
}

void dpt_exchange__count(struct dpt_exchange *exchange, const struct dpt_exchange__spent *spent)
{
    exchange->stats.busy_s += spent->busy_s;
    exchange->stats.sent += spent->sent;
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

/* Shares memory within hosts where that was asked for or is possible. Collective. */
static enum dpt_status open_path(const struct dpt_exchange_conf *conf, struct dpt_exchange *e)
{
    if (conf->path == DPT_EXCHANGE_PATH_FLAT) {
        return DPT_STATUS_OK;
    }
    DPT_TRY(dpt_exchange__node_open(conf, &e->node, e->note));
    const int nodes = e->node ? e->node->nodes : 0;
    DPT_CHECK(nodes <= 1 || conf->path != DPT_EXCHANGE_PATH_SHARED, DPT_STATUS_USAGE,
              "[parallel] exchange = shared needs all ranks on one host, but they are on %d; use hierarchical or auto",
              nodes);
    DPT_CHECK(nodes != 1 || conf->path != DPT_EXCHANGE_PATH_HIERARCHICAL, DPT_STATUS_USAGE,
              "[parallel] exchange = hierarchical needs ranks on several hosts, but all are on one; use shared or auto");
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
    DPT_TRY(dpt_agree(e ? status : dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "out of memory"), conf->comm));
    *e = (struct dpt_exchange){.way = way, .comm = conf->comm, .tree = conf->tree, .wire = conf->wire, .seed = conf->seed, .lossy_end = INT64_MAX};
    if (way) {
        status = open_path(conf, e);
        status = status == DPT_STATUS_OK ? dpt_comm__slices_open(conf->comm, &e->slices) : status;
        status = status == DPT_STATUS_OK ? way->open(e) : status;
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
    dpt_exchange__wire_unbind(exchange);
    free(exchange->bucket);
    free(exchange->number);
    free(exchange->publishing);
    free(exchange->square);
    free(exchange->scratch);
    exchange->bucket = NULL;
    exchange->number = NULL;
    exchange->publishing = NULL;
    exchange->square = NULL;
    exchange->scratch = NULL;
    exchange->nbuckets = 0;
}

void dpt_exchange_free(struct dpt_exchange *exchange)
{
    if (!exchange) {
        return;
    }
    DPT_ASSERT(dpt_comm__pending == 0);
    if (exchange->way) {
        exchange->way->close(exchange);
    }
    dpt_exchange__node_close(exchange->node);
    unbind(exchange);
    dpt_comm__slices_close(&exchange->slices);
    free(exchange->sum_scratch);
    free(exchange->slice_scratch);
    free(exchange);
}

const char *dpt_exchange_name(const struct dpt_exchange *exchange)
{
    if (!exchange->way) {
        return "none (one rank)";
    }
    if (exchange->buffer_block) {
        return exchange->node->rail ? exchange->way->hierarchical_name : exchange->way->shared_name;
    }
    if (dpt_exchange_is_wire(exchange)) {
        return exchange->way->wire_name;
    }
    return exchange->tree ? exchange->way->tree_name : exchange->way->name;
}

bool dpt_exchange_is_wire(const struct dpt_exchange *exchange)
{
    bool is = false;
    for (int b = 0; b < exchange->nbuckets && exchange->way; b++) {
        is = is || dpt_exchange__wire_of(exchange, b) != DPT_WIRE_KIND_FP32;
    }
    return is;
}

void dpt_exchange_shape(struct dpt_exchange *exchange, int64_t lossy_end, int nmatrices,
                        const struct dpt_exchange_matrix *matrix)
{
    exchange->matrix = matrix;
    exchange->nmatrices = nmatrices;
    exchange->lossy_end = lossy_end;
}

void dpt_exchange_await(struct dpt_exchange *exchange, dpt_exchange_arrived_fn *arrived, void *arg)
{
    exchange->arrived = arrived;
    exchange->arrived_arg = arg;
}

void dpt_exchange_step(struct dpt_exchange *exchange, int64_t step)
{
    exchange->step = step;
}

const char *dpt_exchange_note(const struct dpt_exchange *exchange)
{
    return exchange->note;
}

enum dpt_status dpt_exchange_alloc(struct dpt_exchange *exchange, size_t nbytes, enum dpt_exchange_memory memory,
                                   void **block)
{
    struct dpt_exchange__node *node = exchange->node;
    char reason[160] = "";
    *block = NULL;
    if (!node || node->refused || nbytes == 0) {
        return DPT_STATUS_OK;
    }
    DPT_ASSERT(node->nblocks < DPT_EXCHANGE__MAX_BLOCKS);
    struct dpt_comm__segment *segment = &node->block[node->nblocks];
    int32_t all = dpt_comm__segment_open(node->mpi, nbytes, memory == DPT_EXCHANGE_MEMORY_COMMON, segment, reason);
    DPT_TRY(dpt_comm_allreduce(exchange->comm, &all, 1, DPT_DTYPE_I32, DPT_COMM_REDUCE_MIN));
    if (!all) {
        snprintf(exchange->note, sizeof exchange->note, "%s",
                 reason[0] ? reason : "another host has too little shared memory");
        dpt_comm__segment_close(segment);
        node->refused = true;
        return DPT_STATUS_OK;
    }
    node->nblocks++;
    *block = segment->mine;
    return DPT_STATUS_OK;
}

/* Bytes that the sum of a bucket needs beside it. */
static size_t bucket_scratch(const struct dpt_exchange *e, int64_t longest)
{
    if (!e->way || longest == 0) {
        return 0;
    }
    const size_t sum = e->sliced && !e->by_host ? dpt_comm__scatter_scratch(e->comm, longest, e->dtype)
                       : e->tree                ? job_nbytes(longest, e->dtype)
                                                : 0;
    const size_t wire = dpt_exchange__wire_scratch(e, longest);
    return sum > wire ? sum : wire;
}

/* Takes over the buckets and makes room for them. Local. */
static enum dpt_status bind_here(struct dpt_exchange *e, int nbuckets, const struct dpt_range *bucket)
{
    int64_t longest = 0;
    e->bucket = calloc((size_t)nbuckets + 1, sizeof *e->bucket);
    e->number = calloc((size_t)nbuckets + 1, sizeof *e->number);
    e->publishing = calloc((size_t)nbuckets + 1, sizeof *e->publishing);
    e->square = calloc((size_t)nbuckets + 1, sizeof *e->square);
    DPT_CHECK(e->bucket && e->number && e->publishing && e->square, DPT_STATUS_SPACE, "out of memory for %d buckets", nbuckets);
    for (int b = 0; b < nbuckets; b++) {
        DPT_ASSERT(bucket[b].begin >= 0 && bucket[b].begin <= bucket[b].end);
        const int64_t length = bucket[b].end - bucket[b].begin;
        longest = length > longest ? length : longest;
        e->bucket[b] = bucket[b];
        e->number[b] = e->publishing[b] = -1;
    }
    e->nbuckets = nbuckets;
    DPT_TRY(dpt_exchange__wire_bind(e));
    const size_t scratch = bucket_scratch(e, longest);
    if (scratch > 0) {
        e->scratch = malloc(scratch);
        DPT_CHECK(e->scratch, DPT_STATUS_SPACE, "out of memory: %zu bytes for the sum of the largest bucket", scratch);
    }
    return e->way ? e->way->reserve(e, 2 * nbuckets + DPT_EXCHANGE_TICKETS + 1) : DPT_STATUS_OK;
}

/* Finds out whether a buffer lies in memory of the exchange; a number that must be the same on all ranks. Local. */
static uint64_t find_block(const struct dpt_exchange *e, const char *buffer, const struct dpt_comm__segment **block)
{
    *block = e->node && buffer ? dpt_exchange__node_find(e->node, buffer) : NULL;
    return *block ? (uint64_t)(buffer - (*block)->mine) * DPT_EXCHANGE__MAX_BLOCKS + (uint64_t)(*block - e->node->block) + 1
                  : 0;
}

/*
 * Hash of the buckets: of their lengths, or where ranks read each other's memory of their places too (a rank may have the
 * same buckets elsewhere, between others that are not this group's).
 */
static uint64_t hash_buckets(int nbuckets, const struct dpt_range *bucket, bool places)
{
    uint64_t hash = 0;
    for (int b = 0; b < nbuckets; b++) {
        const int64_t part[] = {(int64_t)hash, bucket[b].end - bucket[b].begin, places ? bucket[b].begin : 0};
        hash = dpt_hash64(part, sizeof part);
    }
    return hash;
}

/* What is bound is in *e. Ranks with different buckets would add what does not belong together. Collective. */
static enum dpt_status bind(struct dpt_exchange *e, int nbuckets, const struct dpt_range *bucket)
{
    DPT_ASSERT(dpt_comm__pending == 0 && nbuckets >= 0);
    unbind(e);
    const uint64_t buffer_at = find_block(e, e->buffer, &e->buffer_block);
    const uint64_t param_at = find_block(e, e->param, &e->param_block);
    enum dpt_status status = bind_here(e, nbuckets, bucket);
    DPT_ASSERT(!e->buffer_block || !e->buffer_block->common);
    const uint64_t parts[] = {(uint64_t)e->dtype, (uint64_t)nbuckets, e->sliced + 2 * e->by_host, buffer_at, param_at,
                              hash_buckets(nbuckets, bucket, e->buffer_block || e->param_block)};
    const uint64_t mine = dpt_hash64(parts, sizeof parts);
    uint64_t first = mine;
    DPT_TRY(dpt_comm_bcast(e->comm, &first, sizeof first, 0));
    if (status == DPT_STATUS_OK && first != mine) {
        status = dpt_error_set(DPT_STATUS_COMM, __FILE__, __LINE__,
                               "internal error: has other gradient buckets than rank 0 (%d here); please report it",
                               nbuckets);
    }
    return dpt_agree(status, e->comm);
}

enum dpt_status dpt_exchange_bind(struct dpt_exchange *exchange, void *buffer, enum dpt_dtype dtype, int nbuckets,
                                  const struct dpt_range *bucket)
{
    exchange->sliced = exchange->by_host = false;
    exchange->buffer = buffer;
    exchange->param = NULL;
    exchange->dtype = dtype;
    return bind(exchange, nbuckets, bucket);
}

enum dpt_status dpt_exchange_bind_slices(struct dpt_exchange *exchange, enum dpt_exchange_slices slices, void *gradient,
                                         void *param, enum dpt_dtype dtype, int nbuckets,
                                         const struct dpt_range *bucket)
{
    struct dpt_exchange *e = exchange;
    e->by_host = slices == DPT_EXCHANGE_SLICES_HOST;
    e->sliced = true;
    e->buffer = gradient;
    e->param = param;
    e->dtype = dtype;
    find_block(e, e->buffer, &e->buffer_block);
    find_block(e, e->param, &e->param_block);
    if (e->by_host && (!e->buffer_block || !e->param_block || !e->param_block->common)) {
        e->sliced = false; /* all ranks have the same memory, so that they all come here */
    }
    return bind(e, nbuckets, bucket);
}

struct dpt_range dpt_exchange_slice(const struct dpt_exchange *exchange, int bucket)
{
    const struct dpt_exchange *e = exchange;
    DPT_ASSERT(bucket >= 0 && bucket < e->nbuckets);
    if (!e->sliced) {
        return e->bucket[bucket];
    }
    return e->by_host ? dpt_exchange_slice_of(e->bucket[bucket], e->node->size, e->node->rank)
                      : dpt_exchange_slice_of(e->bucket[bucket], dpt_comm_size(e->comm), dpt_comm_rank(e->comm));
}

int dpt_exchange_slice_counts(const struct dpt_exchange *exchange)
{
    const struct dpt_exchange *e = exchange;
    if (!e->sliced) {
        return -1;
    }
    return !e->by_host || !e->node->rail || e->node->rail->rank == 0;
}

double dpt_exchange_square(const struct dpt_exchange *exchange, int bucket)
{
    const struct dpt_exchange *e = exchange;
    DPT_ASSERT(e->sliced && e->by_host && bucket >= 0 && bucket < e->nbuckets && e->number[bucket] == -1);
    return e->square[bucket];
}

/* Hands a job to the way and counts it. */
static enum dpt_status post(struct dpt_exchange *e, struct dpt_exchange__job *job)
{
    DPT_ASSERT(dpt_comm__pending == 0 || owner == e);
    owner = e;
    dpt_comm__pending++;
    dpt_comm__begin();
    job->number = e->posted++;
    job->arrived = e->arrived;
    job->arrived_arg = e->arrived_arg;
    e->arrived = NULL;
    e->stats.ncalls++;
    e->stats.nbytes += job_nbytes(job->count, job->dtype);
    if (e->node) {
        dpt_exchange__node_post(e->node, e->posted);
    }
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

/* Posts a job; *number is its own, or -1 where that failed. */
static enum dpt_status begin(struct dpt_exchange *e, struct dpt_exchange__job *job, int64_t *number)
{
    const double start = dpt_clock_s();
    const int64_t next = (int64_t)e->posted;
    const enum dpt_status status = post(e, job);
    *number = status == DPT_STATUS_OK ? next : -1;
    e->stats.exposed_s += dpt_clock_s() - start;
    return status;
}

static enum dpt_status end(struct dpt_exchange *e, int64_t *number)
{
    DPT_ASSERT(*number >= 0);
    const double start = dpt_clock_s();
    const uint64_t n = (uint64_t)*number;
    *number = -1;
    const enum dpt_status status = finish(e, n);
    e->stats.exposed_s += dpt_clock_s() - start;
    return status;
}

/* The job of one kind on a bucket of one of the bound buffers. */
static struct dpt_exchange__job bucket_job(const struct dpt_exchange *e, enum dpt_exchange__kind kind, int bucket)
{
    const struct dpt_range range = e->bucket[bucket];
    const bool collect = kind == DPT_EXCHANGE__KIND_COLLECT;
    char *buffer = collect ? e->param : e->buffer;
    const struct dpt_comm__segment *block = collect ? e->param_block : e->buffer_block;
    return (struct dpt_exchange__job){
        .block = block,
        .shared = block && (!collect || block->common),
        .wire = collect ? DPT_WIRE_KIND_FP32 : dpt_exchange__wire_of(e, bucket),
        .squares = kind == DPT_EXCHANGE__KIND_HOST && (e->dtype == DPT_DTYPE_F32 || e->dtype == DPT_DTYPE_F64),
        .bucket = bucket,
        .first = range.begin,
        .kind = kind,
        .data = buffer + job_nbytes(range.begin, e->dtype),
        .count = range.end - range.begin,
        .dtype = e->dtype,
        .scratch = e->scratch,
    };
}

enum dpt_status dpt_exchange_start(struct dpt_exchange *exchange, int bucket)
{
    struct dpt_exchange *e = exchange;
    DPT_ASSERT(bucket >= 0 && bucket < e->nbuckets && e->number[bucket] == -1);
    if (!e->way) {
        return DPT_STATUS_OK;
    }
    struct dpt_exchange__job job = bucket_job(e,
                                              !e->sliced   ? DPT_EXCHANGE__KIND_SUM
                                              : e->by_host ? DPT_EXCHANGE__KIND_HOST
                                                           : DPT_EXCHANGE__KIND_SCATTER,
                                              bucket);
    return begin(e, &job, &e->number[bucket]);
}

enum dpt_status dpt_exchange_wait(struct dpt_exchange *exchange, int bucket)
{
    struct dpt_exchange *e = exchange;
    DPT_ASSERT(bucket >= 0 && bucket < e->nbuckets);
    if (!e->way) {
        return DPT_STATUS_OK;
    }
    if (e->sliced && e->param_block && e->param_block->common) {
        /* What comes next may change the one copy of the parameters: everybody must be through with them. */
        const double start = dpt_clock_s();
        dpt_exchange__node_await(e->node, e->posted);
        e->stats.exposed_s += dpt_clock_s() - start;
    }
    return end(e, &e->number[bucket]);
}

enum dpt_status dpt_exchange_publish(struct dpt_exchange *exchange, int bucket)
{
    struct dpt_exchange *e = exchange;
    DPT_ASSERT((e->sliced || e->by_host) && e->param && bucket >= 0 && bucket < e->nbuckets);
    DPT_ASSERT(e->publishing[bucket] == -1);
    if (!e->way || !e->sliced) {
        return DPT_STATUS_OK;
    }
    struct dpt_exchange__job job = bucket_job(e, DPT_EXCHANGE__KIND_COLLECT, bucket);
    return begin(e, &job, &e->publishing[bucket]);
}

enum dpt_status dpt_exchange_publish_wait(struct dpt_exchange *exchange, int bucket)
{
    DPT_ASSERT(bucket >= 0 && bucket < exchange->nbuckets);
    return exchange->way && exchange->sliced ? end(exchange, &exchange->publishing[bucket]) : DPT_STATUS_OK;
}

enum dpt_status dpt_exchange_reserve(struct dpt_exchange *exchange, int64_t count, enum dpt_dtype dtype)
{
    struct dpt_exchange *e = exchange;
    DPT_ASSERT(dpt_comm__pending == 0 && count >= 0);
    const size_t sum = e->way ? dpt_comm__scatter_scratch(e->comm, count, dtype) : 0;
    const bool coded = e->wire.kind == DPT_WIRE_KIND_BF16 || e->wire.kind == DPT_WIRE_KIND_INT8;
    const size_t wire = e->way && coded ? dpt_comm__wire_scratch(e->wire.kind, dpt_comm_size(e->comm), count) : 0;
    const size_t nbytes = sum > wire ? sum : wire;
    enum dpt_status status = DPT_STATUS_OK;
    if (nbytes > e->slice_scratch_nbytes) {
        free(e->slice_scratch);
        e->slice_scratch = malloc(nbytes);
        e->slice_scratch_nbytes = e->slice_scratch ? nbytes : 0;
        if (!e->slice_scratch) {
            status = dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "out of memory: %zu bytes for sums of slices",
                                   nbytes);
        }
    }
    return dpt_agree(status, e->comm);
}

/* Begins a job on an array that is not bound. */
static enum dpt_status begin_free(struct dpt_exchange *e, enum dpt_exchange__kind kind, void *data, int64_t count,
                                  enum dpt_dtype dtype, uint64_t *ticket)
{
    int64_t number = 0;
    const bool coded = e->wire.kind == DPT_WIRE_KIND_BF16 || e->wire.kind == DPT_WIRE_KIND_INT8;
    struct dpt_exchange__job job = {
        .kind = kind,
        .data = data,
        .count = count,
        .dtype = dtype,
        .bucket = -1,
        .wire = coded && dtype == DPT_DTYPE_F32 && kind == DPT_EXCHANGE__KIND_SCATTER ? e->wire.kind : DPT_WIRE_KIND_FP32,
        .scratch = e->slice_scratch,
    };
    if (e->way) {
        DPT_ASSERT(dpt_comm__scatter_scratch(e->comm, count, dtype) <= e->slice_scratch_nbytes);
        DPT_TRY(begin(e, &job, &number));
    }
    *ticket = (uint64_t)number;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_exchange_scatter(struct dpt_exchange *exchange, void *data, int64_t count, enum dpt_dtype dtype,
                                     uint64_t *ticket)
{
    return begin_free(exchange, DPT_EXCHANGE__KIND_SCATTER, data, count, dtype, ticket);
}

enum dpt_status dpt_exchange_gather(struct dpt_exchange *exchange, void *data, int64_t count, enum dpt_dtype dtype,
                                    uint64_t *ticket)
{
    return begin_free(exchange, DPT_EXCHANGE__KIND_COLLECT, data, count, dtype, ticket);
}

enum dpt_status dpt_exchange_finish(struct dpt_exchange *exchange, uint64_t ticket)
{
    int64_t number = (int64_t)ticket;
    return exchange->way ? end(exchange, &number) : DPT_STATUS_OK;
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

/* Posts a job and waits for it. */
static enum dpt_status do_now(struct dpt_exchange *e, struct dpt_exchange__job *job)
{
    const double start = dpt_clock_s();
    const uint64_t number = e->posted;
    enum dpt_status status = post(e, job);
    if (status == DPT_STATUS_OK) {
        status = finish(e, number);
    }
    e->stats.exposed_s += dpt_clock_s() - start;
    return status;
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
    struct dpt_exchange__job job = {.data = data, .count = count, .dtype = dtype, .scratch = e->sum_scratch};
    job.shared = e->node && dpt_exchange__node_small(e->node, count, dtype);
    return do_now(e, &job);
}

enum dpt_status dpt_exchange_max(struct dpt_exchange *exchange, int32_t *data, int64_t count)
{
    struct dpt_exchange__job job = {
        .data = data,
        .count = count,
        .dtype = DPT_DTYPE_I32,
        .reduce = DPT_COMM_REDUCE_MAX,
    };
    return exchange->way ? do_now(exchange, &job) : DPT_STATUS_OK;
}

void dpt_exchange_stats(const struct dpt_exchange *exchange, struct dpt_exchange_stats *stats)
{
    *stats = exchange->stats;
}

void dpt_exchange_stats_reset(struct dpt_exchange *exchange)
{
    exchange->stats = (struct dpt_exchange_stats){0};
}
