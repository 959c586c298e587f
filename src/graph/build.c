/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/build.h"

#include <math.h>
#include <string.h>

#include "graph/internal.h"
#include "op/batch_norm.h"
#include "op/conv.h"
#include "op/dropout.h"
#include "op/layer_norm.h"
#include "op/linear.h"
#include "op/pool.h"
#include "op/reshape.h"

#define REFUSE(...) (dpt_error_set(DPT_STATUS_USAGE, __FILE__, __LINE__, __VA_ARGS__), -1)

static void enter(struct dpt_graph *graph, const char *layer)
{
    graph->layer = dpt_arena_strdup(graph->arena, layer);
}

/* Adds a node of the current layer; -1 among the operands before the last `optional` ones is handed through. */
static int add(struct dpt_graph *graph, const char *op, const void *param, int nin, int optional, const int *in)
{
    for (int i = 0; i < nin - optional; i++) {
        if (in[i] < 0) {
            return -1;
        }
    }
    return dpt_graph_add(graph, op, param, nin, in);
}

static int parameter(struct dpt_graph *graph, const char *part, struct dpt_init init, bool decay, int ndim,
                     const int64_t *dim)
{
    return dpt_graph_param(graph, dpt_arena_printf(graph->arena, "%s.%s", graph->layer, part), init, decay, ndim, dim);
}

/* The last dimension: channels, features. */
static int64_t width_of(const struct dpt_graph *graph, int x)
{
    const struct dpt_type *type = &graph->value[x].type;
    return type->dim[type->ndim - 1];
}

int dpt_build_linear(struct dpt_graph *graph, const char *layer, int x, int64_t features, bool bias)
{
    if (x < 0) {
        return -1;
    }
    enter(graph, layer);
    if (graph->value[x].type.ndim < 2) {
        return REFUSE("%s: needs an input with features, this one has none", layer);
    }
    const int64_t dim[2] = {features, width_of(graph, x)};
    const struct dpt_init init = {DPT_INIT_KIND_UNIFORM, 1.0 / sqrt((double)dim[1])};
    const struct dpt_linear_param param = {.act = DPT_ACTIVATION_KIND_NONE};
    const int weight = parameter(graph, "weight", init, true, 2, dim);
    const int offset = bias && weight >= 0 ? parameter(graph, "bias", init, false, 1, dim) : -1;
    if (bias && offset < 0) {
        return -1;
    }
    return add(graph, "linear", &param, 3, 1, (const int[]){x, weight, offset});
}

int dpt_build_conv(struct dpt_graph *graph, const char *layer, int x, const struct dpt_build_conv *conv)
{
    if (x < 0) {
        return -1;
    }
    enter(graph, layer);
    if (graph->value[x].type.ndim != 4) {
        return REFUSE("%s: a convolution needs images (height, width, channels), its input has %d dimensions", layer,
                      graph->value[x].type.ndim - 1);
    }
    const int64_t groups = conv->groups ? conv->groups : 1, channels = width_of(graph, x);
    if (channels % groups || conv->filters % groups) {
        return REFUSE("%s: %lld channels and %lld filters cannot be divided into %lld groups", layer,
                      (long long)channels, (long long)conv->filters, (long long)groups);
    }
    struct dpt_conv_param param = {.groups = groups, .act = DPT_ACTIVATION_KIND_NONE};
    for (int i = 0; i < 2; i++) {
        param.stride[i] = conv->stride[i] ? conv->stride[i] : 1;
        param.pad[i] = conv->pad[i];
        param.dilation[i] = conv->dilation[i] ? conv->dilation[i] : 1;
        param.kernel[i] = conv->kernel[i];
    }
    const int64_t dim[4] = {conv->filters, channels / groups, conv->kernel[0], conv->kernel[1]};
    const double area = (double)dim[2] * (double)dim[3];
    const struct dpt_init uniform = {DPT_INIT_KIND_UNIFORM, 1.0 / sqrt((double)dim[1] * area)};
    const struct dpt_init fan_out = {DPT_INIT_KIND_NORMAL, sqrt(2.0 / ((double)dim[0] * area))};
    const struct dpt_init init = conv->init == DPT_BUILD_INIT_FAN_OUT ? fan_out : uniform;
    const int weight = parameter(graph, "weight", init, true, 4, dim);
    const int offset = conv->bias && weight >= 0 ? parameter(graph, "bias", uniform, false, 1, dim) : -1;
    if (conv->bias && offset < 0) {
        return -1;
    }
    return add(graph, "conv", &param, 3, 1, (const int[]){x, weight, offset});
}

/* A running statistic of the current layer. */
static int buffer(struct dpt_graph *graph, const char *part, double start, double momentum, int64_t channels)
{
    const struct dpt_init init = {DPT_INIT_KIND_CONST, start};
    const char *name = dpt_arena_printf(graph->arena, "%s.%s", graph->layer, part);
    const int id = dpt_graph_buffer(graph, name, init, 1, &channels);
    if (id >= 0) {
        graph->value[id].rate = momentum;
    }
    return id;
}

/* weight 1 and bias 0 of a norm over the last dimension of x. */
static void affine(struct dpt_graph *graph, int x, int id[2])
{
    const int64_t channels = width_of(graph, x);
    id[0] = parameter(graph, "weight", (struct dpt_init){DPT_INIT_KIND_CONST, 1.0}, false, 1, &channels);
    id[1] = parameter(graph, "bias", (struct dpt_init){DPT_INIT_KIND_CONST, 0.0}, false, 1, &channels);
}

