/* SPDX-License-Identifier: Apache-2.0 */
#include "op/gemm.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "dev/dev.h"
#include "op/tile.h"

enum { PAD = 5 };           /* numbers behind each row of every matrix: read by nobody, written by nobody */
static const float outside = 1e30f;

static float draw(uint32_t stream, int64_t i)
{
    uint32_t word[4];
    dpt_rng_words(7, DPT_RNG_USE_DATA, stream, 0, (uint64_t)i, word);
    return 2.0f * dpt_rng_unit(word[0]) - 1.0f;
}

/* A matrix of rows x columns with padded rows, the padding filled with `outside`. */
static float *matrix(uint32_t stream, int64_t rows, int64_t columns)
{
    float *at = malloc((size_t)(rows * (columns + PAD) + 1) * sizeof *at);
    assert_non_null(at);
    for (int64_t i = 0; i < rows * (columns + PAD); i++) {
        at[i] = i % (columns + PAD) < columns ? draw(stream, i) : outside;
    }
    return at;
}

struct shape {
    int64_t m, n, k;
};

/* What follows a product. */
struct end {
    bool bias, add, kept, gradient;
    enum dpt_activation_kind act;
};

/* One product against sums in double. */
static void check(const struct shape *shape, bool ta, bool tb, const struct end *end)
{
    const bool bias = end->bias, add = end->add;
    const int64_t m = shape->m, n = shape->n, k = shape->k;
    float *a = ta ? matrix(1, k, m) : matrix(1, m, k), *b = tb ? matrix(2, n, k) : matrix(2, k, n);
    float *c = matrix(3, m, n), *before = matrix(3, m, n), *each = matrix(4, 1, n);
    float *z = matrix(5, m, n), *t = matrix(6, m, n);
    const struct dpt_op__gemm gemm = {
        .dtype = DPT_DTYPE_F32, .ta = ta, .tb = tb, .m = m, .n = n, .k = k, .a = a, .lda = (ta ? m : k) + PAD, .b = b,
        .ldb = (tb ? k : n) + PAD, .c = c, .ldc = n + PAD, .bias = bias ? each : NULL, .add = add, .act = end->act,
        .z = end->kept ? z : NULL, .t = end->gradient ? t : NULL};
    const size_t nbytes = (dpt_op__gemm_scratch(DPT_DTYPE_F32, m, n, k) + 63) / 64 * 64;
    unsigned char *scratch = aligned_alloc(64, nbytes + 64);
    memset(scratch, 0xff, nbytes + 64); /* as floats: nan */
    assert_int_equal(dpt_op__gemm(&gemm, scratch), DPT_STATUS_OK);
    for (int i = 0; i < 64; i++) {
        assert_int_equal(scratch[nbytes + (size_t)i], 0xff);
    }
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n + PAD; j++) {
            const float got = c[i * (n + PAD) + j], old = before[i * (n + PAD) + j];
            double sum = (bias ? (double)each[j] : 0.0) + (add ? (double)old : 0.0);
            for (int64_t p = 0; p < k && j < n; p++) {
                const double x = ta ? a[p * (m + PAD) + i] : a[i * (k + PAD) + p];
                sum += x * (double)(tb ? b[j * (k + PAD) + p] : b[p * (n + PAD) + j]);
            }
            const double limit = 1e-6 * (2.0 + sqrt((double)k)) * 4.0, kept = z[i * (n + PAD) + j];
            assert_true(!end->kept || (j < n ? fabs(kept - sum) <= limit : kept == outside));
            sum = end->gradient && j < n ? dpt_op__activation_dx_at(end->act, sum, t[i * (n + PAD) + j])
                                         : dpt_op__activation_at(end->act, sum);
            if (j >= n ? got != old : fabs((double)got - sum) > 1.2 * limit) { /* no slope is beyond 1.13 */
                fail_msg("%lld x %lld x %lld ta %d tb %d bias %d add %d activation %d: c[%lld,%lld] = %g, expected %g",
                         (long long)m, (long long)n, (long long)k, ta, tb, bias, add, (int)end->act, (long long)i,
                         (long long)j, (double)got, j < n ? sum : (double)old);
            }
        }
    }
    free(a);
    free(b);
    free(c);
    free(before);
    free(each);
    free(z);
    free(t);
    free(scratch);
}

/* One thread, as a rank has where our own loops run. */
static int one_thread(void **state)
{
    return dpt_dev_cpu(1, (struct dpt_dev **)state);
}

static int close_device(void **state)
{
    dpt_dev_close(*state);
    return 0;
}

/* Edges of tiles and of blocks, empty sums, few rows. */
static void sizes(void **state)
{
    (void)state;
    static const struct shape shape[] = {
        {1, 1, 1}, {6, 16, 8}, {7, 17, 9}, {5, 40, 3}, {12, 8, 0}, {13, 33, 255},
        {193, 31, 257}, {6, 2049, 3}, {385, 9, 20}, {9, 20, 500}, {14, 20, 1100}};
    for (size_t i = 0; i < sizeof shape / sizeof shape[0]; i++) {
        for (int flags = 0; flags < 4; flags++) {
            check(&shape[i], flags & 1, flags & 2, &(struct end){.bias = false});
        }
        check(&shape[i], true, false, &(struct end){.add = true});
        check(&shape[i], false, false, &(struct end){.bias = true, .add = true, .act = DPT_ACTIVATION_KIND_RELU});
        for (int act = DPT_ACTIVATION_KIND_RELU; act <= DPT_ACTIVATION_KIND_GELU_TANH; act++) {
            const struct end end = {.bias = true, .kept = act % 2, .act = (enum dpt_activation_kind)act};
            check(&shape[i], false, true, &end);
            check(&shape[i], false, false, &(struct end){.gradient = true, .act = (enum dpt_activation_kind)act});
        }
    }
    check(&(struct shape){0, 4, 4}, false, false, &(struct end){.bias = true});
}

