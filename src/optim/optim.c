/* SPDX-License-Identifier: Apache-2.0 */
#include "optim/optim.h"

#include "op/update.h"

/*
 * The names that users know from PyTorch: a checkpoint holds "<parameter>.<slot>". A rule is one of these functions: it
 * adds the slots and the update node of parameter p.
 */

static int add_sgd(const struct dpt_job *job, struct dpt_graph *graph, int p, double weight_decay)
{
    const struct dpt_sgd_param param = {
        .momentum = job->optimizer.momentum,
        .weight_decay = weight_decay,
        .nesterov = job->optimizer.nesterov,
    };
    int in[3] = {p, graph->value[p].gradient, -1};
    if (param.momentum != 0.0) {
        in[2] = dpt_graph_slot(graph, p, "momentum");
        if (in[2] < 0) {
            return -1;
        }
    }
    return dpt_graph_add(graph, "sgd", &param, 3, in);
}

static int add_adam(const struct dpt_job *job, struct dpt_graph *graph, int p, double weight_decay)
{
    const struct dpt_adam_param param = {
        .beta1 = job->optimizer.beta1,
        .beta2 = job->optimizer.beta2,
        .eps = job->optimizer.eps,
        .weight_decay = weight_decay,
        .decoupled = job->optimizer.type == DPT_OPTIMIZER_TYPE_ADAMW,
    };
    const int m = dpt_graph_slot(graph, p, "exp_avg");
    const int v = dpt_graph_slot(graph, p, "exp_avg_sq");
    if (m < 0 || v < 0) {
        return -1;
    }
    return dpt_graph_add(graph, "adam", &param, 4, (const int[]){p, graph->value[p].gradient, m, v});
}

/* Running statistics move towards the step's by the share that their layer asked for. */
static int add_ema(struct dpt_graph *graph, int buffer)
{
    const struct dpt_ema_param param = {.rate = graph->value[buffer].rate};
    return dpt_graph_add(graph, "ema", &param, 2, (const int[]){buffer, graph->value[buffer].gradient});
}

static int add_update(const struct dpt_job *job, struct dpt_graph *graph, int id)
{
    if (graph->value[id].kind == DPT_VALUE_KIND_BUFFER) {
        return add_ema(graph, id);
    }
    const bool decays = graph->value[id].decay || job->optimizer.decay_all;
    const double weight_decay = decays ? job->optimizer.weight_decay : 0.0;
    return job->optimizer.type == DPT_OPTIMIZER_TYPE_SGD ? add_sgd(job, graph, id, weight_decay)
                                                         : add_adam(job, graph, id, weight_decay);
}

enum dpt_status dpt_optim_build(const struct dpt_job *job, struct dpt_graph *graph)
{
    const int nvalues = graph->nvalues; /* updates add slots behind these */
    for (int id = 0; id < nvalues; id++) {
        if (graph->value[id].gradient >= 0) {
            graph->layer = graph->value[id].name;
            if (add_update(job, graph, id) < 0) {
                return DPT_STATUS_FAILED;
            }
        }
    }
    graph->layer = "";
    return DPT_STATUS_OK;
}
