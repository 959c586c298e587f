/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Mailboxes in the memory of a host: one block for all. An exchange of a word both releases what its rank wrote before
 * and acquires what the other rank wrote before its own: the writer's message is there before the reader has the slot,
 * and the reader has done with a slot before the writer has it back.
 */

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm/mailbox_impl.h"

/* The block: a line for the counter, one for the word of each rank, one for each box; then the slots. */
struct own {
    struct dpt_comm__segment segment;
    char *words, *slots;
};

static _Atomic int64_t *word_at(const struct own *own, size_t offset)
{
    return (_Atomic int64_t *)(void *)(own->words + offset);
}

static size_t before_boxes(const struct dpt_mailboxes *boxes)
{
    return (1 + (size_t)boxes->size) * DPT_MAILBOX__LINE;
}

static _Atomic int64_t *box_word(struct dpt_mailboxes *boxes, int box)
{
    return word_at(boxes->own, before_boxes(boxes) + boxes->end[box].word);
}

size_t dpt_mailbox__shm_nbytes(struct dpt_mailboxes *boxes)
{
    size_t words, slots;
    dpt_mailbox__place(boxes, false, 0, &words, &slots);
    return before_boxes(boxes) + words + slots;
}

void dpt_mailbox__shm_prepare(const struct dpt_mailboxes *boxes, char *block)
{
    for (int b = 0; b < boxes->nboxes; b++) {
        _Atomic int64_t *word = (_Atomic int64_t *)(void *)(block + before_boxes(boxes) + boxes->end[b].word);
        atomic_store(word, dpt_mailbox__give(DPT_MAILBOX__MIDDLE));
    }
}

bool dpt_mailbox__shm_use(struct dpt_mailboxes *boxes, char *block)
{
    struct own *own = calloc(1, sizeof *own);
    size_t words, slots;
    if (!own) {
        return false;
    }
    dpt_mailbox__place(boxes, false, 0, &words, &slots);
    own->words = block;
    own->slots = block + before_boxes(boxes) + words;
    boxes->own = own;
    return true;
}

static bool open_shm(struct dpt_mailboxes *boxes, char reason[160])
{
    struct dpt_comm__segment segment;
    if (dpt_comm_nodes() > 1 || boxes->size != dpt_comm__process.node_size) {
        snprintf(reason, 160, "the ranks are on several hosts");
        return false;
    }
    if (!dpt_comm__segment_open(dpt_comm__process.node, dpt_mailbox__shm_nbytes(boxes), true, &segment, reason)) {
        return false;
    }
    int well = dpt_mailbox__shm_use(boxes, segment.mine);
    if (well && boxes->rank == 0) {
        dpt_mailbox__shm_prepare(boxes, segment.mine);
    }
    MPI_Allreduce(MPI_IN_PLACE, &well, 1, MPI_INT, MPI_MIN, boxes->comm->mpi); /* and all wait for rank 0 */
    if (!well) {
        snprintf(reason, 160, "out of memory");
        dpt_comm__segment_close(&segment);
        free(boxes->own);
        boxes->own = NULL;
        return false;
    }
    ((struct own *)boxes->own)->segment = segment;
    return true;
}

static void close_shm(struct dpt_mailboxes *boxes)
{
    struct own *own = boxes->own;
    if (own && own->segment.mine) {
        dpt_comm__segment_close(&own->segment);
    }
    free(own);
}

static enum dpt_status swap(struct dpt_mailboxes *boxes, int box, int64_t word, int64_t *before)
{
    *before = atomic_exchange_explicit(box_word(boxes, box), word, memory_order_acq_rel);
    return DPT_STATUS_OK;
}

/* What follows a peek that found something is a swap, which orders. */
static enum dpt_status peek(struct dpt_mailboxes *boxes, int box, int64_t *word)
{
    *word = atomic_load_explicit(box_word(boxes, box), memory_order_acquire);
    return DPT_STATUS_OK;
}

static char *slot_at(const struct dpt_mailboxes *boxes, int box, int slot)
{
    const struct own *own = boxes->own;
    return own->slots + boxes->end[box].slots + (size_t)slot * boxes->end[box].stride;
}

static enum dpt_status put(struct dpt_mailboxes *boxes, int box, int slot, const struct dpt_mailbox_header *header,
                           const void *data)
{
    char *at = slot_at(boxes, box, slot);
    memcpy(at, header, sizeof *header);
    if (header->nbytes > 0) {
        memcpy(at + sizeof *header, data, header->nbytes);
    }
    return DPT_STATUS_OK;
}

static const char *slot_of(struct dpt_mailboxes *boxes, int box, int slot)
{
    return slot_at(boxes, box, slot);
}

static enum dpt_status tell(struct dpt_mailboxes *boxes, int64_t word)
{
    const size_t offset = (1 + (size_t)boxes->rank) * DPT_MAILBOX__LINE;
    atomic_store_explicit(word_at(boxes->own, offset), word, memory_order_release);
    return DPT_STATUS_OK;
}

static enum dpt_status told(struct dpt_mailboxes *boxes, int rank, int64_t *word)
{
    const size_t offset = (1 + (size_t)rank) * DPT_MAILBOX__LINE;
    *word = atomic_load_explicit(word_at(boxes->own, offset), memory_order_acquire);
    return DPT_STATUS_OK;
}

static enum dpt_status draw(struct dpt_mailboxes *boxes, int64_t add, int64_t *before)
{
    *before = atomic_fetch_add_explicit(word_at(boxes->own, 0), add, memory_order_acq_rel);
    return DPT_STATUS_OK;
}

static enum dpt_status pump(struct dpt_mailboxes *boxes)
{
    (void)boxes;
    return DPT_STATUS_OK;
}

const struct dpt_mailbox__way dpt_mailbox__shm = {
    .name = "shared memory",
    .open = open_shm,
    .close = close_shm,
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
