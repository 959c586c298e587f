/* SPDX-License-Identifier: Apache-2.0 */

/*
 * async-owner: each rank owns a part of the parameters and of the optimizer's state. Ranks put the gradients of their
 * shares into the owners' mailboxes, and owners put the parameters that they have updated into everybody's.
 *
 * An owner makes an update when as many shares have come as there are ranks, whoever they are from (K-batch
 * asynchronous SGD: Dutta and others, "Slow and stale gradients can win the race", 2018): so an update is of one batch
 * as in the synchronous training, with its learning rate, and if every rank waits for all the others it is the same.
 * The parts may be of different ages, each of them is whole.
 *
 * A gradient that its owner has not read when the next one is ready is taken back and added to it: every share counts
 * once, with weight 1 / ranks, or less when it comes late (Mishchenko and others, "Asynchronous SGD beats minibatch SGD
 * under arbitrary delays", 2022). With delay compensation (Zheng and others, "Asynchronous SGD with delay
 * compensation", 2017) the gradient g of a share, computed with parameters v, counts as g + lambda g g (w - v) for the
 * owner's w; since shares are merged, g, g g and g g v are sent, which can be added.
 */

#include <stdlib.h>
#include <string.h>

#include "op/flat.h"
#include "train/async.h"

/* The delay in updates above which a gradient counts less: what even ranks have among each other is about 1. */
static const double usual_delay = 2.0;

struct owner {
    int ranks, rank;
    enum dpt_dtype real;
    size_t width;
    int parts;               /* arrays in a message of gradients: 1, or 3 with compensation              */
    struct dpt_range *slice; /* of each owner                                                            */
    char *param;             /* of this rank's slice: the ones that count                                */
    char *sum;               /* of its gradients since the last update                                   */
    char *out;               /* for each owner: what it has not read, `parts` arrays                     */
    double *out_count;       /* shares in it                                                             */
    double *out_version;     /* sum of the versions that they were computed with                         */
    int64_t *version;        /* of each slice in the state's parameters                                  */
    int64_t *lengths;        /* of the slices                                                            */
    int64_t updates;         /* of this rank's slice, since the training began                           */
    int64_t newest;          /* of this rank's slice                                                     */
    bool copied;             /* and that is in the state's parameters                                    */
    double received;         /* shares since the last meeting                                            */
    double pending;          /* of them, not in an update yet                                            */
};

static int64_t length(const struct owner *owner, int r)
{
    return owner->lengths[r];
}

static int parts_of(const struct dpt_train *train)
{
    return train->job->parallel.delay_compensation > 0.0 ? 3 : 1;
}

static struct dpt_range slice_of(const struct dpt_train *train, int rank)
{
    return dpt_exchange_slice_of((struct dpt_range){0, train->plan->nflat}, dpt_train__axis(train, "data"), rank);
}

/* ----------------------------------------------------------------------------------------------------------- boxes */

/* The box of gradients from w to r, both not the same, and that of parameters from w to r. */
static int gradients(const struct owner *owner, int w, int r)
{
    return w * (owner->ranks - 1) + r - (r > w);
}

static int parameters(const struct owner *owner, int w, int r)
{
    return owner->ranks * (owner->ranks - 1) + gradients(owner, w, r);
}

static int list_boxes(const struct dpt_train *train, struct dpt_mailbox *box)
{
    const int ranks = dpt_train__axis(train, "data");
    const size_t width = dpt_dtype_nbytes(train->graph->real);
    int count = 0;
    for (int kind = 0; kind < 2; kind++) {
        for (int w = 0; w < ranks; w++) {
            for (int r = 0; r < ranks; r++) {
                const struct dpt_range slice = slice_of(train, kind == 0 ? r : w);
                const size_t nbytes = (size_t)(slice.end - slice.begin) * width;
                if (w != r && box) {
                    box[count] = (struct dpt_mailbox){w, r, kind == 0 ? nbytes * (size_t)parts_of(train) : nbytes};
                }
                count += w != r;
            }
        }
    }
    return count;
}

/* ---------------------------------------------------------------------------------------------------- open, close */

static size_t out_nbytes(const struct dpt_train *train)
{
    return (size_t)parts_of(train) * (size_t)train->plan->nflat * dpt_dtype_nbytes(train->graph->real);
}

/* Of the longest slice. */
static size_t slice_nbytes(const struct dpt_train *train)
{
    int64_t longest = 0;
    for (int r = 0; r < dpt_train__axis(train, "data"); r++) {
        const struct dpt_range slice = slice_of(train, r);
        longest = slice.end - slice.begin > longest ? slice.end - slice.begin : longest;
    }
    return (size_t)longest * dpt_dtype_nbytes(train->graph->real);
}

