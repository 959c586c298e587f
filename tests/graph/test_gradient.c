/* SPDX-License-Identifier: Apache-2.0 */

/* The backward pass of small nets, held against finite differences, and what it must not compute. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "graph/build.h"
#include "interpret.h"
#include "op/linear.h"
#include "op/loss.h"

enum { ROWS = 4, CLASSES = 3 };

static const struct dpt_build_batch_norm norm = {.eps = 1e-5, .momentum = 0.1};

/* A graph with its samples: a vector of 5, or images of 6 x 5 x 2. */
static struct dpt_graph *begin(bool images, int *x)
{
    struct dpt_graph *graph = dpt_graph_new(DPT_DTYPE_F64, ROWS, true);
    const int64_t features = 5, image[3] = {6, 5, 2};
    *x = images ? dpt_graph_input(graph, "input", DPT_DTYPE_F64, 3, image)
                : dpt_graph_input(graph, "input", DPT_DTYPE_F64, 1, &features);
    graph->input = *x;
    return graph;
}

/* Cross-entropy of y[b,CLASSES] and the gradient; the graph must be sound. */
static void finish(struct dpt_graph *graph, int y)
{
    if (y < 0) {
        fail_msg("%s", dpt_error_text());
    }
    const struct dpt_cross_entropy_param param = {.smoothing = 0.1};
    graph->output = y;
    graph->target = dpt_graph_input(graph, "target", DPT_DTYPE_I32, 0, NULL);
    graph->layer = "loss";
    graph->loss = dpt_graph_add(graph, "cross_entropy", &param, 2, (const int[]){y, graph->target});
    assert_true(graph->loss >= 0);
    if (dpt_graph_gradient(graph) != DPT_STATUS_OK || dpt_graph_check(graph) != DPT_STATUS_OK) {
        fail_msg("%s", dpt_error_text());
    }
}

static int count_nodes(const struct dpt_graph *graph, const char *op)
{
    int count = 0;
    for (int n = 0; n < graph->nnodes; n++) {
        count += strcmp(graph->node[n].op->name, op) == 0;
    }
    return count;
}

static void mlp(void **state)
{
    (void)state;
    int x;
    struct dpt_graph *graph = begin(false, &x);
    int y = dpt_build_linear(graph, "fc1", x, 7, true);
    y = dpt_build_activation(graph, "fc1", y, DPT_ACTIVATION_KIND_GELU);
    y = dpt_build_layer_norm(graph, "norm", y, 1e-5);
    y = dpt_build_dropout(graph, "norm", y, 0.3);
    y = dpt_build_linear(graph, "fc2", y, 6, false);
    y = dpt_build_activation(graph, "fc2", y, DPT_ACTIVATION_KIND_TANH);
    finish(graph, dpt_build_linear(graph, "fc3", y, CLASSES, true));
    interpret_check_gradient(graph, CLASSES);
    /* Nobody needs the gradient of the samples. */
    assert_int_equal(count_nodes(graph, "linear_dw"), 3); /* which give the gradients of their biases, too */
    assert_int_equal(count_nodes(graph, "linear_dx"), 2);
    dpt_graph_free(graph);
}

static void cnn(void **state)
{
    (void)state;
    int x;
    struct dpt_graph *graph = begin(true, &x);
    const struct dpt_build_conv conv1 = {.filters = 4, .kernel = {3, 3}, .pad = {1, 1}, .bias = true};
    const struct dpt_build_conv conv2 = {.filters = 6, .kernel = {2, 3}, .pad = {1, 1}, .stride = {1, 2}, .groups = 2};
    const struct dpt_build_pool pool = {.kernel = {2, 2}};
    int y = dpt_build_conv(graph, "conv1", x, &conv1);
    y = dpt_build_activation(graph, "conv1", y, DPT_ACTIVATION_KIND_RELU);
    y = dpt_build_max_pool(graph, "conv1", y, &pool);
    y = dpt_build_conv(graph, "conv2", y, &conv2);
    y = dpt_build_activation(graph, "conv2", y, DPT_ACTIVATION_KIND_SILU);
    y = dpt_build_avg_pool(graph, "conv2", y, &(struct dpt_build_pool){.kernel = {2, 1}});
    y = dpt_build_flatten(graph, "flatten", y);
    finish(graph, dpt_build_linear(graph, "fc", y, CLASSES, true));
    interpret_check_gradient(graph, CLASSES);
    assert_int_equal(count_nodes(graph, "conv_dw"), 2);
    assert_int_equal(count_nodes(graph, "conv_dx"), 1);
    dpt_graph_free(graph);
}

