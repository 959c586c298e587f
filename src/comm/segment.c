/* SPDX-License-Identifier: Apache-2.0 */
#include "comm/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limit.h"
#include "base/text.h"

enum { PAGE = 4096, HUGE_PAGE = 2 << 20, NAME = 64 };

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

static size_t whole_pages(size_t nbytes)
{
    return (nbytes + PAGE - 1) / PAGE * PAGE;
}

/* Makes the object `name` of this size. Its pages are taken by fill(). */
static bool make(const char *name, size_t nbytes, char reason[160])
{
    const int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    const bool made = fd >= 0 && ftruncate(fd, (off_t)nbytes) == 0;
    if (!made) {
        snprintf(reason, 160, "shared memory cannot be made (%s)", strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    return made;
}

/* Maps nbytes of an object, at an address that huge pages can have. MAP_FAILED with errno. */
static char *map_aligned(int fd, size_t nbytes, int access)
{
    char *room = mmap(NULL, nbytes + HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) {
        return MAP_FAILED;
    }
    const size_t before = (HUGE_PAGE - (uintptr_t)room % HUGE_PAGE) % HUGE_PAGE;
    char *at = mmap(room + before, nbytes, access, MAP_SHARED | MAP_FIXED, fd, 0);
    if (at == MAP_FAILED) {
        munmap(room, nbytes + HUGE_PAGE);
        return MAP_FAILED;
    }
    if (before > 0) {
        munmap(room, before);
    }
    munmap(at + nbytes, HUGE_PAGE - before);
    return at;
}

/*
 * Makes huge pages of [begin, end) where the kernel can: asked for block by block, since most systems give shared memory
 * none by themselves (shmem_enabled = never). Several streams of small pages cost more in page walks than in memory. The
 * kernel wants one page of each block to be there, and takes the rest; what it refuses is left to posix_fallocate.
 */
static void take_huge_pages(int fd, char *at, size_t begin, size_t end)
{
    for (size_t block = (begin + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE; block + HUGE_PAGE <= end; block += HUGE_PAGE) {
        if (posix_fallocate(fd, (off_t)block, PAGE) != 0 || madvise(at + block, HUGE_PAGE, MADV_COLLAPSE) != 0) {
            return;
        }
    }
}

/*
 * Maps an object; takes the pages of [begin, end) here, so that they are this rank's on a machine where memory belongs
 * to sockets. A block of its own is written by one rank only.
 */
static char *map(const char *name, size_t nbytes, size_t begin, size_t end, bool writes, char reason[160])
{
    const int fd = shm_open(name, writes ? O_RDWR : O_RDONLY, 0);
    char *at = fd < 0 ? MAP_FAILED : map_aligned(fd, nbytes, PROT_READ | (writes ? PROT_WRITE : 0));
    int failed = at == MAP_FAILED ? errno : 0;
    if (!failed && end > begin) {
        take_huge_pages(fd, at, begin, end);
        failed = posix_fallocate(fd, (off_t)begin, (off_t)(end - begin));
    }
    if (failed) {
        char asked[24];
        snprintf(reason, 160, "/dev/shm has no room for %s (%s)", dpt_text_bytes(asked, sizeof asked, end - begin),
                 strerror(failed));
        if (at != MAP_FAILED) {
            munmap(at, nbytes);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return failed ? NULL : at;
}

/* The pages of shared memory count as memory of the job: where there is too little the kernel would kill it. */
static bool enough_memory(size_t nbytes, char reason[160])
{
    struct dpt_limit limit;
    char asked[24], left[24];
    dpt_limit_read("", &limit);
    if (nbytes <= limit.memory_free) {
        return true;
    }
    snprintf(reason, 160, "%s of shared memory were asked for, %s are free", dpt_text_bytes(asked, sizeof asked, nbytes),
             dpt_text_bytes(left, sizeof left, limit.memory_free));
    return false;
}

/* Whether all ranks of the host are well; if not, the reason of the lowest that is not. Collective. */
static bool all_well(MPI_Comm node, bool well, char reason[160])
{
    int rank, first;
    MPI_Comm_rank(node, &rank);
    MPI_Comm_size(node, &first);
    int worst = well ? first : rank;
    MPI_Allreduce(MPI_IN_PLACE, &worst, 1, MPI_INT, MPI_MIN, node);
    if (worst == first) {
        return true;
    }
    MPI_Bcast(reason, 160, MPI_CHAR, worst, node);
    return false;
}

static bool open_blocks(MPI_Comm node, int rank, char (*names)[NAME], struct dpt_comm__segment *s, char reason[160])
{
    const size_t nbytes = s->nbytes;
    const size_t asked = s->common ? nbytes / (size_t)s->size : nbytes;
    bool well = enough_memory(asked, reason) && (rank > 0 && s->common ? true : make(names[rank], nbytes, reason));
    if (!all_well(node, well, reason)) {
        return false;
    }
    if (s->common) {
        const size_t page = nbytes / (size_t)s->size >= HUGE_PAGE ? HUGE_PAGE : PAGE, n = (size_t)s->size, r = (size_t)rank;
        const size_t begin = nbytes / n * r / page * page, next = nbytes / n * (r + 1) / page * page;
        s->mine = map(names[0], nbytes, begin, r + 1 < n ? next : nbytes, true, reason);
    } else {
        s->mine = map(names[rank], nbytes, 0, nbytes, true, reason);
    }
    if (!all_well(node, s->mine != NULL, reason)) {
        return false;
    }
    for (int r = 0; r < s->size; r++) {
        s->peer[r] = s->common || r == rank ? s->mine : map(names[r], nbytes, 0, 0, false, reason);
        well = well && s->peer[r];
        if (s->peer[r] && (!s->common || r == rank)) {
            /* No step pays for the first look at a page; older kernels refuse, and there it does. */
            madvise(s->peer[r], nbytes, MADV_POPULATE_READ);
        }
    }
    return all_well(node, well, reason);
}

bool dpt_comm__segment_open(MPI_Comm node, size_t nbytes, bool common, struct dpt_comm__segment *segment,
                            char reason[160])
{
    int rank, size;
    MPI_Comm_rank(node, &rank);
    MPI_Comm_size(node, &size);
    *segment = (struct dpt_comm__segment){
        .peer = calloc((size_t)size, sizeof *segment->peer),
        .size = size,
        .nbytes = whole_pages(nbytes > 0 ? nbytes : 1),
        .common = common,
    };
    char(*names)[NAME] = calloc((size_t)size, sizeof *names);
    snprintf(reason, 160, "out of memory");
    bool well = all_well(node, segment->peer && names, reason);
    if (well) {
        snprintf(names[rank], NAME, "/dpt-%ld-%.0f", (long)getpid(), 1e6 * dpt_clock_s());
        MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, names, NAME, MPI_CHAR, node);
        well = open_blocks(node, rank, names, segment, reason);
        /* Every rank does it for all: one that ends the job at once must not leave it to a slower one. */
        for (int r = 0; r < size; r++) {
            shm_unlink(names[r]);
        }
    }
    free(names);
    if (!well) {
        dpt_comm__segment_close(segment);
    }
    return well;
}

void dpt_comm__segment_close(struct dpt_comm__segment *segment)
{
    for (int r = 0; r < segment->size && segment->peer; r++) {
        if (segment->peer[r] && segment->peer[r] != segment->mine) {
            munmap(segment->peer[r], segment->nbytes);
        }
    }
    if (segment->mine) {
        munmap(segment->mine, segment->nbytes);
    }
    free(segment->peer);
    *segment = (struct dpt_comm__segment){0};
}
