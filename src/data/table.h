/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Room-private: delimited text (CSV, TSV) as a table of cells, all still text. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct dpt_data__table {
    const char *path;
    int64_t nrows, ncols; /* without the header                                 */
    char **cell;          /* [nrows * ncols], into `text`; spaces around trimmed */
    int64_t *line;        /* [nrows]: where a row begins, from 1                 */
    char **name;          /* [ncols]: the header, or NULL                        */
    char *text;           /* the bytes of the file                               */
};

/*
 * Reads a file. `delimiter` is "auto", "comma", "tab", "semicolon" or "space" (runs of spaces and tabs). Quotes are
 * those of RFC 4180; lines end in LF, CR LF or CR; a UTF-8 byte order mark and empty lines are skipped; all rows must
 * have as many fields as the first. DPT_STATUS_DATA with line and column. Freed by dpt_data__table_free, also after a
 * failure. Local.
 */
enum dpt_status dpt_data__table_read(const char *path, const char *delimiter, bool header,
                                     struct dpt_data__table *table);

void dpt_data__table_free(struct dpt_data__table *table);

/* "FILE: line 12, column 3 (age)" for messages; returns `out`. Local. */
const char *dpt_data__table_place(char *out, size_t size, const struct dpt_data__table *table, int64_t row,
                                  int64_t col);
