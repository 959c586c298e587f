/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Tokenizers in files: tokenizer.json of the `tokenizers` library, which holds all of one, and the older pair
 * vocab.json and merges.txt (encoder.json and vocab.bpe at OpenAI).
 *
 * One form serves all kinds, since the library can say each of them as a BPE: bytes are a byte-level BPE without merges
 * and without splitting into words; characters are a BPE without merges over the plain text. The kind is read from the
 * pre_tokenizer.
 */

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "text/internal.h"

/* ------------------------------------------------------------------------------------------------------ writing */

static void add_piece(const struct dpt_tokenizer *tokenizer, int64_t id, struct dpt_text *symbols, struct dpt_text *json)
{
    const struct dpt_text__piece *piece = &tokenizer->piece[id];
    symbols->length = 0;
    if (piece->special || tokenizer->kind == DPT_TOKENIZER_KIND_CHARS) {
        dpt_text_append(symbols, piece->data, piece->nbytes);
    } else {
        dpt_text__add_symbols(symbols, piece->data, piece->nbytes);
    }
    dpt_text_add_json(json, symbols->data);
}

/* "{"a":0,"b":1}" */
static void add_vocab(const struct dpt_tokenizer *tokenizer, struct dpt_text *json)
{
    struct dpt_text symbols = {0};
    dpt_text_add(json, "{");
    for (int64_t id = 0; id < tokenizer->vocab; id++) {
        dpt_text_append(json, ",", id ? 1 : 0);
        add_piece(tokenizer, id, &symbols, json);
        dpt_text_add(json, ":%lld", (long long)id);
    }
    dpt_text_add(json, "}");
    dpt_text_free(&symbols);
}

/* The two sides of a merge as symbols, with a space between them. */
static void add_merge(const struct dpt_tokenizer *tokenizer, const struct dpt_text__merge *merge, struct dpt_text *text)
{
    const struct dpt_text__piece *left = &tokenizer->piece[merge->left], *right = &tokenizer->piece[merge->right];
    dpt_text__add_symbols(text, left->data, left->nbytes);
    dpt_text_append(text, " ", 1);
    dpt_text__add_symbols(text, right->data, right->nbytes);
}

static const struct dpt_text__merge *merges_of(const struct dpt_tokenizer *tokenizer, int64_t *count)
{
    *count = 0;
    return tokenizer->bpe ? dpt_text__bpe_merges(tokenizer->bpe, count) : NULL;
}

