/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * exec/: runs a plan: owns the state's memory and walks the actions of a step. It knows no models, files or layouts,
 * and nothing in a step allocates, opens a file or formats a string.
 */

#include "comm/exchange.h"
#include "data/data.h"
#include "dev/dev.h"
#include "dev/ring.h"
#include "plan/plan.h"

/* Everything that changes. Each kind of flat buffer holds as many elements of graph->real as plan->kept says. */
struct dpt_state {
    const struct dpt_plan *plan; /* the training's: decides the layout */
    struct dpt_dev *dev;
    void *param;
    void *gradient;
    void *accumulator[DPT_PLAN_MAX_LEVELS];
    void *digits;                /* conf.fixed: sums of the gradient (comm/fixed.h), on the host */
    int32_t *window, *top;       /* their windows, and the largest of all ranks                  */
    void *slot[DPT_PLAN_MAX_SLOTS];
    bool common_param;           /* param is one copy a host: this rank updates its slices of it             */
    bool common;                 /* and so is slot                                                           */
    bool lent;                   /* gradient, or digits, is the exchange's memory                            */
    bool lent_param;             /* param is, and so are slots if common                                     */
    int64_t step;                /* steps done    */
    int64_t updates;             /* updates done  */
    int loss_shift;              /* gradients are those of 2^loss_shift times the loss (fp16), else 0 */
    int64_t steady;              /* updates since that last changed                                   */
};

/* Allocates the state and draws the initial values (keyed by name and element). Local. */
enum dpt_status dpt_state_new(const struct dpt_plan *plan, struct dpt_dev *dev, uint64_t seed,
                              struct dpt_state **state);

/*
 * The same in memory of the exchange where it has any. TOGETHER: gradients that the ranks of a host read from each other,
 * and one copy a host of parameters and optimizer state (of parameters where the plan gives each rank its part of the
 * optimizer's; of nothing where it cuts gradients or parameters); a reproducible plan shares gradients only, since its
 * norm is summed in an order that slices do not have. APART: each rank has all to itself, and the others read its gradients and
 * parameters. The state must be freed before the exchange. Not where the device of a rank is apart. Collective over the
 * mesh.
 */
enum dpt_state_kind { DPT_STATE_KIND_TOGETHER, DPT_STATE_KIND_APART };
enum dpt_status dpt_state_new_shared(const struct dpt_plan *plan, struct dpt_dev *dev, struct dpt_exchange *exchange,
                                     enum dpt_state_kind kind, uint64_t seed, struct dpt_state **state);
void dpt_state_free(struct dpt_state *state);

/* Where this rank's part of a PARAM, BUFFER or (where slots are not sliced) SLOT value lies, as a tensor. Local. */
struct dpt_tensor dpt_state_tensor(const struct dpt_state *state, int value);

/*
 * True when this rank has all of every value in memory of the host, so that dpt_state_tensor gives logical tensors that may
 * be read and written. Local.
 */
bool dpt_state_is_whole(const struct dpt_state *state);

/*
 * The logical tensor of a PARAM, BUFFER or SLOT of the logical graph, from all ranks that have parts of it: into `whole`,
 * packed, on every rank. Collective over the world. _scatter takes this rank's part out of it. Local.
 */
enum dpt_status dpt_state_gather(const struct dpt_state *state, int value, void *whole);
enum dpt_status dpt_state_scatter(struct dpt_state *state, int value, const void *whole);

/* Hash of all parameters and buffers, to compare replicas and runs. Local. */
uint64_t dpt_state_hash(const struct dpt_state *state);

/* Where the time of steps went. */
enum dpt_section {
    DPT_SECTION_DATA,     /* waiting for the loader                  */
    DPT_SECTION_FORWARD,
    DPT_SECTION_BACKWARD,
    DPT_SECTION_EXCHANGE, /* sums that the compute thread waited for */
    DPT_SECTION_UPDATE,   /* norm, clipping, update                  */
    DPT_SECTION_EVAL,
    DPT_SECTION_CHECKPOINT,
    DPT_SECTION_LOG,
    DPT_SECTION_COUNT
};

struct dpt_exec; /* a plan bound to memory: training or evaluation */

/* The ranks of a group of the plan, and how they exchange. */
struct dpt_exec_group {
    struct dpt_comm *comm;
    struct dpt_exchange *exchange;
};

/*
 * Groups for a training's plan whose mesh has more axes than data. Freed, after a failure too, by _free. Collective over
 * the world, both.
 */
