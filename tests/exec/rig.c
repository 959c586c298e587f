/* SPDX-License-Identifier: Apache-2.0 */
#include "rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#include "far.h"

struct dpt_mesh rig_mesh(int ranks, int rank)
{
    return (struct dpt_mesh){.naxes = 1, .axis[0] = {.name = "data", .size = ranks, .coord = rank}};
}

struct rig *rig_open(const char *job)
{
    struct rig *rig = calloc(1, sizeof *rig);
    assert_non_null(rig);
    rig->mesh = rig_mesh(1, 0);
    EXPECT_OK(dpt_job_read_text("test", job, &rig->job, NULL));
    EXPECT_OK(dpt_data_open(rig->job, DPT_SPLIT_TRAIN, NULL, &rig->data));
    const struct dpt_data_info *info = dpt_data_info(rig->data);
    rig->io = (struct dpt_model_io){
        .ndim = info->ndim,
        .dim = {info->dim[0], info->dim[1], info->dim[2]},
        .classes = info->classes,
        .targets = info->targets,
    };
    return rig;
}

struct dpt_graph *rig_graph(const struct rig *rig, int64_t rows, bool training, bool fuse)
{
    const bool fp64 = rig->job->run.precision == DPT_PRECISION_FP64;
    struct dpt_graph *graph = dpt_graph_new(fp64 ? DPT_DTYPE_F64 : DPT_DTYPE_F32, rows, training);
    EXPECT_OK(dpt_model_build(rig->job, &rig->io, false, graph));
    if (fuse) {
        EXPECT_OK(dpt_graph_fuse(graph));
    }
    if (training) {
        EXPECT_OK(dpt_graph_gradient(graph));
    }
    if (training && fuse) { /* also across stages, where a job would not */
        EXPECT_OK(dpt_graph_fuse_gradient(graph, NULL));
    }
    if (fuse) {
        EXPECT_OK(dpt_graph_fuse_norms(graph));
    }
    if (rig->job->run.precision == DPT_PRECISION_BF16) {
        dpt_graph_precision(graph, DPT_DTYPE_BF16);
    }
    if (training) {
        EXPECT_OK(dpt_optim_build(rig->job, graph));
    }
    EXPECT_OK(dpt_graph_check(graph));
    return graph;
}

struct dpt_plan_conf rig_plan_conf(const struct rig *rig)
{
    const struct dpt_job *job = rig->job;
    return (struct dpt_plan_conf){
        .mesh = &rig->mesh,
        .run = rig->run,
        .threads = 1,
        .dev = rig->dev,
        .apart = rig->dev && dpt_dev_is_apart(rig->dev),
        .batch_rows = job->batch.global,
        .tail_rows = dpt_data_info(rig->data)->samples % job->batch.global,
        .micro_batches = job->batch.micro_batches,
        .shards = job->run.reproducible ? job->parallel.shards : 0,
        .fixed = job->parallel.reduce == DPT_REDUCE_FIXED,
        .bucket_bytes = job->parallel.bucket_bytes,
        .schedule = rig->layout ? rig->layout->schedule : DPT_PIPELINE_NONE,
        .chunks = rig->layout ? rig->layout->chunks : 1,
        .shard = rig->layout ? rig->layout->shard : DPT_PLAN_SHARD_NONE,
        .share = rig->layout ? rig->layout->share : NULL,
        .backward = rig->layout ? rig->layout->backward : NULL,
        .average = rig->layout && rig->layout->average,
    };
}

/* All of a training, for an opened rig whose mesh is set. */
static void finish(struct rig *rig)
{
    const int64_t pieces = rig->job->batch.micro_batches;
    rig->graph = rig_graph(rig, (rig->job->batch.global + pieces - 1) / pieces, true, true);
    const bool far = rig->far || (rig->layout && rig->layout->far);
    const bool card = rig->layout && rig->layout->card;
    EXPECT_OK(card  ? dpt_dev_cuda(0, &rig->dev)
              : far ? far_dev(&rig->dev)
                    : dpt_dev_cpu(1, &rig->dev));
    const struct dpt_plan_conf plan = rig_plan_conf(rig);
    EXPECT_OK(dpt_plan_new(rig->graph, &plan, &rig->plan));
    if (rig->layout) {
        EXPECT_OK(dpt_exec_groups_new(rig->plan, &rig->group));
    }
    const uint64_t seed = (uint64_t)rig->job->run.seed;
    EXPECT_OK(rig->exchange && !far ? dpt_state_new_shared(rig->plan, rig->dev, rig->exchange, DPT_STATE_KIND_TOGETHER, seed,
                                                   &rig->state)
                            : dpt_state_new(rig->plan, rig->dev, seed, &rig->state));
    const struct dpt_exec_conf exec = {
        .plan = rig->plan,
        .state = rig->state,
        .dev = rig->dev,
        .exchange = rig->exchange,
        .group = rig->group,
        .flat = rig->layout && rig->layout->flat,
        .seed = (uint64_t)rig->job->run.seed,
    };
    EXPECT_OK(dpt_exec_new(&exec, &rig->exec));
    const struct dpt_loader_conf loader = {
        .data = rig->data,
        .global = rig->job->batch.global,
        .micros = rig->plan->micros,
        .max_rows = rig->plan->max_rows,
        .train = true,
        .ahead = rig->job->data.prefetch,
        .dev = rig->dev,
        .rows = dpt_plan_rows,
        .layout = rig->plan,
    };
    EXPECT_OK(dpt_loader_new(&loader, 0, &rig->loader));
}

