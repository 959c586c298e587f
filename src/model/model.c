/* SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "model/internal.h"
#include "model/language.h"
#include "op/loss.h"

static dpt_model__family *const family[] = {
    [DPT_MODEL_TYPE_MLP] = dpt_model__mlp,
    [DPT_MODEL_TYPE_CNN] = dpt_model__cnn,
    [DPT_MODEL_TYPE_RESNET] = dpt_model__resnet,
    [DPT_MODEL_TYPE_LAYERS] = dpt_model__layers,
};

int64_t dpt_model__outputs(const struct dpt_model_io *io)
{
    return io->classes > 0 ? io->classes : io->targets;
}

int64_t dpt_model__depth(const struct dpt_job *job)
{
    return job->model.depth ? job->model.depth : 20;
}

bool dpt_model_is_language(const struct dpt_job *job)
{
    return job->model.type == DPT_MODEL_TYPE_GPT || job->model.type == DPT_MODEL_TYPE_LLAMA;
}

enum dpt_activation_kind dpt_model__activation(const char *name)
{
    static const struct {
        const char *name;
        enum dpt_activation_kind kind;
    } table[] = {
        {"relu", DPT_ACTIVATION_KIND_RELU},
        {"gelu", DPT_ACTIVATION_KIND_GELU},
        {"silu", DPT_ACTIVATION_KIND_SILU},
        {"sigmoid", DPT_ACTIVATION_KIND_SIGMOID},
        {"tanh", DPT_ACTIVATION_KIND_TANH},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(name, table[i].name) == 0) {
            return table[i].kind;
        }
    }
    return DPT_ACTIVATION_KIND_NONE;
}

/* Target, loss and metrics of graph->output. Statuses of ids: -1 means that the record is set. */
static enum dpt_status add_loss(const struct dpt_job *job, const struct dpt_model_io *io, struct dpt_graph *graph)
{
    const bool classes = io->classes > 0;
    const enum dpt_loss_type type = job->loss.type;
    DPT_CHECK(type == DPT_LOSS_TYPE_AUTO || (type == DPT_LOSS_TYPE_CROSS_ENTROPY) == classes, DPT_STATUS_USAGE,
              "[loss] type = %s does not fit the task, which is %s; leave it at auto or change [data] task",
              classes ? "mse" : "cross_entropy", classes ? "classification" : "regression");
    graph->target = classes ? dpt_graph_input(graph, "target", DPT_DTYPE_I32, 0, NULL)
                            : dpt_graph_input(graph, "target", graph->real, 1, &io->targets);
    if (graph->target < 0) {
        return DPT_STATUS_USAGE;
    }
    graph->layer = "loss";
    /* The smoothing is for training: what is reported of other data is the plain loss. */
    const struct dpt_cross_entropy_param param = {.smoothing = graph->training ? job->loss.label_smoothing : 0.0};
    const int pair[2] = {graph->output, graph->target};
    graph->loss = classes ? dpt_graph_add(graph, "cross_entropy", &param, 2, pair)
                          : dpt_graph_add(graph, "mse", NULL, 2, pair);
    if (graph->loss < 0) {
        return DPT_STATUS_USAGE;
    }
    const int three[3] = {graph->output, graph->target, graph->loss};
    graph->metric = dpt_graph_add(graph, classes ? "class_metrics" : "real_metrics", NULL, 3, three);
    if (graph->metric < 0) {
        return DPT_STATUS_USAGE;
    }
    graph->value[graph->metric].kind = DPT_VALUE_KIND_METRIC;
    graph->layer = "";
    return DPT_STATUS_OK;
}

enum dpt_status dpt_model_build(const struct dpt_job *job, const struct dpt_model_io *io, bool predict,
                                struct dpt_graph *graph)
{
    if (dpt_model_is_language(job)) {
        return dpt_model__language(job, io, predict, graph);
    }
    DPT_CHECK(io->ndim == 1 || io->ndim == 3, DPT_STATUS_USAGE,
              "[data]: a sample has %d dimensions; 1 (features) or 3 (height, width, channels) are possible", io->ndim);
    DPT_CHECK(dpt_model__outputs(io) > 0, DPT_STATUS_USAGE,
              "[data]: there is nothing to predict: no classes, no targets");
    DPT_CHECK(io->dtype != DPT_DTYPE_I32, DPT_STATUS_USAGE,
              "[model] type takes numbers, but [data] format = tokens: set it to gpt or llama");
    graph->input = dpt_graph_input(graph, "input", graph->real, io->ndim, io->dim);
    if (graph->input < 0) {
        return DPT_STATUS_USAGE;
    }
    graph->output = family[job->model.type](job, io, graph, graph->input);
    graph->layer = "";
    if (graph->output < 0) {
        return DPT_STATUS_USAGE;
    }
    return predict ? DPT_STATUS_OK : add_loss(job, io, graph);
}

/* "-784" behind the text so far; what does not fit is left out. */
static void append(char *out, size_t size, char before, int64_t number)
{
    const size_t length = strlen(out);
    snprintf(out + length, size - length, "%c%" PRId64, before, number);
}

/* "gpt 6 x 384, 6 heads, context 256": blocks and width. */
static void name_language(const struct dpt_job *job, const struct dpt_model_io *io, char *out, size_t size)
{
    struct dpt_model_shape shape;
    const char *type = job->model.type == DPT_MODEL_TYPE_GPT ? "gpt" : "llama";
    if (dpt_model_shape(job, io, &shape) != DPT_STATUS_OK) {
        snprintf(out, size, "%s", type);
    } else if (shape.kv_heads != shape.heads) {
        snprintf(out, size, "%s %" PRId64 " x %" PRId64 ", %" PRId64 "/%" PRId64 " heads, context %" PRId64, type,
                 shape.depth, shape.width, shape.heads, shape.kv_heads, shape.context);
    } else {
        snprintf(out, size, "%s %" PRId64 " x %" PRId64 ", %" PRId64 " heads, context %" PRId64, type, shape.depth,
                 shape.width, shape.heads, shape.context);
    }
}

const char *dpt_model_name(const struct dpt_job *job, const struct dpt_model_io *io, char *out, size_t size)
{
    const struct dpt_ints *widths = job->model.type == DPT_MODEL_TYPE_CNN ? &job->model.channels : &job->model.widths;
    int64_t inputs = 1;
    switch (job->model.type) {
    case DPT_MODEL_TYPE_MLP:
    case DPT_MODEL_TYPE_CNN:
        for (int i = 0; i < io->ndim; i++) {
            inputs *= io->dim[i];
        }
        snprintf(out, size, "%s", job->model.type == DPT_MODEL_TYPE_CNN ? "cnn" : "mlp");
        append(out, size, ' ', job->model.type == DPT_MODEL_TYPE_CNN ? io->dim[io->ndim - 1] : inputs);
        for (int i = 0; i < widths->count; i++) {
            append(out, size, '-', widths->value[i]);
        }
        if (job->model.type == DPT_MODEL_TYPE_CNN) {
            append(out, size, '-', job->model.hidden);
        }
        append(out, size, '-', dpt_model__outputs(io));
        break;
    case DPT_MODEL_TYPE_RESNET:
        snprintf(out, size, "resnet-%" PRId64, dpt_model__depth(job));
        break;
    case DPT_MODEL_TYPE_GPT:
    case DPT_MODEL_TYPE_LLAMA:
        name_language(job, io, out, size);
        break;
    case DPT_MODEL_TYPE_LAYERS:
        snprintf(out, size, "%d layer%s of the job file", job->nlayers, job->nlayers == 1 ? "" : "s");
        break;
    }
    return out;
}
