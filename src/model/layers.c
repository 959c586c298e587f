/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The net that the user writes: one section [layer.NAME] a layer, in the order of the file; conf/job.h lists the ops
 * and their keys. A layer reads the sections that `in` names ("input" is the sample), or else the one before it; the
 * last section is the output. Parameters are "<NAME>.weight" and so on. Conf has checked the keys; whether shapes fit
 * is found here, and every refusal begins with the file and line of the section.
 */

#include <stdio.h>
#include <string.h>

#include "model/internal.h"

/* Limits of the numbers in a section: far beyond use, small enough that no product of two overflows. */
enum { MAX_WIDTH = 1 << 30, MAX_WINDOW = 1 << 20 };

/* A section with what it reads. */
struct layer {
    const struct dpt_layer_section *section;
    const struct dpt_job *job;
    struct dpt_graph *graph;
    int nin;
    int in[DPT_OP_MAX_IN];
};

/* Puts the place of the section before the refusal that `id` of -1 stands for. */
static int placed(const struct layer *layer, int id)
{
    if (id < 0) {
        dpt_error_set(DPT_STATUS_USAGE, __FILE__, __LINE__, "%s:%d: %s", layer->section->file, layer->section->line,
                      dpt_error_text());
    }
    return id;
}

#define REFUSE_LAYER(layer, format, ...)                                                                               \
    DPT_MODEL__REFUSE("%s:%d: %s: " format, (layer)->section->file, (layer)->section->line, (layer)->section->name,    \
                      __VA_ARGS__)

/* "28 x 28 x 1" of a value, without the sample dimension. */
static const char *sample_text(const struct dpt_type *type, char *out, size_t size)
{
    int at = snprintf(out, size, "%s", type->ndim == 1 ? "1 number" : "");
    for (int i = 1; i < type->ndim && at >= 0 && (size_t)at < size; i++) {
        at += snprintf(out + at, size - (size_t)at, "%s%lld", i > 1 ? " x " : "", (long long)type->dim[i]);
    }
    return out;
}

static int build_linear(const struct layer *layer)
{
    const struct dpt_type *type = &layer->graph->value[layer->in[0]].type;
    char shape[96];
    int64_t out;
    bool bias;
    if (type->ndim != 2) {
        return REFUSE_LAYER(layer, "linear takes features, but its input for a sample is %s; put op = flatten before "
                            "it", sample_text(type, shape, sizeof shape));
    }
    if (dpt_layer_int(layer->section, "out", 0, 1, MAX_WIDTH, &out) != DPT_STATUS_OK ||
        dpt_layer_bool(layer->section, "bias", true, &bias) != DPT_STATUS_OK) {
        return -1;
    }
    return placed(layer, dpt_build_linear(layer->graph, layer->section->name, layer->in[0], out, bias));
}

static int build_conv(const struct layer *layer)
{
    const struct dpt_layer_section *section = layer->section;
    struct dpt_build_conv conv = {.init = DPT_BUILD_INIT_UNIFORM};
    if (dpt_layer_int(section, "out", 0, 1, MAX_WIDTH, &conv.filters) != DPT_STATUS_OK ||
        dpt_layer_pair(section, "kernel", 0, 1, MAX_WINDOW, conv.kernel) != DPT_STATUS_OK ||
        dpt_layer_pair(section, "stride", 1, 1, MAX_WINDOW, conv.stride) != DPT_STATUS_OK ||
        dpt_layer_pair(section, "pad", 0, 0, MAX_WINDOW, conv.pad) != DPT_STATUS_OK ||
        dpt_layer_pair(section, "dilation", 1, 1, MAX_WINDOW, conv.dilation) != DPT_STATUS_OK ||
        dpt_layer_int(section, "groups", 1, 1, MAX_WIDTH, &conv.groups) != DPT_STATUS_OK ||
        dpt_layer_bool(section, "bias", true, &conv.bias) != DPT_STATUS_OK) {
        return -1;
    }
    return placed(layer, dpt_build_conv(layer->graph, section->name, layer->in[0], &conv));
}

