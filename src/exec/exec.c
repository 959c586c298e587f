/* SPDX-License-Identifier: Apache-2.0 */

/* A plan bound to memory: which bytes each operand of each node has. */

#include "exec/exec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "comm/fixed.h"
#include "exec/internal.h"

static size_t block_nbytes(const struct dpt_exec *exec)
{
    return (size_t)exec->plan->memory.activations;
}

static size_t scratch_nbytes(const struct dpt_exec *exec)
{
    return (size_t)exec->plan->memory.scratch;
}

/* Bytes of blocks, this plan's own or another's that are large enough. */
static enum dpt_status take_blocks(struct dpt_exec *exec, struct dpt_exec *share)
{
    if (share && block_nbytes(share) >= block_nbytes(exec) && scratch_nbytes(share) >= scratch_nbytes(exec)) {
        exec->share = share;
        exec->block = share->block;
        exec->scratch = share->scratch;
        return DPT_STATUS_OK;
    }
    DPT_TRY(dpt_dev_alloc(exec->dev, block_nbytes(exec), "the activations", &exec->block));
    return dpt_dev_alloc(exec->dev, scratch_nbytes(exec), "the scratch memory of kernels", &exec->scratch);
}

/* Where a flat value lies; NULL where it is whole during a stay only. */
static void *flat_data(const struct dpt_exec *exec, int value)
{
    const struct dpt_plan *plan = exec->plan;
    const int64_t width = (int64_t)dpt_dtype_nbytes(plan->graph->real);
    for (int i = 0; i < plan->nparams; i++) {
        const struct dpt_plan_param *param = &plan->param[i];
        const struct dpt_plan_bucket *bucket = plan->nbuckets > 0 ? &plan->bucket[param->bucket] : NULL;
        if (param->value == value) {
            return bucket && bucket->gather ? NULL
                                            : (char *)exec->state->param + dpt_plan_param_at(plan, param) * width;
        }
        if (param->gradient == value) {
            return bucket->scatter
                       ? NULL
                       : (char *)exec->state->gradient + (param->offset + bucket->gradient_offset) * width;
        }
    }
    return NULL; /* a slot: updates find theirs by range */
}

/* Where every value lies; those of inputs that the loader keeps change with each batch. */
static void place_values(struct dpt_exec *exec)
{
    const struct dpt_plan *plan = exec->plan;
    for (int v = 0; v < plan->graph->nvalues; v++) {
        const int root = dpt_plan_root(plan, v);
        const struct dpt_plan_value *value = &plan->value[root];
        const struct dpt_plan_frame *frame = value->frame >= 0 ? &plan->frame[value->frame] : NULL;
        exec->frames[v] = frame ? frame->count : 1;
        exec->stride[v] = frame ? frame->nbytes : 0;
        exec->data[v] = value->offset >= 0 ? (char *)exec->block + (frame ? frame->offset : 0) + value->offset
                                           : flat_data(exec, root);
        if (plan->graph->value[root].kind == DPT_VALUE_KIND_INPUT && value->offset < 0) {
            exec->loaded[exec->nloaded] = v;
            exec->loaded_root[exec->nloaded++] = root;
        }
    }
}

/* One call of update u, on a range of the flat buffers. */
static void bind_update(struct dpt_exec *exec, int u, struct dpt_range range, struct dpt_update_range *bound)
{
    const struct dpt_plan_update *update = &exec->plan->update[u];
    const struct dpt_state *state = exec->state;
    const struct dpt_type type = {exec->plan->graph->real, 1, {range.end - range.begin}};
    const int64_t width = (int64_t)dpt_dtype_nbytes(type.dtype);
    const struct dpt_plan_bucket *bucket = &exec->plan->bucket[update->bucket];
    _Static_assert(DPT_UPDATE_MAX_IN == 2 + DPT_PLAN_MAX_SLOTS, "an update has every slot");
    char *flat[DPT_UPDATE_MAX_IN] = {state->param, state->gradient, state->slot[0], state->slot[1]};
    const int64_t offset[DPT_UPDATE_MAX_IN] = {bucket->param_offset, bucket->gradient_offset, bucket->slot_offset,
                                                    bucket->slot_offset};
    bound->types = (struct dpt_op_types){.param = update->param, .nin = 2 + update->nslots};
    for (int i = 0; i < bound->types.nin; i++) {
        bound->types.in[i] = type;
        bound->in[i] = (struct dpt_tensor){type, flat[i] + (range.begin + offset[i]) * width};
    }
}

