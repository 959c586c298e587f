/* SPDX-License-Identifier: Apache-2.0 */

/* From a job to what a step needs: data, graphs, plans, memory. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "conf/layout.h"
#include "exec/device.h"
#include "train/internal.h"

static const double PROBE_S = 0.5; /* for the size of buckets, at the start */

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

static int64_t at_most(int64_t wanted, int64_t samples)
{
    return wanted < samples ? wanted : samples;
}

static int64_t eval_batch(const struct dpt_job *job)
{
    const int64_t micro = job->batch.global / job->batch.micro_batches;
    return job->eval.batch ? job->eval.batch : micro > 0 ? micro : 1;
}

struct dpt_wire dpt_train__wire(const struct dpt_job *job)
{
    enum dpt_layout_wire kind = DPT_LAYOUT_WIRE_FP32;
    struct dpt_wire wire = {0};
    dpt_layout_read_wire(job->parallel.wire, &kind, &wire.share, &wire.rank); /* was checked when the job was read */
    wire.kind = (enum dpt_wire_kind)kind;
    return wire;
}

static struct dpt_plan_conf plan_conf(const struct dpt_train *train, int64_t batch, int64_t samples)
{
    const struct dpt_job *job = train->job;
    enum dpt_layout_schedule schedule = DPT_LAYOUT_SCHEDULE_NONE;
    int chunks = 1;
    dpt_layout_read_schedule(job->parallel.schedule, &schedule, &chunks); /* was checked when the job was read */
    return (struct dpt_plan_conf){
        .mesh = &train->mesh,
        .run = train->run,
        .threads = train->threads,
        .dev = train->dev,
        .apart = train->run == DPT_RUN_CUDA,
        .batch_rows = at_most(batch, samples),
        .tail_rows = samples % batch,
        .micro_batches = 1,
        .shards = job->run.reproducible ? job->parallel.shards : 0,
        .fixed = job->parallel.reduce == DPT_REDUCE_FIXED,
        .wire = dpt_train__wire(job),
        .bucket_bytes = train->bucket_nbytes ? train->bucket_nbytes : job->parallel.bucket_bytes,
        .schedule = (enum dpt_pipeline_schedule)schedule,
        .chunks = chunks,
        .ncuts = job->parallel.stages.count,
        .cut = (const char *const *)job->parallel.stages.value,
        .backward = train->backward,
        .shard = (enum dpt_plan_shard)job->parallel.shard,
        .average = job->parallel.tie == DPT_TIE_AVERAGE,
        .split_vocabulary = job->parallel.vocabulary == DPT_VOCABULARY_SPLIT,
        .share = train->share,
        .sketch = train->sketch,
    };
}

/* The training's plan, without what depends on the graph. */
static struct dpt_plan_conf train_conf(const struct dpt_train *train)
{
    const struct dpt_job *job = train->job;
    struct dpt_plan_conf conf = plan_conf(train, job->batch.global, dpt_data_info(train->data)->samples);
    conf.micro_batches = at_most(job->batch.micro_batches, conf.batch_rows);
    return conf;
}

/* The backward pass: what is fused there, and what of the forward pass it repeats, joins no two stages. */
static enum dpt_status add_backward(const struct dpt_train *train, struct dpt_graph *graph)
{
    const struct dpt_plan_conf conf = train_conf(train);
    int *stage;
    DPT_TRY(dpt_graph_gradient(graph));
    DPT_TRY(dpt_plan_stages(graph, &conf, train->arena, &stage));
    DPT_TRY(dpt_graph_fuse_gradient(graph, stage));
    return dpt_graph_recompute(graph, (enum dpt_recompute)train->job->parallel.recompute, stage);
}

