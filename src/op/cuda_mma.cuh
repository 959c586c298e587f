/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Products of small matrices of 16 bits on the tensor cores of a card, sums in float, and the copies to shared memory
 * that feed them: a wrapper for each instruction (PTX ISA, "Warp Level Matrix Instructions" and "cp.async"), then tiles.
 * The emulator of tests/cuda/ has its own wrappers, with the same lanes and registers.
 *
 * An instruction is given by all 32 lanes of a warp, each of which holds a part of every matrix. With g = lane / 4 and
 * t = lane % 4, and two numbers a register, the lower one first:
 *
 *   a[16 x 16]   register 0: row g, columns 2t, 2t + 1      1: row g + 8, the same columns
 *                         2: row g, columns 2t + 8, 2t + 9  3: row g + 8, those columns
 *   b[16 x 8]    register 0: rows 2t, 2t + 1 of column g    1: rows 2t + 8, 2t + 9 of column g
 *   c[16 x 8]    floats 0, 1: row g, columns 2t, 2t + 1     2, 3: row g + 8, the same columns
 *
 * So two neighbours c[16 x 8], packed, are an a[16 x 16]: what one product gives goes into the next and stays in its lane.
 */

#include "op/cuda.cuh"

#ifdef __CUDACC__

/* c += a b. TYPE: of a and b, BF16 or F16. */
template <enum dpt_dtype TYPE>
static __device__ inline void dpt_mma(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    if (TYPE == DPT_DTYPE_BF16) {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                     "{%0, %1, %2, %3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    } else {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                     "{%0, %1, %2, %3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
}

/*
 * Four matrices of 8 x 8 from shared memory, one a register. Lanes 8 i .. 8 i + 7 say where the rows of matrix i begin, 16
 * bytes each, aligned; each lane gets columns 2t, 2t + 1 of row g.
 */
static __device__ inline void dpt_ldmatrix(uint32_t to[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row)));
}

/* The same, transposed: each lane gets rows 2t, 2t + 1 of column g. */
static __device__ inline void dpt_ldmatrix_trans(uint32_t to[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row)));
}

/*
 * Begins to copy BYTES, 4 or 16, aligned, to shared memory; zeros instead, and `from` is not read, unless `some`. They are
 * there for this thread behind dpt_copy_wait, and for the others behind a barrier after that.
 */
template <int BYTES> static __device__ inline void dpt_copy(void *to, const void *from, bool some)
{
    const uint32_t at = (uint32_t)__cvta_generic_to_shared(to), nbytes = some ? BYTES : 0;
    if (BYTES == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(nbytes) : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(at), "l"(from), "n"(BYTES), "r"(nbytes)
                     : "memory");
    }
}

/* Waits for all copies that this thread began. */
static __device__ inline void dpt_copy_wait(void)
{
    asm volatile("cp.async.wait_all;" ::: "memory");
}

/* Two numbers of 16 bits in a register, rounded. */
template <enum dpt_dtype TYPE> static __device__ inline uint32_t dpt_pack(float low, float high)
{
    uint32_t both;
    if (TYPE == DPT_DTYPE_BF16) {
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    } else {
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    }
    return both;
}

/* 2^x within 2^-22 of it; below 2^-126 it is 0. */
static __device__ inline float dpt_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#else
#include <cuda_mma.h>
#endif

/* ----------------------------------------------------------------------------------------------------------- tiles */

/*
 * Place of eight numbers, `chunk` of a row, in a tile of WIDTH numbers of 16 bits a row. The chunks of a row are permuted,
 * each row in another way than the seven beside it, so that eight rows of one chunk lie in different banks, as eight chunks
 * of a row do.
 */
template <int WIDTH> static __device__ inline int dpt_tile_at(int row, int chunk)
{
    enum { CHUNKS = WIDTH / 8, LINES = CHUNKS < 8 ? 8 / CHUNKS : 1, MOST = CHUNKS < 8 ? CHUNKS : 8 };
    static_assert(WIDTH % 8 == 0 && (MOST & (MOST - 1)) == 0, "chunks are counted by powers of two");
    return row * WIDTH + (chunk & -MOST) * 8 + ((chunk ^ row / LINES) & (MOST - 1)) * 8;
}

/*
 * Begins to copy ROWS rows to a tile, by all THREADS of a block: `stride` numbers apart, of which `rows` and `columns`, a
 * multiple of 8, are there; the others are 0.
 */
template <int WIDTH, int ROWS, int THREADS>
static __device__ inline void dpt_tile_copy(uint16_t *tile, const uint16_t *from, int64_t stride, int rows, int columns)
{
    enum { CHUNKS = WIDTH / 8, AT_ONCE = THREADS / CHUNKS };
    static_assert(THREADS % CHUNKS == 0, "a thread has one chunk of some rows");
    const int chunk = (int)threadIdx.x % CHUNKS;
    int row = (int)threadIdx.x / CHUNKS, left = rows < ROWS ? rows : ROWS;
    const uint16_t *at = from + row * stride + chunk * 8;
    left = chunk * 8 < columns ? left : 0;
    DPT_UNROLL for (int pass = 0; pass < ROWS; pass += AT_ONCE)
    {
        if (ROWS % AT_ONCE == 0 || row < ROWS) {
            dpt_copy<16>(tile + dpt_tile_at<WIDTH>(row, chunk), row < left ? at : from, row < left);
        }
        row += AT_ONCE;
        at += AT_ONCE * stride;
    }
}

static __device__ inline int dpt_lane(void)
{
    return (int)threadIdx.x % DPT_WARP;
}

/* a: 16 rows from `row` and 16 columns from 16 `k` of a tile. */
template <int WIDTH> static __device__ inline void dpt_tile_a(uint32_t a[4], const uint16_t *tile, int row, int k)
{
    const int lane = dpt_lane();
    dpt_ldmatrix(a, tile + dpt_tile_at<WIDTH>(row + lane % 16, 2 * k + lane / 16));
}

/* The same of a tile that holds the transpose of a: columns from 16 `m` are its rows, rows from `row` its columns. */
template <int WIDTH> static __device__ inline void dpt_tile_a_trans(uint32_t a[4], const uint16_t *tile, int row, int m)
{
    const int lane = dpt_lane();
    dpt_ldmatrix_trans(a, tile + dpt_tile_at<WIDTH>(row + lane % 8 + lane / 16 * 8, 2 * m + lane / 8 % 2));
}

/* Two neighbours b, b[0..1] and b[2..3]: rows from `row` and columns from 16 `n` of a tile. */
template <int WIDTH> static __device__ inline void dpt_tile_b(uint32_t b[4], const uint16_t *tile, int row, int n)
{
    const int lane = dpt_lane();
    dpt_ldmatrix_trans(b, tile + dpt_tile_at<WIDTH>(row + lane % 16, 2 * n + lane / 16));
}

/* The same of a tile that holds the transpose: rows from `row` are columns of b, columns from 16 `k` its rows. */
template <int WIDTH> static __device__ inline void dpt_tile_b_trans(uint32_t b[4], const uint16_t *tile, int row, int k)
{
    const int lane = dpt_lane();
    dpt_ldmatrix(b, tile + dpt_tile_at<WIDTH>(row + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
}
