/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Races in kernels. Kernels are compiled with -fsanitize=thread, for its calls before each access to memory alone: they are
 * answered here and not by its library, which knows of threads and not of a card's. Two accesses of the same bytes, one of
 * them a write, are a race unless
 *
 *   they are by the same thread;
 *   they are by threads of a block and __syncthreads stands between them;
 *   they are by threads of a warp and __syncwarp stands between them (shuffles, mma and ldmatrix order no memory);
 *   they are in different launches.
 *
 * Shared memory is new in every block: what no thread of the block has written must not be read. A race or such a read ends
 * the program with a message. What a card does at the same time in several streams is no question here; see runtime.cu.
 * All is local to the thread of the host that runs the kernel.
 */

#include <stddef.h>

/* What the emulator's own headers touch on behalf of threads; it is not looked at. */
#define RACES_APART __attribute__((section("emulated")))

/*
 * A launch begins; `name` stays valid until the next, `kernel` tells kernels apart. Stacks of its threads lie in `nbytes` from
 * `stacks` on.
 */
void races_begin_launch(const char *name, size_t kernel, const char *stacks, size_t nbytes);

/* A block begins, with `nbytes` of shared memory besides its static variables. */
void races_begin_block(const unsigned char *shared, size_t nbytes);

/* All threads of the block, or of a warp, have met at a barrier that orders memory. */
void races_block_met(void);
void races_warp_met(unsigned warp);

/* Accesses are those of a thread of the block from here on; or of nobody, outside of kernels. */
void races_by_thread(unsigned thread);
void races_by_nobody(void);

/* What the emulator does for the thread. */
void races_access(const void *at, size_t nbytes, bool write);