static enum dpt_status build(const struct dpt_train *train, int64_t rows, bool training, struct dpt_graph **graph)
{
    const enum dpt_dtype half = dpt_exec_half(train->job->run.precision);
    *graph = dpt_graph_new(dpt_exec_real(train->job->run.precision), rows, training);
    DPT_TRY(dpt_model_build(train->job, &train->io, false, *graph));
    DPT_TRY(dpt_graph_fuse(*graph));
    if (training) {
        DPT_TRY(add_backward(train, *graph));
    }
    if (dpt_train__axis(train, "pipeline") == 1) {
        DPT_TRY(dpt_graph_fuse_norms(*graph));
    }
    if (half != DPT_DTYPE_F32) {
        dpt_graph_precision(*graph, half);
    }
    if (training) {
        DPT_TRY(dpt_optim_build(train->job, *graph));
    }
    return dpt_graph_check(*graph);
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
    conf.schedule = DPT_PIPELINE_NONE;
    conf.backward = NULL;
    if (!train->eval_graph) {
        DPT_TRY(build(train, eval_batch(train->job), false, &train->eval_graph));
    }
    return dpt_plan_new(train->eval_graph, &conf, &eval->plan);
}

int dpt_train__ranks(const struct dpt_train *train)
{
    int ranks = 1;
    for (int axis = 0; axis < train->mesh.naxes; axis++) {
        ranks *= train->mesh.axis[axis].size;
    }
    return ranks;
}

int dpt_train__axis(const struct dpt_train *train, const char *name)
{
    const int axis = dpt_mesh_axis(&train->mesh, name);
    return axis >= 0 ? train->mesh.axis[axis].size : 1;
}

const char *dpt_train__layout_text(const struct dpt_train *train, char out[DPT_TRAIN__LAYOUT_SIZE])
{
    size_t at = 0;
    for (int axis = 0; axis < train->mesh.naxes && at < DPT_TRAIN__LAYOUT_SIZE; axis++) {
        at += (size_t)snprintf(out + at, DPT_TRAIN__LAYOUT_SIZE - at, "%s%s:%d", axis ? " " : "",
                               train->mesh.axis[axis].name, train->mesh.axis[axis].size);
    }
    return out;
}

enum dpt_status dpt_train__mesh(struct dpt_train *train, int ranks)
{
    struct dpt_layout layout;
    struct dpt_mesh_axis axis[DPT_LAYOUT_MAX_AXES] = {{.name = "data", .size = ranks}};
    int count = 1, all = 1;
    DPT_TRY(dpt_layout_read(train->job->parallel.layout, &layout));
    for (int a = 0; a < layout.naxes; a++) {
        snprintf(axis[a].name, sizeof axis[a].name, "%s", layout.axis[a].name);
        axis[a].size = layout.axis[a].size;
        all *= layout.axis[a].size;
        count = layout.naxes;
    }
    DPT_CHECK(layout.naxes == 0 || all == ranks || !train->world || !dpt_comm_is_serial(), DPT_STATUS_USAGE,
              "[parallel] layout = %s is for %d ranks, but dpt was built --without-mpi and has one: set it to auto, or build "
              "dpt with an MPI",
              train->job->parallel.layout, all);
    DPT_CHECK(layout.naxes == 0 || all == ranks, DPT_STATUS_USAGE,
              "[parallel] layout = %s is for %d rank%s, but the job has %d: start as many as the layout says, or set it to "
              "auto",
              train->job->parallel.layout, all, all == 1 ? "" : "s", ranks);
    if (!train->world) {
        return dpt_mesh_shape(ranks, count, axis, &train->mesh);
    }
    return dpt_mesh_new(train->world, count, axis, &train->mesh);
}

