/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Batch normalisation (Ioffe, Szegedy, 2015) over all but the last dimension, in steps whose partial sums the
 * placement rule reduces over the ranks like any other partial value. Statistics are F64: stat[0] = sum x,
 * stat[1] = sum x^2 over the samples of a rank; gstat[0] = sum dz, gstat[1] = sum dz * xhat, where z = gamma xhat + beta
 * and dz = dy masked by the fused activation.
 *
 *   batch_stat         x[b.c]                                      -> stat F64[tc]            (partial over b)
 *   batch_norm         x, stat, gamma[c], beta[c], residual[b.c]?  -> y[b.c]   y = act(z + residual)
 *   batch_norm_eval    x, mean[c], var[c], gamma, beta, residual?  -> y[b.c]
 *   batch_grad_stat    dy, x, stat, gamma, beta                    -> gstat F64[tc]           (partial over b)
 *   batch_residual_dx  dy, y, x, stat                              -> dz[b.c], gstat F64[tc]  (gstat partial over b)
 *   batch_norm_dx      dy, x, stat, gstat, gamma, beta             -> dx[b.c]
 *   batch_norm_dw      gstat                                       -> dgamma[c], dbeta[c]     contributions, see below
 *   batch_moments      stat                                        -> mean[c], var[c]         contributions, see below
 *
 * With act = RELU and no residual the backward ops recompute the mask from x (z > 0). With both, batch_residual_dx
 * takes the mask from y (y > 0): its dz is the residual's gradient and the dy of batch_norm_dx, which then gets
 * act = NONE.
 *
 * Every op but batch_stat, batch_grad_stat and batch_residual_dx takes statistics of all ranks. What batch_norm_dw and
 * batch_moments give is this rank's share of a sum over micro-batches and ranks: of the parameters' gradient, weighted
 * by rows / micro_rows; of the step's mean and unbiased variance, weighted by rows / batch_rows, so that the sum is
 * the sample-weighted mean, by which an ema node moves the running statistics once a step.
 *
 * With `local` statistics are those of one rank alone: nothing is merged, and the share of the gradient is 1. The count
 * behind stat is ctx->micro_rows * (elements a sample), or ctx->rows with `local`.
 */

#include <stdbool.h>

#include "op/activation.h"
#include "op/op.h"

struct dpt_batch_norm_param {
    double eps;
    enum dpt_activation_kind act; /* NONE or RELU                                         */
    int per_sample;               /* batch_moments only: y * x positions behind a sample  */
    enum dpt_dtype real;          /* type of the outputs of batch_moments, batch_norm_dw  */
    bool local;                   /* statistics of this rank only, not merged             */
    char zero[3];                 /* no padding, see op.h                                 */
};

/* Elements of a channel that are behind the statistics of a call whose first input is x or dy. Local. */
double dpt_op__batch_count(const struct dpt_op_call *call);

/* Mean and 1 / sqrt(var + eps) of channel k of c, from stat F64[2,c] over `count` elements. Local. */
void dpt_op__batch_moments(const double *stat, int64_t k, int64_t c, double count, double eps, double *mean,
                           double *rstd);

/* Fast kernels, batch_norm_cpu.c. */
size_t dpt_op__batch_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep);
enum dpt_status dpt_op__batch_stat_cpu(const struct dpt_op_call *call);
enum dpt_status dpt_op__batch_norm_cpu(const struct dpt_op_call *call);
enum dpt_status dpt_op__batch_norm_eval_cpu(const struct dpt_op_call *call);
enum dpt_status dpt_op__batch_grad_stat_cpu(const struct dpt_op_call *call);
enum dpt_status dpt_op__batch_residual_dx_cpu(const struct dpt_op_call *call);
enum dpt_status dpt_op__batch_norm_dx_cpu(const struct dpt_op_call *call);
