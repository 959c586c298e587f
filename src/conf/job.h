/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * conf/: job.ini to struct dpt_job through ONE table of keys (keys.c): section, key, type, unit, default, limits, one
 * line of text. From the table come parsing, checks, --print-config, --explain, --list, shell completion and the test
 * that dpt-job(5) names every key. Every refusal says file:line, what was expected and the nearest name. It opens job
 * files only; whether data files exist is asked by data/. It knows nothing of ranks.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "base/text.h"

/* A length of training or an interval: "10 epochs", "500 steps", "15 min". */
enum dpt_span_unit {
    DPT_SPAN_UNIT_NONE, /* never, no limit */
    DPT_SPAN_UNIT_STEPS,
    DPT_SPAN_UNIT_EPOCHS,
    DPT_SPAN_UNIT_SECONDS,
};

struct dpt_span {
    enum dpt_span_unit unit;
    double value;
};

/* Several of one unit, increasing: "30 60 80 epochs". */
struct dpt_spans {
    enum dpt_span_unit unit;
    int count;
    double *value;
};

/* A list of integers, e.g. widths "256 128". */
struct dpt_ints {
    int count;
    int64_t *value;
};

struct dpt_reals {
    int count;
    double *value;
};

/* A list of names, e.g. columns "age, income". */
struct dpt_names {
    int count;
    char **value;
};

enum dpt_model_type {
    DPT_MODEL_TYPE_MLP,
    DPT_MODEL_TYPE_CNN,
    DPT_MODEL_TYPE_RESNET,
    DPT_MODEL_TYPE_GPT,
    DPT_MODEL_TYPE_LLAMA,
    DPT_MODEL_TYPE_LAYERS
};
enum dpt_task { DPT_TASK_AUTO, DPT_TASK_CLASSIFICATION, DPT_TASK_REGRESSION };
enum dpt_data_format { DPT_DATA_FORMAT_IDX, DPT_DATA_FORMAT_CSV, DPT_DATA_FORMAT_TOKENS, DPT_DATA_FORMAT_SYNTHETIC };
enum dpt_documents { DPT_DOCUMENTS_JOINED, DPT_DOCUMENTS_APART };
enum dpt_loss_type { DPT_LOSS_TYPE_AUTO, DPT_LOSS_TYPE_CROSS_ENTROPY, DPT_LOSS_TYPE_MSE };
enum dpt_optimizer_type { DPT_OPTIMIZER_TYPE_SGD, DPT_OPTIMIZER_TYPE_ADAM, DPT_OPTIMIZER_TYPE_ADAMW };
enum dpt_schedule_type {
    DPT_SCHEDULE_TYPE_CONSTANT,
    DPT_SCHEDULE_TYPE_STEP,
    DPT_SCHEDULE_TYPE_COSINE,
    DPT_SCHEDULE_TYPE_LINEAR,
    DPT_SCHEDULE_TYPE_ONE_CYCLE
};
enum dpt_auto { DPT_AUTO_AUTO, DPT_AUTO_ON, DPT_AUTO_OFF };
enum dpt_reduce { DPT_REDUCE_AUTO, DPT_REDUCE_FAST, DPT_REDUCE_TREE, DPT_REDUCE_FIXED };
enum dpt_update {
    DPT_UPDATE_SYNC,
    DPT_UPDATE_LOCAL_SGD,
    DPT_UPDATE_POST_LOCAL_SGD,
    DPT_UPDATE_DILOCO,
    DPT_UPDATE_ASYNC_OWNER, /* from here on asynchronous */
    DPT_UPDATE_ASYNC_PUSHSUM,
    DPT_UPDATE_ASYNC_AVERAGE
};
enum dpt_mailbox_by { DPT_MAILBOX_BY_AUTO, DPT_MAILBOX_BY_SHM, DPT_MAILBOX_BY_RMA, DPT_MAILBOX_BY_P2P };
enum dpt_device { DPT_DEVICE_AUTO, DPT_DEVICE_CPU, DPT_DEVICE_CUDA };
enum dpt_convolution { DPT_CONVOLUTION_AUTO, DPT_CONVOLUTION_OWN, DPT_CONVOLUTION_CUDNN };
enum dpt_between { DPT_BETWEEN_AUTO, DPT_BETWEEN_NCCL, DPT_BETWEEN_MPI, DPT_BETWEEN_HOST };
enum dpt_route { DPT_ROUTE_AUTO, DPT_ROUTE_SHARED, DPT_ROUTE_HIERARCHICAL, DPT_ROUTE_FLAT };
enum dpt_precision {
    DPT_PRECISION_FP32,
    DPT_PRECISION_TF32,
    DPT_PRECISION_BF16,
    DPT_PRECISION_FP16,
    DPT_PRECISION_FP64,
};
enum dpt_norm_mode { DPT_NORM_MODE_SYNC, DPT_NORM_MODE_LOCAL };
enum dpt_sharding { DPT_SHARD_NONE, DPT_SHARD_OPTIMIZER, DPT_SHARD_GRADIENTS, DPT_SHARD_PARAMETERS };
enum dpt_recomputing { DPT_RECOMPUTING_NONE, DPT_RECOMPUTING_BLOCKS, DPT_RECOMPUTING_FULL };
enum dpt_tie { DPT_TIE_SUM, DPT_TIE_AVERAGE };
enum dpt_vocabulary { DPT_VOCABULARY_WHOLE, DPT_VOCABULARY_SPLIT };
enum dpt_progress { DPT_PROGRESS_LINES, DPT_PROGRESS_BAR, DPT_PROGRESS_NONE };

