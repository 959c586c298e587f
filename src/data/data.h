/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * data/: which samples a rank reads at a step, and their values: readers (IDX, CSV, tokens, synthetic), the keyed order,
 * augmentation, the prefetch thread. It promises that a sample's values depend on (seed, epoch, sample) alone, never on
 * ranks or threads, and that hostile files are refused with file, place and reason. It knows nothing of tensors and
 * graphs: it fills plain arrays.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"
#include "conf/job.h"
#include "dev/dev.h"

enum dpt_split { DPT_SPLIT_TRAIN, DPT_SPLIT_VALID, DPT_SPLIT_TEST };

/* What a data set holds. */
struct dpt_data_info {
    int64_t samples;
    int ndim;           /* of a sample: 1 (features, tokens) or 3 (height, width, channels)   */
    int64_t dim[3];
    enum dpt_dtype dtype; /* of its values: F32; I32 where a sample is a window of tokens     */
    int64_t classes;    /* 0: regression; tokens: how many there are                          */
    int64_t targets;    /* a sample: numbers in regression, else classes: 1, tokens: dim[0]   */
    double token_bytes; /* tokens: bytes of text that one stands for on average; 0: not known */
    bool labelled;      /* has targets; a file to predict from may lack them         */
    const char *source; /* path or "synthetic", for messages                         */
};

struct dpt_data; /* one split, read-only after opening */

/*
 * Opens a split. *data is NULL with DPT_STATUS_OK when the job has no such split (valid may be a share of train).
 * Statistics for normalisation and categories always come from train, hence `train` (NULL when opening train itself),
 * which must stay open until the others are closed. Reads and checks whole files, but for tokens, which are seen when
 * they are fetched. DPT_STATUS_DATA, DPT_STATUS_SPACE, DPT_STATUS_USAGE where the job asks for what the data have not.
 * Local: every rank opens for itself.
 */
enum dpt_status dpt_data_open(const struct dpt_job *job, enum dpt_split split, const struct dpt_data *train,
                              struct dpt_data **data);

/*
 * A split for dpt-predict: a file of the job's format whose targets may be missing. `preparation` is what
 * dpt_data_preparation gave after training. Local.
 */
enum dpt_status dpt_data_open_file(const struct dpt_job *job, const char *path, const char *preparation,
                                   struct dpt_data **data);

/* NULL is fine. Local. */
void dpt_data_close(struct dpt_data *data);

const struct dpt_data_info *dpt_data_info(const struct dpt_data *data);

/*
 * What the user should know about the file although it was accepted (unknown categories, labels that needed mending):
 * a sentence a line, "" when there is nothing. Valid until close. Local.
 */
const char *dpt_data_notes(const struct dpt_data *data);

/*
 * What was learned from the training data and predictions need again (column statistics, categories, class names) as
 * JSON; part of a checkpoint. NULL when there is nothing. Valid until close. Local.
 */
const char *dpt_data_preparation(const struct dpt_data *data);

/* Name of a class, or NULL where classes have numbers only. Local. */
const char *dpt_data_class(const struct dpt_data *data, int64_t index);

/* Name of a number to predict (the column, "column 3" without a header), or NULL where there are none. Local. */
const char *dpt_data_target(const struct dpt_data *data, int64_t index);

/*
 * The tokenizer of the data, the text of a tokenizer.json, from what dpt_data_preparation gave; NULL where it has none.
 * malloc'ed, the caller frees it. Local.
 */
char *dpt_data_tokenizer(const char *preparation);

/*
 * Fills x (count * numel values of the dtype, images NHWC) and the target (count * targets of I32 classes or of floats;
 * NULL to leave it) for consecutive places [first, first + count) of an epoch's order. `epoch` < 0: the stored order, unaugmented; so are
 * all epochs of a split that is not train. DPT_STATUS_DATA when a token is not in the vocabulary. Thread-safe. Local.
 */
enum dpt_status dpt_data_fetch(const struct dpt_data *data, int64_t epoch, int64_t first, int64_t count, void *x,
                               void *target);

/* ------------------------------------------------------------------------------------------ which samples, when */

/* The samples of a step: a pure function of the step. The last batch of an epoch may be short. */
struct dpt_batch_place {
    int64_t epoch;
    int64_t first; /* place in the epoch's order                */
    int64_t count; /* samples of the global batch, > 0          */
};

struct dpt_batch_place dpt_batch_place(int64_t samples, int64_t global, int64_t step);
int64_t dpt_batch_steps_per_epoch(int64_t samples, int64_t global);

/* ------------------------------------------------------------------------------------------------- the loader */

/* A piece of a step that one rank computes: filled by the loader, given back when the next is asked for. */
struct dpt_batch {
    uint64_t number;     /* of the fill: no two of a loader have the same, and none has 0       */
    int64_t step;
    int64_t micro;       /* micro-batch (or virtual shard) of the step                          */
    int64_t epoch;
    int64_t rows;        /* samples here; may be 0                                              */
    int64_t first_row;   /* place of the first in the global batch                              */
    int64_t micro_rows;  /* samples of this micro-batch on all ranks                            */
    int64_t batch_rows;  /* samples of the global batch                                         */
    void *x;             /* of the data's dtype, aligned to 64                                  */
    void *target;        /* I32 or float, aligned to 64; NULL where the data are not labelled   */
};

struct dpt_loader;

/*
 * Says which rows of the step's batch of `count` samples this rank computes in its local micro-batch `micro`. Given
 * by whoever knows the layout. Pure.
 */
typedef void dpt_rows_fn(const void *layout, int64_t count, int64_t micro, int64_t *first_row, int64_t *rows,
                         int64_t *micro_rows);

struct dpt_loader_conf {
    const struct dpt_data *data;
    int64_t global;       /* samples of a step                                                  */
    int64_t micros;       /* micro-batches this rank computes in a step                         */
    int64_t max_rows;     /* the most rows of one                                               */
    bool train;           /* epochs in keyed order with augmentation; else one stored-order pass */
    int64_t ahead;        /* micro-batches read ahead by a thread; 0: read when asked           */
    struct dpt_dev *dev;  /* where the samples go: then they lie where it copies from; or NULL  */
    dpt_rows_fn *rows;
    const void *layout;
};

/* A loader that stands before `step`. Freed (its thread joined) by dpt_loader_free. Local. */
enum dpt_status dpt_loader_new(const struct dpt_loader_conf *conf, int64_t step, struct dpt_loader **loader);
void dpt_loader_free(struct dpt_loader *loader);

/* Goes to another step; what was read ahead is dropped. Local. */
enum dpt_status dpt_loader_seek(struct dpt_loader *loader, int64_t step);

/*
 * The next micro-batch, in order of step and micro. The previous one's memory is given back. *batch is NULL after the
 * last of a pass when not `train`. A failure of the thread arrives here. Local.
 */
enum dpt_status dpt_loader_next(struct dpt_loader *loader, const struct dpt_batch **batch);

/*
 * What _next gives next if nothing comes between, where it is read already; else NULL, and never a wait or a failure. It may
 * be read until _next gives another, or a seek. Local.
 */
const struct dpt_batch *dpt_loader_peek(struct dpt_loader *loader);
