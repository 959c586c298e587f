/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reading a job: files through libinih, then overrides, then ${...}, then values, then what they demand of each other.
 *
 * libinih as distributions build it tells no line numbers, cuts lines at about 200 bytes, takes an indented line for
 * the continuation of the one before, and accepts duplicates. So its lines come from a reader of our own (next_line),
 * which counts them, refuses what libinih would mangle, and hands over the rest one by one; the handler collects.
 */

#include "conf/conf.h"

#include <ini.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"

enum {
    MAX_FILE = 1 << 20,
    MAX_LINE = 190,   /* what every build of libinih takes                     */
    MAX_NAME = 40,    /* of a section or key; libinih cuts names after 49      */
    MAX_VALUE = 4096, /* after ${...}                                          */
    MAX_LAYERS = 10000,
    MAX_DEPTH = 8,   /* of ${...} in what ${...} stands for                   */
    MAX_SHOWN = 50,  /* problems listed one by one                            */
    MAX_KEPT = 1000, /* problems remembered                                   */
};

/* What a file or the command line says of one key. */
struct entry {
    const char *value; /* as written; NULL: nothing */
    const char *file, *folder;
    int line, serial;
};

struct layer_entry {
    struct dpt_layer_key key;
    int serial;
};

struct layer {
    const char *name, *file;
    int line, serial;
    struct layer_entry *key;
    size_t nkeys, capacity;
};

struct reading {
    struct dpt_arena *arena;
    struct dpt_conf_problems problems;
    const char *file;    /* the first                            */
    const char *name;    /* of the job, for ${JOB}               */
    struct entry *entry; /* of each key of the table             */
    struct layer *layer;
    size_t nlayers, layer_capacity;
};

/* ------------------------------------------------------------------------------------------------------- problems */

const char *dpt_conf__place(char out[DPT_CONF_PLACE], const char *file, int line)
{
    if (line) {
        snprintf(out, DPT_CONF_PLACE, "%.480s:%d", file, line);
    } else {
        snprintf(out, DPT_CONF_PLACE, "%.480s", file);
    }
    return out;
}

/* The place of a file among the sources in the order in which they are read; what is no file comes last. */
static int source_order(const struct dpt_conf_problems *problems, const char *file)
{
    int order = 0;
    while (order < problems->nsources && strcmp(problems->source[order], file) != 0) {
        order++;
    }
    return order;
}

void dpt_conf__problem(struct dpt_conf_problems *problems, const char *file, int line, const char *format, ...)
{
    char sentence[800], place[DPT_CONF_PLACE];
    if (problems->count == MAX_KEPT) {
        problems->more++;
        return;
    }
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    const int order = source_order(problems, file);
    problems->item =
        dpt_arena_grow(problems->arena, problems->item, problems->count, &problems->capacity, sizeof *problems->item);
    problems->item[problems->count] = (struct dpt_conf_problem){
        order, line, problems->count,
        dpt_arena_printf(problems->arena, "%s: %s", dpt_conf__place(place, file, line), sentence)};
    problems->count++;
}

static int by_place(const void *a, const void *b)
{
    const struct dpt_conf_problem *x = a, *y = b;
    if (x->order != y->order) {
        return x->order - y->order;
    }
    if (x->line != y->line) {
        return x->line - y->line;
    }
    return (x->number > y->number) - (x->number < y->number);
}

/* Tells them in the order of files and lines; the first is the error. */
static enum dpt_status tell(struct dpt_conf_problems *problems, struct dpt_text *text)
{
    if (problems->count == 0) {
        return DPT_STATUS_OK;
    }
    qsort(problems->item, problems->count, sizeof *problems->item, by_place);
    for (size_t i = 0; i < problems->count && text; i++) {
        if (i == MAX_SHOWN) {
            dpt_text_add(text, "and %zu more\n", problems->count - i + problems->more);
            break;
        }
        dpt_text_add(text, "%s\n", problems->item[i].text);
    }
    return dpt_error_set(DPT_STATUS_USAGE, __FILE__, __LINE__, "%s", problems->item[0].text);
}

/* -------------------------------------------------------------------------------------------- names that are wrong */

static const char *nearest_section(const char *name)
{
    const char *names[64] = {0};
    DPT_ASSERT(dpt_conf__nsections <= 64);
    for (int i = 0; i < dpt_conf__nsections; i++) {
        names[i] = dpt_conf__sections[i].name;
    }
    return dpt_text_nearest(name, names, (size_t)dpt_conf__nsections);
}

static void unknown_section(struct reading *reading, const char *file, int line, const char *name)
{
    const char *nearest = strncmp(name, "layer", 5) == 0 ? "layer.NAME" : nearest_section(name);
    dpt_conf__problem(&reading->problems, file, line, "there is no section [%.60s].%s%s%s (dpt-train --list=sections)",
                      name, nearest ? " Did you mean [" : "", nearest ? nearest : "", nearest ? "]?" : "");
}

