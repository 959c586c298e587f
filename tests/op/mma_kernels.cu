/* SPDX-License-Identifier: Apache-2.0 */

/* The kernel of test_mma.c. */

#include "op/cuda_mma.cuh"

#include "mma_kernels.h"

static __device__ uint32_t both(const uint16_t *first, int64_t next)
{
    return first[0] | (uint32_t)first[next] << 16;
}

/* a[16 x 16] from column k on. */
static __device__ void a_by_hand(int lane, int k, const uint16_t *a, uint32_t to_a[4])
{
    const int row = lane / 4, pair = lane % 4 * 2;
    to_a[0] = both(a + row * MMA_K + k + pair, 1);
    to_a[1] = both(a + (row + 8) * MMA_K + k + pair, 1);
    to_a[2] = both(a + row * MMA_K + k + pair + 8, 1);
    to_a[3] = both(a + (row + 8) * MMA_K + k + pair + 8, 1);
}

/* b[16 x 8] from row k and column n on. */
static __device__ void b_by_hand(int lane, int k, int n, const uint16_t *b, uint32_t to_b[2])
{
    const int column = n + lane / 4, pair = k + lane % 4 * 2;
    to_b[0] = both(b + pair * MMA_N + column, MMA_N);
    to_b[1] = both(b + (pair + 8) * MMA_N + column, MMA_N);
}

template <enum dpt_dtype TYPE, int WIDTH>
static __global__ void product(enum mma_form form, int swap, const uint16_t *a, const uint16_t *b, float *c)
{
    DPT_SHARED(shared);
    uint16_t *const tile_a = (uint16_t *)shared, *const tile_b = tile_a + MMA_K * WIDTH;
    const int lane = dpt_lane();
    float sum[2][4] = {};
    if (form == MMA_BY_ROWS) {
        dpt_tile_copy<WIDTH, MMA_M, DPT_WARP>(tile_a, a, MMA_K, MMA_M, MMA_K);
        dpt_tile_copy<WIDTH, MMA_K, DPT_WARP>(tile_b, b, MMA_N, MMA_K, MMA_N);
    } else if (form == MMA_TRANSPOSED) {
        dpt_tile_copy<WIDTH, MMA_K, DPT_WARP>(tile_a, a, MMA_M, MMA_K, MMA_M);
        dpt_tile_copy<WIDTH, MMA_N, DPT_WARP>(tile_b, b, MMA_K, MMA_N, MMA_K);
    }
    dpt_copy_wait();
    __syncthreads();
    for (int k = 0; k < MMA_K / 16; k++) {
        uint32_t part_a[4], part_b[4];
        if (form == MMA_BY_HAND) {
            a_by_hand(lane ^ swap, k * 16, a, part_a);
            b_by_hand(lane, k * 16, 0, b, part_b);
            b_by_hand(lane, k * 16, 8, b, part_b + 2);
        } else if (form == MMA_BY_ROWS) {
            dpt_tile_a<WIDTH>(part_a, tile_a, 0, k);
            dpt_tile_b<WIDTH>(part_b, tile_b, k * 16, 0);
        } else {
            dpt_tile_a_trans<WIDTH>(part_a, tile_a, k * 16, 0);
            dpt_tile_b_trans<WIDTH>(part_b, tile_b, 0, k);
        }
        dpt_mma<TYPE>(sum[0], part_a, part_b);
        dpt_mma<TYPE>(sum[1], part_a, part_b + 2);
    }
    for (int i = 0; i < 8; i++) {
        c[(lane / 4 + i % 4 / 2 * 8) * MMA_N + i / 4 * 8 + lane % 4 * 2 + i % 2] = sum[i / 4][i % 4];
    }
}

template <int WIDTH>
static void launch(struct dpt_cuda *cuda, int type, enum mma_form form, int swap, const uint16_t *a, const uint16_t *b,
                   float *c)
{
    const size_t nbytes = 2 * MMA_K * WIDTH * sizeof(uint16_t);
    if (type == DPT_DTYPE_BF16) {
        DPT_LAUNCH_SHARED((product<DPT_DTYPE_BF16, WIDTH>), 1u, DPT_WARP, nbytes, cuda->stream, form, swap, a, b, c);
    } else {
        DPT_LAUNCH_SHARED((product<DPT_DTYPE_F16, WIDTH>), 1u, DPT_WARP, nbytes, cuda->stream, form, swap, a, b, c);
    }
}

extern "C" void mma_product(struct dpt_dev *card, int type, enum mma_form form, int width, int swap, const uint16_t *a,
                            const uint16_t *b, float *c)
{
    struct dpt_cuda *cuda = dpt_cuda_of(card);
    if (width == 32) {
        launch<32>(cuda, type, form, swap, a, b, c);
    } else if (width == 64) {
        launch<64>(cuda, type, form, swap, a, b, c);
    } else {
        launch<128>(cuda, type, form, swap, a, b, c);
    }
}
