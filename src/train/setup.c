/* SPDX-License-Identifier: Apache-2.0 */

/* From a job to what a step needs: data, graphs, plans, memory. */

#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "train/internal.h"

/* Opens the splits; `train` first, since the others are prepared with what it taught. */
static enum dpt_status open_data(struct dpt_train *train)
{
    DPT_TRY(dpt_data_open(train->job, DPT_SPLIT_TRAIN, NULL, &train->data));
    DPT_TRY(dpt_data_open(train->job, DPT_SPLIT_VALID, train->data, &train->valid.data));
    DPT_TRY(dpt_data_open(train->job, DPT_SPLIT_TEST, train->data, &train->test.data));
    const struct dpt_data_info *info = dpt_data_info(train->data);
    train->io = (struct dpt_model_io){
        .ndim = info->ndim,
        .dim = {info->dim[0], info->dim[1], info->dim[2]},
        .dtype = info->dtype,
        .classes = info->classes,
        .targets = info->targets,
    };
    return DPT_STATUS_OK;
}

static enum dpt_status build(const struct dpt_train *train, int64_t rows, bool training, struct dpt_graph **graph)
{
    const enum dpt_dtype real = train->job->run.precision == DPT_PRECISION_FP64 ? DPT_DTYPE_F64 : DPT_DTYPE_F32;
    *graph = dpt_graph_new(real, rows, training);
    DPT_TRY(dpt_model_build(train->job, &train->io, false, *graph));
    DPT_TRY(dpt_graph_fuse(*graph));
    if (training) {
        DPT_TRY(dpt_graph_gradient(*graph));
        DPT_TRY(dpt_optim_build(train->job, *graph));
    }
    return dpt_graph_check(*graph);
}

static int64_t at_most(int64_t wanted, int64_t samples)
{
    return wanted < samples ? wanted : samples;
}

static int64_t eval_batch(const struct dpt_job *job)
{
    const int64_t micro = job->batch.global / job->batch.micro_batches;
    return job->eval.batch ? job->eval.batch : micro > 0 ? micro : 1;
}

static struct dpt_plan_conf plan_conf(const struct dpt_train *train, int64_t batch, int64_t samples)
{
    const struct dpt_job *job = train->job;
    return (struct dpt_plan_conf){
        .mesh = &train->mesh,
        .run = DPT_RUN_CPU,
        .threads = train->threads,
        .batch_rows = at_most(batch, samples),
        .tail_rows = samples % batch,
        .micro_batches = 1,
        .shards = job->run.reproducible ? job->parallel.shards : 0,
        .bucket_bytes = job->parallel.bucket_bytes,
    };
}

/* The plan for a split that is evaluated. Fewer samples than shards leave some shards empty. */
static enum dpt_status plan_eval(struct dpt_train *train, struct dpt_train__eval *eval)
{
    if (!eval->data) {
        return DPT_STATUS_OK;
    }
    struct dpt_plan_conf conf =
        plan_conf(train, eval_batch(train->job), dpt_data_info(eval->data)->samples);
    conf.layout = train->plan;
    if (!train->eval_graph) {
        DPT_TRY(build(train, eval_batch(train->job), false, &train->eval_graph));
    }
    return dpt_plan_new(train->eval_graph, &conf, &eval->plan);
}

/* parallel.layout, where it is written out, must be what was started. */
static enum dpt_status check_layout(const struct dpt_train *train)
{
    const char *layout = train->job->parallel.layout;
    const int ranks = train->mesh.axis[0].size;
    char here[32];
    snprintf(here, sizeof here, "data:%d", ranks);
    DPT_CHECK(strcmp(layout, "auto") == 0 || strcmp(layout, here) == 0, DPT_STATUS_USAGE,
              "[parallel] layout = %s, but the job has %d rank%s: start as many as the layout says, or set it to auto",
              layout, ranks, ranks == 1 ? "" : "s");
    return DPT_STATUS_OK;
}

