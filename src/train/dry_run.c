/* SPDX-License-Identifier: Apache-2.0 */

/* What a job would do, without MPI and without memory: the banner, and for --plan the plan of every rank. */

#include <math.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/layout.h"
#include "train/internal.h"

/* Ranks that the layout of the job is for; `ranks` where it says nothing. */
static int ranks_of_layout(const struct dpt_job *job, int ranks)
{
    struct dpt_layout layout;
    int all = 1;
    if (dpt_layout_read(job->parallel.layout, &layout) != DPT_STATUS_OK || layout.naxes == 0) {
        return ranks;
    }
    for (int a = 0; a < layout.naxes; a++) {
        all *= layout.axis[a].size;
    }
    return all;
}

/* True when this rank does what the one with coordinate 0 along data does, on other samples of a full batch. */
static bool is_like_another(const struct dpt_train *train)
{
    const struct dpt_plan_conf *conf = &train->plan->conf;
    const int axis = dpt_mesh_axis(&train->mesh, "data");
    return axis >= 0 && train->mesh.axis[axis].coord > 0 && !train->share && !conf->fixed &&
           conf->shard == DPT_PLAN_SHARD_NONE &&
           conf->batch_rows % (conf->micro_batches * train->mesh.axis[axis].size) == 0;
}

/* The plans of all ranks, those that differ in their samples only once. Returns the seconds that the planning took. */
static enum dpt_status print_plans(struct dpt_train *train, int ranks, double *seconds)
{
    struct dpt_text text = {0};
    struct dpt_plan_conf conf = train->plan->conf;
    int printed = 0;
    conf.like = train->plan;
    *seconds = 0.0;
    for (int rank = 0; rank < ranks; rank++) {
        struct dpt_plan *plan;
        dpt_mesh_place(&train->mesh, rank);
        if (is_like_another(train)) {
            continue;
        }
        const double begin_s = dpt_clock_s();
        DPT_TRY(dpt_plan_new(train->graph, &conf, &plan));
        *seconds += dpt_clock_s() - begin_s;
        dpt_text_add(&text, "rank %d\n", rank);
        dpt_plan_print(plan, &text);
        dpt_log("%s", text.data);
        dpt_text_free(&text);
        dpt_plan_free(plan);
        printed++;
    }
    dpt_mesh_place(&train->mesh, 0);
    if (printed + 1 == ranks) {
        dpt_log("the other rank does the same on other samples\n");
    } else if (printed < ranks) {
        dpt_log("the other %d ranks do the same on other samples\n", ranks - printed);
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_train_dry_run(const struct dpt_job *job, int ranks, bool every_rank)
{
    struct dpt_train train = {
        .job = job,
        .speaks = true,
        .arena = dpt_arena_new(),
        .lock = -1,
        .threads = job->run.threads ? (int)job->run.threads : 1,
        .ahead = job->data.prefetch,
        .limit_s = INFINITY,
        .sketch = every_rank,
    };
    double seconds = 0.0;
    dpt_log_speak(true);
    ranks = ranks > 0 ? ranks : ranks_of_layout(job, 1);
    enum dpt_status status = dpt_train__mesh(&train, ranks);
    status = status == DPT_STATUS_OK ? dpt_train__plan(&train) : status;
    if (status == DPT_STATUS_OK) {
        dpt_train__banner(&train, false);
        status = every_rank ? print_plans(&train, ranks, &seconds) : DPT_STATUS_OK;
    }
    if (status == DPT_STATUS_OK && every_rank) {
        dpt_log("planned %d ranks in %.3g ms\n", ranks, 1e3 * seconds);
    } else if (status == DPT_STATUS_OK && dpt_log_debug("plan")) {
        struct dpt_text text = {0};
        dpt_plan_print(train.plan, &text);
        dpt_log("%s", text.data);
        dpt_text_free(&text);
    }
    if (status == DPT_STATUS_OK) {
        dpt_log("the job can run; nothing was started\n");
    }
    dpt_train__free(&train);
    return status;
}
