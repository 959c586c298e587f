/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Layers for the files of model/: each function adds the nodes of one layer, with its parameters "<layer>.weight",
 * "<layer>.bias", its buffers "<layer>.running_mean", "<layer>.running_var" and their initial values, and returns the
 * id of the result. An x of -1 is handed through, so that a chain of layers needs one check, at its end; the error
 * record then holds the first refusal. All are Local.
 */

#include "graph/graph.h"
#include "op/activation.h"

/* How the weight of a convolution begins. */
enum dpt_build_init {
    DPT_BUILD_INIT_UNIFORM, /* PyTorch's default: weight and bias from U(-a, a), a = 1 / sqrt(fan in)           */
    DPT_BUILD_INIT_FAN_OUT, /* He et al., 2015: weight normal with variance 2 / fan out; torchvision's for resnet */
};

struct dpt_build_conv {
    int64_t filters;
    int64_t kernel[2], stride[2], pad[2], dilation[2]; /* y, x; a stride, dilation of 0 is 1 */
    int64_t groups;                                    /* 0 is 1                             */
    bool bias;
    enum dpt_build_init init;
};

struct dpt_build_pool {
    int64_t kernel[2], stride[2], pad[2]; /* y, x; a stride of 0 is the kernel */
};

struct dpt_build_batch_norm {
    double eps;
    double momentum; /* the share of a step in the running statistics */
    bool local;      /* statistics of each rank's samples only        */
};

/* x[b.h] -> [b.k] with `features` k. */
int dpt_build_linear(struct dpt_graph *graph, const char *layer, int x, int64_t features, bool bias);

/* x[byxc] -> [byxo]. */
int dpt_build_conv(struct dpt_graph *graph, const char *layer, int x, const struct dpt_build_conv *conv);

/* x[b.c] -> same; with graph->training also the step's share of the running statistics, as GRADIENTs of the buffers. */
int dpt_build_batch_norm(struct dpt_graph *graph, const char *layer, int x, const struct dpt_build_batch_norm *norm);

int dpt_build_layer_norm(struct dpt_graph *graph, const char *layer, int x, double eps);
int dpt_build_activation(struct dpt_graph *graph, const char *layer, int x, enum dpt_activation_kind kind);
int dpt_build_max_pool(struct dpt_graph *graph, const char *layer, int x, const struct dpt_build_pool *pool);
int dpt_build_avg_pool(struct dpt_graph *graph, const char *layer, int x, const struct dpt_build_pool *pool);
int dpt_build_global_pool(struct dpt_graph *graph, const char *layer, int x);

/* Nothing but x outside training or at rate 0. */
int dpt_build_dropout(struct dpt_graph *graph, const char *layer, int x, double rate);

/* `dim` is without the sample dimension. */
int dpt_build_reshape(struct dpt_graph *graph, const char *layer, int x, int ndim, const int64_t *dim);

/* x[b.] -> [bh], images in the order y, x, c. */
int dpt_build_flatten(struct dpt_graph *graph, const char *layer, int x);

/* op is "add", "mul" or "concat"; 2 to DPT_OP_MAX_IN operands. add and mul take them two at a time, in order. */
int dpt_build_combine(struct dpt_graph *graph, const char *layer, const char *op, int nin, const int *in);
