/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Room-private: the bytes of a file, unpacked where it is packed. */

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct dpt_text__stream;

/* Opens a plain, gzip or Zstandard file. DPT_STATUS_DATA, DPT_STATUS_SPACE. Local. */
enum dpt_status dpt_text__stream_open(const char *path, struct dpt_text__stream **stream);

/* Fills `to` with up to `nbytes` bytes; less only at the end. DPT_STATUS_DATA where the file is damaged. Local. */
enum dpt_status dpt_text__stream_read(struct dpt_text__stream *stream, char *to, size_t nbytes, size_t *got);

/* Bytes of the file read so far. Local. */
int64_t dpt_text__stream_done(const struct dpt_text__stream *stream);

/* NULL is fine. Local. */
void dpt_text__stream_close(struct dpt_text__stream *stream);
