/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Plans, made without ranks: every place of every mesh in this one process. What a plan says is held against the graph
 * it was made from, by rules written out here again.
 */

#include "../exec/rig.h"

#include <math.h>

#include "base/text.h"
#include "graph/build.h"
#include "op/linear.h"
#include "plan/internal.h"

static const char *const jobs[] = {
    RIG_FP32 RIG_MLP RIG_BATCH("13", "1") RIG_SGD,
    RIG_FP64 RIG_REGRESSION RIG_BATCH("10", "3") RIG_ADAMW,
    RIG_FP32 RIG_CNN RIG_BATCH("12", "1") RIG_ADAMW,
    RIG_FP64 RIG_CNN RIG_BATCH("12", "2") RIG_SGD,
    RIG_FP32 RIG_RESNET RIG_BATCH("14", "1") RIG_SGD,
    RIG_SHARDS RIG_RESNET RIG_BATCH("14", "1") RIG_SGD,
    RIG_FP64 RIG_LAYERS RIG_BATCH("14", "1") RIG_ADAMW,
};
enum { NJOBS = sizeof jobs / sizeof jobs[0], NOBODY = -1 };

/* Jobs with their data, opened once. */
static struct {
    const char *job;
    struct rig *rig;
} opened[32];

static struct rig *open_once(const char *job)
{
    int i = 0;
    while (opened[i].job && strcmp(opened[i].job, job) != 0) {
        i++;
        assert_true(i < (int)(sizeof opened / sizeof opened[0]));
    }
    if (!opened[i].job) {
        opened[i].job = job;
        opened[i].rig = rig_open(job);
    }
    return opened[i].rig;
}

static int close_all(void **state)
{
    (void)state;
    for (int i = 0; opened[i].job; i++) {
        rig_free(opened[i].rig);
    }
    return 0;
}

/* A plan with what it was made from; `conf` may be changed between made_open and made_plan. */
struct made {
    const struct rig *rig;
    struct dpt_mesh mesh;
    struct dpt_plan_conf conf;
    struct dpt_graph *graph;
    struct dpt_plan *plan;
};

static void made_open(struct made *made, const char *job, int ranks, int rank)
{
    *made = (struct made){.rig = open_once(job), .mesh = rig_mesh(ranks, rank)};
    made->conf = rig_plan_conf(made->rig);
    made->conf.mesh = &made->mesh;
}

static void made_plan(struct made *made, bool training, bool fuse)
{
    made->graph = rig_graph(made->rig, made->conf.batch_rows, training, fuse);
    EXPECT_OK(dpt_plan_new(made->graph, &made->conf, &made->plan));
}

static void made_new(struct made *made, const char *job, int ranks, int rank)
{
    made_open(made, job, ranks, rank);
    made_plan(made, true, true);
}

static void made_free(struct made *made)
{
    dpt_plan_free(made->plan);
    dpt_graph_free(made->graph);
}

/* ------------------------------------------------------------------------------------------------------ placement */

static bool is_op(const struct dpt_graph *graph, int value, const char *op)
{
    const int producer = graph->value[value].producer;
    return producer >= 0 && strcmp(graph->node[producer].op->name, op) == 0;
}

/* Statistics of batch norm, which are small and needed whole. */
static bool is_statistic(const struct dpt_graph *graph, int value)
{
    return is_op(graph, value, "batch_stat") || is_op(graph, value, "batch_grad_stat") ||
           (is_op(graph, value, "batch_residual_dx") && graph->value[value].output == 1);
}

static void expect_places(const struct dpt_plan *plan, bool local)
{
    const struct dpt_graph *graph = plan->graph;
    for (int v = 0; v < graph->nvalues; v++) {
        const struct dpt_value *value = &graph->value[v];
        const struct dpt_place place = plan->value[v].place[0];
        enum dpt_place_kind want = DPT_PLACE_KIND_COPIED;
        if (value->kind == DPT_VALUE_KIND_GRADIENT || value->kind == DPT_VALUE_KIND_METRIC ||
            (is_statistic(graph, v) && !local)) {
            want = DPT_PLACE_KIND_PARTIAL;
        } else if (value->batch) {
            want = DPT_PLACE_KIND_SPLIT;
            assert_int_equal(place.dim, 0);
        }
        if (place.kind != want) {
            fail_msg("%s: place %d, expected %d", value->name, (int)place.kind, (int)want);
        }
    }
}

/* Each statistic is summed once a micro-batch where `sums`, and nothing else ever. */
static void expect_sums(const struct dpt_plan *plan, bool sums)
{
    const struct dpt_graph *graph = plan->graph;
    int statistics = 0, found = 0;
    for (int v = 0; v < graph->nvalues; v++) {
        statistics += is_statistic(graph, v);
    }
    for (int i = 0; i < plan->nactions; i++) {
        const struct dpt_action *action = &plan->action[i];
        if (action->kind == DPT_ACTION_RUN && graph->node[action->arg].op == &dpt_op_all_reduce) {
            found++;
            assert_true(is_statistic(graph, graph->node[action->arg].in[0]));
        }
    }
    assert_int_equal(found, sums ? statistics * plan->micros : 0);
}

static void values_lie_as_their_letters_say(void **state)
{
    (void)state;
    for (int j = 0; j < NJOBS; j++) {
        for (int ranks = 1; ranks <= 4; ranks *= 2) {
            for (int fuse = 0; fuse < 2; fuse++) {
                struct made made;
                made_open(&made, jobs[j], ranks, ranks - 1);
                made_plan(&made, true, fuse);
                expect_places(made.plan, false);
                expect_sums(made.plan, ranks > 1 && made.conf.shards == 0);
                made_free(&made);
            }
        }
    }
}

