/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * IEEE half: 11 bits of precision, from 2^-24 to 65504. Narrowing rounds to the nearest, of two equally near ones to the
 * even one, with a relative error of at most 2^-11 from 2^-14 on; what is beyond the largest becomes infinite, and what is
 * not a number stays so. Widening is exact.
 */

#include <stdint.h>

/* y = x. The two do not overlap. Local. */
void dpt_f16_narrow(int64_t count, const float *x, uint16_t *y);
void dpt_f16_widen(int64_t count, const uint16_t *x, float *y);
