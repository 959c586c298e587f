/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include "comm/add.h"
#include "comm/exchange.h"
#include "comm/impl.h"

enum { N = 5000 };

/* Gaps, an empty bucket, fewer elements than slices, ends that are no multiple of anything. */
static const struct dpt_range buckets[] = {{3000, 4999}, {0, 2}, {704, 704}, {16, 699}, {704, 3000}};
enum { NBUCKETS = sizeof buckets / sizeof buckets[0] };

/* ((0+1)+(2+3))+...: by its definition. */
static float tree_f32(float *const *part, int begin, int end, int i)
{
    int half = 1;
    if (end - begin == 1) {
        return part[begin][i];
    }
    while (2 * half < end - begin) {
        half *= 2;
    }
    return tree_f32(part, begin, begin + half, i) + tree_f32(part, begin + half, end, i);
}

static void sums_are_those_of_the_tree(void **state)
{
    (void)state;
    enum { LENGTH = 2500, PARTS = 17 };
    static float data[PARTS][LENGTH], expected[LENGTH];
    static double wide[PARTS][LENGTH];
    for (int parts = 1; parts <= PARTS; parts++) {
        float *part[PARTS];
        const void *in[PARTS], *in64[PARTS];
        for (int p = 0; p < parts; p++) {
            for (int i = 0; i < LENGTH; i++) {
                data[p][i] = (float)value_of(p, i);
                wide[p][i] = (double)(i + p);
            }
            part[p] = data[p];
            in[p] = data[p];
            in64[p] = wide[p];
        }
        for (int i = 0; i < LENGTH; i++) {
            expected[i] = tree_f32(part, 0, parts, i);
        }
        const int own = parts / 2; /* the sum may replace any part */
        dpt_comm__add(DPT_DTYPE_F32, LENGTH, parts, in, data[own]);
        assert_memory_equal(data[own], expected, sizeof expected);
        dpt_comm__add(DPT_DTYPE_F64, LENGTH, parts, in64, wide[0]);
        for (int i = 0; i < LENGTH; i++) {
            assert_true(wide[0][i] == (double)parts * i + parts * (parts - 1) / 2);
        }
    }
}

static void slices_cover_a_range_once(void **state)
{
    (void)state;
    for (int parts = 1; parts < 40; parts++) {
        for (int64_t length = 0; length < 300; length += length < 40 ? 1 : 37) {
            int64_t at = 7;
            for (int p = 0; p < parts; p++) {
                const struct dpt_range s = dpt_exchange_slice_of((struct dpt_range){7, 7 + length}, parts, p);
                assert_true(s.begin == at && s.end >= s.begin);
                assert_true((s.begin - 7) % DPT_EXCHANGE_ALIGN == 0 || s.begin == 7 + length);
                assert_true(s.end - s.begin <= (length / parts / DPT_EXCHANGE_ALIGN + 2) * DPT_EXCHANGE_ALIGN);
                at = s.end;
            }
            assert_true(at == 7 + length);
        }
    }
}

static struct dpt_exchange *exchange_new(enum dpt_exchange_thread thread)
{
    const struct dpt_exchange_conf conf = {.comm = world, .thread = thread};
    struct dpt_exchange *exchange;
    assert_int_equal(dpt_exchange_new(&conf, &exchange), DPT_STATUS_OK);
    return exchange;
}

static void fill(float *x, int step)
{
    for (int i = 0; i < N; i++) {
        x[i] = (float)value_of(dpt_comm_rank(world), i + step * N);
    }
}

/* The tree sum of all ranks, which needs no exchange: every rank knows what the others have. */
static void expect(float *sum, int step)
{
    float *part[64];
    for (int r = 0; r < dpt_comm_size(world); r++) {
        part[r] = malloc(N * sizeof(float));
        for (int i = 0; i < N; i++) {
            part[r][i] = (float)value_of(r, i + step * N);
        }
    }
    for (int i = 0; i < N; i++) {
        sum[i] = tree_f32(part, 0, dpt_comm_size(world), i);
    }
    for (int r = 0; r < dpt_comm_size(world); r++) {
        free(part[r]);
    }
}

