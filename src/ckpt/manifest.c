/* SPDX-License-Identifier: Apache-2.0 */
#include "ckpt/manifest.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "ckpt/private.h"
#include "ckpt/safetensors.h"

/* The last line is TAIL_BEGIN, 32 hex digits, TAIL_END. */
#define TAIL_BEGIN "\"checksum\": \""
#define TAIL_END "\"}\n"

enum {
    CHECKSUM = 32,
    TAIL = sizeof TAIL_BEGIN - 1 + CHECKSUM + sizeof TAIL_END - 1,
    FILES_MAX = 512,    /* they are open at the same time               */
    PIECES_MAX = 16384, /* of one tensor: every two of them are compared */
};

static const char *const kind_name[] = {[DPT_CKPT_FILE_MODEL] = "model", [DPT_CKPT_FILE_OPTIMIZER] = "optimizer"};

const char *dpt_ckpt__kind_name(enum dpt_ckpt_file kind)
{
    return kind_name[kind];
}

/* ---------------------------------------------------------------------------------------------------- printing */

static void print_dims(struct dpt_text *text, const char *key, int ndim, const int64_t *dim)
{
    dpt_text_add(text, ", \"%s\": [", key);
    for (int d = 0; d < ndim; d++) {
        dpt_text_add(text, "%s%" PRId64, d ? ", " : "", dim[d]);
    }
    dpt_text_add(text, "]");
}

static void print_string(struct dpt_text *text, const char *key, const char *value)
{
    dpt_text_add(text, "\"%s\": ", key);
    dpt_text_add_json(text, value);
    dpt_text_add(text, ",\n");
}

static void print_meta(const struct dpt_ckpt_meta *meta, struct dpt_text *text)
{
    dpt_text_add(text, "{\"format\": \"dpt checkpoint\", \"format_version\": %d,\n", DPT_CKPT__MANIFEST_VERSION);
    dpt_text_add(text, "\"step\": %" PRId64 ",\n\"samples_seen\": %" PRId64 ",\n\"epoch\": %" PRId64
                       ",\n\"updates\": %" PRId64 ",\n\"elapsed_s\": %.17g,\n\"finished\": %s,\n",
                 meta->step, meta->samples_seen, meta->epoch, meta->updates, meta->elapsed_s,
                 meta->finished ? "true" : "false");
    if (meta->loss_shift > 0 || meta->steady > 0) {
        dpt_text_add(text, "\"loss_scale\": {\"exponent\": %d, \"steady\": %" PRId64 "},\n", meta->loss_shift,
                     meta->steady);
    }
    /* JSON has no way to write inf and nan; such a value is no best one either. */
    if (meta->best_metric && isfinite(meta->best_value)) {
        dpt_text_add(text, "\"best\": {\"step\": %" PRId64 ", \"value\": %.17g, \"metric\": ", meta->best_step,
                     meta->best_value);
        dpt_text_add_json(text, meta->best_metric);
        dpt_text_add(text, "},\n");
    }
    print_string(text, "saved_utc", meta->saved_utc);
    print_string(text, "dpt_version", meta->version);
    print_string(text, "layout", meta->layout);
    dpt_text_add(text, "\"graph_hash\": \"%016" PRIx64 "\",\n", meta->graph_hash);
    if (meta->preparation) {
        print_string(text, "preparation", meta->preparation);
    }
}

static void print_tensor(const struct dpt_ckpt__manifest *manifest, const struct dpt_ckpt__tensor *tensor,
                         struct dpt_text *text)
{
    dpt_text_add(text, "{\"name\": ");
    dpt_text_add_json(text, tensor->name);
    dpt_text_add(text, ", \"kind\": \"%s\", \"dtype\": \"%s\"", kind_name[tensor->kind],
                 dpt_dtype_name(tensor->type.dtype));
    print_dims(text, "shape", tensor->type.ndim, tensor->type.dim);
    dpt_text_add(text, ", \"pieces\": [");
    for (int i = 0; i < tensor->npieces; i++) {
        const struct dpt_ckpt__piece *piece = &tensor->piece[i];
        dpt_text_add(text, "%s{\"file\": \"%s\", \"offset\": %" PRId64 ", \"nbytes\": %" PRId64, i ? ", " : "",
                     manifest->file[piece->file].name, piece->offset, piece->nbytes);
        print_dims(text, "start", tensor->type.ndim, piece->start);
        print_dims(text, "extent", tensor->type.ndim, piece->extent);
        dpt_text_add(text, ", \"checksum\": \"%s\"}", piece->checksum);
    }
    dpt_text_add(text, "]}");
}

