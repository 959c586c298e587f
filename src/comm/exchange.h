/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The exchange of gradients: turns each rank's flat buffer into the sum over the ranks, bucket by bucket, in the
 * order in which the buckets are started. One interface, several ways behind it: MPI_Allreduce, called inline or on a
 * communication thread, each of them with the fixed-tree sum; and the memory of a host, in which ranks read each
 * other's buffers where they are, alone or together with MPI between hosts. A later way (NCCL) is a further file.
 *
 * Sums can be sliced: then a rank gets the sum of its own slice of each bucket only, updates that slice of the
 * parameters, and publishes it to the others. Half of the traffic of a whole sum is in each of the two steps, and the
 * update is done once instead of by every rank.
 *
 * Every rank starts the same buckets and calls in the same order. While a bucket is under way its range of the
 * buffer belongs to the exchange, and so does MPI: until every started bucket was waited for, what the compute thread
 * wants summed goes through dpt_exchange_sum of the same exchange. After a failure only the end of the job remains
 * (dpt_fatal). On one rank nothing is done and nothing is counted.
 */

#include <stdbool.h>
#include <stdint.h>

#include "comm/comm.h"

struct dpt_exchange;

struct dpt_range {
    int64_t begin, end; /* elements [begin, end) */
};

enum dpt_exchange_thread { DPT_EXCHANGE_THREAD_AUTO, DPT_EXCHANGE_THREAD_ON, DPT_EXCHANGE_THREAD_OFF };

enum dpt_exchange_path {
    DPT_EXCHANGE_PATH_AUTO,         /* through the memory of hosts where they have several ranks and give it     */
    DPT_EXCHANGE_PATH_SHARED,       /* the same, and all ranks must be on one host                               */
    DPT_EXCHANGE_PATH_HIERARCHICAL, /* the same, and there must be several hosts                                 */
    DPT_EXCHANGE_PATH_FLAT          /* MPI among all ranks                                                       */
};

/*
 * How sums of F32 buckets travel in messages; what goes through memory, and published parameters, stay as they are.
 * TOPK and POWERSGD keep what they do not send, and send it with the next sum of the bucket.
 */
enum dpt_wire_kind {
    DPT_WIRE_KIND_FP32,
    DPT_WIRE_KIND_BF16,
    DPT_WIRE_KIND_INT8,
    DPT_WIRE_KIND_TOPK,     /* the largest numbers only     */
    DPT_WIRE_KIND_POWERSGD, /* matrices as two thin ones    */
};

struct dpt_wire {
    enum dpt_wire_kind kind;
    double share; /* topk: of the numbers, 0 < share <= 1 */
    int rank;     /* powersgd: columns of the thin ones   */
};

/* A matrix in the bound buffer, row after row: what POWERSGD works on. */
struct dpt_exchange_matrix {
    int64_t begin, rows, cols;
};

/* Bytes that a rank sends in the sum of a range among so many ranks, all in messages. Pure. */
double dpt_wire_sent(const struct dpt_wire *wire, int ranks, struct dpt_range range, int nmatrices,
                     const struct dpt_exchange_matrix *matrix);

/* Numbers of the thin matrices that powersgd keeps for a range; 0 with other formats. Pure. */
int64_t dpt_wire_columns(const struct dpt_wire *wire, struct dpt_range range, int nmatrices,
                         const struct dpt_exchange_matrix *matrix);

struct dpt_exchange_conf {
    struct dpt_comm *comm;           /* the ranks to sum over                                     */
    enum dpt_exchange_thread thread; /* auto: a thread if `spare_core`                            */
    bool spare_core;                 /* this rank has a core that computes nothing                */
    bool own_core;                   /* and one to itself: waiting for other ranks may spin long  */
    bool tree;                       /* fixed binary tree: the same bits for every library        */
    enum dpt_exchange_path path;
    struct dpt_wire wire;
    uint64_t seed;                   /* of the random numbers of `wire`                           */
    int node_ranks;                  /* for tests: so many ranks each pretend to be a host; 0: real hosts */
};

/* A new exchange. Collective over conf->comm (the ways must agree). Freed by dpt_exchange_free. */
enum dpt_status dpt_exchange_new(const struct dpt_exchange_conf *conf, struct dpt_exchange **exchange);
void dpt_exchange_free(struct dpt_exchange *exchange);

/*
 * Measures which size of buckets is fastest for sums of so many bytes of floats, from 1 to 32 MiB, in about budget_s
 * seconds: a size that is not clearly faster than 8 MiB is not taken. 0 where nothing was measured: sums go through memory
 * alone, there are hardly two buckets, or the network is so slow that only bytes count. The same on all ranks. Collective over conf->comm.
 */
