/* SPDX-License-Identifier: Apache-2.0 */

/* What values demand of each other. Each key by itself has been read and is within its limits. */

#include "conf/conf.h"
#include "conf/layout.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct check {
    const struct dpt_job *job;
    bool whole; /* no line was lost, so that a key which was not given is not there */
    struct dpt_conf_problems *problems;
};

static const struct dpt_conf_origin *origin(const struct check *check, const char *section, const char *name)
{
    const struct dpt_conf_key *key = dpt_conf__find(section, name);
    DPT_ASSERT(key);
    return &check->job->origin->key[key - dpt_conf__keys];
}

/* A problem with one key; told at its place, or at the job where it was left at its default. */
__attribute__((format(printf, 4, 5))) static void refuse(const struct check *check, const char *section,
                                                         const char *name, const char *format, ...)
{
    char sentence[512];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    const struct dpt_conf_origin *at = origin(check, section, name);
    dpt_conf__problem(check->problems, at->file ? at->file : check->job->origin->name, at->line,
                      "[%s] %s %s (dpt-train --explain=%s.%s)", section, name, sentence, section, name);
}

/*
 * A key that is set although another key makes it count for nothing would be ignored in silence: refuse it. What a
 * later source overruled is gone by now.
 */
static void check_applies(const struct check *check)
{
    for (int i = 0; i < dpt_conf__nkeys; i++) {
        const struct dpt_conf_key *key = &dpt_conf__keys[i];
        const struct dpt_conf_origin *at = &check->job->origin->key[i];
        if (!at->file || dpt_conf__applies(key, check->job)) {
            continue;
        }
        const struct dpt_conf_key *on = dpt_conf__find(key->when->section, key->when->name);
        const struct dpt_conf_origin *there = origin(check, on->section, on->name);
        if (there->bad || (!there->file && !check->whole)) {
            continue;
        }
        char place[DPT_CONF_PLACE];
        struct dpt_text text = {0};
        dpt_text_add(&text, "counts only with ");
        dpt_conf__add_when(key, &text);
        dpt_text_add(&text, ", but it is ");
        dpt_conf__format(on, dpt_conf__field_const(on, check->job), &text);
        dpt_text_add(&text, " (%s): remove one or change the other",
                     there->file ? dpt_conf__place(place, there->file, there->line) : "the default");
        refuse(check, key->section, key->name, "%s", text.data);
        dpt_text_free(&text);
    }
    const struct dpt_conf_origin *type = origin(check, "model", "type");
    if (check->job->nlayers && check->job->model.type != DPT_MODEL_TYPE_LAYERS && !type->bad &&
        (type->file || check->whole)) {
        const struct dpt_layer_section *layer = &check->job->layer[0];
        dpt_conf__problem(check->problems, layer->file, layer->line,
                          "[layer.%s] counts only with [model] type = layers (dpt-train --explain=model.type)",
                          layer->name);
    }
}

static void check_run(const struct check *check)
{
    const char *name = check->job->run.name;
    if (*name == '\0' || strchr(name, '/')) {
        refuse(check, "run", "name", "= %.60s: expected a name without /", name);
    }
    if (check->job->run.precision == DPT_PRECISION_FP16 && check->job->parallel.update != DPT_UPDATE_SYNC) {
        refuse(check, "run", "precision",
               "= fp16 scales the loss as all ranks agree in each step: [parallel] update must be sync, or take bf16");
    }
    if (*check->job->run.output == '\0') {
        refuse(check, "run", "output", "is empty: expected the path of a folder, such as runs/${name}");
    }
}

