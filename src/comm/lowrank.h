/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Sums of matrices of which products of two thin ones travel (PowerSGD: Vogels, Karimireddy, Jaggi: "PowerSGD: practical
 * low-rank gradient compression for distributed optimization", 2019): with M the gradient and what was kept,
 *
 *     P = sum of M Q,  made orthonormal;   Q = sum of M' P;   the sum is P Q',  a rank keeps M - P (M' P)'.
 *
 * Q is where the next time begins. Both sums are plain all-reduces; what is not a matrix, or too small for a gain, rides
 * along with the first as it is. Private to comm/.
 */

#include "comm/exchange.h"
#include "comm/impl.h"

/* A matrix in a range that is summed: rows one after the other, from element `at` of the range. */
struct dpt_comm__lowrank_part {
    int64_t at, rows, cols;
    float *q; /* rank x cols */
};

/* A range that is summed. */
struct dpt_comm__lowrank {
    int rank;
    int64_t n;
    int nparts;
    struct dpt_comm__lowrank_part *part; /* by `at` */
    int64_t thin, wide;                  /* elements of all P and what is no matrix; of all Q */
};

/* Whether a matrix gains by it: less than half of its elements travel. Pure. */
bool dpt_comm__lowrank_gains(int64_t rows, int64_t cols, int rank);

/* Columns to begin with, from a key: the same on all ranks. Local. */
void dpt_comm__lowrank_begin(struct dpt_comm__lowrank_part *part, int rank, uint64_t seed, int64_t stream);

/*
 * data = the sum over the ranks of what each sends of data + residual; residual = what it does not send, 0 but in the
 * matrices. scratch: thin + wide floats. The same bits on all ranks. Collective over comm, for whoever has the turn.
 */
enum dpt_status dpt_comm__lowrank_sum(struct dpt_comm *comm, const struct dpt_comm__lowrank *lowrank, float *data,
                                      float *residual, float *scratch);
