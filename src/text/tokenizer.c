/* SPDX-License-Identifier: Apache-2.0 */

/* Tokenizers of any kind: making, describing, bytes and characters, decoding. */

#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "text/internal.h"

/* ------------------------------------------------------------------------------------------------------- ids */

void dpt_tokens_reserve(struct dpt_tokens *tokens, int64_t more)
{
    DPT_ASSERT(more >= 0 && tokens->count <= INT64_MAX / 16 - more);
    const int64_t need = tokens->count + more;
    if (need <= tokens->capacity) {
        return;
    }
    int64_t capacity = tokens->capacity ? tokens->capacity : 1024;
    while (capacity < need) {
        capacity *= 2;
    }
    int32_t *id = realloc(tokens->id, (size_t)capacity * sizeof *id);
    if (!id) {
        dpt_fatal(DPT_STATUS_SPACE, "out of memory: %lld tokens could not be held", (long long)capacity);
    }
    tokens->id = id;
    tokens->capacity = capacity;
}

void dpt_tokens_free(struct dpt_tokens *tokens)
{
    free(tokens->id);
    *tokens = (struct dpt_tokens){0};
}

/* ---------------------------------------------------------------------------------------------------- making */

struct dpt_tokenizer *dpt_text__new(enum dpt_tokenizer_kind kind, int64_t vocab)
{
    struct dpt_arena *arena = dpt_arena_new();
    struct dpt_tokenizer *tokenizer = dpt_arena_alloc(arena, sizeof *tokenizer);
    tokenizer->arena = arena;
    tokenizer->kind = kind;
    tokenizer->vocab = vocab;
    tokenizer->end = -1;
    tokenizer->piece = dpt_arena_array(arena, (size_t)vocab, sizeof *tokenizer->piece);
    return tokenizer;
}

bool dpt_text__set_piece(struct dpt_tokenizer *tokenizer, int64_t id, const char *data, size_t nbytes, bool special)
{
    if (id < 0 || id >= tokenizer->vocab || tokenizer->piece[id].data || nbytes > DPT_TEXT__PIECE_MAX) {
        return false;
    }
    char *copy = dpt_arena_alloc(tokenizer->arena, nbytes + 1);
    memcpy(copy, data, nbytes);
    tokenizer->piece[id] = (struct dpt_text__piece){.data = copy, .nbytes = nbytes, .special = special};
    return true;
}

