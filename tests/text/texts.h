/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the tests of text/ share beside files: encoding that must succeed, texts of every kind of sign. */

#include "../folder.h"
#include "text/tokenizer.h"

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
