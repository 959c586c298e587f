/* SPDX-License-Identifier: Apache-2.0 */
#include "made.h"

#include <math.h>
#include <string.h>

#include "ckpt/ckpt.h"
#include "data/data.h"
#include "exec/exec.h"
#include "graph/graph.h"
#include "model/model.h"
#include "plan/plan.h"

enum { ITEMS_MAX = 512 };

static enum dpt_status save(const char *run, const struct dpt_job *job, struct dpt_comm *alone,
                            const struct dpt_state *state, const char *preparation, int64_t step, bool is_best)
{
    const struct dpt_plan *plan = state->plan;
    struct dpt_ckpt_item item[ITEMS_MAX];
    struct dpt_text config = {0};
    uint64_t nbytes;
    DPT_ASSERT(plan->nparams <= ITEMS_MAX);
    for (int i = 0; i < plan->nparams; i++) {
        const struct dpt_tensor tensor = dpt_state_tensor(state, plan->param[i].value);
        item[i] = (struct dpt_ckpt_item){.name = plan->graph->value[plan->param[i].value].name,
                                         .file = DPT_CKPT_FILE_MODEL,
                                         .type = tensor.type,
                                         .data = tensor.data,
                                         .writer = true};
        memcpy(item[i].extent, tensor.type.dim, sizeof item[i].extent);
    }
    dpt_job_print(job, DPT_JOB_PRINT_FULL, &config);
    const struct dpt_ckpt_meta meta = {
        .step = step,
        .best_step = -1,
        .config = config.data,
        .preparation = preparation,
        .layout = "data:1",
        .version = "test",
    };
    const enum dpt_status status = dpt_ckpt_save(run, alone, plan->nparams, item, &meta, 10, is_best, &nbytes);
    dpt_text_free(&config);
    return status;
}

enum dpt_status made_run(const char *run, const struct dpt_job *job, int64_t step, bool is_best, bool poison)
{
    struct dpt_comm *alone;
    struct dpt_mesh mesh;
    struct dpt_data *data;
    struct dpt_plan *plan;
    struct dpt_dev *dev;
    struct dpt_state *state;
    DPT_TRY(dpt_comm_start_alone(&alone));
    DPT_TRY(dpt_mesh_data(alone, &mesh));
    DPT_TRY(dpt_data_open(job, DPT_SPLIT_TRAIN, NULL, &data));
    const struct dpt_data_info *info = dpt_data_info(data);
    const bool fp64 = job->run.precision == DPT_PRECISION_FP64;
    struct dpt_graph *graph = dpt_graph_new(fp64 ? DPT_DTYPE_F64 : DPT_DTYPE_F32, 4, false);
    struct dpt_model_io io = {.ndim = info->ndim, .classes = info->classes, .targets = info->targets};
    memcpy(io.dim, info->dim, sizeof io.dim);
    DPT_TRY(dpt_model_build(job, &io, true, graph));
    const struct dpt_plan_conf conf = {
        .mesh = &mesh, .run = DPT_RUN_CPU, .threads = 1, .batch_rows = 4, .micro_batches = 1};
    DPT_TRY(dpt_plan_new(graph, &conf, &plan));
    DPT_TRY(dpt_dev_cpu(1, &dev));
    DPT_TRY(dpt_state_new(plan, dev, (uint64_t)step, &state));
    for (int64_t i = 0; poison && i < plan->nflat; i++) { /* all: relu of some libraries makes 0 of nan */
        if (fp64) {
            ((double *)state->param)[i] = NAN;
        } else {
            ((float *)state->param)[i] = NAN;
        }
    }
    DPT_TRY(save(run, job, alone, state, dpt_data_preparation(data), step, is_best));
    dpt_state_free(state);
    dpt_dev_close(dev);
    dpt_plan_free(plan);
    dpt_graph_free(graph);
    dpt_data_close(data);
    dpt_comm_end(alone);
    return DPT_STATUS_OK;
}
