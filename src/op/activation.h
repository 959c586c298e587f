/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 *   activation     x[b.]           -> y[b.]
 *   activation_dx  dy[b.], t[b.]   -> dx[b.]   t is y for RELU, SIGMOID, TANH and x for the others
 */

#include <stdbool.h>
#include <stdint.h>

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

/* The gradient of this activation reads x, not y. Local. */
static inline bool dpt_activation_reads_x(enum dpt_activation_kind kind)
{
    return kind == DPT_ACTIVATION_KIND_GELU || kind == DPT_ACTIVATION_KIND_SILU || kind == DPT_ACTIVATION_KIND_GELU_TANH;
}

/* One number: y, and dx from dy and t. NONE gives what it gets. activation.c. Local. */
double dpt_op__activation_at(enum dpt_activation_kind kind, double x);
double dpt_op__activation_dx_at(enum dpt_activation_kind kind, double dy, double t);

/* n numbers by the fast kernels, for what follows a product; kind is not NONE. y may be x; dx may be dy or t. Local. */
void dpt_op__activate(enum dpt_activation_kind kind, int64_t n, const float *x, float *y);
void dpt_op__activate_dx(enum dpt_activation_kind kind, int64_t n, const float *dy, const float *t, float *dx);

/* Fast kernels in float, activation_cpu.c. */
struct dpt_op_call;
void dpt_op__activation_f32(const struct dpt_op_call *call);
void dpt_op__activation_dx_f32(const struct dpt_op_call *call);
