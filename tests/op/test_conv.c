/* SPDX-License-Identifier: Apache-2.0 */
#include "op/conv.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "optest.h"

#define PLAIN .stride = {1, 1}, .dilation = {1, 1}, .groups = 1

/* In 16 bits the library of a card rounds y before the bias, and dw. */
static double card16;

static void run(const struct dpt_conv_param *param, struct dpt_type x, struct dpt_type w, bool bias, double flops)
{
    const struct dpt_type b = OPTEST_F32(w.dim[0]);
    optest_run(&(struct optest){
        .op = "conv", .param = param, .nin = bias ? 3 : 2, .in = {x, w, b}, .flops = flops, .tolerance = 1e-4,
        .card16 = card16});
}

#define TYPE(...) ((struct dpt_type)OPTEST_F32(__VA_ARGS__))

static void padding_and_bias(void **state)
{
    (void)state;
    const struct dpt_conv_param same = {PLAIN, .pad = {1, 1}};
    run(&same, TYPE(2, 5, 6, 3), TYPE(4, 3, 3, 3), true, 2 * 5 * 6 * 4 * (3 * 3 * 3 * 2 + 1));
    const struct dpt_conv_param none = {PLAIN};
    run(&none, TYPE(3, 4, 4, 2), TYPE(3, 2, 2, 3), false, 3 * 3 * 2 * 3 * 2 * 3 * 2 * 2);
    const struct dpt_conv_param uneven = {PLAIN, .pad = {0, 2}};
    run(&uneven, TYPE(1, 3, 4, 1), TYPE(1, 1, 3, 2), true, 0);
}

static void one_place(void **state)
{
    (void)state;
    const struct dpt_conv_param none = {PLAIN};
    run(&none, TYPE(3, 5, 4, 6), TYPE(5, 6, 1, 1), true, 0);
    run(&none, TYPE(3, 1, 1, 1), TYPE(1, 1, 1, 1), false, 0);
}

static void stride(void **state)
{
    (void)state;
    const struct dpt_conv_param two = {.stride = {2, 2}, .pad = {1, 1}, .dilation = {1, 1}, .groups = 1};
    run(&two, TYPE(2, 7, 6, 3), TYPE(4, 3, 3, 3), false, 0);
    const struct dpt_conv_param project = {.stride = {2, 2}, .dilation = {1, 1}, .groups = 1};
    run(&project, TYPE(2, 7, 6, 3), TYPE(4, 3, 1, 1), false, 0); /* the last row and column are not read */
    const struct dpt_conv_param first = {.stride = {2, 2}, .pad = {3, 3}, .dilation = {1, 1}, .groups = 1};
    run(&first, TYPE(1, 10, 9, 2), TYPE(3, 2, 7, 7), false, 0); /* windows wider than a third of the rows */
    const struct dpt_conv_param apart = {.stride = {3, 2}, .dilation = {1, 1}, .groups = 1};
    run(&apart, TYPE(2, 8, 5, 2), TYPE(3, 2, 2, 2), true, 0);
}

static void dilation(void **state)
{
    (void)state;
    const struct dpt_conv_param dilated = {.stride = {1, 1}, .pad = {2, 1}, .dilation = {2, 3}, .groups = 1};
    run(&dilated, TYPE(2, 6, 7, 2), TYPE(3, 2, 3, 2), true, 0);
    const struct dpt_conv_param both = {.stride = {2, 1}, .pad = {2, 3}, .dilation = {2, 2}, .groups = 1};
    run(&both, TYPE(2, 6, 7, 2), TYPE(3, 2, 3, 3), false, 0);
}

