/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Helper threads: prefetch, communication, watchdog. */

#include <pthread.h>

#include "base/status.h"

/*
 * Starts a thread that takes no signals, so that they reach the main thread, whose handlers know what to do. `name`
 * (at most 15 bytes) is what top and debuggers show. DPT_STATUS_FAILED when the system gives no thread. Local.
 */
enum dpt_status dpt_thread_new(pthread_t *thread, const char *name, void *(*body)(void *), void *arg);
