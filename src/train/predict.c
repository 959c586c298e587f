/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A training without training: the checkpoint's job gives the graph, its record of the data the reader, its tensors the
 * state; one rank, without MPI, makes an evaluation plan and runs it once over the file.
 */

#include "train/predict.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "ckpt/ckpt.h"
#include "conf/job.h"
#include "data/data.h"
#include "exec/device.h"
#include "exec/exec.h"
#include "graph/graph.h"
#include "model/model.h"
#include "plan/plan.h"
#include "train/predict_rows.h"

enum { AHEAD = 2 }; /* batches that are read while one is computed */

/* What is open; all of it is closed at the end, in the reverse order. */
struct predict {
    const struct dpt_predict_conf *conf;
    struct dpt_arena *arena;
    struct dpt_ckpt *ckpt;
    struct dpt_job *job;
    enum dpt_precision precision; /* used */
    struct dpt_data *data;
    struct dpt_comm *world;
    struct dpt_mesh mesh;
    struct dpt_graph *graph;
    struct dpt_plan *plan;
    struct dpt_dev *dev;
    struct dpt_state *state;
    struct dpt_exec *exec;
    struct dpt_loader *loader;
    struct dpt_train__rows *rows;
    struct dpt_text text; /* lines of one batch */
    FILE *out;
    const char *out_name; /* for messages                                            */
    const char *part;     /* the file until it is complete; NULL: written in place   */
};

/* ------------------------------------------------------------------------------------------------- what is read */

static enum dpt_status open_data(struct predict *p, struct dpt_text *notes)
{
    const char *path = p->conf->data ? p->conf->data : p->job->data.test;
    DPT_CHECK(!dpt_model_is_language(p->job), DPT_STATUS_DATA,
              "%s: is a language model; dpt-generate makes text with it, dpt-train --eval-only says how good it is",
              dpt_ckpt_path(p->ckpt));
    DPT_CHECK(p->job->data.format != DPT_DATA_FORMAT_SYNTHETIC, DPT_STATUS_DATA,
              "%s: was trained on synthetic data, which come from no file, so no file can be predicted from",
              dpt_ckpt_path(p->ckpt));
    DPT_CHECK(*path, DPT_STATUS_USAGE, "a file to predict from is missing: the job has no [data] test");
    DPT_TRY(dpt_data_open_file(p->job, path, dpt_ckpt_meta(p->ckpt)->preparation, &p->data));
    dpt_text_add(notes, "%s", dpt_data_notes(p->data));
    return DPT_STATUS_OK;
}

/* ------------------------------------------------------------------------------------------------- what is made */

/* The forward pass alone: no loss, no metrics; how many are right is counted with the lines. */
static enum dpt_status make_graph(struct predict *p)
{
    const struct dpt_data_info *info = dpt_data_info(p->data);
    struct dpt_model_io io = {.ndim = info->ndim, .dtype = info->dtype, .classes = info->classes, .targets = info->targets};
    memcpy(io.dim, info->dim, sizeof io.dim);
    DPT_TRY(dpt_exec_used_precision(p->conf->precision, p->job->run.precision, &p->precision));
    const enum dpt_dtype half = dpt_exec_half(p->precision);
    p->graph = dpt_graph_new(dpt_exec_real(p->precision), p->conf->rows, false);
    DPT_TRY(dpt_model_build(p->job, &io, true, p->graph));
    DPT_TRY(dpt_graph_fuse(p->graph));
    DPT_TRY(dpt_graph_fuse_norms(p->graph));
    if (half != DPT_DTYPE_F32) {
        dpt_graph_precision(p->graph, half);
    }
    return dpt_graph_check(p->graph);
}

static enum dpt_status make_plan(struct predict *p, struct dpt_text *notes)
{
    const int64_t samples = dpt_data_info(p->data)->samples;
    struct dpt_cores cores = {.usable = p->conf->threads};
    struct dpt_exec_device_conf device = {
        .kind = dpt_exec_used_device(p->conf->device, p->job->device.kind), .graph = p->graph, .sharers = 1,
        .convolution = p->job->device.convolution,
        .tf32 = p->precision == DPT_PRECISION_TF32};
    enum dpt_run run;
    char why[DPT_EXEC_WHY];
    DPT_TRY(dpt_comm_start_alone(&p->world));
    DPT_TRY(dpt_mesh_data(p->world, &p->mesh));
    if (p->conf->threads == 0) {
        DPT_TRY(dpt_comm_cores(p->world, &cores));
    }
    device.threads = cores.usable > 1 ? cores.usable : 1;
    DPT_TRY(dpt_exec_open_device(&device, &p->dev, &run, why));
    if (*why) {
        dpt_text_add(notes, "there is a card, but the cores compute: %s\n", why);
    }
    const int64_t rows = samples < p->conf->rows ? samples : p->conf->rows;
    const struct dpt_plan_conf conf = {
        .mesh = &p->mesh,
        .run = run,
        .dev = p->dev,
        .apart = dpt_dev_is_apart(p->dev),
        .threads = device.threads,
        .batch_rows = rows,
        .tail_rows = samples % rows,
        .micro_batches = 1,
    };
    return dpt_plan_new(p->graph, &conf, &p->plan);
}

/* To a device that is apart. */
static enum dpt_status give(void *user, int item, const void *data, size_t nbytes)
{
    const struct predict *p = user;
    return dpt_dev_copy_in(p->dev, dpt_state_tensor(p->state, p->plan->param[item].value).data, data, nbytes);
}

