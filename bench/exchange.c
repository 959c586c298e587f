/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a step costs after its backward pass: exchange of gradients, their norm, and the update of a model of 64 MB, by the
 * ways of comm/exchange.h. Each round does every way once, in another order each time. Printed are the least and the median
 * time over the rounds, of the slowest rank, and the median over the rounds of the share that it is of the time of three
 * others in the same round: MPI_Allreduce with norm and full update; norm and full update alone, what a step without other
 * ranks does; and the full update alone.
 *
 *     make bench/exchange && mpirun -n 2 bench/exchange [MEGABYTES [ROUNDS [RANKS_A_HOST [BUCKET_KIB [sgd|adamw]]]]]
 *
 * With RANKS_A_HOST so many ranks each pretend to be a host; mpirun --mca btl tcp,self then stands for a network.
 *
 * What it can be at best, where two cores get twice the memory bandwidth of one, for SGD with momentum: of each number,
 * norm and update alone read a gradient, then the gradient, the parameter and the momentum, and write these two: 6 transfers
 * on each of 2 ranks. The slices of both together read two gradients and write the sum, then read it, the parameter and the
 * momentum and write these: 8 of 12, or 0.67; against the update alone 8 of 10. A single pass would be 6, but whether all is
 * finite, and how much is clipped, is known only when all sums are there, and old values that are kept to go back to are 2
 * more. AdamW has one array more to read and write: 10 of 16, or 0.63, and 10 of 14 against its update alone, 0.71.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "comm/exchange.h"
#include "dev/dev.h"
#include "op/flat.h"
#include "op/op.h"
#include "op/update.h"

enum { BUCKET_KIB = 8 << 10, MAX_ROUNDS = 1000 };
enum { GRADIENT, PARAM, SLOT, MAX_ARRAYS = 4 }; /* AdamW has two slots */

enum way {
    UPDATE,        /* full update, nothing is exchanged       */
    ALONE,         /* norm, full update                       */
    WHOLE,         /* one MPI_Allreduce, norm, full update    */
    BUCKETS,       /* MPI_Allreduce by buckets, the same      */
    MPI_SLICES,    /* reduce-scatter, norm, update, all-gather */
    SHARED_WHOLE,  /* whole sums through memory, the same     */
    SHARED_SLICES, /* sums and norms of slices, then updates  */
    WAYS
};

static const char *const name[WAYS] = {
    "full update alone",
    "norm, full update alone",
    "MPI_Allreduce, norm, full update",
    "the same in buckets",
    "slices by MPI",
    "memory, whole sums, norm, full update",
    "memory, slices: what a step does",
};

/* Whose share of time is printed. */
static const enum way against[] = {WHOLE, ALONE, UPDATE};

struct bench {
    struct dpt_comm *world;
    int64_t numel;
    int nbuckets;
    struct dpt_range *bucket;
    bool adamw;
    int narrays;
    float *array[MAX_ARRAYS];                  /* of the way that is measured: gradient, parameters, slots */
    float *own[MAX_ARRAYS], *lent[MAX_ARRAYS]; /* the same: of the rank, shared                            */
    struct dpt_dev *dev;
    struct dpt_exchange *flat, *shared;
    struct dpt_op_ctx ctx;
};

static void must(enum dpt_status status)
{
    if (status != DPT_STATUS_OK) {
        dpt_fatal(status, "bench/exchange: %s", dpt_error_text());
    }
}

static void update(struct bench *bench, struct dpt_range range)
{
    static const struct dpt_sgd_param sgd = {.momentum = 0.9};
    static const struct dpt_adam_param adam = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .decoupled = true};
    static const int operand[MAX_ARRAYS] = {PARAM, GRADIENT, SLOT, SLOT + 1};
    const struct dpt_type type = {DPT_DTYPE_F32, 1, {range.end - range.begin}};
    struct dpt_op_types types = {.param = &sgd, .nin = bench->narrays};
    struct dpt_tensor in[MAX_ARRAYS];
    for (int i = 0; i < types.nin; i++) {
        types.in[i] = type;
        in[i] = (struct dpt_tensor){type, bench->array[operand[i]] + range.begin};
    }
    if (bench->adamw) {
        types.param = &adam;
    }
    const struct dpt_op_call call = {.types = &types, .in = in, .ctx = &bench->ctx};
    (bench->adamw ? dpt_op__adam_f32 : dpt_op__sgd_f32)(&call);
}

static struct dpt_exchange *exchange_of(const struct bench *bench, enum way way)
{
    return way >= SHARED_WHOLE ? bench->shared : bench->flat;
}