static void statistics_are_summed_where_the_job_says(void **state)
{
    (void)state;
    const struct {
        const char *job;
        int ranks;
        bool sums;
    } cases[] = {
        {RIG_FP32 RIG_RESNET RIG_BATCH("14", "2") RIG_SGD, 2, true},
        {RIG_FP32 RIG_RESNET RIG_BATCH("14", "2") RIG_SGD, 1, false},
        {RIG_FP32 "[model]\ntype = resnet\ndepth = 20\nbatch_norm = local\n" RIG_DATA("8 8 1", "3")
             RIG_BATCH("14", "1") RIG_SGD, 4, false},
        {RIG_SHARDS RIG_RESNET RIG_BATCH("14", "1") RIG_SGD, 4, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct made made;
        made_new(&made, cases[i].job, cases[i].ranks, 0);
        expect_places(made.plan, strstr(cases[i].job, "batch_norm = local") != NULL);
        expect_sums(made.plan, cases[i].sums);
        made_free(&made);
    }
}

/*
 * Branches that meet again, and two layers with one weight, whose gradient is then a sum of partial sums. For
 * predictions the output is the middle of it, so that the rest runs after its last use.
 */
static struct dpt_graph *branches(const struct rig *rig, int64_t rows, bool training)
{
    const int64_t dim[1] = {6}, weight[2] = {6, 6};
    const struct dpt_linear_param plain = {DPT_ACTIVATION_KIND_NONE, 0};
    struct dpt_graph *graph = dpt_graph_new(DPT_DTYPE_F64, rows, training);
    graph->input = dpt_graph_input(graph, "input", DPT_DTYPE_F64, 1, dim);
    graph->target = dpt_graph_input(graph, "target", DPT_DTYPE_F64, 1, dim);
    const int w = dpt_graph_param(graph, "shared", (struct dpt_init){DPT_INIT_KIND_UNIFORM, 0.5}, true, 2, weight);
    int x = dpt_build_layer_norm(graph, "norm", graph->input, 1e-5);
    for (int i = 0; i < 2; i++) {
        graph->layer = i == 0 ? "first" : "second";
        const int y = dpt_graph_add(graph, "linear", &plain, 2, (const int[]){x, w});
        const int left = dpt_build_activation(graph, i == 0 ? "left1" : "left2", y, DPT_ACTIVATION_KIND_TANH);
        const int right = dpt_build_activation(graph, i == 0 ? "right1" : "right2", y, DPT_ACTIVATION_KIND_SIGMOID);
        x = dpt_build_combine(graph, i == 0 ? "join1" : "join2", i == 0 ? "mul" : "add", 2, (const int[]){left, right});
        graph->output = i == 0 || training ? x : graph->output;
    }
    if (!training) {
        return graph;
    }
    graph->layer = "loss";
    graph->loss = dpt_graph_add(graph, "mse", NULL, 2, (const int[]){x, graph->target});
    graph->metric = dpt_graph_add(graph, "real_metrics", NULL, 3, (const int[]){x, graph->target, graph->loss});
    assert_true(graph->metric >= 0);
    graph->value[graph->metric].kind = DPT_VALUE_KIND_METRIC;
    EXPECT_OK(dpt_graph_gradient(graph));
    EXPECT_OK(dpt_optim_build(rig->job, graph));
    EXPECT_OK(dpt_graph_check(graph));
    return graph;
}

static void sums_of_partial_sums_stay_partial(void **state)
{
    (void)state;
    struct made made;
    made_open(&made, jobs[0], 4, 1);
    made.graph = branches(made.rig, 13, true);
    EXPECT_OK(dpt_plan_new(made.graph, &made.conf, &made.plan));
    expect_sums(made.plan, true); /* there are no statistics, so there are none */
    int parts = 0;
    for (int v = 0; v < made.graph->nvalues; v++) {
        const bool partial = made.plan->value[v].place[0].kind == DPT_PLACE_KIND_PARTIAL;
        parts += partial && made.graph->value[v].kind == DPT_VALUE_KIND_ACTIVATION;
    }
    assert_int_equal(parts, 2); /* the gradients of the two uses of the weight, before they are added */
    const int w = dpt_graph_find(made.graph, "shared");
    assert_int_equal(made.plan->value[made.graph->value[w].gradient].place[0].kind, DPT_PLACE_KIND_PARTIAL);
    made_free(&made);
}

/* One that another node reads whole is summed for that one, and stays a partial sum for the others. */
static void a_partial_sum_has_readers_of_two_kinds(void **state)
{
    (void)state;
    for (int mixed = 0; mixed < 2; mixed++) {
        const int64_t dim[1] = {6};
        struct made made;
        made_open(&made, jobs[0], 4, 1);
        made.graph = dpt_graph_new(DPT_DTYPE_F64, 13, false);
        made.graph->input = dpt_graph_input(made.graph, "input", DPT_DTYPE_F64, 1, dim);
        const int x = made.graph->input;
        const struct dpt_linear_dw_param weight = {false};
        const int one = dpt_graph_add(made.graph, "linear_dw", &weight, 2, (const int[]){x, x});
        const int two = dpt_graph_add(made.graph, "linear_dw", &weight, 2, (const int[]){x, x});
        const int whole = dpt_build_activation(made.graph, "whole", two, DPT_ACTIVATION_KIND_TANH);
        const int sum = dpt_graph_add(made.graph, "add", NULL, 2, (const int[]){one, two});
        made.graph->output = dpt_build_activation(made.graph, "end", sum, DPT_ACTIVATION_KIND_TANH);
        made.graph->output = mixed ? dpt_graph_add(made.graph, "add", NULL, 2, (const int[]){whole, made.graph->output})
                                   : made.graph->output;
        assert_true(made.graph->output >= 0);
        EXPECT_OK(dpt_plan_new(made.graph, &made.conf, &made.plan));
        const struct dpt_graph *graph = made.plan->graph;
        assert_int_equal(made.plan->value[sum].place[0].kind, DPT_PLACE_KIND_PARTIAL);
        int sums = 0;
        for (int n = 0; n < graph->nnodes; n++) {
            if (graph->node[n].op == &dpt_op_all_reduce) {
                sums++;
                assert_true(graph->node[n].in[0] == two || graph->node[n].in[0] == sum);
                /* the partial sum is needed again: its memory stays */
                assert_true(graph->node[n].in[0] == sum || made.plan->value[graph->node[n].out[0]].alias < 0);
            }
            if (graph->node[n].op == &dpt_op_add && graph->node[n].out[0] == sum) {
                assert_true(graph->node[n].in[0] == one && graph->node[n].in[1] == two);
            }
        }
        assert_int_equal(sums, 2);
        made_free(&made);
    }
}

/* --------------------------------------------------------------------------------------------------------- layout */

/* The node that finishes the gradient of flat param i; -1 where it has none. */
static int finish_of(const struct dpt_plan *plan, int i)
{
    return plan->param[i].gradient >= 0 ? plan->graph->value[plan->param[i].gradient].producer : NOBODY;
}

static void expect_params(const struct dpt_plan *plan)
{
    const struct dpt_graph *graph = plan->graph;
    int count = 0;
    for (int v = 0; v < graph->nvalues; v++) {
        count += graph->value[v].kind == DPT_VALUE_KIND_PARAM || graph->value[v].kind == DPT_VALUE_KIND_BUFFER;
    }
    assert_int_equal(plan->nparams, count);
    int64_t at = 0;
    for (int i = 0; i < plan->nparams; i++) {
        const struct dpt_plan_param *param = &plan->param[i];
        const struct dpt_value *value = &graph->value[param->value];
        assert_int_equal(param->offset % 16, 0);
        assert_true(param->offset >= at && param->offset < at + 16);
        assert_int_equal(param->numel, dpt_type_numel(&value->type));
        assert_int_equal(param->gradient, value->gradient);
        at = param->offset + param->numel;
        const bool trained = value->kind == DPT_VALUE_KIND_PARAM;
        assert_true(trained == (at <= plan->ntrained));
        if (i > 0) {
            const bool before = graph->value[plan->param[i - 1].value].kind == DPT_VALUE_KIND_PARAM;
            assert_true(before || !trained); /* buffers come last */
            assert_true(before != trained || finish_of(plan, i - 1) <= finish_of(plan, i));
        }
        for (int k = 0; k < param->nslots; k++) {
            assert_int_equal(graph->value[param->slot[k]].of, param->value);
        }
    }
    assert_true(plan->nflat >= at && plan->nflat < at + 16 && plan->ntrained <= plan->nflat);
}

/* A bucket is closed at the param with which it has `first` or, behind the first bucket, `others` bytes. */
static void expect_buckets(const struct dpt_plan *plan, int64_t first, int64_t others)
{
    const int64_t width = (int64_t)dpt_dtype_nbytes(plan->graph->real);
    int64_t at = 0;
    int param = 0;
    for (int b = 0; b < plan->nbuckets; b++) {
        const int64_t begin = plan->bucket[b].range.begin;
        const bool end = b == plan->nbuckets - 1 || plan->bucket[b + 1].trained != plan->bucket[b].trained;
        assert_int_equal(begin, at);
        at = plan->bucket[b].range.end;
        assert_true(at > begin);
        assert_true(plan->bucket[b].trained == (at <= plan->ntrained));
        const int64_t wanted = b == 0 ? first : others;
        int64_t last = 0; /* where the last param of the bucket begins */
        for (; param < plan->nparams && plan->param[param].offset < at; param++) {
            last = plan->param[param].offset;
            assert_true(last + plan->param[param].numel <= at);
        }
        assert_true(end || (at - begin) * width >= wanted);
        assert_true((last - begin) * width < wanted); /* it was not full before */
    }
    assert_int_equal(at, plan->nflat);
    assert_int_equal(param, plan->nparams);
}

static const struct dpt_node *update_of(const struct dpt_graph *graph, int value)
{
    for (int n = 0; n < graph->nnodes; n++) {
        if (graph->node[n].op->update && graph->node[n].in[0] == value) {
            return &graph->node[n];
        }
    }
    return NULL;
}

/* Every param with a gradient is in one update, that of its own node; updates hold nothing else. */
static void expect_updates(const struct dpt_plan *plan)
{
    int64_t at = 0;
    for (int u = 0; u < plan->nupdates; u++) {
        assert_true(plan->update[u].begin >= at && plan->update[u].end > plan->update[u].begin);
        at = plan->update[u].end;
    }
    assert_true(at <= plan->nflat);
    for (int i = 0; i < plan->nparams; i++) {
        const struct dpt_plan_param *param = &plan->param[i];
        const struct dpt_node *node = update_of(plan->graph, param->value);
        assert_true((node != NULL) == (param->gradient >= 0));
        int holders = 0;
        for (int u = 0; u < plan->nupdates; u++) {
            const struct dpt_plan_update *update = &plan->update[u];
            const bool meets = param->offset < update->end && update->begin < param->offset + param->numel;
            if (meets) {
                holders++;
                assert_non_null(node);
                assert_true(update->begin <= param->offset && param->offset + param->numel <= update->end);
                assert_ptr_equal(update->op, node->op);
                assert_int_equal(update->nslots, node->nin - 2);
                assert_memory_equal(update->param, node->param, node->op->param_nbytes);
            }
        }
        assert_int_equal(holders, node ? 1 : 0);
    }
}

static void the_state_is_flat_and_whole(void **state)
{
    (void)state;
    for (int j = 0; j < NJOBS; j++) {
        const int64_t bytes[] = {1, 100, 5000, 1 << 30, 0};
        int before = 1 << 30;
        for (int k = 0; k < 5; k++) {
            struct made made;
            made_open(&made, jobs[j], 2, 0);
            made.conf.bucket_bytes = bytes[k];
            made_plan(&made, true, true);
            expect_params(made.plan);
            expect_buckets(made.plan, bytes[k] ? bytes[k] : 1 << 20, bytes[k] ? bytes[k] : 8 << 20);
            expect_updates(made.plan);
            assert_true(bytes[k] == 0 || made.plan->nbuckets <= before);
            assert_true(k != 0 || made.plan->nbuckets == made.plan->nparams);
            assert_true(bytes[k] != 1 << 30 || made.plan->nbuckets == 1 + (made.plan->nflat > made.plan->ntrained));
            before = made.plan->nbuckets;
            made_free(&made);
        }
    }
}

/* Large nets have a first bucket of 1 MiB, so that the exchange begins early, and then 8 MiB. */
static void buckets_have_sizes_of_their_own(void **state)
{
    (void)state;
    struct made made;
    made_new(&made, RIG_FP32 "[model]\ntype = mlp\nwidths = 1024 1024 1024 1024\n" RIG_DATA("1024", "10")
                        RIG_BATCH("4", "1") RIG_SGD, 2, 0);
    assert_int_equal(made.plan->nbuckets, 3); /* fc5: 40 KiB, then 4 MiB for each of the others */
    const int64_t first = made.plan->bucket[0].range.end * 4, second = made.plan->bucket[1].range.end * 4 - first;
    assert_true(first >= 1 << 20 && first < 5 << 20);
    assert_true(second >= 8 << 20 && second < 13 << 20);
    made_free(&made);
}

static void an_evaluation_takes_the_layout(void **state)
{
    (void)state;
    for (int j = 0; j < NJOBS; j++) {
        struct made made;
        made_new(&made, jobs[j], 2, 1);
        struct dpt_plan_conf conf = made.conf;
        struct dpt_plan *plan;
        struct dpt_graph *graph = rig_graph(made.rig, 7, false, true);
        conf.layout = made.plan;
        conf.batch_rows = 9;
        EXPECT_OK(dpt_plan_new(graph, &conf, &plan));
        assert_int_equal(plan->nflat, made.plan->nflat);
        assert_int_equal(plan->nparams, made.plan->nparams);
        const struct dpt_plan_memory *memory = &plan->memory;
        assert_int_equal(memory->params + memory->gradients + memory->slots + memory->accumulators, 0);
        for (int i = 0; i < plan->nparams; i++) {
            const struct dpt_plan_param *a = &plan->param[i], *b = &made.plan->param[i];
            assert_string_equal(graph->value[a->value].name, made.graph->value[b->value].name);
            assert_int_equal(a->offset, b->offset);
            assert_int_equal(a->numel, b->numel);
            assert_int_equal(a->gradient, NOBODY);
        }
        for (int i = 0; i < plan->nactions; i++) {
            const enum dpt_action_kind kind = plan->action[i].kind;
            assert_true(kind == DPT_ACTION_LOAD || kind == DPT_ACTION_RUN || kind == DPT_ACTION_METRIC ||
                        kind == DPT_ACTION_CONTROL);
        }
        dpt_plan_free(plan);
        dpt_graph_free(graph);

        /* Another model has not these parameters. */
        graph = rig_graph(open_once(jobs[j == 0 ? 2 : 0]), 7, false, true);
        assert_int_equal(dpt_plan_new(graph, &conf, &plan), DPT_STATUS_FAILED);
        assert_null(plan);
        dpt_graph_free(graph);
        made_free(&made);
    }
}

/* ----------------------------------------------------------------------------------------------------------- rows */

/* Asks all ranks for a batch of `count`: the pieces must lie side by side and be even. */
static void expect_rows(struct dpt_plan *const *plan, int ranks, int64_t count)
{
    const bool shards = plan[0]->conf.shards > 0;
    int64_t pieces = 0, least = INT64_MAX, most = 0;
    int *taken = calloc((size_t)count + 1, sizeof *taken);
    assert_non_null(taken);
    for (int64_t micro = 0; micro < plan[0]->micros; micro++) {
        int64_t sum = 0, whole = -1;
        if (!shards) {
            least = INT64_MAX;
            most = 0;
        }
        for (int rank = 0; rank < ranks; rank++) {
            int64_t first, rows, all;
            dpt_plan_rows(plan[rank], count, micro, &first, &rows, &all);
            assert_true(first >= 0 && rows >= 0 && first + rows <= count && rows <= plan[rank]->max_rows);
            for (int64_t i = first; i < first + rows; i++) {
                assert_int_equal(taken[i]++, 0);
            }
            least = rows < least ? rows : least;
            most = rows > most ? rows : most;
            assert_true(shards ? all == rows : whole < 0 || all == whole);
            whole = all;
            sum += rows;
        }
        assert_true(shards || sum == whole);
        assert_true(most - least <= 1);
        pieces += sum;
    }
    assert_int_equal(pieces, count);
    free(taken);
}

/* What kernels were prepared for is what a full and a short batch have, and there are few of them. */
static void expect_variants(const struct dpt_plan *plan)
{
    assert_true(plan->nvariants >= 1 && plan->nvariants <= DPT_PLAN_MAX_VARIANTS);
    for (int tail = 0; tail < 2; tail++) {
        for (int64_t micro = 0; micro < plan->micros; micro++) {
            int64_t first, rows, all;
            dpt_plan_rows(plan, tail ? plan->conf.tail_rows : plan->conf.batch_rows, micro, &first, &rows, &all);
            bool found = rows == 0;
            for (int i = 0; i < plan->nvariants; i++) {
                found = found || plan->variant[i].rows == rows;
            }
            assert_true(found);
        }
    }
}

static void ranks_share_every_batch(void **state)
{
    (void)state;
    const struct {
        int ranks;
        int64_t batch, micros, shards;
    } cases[] = {
        {1, 13, 1, 0}, {2, 13, 1, 0}, {3, 13, 2, 0}, {4, 13, 3, 0},  {5, 64, 4, 0},  {7, 31, 3, 0},  {16, 5, 1, 0},
        {7, 13, 13, 0}, {3, 1, 1, 0}, {64, 50, 2, 0}, {1, 13, 1, 8}, {2, 13, 1, 8}, {4, 64, 1, 16}, {8, 9, 1, 8},
        {1, 300, 1, 256}, {1000, 128, 1, 0},
    };
    const struct rig *rig = open_once(jobs[0]);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct dpt_graph *graph = rig_graph(rig, cases[i].batch, true, true);
        struct dpt_plan_conf conf = rig_plan_conf(rig);
        conf.batch_rows = cases[i].batch;
        conf.tail_rows = cases[i].batch / 3;
        conf.micro_batches = cases[i].micros;
        conf.shards = cases[i].shards;
        struct dpt_mesh *mesh = calloc((size_t)cases[i].ranks, sizeof *mesh);
        struct dpt_plan **plan = calloc((size_t)cases[i].ranks, sizeof *plan);
        assert_non_null(mesh);
        assert_non_null(plan);
        for (int rank = 0; rank < cases[i].ranks; rank++) {
            mesh[rank] = rig_mesh(cases[i].ranks, rank);
            conf.mesh = &mesh[rank];
            EXPECT_OK(dpt_plan_new(graph, &conf, &plan[rank]));
            expect_variants(plan[rank]);
            assert_int_equal(plan[rank]->hash, plan[0]->hash);
        }
        for (int64_t count = 0; count <= cases[i].batch; count++) {
            expect_rows(plan, cases[i].ranks, count);
        }
        for (int rank = 0; rank < cases[i].ranks; rank++) {
            dpt_plan_free(plan[rank]);
        }
        free(plan);
        free(mesh);
        dpt_graph_free(graph);
    }
}

