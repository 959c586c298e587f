/* SPDX-License-Identifier: Apache-2.0 */
#include "comm/mailbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "comm/mailbox_impl.h"

enum { MAGIC = 0x64707431 }; /* "dpt1" */

/* ---------------------------------------------------------------------------------------------------- open, close */

static size_t in_lines(size_t nbytes)
{
    return (nbytes + DPT_MAILBOX__LINE - 1) / DPT_MAILBOX__LINE * DPT_MAILBOX__LINE;
}

static size_t slot_nbytes(const struct dpt_mailbox *box)
{
    return in_lines(sizeof(struct dpt_mailbox_header) + box->nbytes);
}

struct dpt_mailboxes *dpt_mailbox__new(const struct dpt_mailbox_conf *conf, int rank, int size)
{
    const size_t count = (size_t)conf->nboxes;
    struct dpt_mailboxes *boxes = calloc(1, sizeof *boxes);
    if (!boxes) {
        return NULL;
    }
    *boxes = (struct dpt_mailboxes){
        .comm = conf->comm,
        .rank = rank,
        .size = size,
        .nboxes = conf->nboxes,
        .box = malloc((count + 1) * sizeof *boxes->box),
        .end = calloc(count + 1, sizeof *boxes->end),
    };
    if (!boxes->box || !boxes->end) {
        dpt_mailbox__free(boxes);
        return NULL;
    }
    for (int b = 0; b < conf->nboxes; b++) {
        DPT_ASSERT(conf->box[b].writer != conf->box[b].reader);
        boxes->box[b] = conf->box[b];
        boxes->end[b].slot = conf->box[b].writer == rank ? DPT_MAILBOX__BACK : DPT_MAILBOX__FRONT;
    }
    return boxes;
}

void dpt_mailbox__free(struct dpt_mailboxes *boxes)
{
    if (boxes) {
        free(boxes->box);
        free(boxes->end);
        free(boxes);
    }
}

void dpt_mailbox__place(struct dpt_mailboxes *boxes, bool by_reader, int reader, size_t *words, size_t *slots)
{
    *words = *slots = 0;
    for (int b = 0; b < boxes->nboxes; b++) {
        struct dpt_mailbox__end *end = &boxes->end[b];
        if (by_reader && boxes->box[b].reader != reader) {
            continue;
        }
        end->word = *words;
        end->slots = *slots;
        end->stride = slot_nbytes(&boxes->box[b]);
        *words += DPT_MAILBOX__LINE;
        *slots += DPT_MAILBOX__SLOTS * end->stride;
    }
}

/* Whether a way passes its test and opens; if not, `reason` says why. Collective. */
static bool open_way(struct dpt_mailboxes *boxes, const struct dpt_mailbox__way *way, char reason[160])
{
    if (!dpt_mailbox__passes(boxes->comm, way, reason)) {
        return false;
    }
    boxes->way = way;
    boxes->checks = way->checks;
    if (way->open(boxes, reason)) {
        return true;
    }
    way->close(boxes);
    boxes->way = NULL;
    return false;
}

static enum dpt_status choose(struct dpt_mailboxes *boxes, enum dpt_mailbox_way asked)
{
    static const struct dpt_mailbox__way *const ways[] = {&dpt_mailbox__shm, &dpt_mailbox__rma, &dpt_mailbox__p2p};
    char reason[160] = "";
    if (asked != DPT_MAILBOX_WAY_AUTO) {
        const struct dpt_mailbox__way *way = ways[asked - DPT_MAILBOX_WAY_SHM];
        DPT_CHECK(open_way(boxes, way, reason), DPT_STATUS_COMM,
                  "[parallel] mailbox: %s cannot be used: %s; set it to auto", way->name, reason);
        return DPT_STATUS_OK;
    }
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        if (open_way(boxes, ways[i], reason)) {
            return DPT_STATUS_OK;
        }
        snprintf(boxes->note, sizeof boxes->note, "%s cannot be used: %s", ways[i]->name, reason);
    }
    return dpt_error_set(DPT_STATUS_COMM, __FILE__, __LINE__, "no way for mailboxes works here: %s", boxes->note);
}

enum dpt_status dpt_mailboxes_open(const struct dpt_mailbox_conf *conf, struct dpt_mailboxes **boxes)
{
    struct dpt_mailboxes *made = dpt_mailbox__new(conf, dpt_comm_rank(conf->comm), dpt_comm_size(conf->comm));
    *boxes = NULL;
    enum dpt_status status = made ? DPT_STATUS_OK
                                  : dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "out of memory for mailboxes");
    status = dpt_agree(status, conf->comm);
    if (status == DPT_STATUS_OK) {
        status = choose(made, conf->way);
    }
    if (status != DPT_STATUS_OK) {
        dpt_mailbox__free(made);
        return status;
    }
    *boxes = made;
    return DPT_STATUS_OK;
}

