/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Two measurements of how many fp32 multiply-adds a core can do, for dpt_dev_peak and for the benchmarks. Neither alone
 * is the peak (a compiler may spoil a loop, a library may not know the core), so the greater counts. Clocks of shared
 * machines wander, and other processes take turns: each figure is the best of many short tries.
 */

/*
 * Flops per second of one core in a loop of fused multiply-adds that stays in registers, in tries over `seconds`;
 * `name` is set to the instructions used. 0 where there is no loop for the processor. Local.
 */
double dpt_dev_peak_loop(double seconds, const char **name);

/*
 * Flops per second of products of n x n matrices, on as many threads as the BLAS library uses; one product is one try.
 * 0 when memory runs out. Local.
 */
double dpt_dev_peak_sgemm(double seconds, int n);