/* --------------------------------------------------------------------------------------------------------- memory */

/*
 * A micro-batch on paper: who wrote each 64 bytes of the block last. Every node must find in them what the producers of
 * its operands left there.
 */
struct paper {
    const struct dpt_plan *plan;
    int *cell;    /* value whose content is there, or NOBODY */
    int *content; /* of a view: the value whose content it shows; of others themselves */
};

/* The cells of a value, or none where it lies elsewhere. */
static bool cells_of(const struct paper *paper, int value, int64_t *begin, int64_t *end)
{
    const struct dpt_plan *plan = paper->plan;
    const int64_t offset = plan->value[dpt_plan_root(plan, value)].offset;
    const int64_t nbytes = (int64_t)dpt_type_nbytes(&plan->value[value].type);
    assert_true(offset < 0 || (offset % 64 == 0 && offset + nbytes <= plan->memory.activations));
    *begin = offset / 64;
    *end = (offset + nbytes + 63) / 64;
    return offset >= 0;
}

static void write_value(struct paper *paper, int value)
{
    int64_t begin, end;
    if (cells_of(paper, value, &begin, &end)) {
        for (int64_t i = begin; i < end; i++) {
            paper->cell[i] = value;
        }
    }
}

static void expect_content(const struct paper *paper, int value, const char *reader)
{
    int64_t begin, end;
    if (cells_of(paper, value, &begin, &end)) {
        for (int64_t i = begin; i < end; i++) {
            if (paper->cell[i] != paper->content[value]) {
                fail_msg("%s reads %s, over which %s was written", reader, paper->plan->graph->value[value].name,
                         paper->cell[i] == NOBODY ? "nothing" : paper->plan->graph->value[paper->cell[i]].name);
            }
        }
    }
}