void dpt_ckpt__manifest_print(const struct dpt_ckpt__manifest *manifest, struct dpt_text *text)
{
    const size_t begin = text->length;
    print_meta(&manifest->meta, text);
    dpt_text_add(text, "\"files\": [");
    for (int i = 0; i < manifest->nfiles; i++) {
        const struct dpt_ckpt__file *file = &manifest->file[i];
        dpt_text_add(text, "%s\n{\"name\": \"%s\", \"nbytes\": %" PRId64 ", \"checksum\": \"%s\"}", i ? "," : "",
                     file->name, file->nbytes, file->checksum);
    }
    dpt_text_add(text, "\n],\n\"tensors\": [");
    for (int i = 0; i < manifest->ntensors; i++) {
        dpt_text_add(text, "%s\n", i ? "," : "");
        print_tensor(manifest, &manifest->tensor[i], text);
    }
    dpt_text_add(text, "\n],\n");
    char checksum[CHECKSUM + 1];
    dpt_hash128(text->data + begin, text->length - begin, checksum);
    dpt_text_add(text, TAIL_BEGIN "%s" TAIL_END, checksum);
}

/* ----------------------------------------------------------------------------------------------------- parsing */

struct parser {
    const char *path;
    struct dpt_arena *arena;
    struct dpt_ckpt__manifest *manifest;
};

static enum dpt_status check_tail(const char *path, const char *text, size_t nbytes)
{
    DPT_CHECK(nbytes > TAIL && memcmp(text + nbytes - TAIL, TAIL_BEGIN, sizeof TAIL_BEGIN - 1) == 0 &&
                  text[nbytes - TAIL - 1] == '\n' &&
                  memcmp(text + nbytes - (sizeof TAIL_END - 1), TAIL_END, sizeof TAIL_END - 1) == 0,
              DPT_STATUS_DATA, "%s: is cut short or damaged: its last line is not the checksum", path);
    char checksum[CHECKSUM + 1];
    dpt_hash128(text, nbytes - TAIL, checksum);
    DPT_CHECK(memcmp(text + nbytes - TAIL + sizeof TAIL_BEGIN - 1, checksum, CHECKSUM) == 0, DPT_STATUS_DATA,
              "%s: is damaged: its own checksum does not fit", path);
    return DPT_STATUS_OK;
}

static enum dpt_status parse_checksum(const struct parser *p, const char *text, char checksum[CHECKSUM + 1])
{
    DPT_CHECK(strlen(text) == CHECKSUM && strspn(text, "0123456789abcdef") == CHECKSUM, DPT_STATUS_DATA,
              "%s: a checksum must have 32 hex digits", p->path);
    memcpy(checksum, text, CHECKSUM + 1);
    return DPT_STATUS_OK;
}

/* A text that programs print: it must not carry control characters to a terminal. */
static enum dpt_status parse_word(const struct parser *p, const char *what, const char *text, const char **out)
{
    DPT_TRY(dpt_ckpt__check_text(p->path, what, text));
    *out = dpt_arena_strdup(p->arena, text);
    return DPT_STATUS_OK;
}

/* Missing where the loss is not scaled. */
static enum dpt_status parse_scale(const struct parser *p, json_t *scale, struct dpt_ckpt_meta *meta)
{
    json_int_t exponent = 0, steady = 0;
    json_error_t error;
    DPT_CHECK(!scale || json_unpack_ex(scale, &error, 0, "{s:I, s:I}", "exponent", &exponent, "steady", &steady) == 0,
              DPT_STATUS_DATA, "%s: loss_scale is not {exponent, steady}", p->path);
    DPT_CHECK(exponent >= 0 && exponent <= DPT_CKPT_MAX_LOSS_SHIFT && steady >= 0, DPT_STATUS_DATA,
              "%s: loss_scale has exponent %lld and %lld steady updates, expected 0 to %d and no negative count", p->path,
              (long long)exponent, (long long)steady, DPT_CKPT_MAX_LOSS_SHIFT);
    meta->loss_shift = (int)exponent;
    meta->steady = steady;
    return DPT_STATUS_OK;
}

