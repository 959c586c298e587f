/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Recomputation of activations in the backward pass (Chen, Xu, Zhang, Guestrin: "Training deep nets with sublinear memory
 * cost", 2016). Of a block of layers only what leaves it is stored; what its backward nodes read of its inside is computed
 * again, by copies of its forward nodes, just before the first of them.
 *
 * With `full` blocks are joined to groups, about as many as a group has blocks. Only what leaves a group is stored: before
 * the backward pass of a group the values between its blocks come again, and before that of each block its inside. In all
 * the root of the number of blocks is stored twice over, and the inside of one block.
 *
 * Not computed again: values without samples (statistics of batch norm, which are small and may be a sum over ranks), and
 * what backward does not read, so neither losses nor metrics nor contributions to running statistics. Dropout draws its
 * mask again, the same.
 */

#include <string.h>

#include "graph/graph.h"

enum role {
    ROLE_STORED,  /* as ever                                    */
    ROLE_BETWEEN, /* leaves its block, but not its group        */
    ROLE_INSIDE,  /* does not leave its block                   */
};

/* A copy and the backward node before which it belongs. */
struct copy {
    int before;
    int node;
};

struct work {
    struct dpt_graph *graph;
    int nforward, nnodes; /* before the copies                                                   */
    int nblocks;
    int *block;           /* of each forward node                                                */
    int *group;           /* of each block                                                       */
    enum role *role;      /* of each value                                                       */
    bool *wanted;         /* of each value: backward nodes or copies read it again               */
    int *again;           /* of each value: its copy, or -1                                      */
    int *passing;         /* the same within the copies of a group, which pass through the inside */
    int *first;           /* of each block: the first backward node that reads of its inside      */
    int *first_between;   /* of each group: that reads of what is between its blocks, or of an inside */
    struct copy *copy;
    int ncopies;
};

/* Length of the part of a layer's name that is its block: up to the first number, "layer1.0" of "layer1.0.conv1". */
static size_t block_length(const char *name)
{
    for (const char *part = name; *part;) {
        const size_t length = strcspn(part, ".");
        if (length > 0 && strspn(part, "0123456789") == length) {
            return (size_t)(part - name) + length;
        }
        part += length;
        part += *part == '.';
    }
    return strlen(name);
}

static bool same_block(const char *a, const char *b)
{
    const size_t length = block_length(a);
    return length == block_length(b) && memcmp(a, b, length) == 0;
}

/* Blocks are runs of nodes; one ends with its stage, too. */
static void find_blocks(struct work *work, const int *stage)
{
    const struct dpt_node *node = work->graph->node;
    for (int n = 0; n < work->nforward; n++) {
        const bool goes_on = n > 0 && same_block(node[n - 1].name, node[n].name) && (!stage || stage[n - 1] == stage[n]);
        work->nblocks += !goes_on;
        work->block[n] = work->nblocks - 1;
    }
}

/* As many blocks a group as there are groups, in each stage; one with `blocks`. */
static void find_groups(struct work *work, enum dpt_recompute recompute, const int *stage)
{
    int *stage_of = dpt_arena_array(work->graph->arena, (size_t)work->nblocks, sizeof *stage_of);
    for (int n = 0; n < work->nforward; n++) {
        stage_of[work->block[n]] = stage ? stage[n] : 0;
    }
    int groups = 0;
    for (int begin = 0, end; begin < work->nblocks; begin = end) {
        for (end = begin; end < work->nblocks && stage_of[end] == stage_of[begin]; end++) {
        }
        int size = 1;
        while (recompute == DPT_RECOMPUTE_FULL && size * size < end - begin) {
            size++;
        }
        for (int b = begin; b < end; b++) {
            work->group[b] = groups + (b - begin) / size;
        }
        groups = work->group[end - 1] + 1;
    }
}

static bool is_forward(const struct work *work, int value)
{
    const int producer = work->graph->value[value].producer;
    return producer >= 0 && producer < work->nforward;
}

static void find_roles(struct work *work)
{
    const struct dpt_graph *graph = work->graph;
    for (int v = 0; v < graph->nvalues; v++) {
        const struct dpt_value *value = &graph->value[v];
        const bool again = is_forward(work, v) && value->kind == DPT_VALUE_KIND_ACTIVATION && value->batch;
        work->role[v] = again && v != graph->output && v != graph->loss ? ROLE_INSIDE : ROLE_STORED;
    }
    for (int n = 0; n < work->nforward; n++) {
        for (int i = 0; i < graph->node[n].nin; i++) {
            const int v = graph->node[n].in[i];
            if (work->role[v] == ROLE_STORED) {
                continue;
            }
            const int from = work->block[graph->value[v].producer], to = work->block[n];
            if (work->group[from] != work->group[to]) {
                work->role[v] = ROLE_STORED;
            } else if (from != to) {
                work->role[v] = ROLE_BETWEEN;
            }
        }
    }
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* What backward reads, and where it begins to. */
static void find_readers(struct work *work)
{
    const struct dpt_graph *graph = work->graph;
    for (int b = 0; b < work->nblocks; b++) {
        work->first[b] = work->first_between[b] = work->nnodes;
    }
    for (int n = work->nforward; n < work->nnodes; n++) {
        for (int i = 0; i < graph->node[n].nin; i++) {
            const int v = graph->node[n].in[i];
            if (work->role[v] == ROLE_STORED) {
                continue;
            }
            const int block = work->block[graph->value[v].producer], group = work->group[block];
            work->wanted[v] = true;
            work->first_between[group] = least(work->first_between[group], n);
            if (work->role[v] == ROLE_INSIDE) {
                work->first[block] = least(work->first[block], n);
            }
        }
    }
}

/*
 * Marks the forward nodes of [begin, end) that make wanted values of a role, with those behind them as far as values are
 * not at hand: stored, or (for an inside) between blocks. The latter become wanted themselves.
 */
static void mark(struct work *work, int begin, int end, enum role role, bool *run)
{
    const struct dpt_graph *graph = work->graph;
    bool *needed = dpt_arena_array(graph->arena, (size_t)graph->nvalues, sizeof *needed);
    for (int n = end - 1; n >= begin; n--) {
        const struct dpt_node *node = &graph->node[n];
        run[n] = false;
        for (int o = 0; o < node->nout; o++) {
            const int v = node->out[o];
            run[n] = run[n] || needed[v] || (work->wanted[v] && work->role[v] == role);
        }
        for (int i = 0; run[n] && i < node->nin; i++) {
            const int v = node->in[i];
            if (work->role[v] == ROLE_BETWEEN && role == ROLE_INSIDE) {
                work->wanted[v] = true;
            } else if (work->role[v] != ROLE_STORED) {
                needed[v] = true;
            }
        }
    }
}

/* Adds a copy of forward node n; `made` takes the copies of its outputs. */
static enum dpt_status add_copy(struct work *work, int n, int before, int *made)
{
    struct dpt_graph *graph = work->graph;
    const struct dpt_node node = graph->node[n]; /* a copy: the array may move */
    int in[DPT_OP_MAX_IN];
    for (int i = 0; i < node.nin; i++) {
        const int v = node.in[i];
        in[i] = work->role[v] == ROLE_STORED ? v : made[v] >= 0 ? made[v] : work->again[v];
        DPT_ASSERT(in[i] >= 0);
    }
    graph->layer = node.name;
    const int id = dpt_graph_add(graph, node.op->name, node.param, node.nin, in);
    if (id < 0) {
        return DPT_STATUS_FAILED; /* the error record is set */
    }
    struct dpt_node *copy = &graph->node[graph->nnodes - 1];
    copy->phase = DPT_PHASE_INPUT_GRADIENT;
    copy->of = n;
    for (int o = 0; o < node.nout; o++) {
        made[node.out[o]] = id + o;
    }
    work->copy[work->ncopies++] = (struct copy){before, graph->nnodes - 1};
    return DPT_STATUS_OK;
}

/* Forward nodes [begin, end) of the blocks [first, last]. */
static void nodes_of(const struct work *work, int first, int last, int *begin, int *end)
{
    *begin = 0;
    while (work->block[*begin] < first) {
        (*begin)++;
    }
    *end = *begin;
    while (*end < work->nforward && work->block[*end] <= last) {
        (*end)++;
    }
}

/* Copies for a group of blocks: what is between them first, since that is what their insides are made of. */
static enum dpt_status copy_group(struct work *work, int first, int last)
{
    const int group = work->group[first];
    int begin, end;
    bool *run = dpt_arena_array(work->graph->arena, (size_t)work->nforward, sizeof *run);
    bool *run_inside = dpt_arena_array(work->graph->arena, (size_t)work->nforward, sizeof *run_inside);
    for (int b = first; b <= last; b++) {
        nodes_of(work, b, b, &begin, &end);
        mark(work, begin, end, ROLE_INSIDE, run_inside);
    }
    nodes_of(work, first, last, &begin, &end);
    mark(work, begin, end, ROLE_BETWEEN, run);
    for (int n = begin; n < end; n++) {
        if (run[n]) {
            DPT_TRY(add_copy(work, n, work->first_between[group], work->passing));
        }
    }
    for (int n = begin; n < end; n++) {
        for (int o = 0; o < work->graph->node[n].nout; o++) {
            const int v = work->graph->node[n].out[o];
            work->again[v] = work->role[v] == ROLE_BETWEEN ? work->passing[v] : -1;
        }
    }
    for (int n = begin; n < end; n++) {
        if (run_inside[n]) {
            DPT_TRY(add_copy(work, n, work->first[work->block[n]], work->again));
        }
    }
    return DPT_STATUS_OK;
}

/* Puts the copies in their places and points the backward nodes at them. */
static void place(struct work *work)
{
    struct dpt_graph *graph = work->graph;
    const int count = graph->nnodes - work->nforward;
    const struct dpt_node *before =
        dpt_arena_memdup(graph->arena, graph->node + work->nforward, (size_t)count * sizeof *graph->node);
    int at = work->nforward;
    for (int n = work->nforward; n < work->nnodes; n++) {
        for (int c = 0; c < work->ncopies; c++) {
            if (work->copy[c].before == n) {
                graph->node[at++] = before[work->copy[c].node - work->nforward];
            }
        }
        struct dpt_node *node = &graph->node[at++];
        *node = before[n - work->nforward];
        for (int i = 0; i < node->nin; i++) {
            node->in[i] = work->role[node->in[i]] == ROLE_STORED ? node->in[i] : work->again[node->in[i]];
            DPT_ASSERT(node->in[i] >= 0);
        }
    }
    DPT_ASSERT(at == graph->nnodes);
    for (int n = work->nforward; n < graph->nnodes; n++) {
        for (int o = 0; o < graph->node[n].nout; o++) {
            graph->value[graph->node[n].out[o]].producer = n;
        }
    }
}

static struct work work_new(struct dpt_graph *graph)
{
    struct dpt_arena *arena = graph->arena;
    struct work work = {.graph = graph, .nnodes = graph->nnodes};
    while (work.nforward < graph->nnodes && graph->node[work.nforward].phase == DPT_PHASE_FORWARD) {
        work.nforward++;
    }
    const size_t nodes = (size_t)work.nforward, values = (size_t)graph->nvalues;
    work.block = dpt_arena_array(arena, nodes, sizeof *work.block);
    work.group = dpt_arena_array(arena, nodes, sizeof *work.group);
    work.first = dpt_arena_array(arena, nodes, sizeof *work.first);
    work.first_between = dpt_arena_array(arena, nodes, sizeof *work.first_between);
    work.copy = dpt_arena_array(arena, 2 * nodes, sizeof *work.copy);
    work.role = dpt_arena_array(arena, values, sizeof *work.role);
    work.wanted = dpt_arena_array(arena, values, sizeof *work.wanted);
    work.again = dpt_arena_array(arena, values, sizeof *work.again);
    work.passing = dpt_arena_array(arena, values, sizeof *work.passing);
    for (size_t v = 0; v < values; v++) {
        work.again[v] = work.passing[v] = -1;
    }
    return work;
}

enum dpt_status dpt_graph_recompute(struct dpt_graph *graph, enum dpt_recompute recompute, const int *stage)
{
    struct work work = work_new(graph);
    if (recompute == DPT_RECOMPUTE_NONE || work.nforward == 0) {
        return DPT_STATUS_OK;
    }
    find_blocks(&work, stage);
    find_groups(&work, recompute, stage);
    find_roles(&work);
    find_readers(&work);
    const char *layer = graph->layer;
    enum dpt_status status = DPT_STATUS_OK;
    for (int last = work.nblocks - 1, first; last >= 0 && status == DPT_STATUS_OK; last = first - 1) {
        for (first = last; first > 0 && work.group[first - 1] == work.group[last]; first--) {
        }
        status = copy_group(&work, first, last);
    }
    graph->layer = layer;
    DPT_TRY(status);
    place(&work);
    return DPT_STATUS_OK;
}
