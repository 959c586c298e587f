/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the tests of plan/ and exec/ share: from the text of a job with synthetic data to all that its training needs,
 * on one rank or many, and the jobs themselves. What fails here fails the cmocka test with the sentence of the failure.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf/job.h"
#include "data/data.h"
#include "exec/exec.h"
#include "graph/graph.h"
#include "model/model.h"
#include "optim/optim.h"
#include "plan/plan.h"

#define EXPECT_OK(call)                                                                                                \
    do {                                                                                                               \
        if ((call) != DPT_STATUS_OK) {                                                                                 \
            fail_msg("%s: %s", #call, dpt_error_text());                                                               \
        }                                                                                                              \
    } while (0)

/* Pieces of jobs: a test puts one of each kind together. 45 samples: most batch sizes leave a short last one. */
#define RIG_FP32 "[run]\nseed = 5\n"
#define RIG_FP64 "[run]\nseed = 5\nprecision = fp64\n"
#define RIG_BF16 "[run]\nseed = 5\nprecision = bf16\n"
#define RIG_SHARDS "[run]\nseed = 5\nreproducible = yes\n[parallel]\nshards = 8\n"
#define RIG_DATA(shape, classes)                                                                                       \
    "[data]\nformat = synthetic\nsamples = 45\nprefetch = 0\nshape = " shape "\nclasses = " classes "\n"
#define RIG_MLP "[model]\ntype = mlp\nwidths = 9 7\ndropout = 0.3\n" RIG_DATA("6", "4")
/* Activations that keep what their gradient reads, between products on both sides. */
#define RIG_GELU "[model]\ntype = mlp\nwidths = 9 7 8\nactivation = gelu\n" RIG_DATA("6", "4")
#define RIG_REGRESSION "[model]\ntype = mlp\nwidths = 12\nactivation = tanh\n" RIG_DATA("7", "none")
#define RIG_CNN "[model]\ntype = cnn\nchannels = 4 6\nkernel = 3\nhidden = 10\ndropout = 0.2\n" RIG_DATA("8 8 2", "5")
#define RIG_RESNET "[model]\ntype = resnet\ndepth = 20\n" RIG_DATA("8 8 1", "3")
#define RIG_LAYERS                                                                                                     \
    "[model]\ntype = layers\n" RIG_DATA("8 8 2", "3")                                                                  \
    "[layer.stem]\nop = conv\nout = 4\nkernel = 3\npad = 1\nbias = no\n"                                               \
    "[layer.norm]\nop = batch_norm\n[layer.act]\nop = relu\n"                                                         \
    "[layer.branch]\nop = conv\nout = 4\nkernel = 3\npad = 1\n[layer.join]\nop = add\nin = act branch\n"              \
    "[layer.left]\nop = max_pool\nkernel = 2\nin = join\n[layer.right]\nop = avg_pool\nkernel = 2\nin = join\n"       \
    "[layer.both]\nop = concat\nin = left right\n[layer.drop]\nop = dropout\nrate = 0.25\n"                          \
    "[layer.flat]\nop = flatten\n[layer.even]\nop = layer_norm\n[layer.hidden]\nop = linear\nout = 8\n"               \
    "[layer.soft]\nop = gelu\n[layer.logits]\nop = linear\nout = 3\n"
#define RIG_BATCH(global, micro) "[batch]\nglobal = " global "\nmicro_batches = " micro "\n"
#define RIG_SGD "[optimizer]\ntype = sgd\nlr = 0.05\nmomentum = 0.9\nnesterov = yes\nweight_decay = 0.01\n"
#define RIG_ADAMW "[optimizer]\ntype = adamw\nlr = 0.01\nweight_decay = 0.1\n"

/* How the work is divided, beside what the job says. */
struct rig_layout {
    int naxes;
    struct dpt_mesh_axis axis[DPT_MESH_MAX_AXES]; /* name and size */
    enum dpt_pipeline_schedule schedule;
    int chunks;
    enum dpt_plan_shard shard;
    const double *share;
    const int *backward;
    bool flat;                                    /* messages by MPI within the host, too */
    bool average;
    bool far;  /* the device's memory is its own, far.h */
    bool card; /* the device is card 0                  */
};

struct rig {
    struct dpt_job *job;
    struct dpt_data *data;
    struct dpt_model_io io;
    struct dpt_mesh mesh;
    struct dpt_exchange *exchange; /* not the rig's own */
    const struct rig_layout *layout; /* NULL: none     */
    struct dpt_exec_group *group;
    enum dpt_run run;
    bool far; /* as in rig_layout */
    struct dpt_graph *graph;
    struct dpt_plan *plan;
    struct dpt_dev *dev;
    struct dpt_state *state;
    struct dpt_exec *exec;
    struct dpt_loader *loader;
};

/* An evaluation of the rig's training samples in their stored order. */
struct rig_eval {
    struct dpt_graph *graph;
    struct dpt_plan *plan;
    struct dpt_exec *exec;
};

/* Place `rank` of `ranks`, without the ranks: enough for a plan. */
struct dpt_mesh rig_mesh(int ranks, int rank);

/* Job and data. */
struct rig *rig_open(const char *job);

/* The graph of the rig's model, with gradient and updates when `training`. The caller frees it. */
struct dpt_graph *rig_graph(const struct rig *rig, int64_t rows, bool training, bool fuse);

/* What the rig's job asks a plan to be made for. */
struct dpt_plan_conf rig_plan_conf(const struct rig *rig);

/* rig_open, then all of the training on a mesh; NULL: this process alone. */
struct rig *rig_new(const char *job, const struct dpt_mesh *mesh, struct dpt_exchange *exchange, enum dpt_run run);

/* The same on a device whose memory is its own (far.h). */
struct rig *rig_new_far(const char *job, const struct dpt_mesh *mesh, struct dpt_exchange *exchange);

/* The same in a layout over a world of as many ranks. */
struct rig *rig_new_layout(const char *job, struct dpt_comm *world, const struct rig_layout *layout);
void rig_free(struct rig *rig);

/* One training step at the job's rate, with the job's clipping. */
struct dpt_exec_step rig_train(struct rig *rig);

void rig_eval_new(struct rig *rig, int64_t batch, bool share, struct rig_eval *eval);
void rig_evaluate(struct rig *rig, struct rig_eval *eval, double metric[DPT_EXEC_METRICS], dpt_exec_output_fn *output,
                  void *user);
void rig_eval_free(struct rig_eval *eval);

/* The largest max |a - b| / max |b| of a parameter, buffer or slot of two rigs of one job; nan when there is one. */
double rig_distance(const struct rig *a, const struct rig *b);

/*
 * The same for a rig in a layout, whose parts are gathered, and one that has all. Collective over a's world.
 */
double rig_distance_gathered(const struct rig *a, const struct rig *b);

/*
 * Fails where ranks that have the same part of a parameter have other bits of it. Not where parameters are in slices. Collective
 * over the rig's world.
 */
void rig_expect_equal_copies(const struct rig *rig, struct dpt_comm *world);

/* Element of a flat value as a double. */
double rig_get(const struct dpt_tensor *tensor, int64_t element);
