/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <stdbool.h>

#include "comm/impl.h"

enum { MOST = 16, ROOM = 4096 };

/* Lengths of the parts: even, uneven, some empty, all empty but one, all empty. */
static int64_t length_of(int kind, int rank)
{
    switch (kind) {
    case 0: return 5;
    case 1: return 1 + (7 * rank + 3) % 5;
    case 2: return rank % 2 ? 0 : 3 + rank;
    case 3: return rank == dpt_comm_size(world) - 1 ? 11 : 0;
    default: return 0;
    }
}

enum { KINDS = 5 };

static int64_t set_counts(int kind, int64_t counts[MOST])
{
    int64_t total = 0;
    for (int r = 0; r < dpt_comm_size(world); r++) {
        counts[r] = length_of(kind, r);
        total += counts[r];
    }
    return total;
}

static int64_t begin_of(const int64_t *counts, int rank)
{
    int64_t begin = 0;
    for (int r = 0; r < rank; r++) {
        begin += counts[r];
    }
    return begin;
}

/* Small whole numbers, different for each place, which every type holds and every order adds alike. */
static int number(int rank, int64_t i)
{
    return (int)((17 * rank + 5 * i + 3) % 97);
}

/* Runs `ask` with every length that MPI may get in one piece. */
static void in_pieces(void (*ask)(void))
{
    const int64_t before = dpt_comm__piece, pieces[] = {1, 3, 10, before};
    for (int p = 0; p < 4; p++) {
        dpt_comm__piece = pieces[p];
        ask();
    }
    dpt_comm__piece = before;
}

