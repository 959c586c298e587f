/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 *   add     x[b.], y[b.]   -> z[b.]
 *   mul     x[b.], y[b.]   -> z[b.]     gradients: mul(dz, y), mul(dz, x)
 *   concat  x0, x1 ...     -> z         along the last dimension (channels, features), 2 to 8 inputs
 *   slice   z              -> x         [begin, begin + length) of the last dimension: the gradient of concat
 */

#include <stdint.h>

struct dpt_slice_param {
    int64_t begin, length;
};

/* Fast kernels in float, combine_cpu.c. */
struct dpt_op_call;
void dpt_op__add_f32(const struct dpt_op_call *call);
void dpt_op__mul_f32(const struct dpt_op_call *call);
