/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * bfloat16: the 16 high bits of a float, so its range with 8 bits of precision. Narrowing rounds to the nearest, of two
 * equally near ones to the even one, with a relative error of at most 2^-8 for normal numbers; what is beyond the largest
 * becomes infinite, and what is not a number stays so. Widening is exact.
 */

#include <stdint.h>

/* y = x. The two do not overlap. Local. */
void dpt_bf16_narrow(int64_t count, const float *x, uint16_t *y);
void dpt_bf16_widen(int64_t count, const uint16_t *x, float *y);

/* y = x rounded to what bfloat16 has; y may be x. Local. */
void dpt_bf16_round(int64_t count, const float *x, float *y);
