/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of model/ share. A family is one function of this kind and a line in the table of model.c. */

#include "graph/build.h"
#include "model/model.h"

/* Adds the layers behind the samples `x`; returns the logits or predictions [b,outputs], or -1 with the record set. */
typedef int dpt_model__family(const struct dpt_job *job, const struct dpt_model_io *io, struct dpt_graph *graph, int x);

dpt_model__family dpt_model__mlp;
dpt_model__family dpt_model__cnn;
dpt_model__family dpt_model__resnet;
dpt_model__family dpt_model__layers;

/* Width of the last layer: classes, or numbers to predict. Pure. */
int64_t dpt_model__outputs(const struct dpt_model_io *io);

/* [model] depth of a resnet: 20 where it is auto. Pure. */
int64_t dpt_model__depth(const struct dpt_job *job);

/* The kind of "relu", "gelu", "silu", "sigmoid", "tanh"; NONE for other names. Pure. */
enum dpt_activation_kind dpt_model__activation(const char *name);

/* Starts a refusal in a function that returns ids. */
#define DPT_MODEL__REFUSE(...) (dpt_error_set(DPT_STATUS_USAGE, __FILE__, __LINE__, __VA_ARGS__), -1)