/* A row of c is the same bit for bit, however many rows follow. */
static void rows_do_not_know_each_other(void **state)
{
    (void)state;
    enum { M = 200, N = 37, K = 301 };
    static float c[2][M][N];
    float *a = matrix(1, M, K), *b = matrix(2, N, K);
    void *scratch = aligned_alloc(64, (dpt_op__gemm_scratch(DPT_DTYPE_F32, M, N, K) + 127) / 64 * 64);
    if (!dpt_op__tile_pays()) {
        free(a);
        free(b);
        free(scratch);
        skip(); /* BLAS promises nothing */
    }
    for (int half = 0; half < 2; half++) {
        const struct dpt_op__gemm gemm = {
            .dtype = DPT_DTYPE_F32, .tb = true, .m = half ? 101 : M, .n = N, .k = K, .a = a, .lda = K + PAD, .b = b,
            .ldb = K + PAD, .c = c[half], .ldc = N};
        assert_int_equal(dpt_op__gemm(&gemm, scratch), DPT_STATUS_OK);
    }
    assert_memory_equal(c[0], c[1], 101 * sizeof c[0][0]);
    free(a);
    free(b);
    free(scratch);
}

static void nan_stays(void **state)
{
    (void)state;
    enum { M = 7, N = 18 };
    float a[M] = {1.0f, NAN, -1.0f, 2.0f}, b[N], c[M][N];
    for (int j = 0; j < N; j++) {
        b[j] = 1.0f;
    }
    void *scratch = aligned_alloc(64, (dpt_op__gemm_scratch(DPT_DTYPE_F32, M, N, 1) + 127) / 64 * 64);
    const struct dpt_op__gemm gemm = {
        .dtype = DPT_DTYPE_F32, .m = M, .n = N, .k = 1, .a = a, .lda = 1, .b = b, .ldb = N, .c = c, .ldc = N,
        .act = DPT_ACTIVATION_KIND_RELU};
    assert_int_equal(dpt_op__gemm(&gemm, scratch), DPT_STATUS_OK);
    for (int j = 0; j < N; j++) {
        assert_true(c[0][j] == 1.0f && isnan(c[1][j]) && c[2][j] == 0.0f && c[3][j] == 2.0f);
    }
    free(scratch);
}

static void in_double(void **state)
{
    (void)state;
    const double a[2][3] = {{1, 2, 3}, {4, 5, 6}}, b[2][3] = {{1, 0, -1}, {2, 1, 0}}, bias[2] = {3, -4};
    double c[2][2];
    const struct dpt_op__gemm gemm = {
        .dtype = DPT_DTYPE_F64, .tb = true, .m = 2, .n = 2, .k = 3, .a = a, .lda = 3, .b = b, .ldb = 3, .c = c,
        .ldc = 2, .bias = bias, .act = DPT_ACTIVATION_KIND_RELU};
    assert_int_equal(dpt_op__gemm_scratch(DPT_DTYPE_F64, 2, 2, 3), 0);
    assert_int_equal(dpt_op__gemm(&gemm, NULL), DPT_STATUS_OK);
    assert_true(c[0][0] == 1.0 && c[0][1] == 0.0 && c[1][0] == 1.0 && c[1][1] == 9.0);
}

/* The fast tiles against those of every processor, in both forms of a. */
static void tiles(void **state)
{
    (void)state;
    enum { DEPTH = 21 };
    float a[DEPTH * 8], b[DEPTH][16], bias[16], c[2][6][16];
    for (int i = 0; i < DEPTH * 16; i++) {
        a[i % (DEPTH * 8)] = draw(1, i % (DEPTH * 8));
        b[i / 16][i % 16] = draw(2, i);
        bias[i % 16] = draw(3, i % 16);
    }
    for (int form = 0; form < 2; form++) {
        for (int rows = 1; rows <= 6; rows++) {
            for (int columns = 1; columns <= 16; columns++) {
                for (int i = 0; i < 2; i++) {
                    for (int j = 0; j < 6 * 16; j++) {
                        c[i][j / 16][j % 16] = draw(4, j);
                    }
                    const struct dpt_op__tile_product tile = {
                        .depth = DEPTH, .a = a, .a_row = form ? 1 : DEPTH, .a_step = form ? 7 : 1, .b = b[0],
                        .c = c[i][0], .ldc = 16, .bias = columns % 2 ? bias : NULL, .add = rows % 2,
                        .relu = columns % 3 == 0, .rows = rows, .columns = columns};
                    (i ? dpt_op__tile_product_ref : dpt_op__tile_product)(&tile);
                }
                for (int j = 0; j < 6 * 16; j++) {
                    const double got = c[0][j / 16][j % 16], expected = c[1][j / 16][j % 16];
                    assert_true(fabs(got - expected) < 1e-5);
                    assert_true((j / 16 < rows && j % 16 < columns) || got == (double)draw(4, j));
                }
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sizes, one_thread, close_device),
        cmocka_unit_test_setup_teardown(rows_do_not_know_each_other, one_thread, close_device),
        cmocka_unit_test_setup_teardown(nan_stays, one_thread, close_device),
        cmocka_unit_test(in_double),
        cmocka_unit_test(tiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
