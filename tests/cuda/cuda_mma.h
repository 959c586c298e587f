/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The instructions of op/cuda_mma.cuh for the card that is not there: what each lane holds of a matrix is said there. Copies to
 * shared memory are done when they are waited for or, in launches that run backwards, at once; what is misaligned, and
 * lanes that meet in different instructions, end the program with a message (emulate.cu).
 */

/* What knows registers alone is not watched (races.h). */
#define EMULATED_UNWATCHED __attribute__((no_sanitize("thread")))

template <enum dpt_dtype TYPE> EMULATED_UNWATCHED static inline float emulated_half(uint32_t word, int which)
{
    const uint16_t bits = (uint16_t)(word >> 16 * which);
    if (TYPE == DPT_DTYPE_BF16) {
        const __nv_bfloat16 value = {bits};
        return __bfloat162float(value);
    }
    const __half value = {bits};
    return __half2float(value);
}

struct emulated_mma {
    float *c;
    const uint32_t *a, *b;
};

/* i counts the numbers of a lane, as the PTX ISA does. */
template <enum dpt_dtype TYPE> EMULATED_UNWATCHED static void emulated_do_mma(void *const lanes[32])
{
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; lane++) {
        const struct emulated_mma *mine = (const struct emulated_mma *)lanes[lane];
        const int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 8; i++) {
            const bool upper = i < 2 || (i >= 4 && i < 6);
            a[upper ? g : g + 8][2 * t + i % 2 + (i < 4 ? 0 : 8)] = emulated_half<TYPE>(mine->a[i / 2], i % 2);
        }
        for (int i = 0; i < 4; i++) {
            b[2 * t + i % 2 + (i < 2 ? 0 : 8)][g] = emulated_half<TYPE>(mine->b[i / 2], i % 2);
        }
    }
    for (int lane = 0; lane < 32; lane++) {
        float *c = ((const struct emulated_mma *)lanes[lane])->c;
        for (int i = 0; i < 4; i++) {
            const int row = lane / 4 + (i < 2 ? 0 : 8), column = 2 * (lane % 4) + i % 2;
            float sum = c[i];
            for (int k = 0; k < 16; k++) {
                sum += a[row][k] * b[k][column];
            }
            c[i] = sum;
        }
    }
}

template <enum dpt_dtype TYPE> static inline void dpt_mma(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    struct emulated_mma mine = {c, a, b};
    emulated_together(&mine, emulated_do_mma<TYPE>);
}

struct emulated_ldmatrix {
    uint32_t *to;
    const uint16_t *row;
};

template <bool TRANS> static void emulated_do_ldmatrix(void *const lanes[32])
{
    for (int lane = 0; lane < 32; lane++) {
        emulated_for_lane(lane);
        for (int matrix = 0; matrix < 4; matrix++) {
            uint32_t word = 0;
            for (int i = 0; i < 2; i++) {
                const int row = TRANS ? 2 * (lane % 4) + i : lane / 4, column = TRANS ? lane / 4 : 2 * (lane % 4) + i;
                const uint16_t *from = ((const struct emulated_ldmatrix *)lanes[8 * matrix + row])->row;
                word |= (uint32_t)from[column] << 16 * i;
            }
            ((const struct emulated_ldmatrix *)lanes[lane])->to[matrix] = word;
        }
    }
}

static inline void dpt_ldmatrix(uint32_t to[4], const void *row)
{
    struct emulated_ldmatrix mine = {to, (const uint16_t *)emulated_aligned(row, 16)};
    emulated_together(&mine, emulated_do_ldmatrix<false>);
}

static inline void dpt_ldmatrix_trans(uint32_t to[4], const void *row)
{
    struct emulated_ldmatrix mine = {to, (const uint16_t *)emulated_aligned(row, 16)};
    emulated_together(&mine, emulated_do_ldmatrix<true>);
}

template <int BYTES> static inline void dpt_copy(void *to, const void *from, bool some)
{
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "as many bytes as an instruction copies");
    emulated_copy((void *)emulated_aligned(to, BYTES), emulated_aligned(from, BYTES), BYTES, some);
}

static inline void dpt_copy_wait(void)
{
    emulated_copy_wait();
}

template <enum dpt_dtype TYPE> static inline uint32_t dpt_pack(float low, float high)
{
    if (TYPE == DPT_DTYPE_BF16) {
        return __float2bfloat16_rn(low).bits | (uint32_t)__float2bfloat16_rn(high).bits << 16;
    }
    return __float2half_rn(low).bits | (uint32_t)__float2half_rn(high).bits << 16;
}

static inline float dpt_exp2(float x)
{
    const float y = exp2f(x);
    return y < 0x1p-126f ? 0.0f : y;
}
