/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of ckpt/ share: names on disk, an opened checkpoint, reading at an offset. */

#include <stdbool.h>
#include <stdint.h>

#include "ckpt/ckpt.h"
#include "ckpt/manifest.h"

#define DPT_CKPT__FOLDER "checkpoints"     /* in the run directory                          */
#define DPT_CKPT__MANIFEST "MANIFEST.json" /* in a checkpoint                               */
#define DPT_CKPT__CONFIG "config.ini"      /* in a checkpoint                               */
#define DPT_CKPT__STEP "step-"             /* + step: a complete checkpoint                 */
#define DPT_CKPT__TMP "tmp-"               /* + step: being written, or left by a dead job  */
#define DPT_CKPT__DROP "drop-"             /* + step: being deleted, or left by a dead job  */

struct dpt_ckpt {
    struct dpt_arena *arena;
    const char *path;
    struct dpt_ckpt__manifest manifest;
    int *fd;                                   /* of each file of the manifest; -1: closed  */
    const struct dpt_ckpt__tensor **by_name;   /* the manifest's tensors by kind and name   */
    bool verified;
};

/* Room for DPT_CKPT__STEP and any step. */
enum { DPT_CKPT__NAME_SIZE = 32 };

/* "step-00011872" for a prefix and a step. Local. */
void dpt_ckpt__name(char name[DPT_CKPT__NAME_SIZE], const char *prefix, int64_t step);

/* The step of a name that dpt_ckpt__name made with this prefix, or -1. Local. */
int64_t dpt_ckpt__name_step(const char *name, const char *prefix);

/* The steps with a name of this prefix in <run>/checkpoints, highest first, from the arena. Local. */
int dpt_ckpt__steps(const char *folder, const char *prefix, struct dpt_arena *arena, int64_t **step);

/* The step that the pointer file `name` ("latest", "best") in this folder names, or -1. Local. */
int64_t dpt_ckpt__pointer(const char *folder, const char *name);

/* Reads exactly `nbytes` bytes at `offset`; less is DPT_STATUS_DATA. `path` is for the message. Local. */
enum dpt_status dpt_ckpt__read_at(int fd, const char *path, int64_t offset, void *data, size_t nbytes);

/* Orders two tensors by kind and name. Local. */
int dpt_ckpt__tensor_compare(const struct dpt_ckpt__tensor *a, const struct dpt_ckpt__tensor *b);
