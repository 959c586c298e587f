/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Mailboxes by one-sided MPI. Two windows: words and slots, each rank having those of the boxes that it reads. Only
 * Put, Win_flush and Fetch_and_op with one kind of operation a word are used: of the rest of one-sided MPI several
 * calls are wrong or end the target in libraries that are in use (Compare_and_swap, Get_accumulate, Accumulate of
 * derived types).
 *
 * A put and an atomic operation are not ordered with each other: the flush of the slots' window between them does that.
 * Words are read by atomic operations too, by their own rank as well: an atomic operation of MPI and a load of the
 * processor need not be atomic to each other.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm/mailbox_impl.h"

enum { PAGE = 4096 };
static const size_t put_limit = (size_t)1 << 30; /* MPI counts with int */

/* The words of a rank: the counter (rank 0's counts), what each rank told, then one a box that it reads. */
struct own {
    MPI_Comm comm;
    MPI_Win words, slots;
    char *slots_base;
    int64_t *shift; /* of each rank: from its base to its first page */
    bool locked;
};

static MPI_Aint word_of(const struct dpt_mailboxes *boxes, size_t offset)
{
    return (MPI_Aint)((1 + (size_t)boxes->size) * DPT_MAILBOX__LINE + offset);
}

/* One atomic operation on a word of `target`, complete when this returns. */
static enum dpt_status fetch(struct dpt_mailboxes *boxes, int target, MPI_Aint at, int64_t value, MPI_Op op,
                             int64_t *before)
{
    const struct own *own = boxes->own;
    DPT_COMM__TRY(MPI_Fetch_and_op(&value, before, MPI_INT64_T, target, at, op, own->words),
                  "an operation on a mailbox");
    DPT_COMM__TRY(MPI_Win_flush(target, own->words), "an operation on a mailbox");
    return DPT_STATUS_OK;
}

static enum dpt_status make_windows(struct dpt_mailboxes *boxes, size_t words, size_t slots)
{
    struct own *own = boxes->own;
    void *words_base, *base;
    const MPI_Aint words_nbytes = word_of(boxes, words);
    DPT_COMM__TRY(MPI_Comm_dup(boxes->comm->mpi, &own->comm), "the group of mailboxes");
    DPT_COMM__TRY(MPI_Win_allocate(words_nbytes, 1, MPI_INFO_NULL, own->comm, &words_base, &own->words), "a window");
    DPT_COMM__TRY(MPI_Win_allocate((MPI_Aint)(slots + PAGE), 1, MPI_INFO_NULL, own->comm, &base, &own->slots),
                  "a window");
    MPI_Win_set_errhandler(own->words, MPI_ERRORS_RETURN);
    MPI_Win_set_errhandler(own->slots, MPI_ERRORS_RETURN);
    memset(words_base, 0, (size_t)words_nbytes);
    memset(base, 0, slots + PAGE);
    for (int b = 0; b < boxes->nboxes; b++) {
        if (boxes->box[b].reader == boxes->rank) {
            const int64_t middle = dpt_mailbox__give(DPT_MAILBOX__MIDDLE);
            memcpy((char *)words_base + word_of(boxes, boxes->end[b].word), &middle, sizeof middle);
        }
    }
    /* Open MPI gives memory a few bytes behind a page, to which copies are slow. */
    const int64_t shift = (int64_t)((PAGE - (uintptr_t)base % PAGE) % PAGE);
    own->slots_base = (char *)base + shift;
    DPT_COMM__TRY(MPI_Allgather(&shift, 1, MPI_INT64_T, own->shift, 1, MPI_INT64_T, own->comm), "the place of windows");
    DPT_COMM__TRY(MPI_Win_lock_all(0, own->words), "access to a window");
    DPT_COMM__TRY(MPI_Win_lock_all(0, own->slots), "access to a window");
    own->locked = true;
    MPI_Win_sync(own->words);
    MPI_Win_sync(own->slots);
    DPT_COMM__TRY(MPI_Barrier(own->comm), "the start of mailboxes");
    return DPT_STATUS_OK;
}

static void close_rma(struct dpt_mailboxes *boxes)
{
    struct own *own = boxes->own;
    if (!own) {
        return;
    }
    if (own->locked) {
        MPI_Barrier(own->comm);
        MPI_Win_unlock_all(own->words);
        MPI_Win_unlock_all(own->slots);
    }
    if (own->words != MPI_WIN_NULL) {
        MPI_Win_free(&own->words);
    }
    if (own->slots != MPI_WIN_NULL) {
        MPI_Win_free(&own->slots);
    }
    if (own->comm != MPI_COMM_NULL) {
        MPI_Comm_free(&own->comm);
    }
    free(own->shift);
    free(own);
    boxes->own = NULL;
}

