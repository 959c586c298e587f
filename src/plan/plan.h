/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * plan/: from a logical graph to everything that one rank will do: placement of every value on every mesh axis, the graph
 * of this rank with the collectives that follow from it, stages and the order of actions, flat layout of the state,
 * memory offsets, cost. Made once, in milliseconds, without MPI; then constant, printable, and equal in its global part on
 * all ranks. It moves no data.
 *
 * A value keeps its number from the logical graph to the graph of a rank (plan->graph), where further values follow:
 * its forms in other places.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/text.h"
#include "comm/exchange.h"
#include "graph/graph.h"
#include "plan/schedule.h"

enum { DPT_PLAN_MAX_SLOTS = 2, DPT_PLAN_MAX_LEVELS = 8, DPT_PLAN_MAX_GROUPS = 16 };

/* What the ranks that sum a gradient share out of the state (ZeRO: Rajbhandari and others, 2020). */
enum dpt_plan_shard {
    DPT_PLAN_SHARD_NONE,
    DPT_PLAN_SHARD_OPTIMIZER,  /* what an update keeps: ZeRO 1                    */
    DPT_PLAN_SHARD_GRADIENTS,  /* and the gradients: ZeRO 2                       */
    DPT_PLAN_SHARD_PARAMETERS, /* and the parameters: ZeRO 3                      */
};

/* What the layout is made for. */
struct dpt_plan_conf {
    const struct dpt_mesh *mesh; /* sizes and this rank's coordinates; the comm fields are not used              */
    enum dpt_run run;            /* which kernels                                                                */
    int threads;                 /* compute threads of the rank                                                  */
    struct dpt_dev *dev;         /* for which kernels of a card prepare; NULL: they do not                       */
    bool apart;                  /* the device's memory is its own: what the loader read is copied there         */
    int64_t batch_rows;          /* samples of a full global batch                                               */
    int64_t tail_rows;           /* samples of the short last batch; 0: there is none                            */
    int64_t micro_batches;       /* pieces of a batch, one after the other; 1: none                              */
    int64_t shards;              /* reproducible: virtual shards; 0: the fast sums                               */
    bool fixed;                  /* of shards: sums of digits (comm/fixed.h), on any number of ranks; else a tree, and the
                                    shards are a power of two                                                    */
    struct dpt_wire wire;        /* how sums of buckets travel                                                   */
    int64_t bucket_bytes;        /* 0: the default                                                               */
    const struct dpt_plan *layout; /* evaluation: take the state's layout from the training's plan; NULL: make one */

    enum dpt_pipeline_schedule schedule; /* of the stages; without a pipeline axis there is one stage            */
    int chunks;                  /* stages of each place of the pipeline axis; 0: 1                              */
    int ncuts;                   /* names of the layers with which stages 1, 2, ... begin; 0: balanced by cost   */
    const char *const *cut;
    const int *backward;         /* place whose ranks compute the gradients of each place's stages; NULL: its own */
    enum dpt_plan_shard shard;
    bool split_vocabulary;       /* along tensor: the output layer by its tokens, and the embedding with it       */
    bool average;                /* copies of a parameter on several stages: averaged after their own updates     */
    const double *share;         /* of the batch, for each coordinate of the data axis; NULL: equal               */
    bool sketch;                 /* kernels prepare nothing: for plans that are only looked at                    */
    const struct dpt_plan *like; /* of another rank of the same mesh, from the same graph and settings: takes over what
                                    is the same on all ranks, and must outlive this one; NULL: none                */
};

/* A parameter, or a buffer with its contribution, in the flat state. */
struct dpt_plan_param {
    int value;       /* graph value                                          */
    int gradient;    /* graph value, or -1                                   */
    int64_t offset;  /* elements from the start of the flat buffers, a multiple of 16 */
    int64_t numel;   /* of this rank's part                                  */
    int bucket;      /* that it lies in, or -1                               */
    int average;     /* group in which its copies are averaged, or -1        */
    int nslots;
    int slot[DPT_PLAN_MAX_SLOTS]; /* graph values; slot k lies at the same offset of flat slot buffer k */
};

/*
 * Ranks over which gradients are summed: those that differ in these axes only; on the pipeline axis, where it is one of
 * them, the places of `places`. Every rank has all groups in the same order, also those it does not belong to.
 */
struct dpt_plan_group {
    unsigned axes;   /* bit a: axis a of the mesh                 */
    uint64_t places; /* bit p: place p of the pipeline axis; 0: any */
    bool average;   /* not of gradients: copies of parameters are averaged in it */
    int size;        /* ranks in it                               */
    bool member;     /* this rank is one of them                  */
};

