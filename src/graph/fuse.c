/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Patterns of the forward pass that one op does in one pass over memory:
 *
 *   batch_norm, add, relu    ->  batch_norm with residual and relu
 *   batch_norm, relu         ->  batch_norm with relu
 *   relu, max_pool           ->  max_pool, relu      the maximum commutes with relu; what follows is smaller
 *   conv, relu               ->  conv with relu
 *   linear, activation       ->  linear with activation, which keeps what the gradient of the activation reads
 *
 * in this order: a relu between a convolution and a pooling is better moved than fused, since backward then masks the
 * small tensor. A value in the middle of a pattern must have no other user. The fused node takes the place of the last
 * node of the pattern, where all operands are known; removed nodes leave holes that are closed at the end.
 *
 * And of the backward pass:
 *
 *   linear_dx, activation_dx ->  linear_dx with the gradient of the activation
 *   layer_norm_dx, add       ->  layer_norm_dx with what the other readers of its x give, and so rms_norm_dx: the residual
 *                                path around the branch that begins with the norm
 *
 * The first takes the place of linear_dx, since what the gradient of an activation reads is of the forward pass. Both must be
 * of one stage of a pipeline, or that would be sent to another. The second takes the place of the add, which is of the stage of
 * the norm, as part of the gradient of the same node.
 *
 * And of either, when all else is done, also of what is computed again:
 *
 *   add, layer_norm          ->  add_layer_norm, and so add_rms_norm
 *
 * which gives the sum as well: other readers of it may follow. It comes last, since of a sum alone a stage of a pipeline can be
 * cut off, and a block that is computed again; of a sum and its norm it cannot, or at the price of two values for one.
 */

#include <string.h>

#include "graph/graph.h"
#include "graph/internal.h"
#include "op/activation.h"
#include "op/batch_norm.h"
#include "op/conv.h"
#include "op/linear.h"

struct fuser {
    struct dpt_graph *graph;
    int *uses; /* of each value: operands of nodes, and roles such as graph->output */
};

/* Counts uses and sets producers anew after a change. */
static void survey(struct fuser *fuser)
{
    struct dpt_graph *graph = fuser->graph;
    memset(fuser->uses, 0, (size_t)graph->nvalues * sizeof *fuser->uses);
    for (int n = 0; n < graph->nnodes; n++) {
        const struct dpt_node *node = &graph->node[n];
        for (int i = 0; i < node->nin; i++) {
            fuser->uses[node->in[i]]++;
        }
        for (int i = 0; i < node->nout; i++) {
            graph->value[node->out[i]].producer = n;
            graph->value[node->out[i]].output = i;
        }
    }
    const int role[] = {graph->input, graph->target, graph->output, graph->loss, graph->metric};
    for (size_t i = 0; i < sizeof role / sizeof role[0]; i++) {
        if (role[i] >= 0) {
            fuser->uses[role[i]]++;
        }
    }
}

static bool is(const struct dpt_node *node, const char *op)
{
    return node->op && strcmp(node->op->name, op) == 0;
}

static bool is_relu(const struct dpt_node *node)
{
    return is(node, "activation") &&
           ((const struct dpt_activation_param *)node->param)->kind == DPT_ACTIVATION_KIND_RELU;
}

/* The node that computes `value` for this one user, or NULL. */
static struct dpt_node *sole_source(const struct fuser *fuser, int value)
{
    const int producer = fuser->graph->value[value].producer;
    return producer >= 0 && fuser->uses[value] == 1 ? &fuser->graph->node[producer] : NULL;
}

/* A batch norm that nothing was fused into yet. */
static bool is_plain_batch_norm(const struct dpt_node *node)
{
    const bool training = is(node, "batch_norm"), evaluation = is(node, "batch_norm_eval");
    return ((training && node->nin == 4) || (evaluation && node->nin == 5)) &&
           ((const struct dpt_batch_norm_param *)node->param)->act == DPT_ACTIVATION_KIND_NONE;
}