/* An update is one range, or one for each slice that this rank has of it; those of an action are one call. */
static enum dpt_status bind_updates(struct dpt_exec *exec)
{
    const struct dpt_plan *plan = exec->plan;
    int calls = 0;
    for (int u = 0; u < plan->nupdates; u++) {
        const struct dpt_range all = {plan->update[u].begin, plan->update[u].end};
        exec->first[u] = calls;
        if (!exec->by_host) {
            bind_update(exec, u, all, &exec->update[calls++]);
        }
        for (int b = 0; b < plan->nbuckets && exec->by_host; b++) {
            struct dpt_range slice = dpt_exchange_slice(exec->exchange, exec->slot_of[b]);
            slice.begin = slice.begin > all.begin ? slice.begin : all.begin;
            slice.end = slice.end < all.end ? slice.end : all.end;
            if (slice.begin < slice.end) {
                bind_update(exec, u, slice, &exec->update[calls++]);
            }
        }
    }
    exec->first[plan->nupdates] = calls;
    for (int u = 0; u < plan->nupdates; u++) {
        const int first = exec->first[u], behind = exec->first[u + plan->update[u].joined];
        DPT_TRY(dpt_update_prepare(exec->dev, plan->update[u].op, behind - first, &exec->update[first], &exec->table[u]));
    }
    return DPT_STATUS_OK;
}

static void *array(size_t count, size_t size)
{
    void *at = calloc(count + 1, size);
    if (!at) {
        dpt_fatal(DPT_STATUS_SPACE, "out of memory: %zu bytes for the operands of the step", count * size);
    }
    return at;
}

/* What is exchanged while it stays, and all that is sliced beside it, is bound to nothing: the longest must fit. */
static enum dpt_status reserve_group(struct dpt_exec *exec, int group, struct dpt_exchange *exchange)
{
    const struct dpt_plan *plan = exec->plan;
    int64_t longest = 0;
    for (int b = 0; b < plan->nbuckets; b++) {
        const int64_t length = plan->bucket[b].range.end - plan->bucket[b].range.begin;
        longest = plan->bucket[b].group == group && length > longest ? length : longest;
    }
    DPT_TRY(dpt_exchange_bind(exchange, NULL, plan->graph->real, 0, NULL));
    return dpt_exchange_reserve(exchange, longest, plan->graph->real);
}

/* Gives the exchange of a group the buckets that are summed in it. */
static enum dpt_status bind_group(struct dpt_exec *exec, int group, struct dpt_exchange *exchange)
{
    const struct dpt_plan *plan = exec->plan;
    struct dpt_range *range = array((size_t)plan->nbuckets, sizeof *range);
    int count = 0;
    bool sliced = false;
    for (int b = 0; b < plan->nbuckets; b++) {
        if (plan->bucket[b].group == group) {
            sliced = dpt_plan_is_sliced(plan, b);
            exec->slot_of[b] = count;
            range[count] = plan->bucket[b].range;
            range[count].begin *= plan->conf.fixed ? 2 : 1; /* two digits each */
            range[count++].end *= plan->conf.fixed ? 2 : 1;
        }
    }
    const enum dpt_dtype dtype = plan->conf.fixed ? dpt_fixed_dtype(plan->graph->real) : plan->graph->real;
    void *summed = plan->conf.fixed ? exec->state->digits : exec->gradient;
    dpt_exchange_shape(exchange, plan->conf.fixed ? 0 : plan->ntrained, plan->nmatrices, plan->matrix);
    const bool by_host = exec->state->common;
    const enum dpt_exchange_slices slices = by_host ? DPT_EXCHANGE_SLICES_HOST : DPT_EXCHANGE_SLICES_ALL;
    exec->by_host = by_host;
    const enum dpt_status status =
        sliced || by_host
            ? dpt_exchange_bind_slices(exchange, slices, summed, exec->param, dtype, count, range)
            : dpt_exchange_bind(exchange, summed, dtype, count, range);
    free(range);
    return status;
}

