/* SPDX-License-Identifier: Apache-2.0 */

/* What a rank computes on: a card of its host, or the cores. */

#include <stdlib.h>
#include <string.h>

#include "train/internal.h"

/* Refuses what no kernel for cards does. */
static enum dpt_status check_graph(const struct dpt_train *train)
{
    const struct dpt_graph *graph = train->graph;
    DPT_CHECK(train->job->parallel.update == DPT_UPDATE_SYNC, DPT_STATUS_USAGE,
              "ranks that go their own ways (parallel.update) compute on cores only");
    for (int n = 0; n < graph->nnodes; n++) {
        struct dpt_op_types types;
        dpt_graph_types(graph, &graph->node[n], &types);
        DPT_TRY(dpt_op_check_run(graph->node[n].op, &types, DPT_RUN_CUDA));
    }
    return DPT_STATUS_OK;
}

/* The card of this rank among `cards`: each has one of its own, unless they share. */
static enum dpt_status choose_card(const struct dpt_train *train, int cards, int *card)
{
    const int rank = dpt_comm_node_rank(train->world), ranks = dpt_comm_node_size(train->world);
    DPT_CHECK(ranks <= cards || train->job->device.share, DPT_STATUS_USAGE,
              "%d ranks of host %s would share %d card%s: start fewer, or set device.share = yes, or device.kind = cpu",
              ranks, dpt_comm_host(), cards, cards == 1 ? "" : "s");
    *card = rank % cards;
    return DPT_STATUS_OK;
}

static enum dpt_status open_cores(struct dpt_train *train)
{
    train->run = DPT_RUN_CPU;
    return dpt_dev_cpu(train->threads, &train->dev);
}

enum dpt_status dpt_train__open_device(struct dpt_train *train)
{
    const enum dpt_device kind = train->job->device.kind;
    const char *why;
    int card = 0;
    if (kind == DPT_DEVICE_CPU) {
        return open_cores(train);
    }
    if (!train->world && kind == DPT_DEVICE_CUDA) { /* a dry run needs no card */
        DPT_TRY(check_graph(train));
        DPT_TRY(open_cores(train));
        train->run = DPT_RUN_CUDA;
        return DPT_STATUS_OK;
    }
    const int cards = train->world ? dpt_dev_cuda_count(&why) : 0;
    if (kind == DPT_DEVICE_CUDA) {
        DPT_CHECK(cards > 0, DPT_STATUS_USAGE, "[device] kind = cuda on host %s: %s", dpt_comm_host(), why);
        DPT_TRY(check_graph(train));
    } else if (cards == 0) {
        return open_cores(train);
    } else if (check_graph(train) != DPT_STATUS_OK) {
        train->no_card = dpt_arena_printf(train->arena, "%s", dpt_error_text());
        dpt_error_clear();
        return open_cores(train);
    }
    DPT_TRY(choose_card(train, cards, &card));
    train->run = DPT_RUN_CUDA;
    return dpt_dev_cuda(card, &train->dev);
}

enum dpt_status dpt_train__tell_devices(struct dpt_train *train)
{
    enum { SIZE = sizeof train->dev->name };
    const int ranks = dpt_comm_size(train->world), rank = dpt_comm_rank(train->world);
    int apart = dpt_dev_is_apart(train->dev);
    bool alike = true;
    DPT_TRY(dpt_comm_allreduce(train->world, &apart, 1, DPT_DTYPE_I32, DPT_COMM_REDUCE_MAX));
    train->anyone_apart = apart;
    if (!apart) { /* cores: those of rank 0 stand for all */
        return DPT_STATUS_OK;
    }
    char *names = calloc((size_t)ranks, SIZE);
    int64_t *counts = calloc((size_t)ranks, sizeof *counts);
    const enum dpt_status status =
        names && counts ? DPT_STATUS_OK
                        : dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "no memory for the names of %d devices", ranks);
    for (int r = 0; r < ranks && status == DPT_STATUS_OK; r++) {
        counts[r] = SIZE;
    }
    enum dpt_status gathered = dpt_agree(status, train->world);
    if (gathered == DPT_STATUS_OK) {
        gathered = dpt_comm_all_gather(train->world, train->dev->name, counts, names, DPT_DTYPE_U8);
    }
    for (int r = 1; r < ranks && gathered == DPT_STATUS_OK; r++) {
        alike = alike && strcmp(names, names + (size_t)r * SIZE) == 0;
    }
    free(counts);
    if (gathered == DPT_STATUS_OK && rank == 0 && !alike) {
        train->devices = dpt_arena_memdup(train->arena, names, (size_t)ranks * SIZE);
    }
    free(names);
    return gathered;
}
