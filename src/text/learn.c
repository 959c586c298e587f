/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Each different word is a row of tokens with a count. For each pair of neighbours there is its count over all words and
 * a list of the words that may have it. A heap gives the pair that comes most often: an entry whose count went down since
 * it was pushed is pushed again when it comes up. Merging a pair touches only the words of its list.
 */

#include "text/learn.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "text/internal.h"

enum {
    WORD_MAX = 256,         /* bytes of a word that is counted           */
    WORDS_MAX = 4 << 20,    /* different words                           */
    POOL_MAX = 256 << 20,   /* bytes of them                             */
};

struct word {
    int64_t count;
    int64_t at; /* of its bytes in the pool; later of its tokens */
    int32_t n;
    int32_t stamp; /* of the merge that touched it last */
};

struct pair {
    uint64_t key; /* left << 32 | right, plus 1; 0: empty */
    int64_t count;
    int32_t pushed; /* the merge after which it was pushed last */
    int32_t nwords, capacity;
    int32_t *word;
};

struct entry {
    int64_t count;
    uint64_t key;
};

struct dpt_learner {
    struct dpt_text__split *split;
    /* counting */
    int64_t nwords, words_capacity;
    struct word *word;
    char *pool;
    int64_t npool, pool_capacity;
    uint64_t mask;
    int32_t *slot; /* [mask + 1], -1: empty */
    /* learning */
    int32_t *token; /* of all words, as the pool was */
    uint64_t pair_mask, npairs;
    struct pair *pair;
    int64_t nheap, heap_capacity;
    struct entry *heap;
    struct dpt_text__merge *merge;
    int64_t nmerges, merges_capacity;
};

/* A block with room for `count` + 1 items; memory that runs out ends the job. */
static void *grow(void *block, int64_t count, int64_t *capacity, size_t size)
{
    if (count < *capacity) {
        return block;
    }
    *capacity = *capacity ? 2 * *capacity : 1024;
    void *bigger = realloc(block, (size_t)*capacity * size);
    if (!bigger) {
        dpt_fatal(DPT_STATUS_SPACE, "out of memory: %lld items of %zu bytes to learn a tokenizer", (long long)*capacity,
                  size);
    }
    return bigger;
}

enum dpt_status dpt_learner_new(struct dpt_learner **learner)
{
    struct dpt_learner *made = calloc(1, sizeof *made);
    DPT_CHECK(made, DPT_STATUS_SPACE, "no memory to learn a tokenizer");
    made->mask = (1 << 16) - 1;
    made->slot = malloc((made->mask + 1) * sizeof *made->slot);
    enum dpt_status status =
        made->slot ? dpt_text__split_new(&made->split)
                   : dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "no memory to learn a tokenizer");
    if (status != DPT_STATUS_OK) {
        dpt_learner_free(made);
        return status;
    }
    memset(made->slot, -1, (made->mask + 1) * sizeof *made->slot);
    *learner = made;
    return DPT_STATUS_OK;
}

void dpt_learner_free(struct dpt_learner *learner)
{
    if (!learner) {
        return;
    }
    for (uint64_t i = 0; learner->pair && i <= learner->pair_mask; i++) {
        free(learner->pair[i].word);
    }
    dpt_text__split_free(learner->split);
    free(learner->word);
    free(learner->pool);
    free(learner->slot);
    free(learner->token);
    free(learner->pair);
    free(learner->heap);
    free(learner->merge);
    free(learner);
}

/* --------------------------------------------------------------------------------------------- counting words */

static int32_t *find_word(const struct dpt_learner *learner, const char *word, size_t nbytes)
{
    for (uint64_t at = dpt_hash64(word, nbytes) & learner->mask;; at = (at + 1) & learner->mask) {
        const int32_t index = learner->slot[at];
        if (index < 0 || (learner->word[index].n == (int32_t)nbytes &&
                          memcmp(learner->pool + learner->word[index].at, word, nbytes) == 0)) {
            return &learner->slot[at];
        }
    }
}

/* Enters all words into slots again, after their number or places have changed. */
static void make_slots(struct dpt_learner *learner)
{
    int32_t *slot = realloc(learner->slot, (learner->mask + 1) * sizeof *slot);
    if (!slot) {
        dpt_fatal(DPT_STATUS_SPACE, "out of memory: %lld words could not be counted", (long long)learner->nwords);
    }
    learner->slot = slot;
    memset(slot, -1, (learner->mask + 1) * sizeof *slot);
    for (int64_t i = 0; i < learner->nwords; i++) {
        const struct word *word = &learner->word[i];
        *find_word(learner, learner->pool + word->at, (size_t)word->n) = (int32_t)i;
    }
}