static void groups(void **state)
{
    (void)state;
    const struct dpt_conv_param two = {.stride = {1, 1}, .pad = {1, 1}, .dilation = {1, 1}, .groups = 2};
    run(&two, TYPE(2, 4, 5, 6), TYPE(4, 3, 3, 3), true, 2 * 4 * 5 * 4 * (3 * 3 * 3 * 2 + 1));
    const struct dpt_conv_param depthwise = {.stride = {2, 1}, .pad = {1, 1}, .dilation = {1, 1}, .groups = 5};
    run(&depthwise, TYPE(2, 4, 5, 5), TYPE(5, 1, 3, 3), false, 0);
    const struct dpt_conv_param multiplier = {.stride = {1, 1}, .pad = {1, 2}, .dilation = {1, 2}, .groups = 3};
    run(&multiplier, TYPE(2, 4, 5, 3), TYPE(6, 1, 3, 3), true, 0);
}

/* Sizes at which the libraries choose their vector kernels. */
static void wide(void **state)
{
    (void)state;
    const struct dpt_conv_param three = {PLAIN, .pad = {1, 1}};
    run(&three, TYPE(2, 7, 9, 16), TYPE(32, 16, 3, 3), false, 0);
    run(&three, TYPE(1, 6, 6, 48), TYPE(16, 48, 3, 3), false, 0);
    const struct dpt_conv_param five = {PLAIN, .pad = {2, 2}};
    run(&five, TYPE(2, 9, 9, 1), TYPE(32, 1, 5, 5), true, 0);
    run(&five, TYPE(2, 9, 9, 3), TYPE(16, 3, 5, 5), true, 0);
    const struct dpt_conv_param two = {.stride = {2, 2}, .pad = {1, 1}, .dilation = {1, 1}, .groups = 1};
    run(&two, TYPE(2, 8, 8, 16), TYPE(32, 16, 3, 3), false, 0);
    const struct dpt_conv_param grouped = {.stride = {1, 1}, .pad = {1, 1}, .dilation = {1, 1}, .groups = 2};
    run(&grouped, TYPE(2, 6, 6, 32), TYPE(32, 16, 3, 3), false, 0);
}

/* Sizes that our own loops serve where the processor has them: odd numbers of rows, runs, places and blocks. */
static void tiles(void **state)
{
    (void)state;
    const struct dpt_conv_param five = {PLAIN, .pad = {2, 2}};
    run(&five, TYPE(1, 3, 4, 10), TYPE(16, 10, 5, 5), true, 0);
    const struct dpt_conv_param rows_apart = {.stride = {1, 2}, .pad = {2, 1}, .dilation = {2, 1}, .groups = 1};
    run(&rows_apart, TYPE(2, 5, 6, 11), TYPE(16, 11, 3, 3), true, 0);
    const struct dpt_conv_param apart = {.stride = {2, 1}, .pad = {2, 2}, .dilation = {2, 2}, .groups = 1};
    run(&apart, TYPE(1, 6, 6, 16), TYPE(16, 16, 3, 3), false, 0);
    const struct dpt_conv_param one = {PLAIN};
    run(&one, TYPE(3, 6, 6, 64), TYPE(16, 64, 1, 1), true, 0);
    const struct dpt_conv_param beyond = {PLAIN, .pad = {3, 3}}; /* places of y that read no image at all */
    run(&beyond, TYPE(1, 2, 1, 16), TYPE(16, 16, 3, 3), true, 0);
}

/* A part of an image has another border behind it than before it. */
static void unlike_borders(void **state)
{
    (void)state;
    const struct dpt_conv_param below = {PLAIN, .pad = {0, 1}, .more = {1, -1}};
    run(&below, TYPE(2, 5, 6, 3), TYPE(4, 3, 3, 3), true, 0);
    run(&below, TYPE(2, 7, 9, 16), TYPE(32, 16, 3, 3), false, 0);
    const struct dpt_conv_param apart = {.stride = {2, 1}, .pad = {2, 0}, .more = {-2, 2}, .dilation = {2, 1}, .groups = 1};
    run(&apart, TYPE(1, 7, 5, 16), TYPE(16, 16, 3, 3), true, 0);
    const struct dpt_conv_param five = {PLAIN, .pad = {2, 2}, .more = {-2, -1}};
    run(&five, TYPE(2, 9, 9, 10), TYPE(32, 10, 5, 5), true, 0);
}

