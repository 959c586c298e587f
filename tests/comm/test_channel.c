/* SPDX-License-Identifier: Apache-2.0 */

/* Channels: every message whole and in order, whoever is late; both directions at once; blocks of different sizes. */

#include "world.h"

#include <time.h>

#include "comm/channel.h"

enum { MESSAGES = 4000, WINDOW = 2, MOST = 3000 };

static int rank_of(void)
{
    return dpt_comm_rank(world);
}

/* Channel number of the messages from one rank to another. */
static int channel_of(int from, int to)
{
    return from * dpt_comm_size(world) + to;
}

static size_t length_of(int channel, int number)
{
    return (size_t)(value_of(channel, number) < 0 ? number % MOST : number % 7);
}

static unsigned char byte_of(int channel, int number, size_t i)
{
    return (unsigned char)((size_t)channel * 31 + (size_t)number * 7 + i);
}

/* A rank is late now and then. */
static void dawdle(int number)
{
    const struct timespec nap = {.tv_nsec = 100000};
    if (value_of(rank_of(), number) > 0.49 * 0x1p31) {
        nanosleep(&nap, NULL);
    }
}

static void send(struct dpt_channels *channels, int to, int number)
{
    const int channel = channel_of(rank_of(), to);
    unsigned char data[MOST];
    const size_t n = length_of(channel, number);
    for (size_t i = 0; i < n; i++) {
        data[i] = byte_of(channel, number, i);
    }
    dpt_channels_send(channels, channel, to, data, n);
    memset(data, 0xff, sizeof data); /* it is the channel's no more */
}

static void receive(struct dpt_channels *channels, int from, int number)
{
    const int channel = channel_of(from, rank_of());
    unsigned char data[MOST];
    const size_t n = length_of(channel, number);
    dpt_channels_receive(channels, channel, from, data, n);
    for (size_t i = 0; i < n; i++) {
        if (data[i] != byte_of(channel, number, i)) {
            fail_msg("message %d from rank %d: byte %zu of %zu is %d, expected %d", number, from, i, n, data[i],
                     byte_of(channel, number, i));
        }
    }
}

static void messages_are_whole_and_in_order(void **state)
{
    (void)state;
    const int size = dpt_comm_size(world), me = rank_of();
    struct dpt_channels *channels;
    const size_t block = (size_t)size * WINDOW * MOST + (size_t)me * 100;
    assert_int_equal(dpt_channels_open(world, size * size, block, &channels), DPT_STATUS_OK);
    if (size == 1) {
        assert_null(channels);
        return;
    }
    assert_non_null(channels);
    for (int to = 0; to < size; to++) {
        assert_true(dpt_channels_reach(channels, to));
        dpt_channels_place(channels, channel_of(me, to), (char *)dpt_channels_block(channels) + to * WINDOW * MOST, MOST,
                           WINDOW);
    }
    const uint64_t before = dpt_comm_moved(world);
    uint64_t sent = 0;
    for (int number = 0; number < MESSAGES; number++) {
        dawdle(number);
        for (int step = 1; step < size; step++) {
            send(channels, (me + step) % size, number);
            sent += length_of(channel_of(me, (me + step) % size), number);
        }
        for (int step = 1; step < size && number > 0; step++) { /* one behind: both slots are used */
            receive(channels, (me + size - step) % size, number - 1);
        }
    }
    for (int step = 1; step < size; step++) {
        receive(channels, (me + size - step) % size, MESSAGES - 1);
    }
    assert_true(dpt_comm_moved(world) - before == sent);
    assert_int_equal(dpt_comm_barrier(world), DPT_STATUS_OK);
    dpt_channels_close(channels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_whole_and_in_order),
    };
    return RUN_IN_WORLD(tests);
}
