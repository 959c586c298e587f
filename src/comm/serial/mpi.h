/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * MPI for one process: what <mpi.h> is in a build --without-mpi. What comm/ calls keeps its meaning where there is one
 * rank: a sum over all ranks is what this rank has, a group is this rank, whoever waits for all waits for nobody. What
 * takes a second rank (messages, windows) fails with MPI_ERR_RANK; comm/ never comes to that, since it makes neither for
 * a group of one. The interface is that of the MPI standard, 3.1, as far as comm/ uses it.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int MPI_Comm, MPI_Group, MPI_Info, MPI_Op, MPI_Request, MPI_Win, MPI_Errhandler;
typedef size_t MPI_Datatype; /* bytes of one element */
typedef ptrdiff_t MPI_Aint;
typedef struct { int MPI_SOURCE, MPI_TAG, MPI_ERROR; } MPI_Status;

enum { MPI_SUCCESS, MPI_ERR_RANK };
enum { MPI_COMM_NULL, MPI_COMM_WORLD };
enum { MPI_THREAD_SINGLE, MPI_THREAD_FUNNELED, MPI_THREAD_SERIALIZED, MPI_THREAD_MULTIPLE };
enum { MPI_SUM, MPI_MAX, MPI_MIN, MPI_MAXLOC, MPI_REPLACE, MPI_NO_OP };
enum { MPI_ANY_SOURCE = -1, MPI_PROC_NULL = -2, MPI_UNDEFINED = -3 };
enum { MPI_INFO_NULL, MPI_REQUEST_NULL = 0, MPI_WIN_NULL = 0, MPI_ERRORS_RETURN = 0, MPI_COMM_TYPE_SHARED = 0 };
enum { MPI_MAX_ERROR_STRING = 128, MPI_MAX_LIBRARY_VERSION_STRING = 128 };

#define MPI_STATUS_IGNORE ((MPI_Status *)NULL)
#define MPI_IN_PLACE ((void *)-1)

#define MPI_DATATYPE_NULL ((MPI_Datatype)0)
#define MPI_BYTE ((MPI_Datatype)1)
#define MPI_CHAR ((MPI_Datatype)1)
#define MPI_UINT8_T ((MPI_Datatype)1)
#define MPI_UINT16_T ((MPI_Datatype)2)
#define MPI_INT ((MPI_Datatype)sizeof(int))
#define MPI_INT32_T ((MPI_Datatype)4)
#define MPI_FLOAT ((MPI_Datatype)sizeof(float))
#define MPI_DOUBLE ((MPI_Datatype)sizeof(double))
#define MPI_INT64_T ((MPI_Datatype)8)
#define MPI_UINT64_T ((MPI_Datatype)8)
#define MPI_2INT ((MPI_Datatype)(2 * sizeof(int)))

