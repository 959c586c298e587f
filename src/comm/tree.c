/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The sum over the ranks in the order of a fixed binary tree: level 0 adds ranks 0+1, 2+3, ..., level k adds what
 * neighbouring groups of 2^k ranks have. MPI_Allreduce may add in any order, and does: it depends on the library, the
 * size and the number of ranks.
 *
 * Recursive halving (reduce-scatter), then recursive doubling (all-gather), as in Rabenseifner's all-reduce (Thakur,
 * Rabenseifner, Gropp: "Optimization of collective communication operations in MPICH", 2005), but nearest partner
 * first, which makes the groups those of the tree. At level k rank r and its partner r ^ 2^k own the same range, as
 * bits 0..k-1 of a rank decide it; each keeps one half, sends the other, and adds.
 */

#include "comm/comm.h"

#include "comm/impl.h"

enum { TAG = 7, MAX_LEVELS = 31 };

struct part {
    int64_t begin, end; /* elements */
};

/* x += y. Which of the two ranks is the lower does not matter: a + b and b + a are the same bits. */
static void add(void *to, const void *theirs, int64_t count, enum dpt_dtype dtype)
{
    if (dtype == DPT_DTYPE_F32) {
        float *restrict x = to;
        const float *restrict y = theirs;
        for (int64_t i = 0; i < count; i++) {
            x[i] += y[i];
        }
    } else {
        double *restrict x = to;
        const double *restrict y = theirs;
        for (int64_t i = 0; i < count; i++) {
            x[i] += y[i];
        }
    }
}

/* Sends `give` of data to the partner while its `take` arrives at `into`, in pieces that MPI can count. */
static enum dpt_status swap(struct dpt_comm *comm, int partner, const char *data, struct part give, char *into,
                            struct part take, size_t width)
{
    const MPI_Datatype type = width == sizeof(float) ? MPI_FLOAT : MPI_DOUBLE;
    int64_t give_at = give.begin, take_at = take.begin;
    while (give_at < give.end || take_at < take.end) {
        const int64_t g = give.end - give_at < dpt_comm__piece ? give.end - give_at : dpt_comm__piece;
        const int64_t t = take.end - take_at < dpt_comm__piece ? take.end - take_at : dpt_comm__piece;
        DPT_COMM__TRY(MPI_Sendrecv(data + (size_t)give_at * width, (int)g, type, partner, TAG,
                                   into + (size_t)(take_at - take.begin) * width, (int)t, type, partner, TAG, comm->mpi,
                                   MPI_STATUS_IGNORE),
                      "a tree sum");
        comm->moved += (uint64_t)g * width;
        give_at += g;
        take_at += t;
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_comm__allreduce_tree(struct dpt_comm *comm, void *data, int64_t count, enum dpt_dtype dtype,
                                         void *scratch)
{
    DPT_ASSERT((comm->size & (comm->size - 1)) == 0);
    DPT_ASSERT(dtype == DPT_DTYPE_F32 || dtype == DPT_DTYPE_F64);
    const size_t width = dpt_dtype_nbytes(dtype);
    char *bytes = data;
    struct part mine[MAX_LEVELS + 1], other[MAX_LEVELS + 1]; /* before level k: mine[k]; given away there: other[k] */
    int level = 0;
    mine[0] = (struct part){0, count};

    /* Halve: after level k this rank has the sum over its group of 2^(k+1) ranks for mine[k + 1]. */
    for (; 1 << level < comm->size; level++) {
        const int partner = comm->rank ^ (1 << level);
        const bool lower = comm->rank < partner;
        const int64_t middle = mine[level].begin + (mine[level].end - mine[level].begin) / 2;
        const struct part low = {mine[level].begin, middle}, high = {middle, mine[level].end};
        mine[level + 1] = lower ? low : high;
        other[level] = lower ? high : low;
        DPT_TRY(swap(comm, partner, bytes, other[level], scratch, mine[level + 1], width));
        add(bytes + (size_t)mine[level + 1].begin * width, scratch, mine[level + 1].end - mine[level + 1].begin, dtype);
    }

    /* Double: the same partners backwards, each giving what it has finished. */
    while (level-- > 0) {
        DPT_TRY(swap(comm, comm->rank ^ (1 << level), bytes, mine[level + 1],
                     bytes + (size_t)other[level].begin * width, other[level], width));
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_comm_allreduce_tree(struct dpt_comm *comm, void *data, int64_t count, enum dpt_dtype dtype,
                                        void *scratch)
{
    dpt_comm__turn();
    return dpt_comm__allreduce_tree(comm, data, count, dtype, scratch);
}
