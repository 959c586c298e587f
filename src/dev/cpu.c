/* SPDX-License-Identifier: Apache-2.0 */

/*
 * This machine's memory and cores. Large blocks come straight from the kernel: zeroed, on pages of their own, on huge
 * pages where there are any, and back to the system when they are released.
 */

#include <cblas.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/limit.h"
#include "base/text.h"
#include "dev/dev.h"

enum { ALIGN = 64, PAGE = 4096, LARGE = 1 << 20 };

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

/* Linux grants what it does not have and kills the process when it is touched, so ask before. */
static enum dpt_status check_free(size_t nbytes, const char *what)
{
    struct dpt_limit limit;
    char asked[24], left[24];
    dpt_limit_read("", &limit);
    DPT_CHECK(nbytes <= limit.memory_free, DPT_STATUS_SPACE,
              "not enough memory for %s: %s were asked for, %s are free here; use a smaller batch or model, fewer ranks on "
              "this host, or more hosts",
              what, dpt_text_bytes(asked, sizeof asked, nbytes), dpt_text_bytes(left, sizeof left, limit.memory_free));
    return DPT_STATUS_OK;
}

static size_t whole_pages(size_t nbytes)
{
    return (nbytes + PAGE - 1) / PAGE * PAGE;
}

static enum dpt_status cpu_alloc(struct dpt_dev *dev, size_t nbytes, const char *what, void **block)
{
    char asked[24];
    (void)dev;
    DPT_CHECK(nbytes <= SIZE_MAX / 2, DPT_STATUS_SPACE, "the size of %s is beyond any memory", what);
    if (nbytes < LARGE) {
        const size_t rounded = (nbytes + ALIGN - 1) / ALIGN * ALIGN;
        *block = aligned_alloc(ALIGN, rounded);
        DPT_CHECK(*block, DPT_STATUS_SPACE, "not enough memory for %s: %zu bytes were asked for", what, nbytes);
        memset(*block, 0, rounded);
        return DPT_STATUS_OK;
    }
    DPT_TRY(check_free(nbytes, what));
    void *at = mmap(NULL, whole_pages(nbytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    DPT_CHECK(at != MAP_FAILED, DPT_STATUS_SPACE, "not enough memory for %s: %s were asked for: %s (look at ulimit -v)",
              what, dpt_text_bytes(asked, sizeof asked, nbytes), strerror(errno));
    madvise(at, whole_pages(nbytes), MADV_HUGEPAGE);
    /*
     * Take the pages now, on the core that will use them: then no step pays for it, and what the next block finds free
     * is true. Older kernels refuse; there the first use takes them.
     */
    const int refused = madvise(at, whole_pages(nbytes), MADV_POPULATE_WRITE);
    if (refused && errno == ENOMEM) {
        munmap(at, whole_pages(nbytes));
        return dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "not enough memory for %s: %s were asked for", what,
                             dpt_text_bytes(asked, sizeof asked, nbytes));
    }
    *block = at;
    return DPT_STATUS_OK;
}

static void cpu_release(struct dpt_dev *dev, void *block, size_t nbytes)
{
    (void)dev;
    if (nbytes < LARGE) {
        free(block);
    } else {
        munmap(block, whole_pages(nbytes));
    }
}

static void cpu_close(struct dpt_dev *dev)
{
    free(dev);
}

/* "model name : Intel(R) Xeon(R) ..." of /proc/cpuinfo; other architectures name other things, or nothing. */
static void find_name(char *name, size_t size)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "re");
    snprintf(name, size, "cpu");
    while (file && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (colon && (strncmp(line, "model name", 10) == 0 || strncmp(line, "cpu\t", 4) == 0 ||
                      strncmp(line, "Model", 5) == 0)) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(name, size, "cpu:%s", colon + 1);
            break;
        }
    }
    if (file) {
        fclose(file);
    }
}

enum dpt_status dpt_dev_cpu(int threads, struct dpt_dev **dev)
{
    DPT_ASSERT(threads >= 1);
    struct dpt_dev *d = malloc(sizeof *d);
    DPT_CHECK(d, DPT_STATUS_SPACE, "out of memory for a device");
    *d = (struct dpt_dev){
        .kind = DPT_DEV_KIND_CPU,
        .threads = threads,
        .alloc = cpu_alloc,
        .release = cpu_release,
        .close = cpu_close,
    };
    find_name(d->name, sizeof d->name);
    openblas_set_num_threads(threads);
    /* oneDNN takes the threads of the OpenMP library that it was linked with, where it was. */
    void (*set_openmp_threads)(int);
    void *symbol = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
    memcpy(&set_openmp_threads, &symbol, sizeof symbol);
    if (set_openmp_threads) {
        set_openmp_threads(threads);
    }
    *dev = d;
    return DPT_STATUS_OK;
}
