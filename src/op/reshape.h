/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 *   reshape  x[b...] -> y[b...]   same elements in the same order, the sample dimension kept; a view
 */

#include <stdint.h>

#include "tensor/tensor.h"

struct dpt_reshape_param {
    int ndim; /* without the sample dimension */
    int zero; /* no padding, see op.h         */
    int64_t dim[DPT_MAX_DIM];
};
