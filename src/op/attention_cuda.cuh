/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the kernels of attention for cards share: attention_cuda.cu takes any operands, attention_mma_cuda.cu tensor cores. */

#include "op/cuda.cuh"

extern "C" {
#include "op/attention.h"
}

/* What a kernel needs of a call: sizes from struct dpt_attention, operands with their types. */
struct flash {
    struct dpt_attention at;
    struct dpt_in q, k, v, y, lse, dy;
    struct dpt_out to_y, to_lse, dq, dk, dv;
    float scale;
    uint64_t seed;
    const uint64_t *step;  /* on the card: no recording has it in it */
    uint32_t stream, drop; /* words below `drop` drop; 0: no dropout */
    float kept;            /* 1 / (1 - rate)                         */
    float *delta;          /* dy . y of each row, in scratch         */
};

/* Row i of query head h of sample n. */
struct row {
    int64_t q, y, lse, place;
};

static __device__ inline struct row row_at(const struct dpt_attention *at, int64_t n, int64_t h, int64_t i)
{
    const int64_t a = h / at->g, g = h % at->g;
    const struct row row = {
        n * at->q_sample + i * at->q_row + h * at->d,
        n * at->y_sample + i * at->y_row + h * at->d,
        (n * at->s + i) * at->a * at->g + h,
        at->place + n * at->place_sample + a * at->place_head + g * at->place_query + i * at->t,
    };
    return row;
}

static __device__ inline float mask_at(const struct flash *flash, int64_t place)
{
    if (flash->drop == 0) {
        return 1.0f;
    }
    return dpt_dropout_word(flash->seed, flash->stream, *flash->step, (uint64_t)place) < flash->drop ? 0.0f : flash->kept;
}

/*
 * The kernels on tensor cores, for operands of one type of 16 bits and heads of a multiple of 8 numbers, at most 128. Each
 * gives false, and does nothing, where it is not made for the call. The backward one wants `delta`.
 */
bool dpt_op__attention_mma(struct dpt_cuda *cuda, const struct flash *flash);
bool dpt_op__attention_dx_mma(struct dpt_cuda *cuda, const struct flash *flash);
