/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <math.h>

#include "comm/exchange.h"

enum { N = 5000 };

static const struct dpt_range buckets[] = {{3008, 4999}, {0, 2}, {704, 704}, {16, 699}, {704, 3000}};
enum { NBUCKETS = sizeof buckets / sizeof buckets[0] };

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
        cmocka_unit_test(sums_are_rounded_twice),
    };
    return RUN_IN_WORLD(tests);
}
