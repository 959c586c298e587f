/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A small net for images in the manner of LeNet-5 (LeCun et al., 1998): for each of [model] channels a convolution that
 * keeps the size, relu and a 2 x 2 maximum; then a hidden layer with relu, dropout, and the output layer. Names: conv1,
 * conv2 ..., fc1, fc2. The features of fc1 are in the order y, x, channel.
 */

#include <stdio.h>

#include "model/internal.h"

int dpt_model__cnn(const struct dpt_job *job, const struct dpt_model_io *io, struct dpt_graph *graph, int x)
{
    const struct dpt_ints *channels = &job->model.channels;
    const int64_t k = job->model.kernel;
    if (io->ndim != 3) {
        return DPT_MODEL__REFUSE("[model] type = cnn needs images, the samples have %lld features; use mlp",
                                 (long long)io->dim[0]);
    }
    const struct dpt_build_pool half = {.kernel = {2, 2}};
    char name[32];
    for (int i = 0; i < channels->count; i++) {
        const struct dpt_build_conv conv = {
            .filters = channels->value[i],
            .kernel = {k, k},
            .pad = {k / 2, k / 2},
            .bias = true,
        };
        snprintf(name, sizeof name, "conv%d", i + 1);
        x = dpt_build_conv(graph, name, x, &conv);
        x = dpt_build_activation(graph, name, x, DPT_ACTIVATION_KIND_RELU);
        if (x >= 0 && (graph->value[x].type.dim[1] < 2 || graph->value[x].type.dim[2] < 2)) {
            return DPT_MODEL__REFUSE("[model] channels has %d layers, but images of %lld x %lld can be halved only %d "
                                     "times; give fewer",
                                     channels->count, (long long)io->dim[0], (long long)io->dim[1], i);
        }
        x = dpt_build_max_pool(graph, name, x, &half);
    }
    x = dpt_build_flatten(graph, "flatten", x);
    x = dpt_build_linear(graph, "fc1", x, job->model.hidden, true);
    x = dpt_build_activation(graph, "fc1", x, DPT_ACTIVATION_KIND_RELU);
    x = dpt_build_dropout(graph, "fc1", x, job->model.dropout);
    return dpt_build_linear(graph, "fc2", x, dpt_model__outputs(io), true);
}
