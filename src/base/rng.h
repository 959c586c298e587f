/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2,
 * 3", 2011). A number is a pure function of (seed, use, op, step, index), where index is GLOBAL (an element of a
 * logical parameter, a sample of the data set, an element of the global batch). So every layout draws the same
 * numbers, and there is no state to store.
 */

#include <stddef.h>
#include <stdint.h>

enum dpt_rng_use {
    DPT_RNG_USE_INIT,    /* initial weights: op = hash of the name, index = element  */
    DPT_RNG_USE_DROPOUT, /* op = node's stream, step = step, index = element / 4     */
    DPT_RNG_USE_SHUFFLE, /* data order: step = epoch                                 */
    DPT_RNG_USE_AUGMENT, /* step = epoch, index = sample                             */
    DPT_RNG_USE_DATA,    /* synthetic data: index = sample                           */
    DPT_RNG_USE_SAMPLE,  /* generated text: op = text, index = position              */
    DPT_RNG_USE_WIRE,    /* rounding of messages: op = sender and turn, index = element / 8 */
};

/* Four independent 32-bit words. `op` uses its low 24 bits; `step` its low 32. Local. */
void dpt_rng_words(uint64_t seed, enum dpt_rng_use use, uint32_t op, uint64_t step, uint64_t index, uint32_t word[4]);

/*
 * The words of `count` indices from `index` on, one after the other: 4 * count words. Much faster than one by one.
 * Local.
 */
void dpt_rng_fill(uint64_t seed, enum dpt_rng_use use, uint32_t op, uint64_t step, uint64_t index, size_t count,
                  uint32_t *word);

/* A word as a float in [0, 1), 24 bits. Local. */
static inline float dpt_rng_unit(uint32_t word)
{
    return (float)(word >> 8) * 0x1p-24f;
}

/* Two words as a double in (0, 1), 53 bits. Local. */
static inline double dpt_rng_unit64(uint32_t hi, uint32_t lo)
{
    const uint64_t bits = ((uint64_t)hi << 21) ^ ((uint64_t)lo >> 11);
    return ((double)bits + 0.5) * 0x1p-53;
}

/* Two independent standard normal numbers from each four words, `count` times (Box and Muller, 1958). Local. */
void dpt_rng_normal(size_t count, const uint32_t *word, double *normal);

/*
 * The place of `index` in a keyed random order of 0 .. n-1: a bijection computed, not stored (a Feistel network over
 * the next even power of two, walked until it falls inside). 0 <= index < n. Local.
 */
uint64_t dpt_rng_permute(uint64_t seed, uint64_t epoch, uint64_t index, uint64_t n);
