/* SPDX-License-Identifier: Apache-2.0 */
#include "base/half.h"

#include "base/bf16.h"
#include "base/f16.h"

enum { BLOCK = 1024 };

void dpt_half_narrow(enum dpt_dtype half, int64_t count, const float *x, uint16_t *y)
{
    (half == DPT_DTYPE_BF16 ? dpt_bf16_narrow : dpt_f16_narrow)(count, x, y);
}

void dpt_half_widen(enum dpt_dtype half, int64_t count, const uint16_t *x, float *y)
{
    (half == DPT_DTYPE_BF16 ? dpt_bf16_widen : dpt_f16_widen)(count, x, y);
}

void dpt_half_add(enum dpt_dtype half, int64_t count, const uint16_t *x, uint16_t *y)
{
    float a[BLOCK], b[BLOCK];
    for (int64_t i = 0; i < count; i += BLOCK) {
        const int64_t n = count - i < BLOCK ? count - i : BLOCK;
        dpt_half_widen(half, n, x + i, a);
        dpt_half_widen(half, n, y + i, b);
        for (int64_t k = 0; k < n; k++) {
            b[k] += a[k];
        }
        dpt_half_narrow(half, n, b, y + i);
    }
}

void dpt_half_round(enum dpt_dtype half, int64_t count, const float *x, float *y)
{
    uint16_t bits[BLOCK];
    for (int64_t i = 0; i < count && half == DPT_DTYPE_F16; i += BLOCK) {
        const int64_t n = count - i < BLOCK ? count - i : BLOCK;
        dpt_f16_narrow(n, x + i, bits);
        dpt_f16_widen(n, bits, y + i);
    }
    if (half == DPT_DTYPE_BF16) {
        dpt_bf16_round(count, x, y);
    }
}
