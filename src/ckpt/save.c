/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Saving. The order of the commit is what makes it safe, whenever the process or the machine dies:
 *
 *   1. write every file into tmp-<step>, fsync each, fsync the folder
 *   2. rename tmp-<step> to step-<step>, fsync the folder above: from here on the checkpoint exists
 *   3. replace the pointer files `latest` and `best`
 *   4. only then take old ones away: rename to drop-<step>, delete
 *
 * What an earlier job left as tmp- or drop- is removed first. The values go from the caller's memory to the file in
 * large blocks; each block is hashed on its way.
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/text.h"
#include "ckpt/private.h"
#include "ckpt/safetensors.h"

enum {
    BLOCK = 1024 * 1024, /* bytes that are hashed and written at once; they stay in the cache */
    NFILES = 3,          /* model, optimizer, config                                         */
};

/* One safetensors file to be: its tensors in the order in which their values follow each other. */
struct plan {
    int count;
    int *tensor; /* index into the manifest's tensors, which keep the caller's order */
    struct dpt_ckpt__entry *entry;
    struct dpt_text head;
    int64_t nbytes;
};

struct save {
    struct dpt_arena *arena;
    const char *folder; /* <run>/checkpoints             */
    const char *tmp;    /* <run>/checkpoints/tmp-<step>  */
    const char *final;  /* <run>/checkpoints/step-<step> */
    int64_t step;
    struct plan plan[2]; /* by enum dpt_ckpt_file */
    struct dpt_ckpt__manifest manifest;
    const void **data;   /* of each of its tensors */
    struct dpt_comm *comm;
    const struct dpt_ckpt_source *source; /* NULL: data has the values    */
    void *fetched;      /* room for the largest tensor of a source */
    struct dpt_hash *whole, *part;
    int64_t need;       /* bytes of all files, estimated upwards */
};

static const char *step_path(const struct save *s, const char *prefix, int64_t step)
{
    char name[DPT_CKPT__NAME_SIZE];
    dpt_ckpt__name(name, prefix, step);
    return dpt_arena_printf(s->arena, "%s/%s", s->folder, name);
}

/* ---------------------------------------------------------------------------------------------------- planning */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A file with two tensors of one name could not be read again. */
static enum dpt_status check_names(const struct save *s, const struct plan *plan)
{
    const char **name = dpt_arena_array(s->arena, (size_t)plan->count, sizeof *name);
    for (int i = 0; i < plan->count; i++) {
        name[i] = plan->entry[i].name;
    }
    qsort(name, (size_t)plan->count, sizeof *name, by_name);
    for (int i = 1; i < plan->count; i++) {
        DPT_CHECK(strcmp(name[i - 1], name[i]) != 0, DPT_STATUS_FAILED,
                  "two tensors of the checkpoint have the name '%s'", name[i]);
    }
    return DPT_STATUS_OK;
}

/* The tensors of one kind, those with wide elements first: so all values lie aligned though they are packed. */
static enum dpt_status plan_file(struct save *s, enum dpt_ckpt_file kind)
{
    const struct dpt_ckpt__manifest *m = &s->manifest;
    struct plan *plan = &s->plan[kind];
    plan->tensor = dpt_arena_array(s->arena, (size_t)m->ntensors, sizeof *plan->tensor);
    plan->entry = dpt_arena_array(s->arena, (size_t)m->ntensors, sizeof *plan->entry);
    for (size_t width = 8; width > 0; width /= 2) {
        for (int i = 0; i < m->ntensors; i++) {
            const struct dpt_ckpt__tensor *tensor = &m->tensor[i];
            if (tensor->kind == kind && dpt_dtype_nbytes(tensor->type.dtype) == width) {
                plan->tensor[plan->count] = i;
                plan->entry[plan->count] = (struct dpt_ckpt__entry){.name = tensor->name, .type = tensor->type};
                plan->count++;
            }
        }
    }
    DPT_TRY(check_names(s, plan));
    return dpt_ckpt__safetensors_layout(plan->count, plan->entry, &plan->head, &plan->nbytes);
}

