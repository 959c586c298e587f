/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * comm/: ranks and groups of ranks: start and end of MPI, the mesh, collectives, agreement on failures, the exchange
 * of gradients. The only room that includes <mpi.h>. It promises that no rank hangs silently (a deadline names rank,
 * host and action), that the tree reductions give the same bits on every MPI library, and that after start-up ONE
 * thread of a process talks to MPI at a time. It knows nothing of tensors, graphs or files.
 *
 * Whose turn it is at MPI: the compute thread's, but from the first dpt_exchange_start to the last dpt_exchange_wait
 * it is the exchange's (comm/exchange.h). A call from here in between is an internal error that ends the job. When a
 * call fails in MPI itself it returns DPT_STATUS_COMM; peers may be stuck in it, so that only the end of the job
 * remains: dpt_fatal, or dpt_comm_abort.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"

struct dpt_comm; /* a group of ranks */

enum dpt_comm_reduce { DPT_COMM_REDUCE_SUM, DPT_COMM_REDUCE_MAX, DPT_COMM_REDUCE_MIN };

/*
 * Starts MPI (thread level serialized) with the settings that the libraries need (malloc thresholds), installs the
 * abort of the whole job as dpt_fatal_hook, and returns the group of all ranks. Refuses a process that was launched
 * as one of many but is alone (two MPI libraries mixed). Collective over all processes. DPT_STATUS_COMM.
 */
enum dpt_status dpt_comm_start(struct dpt_comm **world);

/* A group of one rank without MPI, for tests and for tools. Local. */
enum dpt_status dpt_comm_start_alone(struct dpt_comm **world);

/* Ends MPI and frees the world. Collective over the world. */
void dpt_comm_end(struct dpt_comm *world);

/*
 * Ends the whole job at once with this exit code, which the launcher returns. Prints nothing: dpt_fatal prints a
 * sentence with rank and host and comes here. Any thread. Local; does not return.
 */
_Noreturn void dpt_comm_abort(enum dpt_status status);

int dpt_comm_rank(const struct dpt_comm *comm);      /* this rank in the group. Local. */
int dpt_comm_size(const struct dpt_comm *comm);      /* ranks in the group. Local.     */
int dpt_comm_node_rank(void); /* this rank among those of the world on its host. Local. */
int dpt_comm_node_size(void); /* ranks of the world on this host. Local. */
int dpt_comm_nodes(void);     /* hosts of the world. Local. */
const char *dpt_comm_host(void);                     /* this host's name. Local. */
bool dpt_comm_is_serial(void);                       /* built --without-mpi: there is one rank. Local. */
const char *dpt_comm_library(void);                  /* "Open MPI 4.1.4", "MPICH 4.0.2", "no MPI". Local, before start too. */
bool dpt_comm_takes_cards(void);                     /* MPI takes memory of CUDA's cards as it takes the host's. Local. */

/*
 * Splits into groups of equal colour, ordered by rank; a rank with colour -1 is in none, its *part is NULL. Collective
 * over comm. The new group is freed by _free.
 */
enum dpt_status dpt_comm_split(struct dpt_comm *comm, int color, struct dpt_comm **part);
void dpt_comm_free(struct dpt_comm *part);

/* root's bytes to all. Collective over comm. Counts may exceed 2^31. */
enum dpt_status dpt_comm_bcast(struct dpt_comm *comm, void *data, size_t nbytes, int root);

/* Every rank's `nbytes` bytes (< 2^31) to root, in rank order; `all` matters on root only. Collective over comm. */
enum dpt_status dpt_comm_gather(struct dpt_comm *comm, const void *mine, size_t nbytes, void *all, int root);

/* Element-wise reduction in place by MPI_Allreduce; F32, F64, I32 or I64. Collective over comm. */
enum dpt_status dpt_comm_allreduce(struct dpt_comm *comm, void *data, int64_t count, enum dpt_dtype dtype,
                                   enum dpt_comm_reduce reduce);

/*
 * Sum in place over the fixed binary tree of the ranks: (0+1)+(2+3) ..., the same bits on every library. The size
 * must be a power of two. F32 or F64. `scratch` holds `count` elements. Recursive halving, then doubling: moves
 * 2 (p-1)/p of the data. Collective over comm.
 */