/* The word of run.precision. Local. */
const char *dpt_precision_name(enum dpt_precision precision);

/*
 * One [layer.NAME] section of a `layers` model, in the order of the file; the loss follows the last one. Key `op` says
 * what it is, `in` what it reads: names of earlier sections, or "input" for the sample; without it the section before.
 *
 *   linear               out, bias (yes)
 *   conv                 out, kernel, stride (1), pad (0), dilation (1), groups (1), bias (yes)
 *   max_pool, avg_pool   kernel, stride (that of kernel), pad (0)
 *   batch_norm           eps (1e-5), momentum (0.1: the share of the new value)
 *   layer_norm           eps (1e-5)
 *   dropout              rate (0.5)
 *   reshape              shape (without the sample dimension)
 *   add, mul, concat     in, with two names or more
 *   flatten, global_pool, relu, gelu, silu, sigmoid, tanh
 *
 * conf checks all of this (one table, layers.c): ops, keys, types, limits, what must be there, names in `in`. Shapes
 * are checked by model/layers.c.
 */
struct dpt_layer_key {
    char *key, *value;
    const char *file;
    int line;
};

struct dpt_layer_section {
    char *name;       /* after "layer."            */
    const char *file; /* where the section begins  */
    int line;
    int nkeys;
    struct dpt_layer_key *key; /* as written: op, in and the op's own */
};

/*
 * A member's name is its key's name, with the unit behind it where the key takes one: run.max_time_s is "max_time" in
 * [run]. Words such as "auto", "off", "none" stand for the 0 named here. Texts are never NULL.
 */
