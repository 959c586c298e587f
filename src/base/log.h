/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the user reads. Rank 0 alone prints on stdout (the other ranks' calls do nothing); the same text goes to
 * dpt.log in the run directory once that is open. Plain lines, flushed one by one. Errors go to stderr by dpt_fatal
 * or by whoever owns the failure.
 */

#include <stdbool.h>

/* Whether this process prints (rank 0) or keeps silent on stdout. Silent before it is told. Local. */
void dpt_log_speak(bool speak);

/* Appends all further text to this file as well; NULL ends that. False when it cannot be opened. Local. */
bool dpt_log_open(const char *path);

/* Prints formatted text; add the newline yourself. Local. */
void dpt_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Shows a line in place of the one that was shown so before, on stdout only: for a progress bar. What dpt_log prints next
 * begins on a line of its own. Local.
 */
void dpt_log_bar(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* True when DPT_DEBUG names this room ("plan,comm" or "all"). Local. */
bool dpt_log_debug(const char *room);
