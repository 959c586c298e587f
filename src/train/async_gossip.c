/* SPDX-License-Identifier: Apache-2.0 */

/*
 * async-average and async-pushsum: each rank trains parameters of its own, and puts copies of them into mailboxes of
 * others. The rank that gets the k-th copy is 2^(k mod log2 N) further round the ring, so that after log2 N copies
 * every rank has something of every other (the exponential graph of Assran and others, "Stochastic gradient push",
 * 2019).
 *
 *   async-average  every so many steps a copy; w = (w + w_in) / 2 with what has come. Simple, and the mean of all ranks
 * is not kept: what a copy adds here is taken away nowhere, and newer copies replace unread ones. async-pushsum  a copy
 * after each step, and with it half of this rank's weight m: what has come is taken in by weight, w = (m w + m_in w_in)
 * / (m + m_in). Since weight is only moved, sum(m w) is what it would be without messages. A copy that was not read is
 * taken back, weight and all, before the next one goes. The gradient counts 1 / m, so that every share moves the mean
 * alike, whichever rank it is from.
 *
 * Where the ranks meet all take the mean by weight, and each has weight 1.
 */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "op/flat.h"
#include "train/async.h"

/* With less weight than this a rank keeps it: its rate is by 1 / weight greater. */
static const double least_to_share = 0.5;

struct gossip {
    int hops;    /* boxes that this rank writes, and that it reads    */
    bool pushes; /* async-pushsum                                     */
    int64_t every;
    size_t nbytes; /* of the parameters                                 */
    double weight; /* of this rank; 1 with async-average                */
    char **copy;   /* of each hop: what is in its box, async-pushsum    */
    double *given; /* and its weight                                    */
    int64_t sends;
};

static void mix_f32(int64_t n, float a, const float *restrict x, float b, float *restrict y)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = a * x[i] + b * y[i];
    }
}

static void mix_f64(int64_t n, double a, const double *restrict x, double b, double *restrict y)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = a * x[i] + b * y[i];
    }
}

void dpt_train__mix(enum dpt_dtype real, int64_t n, double a, const void *x, double b, void *y)
{
    if (real == DPT_DTYPE_F32) {
        mix_f32(n, (float)a, x, (float)b, y);
    } else {
        mix_f64(n, a, x, b, y);
    }
}

static bool pushes(const struct dpt_train *train)
{
    return train->job->parallel.update == DPT_UPDATE_ASYNC_PUSHSUM;
}

static size_t flat_nbytes(const struct dpt_train *train)
{
    return (size_t)train->plan->nflat * dpt_dtype_nbytes(train->graph->real);
}

static int hops_of(int ranks)
{
    int hops = 0;
    while (1 << hops < ranks) {
        hops++;
    }
    return hops;
}

/* Box `hop` of rank w: hops_of(ranks) a rank. */
static int list_boxes(const struct dpt_train *train, struct dpt_mailbox *box)
{
    const int ranks = dpt_train__axis(train, "data"), hops = hops_of(ranks);
    for (int b = 0; b < ranks * hops && box; b++) {
        box[b] = (struct dpt_mailbox){b / hops, (b / hops + (1 << b % hops)) % ranks, flat_nbytes(train)};
    }
    return ranks * hops;
}

static int carrying(const struct dpt_train *train)
{
    return pushes(train) ? list_boxes(train, NULL) : 0;
}

static int64_t nbytes(const struct dpt_train *train)
{
    return (int64_t)flat_nbytes(train) * hops_of(dpt_train__axis(train, "data")) * (pushes(train) ? 4 : 3);
}

static enum dpt_status open_gossip(struct dpt_train *train)
{
    struct gossip *gossip = calloc(1, sizeof *gossip);
    DPT_CHECK(gossip, DPT_STATUS_SPACE, "no memory for copies of the parameters");
    train->async->own = gossip;
    gossip->hops = hops_of(train->async->ranks);
    gossip->pushes = pushes(train);
    gossip->nbytes = flat_nbytes(train);
    gossip->every = gossip->pushes ? 1 : dpt_span_steps(train->job->parallel.every, train->steps_per_epoch);
    gossip->every = gossip->every > 0 ? gossip->every : 1;
    gossip->copy = calloc((size_t)gossip->hops, sizeof *gossip->copy);
    gossip->given = calloc((size_t)gossip->hops, sizeof *gossip->given);
    DPT_CHECK(gossip->copy && gossip->given, DPT_STATUS_SPACE, "no memory for copies of the parameters");
    for (int h = 0; h < gossip->hops && gossip->pushes; h++) {
        DPT_TRY(dpt_dev_host_alloc(train->dev, gossip->nbytes, "a copy of the parameters", (void **)&gossip->copy[h]));
    }
    return DPT_STATUS_OK;
}

static void close_gossip(struct dpt_train *train)
{
    struct gossip *gossip = train->async->own;
    if (gossip) {
        for (int h = 0; h < gossip->hops && gossip->copy; h++) {
            if (gossip->copy[h]) {
                dpt_dev_host_release(train->dev, gossip->copy[h], gossip->nbytes);
            }
        }
        free(gossip->copy);
        free(gossip->given);
        free(gossip);
    }
}

