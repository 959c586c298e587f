/* SPDX-License-Identifier: Apache-2.0 */

/* What is kept in 16 bits, what is not, and that gradients and memory are what that says. */

#include "../exec/rig.h"

#include <math.h>
#include <string.h>

#include "graph/build.h"
#include "interpret.h"
#include "op/loss.h"

enum { ROWS = 6, CLASSES = 3, WIDTH = 12, BLOCKS = 4 };

/* Residual blocks with what has statistics, scratch, views and several readers; with its loss, metrics and gradient. */
static struct dpt_graph *net_new(enum dpt_dtype half, enum dpt_recompute recompute)
{
    static const int64_t features = 7;
    struct dpt_graph *graph = dpt_graph_new(DPT_DTYPE_F32, ROWS, true);
    const struct dpt_cross_entropy_param param = {.smoothing = 0.1};
    char layer[32];
    graph->input = dpt_graph_input(graph, "input", DPT_DTYPE_F32, 1, &features);
    graph->target = dpt_graph_input(graph, "target", DPT_DTYPE_I32, 0, NULL);
    int x = dpt_build_reshape(graph, "same", graph->input, 1, &features);
    x = dpt_build_linear(graph, "in", x, WIDTH, false);
    for (int b = 0; b < BLOCKS; b++) {
        snprintf(layer, sizeof layer, "body.%d", b);
        int y = dpt_build_layer_norm(graph, layer, x, 1e-5);
        snprintf(layer, sizeof layer, "body.%d.up", b);
        y = dpt_build_linear(graph, layer, y, 4 * WIDTH, true);
        y = dpt_build_activation(graph, layer, y, DPT_ACTIVATION_KIND_GELU_TANH);
        snprintf(layer, sizeof layer, "body.%d.down", b);
        y = dpt_build_linear(graph, layer, y, WIDTH, true);
        y = dpt_build_dropout(graph, layer, y, 0.1);
        snprintf(layer, sizeof layer, "body.%d.join", b);
        x = dpt_build_combine(graph, layer, "add", 2, (const int[]){x, y});
    }
    x = dpt_build_linear(graph, "head", x, CLASSES, true);
    graph->output = dpt_build_reshape(graph, "flat", x, 1, (const int64_t[]){CLASSES});
    graph->layer = "loss";
    graph->loss = dpt_graph_add(graph, "cross_entropy", &param, 2, (const int[]){graph->output, graph->target});
    graph->metric = dpt_graph_add(graph, "class_metrics", NULL, 3,
                                  (const int[]){graph->output, graph->target, graph->loss});
    if (graph->output < 0 || graph->loss < 0 || graph->metric < 0) {
        fail_msg("%s", dpt_error_text());
    }
    graph->value[graph->metric].kind = DPT_VALUE_KIND_METRIC;
    EXPECT_OK(dpt_graph_fuse(graph));
    EXPECT_OK(dpt_graph_gradient(graph));
    EXPECT_OK(dpt_graph_recompute(graph, recompute, NULL));
    if (half != DPT_DTYPE_F32) {
        dpt_graph_precision(graph, half);
    }
    return graph;
}

/* True for what stays in 32 bits, by name and kind. */
static bool is_wide(const struct dpt_graph *graph, int value)
{
    const struct dpt_value *at = &graph->value[value];
    const char *name = at->name;
    const bool statistic = strstr(name, "layer_norm.1") || strstr(name, "layer_norm.2");
    return at->kind != DPT_VALUE_KIND_ACTIVATION || !at->batch || statistic || value == graph->loss ||
           strncmp(name, "same.", 5) == 0 || strcmp(name, "head.linear") == 0 || strcmp(name, "flat.reshape") == 0;
}

static void keep(enum dpt_dtype half)
{
    struct dpt_graph *graph = net_new(half, DPT_RECOMPUTE_NONE), *plain = net_new(DPT_DTYPE_F32, DPT_RECOMPUTE_NONE);
    int narrow = 0;
    EXPECT_OK(dpt_graph_check(graph));
    assert_int_equal(graph->nvalues, plain->nvalues);
    assert_true(dpt_graph_hash(graph) != dpt_graph_hash(plain));
    for (int v = 0; v < graph->nvalues; v++) {
        const enum dpt_dtype got = graph->value[v].type.dtype, plainly = plain->value[v].type.dtype;
        const bool wide = plainly != DPT_DTYPE_F32 || is_wide(graph, v);
        narrow += got == half;
        if (got != (wide ? plainly : half)) {
            fail_msg("%s is kept as %s", graph->value[v].name, dpt_dtype_name(got));
        }
    }
    assert_true(narrow > 10 * BLOCKS); /* five and more forward, as many backward, a block */
    dpt_graph_free(graph);
    dpt_graph_free(plain);
}