/* The manifest's tensors, one piece each, whose place and checksum are not known yet. */
static void list_tensors(struct save *s, int nitems, const struct dpt_ckpt_item *item)
{
    struct dpt_ckpt__manifest *m = &s->manifest;
    m->tensor = dpt_arena_array(s->arena, (size_t)nitems, sizeof *m->tensor);
    s->data = dpt_arena_array(s->arena, (size_t)nitems, sizeof *s->data);
    for (int i = 0; i < nitems; i++) {
        if (!item[i].writer) {
            continue;
        }
        struct dpt_ckpt__piece *piece = dpt_arena_alloc(s->arena, sizeof *piece);
        memcpy(piece->start, item[i].start, sizeof piece->start);
        memcpy(piece->extent, item[i].extent, sizeof piece->extent);
        s->data[m->ntensors] = item[i].data;
        m->tensor[m->ntensors++] = (struct dpt_ckpt__tensor){
            .name = item[i].name, .kind = item[i].file, .type = item[i].type, .npieces = 1, .piece = piece};
    }
}

static enum dpt_status plan_files(struct save *s, int nitems, const struct dpt_ckpt_item *item,
                                  const struct dpt_ckpt_meta *meta)
{
    list_tensors(s, nitems, item);
    DPT_TRY(plan_file(s, DPT_CKPT_FILE_MODEL));
    DPT_TRY(plan_file(s, DPT_CKPT_FILE_OPTIMIZER));
    /* The manifest takes less than a KiB a tensor, and the preparation's text grows by its escapes. */
    s->need = s->plan[0].nbytes + s->plan[1].nbytes + (int64_t)strlen(meta->config) + 1024 * ((int64_t)nitems + 64);
    s->need += meta->preparation ? 2 * (int64_t)strlen(meta->preparation) : 0;

    struct dpt_ckpt__manifest *m = &s->manifest;
    char *now = dpt_arena_alloc(s->arena, 21);
    dpt_clock_utc(now, 21);
    m->meta = *meta;
    m->meta.saved_utc = now;
    m->file = dpt_arena_array(s->arena, NFILES, sizeof *m->file);
    return DPT_STATUS_OK;
}

/* What the file system says is free, or -1 where it does not know. */
static int64_t free_bytes(const char *path)
{
    struct statvfs info;
    return statvfs(path, &info) == 0 && info.f_blocks > 0 ? (int64_t)info.f_bavail * (int64_t)info.f_frsize : -1;
}

/* A failure to write `path`; where space ran out it says how much is needed and free. */
static enum dpt_status write_failed(const struct save *s, const char *path, int error)
{
    const enum dpt_status status = dpt_file_write_status(error);
    const int64_t avail = free_bytes(s->folder);
    if (status != DPT_STATUS_SPACE || avail < 0) {
        return dpt_error_set(status, __FILE__, __LINE__, "%s: cannot be written: %s", path, strerror(error));
    }
    char need[24], have[24];
    return dpt_error_set(status, __FILE__, __LINE__,
                         "%s: cannot be written: %s; the checkpoint needs %s and %s are free; free some space, or "
                         "lower [checkpoint] keep",
                         path, strerror(error), dpt_text_bytes(need, sizeof need, (uint64_t)s->need),
                         dpt_text_bytes(have, sizeof have, (uint64_t)avail));
}

static enum dpt_status check_space(const struct save *s)
{
    const int64_t avail = free_bytes(s->folder);
    return avail < 0 || avail >= s->need ? DPT_STATUS_OK : write_failed(s, s->tmp, ENOSPC);
}

/* ----------------------------------------------------------------------------------------------------- writing */

/* Writes a block and adds it to the hashes. */
static int put(const struct save *s, int fd, const void *data, size_t nbytes, struct dpt_hash *part)
{
    for (const char *at = data; nbytes;) {
        const size_t now = nbytes < BLOCK ? nbytes : BLOCK;
        dpt_hash_add(s->whole, at, now);
        if (part) {
            dpt_hash_add(part, at, now);
        }
        for (size_t done = 0; done < now;) {
            const ssize_t wrote = write(fd, at + done, now - done);
            if (wrote < 0 && errno != EINTR) {
                return errno;
            }
            done += wrote > 0 ? (size_t)wrote : 0;
        }
        at += now;
        nbytes -= now;
    }
    return 0;
}

enum { NO_MORE = -1 }; /* instead of the number of a tensor */

