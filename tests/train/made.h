/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A checkpoint of a job that was not trained: first weights, drawn with the step as the seed. */

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "conf/job.h"

/* Saves step `step` of the run directory, as dpt-train would. `poison` makes one parameter a NaN. Local. */
enum dpt_status made_run(const char *run, const struct dpt_job *job, int64_t step, bool is_best, bool poison);
