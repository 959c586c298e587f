/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Text: a growing buffer, the nearest name, numbers for people. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A string that grows; zero-initialise it, release it with dpt_text_free. Ends the job when memory runs out. */
struct dpt_text {
    char *data;    /* NUL-terminated once something was added, else NULL */
    size_t length; /* bytes without the NUL                              */
    size_t capacity;
};

/* Appends formatted text. Local. */
void dpt_text_add(struct dpt_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Appends `nbytes` bytes as they are, NUL among them too. Local. */
void dpt_text_append(struct dpt_text *text, const void *data, size_t nbytes);

/* Appends `string` as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. Local. */
void dpt_text_add_json(struct dpt_text *text, const char *string);

/* Releases the bytes and empties the buffer. Local. */
void dpt_text_free(struct dpt_text *text);

/*
 * Of `count` names the one nearest to `word` (edit distance with transpositions), or NULL where none is near enough
 * to be meant. Local.
 */
const char *dpt_text_nearest(const char *word, const char *const *names, size_t count);

/* True when `data` is well-formed UTF-8 without NUL. Local. */
bool dpt_text_is_utf8(const char *data, size_t length);

/*
 * The length in bytes of the well-formed UTF-8 character at `data`, its code point in *code, or 0 where there is none.
 * At least one byte, at most `left` are read; NUL is a character. Local.
 */
size_t dpt_text_char(const char *data, size_t left, uint32_t *code);

/* Appends a code point as UTF-8. Local. */
void dpt_text_add_char(struct dpt_text *text, uint32_t code);

/* "31.2 GiB", "12 B": writes into `out` (at least 24 bytes) and returns it. Local. */
const char *dpt_text_bytes(char *out, size_t size, uint64_t nbytes);

/* "124.4 M", "9": a count with k, M, G, T; at least 24 bytes. Local. */
const char *dpt_text_count(char *out, size_t size, double count);

/* "5 h 10 min", "31.4 s"; at least 24 bytes. Local. */
const char *dpt_text_time(char *out, size_t size, double seconds);
