/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A small state to save and load in tests: every number type, a scalar, an empty tensor, an optimizer slot. */

#include <stdbool.h>
#include <stdint.h>

#include "ckpt/ckpt.h"

enum { TOY_ITEMS = 8 };

struct toy {
    float conv[3][2][5], momentum[3][2][5], bias[7];
    double mean[7];
    int64_t batches;
    int32_t table[4];
    unsigned char mask[3];
};

/* Fills the state with values that follow from `salt` and from the place. Local. */
void toy_fill(struct toy *toy, int salt);

/* Lists the state's tensors; returns TOY_ITEMS. Local. */
int toy_items(struct toy *toy, bool writer, struct dpt_ckpt_item item[TOY_ITEMS]);

/* What else is saved at a step. Local. */
struct dpt_ckpt_meta toy_meta(int64_t step);

/* Saves toy_fill(salt) as `step` of the run directory. Collective over comm. */
enum dpt_status toy_save(const char *run, struct dpt_comm *comm, int64_t step, int salt, int keep, bool is_best);

/* True when the opened checkpoint loads and holds toy_fill(salt). Local. */
bool toy_loads(struct dpt_ckpt *ckpt, int salt);

/* Makes an empty folder below the temporary one and returns its path, which toy_remove deletes with all in it. */
const char *toy_folder(void);
void toy_remove(const char *folder);
