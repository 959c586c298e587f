/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Loops that the compiler turns into vector code, without intrinsics:
 *
 *   DPT_SIMD static void scale(int64_t n, float a, const float *x, float *y)
 *   {
 *   #pragma omp simd
 *       for (int64_t i = 0; i < n; i++) {
 *           y[i] = a * x[i];
 *       }
 *   }
 *
 * DPT_SIMD compiles the function for several instruction sets; the loader picks one at start, so that one binary serves
 * every machine. Only for static functions, and with a name of its own in the whole program, since clang makes the
 * choosing code global under that name.
 *
 * `omp simd` says that iterations are independent (x and y may be the same memory, not shifted), or with
 * reduction(+ : sum) that a sum may be taken in any fixed order. It needs no OpenMP run time.
 */

#include <stdint.h> /* says by the way whether this is the GNU C library */

#if defined(__has_feature)
#define DPT_SIMD_FEATURE(name) __has_feature(name)
#else
#define DPT_SIMD_FEATURE(name) 0
#endif

/* Resolvers of clones run before a sanitizer is ready, and need the GNU loader. */
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) &&    \
    !DPT_SIMD_FEATURE(address_sanitizer) && !DPT_SIMD_FEATURE(thread_sanitizer)
#define DPT_SIMD __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define DPT_SIMD
#endif
