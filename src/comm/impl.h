/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of comm/ share and nobody else sees. */

#include <mpi.h>

#include <stdbool.h>
#include <stdint.h>

#include "comm/comm.h"

struct dpt_comm {
    MPI_Comm mpi; /* MPI_COMM_NULL: one rank without MPI               */
    int rank, size;
    uint64_t moved; /* bytes, see dpt_comm_moved                       */
    int array[];    /* three of `size`: ranks in the world; scratch: counts, offsets */
};

/* A new group, freed by dpt_comm_free. Local. */
enum dpt_status dpt_comm__new(MPI_Comm mpi, int rank, int size, struct dpt_comm **comm);

static inline int *dpt_comm__world(struct dpt_comm *comm)
{
    return comm->array;
}

static inline int *dpt_comm__counts(struct dpt_comm *comm)
{
    return comm->array + comm->size;
}

static inline int *dpt_comm__offsets(struct dpt_comm *comm)
{
    return comm->array + 2 * comm->size;
}

/* This process among all: filled in by dpt_comm_start, all zero but `node_size` and `nodes` without MPI. */
struct dpt_comm__process {
    bool running;                  /* between MPI_Init and MPI_Finalize      */
    int thread_level;              /* what MPI gave, MPI_THREAD_...          */
    int rank, size;                /* in the world                           */
    MPI_Comm node;                 /* the ranks of this host                 */
    int node_rank, node_size;
    int nodes;                     /* hosts                                  */
};
extern struct dpt_comm__process dpt_comm__process;

/* The most elements of one MPI call, whose counts are int: 2^30. The tests make it small. */
extern int64_t dpt_comm__piece;

/*
 * Sums that an exchange has started and not yet waited for. While there are any, MPI belongs to that exchange (and its
 * thread), and every other call into comm/ is a bug: dpt_comm__turn stops the job at the place of the bug, on every
 * machine, instead of a hang on one that has a thread.
 */
extern int dpt_comm__pending;
void dpt_comm__turn(void);

/* Counts a collective that this rank begins: progress, and the place by which the ranks of a host compare. Local. */
void dpt_comm__begin(void);

/*
 * dpt_comm__turn for a collective of any group. Of one that is not the world it is progress alone: not all ranks take
 * part in the same ones, so that fewer of them does not mean behind.
 */
void dpt_comm__turn_in(const struct dpt_comm *comm);

/* MPI's name of a type that it can add. Local. */
MPI_Datatype dpt_comm__type(enum dpt_dtype dtype);

/* Frees what messages have made in MPI. Local. */
void dpt_comm__end_messages(void);

/* Turns an MPI error code into DPT_STATUS_COMM with MPI's own sentence. */
enum dpt_status dpt_comm__failed(int code, const char *what);

#define DPT_COMM__TRY(call, what)                                                                                      \
    do {                                                                                                               \
        const int dpt_comm__code = (call);                                                                             \
        if (dpt_comm__code != MPI_SUCCESS) {                                                                           \
            return dpt_comm__failed(dpt_comm__code, what);                                                             \
        }                                                                                                              \
    } while (0)

/* The same as the calls without "__", for whoever has the turn. */
enum dpt_status dpt_comm__allreduce(struct dpt_comm *comm, void *data, int64_t count, enum dpt_dtype dtype,
                                    enum dpt_comm_reduce reduce);
enum dpt_status dpt_comm__allreduce_tree(struct dpt_comm *comm, void *data, int64_t count, enum dpt_dtype dtype,
                                         void *scratch);

/* A finished piece of work of another thread counts as progress for the deadline. Local. */
void dpt_comm__progress(void);