void dpt_mailboxes_close(struct dpt_mailboxes *boxes)
{
    if (boxes) {
        boxes->way->close(boxes);
        dpt_mailbox__free(boxes);
    }
}

const char *dpt_mailboxes_name(const struct dpt_mailboxes *boxes)
{
    return boxes->way->name;
}

const char *dpt_mailboxes_note(const struct dpt_mailboxes *boxes)
{
    return boxes->note;
}

bool dpt_mailbox_is_written_here(const struct dpt_mailboxes *boxes, int box)
{
    return boxes->box[box].writer == boxes->rank;
}

const struct dpt_mailbox_stats *dpt_mailboxes_stats(const struct dpt_mailboxes *boxes)
{
    return &boxes->stats;
}

/* ------------------------------------------------------------------------------------------------------- messages */

enum dpt_status dpt_mailbox_reclaim(struct dpt_mailboxes *boxes, int box, bool *unread)
{
    DPT_ASSERT(boxes->box[box].writer == boxes->rank);
    DPT_TRY(boxes->way->reclaim(boxes, box, unread));
    boxes->stats.reclaimed += *unread;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_mailbox_post(struct dpt_mailboxes *boxes, int box, const struct dpt_mailbox_header *header,
                                 const void *data, size_t nbytes, bool *replaced)
{
    struct dpt_mailbox_header sent = *header;
    DPT_ASSERT(boxes->box[box].writer == boxes->rank && nbytes <= boxes->box[box].nbytes);
    sent.magic = MAGIC;
    sent.box = (uint32_t)box;
    sent.number = ++boxes->end[box].number;
    sent.nbytes = nbytes;
    sent.hash = boxes->checks ? dpt_hash64(data, nbytes) : 0;
    DPT_TRY(boxes->way->post(boxes, box, &sent, data, replaced));
    boxes->stats.posted++;
    boxes->stats.posted_nbytes += sizeof sent + nbytes;
    boxes->stats.replaced += *replaced;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_mailbox_settled(struct dpt_mailboxes *boxes, int box, bool *settled)
{
    return boxes->way->settled(boxes, box, settled);
}

enum dpt_status dpt_mailbox_take(struct dpt_mailboxes *boxes, int box, const struct dpt_mailbox_header **header,
                                 const void **data)
{
    struct dpt_mailbox__end *end = &boxes->end[box];
    const char *message;
    DPT_ASSERT(boxes->box[box].reader == boxes->rank);
    *header = NULL;
    DPT_TRY(boxes->way->take(boxes, box, &message));
    if (!message) {
        return DPT_STATUS_OK;
    }
    const struct dpt_mailbox_header *got = (const void *)message;
    *data = message + sizeof *got;
    const bool whole = got->magic == MAGIC && got->box == (uint32_t)box && got->nbytes <= boxes->box[box].nbytes &&
                       got->number > end->number;
    DPT_CHECK(whole && (!boxes->checks || got->hash == dpt_hash64(*data, got->nbytes)), DPT_STATUS_COMM,
              "a message of rank %d came damaged through %s (%s): set [parallel] mailbox = p2p, and please report it",
              boxes->box[box].writer, boxes->way->name, dpt_comm_library());
    end->number = got->number;
    boxes->stats.taken++;
    *header = got;
    return DPT_STATUS_OK;
}

/* ---------------------------------------------------------------------------------------------- words and counter */

enum dpt_status dpt_mailboxes_tell(struct dpt_mailboxes *boxes, int64_t word)
{
    return boxes->way->tell(boxes, word);
}

enum dpt_status dpt_mailboxes_told(struct dpt_mailboxes *boxes, int rank, int64_t *word)
{
    return boxes->way->told(boxes, rank, word);
}

enum dpt_status dpt_mailboxes_draw(struct dpt_mailboxes *boxes, int64_t add, int64_t *before)
{
    return boxes->way->draw(boxes, add, before);
}

bool dpt_mailboxes_need_pump(const struct dpt_mailboxes *boxes)
{
    return boxes->way->pump_matters;
}

enum dpt_status dpt_mailboxes_pump(struct dpt_mailboxes *boxes)
{
    return boxes->way->pump(boxes);
}
