/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* bfloat16 for the card that is not there: as cuda_bf16.h, by dpt's own conversions. */

extern "C" {
#include "base/bf16.h"
}

struct __nv_bfloat16 {
    uint16_t bits;
};

static inline float __bfloat162float(__nv_bfloat16 x)
{
    float y;
    dpt_bf16_widen(1, &x.bits, &y);
    return y;
}

static inline __nv_bfloat16 __float2bfloat16_rn(float x)
{
    __nv_bfloat16 y;
    dpt_bf16_narrow(1, &x, &y.bits);
    return y;
}
