/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * ckpt/: the state of a training on disk: save, find, verify, load. A checkpoint is a folder
 *
 *     <run>/checkpoints/step-00011872/
 *         model.safetensors       parameters and running statistics, by logical name (torchvision's where they exist)
 *         optimizer.safetensors   "<name>.<slot>", e.g. fc.weight.momentum
 *         config.ini              the effective job
 *         MANIFEST.json           step, position, metrics, hashes, every piece of every tensor with its checksum
 *
 * that appears under its name by one rename only when everything in it is on disk; MANIFEST.json carries its own
 * checksum. It is indexed by logical tensor, independent of the layout that wrote it. The room trusts no byte of a
 * file: sizes, offsets, types, names and checksums are checked before use. It knows no plan: callers list tensors.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "comm/comm.h"
#include "conf/job.h"
#include "tensor/tensor.h"

enum { DPT_CKPT_MAX_LOSS_SHIFT = 24 };

enum dpt_ckpt_file { DPT_CKPT_FILE_MODEL, DPT_CKPT_FILE_OPTIMIZER };

/* A logical tensor and the part of it that this rank holds. */
struct dpt_ckpt_item {
    const char *name;
    enum dpt_ckpt_file file;
    struct dpt_type type;            /* of the whole tensor                                              */
    int64_t start[DPT_MAX_DIM];      /* the box in data: when saving all zeros and the whole shape       */
    int64_t extent[DPT_MAX_DIM];
    void *data;                      /* packed, row-major; NULL when saving from a source                */
    bool writer;                     /* this rank writes it: rank 0                                      */
};

/* Where tensors come from when no rank has all of them. */
struct dpt_ckpt_source {
    void *user;
    /* Puts the whole of item `item` together, on rank 0 at least. Collective over the comm of the save. */
    enum dpt_status (*fetch)(void *user, int item, void *whole);
};

/* Everything of a training that is not a tensor. Strings are borrowed on save, from the arena on load. */
struct dpt_ckpt_meta {
    int64_t step;          /* steps done                                                */
    int64_t samples_seen;  /* since the start                                           */
    int64_t epoch;         /* of the next sample                                        */
    int64_t updates;       /* optimizer updates done (equals step unless some were skipped) */
    int loss_shift;        /* gradients are those of 2^loss_shift times the loss        */
    int64_t steady;        /* updates since that last changed                           */
    double elapsed_s;      /* training time so far, over all starts                     */
    bool finished;         /* the job's length was reached                              */
    int64_t best_step;     /* -1: none                                                  */
    double best_value;     /* of the watched metric                                     */
    const char *best_metric; /* "valid accuracy"; NULL: none                            */
    const char *config;    /* dpt_job_print(FULL)                                       */
    const char *preparation; /* data preparation JSON; NULL: none                       */
    const char *layout;    /* "data:2"                                                  */
    const char *version;   /* of dpt                                                    */
    const char *saved_utc; /* "2026-11-24T10:02:11Z"; set by save, not read from the caller */
    uint64_t graph_hash;
};

struct dpt_ckpt; /* an opened, verified checkpoint */

/*
 * Writes <run>/checkpoints/step-<step> and then removes all but the newest `keep` (never this one, never the one that
 * `best` names). `is_best`: also moves the `best` pointer. Leaves either the old or the new set whole at any moment. A
 * failure removes what was begun; DPT_STATUS_SPACE when the disk or quota is full. A run directory belongs to one job
 * at a time: what an earlier one left half written is removed. Rank 0 writes; items of other ranks must not be
 * writers. Tensors are taken from `source`, one at a time, unless it is NULL. nbytes: written. Collective over comm; the
 * deadline is suspended.
 */
enum dpt_status dpt_ckpt_save_from(const char *run, struct dpt_comm *comm, const struct dpt_ckpt_source *source, int nitems,
                                   const struct dpt_ckpt_item *item, const struct dpt_ckpt_meta *meta, int keep,
                                   bool is_best, uint64_t *nbytes);

/* The same without a source. */
enum dpt_status dpt_ckpt_save(const char *run, struct dpt_comm *comm, int nitems, const struct dpt_ckpt_item *item,
                              const struct dpt_ckpt_meta *meta, int keep, bool is_best, uint64_t *nbytes);

/*
 * Finds what to go on from: `path` is a checkpoint folder, or a run directory whose newest good checkpoint is taken
 * ("best" with `best`). Damaged or incomplete ones are passed over, each named with its fault in a line of `notes`.
 * *ckpt is NULL with DPT_STATUS_OK when there is no checkpoint at all; DPT_STATUS_DATA when there are only bad ones.
 * Verifies every checksum. Local.
 */
struct dpt_text;
enum dpt_status dpt_ckpt_open(const char *path, bool best, struct dpt_ckpt **ckpt, struct dpt_text *notes);
void dpt_ckpt_close(struct dpt_ckpt *ckpt);

/* Which checkpoint of a run directory a program takes. */
enum dpt_ckpt_which {
    DPT_CKPT_WHICH_AUTO, /* the best one where there is one, else the newest */
    DPT_CKPT_WHICH_BEST,
    DPT_CKPT_WHICH_LATEST,
};

/*
 * Opens what a program was told to use: a run directory or the folder of one checkpoint. DPT_STATUS_DATA, also where there
 * is none. Local.
 */
enum dpt_status dpt_ckpt_choose(const char *path, enum dpt_ckpt_which which, struct dpt_ckpt **ckpt,
                                struct dpt_text *notes);

/* The job that made a checkpoint. DPT_STATUS_DATA. Freed by dpt_job_free. Local. */
enum dpt_status dpt_ckpt_job(const struct dpt_ckpt *ckpt, struct dpt_job **job);

/*
 * As dpt_ckpt_open, but for tools that only look: reads the index and compares sizes, reads no values and verifies no
 * checksum but the index's own. What it returns must not be loaded. Local.
 */
enum dpt_status dpt_ckpt_peek(const char *path, bool best, struct dpt_ckpt **ckpt, struct dpt_text *notes);

/*
 * The folders of all checkpoints that a run directory has, good or not, newest first; of a checkpoint folder just
 * itself. Returns how many; `folder` and its strings are from the arena. Local.
 */
int dpt_ckpt_list(const char *path, struct dpt_arena *arena, char ***folder);

const struct dpt_ckpt_meta *dpt_ckpt_meta(const struct dpt_ckpt *ckpt);
const char *dpt_ckpt_path(const struct dpt_ckpt *ckpt);
uint64_t dpt_ckpt_nbytes(const struct dpt_ckpt *ckpt); /* of all its files */

/* The i-th tensor of the index: name, file, type and the whole as its box (data NULL); false past the end. Local. */
bool dpt_ckpt_at(const struct dpt_ckpt *ckpt, int i, struct dpt_ckpt_item *item);

/* What dpt_ckpt_load checks before it reads: names, shapes, types, tensors that no item asks for. Local. */
enum dpt_status dpt_ckpt_check(struct dpt_ckpt *ckpt, int nitems, const struct dpt_ckpt_item *item, bool subset);

/*
 * Reads each item's box. A missing tensor or another shape or type is DPT_STATUS_DATA with names and shapes; so are
 * tensors of the model file that no item asks for, unless `subset`. Local.
 */
enum dpt_status dpt_ckpt_load(struct dpt_ckpt *ckpt, int nitems, struct dpt_ckpt_item *item, bool subset);

/*
 * The same for tensors of a subset whose place the host cannot write to: one after the other is read into memory of the
 * host and given to `give`, which copies it. Local.
 */
typedef enum dpt_status dpt_ckpt_give_fn(void *user, int item, const void *data, size_t nbytes);
enum dpt_status dpt_ckpt_load_each(struct dpt_ckpt *ckpt, int nitems, const struct dpt_ckpt_item *item,
                                   dpt_ckpt_give_fn *give, void *user);
