/* SPDX-License-Identifier: Apache-2.0 */
#include "base/thread.h"

#include <signal.h>
#include <string.h>

enum dpt_status dpt_thread_new(pthread_t *thread, const char *name, void *(*body)(void *), void *arg)
{
    /* A new thread inherits the mask of the one that makes it: no signal can slip in between. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(thread, NULL, body, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    DPT_CHECK(error == 0, DPT_STATUS_FAILED, "the %s thread cannot be started: %s; look at the limit of processes (ulimit -u)",
              name, strerror(error));
    pthread_setname_np(*thread, name);
    return DPT_STATUS_OK;
}
