/* SPDX-License-Identifier: Apache-2.0 */
#include "ckpt/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "ckpt/private.h"

/* The length field before the header. */
enum { PREFIX = 8 };

enum dpt_status dpt_ckpt__check_text(const char *path, const char *what, const char *text)
{
    const size_t length = strlen(text);
    bool plain = length >= 1 && length <= 255 && dpt_text_is_utf8(text, length);
    for (size_t i = 0; plain && i < length; i++) {
        plain = (unsigned char)text[i] >= 0x20 && text[i] != 0x7f;
    }
    DPT_CHECK(plain, DPT_STATUS_DATA,
              "%s: %s has %zu bytes or bytes that are no text; 1 to 255 printable ones are expected", path, what,
              length);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_ckpt__safetensors_layout(int count, struct dpt_ckpt__entry *entry, struct dpt_text *head,
                                             int64_t *nbytes)
{
    dpt_text_add(head, "%*s{\"__metadata__\":{\"format\":\"pt\"}", PREFIX, "");
    int64_t at = 0;
    for (int i = 0; i < count; i++) {
        DPT_TRY(dpt_ckpt__check_text("checkpoint", "a tensor's name", entry[i].name));
        DPT_TRY(dpt_type_check(&entry[i].type, entry[i].name));
        entry[i].nbytes = (int64_t)dpt_type_nbytes(&entry[i].type);
        entry[i].offset = at;
        DPT_CHECK(!__builtin_add_overflow(at, entry[i].nbytes, &at) && at <= INT64_MAX - DPT_CKPT__HEADER_MAX,
                  DPT_STATUS_FAILED, "%s: the file of this tensor would have more than 2^63 bytes", entry[i].name);
        dpt_text_add(head, ",");
        dpt_text_add_json(head, entry[i].name);
        dpt_text_add(head, ":{\"dtype\":\"%s\",\"shape\":[", dpt_dtype_name(entry[i].type.dtype));
        for (int d = 0; d < entry[i].type.ndim; d++) {
            dpt_text_add(head, "%s%lld", d ? "," : "", (long long)entry[i].type.dim[d]);
        }
        dpt_text_add(head, "],\"data_offsets\":[%lld,%lld]}", (long long)entry[i].offset, (long long)at);
    }
    dpt_text_add(head, "}");
    const size_t rest = head->length % DPT_CKPT__HEADER_ALIGN;
    dpt_text_add(head, "%*s", rest ? DPT_CKPT__HEADER_ALIGN - (int)rest : 0, "");
    const uint64_t length = head->length - PREFIX;
    DPT_CHECK(length <= DPT_CKPT__HEADER_MAX, DPT_STATUS_FAILED,
              "%d tensors need a safetensors header of %llu bytes; the format allows %d", count,
              (unsigned long long)length, DPT_CKPT__HEADER_MAX);
    for (int i = 0; i < PREFIX; i++) {
        head->data[i] = (char)(length >> 8 * i);
    }
    for (int i = 0; i < count; i++) {
        entry[i].offset += (int64_t)head->length;
    }
    *nbytes = (int64_t)head->length + at;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_ckpt__parse_type(const char *path, const char *name, const char *dtype, const json_t *shape,
                                     struct dpt_type *type)
{
    *type = (struct dpt_type){.dtype = DPT_DTYPE_COUNT};
    for (int i = 0; i < DPT_DTYPE_COUNT; i++) {
        if (strcmp(dtype, dpt_dtype_name(i)) == 0) {
            type->dtype = i;
        }
    }
    DPT_CHECK(type->dtype != DPT_DTYPE_COUNT, DPT_STATUS_DATA,
              "%s: tensor %s has the number type '%.16s'; F32, F64, BF16, F16, I32, I64 and U8 can be read", path, name, dtype);
    DPT_CHECK(json_is_array(shape) && json_array_size(shape) <= DPT_MAX_DIM, DPT_STATUS_DATA,
              "%s: the shape of tensor %s must be a list of at most %d dimensions", path, name, DPT_MAX_DIM);
    type->ndim = (int)json_array_size(shape);
    for (int d = 0; d < type->ndim; d++) {
        const json_t *dim = json_array_get(shape, (size_t)d);
        DPT_CHECK(json_is_integer(dim), DPT_STATUS_DATA, "%s: dimension %d of tensor %s is not an integer", path, d,
                  name);
        type->dim[d] = json_integer_value(dim);
    }
    if (dpt_type_check(type, name) != DPT_STATUS_OK) {
        return dpt_error_set(DPT_STATUS_DATA, __FILE__, __LINE__, "%s: %s", path, dpt_error_text());
    }
    return DPT_STATUS_OK;
}

int dpt_ckpt__entry_compare(const void *a, const void *b)
{
    const struct dpt_ckpt__entry *x = a, *y = b;
    if (x->offset != y->offset) {
        return x->offset < y->offset ? -1 : 1;
    }
    if (x->nbytes != y->nbytes) {
        return x->nbytes < y->nbytes ? -1 : 1;
    }
    return strcmp(x->name, y->name);
}

/* One member of the header. `space` is the number of bytes of values that the file has. */
static enum dpt_status parse_entry(const char *path, const char *name, json_t *value, int64_t space,
                                   struct dpt_ckpt__entry *entry)
{
    DPT_TRY(dpt_ckpt__check_text(path, "a tensor's name", name));
    const char *dtype;
    json_t *shape;
    json_int_t begin, end;
    json_error_t error;
    DPT_CHECK(json_unpack_ex(value, &error, 0, "{s:s, s:o, s:[I, I!]}", "dtype", &dtype, "shape", &shape,
                             "data_offsets", &begin, &end) == 0,
              DPT_STATUS_DATA, "%s: tensor %s is not described as the format demands: %s", path, name, error.text);
    DPT_TRY(dpt_ckpt__parse_type(path, name, dtype, shape, &entry->type));
    DPT_CHECK(0 <= begin && begin <= end && end <= space, DPT_STATUS_DATA,
              "%s: tensor %s lies at bytes %lld to %lld, but the file has %lld bytes of values", path, name,
              (long long)begin, (long long)end, (long long)space);
    char text[96];
    DPT_CHECK((uint64_t)(end - begin) == dpt_type_nbytes(&entry->type), DPT_STATUS_DATA,
              "%s: tensor %s has %lld bytes, but %s needs %zu", path, name, (long long)(end - begin),
              dpt_type_text(text, sizeof text, &entry->type), dpt_type_nbytes(&entry->type));
    entry->name = name;
    entry->offset = begin;
    entry->nbytes = end - begin;
    return DPT_STATUS_OK;
}

/* The header's text to entries, still with names that belong to `root` and offsets into the values. */
static enum dpt_status parse_header(const char *path, json_t *root, int64_t space, struct dpt_arena *arena, int *count,
                                    struct dpt_ckpt__entry **out)
{
    const size_t members = json_object_size(root);
    struct dpt_ckpt__entry *entry = dpt_arena_array(arena, members, sizeof *entry);
    int n = 0;
    const char *name;
    json_t *value;
    json_object_foreach(root, name, value) {
        if (strcmp(name, "__metadata__") != 0) {
            DPT_TRY(parse_entry(path, name, value, space, &entry[n]));
            n++;
            continue;
        }
        const char *key;
        json_t *text;
        DPT_CHECK(json_is_object(value), DPT_STATUS_DATA, "%s: __metadata__ must be an object", path);
        json_object_foreach(value, key, text) {
            DPT_CHECK(json_is_string(text), DPT_STATUS_DATA, "%s: __metadata__ must hold strings only", path);
        }
    }
    qsort(entry, (size_t)n, sizeof *entry, dpt_ckpt__entry_compare);
    int64_t at = 0;
    for (int i = 0; i < n; i++) {
        DPT_CHECK(entry[i].offset == at, DPT_STATUS_DATA, "%s: %s at byte %lld of the values, before tensor %s", path,
                  entry[i].offset < at ? "tensors overlap" : "there is a hole", (long long)at, entry[i].name);
        at += entry[i].nbytes;
    }
    DPT_CHECK(at == space, DPT_STATUS_DATA,
              "%s: the tensors end at byte %lld of the values, but the file has %lld; it is cut short or has a tail",
              path, (long long)at, (long long)space);
    *count = n;
    *out = entry;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_ckpt__safetensors_read(int fd, const char *path, int64_t nbytes, struct dpt_arena *arena,
                                           int *count, struct dpt_ckpt__entry **entry)
{
    unsigned char prefix[PREFIX];
    DPT_TRY(dpt_ckpt__read_at(fd, path, 0, prefix, sizeof prefix));
    uint64_t length = 0;
    for (int i = 0; i < PREFIX; i++) {
        length |= (uint64_t)prefix[i] << 8 * i;
    }
    DPT_CHECK(length >= 2 && length <= DPT_CKPT__HEADER_MAX && (int64_t)length <= nbytes - PREFIX, DPT_STATUS_DATA,
              "%s: the header's length is given as %llu bytes; the file has %lld and the format allows %d; it is no "
              "safetensors file or is damaged",
              path, (unsigned long long)length, (long long)nbytes, DPT_CKPT__HEADER_MAX);

    char *text = malloc(length);
    DPT_CHECK(text, DPT_STATUS_SPACE, "%s: no memory for its header of %llu bytes", path, (unsigned long long)length);
    enum dpt_status status = dpt_ckpt__read_at(fd, path, PREFIX, text, length);
    json_t *root = NULL;
    if (status == DPT_STATUS_OK) {
        json_error_t error;
        root = text[0] == '{' ? json_loadb(text, length, JSON_REJECT_DUPLICATES, &error) : NULL;
        if (!root) {
            status = dpt_error_set(DPT_STATUS_DATA, __FILE__, __LINE__, "%s: the header cannot be read: %s", path,
                                   text[0] == '{' ? error.text : "it does not begin with '{'");
        }
    }
    free(text);
    if (status == DPT_STATUS_OK) {
        status = parse_header(path, root, nbytes - PREFIX - (int64_t)length, arena, count, entry);
    }
    for (int i = 0; status == DPT_STATUS_OK && i < *count; i++) {
        (*entry)[i].name = dpt_arena_strdup(arena, (*entry)[i].name);
        (*entry)[i].offset += PREFIX + (int64_t)length;
    }
    json_decref(root);
    return status;
}
