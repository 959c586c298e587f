/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * optim/: update rules and schedules: adds to a graph, after its gradient, the slots and update nodes that a job asks
 * for, and says the learning rate of a step. The arithmetic of a rule is in op/update.
 */

#include "conf/job.h"
#include "graph/graph.h"

/* Adds one update node (and its slots) for each parameter with a gradient, an ema node for each such buffer. Local. */
enum dpt_status dpt_optim_build(const struct dpt_job *job, struct dpt_graph *graph);

/* Learning rate of step `step` (from 0) of `steps`; `steps_per_epoch` converts spans. Pure. */
double dpt_schedule_lr(const struct dpt_job *job, int64_t step, int64_t steps, int64_t steps_per_epoch);

/* Steps of a span: DPT_SPAN_UNIT_EPOCHS times steps_per_epoch, rounded up; 0 for NONE and SECONDS. Pure. */
int64_t dpt_span_steps(struct dpt_span span, int64_t steps_per_epoch);
