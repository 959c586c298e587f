/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The kernels of op/linear_bf16.c on any machine: here is a library in the place of oneDNN whose only products are those
 * of bfloat16, by plain loops. What every op is asked is asked with it.
 */

#include "optest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/bf16.h"
#include "op/linear.h"
#include "op/onednn.h"

struct dpt_onednn {
    struct dpt_onednn_matmul matmul;
};

static int products; /* run so far */

enum dpt_status dpt_onednn_conv(const struct dpt_onednn_conv *conv, struct dpt_onednn **op)
{
    (void)conv;
    *op = NULL;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_onednn_matmul(const struct dpt_onednn_matmul *matmul, struct dpt_onednn **op)
{
    *op = matmul->bf16 ? malloc(sizeof **op) : NULL;
    if (*op) {
        (*op)->matmul = *matmul;
    }
    return DPT_STATUS_OK;
}

void dpt_onednn_free(struct dpt_onednn *op)
{
    free(op);
}

size_t dpt_onednn_scratch(const struct dpt_onednn *op)
{
    (void)op;
    return 64;
}

const char *dpt_onednn_name(const struct dpt_onednn *op)
{
    (void)op;
    return "loops";
}

enum dpt_status dpt_onednn_run(struct dpt_onednn *op, const void *a, const void *b, float *bias, void *out, void *scratch)
{
    const struct dpt_onednn_matmul *at = &op->matmul;
    products++;
    *(char *)scratch = 1;
    ((char *)scratch)[63] = 1;
    for (int64_t i = 0; i < at->m; i++) {
        for (int64_t j = 0; j < at->n; j++) {
            double sum = at->bias ? bias[j] : 0.0;
            for (int64_t l = 0; l < at->k; l++) {
                float x, y;
                dpt_bf16_widen(1, (const uint16_t *)a + (at->ta ? l * at->m + i : i * at->k + l), &x);
                dpt_bf16_widen(1, (const uint16_t *)b + (at->tb ? j * at->k + l : l * at->n + j), &y);
                sum += (double)x * y;
            }
            const float rounded = (float)sum;
            if (at->narrow) {
                dpt_bf16_narrow(1, &rounded, (uint16_t *)out + i * at->n + j);
            } else {
                ((float *)out)[i * at->n + j] = rounded;
            }
        }
    }
    return DPT_STATUS_OK;
}

/* Forward and both gradients, in the memory of inputs and not: so many products at least. */
static void ask(const struct optest *test, int least)
{
    const int before = products;
    struct optest with = *test;
    with.card16 = OPTEST_CARD_BIAS;
    optest_run(&with);
    if (products - before < least) {
        fail_msg("%s: %d products of bfloat16, expected %d", test->op, products - before, least);
    }
}

static void plain(void **state)
{
    (void)state;
    const struct dpt_linear_param none = {DPT_ACTIVATION_KIND_NONE, 0};
    ask(&(struct optest){.op = "linear", .param = &none, .nin = 3, .in = {OPTEST_F32(7, 5), OPTEST_F32(9, 5), OPTEST_F32(9)}}, 3);
    ask(&(struct optest){.op = "linear", .param = &none, .nin = 2, .in = {OPTEST_F32(3, 4, 17), OPTEST_F32(2, 17)}}, 3);
}

/*
 * Activations on both sides. They are of what the library has rounded to 16 bits, not of its sums in float: that is half a
 * unit of 8 bits of a number, times the slope, which is never beyond 1.13.
 */
static void activated(void **state)
{
    (void)state;
    for (int kind = DPT_ACTIVATION_KIND_RELU; kind <= DPT_ACTIVATION_KIND_GELU_TANH; kind++) {
        const struct dpt_linear_param kept = {(enum dpt_activation_kind)kind,
                                              dpt_activation_reads_x((enum dpt_activation_kind)kind)};
        const struct dpt_linear_param act = {(enum dpt_activation_kind)kind, 0};
        ask(&(struct optest){.op = "linear", .param = &kept, .nin = 3, .tolerance = 0x1p-9,
                             .in = {OPTEST_F32(7, 5), OPTEST_F32(9, 5), OPTEST_F32(9)}}, 3);
        ask(&(struct optest){.op = "linear_dx", .param = &act, .nin = 3, .tolerance = 0x1p-9,
                             .in = {OPTEST_F32(37, 2, 5), OPTEST_F32(5, 19), OPTEST_F32(37, 2, 19)}}, 1);
    }
}

static void heads(void **state)
{
    (void)state;
    ask(&(struct optest){.op = "linear_qkv", .nin = 3,
                         .in = {OPTEST_F32(3, 5, 6), OPTEST_F32(3, 2, 4, 6), OPTEST_F32(3, 2, 4)}}, 3);
    ask(&(struct optest){.op = "linear_merge", .nin = 3,
                         .in = {OPTEST_F32(3, 5, 2, 4), OPTEST_F32(7, 2, 4), OPTEST_F32(7)}}, 3);
}

/* relu behind a product that is kept in 16 bits: every sign, zeros of both, infinity, and nan, which stays. */
static void relu_of_16_bits(void **state)
{
    (void)state;
    enum { N = 8 };
    const struct dpt_linear_param relu = {DPT_ACTIVATION_KIND_RELU, 0};
    const uint16_t x[N] = {0x3f80, 0xbf80, 0x0000, 0x8000, 0x7f80, 0xff80, 0x7fc0, 0xffc0};
    const uint16_t expected[N] = {0x3f80, 0, 0, 0, 0x7f80, 0, 0x7fc0, 0xffc0};
    const float one = 1.0f;
    uint16_t y[N];
    const struct dpt_type column = {DPT_DTYPE_BF16, 2, {N, 1}}, weight = {DPT_DTYPE_F32, 2, {1, 1}};
    struct dpt_op_types types = {
        .param = &relu, .nin = 2, .in = {column, weight}, .half = DPT_DTYPE_BF16, .narrow = 1u << 0};
    const struct dpt_tensor in[2] = {{column, (void *)x}, {weight, (void *)&one}}, out = {column, y};
    struct dpt_op_call call = {.types = &types, .in = in, .out = &out};
    assert_int_equal(dpt_op_shape(&dpt_op_linear, &types), DPT_STATUS_OK);
    assert_int_equal(types.out[0].dtype, DPT_DTYPE_BF16);
    assert_int_equal(dpt_op_prepare(&dpt_op_linear, &types, DPT_RUN_CPU, 1, NULL, &call.prep), DPT_STATUS_OK);
    call.scratch = aligned_alloc(64, (dpt_op_scratch(&dpt_op_linear, &types, DPT_RUN_CPU, 1, call.prep) + 63) / 64 * 64);
    assert_non_null(call.scratch);
    const int before = products;
    assert_int_equal(dpt_op_call(&dpt_op_linear, DPT_RUN_CPU, &call), DPT_STATUS_OK);
    assert_int_equal(products, before + 1);
    for (int i = 0; i < N; i++) {
        const uint16_t nan = i >= 6 ? 0x8000 : 0; /* the sign of nan is anyone's */
        assert_int_equal(y[i] & ~nan, expected[i] & ~nan);
    }
    free(call.scratch);
    dpt_op_release(&dpt_op_linear, &types, DPT_RUN_CPU, call.prep);
}

/* Over micro-batches the gradient of a weight is added to; fewer rows than were prepared for go another way. */
static void adds_and_falls_back(void **state)
{
    (void)state;
    enum { N = 5, H = 3, K = 2 };
    const struct dpt_linear_dw_param param = {true};
    uint16_t x[N * H], dy[N * K];
    float dw[K * H], expected[K * H], db[K];
    for (int i = 0; i < N * H; i++) {
        const float value = (float)(i % 7 - 3);
        dpt_bf16_narrow(1, &value, &x[i]);
    }
    for (int i = 0; i < N * K; i++) {
        const float value = (float)(i % 5 - 2);
        dpt_bf16_narrow(1, &value, &dy[i]);
    }
    for (int64_t rows = N; rows >= N - 2; rows -= 2) {
        const struct dpt_type tx = {DPT_DTYPE_BF16, 2, {N, H}}, tdy = {DPT_DTYPE_BF16, 2, {N, K}};
        struct dpt_op_types types = {.param = &param, .nin = 2, .in = {tx, tdy}, .half = DPT_DTYPE_BF16};
        assert_int_equal(dpt_op_shape(&dpt_op_linear_dw, &types), DPT_STATUS_OK);
        struct dpt_tensor in[2] = {{tx, x}, {tdy, dy}};
        const struct dpt_tensor out[2] = {{types.out[0], dw}, {types.out[1], db}};
        in[0].type.dim[0] = in[1].type.dim[0] = rows;
        struct dpt_op_call call = {.types = &types, .in = in, .out = out, .add = true};
        assert_int_equal(dpt_op_prepare(&dpt_op_linear_dw, &types, DPT_RUN_CPU, 1, NULL, &call.prep), DPT_STATUS_OK);
        const size_t nbytes = dpt_op_scratch(&dpt_op_linear_dw, &types, DPT_RUN_CPU, 1, call.prep);
        call.scratch = aligned_alloc(64, (nbytes + 63) / 64 * 64);
        assert_non_null(call.scratch);
        for (int o = 0; o < K; o++) {
            for (int h = 0; h < H; h++) {
                dw[o * H + h] = expected[o * H + h] = (float)(o - h);
                for (int64_t n = 0; n < rows; n++) {
                    expected[o * H + h] += (float)((n * H + h) % 7 - 3) * (float)((n * K + o) % 5 - 2);
                }
            }
        }
        const int before = products;
        assert_int_equal(dpt_op_call(&dpt_op_linear_dw, DPT_RUN_CPU, &call), DPT_STATUS_OK);
        assert_int_equal(products - before, rows == N);
        assert_memory_equal(dw, expected, sizeof dw); /* small integers: exact in any order */
        for (int o = 0; o < K; o++) { /* not added to */
            float sum = 0.0f;
            for (int n = 0; n < rows; n++) {
                sum += (float)((n * K + o) % 5 - 2);
            }
            assert_true(db[o] == sum);
        }
        free(call.scratch);
        dpt_op_release(&dpt_op_linear_dw, &types, DPT_RUN_CPU, call.prep);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),
        cmocka_unit_test(activated),
        cmocka_unit_test(heads),
        cmocka_unit_test(relu_of_16_bits),
        cmocka_unit_test(adds_and_falls_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
