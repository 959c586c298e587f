/* SPDX-License-Identifier: Apache-2.0 */
#include "toy.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void toy_fill(struct toy *toy, int salt)
{
    memset(toy, 0, sizeof *toy);
    for (int i = 0; i < 30; i++) {
        (&toy->conv[0][0][0])[i] = (float)(salt + i) * 0.25f;
        (&toy->momentum[0][0][0])[i] = (float)(salt - i) * 0.5f;
    }
    for (int i = 0; i < 7; i++) {
        toy->bias[i] = (float)(salt * 3 + i);
        toy->mean[i] = salt + 1.0 / (i + 1);
    }
    toy->batches = (int64_t)salt << 33;
    for (int i = 0; i < 4; i++) {
        toy->table[i] = salt * 100 - i;
    }
    for (int i = 0; i < 3; i++) {
        toy->mask[i] = (unsigned char)(salt + i);
    }
}

int toy_items(struct toy *toy, bool writer, struct dpt_ckpt_item item[TOY_ITEMS])
{
    const enum dpt_ckpt_file model = DPT_CKPT_FILE_MODEL;
    const struct dpt_ckpt_item all[TOY_ITEMS] = {
        {.name = "conv.weight", .file = model, .type = {DPT_DTYPE_F32, 3, {3, 2, 5}}, .data = toy->conv},
        {.name = "conv.bias", .file = model, .type = {DPT_DTYPE_F32, 1, {7}}, .data = toy->bias},
        {.name = "mask", .file = model, .type = {DPT_DTYPE_U8, 1, {3}}, .data = toy->mask},
        {.name = "bn.running_mean", .file = model, .type = {DPT_DTYPE_F64, 1, {7}}, .data = toy->mean},
        {.name = "bn.num_batches_tracked", .file = model, .type = {DPT_DTYPE_I64, 0, {0}}, .data = &toy->batches},
        {.name = "table", .file = model, .type = {DPT_DTYPE_I32, 2, {2, 2}}, .data = toy->table},
        {.name = "empty", .file = model, .type = {DPT_DTYPE_F32, 2, {0, 4}}, .data = NULL},
        {.name = "conv.weight.momentum",
         .file = DPT_CKPT_FILE_OPTIMIZER,
         .type = {DPT_DTYPE_F32, 3, {3, 2, 5}},
         .data = toy->momentum},
    };
    memcpy(item, all, sizeof all);
    for (int i = 0; i < TOY_ITEMS; i++) {
        memcpy(item[i].extent, item[i].type.dim, sizeof item[i].extent);
        item[i].writer = writer;
    }
    return TOY_ITEMS;
}

struct dpt_ckpt_meta toy_meta(int64_t step)
{
    return (struct dpt_ckpt_meta){
        .step = step,
        .samples_seen = 32 * step,
        .epoch = step / 10,
        .updates = step - 1,
        .elapsed_s = 0.1 * (double)step,
        .finished = step == 60,
        .best_step = 20,
        .best_value = 0.915,
        .best_metric = "valid accuracy",
        .config = "[run]\nname = toy \"quoted\"\n",
        .preparation = "{\"mean\": [0.1, 0.2]}",
        .layout = "data:2",
        .version = "0.1.0",
        .graph_hash = 0xfedcba9876543210u,
    };
}

enum dpt_status toy_save(const char *run, struct dpt_comm *comm, int64_t step, int salt, int keep, bool is_best)
{
    struct toy toy;
    struct dpt_ckpt_item item[TOY_ITEMS];
    const struct dpt_ckpt_meta meta = toy_meta(step);
    toy_fill(&toy, salt);
    uint64_t nbytes;
    return dpt_ckpt_save(run, comm, toy_items(&toy, dpt_comm_rank(comm) == 0, item), item, &meta, keep, is_best,
                         &nbytes);
}

bool toy_loads(struct dpt_ckpt *ckpt, int salt)
{
    struct toy want, got;
    struct dpt_ckpt_item item[TOY_ITEMS];
    toy_fill(&want, salt);
    memset(&got, 0, sizeof got);
    return dpt_ckpt_load(ckpt, toy_items(&got, false, item), item, false) == DPT_STATUS_OK &&
           memcmp(&want, &got, sizeof want) == 0;
}

const char *toy_folder(void)
{
    static char path[256];
    const char *tmp = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/dpt-test-XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(path);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info;
    (void)type;
    (void)walk;
    return remove(path);
}

void toy_remove(const char *folder)
{
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
