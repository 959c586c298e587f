/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "comm/exchange.h"
#include "comm/exchange_node.h"

enum { N = 5000, STEPS = 30 };

static const struct dpt_range buckets[] = {{3008, 4999}, {0, 2}, {704, 704}, {16, 699}, {704, 3000}};
enum { NBUCKETS = sizeof buckets / sizeof buckets[0] };

/* Whole numbers, so that every order of the sum gives the same. */
static float number(int rank, int64_t i, int step)
{
    return (float)((i * 7 + step * 13 + rank * 31) % 1001 - 500);
}

static float sum_of(int64_t i, int step)
{
    float sum = 0.0f;
    for (int r = 0; r < dpt_comm_size(world); r++) {
        sum += number(r, i, step);
    }
    return sum;
}

/* Now and then a rank is late: another one each time. */
static void dawdle(int step, int place)
{
    const uint32_t x = (uint32_t)(step * 97 + place * 31 + dpt_comm_rank(world) * 53) * 2654435761u;
    if (x >> 29 == 0) {
        usleep(x >> 18 & 511);
    }
}

static void late(uint64_t number)
{
    dawdle((int)number, 30);
}

static struct dpt_exchange *exchange_new(enum dpt_exchange_thread thread, bool tree, int node_ranks)
{
    const struct dpt_exchange_conf conf = {.comm = world, .thread = thread, .tree = tree, .node_ranks = node_ranks};
    struct dpt_exchange *exchange;
    assert_int_equal(dpt_exchange_new(&conf, &exchange), DPT_STATUS_OK);
    return exchange;
}

static void small_sum(struct dpt_exchange *exchange, int step)
{
    const double size = dpt_comm_size(world);
    for (int i = 0; i < 3; i++) {
        double x[3] = {step + i, dpt_comm_rank(world), 1.0};
        assert_int_equal(dpt_exchange_sum(exchange, x, 3, DPT_DTYPE_F64), DPT_STATUS_OK);
        assert_true(x[0] == (step + i) * size && x[1] == size * (size - 1.0) / 2.0 && x[2] == size);
    }
}

/* Whole sums: a rank that has waited may write the bucket at once. */
static void check_sums(struct dpt_exchange *exchange, float *x)
{
    assert_int_equal(dpt_exchange_bind(exchange, x, DPT_DTYPE_F32, NBUCKETS, buckets), DPT_STATUS_OK);
    for (int step = 0; step < STEPS; step++) {
        for (int k = 0; k < NBUCKETS; k++) {
            const int b = step % 2 ? NBUCKETS - 1 - k : k; /* begins with the one that was summed last */
            for (int64_t i = buckets[b].begin; i < buckets[b].end; i++) {
                x[i] = number(dpt_comm_rank(world), i, step);
            }
            assert_int_equal(dpt_exchange_start(exchange, b), DPT_STATUS_OK);
            dawdle(step, b);
            if (k == 2) {
                small_sum(exchange, step);
            }
        }
        for (int b = NBUCKETS - 1; b >= 0; b--) {
            assert_int_equal(dpt_exchange_wait(exchange, b), DPT_STATUS_OK);
            dawdle(step, 10 + b);
            for (int64_t i = buckets[b].begin; i < buckets[b].end; i++) {
                assert_true(x[i] == sum_of(i, step));
            }
        }
    }
}

/* Slices, an update param += sum on them, publication. With one copy of the parameters all ranks read what each wrote. */
static void check_slices(struct dpt_exchange *exchange, enum dpt_exchange_slices slices, bool shared, float *x,
                         float *param)
{
    static float expected[N];
    const bool squares = shared && slices == DPT_EXCHANGE_SLICES_HOST;
    assert_int_equal(dpt_comm_barrier(world), DPT_STATUS_OK);
    memset(expected, 0, sizeof expected);
    memset(param, 0, N * sizeof *param);
    assert_int_equal(dpt_exchange_bind_slices(exchange, slices, x, param, DPT_DTYPE_F32, NBUCKETS, buckets),
                     DPT_STATUS_OK);
    for (int step = 0; step < STEPS; step++) {
        for (int b = 0; b < NBUCKETS; b++) {
            dawdle(step, b);
            for (int64_t i = buckets[b].begin; i < buckets[b].end; i++) {
                x[i] = number(dpt_comm_rank(world), i, step);
            }
            for (int i = 16; i < N - 1; i++) { /* a backward pass: even those of buckets under way */
                assert_true(param[i] == expected[i]);
            }
            assert_int_equal(dpt_exchange_start(exchange, b), DPT_STATUS_OK);
        }
        for (int b = 0; b < NBUCKETS; b++) {
            assert_int_equal(dpt_exchange_wait(exchange, b), DPT_STATUS_OK);
            const struct dpt_range mine = dpt_exchange_slice(exchange, b);
            double square = 0.0;
            for (int64_t i = mine.begin; i < mine.end; i++) {
                assert_true(x[i] == sum_of(i, step));
                square += (double)x[i] * (double)x[i];
                param[i] += x[i];
            }
            if (squares) {
                assert_true(dpt_exchange_square(exchange, b) == square); /* whole numbers */
            }
            dawdle(step, 20 + b);
            assert_int_equal(dpt_exchange_publish(exchange, b), DPT_STATUS_OK);
            for (int64_t i = buckets[b].begin; i < buckets[b].end; i++) {
                expected[i] += sum_of(i, step);
            }
        }
        small_sum(exchange, step);
        for (int b = 0; b < NBUCKETS; b++) {
            assert_int_equal(dpt_exchange_publish_wait(exchange, b), DPT_STATUS_OK);
        }
    }
}

