/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Reduce-scatter and all-gather of one array that every rank holds whole. Private to comm/. */

#include "comm/exchange.h"
#include "comm/impl.h"

struct dpt_comm__message {
    char *data;
    size_t nbytes;
};

/* What the calls need for a group of ranks. */
struct dpt_comm__slices {
    struct dpt_range *range;               /* of each rank, for the caller to fill in */
    MPI_Request *request;
    struct dpt_comm__message *give, *take; /* to and from each rank */
    const void **part;                     /* what is summed        */
};

/* Makes room for the messages of a group. Local. DPT_STATUS_SPACE. _close also takes what _open could not finish. */
enum dpt_status dpt_comm__slices_open(const struct dpt_comm *comm, struct dpt_comm__slices *slices);
void dpt_comm__slices_close(struct dpt_comm__slices *slices);

/* Gives give[r] to each rank and takes take[r] from it. Collective over comm, for whoever has the turn. */
enum dpt_status dpt_comm__swap(struct dpt_comm *comm, struct dpt_comm__slices *slices);

/* Fills in range[r] = dpt_exchange_slice_of({0, count}, size, r). Local. */
void dpt_comm__slices_even(const struct dpt_comm *comm, struct dpt_comm__slices *slices, int64_t count);

/* Bytes of scratch that _scatter needs with even slices. Local. */
size_t dpt_comm__scatter_scratch(const struct dpt_comm *comm, int64_t count, enum dpt_dtype dtype);

/*
 * range[rank] of data becomes the sum over the ranks in tree order (comm/add.h). The rest of data stays. F32 or F64.
 * Collective over comm, for whoever has the turn.
 */
enum dpt_status dpt_comm__scatter(struct dpt_comm *comm, struct dpt_comm__slices *slices, void *data,
                                  enum dpt_dtype dtype, void *scratch);

/* range[r] of rank r's data to all. Collective over comm, for whoever has the turn. */
enum dpt_status dpt_comm__collect(struct dpt_comm *comm, struct dpt_comm__slices *slices, void *data,
                                  enum dpt_dtype dtype);
