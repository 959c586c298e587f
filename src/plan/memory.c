/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Where each value of a micro-batch lies in one block, from its life: from the node that writes it to the last one that
 * reads it. Values whose lives do not meet share bytes; the largest are placed first, each at the lowest offset that is
 * free for its whole life (greedy by size: Pisarchyk, Lee, 2020). A view has the memory of what it views; an op that
 * allows it writes over an input that dies there.
 */

#include <stdlib.h>
#include <string.h>

#include "plan/internal.h"

enum { ALIGN = 64 };

/* The life of a root: a value with memory of its own, and of all that share it. */
struct life {
    int value;
    int64_t nbytes;
    int begin, end; /* nodes, both included; -1: before the first */
};

/* The root of a value. */
static int root_of(const struct dpt_plan *plan, int value)
{
    while (plan->value[value].alias >= 0) {
        value = plan->value[value].alias;
    }
    return value;
}

/* True for values that get bytes of the block. */
static bool in_block(const struct dpt_plan *plan, int value)
{
    const struct dpt_value *at = &plan->graph->value[value];
    if (at->kind == DPT_VALUE_KIND_INPUT) { /* the loader has floats; other real numbers are made from them */
        return at->type.dtype != DPT_DTYPE_I32 && at->type.dtype != DPT_DTYPE_F32;
    }
    return !dpt_plan__is_flat(plan, value) && plan->value[value].alias < 0;
}

/* The last node that reads each value; the result of a forward graph is read after the last. */
static int *last_reads(const struct dpt_plan *plan)
{
    const struct dpt_graph *graph = plan->graph;
    int *last = dpt_arena_array(plan->arena, (size_t)graph->nvalues, sizeof *last);
    for (int v = 0; v < graph->nvalues; v++) {
        last[v] = graph->value[v].producer;
    }
    for (int n = 0; n < graph->nnodes; n++) {
        for (int i = 0; i < graph->node[n].nin; i++) {
            last[graph->node[n].in[i]] = n;
        }
    }
    if (!graph->training) {
        last[graph->output] = graph->nnodes;
    }
    return last;
}

/* Lets output 0 of a node share memory with an input where the op allows it, and lengthens that input's life. */
static void share(struct dpt_plan *plan, int n, int *end)
{
    const struct dpt_graph *graph = plan->graph;
    const struct dpt_node *node = &graph->node[n];
    const int out = node->nout > 0 ? node->out[0] : -1;
    for (int i = 0; i < node->nin && out >= 0 && plan->value[out].alias < 0; i++) {
        const int root = root_of(plan, node->in[i]);
        const bool free = graph->value[root].kind == DPT_VALUE_KIND_ACTIVATION && end[root] == n &&
                          graph->value[out].kind == DPT_VALUE_KIND_ACTIVATION &&
                          dpt_type_nbytes(&graph->value[root].type) == dpt_type_nbytes(&graph->value[out].type);
        if (node->op->view || ((node->op->alias >> i & 1) && free)) {
            plan->value[out].alias = root;
            end[root] = end[out] > end[root] ? end[out] : end[root];
        }
        if (node->op->view) {
            return;
        }
    }
}

static int by_size(const void *a, const void *b)
{
    const struct life *x = a, *y = b;
    if (x->nbytes != y->nbytes) {
        return x->nbytes > y->nbytes ? -1 : 1;
    }
    return x->value < y->value ? -1 : 1;
}

struct taken {
    int64_t begin, end;
};

