/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the values of [parallel] mean that are small languages of their own: "data:2 tensor:2 pipeline:2",
 * "interleaved:2", "3, 1, 1", "topk:1%". They are read when the job is checked, and again by who needs them.
 */

#include "base/status.h"

enum { DPT_LAYOUT_MAX_AXES = 5, DPT_LAYOUT_MAX_SHARES = 1024 };

struct dpt_layout {
    int naxes; /* 0: auto */
    struct {
        char name[16]; /* "data", "tensor", "rows", "columns", "pipeline" */
        int size;
    } axis[DPT_LAYOUT_MAX_AXES];
};

/* Reads a layout; DPT_STATUS_USAGE with what was expected ("auto, or ..."). Local. */
enum dpt_status dpt_layout_read(const char *text, struct dpt_layout *layout);

/* Size of an axis; 1 where the layout has none of that name. Local. */
int dpt_layout_size(const struct dpt_layout *layout, const char *name);

/* Splits "1f1b" or "interleaved:2" into the place of the word in the schedules and the chunks of a stage. Local. */
enum dpt_layout_schedule {
    DPT_LAYOUT_SCHEDULE_NONE,
    DPT_LAYOUT_SCHEDULE_GPIPE,
    DPT_LAYOUT_SCHEDULE_1F1B,
    DPT_LAYOUT_SCHEDULE_INTERLEAVED,
    DPT_LAYOUT_SCHEDULE_ZB_H1,
};
enum dpt_status dpt_layout_read_schedule(const char *text, enum dpt_layout_schedule *schedule, int *chunks);

/* How gradients travel: "fp32", "bf16", "int8", "topk:1%" (share 0.01), "powersgd:4" (rank 4). Local. */
enum dpt_layout_wire {
    DPT_LAYOUT_WIRE_FP32,
    DPT_LAYOUT_WIRE_BF16,
    DPT_LAYOUT_WIRE_INT8,
    DPT_LAYOUT_WIRE_TOPK,
    DPT_LAYOUT_WIRE_POWERSGD,
};
enum dpt_status dpt_layout_read_wire(const char *text, enum dpt_layout_wire *wire, double *share, int *rank);

/* Shares of the batch: count 0 for "equal", -1 for "auto", else the numbers. Local. */
enum dpt_status dpt_layout_read_shares(const char *text, int *count, double share[DPT_LAYOUT_MAX_SHARES]);
