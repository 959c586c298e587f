/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Mailboxes in messages, where one-sided MPI does not work. Each box has one message under way at most: the writer
 * keeps what comes later until the reader has taken the one before and says so, and that is what it can take back or
 * replace. The reader waits for the next message in the one of two buffers that it is not reading. Everything moves in
 * _pump.
 */

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm/mailbox_impl.h"

/* Tags: a pair of ranks has its words, the counter's questions and answers, and two for each of its boxes. */
enum { TAG_WORD, TAG_ASK, TAG_ANSWER, TAG_BOXES };

/* A box that this rank writes: `kept` waits for `flying` to be taken. One that it reads: `coming` and `front`. */
struct mail {
    char *block[2]; /* header and message                           */
    int now;        /* the writer: that flies; the reader: that it reads */
    bool kept, flying;
    int tag;
    MPI_Request message, receipt;
    char signal;
};

/* Of another rank: words and the counter. */
struct link {
    int64_t word, told, out, in; /* known here; last told; buffers */
    int64_t question, answer;    /* rank 0's: asked of it          */
    MPI_Request telling, hearing, asked, answering;
};

struct own {
    MPI_Comm comm;
    struct mail *mail; /* of each box  */
    struct link *link; /* of each rank */
    int64_t word, counter;
};

static size_t block_nbytes(const struct dpt_mailboxes *boxes, int box)
{
    return sizeof(struct dpt_mailbox_header) + boxes->box[box].nbytes;
}

static bool is_mine(const struct dpt_mailboxes *boxes, int box)
{
    return boxes->box[box].writer == boxes->rank || boxes->box[box].reader == boxes->rank;
}

/* The next message of a box that this rank reads comes into the buffer that it is not reading. */
static enum dpt_status expect(struct dpt_mailboxes *boxes, int box)
{
    struct own *own = boxes->own;
    struct mail *mail = &own->mail[box];
    DPT_COMM__TRY(MPI_Irecv(mail->block[1 - mail->now], (int)block_nbytes(boxes, box), MPI_BYTE, boxes->box[box].writer,
                            mail->tag, own->comm, &mail->message),
                  "a receive of a mailbox");
    return DPT_STATUS_OK;
}

static enum dpt_status hear(struct own *own, int rank)
{
    struct link *link = &own->link[rank];
    DPT_COMM__TRY(MPI_Irecv(&link->in, 1, MPI_INT64_T, rank, TAG_WORD, own->comm, &link->hearing),
                  "a receive of a clock");
    return DPT_STATUS_OK;
}

static enum dpt_status await_question(struct own *own, int rank)
{
    struct link *link = &own->link[rank];
    DPT_COMM__TRY(MPI_Irecv(&link->question, 1, MPI_INT64_T, rank, TAG_ASK, own->comm, &link->asked), "a receive");
    return DPT_STATUS_OK;
}

/* ---------------------------------------------------------------------------------------------------- open, close */

static bool has_memory(struct dpt_mailboxes *boxes)
{
    struct own *own = boxes->own;
    for (int b = 0; b < boxes->nboxes; b++) {
        struct mail *mail = &own->mail[b];
        mail->message = mail->receipt = MPI_REQUEST_NULL;
        mail->tag = TAG_BOXES;
        for (int a = 0; a < b; a++) {
            const bool same = boxes->box[a].writer == boxes->box[b].writer &&
                              boxes->box[a].reader == boxes->box[b].reader;
            mail->tag += same ? 2 : 0;
        }
        for (int i = 0; i < 2 && is_mine(boxes, b); i++) {
            mail->block[i] = calloc(1, block_nbytes(boxes, b));
            if (!mail->block[i]) {
                return false;
            }
        }
    }
    for (int r = 0; r < boxes->size; r++) {
        struct link *link = &own->link[r];
        link->telling = link->hearing = link->asked = link->answering = MPI_REQUEST_NULL;
    }
    return true;
}

static void give_up(MPI_Request *request)
{
    if (*request != MPI_REQUEST_NULL) {
        MPI_Cancel(request);
        MPI_Wait(request, MPI_STATUS_IGNORE);
    }
}

static void wait_for(MPI_Request *request)
{
    if (*request != MPI_REQUEST_NULL) {
        MPI_Wait(request, MPI_STATUS_IGNORE);
    }
}

