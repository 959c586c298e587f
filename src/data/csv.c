/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Tables in delimited text: columns of numbers and of categories become inputs, one column of classes or several of
 * numbers the target.
 *
 *   numeric       one input: (value - mean) / deviation of the training part; a missing value is the mean
 *   categorical   one input for each category of the training part, that of the value is 1 and the others 0; a missing
 *                 value is a category of its own; a value that the training part does not have is all zeros
 *   target        classes: the names of the training file, sorted; numbers: as they are, in the order of the columns
 *
 * A column is numeric when all its values are numbers. Where only most are, the file is refused: a typing error, an
 * unnamed mark for missing values and real categories look the same, and only the user knows.
 *
 * In memory a cell takes 4 bytes, a normalised number or the place of a category; fetching spreads it out.
 */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/reader.h"
#include "data/table.h"

enum {
    CATEGORIES_MAX = 10000, /* of one column; with more it is a name or a number of something */
    PLACE_BYTES = 512,      /* for dpt_data__table_place                                      */
};

union cell {
    float number;
    int32_t category; /* -1: unknown */
};

/* How a row of cells becomes inputs. */
struct tables {
    int64_t ncells;
    int64_t *width; /* [ncells]: 0 for a number, else the number of categories */
};

static bool is_input(const struct dpt_data__column *column)
{
    return column->kind == DPT_DATA__KIND_NUMERIC || column->kind == DPT_DATA__KIND_CATEGORICAL;
}

static const char *cell_text(const struct dpt_data__table *table, int64_t row, int64_t col)
{
    return table->cell[row * table->ncols + col];
}

static bool is_missing(const struct dpt_job *job, const char *text)
{
    return !*text || (*job->data.missing && strcmp(text, job->data.missing) == 0);
}

/* ------------------------------------------------------------------------------------- naming of columns */

/* The column that the job calls `ref`: a name of the header, or a number from 1. */
static enum dpt_status find_column(const struct dpt_data__table *table, const char *key, const char *ref, int64_t *col)
{
    for (int64_t i = 0; table->name && i < table->ncols; i++) {
        if (strcmp(table->name[i], ref) == 0) {
            *col = i;
            return DPT_STATUS_OK;
        }
    }
    double number;
    if (dpt_data__number(ref, &number) && number >= 1 && number <= (double)table->ncols && number == floor(number)) {
        *col = (int64_t)number - 1;
        return DPT_STATUS_OK;
    }
    const char *nearest =
        table->name ? dpt_text_nearest(ref, (const char *const *)table->name, (size_t)table->ncols) : NULL;
    DPT_CHECK(table->name, DPT_STATUS_USAGE,
              "[data] %s = %s: %s has no header ([data] header = no), so a column is a number from 1 to %lld", key, ref,
              table->path, (long long)table->ncols);
    DPT_CHECK(false, DPT_STATUS_USAGE,
              "[data] %s = %s: %s has no such column in its header, nor is it a number from 1 to %lld%s%s%s", key, ref,
              table->path, (long long)table->ncols, nearest ? "; is '" : "", nearest ? nearest : "",
              nearest ? "' meant?" : "");
}

/* Sets the kind of all columns that a list of the job names. */
static enum dpt_status mark_columns(const struct dpt_data__table *table, const char *key, const struct dpt_names *names,
                                    enum dpt_data__kind kind, struct dpt_data__column *column, bool *marked)
{
    for (int i = 0; i < names->count; i++) {
        int64_t col = 0;
        DPT_TRY(find_column(table, key, names->value[i], &col));
        DPT_CHECK(!marked[col], DPT_STATUS_USAGE,
                  "[data] %s = %s: column %lld is named twice in target, categorical and ignore", key, names->value[i],
                  (long long)(col + 1));
        column[col].kind = kind;
        marked[col] = true;
    }
    return DPT_STATUS_OK;
}