struct rig *rig_new(const char *job, const struct dpt_mesh *mesh, struct dpt_exchange *exchange, enum dpt_run run)
{
    struct rig *rig = rig_open(job);
    rig->mesh = mesh ? *mesh : rig->mesh;
    rig->exchange = exchange;
    rig->run = run;
    finish(rig);
    return rig;
}

struct rig *rig_new_far(const char *job, const struct dpt_mesh *mesh, struct dpt_exchange *exchange)
{
    struct rig *rig = rig_open(job);
    rig->mesh = *mesh;
    rig->exchange = exchange;
    rig->run = DPT_RUN_CPU;
    rig->far = true;
    finish(rig);
    return rig;
}

struct rig *rig_new_layout(const char *job, struct dpt_comm *world, const struct rig_layout *layout)
{
    struct rig *rig = rig_open(job);
    rig->run = layout->card ? DPT_RUN_CUDA : DPT_RUN_CPU;
    rig->layout = layout;
    EXPECT_OK(dpt_mesh_new(world, layout->naxes, layout->axis, &rig->mesh));
    finish(rig);
    return rig;
}

void rig_free(struct rig *rig)
{
    dpt_loader_free(rig->loader);
    dpt_exec_free(rig->exec);
    dpt_state_free(rig->state);
    dpt_exec_groups_free(rig->plan, rig->group);
    if (rig->layout) {
        dpt_mesh_free(&rig->mesh);
    }
    dpt_plan_free(rig->plan);
    dpt_graph_free(rig->graph);
    dpt_data_close(rig->data);
    dpt_job_free(rig->job);
    if (rig->dev) {
        assert_int_equal(rig->dev->nbytes, 0);
        dpt_dev_close(rig->dev);
    }
    free(rig);
}

struct dpt_exec_step rig_train(struct rig *rig)
{
    struct dpt_exec_step step = {.lr = rig->job->optimizer.lr, .clip = rig->job->optimizer.clip};
    EXPECT_OK(dpt_exec_train(rig->exec, rig->loader, &step));
    return step;
}

void rig_eval_new(struct rig *rig, int64_t batch, bool share, struct rig_eval *eval)
{
    struct dpt_plan_conf plan = rig_plan_conf(rig);
    plan.batch_rows = batch;
    plan.tail_rows = dpt_data_info(rig->data)->samples % batch;
    plan.micro_batches = 1;
    plan.layout = rig->plan;
    eval->graph = rig_graph(rig, batch, false, true);
    EXPECT_OK(dpt_plan_new(eval->graph, &plan, &eval->plan));
    const struct dpt_exec_conf exec = {
        .plan = eval->plan,
        .state = rig->state,
        .dev = rig->dev,
        .exchange = rig->exchange,
        .group = rig->group,
        .flat = rig->layout && rig->layout->flat,
        .share = share ? rig->exec : NULL,
        .seed = (uint64_t)rig->job->run.seed,
    };
    EXPECT_OK(dpt_exec_new(&exec, &eval->exec));
}

void rig_evaluate(struct rig *rig, struct rig_eval *eval, double metric[DPT_EXEC_METRICS], dpt_exec_output_fn *output,
                  void *user)
{
    struct dpt_loader *loader;
    const struct dpt_loader_conf conf = {
        .data = rig->data,
        .global = eval->plan->conf.batch_rows,
        .micros = eval->plan->micros,
        .max_rows = eval->plan->max_rows,
        .rows = dpt_plan_rows,
        .layout = eval->plan,
    };
    EXPECT_OK(dpt_loader_new(&conf, 0, &loader));
    EXPECT_OK(dpt_exec_evaluate(eval->exec, loader, metric, output, user));
    dpt_loader_free(loader);
}

void rig_eval_free(struct rig_eval *eval)
{
    dpt_exec_free(eval->exec);
    dpt_plan_free(eval->plan);
    dpt_graph_free(eval->graph);
}