enum dpt_status dpt_exec_groups_new(const struct dpt_plan *plan, struct dpt_exec_group **groups);
void dpt_exec_groups_free(const struct dpt_plan *plan, struct dpt_exec_group *groups);

struct dpt_exec_conf {
    const struct dpt_plan *plan;
    struct dpt_state *state;
    struct dpt_dev *dev;
    struct dpt_exchange *exchange; /* over the world, where data is the only axis; NULL on one rank without a tree */
    const struct dpt_exec_group *group; /* of each group of the training's plan, where there are more axes; or NULL */
    struct dpt_dev_ring *ring;     /* of the ranks' cards: gradients and parameters go by it; or NULL       */
    bool direct;                   /* the exchange takes memory of the device: buckets are bound where they lie */
    struct dpt_exec *share;        /* use its activation and scratch blocks where they are large enough; or NULL */
    uint64_t seed;
    bool flat;                   /* messages between stages go through MPI within a host, too */
    double slowness;             /* > 1: kernels take so many times as long: a slow rank, for trials */
};

/*
 * Binds a plan to memory; gives the exchange the buckets of a training. Collective over the mesh where a training has
 * an exchange, else Local. DPT_STATUS_SPACE.
 */
enum dpt_status dpt_exec_new(const struct dpt_exec_conf *conf, struct dpt_exec **exec);
void dpt_exec_free(struct dpt_exec *exec);

enum { DPT_EXEC_FLAGS = 4, DPT_EXEC_METRICS = 8 };

/* What goes into a step and what comes out; sums over ranks and micro-batches. */
struct dpt_exec_step {
    double lr;
    double clip;                 /* largest global gradient norm; 0: none                       */
    int alone;                   /* ranks: each steps on its share of the batch by itself, as if that were all; nothing is
                                    summed, `metric` and `flag` are this rank's. 0: together                            */
    bool keep;                   /* alone, and nothing is updated: the gradient buffer has this rank's part of the sum  */
    double flag[DPT_EXEC_FLAGS]; /* in: this rank's; out: summed over the ranks (stop, ...)     */
    double metric[DPT_EXEC_METRICS]; /* the METRIC value                                            */
    double grad_norm;            /* of the whole gradient of the loss, before clipping          */
    bool finite;                 /* else the update was not done                                */
};

/* One training step: all actions of the plan. Collective over the mesh. */
enum dpt_status dpt_exec_train(struct dpt_exec *exec, struct dpt_loader *loader, struct dpt_exec_step *step);

/* Where a range of the flat buffers lies on the host: each points at the first element of the range. */
struct dpt_exec_flat {
    void *param, *gradient, *slot[DPT_PLAN_MAX_SLOTS];
};

/*
 * Updates number `update` (from 1) of the elements of a range, which lie at `at`, with this rate. Allocates nothing. Any
 * thread, as long as nobody else is there. Local.
 */
enum dpt_status dpt_exec_update(const struct dpt_exec *exec, struct dpt_range range, const struct dpt_exec_flat *at,
                                double lr, int64_t update);

/*
 * One pass of an evaluation plan over all that the loader gives: metric sums over ranks in `metric`; `output`, when not
 * NULL, is called with the predictions of every micro-batch. Collective over the mesh.
 */
typedef enum dpt_status dpt_exec_output_fn(void *user, const struct dpt_batch *batch, const struct dpt_tensor *output);
enum dpt_status dpt_exec_evaluate(struct dpt_exec *exec, struct dpt_loader *loader, double metric[DPT_EXEC_METRICS],
                                  dpt_exec_output_fn *output, void *user);

/* Bytes of plan->memory.messages that lie in memory which the ranks of a host share, not the device's own. Local. */
int64_t dpt_exec_shared_nbytes(const struct dpt_exec *exec);

/* Parts of steps, or of batches of an evaluation, that the device played from a recording so far. Local. */
int64_t dpt_exec_played(const struct dpt_exec *exec);

/* Micro-batches that were on the device, or on their way there, before they were wanted. Local. */
int64_t dpt_exec_came_ahead(const struct dpt_exec *exec);

/* Bytes that this rank sent in steps, counted as plan->traffic counts them. Local. */
double dpt_exec_sent(const struct dpt_exec *exec);

/*
 * Seconds spent in each section so far, DPT_SECTION_COUNT of them, for reading; whoever does the work of the sections
 * after UPDATE adds its own. Local.
 */
double *dpt_exec_seconds(struct dpt_exec *exec);