/*
 * Whoever closes has come here from an agreement of all ranks, but messages may be under way that nobody will take:
 * every rank takes what comes until all have no send left.
 */
static void settle_sends(struct dpt_mailboxes *boxes)
{
    struct own *own = boxes->own;
    int left = 1;
    while (left) {
        left = 0;
        for (int r = 0; r < boxes->size; r++) {
            int done = 1;
            MPI_Test(&own->link[r].telling, &done, MPI_STATUS_IGNORE);
            left |= !done;
            MPI_Test(&own->link[r].answering, &done, MPI_STATUS_IGNORE);
            left |= !done;
            MPI_Test(&own->link[r].hearing, &done, MPI_STATUS_IGNORE);
        }
        for (int b = 0; b < boxes->nboxes; b++) {
            struct mail *mail = &own->mail[b];
            int done = 1;
            MPI_Test(&mail->message, &done, MPI_STATUS_IGNORE);
            left |= !done && boxes->box[b].writer == boxes->rank;
            if (boxes->box[b].reader == boxes->rank) {
                MPI_Test(&mail->receipt, &done, MPI_STATUS_IGNORE);
                left |= !done;
            }
        }
        MPI_Allreduce(MPI_IN_PLACE, &left, 1, MPI_INT, MPI_MAX, own->comm);
    }
}

static void close_p2p(struct dpt_mailboxes *boxes)
{
    struct own *own = boxes->own;
    if (!own) {
        return;
    }
    if (own->comm != MPI_COMM_NULL) {
        settle_sends(boxes);
    }
    for (int b = 0; b < boxes->nboxes && own->mail; b++) {
        struct mail *mail = &own->mail[b];
        if (own->comm != MPI_COMM_NULL) {
            give_up(&mail->message);
            give_up(&mail->receipt);
        }
        free(mail->block[0]);
        free(mail->block[1]);
    }
    for (int r = 0; r < boxes->size && own->link && own->comm != MPI_COMM_NULL; r++) {
        give_up(&own->link[r].hearing);
        give_up(&own->link[r].asked);
        wait_for(&own->link[r].telling);
        wait_for(&own->link[r].answering);
    }
    if (own->comm != MPI_COMM_NULL) {
        MPI_Comm_free(&own->comm);
    }
    free(own->mail);
    free(own->link);
    free(own);
    boxes->own = NULL;
}

static enum dpt_status start(struct dpt_mailboxes *boxes)
{
    struct own *own = boxes->own;
    DPT_COMM__TRY(MPI_Comm_dup(boxes->comm->mpi, &own->comm), "the group of mailboxes");
    for (int b = 0; b < boxes->nboxes; b++) {
        if (boxes->box[b].reader == boxes->rank) {
            DPT_TRY(expect(boxes, b));
        }
    }
    for (int r = 0; r < boxes->size; r++) {
        if (r != boxes->rank) {
            DPT_TRY(hear(own, r));
        }
        if (r != boxes->rank && boxes->rank == 0) {
            DPT_TRY(await_question(own, r));
        }
    }
    return DPT_STATUS_OK;
}

static bool open_p2p(struct dpt_mailboxes *boxes, char reason[160])
{
    struct own *own = calloc(1, sizeof *own);
    int well = own != NULL;
    snprintf(reason, 160, "out of memory");
    if (own) {
        own->comm = MPI_COMM_NULL;
        own->mail = calloc((size_t)boxes->nboxes + 1, sizeof *own->mail);
        own->link = calloc((size_t)boxes->size, sizeof *own->link);
        boxes->own = own;
        well = own->mail && own->link && has_memory(boxes);
    }
    for (int b = 0; b < boxes->nboxes; b++) {
        if (block_nbytes(boxes, b) > INT_MAX) {
            snprintf(reason, 160, "a message would have more than 2 GiB");
            well = false;
        }
    }
    MPI_Allreduce(MPI_IN_PLACE, &well, 1, MPI_INT, MPI_MIN, boxes->comm->mpi);
    if (!well) {
        return false;
    }
    well = start(boxes) == DPT_STATUS_OK;
    MPI_Allreduce(MPI_IN_PLACE, &well, 1, MPI_INT, MPI_MIN, boxes->comm->mpi);
    return well;
}

/* ----------------------------------------------------------------------------------------------------- what moves */

