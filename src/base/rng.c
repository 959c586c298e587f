/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"

#include <stdbool.h>
#include <string.h>

#include "base/simd.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

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

#if defined(__x86_64__)

enum { TOGETHER = 8 }; /* counters in the registers of a core with AVX2 */

#define AVX2 __attribute__((target("avx2")))

/* The words of four counters, each word in the lower half of 64 bits, where multiplication wants it. */
struct four {
    __m256i c0, c1, c2, c3;
};

AVX2 static inline struct four four_counters(uint64_t index, uint32_t word2, uint32_t word3)
{
    const __m256i at = _mm256_add_epi64(_mm256_set1_epi64x((int64_t)index), _mm256_set_epi64x(3, 2, 1, 0));
    return (struct four){at, _mm256_srli_epi64(at, 32), _mm256_set1_epi64x(word2), _mm256_set1_epi64x(word3)};
}

/* One round. The upper halves of what it gives are of no use and do no harm. */
AVX2 static inline struct four four_mixed(struct four c, __m256i k0, __m256i k1)
{
    const __m256i p0 = _mm256_mul_epu32(_mm256_set1_epi64x(0xD2511F53), c.c0);
    const __m256i p1 = _mm256_mul_epu32(_mm256_set1_epi64x(0xCD9E8D57), c.c2);
    return (struct four){_mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p1, 32), c.c1), k0), p1,
                         _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p0, 32), c.c3), k1), p0};
}

AVX2 static inline void four_written(struct four c, uint32_t *word)
{
    const __m256i first = _mm256_blend_epi32(c.c0, _mm256_slli_epi64(c.c1, 32), 0xaa);  /* words 0, 1 of each */
    const __m256i second = _mm256_blend_epi32(c.c2, _mm256_slli_epi64(c.c3, 32), 0xaa); /* words 2, 3         */
    const __m256i even = _mm256_unpacklo_epi64(first, second), odd = _mm256_unpackhi_epi64(first, second);
    _mm256_storeu_si256((__m256i *)word, _mm256_permute2x128_si256(even, odd, 0x20));
    _mm256_storeu_si256((__m256i *)(word + 8), _mm256_permute2x128_si256(even, odd, 0x31));
}

/* The words of eight indices. (In plain C compilers spend most of the time on moving words between halves.) */
AVX2 static void lanes_avx2(uint64_t seed, uint32_t word2, uint32_t word3, uint64_t index, uint32_t *word)
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    struct four a = four_counters(index, word2, word3), b = four_counters(index + TOGETHER / 2, word2, word3);
    for (int round = 0; round < 10; round++) {
        const __m256i key0 = _mm256_set1_epi64x(k0), key1 = _mm256_set1_epi64x(k1);
        a = four_mixed(a, key0, key1);
        b = four_mixed(b, key0, key1);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    four_written(a, word);
    four_written(b, word + 4 * TOGETHER / 2);
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2");
}

#else

enum { TOGETHER = LANES };

static void lanes_avx2(uint64_t seed, uint32_t word2, uint32_t word3, uint64_t index, uint32_t *word)
{
    rng_lanes(seed, word2, word3, index, word);
}

static bool has_avx2(void)
{
    return false;
}

#endif

void dpt_rng_fill(uint64_t seed, enum dpt_rng_use use, uint32_t op, uint64_t step, uint64_t index, size_t count,
                  uint32_t *word)
{
    const uint32_t word2 = (uint32_t)step, word3 = ((uint32_t)use << 24) | (op & 0xFFFFFFu);
    const bool avx2 = has_avx2();
    const size_t together = avx2 ? TOGETHER : LANES;
    uint32_t rest[4 * LANES];
    for (size_t i = 0; i < count; i += together) {
        uint32_t *to = count - i < together ? rest : word + 4 * i;
        (avx2 ? lanes_avx2 : rng_lanes)(seed, word2, word3, index + i, to);
        if (to == rest) {
            memcpy(word + 4 * i, rest, 4 * (count - i) * sizeof *word);
        }
    }
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
