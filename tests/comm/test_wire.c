/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <math.h>

#include "comm/exchange.h"
#include "comm/wire.h"

enum { N = 5000 };

static const struct dpt_range buckets[] = {{3008, 4999}, {0, 2}, {704, 704}, {16, 699}, {704, 3000}};
enum { NBUCKETS = sizeof buckets / sizeof buckets[0] };

/* Of many magnitudes, or for int8, which has one step for a block, of one. */
static double number(enum dpt_wire_kind kind, int rank, int64_t i)
{
    return kind == DPT_WIRE_KIND_BF16 ? value_of(rank, i) : (double)((i * 7 + rank * 31) % 1001 - 500) / 500.0;
}

/* Flat or with pretended hosts, whole or sliced, on a thread or not: near the sum, the same on all ranks, fewer bytes. */
static void check(enum dpt_wire_kind kind, int node_ranks, bool thread, bool sliced)
{
    const int size = dpt_comm_size(world), rank = dpt_comm_rank(world);
    const struct dpt_exchange_conf conf = {
        .comm = world,
        .thread = thread ? DPT_EXCHANGE_THREAD_ON : DPT_EXCHANGE_THREAD_OFF,
        .path = node_ranks ? DPT_EXCHANGE_PATH_AUTO : DPT_EXCHANGE_PATH_FLAT,
        .node_ranks = node_ranks,
        .wire = {.kind = kind},
        .seed = 3,
    };
    struct dpt_exchange *exchange;
    void *block;
    assert_int_equal(dpt_exchange_new(&conf, &exchange), DPT_STATUS_OK);
    assert_int_equal(dpt_exchange_alloc(exchange, N * sizeof(float), DPT_EXCHANGE_MEMORY_OWN, &block), DPT_STATUS_OK);
    float *x = block ? block : calloc(N, sizeof *x);
    assert_int_equal(sliced ? dpt_exchange_bind_slices(exchange, DPT_EXCHANGE_SLICES_ALL, x, NULL, DPT_DTYPE_F32, NBUCKETS,
                                                       buckets)
                            : dpt_exchange_bind(exchange, x, DPT_DTYPE_F32, NBUCKETS, buckets),
                     DPT_STATUS_OK);
    for (int i = 0; i < N; i++) {
        x[i] = (float)number(kind, rank, i);
    }
    for (int b = 0; b < NBUCKETS; b++) {
        assert_int_equal(dpt_exchange_start(exchange, b), DPT_STATUS_OK);
    }
    bool exact = true;
    for (int b = 0; b < NBUCKETS; b++) {
        assert_int_equal(dpt_exchange_wait(exchange, b), DPT_STATUS_OK);
        const struct dpt_range mine = sliced ? dpt_exchange_slice(exchange, b) : buckets[b];
        for (int64_t i = mine.begin; i < mine.end; i++) {
            double sum = 0.0, all = 0.0;
            for (int r = 0; r < size; r++) {
                sum += number(kind, r, i);
                all += fabs(number(kind, r, i));
            }
            exact = exact && fabs(x[i] - sum) <= 1e-6 * (all + 1e-3);
            assert_true(fabs(x[i] - sum) <= (kind == DPT_WIRE_KIND_BF16 ? 0x1p-8 * (all + fabs(sum)) : 2.01 * size / 127.0));
        }
    }
    const uint64_t numel = 1991 + 2 + 0 + 683 + 2296;
    struct dpt_exchange_stats stats;
    dpt_exchange_stats(exchange, &stats);
    const bool messages = size > 1 && (!block || node_ranks < size);
    assert_int_equal(stats.nbytes, size == 1 ? 0 : 4 * numel);
    assert_true(exact != messages || size == 1);
    assert_true(dpt_exchange_is_wire(exchange) == messages);
    const double ring = (sliced ? 1.0 : 2.0) * (size - 1) / size * numel; /* numbers of one rank, give or take a slice */
    const double width = kind == DPT_WIRE_KIND_BF16 ? 2.0 : 1.0 + 4.0 / 128;
    if (!block && messages) {
        assert_true(fabs((double)stats.sent - ring * width) <= 0.06 * ring * width + 64);
    }
    assert_true(messages || stats.sent == 0);
    assert_true((double)stats.sent <= ring * width * 1.06 + 64);
    if (!sliced) {
        const int64_t end = buckets[0].end;
        float *first = malloc(N * sizeof *first);
        memcpy(first, x, N * sizeof *first);
        assert_int_equal(dpt_comm_bcast(world, first, N * sizeof *first, 0), DPT_STATUS_OK);
        assert_memory_equal(first + 3008, x + 3008, (size_t)(end - 3008) * sizeof *x);
        assert_memory_equal(first + 704, x + 704, (3000 - 704) * sizeof *x);
        free(first);
    }
    double one = 1.0 + 0x1p-40; /* other sums are as they were */
    assert_int_equal(dpt_exchange_sum(exchange, &one, 1, DPT_DTYPE_F64), DPT_STATUS_OK);
    assert_true(one == size * (1.0 + 0x1p-40));
    dpt_exchange_free(exchange);
    if (!block) {
        free(x);
    }
}

