/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bf16.h"
#include "op/onednn.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/*
 * The wrapper promises fast kernels or none. Convolutions of real nets, first layers with one channel among them; what
 * they compute is asked in test_conv.c.
 */
static void convolutions_are_fast(void **state)
{
    (void)state;
    const struct dpt_onednn_conv layer[] = {
        {.n = 8, .c = 1, .o = 32, .in = {28, 28}, .out = {28, 28}, .kernel = {5, 5}, .pad = {2, 2}},
        {.n = 8, .c = 32, .o = 64, .in = {14, 14}, .out = {14, 14}, .kernel = {5, 5}, .pad = {2, 2}},
        {.n = 8, .c = 16, .o = 16, .in = {28, 28}, .out = {28, 28}, .kernel = {3, 3}, .pad = {1, 1}},
    };
    for (size_t i = 0; i < sizeof layer / sizeof layer[0]; i++) {
        for (int pass = 0; pass < 3; pass++) {
            struct dpt_onednn_conv conv = layer[i];
            conv.pass = (enum dpt_onednn_pass)pass;
            conv.groups = 1;
            conv.stride[0] = conv.stride[1] = conv.dilation[0] = conv.dilation[1] = 1;
            struct dpt_onednn *op;
            assert_int_equal(dpt_onednn_conv(&conv, &op), DPT_STATUS_OK);
            if (op) {
                assert_null(strstr(dpt_onednn_name(op), "ref"));
                assert_null(strstr(dpt_onednn_name(op), "gemm"));
            }
            dpt_onednn_free(op);
        }
    }
}

static float *numbers(int64_t count, unsigned seed)
{
    float *data = aligned_alloc(64, ((size_t)count * sizeof *data + 63) / 64 * 64);
    assert_non_null(data);
    for (int64_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        data[i] = (float)(seed >> 8) * 0x1p-23f - 1.0f;
    }
    return data;
}

static void compare_matmul(const struct dpt_onednn_matmul *matmul)
{
    const int64_t m = matmul->m, n = matmul->n, k = matmul->k;
    struct dpt_onednn *op;
    assert_int_equal(dpt_onednn_matmul(matmul, &op), DPT_STATUS_OK);
    if (!op) {
        return; /* not here */
    }
    assert_null(strstr(dpt_onednn_name(op), "ref"));
    float *a = numbers(m * k, 1), *b = numbers(k * n, 2), *bias = numbers(n, 3), *out = numbers(m * n, 4);
    void *scratch = aligned_alloc(64, (dpt_onednn_scratch(op) + 64) / 64 * 64);
    assert_int_equal(dpt_onednn_run(op, a, b, matmul->bias ? bias : NULL, out, scratch), DPT_STATUS_OK);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = matmul->bias ? bias[j] : 0.0;
            for (int64_t l = 0; l < k; l++) {
                sum += (double)a[matmul->ta ? l * m + i : i * k + l] * b[matmul->tb ? j * k + l : l * n + j];
            }
            if (!(fabs(out[i * n + j] - sum) <= 1e-4)) {
                fail_msg("%lld x %lld x %lld: element %lld, %lld: got %g, expected %g", (long long)m, (long long)n,
                         (long long)k, (long long)i, (long long)j, (double)out[i * n + j], sum);
            }
        }
    }
    free(a);
    free(b);
    free(bias);
    free(out);
    free(scratch);
    dpt_onednn_free(op);
}

static void products(void **state)
{
    (void)state;
    const int64_t size[][3] = {{1, 1, 1}, {7, 5, 3}, {33, 10, 67}, {128, 256, 100}, {16, 1, 64}};
    for (size_t i = 0; i < sizeof size / sizeof size[0]; i++) {
        for (int bits = 0; bits < 8; bits++) {
            compare_matmul(&(struct dpt_onednn_matmul){.m = size[i][0], .n = size[i][1], .k = size[i][2],
                                                       .ta = bits & 1, .tb = bits & 2, .bias = bits & 4});
        }
    }
}

/* Products of bfloat16, where the machine has them: the same within what one rounding of the result leaves. */
static void products_of_16_bits(void **state)
{
    (void)state;
    enum { M = 33, N = 48, K = 64 };
    float *a = numbers(M * K, 5), *b = numbers(K * N, 6), *out = numbers(M * N, 7), x, y;
    uint16_t *a16 = malloc(M * K * sizeof *a16), *b16 = malloc(K * N * sizeof *b16), *narrow = malloc(M * N * sizeof *narrow);
    assert_true(a16 && b16 && narrow);
    dpt_bf16_narrow(M * K, a, a16);
    dpt_bf16_narrow(K * N, b, b16);
    for (int bits = 0; bits < 8; bits++) {
        const struct dpt_onednn_matmul matmul = {
            .m = M, .n = N, .k = K, .ta = bits & 1, .tb = bits & 2, .bf16 = true, .narrow = bits & 4};
        struct dpt_onednn *op;
        assert_int_equal(dpt_onednn_matmul(&matmul, &op), DPT_STATUS_OK);
        if (!op) {
            continue; /* not here */
        }
        void *scratch = aligned_alloc(64, (dpt_onednn_scratch(op) + 64) / 64 * 64);
        assert_int_equal(dpt_onednn_run(op, a16, b16, NULL, matmul.narrow ? (void *)narrow : out, scratch), DPT_STATUS_OK);
        dpt_bf16_widen(matmul.narrow ? M * N : 0, narrow, out);
        for (int64_t i = 0; i < M * N; i++) {
            double sum = 0.0;
            for (int64_t l = 0; l < K; l++) {
                dpt_bf16_widen(1, a16 + (matmul.ta ? l * M + i / N : i / N * K + l), &x);
                dpt_bf16_widen(1, b16 + (matmul.tb ? i % N * K + l : l * N + i % N), &y);
                sum += (double)x * y;
            }
            assert_true(fabs(out[i] - sum) <= (matmul.narrow ? 0x1p-8 * fabs(sum) : 0.0) + 1e-4);
        }
        free(scratch);
        dpt_onednn_free(op);
    }
    free(a);
    free(b);
    free(out);
    free(a16);
    free(b16);
    free(narrow);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolutions_are_fast),
        cmocka_unit_test(products),
        cmocka_unit_test(products_of_16_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
