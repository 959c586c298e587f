/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of train/ share: the training of one rank and its parts. */

#include <signal.h>
#include <stdio.h>

#include "ckpt/ckpt.h"
#include "comm/exchange.h"
#include "data/data.h"
#include "exec/exec.h"
#include "model/model.h"
#include "optim/optim.h"
#include "train/tensorboard.h"
#include "train/train.h"

/* A data set that is evaluated, with the plan for it; data is NULL where the job has none. */
struct dpt_train__eval {
    const char *name; /* "valid", "test" */
    struct dpt_data *data;
    struct dpt_plan *plan;
    struct dpt_exec *exec;
};

/* What an evaluation, or the steps since the last line, came to. */
struct dpt_train__score {
    double samples, loss;
    double accuracy, top5; /* classification; shares   */
    double rmse, r2;       /* regression               */
    double tokens;         /* language: that were predicted; loss and accuracy are of a token */
    double perplexity;
    double bits_per_byte;  /* 0: how many bytes a token stands for is not known */
};

/* What is predicted: numbers, a class, or the next token everywhere. */
enum dpt_train__task { DPT_TRAIN__TASK_NUMBERS, DPT_TRAIN__TASK_CLASS, DPT_TRAIN__TASK_TOKENS };

/* Sums over the steps since the last line. */
struct dpt_train__meter {
    double metric[DPT_EXEC_METRICS];
    int64_t steps;
    double begin_s;
    double data_s, exchange_s; /* sections at the begin */
};

/* Of ranks that go their own ways between meetings, see local.c. */
struct dpt_train__local {
    double metric[DPT_EXEC_METRICS]; /* of this rank's steps since the last meeting  */
    int64_t bad;                     /* of them, with a gradient that is not finite  */
    int64_t meetings;
    bool bound;                      /* the exchange sums parameters                 */
    void *start, *momentum;          /* diloco                                       */
    int under_way;                   /* the fragment that travels, see stream.c; -1: none */
    void *travels, *old;             /* it, and what was sent of it                  */
    bool lent_travels;               /* it lies in memory of the exchange            */
};

/* Of the same: where they combine what they have, see host.c. */
struct dpt_train__host {
    void *param, *gradient, *slot[DPT_PLAN_MAX_SLOTS];
};

struct dpt_train__async; /* of ranks that do not wait for each other, see async.h */

struct dpt_train {
    const struct dpt_job *job;
    const struct dpt_options *options;
    struct dpt_comm *world;
    bool speaks; /* rank 0 */
    struct dpt_mesh mesh;
    struct dpt_cores cores;
    int threads;
    int64_t ahead;            /* micro-batches that a thread reads ahead */
    struct dpt_dev *dev;
    enum dpt_run run;         /* kernels for it                          */
    int sharers;              /* ranks that compute on the card of this one, if it has one */
    bool anyone_apart;        /* the device of a rank has memory of its own */
    struct dpt_dev_ring *ring; /* in which cards exchange, or NULL                         */
    bool direct;              /* MPI takes memory of the cards                            */
    const char *between;      /* of `ring`, for the banner                                */
    const char *no_ring;      /* why there is neither; or NULL                            */
    const char *no_card;      /* why the cores compute although device.kind is auto and dpt knows cards; or NULL */
    char *devices;            /* on rank 0: names of the ranks' devices, for the banner; or NULL: all alike */

