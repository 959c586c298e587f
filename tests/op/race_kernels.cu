/* SPDX-License-Identifier: Apache-2.0 */

/* The kernels of test_races.c. */

#include "op/cuda_mma.cuh"

#include "race_kernels.h"

enum barrier { NONE, WARP, BLOCK, SHUFFLE };

template <enum barrier KIND> static __device__ void meet(void)
{
    if (KIND == WARP) {
        __syncwarp();
    } else if (KIND == BLOCK) {
        __syncthreads();
    } else if (KIND == SHUFFLE) {
        (void)__shfl_xor_sync(0xffffffffu, 1, 1);
    }
}

/* Hands a number to the thread `away`, with a barrier before it is read and another before the next is written. */
template <enum barrier BEFORE, enum barrier AFTER, int AWAY> static __global__ void hand_over(float *x)
{
    __shared__ float kept[RACE_BLOCK];
    DPT_SHARED(shared);
    float *other = (float *)shared;
    const int thread = (int)threadIdx.x, first = (int)blockIdx.x * RACE_BLOCK;
    kept[thread] = other[thread] = 0.0f;
    __syncthreads();
    for (int i = 0; i < 2; i++) {
        kept[thread] = (float)(first + thread + i);
        other[thread] = kept[thread];
        meet<BEFORE>();
        x[first + thread] = kept[thread ^ AWAY] + other[thread ^ AWAY];
        meet<AFTER>();
    }
}

/* Each block reads and writes its part, or what lies beside it. */
template <int WRITES, int READS> static __global__ void parts(float *x)
{
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    x[i + WRITES] = x[i + READS] + 1.0f;
}

static __global__ void one_number(float *x)
{
    if (threadIdx.x == 0) {
        x[0] = 1.0f;
    }
}

static __global__ void neighbours(uint8_t *at, uint16_t *wide)
{
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    at[i] = 1;
    wide[2 * RACE_BLOCK * RACE_BLOCKS + i] = 1;
}

static __global__ void not_written(float *x)
{
    __shared__ float kept[RACE_BLOCK];
    if (blockIdx.x == 0) {
        kept[threadIdx.x] = 1.0f; /* the next block has its own */
    }
    __syncthreads();
    x[blockIdx.x * blockDim.x + threadIdx.x] = kept[threadIdx.x];
}

/* A tile is copied, maybe waited for by all, and read by the lanes of a warp together. */
template <bool WAITS, bool FREES> static __global__ void tiles(float *x)
{
    DPT_SHARED(shared);
    uint16_t *tile = (uint16_t *)shared;
    const uint16_t *from = (const uint16_t *)x;
    uint32_t sum = 0, a[4];
    memset(tile + threadIdx.x * 8, 0, 16);
    __syncthreads();
    for (int i = 0; i < 2; i++) {
        dpt_copy<16>(tile + threadIdx.x * 8, from + threadIdx.x * 8, true);
        dpt_copy_wait();
        if (WAITS) {
            __syncthreads();
        }
        dpt_ldmatrix(a, tile + (threadIdx.x ^ DPT_WARP) * 8);
        sum += a[0] + a[3];
        if (FREES) {
            __syncthreads();
        }
    }
    x[RACE_NUMBERS / 2 + blockIdx.x * RACE_BLOCK + threadIdx.x] = (float)sum;
}

template <enum barrier BEFORE, enum barrier AFTER, int AWAY> static void launch_hand_over(struct dpt_dev *card, float *x)
{
    DPT_LAUNCH_SHARED((hand_over<BEFORE, AFTER, AWAY>), RACE_BLOCKS, RACE_BLOCK, RACE_BLOCK * sizeof(float),
                      dpt_cuda_of(card)->stream, x);
}

template <int WRITES, int READS> static void launch_parts(struct dpt_dev *card, float *x)
{
    DPT_LAUNCH((parts<WRITES, READS>), RACE_BLOCKS, RACE_BLOCK, dpt_cuda_of(card)->stream, x);
}

/* Launches follow each other. */
static void launch_twice(struct dpt_dev *card, float *x)
{
    launch_parts<0, 0>(card, x);
    DPT_LAUNCH((parts<0, 0>), RACE_BLOCKS / 2, RACE_BLOCK, dpt_cuda_of(card)->stream, x + RACE_BLOCK / 2);
}

static void launch_one_number(struct dpt_dev *card, float *x)
{
    DPT_LAUNCH(one_number, RACE_BLOCKS, RACE_BLOCK, dpt_cuda_of(card)->stream, x);
}

static void launch_neighbours(struct dpt_dev *card, float *x)
{
    DPT_LAUNCH(neighbours, RACE_BLOCKS, RACE_BLOCK, dpt_cuda_of(card)->stream, (uint8_t *)x, (uint16_t *)x);
}

static void launch_not_written(struct dpt_dev *card, float *x)
{
    DPT_LAUNCH(not_written, RACE_BLOCKS, RACE_BLOCK, dpt_cuda_of(card)->stream, x);
}

template <bool WAITS, bool FREES> static void launch_tiles(struct dpt_dev *card, float *x)
{
    DPT_LAUNCH_SHARED((tiles<WAITS, FREES>), RACE_BLOCKS, RACE_BLOCK, RACE_BLOCK * 16, dpt_cuda_of(card)->stream, x);
}

#define NO_BARRIER ", and no barrier stands between"

const struct race_case race_cases[] = {
    {"a block's barriers", NULL, launch_hand_over<BLOCK, BLOCK, 33>},
    {"a warp's barriers", NULL, launch_hand_over<WARP, WARP, 1>},
    {"barriers of either kind", NULL, launch_hand_over<BLOCK, WARP, 1>},
    {"a thread alone", NULL, launch_hand_over<NONE, NONE, 0>},
    {"no barrier before reads", NO_BARRIER, launch_hand_over<NONE, BLOCK, 1>},
    {"no barrier after reads", NO_BARRIER, launch_hand_over<BLOCK, NONE, 33>},
    {"no barrier after a warp's reads", NO_BARRIER, launch_hand_over<WARP, NONE, 1>},
    {"a warp's barrier for a block", NO_BARRIER, launch_hand_over<BLOCK, WARP, 33>},
    {"shuffles alone before reads", NO_BARRIER, launch_hand_over<SHUFFLE, BLOCK, 1>},
    {"shuffles alone after reads", NO_BARRIER, launch_hand_over<WARP, SHUFFLE, 1>},
    {"a part of each block", NULL, launch_parts<0, 0>},
    {"one launch after the other", NULL, launch_twice},
    {"one more than a block's part", "another", launch_parts<1, 0>},
    {"the first of each block writes", "another block", launch_parts<RACE_BLOCK, 0>},
    {"reads of another block's part", "another block", launch_parts<0, RACE_BLOCK>},
    {"one number by all blocks", "writes what another block writes", launch_one_number},
    {"neighbours of a byte", NULL, launch_neighbours},
    {"never written", "reads what no thread of the block has written", launch_not_written},
    {"tiles", NULL, launch_tiles<true, true>},
    {"tiles that not all waited for", "what ", launch_tiles<false, true>},
    {"tiles written too soon", NO_BARRIER, launch_tiles<true, false>},
    {NULL, NULL, NULL},
};
