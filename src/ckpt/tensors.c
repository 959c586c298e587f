/* SPDX-License-Identifier: Apache-2.0 */
#include "ckpt/tensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/half.h"
#include "base/file.h"
#include "ckpt/private.h"
#include "ckpt/safetensors.h"

enum {
    MAX_FILES = 4096,
    INDEX_MAX = 100 * 1000 * 1000, /* bytes of an index, as of a header */
    BLOCK = 1 << 16,               /* numbers that are converted at once */
};

/* A tensor and the file it is in. */
struct place {
    struct dpt_ckpt__entry entry;
    int file;
};

struct dpt_tensors {
    struct dpt_arena *arena;
    int nfiles;
    const char *path[MAX_FILES];
    int fd[MAX_FILES];
    int count;
    size_t capacity;
    struct place *place; /* by name */
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct place *)a)->entry.name, ((const struct place *)b)->entry.name);
}

static enum dpt_status add_file(struct dpt_tensors *tensors, const char *path)
{
    struct stat info;
    int count;
    struct dpt_ckpt__entry *entry;
    DPT_CHECK(tensors->nfiles < MAX_FILES, DPT_STATUS_DATA, "%s: is one of more than %d files", path, MAX_FILES);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    DPT_CHECK(fd >= 0, DPT_STATUS_DATA, "%s: %s", path, strerror(errno));
    tensors->path[tensors->nfiles] = path;
    tensors->fd[tensors->nfiles++] = fd;
    DPT_CHECK(fstat(fd, &info) == 0 && S_ISREG(info.st_mode), DPT_STATUS_DATA, "%s: is not a plain file", path);
    DPT_TRY(dpt_ckpt__safetensors_read(fd, path, (int64_t)info.st_size, tensors->arena, &count, &entry));
    for (int i = 0; i < count; i++) {
        tensors->place = dpt_arena_grow(tensors->arena, tensors->place, (size_t)tensors->count, &tensors->capacity,
                                        sizeof *tensors->place);
        tensors->place[tensors->count++] = (struct place){entry[i], tensors->nfiles - 1};
    }
    return DPT_STATUS_OK;
}

/* The different files of the index, in the order of their names. */
static enum dpt_status add_indexed(struct dpt_tensors *tensors, const char *folder, const char *path,
                                   const json_t *map)
{
    const char *name;
    json_t *file;
    json_object_foreach((json_t *)map, name, file) {
        const char *text = json_string_value(file);
        DPT_CHECK(text && *text && !strchr(text, '/') && strlen(text) < 256, DPT_STATUS_DATA,
                  "%s: weight_map: %.100s is not in a file of this folder", path, name);
        const char *at = dpt_arena_printf(tensors->arena, "%s/%s", folder, text);
        bool known = false;
        for (int i = 0; i < tensors->nfiles; i++) {
            known = known || strcmp(tensors->path[i], at) == 0;
        }
        DPT_TRY(known ? DPT_STATUS_OK : add_file(tensors, at));
    }
    return DPT_STATUS_OK;
}

static enum dpt_status read_index(struct dpt_tensors *tensors, const char *folder, const char *path)
{
    char *text;
    size_t nbytes;
    json_error_t error;
    DPT_TRY(dpt_file_read(path, INDEX_MAX, &text, &nbytes));
    json_t *root = json_loadb(text, nbytes, JSON_REJECT_DUPLICATES, &error);
    free(text);
    const json_t *map = json_object_get(root, "weight_map");
    enum dpt_status status =
        json_is_object(map) ? add_indexed(tensors, folder, path, map)
                            : dpt_error_set(DPT_STATUS_DATA, __FILE__, __LINE__, "%s: %s", path,
                                            root ? "has no weight_map" : error.text);
    json_decref(root);
    return status;
}

