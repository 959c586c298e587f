/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Byte pair encoding of words (Sennrich, Haddow, Birch: "Neural machine translation of rare words with subword units",
 * 2016): a word begins as one token a byte; of all neighbours those that stand first in the list of merges become one,
 * the leftmost first, until no neighbours stand in the list.
 *
 * Texts repeat their words, so what short words become is remembered in a table of fixed size, in which a new word
 * takes the place of an old one. Long words are merged with a heap, in n log n, so that a hostile "word" of a megabyte
 * takes no quadratic time.
 */

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "text/internal.h"

enum {
    KNOWN = 1 << 16,    /* words remembered, two to a place                                       */
    KNOWN_BYTES = 30,   /* of a word that is remembered                                           */
    KNOWN_TOKENS = 8,   /* of it                                                                  */
    SHORT = 64,         /* bytes of a word for which looking at all neighbours beats a heap       */
    WORD_MAX = 4 << 20, /* of any word: merging takes a hundred bytes for each                    */
};

/* 64 bytes, a line of the cache. */
struct known {
    unsigned char nbytes, ntokens; /* nbytes 0: empty */
    char word[KNOWN_BYTES];
    int32_t id[KNOWN_TOKENS];
};

struct pair {
    uint64_t key; /* left << 32 | right, plus 1; 0: empty */
    int32_t rank, result;
};

struct candidate {
    int32_t rank, result;
    int64_t left; /* where the left token begins */
    int32_t was_left, was_right; /* tells a candidate that was overtaken */
};

struct dpt_text__bpe {
    struct dpt_text__split *split;
    int32_t byte_id[256];
    int64_t nmerges;
    const struct dpt_text__merge *merge;
    uint64_t mask;
    struct pair *pair; /* [mask + 1] */
    struct known *known;
    /* for long words, grown as needed */
    int64_t capacity;
    int32_t *id;
    int64_t *next, *before;
    struct candidate *heap;
};

/* ------------------------------------------------------------------------------------------------------- pairs */

static uint64_t pair_key(int32_t left, int32_t right)
{
    return ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) + 1;
}

static uint64_t pair_place(const struct dpt_text__bpe *bpe, uint64_t key)
{
    key *= 0x9E3779B97F4A7C15u; /* 2^64 / golden ratio: spreads neighbouring keys */
    return (key ^ key >> 32) & bpe->mask;
}

/* The merge of two neighbours, or NULL. */
static const struct pair *find_pair(const struct dpt_text__bpe *bpe, int32_t left, int32_t right)
{
    const uint64_t key = pair_key(left, right);
    for (uint64_t at = pair_place(bpe, key);; at = (at + 1) & bpe->mask) {
        const struct pair *pair = &bpe->pair[at];
        if (pair->key == key) {
            return pair;
        }
        if (pair->key == 0) {
            return NULL;
        }
    }
}

enum dpt_status dpt_text__bpe_new(const char *name, struct dpt_tokenizer *tokenizer,
                                  const struct dpt_text__merge *merge, int64_t nmerges)
{
    struct dpt_text__bpe *bpe = dpt_arena_alloc(tokenizer->arena, sizeof *bpe);
    memset(bpe->byte_id, -1, sizeof bpe->byte_id);
    for (int64_t id = 0; id < tokenizer->vocab; id++) {
        const struct dpt_text__piece *piece = &tokenizer->piece[id];
        if (piece->nbytes == 1 && !piece->special) {
            bpe->byte_id[(unsigned char)piece->data[0]] = (int32_t)id;
        }
    }
    for (int byte = 0; byte < 256; byte++) {
        DPT_CHECK(bpe->byte_id[byte] >= 0, DPT_STATUS_DATA,
                  "%s: has no token for the byte 0x%02x; a byte-level BPE has one for each", name, byte);
    }
    bpe->mask = 1023;
    while (bpe->mask < 2 * (uint64_t)nmerges) {
        bpe->mask = 2 * bpe->mask + 1;
    }
    bpe->pair = dpt_arena_array(tokenizer->arena, bpe->mask + 1, sizeof *bpe->pair);
    bpe->nmerges = nmerges;
    bpe->merge = dpt_arena_memdup(tokenizer->arena, merge, (size_t)nmerges * sizeof *merge);
    for (int64_t rank = 0; rank < nmerges; rank++) {
        const uint64_t key = pair_key(merge[rank].left, merge[rank].right);
        uint64_t at = pair_place(bpe, key);
        for (; bpe->pair[at].key != 0; at = (at + 1) & bpe->mask) {
            DPT_CHECK(bpe->pair[at].key != key, DPT_STATUS_DATA, "%s: merges %lld and %lld are the same", name,
                      (long long)bpe->pair[at].rank + 1, (long long)rank + 1);
        }
        bpe->pair[at] = (struct pair){.key = key, .rank = (int32_t)rank, .result = merge[rank].result};
    }
    bpe->known = aligned_alloc(sizeof *bpe->known, KNOWN * sizeof *bpe->known);
    tokenizer->bpe = bpe;
    DPT_CHECK(bpe->known, DPT_STATUS_SPACE, "%s: no memory for a tokenizer", name);
    for (int i = 0; i < KNOWN; i++) {
        bpe->known[i].nbytes = 0;
    }
    return dpt_text__split_new(&bpe->split);
}

