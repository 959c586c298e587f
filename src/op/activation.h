/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 *   activation     x[b.]           -> y[b.]
 *   activation_dx  dy[b.], t[b.]   -> dx[b.]   t is y for RELU, SIGMOID, TANH and x for the others
 */

enum dpt_activation_kind {
    DPT_ACTIVATION_KIND_NONE,
    DPT_ACTIVATION_KIND_RELU,
    DPT_ACTIVATION_KIND_GELU, /* x Phi(x), exact */
    DPT_ACTIVATION_KIND_SILU,
    DPT_ACTIVATION_KIND_SIGMOID,
    DPT_ACTIVATION_KIND_TANH,
    DPT_ACTIVATION_KIND_GELU_TANH, /* GPT-2's approximation of GELU */
};

struct dpt_activation_param {
    enum dpt_activation_kind kind; /* not NONE */
};

/* Fast kernels in float, activation_cpu.c. */
struct dpt_op_call;
void dpt_op__activation_f32(const struct dpt_op_call *call);
void dpt_op__activation_dx_f32(const struct dpt_op_call *call);
