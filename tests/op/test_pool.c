/* SPDX-License-Identifier: Apache-2.0 */
#include "op/pool.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "optest.h"

#define TYPE(...) ((struct dpt_type)OPTEST_F32(__VA_ARGS__))

static const struct dpt_pool_param half = {.kernel = {2, 2}, .stride = {2, 2}};
static const struct dpt_pool_param none = {.kernel = {0, 0}};

/* Windows that tile, leave gaps, overlap, cross the border. */
static const struct {
    struct dpt_pool_param param;
    int64_t y, x;
} shapes[] = {
    {{.kernel = {2, 2}, .stride = {2, 2}}, 6, 4},
    {{.kernel = {2, 2}, .stride = {2, 2}}, 7, 5},
    {{.kernel = {2, 2}, .stride = {1, 1}}, 4, 5},
    {{.kernel = {2, 2}, .stride = {3, 2}}, 7, 6},
    {{.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}}, 7, 8},
    {{.kernel = {3, 2}, .stride = {3, 2}, .pad = {1, 0}}, 5, 6},
    {{.kernel = {2, 3}, .stride = {2, 3}, .pad = {1, 2}}, 5, 7},
    {{.kernel = {1, 1}, .stride = {2, 2}}, 3, 3},
    {{.kernel = {4, 5}, .stride = {1, 1}}, 4, 5},
    {{.kernel = {3, 3}, .stride = {2, 1}, .pad = {0, 1}, .more = {1, -1}}, 6, 7}, /* a part of an image */
};

enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static void maximum(void **state)
{
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        const int64_t y = shapes[i].y, x = shapes[i].x;
        optest_run(&(struct optest){.op = "max_pool", .param = &shapes[i].param, .nin = 1, .in = {TYPE(2, y, x, 3)}});
        optest_run(&(struct optest){.op = "max_pool", .param = &shapes[i].param, .nin = 1, .in = {TYPE(3, y, x, 19)}});
        optest_run(&(struct optest){.op = "max_pool", .param = &shapes[i].param, .nin = 1, .in = {TYPE(2, y, x, 16)}});
    }
    optest_run(&(struct optest){
        .op = "max_pool", .param = &half, .nin = 1, .in = {TYPE(2, 4, 4, 16)}, .flops = 2 * 2 * 2 * 16 * 4});
}

static void average(void **state)
{
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        const int64_t y = shapes[i].y, x = shapes[i].x;
        optest_run(&(struct optest){.op = "avg_pool", .param = &shapes[i].param, .nin = 1, .in = {TYPE(2, y, x, 3)}});
        optest_run(&(struct optest){.op = "avg_pool", .param = &shapes[i].param, .nin = 1, .in = {TYPE(3, y, x, 19)}});
        optest_run(&(struct optest){.op = "avg_pool", .param = &shapes[i].param, .nin = 1, .in = {TYPE(2, y, x, 16)}});
    }
}

static void whole_image(void **state)
{
    (void)state;
    optest_run(&(struct optest){
        .op = "global_pool", .param = &none, .nin = 1, .in = {TYPE(3, 4, 5, 7)}, .flops = 3 * 4 * 5 * 7});
    optest_run(&(struct optest){.op = "global_pool", .param = &none, .nin = 1, .in = {TYPE(2, 1, 1, 70)}});
    optest_run(&(struct optest){.op = "global_pool", .param = &none, .nin = 1, .in = {TYPE(2, 3, 2, 24)}});
}