/* An output may lie on an input only where the op allows it, and then exactly; outputs never on one another. */
static void expect_apart(const struct paper *paper, const struct dpt_node *node)
{
    for (int o = 0; o < node->nout; o++) {
        int64_t begin, end, b, e;
        if (!cells_of(paper, node->out[o], &begin, &end)) {
            continue;
        }
        for (int i = 0; i < node->nin; i++) {
            if (cells_of(paper, node->in[i], &b, &e) && b < end && begin < e) {
                bool allowed = false;
                for (int k = 0; k < node->nin; k++) { /* the same value may be an operand twice */
                    allowed = allowed || ((node->op->alias >> k & 1) && node->in[k] == node->in[i]);
                }
                assert_true(o == 0 && allowed && b == begin && e == end);
            }
        }
        for (int k = 0; k < o; k++) {
            assert_false(cells_of(paper, node->out[k], &b, &e) && b < end && begin < e);
        }
    }
}

/* Bytes that are needed at once whatever the order of offsets: the most at any node. */
static int64_t least_bytes(const struct dpt_plan *plan)
{
    const struct dpt_graph *graph = plan->graph;
    int *first = calloc((size_t)graph->nvalues, sizeof *first), *last = calloc((size_t)graph->nvalues, sizeof *last);
    assert_non_null(first);
    assert_non_null(last);
    for (int v = 0; v < graph->nvalues; v++) {
        first[v] = last[v] = graph->value[v].producer;
    }
    for (int n = 0; n < graph->nnodes; n++) {
        for (int i = 0; i < graph->node[n].nin && !graph->node[n].op->update; i++) {
            last[graph->node[n].in[i]] = n;
        }
    }
    if (!graph->training) {
        last[graph->output] = graph->nnodes;
    }
    for (int v = 0; v < graph->nvalues; v++) {
        const int root = dpt_plan_root(plan, v);
        first[root] = first[v] < first[root] ? first[v] : first[root];
        last[root] = last[v] > last[root] ? last[v] : last[root];
    }
    int64_t most = 0;
    for (int n = -1; n <= graph->nnodes; n++) {
        int64_t sum = 0;
        for (int v = 0; v < graph->nvalues; v++) {
            const bool live = plan->value[v].offset >= 0 && first[v] <= n && n <= last[v];
            sum += live ? ((int64_t)dpt_type_nbytes(&plan->value[v].type) + 63) / 64 * 64 : 0;
        }
        most = sum > most ? sum : most;
    }
    free(first);
    free(last);
    return most;
}