/* Own parameters, their gradients, what was sent; and three of what comes, in the boxes. */
static int64_t nbytes(const struct dpt_train *train)
{
    const int64_t others = dpt_train__axis(train, "data") - 1;
    const int64_t slice = (int64_t)slice_nbytes(train), parts = parts_of(train);
    return 2 * slice + (int64_t)out_nbytes(train) + 3 * others * slice * (parts + 1);
}

static enum dpt_status open_owner(struct dpt_train *train)
{
    struct owner *owner = calloc(1, sizeof *owner);
    DPT_CHECK(owner, DPT_STATUS_SPACE, "no memory for an owner of parameters");
    train->async->own = owner;
    owner->ranks = train->async->ranks;
    owner->rank = train->async->rank;
    owner->real = train->graph->real;
    owner->width = dpt_dtype_nbytes(owner->real);
    owner->parts = parts_of(train);
    const size_t ranks = (size_t)owner->ranks;
    owner->slice = calloc(ranks, sizeof *owner->slice);
    owner->out_count = calloc(ranks, sizeof *owner->out_count);
    owner->out_version = calloc(ranks, sizeof *owner->out_version);
    owner->version = calloc(ranks, sizeof *owner->version);
    owner->lengths = calloc(ranks, sizeof *owner->lengths);
    DPT_CHECK(owner->slice && owner->out_count && owner->out_version && owner->version && owner->lengths,
              DPT_STATUS_SPACE, "no memory for an owner of parameters");
    for (int r = 0; r < owner->ranks; r++) {
        owner->slice[r] = slice_of(train, r);
        owner->lengths[r] = owner->slice[r].end - owner->slice[r].begin;
    }
    DPT_TRY(dpt_dev_host_alloc(train->dev, slice_nbytes(train), "the parameters of an owner", (void **)&owner->param));
    DPT_TRY(dpt_dev_host_alloc(train->dev, slice_nbytes(train), "the gradients of an owner", (void **)&owner->sum));
    return dpt_dev_host_alloc(train->dev, out_nbytes(train), "the gradients for owners", (void **)&owner->out);
}

static void close_owner(struct dpt_train *train)
{
    struct owner *owner = train->async->own;
    if (owner) {
        dpt_dev_host_release(train->dev, owner->param, slice_nbytes(train));
        dpt_dev_host_release(train->dev, owner->sum, slice_nbytes(train));
        dpt_dev_host_release(train->dev, owner->out, out_nbytes(train));
        free(owner->slice);
        free(owner->out_count);
        free(owner->out_version);
        free(owner->version);
        free(owner->lengths);
        free(owner);
    }
}

static char *in_state(const struct dpt_train *train, const struct owner *owner, int r)
{
    return (char *)train->host.param + (size_t)owner->slice[r].begin * owner->width;
}

static enum dpt_status begin(struct dpt_train *train)
{
    struct owner *owner = train->async->own;
    const size_t mine = (size_t)length(owner, owner->rank) * owner->width;
    DPT_TRY(dpt_train__fetch(train, DPT_TRAIN__PARAM | DPT_TRAIN__SLOTS));
    memcpy(owner->param, in_state(train, owner, owner->rank), mine);
    memset(owner->sum, 0, mine);
    memset(owner->version, 0, (size_t)owner->ranks * sizeof *owner->version);
    owner->newest = 0;
    owner->updates = train->state->updates;
    owner->copied = true;
    owner->received = owner->pending = 0.0;
    return DPT_STATUS_OK;
}

/* ----------------------------------------------------------------------------------------------- what an owner does */

/* Elements of a slice whose gradient is a gradient; the rest are running statistics, which have no rate. */
static int64_t trained(const struct dpt_train *train, struct dpt_range slice)
{
    const int64_t end = train->plan->ntrained < slice.end ? train->plan->ntrained : slice.end;
    return end > slice.begin ? end - slice.begin : 0;
}

static void *at(const struct owner *owner, const void *data, int64_t element)
{
    return (char *)data + (size_t)element * owner->width;
}

/* Adds c (b w - v) of the arrays of a message, see the top: the compensation. */
static void compensate(const struct owner *owner, int64_t n, double c, const void *b, const void *v, void *sum)
{
    for (int64_t i = 0; i < n; i++) {
        if (owner->real == DPT_DTYPE_F32) {
            const double w = ((const float *)(const void *)owner->param)[i];
            ((float *)sum)[i] += (float)(c * (((const float *)b)[i] * w - ((const float *)v)[i]));
        } else {
            const double w = ((const double *)(const void *)owner->param)[i];
            ((double *)sum)[i] += c * (((const double *)b)[i] * w - ((const double *)v)[i]);
        }
    }
}

