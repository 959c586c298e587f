/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum dpt_status dpt_file_read(const char *path, size_t limit, char **data, size_t *nbytes)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    DPT_CHECK(fd >= 0, DPT_STATUS_DATA, "%s: cannot be opened: %s", path, strerror(errno));
    struct stat info;
    enum dpt_status status = DPT_STATUS_OK;
    char *block = NULL;
    size_t used = 0;
    if (fstat(fd, &info) != 0 || S_ISDIR(info.st_mode)) {
        status = dpt_error_set(DPT_STATUS_DATA, __FILE__, __LINE__, "%s: is not a file that can be read", path);
    } else if ((uint64_t)info.st_size > limit) {
        status = dpt_error_set(DPT_STATUS_DATA, __FILE__, __LINE__, "%s: has %lld bytes, at most %zu are expected", path,
                               (long long)info.st_size, limit);
    } else {
        /* The size is a hint only: pipes and /proc report 0. */
        size_t capacity = (size_t)info.st_size + 4096;
        block = malloc(capacity);
        while (block) {
            const ssize_t got = read(fd, block + used, capacity - used - 1);
            if (got < 0 && errno == EINTR) {
                continue;
            }
            if (got < 0) {
                status = dpt_error_set(DPT_STATUS_DATA, __FILE__, __LINE__, "%s: cannot be read: %s", path,
                                       strerror(errno));
            }
            if (got <= 0) {
                break;
            }
            used += (size_t)got;
            if (used > limit) {
                status = dpt_error_set(DPT_STATUS_DATA, __FILE__, __LINE__, "%s: has more than %zu bytes", path, limit);
                break;
            }
            if (used + 1 == capacity) {
                char *bigger = realloc(block, capacity *= 2);
                if (!bigger) {
                    free(block);
                }
                block = bigger;
            }
        }
        if (!block) {
            status = dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "%s: no memory to read it", path);
        }
    }
    close(fd);
    if (status != DPT_STATUS_OK) {
        free(block);
        return status;
    }
    block[used] = '\0';
    *data = block;
    *nbytes = used;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_file_write_status(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EFBIG ? DPT_STATUS_SPACE : DPT_STATUS_FAILED;
}

static int write_all(int fd, const char *data, size_t nbytes)
{
    while (nbytes) {
        const ssize_t put = write(fd, data, nbytes);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return errno;
        }
        data += put;
        nbytes -= (size_t)put;
    }
    return 0;
}

enum dpt_status dpt_file_replace(const char *path, const void *data, size_t nbytes)
{
    char beside[PATH_MAX], folder[PATH_MAX];
    DPT_CHECK(snprintf(beside, sizeof beside, "%s.tmp", path) < (int)sizeof beside, DPT_STATUS_FAILED,
              "%s: the path is too long", path);
    const int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    DPT_CHECK(fd >= 0, dpt_file_write_status(errno), "%s: cannot be created: %s", beside, strerror(errno));
    int error = write_all(fd, data, nbytes);
    if (!error && fsync(fd) != 0) {
        error = errno;
    }
    if (close(fd) != 0 && !error) {
        error = errno;
    }
    if (!error && rename(beside, path) != 0) {
        error = errno;
    }
    if (error) {
        unlink(beside);
        return dpt_error_set(dpt_file_write_status(error), __FILE__, __LINE__, "%s: cannot be written: %s", path,
                             strerror(error));
    }
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) {
        slash[slash == folder] = '\0';
    } else {
        strcpy(folder, ".");
    }
    return dpt_file_sync_dir(folder);
}

enum dpt_status dpt_file_mkdir(const char *path)
{
    char part[PATH_MAX];
    DPT_CHECK(snprintf(part, sizeof part, "%s", path) < (int)sizeof part, DPT_STATUS_FAILED, "%s: the path is too long",
              path);
    for (char *at = part + 1;; at++) {
        if (*at != '/' && *at != '\0') {
            continue;
        }
        const char was = *at;
        *at = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST) {
            return dpt_error_set(dpt_file_write_status(errno), __FILE__, __LINE__, "%s: folder cannot be made: %s",
                                 part, strerror(errno));
        }
        *at = was;
        if (was == '\0') {
            break;
        }
    }
    struct stat info;
    DPT_CHECK(stat(path, &info) == 0 && S_ISDIR(info.st_mode), DPT_STATUS_FAILED, "%s: is not a folder", path);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_file_sync_dir(const char *path)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DPT_CHECK(fd >= 0, DPT_STATUS_FAILED, "%s: folder cannot be opened: %s", path, strerror(errno));
    /* Some file systems refuse fsync on a folder; they order renames by themselves. */
    const int error = fsync(fd) != 0 && errno != EINVAL ? errno : 0;
    close(fd);
    DPT_CHECK(!error, dpt_file_write_status(error), "%s: folder cannot be synced: %s", path, strerror(error));
    return DPT_STATUS_OK;
}

bool dpt_file_exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

bool dpt_file_is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

enum dpt_status dpt_file_remove_dir(const char *path)
{
    DIR *folder = opendir(path);
    DPT_CHECK(folder, DPT_STATUS_FAILED, "%s: folder cannot be opened: %s", path, strerror(errno));
    for (const struct dirent *entry; (entry = readdir(folder));) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            unlinkat(dirfd(folder), entry->d_name, 0);
        }
    }
    closedir(folder);
    DPT_CHECK(rmdir(path) == 0, DPT_STATUS_FAILED, "%s: folder cannot be removed: %s", path, strerror(errno));
    return DPT_STATUS_OK;
}
