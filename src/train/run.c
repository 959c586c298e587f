/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The run directory: who may use it, what to go on from, what is saved. Rank 0 alone reads and writes; the others get
 * the state from it over MPI, so that a disk that only one host sees is enough.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "train/internal.h"

const char *dpt_train__path(const struct dpt_train *train, const char *file)
{
    return dpt_arena_printf(train->arena, "%s/%s", train->job->run.output, file);
}

/* ------------------------------------------------------------------------------------------------- the directory */

/* A folder with files, none of which is ours, is not a run directory: nothing is written there. */
static enum dpt_status check_directory(const struct dpt_train *train)
{
    int entries = 0;
    DIR *dir = opendir(train->job->run.output);
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        entries += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    }
    if (dir) {
        closedir(dir);
    }
    DPT_CHECK(entries == 0 || dpt_file_exists(dpt_train__path(train, "config.ini")) ||
                  dpt_file_exists(dpt_train__path(train, "checkpoints")) ||
                  dpt_file_exists(dpt_train__path(train, "lock")),
              DPT_STATUS_USAGE,
              "%s: has files, but is not a run directory; choose another with -o DIR or run.output",
              train->job->run.output);
    return DPT_STATUS_OK;
}

/* Holds the run directory against a second job, until this process ends, however it ends. */
static enum dpt_status lock_directory(struct dpt_train *train)
{
    const char *path = dpt_train__path(train, "lock");
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    train->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    DPT_CHECK(train->lock >= 0, dpt_file_write_status(errno), "%s: cannot be made: %s", path, strerror(errno));
    if (fcntl(train->lock, F_SETLK, &lock) != 0 && (errno == EACCES || errno == EAGAIN)) {
        char who[128] = "";
        const ssize_t got = pread(train->lock, who, sizeof who - 1, 0);
        who[got > 0 ? (size_t)got : 0] = '\0';
        who[strcspn(who, "\n")] = '\0';
        return dpt_error_set(DPT_STATUS_USAGE, __FILE__, __LINE__,
                             "%s: another job is at work in this run directory (%s): wait for it, or choose another "
                             "directory with -o DIR",
                             train->job->run.output, who[0] ? who : "unknown");
    }
    char text[128]; /* file systems without locks let everybody in: then this line is all there is */
    const int n = snprintf(text, sizeof text, "host %.80s, process %ld\n", dpt_comm_host(), (long)getpid());
    if (ftruncate(train->lock, 0) != 0 || pwrite(train->lock, text, (size_t)n, 0) != n) {
        return dpt_error_set(dpt_file_write_status(errno), __FILE__, __LINE__, "%s: cannot be written: %s", path,
                             strerror(errno));
    }
    return DPT_STATUS_OK;
}

void dpt_train__leave(struct dpt_train *train)
{
    if (train->lock >= 0) {
        close(train->lock);
        train->lock = -1;
    }
}

static enum dpt_status enter_directory(struct dpt_train *train)
{
    DPT_TRY(check_directory(train));
    DPT_TRY(dpt_file_mkdir(train->job->run.output));
    DPT_TRY(lock_directory(train));
    const char *log = dpt_train__path(train, "dpt.log");
    DPT_CHECK(dpt_log_open(log), dpt_file_write_status(errno), "%s: cannot be opened: %s", log, strerror(errno));
    if (dpt_file_exists(train->stop_path)) {
        unlink(train->stop_path);
        dpt_log("NOTE    a file STOP that was there before this start is removed\n");
    }
    return DPT_STATUS_OK;
}

/* --------------------------------------------------------------------------------------------------- the tensors */

enum { NOT_IN_STATE = -1 };

/* All tensors of the state as checkpoint items, by the logical graph, whatever part of them is here. */
struct list {
    struct dpt_ckpt_item *item;
    int *value; /* of each item, in the graph */
    int count;
    bool whole; /* this rank has all of each  */
};

/* Adds NAME.what, which lies in `flat` where value v, the model's, lies among the parameters. */
static void add_twin(const struct dpt_train *train, struct list *list, int v, const char *what, void *flat)
{
    struct dpt_ckpt_item *item = &list->item[list->count];
    const size_t width = dpt_dtype_nbytes(train->graph->real);
    *item = (struct dpt_ckpt_item){
        .name = dpt_arena_printf(train->arena, "%s.%s", train->graph->value[v].name, what),
        .file = DPT_CKPT_FILE_OPTIMIZER,
        .type = dpt_graph_stored(train->graph, v),
        .data = (char *)flat + (size_t)dpt_plan_offset(train->plan, v) * width,
        .writer = train->speaks,
    };
    memcpy(item->extent, item->type.dim, sizeof item->extent);
    list->value[list->count++] = NOT_IN_STATE;
}