double rig_get(const struct dpt_tensor *tensor, int64_t element)
{
    return tensor->type.dtype == DPT_DTYPE_F32 ? ((const float *)tensor->data)[element]
                                               : ((const double *)tensor->data)[element];
}

/* The value of another graph that has this one's name. */
static int same_name(const struct dpt_graph *graph, int value, const struct dpt_graph *other)
{
    const int found = dpt_graph_find(other, graph->value[value].name);
    assert_true(found >= 0);
    return found;
}

/* max |x - y| / max |y|. */
static double tensor_distance(const struct dpt_tensor *x, const struct dpt_tensor *y)
{
    double most = 0.0, largest = 0.0;
    for (int64_t i = 0; i < dpt_type_numel(&x->type); i++) {
        const double distance = fabs(rig_get(x, i) - rig_get(y, i));
        if (isnan(distance)) {
            return distance;
        }
        most = fmax(most, distance);
        largest = fmax(largest, fabs(rig_get(y, i)));
    }
    return most > 0.0 ? most / largest : 0.0;
}

double rig_distance(const struct rig *a, const struct rig *b)
{
    double most = 0.0;
    for (int v = 0; v < a->graph->nvalues; v++) {
        const enum dpt_value_kind kind = a->graph->value[v].kind;
        if (kind == DPT_VALUE_KIND_PARAM || kind == DPT_VALUE_KIND_BUFFER || kind == DPT_VALUE_KIND_SLOT) {
            const struct dpt_tensor x = dpt_state_tensor(a->state, v);
            const struct dpt_tensor y = dpt_state_tensor(b->state, same_name(a->graph, v, b->graph));
            const double distance = tensor_distance(&x, &y);
            if (isnan(distance)) {
                return distance;
            }
            most = fmax(most, distance);
        }
    }
    return most;
}

double rig_distance_gathered(const struct rig *a, const struct rig *b)
{
    double most = 0.0;
    for (int v = 0; v < a->graph->nvalues; v++) {
        const enum dpt_value_kind kind = a->graph->value[v].kind;
        if (kind != DPT_VALUE_KIND_PARAM && kind != DPT_VALUE_KIND_BUFFER && kind != DPT_VALUE_KIND_SLOT) {
            continue;
        }
        const struct dpt_tensor y = dpt_state_tensor(b->state, same_name(a->graph, v, b->graph));
        struct dpt_tensor x = {a->graph->value[v].type, malloc(dpt_type_nbytes(&y.type))};
        assert_non_null(x.data);
        EXPECT_OK(dpt_state_gather(a->state, v, x.data));
        const double distance = tensor_distance(&x, &y);
        free(x.data);
        if (isnan(distance)) {
            return distance;
        }
        most = fmax(most, distance);
    }
    return most;
}

void rig_expect_equal_copies(const struct rig *rig, struct dpt_comm *world)
{
    enum { MOST = 128 };
    struct copy {
        uint64_t part, bits;
    } mine[MOST] = {{0, 0}}, *all;
    if (rig->plan->conf.shard == DPT_PLAN_SHARD_PARAMETERS) {
        return;
    }
    all = calloc((size_t)dpt_comm_size(world) * MOST, sizeof *all);
    assert_non_null(all);
    assert_true(rig->plan->nparams <= MOST);
    for (int i = 0; i < rig->plan->nparams; i++) {
        const int value = rig->plan->param[i].value;
        const struct dpt_tensor at = dpt_state_tensor(rig->state, value);
        const size_t nbytes = dpt_type_nbytes(&at.type);
        const char *name = rig->plan->graph->value[value].name;
        void *host = malloc(nbytes + 1);
        assert_non_null(host);
        EXPECT_OK(dpt_dev_copy_out(rig->dev, host, at.data, nbytes));
        const uint64_t key[2] = {dpt_hash64(name, strlen(name)),
                                 dpt_hash64(rig->plan->value[value].part.begin, (size_t)at.type.ndim * sizeof(int64_t))};
        mine[i] = (struct copy){dpt_hash64(key, sizeof key), dpt_hash64(host, nbytes)};
        free(host);
    }
    EXPECT_OK(dpt_comm_gather(world, mine, sizeof mine, all, 0));
    for (int a = 0; a < dpt_comm_size(world) * MOST && dpt_comm_rank(world) == 0; a++) {
        for (int b = 0; b < a; b++) {
            if (all[a].part != 0 && all[a].part == all[b].part && all[a].bits != all[b].bits) {
                fail_msg("ranks %d and %d have other bits of one part of a parameter", b / MOST, a / MOST);
            }
        }
    }
    free(all);
}
