/* SPDX-License-Identifier: Apache-2.0 */

/* dpt-info: what is in a run directory or a checkpoint. Needs no MPI. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/command.h"
#include "base/text.h"
#include "ckpt/ckpt.h"
#include "comm/comm.h"
#include "dev/dev.h"

enum { STATE = DPT_COMMAND_LONG, VERIFY, JSON, DEVICES };

static const struct dpt_command_option table[] = {
    {"tensors", 't', NULL, "list all tensors: name, type, shape"},
    {"config", 'c', NULL, "print the job file that the checkpoint was made with, and nothing else"},
    {"state", STATE, NULL, "print one word alone: finished, paused, imported, none or damaged"},
    {"verify", VERIFY, NULL, "read every byte and check it; exit status 3 when something is damaged"},
    {"best", 'b', NULL, "look at the best checkpoint of the run, not the newest"},
    {"json", JSON, NULL, "print as JSON"},
    {"devices", DEVICES, NULL, "print the MPI that dpt was built with, and the cores and cards here"},
};

struct options {
    bool tensors, config, state, verify, best, json, devices;
    const char *path;
    int paths;
};

/* ----------------------------------------------------------------------------------------------------- metrics */

enum {
    METRICS_TAIL = 256 * 1024, /* bytes at the end of metrics.jsonl that are looked at */
};

/*
 * The last "train" record and the last "eval" record of each split, as {"train": {...}, "valid": {...}}; empty when
 * there is no metrics.jsonl. Lines that are no JSON, such as one that is being written, are passed over.
 */
