/* SPDX-License-Identifier: Apache-2.0 */

/* A plan bound to memory: which bytes each operand of each node has. */

#include "exec/exec.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
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

/* Where a flat value lies. */
static void *flat_data(const struct dpt_exec *exec, int value)
{
    const struct dpt_plan *plan = exec->plan;
    const size_t width = dpt_dtype_nbytes(plan->graph->real);
    for (int i = 0; i < plan->nparams; i++) {
        const struct dpt_plan_param *param = &plan->param[i];
        if (param->value == value) {
            return (char *)exec->state->param + (size_t)param->offset * width;
        }
        if (param->gradient == value) {
            return (char *)exec->state->gradient + (size_t)param->offset * width;
        }
    }
    return NULL; /* a slot: updates find theirs by range */
}

static void place_values(struct dpt_exec *exec)
{
    const struct dpt_plan *plan = exec->plan;
    for (int v = 0; v < plan->graph->nvalues; v++) {
        const struct dpt_plan_value *value = &plan->value[v];
        exec->data[v] = value->offset >= 0 ? (char *)exec->block + value->offset : flat_data(exec, v);
    }
    for (int v = 0; v < plan->graph->nvalues; v++) {
        int root = v;
        while (plan->value[root].alias >= 0) {
            root = plan->value[root].alias;
        }
        exec->data[v] = exec->data[root];
    }
}

/* The input whose memory, given by the loader, a value has; -1 where it has other memory. */
static int loaded_root(const struct dpt_plan *plan, int value)
{
    while (plan->value[value].alias >= 0) {
        value = plan->value[value].alias;
    }
    const bool loaded = plan->graph->value[value].kind == DPT_VALUE_KIND_INPUT && plan->value[value].offset < 0;
    return loaded ? value : -1;
}

static void bind(struct dpt_exec *exec, int value, struct dpt_tensor *tensor)
{
    const int root = loaded_root(exec->plan, value);
    *tensor = (struct dpt_tensor){exec->plan->value[value].type, exec->data[value]};
    if (root >= 0) {
        exec->input[exec->ninputs] = tensor;
        exec->input_value[exec->ninputs++] = root;
    }
}

static void bind_nodes(struct dpt_exec *exec)
{
    const struct dpt_graph *graph = exec->plan->graph;
    for (int n = 0; n < graph->nnodes; n++) {
        for (int i = 0; i < graph->node[n].nin; i++) {
            bind(exec, graph->node[n].in[i], &exec->node[n].in[i]);
        }
        for (int i = 0; i < graph->node[n].nout; i++) {
            bind(exec, graph->node[n].out[i], &exec->node[n].out[i]);
        }
    }
}

static void bind_updates(struct dpt_exec *exec)
{
    const struct dpt_plan *plan = exec->plan;
    const struct dpt_state *state = exec->state;
    for (int u = 0; u < plan->nupdates; u++) {
        const struct dpt_plan_update *update = &plan->update[u];
        struct dpt_exec__update *bound = &exec->update[u];
        const struct dpt_type type = {plan->graph->real, 1, {update->end - update->begin}};
        const size_t offset = (size_t)update->begin * dpt_dtype_nbytes(type.dtype);
        void *flat[2 + DPT_PLAN_MAX_SLOTS] = {state->param, state->gradient, state->slot[0], state->slot[1]};
        bound->types = (struct dpt_op_types){.param = update->param, .nin = 2 + update->nslots};
        for (int i = 0; i < bound->types.nin; i++) {
            bound->types.in[i] = type;
            bound->in[i] = (struct dpt_tensor){type, (char *)flat[i] + offset};
        }
    }
}

/* Gives every batch operand its number of rows, and chooses what was prepared for it. */
static void set_rows(struct dpt_exec *exec, int64_t rows)
{
    const struct dpt_plan *plan = exec->plan;
    const struct dpt_graph *graph = plan->graph;
    exec->rows = rows;
    exec->variant = &plan->variant[0];
    for (int i = 1; i < plan->nvariants; i++) {
        if (plan->variant[i].rows == rows) {
            exec->variant = &plan->variant[i];
        }
    }
    for (int n = 0; n < graph->nnodes; n++) {
        for (int i = 0; i < graph->node[n].nin; i++) {
            if (graph->value[graph->node[n].in[i]].batch) {
                exec->node[n].in[i].type.dim[0] = rows;
            }
        }
        for (int i = 0; i < graph->node[n].nout; i++) {
            if (graph->value[graph->node[n].out[i]].batch) {
                exec->node[n].out[i].type.dim[0] = rows;
            }
        }
    }
}