static void check_model(const struct check *check)
{
    const struct dpt_job *job = check->job;
    static const int64_t depths[] = {18, 20, 32, 34, 44, 50, 56, 101, 152};
    switch (job->model.type) {
    case DPT_MODEL_TYPE_MLP:
        break;
    case DPT_MODEL_TYPE_CNN:
        if (job->model.channels.count == 0) {
            refuse(check, "model", "channels", "is empty: expected one number for each convolution");
        }
        if (job->model.kernel % 2 == 0) {
            refuse(check, "model", "kernel", "= %lld: expected an odd number", (long long)job->model.kernel);
        }
        break;
    case DPT_MODEL_TYPE_RESNET: {
        bool known = job->model.depth == 0; /* auto */
        for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++) {
            known = known || depths[i] == job->model.depth;
        }
        if (!known) {
            refuse(check, "model", "depth",
                   "= %lld: expected one of 18, 34, 50, 101, 152 (torchvision's) or 20, 32, "
                   "44, 56 (for small images)",
                   (long long)job->model.depth);
        }
        break;
    }
    case DPT_MODEL_TYPE_GPT:
    case DPT_MODEL_TYPE_LLAMA: {
        const char *size = job->model.size;
        const bool fits = strcmp(size, "auto") == 0 ||
                          (strncmp(size, "gpt", 3) == 0) == (job->model.type == DPT_MODEL_TYPE_GPT);
        if (!fits) {
            refuse(check, "model", "size", "= %s is a shape of type = %s", size,
                   strncmp(size, "gpt", 3) == 0 ? "gpt" : "llama");
        }
        break;
    }
    case DPT_MODEL_TYPE_LAYERS:
        if (job->nlayers == 0) {
            refuse(check, "model", "type", "= layers needs at least one [layer.NAME] section");
        }
        break;
    }
}

static void check_file_data(const struct check *check)
{
    const struct dpt_job *job = check->job;
    if (*job->data.train == '\0') {
        refuse(check, "data", "train", "is missing: expected the path of the training data");
    }
    if (*job->data.valid_labels && *job->data.valid == '\0') {
        refuse(check, "data", "valid_labels", "is set without valid");
    }
    if (*job->data.test_labels && *job->data.test == '\0') {
        refuse(check, "data", "test_labels", "is set without test");
    }
    if (*job->data.valid && job->data.valid_share > 0) {
        refuse(check, "data", "valid_share", "holds back training data, but valid is set too: keep one of them");
    }
}

static void check_data(const struct check *check)
{
    const struct dpt_job *job = check->job;
    switch (job->data.format) {
    case DPT_DATA_FORMAT_IDX:
        check_file_data(check);
        if (job->data.task == DPT_TASK_REGRESSION) {
            refuse(check, "data", "task", "= regression, but idx files hold classes: numbers come from format = csv");
        }
        if (job->data.mean.count > 1 && job->data.std.count > 1 && job->data.mean.count != job->data.std.count) {
            refuse(check, "data", "std", "has %d numbers, but mean has %d: expected one for each channel, or one",
                   job->data.std.count, job->data.mean.count);
        }
        break;
    case DPT_DATA_FORMAT_CSV:
        check_file_data(check);
        if (job->data.target.count == 0) {
            refuse(check, "data", "target", "is missing: expected the column to predict, by name or by number from 1");
        }
        break;
    case DPT_DATA_FORMAT_TOKENS:
        check_file_data(check);
        if (job->data.task == DPT_TASK_REGRESSION) {
            refuse(check, "data", "task", "= regression, but tokens are classes: numbers come from format = csv");
        }
        break;
    case DPT_DATA_FORMAT_SYNTHETIC:
        if (job->data.shape.count != 1 && job->data.shape.count != 3) {
            refuse(check, "data", "shape", "has %d numbers: expected 1 (features) or 3 (height, width, channels)",
                   job->data.shape.count);
        }
        if (job->data.classes == 1) {
            refuse(check, "data", "classes", "= 1: expected 2 or more, or none");
        }
        if (job->data.task == DPT_TASK_CLASSIFICATION && job->data.classes == 0) {
            refuse(check, "data", "task", "= classification, but classes = none");
        }
        if (job->data.task == DPT_TASK_REGRESSION && job->data.classes != 0) {
            refuse(check, "data", "task", "= regression, but there are classes: set classes = none");
        }
        break;
    }
}