/* The buffers and buckets of a way. */
static void bind(struct bench *bench, enum way way)
{
    const struct dpt_range all = {0, bench->numel};
    struct dpt_exchange *exchange = exchange_of(bench, way);
    for (int i = 0; i < bench->narrays; i++) {
        bench->array[i] = way == SHARED_SLICES || (i == GRADIENT && way == SHARED_WHOLE) ? bench->lent[i] : bench->own[i];
    }
    if (way == MPI_SLICES || way == SHARED_SLICES) {
        must(dpt_exchange_bind_slices(exchange, way == MPI_SLICES ? DPT_EXCHANGE_SLICES_ALL : DPT_EXCHANGE_SLICES_HOST,
                                      bench->array[GRADIENT], bench->array[PARAM], DPT_DTYPE_F32, bench->nbuckets,
                                      bench->bucket));
    } else {
        must(dpt_exchange_bind(exchange, bench->array[GRADIENT], DPT_DTYPE_F32, way == WHOLE ? 1 : bench->nbuckets,
                               way == WHOLE ? &all : bench->bucket));
    }
}

/* The square of the norm of a range, added to *sum. */
static void add_square(const struct bench *bench, struct dpt_range range, double *sum)
{
    double part;
    const struct dpt_flat_range elements = {bench->array[GRADIENT] + range.begin, range.end - range.begin};
    must(dpt_flat_squares(bench->dev, DPT_DTYPE_F32, 1, &elements, &part));
    *sum += part;
}

/* Everything between backward and the next forward pass. */
static void step(struct bench *bench, enum way way)
{
    const struct dpt_range all = {0, bench->numel};
    struct dpt_exchange *exchange = exchange_of(bench, way);
    const int nbuckets = way <= ALONE ? 0 : way == WHOLE ? 1 : bench->nbuckets;
    const bool sliced = way == MPI_SLICES || way == SHARED_SLICES;
    double square = 0.0;
    for (int b = 0; b < nbuckets; b++) {
        must(dpt_exchange_start(exchange, b));
    }
    for (int b = 0; b < nbuckets; b++) {
        must(dpt_exchange_wait(exchange, b));
        if (way == SHARED_SLICES) {
            square += dpt_exchange_square(exchange, b);
        } else if (sliced) {
            add_square(bench, dpt_exchange_slice(exchange, b), &square);
        }
    }
    if (!sliced && way != UPDATE) {
        add_square(bench, all, &square);
    }
    if (sliced) {
        must(dpt_exchange_sum(exchange, &square, 1, DPT_DTYPE_F64));
    }
    bench->ctx.grad_scale = square > 1e30 ? 0.5 : 1.0; /* clipping waits for the norm, as in a step */
    if (!sliced) {
        update(bench, all);
        return;
    }
    for (int b = 0; b < nbuckets; b++) {
        update(bench, dpt_exchange_slice(exchange, b));
    }
    for (int b = 0; b < nbuckets; b++) {
        must(dpt_exchange_publish(exchange, b));
    }
    for (int b = 0; b < nbuckets; b++) {
        must(dpt_exchange_publish_wait(exchange, b));
    }
}

