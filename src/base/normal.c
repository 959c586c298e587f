/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Normal numbers by Box and Muller, many at once. Logarithm, sine and cosine are series here and not the C library's:
 * a loop of them becomes vector code, and since it adds, multiplies, divides and takes roots only, all of which IEEE 754
 * rounds in one way, a number has the same bits on every machine.
 */

#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "base/simd.h"

enum { LANES = 64 }; /* pairs that are made together */

static inline __attribute__((always_inline)) double of_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline __attribute__((always_inline)) uint64_t bits_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* An integer below 2^52 as a double: it is the fraction of a number from 2^52 on. (Few processors convert vectors of them.) */
static inline __attribute__((always_inline)) double of_int(uint64_t i)
{
    return of_bits(i | 0x4330000000000000u) - 0x1p52;
}

/* ln x, for a normal x > 0: x = m * 2^e with m around 1, and ln m = 2 artanh((m - 1) / (m + 1)). */
static inline __attribute__((always_inline)) double log_of(double x)
{
    const uint64_t from = bits_of(x) - 0x3fe6a09e667f3bcdu; /* counted from the root of 1/2 */
    const uint64_t e = (from >> 52) & 0xfff;                /* 12 bits of two's complement   */
    const double m = of_bits(bits_of(x) - (from & 0xfff0000000000000u));
    const double s = (m - 1.0) / (m + 1.0), q = s * s;
    double sum = q * (1.0 / 21) + 1.0 / 19;
    sum = (sum * q + 1.0 / 17) * q + 1.0 / 15;
    sum = (sum * q + 1.0 / 13) * q + 1.0 / 11;
    sum = (sum * q + 1.0 / 9) * q + 1.0 / 7;
    sum = (sum * q + 1.0 / 5) * q + 1.0 / 3;
    return (of_int(e ^ 0x800) - 2048.0) * 0.693147180559945309417 + 2.0 * s * (sum * q + 1.0);
}

/* The series of sine and cosine from the last term to the first, each as a share of the one before. */
#define TERM(k) (s = 1.0 - s * q * (1.0 / ((k) * ((k) + 1))), c = 1.0 - c * q * (1.0 / ((k) * ((k) - 1))))

/* sin and cos of 2 pi x, for x in (0, 1): the series of what is left of the nearest quarter of a turn. */
static inline __attribute__((always_inline)) void turn(double x, double *sine, double *cosine)
{
    const double moved = 4.0 * x + 0x1.8p52; /* rounds to an integer, in the last bits */
    const double a = (4.0 * x - (moved - 0x1.8p52)) * 1.57079632679489661923, q = a * a;
    const uint64_t quarter = bits_of(moved) & 3;
    double s = 1.0, c = 1.0;
    TERM(18);
    TERM(16);
    TERM(14);
    TERM(12);
    TERM(10);
    TERM(8);
    TERM(6);
    TERM(4);
    TERM(2);
    s *= a;
    const uint64_t odd = 0 - (quarter & 1); /* all bits or none */
    const uint64_t sine_bits = (bits_of(s) & ~odd) | (bits_of(c) & odd);
    const uint64_t cosine_bits = (bits_of(c) & ~odd) | (bits_of(s) & odd);
    *sine = of_bits(sine_bits ^ ((quarter >> 1) << 63));
    *cosine = of_bits(cosine_bits ^ (((quarter + 1) >> 1) << 63));
}

/* Two words as a double in (0, 1): dpt_rng_unit64. */
static inline __attribute__((always_inline)) double unit(uint32_t hi, uint32_t lo)
{
    return (of_int(hi) * 0x1p21 + of_int(lo >> 11) + 0.5) * 0x1p-53;
}

static inline __attribute__((always_inline)) void normal_of(double u, double v, double *first, double *second)
{
    const double radius = sqrt(-2.0 * log_of(u));
    double sine, cosine;
    turn(v, &sine, &cosine);
    *first = radius * cosine;
    *second = radius * sine;
}

DPT_SIMD static void normal_lanes(const uint32_t *word, double *normal)
{
    double u[LANES], v[LANES];
    for (int i = 0; i < LANES; i++) {
        u[i] = unit(word[4 * i], word[4 * i + 1]);
        v[i] = unit(word[4 * i + 2], word[4 * i + 3]);
    }
#pragma omp simd
    for (int i = 0; i < LANES; i++) {
        normal_of(u[i], v[i], &u[i], &v[i]);
    }
    for (int i = 0; i < LANES; i++) {
        normal[2 * i] = u[i];
        normal[2 * i + 1] = v[i];
    }
}

void dpt_rng_normal(size_t count, const uint32_t *word, double *normal)
{
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        normal_lanes(word + 4 * i, normal + 2 * i);
    }
    for (; i < count; i++) {
        const uint32_t *w = word + 4 * i;
        normal_of(unit(w[0], w[1]), unit(w[2], w[3]), &normal[2 * i], &normal[2 * i + 1]);
    }
}
