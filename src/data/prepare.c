/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What was learned from the training data as JSON and back, and the names and numbers that it is made of.
 *
 *   {"format": "idx", "shape": [28, 28, 1], "classes": 10, "targets": 1, "bytes": true, "mean": [0.29], "std": [0.35]}
 *   {"format": "csv", "shape": [105], "classes": 2, "targets": 1, "class_names": ["<=50K", ">50K"], "columns": [
 *       {"name": "age", "kind": "numeric", "mean": 38.6, "std": 13.6, "missing": 38.6},
 *       {"name": "sex", "kind": "categorical", "categories": ["Female", "Male"]},
 *       {"name": "income", "kind": "target"}, {"name": "id", "kind": "ignored"}]}
 *   {"format": "tokens", "shape": [256], "classes": 50257, "targets": 256, "tokenizer": {... as in tokenizer.json ...}}
 */

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/reader.h"

static const char *const kind_name[] = {
    [DPT_DATA__KIND_IGNORED] = "ignored",
    [DPT_DATA__KIND_TARGET] = "target",
    [DPT_DATA__KIND_NUMERIC] = "numeric",
    [DPT_DATA__KIND_CATEGORICAL] = "categorical",
};

/* ------------------------------------------------------------------------------------- numbers and names */

bool dpt_data__number(const char *text, double *value)
{
    const size_t length = strspn(text, "0123456789+-.eE");
    if (length == 0 || text[length] != '\0') {
        return false;
    }
    char *end;
    *value = strtod(text, &end);
    return *end == '\0' && isfinite(*value);
}

int dpt_data__compare_names(const char *a, const char *b)
{
    double x, y;
    const bool a_number = dpt_data__number(a, &x), b_number = dpt_data__number(b, &y);
    if (a_number != b_number) {
        return a_number ? -1 : 1;
    }
    if (a_number && x != y) {
        return x < y ? -1 : 1;
    }
    return strcmp(a, b);
}

int64_t dpt_data__find_name(char *const *names, int64_t count, const char *name)
{
    int64_t low = 0, high = count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        const int order = dpt_data__compare_names(name, names[middle]);
        if (order == 0) {
            return middle;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return -1;
}

/* ------------------------------------------------------------------------------------------------- writing */

/* Adds a value made just now; a bug or no memory if it was not. */
static void set(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) != 0) {
        dpt_fatal(DPT_STATUS_SPACE, "out of memory: no room for the record of the training data");
    }
}

static json_t *names_json(char *const *names, int64_t count)
{
    json_t *array = json_array();
    for (int64_t i = 0; i < count; i++) {
        json_array_append_new(array, json_string(names[i]));
    }
    return array;
}

static json_t *reals_json(const double *value, int64_t count)
{
    json_t *array = json_array();
    for (int64_t i = 0; i < count; i++) {
        json_array_append_new(array, json_real(value[i]));
    }
    return array;
}

static json_t *column_json(const struct dpt_data__column *column)
{
    json_t *object = json_object();
    set(object, "name", json_string(column->name));
    set(object, "kind", json_string(kind_name[column->kind]));
    if (column->kind == DPT_DATA__KIND_NUMERIC) {
        set(object, "mean", json_real(column->mean));
        set(object, "std", json_real(column->std));
        set(object, "missing", json_real(column->missing));
    } else if (column->kind == DPT_DATA__KIND_CATEGORICAL) {
        set(object, "categories", names_json(column->category, column->ncategories));
    }
    return object;
}

char *dpt_data__prep_text(const struct dpt_data__prep *prep, struct dpt_arena *arena)
{
    if (prep->format == DPT_DATA_FORMAT_SYNTHETIC) {
        return NULL;
    }
    static const char *const name[] = {[DPT_DATA_FORMAT_IDX] = "idx", [DPT_DATA_FORMAT_CSV] = "csv",
                                       [DPT_DATA_FORMAT_TOKENS] = "tokens"};
    json_t *root = json_object(), *shape = json_array();
    for (int i = 0; i < prep->ndim; i++) {
        json_array_append_new(shape, json_integer(prep->dim[i]));
    }
    set(root, "format", json_string(name[prep->format]));
    set(root, "shape", shape);
    set(root, "classes", json_integer(prep->classes));
    set(root, "targets", json_integer(prep->targets));
    if (prep->format == DPT_DATA_FORMAT_TOKENS) {
        if (prep->tokenizer) {
            set(root, "tokenizer", json_loads(prep->tokenizer, 0, NULL)); /* the reader has checked that it is JSON */
        }
    } else if (prep->format == DPT_DATA_FORMAT_IDX) {
        const int64_t channels = prep->ndim == 3 ? prep->dim[2] : 1;
        set(root, "bytes", json_boolean(prep->bytes));
        set(root, "mean", reals_json(prep->mean, channels));
        set(root, "std", reals_json(prep->std, channels));
    } else {
        json_t *columns = json_array();
        for (int64_t i = 0; i < prep->ncolumns; i++) {
            json_array_append_new(columns, column_json(&prep->column[i]));
        }
        if (prep->class_name) {
            set(root, "class_names", names_json(prep->class_name, prep->classes));
        }
        set(root, "columns", columns);
    }
    char *text = json_dumps(root, JSON_COMPACT);
    DPT_ASSERT(text);
    char *copy = dpt_arena_strdup(arena, text);
    free(text);
    json_decref(root);
    return copy;
}