static void keeps_what_counts_exact(void **state)
{
    (void)state;
    keep(DPT_DTYPE_BF16);
    keep(DPT_DTYPE_F16);
}

/*
 * Gradients are as good as their operands: every number on the way is off by `unit` at most, and there are about ten on the
 * way through a block and back, with signs that differ. They are not those of float either: something was rounded.
 */
static void agree(enum dpt_dtype half, double unit)
{
    struct dpt_graph *graph = net_new(half, DPT_RECOMPUTE_NONE), *plain = net_new(DPT_DTYPE_F32, DPT_RECOMPUTE_NONE);
    struct interpret *a = interpret_new(graph, CLASSES), *b = interpret_new(plain, CLASSES);
    interpret_run(a, DPT_PHASE_WEIGHT_GRADIENT);
    interpret_run(b, DPT_PHASE_WEIGHT_GRADIENT);
    assert_true(fabs(interpret_loss(a) - interpret_loss(b)) < 2.0 * unit * interpret_loss(b));
    for (int v = 0; v < plain->nvalues; v++) {
        const int g = plain->value[v].gradient;
        double square = 0.0, distance = 0.0;
        if (plain->value[v].kind != DPT_VALUE_KIND_PARAM) {
            continue;
        }
        for (int64_t i = 0; i < dpt_type_numel(&plain->value[g].type); i++) {
            const double exact = interpret_get(b, g, i), got = interpret_get(a, g, i);
            square += exact * exact;
            distance += (got - exact) * (got - exact);
        }
        if (!(distance > 0.0 && sqrt(distance) < unit * sqrt(10.0 * BLOCKS) * sqrt(square))) {
            fail_msg("%s: %g from the gradient in float, whose norm is %g", plain->value[g].name, sqrt(distance),
                     sqrt(square));
        }
    }
    interpret_free(a);
    interpret_free(b);
    dpt_graph_free(graph);
    dpt_graph_free(plain);
}

static void gradients_agree_with_float(void **state)
{
    (void)state;
    agree(DPT_DTYPE_BF16, 0x1p-8);
    agree(DPT_DTYPE_F16, 0x1p-11);
}

/* What is computed again is rounded again, the same. */
static void recomputes_the_same_bits(void **state)
{
    (void)state;
    struct dpt_graph *graph = net_new(DPT_DTYPE_BF16, DPT_RECOMPUTE_FULL);
    struct dpt_graph *plain = net_new(DPT_DTYPE_BF16, DPT_RECOMPUTE_NONE);
    EXPECT_OK(dpt_graph_check(graph));
    assert_true(graph->nnodes > plain->nnodes);
    struct interpret *a = interpret_new(graph, CLASSES), *b = interpret_new(plain, CLASSES);
    interpret_run(a, DPT_PHASE_WEIGHT_GRADIENT);
    interpret_run(b, DPT_PHASE_WEIGHT_GRADIENT);
    for (int v = 0; v < plain->nvalues; v++) {
        if (plain->value[v].kind == DPT_VALUE_KIND_GRADIENT) {
            assert_memory_equal(a->tensor[v].data, b->tensor[v].data, dpt_type_nbytes(&plain->value[v].type));
        }
    }
    interpret_free(a);
    interpret_free(b);
    dpt_graph_free(graph);
    dpt_graph_free(plain);
}

#define LARGE "[model]\ntype = cnn\nchannels = 16 32\nkernel = 3\nhidden = 64\n" RIG_DATA("24 24 3", "5") RIG_BATCH("45", "1")

/* Half the bytes of activations; the state takes what it took. */
static void halves_activations(void **state)
{
    (void)state;
    struct rig *narrow = rig_new(RIG_BF16 LARGE RIG_SGD, NULL, NULL, DPT_RUN_CPU);
    struct rig *wide = rig_new(RIG_FP32 LARGE RIG_SGD, NULL, NULL, DPT_RUN_CPU);
    const struct dpt_plan_memory *n = &narrow->plan->memory, *w = &wide->plan->memory;
    assert_true(n->params == w->params && n->gradients == w->gradients && n->slots == w->slots);
    if (!((double)n->activations < 0.55 * (double)w->activations)) {
        fail_msg("%lld bytes of activations in 16 bits, %lld in 32", (long long)n->activations,
                 (long long)w->activations);
    }
    rig_free(narrow);
    rig_free(wide);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_what_counts_exact),
        cmocka_unit_test(gradients_agree_with_float),
        cmocka_unit_test(recomputes_the_same_bits),
        cmocka_unit_test(halves_activations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
