/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * plan/: from a logical graph to everything that one rank will do: placement of every value on every mesh axis,
 * the collectives that follow from it, the order of actions, flat layout of the state, memory offsets, cost. Made
 * once, in milliseconds, without MPI; then constant, printable, and equal in its global part on all ranks. It moves
 * no data.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/text.h"
#include "comm/exchange.h"
#include "graph/graph.h"

enum { DPT_PLAN_MAX_SLOTS = 2, DPT_PLAN_MAX_LEVELS = 8 };

/* What the layout is made for. */
struct dpt_plan_conf {
    const struct dpt_mesh *mesh; /* sizes and this rank's coordinates; the comm fields are not used              */
    enum dpt_run run;            /* which kernels                                                                */
    int threads;                 /* compute threads of the rank                                                  */
    int64_t batch_rows;          /* samples of a full global batch                                               */
    int64_t tail_rows;           /* samples of the short last batch; 0: there is none                            */
    int64_t micro_batches;       /* pieces of a batch, one after the other; 1: none                              */
    int64_t shards;              /* reproducible: virtual shards, a power of two; 0: the fast sums               */
    int64_t bucket_bytes;        /* 0: the default                                                               */
    const struct dpt_plan *layout; /* evaluation: take the state's layout from the training's plan; NULL: make one */
};

/* A parameter, or a buffer with its contribution, in the flat state. */
struct dpt_plan_param {
    int value;       /* graph value                                          */
    int gradient;    /* graph value, or -1                                   */
    int64_t offset;  /* elements from the start of the flat buffers, a multiple of 16 */
    int64_t numel;
    int nslots;
    int slot[DPT_PLAN_MAX_SLOTS]; /* graph values; slot k lies at the same offset of flat slot buffer k */
};

enum dpt_action_kind {
    DPT_ACTION_LOAD,       /* take the next micro-batch from the loader                        */
    DPT_ACTION_RUN,        /* kernel of node `arg`                                             */
    DPT_ACTION_SUM,        /* sum of value `arg` over the ranks: partial to copied             */
    DPT_ACTION_ACCUMULATE, /* add bucket `arg` of this micro-batch to what was summed before   */
    DPT_ACTION_METRIC,     /* the same for the metrics                                         */
    DPT_ACTION_REDUCE,     /* start the sum of bucket `arg` over the ranks                     */
    DPT_ACTION_WAIT,       /* bucket `arg` holds the sum                                       */
    DPT_ACTION_CONTROL,    /* norm, metrics, flags: the one world-wide reduction of a step     */
    DPT_ACTION_UPDATE,     /* update `arg` of plan->update                                     */
};

struct dpt_action {
    enum dpt_action_kind kind;
    int micro; /* local micro-batch (or virtual shard), -1 outside */
    int arg;
};

/* One call of an update rule over a contiguous range of parameters with equal settings. */
struct dpt_plan_update {
    const struct dpt_op *op;
    const void *param;
    int nslots;
    int64_t begin, end; /* elements of the flat buffers */
};

/* Where a value of one micro-batch lies and how it is placed. */
struct dpt_plan_value {
    struct dpt_type type;                      /* local, at the most rows of a micro-batch     */
    struct dpt_place place[DPT_MESH_MAX_AXES];
    int64_t offset;                            /* bytes in the activation block, or -1         */
    int alias;                                 /* value whose memory it shares, or -1          */
};

/* Sizes of a micro-batch that occur on this rank, each with the library primitives made for it. */
enum { DPT_PLAN_MAX_VARIANTS = 4 };

struct dpt_plan_variant {
    int64_t rows;               /* local                                */
    struct dpt_op_types *types; /* of each node, at these rows          */
    void **prep;                /* of each node; NULL in an update node */
};

/* Bytes of this rank. `batches` are the samples that the loader holds for one micro-batch. */
struct dpt_plan_memory {
    int64_t params, gradients, accumulators, slots, activations, scratch, batches;
};

struct dpt_plan {
    struct dpt_arena *arena;
    const struct dpt_graph *graph;
    struct dpt_plan_conf conf;

    int64_t micros;       /* micro-batches or shards that this rank computes in a step    */
    int64_t max_rows;     /* most local rows of one                                       */

    struct dpt_plan_value *value; /* of each graph value                                  */

    int nparams;
    struct dpt_plan_param *param; /* in flat order: that in which backward finishes, then buffers */
    int64_t ntrained;             /* elements of the parameters, padding included: what has a norm */
    int64_t nflat;                /* elements of a flat buffer, padding included                  */
    int nslots;                   /* flat slot buffers                                            */
    int nlevels;                  /* accumulators beside the gradient buffer                      */
    int nbuckets;
    struct dpt_range *bucket;     /* of the flat gradient buffer */
    int nupdates;
    struct dpt_plan_update *update;

    int nactions;
    struct dpt_action *action;

    int nvariants;
    struct dpt_plan_variant variant[DPT_PLAN_MAX_VARIANTS];
    struct dpt_plan_memory memory;
    struct dpt_op_cost cost;      /* of a step on this rank, all micro-batches */
    double flops_step;            /* of the whole global batch on all ranks    */
    uint64_t hash;                /* of the global part: equal on all ranks    */
};

/* Makes the plan of one rank. The graph must outlive it. DPT_STATUS_USAGE where job and ranks do not fit. Local. */
enum dpt_status dpt_plan_new(const struct dpt_graph *graph, const struct dpt_plan_conf *conf, struct dpt_plan **plan);
void dpt_plan_free(struct dpt_plan *plan);

/* Rows of the batch that this rank computes in local micro-batch `micro`: a dpt_rows_fn over a plan. Pure. */
void dpt_plan_rows(const void *plan, int64_t count, int64_t micro, int64_t *first_row, int64_t *rows,
                   int64_t *micro_rows);

/* Prints memory table, placements, actions: for --dry-run and tests. Local. */
void dpt_plan_print(const struct dpt_plan *plan, struct dpt_text *text);
