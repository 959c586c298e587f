/* SPDX-License-Identifier: Apache-2.0 */

/*
 * NCCL for cards that are not there: the ranks of a host meet in shared memory, when the turn of a sum comes in each one's
 * stream, and add up piece after piece in the order of the ranks. Ranks that ask for different things end with a message.
 */

#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dev/cuda_nccl.h"

enum { MAX_RANKS = 8, PIECE = 4096 };

struct shared {
    atomic_int arrived, turn;
    size_t count[MAX_RANKS]; /* what each asked for; kind is in the lowest bits */
    float piece[MAX_RANKS][PIECE];
};

struct emulated_ring {
    int ranks, rank;
    struct shared *shared;
};

enum kind { KIND_SUM, KIND_SUM_AT, KIND_TELL, KINDS };

struct job {
    struct emulated_ring *ring;
    const float *from;
    float *to;
    size_t count;
    enum kind kind;
    int root;
};

static ncclResult_t get_version(int *version)
{
    *version = 0;
    return ncclSuccess;
}

static const char *text(ncclResult_t result)
{
    return result == ncclSystemError ? "unhandled system error" : "invalid argument";
}

static ncclResult_t get_id(ncclUniqueId *id)
{
    static int count;
    memset(id, 0, sizeof *id);
    snprintf(id->internal, sizeof id->internal, "/dpt-emulated-%ld-%d", (long)getpid(), count++);
    const int file = shm_open(id->internal, O_RDWR | O_CREAT | O_EXCL, 0600);
    const int failed = file < 0 || ftruncate(file, sizeof(struct shared));
    if (file >= 0) {
        close(file);
    }
    return failed ? ncclSystemError : ncclSuccess;
}

static void meet(struct emulated_ring *ring)
{
    struct shared *shared = ring->shared;
    const int turn = atomic_load(&shared->turn);
    if (atomic_fetch_add(&shared->arrived, 1) + 1 == ring->ranks) {
        atomic_store(&shared->arrived, 0);
        atomic_store(&shared->turn, turn + 1);
    }
    while (atomic_load(&shared->turn) == turn) {
        sched_yield();
    }
}

static ncclResult_t open_ring(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank)
{
    struct emulated_ring *ring = calloc(1, sizeof *ring);
    const int file = shm_open(id.internal, O_RDWR, 0);
    if (!ring || file < 0 || ranks > MAX_RANKS) {
        free(ring);
        return ncclSystemError;
    }
    ring->ranks = ranks;
    ring->rank = rank;
    ring->shared = mmap(NULL, sizeof *ring->shared, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (ring->shared == MAP_FAILED) {
        free(ring);
        return ncclSystemError;
    }
    meet(ring);
    if (rank == 0) {
        shm_unlink(id.internal);
    }
    *comm = ring;
    return ncclSuccess;
}

static ncclResult_t close_ring(ncclComm_t comm)
{
    munmap(comm->shared, sizeof *comm->shared);
    free(comm);
    return ncclSuccess;
}

/* Everybody must have come for the same. */
static void compare(struct emulated_ring *ring, const struct job *job)
{
    struct shared *shared = ring->shared;
    shared->count[ring->rank] = (job->count * MAX_RANKS + (size_t)job->root) * KINDS + job->kind;
    meet(ring);
    for (int r = 0; r < ring->ranks; r++) {
        if (shared->count[r] != shared->count[ring->rank]) {
            fprintf(stderr, "ring of cards: rank %d asks for %zu floats of kind %d, rank %d for something else\n",
                    ring->rank, job->count, (int)job->kind, r);
            abort();
        }
    }
}

static void do_job(const void *argument)
{
    const struct job *job = argument;
    struct emulated_ring *ring = job->ring;
    const bool gets = job->kind != KIND_SUM_AT || job->root == ring->rank;
    compare(ring, job);
    for (size_t done = 0; done < job->count; done += PIECE) {
        const size_t part = job->count - done < PIECE ? job->count - done : PIECE;
        memcpy(ring->shared->piece[ring->rank], job->from + done, part * sizeof(float));
        meet(ring);
        for (size_t i = 0; i < part && gets; i++) {
            float sum = 0.0f;
            for (int r = 0; r < ring->ranks; r++) {
                sum += job->kind != KIND_TELL || r == job->root ? ring->shared->piece[r][i] : 0.0f;
            }
            job->to[done + i] = sum;
        }
        meet(ring);
    }
}

static ncclResult_t ask(struct job job, ncclDataType_t type, ncclComm_t comm, cudaStream_t stream)
{
    job.ring = comm;
    if (type != ncclFloat32 || job.root < 0 || job.root >= comm->ranks) {
        return ncclInvalidArgument;
    }
    emulated_do_copy(stream, do_job, &job, sizeof job);
    return ncclSuccess;
}

static ncclResult_t sum(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,
                        cudaStream_t stream)
{
    (void)op;
    return ask((struct job){.from = from, .to = to, .count = count, .kind = KIND_SUM}, type, comm, stream);
}

static ncclResult_t sum_at(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op, int root,
                           ncclComm_t comm, cudaStream_t stream)
{
    (void)op;
    return ask((struct job){.from = from, .to = to, .count = count, .kind = KIND_SUM_AT, .root = root}, type, comm, stream);
}

static ncclResult_t tell(const void *from, void *to, size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                         cudaStream_t stream)
{
    return ask((struct job){.from = from, .to = to, .count = count, .kind = KIND_TELL, .root = root}, type, comm, stream);
}

static ncclResult_t nothing(void)
{
    return ncclSuccess;
}

const char *dpt_cuda__open_nccl(struct dpt_nccl *nccl)
{
    static char library;
    *nccl = (struct dpt_nccl){
        .library = &library,
        .version = get_version,
        .text = text,
        .id = get_id,
        .open = open_ring,
        .close = close_ring,
        .sum = sum,
        .sum_at = sum_at,
        .tell = tell,
        .group_begin = nothing,
        .group_end = nothing,
    };
    return NULL;
}
