/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Writes scalars as a TensorBoard event file: events.out.tfevents.<time>.<host>, a row of records, each framed as
 * u64 length, masked CRC32C of it, bytes, masked CRC32C of them (the TFRecord format), where the bytes are a protobuf
 * message Event. Each start of a job makes a new file; TensorBoard shows those of a folder as one run.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct dpt_tensorboard;

/*
 * Makes an event file in an existing folder; ended by dpt_tensorboard_close. DPT_STATUS_SPACE when the disk or quota
 * is full, else DPT_STATUS_FAILED. Local.
 */
enum dpt_status dpt_tensorboard_open(const char *folder, struct dpt_tensorboard **writer);

/* Adds a value of the curve `tag` ("train/loss"), visible to readers at once. The same statuses. Local. */
enum dpt_status dpt_tensorboard_scalar(struct dpt_tensorboard *writer, const char *tag, int64_t step, double value);

/* Ends the file; NULL is fine. Local. */
void dpt_tensorboard_close(struct dpt_tensorboard *writer);

/* The CRC-32C (Castagnoli, RFC 3720 appendix B.4) of these bytes. Local. */
uint32_t dpt_tensorboard__crc32c(const void *data, size_t nbytes);
