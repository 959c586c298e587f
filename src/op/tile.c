/* SPDX-License-Identifier: Apache-2.0 */

#include "op/tile.h"

#include <string.h>

#include "base/simd.h"
#include "base/status.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma")))
#define INLINE static inline __attribute__((always_inline))

enum { ROWS = DPT_OP__TILE_ROWS, COLUMNS = DPT_OP__TILE_COLUMNS };

/*
 * The sums stay in registers only where every loop over them is unrolled: loops of a constant count below, which
 * compilers unroll by themselves, except before GCC has seen that they are few.
 */
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 8")
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
        for (int64_t c = 0; c < tile->c; c++, w += COLUMNS) {
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

/* One depth: sum[r] += a[r] b[.], where a[r] is at row[r] + at. */
AVX2 INLINE void add_depth(const float *const row[ROWS], int64_t at, const float *b, __m256 sum[ROWS][2])
{
    const __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8);
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        const __m256 each = _mm256_broadcast_ss(row[r] + at);
        sum[r][0] = _mm256_fmadd_ps(each, b0, sum[r][0]);
        sum[r][1] = _mm256_fmadd_ps(each, b1, sum[r][1]);
    }
}

/* One depth where the rows of a lie side by side. */
AVX2 INLINE void add_depth_side(const float *a, const float *b, __m256 sum[ROWS][2])
{
    const __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8);
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        const __m256 each = _mm256_broadcast_ss(a + r);
        sum[r][0] = _mm256_fmadd_ps(each, b0, sum[r][0]);
        sum[r][1] = _mm256_fmadd_ps(each, b1, sum[r][1]);
    }
}

AVX2 INLINE void start(const struct dpt_op__tile_product *tile, __m256 sum[ROWS][2])
{
    const __m256 zero = _mm256_setzero_ps();
    const __m256 bias0 = tile->bias ? _mm256_loadu_ps(tile->bias) : zero;
    const __m256 bias1 = tile->bias ? _mm256_loadu_ps(tile->bias + 8) : zero;
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        sum[r][0] = bias0;
        sum[r][1] = bias1;
    }
    const float *c = tile->c; /* a row of it lies in one line of a cache or in two */
    for (int r = 0; r < tile->rows; r++, c += tile->ldc) {
        _mm_prefetch((const char *)c, _MM_HINT_T0);
        _mm_prefetch((const char *)(c + COLUMNS - 1), _MM_HINT_T0);
    }
}

/* Sums at the edge of a matrix. */
AVX2 static void store_part(const struct dpt_op__tile_product *tile, float sum[ROWS][COLUMNS])
{
    for (int r = 0; r < tile->rows; r++) {
        float *c = tile->c + r * tile->ldc, old[COLUMNS] = {0};
        const size_t nbytes = (size_t)tile->columns * sizeof *c;
        if (tile->add) {
            memcpy(old, c, nbytes);
        }
        for (int j = 0; j < COLUMNS; j++) {
            const float z = old[j] + sum[r][j];
            sum[r][j] = tile->relu && z < 0.0f ? 0.0f : z;
        }
        memcpy(c, sum[r], nbytes);
    }
}

AVX2 INLINE void store(const struct dpt_op__tile_product *tile, const __m256 sum[ROWS][2])
{
    if (tile->rows < ROWS || tile->columns < COLUMNS) {
        float part[ROWS][COLUMNS];
        UNROLL
        for (int r = 0; r < ROWS; r++) {
            _mm256_storeu_ps(part[r], sum[r][0]);
            _mm256_storeu_ps(part[r] + 8, sum[r][1]);
        }
        store_part(tile, part);
        return;
    }
    /* max(low, sum) gives its second operand where one is nan. */
    const __m256 low = _mm256_set1_ps(tile->relu ? 0.0f : -__builtin_inff());
    float *c = tile->c;
    UNROLL
    for (int r = 0; r < ROWS; r++, c += tile->ldc) {
        const __m256 sum0 = tile->add ? _mm256_add_ps(_mm256_loadu_ps(c), sum[r][0]) : sum[r][0];
        const __m256 sum1 = tile->add ? _mm256_add_ps(_mm256_loadu_ps(c + 8), sum[r][1]) : sum[r][1];
        _mm256_storeu_ps(c, _mm256_max_ps(low, sum0));
        _mm256_storeu_ps(c + 8, _mm256_max_ps(low, sum1));
    }
}

/* Of a whose rows lie side by side. (Compilers find registers for the loop of one form of a only.) */
AVX2 static void product_columns(const struct dpt_op__tile_product *tile)
{
    __m256 sum[ROWS][2];
    start(tile, sum);
    const float *a = tile->a, *b = tile->b, *const end = b + tile->depth * COLUMNS;
    const int64_t a_step = tile->a_step;
    for (; b < end; a += a_step, b += COLUMNS) {
        add_depth_side(a, b, sum);
    }
    store(tile, sum);
}

