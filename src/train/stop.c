/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reasons to stop before the end. Each rank says what it knows in the flags of a step; their sum over the ranks is the
 * same everywhere, so all stop after the same step. Handlers only count.
 */

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "train/internal.h"

static volatile sig_atomic_t stop_signal;
static volatile sig_atomic_t save_signals;

static void on_stop(int number)
{
    stop_signal = number;
    /* The next one of any kind ends the process as if we had never asked. */
    signal(SIGUSR1, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
}

static void on_save(int number)
{
    (void)number;
    save_signals++;
}

void dpt_train__catch_signals(void)
{
    struct sigaction stop = {.sa_handler = on_stop, .sa_flags = SA_RESTART};
    struct sigaction save = {.sa_handler = on_save, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGUSR2, &save, NULL);
}

double dpt_train__limit(const struct dpt_job *job)
{
    const char *end = getenv("SLURM_JOB_END_TIME"); /* seconds since 1970 */
    const double at = end ? strtod(end, NULL) : 0.0;
    const double left = at > 0.0 ? at - (double)time(NULL) + dpt_clock_process_s() : INFINITY;
    return job->run.max_time_s > 0.0 ? fmin(job->run.max_time_s, left) : left;
}

/* What must fit before the end: two of the slowest recent steps and two saves. */
static double margin_s(const struct dpt_train *train)
{
    enum { DISK = 100 << 20 }; /* bytes a second of a slow disk, until a save was measured */
    const struct dpt_plan_memory *memory = &train->plan->memory;
    const double guess = (double)(memory->params + memory->slots) / DISK + 0.1;
    return 2.0 * train->slowest_s + 2.0 * (train->save_s > 0.0 ? train->save_s : guess);
}

static bool time_is_over(const struct dpt_train *train)
{
    return train->limit_s - dpt_clock_process_s() < margin_s(train);
}

/* Looks for the file STOP, at most once a second and between steps. */
static bool stop_file(struct dpt_train *train)
{
    const double now = dpt_clock_s();
    if (!train->stop_file && now - train->looked_s >= 1.0) {
        train->looked_s = now;
        train->stop_file = access(train->stop_path, F_OK) == 0;
    }
    return train->stop_file;
}

static bool due(struct dpt_span every, double since_s)
{
    return every.unit == DPT_SPAN_UNIT_SECONDS && dpt_clock_s() - since_s >= every.value;
}

void dpt_train__ask(struct dpt_train *train, double flag[DPT_EXEC_FLAGS])
{
    memset(flag, 0, DPT_EXEC_FLAGS * sizeof *flag);
    flag[DPT_TRAIN__FLAG_SIGNAL] = stop_signal != 0;
    flag[DPT_TRAIN__FLAG_SAVE] = save_signals;
    save_signals = 0;
    if (train->speaks) {
        int bits = time_is_over(train) ? DPT_TRAIN__BIT_TIME : 0;
        bits |= stop_file(train) ? DPT_TRAIN__BIT_FILE : 0;
        bits |= due(train->job->eval.every, train->evaluated_s) ? DPT_TRAIN__BIT_EVAL : 0;
        bits |= due(train->job->checkpoint.every, train->saved_s) ? DPT_TRAIN__BIT_SAVE : 0;
        flag[DPT_TRAIN__FLAG_RANK0] = bits;
    }
}

const char *dpt_train__agreed(const double flag[DPT_EXEC_FLAGS])
{
    const int bits = (int)flag[DPT_TRAIN__FLAG_RANK0];
    return flag[DPT_TRAIN__FLAG_SIGNAL] > 0.0 ? "by a signal"
           : bits & DPT_TRAIN__BIT_FILE       ? "by the file STOP"
           : bits & DPT_TRAIN__BIT_TIME       ? "before its time is over"
                                              : NULL;
}
