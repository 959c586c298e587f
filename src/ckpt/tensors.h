/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Weights in the folders of other programs: safetensors files without a manifest. What comes from them was made
 * elsewhere: their headers are checked as those of checkpoints are, their values have no checksum.
 */

#include "base/status.h"
#include "tensor/tensor.h"

struct dpt_tensors; /* the safetensors files of a folder, opened */

/*
 * Opens model.safetensors, or the files that model.safetensors.index.json names. DPT_STATUS_DATA with file and place;
 * a name that two files have is refused. Freed by dpt_tensors_close. Local.
 */
enum dpt_status dpt_tensors_open(const char *folder, struct dpt_tensors **tensors);
void dpt_tensors_close(struct dpt_tensors *tensors);

/* How many there are, and the name and type of each. Local. */
int dpt_tensors_count(const struct dpt_tensors *tensors);
const char *dpt_tensors_name(const struct dpt_tensors *tensors, int i);
const struct dpt_type *dpt_tensors_type(const struct dpt_tensors *tensors, int i);

/* The tensor of this name, or -1. Local. */
int dpt_tensors_find(const struct dpt_tensors *tensors, const char *name);

/* Reads all values of a tensor of type F32, BF16 or F16 as floats, exactly; other types are DPT_STATUS_DATA. Local. */
enum dpt_status dpt_tensors_read(const struct dpt_tensors *tensors, int i, float *value);

/* A tensor to be written. */
struct dpt_tensors_entry {
    const char *name;
    struct dpt_type type;
    const void *data;
};

/*
 * Writes a safetensors file with these tensors in this order, and nothing under its name before it is complete.
 * DPT_STATUS_SPACE, DPT_STATUS_FAILED. Local.
 */
enum dpt_status dpt_tensors_write(const char *path, int count, const struct dpt_tensors_entry *entry);