static bool is_read(const struct dpt_graph *graph, int value)
{
    for (int n = 0; n < graph->nnodes; n++) {
        for (int i = 0; i < graph->node[n].nin; i++) {
            if (graph->node[n].in[i] == value) {
                return true;
            }
        }
    }
    return false;
}

static void expect_block(const struct dpt_plan *plan)
{
    const struct dpt_graph *graph = plan->graph;
    struct paper paper = {
        .plan = plan,
        .cell = calloc((size_t)plan->memory.activations / 64 + 1, sizeof(int)),
        .content = calloc((size_t)graph->nvalues, sizeof(int)),
    };
    assert_non_null(paper.cell);
    assert_non_null(paper.content);
    for (int64_t i = 0; i < plan->memory.activations / 64; i++) {
        paper.cell[i] = NOBODY;
    }
    for (int v = 0; v < graph->nvalues; v++) {
        paper.content[v] = v;
        assert_true(plan->value[v].offset < 0 || plan->value[v].alias < 0);
        const bool elsewhere = dpt_plan__is_flat(plan, v) || (graph->value[v].kind == DPT_VALUE_KIND_INPUT &&
                                                               (graph->value[v].type.dtype != DPT_DTYPE_F64 ||
                                                                !is_read(graph, v)));
        assert_true(elsewhere == (plan->value[dpt_plan_root(plan, v)].offset < 0));
        if (graph->value[v].kind == DPT_VALUE_KIND_INPUT) {
            write_value(&paper, v);
        }
    }
    for (int n = 0; n < graph->nnodes; n++) {
        const struct dpt_node *node = &graph->node[n];
        for (int i = 0; i < node->nin && !node->op->update; i++) { /* updates read the flat buffers */
            expect_content(&paper, node->in[i], node->name);
        }
        if (node->op->view) {
            assert_int_equal(dpt_plan_root(plan, node->out[0]), dpt_plan_root(plan, node->in[0]));
            paper.content[node->out[0]] = paper.content[node->in[0]];
            continue;
        }
        expect_apart(&paper, node);
        for (int o = 0; o < node->nout; o++) {
            write_value(&paper, node->out[o]);
        }
        for (int o = 0; o < node->nout; o++) { /* whoever asks after the node: the metrics, a sum over ranks */
            expect_content(&paper, node->out[o], node->name);
        }
    }
    if (!graph->training) {
        expect_content(&paper, graph->output, "who evaluates");
    }
    const int64_t least = least_bytes(plan);
    if (plan->memory.activations < least || plan->memory.activations > least + least / 4) {
        fail_msg("%lld bytes of activations, at least %lld are needed", (long long)plan->memory.activations,
                 (long long)least);
    }
    free(paper.cell);
    free(paper.content);
}