    struct dpt_data *data;
    struct dpt_train__eval valid, test;
    struct dpt_model_io io;
    struct dpt_graph *graph, *eval_graph;
    struct dpt_plan *plan;
    struct dpt_exchange *exchange;     /* where data is the only axis with several ranks, or */
    struct dpt_exec_group *group;      /* where there are more                               */
    bool in_parts;                     /* no rank has all of the state                       */
    double *share;                     /* of the batch, of each rank along data; NULL: equal */
    int64_t shared_step;               /* of the last look at the speed of ranks, and        */
    double shared_busy_s;              /* the time that this one had worked by then          */
    const int *backward;               /* of each place of the pipeline, or NULL             */
    bool sketch;                       /* plans are only looked at                           */
    struct dpt_state *state;
    struct dpt_exec *exec;
    struct dpt_loader *loader;
    struct dpt_train__local local;
    struct dpt_train__host host;
    struct dpt_train__async *async; /* NULL: the ranks work together, or meet at fixed steps */
    int64_t bucket_nbytes;          /* as measured; 0: it was not */
    float *kept;                    /* while saving or loading: what the exchange keeps of gradients, as the parameters lie */
    int64_t last_between;           /* step at which ranks last evaluated and saved where that was due */
    int64_t steps, steps_per_epoch; /* of the whole run */

    /* the run on disk, rank 0's business */
    struct dpt_arena *arena;
    int lock;                 /* file descriptor that holds the run directory, or -1 */
    FILE *metrics;            /* metrics.jsonl                                       */
    struct dpt_tensorboard *tensorboard;

    /* how far it got */
    int64_t first_step;       /* where this start began           */
    double elapsed_before_s;  /* training time of earlier starts  */
    double begin_s;           /* clock when the loop began        */
    double start_s;           /* from the program's start to the end of the first step of this start */
    int64_t best_step;        /* -1: none */
    double best_value;
    int64_t saved_step;       /* of the last checkpoint, -1: none */
    double saved_s;           /* clock at the last save or evaluation by time */
    double evaluated_s;
    double save_s;            /* seconds that the last save took  */
    double slowest_s;         /* step since the last line         */
    int64_t clipped;          /* steps whose gradient was clipped */
    int64_t skipped;          /* steps that updated nothing, since a gradient was too large for fp16 */
    struct dpt_train__meter meter;
    int64_t lines;
    int64_t line_step;        /* of the last line */
    double logged_s;
    struct dpt_train__score test_score, valid_score; /* the last ones; samples 0: none */
    double limit_s;           /* on the clock of the process: when the time is over */
    const char *stop_path;    /* the file STOP, when it was last looked for, whether it is there */
    double looked_s;
    bool stop_file;
    const char *stopped;      /* why the ranks agreed to stop, or NULL */
};

/* ---------------------------------------------------------------------------------------------------- setup.c */

/*
 * The mesh that the job asks for: over train->world, or without it as `ranks` ranks would have it. DPT_STATUS_USAGE where
 * job and ranks do not fit. Collective over the world.
 */
enum dpt_status dpt_train__mesh(struct dpt_train *train, int ranks);

/* Ranks of the mesh; of its axis of this name, 1 where it has none. Local. */
int dpt_train__ranks(const struct dpt_train *train);
int dpt_train__axis(const struct dpt_train *train, const char *name);

/* "data:2 tensor:2" of the mesh. Local. */
enum { DPT_TRAIN__LAYOUT_SIZE = 96 };
const char *dpt_train__layout_text(const struct dpt_train *train, char out[DPT_TRAIN__LAYOUT_SIZE]);

/* What the job says of messages. Pure. */
struct dpt_wire dpt_train__wire(const struct dpt_job *job);

/* Opens the data, makes graphs and plans for a rank of train->mesh. Local. */
enum dpt_status dpt_train__plan(struct dpt_train *train);

/* device.c: counts the ranks whose card, if they take one, is this rank's. Collective over the world. */
enum dpt_status dpt_train__count_sharers(struct dpt_train *train);

/*
 * device.c: opens what the job computes on, for the training's graph. DPT_STATUS_USAGE where it asks for a card that is
 * not there or that cannot run it; DPT_STATUS_FAILED where a card does not start. Local.
 */
enum dpt_status dpt_train__open_device(struct dpt_train *train);

/* device.c: tells all ranks which devices there are. Collective over the world. */
enum dpt_status dpt_train__tell_devices(struct dpt_train *train);

/* ---------------------------------------------------------------------------------------------------- host.c */

