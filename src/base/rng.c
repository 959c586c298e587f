/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"

#include <math.h>

#include "base/simd.h"

enum { LANES = 64 }; /* counters that go through the rounds together */

/* Ten rounds of Philox4x32 on `lanes` <= LANES counters under the key k0, k1; c[k] holds word k of each. */
static inline __attribute__((always_inline)) void philox(uint32_t k0, uint32_t k1, int lanes, uint32_t c[4][LANES])
{
    for (int round = 0; round < 10; round++) {
#pragma omp simd
        for (int i = 0; i < lanes; i++) {
            const uint64_t p0 = (uint64_t)0xD2511F53u * c[0][i];
            const uint64_t p1 = (uint64_t)0xCD9E8D57u * c[2][i];
            c[0][i] = (uint32_t)(p1 >> 32) ^ c[1][i] ^ k0;
            c[1][i] = (uint32_t)p1;
            c[2][i] = (uint32_t)(p0 >> 32) ^ c[3][i] ^ k1;
            c[3][i] = (uint32_t)p0;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

/* The words of indices index .. index + LANES - 1 on the stream (word 2, word 3 of the counter). */
DPT_SIMD static void rng_lanes(uint64_t seed, uint32_t word2, uint32_t word3, uint64_t index, uint32_t *word)
{
    uint32_t c[4][LANES];
    for (int i = 0; i < LANES; i++) {
        c[0][i] = (uint32_t)(index + (uint64_t)i);
        c[1][i] = (uint32_t)((index + (uint64_t)i) >> 32);
        c[2][i] = word2;
        c[3][i] = word3;
    }
    philox((uint32_t)seed, (uint32_t)(seed >> 32), LANES, c);
    for (int i = 0; i < LANES; i++) {
        for (int k = 0; k < 4; k++) {
            word[4 * i + k] = c[k][i];
        }
    }
}

void dpt_rng_words(uint64_t seed, enum dpt_rng_use use, uint32_t op, uint64_t step, uint64_t index, uint32_t word[4])
{
    uint32_t c[4][LANES];
    c[0][0] = (uint32_t)index;
    c[1][0] = (uint32_t)(index >> 32);
    c[2][0] = (uint32_t)step;
    c[3][0] = ((uint32_t)use << 24) | (op & 0xFFFFFFu);
    philox((uint32_t)seed, (uint32_t)(seed >> 32), 1, c);
    for (int k = 0; k < 4; k++) {
        word[k] = c[k][0];
    }
}

void dpt_rng_fill(uint64_t seed, enum dpt_rng_use use, uint32_t op, uint64_t step, uint64_t index, size_t count,
                  uint32_t *word)
{
    const uint32_t word3 = ((uint32_t)use << 24) | (op & 0xFFFFFFu);
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        rng_lanes(seed, (uint32_t)step, word3, index + i, word + 4 * i);
    }
    for (; i < count; i++) {
        dpt_rng_words(seed, use, op, step, index + i, word + 4 * i);
    }
}

void dpt_rng_normal(const uint32_t word[4], double normal[2])
{
    const double radius = sqrt(-2.0 * log(dpt_rng_unit64(word[0], word[1])));
    const double angle = 6.283185307179586477 * dpt_rng_unit64(word[2], word[3]);
    normal[0] = radius * cos(angle);
    normal[1] = radius * sin(angle);
}

uint64_t dpt_rng_permute(uint64_t seed, uint64_t epoch, uint64_t index, uint64_t n)
{
    int half = 1; /* bits of each half of the network */
    while (half < 32 && ((uint64_t)1 << (2 * half)) < n) {
        half++;
    }
    const uint64_t mask = ((uint64_t)1 << half) - 1;
    uint64_t x = index;
    do {
        uint64_t left = x >> half, right = x & mask;
        for (uint32_t round = 0; round < 4; round++) {
            uint32_t word[4];
            dpt_rng_words(seed, DPT_RNG_USE_SHUFFLE, round, epoch, right, word);
            const uint64_t next = left ^ (word[0] & mask);
            left = right;
            right = next;
        }
        x = (left << half) | right;
    } while (x >= n);
    return x;
}
