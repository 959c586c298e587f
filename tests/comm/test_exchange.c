/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <unistd.h>

#include "comm/exchange.h"

enum { N = 5000 };

/* Gaps, an empty bucket, one element, not in the order of memory. */
static const struct dpt_range buckets[] = {{3000, 4999}, {1, 2}, {700, 700}, {2, 699}, {700, 3000}};
enum { NBUCKETS = sizeof buckets / sizeof buckets[0] };

static struct dpt_exchange *exchange_new(enum dpt_exchange_thread thread, bool tree)
{
    const struct dpt_exchange_conf conf = {.comm = world, .thread = thread, .tree = tree};
    struct dpt_exchange *exchange;
    assert_int_equal(dpt_exchange_new(&conf, &exchange), DPT_STATUS_OK);
    return exchange;
}

static bool power_of_two(int n)
{
    return (n & (n - 1)) == 0;
}

/* Some steps of starting all buckets, with small sums between, and waiting in another order. */
static void do_steps(struct dpt_exchange *exchange, float *x, double statistics[3])
{
    assert_int_equal(dpt_exchange_bind(exchange, x, DPT_DTYPE_F32, NBUCKETS, buckets), DPT_STATUS_OK);
    for (int step = 0; step < 10; step++) {
        for (int i = 0; i < N; i++) {
            x[i] = (float)value_of(dpt_comm_rank(world), i + step * N);
        }
        for (int b = 0; b < NBUCKETS; b++) {
            assert_int_equal(dpt_exchange_start(exchange, b), DPT_STATUS_OK);
            if (b == 2) {
                for (int k = 0; k < 3; k++) {
                    statistics[k] = value_of(dpt_comm_rank(world), step + k);
                }
                assert_int_equal(dpt_exchange_sum(exchange, statistics, 3, DPT_DTYPE_F64), DPT_STATUS_OK);
            }
        }
        for (int b = NBUCKETS - 1; b >= 0; b--) {
            assert_int_equal(dpt_exchange_wait(exchange, b), DPT_STATUS_OK);
        }
    }
    /* The turn is free: other calls are allowed again. */
    assert_int_equal(dpt_comm_barrier(world), DPT_STATUS_OK);
}

static void check_sums(const float *x)
{
    for (int b = 0; b < NBUCKETS; b++) {
        for (int64_t i = buckets[b].begin; i < buckets[b].end; i++) {
            double sum = 0.0, size = 0.0;
            for (int r = 0; r < dpt_comm_size(world); r++) {
                const double v = (float)value_of(r, i + 9 * N);
                sum += v;
                size += v < 0.0 ? -v : v;
            }
            const double error = (double)x[i] - sum;
            assert_true((error < 0.0 ? -error : error) <= 1e-6 * size);
        }
    }
    /* Outside of the buckets nothing changes. */
    assert_true(x[0] == (float)value_of(dpt_comm_rank(world), 9 * N));
    assert_true(x[N - 1] == (float)value_of(dpt_comm_rank(world), N - 1 + 9 * N));
}

static void a_thread_gives_the_same_as_inline(void **state)
{
    (void)state;
    static float x[N], y[N];
    double s[3], t[3];
    struct dpt_exchange *plain = exchange_new(DPT_EXCHANGE_THREAD_OFF, false);
    struct dpt_exchange *thread = exchange_new(DPT_EXCHANGE_THREAD_ON, false);
    do_steps(plain, x, s);
    do_steps(thread, y, t);
    check_sums(x);
    assert_memory_equal(x, y, sizeof x);
    assert_memory_equal(s, t, sizeof s);
    const bool one = dpt_comm_size(world) == 1;
    assert_string_equal(dpt_exchange_name(plain), one ? "none (one rank)" : "inline MPI_Allreduce");
    assert_string_equal(dpt_exchange_name(thread), one ? "none (one rank)" : "MPI_Allreduce on a thread");
    dpt_exchange_free(plain);
    dpt_exchange_free(thread);
}