static void remove_node(struct dpt_node *node)
{
    *node = (struct dpt_node){.op = NULL};
}

/* Puts `fused` in the place of `last`, whose output it computes; a `residual` that is not -1 is its last operand. */
static void put(struct fuser *fuser, struct dpt_node *fused, struct dpt_node *last, const void *param, int residual)
{
    const int out = last->out[0];
    *last = *fused;
    last->param = dpt_arena_memdup(fuser->graph->arena, param, fused->op->param_nbytes);
    last->out[0] = out;
    if (residual >= 0) {
        last->in[last->nin++] = residual;
    }
    remove_node(fused);
}

/* batch_norm (, add), relu. */
static bool fuse_batch_norm(struct fuser *fuser, int n)
{
    struct dpt_node *relu = &fuser->graph->node[n];
    struct dpt_node *add = is_relu(relu) ? sole_source(fuser, relu->in[0]) : NULL, *norm = add;
    int residual = -1;
    if (add && is(add, "add")) {
        for (int i = 0; i < 2 && residual < 0; i++) {
            norm = sole_source(fuser, add->in[i]);
            residual = norm && is_plain_batch_norm(norm) ? add->in[1 - i] : -1;
        }
        norm = residual >= 0 ? norm : NULL;
    }
    if (!norm || !is_plain_batch_norm(norm)) {
        return false;
    }
    struct dpt_batch_norm_param param = *(const struct dpt_batch_norm_param *)norm->param;
    param.act = DPT_ACTIVATION_KIND_RELU;
    put(fuser, norm, relu, &param, residual);
    if (residual >= 0) {
        remove_node(add);
    }
    return true;
}

/* relu, max_pool. */
static bool swap_max_pool(struct fuser *fuser, int n)
{
    struct dpt_graph *graph = fuser->graph;
    struct dpt_node *pool = &graph->node[n];
    struct dpt_node *relu = is(pool, "max_pool") ? sole_source(fuser, pool->in[0]) : NULL;
    if (!relu || !is_relu(relu)) {
        return false;
    }
    struct dpt_node first = *pool, second = *relu;
    const int between = second.out[0], last = first.out[0];
    first.in[0] = second.in[0];
    first.out[0] = between;
    second.in[0] = between;
    second.out[0] = last;
    graph->value[between].type = graph->value[last].type;
    /* The pooling moves one place up, with what lies between: nothing there reads the relu. */
    memmove(relu, relu + 1, (size_t)(pool - relu - 1) * sizeof *relu);
    pool[-1] = first;
    *pool = second;
    return true;
}

/* conv, relu. */
static bool fuse_conv(struct fuser *fuser, int n)
{
    struct dpt_node *relu = &fuser->graph->node[n];
    struct dpt_node *product = is_relu(relu) ? sole_source(fuser, relu->in[0]) : NULL;
    if (!product || !is(product, "conv") ||
        ((const struct dpt_conv_param *)product->param)->act != DPT_ACTIVATION_KIND_NONE) {
        return false;
    }
    struct dpt_conv_param param = *(const struct dpt_conv_param *)product->param;
    param.act = DPT_ACTIVATION_KIND_RELU;
    put(fuser, product, relu, &param, -1);
    return true;
}

/* linear, activation. */
static bool fuse_linear(struct fuser *fuser, int n)
{
    struct dpt_node *act = &fuser->graph->node[n];
    struct dpt_node *product = is(act, "activation") ? sole_source(fuser, act->in[0]) : NULL;
    if (!product || !is(product, "linear") ||
        ((const struct dpt_linear_param *)product->param)->act != DPT_ACTIVATION_KIND_NONE) {
        return false;
    }
    const enum dpt_activation_kind kind = ((const struct dpt_activation_param *)act->param)->kind;
    const struct dpt_linear_param param = {kind, fuser->graph->training && dpt_activation_reads_x(kind)};
    const int between = product->out[0];
    put(fuser, product, act, &param, -1);
    if (param.keep) {
        act->out[act->nout++] = between;
    }
    return true;
}