static enum dpt_status open_files(struct dpt_tensors *tensors, const char *folder)
{
    const char *one = dpt_arena_printf(tensors->arena, "%s/model.safetensors", folder);
    const char *index = dpt_arena_printf(tensors->arena, "%s.index.json", one);
    DPT_TRY(!dpt_file_exists(one) && dpt_file_exists(index) ? read_index(tensors, folder, index)
                                                            : add_file(tensors, one));
    if (tensors->count > 0) {
        qsort(tensors->place, (size_t)tensors->count, sizeof *tensors->place, by_name);
    }
    for (int i = 1; i < tensors->count; i++) {
        DPT_CHECK(by_name(&tensors->place[i - 1], &tensors->place[i]) != 0, DPT_STATUS_DATA,
                  "%s: tensor %s is in two files", folder, tensors->place[i].entry.name);
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_tensors_open(const char *folder, struct dpt_tensors **tensors)
{
    struct dpt_arena *arena = dpt_arena_new();
    struct dpt_tensors *made = dpt_arena_alloc(arena, sizeof *made);
    made->arena = arena;
    *tensors = NULL;
    const enum dpt_status status = open_files(made, folder);
    if (status != DPT_STATUS_OK) {
        dpt_tensors_close(made);
        return status;
    }
    *tensors = made;
    return DPT_STATUS_OK;
}

void dpt_tensors_close(struct dpt_tensors *tensors)
{
    if (!tensors) {
        return;
    }
    for (int i = 0; i < tensors->nfiles; i++) {
        close(tensors->fd[i]);
    }
    dpt_arena_free(tensors->arena);
}

int dpt_tensors_count(const struct dpt_tensors *tensors)
{
    return tensors->count;
}

const char *dpt_tensors_name(const struct dpt_tensors *tensors, int i)
{
    return tensors->place[i].entry.name;
}

const struct dpt_type *dpt_tensors_type(const struct dpt_tensors *tensors, int i)
{
    return &tensors->place[i].entry.type;
}

int dpt_tensors_find(const struct dpt_tensors *tensors, const char *name)
{
    const struct place key = {.entry = {.name = name}};
    const struct place *found =
        tensors->count > 0 ? bsearch(&key, tensors->place, (size_t)tensors->count, sizeof key, by_name) : NULL;
    return found ? (int)(found - tensors->place) : -1;
}

enum dpt_status dpt_tensors_read(const struct dpt_tensors *tensors, int i, float *value)
{
    const struct place *place = &tensors->place[i];
    const struct dpt_ckpt__entry *entry = &place->entry;
    const char *path = tensors->path[place->file];
    const int fd = tensors->fd[place->file];
    const int64_t count = dpt_type_numel(&entry->type);
    if (entry->type.dtype == DPT_DTYPE_F32) {
        return dpt_ckpt__read_at(fd, path, entry->offset, value, (size_t)entry->nbytes);
    }
    DPT_CHECK(dpt_half_is(entry->type.dtype), DPT_STATUS_DATA,
              "%s: tensor %s has numbers of type %s; F32, BF16 and F16 can be converted", path, entry->name,
              dpt_dtype_name(entry->type.dtype));
    uint16_t *word = malloc(BLOCK * sizeof *word);
    DPT_CHECK(word, DPT_STATUS_SPACE, "%s: no memory to read it", path);
    enum dpt_status status = DPT_STATUS_OK;
    for (int64_t at = 0; at < count && status == DPT_STATUS_OK; at += BLOCK) {
        const int64_t n = count - at < BLOCK ? count - at : BLOCK;
        status = dpt_ckpt__read_at(fd, path, entry->offset + 2 * at, word, (size_t)n * sizeof *word);
        if (status == DPT_STATUS_OK) {
            dpt_half_widen(entry->type.dtype, n, word, value + at);
        }
    }
    free(word);
    return status;
}

/* ----------------------------------------------------------------------------------------------------- writing */

static int put(int fd, const void *data, size_t nbytes)
{
    for (const char *at = data; nbytes > 0;) {
        const ssize_t wrote = write(fd, at, nbytes);
        if (wrote < 0 && errno != EINTR) {
            return errno;
        }
        at += wrote > 0 ? wrote : 0;
        nbytes -= wrote > 0 ? (size_t)wrote : 0;
    }
    return 0;
}

static int put_all(int fd, const struct dpt_text *head, int count, const struct dpt_ckpt__entry *place,
                   const struct dpt_tensors_entry *entry)
{
    int error = put(fd, head->data, head->length);
    for (int i = 0; i < count && !error; i++) {
        error = put(fd, entry[i].data, (size_t)place[i].nbytes);
    }
    return error || fsync(fd) == 0 ? error : errno;
}

enum dpt_status dpt_tensors_write(const char *path, int count, const struct dpt_tensors_entry *entry)
{
    struct dpt_arena *arena = dpt_arena_new();
    struct dpt_ckpt__entry *place = dpt_arena_array(arena, (size_t)count, sizeof *place);
    const char *part = dpt_arena_printf(arena, "%s.%ld.tmp", path, (long)getpid());
    struct dpt_text head = {0};
    int64_t nbytes;
    for (int i = 0; i < count; i++) {
        place[i] = (struct dpt_ckpt__entry){.name = entry[i].name, .type = entry[i].type};
    }
    enum dpt_status status = dpt_ckpt__safetensors_layout(count, place, &head, &nbytes);
    int error = 0;
    if (status == DPT_STATUS_OK) {
        const int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        error = fd < 0 ? errno : put_all(fd, &head, count, place, entry);
        if (fd >= 0 && close(fd) != 0 && !error) {
            error = errno;
        }
        if (!error && rename(part, path) != 0) {
            error = errno;
        }
        if (error && fd >= 0) {
            unlink(part);
        }
    }
    if (error) {
        status = dpt_error_set(dpt_file_write_status(error), __FILE__, __LINE__, "%s: cannot be written: %s", path,
                               strerror(error));
    }
    dpt_text_free(&head);
    dpt_arena_free(arena);
    return status;
}
