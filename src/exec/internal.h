/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of exec/ share. */

#include "comm/channel.h"
#include "exec/exec.h"
#include "op/flat.h"
#include "op/update.h"
#include "tensor/box.h"

/* The control message: what is summed over all ranks at the end of a step. */
struct dpt_exec__control {
    double square; /* of the gradient's norm */
    double metric[DPT_EXEC_METRICS];
    double flag[DPT_EXEC_FLAGS];
};

/* A micro-batch under way. */
struct dpt_exec__micro {
    struct dpt_op_ctx ctx;
    const struct dpt_plan_variant *variant; /* prepared for its rows */
};

/* Of a node that moves values: the length of the split dimension at each coordinate of the axis. */
struct dpt_exec__lengths {
    int64_t *from, *to; /* NULL where the node has none */
};

/* Of a message: its buffers, the request of each, what to say when it does not come. */
struct dpt_exec__message {
    struct dpt_comm_request *request; /* as many as its window has, of exec->request */
    bool *open;
    char what[64];
};

/* Of a bucket, or of a stay: what its copy to the host reaches, for whoever sends it. */
struct dpt_exec__arrival {
    struct dpt_dev *dev;
    struct dpt_dev_mark *mark;
};

/* A part of a step that the device records: actions [begin, end), of micro-batches first to last. */
struct dpt_exec__recorded {
    int begin, end, metrics;
    int64_t first, last;
    struct dpt_dev_tape *tape; /* or NULL: not yet                                      */
    uint64_t key, before;      /* of the tape; of the step before                       */
    bool refused;              /* the device does not record it                         */
};

/* A parameter or a view of one that has no place of its own, or a gradient. */
struct dpt_exec__stayer {
    int value, bucket;
    int64_t offset; /* bytes from the begin of the bucket */
};

struct dpt_exec {
    const struct dpt_plan *plan;
    struct dpt_state *state;
    struct dpt_dev *dev;
    struct dpt_exchange *exchange;
    const struct dpt_exec_group *group;
    struct dpt_dev_ring *ring;
    int64_t *cut;                         /* of a bucket on its way in the ring: where the ranks' slices begin */
    bool direct;
    const struct dpt_exec *share;         /* whose blocks are used, or NULL                      */
    void *block, *scratch;
    void *messages;                       /* of the host, as all that MPI sees; the channels' where there are any */
    struct dpt_channels *channels;        /* to the stages on this host, or NULL                 */
    const struct dpt_mesh_axis *pipeline; /* of the mesh, or NULL                                */
    bool flat;
    char *stays;                          /* on the host, where the device is apart: buckets that travel for a stay     */
    size_t stays_nbytes;
    void *gradient, *param;               /* what the exchange sums and publishes: the state's, or copies on the host */
    char *staging;                        /* on the host, where the device is apart: what a move takes and gives      */
    size_t staging_nbytes;
    void *packing;                        /* where moves put parts together: scratch, or in staging                   */
    void **data;                          /* of each graph value: where it lies in frame 0       */
    int64_t *stride;                      /* bytes from there to the next frame, 0: in none      */
    int *frames;                          /* of which there are so many                          */
    int nloaded;                          /* values that lie where the loader puts the samples   */
    int *loaded, *loaded_root;
    struct dpt_update_range *update;      /* those of plan->update[u] are [first[u], first[u + 1]) */
    int *first;
    struct dpt_update_table **table;      /* of each update with which an action begins, or NULL */
    bool by_host;                         /* the state is one copy a host: this rank updates its slices */
    int *slot_of;                         /* of each bucket: its number in its group's exchange  */
    uint64_t *ticket;                     /* of each bucket, then of each stay: of what is under way unbound */
    struct dpt_exec__arrival *arrival;    /* of each bucket, then of each stay                   */
    struct dpt_dev_mark *loaded_mark;     /* of the last batch on its way to the device          */
    char *ahead;                          /* on the device: where batches arrive, plan->memory.ahead bytes, or NULL */
    struct dpt_dev_mark *taken;           /* what arrived there was copied to where the plan wants it */
    uint64_t arriving;                    /* number of the batch that is there or on its way     */
    int64_t came_ahead;                   /* batches that were there, or on their way, before they were wanted */
    double *figures;                      /* on the host, from the device: the metrics of each micro-batch, then squares */
    struct dpt_exec__recorded *recorded;  /* parts of a step, at most as many as it has actions  */
    int nrecorded;
    int64_t played;
    struct dpt_flat_range *square;        /* of which the squares are                            */
    int nmetrics, nsquares;               /* so many of them since they were last taken          */
    int nstayers;
    struct dpt_exec__stayer *stayer;      /* values that lie in the stays of buckets             */
    struct dpt_exec__lengths *lengths;    /* of each node                                        */
    struct dpt_exec__border **border;     /* of each node that moves borders, else NULL          */
    struct dpt_exec__message *message;
    struct dpt_comm_request *request;     /* of all messages                                     */
    bool *open;
    struct dpt_exec__micro *micro;        /* of each micro-batch of a step                       */
    double slowness;                      /* > 1: kernels take so many times as long, for trials */
    double owed_s;                        /* for which it has not slept yet                      */
    bool metric_counts;                   /* this rank's metrics are no copy of another's        */
    struct dpt_op_ctx ctx;                /* what does not change within a step                  */
    double *part;                         /* a row for each shard, then the flags; NULL without shards */
    struct dpt_exec__control control;
    double seconds[DPT_SECTION_COUNT];
    double sent;
    double now;                           /* when the last action ended                          */
};