/* What the job says of the ranks along axes, as the plan wants it. */
static enum dpt_status take_ranks(struct dpt_train *train)
{
    const struct dpt_ints *backward = &train->job->parallel.backward;
    const int data = dpt_train__axis(train, "data"), places = dpt_train__axis(train, "pipeline");
    double share[DPT_LAYOUT_MAX_SHARES];
    int count;
    DPT_CHECK(train->job->parallel.update == DPT_UPDATE_SYNC || data == dpt_train__ranks(train), DPT_STATUS_USAGE,
              "[parallel] update: ranks can go their own ways only where data is the only axis of the layout");
    DPT_CHECK(data == dpt_train__ranks(train) ||
                  ((train->job->parallel.exchange == DPT_ROUTE_AUTO || train->job->parallel.exchange == DPT_ROUTE_FLAT) &&
                   dpt_train__wire(train->job).kind == DPT_WIRE_KIND_FP32),
              DPT_STATUS_USAGE,
              "[parallel] exchange = auto and flat, and wire = fp32, are all there is where data is not the only axis of the "
              "layout");
    DPT_TRY(dpt_layout_read_shares(train->job->parallel.shares, &count, share));
    DPT_CHECK(count <= 0 || count == data, DPT_STATUS_USAGE,
              "[parallel] shares has %d numbers, but %d rank%s share%s the batch: give one for each, or equal", count, data,
              data == 1 ? "" : "s", data == 1 ? "s" : "");
    DPT_CHECK(count == 0 || !train->job->run.reproducible, DPT_STATUS_USAGE,
              "[parallel] shares = %s, but a reproducible run has equal parts: set it to equal", train->job->parallel.shares);
    if (count > 0 && !train->share) {
        train->share = dpt_arena_memdup(train->arena, share, (size_t)count * sizeof *share);
    }
    DPT_CHECK(backward->count == 0 || backward->count == places, DPT_STATUS_USAGE,
              "[parallel] backward has %d numbers, expected one for each of %d places of the pipeline", backward->count,
              places);
    int *place = dpt_arena_array(train->arena, (size_t)backward->count + 1, sizeof *place);
    for (int i = 0; i < backward->count; i++) {
        place[i] = (int)backward->value[i];
    }
    train->backward = backward->count > 0 ? place : NULL;
    return DPT_STATUS_OK;
}

static enum dpt_status plan_all(struct dpt_train *train)
{
    const struct dpt_plan_conf conf = train_conf(train);
    DPT_TRY(dpt_plan_new(train->graph, &conf, &train->plan));
    DPT_TRY(plan_eval(train, &train->valid));
    return plan_eval(train, &train->test);
}

enum dpt_status dpt_train__plan(struct dpt_train *train)
{
    const struct dpt_job *job = train->job;
    train->valid.name = "valid";
    train->test.name = "test";
    train->run = DPT_RUN_CPU;
    DPT_TRY(take_ranks(train));
    DPT_TRY(open_data(train));
    const int64_t samples = dpt_data_info(train->data)->samples;
    const struct dpt_plan_conf conf = train_conf(train);
    train->steps_per_epoch = dpt_batch_steps_per_epoch(samples, job->batch.global);
    train->steps = dpt_span_steps(job->run.length, train->steps_per_epoch);
    const int64_t warmup = dpt_span_steps(job->schedule.warmup, train->steps_per_epoch);
    DPT_CHECK(warmup == 0 || warmup < train->steps, DPT_STATUS_USAGE,
              "[schedule] warmup takes %" PRId64 " steps, and the whole run ([run] length) %" PRId64
              ": expected less, or none",
              warmup, train->steps);
    DPT_TRY(build(train, (conf.batch_rows + conf.micro_batches - 1) / conf.micro_batches, true, &train->graph));
    DPT_TRY(dpt_train__open_device(train)); /* before plans: kernels prepare for its number of threads */
    return plan_all(train);
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
        .group = train->group,
        .ring = train->ring,
        .direct = train->direct,
        .flat = train->job->parallel.exchange == DPT_ROUTE_FLAT,
        .share = train->exec,
        .seed = (uint64_t)train->job->run.seed,
    };
    return dpt_exec_new(&conf, &eval->exec);
}

/*
 * DPT_SLOW_RANK=R:F,... in the environment makes the kernels of rank R take F times as long, to try uneven ranks out; it
 * sleeps for the rest, so that several ranks can share a core as if each had its own.
 */
static double slowness(const struct dpt_train *train)
{
    const char *at = getenv("DPT_SLOW_RANK");
    while (at && *at) {
        char *end;
        const long rank = strtol(at, &end, 10);
        const double factor = *end == ':' ? strtod(end + 1, &end) : 1.0;
        if (rank == dpt_comm_rank(train->world)) {
            return factor;
        }
        at = *end == ',' ? end + 1 : NULL;
    }
    return 1.0;
}