/* The keys of both pooling layers. */
static enum dpt_status read_pool(const struct layer *layer, struct dpt_build_pool *pool)
{
    DPT_TRY(dpt_layer_pair(layer->section, "kernel", 0, 1, MAX_WINDOW, pool->kernel));
    if (dpt_layer_find(layer->section, "stride")) {
        DPT_TRY(dpt_layer_pair(layer->section, "stride", 1, 1, MAX_WINDOW, pool->stride));
    }
    return dpt_layer_pair(layer->section, "pad", 0, 0, MAX_WINDOW, pool->pad);
}

static int build_max_pool(const struct layer *layer)
{
    struct dpt_build_pool pool = {.stride = {0}};
    if (read_pool(layer, &pool) != DPT_STATUS_OK) {
        return -1;
    }
    return placed(layer, dpt_build_max_pool(layer->graph, layer->section->name, layer->in[0], &pool));
}

static int build_avg_pool(const struct layer *layer)
{
    struct dpt_build_pool pool = {.stride = {0}};
    if (read_pool(layer, &pool) != DPT_STATUS_OK) {
        return -1;
    }
    return placed(layer, dpt_build_avg_pool(layer->graph, layer->section->name, layer->in[0], &pool));
}

static int build_global_pool(const struct layer *layer)
{
    return placed(layer, dpt_build_global_pool(layer->graph, layer->section->name, layer->in[0]));
}

static int build_batch_norm(const struct layer *layer)
{
    struct dpt_build_batch_norm norm = {.local = layer->job->model.batch_norm == DPT_NORM_MODE_LOCAL};
    if (dpt_layer_real(layer->section, "eps", 1e-5, 0.0, 1.0, &norm.eps) != DPT_STATUS_OK ||
        dpt_layer_real(layer->section, "momentum", 0.1, 0.0, 1.0, &norm.momentum) != DPT_STATUS_OK) {
        return -1;
    }
    return placed(layer, dpt_build_batch_norm(layer->graph, layer->section->name, layer->in[0], &norm));
}

static int build_layer_norm(const struct layer *layer)
{
    double eps;
    if (dpt_layer_real(layer->section, "eps", 1e-5, 0.0, 1.0, &eps) != DPT_STATUS_OK) {
        return -1;
    }
    return placed(layer, dpt_build_layer_norm(layer->graph, layer->section->name, layer->in[0], eps));
}

static int build_dropout(const struct layer *layer)
{
    double rate;
    if (dpt_layer_real(layer->section, "rate", 0.5, 0.0, 1.0, &rate) != DPT_STATUS_OK) {
        return -1;
    }
    return placed(layer, dpt_build_dropout(layer->graph, layer->section->name, layer->in[0], rate));
}

static int build_reshape(const struct layer *layer)
{
    int64_t dim[DPT_MAX_DIM - 1];
    int ndim;
    if (dpt_layer_ints(layer->section, "shape", 1, MAX_WIDTH, DPT_MAX_DIM - 1, dim, &ndim) != DPT_STATUS_OK) {
        return -1;
    }
    return placed(layer, dpt_build_reshape(layer->graph, layer->section->name, layer->in[0], ndim, dim));
}

static int build_flatten(const struct layer *layer)
{
    return placed(layer, dpt_build_flatten(layer->graph, layer->section->name, layer->in[0]));
}

static const char *op_of(const struct dpt_layer_section *section)
{
    const struct dpt_layer_key *key = dpt_layer_find(section, "op");
    return key ? key->value : "";
}

static int build_activation(const struct layer *layer)
{
    const enum dpt_activation_kind kind = dpt_model__activation(op_of(layer->section));
    return placed(layer, dpt_build_activation(layer->graph, layer->section->name, layer->in[0], kind));
}

static int build_combine(const struct layer *layer)
{
    if (layer->nin < 2) {
        return REFUSE_LAYER(layer, "%s takes two inputs or more; name them in `in`", op_of(layer->section));
    }
    return placed(layer, dpt_build_combine(layer->graph, layer->section->name, op_of(layer->section), layer->nin,
                                           layer->in));
}

/* Adds the nodes of a section; returns its value, or -1 with the error record set. */
typedef int build_fn(const struct layer *layer);

