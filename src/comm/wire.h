/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The two steps of comm/slices.h for floats that travel as bfloat16: half the bytes. Sums are of floats, so that a
 * number is rounded twice on its way, once as a part and once as the sum, however many ranks there are. Private to
 * comm/.
 */

#include "comm/slices.h"

/* Bytes of scratch that the calls below need for ranges of `count` elements in all, cut evenly or not. Local. */
size_t dpt_comm__wire_scratch(const struct dpt_comm *comm, int64_t count);

/*
 * range[rank] of data becomes the sum over the ranks in tree order, of the others' numbers rounded. The ranges lie one
 * after the other or apart, but do not overlap. Collective over comm, for whoever has the turn.
 */
enum dpt_status dpt_comm__wire_scatter(struct dpt_comm *comm, struct dpt_comm__slices *slices, float *data,
                                       void *scratch);

/* range[r] of rank r's data, rounded, to all: the same bits everywhere. Collective over comm, as above. */
enum dpt_status dpt_comm__wire_collect(struct dpt_comm *comm, struct dpt_comm__slices *slices, float *data,
                                       void *scratch);
