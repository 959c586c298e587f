/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The steps in which dpt_plan_new makes a plan, in this order. */

#include "plan/plan.h"

/* Elements to which parameters are aligned in the flat buffers: 64 bytes of the smallest real type. */
enum { DPT_PLAN__ALIGN = 16 };

/* place.c: how every value lies on every axis; sum[v] is set where v must be summed over the ranks once it is there. */
enum dpt_status dpt_plan__place(struct dpt_plan *plan, bool *sum);

/* layout.c: the flat state, its buckets and its updates. */
enum dpt_status dpt_plan__layout(struct dpt_plan *plan);

/* variant.c: numbers of rows that occur, and what the kernels of each prepare. */
enum dpt_status dpt_plan__variants(struct dpt_plan *plan);

/* memory.c: where each value of a micro-batch lies. */
enum dpt_status dpt_plan__memory(struct dpt_plan *plan);

/* actions.c: what is done in a step, in order. */
enum dpt_status dpt_plan__actions(struct dpt_plan *plan, const bool *sum);

/* True for the values that lie in the flat state: parameters, buffers, slots and what updates read. Local. */
bool dpt_plan__is_flat(const struct dpt_plan *plan, int value);

/* The types of a node's operands when the micro-batch has so many local rows. Local. */
void dpt_plan__types(const struct dpt_plan *plan, int node, int64_t rows, struct dpt_op_types *types);