/* Value `value` of micro-batch `micro` with its rows. Local. */
struct dpt_tensor dpt_exec__tensor(const struct dpt_exec *exec, int value, int micro);

/* Points a tensor at a copy of it on the host where the device is apart; it holds until the next one. Local. */
enum dpt_status dpt_exec__on_host(const struct dpt_exec *exec, struct dpt_tensor *tensor);

/* Runs the kernel of node n. Collective over an axis or a pair of stages where the node is one, else Local. */
enum dpt_status dpt_exec__run(struct dpt_exec *exec, int n, int micro);

/*
 * Asks the device for micro-batch `micro`'s metrics; _take_metrics, when all that was asked for is there, adds them in the
 * order in which gradients are added. Local.
 */
enum dpt_status dpt_exec__ask_metric(struct dpt_exec *exec, int micro);
void dpt_exec__take_metrics(struct dpt_exec *exec);

/* Adds the time since the last call to a section. Local. */
void dpt_exec__time(struct dpt_exec *exec, enum dpt_section section);

/*
 * Adds a bucket of the gradients of virtual shard `micro` to those before it; after the last one the sum is in the
 * gradient buffer, or as digits where it goes on over ranks. Local.
 */
enum dpt_status dpt_exec__accumulate(struct dpt_exec *exec, int micro, int bucket);

/* Adds the gradient of parameter i of micro-batch `micro` to those before it. Local. */
enum dpt_status dpt_exec__add(struct dpt_exec *exec, int micro, int i);

/* Adds this rank's slice of a bucket, summed over the ranks, to what it keeps of the micro-batches before. Local. */
enum dpt_status dpt_exec__keep(struct dpt_exec *exec, int micro, int bucket, const void *slice);

/*
 * Of a bucket of digits: makes all ranks' alike, before they are summed (collective over its group); then the numbers, in
 * the copy of the gradient on the host.
 */
enum dpt_status dpt_exec__level_digits(struct dpt_exec *exec, int bucket);
void dpt_exec__read_digits(struct dpt_exec *exec, int bucket);

/*
 * Asks the device for the squares that make this rank's part of the square of the gradient's norm; _take_squares, when they
 * are there, puts it into the control message. Local.
 */
