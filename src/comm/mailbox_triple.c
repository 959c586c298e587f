/* SPDX-License-Identifier: Apache-2.0 */

/* The protocol of the triple buffer; see mailbox_impl.h. Each call does a fixed number of steps: nobody waits. */

#include "comm/mailbox_impl.h"

enum dpt_status dpt_mailbox__triple_reclaim(struct dpt_mailboxes *boxes, int box, bool *unread)
{
    struct dpt_mailbox__end *end = &boxes->end[box];
    int64_t before;
    DPT_TRY(boxes->way->swap(boxes, box, dpt_mailbox__give(end->slot), &before));
    *unread = dpt_mailbox__got(before, &end->slot);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_mailbox__triple_post(struct dpt_mailboxes *boxes, int box, const struct dpt_mailbox_header *header,
                                         const void *data, bool *replaced)
{
    struct dpt_mailbox__end *end = &boxes->end[box];
    int64_t before;
    DPT_TRY(boxes->way->put(boxes, box, end->slot, header, data));
    DPT_TRY(boxes->way->swap(boxes, box, dpt_mailbox__offer(end->slot), &before));
    *replaced = dpt_mailbox__got(before, &end->slot);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_mailbox__triple_settled(struct dpt_mailboxes *boxes, int box, bool *settled)
{
    int64_t word;
    int slot;
    DPT_TRY(boxes->way->peek(boxes, box, &word));
    *settled = !dpt_mailbox__got(word, &slot);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_mailbox__triple_take(struct dpt_mailboxes *boxes, int box, const char **message)
{
    struct dpt_mailbox__end *end = &boxes->end[box];
    int64_t word;
    int slot;
    *message = NULL;
    DPT_TRY(boxes->way->peek(boxes, box, &word));
    if (!dpt_mailbox__got(word, &slot)) {
        return DPT_STATUS_OK;
    }
    DPT_TRY(boxes->way->swap(boxes, box, dpt_mailbox__give(end->slot), &word));
    if (dpt_mailbox__got(word, &end->slot)) { /* else the writer has taken it back since */
        *message = boxes->way->slot(boxes, box, end->slot);
    }
    return DPT_STATUS_OK;
}