static struct list list_items(const struct dpt_train *train, bool model_only)
{
    const struct dpt_graph *graph = train->graph;
    struct list list = {
        .item = calloc(3 * (size_t)graph->nvalues + 1, sizeof *list.item), /* each may have what add_twin adds */
        .value = calloc(3 * (size_t)graph->nvalues + 1, sizeof *list.value),
        .whole = !train->in_parts,
    };
    if (!list.item || !list.value) {
        dpt_fatal(DPT_STATUS_SPACE, "out of memory for the list of tensors of a checkpoint");
    }
    for (int v = 0; v < graph->nvalues; v++) {
        const enum dpt_value_kind kind = graph->value[v].kind;
        const bool model = kind == DPT_VALUE_KIND_PARAM || kind == DPT_VALUE_KIND_BUFFER;
        if (model || (kind == DPT_VALUE_KIND_SLOT && !model_only)) {
            struct dpt_ckpt_item *item = &list.item[list.count];
            *item = (struct dpt_ckpt_item){
                .name = graph->value[v].name,
                .file = model ? DPT_CKPT_FILE_MODEL : DPT_CKPT_FILE_OPTIMIZER,
                .type = dpt_graph_stored(graph, v),
                .data = list.whole ? dpt_state_tensor(train->state, v).data : NULL,
                .writer = train->speaks,
            };
            memcpy(item->extent, item->type.dim, sizeof item->extent);
            list.value[list.count++] = v;
            if (model && !model_only && train->local.momentum) {
                add_twin(train, &list, v, "outer", train->local.momentum);
            }
            if (kind == DPT_VALUE_KIND_PARAM && !model_only && train->kept) {
                add_twin(train, &list, v, "kept", train->kept);
            }
        }
    }
    return list;
}

static void list_free(struct list *list)
{
    free(list->item);
    free(list->value);
}

/* Room for what the exchange keeps of gradients, where it keeps any: zeros. Collective over the world. */
static enum dpt_status open_kept(struct dpt_train *train)
{
    enum dpt_status status = DPT_STATUS_OK;
    if (!train->exchange || !dpt_exchange_keeps(train->exchange)) {
        return DPT_STATUS_OK;
    }
    train->kept = calloc((size_t)train->plan->nflat + 1, sizeof *train->kept);
    if (!train->kept) {
        status = dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "no memory for what gradients left behind, %lld floats",
                               (long long)train->plan->nflat);
    }
    return dpt_agree(status, train->world);
}

static void close_kept(struct dpt_train *train)
{
    free(train->kept);
    train->kept = NULL;
}

/* For a checkpoint of a state in parts. */
struct gathering {
    const struct dpt_train *train;
    const struct list *list;
};

static enum dpt_status gather_item(void *user, int item, void *whole)
{
    const struct gathering *gathering = user;
    const struct dpt_ckpt_item *at = &gathering->list->item[item];
    if (gathering->list->value[item] == NOT_IN_STATE) {
        memcpy(whole, at->data, dpt_type_nbytes(&at->type));
        return DPT_STATUS_OK;
    }
    return dpt_state_gather(gathering->train->state, gathering->list->value[item], whole);
}

/* -------------------------------------------------------------------------------------------------------- resume */

/* What rank 0 tells the others about the checkpoint. */
struct news {
    int64_t step, updates, steady, best_step;
    int loss_shift;
    double best_value, elapsed_s;
    bool found, finished; /* a checkpoint of the run; one of its last step */
    bool loaded;          /* the weights of another one                    */
};

/* Lines as one, "a; b", from the arena. */
static const char *one_line(struct dpt_arena *arena, const char *lines)
{
    const char *line = "";
    for (const char *at = lines; *at; at += strcspn(at, "\n") + 1) {
        line = dpt_arena_printf(arena, "%s%s%.*s", line, *line ? "; " : "", (int)strcspn(at, "\n"), at);
    }
    return line;
}

/* The job that wrote the checkpoint must be this one in all that is fixed for a run. */
static enum dpt_status compare_jobs(const struct dpt_train *train, const struct dpt_ckpt *ckpt)
{
    struct dpt_job *before;
    struct dpt_text changed = {0};
    const char *name = dpt_arena_printf(train->arena, "%s/config.ini", dpt_ckpt_path(ckpt));
    DPT_TRY(dpt_job_read_text(name, dpt_ckpt_meta(ckpt)->config, &before, NULL));
    const bool same = dpt_job_same(before, train->job, &changed);
    const char *list = same ? "" : one_line(train->arena, changed.data);
    dpt_job_free(before);
    dpt_text_free(&changed);
    DPT_CHECK(same, DPT_STATUS_USAGE,
              "%s: this job differs from the one that wrote it: %s. Choose another run directory with -o DIR, or change "
              "it back",
              dpt_ckpt_path(ckpt), list);
    return DPT_STATUS_OK;
}

