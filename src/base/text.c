/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"

static void reserve(struct dpt_text *text, size_t more)
{
    const size_t need = text->length + more + 1;
    if (need <= text->capacity) {
        return;
    }
    size_t capacity = text->capacity ? text->capacity : 256;
    while (capacity < need) {
        capacity *= 2;
    }
    char *data = realloc(text->data, capacity);
    if (!data) {
        dpt_fatal(DPT_STATUS_SPACE, "out of memory: %zu bytes for text could not be had", capacity);
    }
    text->data = data;
    text->capacity = capacity;
}

void dpt_text_add(struct dpt_text *text, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    const int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    DPT_ASSERT(length >= 0);
    reserve(text, (size_t)length);
    vsnprintf(text->data + text->length, (size_t)length + 1, format, again);
    va_end(again);
    text->length += (size_t)length;
}

void dpt_text_append(struct dpt_text *text, const void *data, size_t nbytes)
{
    reserve(text, nbytes);
    if (nbytes) {
        memcpy(text->data + text->length, data, nbytes);
    }
    text->length += nbytes;
    text->data[text->length] = '\0';
}

/* The length in bytes of the well-formed UTF-8 character at `s`, or 0. `left` bytes may be read. */
static size_t utf8_length(const unsigned char *s, size_t left)
{
    if (s[0] < 0x80) {
        return 1;
    }
    const size_t n = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    if (s[0] < 0xC2 || s[0] > 0xF4 || left < n) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    const bool overlong = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xF0 && s[1] < 0x90);
    const bool surrogate = s[0] == 0xED && s[1] > 0x9F;
    const bool beyond = s[0] == 0xF4 && s[1] > 0x8F;
    return overlong || surrogate || beyond ? 0 : n;
}

size_t dpt_text_char(const char *data, size_t left, uint32_t *code)
{
    const unsigned char *s = (const unsigned char *)data;
    const size_t n = utf8_length(s, left);
    uint32_t c = n <= 1 ? s[0] : s[0] & (0xFFu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        c = c << 6 | (s[i] & 0x3Fu);
    }
    *code = c;
    return n;
}

void dpt_text_add_char(struct dpt_text *text, uint32_t code)
{
    char out[4];
    const size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; code >>= 6) {
        out[i] = (char)(0x80 | (code & 0x3F));
    }
    out[0] = (char)(n == 1 ? code : (0xF00u >> n & 0xFFu) | code);
    dpt_text_append(text, out, n);
}

void dpt_text_add_json(struct dpt_text *text, const char *string)
{
    const unsigned char *s = (const unsigned char *)string;
    size_t left = strlen(string);
    dpt_text_append(text, "\"", 1);
    while (left) {
        const size_t n = utf8_length(s, left);
        if (n == 0) {
            dpt_text_append(text, "\\ufffd", 6);
        } else if (*s == '"' || *s == '\\') {
            const char escaped[2] = {'\\', (char)*s};
            dpt_text_append(text, escaped, 2);
        } else if (*s < 0x20) {
            dpt_text_add(text, "\\u%04x", *s);
        } else {
            dpt_text_append(text, s, n);
        }
        s += n ? n : 1;
        left -= n ? n : 1;
    }
    dpt_text_append(text, "\"", 1);
}

void dpt_text_free(struct dpt_text *text)
{
    free(text->data);
    *text = (struct dpt_text){0};
}

bool dpt_text_is_utf8(const char *data, size_t length)
{
    const unsigned char *s = (const unsigned char *)data;
    while (length) {
        const size_t n = *s ? utf8_length(s, length) : 0;
        if (n == 0) {
            return false;
        }
        s += n;
        length -= n;
    }
    return true;
}

enum { WORD_MAX = 64 };

/* Optimal string alignment distance of two words of at most WORD_MAX bytes. */
static int distance(const char *a, const char *b)
{
    const int na = (int)strlen(a), nb = (int)strlen(b);
    int row[3][WORD_MAX + 1];
    for (int j = 0; j <= nb; j++) {
        row[1][j] = j;
    }
    for (int i = 1; i <= na; i++) {
        /* Three rows in turn: i - 2, i - 1, i. */
        const int *before = row[(i + 2) % 3], *last = row[i % 3];
        int *now = row[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= nb; j++) {
            int d = last[j - 1] + (a[i - 1] != b[j - 1]);
            d = last[j] + 1 < d ? last[j] + 1 : d;
            d = now[j - 1] + 1 < d ? now[j - 1] + 1 : d;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < d) {
                d = before[j - 2] + 1;
            }
            now[j] = d;
        }
    }
    return row[(na + 1) % 3][nb];
}

const char *dpt_text_nearest(const char *word, const char *const *names, size_t count)
{
    const size_t length = strlen(word);
    if (length > WORD_MAX) {
        return NULL;
    }
    const char *nearest = NULL;
    int best = 1 << 20;
    for (size_t i = 0; i < count; i++) {
        const size_t n = strlen(names[i]);
        if (n > WORD_MAX) {
            continue;
        }
        int d = distance(word, names[i]);
        /* One word inside the other ("learning_rate" has "rate") counts as near. */
        if (n > 2 && length > 2 && (strstr(word, names[i]) || strstr(names[i], word)) && d > 3) {
            d = 3;
        }
        if (d < best) {
            best = d;
            nearest = names[i];
        }
    }
    const int limit = length <= 3 ? 1 : length <= 6 ? 2 : 3;
    return best <= limit ? nearest : NULL;
}

const char *dpt_text_bytes(char *out, size_t size, uint64_t nbytes)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)nbytes;
    int u = 0;
    while (value >= 1024.0 && u < 5) {
        value /= 1024.0;
        u++;
    }
    snprintf(out, size, u == 0 ? "%.0f %s" : value < 10.0 ? "%.2f %s" : value < 100.0 ? "%.1f %s" : "%.0f %s", value,
             unit[u]);
    return out;
}

const char *dpt_text_count(char *out, size_t size, double count)
{
    static const char *const unit[] = {"", " k", " M", " G", " T", " P", " E"};
    int u = 0;
    while (count >= 1000.0 && u < 6) {
        count /= 1000.0;
        u++;
    }
    snprintf(out, size, u == 0 ? "%.0f%s" : count < 10.0 ? "%.2f%s" : "%.1f%s", count, unit[u]);
    return out;
}

const char *dpt_text_time(char *out, size_t size, double seconds)
{
    const long long whole = (long long)(seconds + 0.5);
    if (seconds < 60.0) {
        snprintf(out, size, seconds < 1.0 ? "%.2f s" : "%.1f s", seconds);
    } else if (seconds < 3600.0) {
        snprintf(out, size, "%lld min %02lld s", whole / 60, whole % 60);
    } else {
        snprintf(out, size, "%lld h %02lld min", whole / 3600, whole / 60 % 60);
    }
    return out;
}