static size_t rounded(size_t nbytes)
{
    return (nbytes + 63) / 64 * 64;
}

/* Bytes that a move between ranks takes, gives and packs, or that the input or the output of the graph has. */
static size_t count_staging(const struct dpt_exec *exec)
{
    const struct dpt_plan *plan = exec->plan;
    const struct dpt_graph *graph = plan->graph;
    const int single[3] = {graph->input, graph->target, graph->output};
    size_t most = 0;
    for (int n = 0; n < graph->nnodes; n++) {
        const struct dpt_node *node = &graph->node[n];
        size_t nbytes = 0;
        for (int i = 0; i < node->nin + node->nout && node->op->collective; i++) {
            const int value = i < node->nin ? node->in[i] : node->out[i - node->nin];
            nbytes += rounded(dpt_type_nbytes(&plan->value[value].type));
        }
        nbytes += node->op->collective ? (size_t)dpt_plan_packing(plan, n) : 0;
        most = nbytes > most ? nbytes : most;
    }
    for (int i = 0; i < 3; i++) {
        const size_t nbytes = single[i] >= 0 ? dpt_type_nbytes(&plan->value[single[i]].type) : 0;
        most = nbytes > most ? nbytes : most;
    }
    return most;
}

static size_t flat_nbytes(const struct dpt_exec *exec, int64_t elements)
{
    return (size_t)elements * dpt_dtype_nbytes(exec->plan->graph->real);
}

/* Numbers that the host reads in every step: metrics of each micro-batch, squares of each bucket or shard. */
static size_t figures_nbytes(const struct dpt_exec *exec)
{
    const struct dpt_plan *plan = exec->plan;
    return ((size_t)plan->micros * (DPT_EXEC_METRICS + 1) + (size_t)plan->nbuckets + 1) * sizeof(double);
}

static enum dpt_status take_figures(struct dpt_exec *exec)
{
    void *figures = NULL;
    if (dpt_dev_is_apart(exec->dev)) {
        DPT_TRY(dpt_dev_host_alloc(exec->dev, figures_nbytes(exec), "figures of a step", &figures));
    } else {
        figures = array(1, figures_nbytes(exec));
    }
    exec->figures = figures;
    return DPT_STATUS_OK;
}

/* MPI sees memory of the host only: messages, and where the device is apart copies of what ranks exchange. */
static enum dpt_status take_host_memory(struct dpt_exec *exec)
{
    const struct dpt_plan *plan = exec->plan;
    struct dpt_dev *dev = exec->dev;
    void *staging = NULL;
    exec->packing = exec->scratch;
    exec->gradient = exec->state->gradient;
    exec->param = exec->state->param;
    DPT_TRY(take_figures(exec));
    if (!dpt_dev_is_apart(dev)) {
        return DPT_STATUS_OK;
    }
    exec->staging_nbytes = count_staging(exec);
    exec->gradient = exec->direct ? exec->state->gradient : NULL;
    exec->param = exec->direct ? exec->state->param : NULL;
    DPT_TRY(dpt_exec__take_ahead(exec));
    for (int i = 0; i < plan->nbuckets + plan->nstays; i++) {
        exec->arrival[i].dev = dev;
        DPT_TRY(dpt_dev_mark_new(dev, &exec->arrival[i].mark));
    }
    DPT_TRY(dpt_dev_host_alloc(dev, exec->staging_nbytes, "what ranks move", &staging));
    exec->staging = staging;
    if (exec->ring || exec->direct) {
        return DPT_STATUS_OK;
    }
    DPT_TRY(dpt_exec__take_stays(exec));
    if (plan->graph->training && (exec->exchange || exec->group || plan->conf.fixed)) {
        DPT_TRY(dpt_dev_host_alloc(dev, flat_nbytes(exec, plan->kept.gradients), "gradients on the host", &exec->gradient));
        DPT_TRY(dpt_dev_host_alloc(dev, flat_nbytes(exec, plan->kept.params), "parameters on the host", &exec->param));
    }
    return DPT_STATUS_OK;
}