/* Columns that count must differ in name, since other files are matched by name. */
static enum dpt_status check_distinct(const struct dpt_data__table *table, const struct dpt_data__column *column)
{
    for (int64_t i = 0; table->name && i < table->ncols; i++) {
        for (int64_t j = 0; j < i && column[i].kind != DPT_DATA__KIND_IGNORED; j++) {
            DPT_CHECK(column[j].kind == DPT_DATA__KIND_IGNORED || strcmp(column[i].name, column[j].name) != 0,
                      DPT_STATUS_DATA,
                      "%s: columns %lld and %lld are both named '%s'; rename one, or put its number in [data] ignore",
                      table->path, (long long)(j + 1), (long long)(i + 1), column[i].name);
        }
    }
    return DPT_STATUS_OK;
}

/* A first line of data that was taken for a header would be lost without a word. */
static void note_numbers_as_names(const struct dpt_data__table *table, const struct dpt_data__column *column,
                                  struct dpt_text *notes)
{
    double number;
    for (int64_t i = 0; table->name && i < table->ncols; i++) {
        if (column[i].kind == DPT_DATA__KIND_NUMERIC && dpt_data__number(table->name[i], &number)) {
            dpt_text_add(notes,
                         "%s: column %lld is named '%.40s', a number; if the first line is data, set [data] header = "
                         "no\n",
                         table->path, (long long)(i + 1), table->name[i]);
            return;
        }
    }
}

/* ------------------------------------------------------------------------------------------------- learning */

struct content {
    int64_t numbers, missing, texts;
    int64_t first_text; /* row */
};

static struct content look_at(const struct dpt_job *job, const struct dpt_data__table *table, int64_t col)
{
    struct content content = {0};
    for (int64_t row = 0; row < table->nrows; row++) {
        const char *text = cell_text(table, row, col);
        double number;
        if (is_missing(job, text)) {
            content.missing++;
        } else if (dpt_data__number(text, &number)) {
            content.numbers++;
        } else if (content.texts++ == 0) {
            content.first_text = row;
        }
    }
    return content;
}

/* Decides what an input column is that the job says nothing about. */
static enum dpt_status decide_kind(const struct dpt_job *job, const struct dpt_data__table *table, int64_t col,
                                   enum dpt_data__kind *kind)
{
    char place[PLACE_BYTES];
    const struct content content = look_at(job, table, col);
    DPT_CHECK(content.texts == 0 || content.numbers <= content.texts, DPT_STATUS_DATA,
              "%s: '%.40s' is no number, but %lld other values of this column are. %s; or put it in [data] missing if "
              "it marks a missing value; or put the column in [data] categorical or ignore",
              dpt_data__table_place(place, sizeof place, table, content.first_text, col),
              cell_text(table, content.first_text, col), (long long)content.numbers,
              content.first_text == 0 && !table->name ? "If this line names the columns, set [data] header = yes"
                                                      : "Mend it");
    *kind = content.texts > 0 ? DPT_DATA__KIND_CATEGORICAL : DPT_DATA__KIND_NUMERIC;
    return DPT_STATUS_OK;
}

/* The i-th row of the training part. */
static int64_t training_row(const struct dpt_data *data, int64_t i)
{
    return data->index ? data->index[i] : i;
}

/* Mean and deviation of a column over the training part. */
static enum dpt_status learn_numbers(const struct dpt_job *job, const struct dpt_data__table *table,
                                     const struct dpt_data *data, int64_t col, struct dpt_data__column *column)
{
    char place[PLACE_BYTES];
    int64_t count = 0;
    double sum = 0.0, squares = 0.0, least = INFINITY, most = -INFINITY, number = 0.0;
    for (int64_t i = 0; i < data->info.samples; i++) {
        const char *text = cell_text(table, training_row(data, i), col);
        if (is_missing(job, text)) {
            continue;
        }
        DPT_CHECK(dpt_data__number(text, &number), DPT_STATUS_DATA, "%s: '%.40s' is no number",
                  dpt_data__table_place(place, sizeof place, table, training_row(data, i), col), text);
        sum += number;
        least = fmin(least, number);
        most = fmax(most, number);
        count++;
    }
    DPT_CHECK(count > 0, DPT_STATUS_DATA,
              "%s: column %lld (%s) has no values in the training part; put it in [data] ignore", table->path,
              (long long)(col + 1), column->name);
    const double mean = least == most ? least : sum / (double)count;
    for (int64_t i = 0; i < data->info.samples; i++) {
        const char *text = cell_text(table, training_row(data, i), col);
        if (!is_missing(job, text) && dpt_data__number(text, &number)) {
            squares += (number - mean) * (number - mean);
        }
    }
    const double std = sqrt(squares / (double)count);
    DPT_CHECK(isfinite(mean) && isfinite(std), DPT_STATUS_DATA,
              "%s: column %lld (%s) has numbers up to %g in size, too large to be normalised", table->path,
              (long long)(col + 1), column->name, fmax(fabs(least), fabs(most)));
    const bool normalize = job->data.normalize != DPT_AUTO_OFF;
    column->missing = mean;
    column->mean = normalize ? mean : 0.0;
    /* A constant column becomes zeros. */
    column->std = normalize && std > 0.0 ? std : 1.0;
    return DPT_STATUS_OK;
}

