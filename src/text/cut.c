/* SPDX-License-Identifier: Apache-2.0 */

#include "text/cut.h"

#include "base/text.h"

/* White space as split.c has it. */
static bool is_space(uint32_t code)
{
    return (code >= 9 && code <= 13) || code == ' ' || code == 0x85 || code == 0xA0 || code == 0x1680 ||
           (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F ||
           code == 0x3000;
}

/* Where the character begins that byte `at` belongs to, as far as the text goes back. */
static size_t begin_of_char(const char *text, size_t at)
{
    size_t back = 0;
    while (at > 0 && back < 3 && ((unsigned char)text[at] & 0xC0) == 0x80) {
        at--;
        back++;
    }
    return at;
}

/* A word never has white space behind other signs, so before such white space no word and no rule goes on. */
static size_t cut_words(const char *text, size_t nbytes)
{
    for (size_t at = nbytes; at-- > 1;) {
        if (is_space((unsigned char)text[at]) && (unsigned char)text[at] < 0x80) {
            uint32_t code;
            const size_t before = begin_of_char(text, at - 1);
            if (dpt_text_char(text + before, at - before, &code) == at - before && !is_space(code)) {
                return at;
            }
        }
    }
    return 0;
}

size_t dpt_text__cut(enum dpt_input_cut cut, const char *text, size_t nbytes)
{
    switch (cut) {
    case DPT_INPUT_CUT_BYTES:
        return nbytes;
    case DPT_INPUT_CUT_CHARS:
        /* The last character may be incomplete; what is no UTF-8 is the reader's to refuse. */
        return nbytes > 0 ? begin_of_char(text, nbytes - 1) : 0;
    case DPT_INPUT_CUT_WORDS:
        return cut_words(text, nbytes);
    }
    return 0;
}
