/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A program that gets into trouble, for the scripts beside it: trouble KIND [RANK]. The rank that is given (default:
 * the last) has the trouble, the others wait for it.
 */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "comm/exchange.h"

static void spin(double seconds)
{
    const double end = dpt_clock_s() + seconds;
    while (dpt_clock_s() < end) {
    }
}

int main(int argc, char **argv)
{
    struct dpt_comm *world;
    const char *kind = argc > 1 ? argv[1] : "none";
    if (dpt_comm_start(&world) != DPT_STATUS_OK) {
        fprintf(stderr, "dpt: %s\n", dpt_error_text());
        return DPT_STATUS_COMM;
    }
    const int sick = argc > 2 ? atoi(argv[2]) : dpt_comm_size(world) - 1;
    const bool mine = dpt_comm_rank(world) == sick;
    if (strcmp(kind, "hang") == 0) {
        /* One rank computes for ever. */
        dpt_comm_deadline(world, 1.0);
        dpt_comm_action("forward", "conv1");
        if (mine) {
            spin(30.0);
        }
        dpt_comm_action("all-reduce", "bucket 3");
    } else if (strcmp(kind, "stopped") == 0) {
        /* One rank is stopped: only the others can tell. */
        dpt_comm_deadline(world, 1.0);
        spin(0.3);
        dpt_comm_action("forward", "conv1");
        if (mine) {
            spin(0.3);
            raise(SIGSTOP);
        }
        dpt_comm_action("all-reduce", "bucket 3");
    } else if (strcmp(kind, "resumed") == 0) {
        /* The whole job is stopped for longer than the deadline by somebody outside, and goes on. */
        dpt_comm_deadline(world, 1.0);
        dpt_comm_action("forward", "conv1");
        spin(0.3);
        if (dpt_comm_rank(world) == 0) {
            puts("ready");
            fflush(stdout);
        }
        spin(0.3);
    } else if (strcmp(kind, "slow") == 0) {
        /* Longer than the deadline, but with progress, and then with a pause that is allowed. */
        dpt_comm_deadline(world, 0.4);
        for (int i = 0; i < 8; i++) {
            dpt_comm_action("forward", "conv1");
            spin(0.1);
        }
        dpt_comm_deadline_pause();
        dpt_comm_deadline_pause();
        spin(0.3);
        dpt_comm_deadline_resume();
        spin(0.6);
        dpt_comm_deadline_resume();
        spin(0.1);
    } else if (strcmp(kind, "message") == 0 && dpt_comm_size(world) > 1) {
        /* A message that never comes: who waits for whom. */
        struct dpt_comm_request request;
        char data[4];
        dpt_comm_deadline(world, mine ? 60.0 : 1.0);
        if (mine) {
            dpt_comm_action("forward", "conv1");
            spin(30.0);
        } else if (dpt_comm_rank(world) == 0) {
            dpt_comm_action("receive", "conv1.y");
            dpt_comm_recv_start(world, sick, 0, data, sizeof data, &request);
            dpt_comm_request_wait(&request);
        }
        dpt_comm_action("all-reduce", "bucket 3");
    } else if (strcmp(kind, "fatal") == 0 && mine) {
        dpt_fatal(DPT_STATUS_DIVERGED, "the loss is not a number");
    } else if (strcmp(kind, "abort") == 0 && mine) {
        fputs("last words", stdout);
        dpt_comm_abort(DPT_STATUS_SPACE);
    } else if (strcmp(kind, "turn") == 0) {
        /* A call past the exchange while a bucket is under way. */
        const struct dpt_exchange_conf conf = {.comm = world, .thread = DPT_EXCHANGE_THREAD_OFF};
        const struct dpt_range range = {0, 1};
        struct dpt_exchange *exchange;
        float x = 1.0f;
        dpt_exchange_new(&conf, &exchange);
        dpt_exchange_bind(exchange, &x, DPT_DTYPE_F32, 1, &range);
        dpt_exchange_start(exchange, 0);
    }
    dpt_comm_barrier(world);
    dpt_comm_end(world);
    puts("reached the end");
    return 0;
}
