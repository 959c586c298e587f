/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Dying and failing at every file call of a save. The calls that change the disk are wrapped by the linker (--wrap);
 * a child process saves, and at its n-th such call it is killed, or the call fails. Then the parent looks: either the
 * old or the new checkpoint is whole, what was reported as saved is there, what failed has left nothing, and the next
 * save works.
 */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/text.h"
#include "toy.h"

enum { SILENT = 99 }; /* exit status of a child whose error sentence does not name the fault */

enum mode {
    NONE,
    KILL,     /* SIGKILL before the call; a write does half of its work first */
    SHORT,    /* a write does half of its work and says so                    */
    FAIL,     /* the call fails once                                          */
    FAIL_ALL, /* it and all later ones that need space fail: a full disk      */
};

static struct dpt_comm *alone;
static char run[256];
static enum mode mode;
static int fail_at, fail_errno;
static int *calls; /* counted by the child, read by the parent */

/* ------------------------------------------------------------------------------------------------ the wrapped calls */

static _Noreturn void die(void)
{
    raise(SIGKILL);
    for (;;) {
        pause();
    }
}

/* Counts a call; true when it must fail. `space`: it can fail for want of space. */
static bool hit(bool space)
{
    if (mode == NONE) {
        return false;
    }
    ++*calls;
    if (mode == KILL && *calls == fail_at) {
        die();
    }
    const bool fails = (mode == FAIL && *calls == fail_at) || (mode == FAIL_ALL && space && *calls >= fail_at);
    if (fails) {
        errno = fail_errno;
    }
    return fails;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    if (!(flags & O_CREAT)) {
        return __real_open(path, flags);
    }
    va_list args;
    va_start(args, flags);
    const mode_t bits = (mode_t)va_arg(args, int);
    va_end(args);
    return hit(true) ? -1 : __real_open(path, flags, bits);
}

ssize_t __real_write(int fd, const void *data, size_t nbytes);
ssize_t __wrap_write(int fd, const void *data, size_t nbytes);
ssize_t __wrap_write(int fd, const void *data, size_t nbytes)
{
    const bool now = mode != NONE && *calls + 1 == fail_at;
    if (now && mode == KILL && __real_write(fd, data, nbytes / 2) < 0) {
        return -1;
    }
    if (hit(true)) {
        return -1;
    }
    return __real_write(fd, data, now && mode == SHORT && nbytes > 1 ? nbytes / 2 : nbytes);
}

/* Only a power cut tells whether an fsync was done, so none is: the test takes a second, not ten. */
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    (void)fd;
    return hit(true) ? -1 : 0;
}

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
    const int fails = hit(false);
    const int result = __real_close(fd); /* a close that fails has closed all the same */
    errno = fails ? fail_errno : errno;
    return fails ? -1 : result;
}

int __real_mkdir(const char *path, mode_t bits);
int __wrap_mkdir(const char *path, mode_t bits);
int __wrap_mkdir(const char *path, mode_t bits)
{
    return hit(true) ? -1 : __real_mkdir(path, bits);
}

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to)
{
    return hit(true) ? -1 : __real_rename(from, to);
}

int __real_renameat2(int a, const char *from, int b, const char *to, unsigned flags);
int __wrap_renameat2(int a, const char *from, int b, const char *to, unsigned flags);
int __wrap_renameat2(int a, const char *from, int b, const char *to, unsigned flags)
{
    return hit(true) ? -1 : __real_renameat2(a, from, b, to, flags);
}

int __real_unlinkat(int folder, const char *path, int flags);
int __wrap_unlinkat(int folder, const char *path, int flags);
int __wrap_unlinkat(int folder, const char *path, int flags)
{
    return hit(false) ? -1 : __real_unlinkat(folder, path, flags);
}

int __real_rmdir(const char *path);
int __wrap_rmdir(const char *path);
int __wrap_rmdir(const char *path)
{
    return hit(false) ? -1 : __real_rmdir(path);
}

/* A disk with one block left, when asked for. */
static bool small_disk;
int __real_statvfs(const char *path, struct statvfs *info);
int __wrap_statvfs(const char *path, struct statvfs *info);
int __wrap_statvfs(const char *path, struct statvfs *info)
{
    const int result = __real_statvfs(path, info);
    if (small_disk) {
        info->f_bavail = 1;
        info->f_frsize = 4096;
    }
    return result;
}

/* -------------------------------------------------------------------------------------------------------- the test */

static bool exists(const char *name)
{
    char path[512];
    struct stat info;
    snprintf(path, sizeof path, "%s/checkpoints/%s", run, name);
    return stat(path, &info) == 0;
}

/* The step that a resume would take, after its values were compared with `salt_of(step)`; -1: none. */
static int64_t newest_good(int old_salt, int new_step, int new_salt)
{
    struct dpt_text notes = {0};
    struct dpt_ckpt *ckpt = NULL;
    assert_int_equal(dpt_ckpt_open(run, false, &ckpt, &notes), DPT_STATUS_OK);
    dpt_text_free(&notes);
    if (!ckpt) {
        return -1;
    }
    const int64_t step = dpt_ckpt_meta(ckpt)->step;
    const bool is_new = step == new_step && toy_loads(ckpt, new_salt);
    assert_true(is_new || toy_loads(ckpt, old_salt));
    dpt_ckpt_close(ckpt);
    return is_new ? new_step : step;
}