/* A run that goes on from an earlier step must not leave later ones behind, which the next start would go on from. */
static enum dpt_status check_branch(const struct dpt_train *train, const struct dpt_ckpt *ckpt)
{
    char **folder;
    const int64_t step = dpt_ckpt_meta(ckpt)->step;
    const int count = dpt_ckpt_list(train->job->run.output, train->arena, &folder);
    for (int i = 0; i < count; i++) {
        const char *name = strrchr(folder[i], '-');
        DPT_CHECK(!name || strtoll(name + 1, NULL, 10) <= step, DPT_STATUS_USAGE,
                  "%s: is a later checkpoint than %s: go on from the earlier one in another run directory (-o DIR), or "
                  "remove the later ones",
                  folder[i], dpt_ckpt_path(ckpt));
    }
    return DPT_STATUS_OK;
}

/* Opens what --resume asks for; *ckpt is NULL when the run begins. */
static enum dpt_status open_checkpoint(struct dpt_train *train, struct dpt_ckpt **ckpt)
{
    const enum dpt_resume how = train->options->resume;
    const char *path = how == DPT_RESUME_PATH ? train->options->resume_path : train->job->run.output;
    struct dpt_text notes = {0};
    *ckpt = NULL;
    if (how == DPT_RESUME_NEVER) {
        char **folder;
        DPT_CHECK(dpt_ckpt_list(path, train->arena, &folder) == 0, DPT_STATUS_USAGE,
                  "%s: has checkpoints, and --resume=never was asked for: choose another run directory with -o DIR", path);
        return DPT_STATUS_OK;
    }
    const enum dpt_status status = dpt_ckpt_open(path, false, ckpt, &notes);
    for (const char *at = notes.data ? notes.data : ""; *at; at += strcspn(at, "\n") + 1) {
        dpt_log("WARNING %.*s\n", (int)strcspn(at, "\n"), at);
    }
    dpt_text_free(&notes);
    DPT_CHECK(status != DPT_STATUS_DATA || how == DPT_RESUME_PATH, status,
              "%s. To begin anew, choose another run directory with -o DIR", dpt_error_text());
    DPT_TRY(status);
    DPT_CHECK(*ckpt || how == DPT_RESUME_AUTO, DPT_STATUS_USAGE, "%s: has no checkpoint to go on from", path);
    return how == DPT_RESUME_PATH && !train->options->eval_only ? check_branch(train, *ckpt) : DPT_STATUS_OK;
}

/* A run may take up or leave off a format that keeps gradients: what is not in the checkpoint is not loaded, and nothing. */
static bool is_there(const struct dpt_ckpt *ckpt, const struct dpt_ckpt_item *item)
{
    const char *dot = strrchr(item->name, '.');
    struct dpt_ckpt_item at;
    bool found = strcmp(dot ? dot : "", ".kept") != 0;
    for (int i = 0; !found && dpt_ckpt_at(ckpt, i, &at); i++) {
        found = strcmp(at.name, item->name) == 0;
    }
    return found;
}

static void drop_absent(struct list *list, const struct dpt_ckpt *ckpt)
{
    int count = 0;
    for (int i = 0; i < list->count; i++) {
        if (is_there(ckpt, &list->item[i])) {
            list->item[count] = list->item[i];
            list->value[count++] = list->value[i];
        }
    }
    list->count = count;
}

/*
 * The tensors of the state, or only those of the model. A state in parts is only checked here: its tensors are read one
 * by one when all ranks are there (spread_state).
 */
static enum dpt_status load_items(struct dpt_train *train, struct dpt_ckpt *ckpt, bool model_only)
{
    struct list list = list_items(train, model_only);
    drop_absent(&list, ckpt);
    const enum dpt_status status = list.whole ? dpt_ckpt_load(ckpt, list.count, list.item, false)
                                              : dpt_ckpt_check(ckpt, list.count, list.item, false);
    list_free(&list);
    return status;
}