void dpt_text__bpe_free(struct dpt_text__bpe *bpe)
{
    if (!bpe) {
        return;
    }
    dpt_text__split_free(bpe->split);
    free(bpe->known);
    free(bpe->id);
    free(bpe->next);
    free(bpe->before);
    free(bpe->heap);
}

const struct dpt_text__merge *dpt_text__bpe_merges(const struct dpt_text__bpe *bpe, int64_t *nmerges)
{
    *nmerges = bpe->nmerges;
    return bpe->merge;
}

/* ---------------------------------------------------------------------------------------------------- merging */

/* Merges the tokens of a short word in place; returns how many are left. */
static int merge_short(const struct dpt_text__bpe *bpe, int32_t *id, int count)
{
    const struct pair *pair[SHORT]; /* of id[i] and id[i + 1] */
    for (int i = 0; i + 1 < count; i++) {
        pair[i] = find_pair(bpe, id[i], id[i + 1]);
    }
    for (;;) {
        int best = -1;
        int32_t rank = INT32_MAX;
        for (int i = 0; i + 1 < count; i++) {
            if (pair[i] && pair[i]->rank < rank) {
                rank = pair[i]->rank;
                best = i;
            }
        }
        if (best < 0) {
            return count;
        }
        id[best] = pair[best]->result;
        count--;
        for (int i = best + 1; i < count; i++) {
            id[i] = id[i + 1];
        }
        for (int i = best; i + 1 < count; i++) {
            pair[i] = pair[i + 1];
        }
        if (best > 0) {
            pair[best - 1] = find_pair(bpe, id[best - 1], id[best]);
        }
        if (best + 1 < count) {
            pair[best] = find_pair(bpe, id[best], id[best + 1]);
        }
    }
}

static bool comes_before(const struct candidate *a, const struct candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->left < b->left;
}

static void push(struct candidate *heap, int64_t *count, struct candidate item)
{
    int64_t at = (*count)++;
    for (; at > 0 && comes_before(&item, &heap[(at - 1) / 2]); at = (at - 1) / 2) {
        heap[at] = heap[(at - 1) / 2];
    }
    heap[at] = item;
}

static struct candidate pop(struct candidate *heap, int64_t *count)
{
    const struct candidate first = heap[0], last = heap[--*count];
    int64_t at = 0;
    for (int64_t child; (child = 2 * at + 1) < *count; at = child) {
        child += child + 1 < *count && comes_before(&heap[child + 1], &heap[child]);
        if (!comes_before(&heap[child], &last)) {
            break;
        }
        heap[at] = heap[child];
    }
    heap[at] = last;
    return first;
}

static void *must_realloc(void *block, int64_t count, size_t size)
{
    void *grown = realloc(block, (size_t)count * size);
    if (!grown) {
        dpt_fatal(DPT_STATUS_SPACE, "out of memory: a word of %lld bytes could not be tokenized", (long long)count);
    }
    return grown;
}

/* Each merge takes a token away and adds two candidates at most, so there are never more than 3 n. */
static void reserve_long(struct dpt_text__bpe *bpe, int64_t count)
{
    if (count <= bpe->capacity) {
        return;
    }
    bpe->id = must_realloc(bpe->id, count, sizeof *bpe->id);
    bpe->next = must_realloc(bpe->next, count, sizeof *bpe->next);
    bpe->before = must_realloc(bpe->before, count, sizeof *bpe->before);
    bpe->heap = must_realloc(bpe->heap, count, 3 * sizeof *bpe->heap);
    bpe->capacity = count;
}

static void consider(struct dpt_text__bpe *bpe, int64_t *nheap, int64_t left, int64_t right)
{
    const struct pair *pair = find_pair(bpe, bpe->id[left], bpe->id[right]);
    if (pair) {
        push(bpe->heap, nheap,
             (struct candidate){pair->rank, pair->result, left, bpe->id[left], bpe->id[right]});
    }
}