static enum dpt_status begin(struct dpt_train *train)
{
    struct gossip *gossip = train->async->own;
    gossip->weight = 1.0;
    gossip->sends = train->async->rank; /* not all to their neighbours first */
    return dpt_train__fetch(train, DPT_TRAIN__PARAM);
}

/* Takes in parameters by weight. */
static void take_in(const struct dpt_train *train, struct gossip *gossip, const void *data, double weight)
{
    const double sum = gossip->weight + weight;
    dpt_train__mix(train->graph->real, train->plan->nflat, weight / sum, data, gossip->weight / sum,
                   train->host.param);
    gossip->weight = gossip->pushes ? sum : 1.0;
}

/* What has come, into the parameters of this rank: between two shares. */
static enum dpt_status before(struct dpt_train *train, int64_t least, bool *fresh)
{
    struct gossip *gossip = train->async->own;
    struct dpt_train__async *async = train->async;
    *fresh = true; /* the clocks alone decide */
    (void)least;
    for (int h = 0; h < gossip->hops; h++) {
        const int from = (async->rank - (1 << h) + async->ranks) % async->ranks;
        const struct dpt_mailbox_header *header;
        const void *data;
        DPT_TRY(dpt_mailbox_take(async->boxes, from * gossip->hops + h, &header, &data));
        if (header && header->version == async->phase) { /* else from before the ranks met */
            take_in(train, gossip, data, gossip->pushes ? header->mass : 1.0);
            dpt_train__late(train, async->clock - header->step, 1.0);
        }
    }
    return DPT_STATUS_OK;
}

static void set(const struct dpt_train *train, struct dpt_exec_step *step)
{
    const struct gossip *gossip = train->async->own;
    step->lr /= gossip->weight;
}

static enum dpt_status after(struct dpt_train *train, const struct dpt_exec_step *step)
{
    struct gossip *gossip = train->async->own;
    struct dpt_train__async *async = train->async;
    const int hop = (int)(gossip->sends % gossip->hops), box = async->rank * gossip->hops + hop;
    struct dpt_mailbox_header header = {.step = async->clock, .version = async->phase, .count = 1, .mass = 1.0};
    bool unread = false, replaced;
    (void)step;
    if ((async->clock + 1) % gossip->every != 0) {
        return DPT_STATUS_OK;
    }
    if (gossip->pushes) {
        DPT_TRY(dpt_mailbox_reclaim(async->boxes, box, &unread));
        if (unread) {
            take_in(train, gossip, gossip->copy[hop], gossip->given[hop]);
        }
        if (gossip->weight < least_to_share) {
            return DPT_STATUS_OK;
        }
        gossip->weight /= 2.0;
        header.mass = gossip->given[hop] = gossip->weight;
        memcpy(gossip->copy[hop], train->host.param, gossip->nbytes);
    }
    gossip->sends++;
    return dpt_mailbox_post(async->boxes, box, &header, train->host.param, gossip->nbytes, &replaced);
}

/* While shares are computed nothing is taken; when the ranks meet (_settle) everything is. */
static enum dpt_status pump(struct dpt_train *train, bool *worked)
{
    bool fresh;
    *worked = false;
    return train->async->meeting ? before(train, 0, &fresh) : DPT_STATUS_OK;
}

static enum dpt_status average(struct dpt_train *train, void *flat, double weight, double sum)
{
    const enum dpt_dtype real = train->graph->real;
    const int64_t n = train->plan->nflat;
    DPT_TRY(dpt_flat_scale(NULL, real, n, weight / sum, flat));
    return dpt_comm_allreduce(train->world, flat, n, real, DPT_COMM_REDUCE_SUM);
}

static enum dpt_status meet(struct dpt_train *train)
{
    struct gossip *gossip = train->async->own;
    double sum = gossip->weight;
    DPT_TRY(dpt_comm_allreduce(train->world, &sum, 1, DPT_DTYPE_F64, DPT_COMM_REDUCE_SUM));
    train->async->counts.lost += fabs(sum - train->async->ranks) > 1e-9 ? fabs(sum - train->async->ranks)
                                                                        : 0.0; /* rounding */
    DPT_TRY(average(train, train->host.param, gossip->weight, sum));
    return dpt_train__put(train, DPT_TRAIN__PARAM);
}

static enum dpt_status save(struct dpt_train *train)
{
    DPT_TRY(dpt_train__fetch(train, DPT_TRAIN__SLOTS));
    for (int k = 0; k < train->plan->nslots; k++) {
        DPT_TRY(average(train, train->host.slot[k], 1.0, train->async->ranks));
    }
    return dpt_train__put(train, DPT_TRAIN__SLOTS);
}

const struct dpt_train__async_method dpt_train__gossip = {
    .boxes = list_boxes,
    .carrying = carrying,
    .open = open_gossip,
    .close = close_gossip,
    .nbytes = nbytes,
    .begin = begin,
    .before = before,
    .set = set,
    .after = after,
    .pump = pump,
    .meet = meet,
    .save = save,
};