enum { DPT_PLAN_BUCKET_NBYTES = 8 << 20 }; /* after which one is closed when nothing is said */

/* What is summed in one call: a contiguous range of the flat gradient buffer. */
struct dpt_plan_bucket {
    struct dpt_range range;
    int group;
    bool counted;   /* this rank's part of it counts in the norm: elsewhere lie copies of the same sum */
    bool trained;   /* parameters; else buffers, which have no norm                                  */
    int chunk;
    int first, end; /* of plan->param: what lies in it                                         */
    bool scatter;   /* its gradient is whole during a stay only; this rank keeps its slice      */
    bool gather;    /* so are its parameters                                                    */

    /* Element e of the flat layout lies at element e + offset of the buffer, if this rank keeps it. */
    int64_t param_offset, gradient_offset, slot_offset;
};

/*
 * The time within a unit of work for which a bucket that is kept in slices is whole, and its place in the activation
 * block: parameters from the node that reads them first to the one that reads them last, gradients from the first that
 * writes any to the last. What begins to travel one turn ahead, or is still on its way one turn later, overlaps with work.
 */
struct dpt_plan_stay {
    int bucket;
    bool gradient;
    int chunk;
    enum dpt_unit_kind unit;
    int turn;        /* node before which all parameters are there; after which all gradients are   */
    int begin, end;  /* nodes between which its bytes are taken, both included                      */
    int64_t offset;  /* bytes in the activation block                                               */
    int64_t nbytes;
};

/* A value that goes from one place of the pipeline axis to another, with each micro-batch. */
struct dpt_plan_message {
    int from, to;    /* coordinates on the pipeline axis                      */
    int value;       /* graph value here, or -1 where this rank has no part   */
    struct dpt_place place[DPT_MESH_MAX_AXES];
    int window;      /* of them under way: a rank that goes on with the next micro-batch waits for the oldest */
    int64_t offset;  /* bytes, of its window of buffers in the message block  */
    int64_t nbytes;  /* of one of them                                        */
};

/* What plan/ knows of a node of plan->graph beside the graph. */
struct dpt_plan_node {
    int logical;     /* node of plan->logical, or -1: put in                  */
    int chunk;
    const struct dpt_op_part *part; /* of its operands; NULL: all are whole   */
    bool adds;       /* its output 0 to that of the micro-batches before      */
};

enum dpt_action_kind {
    DPT_ACTION_LOAD,       /* take the next micro-batch from the loader                        */
    DPT_ACTION_RUN,        /* kernel of node `arg`                                             */
    DPT_ACTION_ADD,        /* the gradient of parameter `arg` to those of the micro-batches before */
    DPT_ACTION_ACCUMULATE, /* bucket `arg` of this virtual shard to what was summed before     */
    DPT_ACTION_METRIC,     /* the same for the metrics                                         */
    DPT_ACTION_REDUCE,     /* start the sum of bucket `arg` over the ranks                     */
    DPT_ACTION_WAIT,       /* bucket `arg` holds the sum                                       */
    DPT_ACTION_CONTROL,    /* norm, metrics, flags: the one world-wide reduction of a step     */
    DPT_ACTION_UPDATE,     /* update `arg` of plan->update, and those joined to it             */
    DPT_ACTION_ZERO,       /* the gradient of parameter `arg`, to which this rank adds nothing */
    DPT_ACTION_PUBLISH,    /* begin to give all ranks what each updated of bucket `arg`        */
    DPT_ACTION_COLLECT,    /* bucket `arg` of the parameters is whole again                    */
    DPT_ACTION_AVERAGE,    /* bucket `arg` of the parameters over the stages that have copies  */
    DPT_ACTION_GATHER,     /* begin to collect the parameters of stay `arg`                    */
    DPT_ACTION_GATHERED,   /* they are there                                                   */
    DPT_ACTION_SCATTER,    /* start the sum of the gradients of stay `arg` over the ranks      */
    DPT_ACTION_SCATTERED,  /* add this rank's slice of the sum to those of the micro-batches before */
};

struct dpt_action {
    enum dpt_action_kind kind;
    int micro; /* local micro-batch (or virtual shard), -1 outside */
    int arg;
};

/* An update rule over a contiguous range of parameters with equal settings. */
struct dpt_plan_update {
    const struct dpt_op *op;
    const void *param;
    int nslots;
    int bucket;         /* of its first element         */
    int64_t begin, end; /* elements of the flat layout  */
    int joined;         /* updates that one action does: this one and those behind it; 0: an earlier one's action does it */
};