/* All ranks put tensor `i` together; the others wait to hear which one. A failure here is one of MPI: it ends the job. */
static const void *fetch(struct save *s, int i)
{
    if (!s->source) {
        return s->data[i];
    }
    enum dpt_status status = dpt_comm_bcast(s->comm, &i, sizeof i, 0);
    if (status == DPT_STATUS_OK) {
        status = s->source->fetch(s->source->user, i, s->fetched);
    }
    if (status != DPT_STATUS_OK) {
        dpt_fatal(status, "a tensor of the checkpoint could not be put together: %s", dpt_error_text());
    }
    return s->fetched;
}

/* The part of a rank that does not write. */
static enum dpt_status serve(struct dpt_comm *comm, const struct dpt_ckpt_source *source, void *room)
{
    for (;;) {
        int item = NO_MORE;
        DPT_TRY(dpt_comm_bcast(comm, &item, sizeof item, 0));
        if (item == NO_MORE) {
            return DPT_STATUS_OK;
        }
        DPT_TRY(source->fetch(source->user, item, room));
    }
}

/* The values of a file, and what they add to the manifest. */
static int put_values(struct save *s, int fd, int file, const struct plan *plan)
{
    for (int i = 0; i < plan->count; i++) {
        const struct dpt_ckpt__entry *entry = &plan->entry[i];
        dpt_hash_reset(s->part);
        const int error = put(s, fd, fetch(s, plan->tensor[i]), (size_t)entry->nbytes, s->part);
        if (error) {
            return error;
        }
        struct dpt_ckpt__piece *piece = s->manifest.tensor[plan->tensor[i]].piece;
        piece->file = file;
        piece->offset = entry->offset;
        piece->nbytes = entry->nbytes;
        dpt_hash_text(s->part, piece->checksum);
    }
    return 0;
}

