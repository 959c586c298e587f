/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Private to conf/: the table of keys, how a value of each type is read and written, the layers of a `layers` model,
 * and the list of problems that reading collects.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/text.h"
#include "conf/job.h"

/* ------------------------------------------------------------------------------------------------ the table: keys.c */

enum dpt_conf_type {
    DPT_CONF_TYPE_BOOL,   /* bool                                                   */
    DPT_CONF_TYPE_INT,    /* int64_t                                                */
    DPT_CONF_TYPE_REAL,   /* double                                                 */
    DPT_CONF_TYPE_BYTES,  /* int64_t                                                */
    DPT_CONF_TYPE_TIME,   /* double, seconds                                        */
    DPT_CONF_TYPE_SPAN,   /* struct dpt_span                                        */
    DPT_CONF_TYPE_SPANS,  /* struct dpt_spans                                       */
    DPT_CONF_TYPE_AUTO,   /* enum dpt_auto                                          */
    DPT_CONF_TYPE_ENUM,   /* an enum whose values are the places in words[]         */
    DPT_CONF_TYPE_WORD,   /* char *, one of words[]                                 */
    DPT_CONF_TYPE_TEXT,   /* char *                                                 */
    DPT_CONF_TYPE_PATH,   /* char *, resolved against the file that holds it        */
    DPT_CONF_TYPE_INTS,   /* struct dpt_ints                                        */
    DPT_CONF_TYPE_REALS,  /* struct dpt_reals                                       */
    DPT_CONF_TYPE_NAMES,  /* struct dpt_names                                       */
    DPT_CONF_TYPE_PAIR,   /* int64_t[2], y and x; layers only                       */
};

enum {
    DPT_CONF_ABOVE_MIN = 1, /* the smallest value itself is excluded */
    DPT_CONF_BELOW_MAX = 2, /* the largest value itself is excluded  */
};

enum { DPT_CONF_MAX_ITEMS = 256 }; /* of a list in a value */

/* A word that a key takes, with what it means. A list of words ends with a NULL name. */
struct dpt_conf_word {
    const char *name, *text;
};

/* A key counts only where another key has one of these values (bit i: value i of an enum, of a bool). */
struct dpt_conf_when {
    const char *section, *name;
    unsigned mask;
};

struct dpt_conf_key {
    const char *section, *name;
    enum dpt_conf_type type;
    size_t offset;            /* in struct dpt_job                                                           */
    const char *fallback;     /* the default, as a job file would have it                                    */
    double min, max;          /* of a number, of each number of a list; max 0: no limit but the type's       */
    unsigned ends;            /* DPT_CONF_ABOVE_MIN, DPT_CONF_BELOW_MAX                                      */
    unsigned units;           /* spans: bit u allows enum dpt_span_unit u                                    */
    const char *zero;         /* the word for 0 or for no span, e.g. "auto"; NULL: there is none             */
    const struct dpt_conf_word *words;
    const struct dpt_conf_when *when; /* NULL: always                                                        */
    bool fixed;               /* may not change when a run is resumed                                        */
    const char *aka;          /* names it has elsewhere, for hints                                           */
    const char *text;         /* sentences                                                                   */
};

struct dpt_conf_section {
    const char *name, *text;
};

extern const struct dpt_conf_key dpt_conf__keys[];
extern const int dpt_conf__nkeys;
extern const struct dpt_conf_section dpt_conf__sections[];
extern const int dpt_conf__nsections;

/* The key, or NULL. Local. */
const struct dpt_conf_key *dpt_conf__find(const char *section, const char *name);

/* True when `name` is a section of the table. Local. */
bool dpt_conf__is_section(const char *name);

/* True when the job makes this key count. Local. */
bool dpt_conf__applies(const struct dpt_conf_key *key, const struct dpt_job *job);

/* True when `word` is one of the words of `list`, which have spaces between them. Local. */
bool dpt_conf__in_list(const char *word, const char *list);

/* The field of a job that a key is for. Local. */
void *dpt_conf__field(const struct dpt_conf_key *key, struct dpt_job *job);
const void *dpt_conf__field_const(const struct dpt_conf_key *key, const struct dpt_job *job);

/* Where a value came from: file NULL means the default, line 0 no line. One for each key of the table. */
struct dpt_conf_origin {
    const char *file;
    int line;
    bool bad; /* the value was refused; the field holds the default */
};

struct dpt_job_origin {
    const char *name; /* of the job file, for what no line is to blame for */
    struct dpt_conf_origin *key;
};

/* Writes "file:12", or the file alone where there is no line, and returns it. Local. */
enum { DPT_CONF_PLACE = 512 };
const char *dpt_conf__place(char out[DPT_CONF_PLACE], const char *file, int line);

/* ------------------------------------------------------------------------------------------------- values: value.c */

/*
 * Reads `text` as a value of `key` into `field`; lists and texts come from the arena. On failure `why` gets what is
 * wrong in particular (may stay empty) and the field keeps what it had. Local.
 */
bool dpt_conf__parse(const struct dpt_conf_key *key, const char *text, struct dpt_arena *arena, void *field,
                     struct dpt_text *why);

/* Appends the value as a job file would have it. Local. */
void dpt_conf__format(const struct dpt_conf_key *key, const void *field, struct dpt_text *text);

/* Appends what a value must be: "a whole number from 1 to 64, or auto". Local. */
void dpt_conf__expect(const struct dpt_conf_key *key, struct dpt_text *text);

/* Appends what makes the key count: "[model] type = mlp or cnn". The key has a `when`. Local. */
void dpt_conf__add_when(const struct dpt_conf_key *key, struct dpt_text *text);

/* ----------------------------------------------------------------------------------------------- problems: read.c */

struct dpt_conf_problem {
    int order;     /* of the file among the sources */
    int line;
    size_t number; /* in which it was found         */
    char *text;
};

struct dpt_conf_problems {
    struct dpt_arena *arena;
    const char **source; /* files in the order in which they are read; any other name is of the command line */
    int nsources;
    struct dpt_conf_problem *item;
    size_t count, capacity;
    size_t more; /* found, but not kept: a file that is no job file has one in each line */
};

/* Adds "file:line: sentence" (no line: "file: sentence"). Local. */
void dpt_conf__problem(struct dpt_conf_problems *problems, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---------------------------------------------------------------------------- layers.c, check.c, print.c */

/* Appends sentences in lines of at most 78 columns, each begun with `indent` spaces. print.c. Local. */
void dpt_conf__wrap(const char *sentences, int indent, struct dpt_text *text);

/* Checks the [layer.NAME] sections: ops, keys, values, what must be there, names in `in`. layers.c. Local. */
void dpt_conf__check_layers(const struct dpt_job *job, struct dpt_conf_problems *problems);

/* Appends the ops of layers, one a line; or explains "layer.KEY" or "layer.OP". layers.c. Local. */
void dpt_conf__list_layers(struct dpt_text *text);
bool dpt_conf__explain_layer(const char *name, struct dpt_text *text);

/* Checks what values demand of each other; unless `whole`, only those that were given. check.c. Local. */
void dpt_conf__check(const struct dpt_job *job, bool whole, struct dpt_conf_problems *problems);