/* Merges bpe->id[0 .. count) in place, as a list; returns how many are left. */
static int64_t merge_long(struct dpt_text__bpe *bpe, int64_t count)
{
    int64_t nheap = 0;
    for (int64_t i = 0; i < count; i++) {
        bpe->next[i] = i + 1;
        bpe->before[i] = i - 1;
    }
    for (int64_t i = 0; i + 1 < count; i++) {
        consider(bpe, &nheap, i, i + 1);
    }
    while (nheap > 0) {
        const struct candidate best = pop(bpe->heap, &nheap);
        const int64_t left = best.left, right = bpe->next[left];
        /* A token that was swallowed has id -1. */
        if (right >= count || bpe->id[left] != best.was_left || bpe->id[right] != best.was_right) {
            continue;
        }
        bpe->id[left] = best.result;
        bpe->id[right] = -1;
        bpe->next[left] = bpe->next[right];
        if (bpe->next[left] < count) {
            bpe->before[bpe->next[left]] = left;
            consider(bpe, &nheap, left, bpe->next[left]);
        }
        if (bpe->before[left] >= 0) {
            consider(bpe, &nheap, bpe->before[left], left);
        }
    }
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i = bpe->next[i]) {
        bpe->id[kept++] = bpe->id[i];
    }
    return kept;
}

/* ----------------------------------------------------------------------------------------------------- encoding */

static void append(struct dpt_tokens *tokens, const int32_t *id, int64_t count)
{
    dpt_tokens_reserve(tokens, count);
    memcpy(tokens->id + tokens->count, id, (size_t)count * sizeof *id);
    tokens->count += count;
}

static void encode_long(struct dpt_text__bpe *bpe, const char *word, size_t nbytes, struct dpt_tokens *tokens)
{
    reserve_long(bpe, (int64_t)nbytes);
    for (size_t i = 0; i < nbytes; i++) {
        bpe->id[i] = bpe->byte_id[(unsigned char)word[i]];
    }
    append(tokens, bpe->id, merge_long(bpe, (int64_t)nbytes));
}

static int encode_short(const struct dpt_text__bpe *bpe, const char *word, int nbytes, int32_t id[SHORT])
{
    for (int i = 0; i < nbytes; i++) {
        id[i] = bpe->byte_id[(unsigned char)word[i]];
    }
    return merge_short(bpe, id, nbytes);
}

/* Where a word is remembered, if it is. */
static struct known *place_of(const struct dpt_text__bpe *bpe, const char *word, size_t nbytes)
{
    return &bpe->known[nbytes <= KNOWN_BYTES ? dpt_hash64(word, nbytes) & (KNOWN - 1) : 0];
}

static void encode_word(struct dpt_text__bpe *bpe, const char *word, size_t nbytes, struct known *known,
                        struct dpt_tokens *tokens)
{
    int32_t id[SHORT];
    if (nbytes > SHORT) {
        encode_long(bpe, word, nbytes, tokens);
        return;
    }
    if (nbytes > KNOWN_BYTES) {
        append(tokens, id, encode_short(bpe, word, (int)nbytes, id));
        return;
    }
    if (known->nbytes != nbytes || memcmp(known->word, word, nbytes) != 0) {
        const int count = encode_short(bpe, word, (int)nbytes, id);
        if (count > KNOWN_TOKENS) {
            append(tokens, id, count);
            return;
        }
        known->nbytes = (unsigned char)nbytes;
        known->ntokens = (unsigned char)count;
        memcpy(known->word, word, nbytes);
        memcpy(known->id, id, (size_t)count * sizeof *id);
    }
    append(tokens, known->id, known->ntokens);
}

enum dpt_status dpt_text__bpe_encode(struct dpt_text__bpe *bpe, const char *source, int64_t offset, const char *text,
                                     size_t nbytes, struct dpt_tokens *tokens)
{
    /* In groups, so that what is remembered of all words of a group is on its way before the first is used. */
    enum { GROUP = 16 };
    size_t begin[GROUP + 1] = {0};
    struct known *known[GROUP];
    while (begin[0] < nbytes) {
        int n = 0;
        for (; n < GROUP && begin[n] < nbytes; n++) {
            const size_t at = begin[n], end = dpt_text__split_next(bpe->split, text, nbytes, at);
            if (end <= at) {
                return dpt_text__split_failed(bpe->split, source, offset + (int64_t)at);
            }
            DPT_CHECK(end - at <= WORD_MAX, DPT_STATUS_DATA,
                      "%s: byte %lld: a word of %zu bytes begins here: is it text? If it is, take bytes or characters as "
                      "tokens",
                      source, (long long)(offset + (int64_t)at), end - at);
            known[n] = place_of(bpe, text + at, end - at);
            __builtin_prefetch(known[n], 1);
            begin[n + 1] = end;
        }
        for (int i = 0; i < n; i++) {
            encode_word(bpe, text + begin[i], begin[i + 1] - begin[i], known[i], tokens);
        }
        begin[0] = begin[n];
    }
    return DPT_STATUS_OK;
}
