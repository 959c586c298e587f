/* SPDX-License-Identifier: Apache-2.0 */

#include "op/tile.h"

#include "base/status.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma")))
#define INLINE static inline __attribute__((always_inline))

enum { ROWS = DPT_OP__TILE_ROWS };

/*
 * The sums stay in registers only where every loop over them is unrolled: loops of a constant count below, which
 * compilers unroll by themselves, except before GCC has seen that they are few.
 */
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 6")
#endif

bool dpt_op__tile_runs(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

bool dpt_op__tile_pays(void)
{
    return dpt_op__tile_runs() && !__builtin_cpu_supports("avx512f");
}

AVX2 void dpt_op__tile_gather(const struct dpt_op__tile_gather *tile)
{
    __m256 sum[ROWS][2];
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        sum[r][0] = _mm256_loadu_ps(tile->bias);
        sum[r][1] = _mm256_loadu_ps(tile->bias + 8);
    }
    const float *w = tile->w;
    for (int64_t t = 0; t < tile->taps; t++) {
        const float *x[ROWS];
        UNROLL
        for (int r = 0; r < ROWS; r++) {
            const int32_t from = tile->from[r][t];
            x[r] = from < 0 ? tile->zeros : tile->base[r] + from;
        }
        for (int64_t c = 0; c < tile->c; c++, w += DPT_OP__TILE_COLUMNS) {
            const __m256 w0 = _mm256_loadu_ps(w), w1 = _mm256_loadu_ps(w + 8);
            UNROLL
            for (int r = 0; r < ROWS; r++) {
                const __m256 each = _mm256_broadcast_ss(x[r] + c);
                sum[r][0] = _mm256_fmadd_ps(each, w0, sum[r][0]);
                sum[r][1] = _mm256_fmadd_ps(each, w1, sum[r][1]);
            }
        }
    }
    /* max(low, sum) gives its second operand where one is nan. */
    const __m256 low = _mm256_set1_ps(tile->relu ? 0.0f : -__builtin_inff());
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        if (r < tile->rows) {
            _mm256_storeu_ps(tile->y + r * tile->ldy, _mm256_max_ps(low, sum[r][0]));
            _mm256_storeu_ps(tile->y + r * tile->ldy + 8, _mm256_max_ps(low, sum[r][1]));
        }
    }
}

/* With a constant number of rows, so that each number has loops of its own. */
AVX2 INLINE void outer(int64_t count, const float *const *x, int64_t at, const int rows, const float *dy, int64_t ldy,
                       float *sum, int64_t ldsum)
{
    __m256 add[ROWS][2];
    UNROLL
    for (int r = 0; r < rows; r++) {
        add[r][0] = add[r][1] = _mm256_setzero_ps();
    }
    for (int64_t p = 0; p < count; p++, dy += ldy) {
        const float *each = x[p] + at;
        const __m256 dy0 = _mm256_loadu_ps(dy), dy1 = _mm256_loadu_ps(dy + 8);
        UNROLL
        for (int r = 0; r < rows; r++) {
            const __m256 one = _mm256_broadcast_ss(each + r);
            add[r][0] = _mm256_fmadd_ps(one, dy0, add[r][0]);
            add[r][1] = _mm256_fmadd_ps(one, dy1, add[r][1]);
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        float *to = sum + r * ldsum;
        _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(to), add[r][0]));
        _mm256_storeu_ps(to + 8, _mm256_add_ps(_mm256_loadu_ps(to + 8), add[r][1]));
    }
}

AVX2 void dpt_op__tile_outer(int64_t count, const float *const *x, int64_t at, int rows, const float *dy, int64_t ldy,
                             float *sum, int64_t ldsum)
{
    switch (rows) {
    case 1:
        outer(count, x, at, 1, dy, ldy, sum, ldsum);
        break;
    case 2:
        outer(count, x, at, 2, dy, ldy, sum, ldsum);
        break;
    case 3:
        outer(count, x, at, 3, dy, ldy, sum, ldsum);
        break;
    case 4:
        outer(count, x, at, 4, dy, ldy, sum, ldsum);
        break;
    case 5:
        outer(count, x, at, 5, dy, ldy, sum, ldsum);
        break;
    default:
        outer(count, x, at, 6, dy, ldy, sum, ldsum);
        break;
    }
}

#else

bool dpt_op__tile_runs(void)
{
    return false;
}

bool dpt_op__tile_pays(void)
{
    return false;
}

void dpt_op__tile_gather(const struct dpt_op__tile_gather *tile)
{
    (void)tile;
    DPT_ASSERT(false);
}

void dpt_op__tile_outer(int64_t count, const float *const *x, int64_t at, int rows, const float *dy, int64_t ldy,
                        float *sum, int64_t ldsum)
{
    (void)count, (void)x, (void)at, (void)rows, (void)dy, (void)ldy, (void)sum, (void)ldsum;
    DPT_ASSERT(false);
}

#endif
