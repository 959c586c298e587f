/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * train/: the loop around the steps: set up, step, evaluate, log, save, stop. It promises that the same command starts
 * and goes on, that a stop is agreed by all ranks at a step's end and leaves a good checkpoint, and that what the user
 * reads comes from rank 0 alone. It computes nothing itself: a step is exec's, the state on disk is ckpt's.
 */

#include "comm/comm.h"
#include "conf/job.h"
#include "train/options.h"

/*
 * Trains as the job says. *paused: stopped before the end, with a checkpoint to go on from. A failure that one rank meets
 * inside a step ends the job (dpt_fatal); others are returned, the same status on every rank. Collective over world.
 */
enum dpt_status dpt_train(const struct dpt_job *job, const struct dpt_options *options, struct dpt_comm *world,
                          bool *paused);

/*
 * Checks everything that can be checked without MPI and memory, and prints the banner for `ranks` ranks (0: as many as the
 * job's layout says, or one); with `every_rank` the plan of each of them. Local.
 */
enum dpt_status dpt_train_dry_run(const struct dpt_job *job, int ranks, bool every_rank);