/* y is used by the branch and by the shortcut: its gradient is a sum. */
static void residual_block(void **state)
{
    (void)state;
    int x;
    struct dpt_graph *graph = begin(true, &x);
    const struct dpt_build_conv wide = {.filters = 4, .kernel = {3, 3}, .pad = {1, 1}};
    const struct dpt_build_conv half = {.filters = 5, .kernel = {3, 3}, .pad = {1, 1}, .stride = {2, 2}};
    const struct dpt_build_conv point = {.filters = 5, .kernel = {1, 1}, .stride = {2, 2}};
    int y = dpt_build_conv(graph, "conv1", x, &wide);
    y = dpt_build_batch_norm(graph, "bn1", y, &norm);
    y = dpt_build_activation(graph, "bn1", y, DPT_ACTIVATION_KIND_RELU);
    for (int block = 0; block < 2; block++) {
        const bool down = block == 1;
        graph->layer = "";
        const char *name = down ? "block2" : "block1";
        int branch = dpt_build_conv(graph, dpt_arena_printf(graph->arena, "%s.conv", name), y, down ? &half : &wide);
        branch = dpt_build_batch_norm(graph, dpt_arena_printf(graph->arena, "%s.bn", name), branch, &norm);
        int shortcut = y;
        if (down) {
            shortcut = dpt_build_conv(graph, "block2.downsample.0", y, &point);
            shortcut = dpt_build_batch_norm(graph, "block2.downsample.1", shortcut, &norm);
        }
        y = dpt_build_combine(graph, name, "add", 2, (const int[]){branch, shortcut});
        y = dpt_build_activation(graph, name, y, DPT_ACTIVATION_KIND_RELU);
    }
    y = dpt_build_global_pool(graph, "pool", y);
    finish(graph, dpt_build_linear(graph, "fc", y, CLASSES, true));
    interpret_check_gradient(graph, CLASSES);
    dpt_graph_free(graph);
}

static void branches(void **state)
{
    (void)state;
    int x;
    struct dpt_graph *graph = begin(false, &x);
    const int a = dpt_build_linear(graph, "a", x, 3, true);
    const int b_in = dpt_build_linear(graph, "b", x, 4, true);
    const int b = dpt_build_activation(graph, "b", b_in, DPT_ACTIVATION_KIND_SIGMOID);
    const int c = dpt_build_linear(graph, "c", a, 4, false);
    const int product = dpt_build_combine(graph, "product", "mul", 3, (const int[]){b, c, b});
    const int all = dpt_build_combine(graph, "all", "concat", 4, (const int[]){a, product, x, b});
    finish(graph, dpt_build_linear(graph, "fc", all, CLASSES, true));
    interpret_check_gradient(graph, CLASSES);
    dpt_graph_free(graph);
}

/* One weight in two places: its gradient is a sum too, of the weight-gradient phase. */
static void shared_parameter(void **state)
{
    (void)state;
    int x;
    struct dpt_graph *graph = begin(false, &x);
    const struct dpt_linear_param plain = {DPT_ACTIVATION_KIND_NONE, 0};
    const int64_t square[2] = {5, 5};
    const struct dpt_init init = {DPT_INIT_KIND_NORMAL, 0.4};
    const int w = dpt_graph_param(graph, "w", init, true, 2, square);
    int y = x;
    for (int i = 0; i < 3; i++) {
        graph->layer = "twice";
        y = dpt_graph_add(graph, "linear", &plain, 2, (const int[]){y, w});
        y = dpt_build_activation(graph, "tanh", y, DPT_ACTIVATION_KIND_TANH);
    }
    finish(graph, dpt_build_linear(graph, "fc", y, CLASSES, true));
    interpret_check_gradient(graph, CLASSES);
    const struct dpt_value *gradient = &graph->value[graph->value[w].gradient];
    const struct dpt_node *sum = &graph->node[gradient->producer];
    assert_string_equal(gradient->name, "w.grad");
    assert_string_equal(sum->op->name, "add");
    assert_int_equal(sum->phase, DPT_PHASE_WEIGHT_GRADIENT);
    assert_false(gradient->batch);
    dpt_graph_free(graph);
}