static void fused_relu(void **state)
{
    (void)state;
    const struct dpt_conv_param relu = {PLAIN, .pad = {1, 1}, .act = DPT_ACTIVATION_KIND_RELU};
    run(&relu, TYPE(2, 5, 6, 3), TYPE(4, 3, 3, 3), true, 2 * 5 * 6 * 4 * (3 * 3 * 3 * 2 + 2));
    run(&relu, TYPE(2, 5, 6, 16), TYPE(16, 16, 3, 3), false, 0);
}

static void fill(struct dpt_tensor *tensor, unsigned seed)
{
    float *data = tensor->data;
    for (int64_t i = 0; i < dpt_type_numel(&tensor->type); i++) {
        seed = seed * 1664525u + 1013904223u;
        data[i] = (float)(seed >> 8) * 0x1p-23f - 1.0f;
    }
}

static struct dpt_tensor tensor_of(struct dpt_type type, unsigned seed)
{
    struct dpt_tensor tensor = {type, aligned_alloc(64, (dpt_type_nbytes(&type) + 64) / 64 * 64)};
    assert_non_null(tensor.data);
    fill(&tensor, seed);
    return tensor;
}

/*
 * The kernel `op` on float operands whose first dimension is cut to `rows`, with the library objects of the whole
 * number of rows or with none, against REF.
 */
static void compare_with_ref(const char *name, const struct dpt_conv_param *param, struct dpt_type a, struct dpt_type b,
                             int64_t rows, bool prepare)
{
    const struct dpt_op *op = dpt_op_find(name);
    struct dpt_op_types types = {.param = param, .nin = 2, .in = {a, b}};
    assert_int_equal(op->shape(&types), DPT_STATUS_OK);
    void *prep = NULL;
    if (prepare) {
        assert_int_equal(op->prepare(&types, DPT_RUN_CPU, 1, &prep), DPT_STATUS_OK);
    }
    const size_t nbytes = op->scratch(&types, DPT_RUN_CPU, 1, prep);
    void *scratch = aligned_alloc(64, (nbytes + 64) / 64 * 64);
    const bool dw = strcmp(name, "conv_dw") == 0;
    struct dpt_tensor in[2] = {tensor_of(a, 1), tensor_of(b, 2)};
    struct dpt_tensor got = tensor_of(types.out[0], 3), expected = tensor_of(types.out[0], 4);
    in[0].type.dim[0] = rows;
    if (dw) {
        in[1].type.dim[0] = rows;
    } else {
        got.type.dim[0] = expected.type.dim[0] = rows;
    }
    const struct dpt_op_ctx ctx = {.rows = rows, .micro_rows = rows, .batch_rows = rows};
    struct dpt_op_call call = {
        .types = &types, .in = in, .out = &got, .prep = prep, .scratch = scratch, .ctx = &ctx};
    assert_int_equal(op->run[DPT_RUN_CPU](&call), DPT_STATUS_OK);
    call.out = &expected;
    assert_int_equal(op->run[DPT_RUN_REF](&call), DPT_STATUS_OK);
    for (int64_t i = 0; i < dpt_type_numel(&got.type); i++) {
        const float g = ((float *)got.data)[i], e = ((float *)expected.data)[i];
        if (!(fabsf(g - e) <= 1e-4f)) {
            fail_msg("%s of %lld rows: element %lld: got %g, expected %g", name, (long long)rows, (long long)i, g, e);
        }
    }
    op->release(prep);
    free(scratch);
    free(in[0].data);
    free(in[1].data);
    free(got.data);
    free(expected.data);
}

