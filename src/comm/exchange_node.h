/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Exchange through the memory of a host. Every rank sees the buffers of the others, so that it sums its slice by reading
 * them where they are; who is how far stands in counters, one cache line each. No MPI call inside a host. Between
 * hosts, rank j of each does its part of the work with the ranks j of the others (a rail). Private to comm/.
 */

#include "comm/exchange_impl.h"
#include "comm/segment.h"

enum { DPT_EXCHANGE__MAX_BLOCKS = 8 };

struct dpt_exchange__node {
    MPI_Comm mpi;                  /* the ranks of the exchange on this host                     */
    int rank, size;                /* in it                                                      */
    int nodes;
    int spins;                     /* before a wait gives its core away                          */
    struct dpt_comm *rail;         /* this rank's like on all hosts; NULL with one host          */
    int *rail_rank;                /* their ranks in the exchange                                */
    struct dpt_comm__slices slices;                         /* of the rail                       */
    struct dpt_comm__segment shelf;                         /* counters and small sums, see .c   */
    struct dpt_comm__segment block[DPT_EXCHANGE__MAX_BLOCKS]; /* what was given out              */
    int nblocks;
    bool refused;                  /* there was too little memory once                           */
    uint64_t small;                /* small sums done                                            */
    const void **part;             /* one for each rank of the host                              */
};

/* Called between the steps of a job, for tests that make a rank late there; NULL otherwise. */
extern void (*dpt_exchange__node_late)(uint64_t number);

/*
 * Finds the ranks of each host (conf->node_ranks at a time, where that is set) and makes the counters. *node is NULL where
 * there is nothing to share, and the reason, where it is worth telling, in `note`. Collective over conf->comm.
 */
enum dpt_status dpt_exchange__node_open(const struct dpt_exchange_conf *conf, struct dpt_exchange__node **node,
                                        char note[200]);
void dpt_exchange__node_close(struct dpt_exchange__node *node);

/* The block in which `data` lies, or NULL. Local. */
const struct dpt_comm__segment *dpt_exchange__node_find(const struct dpt_exchange__node *node, const void *data);

/* Whether a sum of this size goes over the counters' pages. Local. */
bool dpt_exchange__node_small(const struct dpt_exchange__node *node, int64_t count, enum dpt_dtype dtype);

/* Tells the others of the host that this rank has posted jobs 0 ... posted - 1: their data may be read. Local. */
void dpt_exchange__node_post(struct dpt_exchange__node *node, uint64_t posted);

/* Waits until all ranks of the host have posted so many jobs. */
void dpt_exchange__node_await(const struct dpt_exchange__node *node, uint64_t posted);

/* Does job `number`, all before it being done; its data lies in a block, or it is a small sum. Collective. */
enum dpt_status dpt_exchange__node_run(struct dpt_exchange *exchange, const struct dpt_exchange__job *job);
