/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Where the time of a training step goes, op by op: builds the graph of a job, runs its forward and backward nodes in
 * order on this core, without data, ranks or updates, and holds the best time of each node against the time that its
 * multiply-adds take at the core's peak and its bytes at the speed of a copy, whichever is longer. Values share memory
 * as they would in a plan: a value takes the smallest free block that is large enough.
 *
 *     make bench/ops && taskset -c 0 bench/ops FILE.ini GFLOPS GBYTES [ROUNDS]
 *
 * with the two numbers that bench/peak prints. Images are 28 x 28, 128 of them; of tokens the file says how many.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/rng.h"
#include "conf/job.h"
#include "dev/dev.h"
#include "graph/graph.h"
#include "model/model.h"

enum { MAX_BLOCKS = 4096, MAX_KINDS = 128 };

struct block {
    void *data;
    size_t nbytes;
    bool taken;
};

struct bench {
    struct dpt_graph *graph;
    struct dpt_dev *dev;
    int nblocks;
    struct block block[MAX_BLOCKS];
    int *place;    /* block of each value, or -1        */
    int *last_use; /* node that uses each value last    */
    void **prep;   /* of each node                      */
    void *scratch;
    double *best;  /* seconds of each node              */
};

/* Seconds of this core that the program had: what others take in between does not count. */
static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void stop(const char *what)
{
    fprintf(stderr, "bench/ops: %s: %s\n", what, dpt_error_text());
    exit(1);
}

static void *array(size_t count, size_t size)
{
    void *at = calloc(count + 1, size);
    if (!at) {
        stop("no memory");
    }
    return at;
}

static int take_block(struct bench *bench, size_t nbytes)
{
    int best = -1;
    for (int i = 0; i < bench->nblocks; i++) {
        const struct block *block = &bench->block[i];
        if (!block->taken && block->nbytes >= nbytes && (best < 0 || block->nbytes < bench->block[best].nbytes)) {
            best = i;
        }
    }
    if (best < 0) {
        best = bench->nblocks++;
        if (best == MAX_BLOCKS || dpt_dev_alloc(bench->dev, nbytes + 64, "a value", &bench->block[best].data)) {
            stop("memory");
        }
        bench->block[best].nbytes = nbytes;
    }
    bench->block[best].taken = true;
    return best;
}

static void fill(const struct dpt_value *value, void *data, uint32_t stream)
{
    for (int64_t i = 0; i < dpt_type_numel(&value->type); i++) {
        uint32_t word[4];
        dpt_rng_words(1, DPT_RNG_USE_DATA, stream, 0, (uint64_t)i, word);
        const float unit = dpt_rng_unit(word[0]);
        if (value->type.dtype == DPT_DTYPE_I32) {
            ((int32_t *)data)[i] = (int32_t)(word[0] % 2);
        } else {
            const double scale = value->init.kind == DPT_INIT_KIND_CONST ? 0.0 : value->init.scale;
            const double add = value->kind == DPT_VALUE_KIND_PARAM ? value->init.scale - scale : 0.0;
            const double spread = value->kind == DPT_VALUE_KIND_PARAM ? scale : 1.0;
            ((float *)data)[i] = (float)((2.0 * unit - 1.0) * spread + add);
        }
    }
}

static struct dpt_tensor tensor(const struct bench *bench, int value)
{
    return (struct dpt_tensor){bench->graph->value[value].type, bench->block[bench->place[value]].data};
}

/* The input whose memory output 0 takes, or -1. */
static int alias_of(const struct bench *bench, int n)
{
    const struct dpt_node *node = &bench->graph->node[n];
    for (int i = 0; i < node->nin; i++) {
        const struct dpt_value *value = &bench->graph->value[node->in[i]];
        const bool dies = bench->last_use[node->in[i]] == n && value->producer >= 0;
        if ((node->op->view || node->op->alias >> i & 1) && dies) {
            return i;
        }
    }
    return -1;
}

