/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Room-private: what a reader is and what an opened split holds. A reader is one file and one line in the table of
 * data.c. It reads a whole source when it is opened; afterwards it only copies values out, so that fetching needs no
 * lock and cannot fail. Only tokens, of which there may be more than memory holds, are mapped when they are opened and
 * looked at when they are fetched.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "base/text.h"
#include "data/data.h"

/* ------------------------------------------------------------------------------- what is learned from train */

enum dpt_data__kind {
    DPT_DATA__KIND_IGNORED,
    DPT_DATA__KIND_TARGET,
    DPT_DATA__KIND_NUMERIC,
    DPT_DATA__KIND_CATEGORICAL,
};

struct dpt_data__column {
    char *name; /* from the header, or "column 3" */
    enum dpt_data__kind kind;
    double mean, std;    /* numeric: the input is (value - mean) / std          */
    double missing;      /* numeric: what stands for a missing value            */
    int64_t ncategories; /* categorical: as many inputs, one of them 1          */
    char **category;     /* in dpt_data__compare_names order; "" for missing    */
};

/* Everything that valid, test and predictions need from train; prepare.c turns it into JSON and back. */
struct dpt_data__prep {
    enum dpt_data_format format;
    int ndim; /* of a sample, as in struct dpt_data_info */
    int64_t dim[3];
    int64_t classes;
    int64_t targets;
    /* idx */
    bool bytes;         /* values are bytes, else floats                   */
    double *mean, *std; /* one a channel, of bytes / 255 or of the floats  */
    /* csv */
    int64_t ncolumns; /* of the training file                                            */
    struct dpt_data__column *column;
    char **class_name; /* [classes] in dpt_data__compare_names order; NULL in regression */
    /* tokens */
    uint64_t tokenizer_hash; /* as the shards say; 0: they do not                                  */
    char *tokenizer;         /* text of the tokenizer.json beside the first shard; NULL: none there */
};

/* ------------------------------------------------------------------------------------------ an opened split */

/* What a reader is asked to open. */
struct dpt_data__request {
    const char *where;      /* "[data] train = ", or "" for predictions: for messages             */
    const char *path;       /* as the job gives it                                                */
    const char *labels;     /* idx: the labels file, "" to look beside the images                 */
    const char *labels_key; /* "train_labels": for messages                                       */
    bool first;             /* idx: of the two parts of a folder train is meant, else t10k        */
    bool predict;           /* targets may be missing                                             */
    double held_share;      /* share of the samples to hold back for validation; 0: none          */
};

struct dpt_data {
    struct dpt_data_info info;
    const struct dpt_data__reader *reader;
    struct dpt_arena *arena;           /* names, texts, small tables                                   */
    const struct dpt_data__prep *prep; /* what was learned: own, or that of the train split            */
    const struct dpt_data *lender;     /* the train split whose blocks a held-back part reads, or NULL */

    /* Which of the stored samples belong here: index[i], or first + i where index is NULL. */
    const int64_t *index;
    int64_t first;
    /* train: the samples held back, in the same way */
    const int64_t *held;
    int64_t held_first;
    int64_t nheld;

    /* Blocks of the reader; freed by close unless lent. */
    void *x;
    int64_t sample_nbytes; /* of a sample in x; 0 where there is no x                       */
    void *target;          /* for each sample its targets of 4 bytes: int32_t class or floats */
    void *tables;          /* in the arena: what the reader computes with                   */

    /* Order and augmentation: train only. */
    uint64_t seed;
    bool shuffle;
    int64_t crop;
    bool flip;
    const float *pad; /* one a channel: what the border is filled with */

    struct dpt_text notes;
    char *preparation; /* JSON in the arena, or NULL */
};

/* ------------------------------------------------------------------------------------------------- readers */

struct dpt_data__reader {
    enum dpt_data_format format;
    const char *name; /* as in the job */

    /*
     * Reads the source and fills info (but samples), prep where it is NULL, x, target, tables and pad; calls
     * dpt_data__hold_back as soon as the number of stored samples is known. Leaves clean-up of *data to the caller.
     */
    enum dpt_status (*open)(const struct dpt_job *job, const struct dpt_data__request *request, struct dpt_data *data);

    /* Writes elements [first, first + count) of a stored sample; where augmentation asks, these are whole pixels. */
    void (*values)(const struct dpt_data *data, int64_t sample, int64_t first, int64_t count, float *x);

    /* Writes the class (int32_t) or the target numbers of a stored sample. */
    void (*target)(const struct dpt_data *data, int64_t sample, void *target);

    /* In place of these two: writes x and (unless NULL) target of a stored sample as it is in an epoch; may fail. */
    enum dpt_status (*window)(const struct dpt_data *data, int64_t epoch, int64_t sample, int32_t *x, int32_t *target);

    /* Gives back what open took, other than x and target; NULL: nothing. */
    void (*close)(struct dpt_data *data);
};

extern const struct dpt_data__reader dpt_data__idx, dpt_data__csv, dpt_data__tokens, dpt_data__synthetic;

/* The `target` of readers that keep all targets in data->target. Local. */
void dpt_data__stored_target(const struct dpt_data *data, int64_t sample, void *target);

/*
 * Says which of `stored` samples this split has: all, or without the `share` that a keyed choice holds back for
 * validation. `contiguous`: the last ones are held back instead of chosen ones (samples that are random anyway).
 * DPT_STATUS_USAGE when a part would be empty. Local.
 */
enum dpt_status dpt_data__hold_back(struct dpt_data *data, const struct dpt_data__request *request, int64_t stored,
                                    bool contiguous);

/* malloc of count * size bytes (at least 1), the product checked; DPT_STATUS_SPACE names `what`. Local. */
enum dpt_status dpt_data__alloc(const char *what, int64_t count, int64_t size, void **block);

/* ------------------------------------------------------------------------------------------- preparation */

/* The JSON of what was learned, in `arena`. Local. */
char *dpt_data__prep_text(const struct dpt_data__prep *prep, struct dpt_arena *arena);

/* The reverse; DPT_STATUS_DATA when the text is not such a JSON or is of another format. Local. */
enum dpt_status dpt_data__prep_read(const char *text, enum dpt_data_format format, struct dpt_arena *arena,
                                    const struct dpt_data__prep **prep);

/* The order of class and category names: numbers first, by value; then texts by bytes. Local. */
int dpt_data__compare_names(const char *a, const char *b);

/* Place of `name` among `count` sorted names, or -1. Local. */
int64_t dpt_data__find_name(char *const *names, int64_t count, const char *name);

/* Reads a finite number that fills the whole text; false for anything else (also inf, nan, hexadecimal). Local. */
bool dpt_data__number(const char *text, double *value);

/* ------------------------------------------------------------------------------------------ augmentation */

/* What happens to one image in one epoch. */
struct dpt_data__change {
    int64_t dy, dx; /* pixel (y, x) of the result is (y + dy, x + dx) of the image */
    bool flip;      /* then left and right change places                           */
};

/* The change of a sample in an epoch: a pure function. Local. */
struct dpt_data__change dpt_data__draw(uint64_t seed, int64_t epoch, int64_t sample, int64_t crop, bool flip);

/* Writes a changed image of data->prep->dim; what lies outside the stored one is data->pad. Local. */
void dpt_data__augment(const struct dpt_data *data, int64_t sample, struct dpt_data__change change, float *x);
