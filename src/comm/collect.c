/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Collectives on parts of unequal length: what changes the placement of a value. Counts of MPI are int, so totals beyond
 * that go rank by rank and in pieces.
 */

#include "comm/comm.h"

#include <string.h>

#include "comm/impl.h"

enum { TAG = 8 };

/* A type of the same width, for what is only moved. */
static MPI_Datatype moved_type(size_t width)
{
    switch (width) {
    case 1: return MPI_UINT8_T;
    case 2: return MPI_UINT16_T;
    case 4: return MPI_FLOAT;
    case 8: return MPI_DOUBLE;
    default: DPT_ASSERT(!"a number of 1, 2, 4 or 8 bytes");
    }
    return MPI_DATATYPE_NULL;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Elements of the ranks below `rank`; of all of them for rank == size. */
static int64_t offset_of(const int64_t *counts, int rank)
{
    int64_t sum = 0;
    for (int r = 0; r < rank; r++) {
        const bool over = __builtin_add_overflow(sum, counts[r], &sum);
        DPT_ASSERT(counts[r] >= 0 && !over);
    }
    return sum;
}

/* Counts and offsets as MPI wants them; their sum fits in a piece. */
static void set_counts(struct dpt_comm *comm, const int64_t *counts)
{
    int *count = dpt_comm__counts(comm), *offset = dpt_comm__offsets(comm), sum = 0;
    for (int r = 0; r < comm->size; r++) {
        count[r] = (int)counts[r];
        offset[r] = sum;
        sum += count[r];
    }
}

/* What this rank gets, or gives for the others, at least; the ring algorithms move no more. */
static void count_moved(struct dpt_comm *comm, int64_t total, int64_t mine, size_t width)
{
    comm->moved += (uint64_t)(total - mine) * width;
}

enum dpt_status dpt_comm_all_gather(struct dpt_comm *comm, const void *mine, const int64_t *counts, void *all,
                                    enum dpt_dtype dtype)
{
    const size_t width = dpt_dtype_nbytes(dtype);
    const MPI_Datatype type = moved_type(width);
    const int64_t total = offset_of(counts, comm->size), own = counts[comm->rank];
    char *at = all;
    dpt_comm__turn_in(comm);
    if (mine && own > 0) {
        memcpy(at + (size_t)offset_of(counts, comm->rank) * width, mine, (size_t)own * width);
    }
    if (comm->size == 1 || total == 0) {
        return DPT_STATUS_OK;
    }
    count_moved(comm, total, own, width);
    if (total <= dpt_comm__piece) {
        set_counts(comm, counts);
        DPT_COMM__TRY(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, dpt_comm__counts(comm),
                                     dpt_comm__offsets(comm), type, comm->mpi),
                      "an all-gather");
        return DPT_STATUS_OK;
    }
    for (int r = 0; r < comm->size; r++) {
        for (int64_t left = counts[r]; left > 0;) {
            const int64_t n = least(left, dpt_comm__piece);
            DPT_COMM__TRY(MPI_Bcast(at, (int)n, type, r, comm->mpi), "an all-gather");
            at += (size_t)n * width;
            left -= n;
        }
    }
    return DPT_STATUS_OK;
}

/* Sums the part of rank `root`, at `part`, in pieces; it lies at `to` on that rank, or in place where `to` is NULL. */
static enum dpt_status reduce_part(struct dpt_comm *comm, char *part, int64_t count, char *to, enum dpt_dtype dtype,
                                   int root)
{
    const size_t width = dpt_dtype_nbytes(dtype);
    const MPI_Datatype type = dpt_comm__type(dtype);
    while (count > 0) {
        const int64_t n = least(count, dpt_comm__piece);
        const void *send = comm->rank == root && !to ? MPI_IN_PLACE : part;
        DPT_COMM__TRY(MPI_Reduce(send, to ? to : part, (int)n, type, MPI_SUM, root, comm->mpi), "a reduce-scatter");
        part += (size_t)n * width;
        to += to ? (size_t)n * width : 0;
        count -= n;
    }
    return DPT_STATUS_OK;
}

/*
 * The library's own, whose result in place is at the beginning of the buffer: it is moved to where it belongs, over
 * what the library has left there.
 */
