/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * graph/: the static graph of a training step: values and nodes with LOGICAL shapes (the whole batch, the whole
 * parameter), the builder, fusion, the gradient, the checker. It knows nothing of ranks, memory or order of
 * execution beyond the order in which nodes were added (always a valid one).
 *
 * Life of a graph: model/ builds the forward pass; dpt_graph_fuse rewrites patterns; dpt_graph_gradient adds the
 * backward pass, of which dpt_graph_fuse_gradient rewrites some, dpt_graph_recompute what that computes again;
 * dpt_graph_fuse_norms rewrites what could not be before that; dpt_graph_precision says what has 16 bits; optim/ adds the
 * updates; dpt_graph_check; then it is constant and plan/ reads it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "op/op.h"
#include "tensor/tensor.h"

enum dpt_value_kind {
    DPT_VALUE_KIND_INPUT,      /* the samples and their targets: loaded for each micro-batch          */
    DPT_VALUE_KIND_PARAM,      /* trained; in checkpoints                                              */
    DPT_VALUE_KIND_BUFFER,     /* not trained, moved by an update node (running statistics); in checkpoints */
    DPT_VALUE_KIND_SLOT,       /* optimizer state of one parameter, same shape; in checkpoints         */
    DPT_VALUE_KIND_ACTIVATION, /* anything computed within a micro-batch                               */
    DPT_VALUE_KIND_GRADIENT,   /* what an update node reads: summed over micro-batches and ranks       */
    DPT_VALUE_KIND_METRIC,     /* F64 sums for the log: summed over micro-batches and ranks            */
};

enum dpt_init_kind { DPT_INIT_KIND_CONST, DPT_INIT_KIND_NORMAL, DPT_INIT_KIND_UNIFORM };

/* Initial values of a parameter or buffer. */
struct dpt_init {
    enum dpt_init_kind kind;
    double scale; /* the constant; the standard deviation; the bound of U(-scale, scale) */
};

struct dpt_value {
    const char *name; /* "layer1.0.conv1.weight"; "layer1.0.conv1.weight.grad"; unique                 */
    enum dpt_value_kind kind;
    struct dpt_type type;
    bool batch;    /* dim[0] is the sample index; type.dim[0] then holds graph->rows                   */
    int producer;  /* node, or -1 for what is given                                                    */
    int output;    /* which output of the producer                                                     */
    struct dpt_init init; /* PARAM, BUFFER, SLOT                                                       */
    bool decay;    /* PARAM: weight decay applies (not for biases and norms, unless the job says)      */
    double rate;   /* BUFFER: the share of the step's value in its update                              */
    int merged;    /* PARAM, SLOT: in files its first `merged` dimensions are one, and those behind them another; 0: as is */
    int of;        /* GRADIENT, SLOT: the PARAM or BUFFER it belongs to; else -1                       */
    int gradient;  /* PARAM, BUFFER: the GRADIENT value that its update reads, or -1                   */
};

enum dpt_phase {
    DPT_PHASE_FORWARD,
    DPT_PHASE_INPUT_GRADIENT,  /* backward, gradient of an activation, or what is computed again for one */
    DPT_PHASE_WEIGHT_GRADIENT, /* backward, leads to a GRADIENT value only  */
    DPT_PHASE_UPDATE,          /* once a step                               */
};

struct dpt_node {
    const struct dpt_op *op;
    const char *name; /* of the layer, for messages and profiles: "layer1.0.conv1" */
    enum dpt_phase phase;
    const void *param;
    int of;           /* backward: the forward node whose gradient it is part of, or that it repeats; else -1 */
    enum dpt_dtype half; /* see struct dpt_op_types: what it computes in, and what outputs it keeps so */
    unsigned char narrow;
    int nin, nout;
    int in[DPT_OP_MAX_IN];
    int out[DPT_OP_MAX_OUT];
};

struct dpt_graph {
    struct dpt_arena *arena;
    enum dpt_dtype real; /* F32, or F64 for jobs and tests in double                */
    int64_t rows;        /* dim[0] of batch values: samples of a micro-batch        */
    bool training;       /* else: forward only, running statistics, no dropout      */
    struct dpt_value *value;
    int nvalues;
    struct dpt_node *node;
    int nnodes;
    size_t value_capacity, node_capacity;
    int *index;        /* ids by the hash of their names, with gaps of -1; a power of two of places */
    size_t index_size; /* at least three times the values; 0: none yet                             */
    int input;  /* the samples                                              */
    int target; /* the targets, or -1                                       */
    int output; /* logits or predictions                                    */
    int loss;   /* one value a sample, or -1                                */
    int metric; /* METRIC value, or -1                                      */
    const char *layer; /* name given to nodes added now; "" outside a layer */
    uint32_t streams;  /* dropout streams given out so far                  */
};

/* A new graph with nothing in it. All ids are -1. Freed by dpt_graph_free. Local. */
struct dpt_graph *dpt_graph_new(enum dpt_dtype real, int64_t rows, bool training);
void dpt_graph_free(struct dpt_graph *graph);

