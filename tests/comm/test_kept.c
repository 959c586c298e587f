/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Formats that send a part of a sum and keep the rest: what arrives and what is kept is all that there was, step after
 * step, flat, on a thread and between hosts; all ranks get the same bits; what is kept survives being taken out and given
 * back; and as many bytes are sent as a plan says.
 */

#include "world.h"

#include <math.h>

#include "comm/exchange.h"
#include "comm/lowrank.h"
#include "comm/topk.h"

/* Three matrices, of which one is too small to gain, vectors between them, and behind LOSSY what may not be changed. */
enum { N = 6400, LOSSY = 6000, STEPS = 6 };
static const struct dpt_range buckets[] = {{3008, LOSSY}, {0, 3008}, {LOSSY, N}};
enum { NBUCKETS = sizeof buckets / sizeof buckets[0] };
static const struct dpt_exchange_matrix matrices[] = {{16, 40, 50}, {2032, 4, 3}, {3008, 60, 45}};

static float number(int rank, int64_t i, int step)
{
    return (float)value_of(rank, i + (int64_t)step * N) * 0x1p-16f;
}

struct kept {
    struct dpt_exchange *exchange;
    float *x;
    bool own;
};

static struct kept kept_new(struct dpt_wire wire, int node_ranks, bool thread)
{
    const struct dpt_exchange_conf conf = {
        .comm = world,
        .thread = thread ? DPT_EXCHANGE_THREAD_ON : DPT_EXCHANGE_THREAD_OFF,
        .path = node_ranks ? DPT_EXCHANGE_PATH_AUTO : DPT_EXCHANGE_PATH_FLAT,
        .node_ranks = node_ranks,
        .wire = wire,
        .seed = 9,
    };
    struct kept kept = {0};
    void *block;
    assert_int_equal(dpt_exchange_new(&conf, &kept.exchange), DPT_STATUS_OK);
    assert_int_equal(dpt_exchange_alloc(kept.exchange, N * sizeof(float), DPT_EXCHANGE_MEMORY_OWN, &block), DPT_STATUS_OK);
    kept.own = !block;
    kept.x = block ? block : calloc(N, sizeof(float));
    dpt_exchange_shape(kept.exchange, LOSSY, sizeof matrices / sizeof matrices[0], matrices);
    assert_int_equal(dpt_exchange_bind(kept.exchange, kept.x, DPT_DTYPE_F32, NBUCKETS, buckets), DPT_STATUS_OK);
    return kept;
}

static void kept_free(struct kept *kept)
{
    dpt_exchange_free(kept->exchange);
    if (kept->own) {
        free(kept->x);
    }
}

static void sum(struct kept *kept, int step)
{
    for (int i = 0; i < N; i++) {
        kept->x[i] = number(dpt_comm_rank(world), i, step);
    }
    dpt_exchange_step(kept->exchange, step);
    for (int b = 0; b < NBUCKETS; b++) {
        assert_int_equal(dpt_exchange_start(kept->exchange, b), DPT_STATUS_OK);
    }
    for (int b = NBUCKETS - 1; b >= 0; b--) {
        assert_int_equal(dpt_exchange_wait(kept->exchange, b), DPT_STATUS_OK);
    }
}

static void expect_same_everywhere(const float *x)
{
    static float first[N];
    memcpy(first, x, sizeof first);
    assert_int_equal(dpt_comm_bcast(world, first, sizeof first, 0), DPT_STATUS_OK);
    assert_memory_equal(first, x, sizeof first);
}