enum { DPT_TRAIN__PARAM = 1, DPT_TRAIN__GRADIENT = 2, DPT_TRAIN__SLOTS = 4 };

/* Memory of train->host, for ranks that go their own ways; the state must be there. Closed before it is freed. Local. */
enum dpt_status dpt_train__host_open(struct dpt_train *train);
void dpt_train__host_close(struct dpt_train *train);

/*
 * Where the device is apart: what is on it to train->host, and back. `what`: bits of the above. _params: a range of the
 * parameters only. DPT_STATUS_FAILED. Local.
 */
enum dpt_status dpt_train__fetch(struct dpt_train *train, unsigned what);
enum dpt_status dpt_train__put(struct dpt_train *train, unsigned what);
enum dpt_status dpt_train__fetch_params(struct dpt_train *train, struct dpt_range range);
enum dpt_status dpt_train__put_params(struct dpt_train *train, struct dpt_range range);

/* ---------------------------------------------------------------------------------------------------- cards.c */

/* Chooses how cards exchange, and opens their ring. DPT_STATUS_USAGE where the job asks for what cannot be. Collective. */
enum dpt_status dpt_train__join_cards(struct dpt_train *train);

/* Takes memory, binds plans to it, makes the exchange. Collective over the world. */
enum dpt_status dpt_train__bind(struct dpt_train *train);

/* A loader that stands before the next step. Local. */
enum dpt_status dpt_train__new_loader(struct dpt_train *train);

/* Plans again, with the shares of now, and goes on with the same state. Collective over the world. */
enum dpt_status dpt_train__replan(struct dpt_train *train);

/* shares.c: looks at the speed of the ranks now and then, where the job asks for it. Collective over the world. */
enum dpt_status dpt_train__reshare(struct dpt_train *train);

/* Gives back all of both. Collective over the world when there was a bind. */
void dpt_train__free(struct dpt_train *train);

/* ---------------------------------------------------------------------------------------------------- local.c */

/* Whether the job lets ranks go their own ways; whether the next step is such a one; whether they meet after it. Local. */
bool dpt_train__apart(const struct dpt_train *train);
bool dpt_train__alone(const struct dpt_train *train);
bool dpt_train__meets(const struct dpt_train *train);

/* Takes memory for it, and how much that is. Local. */
enum dpt_status dpt_train__local_open(struct dpt_train *train);
void dpt_train__local_close(struct dpt_train *train);
int64_t dpt_train__local_nbytes(const struct dpt_train *train);

/* Before a step: where it is the first alone, makes ready for the next meeting. Collective over the world. */
enum dpt_status dpt_train__local_begin(struct dpt_train *train);

/*
 * After a step alone. Where the ranks meet, parameters are combined, and the step's metrics, flags and `finite` become
 * those of all ranks and all steps since the last meeting; else its metrics are kept for then. Collective if they meet.
 */
enum dpt_status dpt_train__local_step(struct dpt_train *train, struct dpt_exec_step *step, bool meets);

/* The sum of a range of the ranks' parameters becomes what all take: the mean, or what the outer rule makes of it. Local. */
void dpt_train__local_result(struct dpt_train *train, struct dpt_range range, void *sum);

/* ---------------------------------------------------------------------------------------------------- stream.c */

/* Whether parameters are combined in fragments, while steps go on. Local. */
bool dpt_train__streams(const struct dpt_train *train);

/* Memory for it, and how much that is. DPT_STATUS_USAGE where fragments have no turns. Local. */
enum dpt_status dpt_train__stream_open(struct dpt_train *train);
void dpt_train__stream_close(struct dpt_train *train);
int64_t dpt_train__stream_nbytes(const struct dpt_train *train);

/* Binds the exchange to the fragments. Then in each turn: takes in one, sends the next. Collective over the world, both. */
enum dpt_status dpt_train__stream_bind(struct dpt_train *train);
enum dpt_status dpt_train__stream_turn(struct dpt_train *train);

