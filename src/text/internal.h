/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Room-private: what a tokenizer holds, and the two halves of a BPE: splitting into words, merging in a word. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "text/tokenizer.h"

enum {
    DPT_TEXT__PAGE = 256,                                 /* code points of a page of the alphabet           */
    DPT_TEXT__PAGES = 0x110000 / DPT_TEXT__PAGE,
    DPT_TEXT__VOCAB_MAX = 1 << 24,                        /* more tokens than this are taken for a mistake   */
    DPT_TEXT__PIECE_MAX = 1 << 16,                        /* bytes of a token                                */
    DPT_TEXT__FILE_MAX = 1 << 28,                         /* bytes of a tokenizer's file                     */
};

struct dpt_text__piece {
    const char *data; /* NULL: not given yet */
    size_t nbytes;
    bool special; /* never made from text */
};

struct dpt_text__bpe;

struct dpt_tokenizer {
    enum dpt_tokenizer_kind kind;
    struct dpt_arena *arena;
    int64_t vocab;
    int32_t end;                       /* -1: none                                                  */
    struct dpt_text__piece *piece;     /* [vocab]                                                   */
    int32_t *page[DPT_TEXT__PAGES];    /* chars: of each page the ids, -1 where there is none; NULL: none on the page */
    struct dpt_text__bpe *bpe;         /* bpe                                                       */
    uint64_t hash;
};

/* -------------------------------------------------------------------------------------------- tokenizer.c */

/* A tokenizer without pieces. Local. */
struct dpt_tokenizer *dpt_text__new(enum dpt_tokenizer_kind kind, int64_t vocab);

/* Gives a token its bytes; false when the id is out of range or has some. Local. */
bool dpt_text__set_piece(struct dpt_tokenizer *tokenizer, int64_t id, const char *data, size_t nbytes, bool special);

/*
 * Makes what encoding needs, once all pieces are there: the alphabet of chars, the hash. Frees the tokenizer when it
 * fails. `name` is for messages. DPT_STATUS_DATA. Local.
 */
enum dpt_status dpt_text__finish(const char *name, struct dpt_tokenizer *tokenizer, struct dpt_tokenizer **out);

/* DPT_STATUS_DATA with the place of the first byte that is not UTF-8, as dpt_tokenizer_encode says it. Local. */
enum dpt_status dpt_text__check_utf8(const char *source, int64_t offset, const char *text, size_t nbytes);

/* ------------------------------------------------------------------------------------------------ symbols.c */

/*
 * GPT-2 writes each byte as one printable character: 33 to 126, 161 to 172 and 174 to 255 as themselves, the others as
 * 256, 257 ... in order. dpt_text__symbol gives the code point of a byte, dpt_text__symbol_order the byte that is the
 * n-th of GPT-2's vocabulary. Local.
 */
uint32_t dpt_text__symbol(unsigned char byte);
unsigned char dpt_text__symbol_order(int n);

/* Appends bytes as such characters. Local. */
void dpt_text__add_symbols(struct dpt_text *text, const char *data, size_t nbytes);

/* Turns such characters into bytes, in place; returns how many, or -1 when one stands for no byte. Local. */
int64_t dpt_text__from_symbols(char *data, size_t nbytes);

/* --------------------------------------------------------------------------------------------------- bpe.c */

struct dpt_text__merge {
    int32_t left, right, result;
};

/*
 * Gives a tokenizer whose pieces are complete its merges, in order of rank. DPT_STATUS_DATA when a byte has no token;
 * merges were checked by the caller, but a pair that comes twice is refused here. Local.
 */
enum dpt_status dpt_text__bpe_new(const char *name, struct dpt_tokenizer *tokenizer,
                                  const struct dpt_text__merge *merge, int64_t nmerges);
void dpt_text__bpe_free(struct dpt_text__bpe *bpe);

/* The merges and their number. Local. */
const struct dpt_text__merge *dpt_text__bpe_merges(const struct dpt_text__bpe *bpe, int64_t *nmerges);

/* Appends the tokens of a text that is known to be UTF-8. Local. */
enum dpt_status dpt_text__bpe_encode(struct dpt_text__bpe *bpe, const char *source, int64_t offset, const char *text,
                                     size_t nbytes, struct dpt_tokens *tokens);

/* ------------------------------------------------------------------------------------------------- split.c */

struct dpt_text__split;

/* GPT-2's pattern, compiled. DPT_STATUS_FAILED, DPT_STATUS_SPACE. Local. */
enum dpt_status dpt_text__split_new(struct dpt_text__split **split);
void dpt_text__split_free(struct dpt_text__split *split);

/*
 * The end of the word that begins at `at` < nbytes in a text that is known to be UTF-8; 0 when PCRE2 gave up, which
 * dpt_text__split_failed then turns into a status: the word at byte `place` of `source`. Local.
 */
size_t dpt_text__split_next(struct dpt_text__split *split, const char *text, size_t nbytes, size_t at);
enum dpt_status dpt_text__split_failed(const struct dpt_text__split *split, const char *source, int64_t place);