/* Memory of the exchange, or of malloc where it has none. */
static float *take(struct dpt_exchange *exchange, enum dpt_exchange_memory memory, bool expected)
{
    void *block;
    assert_int_equal(dpt_exchange_alloc(exchange, N * sizeof(float), memory, &block), DPT_STATUS_OK);
    assert_true((block != NULL) == expected);
    return block ? block : calloc(N, sizeof(float));
}

/* Ranks a host, pretended; a thread or not; a tree or not. */
static void through_memory(void **state)
{
    (void)state;
    const int size = dpt_comm_size(world);
    for (int node_ranks = 0; node_ranks <= size; node_ranks++) {
        for (int w = 0; w < 4; w++) {
            const bool tree = w >= 2, even = node_ranks == 0 || size % node_ranks == 0;
            if (tree && (size & (size - 1)) != 0) {
                continue;
            }
            struct dpt_exchange *exchange =
                exchange_new(w % 2 ? DPT_EXCHANGE_THREAD_ON : DPT_EXCHANGE_THREAD_OFF, tree, node_ranks);
            const bool shared = size > 1 && even && node_ranks != 1;
            float *x = take(exchange, DPT_EXCHANGE_MEMORY_OWN, shared);
            float *param = take(exchange, DPT_EXCHANGE_MEMORY_COMMON, shared);
            check_sums(exchange, x);
            const char *name = dpt_exchange_name(exchange);
            assert_true((strstr(name, "shared memory") != NULL) == shared);
            assert_true((strstr(name, "between hosts") || strstr(name, "and MPI on")) ==
                        (shared && node_ranks != 0 && node_ranks < size));
            assert_true((strlen(dpt_exchange_note(exchange)) > 0) == !even);
            check_slices(exchange, DPT_EXCHANGE_SLICES_ALL, shared, x, param);
            check_slices(exchange, DPT_EXCHANGE_SLICES_HOST, shared, x, param);
            dpt_exchange_free(exchange);
            if (!shared) {
                free(x);
                free(param);
            }
        }
    }
}

/* Blocks of several huge pages and a rest: every rank sees what each has written, and all was zero before. */
static void large_blocks(void **state)
{
    (void)state;
    enum { LONG = (5 << 20) / sizeof(float) + 1000 };
    const struct dpt_range all = {0, LONG};
    const int size = dpt_comm_size(world), rank = dpt_comm_rank(world);
    struct dpt_exchange *exchange = exchange_new(DPT_EXCHANGE_THREAD_OFF, false, 0);
    void *own, *common;
    assert_int_equal(dpt_exchange_alloc(exchange, LONG * sizeof(float), DPT_EXCHANGE_MEMORY_OWN, &own), DPT_STATUS_OK);
    assert_int_equal(dpt_exchange_alloc(exchange, LONG * sizeof(float), DPT_EXCHANGE_MEMORY_COMMON, &common),
                     DPT_STATUS_OK);
    assert_true((own != NULL) == (size > 1) && (common != NULL) == (size > 1));
    float *x = own, *param = common;
    for (int64_t i = 0; own && i < LONG; i++) {
        assert_true(x[i] == 0.0f && param[i] == 0.0f);
        x[i] = number(rank, i, 0);
    }
    if (own) {
        assert_int_equal(dpt_exchange_bind_slices(exchange, DPT_EXCHANGE_SLICES_HOST, x, param, DPT_DTYPE_F32, 1, &all),
                         DPT_STATUS_OK);
        assert_int_equal(dpt_exchange_start(exchange, 0), DPT_STATUS_OK);
        assert_int_equal(dpt_exchange_wait(exchange, 0), DPT_STATUS_OK);
        const struct dpt_range mine = dpt_exchange_slice(exchange, 0);
        memcpy(param + mine.begin, x + mine.begin, (size_t)(mine.end - mine.begin) * sizeof *x);
        assert_int_equal(dpt_exchange_publish(exchange, 0), DPT_STATUS_OK);
        assert_int_equal(dpt_exchange_publish_wait(exchange, 0), DPT_STATUS_OK);
    }
    for (int64_t i = 0; own && i < LONG; i++) {
        assert_true(param[i] == sum_of(i, 0));
    }
    dpt_exchange_free(exchange);
}

