/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A multi-layer perceptron: the sample flattened, then for each of [model] widths a linear layer, the activation and
 * dropout, then the output layer. The linear layers are fc1, fc2 ...; without widths it is linear or logistic
 * regression.
 */

#include <stdio.h>

#include "model/internal.h"

int dpt_model__mlp(const struct dpt_job *job, const struct dpt_model_io *io, struct dpt_graph *graph, int x)
{
    const struct dpt_ints *widths = &job->model.widths;
    const enum dpt_activation_kind act = dpt_model__activation(job->model.activation);
    if (act == DPT_ACTIVATION_KIND_NONE) {
        return DPT_MODEL__REFUSE("[model] activation = %s is none of relu, gelu, silu, sigmoid, tanh",
                                 job->model.activation);
    }
    char name[32];
    if (io->ndim > 1) {
        x = dpt_build_flatten(graph, "flatten", x);
    }
    for (int i = 0; i < widths->count; i++) {
        snprintf(name, sizeof name, "fc%d", i + 1);
        x = dpt_build_linear(graph, name, x, widths->value[i], true);
        x = dpt_build_activation(graph, name, x, act);
        x = dpt_build_dropout(graph, name, x, job->model.dropout);
    }
    snprintf(name, sizeof name, "fc%d", widths->count + 1);
    return dpt_build_linear(graph, name, x, dpt_model__outputs(io), true);
}