/* In each backward layer what the weights need comes before what the layer below needs. */
static void weight_gradients_come_first(void **state)
{
    (void)state;
    int x;
    struct dpt_graph *graph = begin(true, &x);
    const struct dpt_build_conv conv = {.filters = 3, .kernel = {3, 3}};
    int y = dpt_build_conv(graph, "conv1", x, &conv);
    y = dpt_build_batch_norm(graph, "bn1", y, &norm);
    y = dpt_build_flatten(graph, "flatten", y);
    finish(graph, dpt_build_linear(graph, "fc", y, CLASSES, true));
    const char *expected[] = {"cross_entropy_dx", "linear_dw",     "linear_dx",     "reshape",
                              "batch_grad_stat",  "batch_norm_dw", "batch_norm_dx", "conv_dw"};
    const enum dpt_phase input = DPT_PHASE_INPUT_GRADIENT, weight = DPT_PHASE_WEIGHT_GRADIENT;
    const enum dpt_phase phase[] = {input, weight, input, input, input, weight, input, weight};
    int n = 0;
    while (graph->node[n].phase == DPT_PHASE_FORWARD) {
        n++;
    }
    const int count = sizeof expected / sizeof expected[0];
    assert_int_equal(graph->nnodes - n, count);
    for (int i = 0; i < count; i++, n++) {
        const struct dpt_node *node = &graph->node[n];
        assert_string_equal(node->op->name, expected[i]);
        assert_int_equal(node->phase, phase[i]);
    }
    dpt_graph_free(graph);
}

/* Running statistics: gradients of buffers, computed forward, not reached by the loss. */
static void batch_norm_moves_its_buffers(void **state)
{
    (void)state;
    int x;
    struct dpt_graph *graph = begin(true, &x);
    int y = dpt_build_batch_norm(graph, "bn", x, &norm);
    y = dpt_build_flatten(graph, "flatten", y);
    finish(graph, dpt_build_linear(graph, "fc", y, CLASSES, true));
    interpret_check_gradient(graph, CLASSES);
    const int mean = dpt_graph_find(graph, "bn.running_mean"), share = dpt_graph_find(graph, "bn.running_mean.grad");
    assert_true(mean >= 0 && share >= 0);
    assert_int_equal(graph->value[mean].kind, DPT_VALUE_KIND_BUFFER);
    assert_int_equal(graph->value[mean].gradient, share);
    assert_int_equal(graph->value[share].kind, DPT_VALUE_KIND_GRADIENT);
    assert_int_equal(graph->node[graph->value[share].producer].phase, DPT_PHASE_FORWARD);
    /* No gradient of the samples, although batch norm is the first layer. */
    assert_int_equal(count_nodes(graph, "batch_norm_dx"), 0);
    struct interpret *run = interpret_new(graph, CLASSES);
    interpret_run(run, DPT_PHASE_FORWARD);
    double sum = 0.0;
    for (int64_t e = 0; e < ROWS * 6 * 5; e++) {
        sum += interpret_get(run, x, 2 * e + 1);
    }
    assert_float_equal(interpret_get(run, share, 1), sum / (ROWS * 6 * 5), 1e-12);
    interpret_free(run);
    dpt_graph_free(graph);
}

static void a_parameter_without_effect_is_refused(void **state)
{
    (void)state;
    int x;
    struct dpt_graph *graph = begin(false, &x);
    const int y = dpt_build_linear(graph, "fc", x, CLASSES, true);
    assert_true(dpt_build_linear(graph, "lost", x, 2, true) >= 0);
    graph->output = y;
    graph->target = dpt_graph_input(graph, "target", DPT_DTYPE_I32, 0, NULL);
    const struct dpt_cross_entropy_param param = {.smoothing = 0.0};
    graph->loss = dpt_graph_add(graph, "cross_entropy", &param, 2, (const int[]){y, graph->target});
    assert_int_equal(dpt_graph_gradient(graph), DPT_STATUS_USAGE);
    assert_non_null(strstr(dpt_error_text(), "lost.weight: the loss does not depend on"));
    dpt_graph_free(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mlp),
        cmocka_unit_test(cnn),
        cmocka_unit_test(residual_block),
        cmocka_unit_test(branches),
        cmocka_unit_test(shared_parameter),
        cmocka_unit_test(weight_gradients_come_first),
        cmocka_unit_test(batch_norm_moves_its_buffers),
        cmocka_unit_test(a_parameter_without_effect_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