static int compare_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int compare_names(const void *a, const void *b)
{
    return dpt_data__compare_names(*(char *const *)a, *(char *const *)b);
}

/* The different texts among `count`, sorted, copied to the arena. `text` is reordered. */
static char **distinct(struct dpt_arena *arena, char **text, int64_t count, int64_t *ndistinct)
{
    qsort(text, (size_t)count, sizeof *text, compare_bytes);
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++) {
        if (n == 0 || strcmp(text[n - 1], text[i]) != 0) {
            text[n++] = text[i];
        }
    }
    qsort(text, (size_t)n, sizeof *text, compare_names);
    char **name = dpt_arena_array(arena, (size_t)n, sizeof *name);
    for (int64_t i = 0; i < n; i++) {
        name[i] = dpt_arena_strdup(arena, text[i]);
    }
    *ndistinct = n;
    return name;
}

static enum dpt_status learn_categories(const struct dpt_job *job, const struct dpt_data__table *table,
                                        const struct dpt_data *data, int64_t col, struct dpt_data__column *column)
{
    void *block;
    DPT_TRY(dpt_data__alloc(table->path, data->info.samples, sizeof(char *), &block));
    char **text = block, empty[] = "";
    for (int64_t i = 0; i < data->info.samples; i++) {
        char *cell = table->cell[training_row(data, i) * table->ncols + col];
        text[i] = is_missing(job, cell) ? empty : cell;
    }
    column->category = distinct(data->arena, text, data->info.samples, &column->ncategories);
    free(block);
    DPT_CHECK(column->ncategories <= CATEGORIES_MAX, DPT_STATUS_DATA,
              "%s: column %lld (%s) has %lld different values, too many to be categories (at most %d); put it in "
              "[data] ignore",
              table->path, (long long)(col + 1), column->name, (long long)column->ncategories, (int)CATEGORIES_MAX);
    return DPT_STATUS_OK;
}

/* What is to be learned: classes or numbers. */
static enum dpt_status decide_task(const struct dpt_job *job, const struct dpt_data__table *table,
                                   const struct dpt_data__column *column, bool *classes)
{
    int64_t targets = 0, col = -1;
    for (int64_t i = table->ncols - 1; i >= 0; i--) {
        if (column[i].kind == DPT_DATA__KIND_TARGET) {
            targets++;
            col = i;
        }
    }
    DPT_CHECK(targets > 0, DPT_STATUS_USAGE,
              "[data] target is empty; it names the column of %s to be predicted, a number from 1 to %lld%s",
              table->path, (long long)table->ncols, table->name ? " or a name of its header" : "");
    switch (job->data.task) {
    case DPT_TASK_CLASSIFICATION:
        *classes = true;
        break;
    case DPT_TASK_REGRESSION:
        *classes = false;
        break;
    case DPT_TASK_AUTO:
        /* A loss that was chosen decides; else texts are classes and numbers are numbers. */
        *classes = job->loss.type == DPT_LOSS_TYPE_CROSS_ENTROPY ||
                   (job->loss.type == DPT_LOSS_TYPE_AUTO && targets == 1 && look_at(job, table, col).texts > 0);
        break;
    }
    DPT_CHECK(!*classes || targets == 1, DPT_STATUS_USAGE,
              "[data] target names %lld columns; classes need one, and [data] task = regression takes several",
              (long long)targets);
    return DPT_STATUS_OK;
}

