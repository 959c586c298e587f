/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the system lets this process use: processor time and memory, as the kernel and control groups limit them. */

#include <stdint.h>

struct dpt_limit {
    double cpus;          /* processors' worth of time of the control group; INFINITY: not limited  */
    uint64_t memory_free; /* bytes that can still be had: of the host, or of the control group      */
    uint64_t group;       /* hash of the control group's name: processes with the same one share it */
};

/*
 * Reads /proc and the control groups (v1, v2, and both mounted together), with every parent's limit. What cannot be
 * read does not limit. `root` stands before every path: "" for this system; tests pass a folder. Local.
 */
void dpt_limit_read(const char *root, struct dpt_limit *limit);
