/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Time. */

#include <stddef.h>

/* Seconds from an arbitrary start, monotonic. Local. */
double dpt_clock_s(void);

/* Seconds since the process was started (so that start-up before main counts too). Local. */
double dpt_clock_process_s(void);

/* Seconds that a core has worked for this thread. Local. */
double dpt_clock_thread_s(void);

/* The UTC time as "2026-11-24T10:02:11Z"; `text` holds at least 21 bytes. Local. */
void dpt_clock_utc(char *text, size_t size);