/* Without library objects, and with those of another number of samples, the matrix products serve; no rows are fine. */
static void other_rows(void **state)
{
    (void)state;
    const struct dpt_conv_param forward = {PLAIN, .pad = {1, 1}, .kernel = {3, 3}, .in = {6, 7}};
    const struct dpt_conv_param strange = {
        .stride = {2, 1}, .pad = {2, 3}, .dilation = {2, 2}, .groups = 2, .kernel = {3, 3}, .in = {6, 7}};
    for (int64_t rows = 0; rows <= 3; rows++) {
        for (int prepare = 0; prepare < 2; prepare++) {
            compare_with_ref("conv", &forward, TYPE(3, 6, 7, 16), TYPE(16, 16, 3, 3), rows, prepare);
            compare_with_ref("conv_dx", &forward, TYPE(3, 6, 7, 16), TYPE(16, 16, 3, 3), rows, prepare);
            compare_with_ref("conv_dw", &forward, TYPE(3, 6, 7, 16), TYPE(3, 6, 7, 16), rows, prepare);
            compare_with_ref("conv", &strange, TYPE(3, 6, 7, 4), TYPE(6, 2, 3, 3), rows, prepare);
            compare_with_ref("conv_dx", &strange, TYPE(3, 3, 9, 6), TYPE(6, 2, 3, 3), rows, prepare);
            compare_with_ref("conv_dw", &strange, TYPE(3, 6, 7, 4), TYPE(3, 3, 9, 6), rows, prepare);
        }
    }
}

/* A relu that makes 0 of nan would hide that a training diverged: in each of the kernels, with channels for each. */
static void relu_keeps_nan(void **state)
{
    (void)state;
    const struct dpt_conv_param relu = {PLAIN, .act = DPT_ACTIVATION_KIND_RELU};
    const int64_t channels[] = {2, 3, 16}, outputs[] = {3, 16, 16};
    for (int i = 0; i < 3; i++) {
        for (int prepare = 0; prepare < 2; prepare++) {
            struct dpt_op_types types = {
                .param = &relu, .nin = 2, .in = {TYPE(1, 4, 4, channels[i]), TYPE(outputs[i], channels[i], 3, 3)}};
            const struct dpt_op *op = dpt_op_find("conv");
            assert_int_equal(op->shape(&types), DPT_STATUS_OK);
            void *prep = NULL;
            if (prepare) {
                assert_int_equal(op->prepare(&types, DPT_RUN_CPU, 1, &prep), DPT_STATUS_OK);
            }
            void *scratch = aligned_alloc(64, (op->scratch(&types, DPT_RUN_CPU, 1, prep) + 64) / 64 * 64);
            struct dpt_tensor in[2] = {tensor_of(types.in[0], 1), tensor_of(types.in[1], 2)};
            struct dpt_tensor y = tensor_of(types.out[0], 3);
            ((float *)in[0].data)[0] = NAN; /* only the first place of y reads it */
            const struct dpt_op_ctx ctx = {.rows = 1, .micro_rows = 1, .batch_rows = 1};
            const struct dpt_op_call call = {
                .types = &types, .in = in, .out = &y, .prep = prep, .scratch = scratch, .ctx = &ctx};
            assert_int_equal(op->run[DPT_RUN_CPU](&call), DPT_STATUS_OK);
            for (int64_t k = 0; k < 4 * outputs[i]; k++) {
                const float got = ((float *)y.data)[k];
                assert_true(k < outputs[i] ? isnan(got) : got >= 0.0f);
            }
            op->release(prep);
            free(scratch);
            free(in[0].data);
            free(in[1].data);
            free(y.data);
        }
    }
}

static void refuses(const struct dpt_conv_param *param, struct dpt_type x, struct dpt_type w, const char *words)
{
    optest_refuses(&(struct optest){.op = "conv", .param = param, .nin = 2, .in = {x, w}}, words);
}

