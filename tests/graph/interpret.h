/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A small interpreter of graphs for tests: every value has memory of its own, and nodes run one by one, in order, by
 * the plain reference kernels. It is what whole-graph questions are asked of: is the gradient that of the loss, do two
 * graphs compute the same.
 */

#include "graph/graph.h"

struct interpret {
    const struct dpt_graph *graph;
    struct dpt_tensor *tensor; /* of each value */
    struct dpt_op_ctx ctx;
};

/*
 * Memory for all values. Parameters, buffers and slots hold their initial values, inputs normal numbers or, where they
 * are integers, classes 0 .. classes-1; all keyed by the value's name, so that graphs that share names share values.
 */
struct interpret *interpret_new(const struct dpt_graph *graph, int64_t classes);
void interpret_free(struct interpret *run);

/* Runs the nodes of the phases up to `last` (WEIGHT_GRADIENT: all of backward). A failing node fails the test. */
void interpret_run(struct interpret *run, enum dpt_phase last);

/* Mean of graph->loss. */
double interpret_loss(const struct interpret *run);

/* Element of a value, as a double. */
double interpret_get(const struct interpret *run, int value, int64_t element);
void interpret_set(struct interpret *run, int value, int64_t element, double number);

/*
 * Runs the graph (F64, with its gradient) and compares the gradient of each parameter, in some of its elements, with
 * central differences of the loss. Fails the cmocka test with the name of the parameter.
 */
void interpret_check_gradient(const struct dpt_graph *graph, int64_t classes);

/* The same for the derivative along one random direction in the space of all parameters: for larger graphs. */
void interpret_check_direction(const struct dpt_graph *graph, int64_t classes);