/*
 * A run with step 20 (salt 1); a child saves `step` (salt 2, keep 1) and meets the fault. True when the child came
 * to the fault at all.
 */
static bool one_case(enum mode how, int error, int at, int step)
{
    snprintf(run, sizeof run, "%s", toy_folder());
    assert_int_equal(toy_save(run, alone, 20, 1, 1, false), DPT_STATUS_OK);
    *calls = 0;
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        mode = how;
        fail_at = at;
        fail_errno = error;
        const enum dpt_status status = toy_save(run, alone, step, 2, 1, false);
        const bool told = status == DPT_STATUS_OK || strstr(dpt_error_text(), strerror(error));
        _exit(told ? (int)status : SILENT);
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    const bool reached = *calls >= at;
    const bool killed = WIFSIGNALED(result);
    assert_true(!killed || WTERMSIG(result) == SIGKILL);
    assert_true(killed == (reached && how == KILL));
    const int status = killed ? -1 : WEXITSTATUS(result);

    /* One of both is whole; the new one where it was said to be saved. */
    const int64_t step_found = newest_good(1, step, 2);
    assert_true(step_found == 20 || step_found == step);
    char name[32], tmp[32];
    snprintf(name, sizeof name, "step-%08d", step);
    snprintf(tmp, sizeof tmp, "tmp-%08d", step);
    if (status == DPT_STATUS_OK) {
        assert_int_equal(step_found, step);
        assert_true(exists(name));
    }
    if (how == SHORT) {
        assert_int_equal(status, DPT_STATUS_OK);
    }
    if (status > 0) {
        assert_false(exists(tmp));
        assert_true(error == ENOSPC ? status == DPT_STATUS_SPACE || status == DPT_STATUS_FAILED
                                    : status == DPT_STATUS_FAILED);
    }

    /* Life goes on, and nothing is left over. */
    assert_int_equal(toy_save(run, alone, 60, 3, 1, false), DPT_STATUS_OK);
    assert_int_equal(newest_good(2, 60, 3), 60);
    assert_false(exists(tmp) || exists("drop-00000020") || exists("drop-00000040") || exists("step-00000020"));
    toy_remove(run);
    return reached;
}

static void every_call(enum mode how, int error, int step)
{
    int at = 1;
    while (one_case(how, error, at, step)) {
        at++;
    }
    /* A save opens, writes, syncs and closes five files at least. */
    assert_true(at > 20);
}

static void killed_at_every_call(void **state)
{
    (void)state;
    every_call(KILL, 0, 40);
}

static void killed_at_every_call_of_the_same_step_again(void **state)
{
    (void)state;
    every_call(KILL, 0, 20);
}

static void short_writes(void **state)
{
    (void)state;
    every_call(SHORT, 0, 40);
}

static void disk_full_from_every_call_on(void **state)
{
    (void)state;
    every_call(FAIL_ALL, ENOSPC, 40);
}

static void disk_full_while_the_same_step_is_saved_again(void **state)
{
    (void)state;
    every_call(FAIL_ALL, ENOSPC, 20);
}

static void one_error_at_every_call(void **state)
{
    (void)state;
    every_call(FAIL, EIO, 40);
}

/* File systems without the exchange of two names still replace a step. */
static void a_file_system_that_cannot_exchange(void **state)
{
    (void)state;
    every_call(FAIL, EINVAL, 20);
}

/* Nothing is begun where the file system says beforehand that there is no room. */
static void a_disk_that_is_too_small(void **state)
{
    (void)state;
    snprintf(run, sizeof run, "%s", toy_folder());
    assert_int_equal(toy_save(run, alone, 20, 1, 1, false), DPT_STATUS_OK);
    small_disk = true;
    assert_int_equal(toy_save(run, alone, 40, 2, 1, false), DPT_STATUS_SPACE);
    assert_non_null(strstr(dpt_error_text(), "4.00 KiB are free"));
    small_disk = false;
    assert_false(exists("tmp-00000040") || exists("step-00000040"));
    assert_int_equal(newest_good(1, 40, 2), 20);
    toy_remove(run);
}

int main(void)
{
    calls = mmap(NULL, sizeof *calls, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (calls == MAP_FAILED || dpt_comm_start_alone(&alone) != DPT_STATUS_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_at_every_call),
        cmocka_unit_test(killed_at_every_call_of_the_same_step_again),
        cmocka_unit_test(short_writes),
        cmocka_unit_test(disk_full_from_every_call_on),
        cmocka_unit_test(disk_full_while_the_same_step_is_saved_again),
        cmocka_unit_test(one_error_at_every_call),
        cmocka_unit_test(a_file_system_that_cannot_exchange),
        cmocka_unit_test(a_disk_that_is_too_small),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    dpt_comm_end(alone);
    return failed;
}