static enum dpt_status publish(struct dpt_train *train, struct owner *owner)
{
    const struct dpt_mailbox_header header = {.step = train->async->phase, .version = owner->newest};
    bool replaced;
    for (int r = 0; r < owner->ranks; r++) {
        if (r != owner->rank) {
            DPT_TRY(dpt_mailbox_post(train->async->boxes, parameters(owner, owner->rank, r), &header, owner->param,
                                     (size_t)length(owner, owner->rank) * owner->width, &replaced));
        }
    }
    return DPT_STATUS_OK;
}

/* An update with what has come. */
static enum dpt_status update(struct dpt_train *train, struct owner *owner)
{
    struct dpt_range slice = owner->slice[owner->rank];
    const int64_t n = slice.end - slice.begin, first = trained(train, slice),
                  step = train->async->begin + owner->newest;
    struct dpt_exec_flat flat = {.param = owner->param, .gradient = owner->sum};
    for (int k = 0; k < train->plan->nslots; k++) {
        flat.slot[k] = at(owner, train->host.slot[k], slice.begin);
    }
    if (owner->pending != owner->ranks) { /* statistics are a mean, not a sum */
        void *statistics = at(owner, owner->sum, first);
        DPT_TRY(dpt_flat_scale(NULL, owner->real, n - first, owner->ranks / owner->pending, statistics));
    }
    const double lr = dpt_schedule_lr(train->job, step < train->steps ? step : train->steps - 1, train->steps,
                                      train->steps_per_epoch);
    DPT_TRY(dpt_exec_update(train->exec, slice, &flat, lr, ++owner->updates));
    memset(owner->sum, 0, (size_t)n * owner->width);
    owner->pending = 0.0;
    owner->newest = (int64_t)(owner->received / owner->ranks);
    owner->copied = false;
    return DPT_STATUS_OK;
}