enum dpt_status dpt_exchange_probe(const struct dpt_exchange_conf *conf, size_t nbytes, double budget_s,
                                   int64_t *bucket_nbytes);

/* "inline MPI_Allreduce", "shared memory on a thread", ... of the bound buffer, for the banner. Local. */
const char *dpt_exchange_name(const struct dpt_exchange *exchange);

/* Whether sums of the bound buffer travel as conf.wire says: of floats, and not only through memory. Local. */
bool dpt_exchange_is_wire(const struct dpt_exchange *exchange);

/* Why the memory of hosts is not used although it was wanted: a clause; "" where there is nothing to tell. Local. */
const char *dpt_exchange_note(const struct dpt_exchange *exchange);

/*
 * Zeroed memory that the ranks of a host share, for what will be bound: OWN, a block for each rank that the others read
 * (gradients); COMMON, one block for all (parameters: each rank writes its slices only, or all write the same). It is
 * given back by dpt_exchange_free. *block is NULL, and the status OK, where there is none; then memory from elsewhere
 * does, and the exchange of it goes through MPI. Where one block was refused, all later ones are: ask for gradients
 * first, since updates of one copy of the parameters need them. nbytes is the same on all ranks. Collective.
 */
enum dpt_exchange_memory { DPT_EXCHANGE_MEMORY_OWN, DPT_EXCHANGE_MEMORY_COMMON };
enum dpt_status dpt_exchange_alloc(struct dpt_exchange *exchange, size_t nbytes, enum dpt_exchange_memory memory,
                                   void **block);

/*
 * For conf.wire: only buckets that end before element lossy_end of what is bound next may be changed by it, and the
 * matrices in it, by `begin`, which must stay until something else is bound. Without it all may, and there are none. Local.
 */
void dpt_exchange_shape(struct dpt_exchange *exchange, int64_t lossy_end, int nmatrices,
                        const struct dpt_exchange_matrix *matrix);

/* The step whose sums come next: part of the key of random numbers. Local. */
void dpt_exchange_step(struct dpt_exchange *exchange, int64_t step);

/* Whether conf.wire keeps anything from one sum of what is bound to the next, and how much this rank does. Local. */
bool dpt_exchange_keeps(const struct dpt_exchange *exchange);
size_t dpt_exchange_kept_nbytes(const struct dpt_exchange *exchange);

/*
 * What the ranks keep of the bound buffer's sums, added up, in `whole`, `count` floats that have the buffer's places. The
 * ranks then have equal parts of it, and powersgd begins anew, so that a training that goes on and one that begins from
 * here with dpt_exchange_set_kept do the same, also on another number of ranks. No bucket is under way. Collective; the
 * second is Local, with the same `whole` on all ranks.
 */
enum dpt_status dpt_exchange_get_kept(struct dpt_exchange *exchange, int64_t count, float *whole);
void dpt_exchange_set_kept(struct dpt_exchange *exchange, int64_t count, const float *whole);

/*
 * Gives the exchange the buffer whose ranges are summed, and its buckets; allocates what it needs for them. Again for
 * another buffer. F32 or F64; without a tree also I32 and I64. Collective.
 */
enum dpt_status dpt_exchange_bind(struct dpt_exchange *exchange, void *buffer, enum dpt_dtype dtype, int nbuckets,
                                  const struct dpt_range *bucket);

/*
 * The same for sliced sums: after start and wait of a bucket only this rank's slice of it in `gradient` holds the sum (in
 * the order of a binary tree over the ranks, whatever conf.tree says). `param`, or NULL, is a second buffer with the same
 * ranges: dpt_exchange_publish makes everybody's slice of a bucket of it known to all. On one rank the slice is the
 * bucket.
 *
 * ALL: a bucket has as many slices as there are ranks. HOST: as many as a host has ranks, and every host has all of
 * them. That needs `param` in COMMON and `gradient` in OWN memory of dpt_exchange_alloc; where they are not, the slice is
 * the bucket: a whole sum, and nothing is left to publish.
 *
 * All buckets are started before the first is waited for. After its wait a bucket is still read by others until
 * a dpt_exchange_sum or a _publish that was started later has ended; then it may be written again. Collective.
 */
enum dpt_exchange_slices { DPT_EXCHANGE_SLICES_ALL, DPT_EXCHANGE_SLICES_HOST };
enum dpt_status dpt_exchange_bind_slices(struct dpt_exchange *exchange, enum dpt_exchange_slices slices, void *gradient,
                                         void *param, enum dpt_dtype dtype, int nbuckets,
                                         const struct dpt_range *bucket);