static const struct {
    const char *op;
    build_fn *build;
    bool many; /* takes more than one input */
} table[] = {
    {"linear", build_linear, false},         {"conv", build_conv, false},
    {"max_pool", build_max_pool, false},     {"avg_pool", build_avg_pool, false},
    {"global_pool", build_global_pool, false}, {"batch_norm", build_batch_norm, false},
    {"layer_norm", build_layer_norm, false}, {"dropout", build_dropout, false},
    {"reshape", build_reshape, false},       {"flatten", build_flatten, false},
    {"relu", build_activation, false},       {"gelu", build_activation, false},
    {"silu", build_activation, false},       {"sigmoid", build_activation, false},
    {"tanh", build_activation, false},       {"add", build_combine, true},
    {"mul", build_combine, true},            {"concat", build_combine, true},
};

/* The value of the section of this name before section `before`, or of the sample; -1 when there is none. */
static int find_input(const struct dpt_job *job, int before, const int *value, int sample, const char *name,
                      size_t length)
{
    for (int i = 0; i < before; i++) {
        if (strlen(job->layer[i].name) == length && strncmp(job->layer[i].name, name, length) == 0) {
            return value[i];
        }
    }
    return length == strlen("input") && strncmp(name, "input", length) == 0 ? sample : -1;
}

/* Sets nin and in[] of section `index` from its `in`. */
static enum dpt_status read_inputs(struct layer *layer, int index, const int *value, int sample)
{
    const struct dpt_layer_section *section = layer->section;
    const struct dpt_layer_key *key = dpt_layer_find(section, "in");
    if (!key) {
        layer->nin = 1;
        layer->in[0] = index > 0 ? value[index - 1] : sample;
        return DPT_STATUS_OK;
    }
    static const char between[] = ", \t";
    for (const char *at = key->value + strspn(key->value, between); *at; at += strspn(at, between)) {
        const size_t length = strcspn(at, between);
        DPT_CHECK(layer->nin < DPT_OP_MAX_IN, DPT_STATUS_USAGE, "%s:%d: [layer.%s] in: at most %d inputs are possible",
                  key->file, key->line, section->name, DPT_OP_MAX_IN);
        const int id = find_input(layer->job, index, value, sample, at, length);
        DPT_CHECK(id >= 0, DPT_STATUS_USAGE, "%s:%d: [layer.%s] in: there is no section [layer.%.*s] before this one",
                  key->file, key->line, section->name, (int)length, at);
        layer->in[layer->nin++] = id;
        at += length;
    }
    DPT_CHECK(layer->nin > 0, DPT_STATUS_USAGE, "%s:%d: [layer.%s] in: is empty, give the names of earlier sections",
              key->file, key->line, section->name);
    return DPT_STATUS_OK;
}

static int build_section(const struct dpt_job *job, struct dpt_graph *graph, int index, const int *value, int sample)
{
    struct layer layer = {.section = &job->layer[index], .job = job, .graph = graph};
    const char *op = op_of(layer.section);
    if (read_inputs(&layer, index, value, sample) != DPT_STATUS_OK) {
        return -1;
    }
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(op, table[i].op) == 0) {
            if (!table[i].many && layer.nin > 1) {
                return REFUSE_LAYER(&layer, "%s takes one input, `in` names %d", op, layer.nin);
            }
            return table[i].build(&layer);
        }
    }
    return REFUSE_LAYER(&layer, "op = %s is none that a layer can have; --list=layers shows them", op);
}

int dpt_model__layers(const struct dpt_job *job, const struct dpt_model_io *io, struct dpt_graph *graph, int x)
{
    if (job->nlayers == 0) {
        return DPT_MODEL__REFUSE("[model] type = layers needs a section [layer.NAME] for each layer; there are none");
    }
    int *value = dpt_arena_array(graph->arena, (size_t)job->nlayers, sizeof *value);
    for (int i = 0; i < job->nlayers; i++) {
        value[i] = build_section(job, graph, i, value, x);
        if (value[i] < 0) {
            return -1;
        }
    }
    const struct layer last = {.section = &job->layer[job->nlayers - 1]};
    const int output = value[job->nlayers - 1];
    const struct dpt_type *type = &graph->value[output].type;
    const int64_t outputs = dpt_model__outputs(io);
    if (type->ndim != 2 || type->dim[1] != outputs) {
        char shape[96];
        return REFUSE_LAYER(&last, "the output for a sample is %s, but the data has %lld %s; end with op = linear, "
                            "out = %lld", sample_text(type, shape, sizeof shape), (long long)outputs,
                            io->classes > 0 ? "classes" : "numbers to predict", (long long)outputs);
    }
    return output;
}