static void no_value_is_overwritten_while_it_is_needed(void **state)
{
    (void)state;
    for (int j = 0; j < NJOBS; j++) {
        for (int how = 0; how < 4; how++) {
            struct made made;
            made_open(&made, jobs[j], 2, 1);
            made_plan(&made, how & 1, how >> 1);
            expect_block(made.plan);
            made_free(&made);
        }
    }
    for (int training = 0; training < 2; training++) {
        struct made made;
        made_open(&made, jobs[0], 1, 0);
        made.graph = branches(made.rig, 13, training);
        EXPECT_OK(dpt_plan_new(made.graph, &made.conf, &made.plan));
        expect_block(made.plan);
        made_free(&made);
    }
}

/* The table of memory is what exec/ will ask for. */
static void bytes_are_counted(void **state)
{
    (void)state;
    struct made made;
    made_new(&made, jobs[1], 2, 0); /* doubles, three micro-batches, two slots */
    const struct dpt_plan_memory *memory = &made.plan->memory;
    const int64_t flat = made.plan->nflat * 8;
    assert_int_equal(memory->params, flat);
    assert_int_equal(memory->gradients, flat);
    assert_int_equal(memory->accumulators, 0);
    assert_int_equal(memory->slots, 2 * flat);
    assert_int_equal(made.plan->max_rows, 2); /* 10 in pieces of 3 3 4, halved */
    assert_int_equal(memory->batches, 2 * 4 * (7 + 1));
    made_free(&made);
    made_new(&made, jobs[5], 2, 0); /* four shards a rank */
    assert_int_equal(made.plan->memory.accumulators, 2 * made.plan->memory.params);
    made_free(&made);
}

/* -------------------------------------------------------------------------------------------------------- actions */

/* Actions in one word each, to look for them: the place of the only one of a kind with an argument in a micro-batch. */
static int find_action(const struct dpt_plan *plan, enum dpt_action_kind kind, int micro, int arg)
{
    int found = -1;
    for (int i = 0; i < plan->nactions; i++) {
        const struct dpt_action *action = &plan->action[i];
        if (action->kind == kind && action->micro == micro && action->arg == arg) {
            assert_int_equal(found, -1);
            found = i;
        }
    }
    return found;
}

static int count_actions(const struct dpt_plan *plan, enum dpt_action_kind kind)
{
    int count = 0;
    for (int i = 0; i < plan->nactions; i++) {
        count += plan->action[i].kind == kind;
    }
    return count;
}

/* Load, then every node once, in order; the metrics when they are there. */
static void expect_micro_batches(const struct dpt_plan *plan)
{
    const struct dpt_graph *graph = plan->graph;
    int nodes = 0;
    for (int n = 0; n < graph->nnodes; n++) {
        nodes += !graph->node[n].op->view && !graph->node[n].op->update;
    }
    assert_int_equal(count_actions(plan, DPT_ACTION_RUN), nodes * plan->micros);
    assert_int_equal(count_actions(plan, DPT_ACTION_LOAD), plan->micros);
    assert_int_equal(count_actions(plan, DPT_ACTION_METRIC), plan->micros);
    int last = -1;
    for (int micro = 0; micro < plan->micros; micro++) {
        const int load = find_action(plan, DPT_ACTION_LOAD, micro, -1);
        assert_true(load > last);
        last = load;
        for (int n = 0; n < graph->nnodes; n++) {
            if (!graph->node[n].op->view && !graph->node[n].op->update) {
                const int run = find_action(plan, DPT_ACTION_RUN, micro, n);
                assert_true(run > last);
                last = run;
            }
        }
        const int metric = find_action(plan, DPT_ACTION_METRIC, micro, graph->metric);
        assert_true(metric > find_action(plan, DPT_ACTION_RUN, micro, graph->value[graph->metric].producer));
        for (int i = metric; plan->action[i].kind != DPT_ACTION_RUN; i--) { /* before another node takes its memory */
            assert_true(i > 0);
            assert_true(plan->action[i - 1].kind != DPT_ACTION_RUN ||
                        plan->action[i - 1].arg == graph->value[graph->metric].producer);
        }
    }
}

/* The node after which all gradients of a bucket, or of those before it too, are there. */
static int complete_after(const struct dpt_plan *plan, int b, bool before)
{
    int node = -1;
    for (int i = 0; i < plan->nparams; i++) {
        const bool inside = plan->param[i].offset >= plan->bucket[b].range.begin || before;
        if (inside && plan->param[i].offset < plan->bucket[b].range.end && finish_of(plan, i) > node) {
            node = finish_of(plan, i);
        }
    }
    return node;
}

/* Every update is done by one action, behind the control message; neighbours of one op are done together. */
static void expect_update_actions(const struct dpt_plan *plan, int control)
{
    int actions = 0;
    for (int u = 0; u < plan->nupdates; u += plan->update[u].joined, actions++) {
        assert_true(plan->update[u].joined >= 1 && u + plan->update[u].joined <= plan->nupdates);
        assert_true(find_action(plan, DPT_ACTION_UPDATE, -1, u) > control);
        for (int i = 1; i < plan->update[u].joined; i++) {
            assert_int_equal(plan->update[u + i].joined, 0);
            assert_ptr_equal(plan->update[u + i].op, plan->update[u].op);
        }
        if (actions > 0 && plan->conf.shard == DPT_PLAN_SHARD_NONE) {
            assert_ptr_not_equal(plan->update[u - 1].op, plan->update[u].op);
        }
    }
    assert_int_equal(count_actions(plan, DPT_ACTION_UPDATE), actions);
}

