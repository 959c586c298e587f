/* SPDX-License-Identifier: Apache-2.0 */

/* Groups of ranks and what they do together. A group of one rank never calls MPI. */

#include "comm/comm.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "comm/impl.h"

int64_t dpt_comm__piece = INT64_C(1) << 30;
int dpt_comm__pending;

void dpt_comm__turn(void)
{
    DPT_ASSERT(dpt_comm__pending == 0);
    dpt_comm__begin();
}

void dpt_comm__turn_in(const struct dpt_comm *comm)
{
    DPT_ASSERT(dpt_comm__pending == 0);
    if (comm->size == dpt_comm__process.size) {
        dpt_comm__begin();
    } else {
        dpt_comm__progress();
    }
}

MPI_Datatype dpt_comm__type(enum dpt_dtype dtype)
{
    switch (dtype) {
    case DPT_DTYPE_F32: return MPI_FLOAT;
    case DPT_DTYPE_F64: return MPI_DOUBLE;
    case DPT_DTYPE_I32: return MPI_INT32_T;
    case DPT_DTYPE_I64: return MPI_INT64_T;
    default: DPT_ASSERT(!"a number type that MPI can reduce");
    }
    return MPI_DATATYPE_NULL;
}

enum dpt_status dpt_comm__new(MPI_Comm mpi, int rank, int size, struct dpt_comm **comm)
{
    struct dpt_comm *c = malloc(sizeof *c + 3 * (size_t)size * sizeof c->array[0]);
    DPT_CHECK(c, DPT_STATUS_SPACE, "out of memory for a group of ranks");
    *c = (struct dpt_comm){.mpi = mpi, .rank = rank, .size = size};
    for (int r = 0; r < size; r++) {
        c->array[r] = r;
    }
    if (mpi != MPI_COMM_NULL && mpi != MPI_COMM_WORLD) {
        MPI_Group world, group;
        int *from = dpt_comm__counts(c);
        memcpy(from, c->array, (size_t)size * sizeof *from);
        MPI_Comm_group(MPI_COMM_WORLD, &world);
        MPI_Comm_group(mpi, &group);
        MPI_Group_translate_ranks(group, size, from, world, c->array);
        MPI_Group_free(&group);
        MPI_Group_free(&world);
    }
    *comm = c;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_comm__failed(int code, const char *what)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length;
    MPI_Error_string(code, text, &length);
    text[strcspn(text, "\n")] = '\0';
    return dpt_error_set(DPT_STATUS_COMM, __FILE__, __LINE__,
                         "%s failed in %s: %s; a rank may have died or the network may be down", what,
                         dpt_comm_library(), text);
}

int dpt_comm_rank(const struct dpt_comm *comm)
{
    return comm->rank;
}

int dpt_comm_size(const struct dpt_comm *comm)
{
    return comm->size;
}

int dpt_comm_node_rank(void)
{
    return dpt_comm__process.node_rank;
}

int dpt_comm_node_size(void)
{
    return dpt_comm__process.node_size;
}

int dpt_comm_nodes(void)
{
    return dpt_comm__process.nodes;
}

enum dpt_status dpt_comm_split(struct dpt_comm *comm, int color, struct dpt_comm **part)
{
    DPT_ASSERT(color >= -1);
    dpt_comm__turn();
    *part = NULL;
    if (comm->size == 1) {
        return color >= 0 ? dpt_comm__new(MPI_COMM_NULL, 0, 1, part) : DPT_STATUS_OK;
    }
    MPI_Comm mpi;
    int rank, size;
    DPT_COMM__TRY(MPI_Comm_split(comm->mpi, color < 0 ? MPI_UNDEFINED : color, comm->rank, &mpi),
                  "splitting the ranks into groups");
    if (mpi == MPI_COMM_NULL) {
        return DPT_STATUS_OK;
    }
    MPI_Comm_rank(mpi, &rank);
    MPI_Comm_size(mpi, &size);
    return dpt_comm__new(mpi, rank, size, part);
}

void dpt_comm_free(struct dpt_comm *part)
{
    if (part && part->mpi != MPI_COMM_NULL) {
        dpt_comm__turn();
        MPI_Comm_free(&part->mpi);
    }
    free(part);
}

uint64_t dpt_comm_moved(const struct dpt_comm *comm)
{
    return comm->moved;
}

enum dpt_status dpt_comm_bcast(struct dpt_comm *comm, void *data, size_t nbytes, int root)
{
    DPT_ASSERT(root >= 0 && root < comm->size);
    dpt_comm__turn();
    if (comm->size == 1) {
        return DPT_STATUS_OK;
    }
    char *at = data;
    while (nbytes > 0) {
        const size_t n = nbytes < (size_t)dpt_comm__piece ? nbytes : (size_t)dpt_comm__piece;
        DPT_COMM__TRY(MPI_Bcast(at, (int)n, MPI_BYTE, root, comm->mpi), "a broadcast");
        at += n;
        nbytes -= n;
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_comm_gather(struct dpt_comm *comm, const void *mine, size_t nbytes, void *all, int root)
{
    DPT_ASSERT(root >= 0 && root < comm->size && nbytes <= INT_MAX);
    dpt_comm__turn();
    if (comm->size == 1) {
        if (nbytes > 0) {
            memcpy(all, mine, nbytes);
        }
        return DPT_STATUS_OK;
    }
    DPT_COMM__TRY(MPI_Gather(mine, (int)nbytes, MPI_BYTE, all, (int)nbytes, MPI_BYTE, root, comm->mpi), "a gather");
    return DPT_STATUS_OK;
}

enum dpt_status dpt_comm__allreduce(struct dpt_comm *comm, void *data, int64_t count, enum dpt_dtype dtype,
                                    enum dpt_comm_reduce reduce)
{
    if (comm->size == 1) {
        return DPT_STATUS_OK;
    }
    const MPI_Datatype type = dpt_comm__type(dtype);
    const uint64_t nbytes = (uint64_t)count * dpt_dtype_nbytes(dtype);
    comm->moved += 2 * (nbytes - nbytes / (uint64_t)comm->size);
    const MPI_Op op = reduce == DPT_COMM_REDUCE_SUM ? MPI_SUM : reduce == DPT_COMM_REDUCE_MAX ? MPI_MAX : MPI_MIN;
    char *at = data;
    while (count > 0) {
        const int64_t n = count < dpt_comm__piece ? count : dpt_comm__piece;
        DPT_COMM__TRY(MPI_Allreduce(MPI_IN_PLACE, at, (int)n, type, op, comm->mpi), "an all-reduce");
        at += (size_t)n * dpt_dtype_nbytes(dtype);
        count -= n;
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_comm_allreduce(struct dpt_comm *comm, void *data, int64_t count, enum dpt_dtype dtype,
                                   enum dpt_comm_reduce reduce)
{
    dpt_comm__turn();
    return dpt_comm__allreduce(comm, data, count, dtype, reduce);
}

enum dpt_status dpt_comm_barrier(struct dpt_comm *comm)
{
    dpt_comm__turn();
    if (comm->size > 1) {
        DPT_COMM__TRY(MPI_Barrier(comm->mpi), "a barrier");
    }
    return DPT_STATUS_OK;
}
