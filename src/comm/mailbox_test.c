/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a way of mailboxes must do before a training trusts it: a moment of messages round a ring, each of which says
 * what it must contain; words that all can read; and a counter that counts exactly. There is no portable question to
 * ask an MPI library that would answer this.
 */

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "comm/mailbox_impl.h"

enum { NUMBERS = 509, MESSAGES = 200, DRAWS = 50 };
static const double limit_s = 20.0;

static int32_t pattern(int writer, int64_t number, int i)
{
    return (int32_t)(number * 1000003 + writer * 7919 + i);
}

/* One more message to the next rank; what was not read is counted. */
static enum dpt_status write_one(struct dpt_mailboxes *boxes, int64_t *sent, int64_t *merged)
{
    int32_t data[NUMBERS];
    bool unread, replaced;
    DPT_TRY(dpt_mailbox_reclaim(boxes, boxes->rank, &unread));
    *merged = unread ? *merged + 1 : 1;
    ++*sent;
    for (int i = 0; i < NUMBERS; i++) {
        data[i] = pattern(boxes->rank, *sent, i);
    }
    const struct dpt_mailbox_header header = {.step = *sent, .count = *merged};
    DPT_TRY(dpt_mailbox_post(boxes, boxes->rank, &header, data, sizeof data, &replaced));
    DPT_CHECK(!replaced, DPT_STATUS_COMM, "a message was lost");
    return DPT_STATUS_OK;
}

static enum dpt_status read_one(struct dpt_mailboxes *boxes, int box, int64_t *got)
{
    const struct dpt_mailbox_header *header;
    const void *data;
    DPT_TRY(dpt_mailbox_take(boxes, box, &header, &data));
    if (!header) {
        return DPT_STATUS_OK;
    }
    *got += header->count;
    DPT_CHECK(*got == header->step, DPT_STATUS_COMM, "message %lld came after %lld messages", (long long)header->step,
              (long long)*got);
    for (int i = 0; i < NUMBERS; i++) {
        DPT_CHECK(((const int32_t *)data)[i] == pattern(box, header->step, i), DPT_STATUS_COMM, "a message came torn");
    }
    return DPT_STATUS_OK;
}

/* Every rank of the ring has sent all and got all, and all know; or the time is over. */
static enum dpt_status ring(struct dpt_mailboxes *boxes)
{
    const int before = (boxes->rank + boxes->size - 1) % boxes->size;
    const double until = dpt_clock_s() + limit_s;
    int64_t sent = 0, merged = 0, got = 0, word;
    bool told = false;
    for (int all = 0; all < boxes->size;) {
        DPT_CHECK(dpt_clock_s() < until, DPT_STATUS_COMM, "messages do not arrive");
        if (sent < MESSAGES) {
            DPT_TRY(write_one(boxes, &sent, &merged));
        }
        DPT_TRY(read_one(boxes, before, &got));
        DPT_TRY(dpt_mailboxes_pump(boxes));
        if (sent == MESSAGES && got == MESSAGES && !told) {
            DPT_TRY(dpt_mailboxes_tell(boxes, MESSAGES));
            told = true;
        }
        all = 0;
        for (int r = 0; r < boxes->size && told; r++) {
            DPT_TRY(dpt_mailboxes_told(boxes, r, &word));
            all += word >= MESSAGES; /* a faster one is further */
        }
        sched_yield();
    }
    return DPT_STATUS_OK;
}

static enum dpt_status count(struct dpt_mailboxes *boxes)
{
    int64_t before, last = -1;
    for (int i = 0; i < DRAWS; i++) {
        DPT_TRY(dpt_mailboxes_draw(boxes, 1, &before));
        DPT_CHECK(before > last && before < (int64_t)DRAWS * boxes->size, DPT_STATUS_COMM,
                  "the counter went from %lld to %lld", (long long)last, (long long)before);
        last = before;
    }
    return DPT_STATUS_OK;
}

/* Words say when all ranks have counted: while one waits it still has to answer. */
static enum dpt_status await_all(struct dpt_mailboxes *boxes, int64_t word)
{
    const double until = dpt_clock_s() + limit_s;
    int64_t theirs;
    DPT_TRY(dpt_mailboxes_tell(boxes, word));
    for (int all = 0; all < boxes->size;) {
        DPT_CHECK(dpt_clock_s() < until, DPT_STATUS_COMM, "words do not arrive");
        DPT_TRY(dpt_mailboxes_pump(boxes));
        all = 0;
        for (int r = 0; r < boxes->size; r++) {
            DPT_TRY(dpt_mailboxes_told(boxes, r, &theirs));
            all += theirs >= word;
        }
        sched_yield();
    }
    return DPT_STATUS_OK;
}

static enum dpt_status test(struct dpt_mailboxes *boxes)
{
    int64_t sum;
    DPT_TRY(ring(boxes));
    DPT_TRY(count(boxes));
    DPT_TRY(await_all(boxes, MESSAGES + 1));
    DPT_TRY(dpt_mailboxes_draw(boxes, 0, &sum));
    DPT_CHECK(sum == (int64_t)DRAWS * boxes->size, DPT_STATUS_COMM, "the counter counted to %lld instead of %lld",
              (long long)sum, (long long)DRAWS * boxes->size);
    return await_all(boxes, MESSAGES + 2);
}

bool dpt_mailbox__passes(struct dpt_comm *comm, const struct dpt_mailbox__way *way, char reason[160])
{
    const int size = dpt_comm_size(comm);
    struct dpt_mailbox *box = calloc((size_t)size, sizeof *box);
    for (int r = 0; r < size && box; r++) {
        box[r] = (struct dpt_mailbox){.writer = r, .reader = (r + 1) % size, .nbytes = NUMBERS * sizeof(int32_t)};
    }
    const struct dpt_mailbox_conf conf = {.comm = comm, .nboxes = size, .box = box};
    struct dpt_mailboxes *boxes = box ? dpt_mailbox__new(&conf, dpt_comm_rank(comm), size) : NULL;
    enum dpt_status status = boxes ? DPT_STATUS_OK
                                   : dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "out of memory");
    free(box);
    status = dpt_agree(status, comm);
    if (status == DPT_STATUS_OK) {
        boxes->way = way;
        boxes->checks = way->checks;
        if (!way->open(boxes, reason)) {
            way->close(boxes);
            dpt_mailbox__free(boxes);
            return false;
        }
        status = dpt_agree(test(boxes), comm);
        way->close(boxes);
    }
    snprintf(reason, 160, "%.150s", status == DPT_STATUS_OK ? "" : dpt_error_text());
    dpt_mailbox__free(boxes);
    return status == DPT_STATUS_OK;
}