/* A new file: `head`, then the values of `plan` (may be NULL), fsynced. Adds it to the manifest under `name`. */
static enum dpt_status write_file(struct save *s, const char *name, const char *head, size_t nhead,
                                  const struct plan *plan)
{
    const char *path = dpt_arena_printf(s->arena, "%s/%s", s->tmp, name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0) {
        return write_failed(s, path, errno);
    }
    dpt_hash_reset(s->whole);
    int error = put(s, fd, head, nhead, NULL);
    if (!error && plan) {
        error = put_values(s, fd, s->manifest.nfiles, plan);
    }
    if (!error && fsync(fd) != 0) {
        error = errno;
    }
    if (close(fd) != 0 && !error) {
        error = errno;
    }
    if (error) {
        return write_failed(s, path, error);
    }
    if (strcmp(name, DPT_CKPT__MANIFEST) != 0) {
        struct dpt_ckpt__file *file = &s->manifest.file[s->manifest.nfiles++];
        file->name = name;
        file->nbytes = plan ? plan->nbytes : (int64_t)nhead;
        dpt_hash_text(s->whole, file->checksum);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status write_files(struct save *s, uint64_t *nbytes)
{
    static const char *const name[] = {"model.safetensors", "optimizer.safetensors"};
    for (int kind = 0; kind < 2; kind++) {
        const struct plan *plan = &s->plan[kind];
        if (plan->count) {
            DPT_TRY(write_file(s, name[kind], plan->head.data, plan->head.length, plan));
        }
    }
    const char *config = s->manifest.meta.config;
    DPT_TRY(write_file(s, DPT_CKPT__CONFIG, config, strlen(config), NULL));
    *nbytes = 0;
    for (int i = 0; i < s->manifest.nfiles; i++) {
        *nbytes += (uint64_t)s->manifest.file[i].nbytes;
    }

    struct dpt_text text = {0};
    dpt_ckpt__manifest_print(&s->manifest, &text);
    *nbytes += text.length;
    const enum dpt_status status = write_file(s, DPT_CKPT__MANIFEST, text.data, text.length, NULL);
    dpt_text_free(&text);
    DPT_TRY(status);
    return dpt_file_sync_dir(s->tmp);
}

/* Removes the begun folder and keeps the sentence of the failure that made it useless. */
static enum dpt_status undo(const struct save *s, enum dpt_status status)
{
    const char *why = dpt_arena_strdup(s->arena, dpt_error_text());
    dpt_file_remove_dir(s->tmp);
    return dpt_error_set(status, __FILE__, __LINE__, "%s", why);
}

/* -------------------------------------------------------------------------------------------------- committing */

/* Gives the written folder its final name. */
static enum dpt_status commit(const struct save *s)
{
    bool done = false;
    if (dpt_file_exists(s->final)) {
        /* The same step again: the two folders change places, so that one of them is there at any moment. */
        done = renameat2(AT_FDCWD, s->tmp, AT_FDCWD, s->final, RENAME_EXCHANGE) == 0;
        if (!done && (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP)) {
            /* This file system cannot (NFS): for a moment only the other steps are there. */
            const char *away = step_path(s, DPT_CKPT__DROP, s->step);
            DPT_CHECK(rename(s->final, away) == 0, DPT_STATUS_FAILED, "%s: cannot be renamed to %s: %s", s->final, away,
                      strerror(errno));
        }
    }
    DPT_CHECK(done || rename(s->tmp, s->final) == 0, dpt_file_write_status(errno), "%s: cannot be renamed to %s: %s",
              s->tmp, s->final, strerror(errno));
    return dpt_file_sync_dir(s->folder);
}

static enum dpt_status set_pointer(const struct save *s, const char *name)
{
    char text[DPT_CKPT__NAME_SIZE + 1];
    dpt_ckpt__name(text, DPT_CKPT__STEP, s->step);
    strcat(text, "\n");
    return dpt_file_replace(dpt_arena_printf(s->arena, "%s/%s", s->folder, name), text, strlen(text));
}

/*
 * Deletes what is not or no longer a checkpoint: folders being written or deleted when a job died, and those that
 * were retired. The checkpoint itself stands, so a failure is worth a line and no more.
 */
static void clean(const struct save *s)
{
    static const char *const prefix[] = {DPT_CKPT__TMP, DPT_CKPT__DROP};
    for (int k = 0; k < 2; k++) {
        int64_t *step;
        const int count = dpt_ckpt__steps(s->folder, prefix[k], s->arena, &step);
        for (int i = 0; i < count; i++) {
            if (dpt_file_remove_dir(step_path(s, prefix[k], step[i])) != DPT_STATUS_OK) {
                dpt_log("NOTE   a left-over folder takes space: %s\n", dpt_error_text());
            }
        }
    }
}

/*
 * Takes all checkpoints away but the newest `keep`, this one and the best one. They lose their names first, so that a
 * reader finds a whole checkpoint or none.
 */
static void retire(const struct save *s, int keep)
{
    int64_t *step;
    const int count = dpt_ckpt__steps(s->folder, DPT_CKPT__STEP, s->arena, &step);
    const int64_t best = dpt_ckpt__pointer(s->folder, "best");
    for (int i = keep; i < count; i++) {
        const char *path = step_path(s, DPT_CKPT__STEP, step[i]);
        if (step[i] != s->step && step[i] != best && rename(path, step_path(s, DPT_CKPT__DROP, step[i])) != 0) {
            dpt_log("NOTE   an old checkpoint takes space: %s cannot be renamed: %s\n", path, strerror(errno));
        }
    }
    clean(s);
}

static enum dpt_status make_folder(const struct save *s, const char *run)
{
    if (dpt_file_exists(s->folder)) {
        return DPT_STATUS_OK;
    }
    DPT_TRY(dpt_file_mkdir(s->folder));
    return dpt_file_sync_dir(run);
}

static enum dpt_status save(struct save *s, const char *run, int nitems, const struct dpt_ckpt_item *item,
                            const struct dpt_ckpt_meta *meta, int keep, bool is_best, uint64_t *nbytes)
{
    DPT_TRY(make_folder(s, run));
    clean(s);
    DPT_TRY(plan_files(s, nitems, item, meta));
    DPT_TRY(check_space(s));
    if (mkdir(s->tmp, 0777) != 0) {
        return write_failed(s, s->tmp, errno);
    }
    enum dpt_status status = write_files(s, nbytes);
    if (status == DPT_STATUS_OK) {
        status = commit(s);
    }
    if (status != DPT_STATUS_OK) {
        return undo(s, status);
    }
    status = set_pointer(s, "latest");
    if (status == DPT_STATUS_OK && is_best) {
        status = set_pointer(s, "best");
    }
    const char *why = dpt_arena_strdup(s->arena, dpt_error_text());
    retire(s, keep);
    return status == DPT_STATUS_OK ? status : dpt_error_set(status, __FILE__, __LINE__, "%s", why);
}

static enum dpt_status save_alone(struct save *s, const char *run, int nitems, const struct dpt_ckpt_item *item,
                                  const struct dpt_ckpt_meta *meta, int keep, bool is_best, uint64_t *nbytes)
{
    for (int i = 0; i < nitems; i++) {
        DPT_ASSERT(!s->source || item[i].writer); /* a source counts all items */
        for (int d = 0; d < item[i].type.ndim; d++) {
            DPT_ASSERT(item[i].start[d] == 0 && item[i].extent[d] == item[i].type.dim[d]);
        }
    }
    s->folder = dpt_arena_printf(s->arena, "%s/" DPT_CKPT__FOLDER, run);
    s->tmp = step_path(s, DPT_CKPT__TMP, s->step);
    s->final = step_path(s, DPT_CKPT__STEP, s->step);
    const enum dpt_status status = save(s, run, nitems, item, meta, keep, is_best, nbytes);
    dpt_text_free(&s->plan[0].head);
    dpt_text_free(&s->plan[1].head);
    return status;
}

/* Room for the largest tensor. Every rank needs it at the same time, so that none goes on without the others. */
static enum dpt_status make_room(struct dpt_comm *comm, int nitems, const struct dpt_ckpt_item *item, void **room)
{
    size_t most = 1;
    for (int i = 0; i < nitems; i++) {
        const size_t nbytes = dpt_type_nbytes(&item[i].type);
        most = nbytes > most ? nbytes : most;
    }
    *room = malloc(most);
    return dpt_agree(*room ? DPT_STATUS_OK
                           : dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__,
                                           "no memory for the largest tensor of the checkpoint, %zu bytes", most),
                     comm);
}

static enum dpt_status save_on_all(struct save *s, const char *run, int nitems, const struct dpt_ckpt_item *item,
                                   const struct dpt_ckpt_meta *meta, int keep, bool is_best, uint64_t *nbytes)
{
    enum dpt_status status = DPT_STATUS_OK;
    if (s->source) {
        DPT_TRY(make_room(s->comm, nitems, item, &s->fetched));
    }
    if (dpt_comm_rank(s->comm) == 0) {
        status = save_alone(s, run, nitems, item, meta, keep, is_best, nbytes);
        int no_more = NO_MORE;
        if (s->source && dpt_comm_bcast(s->comm, &no_more, sizeof no_more, 0) != DPT_STATUS_OK) {
            dpt_fatal(DPT_STATUS_COMM, "%s", dpt_error_text());
        }
    } else if (s->source) {
        status = serve(s->comm, s->source, s->fetched);
    }
    return dpt_agree(status, s->comm);
}

enum dpt_status dpt_ckpt_save_from(const char *run, struct dpt_comm *comm, const struct dpt_ckpt_source *source, int nitems,
                                   const struct dpt_ckpt_item *item, const struct dpt_ckpt_meta *meta, int keep,
                                   bool is_best, uint64_t *nbytes)
{
    DPT_ASSERT(meta->step >= 0 && keep >= 1 && meta->config && meta->layout && meta->version);
    for (int i = 0; i < nitems && dpt_comm_rank(comm) > 0; i++) {
        DPT_ASSERT(!item[i].writer);
    }
    struct save s = {
        .arena = dpt_arena_new(),
        .step = meta->step,
        .comm = comm,
        .source = source,
        .whole = dpt_hash_new(),
        .part = dpt_hash_new(),
    };
    dpt_comm_deadline_pause();
    const enum dpt_status status = save_on_all(&s, run, nitems, item, meta, keep, is_best, nbytes);
    dpt_comm_deadline_resume();
    free(s.fetched);
    dpt_hash_free(s.whole);
    dpt_hash_free(s.part);
    dpt_arena_free(s.arena);
    DPT_TRY(status);
    return dpt_comm_bcast(comm, nbytes, sizeof *nbytes, 0);
}

enum dpt_status dpt_ckpt_save(const char *run, struct dpt_comm *comm, int nitems, const struct dpt_ckpt_item *item,
                              const struct dpt_ckpt_meta *meta, int keep, bool is_best, uint64_t *nbytes)
{
    return dpt_ckpt_save_from(run, comm, NULL, nitems, item, meta, keep, is_best, nbytes);
}
