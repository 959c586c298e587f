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

/* Samples that a rank with a coordinate along data has of a micro-batch, of `count` in all. */
static int64_t rows_at(struct dpt_train *train, struct dpt_mesh_axis *data, int coord, int64_t count, int64_t micro)
{
    int64_t first, rows, all;
    data->coord = coord;
    dpt_plan_rows(train->plan, count, micro, &first, &rows, &all);
    return rows;
}

/* True when this rank does what one with a lower coordinate along data does, on as many other samples of each micro-batch. */
static bool is_like_another(struct dpt_train *train)
{
    const struct dpt_plan_conf *conf = &train->plan->conf;
    const int axis = dpt_mesh_axis(&train->mesh, "data");
    if (axis < 0 || conf->fixed || conf->shard != DPT_PLAN_SHARD_NONE) {
        return false;
    }
    struct dpt_mesh_axis *data = &train->mesh.axis[axis];
    const int coord = data->coord;
    const int64_t count[] = {conf->batch_rows, conf->tail_rows};
    bool like = false;
    for (int c = 0; c < coord && !like; c++) {
        like = true;
        for (int64_t i = 0; i < 2 * conf->micro_batches && like; i++) {
            like = rows_at(train, data, c, count[i % 2], i / 2) == rows_at(train, data, coord, count[i % 2], i / 2);
        }
    }
    data->coord = coord;
    return like;
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

/* A plan for a card is compared with the first one here, where there is one: the job may be for another host. */
static void compare_with_card(const struct dpt_plan *plan)
{
    const struct dpt_plan_memory *memory = &plan->memory;
    const int64_t wanted = memory->params + memory->gradients + memory->accumulators + memory->slots + memory->activations +
                           memory->scratch + memory->ahead;
    struct dpt_dev_info info;
    const char *why;
    char asked[24], there[24];
    if (plan->conf.apart && dpt_dev_cuda_count(&why) > 0 && dpt_dev_cuda_info(0, &info) == DPT_STATUS_OK &&
        (uint64_t)wanted > info.nbytes) {
        dpt_log("NOTE    a rank wants %s on its card, and the %s here has %s: batch.micro_batches and parallel.recompute make "
                "activations smaller, parallel.shard on several ranks all else\n",
                dpt_text_bytes(asked, sizeof asked, (uint64_t)wanted), info.name,
                dpt_text_bytes(there, sizeof there, info.nbytes));
    }
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
        compare_with_card(train.plan);
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
