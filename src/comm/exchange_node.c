/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The counters. Jobs have the same numbers on all ranks, and each rank does them in order. A rank's `posted` is stored
 * with release order when its data of a job is final, `summed` when the part that it makes for others is there, `done`
 * when it reads nothing of the others any more. Whoever needs a state of all waits for all counters with acquire order.
 *
 *   sum       all posted: sum my slice in place; all summed: copy the other slices; all done: the buffer may be written
 *   slice     all posted: sum my slice (of the host's, or of all) in place. Only later jobs say that the others have read what they need.
 *   collect   (one copy of the buffer) all summed
 *   small     copy to my slot; all summed: add the slots. Two slots in turn: who writes one for the second time has
 *             seen everybody summed for the job between, whose ranks had read the first.
 *
 * A slice is read by one rank, its owner, in every other rank's buffer, and written by its owner in its own buffer. So
 * sums in place disturb nobody.
 */

#include "comm/exchange_node.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/square.h"
#include "comm/add.h"
#include "comm/exchange_wire.h"

enum { PIECE_NBYTES = 8192, SMALL_NBYTES = 1024, LINE = 128, SPINS = 200, LONG_SPINS = 10000, YIELDS = 20, NAP_NS = 10000000 };

/*
 * What a rank shows the others; nobody else writes there, but for `sleepers`. A counter has two lines, since some
 * processors fetch pairs.
 */
struct shelf {
    _Alignas(LINE) _Atomic uint64_t posted;
    _Alignas(LINE) _Atomic uint64_t summed;
    _Alignas(LINE) _Atomic uint64_t done;
    _Alignas(LINE) _Atomic uint32_t bell;     /* goes up with every counter                  */
    _Alignas(LINE) _Atomic uint32_t sleepers; /* who wait for the bell and not for a counter */
    _Alignas(LINE) char slot[2][SMALL_NBYTES];
};

void (*dpt_exchange__node_late)(uint64_t number);

static void late(uint64_t number)
{
    if (dpt_exchange__node_late) {
        dpt_exchange__node_late(number);
    }
}

static struct shelf *shelf_of(const struct dpt_exchange__node *node, int r)
{
    return (struct shelf *)(void *)node->shelf.mine + r;
}

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/*
 * Sleeps until the bell of a shelf rings, unless the counter is there already. The bell is read after `sleepers` was
 * raised, and rung before `sleepers` is read: so either the sleeper sees the counter, or the ringer sees the sleeper.
 */
static void sleep_on(struct shelf *shelf, const _Atomic uint64_t *counter, uint64_t least)
{
    const struct timespec nap = {.tv_nsec = NAP_NS};
    atomic_fetch_add(&shelf->sleepers, 1);
    const uint32_t bell = atomic_load(&shelf->bell);
    if (atomic_load(counter) < least) {
        syscall(SYS_futex, &shelf->bell, FUTEX_WAIT, bell, &nap, NULL, 0);
    }
    atomic_fetch_sub(&shelf->sleepers, 1);
}

/*
 * Spins for a while, lets others have the core for a while, then sleeps. Where each rank has a core it spins for longer
 * than it takes to wake a core that sleeps; where ranks are more than cores, the one that is waited for may need this one's.
 */
static void await(const struct dpt_exchange__node *node, int rank, const _Atomic uint64_t *counter, uint64_t least)
{
    struct shelf *shelf = shelf_of(node, rank);
    for (int spins = 0; atomic_load_explicit(counter, memory_order_acquire) < least; spins++) {
        if (spins < node->spins) {
            relax();
        } else if (spins < node->spins + YIELDS) {
            sched_yield();
        } else {
            sleep_on(shelf, counter, least);
        }
    }
}

static void say(struct shelf *shelf, _Atomic uint64_t *counter, uint64_t jobs)
{
    atomic_store_explicit(counter, jobs, memory_order_release);
    atomic_fetch_add(&shelf->bell, 1);
    if (atomic_load(&shelf->sleepers) > 0) {
        syscall(SYS_futex, &shelf->bell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    }
}

void dpt_exchange__node_await(const struct dpt_exchange__node *node, uint64_t posted)
{
    for (int r = 0; r < node->size; r++) {
        await(node, r, &shelf_of(node, r)->posted, posted);
    }
}

static void await_summed(const struct dpt_exchange__node *node, uint64_t jobs)
{
    for (int r = 0; r < node->size; r++) {
        await(node, r, &shelf_of(node, r)->summed, jobs);
    }
}

static void await_done(const struct dpt_exchange__node *node, uint64_t jobs)
{
    for (int r = 0; r < node->size; r++) {
        await(node, r, &shelf_of(node, r)->done, jobs);
    }
}

void dpt_exchange__node_post(struct dpt_exchange__node *node, uint64_t posted)
{
    say(shelf_of(node, node->rank), &shelf_of(node, node->rank)->posted, posted);
}

/* -------------------------------------------------------------------------------------------------------- the jobs */

/* Rank r's copy of the job's data. */
static char *copy_of(const struct dpt_exchange__job *job, int r)
{
    return job->block->peer[r] + ((char *)job->data - job->block->mine);
}

/* Sums a range of what the ranks of the host have into this rank's own buffer. */
static void sum_range(const struct dpt_exchange__node *node, const struct dpt_exchange__job *job,
                      struct dpt_range range)
{
    const size_t offset = (size_t)range.begin * dpt_dtype_nbytes(job->dtype);
    for (int r = 0; r < node->size; r++) {
        node->part[r] = copy_of(job, r) + offset;
    }
    dpt_comm__add(job->dtype, range.end - range.begin, node->size, node->part, (char *)job->data + offset);
}

/*
 * The same, and the squares of the sums: piece by piece, so that each is squared while it is in the first caches, and the
 * norm of the gradient costs no pass over memory.
 */
static void sum_and_square(const struct dpt_exchange__node *node, const struct dpt_exchange__job *job,
                           struct dpt_range range, struct dpt_square *square)
{
    const int64_t width = (int64_t)dpt_dtype_nbytes(job->dtype), piece = PIECE_NBYTES / width;
    char *data = (char *)job->data + range.begin * width;
    if (node->size == 2) {
        dpt_square_add_sum(job->dtype, range.end - range.begin, copy_of(job, 0) + range.begin * width,
                           copy_of(job, 1) + range.begin * width, data, square);
        return;
    }
    for (int64_t begin = range.begin; begin < range.end; begin += piece) {
        const int64_t end = begin + piece < range.end ? begin + piece : range.end;
        sum_range(node, job, (struct dpt_range){begin, end});
        dpt_square_add(job->dtype, end - begin, data + (begin - range.begin) * width, square);
    }
}

/* This rank's slice of those of the host, summed over all ranks. */
static enum dpt_status run_host(struct dpt_exchange *e, const struct dpt_exchange__job *job)
{
    struct dpt_exchange__node *node = e->node;
    const struct dpt_range slice = dpt_exchange_slice_of((struct dpt_range){0, job->count}, node->size, node->rank);
    const size_t offset = (size_t)slice.begin * dpt_dtype_nbytes(job->dtype);
    struct dpt_square square = {{0.0}};
    dpt_exchange__node_await(node, job->number + 1);
    late(job->number);
    if (!job->squares || node->rail) {
        sum_range(node, job, slice);
    } else {
        sum_and_square(node, job, slice, &square);
    }
    if (node->rail) {
        DPT_TRY(dpt_exchange__wire_sum(e, job, node->rail, &node->slices, slice));
        if (job->squares) {
            dpt_square_add(job->dtype, slice.end - slice.begin, (char *)job->data + offset, &square);
        }
    }
    if (job->squares) {
        e->square[job->bucket] = dpt_square_sum(&square);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status run_sum(struct dpt_exchange *e, const struct dpt_exchange__job *job)
{
    struct dpt_exchange__node *node = e->node;
    struct shelf *mine = shelf_of(node, node->rank);
    const size_t width = dpt_dtype_nbytes(job->dtype);
    const struct dpt_range all = {0, job->count};
    DPT_TRY(run_host(e, job));
    say(mine, &mine->summed, job->number + 1);
    for (int i = 1; i < node->size; i++) {
        const int r = (node->rank + i) % node->size;
        const struct dpt_range theirs = dpt_exchange_slice_of(all, node->size, r);
        const size_t offset = (size_t)theirs.begin * width;
        await(node, r, &shelf_of(node, r)->summed, job->number + 1);
        late(job->number);
        memcpy((char *)job->data + offset, copy_of(job, r) + offset, (size_t)(theirs.end - theirs.begin) * width);
    }
    say(mine, &mine->done, job->number + 1);
    await_done(node, job->number + 1);
    return DPT_STATUS_OK;
}

/* The slices of this rank and of its like on the other hosts. */
static void rail_slices(const struct dpt_exchange *e, int64_t count)
{
    struct dpt_exchange__node *node = e->node;
    for (int a = 0; a < node->nodes; a++) {
        node->slices.range[a] = dpt_exchange_slice_of((struct dpt_range){0, count}, e->comm->size, node->rail_rank[a]);
    }
}

static enum dpt_status run_scatter(struct dpt_exchange *e, const struct dpt_exchange__job *job)
{
    struct dpt_exchange__node *node = e->node;
    if (!node->rail) {
        return run_host(e, job);
    }
    dpt_exchange__node_await(node, job->number + 1);
    rail_slices(e, job->count);
    for (int a = 0; a < node->nodes; a++) {
        sum_range(node, job, node->slices.range[a]);
    }
    const struct dpt_comm__code code = dpt_exchange__code(e, job, 0);
    return job->wire == DPT_WIRE_KIND_FP32
               ? dpt_comm__scatter(node->rail, &node->slices, job->data, job->dtype, job->scratch)
               : dpt_comm__wire_scatter(node->rail, &node->slices, &code, job->data, job->scratch);
}

static enum dpt_status run_collect(struct dpt_exchange *e, const struct dpt_exchange__job *job)
{
    struct dpt_exchange__node *node = e->node;
    if (node->rail && !e->by_host) {
        rail_slices(e, job->count);
        DPT_TRY(dpt_comm__collect(node->rail, &node->slices, job->data, job->dtype));
    }
    say(shelf_of(node, node->rank), &shelf_of(node, node->rank)->summed, job->number + 1);
    await_summed(node, job->number + 1);
    return DPT_STATUS_OK;
}

static enum dpt_status run_small(struct dpt_exchange *e, const struct dpt_exchange__job *job)
{
    struct dpt_exchange__node *node = e->node;
    struct shelf *mine = shelf_of(node, node->rank);
    const int turn = (int)(node->small++ % 2);
    memcpy(mine->slot[turn], job->data, (size_t)job->count * dpt_dtype_nbytes(job->dtype));
    say(mine, &mine->summed, job->number + 1);
    await_summed(node, job->number + 1);
    late(job->number);
    for (int r = 0; r < node->size; r++) {
        node->part[r] = shelf_of(node, r)->slot[turn];
    }
    dpt_comm__add(job->dtype, job->count, node->size, node->part, job->data);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_exchange__node_run(struct dpt_exchange *exchange, const struct dpt_exchange__job *job)
{
    if (!job->block) {
        return run_small(exchange, job);
    }
    switch (job->kind) {
    case DPT_EXCHANGE__KIND_SUM: return run_sum(exchange, job);
    case DPT_EXCHANGE__KIND_HOST: return run_host(exchange, job);
    case DPT_EXCHANGE__KIND_SCATTER: return run_scatter(exchange, job);
    case DPT_EXCHANGE__KIND_COLLECT: return run_collect(exchange, job);
    }
    return DPT_STATUS_OK;
}

bool dpt_exchange__node_small(const struct dpt_exchange__node *node, int64_t count, enum dpt_dtype dtype)
{
    return !node->rail && count <= SMALL_NBYTES / (int64_t)dpt_dtype_nbytes(dtype);
}

/* ------------------------------------------------------------------------------------------------- who is where */

const struct dpt_comm__segment *dpt_exchange__node_find(const struct dpt_exchange__node *node, const void *data)
{
    for (int i = 0; i < node->nblocks; i++) {
        const char *begin = node->block[i].mine;
        if ((const char *)data >= begin && (const char *)data < begin + node->block[i].nbytes) {
            return &node->block[i];
        }
    }
    return NULL;
}

/* Groups the ranks by host. Collective. */
static enum dpt_status find_ranks(const struct dpt_exchange_conf *conf, struct dpt_exchange__node *node)
{
    struct dpt_comm *comm = conf->comm;
    if (conf->node_ranks > 0) {
        DPT_COMM__TRY(MPI_Comm_split(comm->mpi, comm->rank / conf->node_ranks, comm->rank, &node->mpi),
                      "dividing ranks into pretended hosts");
    } else {
        DPT_COMM__TRY(MPI_Comm_split_type(comm->mpi, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &node->mpi),
                      "finding the ranks of this host");
    }
    MPI_Comm_rank(node->mpi, &node->rank);
    MPI_Comm_size(node->mpi, &node->size);
    node->nodes = node->rank == 0;
    node->spins = conf->own_core ? LONG_SPINS : SPINS;
    DPT_COMM__TRY(MPI_Allreduce(MPI_IN_PLACE, &node->nodes, 1, MPI_INT, MPI_SUM, comm->mpi), "counting the hosts");
    return DPT_STATUS_OK;
}

/*
 * Whether all hosts have as many ranks, and in one piece where the order of sums is the tree's: then the tree of a host is
 * a branch of the whole. Collective.
 */
static enum dpt_status check_even(const struct dpt_exchange_conf *conf, const struct dpt_exchange__node *node,
                                  const char **why_not)
{
    struct dpt_comm *comm = conf->comm;
    int first = comm->rank, least_most[3] = {-node->size, node->size, 0}; /* the last: not neighbours */
    DPT_COMM__TRY(MPI_Bcast(&first, 1, MPI_INT, 0, node->mpi), "comparing hosts");
    least_most[2] = comm->rank - first != node->rank || first % node->size != 0;
    DPT_COMM__TRY(MPI_Allreduce(MPI_IN_PLACE, least_most, 3, MPI_INT, MPI_MAX, comm->mpi), "comparing hosts");
    if (-least_most[0] != least_most[1]) {
        *why_not = "the hosts have different numbers of ranks";
    } else if (least_most[1] == 1) {
        *why_not = ""; /* nothing to share, and nothing to tell */
    } else if (conf->tree && (node->size & (node->size - 1)) != 0) {
        *why_not = "the ranks of a host are no power of two, as the tree sum needs it";
    } else if (conf->tree && least_most[2]) {
        *why_not = "the ranks of a host are not neighbours, as the tree sum needs them";
    }
    return DPT_STATUS_OK;
}

static enum dpt_status open_rail(const struct dpt_exchange_conf *conf, struct dpt_exchange__node *node)
{
    DPT_TRY(dpt_comm_split(conf->comm, node->rank, &node->rail));
    node->rail_rank = calloc((size_t)node->nodes, sizeof *node->rail_rank);
    DPT_CHECK(node->rail_rank, DPT_STATUS_SPACE, "out of memory for the ranks of %d hosts", node->nodes);
    node->rail_rank[node->rail->rank] = conf->comm->rank;
    DPT_COMM__TRY(MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, node->rail_rank, 1, MPI_INT, node->rail->mpi),
                  "comparing ranks of hosts");
    return dpt_comm__slices_open(node->rail, &node->slices);
}

static enum dpt_status open_node(const struct dpt_exchange_conf *conf, struct dpt_exchange__node *node, char note[200])
{
    const char *why_not = NULL;
    char reason[160] = "";
    DPT_TRY(find_ranks(conf, node));
    DPT_TRY(check_even(conf, node, &why_not));
    if (!why_not) {
        int well = dpt_comm__segment_open(node->mpi, (size_t)node->size * sizeof(struct shelf), true, &node->shelf, reason);
        DPT_COMM__TRY(MPI_Allreduce(MPI_IN_PLACE, &well, 1, MPI_INT, MPI_MIN, conf->comm->mpi), "sharing memory");
        why_not = well ? NULL : reason[0] ? reason : "another host has no shared memory";
    }
    if (why_not) {
        snprintf(note, 200, "%s", why_not);
        node->nodes = 0; /* of no use */
        return DPT_STATUS_OK;
    }
    node->part = calloc((size_t)node->size, sizeof *node->part);
    DPT_CHECK(node->part, DPT_STATUS_SPACE, "out of memory for the ranks of a host");
    return node->nodes > 1 ? open_rail(conf, node) : DPT_STATUS_OK;
}

enum dpt_status dpt_exchange__node_open(const struct dpt_exchange_conf *conf, struct dpt_exchange__node **node,
                                        char note[200])
{
    struct dpt_exchange__node *made = calloc(1, sizeof *made);
    *node = NULL;
    DPT_TRY(dpt_agree(made ? DPT_STATUS_OK
                           : dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "out of memory for the exchange"),
                      conf->comm));
    made->mpi = MPI_COMM_NULL;
    const enum dpt_status status = dpt_agree(open_node(conf, made, note), conf->comm);
    if (status != DPT_STATUS_OK || made->nodes == 0) {
        dpt_exchange__node_close(made);
        return status;
    }
    *node = made;
    return DPT_STATUS_OK;
}

void dpt_exchange__node_close(struct dpt_exchange__node *node)
{
    if (!node) {
        return;
    }
    for (int i = 0; i < node->nblocks; i++) {
        dpt_comm__segment_close(&node->block[i]);
    }
    dpt_comm__segment_close(&node->shelf);
    if (node->rail) {
        dpt_comm__slices_close(&node->slices);
        dpt_comm_free(node->rail);
    }
    if (node->mpi != MPI_COMM_NULL) {
        MPI_Comm_free(&node->mpi);
    }
    free(node->rail_rank);
    free(node->part);
    free(node);
}
