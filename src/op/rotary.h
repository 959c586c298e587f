/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Rotary positions (Su and others, "RoFormer", 2021), with the pairs of LLaMA and Hugging Face: feature j of a head
 * turns with feature j + d / 2. Letters: b samples, s positions, . heads, d width of a head.
 *
 *   rotary  x[bs.d] -> y[bs.d]   the gradient is the same op, turning back
 *
 * The position of a row is its place in the logical tensor (call->part), so that a rank, or a program that generates
 * token after token, may hold any range of rows.
 */

#include <stddef.h>
#include <stdint.h>

#include "op/op.h"

struct dpt_rotary_param {
    double base;     /* of the angles: 10000 in LLaMA 1 and 2 */
    int32_t inverse; /* 0 or 1: turn back                     */
    int32_t zero;    /* no padding, see op.h                  */
};

/* Fast kernel in float, rotary_cpu.c. */
size_t dpt_op__rotary_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep);
void dpt_op__rotary_f32(const struct dpt_op_call *call);