/* The names of the classes: of the whole training file, so that a part held back has no unknown ones. */
static enum dpt_status learn_classes(const struct dpt_job *job, const struct dpt_data__table *table,
                                     struct dpt_arena *arena, int64_t col, struct dpt_data__prep *prep)
{
    char place[PLACE_BYTES];
    void *block;
    for (int64_t row = 0; row < table->nrows; row++) {
        DPT_CHECK(!is_missing(job, cell_text(table, row, col)), DPT_STATUS_DATA,
                  "%s: the target is missing; remove the line",
                  dpt_data__table_place(place, sizeof place, table, row, col));
    }
    DPT_TRY(dpt_data__alloc(table->path, table->nrows, sizeof(char *), &block));
    char **text = block;
    for (int64_t row = 0; row < table->nrows; row++) {
        text[row] = table->cell[row * table->ncols + col];
    }
    prep->class_name = distinct(arena, text, table->nrows, &prep->classes);
    free(block);
    DPT_CHECK(prep->classes <= CATEGORIES_MAX, DPT_STATUS_DATA,
              "%s: column %lld, the target, has %lld different values, too many to be classes (at most %d); for "
              "numbers set [data] task = regression",
              table->path, (long long)(col + 1), (long long)prep->classes, (int)CATEGORIES_MAX);
    return DPT_STATUS_OK;
}

/* Learns everything from the training file; also decides which rows are held back. */
static enum dpt_status learn(const struct dpt_job *job, const struct dpt_data__request *request,
                             const struct dpt_data__table *table, struct dpt_data *data)
{
    struct dpt_data__prep *prep = dpt_arena_alloc(data->arena, sizeof *prep);
    struct dpt_data__column *column = dpt_arena_array(data->arena, (size_t)table->ncols, sizeof *column);
    bool *marked = dpt_arena_array(data->arena, (size_t)table->ncols, sizeof *marked), classes = false;
    prep->format = DPT_DATA_FORMAT_CSV;
    prep->ncolumns = table->ncols;
    prep->column = column;
    for (int64_t i = 0; i < table->ncols; i++) {
        const bool named = table->name && *table->name[i];
        column[i].name = named ? dpt_arena_strdup(data->arena, table->name[i])
                               : dpt_arena_printf(data->arena, "column %lld", (long long)i + 1);
    }
    DPT_TRY(mark_columns(table, "target", &job->data.target, DPT_DATA__KIND_TARGET, column, marked));
    DPT_TRY(mark_columns(table, "categorical", &job->data.categorical, DPT_DATA__KIND_CATEGORICAL, column, marked));
    DPT_TRY(mark_columns(table, "ignore", &job->data.ignore, DPT_DATA__KIND_IGNORED, column, marked));
    DPT_TRY(decide_task(job, table, column, &classes));
    DPT_TRY(dpt_data__hold_back(data, request, table->nrows, false));
    for (int64_t i = 0; i < table->ncols; i++) {
        if (!marked[i]) {
            DPT_TRY(decide_kind(job, table, i, &column[i].kind));
        }
        switch (column[i].kind) {
        case DPT_DATA__KIND_NUMERIC:
            DPT_TRY(learn_numbers(job, table, data, i, &column[i]));
            prep->dim[0]++;
            break;
        case DPT_DATA__KIND_CATEGORICAL:
            DPT_TRY(learn_categories(job, table, data, i, &column[i]));
            prep->dim[0] += column[i].ncategories;
            break;
        case DPT_DATA__KIND_TARGET:
            prep->targets++;
            if (classes) {
                DPT_TRY(learn_classes(job, table, data->arena, i, prep));
            }
            break;
        case DPT_DATA__KIND_IGNORED:
            break;
        }
    }
    DPT_TRY(check_distinct(table, column));
    note_numbers_as_names(table, column, &data->notes);
    DPT_CHECK(prep->dim[0] > 0, DPT_STATUS_USAGE, "%s: no column is left as an input beside target and ignore",
              table->path);
    prep->ndim = 1;
    data->prep = prep;
    return DPT_STATUS_OK;
}

