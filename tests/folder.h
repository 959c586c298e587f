/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What tests with small files share: cmocka, a folder for the files, refusals, keyed numbers. */

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

/* A new file each time: to cut an old one short makes some file systems wait for the disk. */
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

/* Random numbers: words of one stream, one after the other. */
static inline uint32_t draw(uint64_t stream, uint64_t *turn)
{
    uint32_t word[4];
    dpt_rng_words(stream, DPT_RNG_USE_DATA, 0, 0, (*turn)++, word);
    return word[0];
}