/* Blocks, and the buckets of the exchanges: only where every rank has its blocks, since to bind is collective. */
static enum dpt_status take_memory(struct dpt_exec *exec, struct dpt_exec *share)
{
    const struct dpt_plan *plan = exec->plan;
    enum dpt_status status = take_blocks(exec, share);
    if (status == DPT_STATUS_OK) {
        status = take_host_memory(exec);
    }
    if (plan->pipeline.ranks > 1 && plan->conf.mesh->world) {
        DPT_TRY(dpt_agree(status, plan->conf.mesh->world));
        status = dpt_exec__take_messages(exec);
    }
    if (!plan->graph->training || (!exec->exchange && !exec->group)) {
        return status;
    }
    DPT_TRY(dpt_agree(status, plan->conf.mesh->world));
    if (exec->ring) { /* what is left to the exchange is bound to nothing */
        return dpt_exchange_bind(exec->exchange, NULL, plan->graph->real, 0, NULL);
    }
    for (int g = 0; g < plan->ngroups; g++) {
        struct dpt_exchange *exchange = exec->group ? exec->group[g].exchange : exec->exchange;
        if (exchange && plan->group[g].member && !plan->group[g].average) {
            DPT_TRY(plan->conf.shard >= DPT_PLAN_SHARD_GRADIENTS ? reserve_group(exec, g, exchange)
                                                                 : bind_group(exec, g, exchange));
        }
    }
    return DPT_STATUS_OK;
}

/* Buffers of all messages. */
static size_t count_windows(const struct dpt_plan *plan)
{
    size_t count = 0;
    for (int m = 0; m < plan->nmessages; m++) {
        count += (size_t)plan->message[m].window;
    }
    return count;
}

/* Metrics that other ranks compute too count where each coordinate of the axes that have copies is 0. */
static bool counts_metrics(const struct dpt_plan *plan)
{
    bool counts = plan->graph->metric >= 0;
    for (int axis = 0; counts && axis < plan->conf.mesh->naxes; axis++) {
        const bool copied = plan->value[plan->graph->metric].place[axis].kind == DPT_PLACE_KIND_COPIED &&
                            axis != dpt_mesh_axis(plan->conf.mesh, "pipeline");
        counts = !copied || plan->conf.mesh->axis[axis].coord == 0;
    }
    return counts;
}

enum dpt_status dpt_exec_new(const struct dpt_exec_conf *conf, struct dpt_exec **exec)
{
    const struct dpt_plan *plan = conf->plan;
    const struct dpt_graph *graph = plan->graph;
    const size_t values = (size_t)graph->nvalues;
    const int pipeline = dpt_mesh_axis(plan->conf.mesh, "pipeline");
    struct dpt_exec *made = array(1, sizeof *made);
    *exec = NULL;
    DPT_ASSERT(graph->metric < 0 || dpt_type_numel(&graph->value[graph->metric].type) <= DPT_EXEC_METRICS);
    *made = (struct dpt_exec){
        .plan = plan,
        .state = conf->state,
        .dev = conf->dev,
        .exchange = conf->exchange,
        .group = conf->group,
        .ring = conf->ring,
        .cut = array(plan->conf.mesh->world ? (size_t)dpt_comm_size(plan->conf.mesh->world) : 0, sizeof *made->cut),
        .direct = conf->direct,
        .data = array(values, sizeof *made->data),
        .stride = array(values, sizeof *made->stride),
        .frames = array(values, sizeof *made->frames),
        .loaded = array(values, sizeof *made->loaded),
        .loaded_root = array(values, sizeof *made->loaded_root),
        .update = array((size_t)plan->nupdates + (size_t)plan->nbuckets, sizeof *made->update),
        .first = array((size_t)plan->nupdates, sizeof *made->first),
        .table = array((size_t)plan->nupdates, sizeof(struct dpt_update_table *)),
        .square = array((size_t)plan->nbuckets + (size_t)plan->micros, sizeof *made->square),
        .slot_of = array((size_t)plan->nbuckets, sizeof *made->slot_of),
        .ticket = array((size_t)plan->nbuckets + (size_t)plan->nstays, sizeof *made->ticket),
        .arrival = array((size_t)plan->nbuckets + (size_t)plan->nstays, sizeof *made->arrival),
        .recorded = array((size_t)plan->nactions, sizeof *made->recorded),
        .stayer = array(values, sizeof *made->stayer),
        .lengths = array((size_t)graph->nnodes, sizeof *made->lengths),
        .border = array((size_t)graph->nnodes, sizeof(struct dpt_exec__border *)),
        .message = array((size_t)plan->nmessages, sizeof *made->message),
        .request = array(count_windows(plan), sizeof *made->request),
        .open = array(count_windows(plan), sizeof *made->open),
        .part = plan->conf.shards > 0 ? array((size_t)plan->conf.shards * (1 + DPT_EXEC_METRICS) + DPT_EXEC_FLAGS,
                                              sizeof *made->part)
                                      : NULL,
        .micro = array((size_t)plan->micros, sizeof *made->micro),
        .metric_counts = counts_metrics(plan),
        .flat = conf->flat,
        .pipeline = pipeline >= 0 ? &plan->conf.mesh->axis[pipeline] : NULL,
        .slowness = conf->slowness,
        .ctx = {.seed = conf->seed, .grad_scale = 1.0},
    };
    enum dpt_status status = take_memory(made, conf->share);
    status = status == DPT_STATUS_OK ? bind_updates(made) : status;
    if (graph->training && (conf->exchange || conf->group)) {
        status = dpt_agree(status, plan->conf.mesh->world);
    }
    if (status != DPT_STATUS_OK) {
        dpt_exec_free(made);
        return status;
    }
    place_values(made);
    dpt_exec__prepare_stays(made);
    dpt_exec__prepare_parts(made);
    dpt_exec__prepare_moves(made);
    dpt_exec__prepare_messages(made);
    *exec = made;
    return DPT_STATUS_OK;
}

