/* SPDX-License-Identifier: Apache-2.0 */

/*
 * [parallel] shares = auto: the ranks along data get parts of the batch by their measured speed, so that all finish
 * together. After the first steps, and then every so often, the speeds of all ranks are compared; where the slowest would
 * gain more than a threshold, the job is planned again with new shares, with the same state. Sums do not depend on who
 * computes which sample, so the training is the same.
 */

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "train/internal.h"

enum { FIRST = 5, EVERY = 20 }; /* steps between looks */
static const double gain = 1.05; /* how much slower than balanced a step must be */

/* Samples of the present shares that this rank computes in a full batch. */
static double rows_of_batch(const struct dpt_plan *plan)
{
    double sum = 0.0;
    for (int64_t micro = 0; micro < plan->micros; micro++) {
        int64_t first, rows, all;
        dpt_plan_rows(plan, plan->conf.batch_rows, micro, &first, &rows, &all);
        sum += (double)rows;
    }
    return sum;
}

static double busy_s(struct dpt_train *train)
{
    const double *seconds = dpt_exec_seconds(train->exec);
    return seconds[DPT_SECTION_DATA] + seconds[DPT_SECTION_FORWARD] + seconds[DPT_SECTION_BACKWARD];
}

static int data_coord(const struct dpt_train *train)
{
    const int axis = dpt_mesh_axis(&train->mesh, "data");
    return axis >= 0 ? train->mesh.axis[axis].coord : 0;
}

/* Samples a second and samples a step of each coordinate along data; a coordinate is as fast as its slowest rank. */
static enum dpt_status measure(struct dpt_train *train, int ranks, double *speed, double *rows)
{
    const double busy = busy_s(train) - train->shared_busy_s, mine = rows_of_batch(train->plan);
    const double steps = (double)(train->state->step - train->shared_step);
    for (int c = 0; c < ranks; c++) {
        const bool own = c == data_coord(train);
        speed[c] = own && mine > 0.0 && busy > 0.0 ? mine * steps / busy : INFINITY;
        rows[c] = own ? mine : 0.0;
    }
    DPT_TRY(dpt_comm_allreduce(train->world, speed, ranks, DPT_DTYPE_F64, DPT_COMM_REDUCE_MIN));
    return dpt_comm_allreduce(train->world, rows, ranks, DPT_DTYPE_F64, DPT_COMM_REDUCE_MAX);
}

/* True where the slowest coordinate takes clearly longer than all would with balanced shares. */
static bool is_unbalanced(int ranks, const double *speed, const double *rows)
{
    double slowest = 0.0, all_rows = 0.0, all_speed = 0.0;
    for (int c = 0; c < ranks; c++) {
        if (!isfinite(speed[c])) {
            return false; /* without samples it has no speed; shares that say so are left alone */
        }
        slowest = fmax(slowest, rows[c] / speed[c]);
        all_rows += rows[c];
        all_speed += speed[c];
    }
    return slowest > gain * all_rows / all_speed;
}

static void tell(const struct dpt_train *train, int ranks, const double *speed)
{
    double all = 0.0;
    for (int c = 0; c < ranks; c++) {
        all += speed[c];
    }
    dpt_log("NOTE    step %lld: shares of the batch by measured speed:", (long long)train->state->step);
    for (int c = 0; c < ranks; c++) {
        dpt_log(" %.0f%%", 100.0 * speed[c] / all);
    }
    dpt_log("\n");
}

enum dpt_status dpt_train__reshare(struct dpt_train *train)
{
    const int ranks = dpt_train__axis(train, "data");
    const int64_t since = train->state->step - train->shared_step;
    if (strcmp(train->job->parallel.shares, "auto") != 0 || ranks == 1 || since < (train->share ? EVERY : FIRST)) {
        return DPT_STATUS_OK;
    }
    double *speed = dpt_arena_array(train->arena, 2 * (size_t)ranks, sizeof *speed);
    DPT_TRY(measure(train, ranks, speed, speed + ranks));
    if (is_unbalanced(ranks, speed, speed + ranks)) {
        train->share = speed;
        DPT_TRY(dpt_train__replan(train));
        tell(train, ranks, speed);
    }
    train->shared_step = train->state->step;
    train->shared_busy_s = busy_s(train);
    return DPT_STATUS_OK;
}
