/* SPDX-License-Identifier: Apache-2.0 */

/* The characters by which GPT-2's files write bytes. */

#include "text/internal.h"

static bool is_printable(int byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

uint32_t dpt_text__symbol(unsigned char byte)
{
    if (is_printable(byte)) {
        return byte;
    }
    /* The others are 0 to 32, 127 to 160 and 173. */
    return 256u + (byte <= 32 ? byte : byte <= 160 ? byte - 94u : 67u);
}

/* The byte of a code point, or -1. */
static int from_symbol(uint32_t code)
{
    if (code < 256) {
        return is_printable((int)code) ? (int)code : -1;
    }
    const int n = (int)(code - 256);
    return code > 256 + 67 ? -1 : n <= 32 ? n : n <= 66 ? n + 94 : 173;
}

unsigned char dpt_text__symbol_order(int n)
{
    DPT_ASSERT(n >= 0 && n < 256);
    /* 94 from 33 on, 12 from 161 on, 82 from 174 on, then the 68 others in order. */
    const int byte = n < 94 ? n + 33 : n < 106 ? n - 94 + 161 : n < 188 ? n - 106 + 174 : from_symbol(256u + (uint32_t)n - 188);
    return (unsigned char)byte;
}

void dpt_text__add_symbols(struct dpt_text *text, const char *data, size_t nbytes)
{
    for (size_t i = 0; i < nbytes; i++) {
        dpt_text_add_char(text, dpt_text__symbol((unsigned char)data[i]));
    }
}

int64_t dpt_text__from_symbols(char *data, size_t nbytes)
{
    int64_t count = 0;
    for (size_t at = 0; at < nbytes;) {
        uint32_t code;
        const size_t n = dpt_text_char(data + at, nbytes - at, &code);
        const int byte = n ? from_symbol(code) : -1;
        if (byte < 0) {
            return -1;
        }
        data[count++] = (char)byte;
        at += n;
    }
    return count;
}
