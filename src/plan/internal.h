/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The steps in which dpt_plan_new makes a plan, in this order. */

#include "plan/plan.h"

/* Elements to which parameters are aligned in the flat buffers: 64 bytes of the smallest real type. */
enum { DPT_PLAN__ALIGN = 16 };

/* What an axis of the mesh divides, from its name. */
enum dpt_plan__axis {
    DPT_PLAN__AXIS_DATA,
    DPT_PLAN__AXIS_TENSOR,
    DPT_PLAN__AXIS_PIPELINE,
    DPT_PLAN__AXIS_ROWS,    /* of images */
    DPT_PLAN__AXIS_COLUMNS,
};
enum dpt_plan__axis dpt_plan__axis_kind(const struct dpt_mesh *mesh, int axis);

/* The axis of a kind, or -1. Local. */
int dpt_plan__axis_of(const struct dpt_mesh *mesh, enum dpt_plan__axis kind);

/* In place of a letter: all inputs and the output are partial sums. */
enum { DPT_PLAN__PARTIAL = '+' };

/* What is decided about the logical graph, the same on every rank. */
struct dpt_plan__placed {
    char (*letter)[DPT_MESH_MAX_AXES];            /* of each node; 0: not split                                  */
    struct dpt_place (*place)[DPT_MESH_MAX_AXES]; /* of each value as it is produced, or given                   */
    unsigned *stripped;                           /* of each node: axes on which what follows its sum stands apart */
    int *coord;                                   /* of each node: place on the pipeline axis that computes it   */
    int *chunk;                                   /* of each node: which of the stages of that place             */
    bool *joint;                                  /* of each node: a sum of gradients of several stages          */
    uint64_t *holders;                            /* of each PARAM and BUFFER: places that have a copy, as bits  */
    uint64_t graph_hash;                          /* of the logical graph                                        */
};

/* place.c: the letters, and from them how every value lies on every axis. */
enum dpt_status dpt_plan__place(struct dpt_plan *plan, struct dpt_plan__placed *placed);

/* How input i of node n must lie on an axis. */
struct dpt_place dpt_plan__want(const struct dpt_plan__placed *placed, const struct dpt_graph *graph, int n, int i,
                                int axis);

/* Parameters of the node's op without what can follow a sum, which goes to *rest; false where the op has no such form. */
bool dpt_plan__strip(const struct dpt_node *node, struct dpt_arena *arena, const void **param, struct dpt_op_rest *rest);

/* stage.c: which place of the pipeline axis computes which node. */
enum dpt_status dpt_plan__stages(struct dpt_plan *plan, struct dpt_plan__placed *placed);

/* local.c: the graph of this rank, plan->graph, with the collectives that follow from the placement. */
enum dpt_status dpt_plan__local(struct dpt_plan *plan, const struct dpt_plan__placed *placed);

/* part.c: begin and end of what this rank has of a dimension of a value that is `whole` elsewhere. Local. */
void dpt_plan__range(const struct dpt_plan *plan, int value, int dim, int64_t whole, int64_t range[2]);

/* place.c: windows along a halo letter: the whole size of what is no image. Local. */
int64_t dpt_plan__windows(const struct dpt_op *op, const struct dpt_op_types *types, char letter);

/*
 * part.c: the number, from 1, of the border that windows on an axis need of an image of `whole`; noted where it is new. 0:
 * none, the windows of each coordinate read its own part. Local.
 */
int dpt_plan__border(struct dpt_plan *plan, const struct dpt_op_window *window, int64_t windows, int axis, int64_t whole);

/* part.c: bytes of borders, rows of `type`, that this rank sends to the others, or gets, in node `node`. Local. */
int64_t dpt_plan__border_nbytes(const struct dpt_plan *plan, int node, const struct dpt_type *type, bool sent);

/* traffic.c: bytes that this rank sends in node `node`, a collective, with operands of these types. Local. */
double dpt_plan__node_sent(const struct dpt_plan *plan, int node, const struct dpt_op_types *types);

/* layout.c: the flat state, its buckets and its updates. */
enum dpt_status dpt_plan__layout(struct dpt_plan *plan, const struct dpt_plan__placed *placed);

/* variant.c: numbers of rows that occur, and what the kernels of each prepare. */
enum dpt_status dpt_plan__variants(struct dpt_plan *plan);

/* stay.c: when the buckets that are kept in slices are whole. Local. */
void dpt_plan__stays(struct dpt_plan *plan);

/* memory.c: where each value of a micro-batch lies. */
enum dpt_status dpt_plan__memory(struct dpt_plan *plan);

/* actions.c: what is done in a step, in order. */
enum dpt_status dpt_plan__actions(struct dpt_plan *plan);

/* memory.c: the unit of work that a node belongs to. Local. */
enum dpt_unit_kind dpt_plan__unit(const struct dpt_plan *plan, int node);

/* actions.c: true when data is the only axis with more than one rank. Local. */
bool dpt_plan__is_data_only(const struct dpt_plan *plan);

/* traffic.c: what this rank sends in a step. */
void dpt_plan__traffic(struct dpt_plan *plan);

/* True for the values that lie in the flat state: parameters, buffers, slots and what updates read. Local. */
bool dpt_plan__is_flat(const struct dpt_plan *plan, int value);

/* The types of a node's operands when the micro-batch has so many local rows. Local. */
void dpt_plan__types(const struct dpt_plan *plan, int node, int64_t rows, struct dpt_op_types *types);
