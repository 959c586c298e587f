/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Layer normalisation (Ba, Kiros, Hinton, 2016) over the last dimension.
 *
 *   layer_norm     x[b.h], gamma[h], beta[h]?           -> y[b.h], mean[b.], rstd[b.]
 *   add_layer_norm x[b.h], more[b.h], gamma[h], beta[h]? -> r[b.h] = x + more; y[b.h], mean[b.], rstd[b.] of that
 *   layer_norm_dx  dy, x, mean, rstd, gamma, dr[b.h]?   -> dx[b.h]
 *   layer_norm_dw  dy, x, mean, rstd                    -> dgamma[h], dbeta[h]
 */

struct dpt_layer_norm_param {
    double eps;
};

/* Fast kernels in float, layer_norm_cpu.c. */
struct dpt_op_call;
void dpt_op__layer_norm_f32(const struct dpt_op_call *call);
void dpt_op__add_layer_norm_f32(const struct dpt_op_call *call);
void dpt_op__layer_norm_dx_f32(const struct dpt_op_call *call);
void dpt_op__layer_norm_dw_f32(const struct dpt_op_call *call);
