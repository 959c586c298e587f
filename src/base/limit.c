/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A control group is a folder; /proc/self/cgroup names it, one line per hierarchy: "0::/job/7" for v2,
 * "4:memory:/job/7" for v1. A limit of any parent holds as well. In a container the name may be that of the host,
 * while only the container's own folder is mounted, as the root: so missing folders are passed over on the way up.
 */

#include "base/limit.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

/* The text of a small file, or NULL. */
static const char *read_small(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "re");
    if (!file) {
        return NULL;
    }
    const size_t length = fread(text, 1, size - 1, file);
    fclose(file);
    text[length] = '\0';
    return text;
}

/* The number in folder/name; `fallback` where there is none ("max", "-1", no such file). */
static uint64_t read_number(const char *folder, const char *name, uint64_t fallback)
{
    char path[PATH_MAX], text[64], *end;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path || !read_small(path, text, sizeof text)) {
        return fallback;
    }
    const uint64_t number = strtoull(text, &end, 10);
    return end == text || text[0] == '-' ? fallback : number;
}

/* The number after `key` and blanks at the start of a line of a file; 0 where there is none. */
static uint64_t read_field(const char *path, const char *key)
{
    char text[8192];
    const size_t length = strlen(key);
    const char *at = read_small(path, text, sizeof text);
    while (at) {
        if (strncmp(at, key, length) == 0 && (at[length] == ' ' || at[length] == '\t')) {
            return strtoull(at + length, NULL, 10);
        }
        at = strchr(at, '\n');
        at = at ? at + 1 : NULL;
    }
    return 0;
}

static void limit_cpus(const char *folder, bool v2, struct dpt_limit *limit)
{
    uint64_t quota, period;
    if (v2) {
        char path[PATH_MAX], text[64];
        if (snprintf(path, sizeof path, "%s/cpu.max", folder) >= (int)sizeof path ||
            !read_small(path, text, sizeof text) || sscanf(text, "%" SCNu64 " %" SCNu64, &quota, &period) != 2) {
            return;
        }
    } else {
        quota = read_number(folder, "cpu.cfs_quota_us", 0);
        period = read_number(folder, "cpu.cfs_period_us", 0);
    }
    if (quota > 0 && period > 0) {
        limit->cpus = fmin(limit->cpus, (double)quota / (double)period);
    }
}

static void limit_memory(const char *folder, bool v2, struct dpt_limit *limit)
{
    const uint64_t most = read_number(folder, v2 ? "memory.max" : "memory.limit_in_bytes", UINT64_MAX);
    const uint64_t used = read_number(folder, v2 ? "memory.current" : "memory.usage_in_bytes", 0);
    char path[PATH_MAX];
    if (most == UINT64_MAX || snprintf(path, sizeof path, "%s/memory.stat", folder) >= (int)sizeof path) {
        return;
    }
    /* File pages that nobody used lately count as used, but the kernel drops them when memory is asked for. */
    const uint64_t cached = read_field(path, v2 ? "inactive_file" : "total_inactive_file");
    const uint64_t held = used > cached ? used - cached : 0;
    const uint64_t left = most > held ? most - held : 0;
    if (left < limit->memory_free) {
        limit->memory_free = left;
    }
}

/* Applies `read` to the group's folder under `mount` and to every parent up to the mount itself. */
static void walk_up(const char *mount, const char *group, bool v2,
                    void (*read)(const char *folder, bool v2, struct dpt_limit *limit), struct dpt_limit *limit)
{
    char folder[PATH_MAX];
    if (snprintf(folder, sizeof folder, "%s%s", mount, group) >= (int)sizeof folder) {
        return;
    }
    const size_t top = strlen(mount);
    for (;;) {
        read(folder, v2, limit);
        char *slash = strrchr(folder + top, '/');
        if (!slash) {
            return;
        }
        *slash = '\0';
    }
}

/* True when the comma-separated list of a v1 line has this controller. */
static bool has_controller(const char *list, const char *name)
{
    const size_t length = strlen(name);
    while (list) {
        if (strncmp(list, name, length) == 0 && (list[length] == ',' || list[length] == '\0')) {
            return true;
        }
        list = strchr(list, ',');
        list = list ? list + 1 : NULL;
    }
    return false;
}

void dpt_limit_read(const char *root, struct dpt_limit *limit)
{
    char path[PATH_MAX], groups[8192], mount[PATH_MAX];
    *limit = (struct dpt_limit){.cpus = INFINITY, .memory_free = UINT64_MAX};
    if (strlen(root) > PATH_MAX / 2) {
        return;
    }
    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    const uint64_t available = read_field(path, "MemAvailable:");
    if (available > 0) {
        limit->memory_free = available * 1024;
    }
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    if (!read_small(path, groups, sizeof groups)) {
        return;
    }
    limit->group = dpt_hash64(groups, strlen(groups));
    char *rest = groups;
    for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) {
            continue;
        }
        controllers++;
        *group++ = '\0';
        if (*controllers == '\0') {
            /* v2 lies at the top, or beside v1 in "unified"; only one of them has the files. */
            snprintf(mount, sizeof mount, "%s/sys/fs/cgroup", root);
            walk_up(mount, group, true, limit_cpus, limit);
            walk_up(mount, group, true, limit_memory, limit);
            snprintf(mount, sizeof mount, "%s/sys/fs/cgroup/unified", root);
            walk_up(mount, group, true, limit_cpus, limit);
            walk_up(mount, group, true, limit_memory, limit);
        }
        if (has_controller(controllers, "cpu")) {
            snprintf(mount, sizeof mount, "%s/sys/fs/cgroup/cpu", root);
            walk_up(mount, group, false, limit_cpus, limit);
        }
        if (has_controller(controllers, "memory")) {
            snprintf(mount, sizeof mount, "%s/sys/fs/cgroup/memory", root);
            walk_up(mount, group, false, limit_memory, limit);
        }
    }
}