void dpt_tokenizer_json(const struct dpt_tokenizer *tokenizer, struct dpt_text *json)
{
    const bool chars = tokenizer->kind == DPT_TOKENIZER_KIND_CHARS;
    const char *words = tokenizer->kind == DPT_TOKENIZER_KIND_BPE ? "true" : "false";
    dpt_text_add(json, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[");
    int count = 0;
    for (int64_t id = 0; id < tokenizer->vocab; id++) {
        if (tokenizer->piece[id].special) {
            dpt_text_add(json, "%s{\"id\":%lld,\"content\":", count++ ? "," : "", (long long)id);
            dpt_text_add_json(json, tokenizer->piece[id].data);
            dpt_text_add(json, ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,"
                               "\"special\":true}");
        }
    }
    dpt_text_add(json, "],\"normalizer\":null,\"pre_tokenizer\":");
    if (chars) {
        dpt_text_add(json, "null,\"post_processor\":null,\"decoder\":{\"type\":\"Fuse\"}");
    } else {
        const char *level = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":";
        dpt_text_add(json, "%s%s},\"post_processor\":null,\"decoder\":%s%s}", level, words, level, words);
    }
    dpt_text_add(json, ",\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,"
                       "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,"
                       "\"byte_fallback\":false,\"vocab\":");
    add_vocab(tokenizer, json);
    dpt_text_add(json, ",\"merges\":[");
    struct dpt_text line = {0};
    int64_t nmerges;
    const struct dpt_text__merge *merge = merges_of(tokenizer, &nmerges);
    for (int64_t i = 0; i < nmerges; i++) {
        line.length = 0;
        add_merge(tokenizer, &merge[i], &line);
        dpt_text_append(json, ",", i ? 1 : 0);
        dpt_text_add_json(json, line.data);
    }
    dpt_text_free(&line);
    dpt_text_add(json, "]}}");
}

static enum dpt_status write_file(const char *folder, const char *name, const struct dpt_text *text)
{
    struct dpt_text path = {0};
    dpt_text_add(&path, "%s/%s", folder, name);
    const enum dpt_status status = dpt_file_replace(path.data, text->data, text->length);
    dpt_text_free(&path);
    return status;
}

enum dpt_status dpt_tokenizer_save(const struct dpt_tokenizer *tokenizer, const char *folder)
{
    struct dpt_text text = {0};
    dpt_tokenizer_json(tokenizer, &text);
    dpt_text_add(&text, "\n");
    enum dpt_status status = write_file(folder, "tokenizer.json", &text);
    if (status == DPT_STATUS_OK && tokenizer->kind == DPT_TOKENIZER_KIND_BPE) {
        text.length = 0;
        add_vocab(tokenizer, &text);
        dpt_text_add(&text, "\n");
        status = write_file(folder, "vocab.json", &text);
    }
    if (status == DPT_STATUS_OK && tokenizer->kind == DPT_TOKENIZER_KIND_BPE) {
        int64_t nmerges;
        const struct dpt_text__merge *merge = merges_of(tokenizer, &nmerges);
        text.length = 0;
        dpt_text_add(&text, "#version: 0.2\n");
        for (int64_t i = 0; i < nmerges; i++) {
            add_merge(tokenizer, &merge[i], &text);
            dpt_text_add(&text, "\n");
        }
        status = write_file(folder, "merges.txt", &text);
    }
    dpt_text_free(&text);
    return status;
}

/* ----------------------------------------------------------------------------------------------- the vocabulary */

/* What is read from, and what comes of it. */
struct reading {
    const char *name; /* of the file, for messages */
    struct dpt_tokenizer *tokenizer;
    /* ids by the bytes of their pieces, to find the tokens of merges; -1: empty */
    uint64_t mask;
    int32_t *slot;
    struct dpt_text__merge *merge;
    int64_t nmerges, capacity;
};

static int32_t *find_slot(const struct reading *r, const char *data, size_t nbytes)
{
    for (uint64_t at = dpt_hash64(data, nbytes) & r->mask;; at = (at + 1) & r->mask) {
        const int32_t id = r->slot[at];
        if (id < 0 || (r->tokenizer->piece[id].nbytes == nbytes &&
                       memcmp(r->tokenizer->piece[id].data, data, nbytes) == 0)) {
            return &r->slot[at];
        }
    }
}

static enum dpt_status make_slots(struct reading *r)
{
    r->mask = 1023;
    while (r->mask < 2 * (uint64_t)r->tokenizer->vocab) {
        r->mask = 2 * r->mask + 1;
    }
    r->slot = malloc((r->mask + 1) * sizeof *r->slot);
    DPT_CHECK(r->slot, DPT_STATUS_SPACE, "%s: no memory for %lld tokens", r->name, (long long)r->tokenizer->vocab);
    memset(r->slot, -1, (r->mask + 1) * sizeof *r->slot);
    for (int64_t id = 0; id < r->tokenizer->vocab; id++) {
        const struct dpt_text__piece *piece = &r->tokenizer->piece[id];
        if (!piece->special) {
            int32_t *slot = find_slot(r, piece->data, piece->nbytes);
            DPT_CHECK(*slot < 0, DPT_STATUS_DATA, "%s: tokens %ld and %lld are the same", r->name, (long)*slot,
                      (long long)id);
            *slot = (int32_t)id;
        }
    }
    return DPT_STATUS_OK;
}

/* "token "abc"", cut where it is long, for messages. */
static const char *quoted(char *out, size_t size, const char *key)
{
    snprintf(out, size, "\"%.40s\"%s", key, strlen(key) > 40 ? "..." : "");
    return out;
}

/* A vocabulary object: each id from 0 on once, but for those that have a piece already (added tokens). */
static enum dpt_status read_vocab(struct reading *r, const json_t *vocab)
{
    const char *key;
    json_t *value;
    char token[64];
    struct dpt_text bytes = {0};
    enum dpt_status status = DPT_STATUS_OK;
    json_object_foreach((json_t *)vocab, key, value) {
        const int64_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        bytes.length = 0;
        dpt_text_append(&bytes, key, strlen(key));
        int64_t n = (int64_t)bytes.length;
        if (id >= 0 && id < r->tokenizer->vocab && r->tokenizer->piece[id].special &&
            strcmp(r->tokenizer->piece[id].data, key) == 0) {
            continue;
        }
        if (r->tokenizer->kind != DPT_TOKENIZER_KIND_CHARS) {
            n = dpt_text__from_symbols(bytes.data, bytes.length);
        }
        if (n <= 0) {
            status = dpt_error_set(DPT_STATUS_DATA, __FILE__, __LINE__,
                                   "%s: the token %s of the vocabulary stands for no bytes: expected are the characters "
                                   "by which GPT-2 writes bytes",
                                   r->name, quoted(token, sizeof token, key));
            break;
        }
        if (!dpt_text__set_piece(r->tokenizer, id, bytes.data, (size_t)n, false)) {
            status = dpt_error_set(DPT_STATUS_DATA, __FILE__, __LINE__,
                                   "%s: the token %s of the vocabulary has the id %lld: expected are 0 to %lld, each "
                                   "once, and at most %d bytes a token",
                                   r->name, quoted(token, sizeof token, key), (long long)id,
                                   (long long)r->tokenizer->vocab - 1, (int)DPT_TEXT__PIECE_MAX);
            break;
        }
    }
    dpt_text_free(&bytes);
    return status;
}

/* ----------------------------------------------------------------------------------------------------- merges */

/* Adds a merge of two sides written in symbols, which are changed. `place` says where it stands. */
static enum dpt_status add_read_merge(struct reading *r, const char *place, long number, char *left, size_t nleft,
                                      char *right, size_t nright)
{
    const int64_t a = dpt_text__from_symbols(left, nleft), b = dpt_text__from_symbols(right, nright);
    int32_t ids[3] = {-1, -1, -1};
    if (a > 0 && b > 0) {
        ids[0] = *find_slot(r, left, (size_t)a);
        ids[1] = *find_slot(r, right, (size_t)b);
        memmove(left + a, right, (size_t)b);
        ids[2] = *find_slot(r, left, (size_t)(a + b));
    }
    for (int i = 0; i < 3; i++) {
        DPT_CHECK(ids[i] >= 0, DPT_STATUS_DATA, "%s: %s %ld: %s of the merge is not in the vocabulary", r->name, place,
                  number, i == 0 ? "the left side" : i == 1 ? "the right side" : "the result");
    }
    if (r->nmerges == r->capacity) {
        const int64_t capacity = r->capacity ? 2 * r->capacity : 1024;
        struct dpt_text__merge *grown = realloc(r->merge, (size_t)capacity * sizeof *grown);
        DPT_CHECK(grown, DPT_STATUS_SPACE, "%s: no memory for %lld merges", r->name, (long long)capacity);
        r->merge = grown;
        r->capacity = capacity;
    }
    r->merge[r->nmerges++] = (struct dpt_text__merge){ids[0], ids[1], ids[2]};
    return DPT_STATUS_OK;
}

/* "a b" as one merge; `line` has room for nothing more. */
static enum dpt_status read_merge_line(struct reading *r, const char *place, long number, char *line, size_t nbytes)
{
    char *space = memchr(line, ' ', nbytes);
    const size_t nleft = space ? (size_t)(space - line) : 0;
    DPT_CHECK(space && !memchr(space + 1, ' ', nbytes - nleft - 1), DPT_STATUS_DATA,
              "%s: %s %ld: expected are the two sides of a merge with a space between them", r->name, place, number);
    return add_read_merge(r, place, number, line, nleft, space + 1, nbytes - nleft - 1);
}

/* merges.txt: a merge a line; the first line may be a "#version". */
static enum dpt_status read_merges_text(struct reading *r, char *text, size_t nbytes)
{
    long number = 1;
    for (char *line = text, *end; line < text + nbytes; line = end + 1, number++) {
        end = memchr(line, '\n', (size_t)(text + nbytes - line));
        end = end ? end : text + nbytes;
        size_t length = (size_t)(end - line);
        length -= length > 0 && line[length - 1] == '\r';
        if (length == 0 || (number == 1 && strncmp(line, "#version", 8) == 0)) {
            continue;
        }
        DPT_TRY(read_merge_line(r, "line", number, line, length));
    }
    return DPT_STATUS_OK;
}

/* A JSON array of "a b" or of ["a", "b"]. */
static enum dpt_status read_merges_json(struct reading *r, const json_t *merges)
{
    struct dpt_text text = {0};
    enum dpt_status status = DPT_STATUS_OK;
    for (size_t i = 0; i < json_array_size(merges) && status == DPT_STATUS_OK; i++) {
        const json_t *item = json_array_get(merges, i);
        const char *left = json_string_value(json_is_array(item) ? json_array_get(item, 0) : item);
        const char *right = json_string_value(json_array_get(item, 1));
        text.length = 0;
        if (json_is_string(item)) {
            dpt_text_append(&text, left, strlen(left));
            status = read_merge_line(r, "merge", (long)i + 1, text.data, text.length);
        } else if (left && right && json_array_size(item) == 2) {
            dpt_text_append(&text, left, strlen(left));
            dpt_text_append(&text, right, strlen(right));
            status = add_read_merge(r, "merge", (long)i + 1, text.data, strlen(left), text.data + strlen(left),
                                    strlen(right));
        } else {
            status = dpt_error_set(DPT_STATUS_DATA, __FILE__, __LINE__, "%s: merge %zu is no pair of texts", r->name,
                                   i + 1);
        }
    }
    dpt_text_free(&text);
    return status;
}

/* ------------------------------------------------------------------------------------------------ tokenizer.json */

/* True when a key is absent or null. */
static bool is_nothing(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return !value || json_is_null(value);
}

static bool is_empty_text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return is_nothing(object, key) || (value && !*value);
}

/* Which kind of tokenizer this is, or what of it is not known here. */
static enum dpt_status read_kind(const char *name, const json_t *root, enum dpt_tokenizer_kind *kind)
{
    const json_t *model = json_object_get(root, "model"), *before = json_object_get(root, "pre_tokenizer");
    const char *type = json_string_value(json_object_get(model, "type"));
    DPT_CHECK(type && strcmp(type, "BPE") == 0, DPT_STATUS_DATA, "%s: model.type is %s: only BPE is known here", name,
              type ? type : "missing");
    DPT_CHECK(is_nothing(root, "normalizer") && is_empty_text(model, "continuing_subword_prefix") &&
                  is_empty_text(model, "end_of_word_suffix") && !json_is_true(json_object_get(model, "byte_fallback")) &&
                  !json_is_true(json_object_get(model, "ignore_merges")),
              DPT_STATUS_DATA,
              "%s: has a normalizer, byte_fallback, ignore_merges, or marks within words: only GPT-2's kind of BPE is "
              "known here",
              name);
    const size_t nmerges = json_array_size(json_object_get(model, "merges"));
    if (!before || json_is_null(before)) {
        DPT_CHECK(nmerges == 0, DPT_STATUS_DATA,
                  "%s: has merges, but no pre_tokenizer: only GPT-2's kind of BPE is known here", name);
        *kind = DPT_TOKENIZER_KIND_CHARS;
        return DPT_STATUS_OK;
    }
    type = json_string_value(json_object_get(before, "type"));
    const bool words = !json_is_false(json_object_get(before, "use_regex"));
    DPT_CHECK(type && strcmp(type, "ByteLevel") == 0 && !json_is_true(json_object_get(before, "add_prefix_space")) &&
                  (words || nmerges == 0),
              DPT_STATUS_DATA,
              "%s: its pre_tokenizer is %s: only ByteLevel is known here, without add_prefix_space, and with use_regex "
              "where there are merges",
              name, type ? type : "without a type");
    *kind = words ? DPT_TOKENIZER_KIND_BPE : DPT_TOKENIZER_KIND_BYTES;
    return DPT_STATUS_OK;
}

/* The added tokens; each is special here. The one named DPT_TOKENIZER_END, or the only one, ends texts. */
static enum dpt_status read_added(struct reading *r, const json_t *added)
{
    const size_t count = json_array_size(added);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(added, i);
        const char *content = json_string_value(json_object_get(item, "content"));
        const json_t *number = json_object_get(item, "id");
        const int64_t id = json_is_integer(number) ? json_integer_value(number) : -1;
        DPT_CHECK(content && *content && dpt_text__set_piece(r->tokenizer, id, content, strlen(content), true),
                  DPT_STATUS_DATA, "%s: added token %zu has no content, or no id of its own from 0 to %lld", r->name, i,
                  (long long)r->tokenizer->vocab - 1);
        if (count == 1 || strcmp(content, DPT_TOKENIZER_END) == 0) {
            r->tokenizer->end = (int32_t)id;
        }
    }
    return DPT_STATUS_OK;
}