static bool open_rma(struct dpt_mailboxes *boxes, char reason[160])
{
    struct own *own = calloc(1, sizeof *own);
    int64_t *shift = calloc((size_t)boxes->size, sizeof *shift);
    int well = own && shift;
    MPI_Allreduce(MPI_IN_PLACE, &well, 1, MPI_INT, MPI_MIN, boxes->comm->mpi);
    if (!well) {
        free(own);
        free(shift);
        snprintf(reason, 160, "out of memory");
        return false;
    }
    *own = (struct own){.comm = MPI_COMM_NULL, .words = MPI_WIN_NULL, .slots = MPI_WIN_NULL, .shift = shift};
    boxes->own = own;
    size_t words = 0, slots = 0, mine_words = 0, mine_slots = 0;
    for (int r = 0; r < boxes->size; r++) { /* a place is that among the boxes of its reader */
        dpt_mailbox__place(boxes, true, r, &words, &slots);
        mine_words = r == boxes->rank ? words : mine_words;
        mine_slots = r == boxes->rank ? slots : mine_slots;
    }
    well = make_windows(boxes, mine_words, mine_slots) == DPT_STATUS_OK;
    if (!well) {
        snprintf(reason, 160, "%.150s", dpt_error_text());
    }
    int all = well;
    MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT, MPI_MIN, boxes->comm->mpi);
    if (!all && well) {
        snprintf(reason, 160, "another rank has no windows");
    }
    return all;
}

static enum dpt_status swap(struct dpt_mailboxes *boxes, int box, int64_t word, int64_t *before)
{
    return fetch(boxes, boxes->box[box].reader, word_of(boxes, boxes->end[box].word), word, MPI_REPLACE, before);
}

static enum dpt_status peek(struct dpt_mailboxes *boxes, int box, int64_t *word)
{
    return fetch(boxes, boxes->box[box].reader, word_of(boxes, boxes->end[box].word), 0, MPI_NO_OP, word);
}

static enum dpt_status put(struct dpt_mailboxes *boxes, int box, int slot, const struct dpt_mailbox_header *header,
                           const void *data)
{
    const struct own *own = boxes->own;
    const int target = boxes->box[box].reader;
    MPI_Aint at = (MPI_Aint)(own->shift[target] +
                             (int64_t)(boxes->end[box].slots + (size_t)slot * boxes->end[box].stride));
    DPT_COMM__TRY(MPI_Put(header, (int)sizeof *header, MPI_BYTE, target, at, (int)sizeof *header, MPI_BYTE, own->slots),
                  "a put");
    at += (MPI_Aint)sizeof *header;
    for (size_t done = 0; done < header->nbytes;) {
        const size_t left = header->nbytes - done, n = left < put_limit ? left : put_limit;
        DPT_COMM__TRY(MPI_Put((const char *)data + done, (int)n, MPI_BYTE, target, at + (MPI_Aint)done, (int)n,
                              MPI_BYTE, own->slots),
                      "a put");
        done += n;
    }
    DPT_COMM__TRY(MPI_Win_flush(target, own->slots), "the end of a put");
    return DPT_STATUS_OK;
}

static const char *slot_of(struct dpt_mailboxes *boxes, int box, int slot)
{
    const struct own *own = boxes->own;
    MPI_Win_sync(own->slots);
    return own->slots_base + boxes->end[box].slots + (size_t)slot * boxes->end[box].stride;
}

static enum dpt_status tell(struct dpt_mailboxes *boxes, int64_t word)
{
    const MPI_Aint at = (MPI_Aint)((1 + (size_t)boxes->rank) * DPT_MAILBOX__LINE);
    int64_t before;
    for (int r = 0; r < boxes->size; r++) {
        DPT_TRY(fetch(boxes, r, at, word, MPI_REPLACE, &before));
    }
    return DPT_STATUS_OK;
}

static enum dpt_status told(struct dpt_mailboxes *boxes, int rank, int64_t *word)
{
    return fetch(boxes, boxes->rank, (MPI_Aint)((1 + (size_t)rank) * DPT_MAILBOX__LINE), 0, MPI_NO_OP, word);
}

static enum dpt_status draw(struct dpt_mailboxes *boxes, int64_t add, int64_t *before)
{
    return fetch(boxes, 0, 0, add, MPI_SUM, before);
}

/* Looks for a message that nobody sends: a library works for others inside its calls. */
static enum dpt_status pump(struct dpt_mailboxes *boxes)
{
    const struct own *own = boxes->own;
    int there;
    DPT_COMM__TRY(MPI_Iprobe(MPI_ANY_SOURCE, 1, own->comm, &there, MPI_STATUS_IGNORE), "moving mailboxes on");
    return DPT_STATUS_OK;
}

const struct dpt_mailbox__way dpt_mailbox__rma = {
    .name = "one-sided MPI",
    .pump_matters = true,
    .checks = true,
    .open = open_rma,
    .close = close_rma,
    .reclaim = dpt_mailbox__triple_reclaim,
    .post = dpt_mailbox__triple_post,
    .settled = dpt_mailbox__triple_settled,
    .take = dpt_mailbox__triple_take,
    .tell = tell,
    .told = told,
    .draw = draw,
    .pump = pump,
    .swap = swap,
    .peek = peek,
    .put = put,
    .slot = slot_of,
};