static void a_tree_gives_the_same_bits_both_ways(void **state)
{
    (void)state;
    static float x[N], y[N], direct[N], scratch[N];
    double s[3], t[3];
    if (!power_of_two(dpt_comm_size(world))) {
        const struct dpt_exchange_conf conf = {.comm = world, .tree = true};
        struct dpt_exchange *exchange;
        assert_int_equal(dpt_exchange_new(&conf, &exchange), DPT_STATUS_USAGE);
        return;
    }
    struct dpt_exchange *plain = exchange_new(DPT_EXCHANGE_THREAD_OFF, true);
    struct dpt_exchange *thread = exchange_new(DPT_EXCHANGE_THREAD_ON, true);
    do_steps(plain, x, s);
    do_steps(thread, y, t);
    assert_memory_equal(x, y, sizeof x);
    assert_memory_equal(s, t, sizeof s);
    for (int i = 0; i < N; i++) {
        direct[i] = (float)value_of(dpt_comm_rank(world), i + 9 * N);
    }
    assert_int_equal(dpt_comm_allreduce_tree(world, direct, N, DPT_DTYPE_F32, scratch), DPT_STATUS_OK);
    for (int b = 0; b < NBUCKETS; b++) {
        const size_t nbytes = (size_t)(buckets[b].end - buckets[b].begin) * sizeof *x;
        assert_memory_equal(x + buckets[b].begin, direct + buckets[b].begin, nbytes);
    }
    dpt_exchange_free(plain);
    dpt_exchange_free(thread);
}

static void auto_is_decided_together(void **state)
{
    (void)state;
    if (dpt_comm_size(world) == 1) {
        return;
    }
    struct dpt_exchange_conf conf = {.comm = world, .thread = DPT_EXCHANGE_THREAD_AUTO, .spare_core = true};
    struct dpt_exchange *exchange;
    assert_int_equal(dpt_exchange_new(&conf, &exchange), DPT_STATUS_OK);
    assert_string_equal(dpt_exchange_name(exchange), "MPI_Allreduce on a thread");
    dpt_exchange_free(exchange);
    /* One rank without a spare core is enough to do without. */
    conf.spare_core = dpt_comm_rank(world) != 1;
    assert_int_equal(dpt_exchange_new(&conf, &exchange), DPT_STATUS_OK);
    assert_string_equal(dpt_exchange_name(exchange), "inline MPI_Allreduce");
    dpt_exchange_free(exchange);
}

static void counts_what_it_does(void **state)
{
    (void)state;
    const enum dpt_exchange_thread ways[] = {DPT_EXCHANGE_THREAD_OFF, DPT_EXCHANGE_THREAD_ON};
    for (int w = 0; w < 2; w++) {
        struct dpt_exchange *exchange = exchange_new(ways[w], false);
        struct dpt_exchange_stats stats;
        static float x[N];
        double s[3];
        do_steps(exchange, x, s);
        dpt_exchange_stats(exchange, &stats);
        const bool one = dpt_comm_size(world) == 1;
        const uint64_t elements = 1999 + 1 + 0 + 697 + 2300;
        assert_int_equal(stats.ncalls, one ? 0 : 10 * (NBUCKETS + 1));
        assert_int_equal(stats.nbytes, one ? 0 : 10 * (elements * sizeof(float) + 3 * sizeof(double)));
        assert_true(one ? stats.busy_s == 0.0 && stats.exposed_s == 0.0 : stats.busy_s > 0.0 && stats.exposed_s > 0.0);
        dpt_exchange_stats_reset(exchange);
        dpt_exchange_stats(exchange, &stats);
        assert_true(stats.ncalls == 0 && stats.nbytes == 0 && stats.busy_s == 0.0 && stats.exposed_s == 0.0);
        dpt_exchange_free(exchange);
    }
}

/* The last rank comes 0.2 s late: with a thread only waiting shows it, and time before the wait is not exposed. */
static void a_thread_hides_what_is_not_waited_for(void **state)
{
    (void)state;
    static float x[N];
    struct dpt_exchange *exchange = exchange_new(DPT_EXCHANGE_THREAD_ON, false);
    assert_int_equal(dpt_exchange_bind(exchange, x, DPT_DTYPE_F32, NBUCKETS, buckets), DPT_STATUS_OK);
    const bool last = dpt_comm_rank(world) == dpt_comm_size(world) - 1;
    struct dpt_exchange_stats stats;
    if (last) {
        usleep(200000);
    }
    assert_int_equal(dpt_exchange_start(exchange, 0), DPT_STATUS_OK);
    dpt_exchange_stats(exchange, &stats);
    assert_true(stats.exposed_s < 0.1);
    assert_int_equal(dpt_exchange_wait(exchange, 0), DPT_STATUS_OK);
    dpt_exchange_stats(exchange, &stats);
    if (!last) {
        assert_true(stats.exposed_s > 0.1 && stats.busy_s > 0.1);
    }
    dpt_exchange_free(exchange);
}

