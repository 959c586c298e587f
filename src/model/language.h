/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What gpt.c and llama.c share: the layers of a language model between its tokens and its loss. A weight that has heads
 * has a dimension for them in the graph, so that heads can be split, and is a matrix in files. As in graph/build.h, a
 * layer's name begins the names of its parameters, and an x of -1 is handed through.
 *
 * Letters of shapes: b samples, s positions, c the width, a heads of keys and values, g queries a head, d numbers a head,
 * v vocabulary.
 */

#include "graph/build.h"
#include "model/model.h"

/* A language model in the making. */
struct dpt_model__net {
    struct dpt_graph *graph;
    struct dpt_model_shape shape;
    double residual; /* standard deviation of the weights whose results are added to x */
};

/* "<block>.<part>", in the graph's arena. */
const char *dpt_model__join(const struct dpt_model__net *net, const char *block, const char *part);

/*
 * A parameter "<layer>.<part>" whose first `merged` dimensions are one in files; normal numbers of this deviation, or
 * zeros where it is 0.
 */
int dpt_model__param(const struct dpt_model__net *net, const char *layer, const char *part, double deviation,
                     int merged, int ndim, const int64_t *dim);

/* Adds a node of a layer; an operand of -1 before the last `optional` ones is handed through. */
int dpt_model__node(const struct dpt_model__net *net, const char *layer, const char *op, const void *param, int nin,
                    int optional, const int *in);

/* Tokens [bs] -> [bsc]. */
int dpt_model__embedding(const struct dpt_model__net *net, const char *layer, int tokens);

/* x[b.h] -> [b.k]. `deviation` of the weight; the bias is 0. */
int dpt_model__linear(const struct dpt_model__net *net, const char *layer, int x, int64_t features, bool bias,
                      double deviation);

/* A stack of blocks: input tokens [bs], result [bsc]; -1 with the record set. */
typedef int dpt_model__blocks(const struct dpt_model__net *net, int tokens);

dpt_model__blocks dpt_model__gpt;
dpt_model__blocks dpt_model__llama;

/* The whole model, as dpt_model_build. */
enum dpt_status dpt_model__language(const struct dpt_job *job, const struct dpt_model_io *io, bool predict,
                                    struct dpt_graph *graph);