/* The key of the section one of whose names elsewhere is like `name`, or NULL. */
static const struct dpt_conf_key *near_other_name(const char *section, const char *name)
{
    for (int i = 0; i < dpt_conf__nkeys; i++) {
        const struct dpt_conf_key *key = &dpt_conf__keys[i];
        if (strcmp(key->section, section) != 0 || !key->aka) {
            continue;
        }
        char words[256];
        const char *names[32];
        size_t count = 0;
        DPT_ASSERT(strlen(key->aka) < sizeof words);
        strcpy(words, key->aka);
        for (char *rest, *word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
            DPT_ASSERT(count < 32);
            names[count++] = word;
        }
        if (dpt_text_nearest(name, names, count)) {
            return key;
        }
    }
    return NULL;
}

/*
 * The key that was meant: by another name it has elsewhere, of this section or another, by its spelling, by its place in
 * another section, by the spelling of another name.
 */
static const struct dpt_conf_key *meant_key(const char *section, const char *name)
{
    const char *names[64] = {0};
    size_t count = 0;
    for (int i = 0; i < dpt_conf__nkeys; i++) {
        const struct dpt_conf_key *key = &dpt_conf__keys[i];
        if (strcmp(key->section, section) == 0) {
            if (key->aka && dpt_conf__in_list(name, key->aka)) {
                return key;
            }
            DPT_ASSERT(count < 64);
            names[count++] = key->name;
        }
    }
    for (int i = 0; i < dpt_conf__nkeys; i++) {
        if (dpt_conf__keys[i].aka && dpt_conf__in_list(name, dpt_conf__keys[i].aka)) {
            return &dpt_conf__keys[i];
        }
    }
    const char *nearest = dpt_text_nearest(name, names, count);
    if (nearest) {
        return dpt_conf__find(section, nearest);
    }
    for (int i = 0; i < dpt_conf__nkeys; i++) {
        if (strcmp(dpt_conf__keys[i].name, name) == 0) {
            return &dpt_conf__keys[i];
        }
    }
    return near_other_name(section, name);
}

static void unknown_key(struct reading *reading, const char *file, int line, const char *section, const char *name)
{
    const struct dpt_conf_key *key = meant_key(section, name);
    if (!key) {
        dpt_conf__problem(&reading->problems, file, line, "[%s] has no key '%.60s'. (dpt-train --explain=%s)", section,
                          name, section);
    } else if (strcmp(key->section, section) == 0) {
        dpt_conf__problem(&reading->problems, file, line,
                          "[%s] has no key '%.60s'. Did you mean '%s'? (dpt-train --explain=%s.%s)", section, name,
                          key->name, section, key->name);
    } else {
        dpt_conf__problem(&reading->problems, file, line,
                          "[%s] has no key '%.60s'. Did you mean '%s' of [%s]? (dpt-train --explain=%s.%s)", section,
                          name, key->name, key->section, key->section, key->name);
    }
}

/* ------------------------------------------------------------------------------------------------ collecting values */

/* Why a text cannot be a value that a job file holds, or NULL. */
static const char *unfit(const char *value)
{
    const size_t n = strlen(value);
    if (n > MAX_VALUE) {
        return "is longer than 4096 bytes";
    }
    if (!dpt_text_is_utf8(value, n)) {
        return "is not UTF-8 text";
    }
    for (size_t i = 0; i < n; i++) {
        const bool start = i == 0 || value[i - 1] == ' ' || value[i - 1] == '\t';
        if ((unsigned char)value[i] < ' ' && value[i] != '\t') {
            return "holds a control character";
        }
        if (start && value[i] == '#' && (i > 0 || value[1] == ' ')) {
            return "holds a #, which begins a comment only at the start of a line: use ; for a comment behind a value";
        }
        if (start && value[i] == ';') {
            return "holds a ;, which begins a comment";
        }
    }
    if (n > 1 && (*value == '"' || *value == '\'') && value[n - 1] == *value) {
        return "is in quotes: write it without them";
    }
    return n && value[n - 1] == '\\' ? "ends in a backslash" : NULL;
}

static struct layer *find_layer(const struct reading *reading, const char *name)
{
    for (size_t i = 0; i < reading->nlayers; i++) {
        if (strcmp(reading->layer[i].name, name) == 0) {
            return &reading->layer[i];
        }
    }
    return NULL;
}

static void twice(struct reading *reading, const struct entry *from, const char *section, const char *name, int first)
{
    dpt_conf__problem(&reading->problems, from->file, from->line, "[%s] %s is there twice, first in line %d", section,
                      name, first);
}