/* Removes the holes among the nodes and the values that nothing computes or reads any more; renumbers what is left. */
static void close_holes(struct dpt_graph *graph)
{
    int nodes = 0, values = 0;
    int *number = dpt_arena_array(graph->arena, (size_t)graph->nnodes, sizeof *number); /* of each node, then */
    for (int n = 0; n < graph->nnodes; n++) {
        number[n] = nodes;
        if (graph->node[n].op) {
            graph->node[nodes] = graph->node[n];
            graph->node[nodes].of = graph->node[n].of < 0 ? -1 : number[graph->node[n].of];
            nodes++;
        }
    }
    graph->nnodes = nodes;
    bool *alive = dpt_arena_array(graph->arena, (size_t)graph->nvalues, sizeof *alive);
    int *moved = dpt_arena_array(graph->arena, (size_t)graph->nvalues + 1, sizeof *moved);
    *moved++ = -1; /* so that moved[-1] is -1 */
    for (int i = 0; i < graph->nvalues; i++) {
        alive[i] = graph->value[i].producer < 0;
    }
    for (int n = 0; n < graph->nnodes; n++) {
        for (int o = 0; o < graph->node[n].nout; o++) {
            alive[graph->node[n].out[o]] = true;
        }
    }
    for (int i = 0; i < graph->nvalues; i++) {
        moved[i] = alive[i] ? values++ : -1;
        if (alive[i]) {
            graph->value[moved[i]] = graph->value[i];
        }
    }
    graph->nvalues = values;
    for (int i = 0; i < graph->nvalues; i++) {
        graph->value[i].of = moved[graph->value[i].of];
        graph->value[i].gradient = moved[graph->value[i].gradient];
    }
    for (int n = 0; n < graph->nnodes; n++) {
        struct dpt_node *node = &graph->node[n];
        for (int i = 0; i < node->nin; i++) {
            node->in[i] = moved[node->in[i]];
        }
        for (int i = 0; i < node->nout; i++) {
            node->out[i] = moved[node->out[i]];
        }
    }
    graph->input = moved[graph->input];
    graph->target = moved[graph->target];
    graph->output = moved[graph->output];
    graph->loss = moved[graph->loss];
    graph->metric = moved[graph->metric];
    dpt_graph__index(graph);
}

enum dpt_status dpt_graph_fuse(struct dpt_graph *graph)
{
    static bool (*const rewrite[])(struct fuser *, int) = {fuse_batch_norm, swap_max_pool, fuse_conv, fuse_linear};
    struct fuser fuser = {
        .graph = graph,
        .uses = dpt_arena_array(graph->arena, (size_t)graph->nvalues, sizeof(int)),
    };
    survey(&fuser);
    for (size_t r = 0; r < sizeof rewrite / sizeof rewrite[0]; r++) {
        for (int n = 0; n < graph->nnodes; n++) {
            if (graph->node[n].op && rewrite[r](&fuser, n)) {
                survey(&fuser);
            }
        }
    }
    close_holes(graph);
    survey(&fuser);
    return DPT_STATUS_OK;
}

/* The gradient of a norm's input that nothing was added to yet. */
static bool is_plain_norm_dx(const struct dpt_node *node)
{
    return (is(node, "layer_norm_dx") && node->nin == 5) || (is(node, "rms_norm_dx") && node->nin == 4);
}

/* layer_norm_dx or rms_norm_dx, add. */
static void fuse_norm_gradient(struct fuser *fuser, int n)
{
    struct dpt_node *add = &fuser->graph->node[n];
    for (int i = 0; is(add, "add") && add->phase == DPT_PHASE_INPUT_GRADIENT && i < 2; i++) {
        struct dpt_node *norm = sole_source(fuser, add->in[i]);
        if (norm && is_plain_norm_dx(norm) && norm->of == add->of) {
            put(fuser, norm, add, norm->param, add->in[1 - i]);
            return;
        }
    }
}