/* Makes the ranks equal, for what needs one set of parameters; nothing where they are. Collective over the world. */
enum dpt_status dpt_train__stream_join(struct dpt_train *train);

/* Before a checkpoint, where ranks have met: one state of the optimizer. Collective over the world. */
enum dpt_status dpt_train__local_save(struct dpt_train *train);

/* ---------------------------------------------------------------------------------------------------- async.c */

/* Whether no rank of this job waits for another. Local. */
bool dpt_train__is_async(const struct dpt_train *train);

/* Takes memory and opens the mailboxes where it is so. Collective over the world. _nbytes: how much that is. Local. */
enum dpt_status dpt_train__async_open(struct dpt_train *train);
void dpt_train__async_close(struct dpt_train *train);
int64_t dpt_train__async_nbytes(const struct dpt_train *train);

/* How the mailboxes work, and why no better: for the banner. Local. */
const char *dpt_train__async_name(const struct dpt_train *train);
const char *dpt_train__async_note(const struct dpt_train *train);

/*
 * This rank's next share of the work, or a meeting of all ranks where there is none left before one is due: then *meets,
 * parameters and state->step are the same on all ranks, and the step's flags and `finite` are of all of them. Rank 0's
 * metrics are those of all ranks since its last step, as far as it knows them. Collective where the ranks meet.
 */
enum dpt_status dpt_train__async_step(struct dpt_train *train, struct dpt_exec_step *step, bool *meets);

/* Before a checkpoint, where ranks have met: one state of the optimizer. Collective over the world. */
enum dpt_status dpt_train__async_save(struct dpt_train *train);

/*
 * What was sent and how late it was used, on all ranks, for the last page: to be printed, and as a field of a record.
 * _sum is collective over the world and comes first; the others are rank 0's.
 */
enum dpt_status dpt_train__async_sum(struct dpt_train *train);
void dpt_train__async_print(const struct dpt_train *train);
void dpt_train__async_field(const struct dpt_train *train, struct dpt_text *record);

/* ---------------------------------------------------------------------------------------------------- run.c */

/*
 * Takes the run directory (rank 0), loads the checkpoint to go on from where there is one, and gives every rank the state.
 * *finished: there is nothing left to do. Collective over the world.
 */
enum dpt_status dpt_train__resume(struct dpt_train *train, bool *finished);

/* Saves a checkpoint. Collective over the world. */
enum dpt_status dpt_train__save(struct dpt_train *train, bool is_best);

/* The path of a file of the run directory, from train->arena. Local. */
const char *dpt_train__path(const struct dpt_train *train, const char *file);

/* Lets go of the run directory. Local. */
void dpt_train__leave(struct dpt_train *train);

/* ---------------------------------------------------------------------------------------------------- stop.c */

enum { DPT_TRAIN__FLAG_SIGNAL, DPT_TRAIN__FLAG_RANK0, DPT_TRAIN__FLAG_SAVE, DPT_TRAIN__FLAGS };

/* What rank 0 alone knows, as bits of DPT_TRAIN__FLAG_RANK0. */
enum {
    DPT_TRAIN__BIT_FILE = 1, /* STOP is there          */
    DPT_TRAIN__BIT_TIME = 2, /* the time is nearly over */
    DPT_TRAIN__BIT_EVAL = 4, /* intervals in seconds    */
    DPT_TRAIN__BIT_SAVE = 8,
};

/* When the time of the job or of the batch system is over, on the clock of the process; INFINITY: never. Local. */
double dpt_train__limit(const struct dpt_job *job);

/* Catches signals from now on: the first one asks for a stop, the second has its usual effect. Local. */
void dpt_train__catch_signals(void);

/* Sets this rank's flags for a step. Local. */
void dpt_train__ask(struct dpt_train *train, double flag[DPT_EXEC_FLAGS]);

