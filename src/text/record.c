/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Almost all of a line is the one text that is read. So that text is decoded here, and jansson judges the rest: the
 * line with an empty string in the text's place. Whatever is unusual, an error too, is jansson's on the line as it is.
 */

#include "text/record.h"

#include <stdbool.h>
#include <string.h>

/* A part of a line. */
struct span {
    size_t begin, end;
};

/* The place of the quote that ends the string whose content begins at `at`; nbytes where there is none. */
static size_t closing_quote(const char *line, size_t nbytes, size_t at)
{
    for (size_t i = at; i < nbytes; i++) {
        const char *quote = memchr(line + i, '"', nbytes - i);
        if (!quote) {
            return nbytes;
        }
        i = (size_t)(quote - line);
        size_t escapes = 0;
        while (i - escapes > at && line[i - escapes - 1] == '\\') {
            escapes++;
        }
        if (escapes % 2 == 0) {
            return i;
        }
    }
    return nbytes;
}

static size_t skip_space(const char *line, size_t nbytes, size_t at)
{
    while (at < nbytes && (line[at] == ' ' || line[at] == '\t' || line[at] == '\r')) {
        at++;
    }
    return at;
}

/*
 * What stands between the quotes of the value of `field` in the outermost brackets, if the line is JSON, which is not
 * asked here; false where it was not found.
 */
static bool find(const char *line, size_t nbytes, const char *field, struct span *value)
{
    const size_t length = strlen(field);
    int64_t depth = 0;
    for (size_t at = 0; at < nbytes; at++) {
        const char c = line[at];
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        if (c != '"') {
            continue;
        }
        const size_t begin = at + 1, end = closing_quote(line, nbytes, begin);
        at = end;
        if (depth != 1 || end - begin != length || memcmp(line + begin, field, length) != 0) {
            continue;
        }
        size_t next = skip_space(line, nbytes, end + 1);
        if (next < nbytes && line[next] == ':') {
            next = skip_space(line, nbytes, next + 1);
            *value = (struct span){next + 1, next < nbytes ? closing_quote(line, nbytes, next + 1) : nbytes};
            return next < nbytes && line[next] == '"' && value->end < nbytes;
        }
    }
    return false;
}

/* The four digits of \uXXXX, or -1. */
static int32_t hexadecimal(const char *digit, size_t left)
{
    int32_t code = left < 4 ? -1 : 0;
    for (int i = 0; i < 4 && code >= 0; i++) {
        const char c = digit[i], small = c | 32;
        const int value = c >= '0' && c <= '9' ? c - '0' : small >= 'a' && small <= 'f' ? small - 'a' + 10 : -1;
        code = value < 0 ? -1 : code * 16 + value;
    }
    return code;
}

/* Appends what the escape at `at`, a backslash, stands for; its length, or 0 where it is none. */
static size_t decode_escape(const char *at, size_t left, struct dpt_text *text)
{
    static const char name[] = "\"\\/bfnrt", meaning[] = "\"\\/\b\f\n\r\t";
    const char *found = left > 1 && at[1] ? strchr(name, at[1]) : NULL;
    if (found) {
        dpt_text_append(text, &meaning[found - name], 1);
        return 2;
    }
    const int32_t code = left > 1 && at[1] == 'u' ? hexadecimal(at + 2, left - 2) : -1;
    if (code < 0xD800 || code > 0xDFFF) {
        if (code >= 0) {
            dpt_text_add_char(text, (uint32_t)code);
        }
        return code < 0 ? 0 : 6;
    }
    /* The first half of a character beyond 16 bits, then the second. */
    const int32_t low = left > 7 && at[6] == '\\' && at[7] == 'u' ? hexadecimal(at + 8, left - 8) : -1;
    if (code > 0xDBFF || low < 0xDC00 || low > 0xDFFF) {
        return 0;
    }
    dpt_text_add_char(text, 0x10000u + ((uint32_t)(code - 0xD800) << 10) + (uint32_t)(low - 0xDC00));
    return 12;
}

/* Appends the content of a string; false where it is not as JSON wants it. */
static bool decode(const char *from, size_t nbytes, struct dpt_text *text)
{
    for (size_t at = 0, begin = 0;; begin = at) {
        uint32_t code;
        while (at < nbytes && from[at] != '\\') {
            const unsigned char c = (unsigned char)from[at];
            const size_t n = c < 0x20 ? 0 : c < 0x80 ? 1 : dpt_text_char(from + at, nbytes - at, &code);
            if (n == 0) {
                return false;
            }
            at += n;
        }
        dpt_text_append(text, from + begin, at - begin);
        if (at == nbytes) {
            return true;
        }
        const size_t n = decode_escape(from + at, nbytes - at, text);
        if (n == 0) {
            return false;
        }
        at += n;
    }
}

/* The line with a text that is decoded here; false where that cannot be. */
static bool read_parts(struct dpt_text__record *record, const char *field, const char *line, size_t nbytes)
{
    struct span value;
    if (!find(line, nbytes, field, &value)) {
        return false;
    }
    record->text.length = record->rest.length = 0;
    dpt_text_append(&record->rest, line, value.begin);
    dpt_text_append(&record->rest, line + value.end, nbytes - value.end);
    json_t *rest = json_loadb(record->rest.data, record->rest.length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    const json_t *text = json_object_get(rest, field);
    const bool fits = json_is_string(text) && json_string_length(text) == 0;
    json_decref(rest);
    return fits && decode(line + value.begin, value.end - value.begin, &record->text);
}

enum dpt_status dpt_text__record_read(struct dpt_text__record *record, const char *path, int64_t number,
                                      const char *field, const char *line, size_t nbytes, const char **text,
                                      size_t *length)
{
    json_error_t error;
    if (read_parts(record, field, line, nbytes)) {
        *text = record->text.data;
        *length = record->text.length;
        return DPT_STATUS_OK;
    }
    json_decref(record->whole);
    record->whole = json_loadb(line, nbytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    DPT_CHECK(record->whole, DPT_STATUS_DATA, "%s: line %lld, column %d: %s: expected is a JSON object a line", path,
              (long long)number, error.column, error.text);
    const json_t *value = json_object_get(record->whole, field);
    DPT_CHECK(json_is_string(value), DPT_STATUS_DATA,
              "%s: line %lld: has no text in the field \"%s\"; --field names another", path, (long long)number, field);
    *text = json_string_value(value);
    *length = json_string_length(value);
    return DPT_STATUS_OK;
}

void dpt_text__record_free(struct dpt_text__record *record)
{
    json_decref(record->whole);
    dpt_text_free(&record->text);
    dpt_text_free(&record->rest);
    *record = (struct dpt_text__record){0};
}
