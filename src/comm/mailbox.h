/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Mailboxes: what a rank puts where another one finds it, without waiting for it. A box has one writer and one reader;
 * the newest message wins. What the reader gets is always one whole message, and later ones never come before earlier
 * ones; what it did not get in time the writer learns of and can take back (dpt_mailbox_reclaim), so that nothing is
 * lost silently. Neither side ever waits for the other's computation, and a box takes three times its largest message.
 *
 * Beside the boxes: a word of each rank that all can read (a clock), and one counter from which all can draw numbers.
 *
 * Three ways: the memory of the host with C11 atomics; one-sided MPI (Put, Win_flush and Fetch_and_op only, see
 * ARCHITECTURE.md); messages between pairs, where one-sided MPI fails its test at the start. All calls of a process are
 * made by one thread at a time; where `pump` matters, somebody has to call it every now and then, since an MPI library
 * may move data only inside its own calls. After a failure only the end of the job remains.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "comm/comm.h"

struct dpt_mailboxes; /* the boxes of a group of ranks, seen from this one */

enum dpt_mailbox_way {
    DPT_MAILBOX_WAY_AUTO, /* memory where all ranks are on one host, else one-sided, else messages */
    DPT_MAILBOX_WAY_SHM,
    DPT_MAILBOX_WAY_RMA,
    DPT_MAILBOX_WAY_P2P
};

/* A box. */
struct dpt_mailbox {
    int writer, reader; /* ranks, not the same */
    size_t nbytes;      /* most of a message   */
};

struct dpt_mailbox_conf {
    struct dpt_comm *comm;
    enum dpt_mailbox_way way;
    int nboxes;
    const struct dpt_mailbox *box; /* of all ranks, the same list on each */
};

/* What stands before a message. The first three and the last two are filled in by the box. */
struct dpt_mailbox_header {
    uint32_t magic, box;
    int64_t number;  /* 1, 2, ... in this box                        */
    int64_t step;    /* the rest is the writer's: its own clock,     */
    int64_t version; /* of the parameters it has used,               */
    int64_t count;   /* what is merged in it,                        */
    double mass;     /* the weight it carries                        */
    uint64_t nbytes;
    uint64_t hash; /* of the message; 0: not taken, in memory      */
};

/*
 * Opens the boxes of a group of two ranks or more, all empty, all clocks and the counter 0. A way is used only after it
 * passed a test of a moment; the one asked for failing is DPT_STATUS_COMM. Collective over conf->comm. Freed by _close,
 * collective too.
 */
enum dpt_status dpt_mailboxes_open(const struct dpt_mailbox_conf *conf, struct dpt_mailboxes **boxes);
void dpt_mailboxes_close(struct dpt_mailboxes *boxes);

/* "shared memory", "one-sided MPI", "messages of MPI"; why no better one: a clause, or "". Local. */
const char *dpt_mailboxes_name(const struct dpt_mailboxes *boxes);
const char *dpt_mailboxes_note(const struct dpt_mailboxes *boxes);

/* Whether this rank writes box `box`. Local. */
bool dpt_mailbox_is_written_here(const struct dpt_mailboxes *boxes, int box);

/*
 * Whoever writes box `box`: takes back the message before if its reader has not taken it; *unread says so. The writer
 * still knows what was in it, and merges that into its next message. Local.
 */
enum dpt_status dpt_mailbox_reclaim(struct dpt_mailboxes *boxes, int box, bool *unread);

/*
 * Writes a message of nbytes bytes behind the fields step, version, count and mass of `header`. It is complete at the
 * reader, or on its way, when this returns; `data` may be written again. *replaced: the message before was not read,
 * and now never will be. Local.
 */
enum dpt_status dpt_mailbox_post(struct dpt_mailboxes *boxes, int box, const struct dpt_mailbox_header *header,
                                 const void *data, size_t nbytes, bool *replaced);

/* Whether the reader has taken all that was posted. Local. */
enum dpt_status dpt_mailbox_settled(struct dpt_mailboxes *boxes, int box, bool *settled);

/*
 * Whoever reads box `box`: takes the newest message; *header is NULL when there is none that is new. Both stay valid
 * until the next take from this box. A message that is damaged, which only a broken library can do, is DPT_STATUS_COMM.
 * Local.
 */
enum dpt_status dpt_mailbox_take(struct dpt_mailboxes *boxes, int box, const struct dpt_mailbox_header **header,
                                 const void **data);

/* Sets this rank's word; reads that of a rank, as far as it is known here: words never go back. Local. */
enum dpt_status dpt_mailboxes_tell(struct dpt_mailboxes *boxes, int64_t word);
enum dpt_status dpt_mailboxes_told(struct dpt_mailboxes *boxes, int rank, int64_t *word);

/* Adds to the counter of the group; *before is what it was. Waits for an answer where it comes in messages. Local wait.
 */
enum dpt_status dpt_mailboxes_draw(struct dpt_mailboxes *boxes, int64_t add, int64_t *before);

/* Whether others wait for this rank's calls; moves on what is under way. Local. */
bool dpt_mailboxes_need_pump(const struct dpt_mailboxes *boxes);
enum dpt_status dpt_mailboxes_pump(struct dpt_mailboxes *boxes);

struct dpt_mailbox_stats {
    uint64_t posted, posted_nbytes; /* messages that this rank wrote                    */
    uint64_t reclaimed, replaced;   /* of them: taken back; overwritten without          */
    uint64_t taken;                 /* messages that this rank read                     */
};

/* What was done since the boxes were opened. Local. */
const struct dpt_mailbox_stats *dpt_mailboxes_stats(const struct dpt_mailboxes *boxes);
