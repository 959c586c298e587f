/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Delimited text. The file is read whole and taken apart where it lies: quotes are undone in place, each field ends up
 * NUL-terminated, and a cell is a pointer to it.
 */

#include "data/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"

static const size_t FILE_BYTES_MAX = SIZE_MAX / 4;

struct scanner {
    const char *path;
    char *at, *end; /* *end is NUL */
    char delimiter; /* ' ': runs of spaces and tabs */
    int64_t line;
};

static bool ends_line(char c)
{
    return c == '\n' || c == '\r';
}

static bool is_blank(const struct scanner *s, char c)
{
    return c == ' ' || (c == '\t' && s->delimiter != '\t');
}

static void skip_blanks(struct scanner *s)
{
    while (s->at < s->end && is_blank(s, *s->at)) {
        s->at++;
    }
}

/* Steps over the line end at s->at. */
static void skip_line_end(struct scanner *s)
{
    s->at += s->at[0] == '\r' && s->at[1] == '\n' ? 2 : 1;
    s->line++;
}

/* Goes to the first line that is not empty. False at the end of the file. */
static bool find_record(struct scanner *s)
{
    for (;;) {
        skip_blanks(s);
        if (s->at == s->end) {
            return false;
        }
        if (!ends_line(*s->at)) {
            return true;
        }
        skip_line_end(s);
    }
}

/* Reads a quoted field; s->at is behind its opening quote and then behind its closing one. */
static enum dpt_status scan_quoted(struct scanner *s, int64_t column, char **out_end)
{
    const int64_t opened = s->line;
    char *out = s->at;
    for (;;) {
        DPT_CHECK(s->at < s->end, DPT_STATUS_DATA,
                  "%s: line %lld, column %lld: the quote that opens here is not closed", s->path, (long long)opened,
                  (long long)column);
        if (*s->at == '"') {
            s->at++;
            if (*s->at != '"') {
                break;
            }
        } else if (*s->at == '\n' || (*s->at == '\r' && s->at[1] != '\n')) {
            s->line++;
        }
        *out++ = *s->at++;
    }
    *out_end = out;
    return DPT_STATUS_OK;
}

/*
 * Reads the field that begins at s->at. *more says whether another one follows in this record; else s->at is in the
 * next line.
 */
static enum dpt_status scan_field(struct scanner *s, int64_t column, char **field, bool *more)
{
    char *end = NULL;
    skip_blanks(s);
    if (*s->at == '"') {
        s->at++;
        *field = s->at;
        DPT_TRY(scan_quoted(s, column, &end));
        const bool blank = is_blank(s, *s->at);
        skip_blanks(s);
        DPT_CHECK(s->at == s->end || ends_line(*s->at) || *s->at == s->delimiter || (s->delimiter == ' ' && blank),
                  DPT_STATUS_DATA,
                  "%s: line %lld, column %lld: there is text behind the closing quote (a quote inside quotes is "
                  "written twice)",
                  s->path, (long long)s->line, (long long)column);
    } else {
        *field = s->at;
        while (s->at < s->end && !ends_line(*s->at) && *s->at != s->delimiter &&
               !(s->delimiter == ' ' && *s->at == '\t')) {
            s->at++;
        }
        end = s->at;
        while (end > *field && is_blank(s, end[-1])) {
            end--;
        }
    }
    if (s->delimiter == ' ') {
        skip_blanks(s);
        *more = s->at < s->end && !ends_line(*s->at);
    } else {
        *more = s->at < s->end && *s->at == s->delimiter;
        s->at += *more;
    }
    if (!*more && s->at < s->end) {
        skip_line_end(s);
    }
    /* Last, since the NUL may stand where the delimiter or the line end stood. */
    *end = '\0';
    return DPT_STATUS_OK;
}

/* -------------------------------------------------------------------------------------------- the delimiter */

static const struct {
    const char *name;
    char delimiter;
} delimiters[] = {{"tab", '\t'}, {"semicolon", ';'}, {"comma", ','}, {"space", ' '}};

enum { DELIMITERS = sizeof delimiters / sizeof delimiters[0] };

/* The one that stands most often in the first line outside quotes; a space only where no other does. */
static char detect_delimiter(const char *at)
{
    int count[DELIMITERS] = {0}, best = 0;
    bool quoted = false;
    for (; *at && !(ends_line(*at) && !quoted); at++) {
        quoted ^= *at == '"';
        for (int i = 0; i < DELIMITERS && !quoted; i++) {
            count[i] += *at == delimiters[i].delimiter;
        }
    }
    for (int i = 1; i < DELIMITERS - 1; i++) {
        best = count[i] > count[best] ? i : best;
    }
    return count[best] > 0 ? delimiters[best].delimiter : count[DELIMITERS - 1] > 0 ? ' ' : ',';
}

static enum dpt_status choose_delimiter(const char *name, struct scanner *s)
{
    if (!*name || strcmp(name, "auto") == 0) {
        s->delimiter = detect_delimiter(s->at);
        return DPT_STATUS_OK;
    }
    for (int i = 0; i < DELIMITERS; i++) {
        if (strcmp(name, delimiters[i].name) == 0) {
            s->delimiter = delimiters[i].delimiter;
            return DPT_STATUS_OK;
        }
    }
    DPT_CHECK(false, DPT_STATUS_USAGE, "[data] delimiter = %s: expected is auto, comma, tab, semicolon or space", name);
}

static const char *delimiter_name(char delimiter)
{
    int i = 0;
    while (delimiters[i].delimiter != delimiter) {
        i++;
    }
    return delimiters[i].name;
}