/* A value of a [layer.NAME] section; `section` begins with "layer.". */
static void collect_layer(struct reading *reading, const char *section, const char *name, const char *value,
                          const struct entry *from)
{
    struct layer *layer = find_layer(reading, section + strlen("layer."));
    if (!layer) {
        dpt_conf__problem(&reading->problems, from->file, from->line,
                          "there is no section [%.60s] in the job file (dpt-train --explain=model.type)", section);
        return;
    }
    const struct dpt_layer_key key = {dpt_arena_strdup(reading->arena, name), dpt_arena_strdup(reading->arena, value),
                                      from->file, from->line};
    for (size_t i = 0; i < layer->nkeys; i++) {
        if (strcmp(layer->key[i].key.key, name) == 0) {
            if (layer->key[i].serial == from->serial && from->line) {
                twice(reading, from, section, name, layer->key[i].key.line);
            }
            layer->key[i] = (struct layer_entry){key, from->serial};
            return;
        }
    }
    layer->key = dpt_arena_grow(reading->arena, layer->key, layer->nkeys, &layer->capacity, sizeof *layer->key);
    layer->key[layer->nkeys++] = (struct layer_entry){key, from->serial};
}

/* Notes one "key = value"; `from` says where it stands. */
static void collect(struct reading *reading, const char *section, const char *name, const char *value,
                    const struct entry *from)
{
    const char *reason = unfit(value);
    if (reason) {
        dpt_conf__problem(&reading->problems, from->file, from->line, "[%s] %.60s: the value %s", section, name,
                          reason);
        return;
    }
    if (strncmp(section, "layer.", 6) == 0) {
        collect_layer(reading, section, name, value, from);
        return;
    }
    const struct dpt_conf_key *key = dpt_conf__find(section, name);
    if (!key) {
        unknown_key(reading, from->file, from->line, section, name);
        return;
    }
    struct entry *entry = &reading->entry[key - dpt_conf__keys];
    if (entry->value && entry->serial == from->serial && from->line) {
        twice(reading, from, section, name, entry->line);
        return;
    }
    *entry = *from;
    entry->value = dpt_arena_strdup(reading->arena, value);
}

/* ------------------------------------------------------------------------------------------------------ one source */

/* A file while libinih reads it. */
struct source {
    struct reading *reading;
    const char *text;
    size_t length, at;
    struct entry from;    /* file, folder, serial; line: of the line that libinih has now  */
    bool ignore;          /* what follows belongs to a section that was refused             */
    bool expect, handled; /* the line that libinih has now should reach the handler; it did */
    bool open;            /* `value` ended in a backslash: the next line belongs to it      */
    char shown[48];       /* the start of the line, for messages                            */
    char section[MAX_NAME + 8], name[MAX_LINE + 1];
    int first;             /* line in which the open value began                             */
    struct dpt_text value; /* of the key that is being read                                  */
};

__attribute__((format(printf, 2, 3))) static void problem(struct source *source, const char *format, ...)
{
    char sentence[512];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    dpt_conf__problem(&source->reading->problems, source->from.file, source->from.line, "%s", sentence);
}

/* The value is whole: notes it under the line in which it began. */
static void close_value(struct source *source)
{
    if (source->name[0] && !source->ignore) {
        while (source->value.length && strchr(" \t", source->value.data[source->value.length - 1])) {
            source->value.data[--source->value.length] = '\0';
        }
        struct entry from = source->from;
        from.line = source->first;
        collect(source->reading, source->section, source->name, source->value.data, &from);
    }
    source->name[0] = '\0';
    source->open = false;
}

/* Looks back at the line that libinih was given last. */
static void finish_line(struct source *source)
{
    if (source->expect && !source->handled) {
        problem(source, "'%s' is neither [section] nor key = value", source->shown);
    }
    source->expect = source->handled = false;
}

static bool name_is_fit(const char *name, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-", name[i])) {
            return false;
        }
    }
    return length > 0;
}

static void begin_layer(struct source *source, const char *name)
{
    struct reading *reading = source->reading;
    if (strcmp(name, "input") == 0) {
        problem(source, "[layer.input]: 'input' stands for the sample; take another name");
        source->ignore = true;
        return;
    }
    struct layer *layer = find_layer(reading, name);
    if (layer && layer->serial == source->from.serial) {
        problem(source, "[layer.%s] is there twice, first in line %d", name, layer->line);
    }
    if (layer) {
        return;
    }
    if (reading->nlayers == MAX_LAYERS) {
        problem(source, "[layer.%s]: more than %d layers", name, MAX_LAYERS);
        source->ignore = true;
        return;
    }
    reading->layer = dpt_arena_grow(reading->arena, reading->layer, reading->nlayers, &reading->layer_capacity,
                                    sizeof *reading->layer);
    reading->layer[reading->nlayers++] = (struct layer){.name = dpt_arena_strdup(reading->arena, name),
                                                        .file = source->from.file,
                                                        .line = source->from.line,
                                                        .serial = source->from.serial};
}

