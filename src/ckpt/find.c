/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Finding a checkpoint to go on from: the newest whose every byte is as the manifest says. The pointer file `latest`
 * is for people; the folders themselves are looked through, so that a job killed between two steps of a commit is
 * found in either state.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/text.h"
#include "ckpt/private.h"
#include "ckpt/safetensors.h"

enum {
    CONFIG_MAX = 16 * 1024 * 1024, /* bytes of config.ini                                            */
    BLOCK = 1024 * 1024,           /* bytes that are read and hashed at once; they stay in the cache */
};

/* ----------------------------------------------------------------------------------------------------- names */

void dpt_ckpt__name(char name[DPT_CKPT__NAME_SIZE], const char *prefix, int64_t step)
{
    snprintf(name, DPT_CKPT__NAME_SIZE, "%s%08lld", prefix, (long long)step);
}

int64_t dpt_ckpt__name_step(const char *name, const char *prefix)
{
    const size_t length = strlen(prefix);
    if (strncmp(name, prefix, length) != 0) {
        return -1;
    }
    /* A name that is not written exactly as we write it is somebody else's folder. */
    char again[DPT_CKPT__NAME_SIZE];
    const long long step = strtoll(name + length, NULL, 10);
    dpt_ckpt__name(again, prefix, step);
    return step >= 0 && strcmp(name, again) == 0 ? step : -1;
}

static int descending(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

int dpt_ckpt__steps(const char *folder, const char *prefix, struct dpt_arena *arena, int64_t **step)
{
    *step = NULL;
    size_t count = 0, capacity = 0;
    DIR *dir = opendir(folder);
    if (!dir) {
        return 0;
    }
    for (const struct dirent *entry; (entry = readdir(dir));) {
        const int64_t found = dpt_ckpt__name_step(entry->d_name, prefix);
        if (found >= 0) {
            *step = dpt_arena_grow(arena, *step, count, &capacity, sizeof **step);
            (*step)[count++] = found;
        }
    }
    closedir(dir);
    if (count) {
        qsort(*step, count, sizeof **step, descending);
    }
    return (int)count;
}

int64_t dpt_ckpt__pointer(const char *folder, const char *name)
{
    char path[PATH_MAX], *text;
    size_t length;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path ||
        dpt_file_read(path, DPT_CKPT__NAME_SIZE, &text, &length) != DPT_STATUS_OK) {
        return -1;
    }
    text[strcspn(text, "\n")] = '\0';
    const int64_t step = dpt_ckpt__name_step(text, DPT_CKPT__STEP);
    free(text);
    return step;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ------------------------------------------------------------------------------------------------- one folder */

enum dpt_status dpt_ckpt__read_at(int fd, const char *path, int64_t offset, void *data, size_t nbytes)
{
    for (size_t done = 0; done < nbytes;) {
        const ssize_t got = pread(fd, (char *)data + done, nbytes - done, offset + (int64_t)done);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        DPT_CHECK(got >= 0, DPT_STATUS_DATA, "%s: cannot be read at byte %lld: %s", path,
                  (long long)offset + (long long)done, strerror(errno));
        DPT_CHECK(got > 0, DPT_STATUS_DATA, "%s: ends at byte %lld; it is cut short", path,
                  (long long)offset + (long long)done);
        done += (size_t)got;
    }
    return DPT_STATUS_OK;
}

/* Opens a plain file of a checkpoint: no link, no pipe that would make us wait. */
static enum dpt_status open_file(const char *path, int *fd, int64_t *nbytes)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    DPT_CHECK(*fd >= 0, DPT_STATUS_DATA, "%s: cannot be opened: %s", path, strerror(errno));
    struct stat info;
    DPT_CHECK(fstat(*fd, &info) == 0 && S_ISREG(info.st_mode), DPT_STATUS_DATA, "%s: is not a plain file", path);
    *nbytes = info.st_size;
    return DPT_STATUS_OK;
}