static void refusals(void **state)
{
    (void)state;
    const struct dpt_conv_param plain = {PLAIN}, padded = {PLAIN, .pad = {1, 1}};
    refuses(&plain, TYPE(2, 5, 5, 3), TYPE(4, 2, 3, 3), "x has 3 channels in 1 groups, but w takes 2");
    refuses(&plain, TYPE(2, 5, 2, 3), TYPE(4, 3, 3, 3), "reaches over 3 places along x, but the image with its padding");
    refuses(&padded, TYPE(2, 2, 9, 3), TYPE(4, 3, 5, 3), "reaches over 5 places along y");
    refuses(&plain, TYPE(2, 5, 5, 3), TYPE(4, 3, 0, 3), "0 places along y");
    refuses(&plain, TYPE(2, 5, 5), TYPE(4, 3, 3, 3), "input 0 has 3 dimensions");
    const struct dpt_conv_param groups = {.stride = {1, 1}, .dilation = {1, 1}, .groups = 2};
    refuses(&groups, TYPE(2, 5, 5, 3), TYPE(4, 1, 3, 3), "x has 3 channels, which do not divide into 2 groups");
    refuses(&groups, TYPE(2, 5, 5, 4), TYPE(3, 2, 3, 3), "y has 3 channels, which do not divide into 2 groups");
    const struct dpt_conv_param stop = {.stride = {1, 0}, .dilation = {1, 1}, .groups = 1};
    refuses(&stop, TYPE(2, 5, 5, 3), TYPE(4, 3, 3, 3), "stride of x is 0");
    const struct dpt_conv_param negative = {PLAIN, .pad = {-1, 0}};
    refuses(&negative, TYPE(2, 5, 5, 3), TYPE(4, 3, 3, 3), "pad of y is -1");
    const struct dpt_conv_param tanh_fused = {PLAIN, .act = DPT_ACTIVATION_KIND_TANH};
    refuses(&tanh_fused, TYPE(2, 5, 5, 3), TYPE(4, 3, 3, 3), "cannot be fused");
    const struct dpt_type bias[] = {TYPE(2, 5, 5, 3), TYPE(4, 3, 3, 3), TYPE(3)};
    optest_refuses(&(struct optest){.op = "conv", .param = &plain, .nin = 3, .in = {bias[0], bias[1], bias[2]}},
                   "bias has 3 elements, but w 4 output channels");
    const struct dpt_conv_param back = {PLAIN, .kernel = {3, 3}, .in = {5, 5}};
    optest_refuses(&(struct optest){.op = "conv_dx", .param = &back, .nin = 2, .in = {TYPE(2, 4, 3, 4), TYPE(4, 3, 3, 3)}},
                   "dy has 4 places along y, but y would have 3");
    optest_refuses(&(struct optest){.op = "conv_dw", .param = &back, .nin = 2, .in = {TYPE(2, 5, 5, 3), TYPE(1, 3, 3, 4)}},
                   "x has 2 samples, but dy 1");
}

/* In a build --with-cuda=emulate: convolutions that the library of the card computed. Elsewhere it is not there. */
long emulated_convolutions(void) __attribute__((weak));

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(padding_and_bias),
        cmocka_unit_test(one_place),
        cmocka_unit_test(stride),
        cmocka_unit_test(dilation),
        cmocka_unit_test(groups),
        cmocka_unit_test(wide),
        cmocka_unit_test(tiles),
        cmocka_unit_test(unlike_borders),
        cmocka_unit_test(fused_relu),
        cmocka_unit_test(other_rows),
        cmocka_unit_test(relu_keeps_nan),
        cmocka_unit_test(refusals),
    };
    /* On a card twice: by its library, where that is there, and by the kernels of dpt. */
    int failed = 0;
    if (optest_convolutions(DPT_DEV_CONVOLUTION_OWN)) {
        failed = cmocka_run_group_tests_name("kernels of dpt", tests, NULL, NULL);
    }
    const long before = emulated_convolutions ? emulated_convolutions() : 0;
    optest_convolutions(DPT_DEV_CONVOLUTION_AUTO);
    card16 = OPTEST_CARD_BIAS;
    failed += cmocka_run_group_tests(tests, NULL, NULL);
    if (emulated_convolutions && (before != 0 || emulated_convolutions() == 0)) {
        print_error("the library of the card computed %ld convolutions where it was not asked, and %ld where it was\n", before,
                    emulated_convolutions() - before);
        failed++;
    }
    return failed;
}