/* Forgets words that came at most so often. */
static void forget(struct dpt_learner *learner, int64_t most)
{
    int64_t kept = 0, npool = 0;
    for (int64_t i = 0; i < learner->nwords; i++) {
        struct word word = learner->word[i];
        if (word.count > most) {
            memmove(learner->pool + npool, learner->pool + word.at, (size_t)word.n);
            word.at = npool;
            npool += word.n;
            learner->word[kept++] = word;
        }
    }
    learner->nwords = kept;
    learner->npool = npool;
    make_slots(learner);
}

static void count_word(struct dpt_learner *learner, const char *text, size_t nbytes)
{
    int32_t *slot = find_word(learner, text, nbytes);
    if (*slot >= 0) {
        learner->word[*slot].count++;
        return;
    }
    for (int64_t most = 1; learner->nwords >= WORDS_MAX || learner->npool >= POOL_MAX; most *= 2) {
        forget(learner, most);
        slot = find_word(learner, text, nbytes);
    }
    if ((uint64_t)learner->nwords * 2 > learner->mask) {
        learner->mask = 2 * learner->mask + 1;
        make_slots(learner);
        slot = find_word(learner, text, nbytes);
    }
    learner->word = grow(learner->word, learner->nwords, &learner->words_capacity, sizeof *learner->word);
    while (learner->npool + (int64_t)nbytes > learner->pool_capacity) {
        learner->pool = grow(learner->pool, learner->pool_capacity, &learner->pool_capacity, 1);
    }
    memcpy(learner->pool + learner->npool, text, nbytes);
    learner->word[learner->nwords] = (struct word){.count = 1, .at = learner->npool, .n = (int32_t)nbytes};
    learner->npool += (int64_t)nbytes;
    *slot = (int32_t)learner->nwords++;
}

enum dpt_status dpt_learner_add(struct dpt_learner *learner, const char *source, int64_t offset, const char *text,
                                size_t nbytes)
{
    DPT_TRY(dpt_text__check_utf8(source, offset, text, nbytes));
    for (size_t at = 0; at < nbytes;) {
        const size_t end = dpt_text__split_next(learner->split, text, nbytes, at);
        if (end <= at) {
            return dpt_text__split_failed(learner->split, source, offset + (int64_t)at);
        }
        if (end - at <= WORD_MAX) {
            count_word(learner, text + at, end - at);
        }
        at = end;
    }
    return DPT_STATUS_OK;
}

/* ---------------------------------------------------------------------------------------------------- pairs */

static uint64_t pair_key(int32_t left, int32_t right)
{
    return ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) + 1;
}

static int32_t left_of(uint64_t key)
{
    return (int32_t)((key - 1) >> 32);
}

static int32_t right_of(uint64_t key)
{
    return (int32_t)(uint32_t)(key - 1);
}

static struct pair *find_pair(struct dpt_learner *learner, uint64_t key)
{
    uint64_t at = key * 0x9E3779B97F4A7C15u;
    for (at = (at ^ at >> 32) & learner->pair_mask;; at = (at + 1) & learner->pair_mask) {
        if (learner->pair[at].key == key || learner->pair[at].key == 0) {
            return &learner->pair[at];
        }
    }
}

static void make_pairs(struct dpt_learner *learner, uint64_t mask)
{
    struct pair *old = learner->pair;
    const uint64_t old_mask = learner->pair_mask;
    learner->pair = calloc(mask + 1, sizeof *learner->pair);
    if (!learner->pair) {
        dpt_fatal(DPT_STATUS_SPACE, "out of memory: %llu pairs of tokens", (unsigned long long)mask);
    }
    learner->pair_mask = mask;
    for (uint64_t i = 0; old && i <= old_mask; i++) {
        if (old[i].key != 0) {
            *find_pair(learner, old[i].key) = old[i];
        }
    }
    free(old);
}

/* The pair, entered if it is new. */
static struct pair *get_pair(struct dpt_learner *learner, uint64_t key)
{
    struct pair *pair = find_pair(learner, key);
    if (pair->key == 0) {
        if (learner->npairs * 2 > learner->pair_mask) {
            make_pairs(learner, 2 * learner->pair_mask + 1);
            pair = find_pair(learner, key);
        }
        pair->key = key;
        learner->npairs++;
    }
    return pair;
}

