/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double dpt_clock_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double dpt_clock_thread_s(void)
{
    struct timespec worked;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &worked);
    return (double)worked.tv_sec + 1e-9 * (double)worked.tv_nsec;
}

double dpt_clock_process_s(void)
{
    /* Field 22 of /proc/self/stat is the start time in clock ticks after boot; the name in field 2 may hold spaces. */
    FILE *file = fopen("/proc/self/stat", "r");
    if (!file) {
        return (double)clock() / CLOCKS_PER_SEC;
    }
    char line[1024];
    const size_t length = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[length] = '\0';
    const char *at = strrchr(line, ')');
    unsigned long long ticks = 0;
    if (!at || sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
                      &ticks) != 1) {
        return 0.0;
    }
    struct timespec boot;
    clock_gettime(CLOCK_BOOTTIME, &boot);
    return (double)boot.tv_sec + 1e-9 * (double)boot.tv_nsec - (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

void dpt_clock_utc(char *text, size_t size)
{
    const time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(text, size, "%Y-%m-%dT%H:%M:%SZ", &utc);
}
