/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the tests of text/ share: a folder for small files, encoding that must succeed, refusals, keyed numbers. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/rng.h"
#include "text/tokenizer.h"

static char folder[256];

static inline int make_folder(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/dpt-test-XXXXXX", base && *base ? base : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static inline int remove_folder(void **state)
{
    (void)state;
    return dpt_file_remove_dir(folder) == DPT_STATUS_OK ? 0 : -1;
}

/* The path of a file in the folder; eight results live at a time. */
static inline char *path_of(const char *name)
{
    static char path[8][512];
    static int turn;
    turn = (turn + 1) % 8;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static inline void write_bytes(const char *name, const void *bytes, size_t nbytes)
{
    unlink(path_of(name));
    FILE *file = fopen(path_of(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, nbytes, file), nbytes);
    assert_int_equal(fclose(file), 0);
}

static inline void write_text(const char *name, const char *text)
{
    write_bytes(name, text, strlen(text));
}

static inline void must(enum dpt_status status)
{
    if (status != DPT_STATUS_OK) {
        fail_msg("%s", dpt_error_text());
    }
}

/* The last call must have failed with this status and a sentence that holds `words`. */
static inline void refused(enum dpt_status got, enum dpt_status expected, const char *words)
{
    if (got != expected || !strstr(dpt_error_text(), words)) {
        fail_msg("expected status %d and '%s', got %d and '%s'", expected, words, got, dpt_error_text());
    }
}

/* Encodes a text into `tokens`, which are emptied first, and decodes them again: the same bytes. */
static inline void round_trip(struct dpt_tokenizer *tokenizer, const char *text, size_t nbytes, struct dpt_tokens *tokens)
{
    struct dpt_text back = {0};
    tokens->count = 0;
    must(dpt_tokenizer_encode(tokenizer, "text", 0, text, nbytes, tokens));
    must(dpt_tokenizer_decode(tokenizer, tokens->id, tokens->count, &back));
    assert_int_equal(back.length, nbytes);
    if (nbytes) {
        assert_memory_equal(back.data, text, nbytes);
    }
    dpt_text_free(&back);
}

/* Random numbers: `n` words of one stream, one after the other. */
static inline uint32_t draw(uint64_t stream, uint64_t *turn)
{
    uint32_t word[4];
    dpt_rng_words(stream, DPT_RNG_USE_DATA, 0, 0, (*turn)++, word);
    return word[0];
}

/* A piece of keyed text of every kind of sign: letters, digits, spaces, quotes, two to four byte characters, NUL. */
static inline void random_text(uint64_t stream, int pieces, struct dpt_text *text)
{
    static const char *const part[] = {"the", "The", " ", "  ", "\n", "\t", "'s", "'ll", "'", "7", "1984", "!?", "-", "e",
                                       "\xc3\xa9", "\xc2\xa0", "\xe2\x80\x83", "\xe6\xbc\xa2\xe5\xad\x97", "\xc2\xbd",
                                       "\xf0\x9f\x98\x80", "\xcc\x81", "tion", "abababab", "\xe1\xa0\x8e", "\xc2\x85"};
    uint64_t turn = 0;
    text->length = 0;
    for (int i = 0; i < pieces; i++) {
        const char *piece = part[draw(stream, &turn) % (sizeof part / sizeof part[0])];
        dpt_text_append(text, piece, strlen(piece));
    }
}
