/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The board: a few bytes of memory that the ranks of a host share, in which each rank's watchdog writes what its rank
 * does, so that the one whose time runs out can name the ones it waits for. Private to comm/.
 */

#include <stdatomic.h>
#include <stdint.h>

struct dpt_comm__slot {
    int rank;               /* in the world                                                     */
    _Atomic uint64_t at_us; /* when its watchdog last wrote, CLOCK_MONOTONIC; 0: it has none    */
    _Atomic uint64_t begun; /* collectives that the rank has begun: fewer is further behind     */
    char doing[96];         /* "forward conv1"                                                  */
};

/* Makes the board, or none where the host has no shared memory to give. Collective over the ranks of the host. */
void dpt_comm__board_open(void);
void dpt_comm__board_close(void);

/* The slot of a rank of this host; NULL: there is no board. Local. */
struct dpt_comm__slot *dpt_comm__board_slot(int node_rank);