/* A step of sliced training: sums, an "update" param = -sum on the own slice, publication. */
static void do_step(struct dpt_exchange *exchange, int step, float *x, float *param)
{
    fill(x, step);
    for (int b = 0; b < NBUCKETS; b++) {
        assert_int_equal(dpt_exchange_start(exchange, b), DPT_STATUS_OK);
    }
    for (int b = NBUCKETS - 1; b >= 0; b--) {
        assert_int_equal(dpt_exchange_wait(exchange, b), DPT_STATUS_OK);
        const struct dpt_range mine = dpt_exchange_slice(exchange, b);
        for (int64_t i = mine.begin; i < mine.end; i++) {
            param[i] = -x[i];
        }
    }
    for (int b = 0; b < NBUCKETS; b++) {
        assert_int_equal(dpt_exchange_publish(exchange, b), DPT_STATUS_OK);
    }
    double one = 1.0;
    assert_int_equal(dpt_exchange_sum(exchange, &one, 1, DPT_DTYPE_F64), DPT_STATUS_OK);
    assert_true(one == (double)dpt_comm_size(world));
    for (int b = 0; b < NBUCKETS; b++) {
        assert_int_equal(dpt_exchange_publish_wait(exchange, b), DPT_STATUS_OK);
    }
}

static void slices_are_summed_and_published(void **state)
{
    (void)state;
    static float x[N], param[N], sum[N];
    const enum dpt_exchange_thread ways[] = {DPT_EXCHANGE_THREAD_OFF, DPT_EXCHANGE_THREAD_ON};
    for (int w = 0; w < 4; w++) {
        dpt_comm__piece = w < 2 ? 1 << 30 : 100; /* messages longer than MPI can count go in pieces */
        struct dpt_exchange *exchange = exchange_new(ways[w % 2]);
        assert_int_equal(dpt_exchange_bind_slices(exchange, DPT_EXCHANGE_SLICES_ALL, x, param, DPT_DTYPE_F32, NBUCKETS,
                                                  buckets),
                         DPT_STATUS_OK);
        for (int step = 0; step < 5; step++) {
            memset(param, 0, sizeof param);
            do_step(exchange, step, x, param);
            expect(sum, step);
            for (int b = 0; b < NBUCKETS; b++) {
                for (int64_t i = buckets[b].begin; i < buckets[b].end; i++) {
                    assert_true(param[i] == -sum[i]);
                }
            }
            assert_true(param[700] == 0.0f && param[N - 1] == 0.0f); /* in no bucket */
        }
        dpt_exchange_free(exchange);
    }
    dpt_comm__piece = 1 << 30;
}

static void arrays_that_are_not_bound(void **state)
{
    (void)state;
    static float x[N];
    static double y[33];
    static float sum[N];
    const enum dpt_exchange_thread ways[] = {DPT_EXCHANGE_THREAD_OFF, DPT_EXCHANGE_THREAD_ON};
    const int size = dpt_comm_size(world), rank = dpt_comm_rank(world);
    for (int w = 0; w < 2; w++) {
        uint64_t ticket[2];
        struct dpt_exchange *exchange = exchange_new(ways[w]);
        assert_int_equal(dpt_exchange_reserve(exchange, N, DPT_DTYPE_F32), DPT_STATUS_OK);
        fill(x, 1);
        for (int i = 0; i < 33; i++) {
            y[i] = rank;
        }
        assert_int_equal(dpt_exchange_scatter(exchange, x, N, DPT_DTYPE_F32, &ticket[0]), DPT_STATUS_OK);
        assert_int_equal(dpt_exchange_gather(exchange, y, 33, DPT_DTYPE_F64, &ticket[1]), DPT_STATUS_OK);
        assert_int_equal(dpt_exchange_finish(exchange, ticket[1]), DPT_STATUS_OK);
        assert_int_equal(dpt_exchange_finish(exchange, ticket[0]), DPT_STATUS_OK);
        expect(sum, 1);
        for (int r = 0; r < size; r++) {
            const struct dpt_range theirs = dpt_exchange_slice_of((struct dpt_range){0, 33}, size, r);
            for (int64_t i = theirs.begin; i < theirs.end; i++) {
                assert_true(y[i] == r);
            }
        }
        const struct dpt_range mine = dpt_exchange_slice_of((struct dpt_range){0, N}, size, rank);
        assert_memory_equal(x + mine.begin, sum + mine.begin, (size_t)(mine.end - mine.begin) * sizeof *x);
        dpt_exchange_free(exchange);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_those_of_the_tree),
        cmocka_unit_test(slices_cover_a_range_once),
        cmocka_unit_test(slices_are_summed_and_published),
        cmocka_unit_test(arrays_that_are_not_bound),
    };
    return RUN_IN_WORLD(tests);
}
