/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the ways of exchanging share. Private to comm/. */

#include "comm/exchange.h"
#include "comm/impl.h"
#include "comm/slices.h"

enum dpt_exchange__kind {
    DPT_EXCHANGE__KIND_SUM,     /* to all                  */
    DPT_EXCHANGE__KIND_SCATTER, /* of this rank's slice    */
    DPT_EXCHANGE__KIND_HOST,    /* of this rank's slice of those of its host */
    DPT_EXCHANGE__KIND_COLLECT, /* of everybody's slices   */
};

struct dpt_comm__segment;
struct dpt_exchange__kept;

/* One thing to do. */
struct dpt_exchange__job {
    enum dpt_exchange__kind kind;
    void *data;
    int64_t count;
    enum dpt_dtype dtype;
    enum dpt_comm_reduce reduce; /* of a KIND_SUM: SUM, or another for small arrays    */
    uint64_t number;
    const struct dpt_comm__segment *block; /* through the memory of the host: in which `data` lies; or NULL */
    bool shared;   /* through the memory of the host */
    bool squares;  /* of a KIND_HOST: exchange->square[bucket] is wanted  */
    enum dpt_wire_kind wire;
    int bucket;    /* or -1                                               */
    int64_t first; /* the number of data[0] in the bound buffer, or 0     */
    dpt_exchange_arrived_fn *arrived; /* or NULL: the data are there */
    void *arrived_arg;
    void *scratch; /* for a tree sum `count` elements, for a slice dpt_comm__scatter_scratch() bytes, and what `wire` needs */
};

/*
 * A way: it does jobs in the order in which they are posted. Jobs are numbered from 0 by the caller, who waits for
 * each of them, in any order.
 */
struct dpt_exchange__way {
    const char *name, *tree_name, *shared_name, *hierarchical_name, *wire_name; /* for the banner */
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

    struct dpt_comm__slices slices;
    struct dpt_exchange__node *node;     /* NULL: only MPI                         */
    char note[200];                      /* why                                    */

    bool sliced;
    bool by_host;                        /* each host has all slices               */
    char *buffer, *param;                /* param: NULL without                    */
    const struct dpt_comm__segment *buffer_block, *param_block; /* NULL: other memory */
    enum dpt_dtype dtype;
    int nbuckets;
    struct dpt_range *bucket;
    int64_t *number, *publishing;        /* of each bucket's jobs; -1: not started */
    double *square;                      /* of each bucket's slice that this host has: written by the way */
    uint64_t posted;                     /* jobs posted so far                     */

    dpt_exchange_arrived_fn *arrived;    /* of the next job, or NULL          */
    void *arrived_arg;

    void *scratch, *sum_scratch;         /* for the buckets; tree: for other sums  */
    size_t sum_scratch_nbytes;
    void *slice_scratch;                 /* for dpt_exchange_scatter               */
    size_t slice_scratch_nbytes;

    struct dpt_wire wire;
    uint64_t seed;
    int64_t step;
    int64_t lossy_end;
    int nmatrices;
    const struct dpt_exchange_matrix *matrix;
    struct dpt_exchange__kept *kept;     /* of each bucket; NULL: nothing          */
    size_t kept_nbytes;

    struct dpt_exchange_stats stats;     /* of the compute thread, which adds what its jobs came to */
};

/* What a job came to. */
struct dpt_exchange__spent {
    double busy_s;
    uint64_t sent;
};

/* Waits until the data of a job are there and does it: the collective itself. */
enum dpt_status dpt_exchange__run(struct dpt_exchange *exchange, const struct dpt_exchange__job *job,
                                  struct dpt_exchange__spent *spent);

/* To the statistics. On the compute thread. */
void dpt_exchange__count(struct dpt_exchange *exchange, const struct dpt_exchange__spent *spent);