/* What a rank needs of an image to make its part of so many windows, or adds to it: windows of neighbours overlap. */
struct dpt_plan_border {
    struct dpt_op_window window;
    int64_t windows; /* along the whole dimension, dealt out by dpt_split_begin */
};

/* Where a value of one micro-batch lies and how it is placed. */
struct dpt_plan_value {
    struct dpt_type type;                      /* local, at the most rows of a micro-batch     */
    struct dpt_place place[DPT_MESH_MAX_AXES];
    int border[DPT_MESH_MAX_AXES];             /* SPLIT: with plan->border[border - 1]; 0: without */
    struct dpt_op_part part;                   /* of the logical value that this rank has      */
    bool here;                                 /* this rank has it                             */
    bool apart;                                /* a gradient that is added to those of other micro-batches: not flat */
    int64_t offset;                            /* bytes in the activation block, or -1         */
    int alias;                                 /* value whose memory it shares, or -1          */
    int frame;                                 /* chunk in whose frames it lies; -1: in none   */
};

/*
 * Memory of a chunk for what outlives a unit of work (forward, backward, weight gradients), `count` times for as many
 * micro-batches as are under way: micro-batch m has frame m mod count.
 */
struct dpt_plan_frame {
    int64_t offset;  /* bytes in the activation block */
    int64_t nbytes;  /* of one                        */
    int count;
};

/* Sizes of a micro-batch that occur on this rank, each with the library primitives made for it. */
enum { DPT_PLAN_MAX_VARIANTS = 4 };

struct dpt_plan_variant {
    int64_t rows;               /* local                                */
    struct dpt_op_types *types; /* of each node, at these rows          */
    void **prep;                /* of each node; NULL in an update node */
};

/*
 * Bytes of this rank. `batches` are the samples that the loader holds for one micro-batch; `ahead` those of the next step, on
 * a device that is apart, which come there while it computes this one.
 */
struct dpt_plan_memory {
    int64_t params, gradients, accumulators, slots, activations, messages, scratch, batches, ahead;
    int64_t kept; /* by the exchange, of gradients that conf.wire does not send, where all goes in messages */
};

/* Bytes that this rank sends in a step, by kind. */
struct dpt_plan_traffic {
    double gradients;  /* sums of buckets, gathers of parameters: as a ring would */
    double values;     /* collectives within micro-batches                        */
    double messages;   /* between stages                                          */
};

struct dpt_plan {
    struct dpt_arena *arena;
    const struct dpt_graph *logical; /* what the model says                                */
    const struct dpt_graph *graph;   /* what this rank does                                */
    const struct dpt_plan__placed *placed; /* what is decided for all ranks: plan/'s own   */
    struct dpt_plan_conf conf;
    struct dpt_pipeline pipeline;
    int nunits;                      /* of a step of this rank, in order                   */
    struct dpt_unit *unit;

    int64_t micros;       /* micro-batches or shards that this rank computes in a step    */
    int64_t first_shard;  /* of them                                                      */
    int64_t max_rows;     /* most local rows of one                                       */

    struct dpt_plan_value *value; /* of each graph value                                  */
    struct dpt_plan_node *node;   /* of each graph node                                   */
    struct dpt_plan_frame *frame; /* of each chunk                                        */
    int nmessages;
    struct dpt_plan_message *message;
    int nborders;
    size_t border_capacity;
    struct dpt_plan_border *border;

    int nparams;
    struct dpt_plan_param *param; /* in flat order: that in which backward finishes, then buffers */
    int64_t ntrained;             /* elements of the parameters, padding included: what has a norm */
    int64_t nflat;                /* elements of the flat layout, padding included                */
    int nslots;                   /* slot buffers                                                 */
    int nlevels;                  /* accumulators beside the gradient buffer, for virtual shards  */
    int64_t digits_nbytes;        /* conf.fixed: of the sums of digits                            */
    int64_t windows_nbytes;       /* of their windows: this rank's and the largest of all ranks'  */
    struct {
        int64_t params, gradients, slots;
    } kept;                       /* elements of one buffer of each                               */
    int ngroups;
    struct dpt_plan_group group[DPT_PLAN_MAX_GROUPS];
    int nbuckets;
    struct dpt_plan_bucket *bucket;
    int nstays;
    struct dpt_plan_stay *stay;   /* by unit of work, parameters before gradients, in the order of their turns */
    int nmatrices;                /* trained parameters as the first dimension by all others, in flat order */
    struct dpt_exchange_matrix *matrix;
    int nupdates;
    struct dpt_plan_update *update;