static enum dpt_status parse_meta(const struct parser *p, json_t *root)
{
    struct dpt_ckpt_meta *meta = &p->manifest->meta;
    const char *format, *saved, *version, *layout, *graph_hash, *preparation = NULL;
    json_int_t format_version, step, samples_seen, epoch, updates, best_step;
    double elapsed_s, best_value;
    int finished;
    json_t *best = NULL, *scale = NULL;
    json_error_t error;
    DPT_CHECK(json_unpack_ex(root, &error, 0, "{s:s, s:I}", "format", &format, "format_version", &format_version) ==
                      0 &&
                  strcmp(format, "dpt checkpoint") == 0,
              DPT_STATUS_DATA, "%s: is not the manifest of a dpt checkpoint", p->path);
    DPT_CHECK(format_version == DPT_CKPT__MANIFEST_VERSION, DPT_STATUS_DATA,
              "%s: has format version %lld; this program reads version %d", p->path, (long long)format_version,
              DPT_CKPT__MANIFEST_VERSION);
    DPT_CHECK(json_unpack_ex(root, &error, 0, "{s:I, s:I, s:I, s:I, s:F, s:b, s?o, s?o, s:s, s:s, s:s, s:s, s?s}", "step",
                             &step, "samples_seen", &samples_seen, "epoch", &epoch, "updates", &updates, "elapsed_s",
                             &elapsed_s, "finished", &finished, "best", &best, "loss_scale", &scale, "saved_utc", &saved, "dpt_version",
                             &version, "layout", &layout, "graph_hash", &graph_hash, "preparation",
                             &preparation) == 0,
              DPT_STATUS_DATA, "%s: %s", p->path, error.text);
    DPT_CHECK(step >= 0 && samples_seen >= 0 && epoch >= 0 && updates >= 0 && elapsed_s >= 0, DPT_STATUS_DATA,
              "%s: a count is negative", p->path);
    char *end;
    meta->graph_hash = strtoull(graph_hash, &end, 16);
    DPT_CHECK(end == graph_hash + 16 && !*end, DPT_STATUS_DATA, "%s: graph_hash must have 16 hex digits", p->path);
    meta->step = step;
    meta->samples_seen = samples_seen;
    meta->epoch = epoch;
    meta->updates = updates;
    meta->elapsed_s = elapsed_s;
    meta->finished = finished;
    DPT_TRY(parse_word(p, "saved_utc", saved, &meta->saved_utc));
    DPT_TRY(parse_word(p, "dpt_version", version, &meta->version));
    DPT_TRY(parse_word(p, "layout", layout, &meta->layout));
    meta->preparation = preparation ? dpt_arena_strdup(p->arena, preparation) : NULL;
    DPT_TRY(parse_scale(p, scale, meta));
    meta->best_step = -1;
    if (best) {
        const char *metric;
        DPT_CHECK(json_unpack_ex(best, &error, 0, "{s:I, s:F, s:s}", "step", &best_step, "value", &best_value,
                                 "metric", &metric) == 0 &&
                      best_step >= 0,
                  DPT_STATUS_DATA, "%s: best is not {step, value, metric}", p->path);
        meta->best_step = best_step;
        meta->best_value = best_value;
        DPT_TRY(parse_word(p, "the best metric's name", metric, &meta->best_metric));
    }
    return DPT_STATUS_OK;
}

