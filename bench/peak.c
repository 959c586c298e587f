/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What one core can do at best, to hold a training step against: multiply-adds in fp32 per second, and bytes copied
 * per second. Two measurements of the first: a loop of fused multiply-adds that stays in registers, and a large matrix
 * product of the BLAS library. Neither alone is the peak (a compiler may spoil the loop, a library may not know the
 * core), so the greater counts. Clocks of shared machines wander: each figure is the best of several tries.
 *
 *     make bench/peak && taskset -c 0 bench/peak [--json]
 */

#include <cblas.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/clock.h"

enum { TRIES = 15, LANES = 24 };

#if defined(__x86_64__)

/* `rounds` times LANES independent multiply-adds of 16 floats: 24 chains hide the latency of two units. */
__attribute__((target("avx512f"))) static float fma_avx512(int64_t rounds)
{
    __m512 sum[LANES];
    const __m512 a = _mm512_set1_ps(0.999f);
    const __m512 b = _mm512_set1_ps(0.001f);
#pragma GCC unroll 24
    for (int i = 0; i < LANES; i++) {
        sum[i] = _mm512_set1_ps((float)i);
    }
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 24
        for (int i = 0; i < LANES; i++) {
            sum[i] = _mm512_fmadd_ps(sum[i], a, b);
        }
    }
    __m512 all = sum[0];
#pragma GCC unroll 24
    for (int i = 1; i < LANES; i++) {
        all = _mm512_add_ps(all, sum[i]);
    }
    return _mm512_reduce_add_ps(all);
}

/* The same with 8 floats; AVX2 has 16 registers, so 12 chains. */
__attribute__((target("avx2,fma"))) static float fma_avx2(int64_t rounds)
{
    __m256 sum[LANES / 2];
    const __m256 a = _mm256_set1_ps(0.999f);
    const __m256 b = _mm256_set1_ps(0.001f);
#pragma GCC unroll 12
    for (int i = 0; i < LANES / 2; i++) {
        sum[i] = _mm256_set1_ps((float)i);
    }
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < LANES / 2; i++) {
            sum[i] = _mm256_fmadd_ps(sum[i], a, b);
        }
    }
    __m256 all = sum[0];
#pragma GCC unroll 12
    for (int i = 1; i < LANES / 2; i++) {
        all = _mm256_add_ps(all, sum[i]);
    }
    float lane[8];
    _mm256_storeu_ps(lane, all);
    return lane[0] + lane[7];
}

#endif

/* Best flops per second of the register loop, and the instructions it used; 0 where this file has no loop. */
static double fma_peak(const char **name)
{
    *name = "none for this processor";
    float (*loop)(int64_t) = NULL;
    double flops_round = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) {
        loop = fma_avx512;
        flops_round = 2.0 * 16 * LANES;
        *name = "AVX-512";
    } else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        loop = fma_avx2;
        flops_round = 2.0 * 8 * LANES / 2;
        *name = "AVX2";
    }
#endif
    double best = 0;
    float keep = 0;
    for (int t = 0; loop != NULL && t < TRIES; t++) {
        const int64_t rounds = 1000000;
        const double start = dpt_clock_s();
        keep += loop(rounds);
        const double flops_s = flops_round * (double)rounds / (dpt_clock_s() - start);
        best = flops_s > best ? flops_s : best;
    }
    /* The sums are finite and positive; asking keeps the compiler from leaving the loop out. */
    return keep > 0 ? best : 0;
}

/* Best flops per second of C = A B with n x n matrices. */
static double sgemm_peak(int n)
{
    const size_t numel = (size_t)n * (size_t)n;
    float *a = calloc(3 * numel, sizeof *a);
    if (a == NULL) {
        return 0;
    }
    for (size_t i = 0; i < 2 * numel; i++) {
        a[i] = (float)(i % 7) - 3.0f;
    }
    double best = 0;
    for (int t = 0; t < TRIES; t++) {
        const double start = dpt_clock_s();
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1.0f, a, n, a + numel, n, 0.0f, a + 2 * numel,
                    n);
        const double flops_s = 2.0 * n * n * n / (dpt_clock_s() - start);
        best = flops_s > best ? flops_s : best;
    }
    free(a);
    return best;
}

/* Best bytes per second of a copy, reads and writes counted. */
static double copy_peak(size_t nbytes)
{
    char *from = malloc(2 * nbytes);
    if (from == NULL) {
        return 0;
    }
    memset(from, 1, 2 * nbytes);
    double best = 0;
    for (int t = 0; t < TRIES; t++) {
        const double start = dpt_clock_s();
        memcpy(from + nbytes, from, nbytes);
        const double bytes_s = 2.0 * (double)nbytes / (dpt_clock_s() - start);
        best = bytes_s > best ? bytes_s : best;
        from[t] = from[2 * nbytes - 1];
    }
    free(from);
    return best;
}

int main(int argc, char **argv)
{
    const bool json = argc == 2 && strcmp(argv[1], "--json") == 0;
    if (argc > 1 && !json) {
        fputs("usage: peak [--json]\n", stderr);
        return 2;
    }
    enum { N = 1536 };
    const size_t copy_nbytes = (size_t)128 << 20;
    openblas_set_num_threads(1);
    const char *name;
    const double fma = fma_peak(&name);
    const double sgemm = sgemm_peak(N);
    const double copy = copy_peak(copy_nbytes);
    const double peak = fma > sgemm ? fma : sgemm;
    if (json) {
        printf("{\"fma_flops\": %.4g, \"sgemm_flops\": %.4g, \"peak_flops\": %.4g, \"copy_bytes\": %.4g}\n", fma, sgemm,
               peak, copy);
        return 0;
    }
    printf("one core, fp32\n");
    printf("  register loop (%s)          %7.1f Gflop/s\n", name, fma / 1e9);
    printf("  sgemm %d x %d x %d          %7.1f Gflop/s   %.0f %% of the peak\n", N, N, N, sgemm / 1e9,
           100.0 * sgemm / peak);
    printf("  peak (the greater of the two)   %7.1f Gflop/s\n", peak / 1e9);
    printf("  copy of %zu MiB                %7.1f GB/s (read and written)\n", copy_nbytes >> 20, copy / 1e9);
    return 0;
}
