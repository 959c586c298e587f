/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * model/: from a job to a forward graph, one file per family (mlp.c, cnn.c, resnet.c, layers.c) and one line each in
 * the table of model.c. A model names its parameters as torchvision does where torchvision has it. It knows nothing of
 * ranks, memory or training beyond graph->training.
 */

#include "conf/job.h"
#include "graph/graph.h"

/* What the data looks like, for the first and the last layer. */
struct dpt_model_io {
    int ndim;         /* of a sample: 1 or 3       */
    int64_t dim[3];
    enum dpt_dtype dtype; /* of the input: F32 stands for the graph's real type; I32: tokens          */
    int64_t classes;  /* 0: regression             */
    int64_t targets;  /* to predict: numbers when classes is 0, else classes, 1 or one a token */
};

/*
 * Builds the forward pass, the loss and the metrics: sets graph->input, output, and (unless `predict`) target, loss,
 * metric. DPT_STATUS_USAGE with the key to change. Local.
 */
enum dpt_status dpt_model_build(const struct dpt_job *job, const struct dpt_model_io *io, bool predict,
                                struct dpt_graph *graph);

/* "resnet-20", "mlp 784-256-10": for the banner. `out` holds at least 96 bytes. Local. */
const char *dpt_model_name(const struct dpt_job *job, const struct dpt_model_io *io, char *out, size_t size);