/* Why the ranks agreed to stop, or NULL. Local. */
const char *dpt_train__agreed(const double flag[DPT_EXEC_FLAGS]);

/* ---------------------------------------------------------------------------------------------------- scale.c */

/* The scale of the loss that a run begins with. Local. */
void dpt_train__scale_begin(struct dpt_train *train);

/*
 * Sets the scale of the loss for the next step by what came out of this one, alike on all ranks. False: its numbers are not
 * finite, and another scale would not help. Local.
 */
bool dpt_train__scale(struct dpt_train *train, const struct dpt_exec_step *step);

/* Says on the last page how many steps were skipped, if any. Local. */
void dpt_train__note_scale(const struct dpt_train *train);

/* ---------------------------------------------------------------------------------------------------- score.c */

/* Samples seen by the run so far. Local. */
int64_t dpt_train__samples(const struct dpt_train *train);

/* What the model of this training predicts. Local. */
enum dpt_train__task dpt_train__task(const struct dpt_train *train);

/* The figures behind the sums of a METRIC value over samples of `data`. Local. */
struct dpt_train__score dpt_train__score(const struct dpt_train *train, const struct dpt_data *data,
                                         const double metric[DPT_EXEC_METRICS]);

/* The name of the figure by which the best checkpoint is chosen. Local. */
const char *dpt_train__watched(const struct dpt_train *train);

/*
 * Evaluates one split and tells the user. True: better than all before, by accuracy where a class is predicted, else by
 * loss. Collective.
 */
bool dpt_train__evaluate(struct dpt_train *train, struct dpt_train__eval *eval);

/*
 * Ends the job unless the status is OK: for what fails inside a step or an evaluation on this rank alone, while the others
 * wait for it. Local.
 */
void dpt_train__must(enum dpt_status status);

/* ---------------------------------------------------------------------------------------------------- report.c */

/* What stands before the first line: ranks, model, data, length, memory, notes. Local; rank 0 prints. */
void dpt_train__banner(const struct dpt_train *train, bool resumed);

/* Prints a line about the steps since the last one when it is time for it, or in any case. Local. */
void dpt_train__line(struct dpt_train *train, const struct dpt_exec_step *step, bool now);

/* Adds what brought the training on by so many steps to the meter. Local. */
void dpt_train__meter_add(struct dpt_train *train, const struct dpt_exec_step *step, int64_t steps, double seconds);

/* Appends the figures of a score, "loss 1.88, perplexity 6.55". Local. */
void dpt_train__score_text(const struct dpt_train *train, const struct dpt_train__score *score, struct dpt_text *text);

/* Tells of an evaluation, of a checkpoint. Local. */
void dpt_train__tell_score(struct dpt_train *train, const struct dpt_train__eval *eval,
                           const struct dpt_train__score *score, bool best);
void dpt_train__tell_saved(struct dpt_train *train, uint64_t nbytes);

/* ---------------------------------------------------------------------------------------------------- end.c */

/* The page after the last step: results, where the time went, what to change. Collective over the world. */
enum dpt_status dpt_train__end(struct dpt_train *train);

/* ---------------------------------------------------------------------------------------------------- metrics.c */

/* Opens metrics.jsonl (and the TensorBoard file); records after train->state->step are cut off. Local, rank 0. */
enum dpt_status dpt_train__metrics_open(struct dpt_train *train);
void dpt_train__metrics_close(struct dpt_train *train);

/* Begins a record of this kind at the present step; add fields with dpt_train__field_..., then write it. Local. */
void dpt_train__record(const struct dpt_train *train, const char *kind, struct dpt_text *record);
void dpt_train__field_real(struct dpt_text *record, const char *name, double value);
void dpt_train__field_text(struct dpt_text *record, const char *name, const char *value);
void dpt_train__write(const struct dpt_train *train, struct dpt_text *record);

/* Adds a value to the curve "tag" of the TensorBoard file where there is one. Local. */
void dpt_train__curve(const struct dpt_train *train, const char *tag, double value);