static int by_offset(const void *a, const void *b)
{
    const struct taken *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

/* Places the lives, largest first; returns the bytes of the block. */
static int64_t pack(struct dpt_plan *plan, struct life *life, int count)
{
    struct taken *taken = dpt_arena_array(plan->arena, (size_t)count, sizeof *taken);
    int64_t total = 0;
    qsort(life, (size_t)count, sizeof *life, by_size);
    for (int i = 0; i < count; i++) {
        int ntaken = 0;
        for (int j = 0; j < i; j++) {
            if (life[j].begin <= life[i].end && life[i].begin <= life[j].end) {
                const int64_t offset = plan->value[life[j].value].offset;
                taken[ntaken++] = (struct taken){offset, offset + life[j].nbytes};
            }
        }
        qsort(taken, (size_t)ntaken, sizeof *taken, by_offset);
        int64_t at = 0;
        for (int j = 0; j < ntaken && taken[j].begin < at + life[i].nbytes; j++) {
            at = taken[j].end > at ? taken[j].end : at;
        }
        plan->value[life[i].value].offset = at;
        total = at + life[i].nbytes > total ? at + life[i].nbytes : total;
    }
    return total;
}

/* The most scratch bytes of any call. */
static int64_t scratch_nbytes(const struct dpt_plan *plan)
{
    size_t most = 0;
    for (int i = 0; i < plan->nvariants; i++) {
        for (int n = 0; n < plan->graph->nnodes; n++) {
            const struct dpt_op *op = plan->graph->node[n].op;
            const struct dpt_op_types *types = &plan->variant[i].types[n];
            const size_t nbytes =
                op->scratch ? op->scratch(types, plan->conf.run, plan->conf.threads, plan->variant[i].prep[n]) : 0;
            most = nbytes > most ? nbytes : most;
        }
    }
    return (int64_t)most;
}

static void count_bytes(struct dpt_plan *plan)
{
    const struct dpt_graph *graph = plan->graph;
    const int64_t flat = plan->nflat * (int64_t)dpt_dtype_nbytes(graph->real);
    struct dpt_plan_memory *memory = &plan->memory;
    memory->params = plan->conf.layout ? 0 : flat;
    memory->gradients = graph->training ? flat : 0;
    memory->accumulators = flat * plan->nlevels;
    memory->slots = flat * plan->nslots;
    memory->scratch = scratch_nbytes(plan);
    for (int v = 0; v < graph->nvalues; v++) {
        if (graph->value[v].kind == DPT_VALUE_KIND_INPUT) {
            memory->batches += 4 * (dpt_type_numel(&graph->value[v].type) / graph->rows) * plan->max_rows;
        }
    }
}

enum dpt_status dpt_plan__memory(struct dpt_plan *plan)
{
    const struct dpt_graph *graph = plan->graph;
    int *end = last_reads(plan); /* of roots: of all that share their memory */
    for (int n = 0; n < graph->nnodes; n++) { /* a view keeps what it views: known before sharing is decided */
        const struct dpt_node *node = &graph->node[n];
        if (node->op->view) {
            share(plan, n, end);
        }
    }
    for (int n = 0; n < graph->nnodes; n++) {
        share(plan, n, end);
    }
    struct life *life = dpt_arena_array(plan->arena, (size_t)graph->nvalues, sizeof *life);
    int64_t sum = 0; /* of all sizes: no offset will be larger */
    int count = 0;
    for (int v = 0; v < graph->nvalues; v++) {
        DPT_CHECK(plan->value[v].alias < 0 || graph->value[v].kind == DPT_VALUE_KIND_ACTIVATION, DPT_STATUS_FAILED,
                  "%s: is a view, but needs memory of its own", graph->value[v].name);
        plan->value[v].offset = -1;
        if (in_block(plan, v)) {
            const int64_t nbytes = (int64_t)dpt_type_nbytes(&plan->value[v].type);
            DPT_CHECK(!__builtin_add_overflow(sum, nbytes + ALIGN, &sum), DPT_STATUS_SPACE,
                      "%s: with it the activations have more than 2^63 bytes; take a smaller batch",
                      graph->value[v].name);
            life[count++] = (struct life){
                .value = v,
                .nbytes = (nbytes + ALIGN - 1) / ALIGN * ALIGN,
                .begin = graph->value[v].producer,
                .end = end[v],
            };
        }
    }
    plan->memory.activations = pack(plan, life, count);
    count_bytes(plan);
    return DPT_STATUS_OK;
}