    int nactions;
    struct dpt_action *action;

    int nvariants;
    struct dpt_plan_variant variant[DPT_PLAN_MAX_VARIANTS];
    struct dpt_plan_memory memory;
    struct dpt_plan_traffic traffic;
    struct dpt_op_cost cost;      /* of a step on this rank, all micro-batches */
    double flops_step;            /* of the whole global batch on all ranks    */
    uint64_t hash;                /* of the global part: equal on all ranks    */
};

/* Makes the plan of one rank. The graph must outlive it. DPT_STATUS_USAGE where job and ranks do not fit. Local. */
enum dpt_status dpt_plan_new(const struct dpt_graph *graph, const struct dpt_plan_conf *conf, struct dpt_plan **plan);
void dpt_plan_free(struct dpt_plan *plan);

/* The value whose memory a value has: itself, or what is at the end of its chain of aliases. Pure. */
int dpt_plan_root(const struct dpt_plan *plan, int value);

/* Length of dimension `dim` of a value at another coordinate of an axis. Pure. */
int64_t dpt_plan_extent(const struct dpt_plan *plan, int value, int dim, int axis, int coord);

/*
 * Of node `node`, which brings borders of images to their readers or back (op/collective.h): how many places of the split
 * dimension this rank sends to coordinate `coord` of the axis, or gets from it, and the first of them in the input, or in
 * the output. Pure.
 */
int64_t dpt_plan_overlap(const struct dpt_plan *plan, int node, int coord, bool sent, int64_t *begin);

/*
 * The stage of each node of a logical graph that has its gradient, as a plan for `conf` would cut it; from the arena. For
 * rewrites of the graph that must not join stages. Local.
 */
enum dpt_status dpt_plan_stages(const struct dpt_graph *graph, const struct dpt_plan_conf *conf, struct dpt_arena *arena,
                                int **stage);

/* Bytes in which exec/ packs and adds up what a collective moves, at the most rows of a micro-batch. Pure. */
int64_t dpt_plan_packing(const struct dpt_plan *plan, int node);

/* Bytes of memory.ahead that a value has: where the next samples come to a device that is apart, else 0. Pure. */
int64_t dpt_plan_ahead(const struct dpt_plan *plan, int value);

/* Bytes that a rank sends in a collective of so many ranks, from the bytes of its operands; not in borders. Pure. */
double dpt_plan_sent(const struct dpt_op *op, int ranks, double nbytes_in, double nbytes_out);

/* Where a parameter or buffer, by its value, begins in the flat layout, in elements. Pure. */
int64_t dpt_plan_offset(const struct dpt_plan *plan, int value);

/* Bytes that this rank sends when its slices of a bucket are made known to the others, or summed as they are. Pure. */
double dpt_plan_slices_sent(const struct dpt_plan *plan, int bucket);

/* Bytes that this rank sends when a bucket is summed over its group, for all of it or its slice. Pure. */
double dpt_plan_bucket_sent(const struct dpt_plan *plan, int bucket);

/* This rank's number in a group: members are ordered as in the world. Pure. */
int dpt_plan_group_rank(const struct dpt_plan *plan, int group);

/* True where each rank of the bucket's group sums and updates its slice only. Pure. */
bool dpt_plan_is_sliced(const struct dpt_plan *plan, int bucket);

/* The slice of a bucket of member `rank` of its group, which has one. Pure. */
struct dpt_range dpt_plan_slice(const struct dpt_plan *plan, int bucket, int rank);

/* What this rank sums and updates of a bucket: its slice, or all. Pure. */
struct dpt_range dpt_plan_kept(const struct dpt_plan *plan, int bucket);

/* Where the first element of a parameter lies in the parameter buffer (in a bucket in slices: would lie). Pure. */
int64_t dpt_plan_param_at(const struct dpt_plan *plan, const struct dpt_plan_param *param);

/* Rows of the batch that this rank computes in local micro-batch `micro`: a dpt_rows_fn over a plan. Pure. */
void dpt_plan_rows(const void *plan, int64_t count, int64_t micro, int64_t *first_row, int64_t *rows,
                   int64_t *micro_rows);

/* Prints memory table, placements, actions: for --dry-run and tests. Local. */
void dpt_plan_print(const struct dpt_plan *plan, struct dpt_text *text);