static void sums_are_rounded_twice(void **state)
{
    (void)state;
    for (int sliced = 0; sliced < 2; sliced++) {
        for (int thread = 0; thread < 2; thread++) {
            for (int node_ranks = 0; node_ranks <= dpt_comm_size(world); node_ranks++) {
                check(DPT_WIRE_KIND_BF16, node_ranks, thread, sliced);
                check(DPT_WIRE_KIND_INT8, node_ranks, thread, sliced);
            }
        }
    }
}

/* Multiples of the step, never further than one step; the mean over many keys is the number; a key repeats its bits. */
static void int8_is_right_on_average(void **state)
{
    (void)state;
    enum { MANY = 1000, KEYS = 2000 };
    static float x[MANY], y[MANY];
    static double mean[MANY];
    static char bytes[2 * MANY], again[2 * MANY];
    for (int i = 0; i < MANY; i++) {
        x[i] = (float)number(DPT_WIRE_KIND_INT8, 1, 13 * i) * (i < 500 ? 1.0f : 1e-6f);
    }
    for (int key = 0; key < KEYS; key++) {
        const struct dpt_comm__code code = {DPT_WIRE_KIND_INT8, 5, (uint64_t)key, 64, 2};
        dpt_comm__code(&code, 0, 16, MANY, x, bytes);
        dpt_comm__code(&code, 0, 16, MANY, x, again);
        assert_memory_equal(bytes, again, dpt_comm__code_nbytes(code.kind, MANY));
        dpt_comm__decode(code.kind, MANY, bytes, y);
        for (int i = 0; i < MANY; i++) {
            const float step = (i < 512 ? 1.0f : 1e-6f) / 127.0f; /* 128 to a block */
            assert_true(fabsf(y[i] - x[i]) <= 1.001f * step);
            mean[i] += (double)y[i] / KEYS;
        }
        dpt_comm__code(&code, 1, 16, MANY, x, again); /* another turn has other bits */
        assert_true(memcmp(bytes, again, dpt_comm__code_nbytes(code.kind, MANY)) != 0);
    }
    for (int i = 0; i < MANY; i++) { /* of KEYS coins with steps 1/127: five sigmas */
        const double step = (i < 512 ? 1.0 : 1e-6) / 127.0;
        assert_true(fabs(mean[i] - (double)x[i]) <= 5.0 * step * 0.5 / sqrt(KEYS));
    }
    x[7] = NAN;
    x[130] = -INFINITY;
    const struct dpt_comm__code code = {DPT_WIRE_KIND_INT8, 5, 0, 0, 0};
    dpt_comm__code(&code, 0, 0, 300, x, bytes);
    dpt_comm__decode(code.kind, 300, bytes, y);
    assert_true(isnan(y[0]) && isnan(y[127]) && isnan(y[128]) && isfinite(y[256]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(int8_is_right_on_average),
        cmocka_unit_test(sums_are_rounded_twice),
    };
    return RUN_IN_WORLD(tests);
}