/* A line that begins with '['. libinih reads the name too, but does not tell of sections without keys. */
static bool begin_section(struct source *source, const char *line)
{
    char name[MAX_NAME + 1];
    const char *end = strchr(line, ']');
    source->ignore = true;
    if (!end) {
        problem(source, "'%s' has no ]", source->shown);
        return false;
    }
    const char *rest = end + 1 + strspn(end + 1, " \t");
    if (*rest && *rest != ';' && *rest != '#') {
        problem(source, "after ] nothing may follow in the line");
        return false;
    }
    const size_t length = (size_t)(end - line - 1);
    if (length > MAX_NAME) {
        problem(source, "the name of the section has %zu bytes: at most %d are expected", length, MAX_NAME);
        return false;
    }
    if (!name_is_fit(line + 1, length)) {
        problem(source, "%.*s] is no name: letters, digits, _ . - are expected", (int)length + 1, line);
        return false;
    }
    memcpy(name, line + 1, length);
    name[length] = '\0';
    source->ignore = false;
    if (strncmp(name, "layer.", 6) == 0 && name[6]) {
        begin_layer(source, name + 6);
    } else if (!dpt_conf__is_section(name)) {
        unknown_section(source->reading, source->from.file, source->from.line, name);
        source->ignore = true;
    }
    return true;
}

/* True where libinih can read the line as it is; else the problem is noted. */
static bool line_is_fit(struct source *source, const char *line, size_t length)
{
    if (memchr(line, '\0', length)) {
        problem(source, "there is a NUL byte in the line: is this a text file, in UTF-8?");
        source->at = source->length; /* every other line would say the same */
        return false;
    }
    if (memchr(line, '\r', length)) {
        problem(source, "there is a carriage return inside the line: lines end in a newline, or in both");
        return false;
    }
    if (!dpt_text_is_utf8(line, length)) {
        problem(source, "the line is not UTF-8 text");
        return false;
    }
    if (length > MAX_LINE) {
        problem(source,
                "the line has %zu bytes: at most %d are expected; end it with a backslash and go on in the "
                "next",
                length, MAX_LINE);
        return false;
    }
    return true;
}

/* Hands libinih a copy with or without a leading blank, which marks the continuation of the line before. */
static char *hand_over(char *out, const char *line, size_t length, bool continues)
{
    out[0] = ' ';
    memcpy(out + continues, line, length);
    out[length + continues] = '\0';
    return out;
}

/* libinih's reader: the next line of the source into `out`, as fgets would give it. */
static char *next_line(char *out, int size, void *user)
{
    struct source *source = user;
    finish_line(source);
    if (source->at == source->length) {
        return NULL;
    }
    const char *line = source->text + source->at;
    const char *newline = memchr(line, '\n', source->length - source->at);
    size_t length = newline ? (size_t)(newline - line) : source->length - source->at;
    source->at += length + (newline != NULL);
    if (source->from.line == 0 && length >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0) {
        line += 3;
        length -= 3;
    }
    source->from.line++;
    while (length && strchr(" \t\r", line[length - 1]) && line[length - 1]) {
        length--;
    }
    while (length && (*line == ' ' || *line == '\t')) {
        line++;
        length--;
    }
    const bool continues = source->open;
    if (!line_is_fit(source, line, length) || (int)length + 3 > size) {
        source->open = false;
        source->name[0] = '\0';
        return hand_over(out, "", 0, false);
    }
    snprintf(source->shown, sizeof source->shown, "%.*s", (int)length, line);
    if (length == 0 || *line == ';' || *line == '#') {
        if (continues) {
            problem(source, "the line before ends in a backslash, so that its value should go on here");
            close_value(source);
        }
        return hand_over(out, "", 0, false);
    }
    hand_over(out, line, length, continues);
    if (!continues && *line == '[') {
        return begin_section(source, out) ? out : hand_over(out, "", 0, false);
    }
    source->expect = true;
    return out;
}

/* Ends a value where a comment begins: libinih does so in the first line of a value only. */
static size_t without_comment(const char *value)
{
    size_t n = 0;
    while (value[n] && !(value[n] == ';' && (n == 0 || value[n - 1] == ' ' || value[n - 1] == '\t'))) {
        n++;
    }
    while (n && (value[n - 1] == ' ' || value[n - 1] == '\t')) {
        n--;
    }
    return n;
}

