/* SPDX-License-Identifier: Apache-2.0 */

/* The error record (one a thread, so that a prefetch thread's failure does not mix with the main thread's). */

#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>

static _Thread_local char error_text[1024];
static _Thread_local char error_place[160];

static void exit_process(enum dpt_status status)
{
    fflush(NULL);
    _Exit((int)status);
}

void (*dpt_fatal_hook)(enum dpt_status status) = exit_process;
const char *dpt_fatal_who = "";

enum dpt_status dpt_error_set(enum dpt_status status, const char *file, int line, const char *format, ...)
{
    char text[sizeof error_text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    /* The arguments may point into the old record, hence the copy. */
    snprintf(error_text, sizeof error_text, "%s", text);
    snprintf(error_place, sizeof error_place, "%s:%d", file, line);
    return status;
}

const char *dpt_error_text(void)
{
    return error_text;
}

const char *dpt_error_place(void)
{
    return error_place;
}

void dpt_error_clear(void)
{
    error_text[0] = '\0';
    error_place[0] = '\0';
}

_Noreturn void dpt_fatal(enum dpt_status status, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "dpt: %s%s\n", dpt_fatal_who, text);
    dpt_fatal_hook(status);
    abort();
}