struct dpt_job {
    struct {
        char *name;                  /* of the run                                                       */
        char *output;                /* run directory                                                    */
        struct dpt_span length;      /* steps or epochs                                                  */
        int64_t seed;
        bool reproducible;           /* the same bits on 1, 2, 4, ... ranks, see parallel.reduce         */
        enum dpt_precision precision;
        int64_t threads;             /* a rank; 0: the cores it may use                                  */
        double max_time_s;           /* 0: none                                                          */
        double deadline_s;           /* without progress; 0: none                                        */
    } run;
    struct {
        enum dpt_model_type type;
        struct dpt_ints widths;      /* mlp: hidden layers                                               */
        char *activation;            /* mlp: relu, gelu, silu, sigmoid, tanh                             */
        double dropout;              /* mlp, cnn, gpt                                                    */
        struct dpt_ints channels;    /* cnn: filters of its conv layers                                  */
        int64_t kernel;              /* cnn                                                              */
        int64_t hidden;              /* cnn: width of the layer before the last                          */
        int64_t depth;               /* resnet: 18 34 50 101 152, 20 32 44 56; gpt, llama: blocks; 0: auto */
        enum dpt_norm_mode batch_norm; /* statistics of the global batch, or of each rank's part         */
        /* gpt, llama; model/sizes.c says what auto means */
        char *size;                  /* name of a known shape, or auto                                   */
        int64_t width;               /* numbers that each token has between the blocks; 0: auto          */
        int64_t heads, kv_heads;     /* of attention; 0: auto                                            */
        int64_t ffn;                 /* width within a block; 0: auto                                    */
        int64_t context;             /* the most tokens of a text; 0: auto                               */
        bool bias;                   /* gpt                                                              */
        enum dpt_auto tied;          /* the output layer is the embedding                                */
        double rope_theta;           /* llama; 0: auto                                                   */
        double norm_eps;             /* 0: auto                                                          */
        char *weights;               /* checkpoint to begin with; "": random                             */
    } model;
    struct {
        enum dpt_data_format format;
        char *train, *valid, *test;  /* idx, tokens: folder/prefix or file; csv: file; "" : none         */
        char *train_labels, *valid_labels, *test_labels; /* idx: "" = found beside the images            */
        double valid_share;          /* share of train held back where no valid is given; 0: none        */
        enum dpt_task task;
        struct dpt_reals mean, std;  /* idx: of pixels / 255, one or one a channel; empty: none          */
        /* csv */
        char *delimiter;             /* auto, comma, tab, semicolon, space                               */
        bool header;                 /* the first line names the columns                                 */
        struct dpt_names target;     /* target columns, by name or number from 1                         */
        struct dpt_names categorical; /* columns read as categories                                      */
        struct dpt_names ignore;     /* columns left out                                                 */
        char *missing;               /* the text of a missing value, e.g. ?                              */
        enum dpt_auto normalize;     /* csv: numeric columns to mean 0, deviation 1 of the training part */
        /* tokens */
        int64_t context;             /* of a window: inputs, and as many targets, one token later        */
        int64_t vocab;               /* how many tokens there are; 0: as the files say                   */
        enum dpt_documents documents; /* whether a window may go over the end of a document              */
        /* synthetic */
        int64_t samples;
        struct dpt_ints shape;       /* of a sample: features, or height width channels                  */
        int64_t classes;             /* 0 with regression                                                */
        bool shuffle;
        int64_t prefetch;            /* micro-batches read ahead                                         */
    } data;
    struct {
        int64_t crop;                /* pad by so many pixels and crop at random; 0: off                 */
        bool flip;                   /* horizontal                                                       */
    } augment;
    struct {
        int64_t global;              /* samples of a step, over all ranks                                */
        int64_t micro_batches;       /* a step's batch in so many pieces, one after the other            */
    } batch;
    struct {
        enum dpt_loss_type type;
        double label_smoothing;
    } loss;
    struct {
        enum dpt_optimizer_type type;
        double lr;
        double momentum;             /* sgd */
        bool nesterov;               /* sgd */
        double beta1, beta2, eps;    /* adam, adamw */
        double weight_decay;
        bool decay_all;              /* also biases and norms */
        double clip;                 /* global gradient norm; 0: off */
    } optimizer;
    struct {
        enum dpt_schedule_type type;
        struct dpt_span warmup;      /* linear from lr / (steps + 1)                                     */
        struct dpt_spans milestones; /* step: where the rate drops                                       */
        double gamma;                /* step: factor at each milestone                                   */
        double final;                /* cosine, linear, one-cycle: last lr as a share of lr              */
        double peak_at;              /* one-cycle: share of the run at which lr is highest               */
    } schedule;
    struct {
        enum dpt_device kind;
        bool share;                  /* several ranks of a host on one card                              */
        enum dpt_between exchange;   /* how cards exchange gradients                                     */
        enum dpt_convolution convolution; /* who computes those of cards                                 */
    } device;
    struct {
        char *layout;                /* "auto", or axes: "data:2 tensor:2" (layout.h)                     */
        char *schedule;              /* of a pipeline: "1f1b", "interleaved:2" ... (layout.h)            */
        char *shares;                /* of the batch: "equal", "auto", "3, 1" (layout.h)                 */
        struct dpt_names stages;     /* first layers of the stages but the first; none: balanced         */
        struct dpt_ints backward;    /* stage whose ranks compute the gradients of each stage; none: its own */
        enum dpt_sharding shard;
        enum dpt_recomputing recompute;
        enum dpt_tie tie;
        enum dpt_vocabulary vocabulary; /* along tensor, of the output layer                         */
        enum dpt_reduce reduce;      /* TREE, FIXED: run.reproducible is true, AUTO there: TREE          */
        int64_t shards;              /* reproducible: virtual shards of the batch; tree: a power of two  */
        int64_t bucket_bytes;        /* 0: auto                                                          */
        enum dpt_auto comm_thread;
        enum dpt_route exchange;
        char *wire;                  /* of gradients in messages: "fp32", "topk:1%" ... (layout.h)       */
        enum dpt_update update;
        struct dpt_span every;       /* local updates: from one meeting of the ranks to the next         */
        int64_t fragments;           /* of the parameters, one after the other within that; 1: all at once */
        struct dpt_span sync_until;  /* post-local-sgd; NONE: the first milestone, or half of the run    */
        double outer_lr, outer_momentum; /* diloco                                                       */
        int64_t max_staleness;       /* async: steps that a rank may be ahead of the slowest; -1: any    */
        bool delay_lr;               /* async-owner: late gradients count less                           */
        double delay_compensation;   /* async-owner: lambda of DC-ASGD; 0: none                          */
        enum dpt_mailbox_by mailbox; /* async                                                            */
    } parallel;
    struct {
        struct dpt_span every;       /* NONE: only at the end */
        int64_t keep;
        bool best;                   /* keep the best on the validation set too */
    } checkpoint;
    struct {
        struct dpt_span every;
        int64_t batch;               /* samples a pass over all ranks; 0: batch.global / micro_batches   */
    } eval;
    struct {
        struct dpt_span every;
        bool tensorboard;
        enum dpt_progress progress;
    } log;

