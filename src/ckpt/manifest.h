/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * MANIFEST.json: the index of a checkpoint. Each logical tensor is a list of pieces; a piece is a box of the tensor,
 * packed and row-major at some place of some file. Today one rank writes each tensor as one piece. A layout that
 * splits tensors lets each rank write its own boxes to its own file, and nothing here changes.
 *
 * The last line holds the checksum of all lines before it.
 */

#include "base/arena.h"
#include "base/status.h"
#include "base/text.h"
#include "ckpt/ckpt.h"

enum { DPT_CKPT__MANIFEST_VERSION = 1 };

struct dpt_ckpt__file {
    const char *name;
    int64_t nbytes;
    char checksum[33]; /* XXH3-128 of the whole file, as `xxh128sum` prints it */
};

struct dpt_ckpt__piece {
    int file;                    /* index into the files     */
    int64_t offset;              /* from the start of it     */
    int64_t nbytes;
    int64_t start[DPT_MAX_DIM];  /* the box                  */
    int64_t extent[DPT_MAX_DIM];
    char checksum[33];           /* XXH3-128 of these bytes  */
};

struct dpt_ckpt__tensor {
    const char *name;
    enum dpt_ckpt_file kind;
    struct dpt_type type;
    int npieces;
    struct dpt_ckpt__piece *piece;
};

struct dpt_ckpt__manifest {
    struct dpt_ckpt_meta meta; /* config excepted: it is a file of its own */
    int nfiles;
    struct dpt_ckpt__file *file;
    int ntensors;
    struct dpt_ckpt__tensor *tensor;
};

/* Appends the manifest as text, with its checksum. Local. */
void dpt_ckpt__manifest_print(const struct dpt_ckpt__manifest *manifest, struct dpt_text *text);

/*
 * Parses and checks a manifest: its checksum, every field, that files are plain names, that pieces lie in their files
 * and that they cover each tensor exactly once. Strings come from the arena. DPT_STATUS_DATA. Local.
 */
enum dpt_status dpt_ckpt__manifest_parse(const char *path, const char *text, size_t nbytes, struct dpt_arena *arena,
                                         struct dpt_ckpt__manifest *manifest);

/* "model", "optimizer". Local. */
const char *dpt_ckpt__kind_name(enum dpt_ckpt_file kind);
