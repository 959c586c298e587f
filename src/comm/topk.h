/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Sums of which each rank sends its largest numbers only, with their places, and keeps the rest for the next time (error
 * feedback: Stich, Cordonnier, Jaggi: "Sparsified SGD with memory", 2018; Lin and others: "Deep gradient compression",
 * 2018). Private to comm/.
 */

#include "comm/slices.h"

/* How many of n numbers are sent: that share of them, at least one. Pure. */
int64_t dpt_comm__topk_count(int64_t n, double share);

/*
 * The size of the count-th largest of x without signs, as the bits of a float (those of what is not a number are the
 * largest), and how many are larger still. 0 < count <= n. Local.
 */
uint32_t dpt_comm__topk_least(int64_t n, const float *x, int64_t count, int64_t *larger);

/* Bytes of scratch that _sum needs. Pure. */
size_t dpt_comm__topk_scratch(int ranks, int64_t n, double share);

/*
 * data = the sum over the ranks of what each sends of data + residual; residual = what it does not send. Each number goes
 * whole, so that what is sent and what is kept add up to what there was, exactly. The same bits on all ranks.
 * n < 2^32. Collective over comm, for whoever has the turn.
 */
enum dpt_status dpt_comm__topk_sum(struct dpt_comm *comm, struct dpt_comm__slices *slices, int64_t n, float *data,
                                   float *residual, double share, void *scratch);
