/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The two steps of comm/slices.h for floats that travel in fewer bits. Sums are of floats, so that a number is rounded
 * twice on its way, once as a part and once as the sum, however many ranks there are. Private to comm/.
 *
 *   bf16   16 bits, to nearest
 *   int8   8 bits: multiples of 1/127 of the largest in its block of 128, to one of the two next to it at random, so that
 *          the mean of what arrives is what was sent (Alistarh and others: "QSGD", 2017); and a float a block
 */

#include "comm/slices.h"

struct dpt_comm__code {
    enum dpt_wire_kind kind; /* BF16 or INT8                                                            */
    uint64_t seed, step;     /* int8: the key of its random numbers, with the rank and                  */
    int64_t first;           /* the number of data[0] in the buffer, a multiple of DPT_EXCHANGE_ALIGN   */
    int sender;
};

/* Bytes of n floats. Pure. */
size_t dpt_comm__code_nbytes(enum dpt_wire_kind kind, int64_t n);

/*
 * n floats, of which the first has the number `at` behind code->first, to bytes and back. `turn` tells apart the random
 * numbers of a part (0) and of a sum (1). What is not finite does not become so. Local.
 */
void dpt_comm__code(const struct dpt_comm__code *code, int turn, int64_t at, int64_t n, const float *x, char *bytes);
void dpt_comm__decode(enum dpt_wire_kind kind, int64_t n, const char *bytes, float *x);

/* Bytes of scratch that the calls below need for ranges of `count` elements in all, cut evenly or not. Pure. */
size_t dpt_comm__wire_scratch(enum dpt_wire_kind kind, int ranks, int64_t count);

/*
 * range[rank] of data becomes the sum over the ranks in tree order, of the others' numbers rounded. The ranges lie one
 * after the other or apart, but do not overlap. Collective over comm, for whoever has the turn.
 */
enum dpt_status dpt_comm__wire_scatter(struct dpt_comm *comm, struct dpt_comm__slices *slices,
                                       const struct dpt_comm__code *code, float *data, void *scratch);

/* range[r] of rank r's data, rounded, to all: the same bits everywhere. Collective over comm, as above. */
enum dpt_status dpt_comm__wire_collect(struct dpt_comm *comm, struct dpt_comm__slices *slices,
                                       const struct dpt_comm__code *code, float *data, void *scratch);