/* Added tokens that the vocabulary does not have as well. */
static int64_t count_extra(const json_t *added, const json_t *vocab)
{
    int64_t count = 0;
    for (size_t i = 0; i < json_array_size(added); i++) {
        const char *content = json_string_value(json_object_get(json_array_get(added, i), "content"));
        count += content && !json_object_get(vocab, content);
    }
    return count;
}

/* What every form needs once vocabulary and added tokens are in. */
static enum dpt_status complete(struct reading *r)
{
    const struct dpt_tokenizer *t = r->tokenizer;
    for (int64_t id = 0; id < t->vocab; id++) {
        DPT_CHECK(t->piece[id].data, DPT_STATUS_DATA, "%s: no token has the id %lld, but there are %lld tokens", r->name,
                  (long long)id, (long long)t->vocab);
    }
    if (t->kind == DPT_TOKENIZER_KIND_BYTES) {
        for (int64_t id = 0; id < t->vocab; id++) {
            DPT_CHECK((id < 256 && !t->piece[id].special && t->piece[id].nbytes == 1 &&
                       (unsigned char)t->piece[id].data[0] == id) ||
                          (id == 256 && t->piece[id].special),
                      DPT_STATUS_DATA, "%s: without use_regex it is for bytes, but the id of token %lld is not its byte",
                      r->name, (long long)id);
        }
        DPT_CHECK(t->vocab >= 256, DPT_STATUS_DATA, "%s: has %lld tokens, but there are 256 bytes", r->name,
                  (long long)t->vocab);
    }
    return t->kind == DPT_TOKENIZER_KIND_BPE ? make_slots(r) : DPT_STATUS_OK;
}