int dpt_build_batch_norm(struct dpt_graph *graph, const char *layer, int x, const struct dpt_build_batch_norm *norm)
{
    if (x < 0) {
        return -1;
    }
    enter(graph, layer);
    const struct dpt_type *type = &graph->value[x].type;
    if (type->ndim < 2) {
        return REFUSE("%s: needs an input with channels, this one has none", layer);
    }
    struct dpt_batch_norm_param param = {
        .eps = norm->eps,
        .act = DPT_ACTIVATION_KIND_NONE,
        .per_sample = 1,
        .real = graph->real,
        .local = norm->local,
    };
    for (int i = 1; i < type->ndim - 1; i++) {
        if (__builtin_mul_overflow(param.per_sample, type->dim[i], &param.per_sample)) {
            return REFUSE("%s: a sample has more than 2^31 positions", layer);
        }
    }
    int weight[2];
    affine(graph, x, weight);
    const int mean = buffer(graph, "running_mean", 0.0, norm->momentum, width_of(graph, x));
    const int var = buffer(graph, "running_var", 1.0, norm->momentum, width_of(graph, x));
    if (!graph->training) {
        return add(graph, "batch_norm_eval", &param, 5, 0, (const int[]){x, mean, var, weight[0], weight[1]});
    }
    const int stat = add(graph, "batch_stat", &param, 1, 0, &x);
    const int y = add(graph, "batch_norm", &param, 4, 0, (const int[]){x, stat, weight[0], weight[1]});
    const int moments = add(graph, "batch_moments", &param, 1, 0, &stat);
    if (y < 0 || moments < 0 || mean < 0 || var < 0 ||
        dpt_graph__set_gradient(graph, mean, moments) != DPT_STATUS_OK ||
        dpt_graph__set_gradient(graph, var, moments + 1) != DPT_STATUS_OK) {
        return -1;
    }
    return y;
}

int dpt_build_layer_norm(struct dpt_graph *graph, const char *layer, int x, double eps)
{
    if (x < 0) {
        return -1;
    }
    enter(graph, layer);
    if (graph->value[x].type.ndim < 2) {
        return REFUSE("%s: needs an input with features, this one has none", layer);
    }
    const struct dpt_layer_norm_param param = {.eps = eps};
    int weight[2];
    affine(graph, x, weight);
    return add(graph, "layer_norm", &param, 3, 0, (const int[]){x, weight[0], weight[1]});
}

int dpt_build_activation(struct dpt_graph *graph, const char *layer, int x, enum dpt_activation_kind kind)
{
    const struct dpt_activation_param param = {.kind = kind};
    enter(graph, layer);
    return add(graph, "activation", &param, 1, 0, &x);
}

static int pool_node(struct dpt_graph *graph, const char *layer, const char *op, int x,
                     const struct dpt_build_pool *pool)
{
    struct dpt_pool_param param = {.kernel = {0}};
    for (int i = 0; i < 2; i++) {
        param.kernel[i] = pool->kernel[i];
        param.stride[i] = pool->stride[i] ? pool->stride[i] : pool->kernel[i];
        param.pad[i] = pool->pad[i];
    }
    enter(graph, layer);
    return add(graph, op, &param, 1, 0, &x);
}

int dpt_build_max_pool(struct dpt_graph *graph, const char *layer, int x, const struct dpt_build_pool *pool)
{
    return pool_node(graph, layer, "max_pool", x, pool);
}

int dpt_build_avg_pool(struct dpt_graph *graph, const char *layer, int x, const struct dpt_build_pool *pool)
{
    return pool_node(graph, layer, "avg_pool", x, pool);
}

int dpt_build_global_pool(struct dpt_graph *graph, const char *layer, int x)
{
    const struct dpt_pool_param param = {.kernel = {0}};
    enter(graph, layer);
    return add(graph, "global_pool", &param, 1, 0, &x);
}

int dpt_build_dropout(struct dpt_graph *graph, const char *layer, int x, double rate)
{
    if (x < 0 || !graph->training || rate == 0.0) {
        return x;
    }
    const struct dpt_dropout_param param = {.rate = rate, .stream = graph->streams++};
    enter(graph, layer);
    return add(graph, "dropout", &param, 1, 0, &x);
}

int dpt_build_reshape(struct dpt_graph *graph, const char *layer, int x, int ndim, const int64_t *dim)
{
    struct dpt_reshape_param param = {.ndim = ndim};
    if (ndim < 1 || ndim > DPT_MAX_DIM - 1) {
        return REFUSE("%s: a shape of %d dimensions, 1 to %d are possible", layer, ndim, DPT_MAX_DIM - 1);
    }
    memcpy(param.dim, dim, (size_t)ndim * sizeof *dim);
    enter(graph, layer);
    return add(graph, "reshape", &param, 1, 0, &x);
}

int dpt_build_flatten(struct dpt_graph *graph, const char *layer, int x)
{
    if (x < 0) {
        return -1;
    }
    const int64_t features = dpt_type_numel(&graph->value[x].type) / graph->rows;
    return dpt_build_reshape(graph, layer, x, 1, &features);
}

int dpt_build_combine(struct dpt_graph *graph, const char *layer, const char *op, int nin, const int *in)
{
    DPT_ASSERT(nin >= 2 && nin <= DPT_OP_MAX_IN);
    enter(graph, layer);
    if (strcmp(op, "concat") == 0) {
        return add(graph, op, NULL, nin, 0, in);
    }
    int x = in[0];
    for (int i = 1; i < nin; i++) {
        x = add(graph, op, NULL, 2, 0, (const int[]){x, in[i]});
    }
    return x;
}
