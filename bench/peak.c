/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What one core can do at best, to hold a training step against: multiply-adds in fp32 per second (src/dev/peak.h says
 * how), and bytes copied per second.
 *
 *     make bench/peak && taskset -c 0 bench/peak [--json]
 */

#include <cblas.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "dev/peak.h"

enum { TRIES = 15, SECONDS = 1 };

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
    const double fma = dpt_dev_peak_loop(SECONDS, &name);
    const double sgemm = dpt_dev_peak_sgemm(SECONDS, N);
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