static int find_file(const struct dpt_ckpt__manifest *manifest, const char *name)
{
    for (int i = 0; i < manifest->nfiles; i++) {
        if (strcmp(manifest->file[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

static enum dpt_status parse_files(const struct parser *p, json_t *list)
{
    struct dpt_ckpt__manifest *m = p->manifest;
    DPT_CHECK(json_is_array(list) && json_array_size(list) <= FILES_MAX, DPT_STATUS_DATA,
              "%s: \"files\" must be a list of at most %d", p->path, FILES_MAX);
    m->file = dpt_arena_array(p->arena, json_array_size(list), sizeof *m->file);
    size_t i;
    json_t *value;
    json_array_foreach(list, i, value) {
        const char *name, *checksum;
        json_int_t nbytes;
        json_error_t error;
        DPT_CHECK(json_unpack_ex(value, &error, 0, "{s:s, s:I, s:s}", "name", &name, "nbytes", &nbytes, "checksum",
                                 &checksum) == 0,
                  DPT_STATUS_DATA, "%s: file %zu: %s", p->path, i + 1, error.text);
        /* A plain name inside the folder, never a path that leads out of it. */
        const size_t length = strlen(name);
        DPT_CHECK(length >= 1 && length <= 255 && name[0] != '.' &&
                      strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == length,
                  DPT_STATUS_DATA, "%s: file %zu has a name that is not made of letters, digits, '.', '_' and '-'",
                  p->path, i + 1);
        DPT_CHECK(find_file(m, name) < 0, DPT_STATUS_DATA, "%s: file %s is listed twice", p->path, name);
        DPT_CHECK(nbytes >= 0, DPT_STATUS_DATA, "%s: file %s has a negative size", p->path, name);
        struct dpt_ckpt__file *file = &m->file[m->nfiles];
        file->name = dpt_arena_strdup(p->arena, name);
        file->nbytes = nbytes;
        DPT_TRY(parse_checksum(p, checksum, file->checksum));
        m->nfiles++;
    }
    return DPT_STATUS_OK;
}

static enum dpt_status parse_box(const struct parser *p, const struct dpt_ckpt__tensor *tensor, json_t *start,
                                 json_t *extent, struct dpt_ckpt__piece *piece)
{
    const struct dpt_type *type = &tensor->type;
    DPT_CHECK(json_array_size(start) == (size_t)type->ndim && json_array_size(extent) == (size_t)type->ndim,
              DPT_STATUS_DATA, "%s: a piece of tensor %s has not %d dimensions", p->path, tensor->name, type->ndim);
    for (int d = 0; d < type->ndim; d++) {
        const json_t *s = json_array_get(start, (size_t)d), *e = json_array_get(extent, (size_t)d);
        piece->start[d] = json_integer_value(s);
        piece->extent[d] = json_integer_value(e);
        DPT_CHECK(json_is_integer(s) && json_is_integer(e) && piece->start[d] >= 0 && piece->extent[d] >= 0 &&
                      piece->extent[d] <= type->dim[d] && piece->start[d] <= type->dim[d] - piece->extent[d],
                  DPT_STATUS_DATA, "%s: a piece of tensor %s lies outside of it", p->path, tensor->name);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status parse_piece(const struct parser *p, const struct dpt_ckpt__tensor *tensor, json_t *value,
                                   struct dpt_ckpt__piece *piece)
{
    const char *file, *checksum;
    json_int_t offset, nbytes;
    json_t *start, *extent;
    json_error_t error;
    DPT_CHECK(json_unpack_ex(value, &error, 0, "{s:s, s:I, s:I, s:o, s:o, s:s}", "file", &file, "offset", &offset,
                             "nbytes", &nbytes, "start", &start, "extent", &extent, "checksum", &checksum) == 0,
              DPT_STATUS_DATA, "%s: a piece of tensor %s: %s", p->path, tensor->name, error.text);
    piece->file = find_file(p->manifest, file);
    DPT_CHECK(piece->file >= 0, DPT_STATUS_DATA, "%s: tensor %s has a piece in file '%.64s', which is not listed",
              p->path, tensor->name, file);
    const int64_t size = p->manifest->file[piece->file].nbytes;
    DPT_CHECK(offset >= 0 && nbytes >= 0 && nbytes <= size && offset <= size - nbytes, DPT_STATUS_DATA,
              "%s: a piece of tensor %s lies outside of %s", p->path, tensor->name, file);
    piece->offset = offset;
    piece->nbytes = nbytes;
    DPT_TRY(parse_box(p, tensor, start, extent, piece));
    /* The box lies in the tensor, whose size is known to fit. */
    struct dpt_type box = tensor->type;
    memcpy(box.dim, piece->extent, sizeof box.dim);
    DPT_CHECK((uint64_t)nbytes == dpt_type_nbytes(&box), DPT_STATUS_DATA,
              "%s: a piece of tensor %s has %lld bytes, but its box needs %zu", p->path, tensor->name,
              (long long)nbytes, dpt_type_nbytes(&box));
    return parse_checksum(p, checksum, piece->checksum);
}

static bool boxes_meet(int ndim, const struct dpt_ckpt__piece *a, const struct dpt_ckpt__piece *b)
{
    for (int d = 0; d < ndim; d++) {
        if (a->start[d] >= b->start[d] + b->extent[d] || b->start[d] >= a->start[d] + a->extent[d]) {
            return false;
        }
    }
    return true;
}

/* Boxes that do not meet and whose bytes add up to the tensor's cover it exactly once. */
static enum dpt_status check_cover(const struct parser *p, const struct dpt_ckpt__tensor *tensor)
{
    int64_t left = (int64_t)dpt_type_nbytes(&tensor->type);
    for (int i = 0; i < tensor->npieces; i++) {
        for (int k = 0; k < i; k++) {
            DPT_CHECK(!boxes_meet(tensor->type.ndim, &tensor->piece[i], &tensor->piece[k]), DPT_STATUS_DATA,
                      "%s: pieces %d and %d of tensor %s overlap", p->path, k + 1, i + 1, tensor->name);
        }
        left -= tensor->piece[i].nbytes;
    }
    DPT_CHECK(left == 0 && tensor->npieces > 0, DPT_STATUS_DATA, "%s: the pieces of tensor %s do not cover it", p->path,
              tensor->name);
    return DPT_STATUS_OK;
}

static enum dpt_status parse_tensor(const struct parser *p, json_t *value, struct dpt_ckpt__tensor *tensor)
{
    const char *name, *kind, *dtype;
    json_t *shape, *pieces;
    json_error_t error;
    DPT_CHECK(json_unpack_ex(value, &error, 0, "{s:s, s:s, s:s, s:o, s:o}", "name", &name, "kind", &kind, "dtype",
                             &dtype, "shape", &shape, "pieces", &pieces) == 0,
              DPT_STATUS_DATA, "%s: a tensor: %s", p->path, error.text);
    DPT_TRY(dpt_ckpt__check_text(p->path, "a tensor's name", name));
    tensor->name = dpt_arena_strdup(p->arena, name);
    tensor->kind = strcmp(kind, kind_name[DPT_CKPT_FILE_OPTIMIZER]) == 0 ? DPT_CKPT_FILE_OPTIMIZER
                                                                         : DPT_CKPT_FILE_MODEL;
    DPT_CHECK(strcmp(kind, kind_name[tensor->kind]) == 0, DPT_STATUS_DATA,
              "%s: tensor %s has the kind '%.16s'; model or optimizer is expected", p->path, name, kind);
    DPT_TRY(dpt_ckpt__parse_type(p->path, tensor->name, dtype, shape, &tensor->type));
    DPT_CHECK(json_is_array(pieces) && json_array_size(pieces) <= PIECES_MAX, DPT_STATUS_DATA,
              "%s: \"pieces\" of tensor %s must be a list of at most %d", p->path, name, PIECES_MAX);
    tensor->piece = dpt_arena_array(p->arena, json_array_size(pieces), sizeof *tensor->piece);
    size_t i;
    json_t *piece;
    json_array_foreach(pieces, i, piece) {
        DPT_TRY(parse_piece(p, tensor, piece, &tensor->piece[i]));
        tensor->npieces++;
    }
    return check_cover(p, tensor);
}

static enum dpt_status parse_root(const struct parser *p, json_t *root)
{
    struct dpt_ckpt__manifest *m = p->manifest;
    json_t *tensors = json_object_get(root, "tensors");
    DPT_TRY(parse_meta(p, root));
    DPT_TRY(parse_files(p, json_object_get(root, "files")));
    DPT_CHECK(json_is_array(tensors), DPT_STATUS_DATA, "%s: \"tensors\" must be a list", p->path);
    m->tensor = dpt_arena_array(p->arena, json_array_size(tensors), sizeof *m->tensor);
    size_t i;
    json_t *value;
    json_array_foreach(tensors, i, value) {
        DPT_TRY(parse_tensor(p, value, &m->tensor[i]));
        m->ntensors++;
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_ckpt__manifest_parse(const char *path, const char *text, size_t nbytes, struct dpt_arena *arena,
                                         struct dpt_ckpt__manifest *manifest)
{
    *manifest = (struct dpt_ckpt__manifest){0};
    DPT_TRY(check_tail(path, text, nbytes));
    json_error_t error;
    json_t *root = json_loadb(text, nbytes, JSON_REJECT_DUPLICATES, &error);
    DPT_CHECK(root, DPT_STATUS_DATA, "%s:%d: %s", path, error.line, error.text);
    const struct parser parser = {path, arena, manifest};
    const enum dpt_status status = parse_root(&parser, root);
    json_decref(root);
    return status;
}
