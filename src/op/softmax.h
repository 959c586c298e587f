/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The two passes over a row of numbers that a softmax begins with, as vector code. */

#include <stdint.h>

/* The largest of n numbers and `max`; nan among them stays out, and comes back with the sum. Local. */
float dpt_op__max_f32(int64_t n, const float *x, float max);

/* x = e^(x - shift); returns the sum, which is in float: a caller with long rows adds up blocks. Local. */
float dpt_op__exp_f32(int64_t n, float shift, float *x);
