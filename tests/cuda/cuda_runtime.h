/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What nvcc gives to kernels, for a C++ compiler: the threads of a block are fibers that run one after the other and change
 * at barriers and at exchanges within a warp, blocks follow each other. Every other launch runs its threads and blocks
 * backwards, so that a kernel whose result depends on their order shows it; and what threads touch is watched (races.h).
 */

#include <math.h>
#include <string.h>

#include <functional>

#include "cuda_runtime_api.h"

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

struct emulated_place {
    unsigned x, y, z;
};

extern struct emulated_place threadIdx, blockIdx, blockDim, gridDim;

/* x + y, rounded, and never part of another operation. */
static inline float __fadd_rn(float x, float y)
{
    return x + y;
}

/* Work takes its turn in a stream (runtime.cu). */
void emulated_do(cudaStream_t stream, const std::function<void()> &work);

/* Runs `kernel` for every thread of the grid, in its turn. A grid that no card takes ends the program with a message. */
void emulated_launch(const char *name, dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
                     const std::function<void()> &kernel);

/* Shared memory of the block, as much as its launch asked for; NaN in every block at first. */
unsigned char *emulated_shared(void);

/* Waits for all threads of the block, or of the warp. A thread that never comes ends the program with a message. */
void emulated_block_barrier(void);
void emulated_warp_barrier(void);

/* The barrier of a warp that orders memory, too. */
void emulated_warp_order(void);

/* What follows is done for another thread of the warp, by the one that does it for all. */
void emulated_for_lane(int lane);

/* 8 bytes of each thread of a warp, for exchanges. */
unsigned char *emulated_slot(int lane);
int emulated_lane(void);

/* An instruction that the lanes of a warp do together: the last one to come does it for all, from what each brings. */
void emulated_together(void *mine, void (*instruction)(void *const lanes[32]));

/* `at`, unless it is no multiple of `bytes`. */
const void *emulated_aligned(const void *at, uintptr_t bytes);

/* Copies of the thread that take their time. */
void emulated_copy(void *to, const void *from, int nbytes, bool some);
void emulated_copy_wait(void);

#define DPT_LAUNCH(kernel, grid, block, stream, ...) DPT_LAUNCH_SHARED(kernel, grid, block, 0, stream, __VA_ARGS__)
#define DPT_LAUNCH_SHARED(kernel, grid, block, shared, stream, ...)                                                    \
    emulated_call(                                                                                                     \
        #kernel, grid, block, shared, stream, [](auto... argument) { kernel(argument...); }, __VA_ARGS__)
#define DPT_SHARED(name) unsigned char *const name = emulated_shared()

/* The arguments are what they are now, whenever the kernel's turn comes. */
template <class K, class... A>
static inline void emulated_call(const char *name, dim3 grid, dim3 block, size_t shared, cudaStream_t stream, K kernel,
                                 A... argument)
{
    emulated_launch(name, grid, block, shared, stream, [=] { kernel(argument...); });
}

static inline void __syncthreads(void)
{
    emulated_block_barrier();
}

static inline void __syncwarp(void)
{
    emulated_warp_order();
}

template <class T> static inline T __shfl_xor_sync(unsigned mask, T value, int other)
{
    static_assert(sizeof value <= 8, "at most 8 bytes travel at once");
    (void)mask;
    memcpy(emulated_slot(emulated_lane()), &value, sizeof value);
    emulated_warp_barrier();
    memcpy(&value, emulated_slot(emulated_lane() ^ other), sizeof value);
    emulated_warp_barrier();
    return value;
}
