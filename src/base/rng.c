/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"

#include <math.h>

static void philox(uint32_t k0, uint32_t k1, uint32_t c[4])
{
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c[0];
        const uint64_t p1 = (uint64_t)0xCD9E8D57u * c[2];
        const uint32_t c1 = c[1], c3 = c[3];
        c[0] = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c[1] = (uint32_t)p1;
        c[2] = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c[3] = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

void dpt_rng_words(uint64_t seed, enum dpt_rng_use use, uint32_t op, uint64_t step, uint64_t index, uint32_t word[4])
{
    word[0] = (uint32_t)index;
    word[1] = (uint32_t)(index >> 32);
    word[2] = (uint32_t)step;
    word[3] = ((uint32_t)use << 24) | (op & 0xFFFFFFu);
    philox((uint32_t)seed, (uint32_t)(seed >> 32), word);
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