/* Enters each character of the pieces into the alphabet. */
static enum dpt_status make_alphabet(const char *name, struct dpt_tokenizer *tokenizer)
{
    for (int64_t id = 0; id < tokenizer->vocab; id++) {
        const struct dpt_text__piece *piece = &tokenizer->piece[id];
        uint32_t code = 0;
        if (piece->special) {
            continue;
        }
        DPT_CHECK(piece->nbytes > 0 && dpt_text_char(piece->data, piece->nbytes, &code) == piece->nbytes && code != 0,
                  DPT_STATUS_DATA, "%s: token %lld is not one character", name, (long long)id);
        int32_t **page = &tokenizer->page[code / DPT_TEXT__PAGE];
        if (!*page) {
            *page = dpt_arena_array(tokenizer->arena, DPT_TEXT__PAGE, sizeof **page);
            memset(*page, -1, DPT_TEXT__PAGE * sizeof **page);
        }
        DPT_CHECK((*page)[code % DPT_TEXT__PAGE] < 0, DPT_STATUS_DATA, "%s: tokens %ld and %lld are the same character",
                  name, (long)(*page)[code % DPT_TEXT__PAGE], (long long)id);
        (*page)[code % DPT_TEXT__PAGE] = (int32_t)id;
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_text__finish(const char *name, struct dpt_tokenizer *tokenizer, struct dpt_tokenizer **out)
{
    if (tokenizer->kind == DPT_TOKENIZER_KIND_CHARS) {
        const enum dpt_status status = make_alphabet(name, tokenizer);
        if (status != DPT_STATUS_OK) {
            dpt_tokenizer_free(tokenizer);
            return status;
        }
    }
    struct dpt_text json = {0};
    dpt_tokenizer_json(tokenizer, &json);
    tokenizer->hash = dpt_hash64(json.data, json.length);
    dpt_text_free(&json);
    *out = tokenizer;
    return DPT_STATUS_OK;
}

static void set_end(struct dpt_tokenizer *tokenizer)
{
    tokenizer->end = (int32_t)tokenizer->vocab - 1;
    dpt_text__set_piece(tokenizer, tokenizer->end, DPT_TOKENIZER_END, strlen(DPT_TOKENIZER_END), true);
}

enum dpt_status dpt_tokenizer_new_bytes(bool end, struct dpt_tokenizer **tokenizer)
{
    struct dpt_tokenizer *made = dpt_text__new(DPT_TOKENIZER_KIND_BYTES, end ? 257 : 256);
    for (int i = 0; i < 256; i++) {
        const char byte = (char)i;
        dpt_text__set_piece(made, i, &byte, 1, false);
    }
    if (end) {
        set_end(made);
    }
    return dpt_text__finish("bytes", made, tokenizer);
}

enum dpt_status dpt_tokenizer_new_chars(const uint32_t *code, int64_t count, bool end,
                                        struct dpt_tokenizer **tokenizer)
{
    *tokenizer = NULL;
    DPT_CHECK(count > 0, DPT_STATUS_DATA, "the text has no characters to make a tokenizer of");
    DPT_ASSERT(count <= 0x110000);
    struct dpt_tokenizer *made = dpt_text__new(DPT_TOKENIZER_KIND_CHARS, count + end);
    struct dpt_text text = {0};
    for (int64_t i = 0; i < count; i++) {
        text.length = 0;
        dpt_text_add_char(&text, code[i]);
        dpt_text__set_piece(made, i, text.data, text.length, false);
    }
    dpt_text_free(&text);
    if (end) {
        set_end(made);
    }
    return dpt_text__finish("characters", made, tokenizer);
}

void dpt_tokenizer_free(struct dpt_tokenizer *tokenizer)
{
    if (!tokenizer) {
        return;
    }
    dpt_text__bpe_free(tokenizer->bpe);
    dpt_arena_free(tokenizer->arena);
}

/* ------------------------------------------------------------------------------------------------ describing */

enum dpt_tokenizer_kind dpt_tokenizer_kind(const struct dpt_tokenizer *tokenizer)
{
    return tokenizer->kind;
}

int64_t dpt_tokenizer_vocab(const struct dpt_tokenizer *tokenizer)
{
    return tokenizer->vocab;
}

int32_t dpt_tokenizer_end(const struct dpt_tokenizer *tokenizer)
{
    return tokenizer->end;
}

uint64_t dpt_tokenizer_hash(const struct dpt_tokenizer *tokenizer)
{
    return tokenizer->hash;
}

const char *dpt_tokenizer_name(const struct dpt_tokenizer *tokenizer, char *out, size_t size)
{
    switch (tokenizer->kind) {
    case DPT_TOKENIZER_KIND_BYTES:
        snprintf(out, size, "bytes");
        break;
    case DPT_TOKENIZER_KIND_CHARS:
        snprintf(out, size, "%lld characters", (long long)tokenizer->vocab - (tokenizer->end >= 0));
        break;
    case DPT_TOKENIZER_KIND_BPE:
        snprintf(out, size, "byte-level BPE of %lld tokens", (long long)tokenizer->vocab);
        break;
    }
    return out;
}

const char *dpt_tokenizer_piece(const struct dpt_tokenizer *tokenizer, int32_t id, size_t *nbytes)
{
    DPT_ASSERT(id >= 0 && id < tokenizer->vocab);
    *nbytes = tokenizer->piece[id].nbytes;
    return tokenizer->piece[id].data;
}

/* ------------------------------------------------------------------------------------------------- using it */

static enum dpt_status not_utf8(const char *source, int64_t at)
{
    return dpt_error_set(DPT_STATUS_DATA, __FILE__, __LINE__,
                         "%s: byte %lld is not UTF-8: convert the text with iconv(1), or take bytes as tokens (-t bytes)",
                         source, (long long)at);
}

static void encode_bytes(const char *text, size_t nbytes, struct dpt_tokens *tokens)
{
    dpt_tokens_reserve(tokens, (int64_t)nbytes);
    int32_t *id = tokens->id + tokens->count;
    for (size_t i = 0; i < nbytes; i++) {
        id[i] = (unsigned char)text[i];
    }
    tokens->count += (int64_t)nbytes;
}

static enum dpt_status encode_chars(const struct dpt_tokenizer *tokenizer, const char *source, int64_t offset,
                                    const char *text, size_t nbytes, struct dpt_tokens *tokens)
{
    dpt_tokens_reserve(tokens, (int64_t)nbytes);
    for (size_t at = 0; at < nbytes;) {
        uint32_t code;
        const size_t n = dpt_text_char(text + at, nbytes - at, &code);
        if (n == 0) {
            return not_utf8(source, offset + (int64_t)at);
        }
        const int32_t *page = tokenizer->page[code / DPT_TEXT__PAGE];
        const int32_t id = page ? page[code % DPT_TEXT__PAGE] : -1;
        DPT_CHECK(id >= 0, DPT_STATUS_DATA,
                  "%s: byte %lld: the character U+%04X is not among the %lld that the tokenizer knows", source,
                  (long long)(offset + (int64_t)at), (unsigned)code, (long long)tokenizer->vocab - (tokenizer->end >= 0));
        tokens->id[tokens->count++] = id;
        at += n;
    }
    return DPT_STATUS_OK;
}

/* Bytes at the beginning that are whole UTF-8 characters. */
static size_t utf8_prefix(const char *text, size_t nbytes)
{
    size_t at = 0;
    while (at < nbytes) {
        uint64_t eight;
        if (nbytes - at >= 8 && (memcpy(&eight, text + at, 8), (eight & 0x8080808080808080u) == 0)) {
            at += 8;
            continue;
        }
        uint32_t code;
        const size_t n = dpt_text_char(text + at, nbytes - at, &code);
        if (n == 0) {
            break;
        }
        at += n;
    }
    return at;
}

enum dpt_status dpt_text__check_utf8(const char *source, int64_t offset, const char *text, size_t nbytes)
{
    const size_t good = utf8_prefix(text, nbytes);
    return good == nbytes ? DPT_STATUS_OK : not_utf8(source, offset + (int64_t)good);
}

enum dpt_status dpt_tokenizer_encode(struct dpt_tokenizer *tokenizer, const char *source, int64_t offset,
                                     const char *text, size_t nbytes, struct dpt_tokens *tokens)
{
    switch (tokenizer->kind) {
    case DPT_TOKENIZER_KIND_BYTES:
        encode_bytes(text, nbytes, tokens);
        break;
    case DPT_TOKENIZER_KIND_CHARS:
        return encode_chars(tokenizer, source, offset, text, nbytes, tokens);
    case DPT_TOKENIZER_KIND_BPE:
        DPT_TRY(dpt_text__check_utf8(source, offset, text, nbytes));
        return dpt_text__bpe_encode(tokenizer->bpe, source, offset, text, nbytes, tokens);
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_tokenizer_decode(const struct dpt_tokenizer *tokenizer, const int32_t *id, int64_t count,
                                     struct dpt_text *text)
{
    for (int64_t i = 0; i < count; i++) {
        DPT_CHECK(id[i] >= 0 && id[i] < tokenizer->vocab, DPT_STATUS_DATA,
                  "token %lld is %ld, but the tokenizer has the tokens 0 to %lld", (long long)i, (long)id[i],
                  (long long)tokenizer->vocab - 1);
        dpt_text_append(text, tokenizer->piece[id[i]].data, tokenizer->piece[id[i]].nbytes);
    }
    return DPT_STATUS_OK;
}