enum dpt_status dpt_comm_allreduce_tree(struct dpt_comm *comm, void *data, int64_t count, enum dpt_dtype dtype,
                                        void *scratch);

/*
 * Parts of unequal length, one a rank, side by side in rank order in `all`: counts[r] elements, known to every rank, may
 * be 0; totals may exceed 2^31. Collective over comm.
 *
 * all_gather: every rank's part to all. `mine` NULL: it is in its place in `all` already. Any type.
 * reduce_scatter: the sum over the ranks of `all`, of which each keeps its part, in `mine`; F32, F64, I32, I64. `mine`
 * NULL: in its place in `all`. What else is in `all` is undefined afterwards. The order of addition is the library's.
 */
enum dpt_status dpt_comm_all_gather(struct dpt_comm *comm, const void *mine, const int64_t *counts, void *all,
                                    enum dpt_dtype dtype);
enum dpt_status dpt_comm_reduce_scatter(struct dpt_comm *comm, void *all, const int64_t *counts, void *mine,
                                        enum dpt_dtype dtype);

/*
 * A part from every rank to every other: `out` has out_counts[r] elements for each rank, side by side in rank order, `in`
 * gets in_counts[r] from each. What r gives to q is what q takes from r. `in` and `out` do not overlap. Any type.
 * Collective over comm.
 */
enum dpt_status dpt_comm_all_to_all(struct dpt_comm *comm, const void *out, const int64_t *out_counts, void *in,
                                    const int64_t *in_counts, enum dpt_dtype dtype);

/*
 * Bytes that this rank has moved through the group since it was made: of messages those that it sent, of collectives
 * what the ring algorithms send (all-gather, reduce-scatter, all-to-all: all but its own part; all-reduce: twice that).
 * Broadcasts and gathers of bytes do not count. Local.
 */
uint64_t dpt_comm_moved(const struct dpt_comm *comm);

/* Waits until all ranks are here. Collective over comm. */
enum dpt_status dpt_comm_barrier(struct dpt_comm *comm);

/*
 * Agreement after work that one rank may have failed alone: every rank gets the worst status, the sentence of the
 * (lowest) rank that has it, prefixed by rank and host where ranks are several, in its error record. Collective.
 */
enum dpt_status dpt_agree(enum dpt_status status, struct dpt_comm *comm);

/* -------------------------------------------------------------------------------------------------- messages */

enum { DPT_COMM_MAX_TAG = 32000 };

/* A message under way: a slot of the caller, which stays where it is until the message has ended. Zeroed: none. */
struct dpt_comm_request {
    uint64_t handle[2]; /* the library's            */
    size_t nbytes;
    int peer;           /* in the world             */
    int parts, finished;
    bool receives;
};

/*
 * Begins to send to, or to receive from, rank `peer` of the group, not this one; returns at once. nbytes is the same on
 * both sides, may be 0 and may exceed 2^31. Messages with one tag, 0 .. DPT_COMM_MAX_TAG, arrive in the order in which
 * they were sent. `data` belongs to the message until it has ended. Allocates nothing. Local.
 */
enum dpt_status dpt_comm_send_start(struct dpt_comm *comm, int peer, int tag, const void *data, size_t nbytes,
                                    struct dpt_comm_request *request);
enum dpt_status dpt_comm_recv_start(struct dpt_comm *comm, int peer, int tag, void *data, size_t nbytes,
                                    struct dpt_comm_request *request);

/*
 * Returns when the message has ended: it has arrived, or its memory may be used again. While this takes, the deadline
 * runs, and names the peer. A message of another length than expected is DPT_STATUS_COMM. Local wait.
 */
enum dpt_status dpt_comm_request_wait(struct dpt_comm_request *request);

/* Whether the message has ended; moves it on. Only its end counts as progress. Local. */
enum dpt_status dpt_comm_request_test(struct dpt_comm_request *request, bool *done);

/* -------------------------------------------------------------------------------------------------- the mesh */

enum { DPT_MESH_MAX_AXES = 5 };

