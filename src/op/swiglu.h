/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A gated activation (Shazeer, "GLU variants improve transformer", 2020).
 *
 *   swiglu     gate[b.], up[b.]      -> y[b.]               y = silu(gate) up
 *   swiglu_dx  dy, gate, up          -> dgate[b.], dup[b.]
 */

struct dpt_op_call;

/* Fast kernels in float, swiglu_cpu.c. */
void dpt_op__swiglu_f32(const struct dpt_op_call *call);
void dpt_op__swiglu_dx_f32(const struct dpt_op_call *call);
