/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* From logits to a token. */

#include <stdint.h>

#include "tensor/tensor.h"

struct dpt_sample_conf {
    double temperature; /* divides the logits; 0: always the likeliest token                       */
    int64_t top_k;      /* only the likeliest k; 0: all                                            */
    double top_p;       /* only the likeliest whose chances come to this share; 1: all             */
    uint64_t seed;
};

struct dpt_sample;

/* A sampler for `vocab` tokens; freed by dpt_sample_free. Ends the job when memory runs out. Local. */
struct dpt_sample *dpt_sample_new(const struct dpt_sample_conf *conf, int64_t vocab);
void dpt_sample_free(struct dpt_sample *sample);

/*
 * The token of `text` at `position`: a pure function of the seed, the two and the logits (`vocab` numbers in `real`).
 * -1 when a logit is not a number or infinite upwards. Local.
 */
int32_t dpt_sample_draw(struct dpt_sample *sample, enum dpt_dtype real, const void *logits, int text,
                        int64_t position);
