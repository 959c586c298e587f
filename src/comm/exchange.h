/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The exchange of gradients: turns each rank's flat buffer into the sum over the ranks, bucket by bucket, in the
 * order in which the buckets are started. One interface, several ways behind it (a table of functions): MPI_Allreduce
 * called inline, MPI_Allreduce on a communication thread, and each of them with the fixed-tree sum. Later ways
 * (node-shared windows, hierarchy, NCCL) are further files.
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

struct dpt_exchange_conf {
    struct dpt_comm *comm;           /* the ranks to sum over                                     */
    enum dpt_exchange_thread thread; /* auto: a thread if `spare_core`                            */
    bool spare_core;                 /* this rank has a core that computes nothing                */
    bool tree;                       /* fixed binary tree: the same bits for every library        */
};

/* A new exchange. Collective over conf->comm (the ways must agree). Freed by dpt_exchange_free. */
enum dpt_status dpt_exchange_new(const struct dpt_exchange_conf *conf, struct dpt_exchange **exchange);
void dpt_exchange_free(struct dpt_exchange *exchange);

/* "inline MPI_Allreduce", "MPI_Allreduce on a thread", ... for the banner. Local. */
const char *dpt_exchange_name(const struct dpt_exchange *exchange);

/*
 * Gives the exchange the buffer whose ranges are summed, and its buckets; allocates what it needs for them. Again for
 * another buffer. Collective.
 */
enum dpt_status dpt_exchange_bind(struct dpt_exchange *exchange, void *buffer, enum dpt_dtype dtype, int nbuckets,
                                  const struct dpt_range *bucket);

/* Begins the sum of one bucket; returns at once where there is a thread. Collective, same order everywhere. */
enum dpt_status dpt_exchange_start(struct dpt_exchange *exchange, int bucket);

/* Returns when the bucket holds the sum. Local wait. */
enum dpt_status dpt_exchange_wait(struct dpt_exchange *exchange, int bucket);

/*
 * A small sum between them, waited for: statistics, loss, norm. Takes its turn after the buckets started before it.
 * F32 or F64. Collective.
 */
enum dpt_status dpt_exchange_sum(struct dpt_exchange *exchange, void *data, int64_t count, enum dpt_dtype dtype);

struct dpt_exchange_stats {
    uint64_t nbytes;  /* summed over all calls                       */
    uint64_t ncalls;
    double busy_s;    /* time inside MPI                             */
    double exposed_s; /* time in which the compute thread waited     */
};

/* What was done since the last call of _stats_reset. Local. */
void dpt_exchange_stats(const struct dpt_exchange *exchange, struct dpt_exchange_stats *stats);
void dpt_exchange_stats_reset(struct dpt_exchange *exchange);