/* Of a whose rows lie each by itself. Those that are not wanted repeat the last. */
AVX2 static void product_rows(const struct dpt_op__tile_product *tile)
{
    __m256 sum[ROWS][2];
    start(tile, sum);
    const float *row[ROWS], *b = tile->b;
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        row[r] = r == 0 ? tile->a : r < tile->rows ? row[r - 1] + tile->a_row : row[r - 1];
    }
    const int64_t depth = tile->depth;
    for (int64_t p = 0; p < depth; p++, b += COLUMNS) {
        add_depth(row, p, b, sum);
    }
    store(tile, sum);
}

/* 8 x 8 floats, turned. */
AVX2 INLINE void turn(__m256 row[8])
{
    __m256 two[8], four[8];
    UNROLL
    for (int i = 0; i < 8; i += 2) {
        two[i] = _mm256_unpacklo_ps(row[i], row[i + 1]);
        two[i + 1] = _mm256_unpackhi_ps(row[i], row[i + 1]);
    }
    UNROLL
    for (int i = 0; i < 8; i += 4) {
        four[i] = _mm256_shuffle_ps(two[i], two[i + 2], 0x44);
        four[i + 1] = _mm256_shuffle_ps(two[i], two[i + 2], 0xee);
        four[i + 2] = _mm256_shuffle_ps(two[i + 1], two[i + 3], 0x44);
        four[i + 3] = _mm256_shuffle_ps(two[i + 1], two[i + 3], 0xee);
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        row[i] = _mm256_permute2f128_ps(four[i], four[i + 4], 0x20);
        row[i + 4] = _mm256_permute2f128_ps(four[i], four[i + 4], 0x31);
    }
}

AVX2 static void turn_avx2(int64_t count, const float *from, int64_t ld, int rows, float *to, int64_t step)
{
    int64_t p = 0;
    for (; p + 8 <= count; p += 8) {
        __m256 row[8];
        UNROLL
        for (int r = 0; r < 8; r++) {
            row[r] = r < rows ? _mm256_loadu_ps(from + r * ld + p) : _mm256_setzero_ps();
        }
        turn(row);
        UNROLL
        for (int i = 0; i < 8; i++) {
            _mm256_storeu_ps(to + (p + i) * step, row[i]);
        }
    }
    for (; p < count; p++) {
        UNROLL
        for (int r = 0; r < 8; r++) {
            to[p * step + r] = r < rows ? from[r * ld + p] : 0.0f;
        }
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


static void turn_avx2(int64_t count, const float *from, int64_t ld, int rows, float *to, int64_t step)
{
    (void)count, (void)from, (void)ld, (void)rows, (void)to, (void)step;
    DPT_ASSERT(false);
}

#endif

/* For all other processors. */
DPT_SIMD static void tile_product_plain(const struct dpt_op__tile_product *tile)
{
    float sum[ROWS][COLUMNS] = {{0}};
    for (int r = 0; r < ROWS && tile->bias; r++) {
        memcpy(sum[r], tile->bias, sizeof sum[r]);
    }
    for (int64_t p = 0; p < tile->depth; p++) {
        const float *b = tile->b + p * COLUMNS;
        for (int r = 0; r < tile->rows; r++) {
            const float each = tile->a[r * tile->a_row + p * tile->a_step];
#pragma omp simd
            for (int j = 0; j < COLUMNS; j++) {
                sum[r][j] += each * b[j];
            }
        }
    }
    for (int r = 0; r < tile->rows; r++) {
        float *c = tile->c + r * tile->ldc;
        for (int j = 0; j < tile->columns; j++) {
            const float z = tile->add ? c[j] + sum[r][j] : sum[r][j];
            c[j] = tile->relu && z < 0.0f ? 0.0f : z;
        }
    }
}

void dpt_op__tile_product(const struct dpt_op__tile_product *tile)
{
    if (dpt_op__tile_runs()) {
        (tile->a_row == 1 ? product_columns : product_rows)(tile);
    } else {
        tile_product_plain(tile);
    }
}

void dpt_op__tile_product_ref(const struct dpt_op__tile_product *tile)
{
    tile_product_plain(tile);
}

void dpt_op__tile_turn(int64_t count, const float *from, int64_t ld, int rows, float *to, int64_t step)
{
    if (dpt_op__tile_runs()) {
        turn_avx2(count, from, ld, rows, to, step);
        return;
    }
    for (int64_t p = 0; p < count; p++) {
        for (int r = 0; r < 8; r++) {
            to[p * step + r] = r < rows ? from[r * ld + p] : 0.0f;
        }
    }
}