/* Adds a word to the list of a pair, unless it is the last there. */
static void list_word(struct pair *pair, int64_t word)
{
    if (pair->nwords > 0 && pair->word[pair->nwords - 1] == (int32_t)word) {
        return;
    }
    int64_t capacity = pair->capacity;
    if (capacity == 0) {
        capacity = 2; /* most pairs are in few words */
        pair->word = malloc((size_t)capacity * sizeof *pair->word);
        if (!pair->word) {
            dpt_fatal(DPT_STATUS_SPACE, "out of memory: the words of a pair of tokens");
        }
    }
    pair->word = grow(pair->word, pair->nwords, &capacity, sizeof *pair->word);
    pair->capacity = (int32_t)capacity;
    pair->word[pair->nwords++] = (int32_t)word;
}

/* ----------------------------------------------------------------------------------------------------- the heap */

static bool comes_before(struct entry a, struct entry b)
{
    return a.count != b.count ? a.count > b.count : a.key < b.key;
}

static void push(struct dpt_learner *learner, struct entry entry)
{
    learner->heap = grow(learner->heap, learner->nheap, &learner->heap_capacity, sizeof *learner->heap);
    int64_t at = learner->nheap++;
    for (; at > 0 && comes_before(entry, learner->heap[(at - 1) / 2]); at = (at - 1) / 2) {
        learner->heap[at] = learner->heap[(at - 1) / 2];
    }
    learner->heap[at] = entry;
}

static struct entry pop(struct dpt_learner *learner)
{
    struct entry *heap = learner->heap;
    const struct entry first = heap[0], last = heap[--learner->nheap];
    int64_t at = 0;
    for (int64_t child; (child = 2 * at + 1) < learner->nheap; at = child) {
        child += child + 1 < learner->nheap && comes_before(heap[child + 1], heap[child]);
        if (!comes_before(heap[child], last)) {
            break;
        }
        heap[at] = heap[child];
    }
    heap[at] = last;
    return first;
}

/* The pair that comes most often, and at least twice; NULL where there is none. */
static struct pair *most_frequent(struct dpt_learner *learner)
{
    while (learner->nheap > 0) {
        const struct entry entry = pop(learner);
        struct pair *pair = find_pair(learner, entry.key);
        if (pair->count == entry.count) {
            return entry.count >= 2 ? pair : NULL;
        }
        /* It was merged away in part since; what became more was pushed when it did. */
        if (pair->count > 0 && pair->count < entry.count) {
            push(learner, (struct entry){pair->count, pair->key});
        }
    }
    return NULL;
}

/* ----------------------------------------------------------------------------------------------------- learning */

/* Bytes to tokens, in GPT-2's order of bytes; all pairs with their counts. */
static void begin(struct dpt_learner *learner)
{
    int32_t id_of[256];
    for (int i = 0; i < 256; i++) {
        id_of[dpt_text__symbol_order(i)] = i;
    }
    learner->token = malloc(((size_t)learner->npool + 1) * sizeof *learner->token);
    if (!learner->token) {
        dpt_fatal(DPT_STATUS_SPACE, "out of memory: %lld bytes of words", (long long)learner->npool);
    }
    for (int64_t i = 0; i < learner->npool; i++) {
        learner->token[i] = id_of[(unsigned char)learner->pool[i]];
    }
    make_pairs(learner, (1 << 16) - 1);
    for (int64_t i = 0; i < learner->nwords; i++) {
        const struct word *word = &learner->word[i];
        for (int32_t k = 0; k + 1 < word->n; k++) {
            struct pair *pair = get_pair(learner, pair_key(learner->token[word->at + k], learner->token[word->at + k + 1]));
            pair->count += word->count;
            list_word(pair, i);
        }
    }
    for (uint64_t i = 0; i <= learner->pair_mask; i++) {
        if (learner->pair[i].count > 0) {
            push(learner, (struct entry){learner->pair[i].count, learner->pair[i].key});
        }
    }
}

/* Merges a pair in one word: its pairs leave, those of what it becomes come. */
static void merge_word(struct dpt_learner *learner, int64_t index, int32_t left, int32_t right, int32_t result)
{
    struct word *word = &learner->word[index];
    int32_t *token = learner->token + word->at;
    for (int32_t k = 0; k + 1 < word->n; k++) {
        find_pair(learner, pair_key(token[k], token[k + 1]))->count -= word->count;
    }
    int32_t n = 0;
    for (int32_t k = 0; k < word->n; n++) {
        const bool both = k + 1 < word->n && token[k] == left && token[k + 1] == right;
        token[n] = both ? result : token[k];
        k += both ? 2 : 1;
    }
    word->n = n;
    for (int32_t k = 0; k + 1 < n; k++) {
        struct pair *pair = get_pair(learner, pair_key(token[k], token[k + 1]));
        pair->count += word->count;
        if (token[k] == result || token[k + 1] == result) {
            list_word(pair, index);
        }
    }
}

