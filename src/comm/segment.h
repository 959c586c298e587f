/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Memory that the ranks of a host share, each of which sees it at an address of its own. POSIX shared memory: on pages,
 * so that nothing depends on the alignment that an MPI library gives its windows; pages are taken when it is made, so
 * that a /dev/shm that is too small is a refusal and not a bus error in the middle of a step; names are removed at once,
 * so that a job that ends badly leaves nothing behind. Private to comm/.
 */

#include <stdbool.h>
#include <stddef.h>

#include <mpi.h>

struct dpt_comm__segment {
    char *mine;      /* this rank's block, or the common one           */
    char **peer;     /* of each rank of the host; all equal if common  */
    int size;
    size_t nbytes;
    bool common;
};

/*
 * A zeroed block of nbytes for each rank of `node`, or one for all (`common`). False where any rank could not have it;
 * then why (of the lowest such rank) is in `reason`. nbytes is the same on all ranks. Collective over node.
 */
bool dpt_comm__segment_open(MPI_Comm node, size_t nbytes, bool common, struct dpt_comm__segment *segment,
                            char reason[160]);

/* Unmaps it here. Local. */
void dpt_comm__segment_close(struct dpt_comm__segment *segment);
