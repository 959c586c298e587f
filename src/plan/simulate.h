/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What an order of units costs: a simulation of all places of a pipeline. A unit starts when its place has ended the unit
 * before and what it reads is there: the forward pass of the stage before, the backward pass of the stage behind. Nothing
 * runs; no MPI.
 */

#include <stdbool.h>
#include <stdint.h>

#include "plan/schedule.h"

/* Seconds of one micro-batch in one stage. Where weight gradients are no units of their own, backward takes both. */
struct dpt_simulate_times {
    double forward, backward, weight;
};

struct dpt_simulate_conf {
    const struct dpt_pipeline *pipeline;     /* sizes                                                          */
    struct dpt_unit *const *unit;            /* of each place, in order                                        */
    const int *nunits;
    const struct dpt_simulate_times *times;  /* of each stage: stage = chunk * ranks + place                   */
    double message;                          /* seconds from the end of a unit to its reader on another place  */
    /*
     * 0: a send costs its place nothing. W >= 1, the worst that a library may do: a place waits in each send for its
     * receive, and on every edge between two stages there are receives for the W messages behind those that were read.
     */
    int window;
};

struct dpt_simulation {
    double makespan;  /* seconds until the last unit has ended                                                      */
    int *peak;        /* of each place: most (chunk, micro-batch) pairs between the start of the forward unit and the
                         end of the last unit that reads what it has stored                                         */
    bool deadlock;    /* some place waits for ever; makespan and peak are then those until that point               */
};

/* Simulates the units of all places. Results are in the arena. Local. */
void dpt_simulate(const struct dpt_simulate_conf *conf, struct dpt_arena *arena, struct dpt_simulation *result);
