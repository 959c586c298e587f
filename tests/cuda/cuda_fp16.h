/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* IEEE half for the card that is not there: as cuda_fp16.h, by dpt's own conversions. */

extern "C" {
#include "base/f16.h"
}

struct __half {
    uint16_t bits;
};

static inline float __half2float(__half x)
{
    float y;
    dpt_f16_widen(1, &x.bits, &y);
    return y;
}

static inline __half __float2half_rn(float x)
{
    __half y;
    dpt_f16_narrow(1, &x, &y.bits);
    return y;
}