#define NUMBERS(type, dtype, ask)                                                                                      \
    do {                                                                                                               \
        type all[ROOM], mine[ROOM];                                                                                    \
        for (int kind = 0; kind < KINDS; kind++) {                                                                     \
            for (int in_place = 0; in_place < 2; in_place++) {                                                         \
                ask(type, dtype);                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    } while (0)

#define ASK_GATHER(type, dtype)                                                                                        \
    do {                                                                                                               \
        int64_t counts[MOST];                                                                                          \
        const int64_t total = set_counts(kind, counts);                                                                \
        const int rank = dpt_comm_rank(world);                                                                         \
        memset(all, 0x55, sizeof all);                                                                                 \
        for (int64_t i = 0; i < counts[rank]; i++) {                                                                   \
            (in_place ? all + begin_of(counts, rank) : mine)[i] = (type)number(rank, i);                               \
        }                                                                                                              \
        const type beyond = all[total];                                                                                \
        assert_int_equal(dpt_comm_all_gather(world, in_place ? NULL : mine, counts, all, dtype), DPT_STATUS_OK);       \
        for (int r = 0; r < dpt_comm_size(world); r++) {                                                               \
            for (int64_t i = 0; i < counts[r]; i++) {                                                                  \
                assert_true(all[begin_of(counts, r) + i] == (type)number(r, i));                                       \
            }                                                                                                          \
        }                                                                                                              \
        assert_memory_equal(&all[total], &beyond, sizeof beyond);                                                      \
    } while (0)

static void ask_gather(void)
{
    NUMBERS(float, DPT_DTYPE_F32, ASK_GATHER);
    NUMBERS(double, DPT_DTYPE_F64, ASK_GATHER);
    NUMBERS(int32_t, DPT_DTYPE_I32, ASK_GATHER);
    NUMBERS(int64_t, DPT_DTYPE_I64, ASK_GATHER);
    NUMBERS(uint8_t, DPT_DTYPE_U8, ASK_GATHER);
}

static void gathers_uneven_parts(void **state)
{
    (void)state;
    in_pieces(ask_gather);
}

#define ASK_SCATTER(type, dtype)                                                                                       \
    do {                                                                                                               \
        int64_t counts[MOST];                                                                                          \
        const int64_t total = set_counts(kind, counts);                                                                \
        const int rank = dpt_comm_rank(world);                                                                         \
        const int64_t begin = begin_of(counts, rank);                                                                  \
        memset(mine, 0x55, sizeof mine);                                                                               \
        for (int64_t i = 0; i < total; i++) {                                                                          \
            all[i] = (type)number(rank, i);                                                                            \
        }                                                                                                              \
        const type beyond = mine[counts[rank]];                                                                        \
        assert_int_equal(dpt_comm_reduce_scatter(world, all, counts, in_place ? NULL : mine, dtype), DPT_STATUS_OK);   \
        for (int64_t i = 0; i < counts[rank]; i++) {                                                                   \
            type sum = 0;                                                                                              \
            for (int r = 0; r < dpt_comm_size(world); r++) {                                                           \
                sum += (type)number(r, begin + i);                                                                     \
            }                                                                                                          \
            assert_true((in_place ? all + begin : mine)[i] == sum);                                                    \
        }                                                                                                              \
        assert_memory_equal(&mine[counts[rank]], &beyond, sizeof beyond);                                              \
    } while (0)

static void ask_scatter(void)
{
    NUMBERS(float, DPT_DTYPE_F32, ASK_SCATTER);
    NUMBERS(double, DPT_DTYPE_F64, ASK_SCATTER);
    NUMBERS(int32_t, DPT_DTYPE_I32, ASK_SCATTER);
    NUMBERS(int64_t, DPT_DTYPE_I64, ASK_SCATTER);
}

static void scatters_sums(void **state)
{
    (void)state;
    in_pieces(ask_scatter);
}

/* What q gives to r: (q + 2 r) % 4 elements, so that some pairs have nothing in one direction. */
static void ask_all_to_all(void)
{
    const int rank = dpt_comm_rank(world), size = dpt_comm_size(world);
    int64_t out_counts[MOST], in_counts[MOST], at = 0;
    double out[ROOM], in[ROOM];
    for (int r = 0; r < size; r++) {
        out_counts[r] = (rank + 2 * r) % 4;
        in_counts[r] = (r + 2 * rank) % 4;
        for (int64_t i = 0; i < out_counts[r]; i++) {
            out[at++] = number(rank, 10 * r + i);
        }
    }
    memset(in, 0x55, sizeof in);
    const uint64_t before = dpt_comm_moved(world);
    assert_int_equal(dpt_comm_all_to_all(world, out, out_counts, in, in_counts, DPT_DTYPE_F64), DPT_STATUS_OK);
    assert_int_equal(dpt_comm_moved(world) - before, (uint64_t)(at - out_counts[rank]) * sizeof(double));
    at = 0;
    for (int r = 0; r < size; r++) {
        for (int64_t i = 0; i < in_counts[r]; i++) {
            assert_true(in[at++] == number(r, 10 * rank + i));
        }
    }
    unsigned char rest[sizeof(double)];
    memset(rest, 0x55, sizeof rest);
    assert_memory_equal(&in[at], rest, sizeof rest);
}

static void exchanges_all_with_all(void **state)
{
    (void)state;
    in_pieces(ask_all_to_all);
}

/* A split value to a whole one and back to sums: the same as an all-reduce, in bytes too. */
static void counts_bytes(void **state)
{
    (void)state;
    const int size = dpt_comm_size(world), rank = dpt_comm_rank(world);
    int64_t counts[MOST];
    float all[ROOM];
    const int64_t total = 60 * size;
    for (int r = 0; r < size; r++) {
        counts[r] = 60;
    }
    for (int64_t i = 0; i < total; i++) {
        all[i] = (float)number(rank, i);
    }
    uint64_t before = dpt_comm_moved(world);
    assert_int_equal(dpt_comm_reduce_scatter(world, all, counts, NULL, DPT_DTYPE_F32), DPT_STATUS_OK);
    assert_int_equal(dpt_comm_all_gather(world, NULL, counts, all, DPT_DTYPE_F32), DPT_STATUS_OK);
    const uint64_t apart = dpt_comm_moved(world) - before;
    before = dpt_comm_moved(world);
    assert_int_equal(dpt_comm_allreduce(world, all, total, DPT_DTYPE_F32, DPT_COMM_REDUCE_MAX), DPT_STATUS_OK);
    assert_int_equal(apart, dpt_comm_moved(world) - before);
    assert_int_equal(apart, (uint64_t)(2 * 60 * (size - 1)) * sizeof(float));
    for (int64_t i = 0; i < total; i++) {
        float sum = 0;
        for (int r = 0; r < size; r++) {
            sum += (float)number(r, i);
        }
        assert_true(all[i] == sum);
    }
}

/* ---- messages ---- */

/* To and from every other rank at once, receives first or sends first, lengths that are empty, odd, and long. */
static void exchange_messages(size_t nbytes, bool sends_first, bool tests)
{
    enum { TAGS = 2 };
    const int size = dpt_comm_size(world), rank = dpt_comm_rank(world);
    struct dpt_comm_request request[2][MOST][TAGS] = {{{{{0}, 0, 0, 0, 0, false}}}};
    unsigned char *out = malloc(nbytes + 1), *in[MOST][TAGS];
    const uint64_t before = dpt_comm_moved(world);
    for (size_t i = 0; i < nbytes; i++) {
        out[i] = (unsigned char)number(rank, (int64_t)i);
    }
    for (int phase = 0; phase < 2; phase++) {
        const bool send = phase == (sends_first ? 0 : 1);
        for (int r = 0; r < size; r++) {
            for (int tag = 0; tag < TAGS && r != rank; tag++) {
                struct dpt_comm_request *slot = &request[send][r][tag];
                if (send) {
                    assert_int_equal(dpt_comm_send_start(world, r, tag, out, nbytes, slot), DPT_STATUS_OK);
                } else {
                    in[r][tag] = calloc(nbytes + 1, 1);
                    assert_int_equal(dpt_comm_recv_start(world, r, tag, in[r][tag], nbytes, slot), DPT_STATUS_OK);
                }
            }
        }
    }
    for (bool left = tests; left;) {
        left = false;
        for (int i = 0; i < 2 * MOST * TAGS; i++) {
            bool done;
            assert_int_equal(dpt_comm_request_test(&request[0][0][0] + i, &done), DPT_STATUS_OK);
            left = left || !done;
        }
    }
    for (int r = 0; r < size; r++) {
        for (int tag = 0; tag < TAGS && r != rank; tag++) {
            assert_int_equal(dpt_comm_request_wait(&request[0][r][tag]), DPT_STATUS_OK);
            assert_int_equal(dpt_comm_request_wait(&request[1][r][tag]), DPT_STATUS_OK);
            for (size_t i = 0; i < nbytes; i++) {
                assert_int_equal(in[r][tag][i], (unsigned char)number(r, (int64_t)i));
            }
            assert_int_equal(in[r][tag][nbytes], 0);
            free(in[r][tag]);
        }
    }
    assert_int_equal(dpt_comm_moved(world) - before, (uint64_t)(TAGS * (size - 1)) * nbytes);
    free(out);
}

static void messages_arrive(void **state)
{
    (void)state;
    const size_t nbytes[] = {0, 1, 77, 70000, (size_t)1 << 20};
    for (int i = 0; i < 5; i++) {
        for (int way = 0; way < 4; way++) {
            exchange_messages(nbytes[i], way & 1, way & 2);
        }
    }
}

/* More bytes than MPI is allowed to count: in units and a rest, or in units alone. */
static void long_messages_arrive(void **state)
{
    (void)state;
    const int64_t before = dpt_comm__piece;
    dpt_comm__piece = 1000;
    exchange_messages(((size_t)3 << 20) + 12345, false, false);
    exchange_messages(((size_t)2 << 20) + 1, true, true);
    exchange_messages((size_t)2 << 20, false, true);
    exchange_messages(999, true, false);
    dpt_comm__piece = before;
}

/* One tag: the order of the starts is the order of arrival. */
static void messages_keep_their_order(void **state)
{
    (void)state;
    enum { N = 50 };
    const int size = dpt_comm_size(world), rank = dpt_comm_rank(world);
    if (size == 1) {
        return;
    }
    const int to = (rank + 1) % size, from = (rank + size - 1) % size;
    int out[N], in[N];
    struct dpt_comm_request send[N], receive[N];
    for (int i = 0; i < N; i++) {
        out[i] = 1000 * rank + i;
        assert_int_equal(dpt_comm_send_start(world, to, DPT_COMM_MAX_TAG, &out[i], sizeof out[i], &send[i]),
                         DPT_STATUS_OK);
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(dpt_comm_recv_start(world, from, DPT_COMM_MAX_TAG, &in[i], sizeof in[i], &receive[i]),
                         DPT_STATUS_OK);
    }
    for (int i = N - 1; i >= 0; i--) {
        assert_int_equal(dpt_comm_request_wait(&receive[i]), DPT_STATUS_OK);
        assert_int_equal(dpt_comm_request_wait(&send[i]), DPT_STATUS_OK);
        assert_int_equal(in[i], 1000 * from + i);
    }
}

/* Two ranks that disagree about the length of a message are told, and by which rank. */
static void wrong_lengths_are_found(void **state)
{
    (void)state;
    const int size = dpt_comm_size(world), rank = dpt_comm_rank(world);
    char data[8] = {0};
    struct dpt_comm_request request;
    if (size > 1 && rank == size - 1) {
        assert_int_equal(dpt_comm_send_start(world, 0, 3, data, 5, &request), DPT_STATUS_OK);
        assert_int_equal(dpt_comm_request_wait(&request), DPT_STATUS_OK);
    } else if (size > 1 && rank == 0) {
        char expected[64];
        snprintf(expected, sizeof expected, "a message from rank %d has 5 bytes, expected 8", size - 1);
        assert_int_equal(dpt_comm_recv_start(world, size - 1, 3, data, sizeof data, &request), DPT_STATUS_OK);
        assert_int_equal(dpt_comm_request_wait(&request), DPT_STATUS_COMM);
        assert_non_null(strstr(dpt_error_text(), expected));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gathers_uneven_parts),
        cmocka_unit_test(scatters_sums),
        cmocka_unit_test(exchanges_all_with_all),
        cmocka_unit_test(counts_bytes),
        cmocka_unit_test(messages_arrive),
        cmocka_unit_test(long_messages_arrive),
        cmocka_unit_test(messages_keep_their_order),
        cmocka_unit_test(wrong_lengths_are_found),
    };
    return RUN_IN_WORLD(tests);
}