/* libinih's handler: a line "name = value", or another line of the value before. */
static int handle(void *user, const char *section, const char *name, const char *value)
{
    struct source *source = user;
    source->handled = true;
    if (!source->open) {
        if (*section == '\0' && !source->ignore) {
            problem(source, "'%.40s' stands before the first [section]", name);
            source->ignore = true;
        }
        if (!name_is_fit(name, strlen(name)) && !source->ignore) {
            problem(source, "'%s' is neither [section] nor key = value", source->shown);
            return 1;
        }
        snprintf(source->section, sizeof source->section, "%s", section);
        snprintf(source->name, sizeof source->name, "%s", name);
        source->value.length = 0;
        dpt_text_add(&source->value, "%s", "");
        source->first = source->from.line;
    }
    size_t length = without_comment(value);
    source->open = length > 0 && value[length - 1] == '\\';
    dpt_text_add(&source->value, "%.*s", (int)(length - source->open), value);
    if (source->value.length > MAX_VALUE) {
        problem(source, "[%s] %.60s: the value is longer than %d bytes", source->section, source->name, MAX_VALUE);
        source->name[0] = '\0';
    }
    if (!source->open) {
        close_value(source);
    }
    return 1;
}

static void read_source(struct reading *reading, int serial, const char *file, const char *folder, const char *text,
                        size_t length)
{
    struct source source = {.reading = reading, .text = text, .length = length};
    source.from = (struct entry){.file = dpt_arena_strdup(reading->arena, file), .folder = folder, .serial = serial};
    /* Its result is the first line that it could not read; finish_line has told of all of them. */
    ini_parse_stream(next_line, &source, handle, &source);
    finish_line(&source);
    if (source.open) {
        problem(&source, "the last line ends in a backslash, but nothing follows");
        close_value(&source);
    }
    dpt_text_free(&source.value);
}

static void read_file(struct reading *reading, int serial, const char *path)
{
    char *text, folder[PATH_MAX];
    size_t length;
    struct stat info;
    if (stat(path, &info) == 0 && info.st_size > MAX_FILE) {
        dpt_conf__problem(&reading->problems, path, 0,
                          "has %lld bytes, at most %d are expected of a job file: this is none; dpt-train -c job.ini takes one that "
                          "names the data, and dpt-data makes tokens of text",
                          (long long)info.st_size, MAX_FILE);
        return;
    }
    if (dpt_file_read(path, MAX_FILE, &text, &length) != DPT_STATUS_OK) {
        /* The sentence begins with the path. */
        const char *sentence = dpt_error_text();
        const size_t n = strlen(path);
        dpt_conf__problem(&reading->problems, path, 0, "%s",
                          strncmp(sentence, path, n) == 0 && sentence[n] == ':' ? sentence + n + 2 : sentence);
        return;
    }
    char *copy = dpt_arena_strdup(reading->arena, path);
    if (!realpath(dirname(copy), folder)) {
        folder[0] = '\0';
    }
    read_source(reading, serial, path, dpt_arena_strdup(reading->arena, folder), text, length);
    free(text);
}

/* What messages call an override: "-s section.key=value", fit to stand in a line, cut where it is long. */
static const char *override_place(struct reading *reading, const char *text)
{
    enum { SHOWN = 100 };
    size_t n = strlen(text);
    const bool readable = dpt_text_is_utf8(text, n);
    const bool cut = n > SHOWN;
    for (n = cut ? SHOWN : n; cut && n && ((unsigned char)text[n] & 0xC0) == 0x80;) {
        n--;
    }
    char *place = dpt_arena_printf(reading->arena, "-s %.*s%s", (int)n, text, cut ? "..." : "");
    for (char *at = place; *at; at++) {
        if ((unsigned char)*at < ' ' || (!readable && (unsigned char)*at >= 0x7F)) {
            *at = '?';
        }
    }
    return place;
}

/* "section.key=value" of the command line. */
static void read_override(struct reading *reading, const char *text)
{
    char folder[PATH_MAX];
    const struct entry from = {.file = override_place(reading, text),
                               .folder = realpath(".", folder) ? dpt_arena_strdup(reading->arena, folder) : "",
                               .serial = INT_MAX};
    const char *equals = strchr(text, '=');
    size_t n = equals ? (size_t)(equals - text) : strlen(text);
    while (n && (text[n - 1] == ' ' || text[n - 1] == '\t')) {
        n--;
    }
    char *name = dpt_arena_printf(reading->arena, "%.*s", (int)n, text);
    char *dot = strrchr(name, '.');
    if (!equals || !dot || dot == name || dot[1] == '\0' || !name_is_fit(name, strlen(name))) {
        const struct dpt_conf_key *key = meant_key("", dot ? dot + 1 : name);
        const bool usable = key && equals && equals[1] && !unfit(equals + 1);
        dpt_conf__problem(&reading->problems, from.file, 0, "expected section.key=value, such as %s.%s=%.60s",
                          key ? key->section : "optimizer", key ? key->name : "lr",
                          usable ? equals + 1 : key ? key->fallback : "0.01");
        return;
    }
    *dot = '\0';
    const char *value = equals + 1 + strspn(equals + 1, " \t");
    n = strlen(value);
    while (n && (value[n - 1] == ' ' || value[n - 1] == '\t')) {
        n--;
    }
    value = dpt_arena_printf(reading->arena, "%.*s", (int)n, value);
    if (strncmp(name, "layer.", 6) != 0 && !dpt_conf__is_section(name)) {
        unknown_section(reading, from.file, 0, name);
        return;
    }
    collect(reading, name, dot + 1, value, &from);
}

