/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/limit.h"

static char root[64];

static void put(const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s%s", root, path);
    char *slash = strrchr(full, '/');
    *slash = '\0';
    assert_int_equal(dpt_file_mkdir(full), DPT_STATUS_OK);
    *slash = '/';
    assert_int_equal(dpt_file_replace(full, text, strlen(text)), DPT_STATUS_OK);
}

static int new_root(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/dpt-test-limit-XXXXXX");
    if (!mkdtemp(root)) {
        return 1;
    }
    put("/proc/meminfo", "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n");
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", root);
    return system(command);
}

static void no_groups_do_not_limit(void **state)
{
    (void)state;
    struct dpt_limit limit;
    dpt_limit_read(root, &limit);
    assert_true(isinf(limit.cpus));
    assert_int_equal(limit.memory_free, UINT64_C(8000000) * 1024);
    dpt_limit_read("/no/such/folder", &limit);
    assert_true(isinf(limit.cpus));
    assert_int_equal(limit.memory_free, UINT64_MAX);
}

static void the_smallest_of_all_v2_parents_holds(void **state)
{
    (void)state;
    struct dpt_limit limit;
    put("/proc/self/cgroup", "0::/user/job/step\n");
    put("/sys/fs/cgroup/user/cpu.max", "150000 100000\n");
    put("/sys/fs/cgroup/user/job/cpu.max", "400000 100000\n");
    put("/sys/fs/cgroup/user/job/step/cpu.max", "max 100000\n");
    put("/sys/fs/cgroup/user/job/memory.max", "1000000\n");
    put("/sys/fs/cgroup/user/job/memory.current", "700000\n");
    put("/sys/fs/cgroup/user/job/memory.stat", "anon 1\nfile 300000\ninactive_file 200000\nactive_file 100000\n");
    put("/sys/fs/cgroup/user/job/step/memory.max", "max\n");
    dpt_limit_read(root, &limit);
    assert_true(limit.cpus == 1.5);
    assert_int_equal(limit.memory_free, 500000);
}

static void v1_and_containers(void **state)
{
    (void)state;
    struct dpt_limit limit, other;
    put("/proc/self/cgroup", "5:memory:/docker/1234\n4:cpuacct,cpu:/docker/1234\n1:name=systemd:/\n0::/\n");
    /* The name is that of the host; here only the container's own folder is seen. */
    put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n");
    put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "4096000\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "5000000\n");
    put("/sys/fs/cgroup/memory/memory.stat", "total_inactive_file 0\n");
    dpt_limit_read(root, &limit);
    assert_true(limit.cpus == 0.5);
    assert_int_equal(limit.memory_free, 0);
    /* -1 means none; another group has another hash. */
    put("/proc/self/cgroup", "5:memory:/docker/5678\n4:cpu,cpuacct:/docker/5678\n0::/\n");
    put("/sys/fs/cgroup/cpu/docker/5678/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu/docker/5678/cpu.cfs_period_us", "100000\n");
    put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    dpt_limit_read(root, &other);
    assert_true(isinf(other.cpus));
    assert_true(other.group != limit.group);
}

static void nonsense_does_not_limit(void **state)
{
    (void)state;
    struct dpt_limit limit;
    put("/proc/self/cgroup", "nonsense\n:\n::\n0::/x\n0::");
    put("/sys/fs/cgroup/x/cpu.max", "0 0\n");
    put("/sys/fs/cgroup/x/memory.max", "\n");
    dpt_limit_read(root, &limit);
    assert_true(isinf(limit.cpus));
    assert_int_equal(limit.memory_free, UINT64_C(8000000) * 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_groups_do_not_limit, new_root, remove_root),
        cmocka_unit_test_setup_teardown(the_smallest_of_all_v2_parents_holds, new_root, remove_root),
        cmocka_unit_test_setup_teardown(v1_and_containers, new_root, remove_root),
        cmocka_unit_test_setup_teardown(nonsense_does_not_limit, new_root, remove_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