/* Sends what was kept, if nothing is under way. */
static enum dpt_status send_kept(struct dpt_mailboxes *boxes, int box)
{
    struct own *own = boxes->own;
    struct mail *mail = &own->mail[box];
    if (!mail->kept || mail->flying) {
        return DPT_STATUS_OK;
    }
    mail->now = 1 - mail->now;
    mail->kept = false;
    mail->flying = true;
    const struct dpt_mailbox_header *header = (const void *)mail->block[mail->now];
    const int nbytes = (int)(sizeof *header + header->nbytes), reader = boxes->box[box].reader;
    DPT_COMM__TRY(MPI_Irecv(&mail->signal, 1, MPI_BYTE, reader, mail->tag + 1, own->comm, &mail->receipt), "a receipt");
    DPT_COMM__TRY(MPI_Isend(mail->block[mail->now], nbytes, MPI_BYTE, reader, mail->tag, own->comm, &mail->message),
                  "a send of a mailbox");
    return DPT_STATUS_OK;
}

static enum dpt_status move_box(struct dpt_mailboxes *boxes, int box)
{
    struct mail *mail = &((struct own *)boxes->own)->mail[box];
    int done = 0;
    if (mail->flying) {
        DPT_COMM__TRY(MPI_Test(&mail->receipt, &done, MPI_STATUS_IGNORE), "a receipt");
        if (done) {
            DPT_COMM__TRY(MPI_Wait(&mail->message, MPI_STATUS_IGNORE), "a send of a mailbox");
            mail->flying = false;
        }
    }
    return send_kept(boxes, box);
}

static enum dpt_status move_words(struct own *own, int rank)
{
    struct link *link = &own->link[rank];
    int done = 0;
    DPT_COMM__TRY(MPI_Test(&link->telling, &done, MPI_STATUS_IGNORE), "a clock");
    if (done && link->told != own->word) {
        link->out = link->told = own->word;
        DPT_COMM__TRY(MPI_Isend(&link->out, 1, MPI_INT64_T, rank, TAG_WORD, own->comm, &link->telling), "a clock");
    }
    DPT_COMM__TRY(MPI_Test(&link->hearing, &done, MPI_STATUS_IGNORE), "a clock");
    while (done) {
        link->word = link->in;
        DPT_TRY(hear(own, rank));
        DPT_COMM__TRY(MPI_Test(&link->hearing, &done, MPI_STATUS_IGNORE), "a clock");
    }
    return DPT_STATUS_OK;
}

/* Rank 0 answers who asked for numbers. */
static enum dpt_status move_counter(struct own *own, int rank)
{
    struct link *link = &own->link[rank];
    int asked = 0, answered = 0;
    DPT_COMM__TRY(MPI_Test(&link->answering, &answered, MPI_STATUS_IGNORE), "an answer");
    if (!answered) {
        return DPT_STATUS_OK;
    }
    DPT_COMM__TRY(MPI_Test(&link->asked, &asked, MPI_STATUS_IGNORE), "a question");
    if (asked) {
        link->answer = own->counter;
        own->counter += link->question;
        DPT_COMM__TRY(MPI_Isend(&link->answer, 1, MPI_INT64_T, rank, TAG_ANSWER, own->comm, &link->answering),
                      "an answer");
        DPT_TRY(await_question(own, rank));
    }
    return DPT_STATUS_OK;
}

static enum dpt_status pump(struct dpt_mailboxes *boxes)
{
    struct own *own = boxes->own;
    for (int b = 0; b < boxes->nboxes; b++) {
        if (boxes->box[b].writer == boxes->rank) {
            DPT_TRY(move_box(boxes, b));
        }
    }
    for (int r = 0; r < boxes->size; r++) {
        if (r == boxes->rank) {
            continue;
        }
        DPT_TRY(move_words(own, r));
        if (boxes->rank == 0) {
            DPT_TRY(move_counter(own, r));
        }
    }
    return DPT_STATUS_OK;
}

/* ------------------------------------------------------------------------------------------------------ the calls */

static enum dpt_status reclaim(struct dpt_mailboxes *boxes, int box, bool *unread)
{
    struct mail *mail = &((struct own *)boxes->own)->mail[box];
    DPT_TRY(move_box(boxes, box));
    *unread = mail->kept;
    mail->kept = false;
    return DPT_STATUS_OK;
}