/* linear_dx, activation_dx; `stage` as in dpt_graph_fuse_gradient. */
static void fuse_linear_gradient(struct fuser *fuser, int n, const int *stage)
{
    struct dpt_node *act = &fuser->graph->node[n];
    struct dpt_node *product = is(act, "activation_dx") ? sole_source(fuser, act->in[0]) : NULL;
    if (!product || !is(product, "linear_dx") || product->nin > 2 || (stage && stage[product->of] != stage[act->of])) {
        return;
    }
    const struct dpt_linear_param param = {((const struct dpt_activation_param *)act->param)->kind, 0};
    product->param = dpt_arena_memdup(fuser->graph->arena, &param, sizeof param);
    product->in[product->nin++] = act->in[1];
    product->out[0] = act->out[0];
    remove_node(act);
}

enum dpt_status dpt_graph_fuse_gradient(struct dpt_graph *graph, const int *stage)
{
    struct fuser fuser = {
        .graph = graph,
        .uses = dpt_arena_array(graph->arena, (size_t)graph->nvalues, sizeof(int)),
    };
    survey(&fuser);
    for (int n = 0; n < graph->nnodes; n++) {
        if (graph->node[n].op) {
            fuse_linear_gradient(&fuser, n, stage);
        }
    }
    for (int n = 0; n < graph->nnodes; n++) {
        if (graph->node[n].op) {
            fuse_norm_gradient(&fuser, n);
        }
    }
    close_holes(graph);
    survey(&fuser);
    return DPT_STATUS_OK;
}

/* True when a node of (first, last) reads the value. */
static bool is_read_between(const struct dpt_graph *graph, int value, int first, int last)
{
    for (int n = first + 1; n < last; n++) {
        for (int i = 0; i < graph->node[n].nin; i++) {
            if (graph->node[n].in[i] == value) {
                return true;
            }
        }
    }
    return false;
}

/* add, layer_norm or rms_norm. */
static bool fuse_norm(struct fuser *fuser, int n)
{
    struct dpt_graph *graph = fuser->graph;
    struct dpt_node *norm = &graph->node[n];
    const char *op = is(norm, "layer_norm") ? "add_layer_norm" : is(norm, "rms_norm") ? "add_rms_norm" : NULL;
    const int sum = op ? norm->in[0] : -1, producer = op ? graph->value[sum].producer : -1;
    if (producer < 0 || !is(&graph->node[producer], "add") || graph->node[producer].phase != norm->phase ||
        is_read_between(graph, sum, producer, n)) {
        return false;
    }
    struct dpt_node *add = &graph->node[producer];
    memmove(norm->in + 2, norm->in + 1, (size_t)(norm->nin - 1) * sizeof *norm->in);
    memmove(norm->out + 1, norm->out, (size_t)norm->nout * sizeof *norm->out);
    norm->op = dpt_op_find(op);
    norm->in[0] = add->in[0];
    norm->in[1] = add->in[1];
    norm->out[0] = sum;
    norm->nin++;
    norm->nout++;
    for (int i = 0; i < graph->nnodes; i++) { /* what is of the gradient of the sum */
        graph->node[i].of = graph->node[i].of == producer ? n : graph->node[i].of;
    }
    remove_node(add);
    return true;
}

enum dpt_status dpt_graph_fuse_norms(struct dpt_graph *graph)
{
    struct fuser fuser = {
        .graph = graph,
        .uses = dpt_arena_array(graph->arena, (size_t)graph->nvalues, sizeof(int)),
    };
    survey(&fuser);
    for (int n = 0; n < graph->nnodes; n++) {
        if (graph->node[n].op && fuse_norm(&fuser, n)) {
            survey(&fuser);
        }
    }
    close_holes(graph);
    survey(&fuser);
    return DPT_STATUS_OK;
}