char *dpt_data_tokenizer(const char *preparation)
{
    json_t *root = preparation ? json_loads(preparation, 0, NULL) : NULL;
    const json_t *tokenizer = json_object_get(root, "tokenizer");
    char *text = json_is_object(tokenizer) ? json_dumps(tokenizer, JSON_COMPACT) : NULL;
    json_decref(root);
    return text;
}

/* ------------------------------------------------------------------------------------------------- reading */

#define DAMAGED "the model's record of its training data is damaged at '%s'; use another checkpoint"

static enum dpt_status get_int(const json_t *object, const char *key, int64_t least, int64_t most, int64_t *value)
{
    const json_t *item = json_object_get(object, key);
    DPT_CHECK(json_is_integer(item) && json_integer_value(item) >= least && json_integer_value(item) <= most,
              DPT_STATUS_DATA, DAMAGED, key);
    *value = json_integer_value(item);
    return DPT_STATUS_OK;
}

static enum dpt_status get_real(const json_t *object, const char *key, double *value)
{
    const json_t *item = json_object_get(object, key);
    DPT_CHECK(json_is_number(item), DPT_STATUS_DATA, DAMAGED, key);
    *value = json_number_value(item);
    return DPT_STATUS_OK;
}

static enum dpt_status get_reals(const json_t *object, const char *key, int64_t count, struct dpt_arena *arena,
                                 double **value)
{
    const json_t *array = json_object_get(object, key);
    DPT_CHECK(json_is_array(array) && (int64_t)json_array_size(array) == count, DPT_STATUS_DATA, DAMAGED, key);
    *value = dpt_arena_array(arena, (size_t)count, sizeof **value);
    for (int64_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(array, (size_t)i);
        DPT_CHECK(json_is_number(item), DPT_STATUS_DATA, DAMAGED, key);
        (*value)[i] = json_number_value(item);
    }
    return DPT_STATUS_OK;
}

