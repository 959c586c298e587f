/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Residual networks (He, Zhang, Ren, Sun: "Deep residual learning for image recognition", 2016).
 *
 * 18, 34, 50, 101, 152: for large images, layer by layer and name by name torchvision's (the stride of a bottleneck is
 * in its 3 x 3 convolution). 20, 32, 44, 56: section 4.2 of the paper, for images of about 32 x 32: a 3 x 3 convolution
 * of 16 filters and three stages of 16, 32 and 64, with the same names. Where the shape changes, the shortcut is a
 * 1 x 1 convolution in both (option B of the paper; its own small nets used option A, which has 0.3 to 1 % fewer
 * parameters but needs an operation that nothing else needs). Batch norm: eps 1e-5, momentum 0.1.
 */

#include "model/internal.h"

/* One depth: its stages and what they are made of. */
struct design {
    int64_t depth;
    bool small;      /* section 4.2: no large first convolution, no pooling after it         */
    bool bottleneck; /* 1 x 1, 3 x 3, 1 x 1 with four times the filters, instead of two 3 x 3 */
    int blocks[4];   /* of each stage; 0: no stage                                           */
};

static const struct design designs[] = {
    {20, true, false, {3, 3, 3, 0}},   {32, true, false, {5, 5, 5, 0}},   {44, true, false, {7, 7, 7, 0}},
    {56, true, false, {9, 9, 9, 0}},   {18, false, false, {2, 2, 2, 2}},  {34, false, false, {3, 4, 6, 3}},
    {50, false, true, {3, 4, 6, 3}},   {101, false, true, {3, 4, 23, 3}}, {152, false, true, {3, 8, 36, 3}},
};

/* What the layers of one net share. */
struct net {
    struct dpt_graph *graph;
    struct dpt_build_batch_norm norm;
};

/* "layer1.0" and "conv1" to "layer1.0.conv1". */
static const char *join(const struct net *net, const char *block, const char *part)
{
    return *block ? dpt_arena_printf(net->graph->arena, "%s.%s", block, part) : part;
}

/* Convolution without bias, padded to keep the size at stride 1, and batch norm. */
static int conv_norm(const struct net *net, const char *block, const char *conv_name, const char *norm_name, int x,
                     int64_t filters, int64_t kernel, int64_t stride)
{
    const struct dpt_build_conv conv = {
        .filters = filters,
        .kernel = {kernel, kernel},
        .stride = {stride, stride},
        .pad = {kernel / 2, kernel / 2},
        .init = DPT_BUILD_INIT_FAN_OUT,
    };
    x = dpt_build_conv(net->graph, join(net, block, conv_name), x, &conv);
    return dpt_build_batch_norm(net->graph, join(net, block, norm_name), x, &net->norm);
}

static int relu(const struct net *net, const char *block, const char *after, int x)
{
    return dpt_build_activation(net->graph, join(net, block, after), x, DPT_ACTIVATION_KIND_RELU);
}

/* relu(branch(x) + shortcut(x)) */
static int residual_block(const struct net *net, const char *block, int x, int64_t filters, int64_t stride,
                          bool bottleneck)
{
    if (x < 0) {
        return -1;
    }
    const int64_t out = bottleneck ? 4 * filters : filters;
    const struct dpt_type *type = &net->graph->value[x].type;
    const bool reshapes = stride != 1 || type->dim[type->ndim - 1] != out;
    int y = x;
    if (bottleneck) {
        y = relu(net, block, "bn1", conv_norm(net, block, "conv1", "bn1", y, filters, 1, 1));
        y = relu(net, block, "bn2", conv_norm(net, block, "conv2", "bn2", y, filters, 3, stride));
        y = conv_norm(net, block, "conv3", "bn3", y, out, 1, 1);
    } else {
        y = relu(net, block, "bn1", conv_norm(net, block, "conv1", "bn1", y, filters, 3, stride));
        y = conv_norm(net, block, "conv2", "bn2", y, out, 3, 1);
    }
    const int shortcut = reshapes ? conv_norm(net, block, "downsample.0", "downsample.1", x, out, 1, stride) : x;
    y = dpt_build_combine(net->graph, block, "add", 2, (const int[]){y, shortcut});
    return dpt_build_activation(net->graph, block, y, DPT_ACTIVATION_KIND_RELU);
}

int dpt_model__resnet(const struct dpt_job *job, const struct dpt_model_io *io, struct dpt_graph *graph, int x)
{
    const int64_t depth = dpt_model__depth(job);
    const struct design *design = NULL;
    for (size_t i = 0; i < sizeof designs / sizeof designs[0]; i++) {
        if (designs[i].depth == depth) {
            design = &designs[i];
        }
    }
    if (!design) {
        return DPT_MODEL__REFUSE("[model] depth = %lld is none of 20, 32, 44, 56 (small images), 18, 34, 50, 101, 152",
                                 (long long)depth);
    }
    if (io->ndim != 3) {
        return DPT_MODEL__REFUSE("[model] type = resnet needs images, the samples have %lld features; use mlp",
                                 (long long)io->dim[0]);
    }
    const struct net net = {
        .graph = graph,
        .norm = {.eps = 1e-5, .momentum = 0.1, .local = job->model.batch_norm == DPT_NORM_MODE_LOCAL},
    };
    int64_t filters = design->small ? 16 : 64;
    x = design->small ? conv_norm(&net, "", "conv1", "bn1", x, filters, 3, 1)
                      : conv_norm(&net, "", "conv1", "bn1", x, filters, 7, 2);
    x = relu(&net, "", "bn1", x);
    if (!design->small) {
        const struct dpt_build_pool pool = {.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}};
        x = dpt_build_max_pool(graph, "maxpool", x, &pool);
    }
    for (int stage = 0; stage < 4 && design->blocks[stage]; stage++, filters *= 2) {
        for (int b = 0; b < design->blocks[stage]; b++) {
            const char *block = dpt_arena_printf(graph->arena, "layer%d.%d", stage + 1, b);
            x = residual_block(&net, block, x, filters, stage > 0 && b == 0 ? 2 : 1, design->bottleneck);
        }
    }
    x = dpt_build_global_pool(graph, "avgpool", x);
    return dpt_build_linear(graph, "fc", x, dpt_model__outputs(io), true);
}
