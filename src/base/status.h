/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * base/: what every room uses and nothing else: errors, log, arenas, strings, clock, keyed random numbers, files,
 * hashes, number types. It knows nothing of MPI, devices or tensors, and holds no state but the error and log records.
 *
 * This header: statuses (they are the exit codes) and the two macros that pass them on.
 *
 * A function that can fail returns enum dpt_status and leaves one sentence in the error record of its thread.
 * DPT_TRY passes a failure on; DPT_CHECK starts one. The sentence says what, where, what was expected, what to do.
 */

#include <stdarg.h>

enum dpt_status {
    DPT_STATUS_OK = 0,
    DPT_STATUS_FAILED = 1,   /* internal or unclassified                             */
    DPT_STATUS_USAGE = 2,    /* wrong command line or job file; nothing was started  */
    DPT_STATUS_DATA = 3,     /* input missing, damaged or not matching               */
    DPT_STATUS_DIVERGED = 4, /* loss or gradients became inf or nan                  */
    DPT_STATUS_SPACE = 5,    /* out of memory, disk or quota                         */
    DPT_STATUS_COMM = 6,     /* launch or communication                              */
};

/* Stores the sentence for `status` in this thread's error record and returns `status`. Local. */
enum dpt_status dpt_error_set(enum dpt_status status, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The sentence of this thread's last failure; "" when there was none. Valid until the next failure. Local. */
const char *dpt_error_text(void);

/* "src/x.c:12" of the place that started the last failure; for `DPT_DEBUG` output. Local. */
const char *dpt_error_place(void);

/* Forgets the last failure. Local. */
void dpt_error_clear(void);

/*
 * What dpt_fatal does after printing: base exits the process; comm puts an abort of the whole job here at start.
 * Must not return.
 */
extern void (*dpt_fatal_hook)(enum dpt_status status);

/* What dpt_fatal puts before the sentence: "", or "rank 3 (node07): " once comm knows of several ranks. */
extern const char *dpt_fatal_who;

/* Prints "dpt: <who><sentence>" on stderr and ends the job through dpt_fatal_hook. Local. */
_Noreturn void dpt_fatal(enum dpt_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define DPT_TRY(call)                                                                                                  \
    do {                                                                                                               \
        enum dpt_status dpt_try_status = (call);                                                                       \
        if (dpt_try_status != DPT_STATUS_OK) {                                                                         \
            return dpt_try_status;                                                                                     \
        }                                                                                                              \
    } while (0)

#define DPT_CHECK(cond, status, ...)                                                                                   \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            return dpt_error_set((status), __FILE__, __LINE__, __VA_ARGS__);                                           \
        }                                                                                                              \
    } while (0)

/* A broken invariant of dpt itself: prints the place and ends the job. Stays on in release builds. */
#define DPT_ASSERT(cond)                                                                                               \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            dpt_fatal(DPT_STATUS_FAILED, "internal error at %s:%d: %s does not hold; please report it", __FILE__,      \
                      __LINE__, #cond);                                                                                \
        }                                                                                                              \
    } while (0)
