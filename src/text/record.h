/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Room-private: the text in a line of JSON. */

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"

/* Zero-initialise it; what a line needs is kept for the next. */
struct dpt_text__record {
    struct dpt_text text; /* decoded                                       */
    struct dpt_text rest; /* the line without it                           */
    json_t *whole;        /* a line that jansson read as a whole, or NULL  */
};

/*
 * The string in the field `field` of an object, which is one line, without its end; it lives until the next call.
 * DPT_STATUS_DATA with `path` and `number` of the line where it is no JSON, repeats a name, or has no such string.
 * Local.
 */
enum dpt_status dpt_text__record_read(struct dpt_text__record *record, const char *path, int64_t number,
                                      const char *field, const char *line, size_t nbytes, const char **text,
                                      size_t *length);

/* Releases what is kept. Local. */
void dpt_text__record_free(struct dpt_text__record *record);