/* ---------------------------------------------------------------------------------------------------- ${...} */

static bool expand(struct reading *reading, const char *section, const char *value, int depth, struct dpt_text *out,
                   struct dpt_text *why);

/* What stands for ${name}: the job's name, a key of this or of another section, or the environment. */
static bool expand_name(struct reading *reading, const char *section, const char *name, int depth, struct dpt_text *out,
                        struct dpt_text *why)
{
    if (strcmp(name, "JOB") == 0) {
        dpt_text_add(out, "%s", reading->name);
        return true;
    }
    const char *dot = strrchr(name, '.');
    const char *in = dot ? dpt_arena_printf(reading->arena, "%.*s", (int)(dot - name), name) : section;
    const struct dpt_conf_key *key = dpt_conf__find(in, dot ? dot + 1 : name);
    if (key) {
        const char *value = reading->entry[key - dpt_conf__keys].value;
        return expand(reading, in, value ? value : key->fallback, depth + 1, out, why);
    }
    if (dot) {
        dpt_text_add(why, "there is no key %.60s", name);
        return false;
    }
    const char *value = getenv(name);
    if (!value) {
        dpt_text_add(why, "${%.60s} is neither a key of [%s] nor set in the environment", name, section);
        return false;
    }
    dpt_text_add(out, "%s", value);
    return true;
}

/* Appends the value with each ${NAME} replaced; "$${" stands for "${" itself. */
static bool expand(struct reading *reading, const char *section, const char *value, int depth, struct dpt_text *out,
                   struct dpt_text *why)
{
    if (depth > MAX_DEPTH) {
        dpt_text_add(why, "${...} stands for itself, or goes deeper than %d levels", MAX_DEPTH);
        return false;
    }
    while (*value) {
        if (strncmp(value, "$${", 3) == 0) {
            dpt_text_add(out, "${");
            value += 3;
        } else if (strncmp(value, "${", 2) == 0) {
            const char *end = strchr(value, '}');
            if (!end) {
                dpt_text_add(why, "${ has no }; for the text itself write $${");
                return false;
            }
            char *name = dpt_arena_printf(reading->arena, "%.*s", (int)(end - value) - 2, value + 2);
            if (!expand_name(reading, section, name, depth, out, why)) {
                return false;
            }
            value = end + 1;
        } else {
            const size_t n = 1 + strcspn(value + 1, "$");
            dpt_text_add(out, "%.*s", (int)n, value);
            value += n;
        }
        if (out->length > MAX_VALUE) {
            dpt_text_add(why, "the value becomes longer than %d bytes", MAX_VALUE);
            return false;
        }
    }
    return true;
}

/* The value with ${...} replaced, in the arena; NULL with `why` where that cannot be. */
static char *expanded(struct reading *reading, const char *section, const char *value, struct dpt_text *why)
{
    struct dpt_text out = {0};
    char *result = NULL;
    if (expand(reading, section, value, 0, &out, why)) {
        result = dpt_arena_strdup(reading->arena, out.data ? out.data : "");
        const char *reason = unfit(result);
        if (reason) {
            dpt_text_add(why, "the value %s", reason);
            result = NULL;
        }
    }
    dpt_text_free(&out);
    return result;
}

/* -------------------------------------------------------------------------------------------------- into the job */

static char *resolve(struct reading *reading, const struct entry *entry, char *path)
{
    if (*path == '\0' || *path == '/' || !entry->folder) {
        return path;
    }
    return dpt_arena_printf(reading->arena, "%s/%s", strcmp(entry->folder, "/") == 0 ? "" : entry->folder, path);
}