/* Gives every value memory, in the order of the nodes; prepares the nodes. */
static void place_values(struct bench *bench)
{
    const struct dpt_graph *graph = bench->graph;
    size_t most = 0;
    for (int v = 0; v < graph->nvalues; v++) {
        bench->place[v] = -1;
        bench->last_use[v] = graph->value[v].producer < 0 ? graph->nnodes : graph->value[v].producer;
    }
    for (int n = 0; n < graph->nnodes; n++) {
        for (int i = 0; i < graph->node[n].nin; i++) {
            const int v = graph->node[n].in[i];
            bench->last_use[v] = graph->value[v].producer < 0 ? graph->nnodes : n;
        }
    }
    for (int v = 0; v < graph->nvalues; v++) {
        if (graph->value[v].producer < 0) {
            bench->place[v] = take_block(bench, dpt_type_nbytes(&graph->value[v].type));
            fill(&graph->value[v], bench->block[bench->place[v]].data, (uint32_t)v);
        }
    }
    for (int n = 0; n < graph->nnodes; n++) {
        const struct dpt_node *node = &graph->node[n];
        const int alias = alias_of(bench, n);
        for (int o = 0; o < node->nout; o++) {
            const bool shares = o == 0 && (alias >= 0 || node->op->view);
            bench->place[node->out[o]] = shares ? bench->place[node->in[alias >= 0 ? alias : 0]]
                                                : take_block(bench, dpt_type_nbytes(&graph->value[node->out[o]].type));
        }
        for (int i = 0; i < node->nin; i++) {
            if (bench->last_use[node->in[i]] == n && i != alias) {
                bench->block[bench->place[node->in[i]]].taken = false;
            }
        }
        struct dpt_op_types types;
        dpt_graph_types(graph, node, &types);
        if (dpt_op_prepare(node->op, &types, DPT_RUN_CPU, 1, NULL, &bench->prep[n])) {
            stop(node->name);
        }
        const size_t nbytes = dpt_op_scratch(node->op, &types, DPT_RUN_CPU, 1, bench->prep[n]);
        most = nbytes > most ? nbytes : most;
    }
    if (dpt_dev_alloc(bench->dev, most + 64, "scratch memory", &bench->scratch)) {
        stop("memory");
    }
}

/* One pass over all nodes; keeps the best time of each. Returns its seconds. */
static double pass(struct bench *bench, const struct dpt_op_ctx *ctx)
{
    const double start = now();
    for (int n = 0; n < bench->graph->nnodes; n++) {
        const struct dpt_node *node = &bench->graph->node[n];
        if (node->op->view) {
            continue;
        }
        struct dpt_op_types types;
        dpt_graph_types(bench->graph, node, &types);
        struct dpt_tensor in[DPT_OP_MAX_IN], out[DPT_OP_MAX_OUT];
        for (int i = 0; i < node->nin; i++) {
            in[i] = tensor(bench, node->in[i]);
        }
        for (int i = 0; i < node->nout; i++) {
            out[i] = tensor(bench, node->out[i]);
        }
        const struct dpt_op_call call = {
            .types = &types, .in = in, .out = out, .prep = bench->prep[n], .scratch = bench->scratch, .ctx = ctx};
        const double before = now();
        if (dpt_op_call(node->op, DPT_RUN_CPU, &call)) {
            stop(node->name);
        }
        const double time = now() - before;
        bench->best[n] = bench->best[n] == 0.0 || time < bench->best[n] ? time : bench->best[n];
    }
    return now() - start;
}

struct total {
    const char *name;
    int count;
    double time, floor;
};

