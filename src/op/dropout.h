/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 *   dropout  x[b.] -> y[b.]   y = mask x / (1 - rate); the gradient is the same op on dy, which redraws the mask
 *
 * The mask is keyed by seed, stream, step and the GLOBAL element (place in the global batch times elements a sample),
 * so that it is the same under every layout and with recomputation.
 */

#include <stdint.h>

struct dpt_dropout_param {
    double rate;     /* 0 <= rate < 1                       */
    uint32_t stream; /* graph->streams++ of the forward node */
    uint32_t zero;   /* no padding, see op.h                */
};