static enum dpt_status load(struct dpt_train *train, struct dpt_ckpt *ckpt, struct news *news)
{
    const struct dpt_ckpt_meta *meta = dpt_ckpt_meta(ckpt);
    DPT_TRY(compare_jobs(train, ckpt));
    DPT_TRY(load_items(train, ckpt, train->options->eval_only));
    *news = (struct news){
        .step = meta->step,
        .updates = meta->updates,
        .steady = meta->steady,
        .loss_shift = meta->loss_shift,
        .best_step = meta->best_step,
        .best_value = meta->best_value,
        .elapsed_s = meta->elapsed_s,
        .found = true,
        .finished = meta->step >= train->steps,
    };
    return DPT_STATUS_OK;
}

/* [model] weights: the values that the model begins with, from another run. */
static enum dpt_status load_weights(struct dpt_train *train, struct dpt_ckpt **ckpt, struct news *news)
{
    struct dpt_text notes = {0};
    const char *path = train->job->model.weights;
    enum dpt_status status = dpt_ckpt_choose(path, DPT_CKPT_WHICH_LATEST, ckpt, &notes);
    dpt_text_free(&notes);
    if (status == DPT_STATUS_OK) {
        status = load_items(train, *ckpt, true);
    }
    if (status != DPT_STATUS_OK) {
        return dpt_error_set(status, __FILE__, __LINE__, "[model] weights: %s", dpt_error_text());
    }
    news->loaded = true;
    return DPT_STATUS_OK;
}

/* The checkpoint of the run where there is one, else the weights to begin with where the job names some; it stays open. */
static enum dpt_status load_any(struct dpt_train *train, struct dpt_ckpt **ckpt, struct news *news)
{
    DPT_TRY(open_checkpoint(train, ckpt));
    if (*ckpt) {
        return load(train, *ckpt, news);
    }
    return *train->job->model.weights ? load_weights(train, ckpt, news) : DPT_STATUS_OK;
}

/* Rank 0's part: directory, checkpoint, config.ini. An evaluation only looks. */
static enum dpt_status begin(struct dpt_train *train, struct dpt_ckpt **ckpt, struct news *news)
{
    struct dpt_text config = {0};
    if (train->options->eval_only) {
        DPT_TRY(load_any(train, ckpt, news));
        DPT_CHECK(news->found || news->loaded, DPT_STATUS_USAGE,
                  "%s: has no checkpoint to evaluate: give the run directory with -o DIR, or a checkpoint with "
                  "--resume=PATH",
                  train->job->run.output);
        return DPT_STATUS_OK;
    }
    DPT_TRY(enter_directory(train));
    DPT_TRY(load_any(train, ckpt, news));
    if (news->found) {
        train->saved_step = train->options->resume == DPT_RESUME_PATH ? -1 : news->step;
    }
    dpt_job_print(train->job, DPT_JOB_PRINT_FULL, &config);
    const enum dpt_status status =
        dpt_file_replace(dpt_train__path(train, "config.ini"), config.data, config.length);
    dpt_text_free(&config);
    return status;
}

/* A state that every rank has whole: rank 0 has loaded it. */
static enum dpt_status share_state(struct dpt_train *train)
{
    const size_t nbytes = (size_t)train->plan->nflat * dpt_dtype_nbytes(train->graph->real);
    DPT_TRY(dpt_comm_bcast(train->world, train->state->param, nbytes, 0));
    for (int k = 0; k < train->plan->nslots; k++) {
        DPT_TRY(dpt_comm_bcast(train->world, train->state->slot[k], nbytes, 0));
    }
    if (train->kept) {
        DPT_TRY(dpt_comm_bcast(train->world, train->kept, nbytes, 0));
    }
    return train->local.momentum ? dpt_comm_bcast(train->world, train->local.momentum, nbytes, 0) : DPT_STATUS_OK;
}

/* A state in parts: rank 0 reads tensor after tensor, and every rank takes its part of it. */
static enum dpt_status spread_state(struct dpt_train *train, struct dpt_ckpt *ckpt, bool model_only)
{
    struct list list = list_items(train, model_only);
    enum dpt_status status = DPT_STATUS_OK;
    for (int i = 0; i < list.count && status == DPT_STATUS_OK; i++) {
        struct dpt_ckpt_item item = list.item[i];
        const size_t nbytes = dpt_type_nbytes(&item.type);
        item.data = calloc(1, nbytes + 1);
        status = item.data ? DPT_STATUS_OK
                           : dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "no memory for %s, %zu bytes", item.name,
                                           nbytes);
        if (status == DPT_STATUS_OK && train->speaks && is_there(ckpt, &item)) {
            status = dpt_ckpt_load(ckpt, 1, &item, true);
        }
        status = dpt_agree(status, train->world);
        if (status == DPT_STATUS_OK) {
            status = dpt_comm_bcast(train->world, item.data, nbytes, 0);
        }
        if (status == DPT_STATUS_OK && list.value[i] == NOT_IN_STATE) {
            memcpy(list.item[i].data, item.data, nbytes);
        } else if (status == DPT_STATUS_OK) {
            status = dpt_agree(dpt_state_scatter(train->state, list.value[i], item.data), train->world);
        }
        free(item.data);
    }
    list_free(&list);
    return status;
}

