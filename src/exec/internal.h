/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of exec/ share. */

#include "exec/exec.h"

/* The operands of a node, as tensors that lie in this rank's memory. */
struct dpt_exec__node {
    struct dpt_tensor in[DPT_OP_MAX_IN], out[DPT_OP_MAX_OUT];
};

/* An update with its operands. */
struct dpt_exec__update {
    struct dpt_op_types types;
    struct dpt_tensor in[2 + DPT_PLAN_MAX_SLOTS];
};

/* The control message: what is summed over all ranks at the end of a step. */
struct dpt_exec__control {
    double square; /* of the gradient's norm */
    double metric[DPT_EXEC_METRICS];
    double flag[DPT_EXEC_FLAGS];
};

struct dpt_exec {
    const struct dpt_plan *plan;
    struct dpt_state *state;
    struct dpt_dev *dev;
    struct dpt_exchange *exchange;
    const struct dpt_exec *share;         /* whose blocks are used, or NULL                      */
    void *block, *scratch;
    void **data;                          /* of each graph value, at the start of its memory     */
    struct dpt_exec__node *node;
    struct dpt_exec__update *update;
    int ninputs;                          /* operands that lie where the loader puts the samples */
    struct dpt_tensor **input;
    int *input_value;
    int64_t rows;                         /* that the tensors have now                           */
    const struct dpt_plan_variant *variant;
    struct dpt_op_ctx ctx;
    double metric[DPT_PLAN_MAX_LEVELS + 1][DPT_EXEC_METRICS]; /* the last is that of this micro-batch */
    struct dpt_exec__control control;
    double seconds[DPT_SECTION_COUNT];
    double now;                           /* when the last action ended                          */
};

/* Points the inputs at a batch and gives every tensor its number of rows. Local. */
void dpt_exec__load(struct dpt_exec *exec, const struct dpt_batch *batch);

/* Runs the kernel of node n. Local. */
enum dpt_status dpt_exec__run(struct dpt_exec *exec, int n);

/* Adds micro-batch `micro`'s metrics to those before, in the order in which gradients are added. Local. */
void dpt_exec__add_metric(struct dpt_exec *exec, int micro);

/* Adds the time since the last call to a section. Local. */
void dpt_exec__time(struct dpt_exec *exec, enum dpt_section section);

/*
 * Adds range [begin, end) of the gradients of micro-batch `micro` to those before it; after the last micro-batch the
 * sum is in the gradient buffer. Local.
 */
void dpt_exec__accumulate(struct dpt_exec *exec, int micro, struct dpt_range range);

/* This rank's part of the square of the gradient's norm. Local. */
double dpt_exec__square(const struct dpt_exec *exec);
