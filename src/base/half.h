/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Numbers of 16 bits of either type, DPT_DTYPE_BF16 or DPT_DTYPE_F16: see bf16.h and f16.h. */

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"

static inline bool dpt_half_is(enum dpt_dtype dtype)
{
    return dtype == DPT_DTYPE_BF16 || dtype == DPT_DTYPE_F16;
}

/* y = x. The two do not overlap. Local. */
void dpt_half_narrow(enum dpt_dtype half, int64_t count, const float *x, uint16_t *y);
void dpt_half_widen(enum dpt_dtype half, int64_t count, const uint16_t *x, float *y);

/* y = y + x, the sum of two made as a float and rounded once. Local. */
void dpt_half_add(enum dpt_dtype half, int64_t count, const uint16_t *x, uint16_t *y);

/* y = x rounded to what the type has; y may be x. Local. */
void dpt_half_round(enum dpt_dtype half, int64_t count, const float *x, float *y);