/* Merges a pair in all its words, and pushes what became new. */
static void merge_pair(struct dpt_learner *learner, struct pair *pair, int32_t stamp, int32_t result)
{
    const int32_t left = left_of(pair->key), right = right_of(pair->key);
    /* The list is taken out, since the table may move, and a pair that gives itself again gets a new list. */
    int32_t *list = pair->word;
    const int32_t nwords = pair->nwords;
    pair->word = NULL;
    pair->nwords = pair->capacity = 0;
    for (int32_t i = 0; i < nwords; i++) {
        if (learner->word[list[i]].stamp != stamp) {
            learner->word[list[i]].stamp = stamp;
            merge_word(learner, list[i], left, right, result);
        }
    }
    for (int32_t i = 0; i < nwords; i++) {
        const struct word *word = &learner->word[list[i]];
        const int32_t *token = learner->token + word->at;
        for (int32_t k = 0; k + 1 < word->n; k++) {
            if (token[k] == result || token[k + 1] == result) {
                struct pair *made = find_pair(learner, pair_key(token[k], token[k + 1]));
                if (made->pushed != stamp) {
                    made->pushed = stamp;
                    push(learner, (struct entry){made->count, made->key});
                }
            }
        }
    }
    free(list);
}

/* The id of the bytes of two tokens together: a new one, unless other merges have made the same bytes before. */
static int32_t join(struct dpt_learner *learner, struct dpt_tokenizer *tokenizer, int64_t *ntokens, uint64_t key)
{
    const struct dpt_text__piece *left = &tokenizer->piece[left_of(key)];
    const struct dpt_text__piece *right = &tokenizer->piece[right_of(key)];
    struct dpt_text both = {0};
    dpt_text_append(&both, left->data, left->nbytes);
    dpt_text_append(&both, right->data, right->nbytes);
    int32_t id = -1;
    for (int64_t i = 256; i < *ntokens && id < 0; i++) {
        if (tokenizer->piece[i].nbytes == both.length && memcmp(tokenizer->piece[i].data, both.data, both.length) == 0) {
            id = (int32_t)i;
        }
    }
    if (id < 0) {
        id = (int32_t)(*ntokens)++;
        dpt_text__set_piece(tokenizer, id, both.data, both.length, false);
    }
    dpt_text_free(&both);
    learner->merge = grow(learner->merge, learner->nmerges, &learner->merges_capacity, sizeof *learner->merge);
    learner->merge[learner->nmerges++] =
        (struct dpt_text__merge){left_of(key), right_of(key), id};
    return id;
}

static enum dpt_status learn(struct dpt_learner *learner, struct dpt_tokenizer *tokenizer)
{
    const int64_t wanted = tokenizer->vocab - 1;
    int64_t ntokens = 256;
    for (int i = 0; i < 256; i++) {
        const char byte = (char)dpt_text__symbol_order(i);
        dpt_text__set_piece(tokenizer, i, &byte, 1, false);
    }
    begin(learner);
    for (int32_t stamp = 1; ntokens < wanted; stamp++) {
        struct pair *pair = most_frequent(learner);
        DPT_CHECK(pair, DPT_STATUS_DATA,
                  "a vocabulary of %lld tokens cannot be learned from so little text: after %lld tokens no pair comes "
                  "twice",
                  (long long)wanted + 1, (long long)ntokens + 1);
        merge_pair(learner, pair, stamp, join(learner, tokenizer, &ntokens, pair->key));
    }
    tokenizer->end = (int32_t)wanted;
    dpt_text__set_piece(tokenizer, wanted, DPT_TOKENIZER_END, strlen(DPT_TOKENIZER_END), true);
    return dpt_text__bpe_new("the learned tokenizer", tokenizer, learner->merge, learner->nmerges);
}

enum dpt_status dpt_learner_finish(struct dpt_learner *learner, int64_t vocab, struct dpt_tokenizer **tokenizer)
{
    *tokenizer = NULL;
    DPT_CHECK(vocab > 256 && vocab <= DPT_TEXT__VOCAB_MAX, DPT_STATUS_USAGE,
              "a byte-level BPE of %lld tokens cannot be: expected are 257, for 256 bytes and the end of a text, to %d",
              (long long)vocab, (int)DPT_TEXT__VOCAB_MAX);
    struct dpt_tokenizer *made = dpt_text__new(DPT_TOKENIZER_KIND_BPE, vocab);
    const enum dpt_status status = learn(learner, made);
    if (status != DPT_STATUS_OK) {
        dpt_tokenizer_free(made);
        return status;
    }
    return dpt_text__finish("the learned tokenizer", made, tokenizer);
}