/* ------------------------------------------------------------------------------- matching files to columns */

/* Which column of the file is each column of the training file; -1 for a target that the file to predict lacks. */
static enum dpt_status match_by_name(const struct dpt_data__request *request, const struct dpt_data__table *table,
                                     const struct dpt_data__prep *prep, int64_t *source)
{
    for (int64_t i = 0; i < prep->ncolumns; i++) {
        const struct dpt_data__column *column = &prep->column[i];
        source[i] = -1;
        if (column->kind == DPT_DATA__KIND_IGNORED) {
            continue;
        }
        for (int64_t j = 0; j < table->ncols; j++) {
            char number[32];
            snprintf(number, sizeof number, "column %lld", (long long)j + 1);
            if (strcmp(*table->name[j] ? table->name[j] : number, column->name) == 0) {
                DPT_CHECK(source[i] < 0, DPT_STATUS_DATA, "%s: columns %lld and %lld are both named '%s'", table->path,
                          (long long)(source[i] + 1), (long long)(j + 1), column->name);
                source[i] = j;
            }
        }
        if (source[i] < 0 && !(request->predict && column->kind == DPT_DATA__KIND_TARGET)) {
            const char *nearest =
                dpt_text_nearest(column->name, (const char *const *)table->name, (size_t)table->ncols);
            DPT_CHECK(false, DPT_STATUS_DATA, "%s: its header has no column '%s', which the training data have%s%s%s",
                      table->path, column->name, nearest ? "; '" : "", nearest ? nearest : "",
                      nearest ? "' is nearest" : "");
        }
    }
    return DPT_STATUS_OK;
}

static enum dpt_status match_by_place(const struct dpt_data__request *request, const struct dpt_data__table *table,
                                      const struct dpt_data__prep *prep, int64_t *source)
{
    const bool lacks = request->predict && table->ncols == prep->ncolumns - prep->targets;
    DPT_CHECK(lacks || table->ncols == prep->ncolumns, DPT_STATUS_DATA,
              "%s: line %lld has %lld columns, but the training data have %lld", table->path, (long long)table->line[0],
              (long long)table->ncols, (long long)prep->ncolumns);
    for (int64_t i = 0, j = 0; i < prep->ncolumns; i++) {
        source[i] = lacks && prep->column[i].kind == DPT_DATA__KIND_TARGET ? -1 : j++;
    }
    return DPT_STATUS_OK;
}

