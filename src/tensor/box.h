/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A box: the part of a logical tensor that one rank has, packed row-major. It is walked in runs: elements that are
 * neighbours both in the box and in the whole.
 */

#include <stdbool.h>
#include <stdint.h>

#include "tensor/tensor.h"

struct dpt_box {
    int ndim;
    int64_t begin[DPT_MAX_DIM]; /* of the box in the whole  */
    int64_t dim[DPT_MAX_DIM];   /* of the box               */
    int64_t whole[DPT_MAX_DIM]; /* of the whole             */
};

/* Elements of a run; 0 for an empty box. Pure. */
int64_t dpt_box_run(const struct dpt_box *box);

/* Runs of the box. Pure. */
int64_t dpt_box_runs(const struct dpt_box *box);

/* Place in the whole of the first element of run `i`, which begins at element i * dpt_box_run of the box. Pure. */
int64_t dpt_box_at(const struct dpt_box *box, int64_t i);

/*
 * Copies elements [begin, end) of the box, `width` bytes each, from the whole (or into it). `part` is the box's memory,
 * whose element 0 is the first of the box. Local.
 */
void dpt_box_copy(const struct dpt_box *box, int64_t begin, int64_t end, size_t width, void *part, void *whole,
                  bool into_whole);