enum dpt_status dpt_exec__ask_squares(struct dpt_exec *exec);
void dpt_exec__take_squares(struct dpt_exec *exec);

/*
 * Sums the control message over the world. Shards have a place each in it, which one rank fills in, and are added up
 * behind it in their order: the same bits on any number of ranks. Collective over the world.
 */
enum dpt_status dpt_exec__sum_control(struct dpt_exec *exec);

/*
 * The gradient of a rank that steps alone, one of `ranks`: the running statistics' part is made what it would be if this
 * rank's samples were the batch, unless it is kept as this rank's part of a sum. Asks for the squares of the rest; _take_
 * puts the square of its norm, made so too, into the control message. Local.
 */
enum dpt_status dpt_exec__ask_squares_alone(struct dpt_exec *exec, int ranks, bool keep);
void dpt_exec__take_squares_alone(struct dpt_exec *exec, int ranks);

/* state.c: the part of a state value that this rank has. Local. */
struct dpt_box dpt_exec__box(const struct dpt_plan *plan, int value);

/* ------------------------------------------------------------------------------------------------ load.c */

/* Where batches arrive on a device that is apart, and marks. DPT_STATUS_SPACE. Local. */
enum dpt_status dpt_exec__take_ahead(struct dpt_exec *exec);
void dpt_exec__release_ahead(struct dpt_exec *exec);

/* Points the inputs at a batch, or brings it to the device, and notes its place and rows. Local. */
enum dpt_status dpt_exec__load(struct dpt_exec *exec, const struct dpt_batch *batch);

/* Returns when the loader may take back the memory of the last batch. Local wait. */
enum dpt_status dpt_exec__await_loaded(struct dpt_exec *exec);

/* If the loader has read the next batch, begins to bring it to the device beside the kernels. Local. */
enum dpt_status dpt_exec__look_ahead(struct dpt_exec *exec, struct dpt_loader *loader);

/* ------------------------------------------------------------------------------------------------ stay.c */

/* Memory of the host for what travels, where the device is apart. Local. */
enum dpt_status dpt_exec__take_stays(struct dpt_exec *exec);

/* Notes which values lie in which bucket, and where gradients are written to. Local. */
void dpt_exec__prepare_stays(struct dpt_exec *exec);

/* GATHER, GATHERED, SCATTER and SCATTERED. Collective over the bucket's group. */
enum dpt_status dpt_exec__stay(struct dpt_exec *exec, const struct dpt_action *action);

/* REDUCE, WAIT, PUBLISH and COLLECT of a bucket that is bound to nothing. Collective over its group. */
enum dpt_status dpt_exec__exchange_slices(struct dpt_exec *exec, const struct dpt_action *action);

/* ------------------------------------------------------------------------------------------------ record.c */

/* Finds the parts of a step that can be recorded; frees the recordings. Local. */
void dpt_exec__prepare_parts(struct dpt_exec *exec);
void dpt_exec__free_parts(struct dpt_exec *exec);

/*
 * Plays the part that begins with this action if there is a recording for its samples, or it can be made now, by doing its
 * actions with `act`. *next: the action behind it, or this one where nothing was done. Local.
 */
typedef enum dpt_status dpt_exec__act_fn(struct dpt_exec *exec, const struct dpt_action *action, void *user);
enum dpt_status dpt_exec__play(struct dpt_exec *exec, int action, dpt_exec__act_fn *act, void *user, int *next);

/* ------------------------------------------------------------------------------------------------ ring.c */

/* REDUCE, WAIT, PUBLISH and COLLECT of a bucket in the ring of cards. Collective over it. */
enum dpt_status dpt_exec__ring(struct dpt_exec *exec, const struct dpt_action *action);

/* Begins a sum of slices, or a collection of slices, of a bucket that lies at `data`. Collective over the ring. */
enum dpt_status dpt_exec__ring_slices(struct dpt_exec *exec, int bucket, bool sum, void *data);