/* What this rank gives is what it gets. */
static inline int MPI__keep(const void *give, int count, MPI_Datatype type, void *get)
{
    if (give != MPI_IN_PLACE && get != MPI_IN_PLACE && count > 0) {
        memmove(get, give, (size_t)count * type);
    }
    return MPI_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------ start and end */

static inline int MPI_Init_thread(int *argc, char ***argv, int wanted, int *given)
{
    (void)argc, (void)argv;
    *given = wanted;
    return MPI_SUCCESS;
}

static inline int MPI_Finalize(void)
{
    return MPI_SUCCESS;
}

static inline _Noreturn int MPI_Abort(MPI_Comm comm, int code)
{
    (void)comm;
    _Exit(code);
}

/* The name by which dpt_comm_library() goes. */
static inline int MPI_Get_library_version(char *text, int *length)
{
    *length = snprintf(text, MPI_MAX_LIBRARY_VERSION_STRING, "no MPI");
    return MPI_SUCCESS;
}

static inline int MPI_Error_string(int code, char *text, int *length)
{
    *length = snprintf(text, MPI_MAX_ERROR_STRING, "%s",
                       code == MPI_SUCCESS ? "no error" : "there is no other rank: dpt was built --without-mpi");
    return MPI_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------------- groups */

static inline int MPI_Comm_set_errhandler(MPI_Comm comm, MPI_Errhandler handler)
{
    (void)comm, (void)handler;
    return MPI_SUCCESS;
}

static inline int MPI_Comm_rank(MPI_Comm comm, int *rank)
{
    (void)comm;
    *rank = 0;
    return MPI_SUCCESS;
}

static inline int MPI_Comm_size(MPI_Comm comm, int *size)
{
    (void)comm;
    *size = 1;
    return MPI_SUCCESS;
}

static inline int MPI_Comm_split(MPI_Comm comm, int color, int key, MPI_Comm *part)
{
    (void)key;
    *part = color == MPI_UNDEFINED ? MPI_COMM_NULL : comm;
    return MPI_SUCCESS;
}

static inline int MPI_Comm_split_type(MPI_Comm comm, int type, int key, MPI_Info info, MPI_Comm *part)
{
    (void)type, (void)info;
    return MPI_Comm_split(comm, 0, key, part);
}

static inline int MPI_Comm_dup(MPI_Comm comm, MPI_Comm *copy)
{
    *copy = comm;
    return MPI_SUCCESS;
}

static inline int MPI_Comm_free(MPI_Comm *comm)
{
    *comm = MPI_COMM_NULL;
    return MPI_SUCCESS;
}

static inline int MPI_Comm_group(MPI_Comm comm, MPI_Group *group)
{
    *group = comm;
    return MPI_SUCCESS;
}

static inline int MPI_Group_translate_ranks(MPI_Group from, int count, const int *rank, MPI_Group to, int *there)
{
    (void)from, (void)to;
    return MPI__keep(rank, count, MPI_INT, there);
}

static inline int MPI_Group_free(MPI_Group *group)
{
    *group = 0;
    return MPI_SUCCESS;
}

static inline int MPI_Type_contiguous(int count, MPI_Datatype type, MPI_Datatype *made)
{
    *made = (size_t)count * type;
    return MPI_SUCCESS;
}

static inline int MPI_Type_commit(MPI_Datatype *type)
{
    (void)type;
    return MPI_SUCCESS;
}

static inline int MPI_Type_free(MPI_Datatype *type)
{
    *type = MPI_DATATYPE_NULL;
    return MPI_SUCCESS;
}

/* -------------------------------------------------------------------------------------------------- collectives */

static inline int MPI_Barrier(MPI_Comm comm)
{
    (void)comm;
    return MPI_SUCCESS;
}

static inline int MPI_Bcast(void *data, int count, MPI_Datatype type, int root, MPI_Comm comm)
{
    (void)data, (void)count, (void)type, (void)root, (void)comm;
    return MPI_SUCCESS;
}

static inline int MPI_Allreduce(const void *give, void *get, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm)
{
    (void)op, (void)comm;
    return MPI__keep(give, count, type, get);
}

static inline int MPI_Reduce(const void *give, void *get, int count, MPI_Datatype type, MPI_Op op, int root, MPI_Comm comm)
{
    (void)op, (void)root, (void)comm;
    return MPI__keep(give, count, type, get);
}

static inline int MPI_Reduce_scatter(const void *give, void *get, const int *counts, MPI_Datatype type, MPI_Op op,
                                     MPI_Comm comm)
{
    (void)op, (void)comm;
    return MPI__keep(give, counts[0], type, get);
}

static inline int MPI_Gather(const void *give, int ngive, MPI_Datatype give_type, void *get, int nget,
                             MPI_Datatype get_type, int root, MPI_Comm comm)
{
    (void)nget, (void)get_type, (void)root, (void)comm;
    return MPI__keep(give, ngive, give_type, get);
}

static inline int MPI_Allgather(const void *give, int ngive, MPI_Datatype give_type, void *get, int nget,
                                MPI_Datatype get_type, MPI_Comm comm)
{
    return MPI_Gather(give, ngive, give_type, get, nget, get_type, 0, comm);
}

static inline int MPI_Allgatherv(const void *give, int ngive, MPI_Datatype give_type, void *get, const int *counts,
                                 const int *offsets, MPI_Datatype get_type, MPI_Comm comm)
{
    (void)counts, (void)comm;
    return MPI__keep(give, ngive, give_type, (char *)get + (size_t)offsets[0] * get_type);
}

/* -------------------------------------------------------------------------- what takes a second rank: there is none */

static inline int MPI_Isend(const void *data, int count, MPI_Datatype type, int peer, int tag, MPI_Comm comm,
                            MPI_Request *request)
{
    (void)data, (void)count, (void)type, (void)tag, (void)comm;
    *request = MPI_REQUEST_NULL;
    return peer == MPI_PROC_NULL ? MPI_SUCCESS : MPI_ERR_RANK;
}

static inline int MPI_Irecv(void *data, int count, MPI_Datatype type, int peer, int tag, MPI_Comm comm,
                            MPI_Request *request)
{
    return MPI_Isend(data, count, type, peer, tag, comm, request);
}

static inline int MPI_Sendrecv(const void *give, int ngive, MPI_Datatype give_type, int to, int give_tag, void *get,
                               int nget, MPI_Datatype get_type, int from, int get_tag, MPI_Comm comm, MPI_Status *status)
{
    (void)give, (void)ngive, (void)give_type, (void)give_tag, (void)get, (void)nget, (void)get_type, (void)get_tag;
    (void)comm, (void)status;
    return to == MPI_PROC_NULL && from == MPI_PROC_NULL ? MPI_SUCCESS : MPI_ERR_RANK;
}

static inline int MPI_Wait(MPI_Request *request, MPI_Status *status)
{
    (void)request, (void)status;
    return MPI_SUCCESS;
}

static inline int MPI_Test(MPI_Request *request, int *done, MPI_Status *status)
{
    *done = 1;
    return MPI_Wait(request, status);
}

static inline int MPI_Cancel(MPI_Request *request)
{
    (void)request;
    return MPI_SUCCESS;
}

static inline int MPI_Iprobe(int peer, int tag, MPI_Comm comm, int *there, MPI_Status *status)
{
    (void)peer, (void)tag, (void)comm, (void)status;
    *there = 0;
    return MPI_SUCCESS;
}

static inline int MPI_Get_count(const MPI_Status *status, MPI_Datatype type, int *count)
{
    (void)status, (void)type;
    *count = 0;
    return MPI_SUCCESS;
}

static inline int MPI_Win_allocate(MPI_Aint nbytes, int unit, MPI_Info info, MPI_Comm comm, void *base, MPI_Win *win)
{
    (void)nbytes, (void)unit, (void)info, (void)comm, (void)base;
    *win = MPI_WIN_NULL;
    return MPI_ERR_RANK;
}

static inline int MPI_Win_free(MPI_Win *win)
{
    *win = MPI_WIN_NULL;
    return MPI_SUCCESS;
}

static inline int MPI_Win_set_errhandler(MPI_Win win, MPI_Errhandler handler)
{
    (void)win, (void)handler;
    return MPI_ERR_RANK;
}

static inline int MPI_Win_lock_all(int assertion, MPI_Win win)
{
    (void)assertion, (void)win;
    return MPI_ERR_RANK;
}

static inline int MPI_Win_unlock_all(MPI_Win win)
{
    (void)win;
    return MPI_ERR_RANK;
}

static inline int MPI_Win_sync(MPI_Win win)
{
    (void)win;
    return MPI_ERR_RANK;
}

static inline int MPI_Win_flush(int target, MPI_Win win)
{
    (void)target, (void)win;
    return MPI_ERR_RANK;
}

static inline int MPI_Put(const void *give, int ngive, MPI_Datatype give_type, int target, MPI_Aint at, int nget,
                          MPI_Datatype get_type, MPI_Win win)
{
    (void)give, (void)ngive, (void)give_type, (void)target, (void)at, (void)nget, (void)get_type, (void)win;
    return MPI_ERR_RANK;
}

static inline int MPI_Fetch_and_op(const void *give, void *before, MPI_Datatype type, int target, MPI_Aint at, MPI_Op op,
                                   MPI_Win win)
{
    (void)give, (void)before, (void)type, (void)target, (void)at, (void)op, (void)win;
    return MPI_ERR_RANK;
}