/* ------------------------------------------------------------------------------------------------ the table */

/* Arrays that double. */
struct cells {
    char **cell;
    size_t ncells, cells_capacity;
    int64_t *line;
    size_t nlines, lines_capacity;
};

static enum dpt_status make_room(const char *path, void **array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity) {
        return DPT_STATUS_OK;
    }
    const size_t bigger = *capacity ? 2 * *capacity : 1024;
    void *block = bigger <= SIZE_MAX / 2 / size ? realloc(*array, bigger * size) : NULL;
    DPT_CHECK(block, DPT_STATUS_SPACE, "%s: no memory for %zu cells", path, bigger);
    *array = block;
    *capacity = bigger;
    return DPT_STATUS_OK;
}

/* Appends the fields of one record; the first record sets *ncols. */
static enum dpt_status scan_record(struct scanner *s, struct cells *cells, int64_t *ncols, int64_t first_line)
{
    const int64_t line = s->line;
    int64_t n = 0;
    for (bool more = true; more;) {
        DPT_TRY(make_room(s->path, (void **)&cells->cell, cells->ncells, &cells->cells_capacity, sizeof *cells->cell));
        DPT_TRY(scan_field(s, n + 1, &cells->cell[cells->ncells], &more));
        cells->ncells++;
        n++;
    }
    if (*ncols == 0) {
        *ncols = n;
    }
    DPT_CHECK(n == *ncols, DPT_STATUS_DATA,
              "%s: line %lld has %lld fields, but line %lld has %lld; they are taken to be separated by the %s, which "
              "[data] delimiter can change",
              s->path, (long long)line, (long long)n, (long long)first_line, (long long)*ncols,
              delimiter_name(s->delimiter));
    DPT_TRY(make_room(s->path, (void **)&cells->line, cells->nlines, &cells->lines_capacity, sizeof *cells->line));
    cells->line[cells->nlines++] = line;
    return DPT_STATUS_OK;
}

static enum dpt_status scan_all(struct scanner *s, struct cells *cells, int64_t *ncols)
{
    int64_t first_line = 0;
    while (find_record(s)) {
        first_line = first_line ? first_line : s->line;
        DPT_TRY(scan_record(s, cells, ncols, first_line));
    }
    return DPT_STATUS_OK;
}

/* The text must be UTF-8 without NUL bytes, since names go into JSON and messages. */
static enum dpt_status check_text(const char *path, const char *text, size_t nbytes)
{
    if (dpt_text_is_utf8(text, nbytes)) {
        return DPT_STATUS_OK;
    }
    int64_t line = 1;
    while (nbytes) {
        const char *end = memchr(text, '\n', nbytes);
        const size_t length = end ? (size_t)(end - text) + 1 : nbytes;
        if (!dpt_text_is_utf8(text, length)) {
            break;
        }
        text += length;
        nbytes -= length;
        line++;
    }
    DPT_CHECK(false, DPT_STATUS_DATA,
              "%s: line %lld is not text in UTF-8 (or holds a NUL byte); convert the file, for example with iconv",
              path, (long long)line);
}

enum dpt_status dpt_data__table_read(const char *path, const char *delimiter, bool header,
                                     struct dpt_data__table *table)
{
    size_t nbytes;
    *table = (struct dpt_data__table){.path = path};
    DPT_TRY(dpt_file_read(path, FILE_BYTES_MAX, &table->text, &nbytes));
    DPT_TRY(check_text(path, table->text, nbytes));

    struct scanner s = {.path = path, .at = table->text, .end = table->text + nbytes, .line = 1};
    if (nbytes >= 3 && memcmp(s.at, "\xEF\xBB\xBF", 3) == 0) {
        s.at += 3;
    }
    s.delimiter = '\t'; /* so that tabs in front of the first field are not skipped before the choice */
    DPT_CHECK(find_record(&s), DPT_STATUS_DATA, "%s: is empty; rows of a table were expected", path);
    DPT_TRY(choose_delimiter(delimiter, &s));

    struct cells cells = {0};
    const enum dpt_status status = scan_all(&s, &cells, &table->ncols);
    table->cell = cells.cell;
    table->line = cells.line;
    table->nrows = (int64_t)cells.nlines;
    DPT_TRY(status);
    if (header) {
        /* The first record moves out, so that row 0 is the first of data. */
        table->name = malloc((size_t)table->ncols * sizeof *table->name);
        DPT_CHECK(table->name, DPT_STATUS_SPACE, "%s: no memory for its header", path);
        memcpy(table->name, table->cell, (size_t)table->ncols * sizeof *table->name);
        table->nrows--;
        memmove(table->cell, table->cell + table->ncols,
                (size_t)table->nrows * (size_t)table->ncols * sizeof *table->cell);
        memmove(table->line, table->line + 1, (size_t)table->nrows * sizeof *table->line);
        DPT_CHECK(table->nrows > 0, DPT_STATUS_DATA, "%s: has a header in its first line but no rows", path);
    }
    return DPT_STATUS_OK;
}

void dpt_data__table_free(struct dpt_data__table *table)
{
    free(table->cell);
    free(table->line);
    free(table->name);
    free(table->text);
    *table = (struct dpt_data__table){0};
}

const char *dpt_data__table_place(char *out, size_t size, const struct dpt_data__table *table, int64_t row,
                                  int64_t col)
{
    snprintf(out, size, "%s: line %lld, column %lld%s%.40s%s", table->path, (long long)table->line[row],
             (long long)(col + 1), table->name ? " (" : "", table->name ? table->name[col] : "",
             table->name ? ")" : "");
    return out;
}