static void *array(size_t count, size_t size)
{
    void *at = calloc(count + 1, size);
    if (!at) {
        dpt_fatal(DPT_STATUS_SPACE, "out of memory: %zu bytes for the operands of the step", count * size);
    }
    return at;
}

/* Blocks, and the buckets of the exchange: only where every rank has its blocks, since to bind is collective. */
static enum dpt_status take_memory(struct dpt_exec *exec, struct dpt_exec *share)
{
    const struct dpt_plan *plan = exec->plan;
    const enum dpt_status status = take_blocks(exec, share);
    if (!plan->graph->training || !exec->exchange) {
        return status;
    }
    DPT_TRY(dpt_agree(status, plan->conf.mesh->world));
    return dpt_exchange_bind(exec->exchange, exec->state->gradient, plan->graph->real, plan->nbuckets, plan->bucket);
}

enum dpt_status dpt_exec_new(const struct dpt_exec_conf *conf, struct dpt_exec **exec)
{
    const struct dpt_graph *graph = conf->plan->graph;
    struct dpt_exec *made = array(1, sizeof *made);
    *exec = NULL;
    DPT_ASSERT(graph->metric < 0 || dpt_type_numel(&graph->value[graph->metric].type) <= DPT_EXEC_METRICS);
    *made = (struct dpt_exec){
        .plan = conf->plan,
        .state = conf->state,
        .dev = conf->dev,
        .exchange = conf->exchange,
        .data = array((size_t)graph->nvalues, sizeof *made->data),
        .node = array((size_t)graph->nnodes, sizeof *made->node),
        .update = array((size_t)conf->plan->nupdates, sizeof *made->update),
        .input = array((size_t)graph->nnodes * (DPT_OP_MAX_IN + DPT_OP_MAX_OUT), sizeof *made->input),
        .input_value = array((size_t)graph->nnodes * (DPT_OP_MAX_IN + DPT_OP_MAX_OUT), sizeof *made->input_value),
        .ctx = {.seed = conf->seed, .grad_scale = 1.0},
        .rows = -1,
    };
    const enum dpt_status status = take_memory(made, conf->share);
    if (status != DPT_STATUS_OK) {
        dpt_exec_free(made);
        return status;
    }
    place_values(made);
    bind_nodes(made);
    bind_updates(made);
    *exec = made;
    return DPT_STATUS_OK;
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
    free(exec->data);
    free(exec->node);
    free(exec->update);
    free(exec->input);
    free(exec->input_value);
    free(exec);
}

/* Real inputs of a graph in double are made from the loader's floats. */
static void convert(const struct dpt_exec *exec, int value, int64_t rows, const void *loaded)
{
    const struct dpt_plan_value *at = &exec->plan->value[value];
    const int64_t n = rows * (dpt_type_numel(&at->type) / at->type.dim[0]);
    for (int64_t i = 0; i < n; i++) {
        ((double *)exec->data[value])[i] = ((const float *)loaded)[i];
    }
}

void dpt_exec__load(struct dpt_exec *exec, const struct dpt_batch *batch)
{
    const struct dpt_graph *graph = exec->plan->graph;
    exec->ctx.step = (uint64_t)batch->step;
    exec->ctx.rows = batch->rows;
    exec->ctx.first_row = batch->first_row;
    exec->ctx.micro_rows = batch->micro_rows;
    exec->ctx.batch_rows = batch->batch_rows;
    if (batch->rows != exec->rows) {
        set_rows(exec, batch->rows);
    }
    for (int i = 0; i < exec->ninputs; i++) {
        exec->input[i]->data = exec->input_value[i] == graph->input ? batch->x : batch->target;
    }
    const struct {
        int value;
        const void *loaded;
    } given[2] = {{graph->input, batch->x}, {graph->target, batch->target}};
    for (int i = 0; i < 2; i++) {
        if (given[i].value >= 0 && exec->plan->value[given[i].value].offset >= 0) {
            convert(exec, given[i].value, batch->rows, given[i].loaded);
        }
    }
}

enum dpt_status dpt_exec__run(struct dpt_exec *exec, int n)
{
    const struct dpt_node *node = &exec->plan->graph->node[n];
    const struct dpt_op_call call = {
        .types = &exec->variant->types[n],
        .in = exec->node[n].in,
        .out = exec->node[n].out,
        .prep = exec->variant->prep[n],
        .scratch = exec->scratch,
        .ctx = &exec->ctx,
    };
    dpt_comm_action(node->phase == DPT_PHASE_FORWARD ? "forward" : "backward", node->name);
    return dpt_op_call(node->op, exec->plan->conf.run, &call);
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