static enum dpt_status start(struct reading *r, enum dpt_tokenizer_kind kind, int64_t vocab)
{
    DPT_CHECK(vocab > 0 && vocab <= DPT_TEXT__VOCAB_MAX, DPT_STATUS_DATA,
              "%s: has %lld tokens: expected are 1 to %d, in an object", r->name, (long long)vocab,
              (int)DPT_TEXT__VOCAB_MAX);
    r->tokenizer = dpt_text__new(kind, vocab);
    return DPT_STATUS_OK;
}

/* Takes what was read apart; the tokenizer is the result when all went well. */
static enum dpt_status finish(struct reading *r, enum dpt_status status, struct dpt_tokenizer **tokenizer)
{
    if (status == DPT_STATUS_OK && r->tokenizer->kind == DPT_TOKENIZER_KIND_BPE) {
        status = dpt_text__bpe_new(r->name, r->tokenizer, r->merge, r->nmerges);
    }
    free(r->slot);
    free(r->merge);
    if (status != DPT_STATUS_OK) {
        dpt_tokenizer_free(r->tokenizer);
        return status;
    }
    return dpt_text__finish(r->name, r->tokenizer, tokenizer);
}

static enum dpt_status read_root(struct reading *r, const json_t *root)
{
    enum dpt_tokenizer_kind kind = DPT_TOKENIZER_KIND_BPE;
    DPT_CHECK(json_is_object(root), DPT_STATUS_DATA, "%s: is no JSON object", r->name);
    DPT_TRY(read_kind(r->name, root, &kind));
    const json_t *model = json_object_get(root, "model"), *added = json_object_get(root, "added_tokens");
    const json_t *vocab = json_object_get(model, "vocab");
    DPT_TRY(start(r, kind, (int64_t)json_object_size(vocab) + count_extra(added, vocab)));
    DPT_TRY(read_added(r, added));
    DPT_TRY(read_vocab(r, vocab));
    DPT_TRY(complete(r));
    return read_merges_json(r, json_object_get(model, "merges"));
}