/* Names in strictly rising order: they will be searched by halving. */
static enum dpt_status get_names(const json_t *object, const char *key, struct dpt_arena *arena, int64_t *count,
                                 char ***names)
{
    const json_t *array = json_object_get(object, key);
    DPT_CHECK(json_is_array(array) && json_array_size(array) > 0, DPT_STATUS_DATA, DAMAGED, key);
    *count = (int64_t)json_array_size(array);
    *names = dpt_arena_array(arena, (size_t)*count, sizeof **names);
    for (int64_t i = 0; i < *count; i++) {
        const char *text = json_string_value(json_array_get(array, (size_t)i));
        DPT_CHECK(text, DPT_STATUS_DATA, DAMAGED, key);
        (*names)[i] = dpt_arena_strdup(arena, text);
        DPT_CHECK(i == 0 || dpt_data__compare_names((*names)[i - 1], (*names)[i]) < 0, DPT_STATUS_DATA, DAMAGED, key);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status read_column(const json_t *object, struct dpt_arena *arena, struct dpt_data__column *column,
                                   int64_t *inputs)
{
    const char *name = json_string_value(json_object_get(object, "name"));
    const char *kind = json_string_value(json_object_get(object, "kind"));
    DPT_CHECK(name && kind, DPT_STATUS_DATA, DAMAGED, "columns");
    column->name = dpt_arena_strdup(arena, name);
    int k = 0;
    while (k <= DPT_DATA__KIND_CATEGORICAL && strcmp(kind, kind_name[k]) != 0) {
        k++;
    }
    DPT_CHECK(k <= DPT_DATA__KIND_CATEGORICAL, DPT_STATUS_DATA, DAMAGED, "kind");
    column->kind = (enum dpt_data__kind)k;
    if (column->kind == DPT_DATA__KIND_NUMERIC) {
        DPT_TRY(get_real(object, "mean", &column->mean));
        DPT_TRY(get_real(object, "std", &column->std));
        DPT_TRY(get_real(object, "missing", &column->missing));
        DPT_CHECK(column->std > 0.0, DPT_STATUS_DATA, DAMAGED, "std");
        *inputs += 1;
    } else if (column->kind == DPT_DATA__KIND_CATEGORICAL) {
        DPT_TRY(get_names(object, "categories", arena, &column->ncategories, &column->category));
        *inputs += column->ncategories;
    }
    return DPT_STATUS_OK;
}

static enum dpt_status read_idx(const json_t *root, struct dpt_arena *arena, struct dpt_data__prep *prep)
{
    const int64_t channels = prep->ndim == 3 ? prep->dim[2] : 1;
    const json_t *bytes = json_object_get(root, "bytes");
    DPT_CHECK(json_is_boolean(bytes), DPT_STATUS_DATA, DAMAGED, "bytes");
    prep->bytes = json_is_true(bytes);
    DPT_TRY(get_reals(root, "mean", channels, arena, &prep->mean));
    DPT_TRY(get_reals(root, "std", channels, arena, &prep->std));
    for (int64_t c = 0; c < channels; c++) {
        DPT_CHECK(prep->std[c] > 0.0, DPT_STATUS_DATA, DAMAGED, "std");
    }
    return DPT_STATUS_OK;
}

static enum dpt_status read_csv(const json_t *root, struct dpt_arena *arena, struct dpt_data__prep *prep)
{
    const json_t *columns = json_object_get(root, "columns");
    DPT_CHECK(json_is_array(columns) && prep->ndim == 1, DPT_STATUS_DATA, DAMAGED, "columns");
    prep->ncolumns = (int64_t)json_array_size(columns);
    prep->column = dpt_arena_array(arena, (size_t)prep->ncolumns, sizeof *prep->column);
    int64_t inputs = 0, targets = 0;
    for (int64_t i = 0; i < prep->ncolumns; i++) {
        DPT_TRY(read_column(json_array_get(columns, (size_t)i), arena, &prep->column[i], &inputs));
        targets += prep->column[i].kind == DPT_DATA__KIND_TARGET;
    }
    DPT_CHECK(inputs == prep->dim[0], DPT_STATUS_DATA, DAMAGED, "shape");
    DPT_CHECK(targets == prep->targets, DPT_STATUS_DATA, DAMAGED, "targets");
    if (prep->classes > 0) {
        int64_t count;
        DPT_TRY(get_names(root, "class_names", arena, &count, &prep->class_name));
        DPT_CHECK(count == prep->classes && targets == 1, DPT_STATUS_DATA, DAMAGED, "classes");
    }
    return DPT_STATUS_OK;
}

static enum dpt_status read_root(const json_t *root, enum dpt_data_format format, struct dpt_arena *arena,
                                 struct dpt_data__prep *prep)
{
    const char *expected = format == DPT_DATA_FORMAT_IDX ? "idx" : "csv";
    const char *name = json_string_value(json_object_get(root, "format"));
    DPT_CHECK(name, DPT_STATUS_DATA, DAMAGED, "format");
    DPT_CHECK(strcmp(name, expected) == 0, DPT_STATUS_DATA,
              "the model was trained on %s data, but [data] format = %s", name, expected);
    prep->format = format;
    const json_t *shape = json_object_get(root, "shape");
    const size_t ndim = json_array_size(shape);
    DPT_CHECK(ndim == 1 || ndim == 3, DPT_STATUS_DATA, DAMAGED, "shape");
    prep->ndim = (int)ndim;
    int64_t numel = 1;
    for (size_t i = 0; i < ndim; i++) {
        prep->dim[i] = json_integer_value(json_array_get(shape, i));
        DPT_CHECK(prep->dim[i] > 0 && !__builtin_mul_overflow(numel, prep->dim[i], &numel) && numel <= INT32_MAX,
                  DPT_STATUS_DATA, DAMAGED, "shape");
    }
    DPT_TRY(get_int(root, "classes", 0, INT32_MAX, &prep->classes));
    DPT_TRY(get_int(root, "targets", 1, INT32_MAX, &prep->targets));
    return format == DPT_DATA_FORMAT_IDX ? read_idx(root, arena, prep) : read_csv(root, arena, prep);
}

enum dpt_status dpt_data__prep_read(const char *text, enum dpt_data_format format, struct dpt_arena *arena,
                                    const struct dpt_data__prep **prep)
{
    json_error_t error;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    DPT_CHECK(root, DPT_STATUS_DATA, "the model's record of its training data is no JSON: %s; use another checkpoint",
              error.text);
    struct dpt_data__prep *made = dpt_arena_alloc(arena, sizeof *made);
    const enum dpt_status status = read_root(root, format, arena, made);
    json_decref(root);
    DPT_TRY(status);
    *prep = made;
    return DPT_STATUS_OK;
}
