/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bf16.h"

#include <string.h>

#include "base/simd.h"

/* Of a float's bits: half a unit of the last bit that stays is added, less the least where that bit is even. */
#define NARROWED(x)                                                                                                    \
    (((x) & 0x7fffffff) > 0x7f800000 ? (x) >> 16 | 0x40 : ((x) + 0x7fff + ((x) >> 16 & 1)) >> 16)

DPT_SIMD static void dpt_bf16__narrow(int64_t n, const uint32_t *restrict x, uint16_t *restrict y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        y[i] = (uint16_t)NARROWED(x[i]);
    }
}

DPT_SIMD static void dpt_bf16__widen(int64_t n, const uint16_t *restrict x, uint32_t *restrict y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        y[i] = (uint32_t)x[i] << 16;
    }
}

DPT_SIMD static void dpt_bf16__round(int64_t n, uint32_t *x)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        x[i] = NARROWED(x[i]) << 16;
    }
}

/* Through a small array, since the bits of a float may be looked at by memcpy only. */
enum { BLOCK = 1024 };

void dpt_bf16_narrow(int64_t count, const float *x, uint16_t *y)
{
    uint32_t bits[BLOCK];
    for (int64_t i = 0; i < count; i += BLOCK) {
        const int64_t n = count - i < BLOCK ? count - i : BLOCK;
        memcpy(bits, x + i, (size_t)n * sizeof *bits);
        dpt_bf16__narrow(n, bits, y + i);
    }
}

void dpt_bf16_widen(int64_t count, const uint16_t *x, float *y)
{
    uint32_t bits[BLOCK];
    for (int64_t i = 0; i < count; i += BLOCK) {
        const int64_t n = count - i < BLOCK ? count - i : BLOCK;
        dpt_bf16__widen(n, x + i, bits);
        memcpy(y + i, bits, (size_t)n * sizeof *bits);
    }
}

void dpt_bf16_round(int64_t count, const float *x, float *y)
{
    uint32_t bits[BLOCK];
    for (int64_t i = 0; i < count; i += BLOCK) {
        const int64_t n = count - i < BLOCK ? count - i : BLOCK;
        memcpy(bits, x + i, (size_t)n * sizeof *bits);
        dpt_bf16__round(n, bits);
        memcpy(y + i, bits, (size_t)n * sizeof *bits);
    }
}
