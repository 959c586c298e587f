/* SPDX-License-Identifier: Apache-2.0 */
#include "comm/channel.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "comm/impl.h"
#include "comm/segment.h"

/* What a rank says of a channel: alone on its lines of the cache. */
struct entry {
    _Alignas(128) _Atomic uint64_t count; /* messages left by the sender, or taken by the receiver */
    uint64_t offset, stride, window;      /* of the sender's slots, from the begin of its block     */
};

struct dpt_channels {
    struct dpt_comm *comm;
    MPI_Comm node;
    struct dpt_comm__segment segment; /* entries of all channels, then the slots */
    int count;
    int *rank; /* in node of each rank of comm; -1: on another host */
};

static struct entry *entries_of(const struct dpt_channels *channels, int peer)
{
    return (struct entry *)(void *)channels->segment.peer[channels->rank[peer]];
}

static struct entry *mine(const struct dpt_channels *channels)
{
    return entries_of(channels, channels->comm->rank);
}

/* The ranks of comm on this host. Collective. */
static enum dpt_status find_ranks(struct dpt_channels *channels)
{
    struct dpt_comm *comm = channels->comm;
    MPI_Group all, here;
    DPT_COMM__TRY(MPI_Comm_split_type(comm->mpi, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &channels->node),
                  "finding the ranks of this host");
    MPI_Comm_group(comm->mpi, &all);
    MPI_Comm_group(channels->node, &here);
    for (int r = 0; r < comm->size; r++) {
        MPI_Group_translate_ranks(all, 1, &r, here, &channels->rank[r]);
        channels->rank[r] = channels->rank[r] == MPI_UNDEFINED ? -1 : channels->rank[r];
    }
    MPI_Group_free(&all);
    MPI_Group_free(&here);
    return DPT_STATUS_OK;
}

/* Blocks of one size, that of the rank that needs most. Collective over the host. */
static enum dpt_status share(struct dpt_channels *channels, size_t nbytes, bool *shared)
{
    char reason[160];
    int ranks;
    uint64_t most = (uint64_t)channels->count * sizeof(struct entry) + nbytes;
    MPI_Comm_size(channels->node, &ranks);
    DPT_COMM__TRY(MPI_Allreduce(MPI_IN_PLACE, &most, 1, MPI_UINT64_T, MPI_MAX, channels->node), "the size of a block");
    *shared = ranks > 1 && dpt_comm__segment_open(channels->node, most, false, &channels->segment, reason);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_channels_open(struct dpt_comm *comm, int count, size_t nbytes, struct dpt_channels **channels)
{
    *channels = NULL;
    if (comm->size == 1) {
        return DPT_STATUS_OK;
    }
    struct dpt_channels *made = calloc(1, sizeof *made);
    int *rank = calloc((size_t)comm->size, sizeof *rank);
    enum dpt_status status = made && rank ? DPT_STATUS_OK
                                          : dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__,
                                                          "out of memory for the messages of %d ranks", comm->size);
    status = dpt_agree(status, comm);
    if (status != DPT_STATUS_OK) {
        free(made);
        free(rank);
        return status;
    }
    bool shared = false;
    *made = (struct dpt_channels){.comm = comm, .node = MPI_COMM_NULL, .count = count, .rank = rank};
    status = find_ranks(made);
    status = status == DPT_STATUS_OK ? share(made, nbytes, &shared) : status;
    if (status != DPT_STATUS_OK || !shared) {
        dpt_channels_close(made);
        return status;
    }
    *channels = made;
    return DPT_STATUS_OK;
}

void dpt_channels_close(struct dpt_channels *channels)
{
    if (!channels) {
        return;
    }
    dpt_comm__segment_close(&channels->segment);
    if (channels->node != MPI_COMM_NULL) {
        MPI_Comm_free(&channels->node);
    }
    free(channels->rank);
    free(channels);
}

void *dpt_channels_block(const struct dpt_channels *channels)
{
    return mine(channels) + channels->count;
}

bool dpt_channels_reach(const struct dpt_channels *channels, int peer)
{
    return channels->rank[peer] >= 0;
}

void dpt_channels_place(struct dpt_channels *channels, int channel, const void *slots, size_t stride, int window)
{
    struct entry *entry = &mine(channels)[channel];
    entry->offset = (uint64_t)((const char *)slots - (const char *)mine(channels));
    entry->stride = stride;
    entry->window = (uint64_t)window;
}

/* Waits until another rank's count is at least that: soon as a rule, else the core is for whoever computes. */
static void await(const struct dpt_channels *channels, int peer, const _Atomic uint64_t *count, uint64_t least)
{
    enum { SPINS = 2000, YIELDS = 2000 };
    const struct timespec nap = {.tv_nsec = 50000};
    if (atomic_load_explicit(count, memory_order_acquire) >= least) {
        return;
    }
    dpt_comm_waits_for(dpt_comm__world(channels->comm)[peer]);
    for (int i = 0; atomic_load_explicit(count, memory_order_acquire) < least; i++) {
        if (i >= SPINS + YIELDS) {
            nanosleep(&nap, NULL);
        } else if (i >= SPINS) {
            sched_yield();
        }
    }
    dpt_comm_waits_for(-1);
}

static const struct entry *entry_of(const struct dpt_channels *channels, int peer, int channel)
{
    DPT_ASSERT(peer >= 0 && peer < channels->comm->size && dpt_channels_reach(channels, peer));
    DPT_ASSERT(channel >= 0 && channel < channels->count);
    return &entries_of(channels, peer)[channel];
}

void dpt_channels_send(struct dpt_channels *channels, int channel, int peer, const void *data, size_t nbytes)
{
    const struct entry *receiver = entry_of(channels, peer, channel);
    struct entry *entry = &mine(channels)[channel];
    const uint64_t number = atomic_load_explicit(&entry->count, memory_order_relaxed);
    DPT_ASSERT(entry->window > 0 && nbytes <= entry->stride);
    dpt_comm__progress();
    channels->comm->moved += nbytes;
    if (number >= entry->window) {
        await(channels, peer, &receiver->count, number + 1 - entry->window);
    }
    if (nbytes > 0) {
        memcpy((char *)mine(channels) + entry->offset + number % entry->window * entry->stride, data, nbytes);
    }
    atomic_store_explicit(&entry->count, number + 1, memory_order_release);
}

void dpt_channels_receive(struct dpt_channels *channels, int channel, int peer, void *data, size_t nbytes)
{
    const struct entry *sender = entry_of(channels, peer, channel);
    struct entry *entry = &mine(channels)[channel];
    const uint64_t number = atomic_load_explicit(&entry->count, memory_order_relaxed);
    await(channels, peer, &sender->count, number + 1);
    DPT_ASSERT(nbytes <= sender->stride);
    if (nbytes > 0) {
        const char *block = (const char *)entries_of(channels, peer);
        memcpy(data, block + sender->offset + number % sender->window * sender->stride, nbytes);
    }
    atomic_store_explicit(&entry->count, number + 1, memory_order_release);
    dpt_comm__progress();
}