/* A tree within hosts and on between them is the tree of all. */
static void the_tree_has_the_same_bits(void **state)
{
    (void)state;
    static float flat[N];
    const int size = dpt_comm_size(world);
    const struct dpt_range all = {0, N};
    if ((size & (size - 1)) != 0 || size == 1) {
        return;
    }
    for (int node_ranks = 0; node_ranks <= size; node_ranks += node_ranks ? node_ranks : 2) {
        struct dpt_exchange *exchange = exchange_new(DPT_EXCHANGE_THREAD_OFF, true, node_ranks);
        float *x = take(exchange, DPT_EXCHANGE_MEMORY_OWN, true);
        static float scratch[N];
        for (int i = 0; i < N; i++) {
            x[i] = flat[i] = (float)value_of(dpt_comm_rank(world), i);
        }
        assert_int_equal(dpt_comm_allreduce_tree(world, flat, N, DPT_DTYPE_F32, scratch), DPT_STATUS_OK);
        for (int sliced = 1; sliced >= 0; sliced--) {
            const enum dpt_exchange_slices slices = DPT_EXCHANGE_SLICES_ALL;
            assert_int_equal(sliced ? dpt_exchange_bind_slices(exchange, slices, x, NULL, DPT_DTYPE_F32, 1, &all)
                                    : dpt_exchange_bind(exchange, x, DPT_DTYPE_F32, 1, &all),
                             DPT_STATUS_OK);
            assert_int_equal(dpt_exchange_start(exchange, 0), DPT_STATUS_OK);
            assert_int_equal(dpt_exchange_wait(exchange, 0), DPT_STATUS_OK);
            const struct dpt_range mine = sliced ? dpt_exchange_slice(exchange, 0) : all;
            assert_memory_equal(x + mine.begin, flat + mine.begin, (size_t)(mine.end - mine.begin) * sizeof *x);
            assert_int_equal(dpt_comm_barrier(world), DPT_STATUS_OK);
            for (int i = 0; i < N; i++) {
                x[i] = (float)value_of(dpt_comm_rank(world), i);
            }
        }
        dpt_exchange_free(exchange);
    }
}

static void another_host_or_several_can_be_demanded(void **state)
{
    (void)state;
    const int size = dpt_comm_size(world);
    struct dpt_exchange_conf conf = {.comm = world, .path = DPT_EXCHANGE_PATH_HIERARCHICAL};
    struct dpt_exchange *exchange;
    if (size == 1) {
        return;
    }
    assert_int_equal(dpt_exchange_new(&conf, &exchange), DPT_STATUS_USAGE);
    assert_non_null(strstr(dpt_error_text(), "several hosts"));
    if (size % 2 == 0 && size > 2) {
        conf.path = DPT_EXCHANGE_PATH_SHARED;
        conf.node_ranks = 2;
        assert_int_equal(dpt_exchange_new(&conf, &exchange), DPT_STATUS_USAGE);
        assert_non_null(strstr(dpt_error_text(), "one host"));
    }
    void *block = &conf;
    conf.path = DPT_EXCHANGE_PATH_FLAT;
    conf.node_ranks = 0;
    assert_int_equal(dpt_exchange_new(&conf, &exchange), DPT_STATUS_OK);
    assert_int_equal(dpt_exchange_alloc(exchange, 4096, DPT_EXCHANGE_MEMORY_OWN, &block), DPT_STATUS_OK);
    assert_null(block);
    assert_string_equal(dpt_exchange_note(exchange), "");
    dpt_exchange_free(exchange);
}

/* The last rank may make no large files: all do without shared memory, say why, and get the same sums. */
static void too_little_memory_is_no_failure(void **state)
{
    (void)state;
    if (dpt_comm_size(world) == 1) {
        return;
    }
    struct dpt_exchange *exchange = exchange_new(DPT_EXCHANGE_THREAD_OFF, false, 0);
    struct rlimit before, small = {16384, 16384};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small.rlim_max = before.rlim_max;
    if (dpt_comm_rank(world) == dpt_comm_size(world) - 1) {
        setrlimit(RLIMIT_FSIZE, &small);
    }
    float *x = take(exchange, DPT_EXCHANGE_MEMORY_OWN, false);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    assert_true(strlen(dpt_exchange_note(exchange)) > 0);
    float *param = take(exchange, DPT_EXCHANGE_MEMORY_COMMON, false);
    check_sums(exchange, x);
    check_slices(exchange, DPT_EXCHANGE_SLICES_ALL, false, x, param);
    check_slices(exchange, DPT_EXCHANGE_SLICES_HOST, false, x, param);
    dpt_exchange_free(exchange);
    free(x);
    free(param);
}

int main(void)
{
    dpt_exchange__node_late = late;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(through_memory),
        cmocka_unit_test(large_blocks),
        cmocka_unit_test(the_tree_has_the_same_bits),
        cmocka_unit_test(another_host_or_several_can_be_demanded),
        cmocka_unit_test(too_little_memory_is_no_failure),
    };
    return RUN_IN_WORLD(tests);
}
