/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool speaks;
static bool in_bar; /* the cursor stands behind a bar */
static FILE *copy;

void dpt_log_speak(bool speak)
{
    speaks = speak;
}

bool dpt_log_open(const char *path)
{
    if (copy) {
        fclose(copy);
    }
    copy = path ? fopen(path, "ae") : NULL;
    return !path || copy;
}

void dpt_log(const char *format, ...)
{
    va_list args;
    if (speaks) {
        if (in_bar) {
            putchar('\n');
            in_bar = false;
        }
        va_start(args, format);
        vprintf(format, args);
        va_end(args);
        fflush(stdout);
    }
    if (copy) {
        const bool was_well = !ferror(copy);
        va_start(args, format);
        vfprintf(copy, format, args);
        va_end(args);
        if ((fflush(copy) != 0 || ferror(copy)) && was_well && speaks) {
            printf("WARNING the copy of these lines in the run's folder cannot be written: %s\n", strerror(errno));
        }
    }
}

void dpt_log_bar(const char *format, ...)
{
    if (speaks) {
        va_list args;
        printf("\r");
        va_start(args, format);
        vprintf(format, args);
        va_end(args);
        printf("\033[K"); /* what is left of a longer one before it */
        fflush(stdout);
        in_bar = true;
    }
}

bool dpt_log_debug(const char *room)
{
    const char *at = getenv("DPT_DEBUG");
    const size_t length = strlen(room);
    while (at && *at) {
        const size_t n = strcspn(at, ",");
        if ((n == length && strncmp(at, room, n) == 0) || (n == 3 && strncmp(at, "all", 3) == 0)) {
            return true;
        }
        at += n + (at[n] == ',');
    }
    return false;
}