/*
 * Values that are given. `dim` is without the batch dimension when `batch` is true. They return the id; a bad shape
 * or a name taken twice returns -1 with the error record set. Local.
 */
int dpt_graph_input(struct dpt_graph *graph, const char *name, enum dpt_dtype dtype, int ndim, const int64_t *dim);
int dpt_graph_param(struct dpt_graph *graph, const char *name, struct dpt_init init, bool decay, int ndim,
                    const int64_t *dim);
int dpt_graph_buffer(struct dpt_graph *graph, const char *name, struct dpt_init init, int ndim, const int64_t *dim);
int dpt_graph_slot(struct dpt_graph *graph, int of, const char *suffix);

/*
 * Adds a node in graph->layer; returns the id of its first output (the others follow), or -1 with the error record
 * set ("conv1: conv: ..."). A node of an op without outputs returns 0 on success. Inputs of -1 are missing optional
 * operands at the end and are dropped. The phase is FORWARD, or UPDATE for update ops. Local.
 */
int dpt_graph_add(struct dpt_graph *graph, const char *op, const void *param, int nin, const int *in);

/* Finds a value by name, or -1. Local. */
int dpt_graph_find(const struct dpt_graph *graph, const char *name);

/*
 * The type of a PARAM, BUFFER or SLOT in files: the same elements in the same order, in the shape that other programs
 * know it by ([heads,d,width] is [heads*d,width] there). Local.
 */
struct dpt_type dpt_graph_stored(const struct dpt_graph *graph, int value);

/* The types of a node's operands, for op functions. Local. */
void dpt_graph_types(const struct dpt_graph *graph, const struct dpt_node *node, struct dpt_op_types *types);

/*
 * Rewrites forward patterns into fused ops with the same results: batch_norm (+ add) + relu, conv + relu, linear +
 * activation, relu before max_pool into after. Before dpt_graph_gradient. Local.
 */
enum dpt_status dpt_graph_fuse(struct dpt_graph *graph);

/*
 * Adds the backward pass of graph->loss for every PARAM that it depends on. For each node, newest first: the nodes of
 * its weight gradients, then of its input gradients. Sets value.gradient of the parameters and the nodes' phases.
 * A parameter that the loss does not depend on is refused with its name. Local.
 */
enum dpt_status dpt_graph_gradient(struct dpt_graph *graph);

/*
 * The same for patterns of the backward pass: linear_dx + activation_dx, the gradient of a norm's input + another gradient of
 * that. `stage` (NULL: one) is that of each forward node.
 * Forward nodes stay what they were; values and backward nodes get other numbers. After dpt_graph_gradient. Local.
 */
enum dpt_status dpt_graph_fuse_gradient(struct dpt_graph *graph, const int *stage);

/*
 * Rewrites add + layer_norm, add + rms_norm into one node that gives the sum as well. For graphs whose layers are not divided
 * among stages. After dpt_graph_recompute, before dpt_graph_precision. Local.
 */
enum dpt_status dpt_graph_fuse_norms(struct dpt_graph *graph);

/* What of the forward pass is computed again in the backward pass instead of stored. */
enum dpt_recompute {
    DPT_RECOMPUTE_NONE,
    DPT_RECOMPUTE_BLOCKS, /* the inside of each block of layers: costs a forward pass     */
    DPT_RECOMPUTE_FULL,   /* most values between blocks too: costs up to another one      */
};

/*
 * Adds copies of forward nodes to a graph that has its gradient, each before the first backward node that needs it, and
 * lets backward nodes read them. A block is the layers with one name up to its first number ("layer1.0"), else one layer.
 * Copies are of the INPUT_GRADIENT phase and name the node that they repeat in `of`. `stage` (NULL: one) is that of each
 * forward node: what goes from one to another stays stored. Forward nodes and all ids of values stay what they were. Local.
 */
enum dpt_status dpt_graph_recompute(struct dpt_graph *graph, enum dpt_recompute recompute, const int *stage);

/*
 * Lets a graph of F32 compute in bfloat16: what has the sample index is kept so, activations and their gradients, and so
 * are the factors of products. In F32 stay what is given, what an op declares exact (statistics, losses), graph->output,
 * and all that has no sample index, so parameters, their gradients and the sums that lead to them. After the gradient and
 * what is recomputed, before the updates. No node is added: see op/half.c. Local.
 */
void dpt_graph_precision(struct dpt_graph *graph, enum dpt_dtype half);

/* Proves the invariants that plan/ relies on: order, ids, types against the shape rules, phases. Local. */
enum dpt_status dpt_graph_check(const struct dpt_graph *graph);

/* Prints the graph, a line a node, for DPT_DEBUG=graph and tests. Local. */
struct dpt_text;
void dpt_graph_print(const struct dpt_graph *graph, struct dpt_text *text);

/* Hash of all that decides results: nodes, parameters, types, names. The same on all ranks. Local. */
uint64_t dpt_graph_hash(const struct dpt_graph *graph);
