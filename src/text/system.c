/* SPDX-License-Identifier: Apache-2.0 */

#include "text/system.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "text/stream.h"

enum { TEXT_MAX = 4 << 20 };

/* Where texts are; manual pages last, since they are most. */
static const char *const pattern[] = {"/usr/share/common-licenses/*", "/usr/share/doc/*/copyright",
                                      "/usr/share/man/man[1-9]*/*"};
enum { PAGES = 2 /* the pattern of manual pages */ };

struct dpt_system {
    glob_t files;
    size_t pages; /* files from here on are manual pages */
    size_t at;
    char *raw; /* TEXT_MAX bytes */
    struct dpt_text text;
    /* hashes of the texts so far; 0: empty */
    uint64_t mask, nknown;
    uint64_t *known;
};

enum dpt_status dpt_system_open(const char *root, struct dpt_system **system)
{
    *system = NULL;
    struct dpt_system *made = calloc(1, sizeof *made);
    DPT_CHECK(made, DPT_STATUS_SPACE, "no memory to read texts of the system");
    for (int i = 0; i < 3; i++) {
        struct dpt_text path = {0};
        if (i == PAGES) {
            made->pages = made->files.gl_pathc;
        }
        /* The root may hold signs that glob takes for its own. */
        for (const char *at = root; *at; at++) {
            dpt_text_add(&path, strchr("*?[\\", *at) ? "\\%c" : "%c", *at);
        }
        dpt_text_add(&path, "%s", pattern[i]);
        const int error = glob(path.data, i ? GLOB_APPEND : 0, NULL, &made->files);
        dpt_text_free(&path);
        if (error != 0 && error != GLOB_NOMATCH) {
            dpt_system_close(made);
            return dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "%s%s: cannot be listed", root, pattern[i]);
        }
    }
    made->mask = 1023;
    while (made->mask < 2 * made->files.gl_pathc) {
        made->mask = 2 * made->mask + 1;
    }
    made->known = calloc(made->mask + 1, sizeof *made->known);
    made->raw = malloc(TEXT_MAX);
    if (!made->known || !made->raw || made->files.gl_pathc == 0) {
        const bool none = made->files.gl_pathc == 0;
        dpt_system_close(made);
        return dpt_error_set(none ? DPT_STATUS_DATA : DPT_STATUS_SPACE, __FILE__, __LINE__,
                             none ? "%s/usr/share: has no licence texts, no copyright files and no manual pages"
                                  : "%s/usr/share: no memory for its texts",
                             root);
    }
    *system = made;
    return DPT_STATUS_OK;
}

void dpt_system_close(struct dpt_system *system)
{
    if (!system) {
        return;
    }
    globfree(&system->files);
    dpt_text_free(&system->text);
    free(system->known);
    free(system->raw);
    free(system);
}

void dpt_system_progress(const struct dpt_system *system, int64_t *done, int64_t *all)
{
    *done = (int64_t)system->at;
    *all = (int64_t)system->files.gl_pathc;
}

/* True when such a text was there before. */
static bool seen(struct dpt_system *system, const struct dpt_text *text)
{
    const uint64_t hash = dpt_hash64(text->data, text->length) | 1;
    uint64_t at = hash & system->mask;
    for (; system->known[at] != 0; at = (at + 1) & system->mask) {
        if (system->known[at] == hash) {
            return true;
        }
    }
    system->known[at] = hash;
    return false;
}

/* Reads a file as far as it is text that others do not have; false: it is left out. */
static bool read_text(struct dpt_system *system, const char *path, bool page)
{
    struct dpt_text__stream *stream;
    size_t nbytes = 0;
    if (dpt_text__stream_open(path, &stream) != DPT_STATUS_OK) {
        return false;
    }
    const bool good = dpt_text__stream_read(stream, system->raw, TEXT_MAX, &nbytes) == DPT_STATUS_OK;
    dpt_text__stream_close(stream);
    if (!good || nbytes == TEXT_MAX || !dpt_text_is_utf8(system->raw, nbytes)) {
        return false;
    }
    system->text.length = 0;
    if (page) {
        dpt_system_plain_page(system->raw, nbytes, &system->text);
    } else {
        dpt_text_append(&system->text, system->raw, nbytes);
    }
    return system->text.length > 0 && !seen(system, &system->text);
}

enum dpt_status dpt_system_next(struct dpt_system *system, struct dpt_input_piece *piece)
{
    while (system->at < system->files.gl_pathc) {
        const size_t at = system->at++;
        const char *path = system->files.gl_pathv[at];
        if (read_text(system, path, at >= system->pages)) {
            *piece = (struct dpt_input_piece){.source = path, .text = system->text.data,
                                              .nbytes = system->text.length, .ends = true};
            break;
        }
    }
    return DPT_STATUS_OK;
}
