/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * RMS normalisation (Zhang, Sennrich, 2019) over the last dimension.
 *
 *   rms_norm     x[b.h], gamma[h]              -> y[b.h], rstd[b.]
 *   add_rms_norm x[b.h], more[b.h], gamma[h]   -> r[b.h] = x + more; y[b.h], rstd[b.] of that
 *   rms_norm_dx  dy, x, rstd, gamma, dr[b.h]?  -> dx[b.h]
 *   rms_norm_dw  dy, x, rstd                   -> dgamma[h]
 */

struct dpt_rms_norm_param {
    double eps;
};

/* Fast kernels in float, rms_norm_cpu.c. */
struct dpt_op_call;
void dpt_op__rms_norm_f32(const struct dpt_op_call *call);
void dpt_op__add_rms_norm_f32(const struct dpt_op_call *call);
void dpt_op__rms_norm_dx_f32(const struct dpt_op_call *call);
void dpt_op__rms_norm_dw_f32(const struct dpt_op_call *call);
