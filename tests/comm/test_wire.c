/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <math.h>

#include "comm/exchange.h"
#include "comm/wire.h"

enum { N = 5000 };

static const struct dpt_range buckets[] = {{3008, 4999}, {0, 2}, {704, 704}, {16, 699}, {704, 3000}};
enum { NBUCKETS = sizeof buckets / sizeof buckets[0] };

/* By its definition: of the two floats with 16 low bits of zero around x the nearer, of two equally near the even one. */
static float rounded(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t low = bits & 0xffff0000, high = low + 0x10000;
    const uint32_t rest = bits & 0xffff;
    const uint32_t chosen = rest < 0x8000 ? low : rest > 0x8000 ? high : (low >> 16 & 1) == 0 ? low : high;
    float y;
    memcpy(&y, &chosen, sizeof y);
    return y;
}

static void rounds_to_the_nearest(void **state)
{
    (void)state;
    enum { MANY = 200003 };
    float *x = malloc(MANY * sizeof *x), *y = malloc(MANY * sizeof *y);
    uint16_t *bits = malloc(MANY * sizeof *bits);
    for (int i = 0; i < MANY; i++) { /* all of the lower halves, over and over, with changing upper ones */
        const uint32_t word = (uint32_t)i * 2654435761u << 16 | ((uint32_t)i & 0xffff);
        memcpy(&x[i], &word, sizeof word);
        x[i] = isfinite(x[i]) ? x[i] : (float)i;
    }
    dpt_comm__to_bf16(MANY, x, bits);
    dpt_comm__from_bf16(MANY, bits, y);
    for (int i = 0; i < MANY; i++) {
        const float expected = rounded(x[i]);
        assert_memory_equal(&y[i], &expected, sizeof expected);
    }
    const float odd[] = {NAN, -NAN, INFINITY, -INFINITY, 0.0f, -0.0f, 3.4e38f, -3.4e38f, 1e-45f};
    uint32_t quiet = 0x7f800001; /* a NaN whose upper half alone would be infinity */
    dpt_comm__to_bf16(9, odd, bits);
    dpt_comm__from_bf16(9, bits, y);
    assert_true(isnan(y[0]) && isnan(y[1]) && y[2] > 0 && isinf(y[2]) && y[3] < 0 && isinf(y[3]));
    assert_true(y[4] == 0.0f && !signbit(y[4]) && y[5] == 0.0f && signbit(y[5]) && isinf(y[6]) && isinf(y[7]));
    assert_true(y[8] == 0.0f);
    memcpy(x, &quiet, sizeof quiet);
    dpt_comm__to_bf16(1, x, bits);
    dpt_comm__from_bf16(1, bits, y);
    assert_true(isnan(y[0]));
    free(x);
    free(y);
    free(bits);
}

/* Flat or with pretended hosts, whole or sliced, on a thread or not: near the sum, the same on all ranks, half the bytes. */
static void check(int node_ranks, bool thread, bool sliced)
{
    const int size = dpt_comm_size(world), rank = dpt_comm_rank(world);
    const struct dpt_exchange_conf conf = {
        .comm = world,
        .thread = thread ? DPT_EXCHANGE_THREAD_ON : DPT_EXCHANGE_THREAD_OFF,
        .path = node_ranks ? DPT_EXCHANGE_PATH_AUTO : DPT_EXCHANGE_PATH_FLAT,
        .node_ranks = node_ranks,
        .bf16 = true,
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
        x[i] = (float)value_of(rank, i);
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
                sum += value_of(r, i);
                all += fabs(value_of(r, i));
            }
            exact = exact && fabs(x[i] - sum) <= 1e-6 * all;
            assert_true(fabs(x[i] - sum) <= 0x1p-8 * (all + fabs(sum)));
        }
    }
    const uint64_t numel = 1991 + 2 + 0 + 683 + 2296;
    struct dpt_exchange_stats stats;
    dpt_exchange_stats(exchange, &stats);
    const bool messages = size > 1 && (!block || node_ranks < size);
    assert_int_equal(stats.nbytes, size == 1 ? 0 : messages ? 2 * numel : 4 * numel);
    assert_true(exact != messages || size == 1);
    assert_true(dpt_exchange_is_bf16(exchange) == messages);
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
                check(node_ranks, thread, sliced);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounds_to_the_nearest),
        cmocka_unit_test(sums_are_rounded_twice),
    };
    return RUN_IN_WORLD(tests);
}