static void release_host(const struct dpt_exec *exec, void *block, size_t nbytes)
{
    if (block) {
        dpt_dev_host_release(exec->dev, block, nbytes);
    }
}

void dpt_exec_free(struct dpt_exec *exec)
{
    if (!exec) {
        return;
    }
    if (!exec->share && exec->block) {
        dpt_dev_release(exec->dev, exec->block, block_nbytes(exec));
    }
    if (!exec->share && exec->scratch) {
        dpt_dev_release(exec->dev, exec->scratch, scratch_nbytes(exec));
    }
    dpt_exec__release_messages(exec);
    if (dpt_dev_is_apart(exec->dev)) {
        dpt_exec__release_ahead(exec);
        for (int i = 0; i < exec->plan->nbuckets + exec->plan->nstays; i++) {
            dpt_dev_mark_free(exec->dev, exec->arrival[i].mark);
        }
        release_host(exec, exec->figures, figures_nbytes(exec));
        release_host(exec, exec->staging, exec->staging_nbytes);
        release_host(exec, exec->stays, exec->stays_nbytes);
        release_host(exec, exec->direct ? NULL : exec->gradient, flat_nbytes(exec, exec->plan->kept.gradients));
        release_host(exec, exec->direct ? NULL : exec->param, flat_nbytes(exec, exec->plan->kept.params));
    }
    if (!dpt_dev_is_apart(exec->dev)) {
        free(exec->figures);
    }
    for (int n = 0; n < exec->plan->graph->nnodes; n++) {
        free(exec->lengths[n].from);
        free(exec->lengths[n].to);
        dpt_exec__border_free(exec->border[n]);
    }
    for (int u = 0; u < exec->plan->nupdates; u++) {
        dpt_update_release(exec->dev, exec->table[u]);
    }
    dpt_exec__free_parts(exec);
    free(exec->table);
    free(exec->square);
    free(exec->recorded);
    free(exec->cut);
    free(exec->data);
    free(exec->stride);
    free(exec->frames);
    free(exec->loaded);
    free(exec->loaded_root);
    free(exec->update);
    free(exec->first);
    free(exec->slot_of);
    free(exec->ticket);
    free(exec->arrival);
    free(exec->stayer);
    free(exec->lengths);
    free(exec->border);
    free(exec->message);
    free(exec->request);
    free(exec->open);
    free(exec->micro);
    free(exec->part);
    free(exec);
}

struct dpt_tensor dpt_exec__tensor(const struct dpt_exec *exec, int value, int micro)
{
    struct dpt_tensor tensor = {
        exec->plan->value[value].type,
        (char *)exec->data[value] + micro % exec->frames[value] * exec->stride[value],
    };
    if (exec->plan->graph->value[value].batch) {
        tensor.type.dim[0] = exec->micro[micro].ctx.rows;
    }
    return tensor;
}