static enum dpt_status reduce_scatter(struct dpt_comm *comm, void *all, const int64_t *counts, void *mine,
                                      enum dpt_dtype dtype)
{
    const size_t width = dpt_dtype_nbytes(dtype);
    set_counts(comm, counts);
    DPT_COMM__TRY(MPI_Reduce_scatter(mine ? all : MPI_IN_PLACE, mine ? mine : all, dpt_comm__counts(comm),
                                     dpt_comm__type(dtype), MPI_SUM, comm->mpi),
                  "a reduce-scatter");
    if (!mine) {
        memmove((char *)all + (size_t)dpt_comm__offsets(comm)[comm->rank] * width, all,
                (size_t)counts[comm->rank] * width);
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_comm_reduce_scatter(struct dpt_comm *comm, void *all, const int64_t *counts, void *mine,
                                        enum dpt_dtype dtype)
{
    const size_t width = dpt_dtype_nbytes(dtype);
    const int64_t total = offset_of(counts, comm->size), own = counts[comm->rank];
    DPT_ASSERT(own == 0 || mine != all);
    dpt_comm__turn_in(comm);
    if (total == 0) {
        return DPT_STATUS_OK;
    }
    if (comm->size == 1) {
        if (mine) {
            memcpy(mine, all, (size_t)own * width);
        }
        return DPT_STATUS_OK;
    }
    count_moved(comm, total, own, width);
    if (total <= dpt_comm__piece) {
        return reduce_scatter(comm, all, counts, mine, dtype);
    }
    char *at = all;
    for (int r = 0; r < comm->size; r++) {
        DPT_TRY(reduce_part(comm, at, counts[r], r == comm->rank ? mine : NULL, dtype, r));
        at += (size_t)counts[r] * width;
    }
    return DPT_STATUS_OK;
}

/* Sends to one rank while another one's part arrives, piece by piece: both sides of each know how many there are. */
static enum dpt_status swap(struct dpt_comm *comm, int to, const char *out, int64_t give, int from, char *in,
                            int64_t take, size_t width)
{
    const MPI_Datatype type = moved_type(width);
    while (give > 0 || take > 0) {
        const int64_t g = least(give, dpt_comm__piece), t = least(take, dpt_comm__piece);
        DPT_COMM__TRY(MPI_Sendrecv(out, (int)g, type, g > 0 ? to : MPI_PROC_NULL, TAG, in, (int)t, type,
                                   t > 0 ? from : MPI_PROC_NULL, TAG, comm->mpi, MPI_STATUS_IGNORE),
                      "an all-to-all");
        out += (size_t)g * width;
        in += (size_t)t * width;
        give -= g;
        take -= t;
    }
    return DPT_STATUS_OK;
}

/*
 * In round k rank r gives to r + k and takes from r - k: every round is a permutation, and all go through rounds and
 * pieces in the same order, so that nobody waits in a circle. MPI_Alltoallv would not do for long parts, since each
 * rank knows only its own counts and all would have to choose alike.
 */
enum dpt_status dpt_comm_all_to_all(struct dpt_comm *comm, const void *out, const int64_t *out_counts, void *in,
                                    const int64_t *in_counts, enum dpt_dtype dtype)
{
    const size_t width = dpt_dtype_nbytes(dtype);
    const int size = comm->size, rank = comm->rank;
    const int64_t own = out_counts[rank];
    DPT_ASSERT(own == in_counts[rank]);
    dpt_comm__turn_in(comm);
    if (own > 0) {
        memcpy((char *)in + (size_t)offset_of(in_counts, rank) * width,
               (const char *)out + (size_t)offset_of(out_counts, rank) * width, (size_t)own * width);
    }
    count_moved(comm, offset_of(out_counts, size), own, width);
    for (int k = 1; k < size; k++) {
        const int to = (rank + k) % size, from = (rank - k + size) % size;
        DPT_TRY(swap(comm, to, (const char *)out + (size_t)offset_of(out_counts, to) * width, out_counts[to], from,
                     (char *)in + (size_t)offset_of(in_counts, from) * width, in_counts[from], width));
    }
    return DPT_STATUS_OK;
}