/* The sums of all steps and what is kept in the end are what all ranks put in: exactly so far as floats add up. */
static void check(struct dpt_wire wire, int node_ranks, bool thread)
{
    static double arrived[N], given[N], size[N];
    static float rest[N], last[N];
    const int ranks = dpt_comm_size(world);
    struct kept kept = kept_new(wire, node_ranks, thread);
    double sent = 0.0;
    for (int b = 0; b < NBUCKETS; b++) {
        const struct dpt_wire plain = {.kind = DPT_WIRE_KIND_FP32};
        sent += STEPS * dpt_wire_sent(buckets[b].end <= LOSSY ? &wire : &plain, ranks, buckets[b], 3, matrices);
    }
    memset(arrived, 0, sizeof arrived);
    memset(given, 0, sizeof given);
    memset(size, 0, sizeof size);
    bool lossy = false;
    for (int step = 0; step < STEPS; step++) {
        sum(&kept, step);
        expect_same_everywhere(kept.x);
        for (int i = 0; i < N; i++) {
            double now = 0.0;
            for (int r = 0; r < ranks; r++) {
                now += (double)number(r, i, step);
                size[i] += fabs((double)number(r, i, step));
            }
            lossy = lossy || fabs((double)kept.x[i] - now) > 1e-3 * fabs(now);
            assert_true(i < LOSSY || fabs((double)kept.x[i] - now) <= 1e-5 * size[i]);
            given[i] += now;
            arrived[i] += (double)kept.x[i];
        }
    }
    struct dpt_exchange_stats stats;
    dpt_exchange_stats(kept.exchange, &stats);
    const bool messages = dpt_exchange_is_wire(kept.exchange);
    assert_true(messages == (ranks > 1 && (kept.own || (node_ranks > 0 && node_ranks < ranks))));
    assert_true(lossy == (messages && (wire.kind != DPT_WIRE_KIND_TOPK || wire.share < 1.0)));
    assert_true(!kept.own || !messages || fabs((double)stats.sent - sent) <= 0.01 * sent + 64.0 * STEPS);
    memcpy(last, kept.x, sizeof last);
    assert_int_equal(dpt_exchange_get_kept(kept.exchange, N, rest), DPT_STATUS_OK);
    double largest = 0.0;
    for (int i = 0; i < N; i++) {
        largest = fmax(largest, size[i]);
    }
    for (int i = 0; i < N; i++) {
        /* A matrix is a sum of products: its numbers are as exact as the largest of them. */
        const double scale = wire.kind == DPT_WIRE_KIND_POWERSGD ? largest : size[i];
        assert_true(fabs(arrived[i] + (double)rest[i] - given[i]) <= 3e-6 * scale);
        assert_true(i < LOSSY || rest[i] == 0.0f);
    }
    /* One that goes on and one that begins from there do the same. */
    struct kept again = kept_new(wire, node_ranks, thread);
    dpt_exchange_set_kept(again.exchange, N, rest);
    for (int step = STEPS; step < STEPS + 3; step++) {
        sum(&kept, step);
        sum(&again, step);
        assert_memory_equal(kept.x, again.x, N * sizeof(float));
    }
    kept_free(&again);
    kept_free(&kept);
}

static void nothing_is_lost(void **state)
{
    (void)state;
    static const struct dpt_wire wires[] = {
        {.kind = DPT_WIRE_KIND_TOPK, .share = 0.01},    {.kind = DPT_WIRE_KIND_TOPK, .share = 0.3},
        {.kind = DPT_WIRE_KIND_TOPK, .share = 1.0},     {.kind = DPT_WIRE_KIND_POWERSGD, .rank = 1},
        {.kind = DPT_WIRE_KIND_POWERSGD, .rank = 4},
    };
    for (size_t w = 0; w < sizeof wires / sizeof wires[0]; w++) {
        for (int node_ranks = 0; node_ranks <= dpt_comm_size(world); node_ranks++) {
            check(wires[w], node_ranks, w % 2);
        }
    }
}

/* By its definition, from a sorted copy; with equal ones, zeros and what is no number. */
static int by_size(const void *a, const void *b)
{
    const float x = fabsf(*(const float *)a), y = fabsf(*(const float *)b);
    return (x < y) - (x > y);
}