static enum dpt_status parse(const char *name, const char *json, size_t nbytes, json_t **root)
{
    json_error_t error;
    *root = json_loadb(json, nbytes, JSON_REJECT_DUPLICATES, &error);
    DPT_CHECK(*root, DPT_STATUS_DATA, "%s: line %d, column %d: %s", name, error.line, error.column, error.text);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_tokenizer_read(const char *name, const char *json, size_t nbytes, struct dpt_tokenizer **tokenizer)
{
    struct reading r = {.name = name};
    json_t *root;
    *tokenizer = NULL;
    DPT_TRY(parse(name, json, nbytes, &root));
    const enum dpt_status status = read_root(&r, root);
    json_decref(root);
    return finish(&r, status, tokenizer);
}

/* --------------------------------------------------------------------------------------------- finding the files */

static enum dpt_status read_pair(struct reading *r, const json_t *vocab, const char *merges_path)
{
    DPT_TRY(start(r, DPT_TOKENIZER_KIND_BPE, (int64_t)json_object_size(vocab)));
    const json_t *end = json_object_get(vocab, DPT_TOKENIZER_END);
    if (json_is_integer(end) && dpt_text__set_piece(r->tokenizer, json_integer_value(end), DPT_TOKENIZER_END,
                                                    strlen(DPT_TOKENIZER_END), true)) {
        r->tokenizer->end = (int32_t)json_integer_value(end);
    }
    DPT_TRY(read_vocab(r, vocab));
    DPT_TRY(complete(r));
    char *text;
    size_t nbytes;
    r->name = merges_path;
    DPT_TRY(dpt_file_read(merges_path, DPT_TEXT__FILE_MAX, &text, &nbytes));
    const enum dpt_status status = read_merges_text(r, text, nbytes);
    free(text);
    return status;
}

static enum dpt_status load_pair(const char *vocab_path, const char *merges_path, struct dpt_tokenizer **tokenizer)
{
    struct reading r = {.name = vocab_path};
    char *text;
    size_t nbytes;
    json_t *vocab;
    DPT_TRY(dpt_file_read(vocab_path, DPT_TEXT__FILE_MAX, &text, &nbytes));
    enum dpt_status status = parse(vocab_path, text, nbytes, &vocab);
    free(text);
    DPT_TRY(status);
    status = read_pair(&r, vocab, merges_path);
    json_decref(vocab);
    return finish(&r, status, tokenizer);
}

static enum dpt_status load_json(const char *path, struct dpt_tokenizer **tokenizer)
{
    char *text;
    size_t nbytes;
    DPT_TRY(dpt_file_read(path, DPT_TEXT__FILE_MAX, &text, &nbytes));
    const enum dpt_status status = dpt_tokenizer_read(path, text, nbytes, tokenizer);
    free(text);
    return status;
}

enum dpt_status dpt_tokenizer_load(const char *path, struct dpt_tokenizer **tokenizer)
{
    static const char *const pair[2][2] = {{"vocab.json", "merges.txt"}, {"encoder.json", "vocab.bpe"}};
    struct dpt_arena *arena = dpt_arena_new();
    const char *whole = dpt_arena_printf(arena, "%s/tokenizer.json", path), *vocab = NULL, *merges = NULL;
    *tokenizer = NULL;
    for (int i = 0; i < 2 && !vocab; i++) {
        const char *v = dpt_arena_printf(arena, "%s/%s", path, pair[i][0]);
        const char *m = dpt_arena_printf(arena, "%s/%s", path, pair[i][1]);
        if (dpt_file_exists(v) && dpt_file_exists(m)) {
            vocab = v;
            merges = m;
        }
    }
    enum dpt_status status;
    if (dpt_file_exists(whole)) {
        status = load_json(whole, tokenizer);
    } else if (vocab) {
        status = load_pair(vocab, merges, tokenizer);
    } else if (dpt_file_is_folder(path)) {
        status = dpt_error_set(DPT_STATUS_DATA, __FILE__, __LINE__,
                               "%s: has no tokenizer.json, no vocab.json with merges.txt, no encoder.json with vocab.bpe",
                               path);
    } else {
        status = load_json(path, tokenizer);
    }
    dpt_arena_free(arena);
    return status;
}