/* Gradients of `count` shares, computed with parameters of these versions on average. */
static enum dpt_status absorb(struct dpt_train *train, struct owner *owner, const void *data, double count,
                              double version)
{
    const struct dpt_range slice = owner->slice[owner->rank];
    const int64_t n = slice.end - slice.begin, first = trained(train, slice);
    const double delay = (double)owner->newest - version;
    const bool late = train->job->parallel.delay_lr && delay > usual_delay;
    const double weight = late ? usual_delay / delay : 1.0;
    dpt_train__mix(owner->real, first, weight, data, 1.0, owner->sum);
    dpt_train__mix(owner->real, n - first, 1.0, at(owner, data, first), 1.0, at(owner, owner->sum, first));
    if (owner->parts == 3) {
        compensate(owner, first, weight * train->job->parallel.delay_compensation, at(owner, data, n),
                   at(owner, data, 2 * n), owner->sum);
    }
    dpt_train__late(train, (int64_t)(delay + 0.5), count);
    owner->received += count;
    owner->pending += count;
    if ((int64_t)(owner->received / owner->ranks) > owner->newest) {
        DPT_TRY(update(train, owner));
        return publish(train, owner);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status pump(struct dpt_train *train, bool *worked)
{
    struct owner *owner = train->async->own;
    *worked = false;
    for (int w = 0; w < owner->ranks; w++) {
        const struct dpt_mailbox_header *header = NULL;
        const void *data;
        if (w != owner->rank) {
            DPT_TRY(dpt_mailbox_take(train->async->boxes, gradients(owner, w, owner->rank), &header, &data));
        }
        if (header) {
            *worked = true;
            DPT_TRY(absorb(train, owner, data, (double)header->count, header->mass / (double)header->count));
        }
    }
    return DPT_STATUS_OK;
}

/* ---------------------------------------------------------------------------------------------- what all ranks do */

static enum dpt_status before(struct dpt_train *train, int64_t least, bool *fresh)
{
    struct owner *owner = train->async->own;
    *fresh = true;
    for (int r = 0; r < owner->ranks; r++) {
        const struct dpt_mailbox_header *header = NULL;
        const void *data;
        if (r != owner->rank) {
            DPT_TRY(dpt_mailbox_take(train->async->boxes, parameters(owner, r, owner->rank), &header, &data));
        } else if (!owner->copied) {
            memcpy(in_state(train, owner, r), owner->param, (size_t)length(owner, r) * owner->width);
            owner->version[r] = owner->newest;
            owner->copied = true;
        }
        if (header && header->step == train->async->phase) { /* else from before the ranks met */
            memcpy(in_state(train, owner, r), data, header->nbytes);
            owner->version[r] = header->version;
        }
        *fresh = *fresh && owner->version[r] >= least;
    }
    return DPT_STATUS_OK;
}

static void set(const struct dpt_train *train, struct dpt_exec_step *step)
{
    (void)train;
    step->keep = true;
}

/* g, and with compensation g g and g g v of a share, each as if its gradient were that of the batch, over the ranks. */
static void add_share(const struct owner *owner, int64_t n, double keep, const void *g, const void *v, void *out)
{
    dpt_train__mix(owner->real, n, 1.0, g, keep, out);
    for (int64_t i = 0; i < n && owner->parts == 3; i++) {
        if (owner->real == DPT_DTYPE_F32) {
            float *b = (float *)out + n + i, *c = b + n;
            const float square = (float)owner->ranks * ((const float *)g)[i] * ((const float *)g)[i];
            *b = square + (float)keep * *b;
            *c = square * ((const float *)v)[i] + (float)keep * *c;
        } else {
            double *b = (double *)out + n + i, *c = b + n;
            const double square = owner->ranks * ((const double *)g)[i] * ((const double *)g)[i];
            *b = square + keep * *b;
            *c = square * ((const double *)v)[i] + keep * *c;
        }
    }
}

static enum dpt_status send(struct dpt_train *train, struct owner *owner, int r, const void *g)
{
    struct dpt_mailboxes *boxes = train->async->boxes;
    const int box = gradients(owner, owner->rank, r);
    char *out = at(owner, owner->out, owner->parts * owner->slice[r].begin);
    bool unread, replaced;
    DPT_TRY(dpt_mailbox_reclaim(boxes, box, &unread));
    add_share(owner, length(owner, r), unread ? 1.0 : 0.0, g, in_state(train, owner, r), out);
    owner->out_count[r] = (unread ? owner->out_count[r] : 0.0) + 1.0;
    owner->out_version[r] = (unread ? owner->out_version[r] : 0.0) + (double)owner->version[r];
    const struct dpt_mailbox_header header = {
        .step = train->async->clock,
        .version = owner->version[r],
        .count = (int64_t)owner->out_count[r],
        .mass = owner->out_version[r],
    };
    return dpt_mailbox_post(boxes, box, &header, out, (size_t)owner->parts * (size_t)length(owner, r) * owner->width,
                            &replaced);
}

static enum dpt_status after(struct dpt_train *train, const struct dpt_exec_step *step)
{
    struct owner *owner = train->async->own;
    if (step->clip > 0.0 && step->grad_norm > step->clip) {
        DPT_TRY(dpt_flat_scale(NULL, owner->real, train->plan->ntrained, step->clip / step->grad_norm,
                               train->host.gradient));
    }
    for (int i = 0; i < owner->ranks; i++) {
        const int r = (owner->rank + i) % owner->ranks;
        const void *g = at(owner, train->host.gradient, owner->slice[r].begin);
        if (r != owner->rank) {
            DPT_TRY(send(train, owner, r, g));
            continue;
        }
        void *out = at(owner, owner->out, owner->parts * owner->slice[r].begin);
        add_share(owner, length(owner, r), 0.0, g, in_state(train, owner, r), out);
        DPT_TRY(absorb(train, owner, out, 1.0, (double)owner->version[r]));
    }
    return DPT_STATUS_OK;
}

/* Every owner has got every share; what is left over for an update is less than a batch. */
static enum dpt_status meet(struct dpt_train *train)
{
    struct owner *owner = train->async->own;
    double shares = (double)train->async->clock;
    DPT_TRY(dpt_comm_allreduce(train->world, &shares, 1, DPT_DTYPE_F64, DPT_COMM_REDUCE_SUM));
    train->async->counts.lost += shares - owner->received;
    if (owner->pending > 0.0) {
        DPT_TRY(update(train, owner));
    }
    memcpy(in_state(train, owner, owner->rank), owner->param, (size_t)length(owner, owner->rank) * owner->width);
    train->state->updates = owner->updates;
    DPT_TRY(dpt_comm_all_gather(train->world, NULL, owner->lengths, train->host.param, owner->real));
    return dpt_train__put(train, DPT_TRAIN__PARAM);
}

static enum dpt_status save(struct dpt_train *train)
{
    const struct owner *owner = train->async->own;
    for (int k = 0; k < train->plan->nslots; k++) {
        DPT_TRY(dpt_comm_all_gather(train->world, NULL, owner->lengths, train->host.slot[k], owner->real));
    }
    return dpt_train__put(train, DPT_TRAIN__SLOTS);
}

/* Gradients have to be read, parameters not. */
static int carrying(const struct dpt_train *train)
{
    const int ranks = dpt_train__axis(train, "data");
    return ranks * (ranks - 1);
}

const struct dpt_train__async_method dpt_train__owner = {
    .boxes = list_boxes,
    .carrying = carrying,
    .open = open_owner,
    .close = close_owner,
    .nbytes = nbytes,
    .begin = begin,
    .before = before,
    .set = set,
    .after = after,
    .pump = pump,
    .meet = meet,
    .save = save,
    .needs_pump = true,
};