/* Each bucket is added and summed once, as early as it can be, and waited for before anyone reads it. */
static void expect_bucket_actions(const struct dpt_plan *plan)
{
    const bool ranks = plan->conf.mesh->axis[0].size > 1, pieces = plan->micros > 1 && plan->conf.shards > 0;
    const int control = find_action(plan, DPT_ACTION_CONTROL, -1, -1);
    assert_int_equal(count_actions(plan, DPT_ACTION_REDUCE), ranks ? plan->nbuckets : 0);
    assert_int_equal(count_actions(plan, DPT_ACTION_WAIT), ranks ? plan->nbuckets : 0);
    assert_int_equal(count_actions(plan, DPT_ACTION_ACCUMULATE), pieces ? plan->nbuckets * plan->micros : 0);
    int before = -1;
    for (int b = 0; b < plan->nbuckets; b++) {
        for (int micro = 0; micro < plan->micros; micro++) {
            const int mine = find_action(plan, DPT_ACTION_RUN, micro, complete_after(plan, b, false));
            const int ready = find_action(plan, DPT_ACTION_RUN, micro, complete_after(plan, b, true));
            const int add = find_action(plan, DPT_ACTION_ACCUMULATE, micro, b);
            const int reduce = find_action(plan, DPT_ACTION_REDUCE, micro, b);
            const bool last = micro == plan->micros - 1;
            assert_true(pieces == (add > mine));
            assert_true((ranks && last) == (reduce > ready));
            for (int i = mine + 1; i <= add; i++) {
                assert_int_not_equal(plan->action[i].kind, DPT_ACTION_RUN);
            }
            for (int i = ready + 1; i <= reduce; i++) {
                assert_int_not_equal(plan->action[i].kind, DPT_ACTION_RUN);
            }
            if (ranks && last) {
                assert_true(reduce > add && reduce > before);
                before = reduce;
                const int wait = find_action(plan, DPT_ACTION_WAIT, -1, b);
                assert_true(wait > reduce && wait < control);
            }
        }
    }
    expect_update_actions(plan, control);
}

/* Gradients of micro-batches come together once: by their kernels, or where these write elsewhere before others do. */
static void expect_added(const struct dpt_plan *plan)
{
    const bool pieces = plan->micros > 1 && plan->conf.shards == 0;
    int apart = 0;
    for (int i = 0; i < plan->nparams; i++) {
        const int gradient = plan->param[i].gradient, n = gradient >= 0 ? plan->graph->value[gradient].producer : -1;
        for (int micro = 0; micro < plan->micros && n >= 0; micro++) {
            const int add = find_action(plan, DPT_ACTION_ADD, micro, i);
            assert_int_equal(plan->node[n].adds + plan->value[gradient].apart, pieces);
            assert_true((add >= 0) == plan->value[gradient].apart);
            for (int a = add; add >= 0 && plan->action[a].kind != DPT_ACTION_RUN; a--) {
                assert_true(plan->action[a - 1].kind != DPT_ACTION_RUN || plan->action[a - 1].arg == n);
            }
            apart += add >= 0;
        }
    }
    assert_int_equal(count_actions(plan, DPT_ACTION_ADD), apart);
}

static void a_step_has_an_order(void **state)
{
    (void)state;
    for (int j = 0; j < NJOBS; j++) {
        for (int ranks = 1; ranks <= 4; ranks *= 2) {
            struct made first;
            made_open(&first, jobs[j], ranks, 0);
            first.conf.bucket_bytes = 2000;
            made_plan(&first, true, true);
            expect_micro_batches(first.plan);
            expect_bucket_actions(first.plan);
            expect_added(first.plan);
            for (int rank = 1; rank < ranks; rank++) {
                struct made other;
                made_open(&other, jobs[j], ranks, rank);
                other.conf.bucket_bytes = 2000;
                made_plan(&other, true, true);
                assert_int_equal(other.plan->nactions, first.plan->nactions);
                assert_memory_equal(other.plan->action, first.plan->action,
                                    (size_t)first.plan->nactions * sizeof *first.plan->action);
                assert_int_equal(other.plan->hash, first.plan->hash);
                made_free(&other);
            }
            made_free(&first);
        }
    }
}

/* --------------------------------------------------------------------------------------- refusals, hash, cost, text */

static void jobs_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    const struct {
        int ranks;
        int64_t batch, micros, shards;
        const char *says;
    } cases[] = {
        {3, 16, 1, 8, "3 ranks"},     {16, 16, 1, 8, "16 ranks"}, {1, 7, 1, 8, "batch.global = 7"},
        {1, 600, 1, 512, "shards"},   {2, 2000, 1, 1024, "shards"}, {1, 4, 5, 0, "batch.micro_batches = 5"},
    };
    const struct rig *rig = open_once(jobs[0]);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct dpt_mesh mesh = rig_mesh(cases[i].ranks, 0);
        for (int training = 0; training < 2; training++) {
            struct dpt_graph *graph = rig_graph(rig, cases[i].batch, training, true);
            struct dpt_plan_conf conf = rig_plan_conf(rig);
            struct dpt_plan *plan = NULL;
            conf.mesh = &mesh;
            conf.batch_rows = cases[i].batch;
            conf.micro_batches = cases[i].micros;
            conf.shards = cases[i].shards;
            const enum dpt_status status = dpt_plan_new(graph, &conf, &plan);
            if (cases[i].shards > cases[i].batch && !training) { /* a small test set leaves shards empty */
                EXPECT_OK(status);
                dpt_plan_free(plan);
            } else {
                assert_int_equal(status, DPT_STATUS_USAGE);
                assert_null(plan);
                assert_non_null(strstr(dpt_error_text(), cases[i].says));
            }
            dpt_graph_free(graph);
        }
    }
}

/* Axes of images are refused for what is no image, and where no rank would have less to do. */
static void axes_of_images_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *job, *axis;
        int ranks;
        const char *says;
    } cases[] = {
        {RIG_FP32 RIG_MLP RIG_BATCH("12", "1") RIG_SGD, "rows", 2, "rows:2 splits images, but the model reads F32[12,6]"},
        {RIG_FP32 RIG_CNN RIG_BATCH("12", "1") RIG_SGD, "columns", 9, "they have fewer than 9 columns"},
        {RIG_FP32 "[model]\ntype = mlp\nwidths = 9\n" RIG_DATA("8 8 2", "5") RIG_BATCH("12", "1") RIG_SGD, "rows", 2,
         "the model's first layer reads images whole"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct made made;
        made_open(&made, cases[i].job, cases[i].ranks, 0);
        strcpy(made.mesh.axis[0].name, cases[i].axis);
        made.graph = rig_graph(made.rig, made.conf.batch_rows, true, true);
        assert_int_equal(dpt_plan_new(made.graph, &made.conf, &made.plan), DPT_STATUS_USAGE);
        if (!strstr(dpt_error_text(), cases[i].says)) {
            fail_msg("%s", dpt_error_text());
        }
        dpt_graph_free(made.graph);
    }
}

