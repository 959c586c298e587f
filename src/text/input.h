/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Text from files, piece by piece, in bounded memory: plain text, gzip and Zstandard (told apart by content), JSON lines
 * (told by the name: .jsonl or .ndjson, perhaps with .gz or .zst behind it), or what the system has (system.h). A file
 * of text is a document, and so is each line of JSON.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Where a text may be cut so that the tokens of the pieces are those of the whole. */
enum dpt_input_cut {
    DPT_INPUT_CUT_BYTES, /* anywhere: the text may be no UTF-8          */
    DPT_INPUT_CUT_CHARS, /* between characters                          */
    DPT_INPUT_CUT_WORDS, /* between a word and the white space behind it */
};

struct dpt_input_conf {
    int nfiles;
    const char *const *file;
    const char *field;       /* of a JSON object: which one is the text */
    const char *system;      /* NULL: the files; else the texts of the system below this folder, "" for this one */
    enum dpt_input_cut cut;
};

struct dpt_input_piece {
    const char *source; /* "FILE", or "FILE: line 12": for messages            */
    int64_t offset;     /* bytes of the document before this piece             */
    const char *text;   /* NULL: there is nothing more                         */
    size_t nbytes;      /* may be 0, in an empty document                      */
    bool ends;          /* the last of its document                            */
};

struct dpt_input;

/* Opens the first file. The conf's texts stay the caller's. DPT_STATUS_DATA. Local. */
enum dpt_status dpt_input_open(const struct dpt_input_conf *conf, struct dpt_input **input);

/*
 * The next piece; it lives until the next call. Whether it is UTF-8 is for the reader to see. DPT_STATUS_DATA with file
 * and place where a file is damaged, no JSON with such a field, or has no place to be cut for too long. Local.
 */
enum dpt_status dpt_input_next(struct dpt_input *input, struct dpt_input_piece *piece);

/* How far it is: what was read of what there is, in bytes as stored (documents of a system). Local. */
void dpt_input_progress(const struct dpt_input *input, int64_t *done, int64_t *all);

/* True when documents are many and small, JSON lines or a system's: a share of them can be drawn. Local. */
bool dpt_input_is_drawn(const struct dpt_input_conf *conf);

/* NULL is fine. Local. */
void dpt_input_close(struct dpt_input *input);
