/* SPDX-License-Identifier: Apache-2.0 */

/* What each rank computes on, and what the banner says of it. */

#include <stdlib.h>
#include <string.h>

#include "exec/device.h"
#include "train/internal.h"

enum dpt_status dpt_train__count_sharers(struct dpt_train *train)
{
    const int ranks = dpt_comm_size(train->world), rank = dpt_comm_rank(train->world);
    const unsigned char none[DPT_DEV_ID] = {0};
    train->sharers = 1;
    if (ranks == 1 || train->job->device.kind == DPT_DEVICE_CPU) {
        return DPT_STATUS_OK;
    }
    unsigned char *id = dpt_arena_array(train->arena, (size_t)ranks * DPT_DEV_ID, 1);
    int64_t *counts = dpt_arena_array(train->arena, (size_t)ranks, sizeof *counts);
    for (int r = 0; r < ranks; r++) {
        counts[r] = DPT_DEV_ID;
    }
    unsigned char *mine = id + (size_t)rank * DPT_DEV_ID;
    dpt_exec_card_id(dpt_comm_node_rank(), mine);
    DPT_TRY(dpt_comm_all_gather(train->world, NULL, counts, id, DPT_DTYPE_U8));
    for (int r = 0; r < ranks; r++) {
        const unsigned char *other = id + (size_t)r * DPT_DEV_ID;
        train->sharers += r != rank && memcmp(other, none, DPT_DEV_ID) != 0 && memcmp(other, mine, DPT_DEV_ID) == 0;
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_train__open_device(struct dpt_train *train)
{
    const struct dpt_job *job = train->job;
    struct dpt_exec_device_conf conf = {
        .kind = job->device.kind,
        .graph = train->graph,
        .sharers = train->sharers,
        .share = job->device.share,
        .threads = train->threads,
        .convolution = job->device.convolution,
        .tf32 = job->run.precision == DPT_PRECISION_TF32,
    };
    char why[DPT_EXEC_WHY];
    if (train->world) {
        conf.rank = dpt_comm_node_rank();
        DPT_TRY(dpt_exec_open_device(&conf, &train->dev, &train->run, why));
        train->no_card = *why ? dpt_arena_printf(train->arena, "%s", why) : NULL;
        return DPT_STATUS_OK;
    }
    conf.kind = DPT_DEVICE_CPU; /* a dry run needs no card */
    DPT_TRY(job->device.kind == DPT_DEVICE_CUDA ? dpt_exec_check_card(&conf) : DPT_STATUS_OK);
    DPT_TRY(dpt_exec_open_device(&conf, &train->dev, &train->run, why));
    train->run = job->device.kind == DPT_DEVICE_CUDA ? DPT_RUN_CUDA : train->run;
    return DPT_STATUS_OK;
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