static void check_training(const struct check *check)
{
    const struct dpt_job *job = check->job;
    if (job->data.task == DPT_TASK_REGRESSION && job->loss.type == DPT_LOSS_TYPE_CROSS_ENTROPY) {
        refuse(check, "loss", "type", "= cross_entropy is for classes, but [data] task = regression");
    }
    if (job->data.task == DPT_TASK_CLASSIFICATION && job->loss.type == DPT_LOSS_TYPE_MSE) {
        refuse(check, "loss", "type", "= mse is for numbers, but [data] task = classification");
    }
    if (job->batch.micro_batches > job->batch.global) {
        refuse(check, "batch", "micro_batches", "= %lld is more than the %lld samples of a step",
               (long long)job->batch.micro_batches, (long long)job->batch.global);
    }
    if (job->optimizer.nesterov && job->optimizer.momentum == 0) {
        refuse(check, "optimizer", "nesterov", "= yes needs momentum above 0");
    }
    if (job->schedule.type == DPT_SCHEDULE_TYPE_STEP && job->schedule.milestones.count == 0) {
        refuse(check, "schedule", "milestones", "is missing: type = step needs it, such as 30 60 80 epochs");
    }
    if (job->schedule.warmup.unit == job->run.length.unit && job->schedule.warmup.value >= job->run.length.value) {
        refuse(check, "schedule", "warmup", "is as long as the whole run ([run] length) or longer: expected less, or none");
    }
}

/* What belongs to a pipeline, and how many there must be of each. */
static void check_stages(const struct check *check, const struct dpt_layout *layout, int chunks)
{
    const struct dpt_job *job = check->job;
    const int places = dpt_layout_size(layout, "pipeline"), stages = places * chunks;
    if (layout->naxes > 0 && job->parallel.stages.count > 0 && job->parallel.stages.count != stages - 1) {
        refuse(check, "parallel", "stages", "names %d layer%s: %d stage%s begin%s with %d", job->parallel.stages.count,
               job->parallel.stages.count == 1 ? "" : "s", stages, stages == 1 ? "" : "s", stages == 1 ? "s" : "",
               stages - 1);
    }
    if (layout->naxes > 0 && job->parallel.backward.count > 0 && job->parallel.backward.count != places) {
        refuse(check, "parallel", "backward", "has %d numbers, expected one for each of %d places of the pipeline",
               job->parallel.backward.count, places);
    }
    uint64_t seen = 0;
    for (int i = 0; i < job->parallel.backward.count; i++) {
        const int64_t place = job->parallel.backward.value[i];
        if (place >= places || (seen >> place & 1)) {
            refuse(check, "parallel", "backward", "is no order of the stages 0 to %d", places - 1);
            break;
        }
        seen |= UINT64_C(1) << place;
    }
}

/* How gradients travel, and what does not go with that. */
static void check_wire(const struct check *check)
{
    const struct dpt_job *job = check->job;
    enum dpt_layout_wire wire = DPT_LAYOUT_WIRE_FP32;
    double share;
    int rank;
    if (dpt_layout_read_wire(job->parallel.wire, &wire, &share, &rank) != DPT_STATUS_OK) {
        refuse(check, "parallel", "wire", "= %.60s: %s", job->parallel.wire, dpt_error_text());
        return;
    }
    if (wire != DPT_LAYOUT_WIRE_FP32 && (job->run.reproducible || job->run.precision == DPT_PRECISION_FP64)) {
        refuse(check, "parallel", "wire", "= %.60s rounds gradients, which [run] %s cannot have", job->parallel.wire,
               job->run.reproducible ? "reproducible = yes" : "precision = fp64");
    }
    const bool keeps = wire == DPT_LAYOUT_WIRE_TOPK || wire == DPT_LAYOUT_WIRE_POWERSGD;
    if (keeps && job->run.precision == DPT_PRECISION_FP16) {
        refuse(check, "parallel", "wire",
               "= %.60s keeps what it did not send, but [run] precision = fp16 scales gradients anew: take bf16, or wire = int8",
               job->parallel.wire);
    }
    if (keeps && job->parallel.shard != DPT_SHARD_NONE) {
        refuse(check, "parallel", "wire", "= %.60s sends what was kept of whole gradients: set shard = none, or wire = int8",
               job->parallel.wire);
    }
    if (keeps && strcmp(job->parallel.shares, "auto") == 0) {
        refuse(check, "parallel", "wire", "= %.60s would lose what it keeps when shares = auto shares out anew: give numbers",
               job->parallel.wire);
    }
}

