/* SPDX-License-Identifier: Apache-2.0 */
#include "dev/peak.h"

#include <cblas.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/clock.h"
#include "base/thread.h"
#include "dev/dev.h"

enum { LANES = 24, ROUNDS = 100000, TRIES_MIN = 3 };

/* ------------------------------------------------------------------------------------------- the register loop */

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

/* The loop for this processor, the flops of one of its rounds and its instructions; NULL where there is none. */
static float (*choose_loop(double *flops_round, const char **name))(int64_t)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) {
        *flops_round = 2.0 * 16 * LANES;
        *name = "AVX-512";
        return fma_avx512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        *flops_round = 2.0 * 8 * LANES / 2;
        *name = "AVX2";
        return fma_avx2;
    }
#endif
    *flops_round = 0;
    *name = "none for this processor";
    return NULL;
}

double dpt_dev_peak_loop(double seconds, const char **name)
{
    double flops_round;
    float (*const loop)(int64_t) = choose_loop(&flops_round, name);
    double best = 0;
    float keep = 0;
    const double begin = dpt_clock_s();
    for (int t = 0; loop && (t < TRIES_MIN || dpt_clock_s() - begin < seconds); t++) {
        const double start = dpt_clock_s();
        keep += loop(ROUNDS);
        const double flops_s = flops_round * ROUNDS / (dpt_clock_s() - start);
        best = flops_s > best ? flops_s : best;
    }
    /* The sums are finite and positive; asking keeps the compiler from leaving the loop out. */
    return keep > 0 ? best : 0;
}

double dpt_dev_peak_sgemm(double seconds, int n)
{
    const size_t numel = (size_t)n * (size_t)n;
    float *a = calloc(3 * numel, sizeof *a);
    if (!a) {
        return 0;
    }
    for (size_t i = 0; i < 2 * numel; i++) {
        a[i] = (float)(i % 7) - 3.0f;
    }
    double best = 0;
    const double begin = dpt_clock_s();
    for (int t = 0; t < TRIES_MIN || dpt_clock_s() - begin < seconds; t++) {
        const double start = dpt_clock_s();
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1.0f, a, n, a + numel, n, 0.0f, a + 2 * numel,
                    n);
        const double flops_s = 2.0 * n * n * n / (dpt_clock_s() - start);
        best = flops_s > best ? flops_s : best;
    }
    free(a);
    return best;
}

/* ------------------------------------------------------------------------------------------ all threads of a rank */

struct measure {
    pthread_t thread;
    double seconds;
    double flops_per_s;
};

static void *measure(void *arg)
{
    struct measure *m = arg;
    const char *name;
    m->flops_per_s = dpt_dev_peak_loop(m->seconds, &name);
    return NULL;
}

enum dpt_status dpt_dev_peak(struct dpt_dev *dev, double seconds, double *flops_per_s)
{
    enum { N = 512 };
    double flops_round;
    const char *name;
    *flops_per_s = 0;
    if (dev->kind != DPT_DEV_KIND_CPU) {
        return DPT_STATUS_OK;
    }
    if (!choose_loop(&flops_round, &name)) {
        *flops_per_s = dpt_dev_peak_sgemm(seconds, N); /* on all the threads that dpt_dev_cpu gave the library */
        return DPT_STATUS_OK;
    }
    struct measure *all = calloc((size_t)dev->threads, sizeof *all);
    DPT_CHECK(all, DPT_STATUS_SPACE, "out of memory for measuring the peak of %d threads", dev->threads);
    enum dpt_status status = DPT_STATUS_OK;
    int started = 1; /* the first is this thread */
    all[0].seconds = seconds;
    while (started < dev->threads && status == DPT_STATUS_OK) {
        all[started].seconds = seconds;
        status = dpt_thread_new(&all[started].thread, "dpt-peak", measure, &all[started]);
        started += status == DPT_STATUS_OK;
    }
    measure(&all[0]);
    double sum = all[0].flops_per_s;
    for (int i = 1; i < started; i++) {
        pthread_join(all[i].thread, NULL);
        sum += all[i].flops_per_s;
    }
    free(all);
    *flops_per_s = status == DPT_STATUS_OK ? sum : 0;
    return status;
}
