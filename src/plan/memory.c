/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Where each value of a micro-batch lies in one block, from its life: from the node that writes it to the last one that
 * reads it. Values whose lives do not meet share bytes; the largest are placed first, each at the lowest offset that is
 * free for its whole life (greedy by size: Pisarchyk, Lee, 2020). A view has the memory of what it views; an op that
 * allows it writes over an input that dies there.
 *
 * Where the schedule has several micro-batches under way, what outlives a unit of work lies in a frame of its chunk, of
 * which there are as many as micro-batches can be under way; the rest is shared by all units.
 *
 *   block:   [rest] [frame 0 of chunk 0][frame 1 of chunk 0]... [frame 0 of chunk 1]...
 */

#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "op/collective.h"
#include "plan/internal.h"

enum { ALIGN = 64 };

static int64_t aligned(int64_t nbytes)
{
    return (nbytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* The life of a root, a value with memory of its own, and of all that share it; or a stay. */
struct life {
    int number;      /* among its kind, which breaks ties */
    int64_t *offset; /* where it is put                   */
    int64_t nbytes;
    int begin, end; /* nodes, both included; -1: before the first */
};

/* What is known while memory is given out. */
struct packer {
    struct dpt_plan *plan;
    int *end;       /* of each root: the last node that reads it or what shares it */
    bool *crosses;  /* of each root: read in another unit than the one that makes it */
    bool frames;    /* several micro-batches are under way */
};

int dpt_plan_root(const struct dpt_plan *plan, int value)
{
    while (plan->value[value].alias >= 0) {
        value = plan->value[value].alias;
    }
    return value;
}

/* True for values that get bytes of the block. */
static bool in_block(const struct packer *packer, int value)
{
    const struct dpt_plan *plan = packer->plan;
    const struct dpt_value *at = &plan->graph->value[value];
    if (!plan->value[value].here) {
        return false;
    }
    if (at->kind == DPT_VALUE_KIND_INPUT) { /* the loader has it, but for real numbers that are not float, and not for long */
        const bool loaded = (at->type.dtype == DPT_DTYPE_I32 || at->type.dtype == DPT_DTYPE_F32) && !plan->conf.apart;
        return packer->end[value] >= 0 && (!loaded || (packer->frames && packer->crosses[value]));
    }
    return !dpt_plan__is_flat(plan, value) && plan->value[value].alias < 0;
}

enum dpt_unit_kind dpt_plan__unit(const struct dpt_plan *plan, int node)
{
    const enum dpt_phase phase = plan->graph->node[node].phase;
    return phase == DPT_PHASE_FORWARD ? DPT_UNIT_FORWARD
           : phase == DPT_PHASE_WEIGHT_GRADIENT && dpt_pipeline_splits_weights(&plan->pipeline) ? DPT_UNIT_WEIGHT
                                                                                               : DPT_UNIT_BACKWARD;
}

/* The chunk that makes a value; what is given comes with the forward pass of the first one. */
static int chunk_of(const struct dpt_plan *plan, int value)
{
    const int producer = plan->graph->value[value].producer;
    return producer >= 0 ? plan->node[producer].chunk : 0;
}

/* True when a node belongs to another unit than the one that makes the value. */
static bool is_elsewhere(const struct dpt_plan *plan, int value, int node)
{
    const int producer = plan->graph->value[value].producer;
    const enum dpt_unit_kind kind = producer >= 0 ? dpt_plan__unit(plan, producer) : DPT_UNIT_FORWARD;
    return plan->node[node].chunk != chunk_of(plan, value) || dpt_plan__unit(plan, node) != kind;
}

/* The last node that reads each value; the result of a forward graph is read after the last. */
static void last_reads(struct packer *packer)
{
    const struct dpt_graph *graph = packer->plan->graph;
    for (int v = 0; v < graph->nvalues; v++) {
        packer->end[v] = graph->value[v].producer;
    }
    for (int n = 0; n < graph->nnodes; n++) {
        for (int i = 0; i < graph->node[n].nin && !graph->node[n].op->update; i++) {
            packer->end[graph->node[n].in[i]] = n;
        }
    }
    if (!graph->training && graph->output >= 0) {
        packer->end[graph->output] = graph->nnodes;
    }
}

/* Lets output 0 of a node share memory with an input where the op allows it, and lengthens that input's life. */
static void share(struct packer *packer, int n)
{
    struct dpt_plan *plan = packer->plan;
    int *end = packer->end;
    const struct dpt_graph *graph = plan->graph;
    const struct dpt_node *node = &graph->node[n];
    const int out = node->nout > 0 ? node->out[0] : -1;
    for (int i = 0; i < node->nin && out >= 0 && plan->value[out].alias < 0; i++) {
        const int root = dpt_plan_root(plan, node->in[i]);
        const bool free = graph->value[root].kind == DPT_VALUE_KIND_ACTIVATION && end[root] == n &&
                          (graph->value[out].kind == DPT_VALUE_KIND_ACTIVATION || plan->value[out].apart) &&
                          dpt_type_nbytes(&graph->value[root].type) == dpt_type_nbytes(&graph->value[out].type);
        if (node->op->view || ((node->op->alias >> i & 1) && free)) {
            plan->value[out].alias = root;
            end[root] = end[out] > end[root] ? end[out] : end[root];
        }
    }
}

/* Marks the roots that are read in another unit than the one that makes them. */
static void find_crossings(struct packer *packer)
{
    const struct dpt_plan *plan = packer->plan;
    for (int n = 0; n < plan->graph->nnodes; n++) {
        const struct dpt_node *node = &plan->graph->node[n];
        for (int i = 0; i < node->nin && !node->op->update; i++) {
            const int root = dpt_plan_root(plan, node->in[i]);
            packer->crosses[root] = packer->crosses[root] || is_elsewhere(plan, root, n);
        }
    }
}

/* ------------------------------------------------------------------------------------------------ frames */

/* True when a node of this unit reads what lies in the frames of the chunk. */
static bool reads_frame(const struct packer *packer, const struct dpt_unit *unit, int chunk)
{
    const struct dpt_plan *plan = packer->plan;
    if (unit->chunk == chunk) {
        return true;
    }
    for (int n = 0; n < plan->graph->nnodes; n++) {
        const struct dpt_node *node = &plan->graph->node[n];
        for (int i = 0; i < node->nin && !node->op->update && plan->node[n].chunk == unit->chunk &&
                        dpt_plan__unit(plan, n) == unit->kind;
             i++) {
            const int root = dpt_plan_root(plan, node->in[i]);
            if (packer->crosses[root] && chunk_of(plan, root) == chunk &&
                !dpt_plan__is_flat(plan, root)) {
                return true;
            }
        }
    }
    return false;
}

/* Frames that a chunk needs so that no micro-batch finds its frame still in use. */
static int count_frames(const struct packer *packer, int chunk)
{
    const struct dpt_plan *plan = packer->plan;
    enum { KINDS = 3 };
    const int micros = plan->pipeline.micros;
    bool *reads = dpt_arena_array(plan->arena, (size_t)(plan->pipeline.chunks * KINDS), sizeof *reads);
    int *begin = dpt_arena_array(plan->arena, (size_t)micros + 1, sizeof *begin);
    int *end = dpt_arena_array(plan->arena, (size_t)micros + 1, sizeof *end);
    for (int c = 0; c < plan->pipeline.chunks; c++) {
        for (int kind = 0; kind < KINDS; kind++) {
            const struct dpt_unit unit = {.kind = (enum dpt_unit_kind)kind, .chunk = c};
            reads[c * KINDS + kind] = reads_frame(packer, &unit, chunk);
        }
    }
    for (int m = 0; m < micros; m++) {
        begin[m] = plan->nunits;
        end[m] = -1;
    }
    for (int u = 0; u < plan->nunits; u++) {
        const struct dpt_unit *unit = &plan->unit[u];
        if (reads[unit->chunk * KINDS + (int)unit->kind]) {
            begin[unit->micro] = u < begin[unit->micro] ? u : begin[unit->micro];
            end[unit->micro] = u;
        }
    }
    int count = 1;
    for (int m = 0; m + count < micros;) {
        if (end[m] < begin[m + count]) {
            m++;
        } else {
            count++;
            m = 0;
        }
    }
    return count;
}

static int by_size(const void *a, const void *b)
{
    const struct life *x = a, *y = b;
    if (x->nbytes != y->nbytes) {
        return x->nbytes > y->nbytes ? -1 : 1;
    }
    return x->number < y->number ? -1 : x->number > y->number;
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
static int64_t pack(struct dpt_arena *arena, struct life *life, int count)
{
    struct taken *taken = dpt_arena_array(arena, (size_t)count + 1, sizeof *taken);
    int64_t total = 0;
    qsort(life, (size_t)count, sizeof *life, by_size);
    for (int i = 0; i < count; i++) {
        int ntaken = 0;
        for (int j = 0; j < i; j++) {
            if (life[j].begin <= life[i].end && life[i].begin <= life[j].end) {
                taken[ntaken++] = (struct taken){*life[j].offset, *life[j].offset + life[j].nbytes};
            }
        }
        qsort(taken, (size_t)ntaken, sizeof *taken, by_offset);
        int64_t at = 0;
        for (int j = 0; j < ntaken && taken[j].begin < at + life[i].nbytes; j++) {
            at = taken[j].end > at ? taken[j].end : at;
        }
        *life[i].offset = at;
        total = at + life[i].nbytes > total ? at + life[i].nbytes : total;
    }
    return total;
}

/* Packs the values of one frame (chunk) or of the rest (-1); returns their bytes. */
static enum dpt_status pack_part(struct packer *packer, int chunk, int64_t *nbytes)
{
    struct dpt_plan *plan = packer->plan;
    const struct dpt_graph *graph = plan->graph;
    struct life *life = dpt_arena_array(plan->arena, (size_t)(graph->nvalues + plan->nstays), sizeof *life);
    int64_t sum = 0; /* of all sizes: no offset will be larger */
    int count = 0;
    for (int v = 0; v < graph->nvalues; v++) {
        const int frame = packer->frames && packer->crosses[v] ? chunk_of(plan, v) : -1;
        if (!in_block(packer, v) || frame != chunk) {
            continue;
        }
        const int64_t size = (int64_t)dpt_type_nbytes(&plan->value[v].type);
        DPT_CHECK(!__builtin_add_overflow(sum, size + ALIGN, &sum), DPT_STATUS_SPACE,
                  "%s: with it the activations have more than 2^63 bytes; take a smaller batch", graph->value[v].name);
        plan->value[v].frame = frame;
        life[count++] = (struct life){
            .number = v,
            .offset = &plan->value[v].offset,
            .nbytes = aligned(size),
            .begin = graph->value[v].producer,
            .end = packer->end[v],
        };
    }
    for (int s = 0; s < plan->nstays && chunk < 0; s++) { /* no stay outlives its unit */
        struct dpt_plan_stay *stay = &plan->stay[s];
        stay->nbytes = aligned(stay->nbytes);
        life[count++] = (struct life){graph->nvalues + s, &stay->offset, stay->nbytes, stay->begin, stay->end};
    }
    *nbytes = pack(plan->arena, life, count);
    return DPT_STATUS_OK;
}

/* ------------------------------------------------------------------------------------------------ bytes */

int64_t dpt_plan_packing(const struct dpt_plan *plan, int node)
{
    const struct dpt_node *at = &plan->graph->node[node];
    const struct dpt_collective_param *param = at->param;
    const struct dpt_type *in = at->nin > 0 ? &plan->value[at->in[0]].type : NULL;
    const struct dpt_type *out = at->nout > 0 ? &plan->value[at->out[0]].type : NULL;
    const bool reduce = at->op == &dpt_op_all_reduce, scatter = at->op == &dpt_op_reduce_scatter;
    int64_t nbytes = 0;
    if (at->op == &dpt_op_halo || at->op == &dpt_op_halo_sum) {
        return aligned(dpt_plan__border_nbytes(plan, node, in, true)) +
               aligned(dpt_plan__border_nbytes(plan, node, in, false));
    }
    nbytes += in ? aligned((int64_t)dpt_type_nbytes(in)) : 0;
    nbytes += out ? aligned((int64_t)dpt_type_nbytes(out)) : 0;
    if ((reduce || scatter) && dpt_half_is(in->dtype)) { /* a part comes from every rank, before they are added up */
        const int64_t ranks = plan->conf.mesh->axis[param->axis].size, all = (int64_t)dpt_type_nbytes(out);
        nbytes += scatter ? ranks * all : all + 2 * ranks;
    }
    return nbytes;
}

/* The most scratch bytes of any call. */
static int64_t scratch_nbytes(const struct dpt_plan *plan)
{
    size_t most = 0;
    for (int i = 0; i < plan->nvariants && !plan->conf.sketch; i++) {
        for (int n = 0; n < plan->graph->nnodes; n++) {
            const struct dpt_op *op = plan->graph->node[n].op;
            const struct dpt_op_types *types = &plan->variant[i].types[n];
            const size_t nbytes = op->collective ? (size_t)dpt_plan_packing(plan, n)
                                                 : dpt_op_scratch(op, types, plan->conf.run, plan->conf.threads,
                                                                  plan->variant[i].prep[n]);
            most = nbytes > most ? nbytes : most;
        }
    }
    return (int64_t)most;
}

/* A window of buffers for each message that this rank sends or receives. */
static int64_t place_messages(struct dpt_plan *plan)
{
    int64_t at = 0;
    for (int m = 0; m < plan->nmessages; m++) {
        struct dpt_plan_message *message = &plan->message[m];
        if (message->value >= 0) {
            message->nbytes = aligned((int64_t)dpt_type_nbytes(&plan->value[message->value].type));
            message->offset = at;
            at += message->window * message->nbytes;
        }
    }
    return at;
}

/* A float for each number that topk and powersgd may change, and the thin matrices of powersgd. */
static int64_t kept_nbytes(const struct dpt_plan *plan)
{
    const struct dpt_wire *wire = &plan->conf.wire;
    int64_t count = 0;
    if (wire->kind != DPT_WIRE_KIND_TOPK && wire->kind != DPT_WIRE_KIND_POWERSGD) {
        return 0;
    }
    for (int b = 0; b < plan->nbuckets; b++) {
        const struct dpt_plan_bucket *bucket = &plan->bucket[b];
        if (bucket->trained && bucket->group >= 0) {
            count += bucket->range.end - bucket->range.begin +
                     dpt_wire_columns(wire, bucket->range, plan->nmatrices, plan->matrix);
        }
    }
    return count * (int64_t)sizeof(float);
}

int64_t dpt_plan_ahead(const struct dpt_plan *plan, int value)
{
    const struct dpt_value *at = &plan->graph->value[value];
    const bool arrives = plan->graph->training && plan->conf.apart && at->kind == DPT_VALUE_KIND_INPUT &&
                         at->type.dtype != DPT_DTYPE_F64 && plan->value[value].offset >= 0;
    return arrives ? aligned((int64_t)dpt_type_nbytes(&plan->value[value].type)) : 0;
}

static void count_bytes(struct dpt_plan *plan)
{
    const struct dpt_graph *graph = plan->graph;
    const int64_t width = (int64_t)dpt_dtype_nbytes(graph->real);
    struct dpt_plan_memory *memory = &plan->memory;
    memory->params = plan->kept.params * width;
    memory->gradients = plan->kept.gradients * width;
    memory->accumulators = plan->nflat * width * plan->nlevels + plan->digits_nbytes + plan->windows_nbytes;
    memory->slots = plan->kept.slots * width * plan->nslots;
    memory->kept = graph->training ? kept_nbytes(plan) : 0;
    memory->messages = place_messages(plan);
    memory->scratch = scratch_nbytes(plan);
    for (int v = 0; v < graph->nvalues; v++) {
        if (graph->value[v].kind == DPT_VALUE_KIND_INPUT) {
            memory->ahead += dpt_plan_ahead(plan, v);
            memory->batches += 4 * (dpt_type_numel(&graph->value[v].type) / graph->rows) * plan->max_rows;
        }
    }
}

enum dpt_status dpt_plan__memory(struct dpt_plan *plan)
{
    const struct dpt_graph *graph = plan->graph;
    struct packer packer = {
        .plan = plan,
        .end = dpt_arena_array(plan->arena, (size_t)graph->nvalues, sizeof *packer.end),
        .crosses = dpt_arena_array(plan->arena, (size_t)graph->nvalues, sizeof *packer.crosses),
    };
    last_reads(&packer);
    for (int n = 0; n < graph->nnodes; n++) { /* a view keeps what it views: known before sharing is decided */
        if (graph->node[n].op->view) {
            share(&packer, n);
        }
    }
    for (int n = 0; n < graph->nnodes; n++) {
        share(&packer, n);
    }
    find_crossings(&packer);
    dpt_plan__stays(plan);
    plan->frame = dpt_arena_array(plan->arena, (size_t)plan->pipeline.chunks, sizeof *plan->frame);
    packer.frames = plan->pipeline.chunks > 1;
    for (int c = 0; c < plan->pipeline.chunks; c++) {
        plan->frame[c].count = count_frames(&packer, c);
        packer.frames = packer.frames || plan->frame[c].count > 1;
    }
    for (int v = 0; v < graph->nvalues; v++) {
        DPT_CHECK(plan->value[v].alias < 0 || graph->value[v].kind == DPT_VALUE_KIND_ACTIVATION || plan->value[v].apart,
                  DPT_STATUS_FAILED,
                  "%s: is a view, but needs memory of its own", graph->value[v].name);
        plan->value[v].offset = plan->value[v].frame = -1;
    }
    DPT_TRY(pack_part(&packer, -1, &plan->memory.activations));
    for (int c = 0; c < plan->pipeline.chunks && packer.frames; c++) {
        struct dpt_plan_frame *frame = &plan->frame[c];
        frame->offset = plan->memory.activations;
        DPT_TRY(pack_part(&packer, c, &frame->nbytes));
        plan->memory.activations += frame->nbytes * frame->count;
    }
    count_bytes(plan);
    return DPT_STATUS_OK;
}
