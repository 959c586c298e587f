/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The board of a host. A page of POSIX shared memory whose name is removed as soon as all ranks have it, so that a job
 * that ends badly leaves nothing behind. Each slot has one writer, the watchdog of its rank.
 */

#include "comm/board.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "comm/impl.h"

static struct dpt_comm__slot *board;
static size_t board_nbytes;

/* Maps the shared object `name`; NULL where that fails. */
static void *map(const char *name, int flags)
{
    const int fd = shm_open(name, flags, 0600);
    if (fd < 0) {
        return NULL;
    }
    void *at = MAP_FAILED;
    /* Not ftruncate: where /dev/shm is full, the first write would be a bus error. */
    if (!(flags & O_CREAT) || posix_fallocate(fd, 0, (off_t)board_nbytes) == 0) {
        at = mmap(NULL, board_nbytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    close(fd);
    return at == MAP_FAILED ? NULL : at;
}

void dpt_comm__board_open(void)
{
    struct dpt_comm__process *p = &dpt_comm__process;
    if (p->node_size == 1) {
        return;
    }
    board_nbytes = (size_t)p->node_size * sizeof *board;
    char name[64];
    const bool first = p->node_rank == 0;
    snprintf(name, sizeof name, "/dpt-%ld-%.0f", (long)getpid(), 1e6 * dpt_clock_s());
    board = first ? map(name, O_RDWR | O_CREAT | O_EXCL) : NULL;
    MPI_Bcast(name, sizeof name, MPI_CHAR, 0, p->node);
    if (!first) {
        board = map(name, O_RDWR);
    }
    int all = board != NULL;
    MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT, MPI_MIN, p->node);
    /* Every rank does it: one that ends the job at once must not leave it to a slower one. */
    shm_unlink(name);
    if (!all) {
        dpt_comm__board_close();
        return;
    }
    board[p->node_rank].rank = p->rank;
}

void dpt_comm__board_close(void)
{
    if (board) {
        munmap(board, board_nbytes);
        board = NULL;
    }
}

struct dpt_comm__slot *dpt_comm__board_slot(int node_rank)
{
    return board ? &board[node_rank] : NULL;
}