/*
 * A slow rank sleeps, so that it takes nothing from others on its core, for longer than a sleep costs at a time. What counts
 * is the time that its core worked for it: what others take from it is not made longer.
 */
static void idle(struct dpt_exec *exec, double seconds)
{
    const double worth_s = 3e-4;
    exec->owed_s += seconds;
    if (exec->owed_s > worth_s) {
        const double begin_s = dpt_clock_s();
        const struct timespec nap = {(time_t)exec->owed_s, (long)(1e9 * (exec->owed_s - floor(exec->owed_s)))};
        nanosleep(&nap, NULL);
        exec->owed_s -= dpt_clock_s() - begin_s;
    }
}

enum dpt_status dpt_exec__on_host(const struct dpt_exec *exec, struct dpt_tensor *tensor)
{
    if (dpt_dev_is_apart(exec->dev)) {
        DPT_TRY(dpt_dev_copy_out(exec->dev, exec->staging, tensor->data, dpt_type_nbytes(&tensor->type)));
        tensor->data = exec->staging;
    }
    return DPT_STATUS_OK;
}

/* A node that moves a value between ranks. Where the device is apart, operands and scratch are in exec->staging. */
static enum dpt_status move(struct dpt_exec *exec, int n, int micro, const struct dpt_tensor *in,
                            const struct dpt_tensor *out)
{
    struct dpt_tensor host_in, host_out;
    char *at = exec->staging;
    if (!dpt_dev_is_apart(exec->dev)) {
        return dpt_exec__move(exec, n, micro, in, out);
    }
    if (in) {
        host_in = *in;
        DPT_TRY(dpt_exec__on_host(exec, &host_in));
        at += rounded(dpt_type_nbytes(&in->type));
    }
    if (out) {
        host_out = (struct dpt_tensor){out->type, at};
        at += rounded(dpt_type_nbytes(&out->type));
    }
    exec->packing = at;
    DPT_TRY(dpt_exec__move(exec, n, micro, in ? &host_in : NULL, out ? &host_out : NULL));
    return out ? dpt_dev_copy_in(exec->dev, out->data, host_out.data, dpt_type_nbytes(&out->type)) : DPT_STATUS_OK;
}

enum dpt_status dpt_exec__run(struct dpt_exec *exec, int n, int micro)
{
    const struct dpt_node *node = &exec->plan->graph->node[n];
    const struct dpt_exec__micro *at = &exec->micro[micro];
    struct dpt_tensor in[DPT_OP_MAX_IN], out[DPT_OP_MAX_OUT];
    for (int i = 0; i < node->nin; i++) {
        in[i] = dpt_exec__tensor(exec, node->in[i], micro);
    }
    for (int o = 0; o < node->nout; o++) {
        out[o] = dpt_exec__tensor(exec, node->out[o], micro);
    }
    if (node->op->collective) {
        return move(exec, n, micro, node->nin > 0 ? in : NULL, node->nout > 0 ? out : NULL);
    }
    const struct dpt_op_call call = {
        .types = &at->variant->types[n],
        .in = in,
        .out = out,
        .prep = at->variant->prep[n],
        .dev = exec->dev,
        .scratch = exec->scratch,
        .ctx = &at->ctx,
        .part = exec->plan->node[n].part,
        .add = exec->plan->node[n].adds && micro > 0,
    };
    dpt_comm_action(node->phase == DPT_PHASE_FORWARD ? "forward" : "backward", node->name);
    const double begin_s = exec->slowness > 1.0 ? dpt_clock_thread_s() : 0.0;
    DPT_TRY(dpt_op_call(node->op, exec->plan->conf.run, &call));
    if (exec->slowness > 1.0) {
        idle(exec, (exec->slowness - 1.0) * (dpt_clock_thread_s() - begin_s));
    }
    return DPT_STATUS_OK;
}

double dpt_exec_sent(const struct dpt_exec *exec)
{
    return exec->sent;
}

void dpt_exec__time(struct dpt_exec *exec, enum dpt_section section)
{
    const double now = dpt_clock_s();
    exec->seconds[section] += now - exec->now;
    exec->now = now;
}

double *dpt_exec_seconds(struct dpt_exec *exec)
{
    return exec->seconds;
}