static void check_parallel(const struct check *check)
{
    const struct dpt_job *job = check->job;
    struct dpt_layout layout;
    enum dpt_layout_schedule schedule;
    double share[DPT_LAYOUT_MAX_SHARES];
    int chunks, shares;
    if (dpt_layout_read(job->parallel.layout, &layout) != DPT_STATUS_OK) {
        refuse(check, "parallel", "layout", "= %.60s: %s", job->parallel.layout, dpt_error_text());
    }
    if (dpt_layout_read_schedule(job->parallel.schedule, &schedule, &chunks) != DPT_STATUS_OK) {
        refuse(check, "parallel", "schedule", "= %.60s: %s", job->parallel.schedule, dpt_error_text());
    }
    if (dpt_layout_read_shares(job->parallel.shares, &shares, share) != DPT_STATUS_OK) {
        refuse(check, "parallel", "shares", "= %.60s: %s", job->parallel.shares, dpt_error_text());
    }
    check_stages(check, &layout, chunks);
    if (job->run.reproducible && job->parallel.reduce == DPT_REDUCE_FAST) {
        refuse(check, "parallel", "reduce",
               "= fast gives other bits on other numbers of ranks, but [run] reproducible = yes: take tree or fixed");
    }
    if (!job->run.reproducible && (job->parallel.reduce == DPT_REDUCE_TREE || job->parallel.reduce == DPT_REDUCE_FIXED)) {
        refuse(check, "parallel", "reduce", "makes a run reproducible, but [run] reproducible = no: remove one of them");
    }
    if (job->run.reproducible && job->parallel.reduce != DPT_REDUCE_FIXED && (job->parallel.shards & (job->parallel.shards - 1)) != 0) {
        refuse(check, "parallel", "shards", "= %lld: expected a power of two; reduce = fixed takes any number",
               (long long)job->parallel.shards);
    }
    if (job->parallel.reduce == DPT_REDUCE_FIXED && job->parallel.shards > 128) {
        refuse(check, "parallel", "shards", "= %lld: reduce = fixed adds up at most 128", (long long)job->parallel.shards);
    }
    if (job->run.reproducible && job->parallel.shard != DPT_SHARD_NONE) {
        refuse(check, "parallel", "shard", "leaves no rank the whole gradient, as a reproducible run needs it: set it to none");
    }
    if (job->run.reproducible && job->parallel.update != DPT_UPDATE_SYNC) {
        refuse(check, "parallel", "update",
               "lets ranks go their own ways, which differ with their number: [run] reproducible = yes needs sync");
    }
    if (job->parallel.shard != DPT_SHARD_NONE && job->parallel.update != DPT_UPDATE_SYNC) {
        refuse(check, "parallel", "shard",
               "shares out what ranks that go their own ways ([parallel] update) must have whole: set it to none");
    }
    if (job->parallel.update >= DPT_UPDATE_ASYNC_OWNER && shares != 0) {
        refuse(check, "parallel", "shares",
               "gives slow ranks fewer samples, but asynchronous ones take as many as they can anyway: set it to equal");
    }
    if (shares < 0 && job->parallel.fragments > 1) {
        refuse(check, "parallel", "shares",
               "= auto shares out anew where nothing is under way, but of fragments = %lld one always is: give numbers",
               (long long)job->parallel.fragments);
    }
    check_wire(check);
    if (job->run.reproducible && job->batch.global < job->parallel.shards) {
        refuse(check, "batch", "global", "= %lld is less than [parallel] shards = %lld: give every shard a sample",
               (long long)job->batch.global, (long long)job->parallel.shards);
    }
    if (job->run.reproducible && job->run.threads > 1) {
        refuse(check, "run", "threads", "= %lld: a reproducible run computes with one thread a rank; start more ranks",
               (long long)job->run.threads);
    }
    if (job->run.reproducible && job->batch.micro_batches > 1) {
        refuse(check, "batch", "micro_batches",
               "has no meaning in a reproducible run:"
               " [parallel] shards are its pieces");
    }
}

void dpt_conf__check(const struct dpt_job *job, bool whole, struct dpt_conf_problems *problems)
{
    const struct check check = {job, whole, problems};
    check_applies(&check);
    if (!whole) {
        return;
    }
    for (int i = 0; i < dpt_conf__nkeys; i++) {
        if (job->origin->key[i].bad) {
            return; /* what follows from a value that could not be read would only confuse */
        }
    }
    check_run(&check);
    check_model(&check);
    check_data(&check);
    check_training(&check);
    check_parallel(&check);
}