static void binds_again_and_without_buckets(void **state)
{
    (void)state;
    const enum dpt_exchange_thread ways[] = {DPT_EXCHANGE_THREAD_OFF, DPT_EXCHANGE_THREAD_ON};
    for (int w = 0; w < 2; w++) {
        struct dpt_exchange *exchange = exchange_new(ways[w], false);
        double one = 1.0, y[4] = {1.0, 2.0, 3.0, 4.0};
        assert_int_equal(dpt_exchange_sum(exchange, &one, 1, DPT_DTYPE_F64), DPT_STATUS_OK);
        assert_true(one == (double)dpt_comm_size(world));
        assert_int_equal(dpt_exchange_bind(exchange, NULL, DPT_DTYPE_F32, 0, NULL), DPT_STATUS_OK);
        const struct dpt_range all = {0, 4};
        assert_int_equal(dpt_exchange_bind(exchange, y, DPT_DTYPE_F64, 1, &all), DPT_STATUS_OK);
        assert_int_equal(dpt_exchange_start(exchange, 0), DPT_STATUS_OK);
        assert_int_equal(dpt_exchange_wait(exchange, 0), DPT_STATUS_OK);
        for (int i = 0; i < 4; i++) {
            assert_true(y[i] == (i + 1) * (double)dpt_comm_size(world));
        }
        dpt_exchange_free(exchange);
    }
}

static void refuses_ranks_with_other_buckets(void **state)
{
    (void)state;
    if (dpt_comm_size(world) == 1) {
        return;
    }
    static float x[N];
    struct dpt_exchange *exchange = exchange_new(DPT_EXCHANGE_THREAD_OFF, false);
    const struct dpt_range range = {0, dpt_comm_rank(world) == 1 ? 11 : 10};
    assert_int_equal(dpt_exchange_bind(exchange, x, DPT_DTYPE_F32, 1, &range), DPT_STATUS_COMM);
    assert_non_null(strstr(dpt_error_text(), "rank 1"));
    dpt_exchange_free(exchange);
}

/* A size that all ranks agree on where there is something to measure, in about the time that was given. */
static void the_size_of_buckets_is_measured(void **state)
{
    (void)state;
    struct dpt_exchange_conf conf = {.comm = world, .thread = DPT_EXCHANGE_THREAD_OFF, .path = DPT_EXCHANGE_PATH_FLAT};
    int64_t nbytes = -1, first;
    assert_int_equal(dpt_exchange_probe(&conf, 24 << 20, 0.2, &nbytes), DPT_STATUS_OK);
    first = nbytes;
    assert_int_equal(dpt_comm_bcast(world, &first, sizeof first, 0), DPT_STATUS_OK);
    assert_true(first == nbytes);
    assert_true(nbytes == 0 || (dpt_comm_size(world) > 1 && nbytes >= 1 << 20 && nbytes <= 32 << 20));
    assert_true((nbytes & (nbytes - 1)) == 0);
    assert_int_equal(dpt_exchange_probe(&conf, 4 << 20, 0.2, &nbytes), DPT_STATUS_OK);
    assert_true(nbytes == 0); /* less than a bucket */
    conf.path = DPT_EXCHANGE_PATH_AUTO;
    assert_int_equal(dpt_exchange_probe(&conf, 24 << 20, 0.2, &nbytes), DPT_STATUS_OK);
    assert_true(nbytes == 0); /* through memory */
    assert_int_equal(dpt_exchange_probe(&conf, 24 << 20, 1e-9, &nbytes), DPT_STATUS_OK);
    assert_true(nbytes == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_gives_the_same_as_inline),
        cmocka_unit_test(a_tree_gives_the_same_bits_both_ways),
        cmocka_unit_test(auto_is_decided_together),
        cmocka_unit_test(counts_what_it_does),
        cmocka_unit_test(a_thread_hides_what_is_not_waited_for),
        cmocka_unit_test(binds_again_and_without_buckets),
        cmocka_unit_test(refuses_ranks_with_other_buckets),
        cmocka_unit_test(the_size_of_buckets_is_measured),
    };
    return RUN_IN_WORLD(tests);
}
