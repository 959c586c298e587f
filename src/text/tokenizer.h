/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * text/: text to token ids and back (bytes, characters, GPT-2's byte-level BPE), learning such a BPE, and the streams
 * of text that dpt-data tokenizes. It promises that decoding what was encoded gives the same bytes, that ids are those
 * of the published GPT-2 tokenizer where its files are loaded, and that hostile files are refused with file, place and
 * reason. It knows nothing of data sets, models and ranks.
 *
 * This header: a tokenizer, and how it is kept in files.
 *
 *   bytes   id = the byte
 *   chars   one id a character (Unicode code point) of a given alphabet, in the order of code points
 *   bpe     GPT-2's: the text is split into words by a fixed pattern, and in each word the neighbours that stand first
 *           in a list of merges become one token, again and again
 *
 * Any of them may have an end-of-text token, which stands between documents. It is never made from text: the
 * characters "<|endoftext|>" in a text are text.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"

#define DPT_TOKENIZER_END "<|endoftext|>"

enum dpt_tokenizer_kind { DPT_TOKENIZER_KIND_BYTES, DPT_TOKENIZER_KIND_CHARS, DPT_TOKENIZER_KIND_BPE };

struct dpt_tokenizer;

/* Token ids that grow; zero-initialise it, release it with dpt_tokens_free. Ends the job when memory runs out. */
struct dpt_tokens {
    int32_t *id;
    int64_t count;
    int64_t capacity;
};

/* Room for `more` ids behind the last. Local. */
void dpt_tokens_reserve(struct dpt_tokens *tokens, int64_t more);

/* Releases the ids and empties the list. Local. */
void dpt_tokens_free(struct dpt_tokens *tokens);

/* ------------------------------------------------------------------------------------------------------- making */

/* 256 tokens, and 256 for the end of a text when `end`. Freed by dpt_tokenizer_free. Local. */
enum dpt_status dpt_tokenizer_new_bytes(bool end, struct dpt_tokenizer **tokenizer);

/*
 * A token for each of `count` code points (ascending, each once), and one more for the end of a text when `end`.
 * DPT_STATUS_DATA where there is none or one is no character. Freed by dpt_tokenizer_free. Local.
 */
enum dpt_status dpt_tokenizer_new_chars(const uint32_t *code, int64_t count, bool end,
                                        struct dpt_tokenizer **tokenizer);

/*
 * Reads a tokenizer: a folder that has tokenizer.json, or vocab.json and merges.txt, or encoder.json and vocab.bpe; or
 * the file tokenizer.json itself. DPT_STATUS_DATA with file and place. Freed by dpt_tokenizer_free. Local.
 */
enum dpt_status dpt_tokenizer_load(const char *path, struct dpt_tokenizer **tokenizer);

/* The same from the text of a tokenizer.json, such as a checkpoint carries; `name` is for messages. Local. */
enum dpt_status dpt_tokenizer_read(const char *name, const char *json, size_t nbytes,
                                   struct dpt_tokenizer **tokenizer);

/* NULL is fine. Local. */
void dpt_tokenizer_free(struct dpt_tokenizer *tokenizer);

/* ------------------------------------------------------------------------------------------------------ keeping */

/*
 * Appends the tokenizer as one JSON object, the text of a tokenizer.json as the `tokenizers` library of Hugging Face
 * reads it, without a newline at its end. Local.
 */
void dpt_tokenizer_json(const struct dpt_tokenizer *tokenizer, struct dpt_text *json);

/*
 * Writes tokenizer.json into a folder that exists, and for a BPE vocab.json and merges.txt too. DPT_STATUS_SPACE,
 * DPT_STATUS_FAILED. Local.
 */
enum dpt_status dpt_tokenizer_save(const struct dpt_tokenizer *tokenizer, const char *folder);

/* ---------------------------------------------------------------------------------------------------- describing */

enum dpt_tokenizer_kind dpt_tokenizer_kind(const struct dpt_tokenizer *tokenizer);

/* How many tokens there are: ids are 0 to this - 1. Local. */
int64_t dpt_tokenizer_vocab(const struct dpt_tokenizer *tokenizer);

/* The end-of-text token, or -1 where there is none. Local. */
int32_t dpt_tokenizer_end(const struct dpt_tokenizer *tokenizer);

/* The same for equal tokenizers, whatever files they come from. Local. */
uint64_t dpt_tokenizer_hash(const struct dpt_tokenizer *tokenizer);

/* "bytes", "65 characters", "byte-level BPE of 50257 tokens": at least 48 bytes; returns `out`. Local. */
const char *dpt_tokenizer_name(const struct dpt_tokenizer *tokenizer, char *out, size_t size);

/*
 * The bytes of a token (not always whole characters) and their number; of the end-of-text token its name. `id` is in
 * the vocabulary. Valid until free. Local.
 */
const char *dpt_tokenizer_piece(const struct dpt_tokenizer *tokenizer, int32_t id, size_t *nbytes);

/* ------------------------------------------------------------------------------------------------- using it */

/*
 * Appends the tokens of a text. Only bytes take text that is not UTF-8; `source` names the text and `offset` counts
 * what stood before it there, for messages ("SOURCE: byte 17 ..."). DPT_STATUS_DATA; what was appended before the place
 * stays. Not for two threads at once. Local.
 */
enum dpt_status dpt_tokenizer_encode(struct dpt_tokenizer *tokenizer, const char *source, int64_t offset,
                                     const char *text, size_t nbytes, struct dpt_tokens *tokens);

/*
 * Appends the bytes of `count` tokens to a text. DPT_STATUS_DATA when an id is not in the vocabulary. Local.
 */
enum dpt_status dpt_tokenizer_decode(const struct dpt_tokenizer *tokenizer, const int32_t *id, int64_t count,
                                     struct dpt_text *text);