/* What one rank sends of a border is what the other gets, and only neighbours have any for one another. */
static void borders_go_to_neighbours(void **state)
{
    (void)state;
    enum { RANKS = 3 };
    struct made made[RANKS];
    int borders = 0;
    for (int rank = 0; rank < RANKS; rank++) {
        made_open(&made[rank], RIG_FP32 RIG_RESNET RIG_BATCH("14", "1") RIG_SGD, RANKS, rank);
        strcpy(made[rank].mesh.axis[0].name, "rows");
        made_plan(&made[rank], true, true);
        assert_int_equal(made[rank].plan->graph->nnodes, made[0].plan->graph->nnodes);
    }
    for (int n = 0; n < made[0].plan->graph->nnodes; n++) {
        const struct dpt_op *op = made[0].plan->graph->node[n].op;
        for (int a = 0; a < RANKS && (op == &dpt_op_halo || op == &dpt_op_halo_sum); a++) {
            for (int b = 0; b < RANKS; b++) {
                int64_t begin;
                const int64_t sent = dpt_plan_overlap(made[a].plan, n, b, true, &begin);
                assert_int_equal(sent, dpt_plan_overlap(made[b].plan, n, a, false, &begin));
                assert_true(sent == 0 || (a - b <= 1 && b - a <= 1));
                borders += a != b && sent > 0;
            }
        }
    }
    assert_true(borders > 0);
    for (int rank = 0; rank < RANKS; rank++) {
        made_free(&made[rank]);
    }
}

/* The hash of a plan after a change of what it is made for. */
static uint64_t hash_of(int job, int ranks, int64_t rows, int64_t tail, int64_t micros, int64_t shards, int64_t bucket)
{
    struct made made;
    made_open(&made, jobs[job], ranks, 0);
    made.conf.batch_rows = rows;
    made.conf.tail_rows = tail;
    made.conf.micro_batches = micros;
    made.conf.shards = shards;
    made.conf.bucket_bytes = bucket;
    made_plan(&made, true, true);
    const uint64_t hash = made.plan->hash;
    made_free(&made);
    return hash;
}

/* What each rank keeps of a shared state lies elsewhere on each; the plans are one all the same. */
static void ranks_that_share_the_state_have_one_hash(void **state)
{
    (void)state;
    for (int shard = DPT_PLAN_SHARD_NONE; shard <= DPT_PLAN_SHARD_OPTIMIZER; shard++) {
        uint64_t hash[3];
        for (int rank = 0; rank < 3; rank++) {
            struct made made;
            made_open(&made, jobs[0], 3, rank);
            made.conf.shard = (enum dpt_plan_shard)shard;
            made_plan(&made, true, true);
            hash[rank] = made.plan->hash;
            made_free(&made);
        }
        assert_true(hash[1] == hash[0] && hash[2] == hash[0]);
    }
}

static void different_plans_have_different_hashes(void **state)
{
    (void)state;
    const uint64_t hash[] = {
        hash_of(0, 2, 16, 5, 1, 0, 0),  hash_of(0, 2, 17, 5, 1, 0, 0), hash_of(0, 2, 16, 6, 1, 0, 0),
        hash_of(0, 2, 16, 5, 2, 0, 0),  hash_of(0, 2, 16, 5, 1, 8, 0), hash_of(0, 4, 16, 5, 1, 0, 0),
        hash_of(2, 2, 16, 5, 1, 0, 0),  hash_of(0, 2, 16, 5, 1, 0, 1), hash_of(0, 2, 16, 5, 1, 0, 300),
        hash_of(0, 2, 16, 5, 1, 16, 0),
    };
    assert_true(hash_of(0, 2, 16, 5, 1, 0, 0) == hash[0]);
    for (size_t i = 0; i < sizeof hash / sizeof hash[0]; i++) {
        for (size_t k = 0; k < i; k++) {
            assert_true(hash[i] != hash[k]);
        }
    }
}

/* What the ranks compute is what the whole batch costs; only small statistics and updates are done by all. */
static void costs_add_up(void **state)
{
    (void)state;
    for (int j = 0; j < NJOBS; j++) {
        struct made alone;
        made_new(&alone, jobs[j], 1, 0);
        double flops = 0.0;
        for (int rank = 0; rank < 4; rank++) {
            struct made made;
            made_new(&made, jobs[j], 4, rank);
            flops += made.plan->cost.flops;
            assert_true(made.plan->flops_step == alone.plan->flops_step);
            made_free(&made);
        }
        const double updates = alone.plan->cost.flops - alone.plan->flops_step;
        assert_true(updates > 0.0 && updates < alone.plan->cost.flops);
        assert_true(fabs(flops - 4.0 * updates - alone.plan->flops_step) <= 0.01 * alone.plan->flops_step);
        made_free(&alone);
    }
}

static void a_plan_can_be_read(void **state)
{
    (void)state;
    struct made made;
    struct dpt_text text = {0};
    made_new(&made, RIG_FP32 RIG_RESNET RIG_BATCH("14", "2") RIG_SGD, 2, 0);
    dpt_plan_print(made.plan, &text);
    const char *const lines[] = {
        "memory activations ", "data:split(0)", "data:partial", "state  fc.weight ", "bucket 0 [0, ",
        "action load       micro 1", "action run        micro 0 all_reduce bn1.batch_stat 256 B\n", "action wait       0\n",
        "action control   \n", "action update     0\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        if (!strstr(text.data, lines[i])) {
            fail_msg("the plan does not say \"%s\"", lines[i]);
        }
    }
    dpt_text_free(&text);
    made_free(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_lie_as_their_letters_say),
        cmocka_unit_test(statistics_are_summed_where_the_job_says),
        cmocka_unit_test(sums_of_partial_sums_stay_partial),
        cmocka_unit_test(a_partial_sum_has_readers_of_two_kinds),
        cmocka_unit_test(the_state_is_flat_and_whole),
        cmocka_unit_test(buckets_have_sizes_of_their_own),
        cmocka_unit_test(an_evaluation_takes_the_layout),
        cmocka_unit_test(ranks_share_every_batch),
        cmocka_unit_test(no_value_is_overwritten_while_it_is_needed),
        cmocka_unit_test(bytes_are_counted),
        cmocka_unit_test(a_step_has_an_order),
        cmocka_unit_test(jobs_that_do_not_fit_are_refused),
        cmocka_unit_test(axes_of_images_that_do_not_fit_are_refused),
        cmocka_unit_test(borders_go_to_neighbours),
        cmocka_unit_test(ranks_that_share_the_state_have_one_hash),
        cmocka_unit_test(different_plans_have_different_hashes),
        cmocka_unit_test(costs_add_up),
        cmocka_unit_test(a_plan_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, close_all);
}