/* Of equal values the first counts; a number that is not one is never hidden; padding never wins. */
static void ties_and_nan(void **state)
{
    (void)state;
    const struct dpt_pool_param padded = {.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}};
    const float nan = NAN;
    const struct {
        const struct dpt_pool_param *param;
        float x[4];
        float y;
        int at;
    } cases[] = {
        {&half, {1, 1, 1, 1}, 1, 0},
        {&half, {0, 2, 2, 1}, 2, 1},
        {&half, {0, nan, 2, 1}, nan, 1},
        {&half, {nan, 3, 2, 1}, nan, 0},
        {&half, {0, 3, 2, nan}, nan, 3},
        {&padded, {-1, -2, -3, -4}, -1, 4},
        {&padded, {-5, nan, -3, -4}, nan, 5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (enum dpt_run run = DPT_RUN_REF; run <= DPT_RUN_CPU; run++) {
            float x[4 * 17], y[17];
            uint8_t at[17];
            for (int k = 0; k < 4 * 17; k++) {
                x[k] = cases[i].x[k / 17];
            }
            const struct dpt_tensor in = {TYPE(1, 2, 2, 17), x};
            const struct dpt_tensor out[2] = {{TYPE(1, 1, 1, 17), y},
                                              {{DPT_DTYPE_U8, 4, {1, 1, 1, 17}}, at}};
            const struct dpt_op_ctx ctx = {.rows = 1, .micro_rows = 1, .batch_rows = 1};
            optest_call("max_pool", run, cases[i].param, 1, &in, 2, out, &ctx);
            for (int k = 0; k < 17; k++) {
                assert_int_equal(at[k], cases[i].at);
                assert_true(isnan(cases[i].y) ? isnan(y[k]) : y[k] == cases[i].y);
            }
        }
    }
}

static void no_rows(void **state)
{
    (void)state;
    const struct dpt_op_ctx ctx = {.rows = 0, .micro_rows = 4, .batch_rows = 4};
    float nothing[1];
    uint8_t at[1];
    const struct dpt_tensor in = {TYPE(0, 4, 4, 3), nothing};
    const struct dpt_tensor max[2] = {{TYPE(0, 2, 2, 3), nothing}, {{DPT_DTYPE_U8, 4, {0, 2, 2, 3}}, at}};
    const struct dpt_tensor mean = {TYPE(0, 3), nothing};
    optest_call("max_pool", DPT_RUN_CPU, &half, 1, &in, 2, max, &ctx);
    optest_call("avg_pool", DPT_RUN_CPU, &half, 1, &in, 1, max, &ctx);
    optest_call("global_pool", DPT_RUN_CPU, &none, 1, &in, 1, &mean, &ctx);
    const struct dpt_pool_param back = {.kernel = {2, 2}, .stride = {2, 2}, .in = {4, 4}};
    const struct dpt_tensor *const dy = max;
    optest_call("max_pool_dx", DPT_RUN_CPU, &back, 2, dy, 1, &in, &ctx);
    optest_call("avg_pool_dx", DPT_RUN_CPU, &back, 1, dy, 1, &in, &ctx);
    optest_call("global_pool_dx", DPT_RUN_CPU, &back, 1, &mean, 1, &in, &ctx);
}

static void refuses(const char *op, struct dpt_pool_param param, struct dpt_type x, const char *words)
{
    optest_refuses(&(struct optest){.op = op, .param = &param, .nin = 1, .in = {x}}, words);
}

static void refusals(void **state)
{
    (void)state;
    const struct dpt_type x = TYPE(2, 4, 6, 3);
    refuses("max_pool", (struct dpt_pool_param){.kernel = {5, 2}, .stride = {1, 1}}, x, "the window has 5 places along y");
    refuses("avg_pool", (struct dpt_pool_param){.kernel = {2, 0}, .stride = {1, 1}}, x, "the window has 0 places along x");
    refuses("max_pool", (struct dpt_pool_param){.kernel = {2, 2}, .stride = {1, 0}}, x, "stride of x is 0");
    refuses("max_pool", (struct dpt_pool_param){.kernel = {2, 2}, .stride = {1, 1}, .pad = {2, 0}}, x, "pad of y is 2");
    refuses("max_pool", (struct dpt_pool_param){.kernel = {17, 17}, .stride = {1, 1}}, TYPE(1, 20, 20, 1),
            "expected at most 256 in all");
    refuses("max_pool", half, TYPE(2, 4, 6), "input 0 has 3 dimensions");
    refuses("global_pool", none, TYPE(2, 0, 6, 1), "the image has 0 x 6 places");
    refuses("avg_pool_dx", (struct dpt_pool_param){.kernel = {2, 2}, .stride = {2, 2}, .in = {10, 12}}, x,
            "dy has 4 places along y, but y would have 5");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maximum),      cmocka_unit_test(average), cmocka_unit_test(whole_image),
        cmocka_unit_test(ties_and_nan), cmocka_unit_test(no_rows), cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