static enum dpt_status bind_all(struct dpt_train *train)
{
    const struct dpt_exec_conf conf = {
        .slowness = slowness(train),
        .plan = train->plan,
        .state = train->state,
        .dev = train->dev,
        .exchange = train->exchange,
        .group = train->group,
        .ring = train->ring,
        .direct = train->direct,
        .flat = train->job->parallel.exchange == DPT_ROUTE_FLAT,
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

/* How gradients travel: one exchange over all ranks, or one for each group of a plan with more axes than data. */
static struct dpt_exchange_conf exchange_conf(const struct dpt_train *train)
{
    static const enum dpt_exchange_path path[] = {
        [DPT_ROUTE_AUTO] = DPT_EXCHANGE_PATH_AUTO,
        [DPT_ROUTE_SHARED] = DPT_EXCHANGE_PATH_SHARED,
        [DPT_ROUTE_HIERARCHICAL] = DPT_EXCHANGE_PATH_HIERARCHICAL,
        [DPT_ROUTE_FLAT] = DPT_EXCHANGE_PATH_FLAT,
    };
    return (struct dpt_exchange_conf){
        .comm = train->world,
        .thread = train->job->parallel.comm_thread == DPT_AUTO_ON    ? DPT_EXCHANGE_THREAD_ON
                  : train->job->parallel.comm_thread == DPT_AUTO_OFF ? DPT_EXCHANGE_THREAD_OFF
                                                                     : DPT_EXCHANGE_THREAD_AUTO,
        .spare_core = train->cores.share > train->threads || train->run == DPT_RUN_CUDA, /* kernels are not on it */
        .own_core = !train->cores.shared,
        .tree = train->job->run.reproducible && train->job->parallel.reduce != DPT_REDUCE_FIXED,
        .path = train->direct ? DPT_EXCHANGE_PATH_FLAT : path[train->job->parallel.exchange],
        .wire = dpt_train__wire(train->job),
        .seed = (uint64_t)train->job->run.seed,
    };
}

static enum dpt_status new_exchange(struct dpt_train *train)
{
    const struct dpt_exchange_conf conf = exchange_conf(train);
    if (dpt_train__axis(train, "data") != dpt_train__ranks(train)) {
        return dpt_exec_groups_new(train->plan, &train->group);
    }
    return dpt_exchange_new(&conf, &train->exchange);
}

/* No rank has all of the state when one has not. */
static enum dpt_status ask_for_parts(struct dpt_train *train)
{
    int whole = dpt_state_is_whole(train->state);
    DPT_TRY(dpt_comm_allreduce(train->world, &whole, 1, DPT_DTYPE_I32, DPT_COMM_REDUCE_MIN));
    train->in_parts = !whole;
    return DPT_STATUS_OK;
}

/* The state, in memory that the ranks of a host share where there is any. Collective. */
static enum dpt_status new_state(struct dpt_train *train)
{
    const uint64_t seed = (uint64_t)train->job->run.seed;
    if (!train->exchange || train->anyone_apart) {
        return dpt_agree(dpt_state_new(train->plan, train->dev, seed, &train->state), train->world);
    }
    return dpt_state_new_shared(train->plan, train->dev, train->exchange,
                                dpt_train__apart(train) ? DPT_STATE_KIND_APART : DPT_STATE_KIND_TOGETHER, seed,
                                &train->state);
}

/* Where bucket = auto, gradients travel in messages and are many: the fastest size, and plans for it. Collective. */
static enum dpt_status choose_bucket(struct dpt_train *train)
{
    const struct dpt_exchange_conf conf = exchange_conf(train);
    const bool alone = dpt_train__axis(train, "data") == dpt_train__ranks(train) && conf.wire.kind <= DPT_WIRE_KIND_INT8;
    const bool asked = train->job->parallel.bucket_bytes == 0 && train->job->parallel.shard == DPT_SHARD_NONE &&
                       train->job->parallel.update == DPT_UPDATE_SYNC && train->graph->real == DPT_DTYPE_F32;
    if (!alone || !asked || train->ring || train->direct) {
        return DPT_STATUS_OK;
    }
    const size_t nbytes = (size_t)train->plan->nflat * sizeof(float);
    DPT_TRY(dpt_exchange_probe(&conf, nbytes, PROBE_S, &train->bucket_nbytes));
    if (train->bucket_nbytes == 0 || train->bucket_nbytes == DPT_PLAN_BUCKET_NBYTES) {
        train->bucket_nbytes = 0; /* as it was planned */
        return DPT_STATUS_OK;
    }
    dpt_plan_free(train->valid.plan);
    dpt_plan_free(train->test.plan);
    dpt_plan_free(train->plan);
    train->plan = train->valid.plan = train->test.plan = NULL;
    return dpt_agree(plan_all(train), train->world);
}

enum dpt_status dpt_train__bind(struct dpt_train *train)
{
    DPT_TRY(dpt_train__tell_devices(train));
    DPT_TRY(dpt_train__join_cards(train));
    DPT_TRY(choose_bucket(train));
    DPT_TRY(compare_plans(train));
    DPT_TRY(dpt_agree(new_exchange(train), train->world));
    DPT_TRY(new_state(train));
    DPT_TRY(ask_for_parts(train));
    DPT_TRY(dpt_agree(dpt_train__host_open(train), train->world));
    DPT_TRY(dpt_agree(dpt_train__local_open(train), train->world));
    DPT_TRY(dpt_train__async_open(train));
    return dpt_agree(bind_all(train), train->world);
}

enum dpt_status dpt_train__new_loader(struct dpt_train *train)
{
    const struct dpt_loader_conf conf = {
        .data = train->data,
        .global = train->job->batch.global,
        .micros = train->plan->micros,
        .max_rows = train->plan->max_rows,
        .train = true,
        .ahead = train->ahead,
        .dev = train->dev,
        .rows = dpt_plan_rows,
        .layout = train->plan,
    };
    return dpt_loader_new(&conf, train->state->step, &train->loader);
}

static void drop_eval(struct dpt_train__eval *eval)
{
    dpt_exec_free(eval->exec);
    dpt_plan_free(eval->plan);
    eval->exec = NULL;
    eval->plan = NULL;
}

enum dpt_status dpt_train__replan(struct dpt_train *train)
{
    double seconds[DPT_SECTION_COUNT];
    struct dpt_plan *old = train->plan;
    struct dpt_plan_conf conf = old->conf;
    conf.share = train->share;
    memcpy(seconds, dpt_exec_seconds(train->exec), sizeof seconds);
    drop_eval(&train->valid);
    drop_eval(&train->test);
    dpt_exec_free(train->exec);
    dpt_loader_free(train->loader);
    train->exec = NULL;
    train->loader = NULL;
    train->local.bound = false; /* the exchange is bound anew */
    enum dpt_status status = dpt_plan_new(train->graph, &conf, &train->plan);
    if (status == DPT_STATUS_OK) {
        train->state->plan = train->plan; /* the layout of the state does not depend on shares */
        status = plan_eval(train, &train->valid);
    }
    if (status == DPT_STATUS_OK) {
        status = plan_eval(train, &train->test);
    }
    DPT_TRY(dpt_agree(status, train->world));
    dpt_plan_free(old);
    DPT_TRY(dpt_agree(bind_all(train), train->world));
    memcpy(dpt_exec_seconds(train->exec), seconds, sizeof seconds);
    return dpt_agree(dpt_train__new_loader(train), train->world);
}

static void free_eval(struct dpt_train__eval *eval)
{
    drop_eval(eval);
    dpt_data_close(eval->data);
}

void dpt_train__free(struct dpt_train *train)
{
    dpt_loader_free(train->loader);
    free_eval(&train->valid);
    free_eval(&train->test);
    dpt_exec_free(train->exec);
    dpt_train__async_close(train);
    dpt_train__local_close(train);
    dpt_train__host_close(train);
    dpt_state_free(train->state);
    dpt_exchange_free(train->exchange);
    if (train->plan) {
        dpt_exec_groups_free(train->plan, train->group);
    }
    dpt_plan_free(train->plan);
    dpt_graph_free(train->eval_graph);
    dpt_graph_free(train->graph);
    dpt_data_close(train->data);
    dpt_dev_ring_free(train->ring);
    if (train->dev) {
        dpt_dev_close(train->dev);
    }
    if (train->world) {
        dpt_mesh_free(&train->mesh);
    }
    dpt_arena_free(train->arena);
}