static json_t *last_metrics(const char *run)
{
    json_t *last = json_object();
    struct dpt_arena *arena = dpt_arena_new();
    const int fd = open(dpt_arena_printf(arena, "%s/metrics.jsonl", run), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char *tail = dpt_arena_alloc(arena, METRICS_TAIL + 1);
    const off_t end = fd >= 0 ? lseek(fd, 0, SEEK_END) : -1;
    const off_t begin = end > METRICS_TAIL ? end - METRICS_TAIL : 0;
    const ssize_t got = end > 0 ? pread(fd, tail, METRICS_TAIL, begin) : 0;
    if (fd >= 0) {
        close(fd);
    }
    char *rest = NULL;
    for (char *line = got > 0 ? strtok_r(tail, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest)) {
        json_t *record = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        const char *kind = json_string_value(json_object_get(record, "kind"));
        const char *split = json_string_value(json_object_get(record, "split"));
        if (kind && strcmp(kind, "train") == 0) {
            json_object_set(last, "train", record);
        } else if (kind && split && strcmp(kind, "eval") == 0) {
            json_object_set(last, split, record);
        }
        json_decref(record);
    }
    dpt_arena_free(arena);
    return last;
}

static void print_metrics(const json_t *last)
{
    const char *split, *key;
    json_t *record, *value;
    json_object_foreach((json_t *)last, split, record) {
        printf("%-12s", split);
        json_object_foreach(record, key, value) {
            if (json_is_number(value) && strcmp(key, "step") != 0 && strcmp(key, "epoch") != 0 &&
                strcmp(key, "samples") != 0 && strcmp(key, "t") != 0 && strcmp(key, "v") != 0) {
                printf("%s %.6g  ", key, json_number_value(value));
            }
        }
        printf("at step %" PRId64 "\n", (int64_t)json_integer_value(json_object_get(record, "step")));
    }
}

/* ----------------------------------------------------------------------------------------------------- summary */

static const char *kind_name(enum dpt_ckpt_file kind)
{
    return kind == DPT_CKPT_FILE_MODEL ? "model" : "optimizer";
}

struct count {
    int tensors;
    int64_t elements;
    uint64_t nbytes;
};

static struct count count_tensors(const struct dpt_ckpt *ckpt, enum dpt_ckpt_file kind)
{
    struct count count = {0};
    struct dpt_ckpt_item item;
    for (int i = 0; dpt_ckpt_at(ckpt, i, &item); i++) {
        if (item.file == kind) {
            count.tensors++;
            count.elements += dpt_type_numel(&item.type);
            count.nbytes += dpt_type_nbytes(&item.type);
        }
    }
    return count;
}

static void print_tensors(const struct dpt_ckpt *ckpt)
{
    int width = 4;
    struct dpt_ckpt_item item;
    for (int i = 0; dpt_ckpt_at(ckpt, i, &item); i++) {
        const int length = (int)strlen(item.name);
        width = length > width ? length : width;
    }
    printf("\n%-9s  %-*s  %-28s  %12s\n", "file", width, "name", "type", "elements");
    for (int i = 0; dpt_ckpt_at(ckpt, i, &item); i++) {
        char type[96];
        printf("%-9s  %-*s  %-28s  %12" PRId64 "\n", kind_name(item.file), width, item.name,
               dpt_type_text(type, sizeof type, &item.type), dpt_type_numel(&item.type));
    }
}

static const char *state_of(const struct dpt_ckpt *ckpt)
{
    const struct dpt_ckpt_meta *meta = ckpt ? dpt_ckpt_meta(ckpt) : NULL;
    const bool trained = meta && (meta->step > 0 || meta->elapsed_s > 0.0);
    return !meta ? "none" : meta->finished ? "finished" : trained ? "paused" : "imported";
}

static void print_summary(const struct options *options, const struct dpt_ckpt *ckpt, const json_t *metrics)
{
    printf("%-12s%s\n", "state", state_of(ckpt));
    if (ckpt) {
        const struct dpt_ckpt_meta *meta = dpt_ckpt_meta(ckpt);
        char text[24];
        printf("%-12s%s\n", "checkpoint", dpt_ckpt_path(ckpt));
        printf("%-12s%s by dpt %s, layout %s, %s\n", "saved", meta->saved_utc, meta->version, meta->layout,
               dpt_text_bytes(text, sizeof text, dpt_ckpt_nbytes(ckpt)));
        printf("%-12s%" PRId64 ", epoch %" PRId64 ", %" PRId64 " samples, %" PRId64 " updates, %s of training\n",
               "step", meta->step, meta->epoch, meta->samples_seen, meta->updates,
               dpt_text_time(text, sizeof text, meta->elapsed_s));
        if (meta->best_metric) {
            printf("%-12s%s %.6g at step %" PRId64 "\n", "best", meta->best_metric, meta->best_value, meta->best_step);
        }
        for (int kind = DPT_CKPT_FILE_MODEL; kind <= DPT_CKPT_FILE_OPTIMIZER; kind++) {
            const struct count count = count_tensors(ckpt, kind);
            char bytes[24];
            printf("%-12s%s elements in %d tensor%s, %s\n", kind_name(kind),
                   dpt_text_count(text, sizeof text, (double)count.elements), count.tensors,
                   count.tensors == 1 ? "" : "s", dpt_text_bytes(bytes, sizeof bytes, count.nbytes));
        }
    }
    print_metrics(metrics);
    if (ckpt && options->tensors) {
        print_tensors(ckpt);
    }
}

/* Paths need not be UTF-8; they are printed as they are. */
static json_t *json_path(const char *path)
{
    return json_string_nocheck(path);
}

static json_t *json_tensors(const struct dpt_ckpt *ckpt)
{
    json_t *list = json_array();
    struct dpt_ckpt_item item;
    for (int i = 0; dpt_ckpt_at(ckpt, i, &item); i++) {
        json_t *shape = json_array();
        for (int d = 0; d < item.type.ndim; d++) {
            json_array_append_new(shape, json_integer(item.type.dim[d]));
        }
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:o}", "name", item.name, "file", kind_name(item.file),
                                              "dtype", dpt_dtype_name(item.type.dtype), "shape", shape));
    }
    return list;
}