/* Finds what to go on from and gives every rank the state. */
static enum dpt_status take_state(struct dpt_train *train, struct dpt_ckpt **ckpt, struct news *news)
{
    DPT_TRY(open_kept(train));
    DPT_TRY(dpt_agree(train->speaks ? begin(train, ckpt, news) : DPT_STATUS_OK, train->world));
    DPT_TRY(dpt_comm_bcast(train->world, news, sizeof *news, 0));
    if (!news->found && !news->loaded) {
        return DPT_STATUS_OK;
    }
    DPT_TRY(!train->in_parts ? share_state(train)
                             : spread_state(train, *ckpt, news->loaded || train->options->eval_only));
    if (train->kept) {
        dpt_exchange_set_kept(train->exchange, train->plan->nflat, train->kept);
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_train__resume(struct dpt_train *train, bool *finished)
{
    struct news news = {.best_step = -1};
    struct dpt_ckpt *ckpt = NULL;
    train->saved_step = -1;
    dpt_comm_deadline_pause(); /* verifying a large checkpoint takes its time */
    const enum dpt_status status = take_state(train, &ckpt, &news);
    close_kept(train);
    dpt_ckpt_close(ckpt);
    dpt_comm_deadline_resume();
    DPT_TRY(status);
    train->state->step = train->first_step = news.step;
    train->state->updates = news.updates;
    dpt_train__scale_begin(train);
    if (news.found) {
        train->state->loss_shift = news.loss_shift;
        train->state->steady = news.steady;
    }
    train->best_step = news.best_step;
    train->best_value = news.best_value;
    train->elapsed_before_s = news.elapsed_s;
    *finished = news.found && news.finished;
    return DPT_STATUS_OK;
}

/* ---------------------------------------------------------------------------------------------------------- save */

enum dpt_status dpt_train__save(struct dpt_train *train, bool is_best)
{
    const int64_t step = train->state->step;
    const double begin_s = dpt_clock_s();
    struct dpt_text config = {0};
    char layout[DPT_TRAIN__LAYOUT_SIZE];
    dpt_job_print(train->job, DPT_JOB_PRINT_FULL, &config);
    const struct dpt_ckpt_meta meta = {
        .step = step,
        .samples_seen = dpt_train__samples(train),
        .epoch = step / train->steps_per_epoch,
        .updates = train->state->updates,
        .loss_shift = train->state->loss_shift,
        .steady = train->state->steady,
        .elapsed_s = train->elapsed_before_s + (begin_s - train->begin_s),
        .finished = step >= train->steps,
        .best_step = train->best_step,
        .best_value = train->best_value,
        .best_metric = train->best_step >= 0 ? dpt_train__watched(train) : NULL,
        .config = config.data,
        .preparation = dpt_data_preparation(train->data),
        .layout = dpt_train__layout_text(train, layout),
        .version = PACKAGE_VERSION,
        .graph_hash = dpt_graph_hash(train->graph),
    };
    uint64_t nbytes = 0;
    DPT_TRY(dpt_train__local_save(train));
    DPT_TRY(open_kept(train));
    if (train->kept) {
        DPT_TRY(dpt_exchange_get_kept(train->exchange, train->plan->nflat, train->kept));
    }
    struct list list = list_items(train, false);
    struct gathering gathering = {train, &list};
    const struct dpt_ckpt_source source = {&gathering, gather_item};
    const enum dpt_status status =
        dpt_ckpt_save_from(train->job->run.output, train->world, train->in_parts ? &source : NULL, list.count, list.item,
                           &meta, (int)train->job->checkpoint.keep, is_best, &nbytes);
    list_free(&list);
    close_kept(train);
    dpt_text_free(&config);
    train->saved_s = dpt_clock_s();
    train->save_s = train->saved_s - begin_s;
    dpt_exec_seconds(train->exec)[DPT_SECTION_CHECKPOINT] += train->save_s;
    if (status == DPT_STATUS_OK) {
        train->saved_step = step;
        dpt_train__tell_saved(train, nbytes);
    }
    return status;
}