struct dpt_mesh_axis {
    char name[16];         /* "data", "tensor", "rows", "columns", "pipeline" */
    int size;              /* ranks along the axis                      */
    int coord;             /* this rank's place on it                   */
    struct dpt_comm *comm; /* the ranks that differ in this axis only   */
};

struct dpt_mesh {
    struct dpt_comm *world;
    int naxes;
    struct dpt_mesh_axis axis[DPT_MESH_MAX_AXES];
};

/*
 * A mesh of these axes (name and size of `wanted`) over the world. The first axis is the slowest: rank = ((c0 n1 + c1) n2
 * + c2) ..., so that the ranks of the last one are neighbours. DPT_STATUS_USAGE when the sizes do not multiply to the
 * number of ranks. Collective over world. Freed by dpt_mesh_free, collective too.
 */
enum dpt_status dpt_mesh_new(struct dpt_comm *world, int naxes, const struct dpt_mesh_axis *wanted,
                             struct dpt_mesh *mesh);
void dpt_mesh_free(struct dpt_mesh *mesh);

/* A mesh with one axis "data" over the world. Collective over world. */
enum dpt_status dpt_mesh_data(struct dpt_comm *world, struct dpt_mesh *mesh);

/*
 * The same without groups, to plan for ranks that are not there: world and comm are NULL, the coordinates those of rank
 * 0. Refuses as dpt_mesh_new does. Local.
 */
enum dpt_status dpt_mesh_shape(int ranks, int naxes, const struct dpt_mesh_axis *wanted, struct dpt_mesh *mesh);

/* Sets the coordinates to those of any rank of a mesh without groups. Local. */
void dpt_mesh_place(struct dpt_mesh *mesh, int rank);

/* The number of the axis with a name, or -1. Local. */
int dpt_mesh_axis(const struct dpt_mesh *mesh, const char *name);

/* The rank at these coordinates, one an axis. Local. */
int dpt_mesh_rank(const struct dpt_mesh *mesh, const int *coord);

/*
 * A group of the ranks that differ from this one only on the axes of the bit mask `axes`, in the order of the world.
 * along >= 0: only of those whose place on that axis is a member, e.g. on the stages that share a parameter; *group is
 * NULL for the others. Collective over the world. Freed by dpt_comm_free.
 */
enum dpt_status dpt_mesh_group(const struct dpt_mesh *mesh, unsigned axes, int along, const bool *member,
                               struct dpt_comm **group);

/* -------------------------------------------------------------------------------------------------- deadline */

/*
 * The watchdog: a thread that ends the job (exit 6) when this rank makes no progress for `seconds`, naming rank, host,
 * the action of the last dpt_comm_action, and the ranks of this host that are behind it, stopped or dead. Progress is
 * an action, a collective, a bucket. 0 turns it off. Time in which the whole process was stopped (SIGSTOP, suspend)
 * does not count. Local.
 */
enum dpt_status dpt_comm_deadline(struct dpt_comm *comm, double seconds);

/*
 * Says what this rank does now, e.g. "forward conv1", "all-reduce bucket 3"; `name` must stay valid. Counts as
 * progress. Costs two stores. Local.
 */
void dpt_comm_action(const char *verb, const char *name);

/* Says which rank of the world this one waits for, for the deadline's message; -1: none. Local. */
void dpt_comm_waits_for(int rank);

/*
 * Suspends the deadline around work of unknown length (evaluation's first read, a checkpoint): nests. All ranks that
 * wait for that work must do so, not only the one that works. Local.
 */
void dpt_comm_deadline_pause(void);
void dpt_comm_deadline_resume(void);

/* -------------------------------------------------------------------------------------------------- cores */

struct dpt_cores {
    int usable;    /* cores (not hyper-threads) this process may run on, within its control group's limit        */
    int share;     /* its part when the ranks of this host that may run on the same cores divide them; may be 0  */
    int node;      /* cores of the host that the job may use                                                     */
    bool bound;    /* the launcher narrowed the affinity mask                                                    */
    bool shared;   /* fewer cores than ranks: ranks of this host must take turns on a core (share is 0)          */
};

/* What this rank may use, from hwloc and the affinity mask. Collective over the world (compares masks on a host). */
enum dpt_status dpt_comm_cores(struct dpt_comm *world, struct dpt_cores *cores);