/* Seconds of the slowest rank. */
static double measure(struct bench *bench, enum way way)
{
    bind(bench, way);
    for (int64_t i = 0; i < bench->numel; i++) { /* a backward pass has just written it */
        bench->array[GRADIENT][i] = 1e-6f * (float)(i % 1000);
    }
    must(dpt_comm_barrier(bench->world));
    const double start = dpt_clock_s();
    step(bench, way);
    double seconds = dpt_clock_s() - start;
    must(dpt_comm_allreduce(bench->world, &seconds, 1, DPT_DTYPE_F64, DPT_COMM_REDUCE_MAX));
    return seconds;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static float *take(struct bench *bench, enum dpt_exchange_memory memory)
{
    void *block;
    must(dpt_exchange_alloc(bench->shared, (size_t)bench->numel * sizeof(float), memory, &block));
    if (!block) {
        dpt_fatal(DPT_STATUS_SPACE, "bench/exchange: no shared memory: %s", dpt_exchange_note(bench->shared));
    }
    return block;
}

static void open_bench(struct bench *bench, int megabytes, int node_ranks, int bucket_kib)
{
    const int64_t step_numel = (int64_t)bucket_kib * 1024 / (int64_t)sizeof(float);
    const struct dpt_exchange_conf flat = {.comm = bench->world,
                                           .thread = DPT_EXCHANGE_THREAD_OFF,
                                           .path = DPT_EXCHANGE_PATH_FLAT};
    struct dpt_cores cores;
    must(dpt_comm_cores(bench->world, &cores));
    const struct dpt_exchange_conf shared = {.comm = bench->world,
                                             .thread = DPT_EXCHANGE_THREAD_OFF,
                                             .own_core = !cores.shared,
                                             .node_ranks = node_ranks};
    bench->numel = (int64_t)megabytes * 1000000 / (int64_t)sizeof(float) / DPT_EXCHANGE_ALIGN * DPT_EXCHANGE_ALIGN;
    bench->nbuckets = (int)((bench->numel + step_numel - 1) / step_numel);
    bench->bucket = calloc((size_t)bench->nbuckets, sizeof *bench->bucket);
    for (int b = 0; b < bench->nbuckets; b++) {
        const int64_t end = (b + 1) * step_numel;
        bench->bucket[b] = (struct dpt_range){b * step_numel, end < bench->numel ? end : bench->numel};
    }
    bench->ctx = (struct dpt_op_ctx){.lr = 1e-3, .grad_scale = 1.0, .update = 2};
    must(dpt_exchange_new(&flat, &bench->flat));
    must(dpt_exchange_new(&shared, &bench->shared));
    must(dpt_dev_cpu(1, &bench->dev));
    for (int i = 0; i < bench->narrays; i++) {
        void *block;
        must(dpt_dev_alloc(bench->dev, (size_t)bench->numel * sizeof(float), "the state", &block));
        bench->own[i] = block;
        bench->lent[i] = take(bench, i == GRADIENT ? DPT_EXCHANGE_MEMORY_OWN : DPT_EXCHANGE_MEMORY_COMMON);
    }
}

static double median(int count, const double *value)
{
    static double sorted[MAX_ROUNDS];
    memcpy(sorted, value, (size_t)count * sizeof *value);
    qsort(sorted, (size_t)count, sizeof *sorted, by_size);
    return sorted[count / 2];
}

static void print(const struct bench *bench, int rounds, double (*seconds)[MAX_ROUNDS])
{
    static double share[MAX_ROUNDS];
    printf("%d ranks, %.1f MB of parameters in %d buckets, %s, %s, %d rounds\n\n", dpt_comm_size(bench->world),
           1e-6 * (double)bench->numel * sizeof(float), bench->nbuckets, bench->adamw ? "adamw" : "sgd", dpt_comm_library(),
           rounds);
    printf("%-38s %9s %9s   %s\n", "", "least ms", "median", "share of MPI_Allreduce, norm+update, update");
    for (int w = 0; w < WAYS; w++) {
        double least = seconds[w][0];
        for (int r = 0; r < rounds; r++) {
            least = seconds[w][r] < least ? seconds[w][r] : least;
        }
        printf("%-38s %9.2f %9.2f  ", name[w], 1e3 * least, 1e3 * median(rounds, seconds[w]));
        for (size_t a = 0; a < sizeof against / sizeof *against; a++) {
            for (int r = 0; r < rounds; r++) {
                share[r] = seconds[w][r] / seconds[against[a]][r];
            }
            printf(" %9.3f", median(rounds, share));
        }
        printf("\n");
    }
}

static void run(struct bench *bench, int rounds)
{
    static double seconds[WAYS][MAX_ROUNDS];
    for (int r = -2; r < rounds; r++) { /* two to warm up */
        for (int i = 0; i < WAYS; i++) {
            const enum way way = (enum way)((i + r + WAYS) % WAYS);
            const double s = measure(bench, way);
            if (r >= 0) {
                seconds[way][r] = s;
            }
        }
    }
    if (dpt_comm_rank(bench->world) == 0) {
        print(bench, rounds, seconds);
    }
}

int main(int argc, char **argv)
{
    const char *optimizer = argc > 5 ? argv[5] : "sgd";
    struct bench bench = {.adamw = strcmp(optimizer, "adamw") == 0};
    const int megabytes = argc > 1 ? atoi(argv[1]) : 64, rounds = argc > 2 ? atoi(argv[2]) : 20;
    const int node_ranks = argc > 3 ? atoi(argv[3]) : 0, bucket_kib = argc > 4 ? atoi(argv[4]) : BUCKET_KIB;
    const bool known = bench.adamw || strcmp(optimizer, "sgd") == 0;
    bench.narrays = bench.adamw ? MAX_ARRAYS : MAX_ARRAYS - 1;
    if (!known || megabytes < 1 || megabytes > 100000 || rounds < 1 || rounds > MAX_ROUNDS || node_ranks < 0 || bucket_kib < 1) {
        fprintf(stderr,
                "bench/exchange [MEGABYTES [ROUNDS [RANKS_A_HOST [BUCKET_KIB [sgd|adamw]]]]]: at least 1, at most %d rounds\n",
                MAX_ROUNDS);
        return 2;
    }
    must(dpt_comm_start(&bench.world));
    if (dpt_comm_size(bench.world) == 1) {
        fprintf(stderr, "bench/exchange: start it on several ranks, mpirun -n 2 bench/exchange\n");
        dpt_comm_end(bench.world);
        return 2;
    }
    open_bench(&bench, megabytes, node_ranks, bucket_kib);
    run(&bench, rounds);
    dpt_exchange_free(bench.flat);
    dpt_exchange_free(bench.shared);
    for (int i = 0; i < bench.narrays; i++) {
        dpt_dev_release(bench.dev, bench.own[i], (size_t)bench.numel * sizeof(float));
    }
    dpt_dev_close(bench.dev);
    free(bench.bucket);
    dpt_comm_end(bench.world);
    return 0;
}
