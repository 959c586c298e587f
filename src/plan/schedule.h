/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Schedules of a pipeline: in which order a place of the pipeline axis does its units of work. A unit is the forward pass,
 * the backward pass, or the weight gradients of one stage for one micro-batch. Stage s of P places lies on place s mod P,
 * as chunk s / P of it. An order is a list that a short function makes; what has to travel between the stages is added by
 * others (local.c), and simulate.h asks what an order costs.
 */

#include <stdbool.h>

#include "base/arena.h"
#include "base/status.h"

enum dpt_unit_kind {
    DPT_UNIT_FORWARD,
    DPT_UNIT_BACKWARD, /* with the weight gradients, unless the schedule splits them */
    DPT_UNIT_WEIGHT,
};

struct dpt_unit {
    enum dpt_unit_kind kind;
    int chunk;
    int micro;
};

enum dpt_pipeline_schedule {
    DPT_PIPELINE_NONE,        /* each micro-batch forward, then backward                                             */
    DPT_PIPELINE_GPIPE,       /* all forward, then all backward (Huang and others, 2019)                             */
    DPT_PIPELINE_1F1B,        /* one forward, one backward after a warm-up (PipeDream-Flush: Narayanan and others, 2021) */
    DPT_PIPELINE_INTERLEAVED, /* 1f1b with several chunks a place (Narayanan and others, 2021)                       */
    DPT_PIPELINE_ZB_H1,       /* 1f1b whose weight gradients fill the gaps (Qi and others, 2023)                     */
};

struct dpt_pipeline {
    enum dpt_pipeline_schedule schedule;
    int ranks;  /* places of the axis, at least 1   */
    int chunks; /* stages of each place, at least 1 */
    int micros; /* micro-batches, at least 1        */
};

/* Refuses what a schedule cannot do, with a sentence. DPT_STATUS_USAGE. Local. */
enum dpt_status dpt_pipeline_check(const struct dpt_pipeline *pipeline);

/* True when weight gradients are units of their own. Pure. */
bool dpt_pipeline_splits_weights(const struct dpt_pipeline *pipeline);

/* The units of place `rank` in order, from the arena; returns how many. The pipeline must have passed the check. Local. */
int dpt_pipeline_units(const struct dpt_pipeline *pipeline, int rank, struct dpt_arena *arena, struct dpt_unit **unit);
