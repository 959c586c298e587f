/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Batch normalisation (Ioffe, Szegedy, 2015) over all but the last dimension, in steps whose partial sums the
 * placement rule reduces over the ranks like any other partial value. Statistics are F64: stat[0] = sum x,
 * stat[1] = sum x^2 over the samples of a rank; gstat[0] = sum dz, gstat[1] = sum dz * xhat, where z = gamma xhat + beta
 * and dz = dy masked by the fused activation.
 *
 *   batch_stat       x[b.c]                                      -> stat F64[tc]            (partial over b)
 *   batch_norm       x, stat, gamma[c], beta[c], residual[b.c]?  -> y[b.c]   y = act(z + residual)
 *   batch_norm_eval  x, mean[c], var[c], gamma, beta, residual?  -> y[b.c]
 *   batch_grad_stat  dy, x, stat, gamma, beta                    -> gstat F64[tc]           (partial over b)
 *   batch_norm_dx    dy, x, stat, gstat, gamma, beta             -> dx[b.c]
 *   batch_norm_dw    gstat                                       -> dgamma[c], dbeta[c]     from a rank's own gstat
 *   batch_moments    stat                                        -> mean[c], var[c]         contributions, see below
 *
 * With act = RELU and no residual the backward ops recompute the mask from x (z > 0). With a residual the gradient
 * rule first applies activation_dx(dy, y): the result is the residual's gradient and the dy of the ops above, which
 * then get act = NONE.
 *
 * batch_moments gives this rank's share of the step's mean and unbiased variance, weighted by rows / batch_rows, so
 * that the sum over micro-batches and ranks is the sample-weighted mean; an ema node moves the running statistics by
 * it once a step.
 *
 * The count behind stat is ctx->micro_rows * (elements a sample), or ctx->rows with `local`.
 */

#include <stdbool.h>

#include "op/activation.h"

struct dpt_batch_norm_param {
    double eps;
    enum dpt_activation_kind act; /* NONE or RELU                                         */
    int per_sample;               /* batch_moments only: y * x positions behind a sample  */
    bool local;                   /* statistics of this rank only, not merged             */
    char zero[7];                 /* no padding, see op.h                                 */
};
