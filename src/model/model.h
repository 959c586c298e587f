/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * model/: from a job to a forward graph, one file per family (mlp.c, cnn.c, resnet.c, gpt.c, llama.c, layers.c) and one
 * line each in the table of model.c. A model names its parameters as torchvision does where torchvision has it, a
 * language model as Hugging Face's transformers does. It knows nothing of ranks, memory or training beyond
 * graph->training.
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

/* A language model in numbers, all of them settled. */
struct dpt_model_shape {
    int64_t depth;           /* blocks                                             */
    int64_t width;           /* numbers a token between the blocks                 */
    int64_t heads, kv_heads;
    int64_t ffn;             /* width within a block                               */
    int64_t context;         /* gpt: rows of the table of positions                */
    int64_t vocab;           /* rows of the embedding, those of the data          */
    bool bias;               /* gpt                                                */
    bool tied;               /* the output layer is the embedding                  */
    double theta;            /* llama                                              */
    double eps;
    double dropout;
};

/* The numbers of a gpt or llama. DPT_STATUS_USAGE with the key to change where they do not fit together. Local. */
enum dpt_status dpt_model_shape(const struct dpt_job *job, const struct dpt_model_io *io,
                                struct dpt_model_shape *shape);

/* True for gpt and llama. Pure. */
bool dpt_model_is_language(const struct dpt_job *job);

/*
 * Builds the forward pass, the loss and the metrics: sets graph->input, output, and (unless `predict`) target, loss,
 * metric. DPT_STATUS_USAGE with the key to change. Local.
 */
enum dpt_status dpt_model_build(const struct dpt_job *job, const struct dpt_model_io *io, bool predict,
                                struct dpt_graph *graph);

/* "resnet-20", "mlp 784-256-10": for the banner. `out` holds at least 96 bytes. Local. */
const char *dpt_model_name(const struct dpt_job *job, const struct dpt_model_io *io, char *out, size_t size);
