/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What local.c and forms.c share while they make the graph of a rank. */

#include "op/collective.h"
#include "plan/internal.h"

struct dpt_plan__localizer {
    struct dpt_plan *plan;
    const struct dpt_graph *logical;
    struct dpt_graph *graph;
    const struct dpt_plan__placed *placed;
    int coord;            /* of this rank on the pipeline axis                                          */
    int *first;           /* of each logical value: its newest form, -1; next: the one before           */
    int *next;            /* of each value                                                              */
    int *target;          /* of each logical value: the value it is written to (a gradient), or itself  */
    int *message_of;      /* of each logical value: its newest message, -1                              */
    size_t next_capacity, value_capacity, node_capacity, unit_capacity, message_capacity;
    int *message_next;    /* of each message: the next of the same value, -1                            */
    size_t message_next_capacity;
    const char *layer;    /* of the logical node at work, with its phase and chunk: what is put in gets them */
    enum dpt_phase phase;
    enum dpt_dtype half;  /* and what it computes in, with the outputs that it keeps so                     */
    unsigned char narrow;
    int chunk;
};

/* How a value lies on every axis: its place, and of an image the border that comes with its part. */
struct dpt_plan__form {
    struct dpt_place place[DPT_MESH_MAX_AXES];
    int border[DPT_MESH_MAX_AXES]; /* as in dpt_plan_value */
};

/* True for an axis on which nothing has to be moved: one rank, or virtual shards that are each whole. Local. */
bool dpt_plan__is_idle(const struct dpt_plan *plan, int axis);

/* These places, without borders. Local. */
struct dpt_plan__form dpt_plan__form_as(const struct dpt_place *place);

/* Sets local type and part of value `id`, whose logical type this is. Local. */
void dpt_plan__set_local(struct dpt_plan__localizer *local, int id, const struct dpt_type *logical);

/* Adds a further form of logical value `of`, called "<name> (what)", and returns its number. Local. */
int dpt_plan__add_value(struct dpt_plan__localizer *local, int of, const struct dpt_plan__form *form, const char *what);

/*
 * Adds a value between the steps of an op, a result of `op` of this type, that lies like value `like` but on `axis`: what a
 * collective gives is copied there, the rest is this rank's own. Local.
 */
int dpt_plan__add_between(struct dpt_plan__localizer *local, int like, int axis, const struct dpt_op *op,
                          const struct dpt_type *type);

/* Adds a node to the rank's graph and returns its number. `logical`: the node it is, -1: put in. Local. */
int dpt_plan__add_node(struct dpt_plan__localizer *local, const struct dpt_op *op, const void *param, int logical,
                       int nin, const int *in, int nout, const int *out);

/* The same for a collective, from value `in` to value `out`, -1 for none. Local. */
void dpt_plan__add_collective(struct dpt_plan__localizer *local, const struct dpt_op *op,
                              struct dpt_collective_param param, int in, int out);

/*
 * Adds a border to a part of an image, or (`sum`) takes what was added to the border to whose part that is; returns the new
 * form of `of`. Local.
 */
int dpt_plan__move_border(struct dpt_plan__localizer *local, int of, int id, int axis, int border, bool sum);

/* The message that brings a value to a place of the pipeline axis, or -1. Local. */
int dpt_plan__find_message(const struct dpt_plan__localizer *local, int value, int to);

/* The form of a logical value that lies as `want`, made where there is none yet. DPT_STATUS_FAILED: no way there. Local. */
enum dpt_status dpt_plan__form_of(struct dpt_plan__localizer *local, int value, const struct dpt_plan__form *want,
                                  int *form);
