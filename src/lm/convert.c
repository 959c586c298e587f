/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Both directions go through the parameters of the model's graph: their names are those of transformers, their order is
 * the graph's. A GPT without biases gets zeros in a folder of transformers, which has no such model; config.json says so
 * and the way back leaves them out.
 */

#include "lm/convert.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "ckpt/tensors.h"
#include "comm/comm.h"
#include "exec/device.h"
#include "graph/graph.h"
#include "lm/hf.h"

/* A weight of the model. */
struct weight {
    const char *name;
    struct dpt_type type; /* as in our files */
    void *data;
    bool zeros;           /* a bias that the model does not have */
};

struct convert {
    const struct dpt_convert_conf *conf;
    struct dpt_arena *arena;
    struct dpt_lm lm;
    struct dpt_hf hf;
    struct dpt_graph *graph;
    struct dpt_tensors *tensors;
    struct dpt_comm *alone;
    enum dpt_dtype real;
    int count;
    struct weight *weight;
    uint64_t numbers;
};

/* ---------------------------------------------------------------------------------------------------- the weights */

static enum dpt_status take(struct convert *c, struct weight *weight)
{
    c->numbers += (uint64_t)dpt_type_numel(&weight->type);
    weight->data = calloc(1, dpt_type_nbytes(&weight->type));
    DPT_CHECK(weight->data, DPT_STATUS_SPACE, "no memory for %s: %zu bytes", weight->name,
              dpt_type_nbytes(&weight->type));
    return DPT_STATUS_OK;
}

/* Lists the weights of a model and takes memory for them. */
static enum dpt_status list_weights(struct convert *c, const struct dpt_job *job, const struct dpt_model_io *io)
{
    c->real = dpt_exec_real(job->run.precision);
    c->graph = dpt_graph_new(c->real, 1, false);
    DPT_TRY(dpt_model_build(job, io, true, c->graph));
    c->weight = dpt_arena_array(c->arena, (size_t)c->graph->nvalues, sizeof *c->weight);
    for (int v = 0; v < c->graph->nvalues; v++) {
        if (c->graph->value[v].kind == DPT_VALUE_KIND_PARAM) {
            struct weight *weight = &c->weight[c->count++];
            weight->name = c->graph->value[v].name;
            weight->type = dpt_graph_stored(c->graph, v);
            DPT_TRY(take(c, weight));
        }
    }
    return DPT_STATUS_OK;
}

static struct dpt_type turned(struct dpt_type type)
{
    return (struct dpt_type){type.dtype, 2, {type.dim[1], type.dim[0]}};
}

/* Turns a matrix of this type in place. */
static enum dpt_status turn(const struct dpt_type *type, void *data)
{
    const int64_t rows = type->dim[0], columns = type->dim[1];
    const size_t width = dpt_dtype_nbytes(type->dtype);
    char *copy = malloc(dpt_type_nbytes(type));
    DPT_CHECK(copy, DPT_STATUS_SPACE, "no memory to turn a matrix of %zu bytes", dpt_type_nbytes(type));
    memcpy(copy, data, dpt_type_nbytes(type));
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t k = 0; k < columns; k++) {
            memcpy((char *)data + (size_t)(k * rows + i) * width, copy + (size_t)(i * columns + k) * width, width);
        }
    }
    free(copy);
    return DPT_STATUS_OK;
}

/* ------------------------------------------------------------------------------------------------------- folders */

static enum dpt_status check_new(const char *path)
{
    int entries = 0;
    DIR *dir = opendir(path);
    DPT_CHECK(dir || errno == ENOENT, DPT_STATUS_USAGE, "%s: %s", path, strerror(errno));
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        entries += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    }
    if (dir) {
        closedir(dir);
    }
    DPT_CHECK(entries == 0, DPT_STATUS_USAGE, "%s: is not empty: give a new folder", path);
    return DPT_STATUS_OK;
}

static enum dpt_status write_text(const struct convert *c, const char *name, struct dpt_text *text)
{
    const char *path = dpt_arena_printf(c->arena, "%s/%s", c->conf->to, name);
    const enum dpt_status status = dpt_file_replace(path, text->data, text->length);
    dpt_text_free(text);
    return status;
}