/* Puts a value into the job; where it cannot, `why` is what to say behind "key = value: ". */
static bool set(struct reading *reading, const struct dpt_conf_key *key, const char *value, struct dpt_job *job,
                struct dpt_text *why)
{
    char *text = expanded(reading, key->section, value, why);
    if (!text) {
        return false;
    }
    if (text[0] == '~' && text[1] == '/' && (key->type == DPT_CONF_TYPE_PATH || strcmp(key->name, "output") == 0)) {
        dpt_text_add(why, "~ stands for nothing here: write ${HOME}%s", text + 1);
        return false;
    }
    if (key->type == DPT_CONF_TYPE_PATH) {
        text = resolve(reading, &reading->entry[key - dpt_conf__keys], text);
    }
    struct dpt_text hint = {0};
    const bool fine = dpt_conf__parse(key, text, reading->arena, dpt_conf__field(key, job), &hint);
    if (!fine) {
        dpt_text_add(why, "expected ");
        dpt_conf__expect(key, why);
        dpt_text_add(why, "%s%s", hint.length ? "; " : "", hint.length ? hint.data : "");
    }
    dpt_text_free(&hint);
    return fine;
}

/*
 * The last word wins: where a later source says type = adamw, the momentum that an earlier one gave to sgd is gone with
 * it. In one source the two contradict each other, which check.c refuses.
 */
static void drop_overruled(struct reading *reading, struct dpt_job *job, struct dpt_conf_origin *origin)
{
    for (int i = 0; i < dpt_conf__nkeys; i++) {
        const struct dpt_conf_key *key = &dpt_conf__keys[i];
        if (!origin[i].file || origin[i].bad || dpt_conf__applies(key, job)) {
            continue;
        }
        const struct dpt_conf_key *on = dpt_conf__find(key->when->section, key->when->name);
        const struct dpt_conf_origin *by = &origin[on - dpt_conf__keys];
        if (by->file && source_order(&reading->problems, by->file) > source_order(&reading->problems, origin[i].file)) {
            struct dpt_text why = {0};
            origin[i] = (struct dpt_conf_origin){0};
            DPT_ASSERT(set(reading, key, key->fallback, job, &why));
        }
    }
    const struct dpt_conf_origin *type = &origin[dpt_conf__find("model", "type") - dpt_conf__keys];
    if (job->nlayers && job->model.type != DPT_MODEL_TYPE_LAYERS && type->file && !type->bad) {
        const char *last = job->layer[job->nlayers - 1].file;
        if (source_order(&reading->problems, type->file) > source_order(&reading->problems, last)) {
            job->nlayers = 0;
        }
    }
}

static void set_all(struct reading *reading, struct dpt_job *job, struct dpt_conf_origin *origin)
{
    for (int i = 0; i < dpt_conf__nkeys; i++) {
        const struct dpt_conf_key *key = &dpt_conf__keys[i];
        const struct entry *entry = &reading->entry[i];
        struct dpt_text why = {0};
        if (entry->value) {
            origin[i] = (struct dpt_conf_origin){.file = entry->file, .line = entry->line};
            if (!set(reading, key, entry->value, job, &why)) {
                origin[i].bad = true;
                dpt_conf__problem(&reading->problems, entry->file, entry->line,
                                  "[%s] %s %s%.60s: %s (dpt-train --explain=%s.%s)", key->section, key->name,
                                  *entry->value ? "= " : "is empty", entry->value, why.data, key->section, key->name);
            }
        }
        if (!entry->value || origin[i].bad) {
            why.length = 0;
            if (!set(reading, key, key->fallback, job, &why)) {
                /* A default is wrong only where ${...} makes it so: after another problem, or a file's odd name. */
                DPT_ASSERT(strstr(key->fallback, "${"));
                if (reading->problems.count == 0) {
                    dpt_conf__problem(&reading->problems, reading->file, 0, "[%s] %s = %s: %s", key->section, key->name,
                                      key->fallback, why.data);
                }
                set(reading, key, "", job, &why);
                origin[i].bad = true;
            }
        }
        dpt_text_free(&why);
    }
    if (job->optimizer.lr == 0) {
        job->optimizer.lr = job->optimizer.type == DPT_OPTIMIZER_TYPE_SGD ? 0.1 : 0.001;
    }
}

/*
 * run.reproducible says what is wanted and parallel.reduce how. The last word wins here too: what an earlier source says to
 * the contrary is gone. In one source the two contradict each other, which check.c refuses.
 */
static void agree_on_sums(struct reading *reading, struct dpt_job *job, struct dpt_conf_origin *origin)
{
    struct dpt_conf_origin *what = &origin[dpt_conf__find("run", "reproducible") - dpt_conf__keys];
    struct dpt_conf_origin *how = &origin[dpt_conf__find("parallel", "reduce") - dpt_conf__keys];
    const bool exact = job->parallel.reduce == DPT_REDUCE_TREE || job->parallel.reduce == DPT_REDUCE_FIXED;
    const int first = what->file ? source_order(&reading->problems, what->file) : -1;
    const int second = how->file ? source_order(&reading->problems, how->file) : -1;
    if (job->parallel.reduce == DPT_REDUCE_AUTO || exact == job->run.reproducible || first == second) {
        return;
    }
    if (first > second) {
        job->parallel.reduce = DPT_REDUCE_AUTO;
        *how = (struct dpt_conf_origin){0};
    } else {
        job->run.reproducible = exact;
        *what = (struct dpt_conf_origin){0};
    }
}