enum dpt_status dpt_train__plan(struct dpt_train *train)
{
    const struct dpt_job *job = train->job;
    train->valid.name = "valid";
    train->test.name = "test";
    DPT_TRY(check_layout(train));
    DPT_TRY(dpt_dev_cpu(train->threads, &train->dev)); /* before plans: kernels prepare for its number of threads */
    DPT_TRY(open_data(train));
    const int64_t samples = dpt_data_info(train->data)->samples;
    struct dpt_plan_conf conf = plan_conf(train, job->batch.global, samples);
    conf.micro_batches = at_most(job->batch.micro_batches, conf.batch_rows);
    train->steps_per_epoch = dpt_batch_steps_per_epoch(samples, job->batch.global);
    train->steps = dpt_span_steps(job->run.length, train->steps_per_epoch);
    DPT_TRY(build(train, (conf.batch_rows + conf.micro_batches - 1) / conf.micro_batches, true, &train->graph));
    DPT_TRY(dpt_plan_new(train->graph, &conf, &train->plan));
    DPT_TRY(plan_eval(train, &train->valid));
    return plan_eval(train, &train->test);
}

static enum dpt_status bind_eval(struct dpt_train *train, struct dpt_train__eval *eval)
{
    if (!eval->plan) {
        return DPT_STATUS_OK;
    }
    const struct dpt_exec_conf conf = {
        .plan = eval->plan,
        .state = train->state,
        .dev = train->dev,
        .exchange = train->exchange,
        .share = train->exec,
        .seed = (uint64_t)train->job->run.seed,
    };
    return dpt_exec_new(&conf, &eval->exec);
}

static enum dpt_status bind_all(struct dpt_train *train)
{
    const struct dpt_exec_conf conf = {
        .plan = train->plan,
        .state = train->state,
        .dev = train->dev,
        .exchange = train->exchange,
        .seed = (uint64_t)train->job->run.seed,
    };
    DPT_TRY(dpt_exec_new(&conf, &train->exec));
    DPT_TRY(bind_eval(train, &train->valid));
    return bind_eval(train, &train->test);
}

/* Every rank must have come to the same plan: from the same job, the same data, the same program. */
static enum dpt_status compare_plans(const struct dpt_train *train)
{
    uint64_t hash = train->plan->hash;
    DPT_TRY(dpt_comm_bcast(train->world, &hash, sizeof hash, 0));
    const enum dpt_status status =
        hash == train->plan->hash
            ? DPT_STATUS_OK
            : dpt_error_set(DPT_STATUS_USAGE, __FILE__, __LINE__,
                            "this rank makes another plan than rank 0: job file, data and program must be the same on all "
                            "hosts");
    return dpt_agree(status, train->world);
}

enum dpt_status dpt_train__bind(struct dpt_train *train)
{
    const struct dpt_exchange_conf exchange = {
        .comm = train->mesh.axis[0].comm,
        .thread = train->job->parallel.comm_thread == DPT_AUTO_ON    ? DPT_EXCHANGE_THREAD_ON
                  : train->job->parallel.comm_thread == DPT_AUTO_OFF ? DPT_EXCHANGE_THREAD_OFF
                                                                     : DPT_EXCHANGE_THREAD_AUTO,
        .spare_core = train->cores.share > train->threads,
        .tree = train->job->run.reproducible,
    };
    DPT_TRY(compare_plans(train));
    DPT_TRY(dpt_agree(dpt_state_new(train->plan, train->dev, (uint64_t)train->job->run.seed, &train->state), train->world));
    DPT_TRY(dpt_exchange_new(&exchange, &train->exchange));
    return dpt_agree(bind_all(train), train->world);
}

static void free_eval(struct dpt_train__eval *eval)
{
    dpt_exec_free(eval->exec);
    dpt_plan_free(eval->plan);
    dpt_data_close(eval->data);
}

void dpt_train__free(struct dpt_train *train)
{
    dpt_loader_free(train->loader);
    free_eval(&train->valid);
    free_eval(&train->test);
    dpt_exec_free(train->exec);
    dpt_exchange_free(train->exchange);
    dpt_state_free(train->state);
    dpt_plan_free(train->plan);
    dpt_graph_free(train->eval_graph);
    dpt_graph_free(train->graph);
    dpt_data_close(train->data);
    if (train->dev) {
        dpt_dev_close(train->dev);
    }
    dpt_arena_free(train->arena);
}