/* ------------------------------------------------------------------------------------------------ message.c */

/* Memory for messages: of channels where there are any. Collective over the pipeline axis if it has several ranks. */
enum dpt_status dpt_exec__take_messages(struct dpt_exec *exec);

void dpt_exec__release_messages(struct dpt_exec *exec);

/* Requests, and words for the deadline. Local. */
void dpt_exec__prepare_messages(struct dpt_exec *exec);

/* Posts the first receives of a step, whose number of samples is known by then. Local. */
enum dpt_status dpt_exec__open_messages(struct dpt_exec *exec);

/* Waits for the sends of a step. Local wait. */
enum dpt_status dpt_exec__close_messages(struct dpt_exec *exec);

/* Message m of a micro-batch from or to memory of the host. The other end does the opposite. */
enum dpt_status dpt_exec__send(struct dpt_exec *exec, int m, int micro, const struct dpt_tensor *in);
enum dpt_status dpt_exec__receive(struct dpt_exec *exec, int m, int micro, const struct dpt_tensor *out);

/* ------------------------------------------------------------------------------------------------ collect.c */

/* Notes what collectives and messages need; the memory is the caller's. Local. */
void dpt_exec__prepare_moves(struct dpt_exec *exec);

/* Runs node n, a collective, a send or a receive. Collective over its axis; a send and its receive are a pair. */
enum dpt_status dpt_exec__move(struct dpt_exec *exec, int n, int micro, const struct dpt_tensor *in,
                               const struct dpt_tensor *out);

/* Copies indices [begin, begin + length) of a dimension of `whole` to a packed block, or back. Local. */
void dpt_exec__copy_block(const struct dpt_tensor *whole, int dim, int64_t begin, int64_t length, char *block, bool back);

/* border.c: what node `node` of a plan, which brings borders of images to their readers or back, moves. Local. */
struct dpt_exec__border *dpt_exec__border_new(const struct dpt_plan *plan, int node);
void dpt_exec__border_free(struct dpt_exec__border *border);

/* Moves them; `sum`: what arrives is added. Collective over the axis. */
enum dpt_status dpt_exec__move_border(struct dpt_exec *exec, struct dpt_exec__border *border,
                                      const struct dpt_mesh_axis *axis, const struct dpt_tensor *in,
                                      const struct dpt_tensor *out, bool sum);

/* Sum in place over the world of the control message. Collective over the world. */
enum dpt_status dpt_exec__sum_world(struct dpt_exec *exec, double *data, int64_t count);

/* The exchange of a bucket's group, or NULL. Local. */
struct dpt_exchange *dpt_exec__exchange(const struct dpt_exec *exec, int bucket);

/*
 * A range of a flat buffer to its copy on the host, and back; nothing where the two are one. Local.
 */
enum dpt_status dpt_exec__out(const struct dpt_exec *exec, void *host, const void *flat, struct dpt_range range);
enum dpt_status dpt_exec__in(const struct dpt_exec *exec, void *flat, const void *host, struct dpt_range range);

/*
 * The same for what is exchanged, beside the kernels: _out tells the exchange, of what is begun next, when it has arrived.
 * `arrival`: of the bucket or the stay. Local.
 */
enum dpt_status dpt_exec__send_out(const struct dpt_exec *exec, struct dpt_exchange *exchange, int arrival, void *host,
                                   const void *flat, size_t nbytes);

/* Of a bucket: a range of a flat buffer on its way to other ranks, and from them. Local. */
enum dpt_status dpt_exec__send_bucket(const struct dpt_exec *exec, int bucket, void *host, const void *flat,
                                      struct dpt_range range);
enum dpt_status dpt_exec__take_bucket(const struct dpt_exec *exec, int bucket, void *flat, const void *host,
                                      struct dpt_range range);

/* Averages the parameters of a group of stages that have copies of them. Collective over the group. */
enum dpt_status dpt_exec__average(struct dpt_exec *exec, int group);