static void print_json_value(json_t *root)
{
    json_dumpf(root, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(root);
}

static void print_json(const struct options *options, const struct dpt_ckpt *ckpt, json_t *metrics)
{
    json_t *root = json_pack("{s:o, s:s, s:O}", "path", json_path(options->path), "state", state_of(ckpt), "metrics",
                             metrics);
    if (ckpt) {
        const struct dpt_ckpt_meta *meta = dpt_ckpt_meta(ckpt);
        const struct count model = count_tensors(ckpt, DPT_CKPT_FILE_MODEL);
        const struct count optimizer = count_tensors(ckpt, DPT_CKPT_FILE_OPTIMIZER);
        char hash[17];
        snprintf(hash, sizeof hash, "%016" PRIx64, meta->graph_hash);
        json_t *more = json_pack(
            "{s:o, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:b, s:I, s:I}", "checkpoint",
            json_path(dpt_ckpt_path(ckpt)), "saved_utc", meta->saved_utc, "version", meta->version, "layout",
            meta->layout, "graph_hash", hash, "step", (json_int_t)meta->step, "epoch", (json_int_t)meta->epoch, "samples_seen", (json_int_t)meta->samples_seen,
            "updates", (json_int_t)meta->updates, "nbytes", (json_int_t)dpt_ckpt_nbytes(ckpt), "elapsed_s",
            meta->elapsed_s, "finished", (int)meta->finished, "model_elements", (json_int_t)model.elements,
            "optimizer_elements", (json_int_t)optimizer.elements);
        json_object_update(root, more);
        json_decref(more);
        if (meta->best_metric) {
            json_object_set_new(root, "best", json_pack("{s:I, s:f, s:s}", "step", (json_int_t)meta->best_step, "value",
                                                        meta->best_value, "metric", meta->best_metric));
        }
        if (options->tensors) {
            json_object_set_new(root, "tensors", json_tensors(ckpt));
        }
    }
    print_json_value(root);
}

/* ------------------------------------------------------------------------------------------------------ verify */

/* Reads and checks every checkpoint below the path. */
static enum dpt_status verify(const struct options *options)
{
    struct dpt_arena *arena = dpt_arena_new();
    char **folder;
    const int count = dpt_ckpt_list(options->path, arena, &folder);
    json_t *list = json_array();
    enum dpt_status worst = DPT_STATUS_OK;
    for (int i = 0; i < count; i++) {
        struct dpt_ckpt *ckpt = NULL;
        struct dpt_text notes = {0};
        const enum dpt_status status = dpt_ckpt_open(folder[i], false, &ckpt, &notes);
        worst = status > worst ? status : worst;
        char size[24] = "";
        if (ckpt) {
            dpt_text_bytes(size, sizeof size, dpt_ckpt_nbytes(ckpt));
        }
        if (options->json) {
            json_array_append_new(list, json_pack("{s:o, s:b, s:o}", "checkpoint", json_path(folder[i]), "good",
                                                  ckpt != NULL, "fault", json_path(ckpt ? "" : dpt_error_text())));
        } else {
            printf("%-8s %s  %s\n", ckpt ? "good" : "damaged", folder[i], ckpt ? size : dpt_error_text());
        }
        dpt_text_free(&notes);
        dpt_ckpt_close(ckpt);
    }
    if (options->json) {
        print_json_value(list);
    } else {
        json_decref(list);
    }
    if (count == 0) {
        fprintf(stderr, "dpt-info: %s: has no checkpoint\n", options->path);
    }
    dpt_error_clear(); /* it is printed above */
    dpt_arena_free(arena);
    return worst;
}

/* -------------------------------------------------------------------------------------------------------- main */

static enum dpt_status print_config(const struct options *options, const struct dpt_ckpt *ckpt)
{
    DPT_CHECK(ckpt, DPT_STATUS_DATA, "%s: has no checkpoint, so no job file either", options->path);
    fputs(dpt_ckpt_meta(ckpt)->config, stdout);
    return DPT_STATUS_OK;
}

static enum dpt_status look(const struct options *options)
{
    struct dpt_ckpt *ckpt = NULL;
    struct dpt_text notes = {0};
    enum dpt_status status = dpt_ckpt_peek(options->path, options->best, &ckpt, &notes);
    if (notes.length) {
        fputs(notes.data, stderr);
    }
    dpt_text_free(&notes);
    if (options->state) {
        printf("%s\n", status == DPT_STATUS_OK ? state_of(ckpt) : "damaged");
    } else if (status == DPT_STATUS_OK && options->config) {
        status = print_config(options, ckpt);
    } else if (status == DPT_STATUS_OK) {
        json_t *metrics = last_metrics(options->path);
        if (options->json) {
            print_json(options, ckpt, metrics);
        } else {
            print_summary(options, ckpt, metrics);
        }
        json_decref(metrics);
    }
    dpt_ckpt_close(ckpt);
    return status;
}

static enum dpt_status inspect(const struct options *options)
{
    struct stat info;
    DPT_CHECK(stat(options->path, &info) == 0, DPT_STATUS_DATA, "%s: %s", options->path, strerror(errno));
    DPT_CHECK(S_ISDIR(info.st_mode), DPT_STATUS_DATA,
              "%s: is a file; give the run directory or the folder of a checkpoint", options->path);
    return options->verify ? verify(options) : look(options);
}

/* A line a device, with which a job would begin on this host. */
static enum dpt_status print_devices(void)
{
    struct dpt_dev *cores;
    const char *why;
    char memory[24];
    const int cards = dpt_dev_cuda_count(&why);
    printf("build: dpt " PACKAGE_VERSION ", %s\n", dpt_comm_library());
    DPT_TRY(dpt_dev_cpu(1, &cores));
    printf("%s\n", cores->name);
    dpt_dev_close(cores);
    for (int card = 0; card < cards; card++) {
        struct dpt_dev_info info;
        DPT_TRY(dpt_dev_cuda_info(card, &info));
        printf("cuda %d: %s, %s, %d multiprocessor%s of compute capability %d.%d, driver for CUDA %d.%d\n", card, info.name,
               dpt_text_bytes(memory, sizeof memory, info.nbytes), info.multiprocessors,
               info.multiprocessors == 1 ? "" : "s", info.major, info.minor,
               info.driver_major, info.driver_minor);
    }
    if (cards == 0) {
        printf("no cards: %s\n", why);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status take(void *user, int letter, const char *value)
{
    struct options *options = user;
    switch (letter) {
    case DPT_COMMAND_WORD:
        options->path = value;
        options->paths++;
        break;
    case 't':
        options->tensors = true;
        break;
    case 'c':
        options->config = true;
        break;
    case 'b':
        options->best = true;
        break;
    case STATE:
        options->state = true;
        break;
    case VERIFY:
        options->verify = true;
        break;
    case JSON:
        options->json = true;
        break;
    default: /* DEVICES */
        options->devices = true;
        break;
    }
    return DPT_STATUS_OK;
}

static enum dpt_status check(void *user)
{
    const struct options *options = user;
    DPT_CHECK(!options->devices || options->paths == 0, DPT_STATUS_USAGE, "--devices takes no path");
    DPT_CHECK(options->devices || options->paths > 0, DPT_STATUS_USAGE, "a run directory or checkpoint is missing");
    DPT_CHECK(options->paths <= 1, DPT_STATUS_USAGE, "more than one path is given");
    return DPT_STATUS_OK;
}

static enum dpt_status work(void *user)
{
    const struct options *options = user;
    return options->devices ? print_devices() : inspect(options);
}

static const struct dpt_command command = {
    .name = "dpt-info",
    .begin = "Usage: dpt-info [OPTION]... PATH\n"
             "       dpt-info --devices\n"
             "Print what is in a run directory or a checkpoint.\n"
             "\n",
    .end = "\n"
           "Exit status: 0 good, 1 output failed, 2 wrong usage, 3 damaged or missing, 5 disk\n"
           "full. See dpt-info(1).\n",
    .option = table,
    .noptions = sizeof table / sizeof table[0],
    .take = take,
    .check = check,
    .work = work,
};

int main(int argc, char **argv)
{
    struct options options = {0};
    return dpt_command_main(&command, argc, argv, &options);
}