/* Reads all of an open file of at most `limit` bytes into a malloc'ed, NUL-terminated block. */
static enum dpt_status read_whole(int fd, const char *path, int64_t nbytes, int64_t limit, char **data)
{
    DPT_CHECK(nbytes <= limit, DPT_STATUS_DATA, "%s: has %lld bytes; at most %lld are expected", path,
              (long long)nbytes, (long long)limit);
    char *block = malloc((size_t)nbytes + 1);
    DPT_CHECK(block, DPT_STATUS_SPACE, "%s: no memory for its %lld bytes", path, (long long)nbytes);
    const enum dpt_status status = dpt_ckpt__read_at(fd, path, 0, block, (size_t)nbytes);
    if (status != DPT_STATUS_OK) {
        free(block);
        return status;
    }
    block[nbytes] = '\0';
    *data = block;
    return DPT_STATUS_OK;
}

static enum dpt_status read_manifest(struct dpt_ckpt *ckpt)
{
    const char *path = dpt_arena_printf(ckpt->arena, "%s/" DPT_CKPT__MANIFEST, ckpt->path);
    int fd;
    int64_t nbytes;
    char *text = NULL;
    enum dpt_status status = open_file(path, &fd, &nbytes);
    if (status == DPT_STATUS_OK) {
        status = read_whole(fd, path, nbytes, DPT_CKPT__HEADER_MAX, &text);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (status == DPT_STATUS_OK) {
        status = dpt_ckpt__manifest_parse(path, text, (size_t)nbytes, ckpt->arena, &ckpt->manifest);
    }
    free(text);
    DPT_TRY(status);

    /* The folder's name says the step too; a copy under another name is fine. */
    char real[PATH_MAX];
    const char *name = realpath(ckpt->path, real) ? base_name(real) : "";
    const int64_t step = dpt_ckpt__name_step(name, DPT_CKPT__STEP);
    DPT_CHECK(step < 0 || step == ckpt->manifest.meta.step, DPT_STATUS_DATA,
              "%s: is of step %lld, but the folder is named %s", path, (long long)ckpt->manifest.meta.step, name);
    return DPT_STATUS_OK;
}

static const char *file_path(const struct dpt_ckpt *ckpt, int file)
{
    return dpt_arena_printf(ckpt->arena, "%s/%s", ckpt->path, ckpt->manifest.file[file].name);
}

static enum dpt_status open_files(struct dpt_ckpt *ckpt)
{
    const struct dpt_ckpt__manifest *m = &ckpt->manifest;
    ckpt->fd = dpt_arena_array(ckpt->arena, (size_t)m->nfiles, sizeof *ckpt->fd);
    for (int i = 0; i < m->nfiles; i++) {
        ckpt->fd[i] = -1;
    }
    for (int i = 0; i < m->nfiles; i++) {
        const char *path = file_path(ckpt, i);
        int64_t nbytes;
        DPT_TRY(open_file(path, &ckpt->fd[i], &nbytes));
        DPT_CHECK(nbytes == m->file[i].nbytes, DPT_STATUS_DATA, "%s: has %lld bytes; the manifest says %lld", path,
                  (long long)nbytes, (long long)m->file[i].nbytes);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status wrong_checksum(const char *path, const char *what)
{
    return dpt_error_set(DPT_STATUS_DATA, __FILE__, __LINE__, "%s: the checksum of %s differs from the manifest's",
                         path, what);
}

static enum dpt_status read_config(struct dpt_ckpt *ckpt, int file)
{
    const char *path = file_path(ckpt, file);
    const struct dpt_ckpt__file *entry = &ckpt->manifest.file[file];
    char *text, checksum[33];
    DPT_TRY(read_whole(ckpt->fd[file], path, entry->nbytes, CONFIG_MAX, &text));
    dpt_hash128(text, (size_t)entry->nbytes, checksum);
    const bool utf8 = dpt_text_is_utf8(text, (size_t)entry->nbytes);
    ckpt->manifest.meta.config = dpt_arena_memdup(ckpt->arena, text, (size_t)entry->nbytes + 1);
    free(text);
    DPT_TRY(strcmp(checksum, entry->checksum) == 0 ? DPT_STATUS_OK : wrong_checksum(path, "the file"));
    DPT_CHECK(utf8, DPT_STATUS_DATA, "%s: is not UTF-8 text", path);
    return DPT_STATUS_OK;
}

int dpt_ckpt__tensor_compare(const struct dpt_ckpt__tensor *a, const struct dpt_ckpt__tensor *b)
{
    return a->kind != b->kind ? (a->kind < b->kind ? -1 : 1) : strcmp(a->name, b->name);
}

static int by_name(const void *a, const void *b)
{
    return dpt_ckpt__tensor_compare(*(const struct dpt_ckpt__tensor *const *)a,
                                    *(const struct dpt_ckpt__tensor *const *)b);
}

static enum dpt_status index_tensors(struct dpt_ckpt *ckpt)
{
    const struct dpt_ckpt__manifest *m = &ckpt->manifest;
    ckpt->by_name = dpt_arena_array(ckpt->arena, (size_t)m->ntensors, sizeof *ckpt->by_name);
    for (int i = 0; i < m->ntensors; i++) {
        ckpt->by_name[i] = &m->tensor[i];
    }
    qsort(ckpt->by_name, (size_t)m->ntensors, sizeof *ckpt->by_name, by_name);
    for (int i = 1; i < m->ntensors; i++) {
        DPT_CHECK(dpt_ckpt__tensor_compare(ckpt->by_name[i - 1], ckpt->by_name[i]) != 0, DPT_STATUS_DATA,
                  "%s: the manifest lists tensor %s twice", ckpt->path, ckpt->by_name[i]->name);
    }
    return DPT_STATUS_OK;
}

/* ------------------------------------------------------------------------------------------------- all bytes */

/* A piece as its file's header must describe it, and its checksum. `entry` first: they are sorted as entries. */
struct expected {
    struct dpt_ckpt__entry entry;
    const char *checksum;
};

/* The pieces of one file in order of offset. */
static int expect(const struct dpt_ckpt *ckpt, int file, struct expected **out)
{
    const struct dpt_ckpt__manifest *m = &ckpt->manifest;
    struct expected *list = NULL;
    size_t count = 0, capacity = 0;
    for (int t = 0; t < m->ntensors; t++) {
        for (int i = 0; i < m->tensor[t].npieces; i++) {
            const struct dpt_ckpt__piece *piece = &m->tensor[t].piece[i];
            if (piece->file != file) {
                continue;
            }
            list = dpt_arena_grow(ckpt->arena, list, count, &capacity, sizeof *list);
            struct expected *e = &list[count++];
            e->entry = (struct dpt_ckpt__entry){m->tensor[t].name, m->tensor[t].type, piece->offset, piece->nbytes};
            memcpy(e->entry.type.dim, piece->extent, sizeof e->entry.type.dim);
            e->checksum = piece->checksum;
        }
    }
    if (count) {
        qsort(list, count, sizeof *list, dpt_ckpt__entry_compare);
    }
    *out = list;
    return (int)count;
}

/* Adds bytes of a file to its checksum and, where there is one, to that of a piece. */
static enum dpt_status hash_range(int fd, const char *path, int64_t offset, int64_t nbytes, char *block,
                                  struct dpt_hash *whole, struct dpt_hash *piece)
{
    while (nbytes) {
        const size_t now = nbytes < BLOCK ? (size_t)nbytes : BLOCK;
        DPT_TRY(dpt_ckpt__read_at(fd, path, offset, block, now));
        dpt_hash_add(whole, block, now);
        if (piece) {
            dpt_hash_add(piece, block, now);
        }
        offset += (int64_t)now;
        nbytes -= (int64_t)now;
    }
    return DPT_STATUS_OK;
}

/* Holds a safetensors file against the manifest: its header, each piece and the whole. */
static enum dpt_status verify_file(const struct dpt_ckpt *ckpt, int file, char *block, struct dpt_hash *whole,
                                   struct dpt_hash *part)
{
    const char *path = file_path(ckpt, file);
    const struct dpt_ckpt__file *f = &ckpt->manifest.file[file];
    int count;
    struct dpt_ckpt__entry *entry;
    struct expected *expected;
    DPT_TRY(dpt_ckpt__safetensors_read(ckpt->fd[file], path, f->nbytes, ckpt->arena, &count, &entry));
    const int nexpected = expect(ckpt, file, &expected);
    DPT_CHECK(count == nexpected, DPT_STATUS_DATA, "%s: has %d tensors; the manifest lists %d", path, count, nexpected);
    for (int i = 0; i < count; i++) {
        const struct dpt_ckpt__entry *e = &expected[i].entry;
        DPT_CHECK(dpt_ckpt__entry_compare(e, &entry[i]) == 0 && dpt_type_equal(&e->type, &entry[i].type),
                  DPT_STATUS_DATA, "%s: name, type, shape or place of tensor %s differ from the manifest's", path,
                  e->name);
    }

    dpt_hash_reset(whole);
    const int64_t head = count ? entry[0].offset : f->nbytes;
    DPT_TRY(hash_range(ckpt->fd[file], path, 0, head, block, whole, NULL));
    char checksum[33];
    for (int i = 0; i < count; i++) {
        dpt_hash_reset(part);
        DPT_TRY(hash_range(ckpt->fd[file], path, entry[i].offset, entry[i].nbytes, block, whole, part));
        dpt_hash_text(part, checksum);
        DPT_TRY(strcmp(checksum, expected[i].checksum) == 0 ? DPT_STATUS_OK : wrong_checksum(path, entry[i].name));
    }
    dpt_hash_text(whole, checksum);
    return strcmp(checksum, f->checksum) == 0 ? DPT_STATUS_OK : wrong_checksum(path, "the file");
}

static enum dpt_status verify(struct dpt_ckpt *ckpt, int config)
{
    char *block = malloc(BLOCK);
    DPT_CHECK(block, DPT_STATUS_SPACE, "%s: no memory to read it", ckpt->path);
    struct dpt_hash *whole = dpt_hash_new(), *part = dpt_hash_new();
    enum dpt_status status = DPT_STATUS_OK;
    for (int i = 0; i < ckpt->manifest.nfiles && status == DPT_STATUS_OK; i++) {
        if (i != config) {
            status = verify_file(ckpt, i, block, whole, part);
        }
    }
    dpt_hash_free(whole);
    dpt_hash_free(part);
    free(block);
    ckpt->verified = status == DPT_STATUS_OK;
    return status;
}

static enum dpt_status open_parts(struct dpt_ckpt *ckpt, bool all)
{
    DPT_TRY(read_manifest(ckpt));
    DPT_TRY(index_tensors(ckpt));
    DPT_TRY(open_files(ckpt));
    int config = 0;
    while (config < ckpt->manifest.nfiles && strcmp(ckpt->manifest.file[config].name, DPT_CKPT__CONFIG) != 0) {
        config++;
    }
    DPT_CHECK(config < ckpt->manifest.nfiles, DPT_STATUS_DATA, "%s: the manifest lists no " DPT_CKPT__CONFIG,
              ckpt->path);
    DPT_TRY(read_config(ckpt, config));
    return all ? verify(ckpt, config) : DPT_STATUS_OK;
}

static enum dpt_status open_folder(const char *path, bool all, struct dpt_ckpt **out)
{
    struct dpt_arena *arena = dpt_arena_new();
    struct dpt_ckpt *ckpt = dpt_arena_alloc(arena, sizeof *ckpt);
    ckpt->arena = arena;
    ckpt->path = dpt_arena_strdup(arena, path);
    const enum dpt_status status = open_parts(ckpt, all);
    if (status != DPT_STATUS_OK) {
        dpt_ckpt_close(ckpt);
        return status;
    }
    *out = ckpt;
    return DPT_STATUS_OK;
}

void dpt_ckpt_close(struct dpt_ckpt *ckpt)
{
    if (!ckpt) {
        return;
    }
    for (int i = 0; ckpt->fd && i < ckpt->manifest.nfiles; i++) {
        if (ckpt->fd[i] >= 0) {
            close(ckpt->fd[i]);
        }
    }
    dpt_arena_free(ckpt->arena);
}

/* ---------------------------------------------------------------------------------------------- which folder */

static bool is_checkpoint(const char *path, struct dpt_arena *arena)
{
    char real[PATH_MAX];
    return dpt_file_exists(dpt_arena_printf(arena, "%s/" DPT_CKPT__MANIFEST, path)) ||
           (realpath(path, real) && dpt_ckpt__name_step(base_name(real), DPT_CKPT__STEP) >= 0);
}

int dpt_ckpt_list(const char *path, struct dpt_arena *arena, char ***folder)
{
    if (is_checkpoint(path, arena)) {
        *folder = dpt_arena_alloc(arena, sizeof **folder);
        **folder = dpt_arena_strdup(arena, path);
        return 1;
    }
    int64_t *step;
    const int count = dpt_ckpt__steps(dpt_arena_printf(arena, "%s/" DPT_CKPT__FOLDER, path), DPT_CKPT__STEP, arena,
                                      &step);
    *folder = dpt_arena_array(arena, (size_t)count, sizeof **folder);
    for (int i = 0; i < count; i++) {
        char name[DPT_CKPT__NAME_SIZE];
        dpt_ckpt__name(name, DPT_CKPT__STEP, step[i]);
        (*folder)[i] = dpt_arena_printf(arena, "%s/" DPT_CKPT__FOLDER "/%s", path, name);
    }
    return count;
}

static void note_unfinished(const char *path, struct dpt_arena *arena, struct dpt_text *notes)
{
    int64_t *step;
    const int count = dpt_ckpt__steps(dpt_arena_printf(arena, "%s/" DPT_CKPT__FOLDER, path), DPT_CKPT__TMP, arena,
                                      &step);
    for (int i = 0; i < count; i++) {
        dpt_text_add(notes, "%s: the checkpoint of step %lld was never completed\n", path, (long long)step[i]);
    }
}

/* The newest good one of these folders. */
static enum dpt_status open_first_good(const char *path, bool all, int count, char *const *folder,
                                       struct dpt_ckpt **ckpt, struct dpt_text *notes)
{
    for (int i = 0; i < count; i++) {
        const enum dpt_status status = open_folder(folder[i], all, ckpt);
        if (status != DPT_STATUS_DATA) {
            return status;
        }
        dpt_text_add(notes, "%s: damaged: %s\n", base_name(folder[i]), dpt_error_text());
    }
    DPT_CHECK(count > 1, DPT_STATUS_DATA, "%s", dpt_error_text()); /* which names it */
    return dpt_error_set(DPT_STATUS_DATA, __FILE__, __LINE__,
                         "%s: none of its %d checkpoints can be used; the oldest: %s", path, count, dpt_error_text());
}

static enum dpt_status open_best(const char *path, bool all, struct dpt_arena *arena, struct dpt_ckpt **ckpt)
{
    const char *folder = dpt_arena_printf(arena, "%s/" DPT_CKPT__FOLDER, path);
    const int64_t step = dpt_ckpt__pointer(folder, "best");
    DPT_CHECK(step >= 0, DPT_STATUS_DATA,
              "%s/best: names no checkpoint; the best one is kept when [checkpoint] best = yes and there is a "
              "validation set",
              folder);
    char name[DPT_CKPT__NAME_SIZE];
    dpt_ckpt__name(name, DPT_CKPT__STEP, step);
    return open_folder(dpt_arena_printf(arena, "%s/%s", folder, name), all, ckpt);
}

static enum dpt_status open_any(const char *path, bool best, bool all, struct dpt_arena *arena, struct dpt_ckpt **ckpt,
                                struct dpt_text *notes)
{
    *ckpt = NULL;
    if (is_checkpoint(path, arena)) {
        return open_folder(path, all, ckpt);
    }
    char **folder;
    const int count = dpt_ckpt_list(path, arena, &folder);
    note_unfinished(path, arena, notes);
    if (count == 0) {
        return DPT_STATUS_OK;
    }
    return best ? open_best(path, all, arena, ckpt) : open_first_good(path, all, count, folder, ckpt, notes);
}

enum dpt_status dpt_ckpt_open(const char *path, bool best, struct dpt_ckpt **ckpt, struct dpt_text *notes)
{
    struct dpt_arena *arena = dpt_arena_new();
    const enum dpt_status status = open_any(path, best, true, arena, ckpt, notes);
    dpt_arena_free(arena);
    return status;
}

enum dpt_status dpt_ckpt_peek(const char *path, bool best, struct dpt_ckpt **ckpt, struct dpt_text *notes)
{
    struct dpt_arena *arena = dpt_arena_new();
    const enum dpt_status status = open_any(path, best, false, arena, ckpt, notes);
    dpt_arena_free(arena);
    return status;
}