/*
 * Part `part` of `parts` of a range: parts are as even as can be, in order, and begin at a multiple of DPT_EXCHANGE_ALIGN
 * elements from the begin of the range. With fewer such units than parts some are empty. Pure: a plan may use it.
 */
enum { DPT_EXCHANGE_ALIGN = 16 };
struct dpt_range dpt_exchange_slice_of(struct dpt_range range, int parts, int part);

/* This rank's slice of a bucket in elements of the bound buffer: dpt_exchange_slice_of(bucket, size, rank), or HOST's. Local. */
struct dpt_range dpt_exchange_slice(const struct dpt_exchange *exchange, int bucket);

/*
 * How slices count in a sum over all ranks (of the square of a norm): 1 where this rank's slices are its own, 0 where a
 * rank of another host has the same and is counted. -1: the slices are whole buckets, which all ranks have. Local.
 */
int dpt_exchange_slice_counts(const struct dpt_exchange *exchange);

/*
 * The sum of the squares of this rank's slice of a bucket as its last wait has left it, made on the way, in double and in
 * an order that depends on the slice's length alone. Of buckets of F32 or F64 in slices of a HOST, on several ranks. Local.
 */
double dpt_exchange_square(const struct dpt_exchange *exchange, int bucket);

/*
 * Of what is begun next (_start, _publish, _scatter, _gather): the data are there when arrived(arg) has returned, which
 * whoever does the work calls first, on a thread if there is one; not on one rank. Local.
 */
typedef enum dpt_status dpt_exchange_arrived_fn(void *arg);
void dpt_exchange_await(struct dpt_exchange *exchange, dpt_exchange_arrived_fn *arrived, void *arg);

/* Begins the sum of one bucket; returns at once where there is a thread. Collective, same order everywhere. */
enum dpt_status dpt_exchange_start(struct dpt_exchange *exchange, int bucket);

/* Returns when the bucket holds the sum. Local wait. */
enum dpt_status dpt_exchange_wait(struct dpt_exchange *exchange, int bucket);

/*
 * Begins to make each rank's slice of one bucket of `param` known to all; _publish_wait returns when all of the bucket is
 * there. Before, no rank may have more than its slice to itself. Collective, same order everywhere.
 */
enum dpt_status dpt_exchange_publish(struct dpt_exchange *exchange, int bucket);
enum dpt_status dpt_exchange_publish_wait(struct dpt_exchange *exchange, int bucket);

/*
 * The same steps for an array of `count` elements that is not bound, cut by dpt_exchange_slice_of({0, count}, size, rank):
 * _scatter sums this rank's slice, _gather collects everybody's slices. They begin the work and give a ticket;
 * dpt_exchange_finish waits for it. At most DPT_EXCHANGE_TICKETS are open at a time, and count is at most what
 * dpt_exchange_reserve made room for. F32 or F64. Collective, same order everywhere.
 */
enum { DPT_EXCHANGE_TICKETS = 8 };
enum dpt_status dpt_exchange_reserve(struct dpt_exchange *exchange, int64_t count, enum dpt_dtype dtype);
enum dpt_status dpt_exchange_scatter(struct dpt_exchange *exchange, void *data, int64_t count, enum dpt_dtype dtype,
                                     uint64_t *ticket);
enum dpt_status dpt_exchange_gather(struct dpt_exchange *exchange, void *data, int64_t count, enum dpt_dtype dtype,
                                    uint64_t *ticket);
enum dpt_status dpt_exchange_finish(struct dpt_exchange *exchange, uint64_t ticket);

/*
 * A small sum between them, waited for: statistics, loss, norm. Takes its turn after the buckets started before it.
 * F32 or F64. Collective.
 */
enum dpt_status dpt_exchange_sum(struct dpt_exchange *exchange, void *data, int64_t count, enum dpt_dtype dtype);

/* The same for the largest of the ranks' numbers. Collective. */
enum dpt_status dpt_exchange_max(struct dpt_exchange *exchange, int32_t *data, int64_t count);

struct dpt_exchange_stats {
    uint64_t nbytes;  /* summed over all calls                       */
    uint64_t sent;    /* of them in messages of MPI, as they travel (all-reduces count what a ring sends) */
    uint64_t ncalls;
    double busy_s;    /* time inside MPI                             */
    double exposed_s; /* time in which the compute thread waited     */
};

/* What was done since the last call of _stats_reset. Local. */
void dpt_exchange_stats(const struct dpt_exchange *exchange, struct dpt_exchange_stats *stats);
void dpt_exchange_stats_reset(struct dpt_exchange *exchange);
