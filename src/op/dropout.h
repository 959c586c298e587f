/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 *   dropout  x[b.] -> y[b.]   y = mask x / (1 - rate); the gradient is the same op on dy, which redraws the mask
 *
 * The mask is keyed by seed, stream, step and the GLOBAL element (place in the global batch times elements a sample),
 * so that it is the same under every layout and with recomputation.
 */

#include <stdint.h>

#include "base/both.h"
#include "op/op.h"

struct dpt_dropout_param {
    double rate;     /* 0 <= rate < 1                       */
    uint32_t stream; /* graph->streams++ of the forward node */
    uint32_t zero;   /* no padding, see op.h                */
};

/* Where a part lies in the global batch: runs of `length` elements that are neighbours there too. */
struct dpt_dropout_place {
    int64_t length;
    int ndim;                  /* dimensions of a run's index, those before the contiguous ones, which are ... */
    int64_t dim[DPT_MAX_DIM];  /* so long in the part                                                          */
    uint64_t step[DPT_MAX_DIM]; /* elements of the global batch from one index to the next                     */
    uint64_t first;            /* element of the global batch with which the part begins                       */
};

/* The place of input 0 of a call. Local. */
struct dpt_dropout_place dpt_op__dropout_place(const struct dpt_op_call *call);

/* Element of the global batch with which run `run` of a part begins. Pure. */
static inline DPT_BOTH uint64_t dpt_dropout_first(const struct dpt_dropout_place *place, int64_t run)
{
    uint64_t element = place->first;
    for (int d = place->ndim - 1; d >= 0; d--) {
        element += (uint64_t)(run % place->dim[d]) * place->step[d];
        run /= place->dim[d];
    }
    return element;
}

/* Words below it drop their element: a chance of rate, to 2^-32. Pure. */
static inline uint32_t dpt_dropout_threshold(double rate)
{
    return (uint32_t)(rate * 0x1p32);
}
