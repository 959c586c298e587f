/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the ways of exchanging share. Private to comm/. */

#include "comm/exchange.h"
#include "comm/impl.h"

/* One sum to do. */
struct dpt_exchange__job {
    void *data;
    int64_t count;
    enum dpt_dtype dtype;
    void *scratch; /* of `count` elements, for the tree */
};

/*
 * A way: it does jobs in the order in which they are posted. Jobs are numbered from 0 by the caller, who waits for
 * each of them, in any order.
 */
struct dpt_exchange__way {
    const char *name, *tree_name; /* for the banner */
    enum dpt_status (*open)(struct dpt_exchange *exchange);
    void (*close)(struct dpt_exchange *exchange);
    /* Makes room for `jobs` posted jobs; called while none is under way. */
    enum dpt_status (*reserve)(struct dpt_exchange *exchange, int jobs);
    enum dpt_status (*post)(struct dpt_exchange *exchange, const struct dpt_exchange__job *job);
    enum dpt_status (*finish)(struct dpt_exchange *exchange, uint64_t number);
};

extern const struct dpt_exchange__way dpt_exchange__inline;
extern const struct dpt_exchange__way dpt_exchange__thread;

struct dpt_exchange {
    const struct dpt_exchange__way *way; /* NULL: one rank, nothing to do     */
    struct dpt_comm *comm;
    bool tree;
    void *own;                           /* the way's                         */

    char *buffer;
    enum dpt_dtype dtype;
    int nbuckets;
    struct dpt_range *bucket;
    int64_t *number;                     /* of each bucket's job; -1: not started  */
    uint64_t posted;                     /* jobs posted so far                     */

    void *scratch, *sum_scratch;         /* tree: for the buckets, for other sums  */
    size_t sum_scratch_nbytes;

    struct dpt_exchange_stats stats;     /* of the compute thread, but for busy_s: see the ways */
};

/* Does one job: the collective itself. */
enum dpt_status dpt_exchange__run(struct dpt_exchange *exchange, const struct dpt_exchange__job *job);
