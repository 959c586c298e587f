/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Sums of which each rank gets a slice, and the way back: every rank gets every slice. All ranks send to each other
 * directly. That moves (p-1)/p of the data in each direction, as little as any way can, and lets the receiver choose the
 * order of the sum: one binary tree, the same bits with every MPI library.
 */

#include "comm/slices.h"

#include <stdlib.h>

#include "comm/add.h"

enum { TAG = 11 };

struct dpt_range dpt_exchange_slice_of(struct dpt_range range, int parts, int part)
{
    const int64_t length = range.end - range.begin;
    const int64_t units = (length + DPT_EXCHANGE_ALIGN - 1) / DPT_EXCHANGE_ALIGN;
    const int64_t quotient = units / parts, rest = units % parts;
    const int64_t begin = (quotient * part + rest * part / parts) * DPT_EXCHANGE_ALIGN;
    const int64_t end = (quotient * (part + 1) + rest * (part + 1) / parts) * DPT_EXCHANGE_ALIGN;
    return (struct dpt_range){
        .begin = range.begin + (begin < length ? begin : length),
        .end = range.begin + (end < length ? end : length),
    };
}

enum dpt_status dpt_comm__slices_open(const struct dpt_comm *comm, struct dpt_comm__slices *slices)
{
    const size_t size = (size_t)comm->size;
    *slices = (struct dpt_comm__slices){
        .range = calloc(size, sizeof *slices->range),
        .request = calloc(2 * size, sizeof(MPI_Request)),
        .give = calloc(size, sizeof *slices->give),
        .take = calloc(size, sizeof *slices->take),
        .part = calloc(size, sizeof *slices->part),
    };
    DPT_CHECK(slices->range && slices->request && slices->give && slices->take && slices->part, DPT_STATUS_SPACE,
              "out of memory for the messages of %d ranks", comm->size);
    return DPT_STATUS_OK;
}

void dpt_comm__slices_close(struct dpt_comm__slices *slices)
{
    free(slices->range);
    free(slices->request);
    free(slices->give);
    free(slices->take);
    free(slices->part);
    *slices = (struct dpt_comm__slices){0};
}

void dpt_comm__slices_even(const struct dpt_comm *comm, struct dpt_comm__slices *slices, int64_t count)
{
    for (int r = 0; r < comm->size; r++) {
        slices->range[r] = dpt_exchange_slice_of((struct dpt_range){0, count}, comm->size, r);
    }
}

size_t dpt_comm__scatter_scratch(const struct dpt_comm *comm, int64_t count, enum dpt_dtype dtype)
{
    int64_t longest = 0;
    for (int r = 0; r < comm->size; r++) {
        const struct dpt_range slice = dpt_exchange_slice_of((struct dpt_range){0, count}, comm->size, r);
        longest = slice.end - slice.begin > longest ? slice.end - slice.begin : longest;
    }
    return (size_t)(comm->size - 1) * (size_t)longest * dpt_dtype_nbytes(dtype);
}

static size_t piece_at(struct dpt_comm__message message, size_t done)
{
    const size_t rest = message.nbytes > done ? message.nbytes - done : 0;
    return rest < (size_t)dpt_comm__piece ? rest : (size_t)dpt_comm__piece;
}

/* A piece of each message that MPI can count at a time. */
enum dpt_status dpt_comm__swap(struct dpt_comm *comm, struct dpt_comm__slices *slices)
{
    int n = 1;
    for (size_t done = 0; n > 0; done += (size_t)dpt_comm__piece) {
        n = 0;
        for (int i = 1; i < comm->size; i++) { /* beginning with the neighbour, so that nobody is asked by all at once */
            const int from = (comm->rank - i + comm->size) % comm->size;
            const size_t nbytes = piece_at(slices->take[from], done);
            if (nbytes > 0) {
                DPT_COMM__TRY(MPI_Irecv(slices->take[from].data + done, (int)nbytes, MPI_BYTE, from, TAG, comm->mpi,
                                        &slices->request[n++]),
                              "an exchange of slices");
            }
        }
        for (int i = 1; i < comm->size; i++) {
            const int to = (comm->rank + i) % comm->size;
            const size_t nbytes = piece_at(slices->give[to], done);
            comm->moved += nbytes;
            if (nbytes > 0) {
                DPT_COMM__TRY(MPI_Isend(slices->give[to].data + done, (int)nbytes, MPI_BYTE, to, TAG, comm->mpi,
                                        &slices->request[n++]),
                              "an exchange of slices");
            }
        }
        for (int i = 0; i < n; i++) { /* one by one: gcc warns of MPICH's MPI_Waitall without statuses */
            DPT_COMM__TRY(MPI_Wait(&slices->request[i], MPI_STATUS_IGNORE), "an exchange of slices");
        }
    }
    return DPT_STATUS_OK;
}

/* A range of data, as a message. */
static struct dpt_comm__message message(struct dpt_range range, void *data, size_t width)
{
    return (struct dpt_comm__message){
        .data = (char *)data + (size_t)range.begin * width,
        .nbytes = (size_t)(range.end - range.begin) * width,
    };
}

enum dpt_status dpt_comm__scatter(struct dpt_comm *comm, struct dpt_comm__slices *slices, void *data,
                                  enum dpt_dtype dtype, void *scratch)
{
    const size_t width = dpt_dtype_nbytes(dtype);
    const struct dpt_comm__message mine = message(slices->range[comm->rank], data, width);
    char *at = scratch;
    for (int r = 0; r < comm->size; r++) {
        const bool here = r == comm->rank;
        slices->give[r] = message(slices->range[r], data, width);
        slices->take[r] = (struct dpt_comm__message){here ? mine.data : at, mine.nbytes};
        slices->part[r] = slices->take[r].data;
        at += here ? 0 : mine.nbytes;
    }
    DPT_TRY(dpt_comm__swap(comm, slices));
    dpt_comm__add(dtype, (int64_t)(mine.nbytes / width), comm->size, slices->part, mine.data);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_comm__collect(struct dpt_comm *comm, struct dpt_comm__slices *slices, void *data,
                                  enum dpt_dtype dtype)
{
    const size_t width = dpt_dtype_nbytes(dtype);
    for (int r = 0; r < comm->size; r++) {
        slices->give[r] = message(slices->range[comm->rank], data, width);
        slices->take[r] = message(slices->range[r], data, width);
    }
    return dpt_comm__swap(comm, slices);
}
