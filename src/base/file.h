/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Files: whole reads, durable writes, folders. Every message names the path. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/*
 * Reads a whole file of at most `limit` bytes into a malloc'ed, NUL-terminated block that the caller frees.
 * DPT_STATUS_DATA when it is missing, unreadable or larger. Local.
 */
enum dpt_status dpt_file_read(const char *path, size_t limit, char **data, size_t *nbytes);

/*
 * Replaces `path` by these bytes so that a crash leaves the old or the new content whole: writes beside it, fsyncs,
 * renames, fsyncs the folder. DPT_STATUS_SPACE when the disk or quota is full, else DPT_STATUS_FAILED. Local.
 */
enum dpt_status dpt_file_replace(const char *path, const void *data, size_t nbytes);

/* Makes a folder and its parents; an existing one is fine. Local. */
enum dpt_status dpt_file_mkdir(const char *path);

/* fsyncs a folder, so that a rename in it lasts. Local. */
enum dpt_status dpt_file_sync_dir(const char *path);

/* The status that fits an errno of a failed write: DPT_STATUS_SPACE for a full disk or quota. Local. */
enum dpt_status dpt_file_write_status(int error);

/* True when the path exists (of any kind). Local. */
bool dpt_file_exists(const char *path);

/* True when the path is a folder, or leads to one. Local. */
bool dpt_file_is_folder(const char *path);

/* Removes a folder with the plain files in it (no sub-folders). Local. */
enum dpt_status dpt_file_remove_dir(const char *path);