static enum dpt_status load_state(struct predict *p)
{
    const int count = p->plan->nparams;
    DPT_TRY(dpt_state_new(p->plan, p->dev, 0, &p->state));
    struct dpt_ckpt_item *item = dpt_arena_array(p->arena, (size_t)count, sizeof *item);
    for (int i = 0; i < count; i++) {
        const int value = p->plan->param[i].value;
        item[i] = (struct dpt_ckpt_item){
            .name = p->graph->value[value].name,
            .file = DPT_CKPT_FILE_MODEL,
            .type = dpt_graph_stored(p->graph, value),
            .data = dpt_state_tensor(p->state, value).data,
        };
        memcpy(item[i].extent, item[i].type.dim, sizeof item[i].extent);
    }
    return dpt_dev_is_apart(p->dev) ? dpt_ckpt_load_each(p->ckpt, count, item, give, p)
                                    : dpt_ckpt_load(p->ckpt, count, item, true);
}

static enum dpt_status make_exec(struct predict *p)
{
    const struct dpt_exec_conf exec = {.plan = p->plan, .state = p->state, .dev = p->dev};
    const struct dpt_loader_conf loader = {
        .data = p->data,
        .global = p->plan->conf.batch_rows,
        .micros = p->plan->micros,
        .max_rows = p->plan->max_rows,
        .ahead = AHEAD,
        .rows = dpt_plan_rows,
        .layout = p->plan,
    };
    DPT_TRY(dpt_exec_new(&exec, &p->exec));
    return dpt_loader_new(&loader, 0, &p->loader);
}

/* ---------------------------------------------------------------------------------------------- what is written */

static enum dpt_status write_failed(const struct predict *p)
{
    const int error = errno;
    return dpt_error_set(dpt_file_write_status(error), __FILE__, __LINE__, "%s: cannot be written: %s", p->out_name,
                         strerror(error));
}

/* A file gets its name when it is complete; what is no plain file (a pipe, a device, a link) is written to directly. */
static enum dpt_status open_output(struct predict *p)
{
    const char *path = p->conf->output;
    struct stat info;
    p->out = stdout;
    p->out_name = path ? path : "standard output";
    if (path) {
        const bool plain = lstat(path, &info) != 0 || S_ISREG(info.st_mode);
        p->part = plain ? dpt_arena_printf(p->arena, "%s.%ld.tmp", path, (long)getpid()) : NULL;
        p->out = fopen(plain ? p->part : path, "we");
        if (!p->out) {
            p->part = NULL;
            return write_failed(p);
        }
    }
    return DPT_STATUS_OK;
}

/* Writes the lines so far and empties the buffer, which keeps its memory. */
static enum dpt_status flush(struct predict *p)
{
    const size_t length = p->text.length;
    p->text.length = 0;
    return fwrite(p->text.data, 1, length, p->out) == length ? DPT_STATUS_OK : write_failed(p);
}

/* Some file systems tell only when a file is closed that it did not fit. */
static enum dpt_status finish_output(struct predict *p)
{
    FILE *out = p->out;
    if (out == stdout) {
        return fflush(out) == 0 ? DPT_STATUS_OK : write_failed(p);
    }
    p->out = NULL;
    if (fclose(out) != 0 || (p->part && rename(p->part, p->conf->output) != 0)) {
        return write_failed(p);
    }
    p->part = NULL;
    return DPT_STATUS_OK;
}

static enum dpt_status write_batch(void *user, const struct dpt_batch *batch, const struct dpt_tensor *output)
{
    struct predict *p = user;
    DPT_TRY(dpt_train__rows_add(p->rows, output, batch->target, &p->text));
    return flush(p);
}

static enum dpt_status write_all(struct predict *p)
{
    double metric[DPT_EXEC_METRICS];
    p->rows = dpt_train__rows_new(p->data, p->conf->format, p->conf->top);
    dpt_train__rows_head(p->rows, &p->text);
    DPT_TRY(dpt_exec_evaluate(p->exec, p->loader, metric, write_batch, p));
    return finish_output(p);
}

/* ------------------------------------------------------------------------------------------------ all together */

static enum dpt_status run(struct predict *p, struct dpt_text *notes, struct dpt_text *summary)
{
    DPT_TRY(dpt_ckpt_choose(p->conf->checkpoint, p->conf->which, &p->ckpt, notes));
    DPT_TRY(dpt_ckpt_job(p->ckpt, &p->job));
    DPT_TRY(open_data(p, notes));
    DPT_TRY(make_graph(p));
    DPT_TRY(make_plan(p, notes));
    DPT_TRY(load_state(p));
    DPT_TRY(make_exec(p));
    DPT_TRY(open_output(p));
    DPT_TRY(write_all(p));
    dpt_text_add(summary, "%s: %s: ", dpt_ckpt_path(p->ckpt), dpt_data_info(p->data)->source);
    dpt_train__rows_summary(p->rows, summary);
    dpt_text_add(summary, "\n");
    return DPT_STATUS_OK;
}

static void close_all(struct predict *p)
{
    if (p->out && p->out != stdout) {
        fclose(p->out);
    }
    if (p->part) {
        unlink(p->part);
    }
    dpt_text_free(&p->text);
    dpt_train__rows_free(p->rows);
    dpt_loader_free(p->loader);
    dpt_exec_free(p->exec);
    dpt_state_free(p->state);
    dpt_plan_free(p->plan);
    dpt_dev_close(p->dev);
    dpt_graph_free(p->graph);
    if (p->world) {
        dpt_comm_end(p->world);
    }
    dpt_data_close(p->data);
    dpt_job_free(p->job);
    dpt_ckpt_close(p->ckpt);
    dpt_arena_free(p->arena);
}

enum dpt_status dpt_predict(const struct dpt_predict_conf *conf, struct dpt_text *notes, struct dpt_text *summary)
{
    struct predict p = {.conf = conf, .arena = dpt_arena_new()};
    const enum dpt_status status = run(&p, notes, summary);
    close_all(&p);
    return status;
}
