/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the asynchronous methods share. Private to train/. async.c drives them: which rank takes the next part of the
 * work, when it has to wait, when all meet. A method says what a rank does with what it computed and with what came.
 *
 * A share is what one rank computes in a step: its part of a batch. A run of S steps on N ranks is N S shares, and a
 * rank that is free draws the next one, so that a slow rank does fewer. Between two meetings a rank reads its parts of
 * the batches in order from the step of the last meeting on; its clock is the number of shares that it has done since.
 */

#include <pthread.h>

#include "comm/mailbox.h"
#include "train/internal.h"

enum { DPT_TRAIN__STALE = 17 }; /* figures of the histogram: 0, 1, ..., 15, more */

/* What this rank saw; summed over the ranks for the last page. */
struct dpt_train__async_counts {
    double stale[DPT_TRAIN__STALE]; /* shares (owner) or messages that were used so late           */
    double used, lateness;          /* of them; sum of how late                                     */
    double latest;                  /* the most (a maximum)                                         */
    double shares;                  /* done                                                         */
    double lost;                    /* shares or weight that did not arrive: anything but 0 is a bug */
};

/* A method. All calls are made with the lock held and without it being open in MPI elsewhere, but for _meet. */
struct dpt_train__async_method {
    /* Adds its boxes to `box` (room for as many as its count), or counts them where box is NULL. Pure. */
    int (*boxes)(const struct dpt_train *train, struct dpt_mailbox *box);
    /* Of them, the first so many carry something that must not be lost when the ranks meet. Pure. */
    int (*carrying)(const struct dpt_train *train);
    /* Takes memory; gives it back. Local. */
    enum dpt_status (*open)(struct dpt_train *train);
    void (*close)(struct dpt_train *train);
    int64_t (*nbytes)(const struct dpt_train *train);
    /* After a meeting: goes on from the parameters that all ranks have. Local. */
    enum dpt_status (*begin)(struct dpt_train *train);
    /* Before a share: takes what came. *fresh: the parameters are of step `least` at the least. Local. */
    enum dpt_status (*before)(struct dpt_train *train, int64_t least, bool *fresh);
    /* How the share is to be computed: fields of the step. Local. */
    void (*set)(const struct dpt_train *train, struct dpt_exec_step *step);
    /* After a share whose gradient is finite. Local. */
    enum dpt_status (*after)(struct dpt_train *train, const struct dpt_exec_step *step);
    /* Between shares and while they are computed: takes what came. *worked: there was something. Local. */
    enum dpt_status (*pump)(struct dpt_train *train, bool *worked);
    /* Makes one state of what the ranks have, when nothing is under way any more. Collective over the world. */
    enum dpt_status (*meet)(struct dpt_train *train);
    /* Before a checkpoint: one state of the optimizer. Collective over the world. */
    enum dpt_status (*save)(struct dpt_train *train);
    bool needs_pump; /* others wait for what this rank does in _pump */
};

extern const struct dpt_train__async_method dpt_train__owner;
extern const struct dpt_train__async_method dpt_train__gossip;

struct dpt_train__async {
    const struct dpt_train__async_method *method;
    void *own; /* the method's */
    struct dpt_mailboxes *boxes;
    int tales; /* first of the boxes in which rank 0 gets the metrics of the others */
    int rank, ranks;
    pthread_mutex_t lock; /* of the boxes, MPI and what the method shares with the pump, while a phase is open */
    pthread_t thread;     /* the pump                                                 */
    bool pumping, leave;
    bool open;          /* between two meetings                                     */
    bool meeting;       /* no more shares are computed here until the next phase    */
    int64_t phase;      /* meetings so far                                          */
    int64_t begin, end; /* steps between which this phase lies                      */
    int64_t base;       /* of the counter of shares, when the phase began           */
    int64_t clock;      /* shares of this rank in it                                */
    bool closed;        /* this rank has ended it early                             */
    double flag[DPT_EXEC_FLAGS];
    double bad;                       /* shares whose gradient is not finite                      */
    double metric[DPT_EXEC_METRICS];  /* of this rank's shares of the phase               */
    double metered[DPT_EXEC_METRICS]; /* rank 0: what is in the lines already            */
    double *tale;                     /* rank 0: the last that each rank told of its metrics      */
    double square;                    /* of the norm of the last gradient                         */
    struct dpt_train__async_counts counts, total;
    struct dpt_mailbox_stats sent; /* on all ranks, for the last page                    */
};

/* ------------------------------------------------------------------------------------------------ async_wait.c */

/*
 * A thread that takes what comes while this rank computes, where others need that. Between the two whoever uses the boxes
 * has the lock. Local.
 */
enum dpt_status dpt_train__pump_start(struct dpt_train *train);
void dpt_train__pump_stop(struct dpt_train *train);

/* Tells all ranks this one's clock. Local. */
enum dpt_status dpt_train__tell_clock(struct dpt_train *train);

/* Returns when this rank may begin its next share. Progress of the slowest rank is progress for the deadline. Local wait. */
enum dpt_status dpt_train__await_turn(struct dpt_train *train);

/*
 * Returns when nothing is under way any more: this rank reads what comes until all it has sent was taken, says so, and goes
 * on reading until all ranks have said so. Then nobody sends. Without the pump. Collective over the world.
 */
enum dpt_status dpt_train__settle(struct dpt_train *train);

/* ---------------------------------------------------------------------------------- async_gossip.c, async_report.c */

/* y = a x + b y, n elements. Local. */
void dpt_train__mix(enum dpt_dtype real, int64_t n, double a, const void *x, double b, void *y);

/* Notes that `count` shares or messages were used `late` updates or steps after they were made. Local. */
void dpt_train__late(struct dpt_train *train, int64_t late, double count);