/* Whether every target has a column and, in a file to predict from, a value in every row. */
static bool has_targets(const struct dpt_job *job, const struct dpt_data__request *request,
                        const struct dpt_data__table *table, const struct dpt_data__prep *prep, const int64_t *source)
{
    for (int64_t i = 0; i < prep->ncolumns; i++) {
        if (prep->column[i].kind != DPT_DATA__KIND_TARGET) {
            continue;
        }
        if (source[i] < 0) {
            return false;
        }
        for (int64_t row = 0; request->predict && row < table->nrows; row++) {
            if (is_missing(job, cell_text(table, row, source[i]))) {
                return false;
            }
        }
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------- encoding */

/* Writes a column of numbers to every ncells-th cell. */
static enum dpt_status encode_numbers(const struct dpt_job *job, const struct dpt_data__table *table, int64_t col,
                                      const struct dpt_data__column *column, int64_t ncells, union cell *cell)
{
    char place[PLACE_BYTES];
    for (int64_t row = 0; row < table->nrows; row++) {
        const char *text = cell_text(table, row, col);
        double number = column->missing;
        DPT_CHECK(is_missing(job, text) || dpt_data__number(text, &number), DPT_STATUS_DATA,
                  "%s: '%.40s' is no number, as all values of this column are in the training data",
                  dpt_data__table_place(place, sizeof place, table, row, col), text);
        const float input = (float)((number - column->mean) / column->std);
        DPT_CHECK(isfinite(input), DPT_STATUS_DATA, "%s: %.40s is too far from the training data's mean %g",
                  dpt_data__table_place(place, sizeof place, table, row, col), text, column->mean);
        cell[row * ncells].number = input;
    }
    return DPT_STATUS_OK;
}

/* The same for categories; unknown ones are counted in the notes. */
static void encode_categories(const struct dpt_job *job, const struct dpt_data__table *table, int64_t col,
                              const struct dpt_data__column *column, int64_t ncells, union cell *cell,
                              struct dpt_text *notes)
{
    int64_t unknown = 0, first = 0;
    for (int64_t row = 0; row < table->nrows; row++) {
        const char *text = cell_text(table, row, col);
        const int64_t category =
            dpt_data__find_name(column->category, column->ncategories, is_missing(job, text) ? "" : text);
        if (category < 0 && unknown++ == 0) {
            first = row;
        }
        cell[row * ncells].category = (int32_t)category;
    }
    if (unknown > 0) {
        char place[PLACE_BYTES];
        const char *text = cell_text(table, first, col);
        dpt_text_add(notes,
                     "%s: '%.40s' is none of the %lld categories that the training part has in this column and counts "
                     "as none of them; so do %lld values in all\n",
                     dpt_data__table_place(place, sizeof place, table, first, col),
                     is_missing(job, text) ? "(missing)" : text, (long long)column->ncategories, (long long)unknown);
    }
}

/* Classes of a column; a name that lacks or has a full stop at its end is accepted with a note. */
static enum dpt_status encode_classes(const struct dpt_data__table *table, int64_t col,
                                      const struct dpt_data__prep *prep, int32_t *class, struct dpt_text *notes)
{
    char place[PLACE_BYTES], name[256];
    int64_t mended = 0;
    for (int64_t row = 0; row < table->nrows; row++) {
        const char *text = cell_text(table, row, col);
        int64_t found = dpt_data__find_name(prep->class_name, prep->classes, text);
        const size_t length = strlen(text);
        if (found < 0 && length > 1 && length < sizeof name && text[length - 1] == '.') {
            snprintf(name, sizeof name, "%.*s", (int)length - 1, text);
            found = dpt_data__find_name(prep->class_name, prep->classes, name);
            mended += found >= 0;
        }
        if (found < 0) {
            const char *nearest =
                dpt_text_nearest(text, (const char *const *)prep->class_name, (size_t)prep->classes);
            DPT_CHECK(false, DPT_STATUS_DATA,
                      "%s: '%.40s' is none of the %lld classes of the training data, '%.40s' to '%.40s'%s%.40s%s",
                      dpt_data__table_place(place, sizeof place, table, row, col), text, (long long)prep->classes,
                      prep->class_name[0], prep->class_name[prep->classes - 1], nearest ? "; is '" : "",
                      nearest ? nearest : "", nearest ? "' meant?" : "");
        }
        class[row] = (int32_t)found;
    }
    if (mended > 0) {
        dpt_text_add(notes,
                     "%s: %lld of %lld classes end in a full stop that the training data do not have; it was dropped\n",
                     table->path, (long long)mended, (long long)table->nrows);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status encode_targets(const struct dpt_data__table *table, int64_t col, int64_t targets, float *target)
{
    char place[PLACE_BYTES];
    for (int64_t row = 0; row < table->nrows; row++) {
        double number = 0.0;
        const char *text = cell_text(table, row, col);
        DPT_CHECK(dpt_data__number(text, &number) && isfinite((float)number), DPT_STATUS_DATA,
                  "%s: '%.40s' is no number; the target of a regression must be one in every row. For classes set "
                  "[data] task = classification",
                  dpt_data__table_place(place, sizeof place, table, row, col), text);
        target[row * targets] = (float)number;
    }
    return DPT_STATUS_OK;
}

static void make_tables(struct dpt_data *data)
{
    const struct dpt_data__prep *prep = data->prep;
    struct tables *tables = dpt_arena_alloc(data->arena, sizeof *tables);
    tables->width = dpt_arena_array(data->arena, (size_t)prep->ncolumns, sizeof *tables->width);
    for (int64_t i = 0; i < prep->ncolumns; i++) {
        if (is_input(&prep->column[i])) {
            tables->width[tables->ncells++] = prep->column[i].ncategories;
        }
    }
    data->tables = tables;
}

/* Turns the texts of a table into cells and targets. */
static enum dpt_status encode(const struct dpt_job *job, const struct dpt_data__table *table, const int64_t *source,
                              struct dpt_data *data)
{
    const struct dpt_data__prep *prep = data->prep;
    const struct tables *tables = data->tables;
    const int64_t ncells = tables->ncells;
    DPT_TRY(dpt_data__alloc(table->path, table->nrows, ncells * (int64_t)sizeof(union cell), &data->x));
    if (data->info.labelled) {
        DPT_TRY(dpt_data__alloc(table->path, table->nrows, prep->targets * 4, &data->target));
    }
    data->sample_nbytes = ncells * (int64_t)sizeof(union cell);
    union cell *cell = data->x;
    int64_t inputs = 0, targets = 0;
    for (int64_t i = 0; i < prep->ncolumns; i++) {
        const struct dpt_data__column *column = &prep->column[i];
        switch (column->kind) {
        case DPT_DATA__KIND_NUMERIC:
            DPT_TRY(encode_numbers(job, table, source[i], column, ncells, cell + inputs++));
            break;
        case DPT_DATA__KIND_CATEGORICAL:
            encode_categories(job, table, source[i], column, ncells, cell + inputs++, &data->notes);
            break;
        case DPT_DATA__KIND_TARGET:
            if (data->info.labelled && prep->classes > 0) {
                DPT_TRY(encode_classes(table, source[i], prep, data->target, &data->notes));
            } else if (data->info.labelled) {
                DPT_TRY(encode_targets(table, source[i], prep->targets, (float *)data->target + targets++));
            }
            break;
        case DPT_DATA__KIND_IGNORED:
            break;
        }
    }
    return DPT_STATUS_OK;
}

static enum dpt_status take_table(const struct dpt_job *job, const struct dpt_data__request *request,
                                  const struct dpt_data__table *table, struct dpt_data *data)
{
    const bool learning = !data->prep;
    if (learning) {
        DPT_TRY(learn(job, request, table, data));
    } else {
        DPT_TRY(dpt_data__hold_back(data, request, table->nrows, false));
    }
    const struct dpt_data__prep *prep = data->prep;
    int64_t *source = dpt_arena_array(data->arena, (size_t)prep->ncolumns, sizeof *source);
    DPT_TRY(table->name && !learning ? match_by_name(request, table, prep, source)
                                     : match_by_place(request, table, prep, source));
    data->info.labelled = has_targets(job, request, table, prep, source);
    make_tables(data);
    return encode(job, table, source, data);
}

static enum dpt_status open_table(const struct dpt_job *job, const struct dpt_data__request *request,
                                  struct dpt_data *data)
{
    struct dpt_data__table table;
    enum dpt_status status = dpt_data__table_read(request->path, job->data.delimiter, job->data.header, &table);
    if (status == DPT_STATUS_OK) {
        status = take_table(job, request, &table, data);
    }
    dpt_data__table_free(&table);
    return status;
}

/* ------------------------------------------------------------------------------------------------- fetching */

static void values(const struct dpt_data *data, int64_t sample, int64_t first, int64_t count, float *x)
{
    const struct tables *tables = data->tables;
    const union cell *cell = (const union cell *)data->x + sample * tables->ncells;
    DPT_ASSERT(first == 0 && count == data->prep->dim[0]);
    for (int64_t i = 0; i < tables->ncells; i++) {
        const int64_t width = tables->width[i];
        if (width == 0) {
            *x++ = cell[i].number;
            continue;
        }
        memset(x, 0, (size_t)width * sizeof *x);
        if (cell[i].category >= 0) {
            x[cell[i].category] = 1.0f;
        }
        x += width;
    }
}

const struct dpt_data__reader dpt_data__csv = {
    .format = DPT_DATA_FORMAT_CSV,
    .name = "csv",
    .open = open_table,
    .values = values,
    .target = dpt_data__stored_target,
};
