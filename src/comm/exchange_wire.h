/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How sums travel in messages: what the formats keep from one time to the next, and which one a job takes. Private to comm/. */

#include "comm/exchange_impl.h"
#include "comm/lowrank.h"
#include "comm/wire.h"

/* Of a bucket: the range that this rank sends, and what belongs to it. */
struct dpt_exchange__kept {
    struct dpt_range range;           /* of the bound buffer                       */
    float *residual;                  /* of it; NULL where nothing is kept         */
    struct dpt_comm__lowrank lowrank; /* powersgd                                  */
    float *columns;                   /* its Q                                     */
};

/* Makes room for what the buckets that are bound keep, nothing being kept yet. DPT_STATUS_SPACE. Local. */
enum dpt_status dpt_exchange__wire_bind(struct dpt_exchange *exchange);
void dpt_exchange__wire_unbind(struct dpt_exchange *exchange);

/* Bytes of scratch that a sum of any bucket needs for it. Local. */
size_t dpt_exchange__wire_scratch(const struct dpt_exchange *exchange, int64_t longest);

/* The format in which a bucket's sum travels: FP32 where it does not travel or may not be changed. Local. */
enum dpt_wire_kind dpt_exchange__wire_of(const struct dpt_exchange *exchange, int bucket);

/* The key of a job's numbers from element `at` of it on, for this rank. Local. */
struct dpt_comm__code dpt_exchange__code(const struct dpt_exchange *exchange, const struct dpt_exchange__job *job, int64_t at);

/*
 * The sum over comm of a range of a job's data, in the job's format, with the job's scratch: comm->size messages or a
 * collective. `slices` are those of comm. Collective over comm, for whoever has the turn.
 */
enum dpt_status dpt_exchange__wire_sum(struct dpt_exchange *exchange, const struct dpt_exchange__job *job,
                                       struct dpt_comm *comm, struct dpt_comm__slices *slices, struct dpt_range range);
