/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The safetensors format: a 64-bit little-endian length, a JSON header of that many bytes (name, type, shape and place
 * of each tensor; padded with spaces), then the values, packed and without holes. Source: the section "Format" of the
 * safetensors project's README.
 */

#include <jansson.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "base/text.h"
#include "tensor/tensor.h"

enum {
    DPT_CKPT__HEADER_MAX = 100 * 1000 * 1000, /* bytes; the reference reader has the same limit          */
    DPT_CKPT__HEADER_ALIGN = 4096,            /* the values begin at a multiple of this when we write    */
};

struct dpt_ckpt__entry {
    const char *name;
    struct dpt_type type;
    int64_t offset; /* of the values, from the start of the file */
    int64_t nbytes;
};

/*
 * Lays out a file with these tensors in this order: sets offset and nbytes of each, appends to `head` all bytes that
 * come before the values, and returns the size of the file. DPT_STATUS_FAILED for names that cannot be stored and
 * for sizes beyond the format. Local.
 */
enum dpt_status dpt_ckpt__safetensors_layout(int count, struct dpt_ckpt__entry *entry, struct dpt_text *head,
                                             int64_t *nbytes);

/*
 * Reads the header of a file of `nbytes` bytes and checks all of it: the tensors must tile the rest of the file. The
 * entries come in order of offset, from the arena. DPT_STATUS_DATA. Local.
 */
enum dpt_status dpt_ckpt__safetensors_read(int fd, const char *path, int64_t nbytes, struct dpt_arena *arena,
                                           int *count, struct dpt_ckpt__entry **entry);

/*
 * Refuses a short text (`what`: "a tensor's name") that is empty, longer than 255 bytes, not UTF-8 or has control
 * characters. DPT_STATUS_DATA. Local.
 */
enum dpt_status dpt_ckpt__check_text(const char *path, const char *what, const char *text);

/* A type from its name ("F32") and a JSON array of dimensions. DPT_STATUS_DATA. Local. */
enum dpt_status dpt_ckpt__parse_type(const char *path, const char *name, const char *dtype, const json_t *shape,
                                     struct dpt_type *type);

/* Orders two entries by offset, then size, then name. Local. */
int dpt_ckpt__entry_compare(const void *a, const void *b);
