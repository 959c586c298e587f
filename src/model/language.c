/* SPDX-License-Identifier: Apache-2.0 */
#include "model/language.h"

#include <math.h>
#include <string.h>

#include "model/internal.h"
#include "op/linear.h"
#include "op/linear_loss.h"

static const double deviation = 0.02; /* of first weights: GPT-2's, and the default of Hugging Face's Llama */

const char *dpt_model__join(const struct dpt_model__net *net, const char *block, const char *part)
{
    return dpt_arena_printf(net->graph->arena, "%s.%s", block, part);
}

int dpt_model__param(const struct dpt_model__net *net, const char *layer, const char *part, double scale, int merged,
                     int ndim, const int64_t *dim)
{
    const struct dpt_init init = {scale > 0.0 ? DPT_INIT_KIND_NORMAL : DPT_INIT_KIND_CONST, scale};
    const bool decay = strcmp(part, "bias") != 0;
    const int id = dpt_graph_param(net->graph, dpt_model__join(net, layer, part), init, decay, ndim, dim);
    if (id >= 0) {
        net->graph->value[id].merged = merged;
    }
    return id;
}

int dpt_model__node(const struct dpt_model__net *net, const char *layer, const char *op, const void *param, int nin,
                    int optional, const int *in)
{
    for (int i = 0; i < nin - optional; i++) {
        if (in[i] < 0) {
            return -1;
        }
    }
    net->graph->layer = dpt_arena_strdup(net->graph->arena, layer);
    return dpt_graph_add(net->graph, op, param, nin, in);
}

int dpt_model__embedding(const struct dpt_model__net *net, const char *layer, int tokens)
{
    const int64_t dim[2] = {net->shape.vocab, net->shape.width};
    const int weight = dpt_model__param(net, layer, "weight", deviation, 0, 2, dim);
    return dpt_model__node(net, layer, "embedding", NULL, 2, 0, (const int[]){tokens, weight});
}

int dpt_model__linear(const struct dpt_model__net *net, const char *layer, int x, int64_t features, bool bias,
                      double scale)
{
    if (x < 0) {
        return -1;
    }
    const struct dpt_type *type = &net->graph->value[x].type;
    const int64_t dim[2] = {features, type->dim[type->ndim - 1]};
    const struct dpt_linear_param param = {.act = DPT_ACTIVATION_KIND_NONE};
    const int weight = dpt_model__param(net, layer, "weight", scale, 0, 2, dim);
    const int offset = bias ? dpt_model__param(net, layer, "bias", 0.0, 0, 1, dim) : -1;
    if (bias && offset < 0) {
        return -1;
    }
    return dpt_model__node(net, layer, "linear", &param, 3, 1, (const int[]){x, weight, offset});
}

/* The output layer: the embedding again, or a matrix of its own. */
static int output_weight(const struct dpt_model__net *net, bool gpt)
{
    if (net->shape.tied) {
        return dpt_graph_find(net->graph, gpt ? "transformer.wte.weight" : "model.embed_tokens.weight");
    }
    const int64_t dim[2] = {net->shape.vocab, net->shape.width};
    return dpt_model__param(net, "lm_head", "weight", deviation, 0, 2, dim);
}

/* Targets, loss and metrics. No value holds the logits: the loss makes them piece by piece. */
static enum dpt_status add_loss(const struct dpt_model__net *net, int weight)
{
    struct dpt_graph *graph = net->graph;
    const struct dpt_linear_loss_param param = {.gradients = graph->training, .real = graph->real};
    const int64_t positions = graph->value[graph->input].type.dim[1];
    graph->target = dpt_graph_input(graph, "target", DPT_DTYPE_I32, 1, &positions);
    const int in[3] = {graph->output, weight, graph->target};
    graph->loss = dpt_model__node(net, "lm_head", "linear_loss", &param, 3, 0, in);
    const int pair[2] = {graph->loss, graph->loss + 1};
    graph->metric = graph->loss < 0 ? -1 : dpt_model__node(net, "loss", "token_metrics", NULL, 2, 0, pair);
    if (graph->metric < 0) {
        return DPT_STATUS_USAGE;
    }
    graph->value[graph->metric].kind = DPT_VALUE_KIND_METRIC;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_model__language(const struct dpt_job *job, const struct dpt_model_io *io, bool predict,
                                    struct dpt_graph *graph)
{
    const bool gpt = job->model.type == DPT_MODEL_TYPE_GPT;
    struct dpt_model__net net = {.graph = graph};
    DPT_CHECK(io->dtype == DPT_DTYPE_I32, DPT_STATUS_USAGE,
              "[model] type = %s needs text: set [data] format = tokens, and see dpt-data(1)", gpt ? "gpt" : "llama");
    DPT_TRY(dpt_model_shape(job, io, &net.shape));
    net.residual = deviation / sqrt(2.0 * (double)net.shape.depth); /* GPT-2: two sums a block */
    graph->input = dpt_graph_input(graph, "input", DPT_DTYPE_I32, 1, io->dim);
    const int hidden = graph->input < 0 ? -1 : gpt ? dpt_model__gpt(&net, graph->input)
                                                   : dpt_model__llama(&net, graph->input);
    const int weight = hidden < 0 ? -1 : output_weight(&net, gpt);
    if (weight < 0) {
        return DPT_STATUS_USAGE;
    }
    graph->output = hidden;
    enum dpt_status status = DPT_STATUS_OK;
    if (!predict) {
        status = add_loss(&net, weight);
    } else {
        const struct dpt_linear_param param = {.act = DPT_ACTIVATION_KIND_NONE};
        graph->output = dpt_model__node(&net, "lm_head", "linear", &param, 2, 0, (const int[]){hidden, weight});
        status = graph->output < 0 ? DPT_STATUS_USAGE : DPT_STATUS_OK;
    }
    graph->layer = "";
    return status;
}