static void summarize(const struct convert *c, struct dpt_text *summary)
{
    char count[24];
    dpt_text_add(summary, "%s: %s, %d tensors, %s numbers\n", c->conf->to, c->hf.gpt ? "gpt2" : "llama", c->count,
                 dpt_text_count(count, sizeof count, (double)c->numbers));
}

/* ----------------------------------------------------------------------------------------- checkpoint to folder */

static enum dpt_status load_checkpoint(struct convert *c)
{
    struct dpt_ckpt_item *item = dpt_arena_array(c->arena, (size_t)c->count, sizeof *item);
    for (int i = 0; i < c->count; i++) {
        const struct weight *weight = &c->weight[i];
        item[i] = (struct dpt_ckpt_item){
            .name = weight->name, .file = DPT_CKPT_FILE_MODEL, .type = weight->type, .data = weight->data};
        memcpy(item[i].extent, weight->type.dim, sizeof item[i].extent);
    }
    return dpt_ckpt_load(c->lm.ckpt, c->count, item, false);
}

/* Zeros for the biases that transformers wants and the model has not: one for each weight but embeddings. */
static enum dpt_status add_zeros(struct convert *c)
{
    struct weight *all = dpt_arena_array(c->arena, 2 * (size_t)c->count, sizeof *all);
    int count = 0;
    for (int i = 0; i < c->count; i++) {
        const struct weight *weight = &c->weight[i];
        const size_t stem = strlen(weight->name) - strlen("weight");
        const bool plain = strstr(weight->name, "transformer.wte.") || strstr(weight->name, "transformer.wpe.") ||
                           strncmp(weight->name, "lm_head.", 8) == 0;
        all[count++] = *weight;
        if (!plain) {
            struct weight *zeros = &all[count++];
            *zeros = (struct weight){
                .name = dpt_arena_printf(c->arena, "%.*sbias", (int)stem, weight->name),
                .type = {weight->type.dtype, 1, {weight->type.dim[0]}},
                .zeros = true,
            };
        }
    }
    c->weight = all;
    c->count = count;
    for (int i = 0; i < count; i++) {
        DPT_TRY(all[i].zeros ? take(c, &all[i]) : DPT_STATUS_OK);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status write_weights(const struct convert *c)
{
    struct dpt_tensors_entry *entry = dpt_arena_array(c->arena, (size_t)c->count, sizeof *entry);
    for (int i = 0; i < c->count; i++) {
        const struct weight *weight = &c->weight[i];
        const bool turns = dpt_hf_transposed(&c->hf, weight->name);
        DPT_TRY(turns ? turn(&weight->type, weight->data) : DPT_STATUS_OK);
        entry[i] = (struct dpt_tensors_entry){weight->name, turns ? turned(weight->type) : weight->type, weight->data};
    }
    return dpt_tensors_write(dpt_arena_printf(c->arena, "%s/model.safetensors", c->conf->to), c->count, entry);
}

static enum dpt_status to_folder(struct convert *c, struct dpt_text *notes, struct dpt_text *summary)
{
    const char *from = c->conf->from;
    DPT_CHECK(!dpt_file_exists(dpt_arena_printf(c->arena, "%s/model.safetensors", from)) ||
                  dpt_file_exists(dpt_arena_printf(c->arena, "%s/MANIFEST.json", from)),
              DPT_STATUS_DATA,
              "%s: has model.safetensors, but neither the config.json of transformers nor the MANIFEST.json of a checkpoint",
              from);
    struct dpt_text config = {0}, generation = {0};
    DPT_TRY(dpt_lm_open(from, c->conf->which, &c->lm, notes));
    c->hf = (struct dpt_hf){.gpt = c->lm.job->model.type == DPT_MODEL_TYPE_GPT, .shape = c->lm.shape, .end = -1};
    c->hf.end = c->lm.tokenizer ? dpt_tokenizer_end(c->lm.tokenizer) : -1;
    DPT_TRY(list_weights(c, c->lm.job, &c->lm.io));
    DPT_TRY(load_checkpoint(c));
    DPT_TRY(c->hf.gpt && !c->hf.shape.bias ? add_zeros(c) : DPT_STATUS_OK);
    DPT_TRY(dpt_file_mkdir(c->conf->to));
    DPT_TRY(write_weights(c));
    if (c->lm.tokenizer) {
        DPT_TRY(dpt_tokenizer_save(c->lm.tokenizer, c->conf->to));
    } else {
        dpt_text_add(notes, "%s: has no tokenizer, so none is written\n", dpt_ckpt_path(c->lm.ckpt));
    }
    dpt_hf_generation(&c->hf, &generation);
    DPT_TRY(write_text(c, "generation_config.json", &generation));
    dpt_hf_config(&c->hf, &config); /* last: it makes the folder one that can be read */
    DPT_TRY(write_text(c, "config.json", &config));
    summarize(c, summary);
    return DPT_STATUS_OK;
}

/* ----------------------------------------------------------------------------------------- folder to checkpoint */

/* The tensor of this name; the files of the first GPT-2 have names without "transformer.". */
static int find(const struct convert *c, const char *name)
{
    static const char prefix[] = "transformer.";
    const int at = dpt_tensors_find(c->tensors, name);
    return at < 0 && strncmp(name, prefix, sizeof prefix - 1) == 0
               ? dpt_tensors_find(c->tensors, name + sizeof prefix - 1)
               : at;
}

static enum dpt_status load_weight(const struct convert *c, struct weight *weight, bool *used)
{
    char want[96], have[96];
    const bool turns = dpt_hf_transposed(&c->hf, weight->name);
    const struct dpt_type type = turns ? turned(weight->type) : weight->type;
    const int at = find(c, weight->name);
    DPT_CHECK(at >= 0, DPT_STATUS_DATA, "%s: has no tensor %s (%s is expected)", c->conf->from, weight->name,
              dpt_type_text(want, sizeof want, &type));
    struct dpt_type there = *dpt_tensors_type(c->tensors, at);
    there.dtype = type.dtype;
    DPT_CHECK(dpt_type_equal(&there, &type), DPT_STATUS_DATA, "%s: tensor %s is %s, expected %s as config.json says",
              c->conf->from, weight->name, dpt_type_text(have, sizeof have, dpt_tensors_type(c->tensors, at)),
              dpt_type_text(want, sizeof want, &type));
    used[at] = true;
    DPT_TRY(dpt_tensors_read(c->tensors, at, weight->data));
    return turns ? turn(&type, weight->data) : DPT_STATUS_OK;
}

/* A bias of a model without biases: it must be zeros. */
static enum dpt_status check_zeros(const struct convert *c, int at)
{
    const struct dpt_type *type = dpt_tensors_type(c->tensors, at);
    const int64_t count = dpt_type_numel(type);
    float *value = calloc((size_t)count + 1, sizeof *value);
    DPT_CHECK(value, DPT_STATUS_SPACE, "no memory for %s", dpt_tensors_name(c->tensors, at));
    const enum dpt_status status = dpt_tensors_read(c->tensors, at, value);
    bool zeros = true;
    for (int64_t i = 0; i < count; i++) {
        zeros = zeros && value[i] == 0.0f;
    }
    free(value);
    DPT_TRY(status);
    DPT_CHECK(zeros, DPT_STATUS_DATA, "%s: config.json says that the model has no biases, but %s is not zeros",
              c->conf->from, dpt_tensors_name(c->tensors, at));
    return DPT_STATUS_OK;
}

static enum dpt_status load_folder(struct convert *c)
{
    const int count = dpt_tensors_count(c->tensors);
    bool *used = dpt_arena_array(c->arena, (size_t)count + 1, sizeof *used);
    for (int i = 0; i < c->count; i++) {
        DPT_TRY(load_weight(c, &c->weight[i], used));
    }
    for (int i = 0; i < count; i++) {
        const char *name = dpt_tensors_name(c->tensors, i);
        const size_t n = strlen(name);
        if (used[i] || dpt_hf_ignored(&c->hf, name)) {
            continue;
        }
        DPT_CHECK(c->hf.gpt && !c->hf.shape.bias && n > 5 && strcmp(name + n - 5, ".bias") == 0, DPT_STATUS_DATA,
                  "%s: has a tensor %s, which the model of config.json does not have", c->conf->from, name);
        DPT_TRY(check_zeros(c, i));
    }
    return DPT_STATUS_OK;
}

/* What a checkpoint says of its data; the tokenizer where it is one of ours. */
static const char *preparation(const struct convert *c, struct dpt_text *notes)
{
    struct dpt_tokenizer *tokenizer;
    struct dpt_text text = {0};
    dpt_text_add(&text, "{\"format\": \"tokens\", \"shape\": [%lld], \"classes\": %lld, \"targets\": %lld",
                 (long long)c->hf.shape.context, (long long)c->hf.shape.vocab, (long long)c->hf.shape.context);
    if (dpt_tokenizer_load(c->conf->from, &tokenizer) == DPT_STATUS_OK) {
        dpt_text_add(&text, ", \"tokenizer\": ");
        dpt_tokenizer_json(tokenizer, &text);
        dpt_tokenizer_free(tokenizer);
    } else {
        dpt_text_add(notes, "the tokenizer is left out: %s\n", dpt_error_text());
    }
    dpt_text_add(&text, "}");
    const char *copy = dpt_arena_strdup(c->arena, text.data);
    dpt_text_free(&text);
    return copy;
}

static enum dpt_status save(struct convert *c, const char *config, struct dpt_text *notes)
{
    struct dpt_ckpt_item *item = dpt_arena_array(c->arena, (size_t)c->count, sizeof *item);
    const struct dpt_ckpt_meta meta = {
        .best_step = -1,
        .config = config,
        .preparation = preparation(c, notes),
        .layout = "data:1",
        .version = PACKAGE_VERSION,
        .graph_hash = dpt_graph_hash(c->graph),
    };
    uint64_t nbytes;
    for (int i = 0; i < c->count; i++) {
        const struct weight *weight = &c->weight[i];
        item[i] = (struct dpt_ckpt_item){.name = weight->name,
                                         .file = DPT_CKPT_FILE_MODEL,
                                         .type = weight->type,
                                         .data = weight->data,
                                         .writer = true};
        memcpy(item[i].extent, weight->type.dim, sizeof item[i].extent);
    }
    DPT_TRY(dpt_file_mkdir(c->conf->to));
    DPT_TRY(dpt_comm_start_alone(&c->alone));
    return dpt_ckpt_save(c->conf->to, c->alone, c->count, item, &meta, 1, false, &nbytes);
}

static enum dpt_status from_folder(struct convert *c, struct dpt_text *notes, struct dpt_text *summary)
{
    struct dpt_text ini = {0}, full = {0};
    DPT_TRY(dpt_hf_read(c->conf->from, &c->hf));
    dpt_text_add(&ini, "[run]\nname = imported\n");
    dpt_hf_job(&c->hf, &ini);
    const enum dpt_status status = dpt_job_read_text("config.json", ini.data, &c->lm.job, NULL);
    dpt_text_free(&ini);
    if (status != DPT_STATUS_OK) {
        return dpt_error_set(DPT_STATUS_DATA, __FILE__, __LINE__, "%s/config.json: gives no model of dpt: %s",
                             c->conf->from, dpt_error_text());
    }
    const struct dpt_model_io io = {.ndim = 1,
                                    .dim = {c->hf.shape.context},
                                    .dtype = DPT_DTYPE_I32,
                                    .classes = c->hf.shape.vocab,
                                    .targets = c->hf.shape.context};
    if (list_weights(c, c->lm.job, &io) != DPT_STATUS_OK) {
        return dpt_error_set(DPT_STATUS_DATA, __FILE__, __LINE__, "%s/config.json: %s", c->conf->from, dpt_error_text());
    }
    DPT_TRY(dpt_tensors_open(c->conf->from, &c->tensors));
    DPT_TRY(load_folder(c));
    dpt_job_print(c->lm.job, DPT_JOB_PRINT_FULL, &full);
    const char *config = dpt_arena_strdup(c->arena, full.data);
    dpt_text_free(&full);
    DPT_TRY(save(c, config, notes));
    summarize(c, summary);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_convert(const struct dpt_convert_conf *conf, struct dpt_text *notes, struct dpt_text *summary)
{
    struct convert c = {.conf = conf, .arena = dpt_arena_new()};
    const bool folder = dpt_file_exists(dpt_arena_printf(c.arena, "%s/config.json", conf->from));
    enum dpt_status status = check_new(conf->to);
    if (status == DPT_STATUS_OK) {
        status = folder ? from_folder(&c, notes, summary) : to_folder(&c, notes, summary);
    }
    for (int i = 0; i < c.count; i++) {
        free(c.weight[i].data);
    }
    dpt_graph_free(c.graph);
    dpt_tensors_close(c.tensors);
    dpt_lm_close(&c.lm);
    if (c.alone) {
        dpt_comm_end(c.alone);
    }
    dpt_arena_free(c.arena);
    return status;
}