static void report(const struct bench *bench, double flops_s, double bytes_s)
{
    struct total total[MAX_KINDS] = {{0}}, all = {.name = "all"};
    int ntotals = 0;
    double flops = 0.0;
    printf("%-26s %-18s %9s %9s %9s %9s %7s\n", "layer", "op", "ms", "Gflop/s", "GB/s", "floor ms", "ratio");
    for (int n = 0; n < bench->graph->nnodes; n++) {
        const struct dpt_node *node = &bench->graph->node[n];
        if (node->op->view) {
            continue;
        }
        struct dpt_op_types types;
        struct dpt_op_cost cost;
        dpt_graph_types(bench->graph, node, &types);
        dpt_op_cost(node->op, &types, &cost);
        const double time = bench->best[n], bytes = cost.bytes_read + cost.bytes_written;
        const double compute = cost.flops / flops_s, memory = bytes / bytes_s;
        const double floor = compute > memory ? compute : memory;
        printf("%-26s %-18s %9.3f %9.1f %9.1f %9.3f %7.2f\n", node->name, node->op->name, time * 1e3,
               cost.flops / time / 1e9, bytes / time / 1e9, floor * 1e3, time / floor);
        int k = 0;
        while (k < ntotals && strcmp(total[k].name, node->op->name) != 0) {
            k++;
        }
        ntotals = k == ntotals ? k + 1 : ntotals;
        total[k].name = node->op->name;
        total[k].count++;
        total[k].time += time;
        total[k].floor += floor;
        all.time += time;
        all.floor += floor;
        const bool product = strncmp(node->op->name, "conv", 4) == 0 || strncmp(node->op->name, "linear", 6) == 0 ||
                             strncmp(node->op->name, "attention", 9) == 0;
        flops += product ? cost.flops : 0.0;
    }
    printf("\n%-18s %6s %9s %7s %9s %7s %9s\n", "op", "nodes", "ms", "%", "floor ms", "ratio", "above ms");
    for (int k = 0; k < ntotals; k++) {
        printf("%-18s %6d %9.3f %7.1f %9.3f %7.2f %9.3f\n", total[k].name, total[k].count, total[k].time * 1e3,
               100.0 * total[k].time / all.time, total[k].floor * 1e3, total[k].time / total[k].floor,
               (total[k].time - total[k].floor) * 1e3);
    }
    printf("%-18s %6s %9.3f %7.1f %9.3f %7.2f\n", "all", "", all.time * 1e3, 100.0, all.floor * 1e3,
           all.time / all.floor);
    printf("%.2f Gflop of products in %.2f ms: %.1f Gflop/s, %.1f %% of the peak\n", flops / 1e9, all.time * 1e3,
           flops / all.time / 1e9, 100.0 * flops / all.time / flops_s);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: bench/ops FILE.ini GFLOPS GBYTES [ROUNDS]\n");
        return 2;
    }
    const double flops_s = atof(argv[2]) * 1e9, bytes_s = atof(argv[3]) * 1e9;
    const int rounds = argc > 4 ? atoi(argv[4]) : 20;
    struct dpt_job *job;
    const char *file = argv[1];
    if (dpt_job_read(1, &file, 0, NULL, &job, NULL)) {
        stop(file);
    }
    const int64_t context = job->data.context, vocab = job->data.vocab;
    const bool language = dpt_model_is_language(job);
    const struct dpt_model_io images = {.ndim = 3, .dim = {28, 28, 1}, .classes = 10};
    const struct dpt_model_io text = {
        .ndim = 1, .dim = {context}, .dtype = DPT_DTYPE_I32, .classes = vocab, .targets = context};
    const struct dpt_model_io io = language ? text : images;
    const int64_t rows = language ? job->batch.global : 128;
    struct bench bench = {.graph = dpt_graph_new(DPT_DTYPE_F32, rows, true)};
    if (dpt_dev_cpu(1, &bench.dev) || dpt_model_build(job, &io, false, bench.graph) || dpt_graph_fuse(bench.graph) ||
        dpt_graph_gradient(bench.graph) || dpt_graph_fuse_gradient(bench.graph, NULL)) {
        stop(file);
    }
    const size_t nvalues = (size_t)bench.graph->nvalues, nnodes = (size_t)bench.graph->nnodes;
    bench.place = array(nvalues, sizeof *bench.place);
    bench.last_use = array(nvalues, sizeof *bench.last_use);
    bench.prep = array(nnodes, sizeof *bench.prep);
    bench.best = array(nnodes, sizeof *bench.best);
    place_values(&bench);
    const struct dpt_op_ctx ctx = {.seed = 1, .rows = rows, .micro_rows = rows, .batch_rows = rows};
    double best = 0.0;
    for (int i = 0; i < rounds; i++) {
        const double time = pass(&bench, &ctx);
        best = best == 0.0 || time < best ? time : best;
    }
    report(&bench, flops_s, bytes_s);
    printf("best whole pass %.2f ms, %.1f MiB of values\n", best * 1e3, (double)bench.dev->nbytes / 1048576.0);
    return 0;
}
