/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the ways of mailboxes share. Private to comm/.
 *
 * The triple buffer: a box has three slots, and a word that says which of them is the middle one and whether what it
 * holds is new. The writer owns one slot (back), the reader one (front). To hand over, the writer swaps its slot,
 * marked FRESH, for the middle one; to take, the reader swaps its slot for the middle one. A swap is one atomic
 * exchange of the word, so a slot has one owner at any time, and whoever writes or reads a slot owns it.
 */

#include "comm/impl.h"
#include "comm/mailbox.h"
#include "comm/segment.h"

enum {
    DPT_MAILBOX__FRONT = 0, /* slots at the start */
    DPT_MAILBOX__MIDDLE = 1,
    DPT_MAILBOX__BACK = 2,
    DPT_MAILBOX__SLOTS = 3,
    DPT_MAILBOX__FRESH = 256,
    DPT_MAILBOX__LINE = 64, /* bytes: words that different ranks write are so far apart */
};

/* What the word becomes when the writer hands over its slot, takes back the middle one, or the reader takes. Pure. */
static inline int64_t dpt_mailbox__offer(int slot)
{
    return slot | DPT_MAILBOX__FRESH;
}

static inline int64_t dpt_mailbox__give(int slot)
{
    return slot;
}

/* The slot that whoever swapped has now, from what the word was, and whether it holds what was not read. Pure. */
static inline bool dpt_mailbox__got(int64_t before, int *slot)
{
    *slot = (int)(before & (DPT_MAILBOX__FRESH - 1));
    return (before & DPT_MAILBOX__FRESH) != 0;
}

/* This rank's end of a box. */
struct dpt_mailbox__end {
    int slot;       /* that it owns                                    */
    int64_t number; /* of the last message written, or taken           */
    size_t word;    /* bytes from the begin of the words               */
    size_t slots;   /* bytes from the begin of the slots to slot 0     */
    size_t stride;  /* bytes of a slot                                 */
};

struct dpt_mailboxes {
    const struct dpt_mailbox__way *way;
    struct dpt_comm *comm;
    int rank, size;
    int nboxes;
    struct dpt_mailbox *box;
    struct dpt_mailbox__end *end;
    bool checks; /* messages carry a hash */
    char note[200];
    struct dpt_mailbox_stats stats;
    void *own; /* the way's */
};

/* A way. Those of the triple buffer have swap, peek, put and slot; the others all but these. */
struct dpt_mailbox__way {
    const char *name;
    bool pump_matters;
    bool checks;
    /* False: this way cannot be gone here, and why is in reason; the same on all ranks. Collective. */
    bool (*open)(struct dpt_mailboxes *boxes, char reason[160]);
    void (*close)(struct dpt_mailboxes *boxes);

    enum dpt_status (*reclaim)(struct dpt_mailboxes *boxes, int box, bool *unread);
    enum dpt_status (*post)(struct dpt_mailboxes *boxes, int box, const struct dpt_mailbox_header *header,
                            const void *data, bool *replaced);
    enum dpt_status (*settled)(struct dpt_mailboxes *boxes, int box, bool *settled);
    enum dpt_status (*take)(struct dpt_mailboxes *boxes, int box, const char **message);
    enum dpt_status (*tell)(struct dpt_mailboxes *boxes, int64_t word);
    enum dpt_status (*told)(struct dpt_mailboxes *boxes, int rank, int64_t *word);
    enum dpt_status (*draw)(struct dpt_mailboxes *boxes, int64_t add, int64_t *before);
    enum dpt_status (*pump)(struct dpt_mailboxes *boxes);

    /* Exchanges, reads the word of a box. */
    enum dpt_status (*swap)(struct dpt_mailboxes *boxes, int box, int64_t word, int64_t *before);
    enum dpt_status (*peek)(struct dpt_mailboxes *boxes, int box, int64_t *word);
    /* Copies a message into a slot that this rank owns as the writer; it is complete there when this returns. */
    enum dpt_status (*put)(struct dpt_mailboxes *boxes, int box, int slot, const struct dpt_mailbox_header *header,
                           const void *data);
    /* Where a slot lies that this rank owns as the reader, with all that was put in it. */
    const char *(*slot)(struct dpt_mailboxes *boxes, int box, int slot);
};

extern const struct dpt_mailbox__way dpt_mailbox__shm;
extern const struct dpt_mailbox__way dpt_mailbox__rma;
extern const struct dpt_mailbox__way dpt_mailbox__p2p;

/* mailbox_triple.c: the protocol over swap, peek, put and slot. */
enum dpt_status dpt_mailbox__triple_reclaim(struct dpt_mailboxes *boxes, int box, bool *unread);
enum dpt_status dpt_mailbox__triple_post(struct dpt_mailboxes *boxes, int box, const struct dpt_mailbox_header *header,
                                         const void *data, bool *replaced);
enum dpt_status dpt_mailbox__triple_settled(struct dpt_mailboxes *boxes, int box, bool *settled);
enum dpt_status dpt_mailbox__triple_take(struct dpt_mailboxes *boxes, int box, const char **message);

/*
 * Boxes that no way has opened yet, with the places of words and slots: of all boxes, or those that a rank reads, in
 * one block each. NULL when out of memory. Local.
 */
struct dpt_mailboxes *dpt_mailbox__new(const struct dpt_mailbox_conf *conf, int rank, int size);
void dpt_mailbox__free(struct dpt_mailboxes *boxes);
void dpt_mailbox__place(struct dpt_mailboxes *boxes, bool by_reader, int reader, size_t *words, size_t *slots);

/* mailbox_shm.c: bytes of the block of all boxes; uses a zeroed block of so many, already prepared by _prepare. Local.
 */
size_t dpt_mailbox__shm_nbytes(struct dpt_mailboxes *boxes);
void dpt_mailbox__shm_prepare(const struct dpt_mailboxes *boxes, char *block);
bool dpt_mailbox__shm_use(struct dpt_mailboxes *boxes, char *block);

/* mailbox_test.c: whether a way does what it must, on all ranks; if not, what it did is in reason. Collective. */
bool dpt_mailbox__passes(struct dpt_comm *comm, const struct dpt_mailbox__way *way, char reason[160]);
