/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Learning rate schedules: pure functions of the step, so that a resumed run needs nothing stored. The warm-up of W
 * steps climbs in a straight line to the first rate of the schedule proper, which then runs over the rest, from t = 0
 * at step W to t = 1 at the last step.
 */

#include <math.h>

#include "optim/optim.h"

static const double pi = 3.14159265358979323846;

/* One-cycle begins at this share of the highest rate (PyTorch's default). */
static const double one_cycle_start = 1.0 / 25.0;

int64_t dpt_span_steps(struct dpt_span span, int64_t steps_per_epoch)
{
    if (span.unit != DPT_SPAN_UNIT_STEPS && span.unit != DPT_SPAN_UNIT_EPOCHS) {
        return 0;
    }
    const double steps = span.unit == DPT_SPAN_UNIT_EPOCHS ? span.value * (double)steps_per_epoch : span.value;
    /* 1.1 epochs of 10 steps are 11 steps, although the product is a little more than that. */
    const double up = ceil(steps * (1.0 - 1e-12));
    return up < 0x1p62 ? (int64_t)up : (int64_t)1 << 62;
}

/* Half a cosine from `from` at t = 0 to `to` at t = 1. */
static double cosine(double from, double to, double t)
{
    return to + (from - to) * 0.5 * (1.0 + cos(pi * t));
}

static double one_cycle(const struct dpt_job *job, double t)
{
    const double peak = job->schedule.peak_at;
    return t < peak ? cosine(one_cycle_start, 1.0, t / peak)
                    : cosine(1.0, job->schedule.final, peak < 1.0 ? (t - peak) / (1.0 - peak) : 0.0);
}

/* gamma for each milestone that has been reached. */
static double staircase(const struct dpt_job *job, int64_t step, int64_t steps_per_epoch)
{
    double factor = 1.0;
    for (int i = 0; i < job->schedule.milestones.count; i++) {
        const struct dpt_span at = {job->schedule.milestones.unit, job->schedule.milestones.value[i]};
        factor *= step >= dpt_span_steps(at, steps_per_epoch) ? job->schedule.gamma : 1.0;
    }
    return factor;
}

/* The rate of `step` as a share of [optimizer] lr, warm-up left out; t in [0, 1] is the progress. */
static double share(const struct dpt_job *job, int64_t step, double t, int64_t steps_per_epoch)
{
    switch (job->schedule.type) {
    case DPT_SCHEDULE_TYPE_CONSTANT:
        return 1.0;
    case DPT_SCHEDULE_TYPE_STEP:
        return staircase(job, step, steps_per_epoch);
    case DPT_SCHEDULE_TYPE_COSINE:
        return cosine(1.0, job->schedule.final, t);
    case DPT_SCHEDULE_TYPE_LINEAR:
        return 1.0 + (job->schedule.final - 1.0) * t;
    case DPT_SCHEDULE_TYPE_ONE_CYCLE:
        return one_cycle(job, t);
    }
    return 1.0;
}

double dpt_schedule_lr(const struct dpt_job *job, int64_t step, int64_t steps, int64_t steps_per_epoch)
{
    const int64_t warmup = dpt_span_steps(job->schedule.warmup, steps_per_epoch);
    const double lr = job->optimizer.lr;
    if (step < warmup) {
        return lr * share(job, step, 0.0, steps_per_epoch) * (double)(step + 1) / (double)(warmup + 1);
    }
    const int64_t last = steps - 1 - warmup;
    double t = last > 0 ? (double)(step - warmup) / (double)last : 0.0;
    t = t < 1.0 ? t : 1.0;
    return lr * share(job, step, t, steps_per_epoch);
}