    int nlayers;
    struct dpt_layer_section *layer;

    struct dpt_arena *arena;         /* owns all of the above                        */
    const struct dpt_job_origin *origin; /* conf's record of where each value came from */
};

/*
 * Reads the files in order (later ones win), then the overrides "section.key=value", checks every value and every
 * relation between values, resolves relative paths against the file that holds them, and returns the job; freed by
 * dpt_job_free. All problems are collected: the error record gets the first, `problems` (may be NULL) all of them, one
 * a line. DPT_STATUS_USAGE. Local.
 */
enum dpt_status dpt_job_read(int nfiles, const char *const *file, int noverrides, const char *const *override,
                             struct dpt_job **job, struct dpt_text *problems);

/*
 * The same from a text, such as what dpt_job_print(FULL) made (a checkpoint's config.ini). `name` is for messages.
 * Relative paths stay as they are. Local.
 */
enum dpt_status dpt_job_read_text(const char *name, const char *text, struct dpt_job **job, struct dpt_text *problems);

void dpt_job_free(struct dpt_job *job);

enum dpt_job_print {
    DPT_JOB_PRINT_FULL,    /* every key: re-runnable                                    */
    DPT_JOB_PRINT_MINIMAL, /* only what differs from the defaults                       */
    DPT_JOB_PRINT_EXPLAIN, /* every key with its text and where its value came from     */
};

/* Appends the job as INI. Local. */
void dpt_job_print(const struct dpt_job *job, enum dpt_job_print how, struct dpt_text *text);

/* Appends type, default, limits and meaning of "section.key"; DPT_STATUS_USAGE with the nearest name. Local. */
enum dpt_status dpt_job_explain(const char *key, struct dpt_text *text);

/*
 * Appends the names of a kind, one a line with its doc: "sections", "keys", "models", "optimizers", "schedules",
 * "data", "augmentations", "activations", "layers" (ops of [layer.NAME] sections), "losses"; NULL: the kinds
 * themselves. DPT_STATUS_USAGE. Local.
 */
enum dpt_status dpt_job_list(const char *kind, struct dpt_text *text);

/* Appends what may stand behind -s, one a line: "section.key=", and "section.key=word" for each word. Local. */
void dpt_job_complete(struct dpt_text *text);

/*
 * Compares the job of a run, `a`, with the one that would go on with it, `b`. `changed` gets a line for each key that
 * differs and is fixed for a run (data,
 * model, seed, precision, batch); keys such as lengths and logs may differ. True when nothing fixed differs. Local.
 */
bool dpt_job_same(const struct dpt_job *a, const struct dpt_job *b, struct dpt_text *changed);

/*
 * For model/layers.c: a value of a [layer.NAME] section, with the place for messages. Reading a job has already
 * refused unknown ops, unknown keys of an op, missing keys and malformed values. They return the default when the
 * key is absent; a malformed value is DPT_STATUS_USAGE with file:line. Local.
 */
const struct dpt_layer_key *dpt_layer_find(const struct dpt_layer_section *section, const char *key);
enum dpt_status dpt_layer_int(const struct dpt_layer_section *section, const char *key, int64_t fallback, int64_t min,
                              int64_t max, int64_t *value);
/* One number for both, or "3 x 5" / "3 5" for y and x. */
enum dpt_status dpt_layer_pair(const struct dpt_layer_section *section, const char *key, int64_t fallback, int64_t min,
                               int64_t max, int64_t value[2]);
/* A list of 1 to `limit` numbers, or the count 0 when the key is absent. */
enum dpt_status dpt_layer_ints(const struct dpt_layer_section *section, const char *key, int64_t min, int64_t max,
                               int limit, int64_t *value, int *count);
enum dpt_status dpt_layer_real(const struct dpt_layer_section *section, const char *key, double fallback, double min,
                               double max, double *value);
enum dpt_status dpt_layer_bool(const struct dpt_layer_section *section, const char *key, bool fallback, bool *value);
