/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How cards exchange what their ranks sum: in a ring of cards (NCCL) where each rank has one to itself, by an MPI that takes
 * memory of cards, or through pinned memory of the host, which always can.
 */

#include <stdio.h>
#include <string.h>

#include "train/internal.h"

/* Why the sums of this job, or this rank, do not go there; NULL: they may. */
static const char *why_not_ring(const struct dpt_train *train)
{
    const char *why;
    if (train->run != DPT_RUN_CUDA) {
        return "a rank computes on cores";
    }
    if (train->sharers > 1) {
        return "ranks share a card";
    }
    return dpt_dev_ring_library(&why) ? NULL : why;
}

static const char *why_not_direct(const struct dpt_train *train)
{
    if (train->run != DPT_RUN_CUDA) {
        return "a rank computes on cores";
    }
    if (train->job->parallel.shard != DPT_SHARD_NONE) {
        return "parallel.shard needs sums of slices";
    }
    return dpt_comm_takes_cards() ? NULL : "the MPI library does not take memory of cards";
}

/* What is summed in another order or form than by a plain sum of whole buckets. */
static const char *why_neither(const struct dpt_train *train)
{
    const struct dpt_job *job = train->job;
    return dpt_train__axis(train, "data") != dpt_train__ranks(train) ? "data is not the only axis of the layout"
           : job->parallel.update != DPT_UPDATE_SYNC                 ? "ranks go their own ways"
           : job->parallel.exchange == DPT_ROUTE_SHARED || job->parallel.exchange == DPT_ROUTE_HIERARCHICAL
               ? "parallel.exchange asks for memory of hosts"
           : job->run.reproducible                                   ? "a reproducible run sums in an order of its own"
           : dpt_train__wire(job).kind != DPT_WIRE_KIND_FP32         ? "parallel.wire is not fp32"
           : train->graph->real != DPT_DTYPE_F32                     ? "the numbers are not fp32"
                                                                     : NULL;
}

/* Whether no rank has a reason against it; the first one's is told to all. Collective. */
static enum dpt_status agree(const struct dpt_train *train, const char *why, char *all, size_t size, bool *can)
{
    const int ranks = dpt_comm_size(train->world), rank = dpt_comm_rank(train->world);
    int first = why ? rank : ranks;
    DPT_TRY(dpt_comm_allreduce(train->world, &first, 1, DPT_DTYPE_I32, DPT_COMM_REDUCE_MIN));
    *can = first == ranks;
    snprintf(all, size, "%s", why ? why : "");
    return *can ? DPT_STATUS_OK : dpt_comm_bcast(train->world, all, size, first);
}

/* Collective. */
static enum dpt_status open_ring(struct dpt_train *train)
{
    unsigned char id[DPT_DEV_RING_ID] = {0};
    const int ranks = dpt_comm_size(train->world), rank = dpt_comm_rank(train->world);
    const enum dpt_status status = rank == 0 ? dpt_dev_ring_id(train->dev, id) : DPT_STATUS_OK;
    DPT_TRY(dpt_agree(status, train->world));
    DPT_TRY(dpt_comm_bcast(train->world, id, sizeof id, 0));
    dpt_comm_action("open", "the ring of cards");
    return dpt_agree(dpt_dev_ring_new(train->dev, ranks, rank, id, &train->ring), train->world);
}

/* "MPI: the library ...". */
static void add_reason(struct dpt_train *train, const char *way, const char *why)
{
    train->no_ring = dpt_arena_printf(train->arena, "%s%s%s: %s", train->no_ring ? train->no_ring : "",
                                      train->no_ring ? "; " : "", way, why);
}

enum dpt_status dpt_train__join_cards(struct dpt_train *train)
{
    enum { SIZE = 200 };
    const enum dpt_between asked = train->job->device.exchange;
    const char *neither = why_neither(train), *unused;
    char why[SIZE];
    bool can;
    if (!train->anyone_apart || dpt_comm_size(train->world) == 1 || asked == DPT_BETWEEN_HOST) {
        return DPT_STATUS_OK;
    }
    if (asked != DPT_BETWEEN_MPI) {
        DPT_TRY(agree(train, neither ? neither : why_not_ring(train), why, SIZE, &can));
        DPT_CHECK(can || asked != DPT_BETWEEN_NCCL, DPT_STATUS_USAGE, "[device] exchange = nccl: %s; set it to auto", why);
        if (can) {
            train->between = dpt_arena_printf(train->arena, "%s", dpt_dev_ring_library(&unused));
            return open_ring(train);
        }
        add_reason(train, "NCCL", why);
    }
    if (asked != DPT_BETWEEN_NCCL) {
        DPT_TRY(agree(train, neither ? neither : why_not_direct(train), why, SIZE, &can));
        DPT_CHECK(can || asked != DPT_BETWEEN_MPI, DPT_STATUS_USAGE, "[device] exchange = mpi: %s; set it to auto", why);
        train->direct = can;
        if (!can) {
            add_reason(train, "MPI", why);
        }
    }
    return DPT_STATUS_OK;
}