static void topk_finds_the_largest(void **state)
{
    (void)state;
    enum { MANY = 3001 };
    static float x[MANY], sorted[MANY];
    for (int i = 0; i < MANY; i++) {
        x[i] = i % 5 == 0 ? 0.0f : i % 7 == 0 ? -2.5f : (float)value_of(0, i);
    }
    memcpy(sorted, x, sizeof sorted);
    qsort(sorted, MANY, sizeof sorted[0], by_size);
    for (int64_t k = 1; k <= MANY; k += 37) {
        int64_t larger;
        const uint32_t bits = dpt_comm__topk_least(MANY, x, k, &larger);
        float least;
        memcpy(&least, &bits, sizeof least);
        assert_true(least == fabsf(sorted[k - 1]));
        assert_true(larger < k && (larger == 0 || fabsf(sorted[larger - 1]) > least) && fabsf(sorted[larger]) == least);
    }
    int64_t larger;
    x[17] = NAN;
    assert_true(dpt_comm__topk_least(MANY, x, 1, &larger) > 0x7f800000 && larger == 0);
    assert_int_equal(dpt_comm__topk_count(1000, 0.001), 1);
    assert_int_equal(dpt_comm__topk_count(1001, 0.001), 2);
    assert_int_equal(dpt_comm__topk_count(3, 1e-9), 1);
    assert_int_equal(dpt_comm__topk_count(0, 0.5), 0);
    assert_int_equal(dpt_comm__topk_count(10, 1.0), 10);
}

/* A gradient of low rank arrives whole at once; a constant one of full rank arrives in the end, by what is kept. */
static void lowrank_finds_what_there_is(void **state)
{
    (void)state;
    enum { ROWS = 40, COLS = 50, RANK = 2 };
    static float data[ROWS * COLS], residual[ROWS * COLS], scratch[RANK * (ROWS + COLS)], q[RANK * COLS];
    struct dpt_comm__lowrank_part part = {.at = 0, .rows = ROWS, .cols = COLS, .q = q};
    const struct dpt_comm__lowrank l = {RANK, ROWS * COLS, 1, &part, RANK * ROWS, RANK * COLS};
    const double ranks = dpt_comm_size(world);
    dpt_comm__lowrank_begin(&part, RANK, 1, 0);
    memset(residual, 0, sizeof residual);
    for (int step = 0; step < 3; step++) {
        for (int i = 0; i < ROWS * COLS; i++) {
            data[i] = (float)(sin(i / COLS + 1) * cos(i % COLS) + (i / COLS) * (i % COLS) * 1e-3);
        }
        assert_int_equal(dpt_comm__lowrank_sum(world, &l, data, residual, scratch), DPT_STATUS_OK);
        for (int i = 0; i < ROWS * COLS; i++) {
            const double expected = sin(i / COLS + 1) * cos(i % COLS) + (i / COLS) * (i % COLS) * 1e-3;
            assert_true(fabs((double)data[i] - ranks * expected) <= 2e-5 * ranks && fabsf(residual[i]) <= 2e-5f);
        }
    }
    static double arrived[ROWS * COLS];
    memset(arrived, 0, sizeof arrived);
    enum { MANY = 400 };
    for (int step = 0; step < MANY; step++) {
        for (int i = 0; i < ROWS * COLS; i++) {
            data[i] = number(0, i, 0);
        }
        assert_int_equal(dpt_comm__lowrank_sum(world, &l, data, residual, scratch), DPT_STATUS_OK);
        for (int i = 0; i < ROWS * COLS; i++) {
            arrived[i] += (double)data[i] / MANY;
        }
    }
    double off = 0.0, all = 0.0;
    for (int i = 0; i < ROWS * COLS; i++) {
        off += pow(arrived[i] / ranks - (double)number(0, i, 0), 2.0);
        all += pow((double)number(0, i, 0), 2.0);
    }
    assert_true(off < 0.01 * all);
    memset(residual, 0, sizeof residual); /* nothing there, and something again */
    memset(data, 0, sizeof data);
    assert_int_equal(dpt_comm__lowrank_sum(world, &l, data, residual, scratch), DPT_STATUS_OK);
    for (int i = 0; i < ROWS * COLS; i++) {
        assert_true(data[i] == 0.0f);
        data[i] = (float)(i / COLS + 1) * 1e-12f;
    }
    assert_int_equal(dpt_comm__lowrank_sum(world, &l, data, residual, scratch), DPT_STATUS_OK);
    for (int i = 0; i < ROWS * COLS; i++) {
        assert_true(fabs((double)data[i] - ranks * (i / COLS + 1) * 1e-12) <= 2e-5 * ranks * ROWS * 1e-12);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topk_finds_the_largest),
        cmocka_unit_test(lowrank_finds_what_there_is),
        cmocka_unit_test(nothing_is_lost),
    };
    return RUN_IN_WORLD(tests);
}