static void set_layers(struct reading *reading, struct dpt_job *job)
{
    job->nlayers = (int)reading->nlayers;
    job->layer = dpt_arena_array(reading->arena, reading->nlayers, sizeof *job->layer);
    for (size_t i = 0; i < reading->nlayers; i++) {
        const struct layer *from = &reading->layer[i];
        struct dpt_layer_section *layer = &job->layer[i];
        *layer = (struct dpt_layer_section){.name = dpt_arena_strdup(reading->arena, from->name),
                                            .file = from->file,
                                            .line = from->line,
                                            .nkeys = (int)from->nkeys,
                                            .key = dpt_arena_array(reading->arena, from->nkeys, sizeof *layer->key)};
        for (size_t k = 0; k < from->nkeys; k++) {
            layer->key[k] = from->key[k].key;
            struct dpt_text why = {0};
            char *value = expanded(reading, "layer", layer->key[k].value, &why);
            if (value) {
                layer->key[k].value = value;
            } else {
                dpt_conf__problem(&reading->problems, layer->key[k].file, layer->key[k].line,
                                  "[layer.%s] %s = %.60s: %s", layer->name, layer->key[k].key, layer->key[k].value,
                                  why.data);
            }
            dpt_text_free(&why);
        }
    }
}

/* "configs/fashion-mnist.ini" is "fashion-mnist". */
static const char *stem(struct dpt_arena *arena, const char *path)
{
    char *name = basename(dpt_arena_strdup(arena, path));
    char *dot = strrchr(name, '.');
    if (dot && dot != name) {
        *dot = '\0';
    }
    return name;
}

static struct reading begin(int nfiles, const char *const *file)
{
    struct dpt_arena *arena = dpt_arena_new();
    struct reading reading = {.arena = arena, .problems = {.arena = arena}, .file = "job", .name = "job"};
    reading.entry = dpt_arena_array(arena, (size_t)dpt_conf__nkeys, sizeof *reading.entry);
    reading.problems.source = dpt_arena_array(arena, (size_t)nfiles, sizeof *reading.problems.source);
    reading.problems.nsources = nfiles;
    for (int i = 0; i < nfiles; i++) {
        reading.problems.source[i] = dpt_arena_strdup(arena, file[i]);
    }
    if (nfiles) {
        reading.file = reading.problems.source[0];
        reading.name = stem(arena, reading.file);
    }
    return reading;
}

/* Makes the job of what was collected; frees everything where there are problems. */
static enum dpt_status finish(struct reading *reading, struct dpt_job **result, struct dpt_text *problems)
{
    struct dpt_arena *arena = reading->arena;
    struct dpt_job *job = dpt_arena_alloc(arena, sizeof *job);
    struct dpt_job_origin *origin = dpt_arena_alloc(arena, sizeof *origin);
    origin->name = reading->file;
    origin->key = dpt_arena_array(arena, (size_t)dpt_conf__nkeys, sizeof *origin->key);
    job->arena = arena;
    job->origin = origin;
    /* Where a line was lost or a name is wrong, what seems to be missing or contradictory may be there. */
    const bool whole = reading->problems.count == 0;
    set_all(reading, job, origin->key);
    agree_on_sums(reading, job, origin->key);
    set_layers(reading, job);
    drop_overruled(reading, job, origin->key);
    if (whole) {
        dpt_conf__check_layers(job, &reading->problems);
    }
    dpt_conf__check(job, whole, &reading->problems);
    const enum dpt_status status = tell(&reading->problems, problems);
    if (status != DPT_STATUS_OK) {
        dpt_arena_free(arena);
        return status;
    }
    *result = job;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_job_read(int nfiles, const char *const *file, int noverrides, const char *const *override,
                             struct dpt_job **job, struct dpt_text *problems)
{
    struct reading reading = begin(nfiles, file);
    for (int i = 0; i < nfiles; i++) {
        read_file(&reading, i, file[i]);
    }
    for (int i = 0; i < noverrides; i++) {
        read_override(&reading, override[i]);
    }
    return finish(&reading, job, problems);
}

enum dpt_status dpt_job_read_text(const char *name, const char *text, struct dpt_job **job, struct dpt_text *problems)
{
    struct reading reading = begin(1, &name);
    read_source(&reading, 0, name, NULL, text, strlen(text));
    return finish(&reading, job, problems);
}

void dpt_job_free(struct dpt_job *job)
{
    if (job) {
        dpt_arena_free(job->arena);
    }
}