static enum dpt_status post(struct dpt_mailboxes *boxes, int box, const struct dpt_mailbox_header *header,
                            const void *data, bool *replaced)
{
    struct mail *mail = &((struct own *)boxes->own)->mail[box];
    char *block = mail->block[1 - mail->now];
    *replaced = mail->kept;
    memcpy(block, header, sizeof *header);
    if (header->nbytes > 0) {
        memcpy(block + sizeof *header, data, header->nbytes);
    }
    mail->kept = true;
    return move_box(boxes, box);
}

static enum dpt_status settled(struct dpt_mailboxes *boxes, int box, bool *is)
{
    const struct mail *mail = &((struct own *)boxes->own)->mail[box];
    DPT_TRY(move_box(boxes, box));
    *is = !mail->kept && !mail->flying;
    return DPT_STATUS_OK;
}

static enum dpt_status take(struct dpt_mailboxes *boxes, int box, const char **message)
{
    struct own *own = boxes->own;
    struct mail *mail = &own->mail[box];
    int done;
    *message = NULL;
    DPT_COMM__TRY(MPI_Test(&mail->message, &done, MPI_STATUS_IGNORE), "a receive of a mailbox");
    if (!done) {
        return DPT_STATUS_OK;
    }
    mail->now = 1 - mail->now;
    *message = mail->block[mail->now];
    DPT_TRY(expect(boxes, box));
    DPT_COMM__TRY(MPI_Wait(&mail->receipt, MPI_STATUS_IGNORE), "a receipt"); /* of the message before, a byte */
    DPT_COMM__TRY(
        MPI_Isend(&mail->signal, 1, MPI_BYTE, boxes->box[box].writer, mail->tag + 1, own->comm, &mail->receipt),
        "a receipt");
    return DPT_STATUS_OK;
}

/* Whether every rank was sent this one's word; each has one under way at most. */
static bool all_told(const struct dpt_mailboxes *boxes)
{
    const struct own *own = boxes->own;
    bool all = true;
    for (int r = 0; r < boxes->size; r++) {
        all = all && (r == boxes->rank || own->link[r].told == own->word);
    }
    return all;
}

/* It is on its way when this returns: who tells the last word may not pump again. */
static enum dpt_status tell(struct dpt_mailboxes *boxes, int64_t word)
{
    ((struct own *)boxes->own)->word = word;
    DPT_TRY(pump(boxes));
    while (!all_told(boxes)) {
        sched_yield();
        DPT_TRY(pump(boxes));
    }
    return DPT_STATUS_OK;
}

static enum dpt_status told(struct dpt_mailboxes *boxes, int rank, int64_t *word)
{
    const struct own *own = boxes->own;
    *word = rank == boxes->rank ? own->word : own->link[rank].word;
    return DPT_STATUS_OK;
}

static enum dpt_status draw(struct dpt_mailboxes *boxes, int64_t add, int64_t *before)
{
    struct own *own = boxes->own;
    MPI_Request question, answer;
    int done = 0;
    if (boxes->rank == 0) {
        *before = own->counter;
        own->counter += add;
        return DPT_STATUS_OK;
    }
    DPT_COMM__TRY(MPI_Irecv(before, 1, MPI_INT64_T, 0, TAG_ANSWER, own->comm, &answer), "an answer");
    DPT_COMM__TRY(MPI_Isend(&add, 1, MPI_INT64_T, 0, TAG_ASK, own->comm, &question), "a question");
    while (!done) {
        DPT_TRY(pump(boxes)); /* rank 0 may be waiting for this one's */
        DPT_COMM__TRY(MPI_Test(&answer, &done, MPI_STATUS_IGNORE), "an answer");
        if (!done) {
            sched_yield();
        }
    }
    DPT_COMM__TRY(MPI_Wait(&question, MPI_STATUS_IGNORE), "a question");
    return DPT_STATUS_OK;
}

const struct dpt_mailbox__way dpt_mailbox__p2p = {
    .name = "messages of MPI",
    .pump_matters = true,
    .checks = true,
    .open = open_p2p,
    .close = close_p2p,
    .reclaim = reclaim,
    .post = post,
    .settled = settled,
    .take = take,
    .tell = tell,
    .told = told,
    .draw = draw,
    .pump = pump,
};
