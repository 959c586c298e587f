/* SPDX-License-Identifier: Apache-2.0 */

/* A fused graph computes what the plain one does: outputs, loss, every gradient. */

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "graph/build.h"
#include "interpret.h"
#include "op/linear.h"
#include "op/loss.h"
#include "op/rms_norm.h"

enum { ROWS = 5, CLASSES = 4 };

static const struct dpt_build_batch_norm norm = {.eps = 1e-5, .momentum = 0.1};

typedef int body_fn(struct dpt_graph *graph, int x);

static struct dpt_graph *make(body_fn *body, bool training, bool fuse)
{
    struct dpt_graph *graph = dpt_graph_new(DPT_DTYPE_F64, ROWS, training);
    const int64_t image[3] = {8, 9, 2};
    graph->input = dpt_graph_input(graph, "input", DPT_DTYPE_F64, 3, image);
    int y = body(graph, graph->input);
    y = dpt_build_flatten(graph, "flatten", y);
    graph->output = dpt_build_linear(graph, "out", y, CLASSES, true);
    assert_true(graph->output >= 0);
    graph->target = dpt_graph_input(graph, "target", DPT_DTYPE_I32, 0, NULL);
    const struct dpt_cross_entropy_param param = {.smoothing = 0.0};
    graph->layer = "loss";
    graph->loss = dpt_graph_add(graph, "cross_entropy", &param, 2, (const int[]){graph->output, graph->target});
    if ((fuse && dpt_graph_fuse(graph) != DPT_STATUS_OK) ||
        (training && dpt_graph_gradient(graph) != DPT_STATUS_OK) ||
        (training && fuse && dpt_graph_fuse_gradient(graph, NULL) != DPT_STATUS_OK) ||
        (fuse && dpt_graph_fuse_norms(graph) != DPT_STATUS_OK) ||
        dpt_graph_check(graph) != DPT_STATUS_OK) {
        fail_msg("%s", dpt_error_text());
    }
    return graph;
}

static void assert_same_value(const struct interpret *a, int in_a, const struct interpret *b, int in_b)
{
    assert_true(in_a >= 0 && in_b >= 0);
    assert_true(dpt_type_equal(&a->tensor[in_a].type, &b->tensor[in_b].type));
    for (int64_t e = 0; e < dpt_type_numel(&a->tensor[in_a].type); e++) {
        const double plain = interpret_get(a, in_a, e), fused = interpret_get(b, in_b, e);
        if (!(fabs(plain - fused) <= 1e-13 + 1e-12 * fabs(plain))) {
            fail_msg("%s[%lld]: %.17g, fused %.17g", a->graph->value[in_a].name, (long long)e, plain, fused);
        }
    }
}

/* Compares the two forms and says how many forward nodes each has. */
static void assert_same(body_fn *body, bool training, int *plain_nodes, int *fused_nodes)
{
    struct dpt_graph *plain = make(body, training, false), *fused = make(body, training, true);
    struct interpret *a = interpret_new(plain, CLASSES), *b = interpret_new(fused, CLASSES);
    interpret_run(a, DPT_PHASE_WEIGHT_GRADIENT);
    interpret_run(b, DPT_PHASE_WEIGHT_GRADIENT);
    assert_same_value(a, plain->output, b, fused->output);
    assert_same_value(a, plain->loss, b, fused->loss);
    int gradients = 0;
    for (int i = 0; i < plain->nvalues; i++) {
        if (plain->value[i].kind == DPT_VALUE_KIND_GRADIENT) {
            assert_same_value(a, i, b, dpt_graph_find(fused, plain->value[i].name));
            gradients++;
        }
    }
    assert_true(!training || gradients > 0);
    *plain_nodes = *fused_nodes = 0;
    for (int n = 0; n < plain->nnodes; n++) {
        *plain_nodes += plain->node[n].phase == DPT_PHASE_FORWARD;
    }
    for (int n = 0; n < fused->nnodes; n++) {
        *fused_nodes += fused->node[n].phase == DPT_PHASE_FORWARD;
    }
    interpret_free(a);
    interpret_free(b);
    dpt_graph_free(plain);
    dpt_graph_free(fused);
}

static void assert_saves(body_fn *body, int nodes)
{
    for (int training = 0; training < 2; training++) {
        int plain, fused;
        assert_same(body, training != 0, &plain, &fused);
        assert_int_equal(plain - fused, nodes);
    }
}

static int conv(struct dpt_graph *graph, const char *name, int x, int64_t filters, bool bias)
{
    const struct dpt_build_conv shape = {.filters = filters, .kernel = {3, 3}, .pad = {1, 1}, .bias = bias};
    return dpt_build_conv(graph, name, x, &shape);
}

static int relu(struct dpt_graph *graph, const char *name, int x)
{
    return dpt_build_activation(graph, name, x, DPT_ACTIVATION_KIND_RELU);
}

static int products(struct dpt_graph *graph, int x)
{
    x = relu(graph, "conv1", conv(graph, "conv1", x, 3, true));
    x = dpt_build_flatten(graph, "flat", x);
    return relu(graph, "fc1", dpt_build_linear(graph, "fc1", x, 6, true));
}

static void relu_goes_into_products(void **state)
{
    (void)state;
    assert_saves(products, 2);
}

static int count_nodes(const struct dpt_graph *graph, const char *op)
{
    int count = 0;
    for (int n = 0; n < graph->nnodes; n++) {
        count += strcmp(graph->node[n].op->name, op) == 0;
    }
    return count;
}

static enum dpt_activation_kind first_kind, second_kind;

/* Two activations between products, one behind a sum, one that is read twice. */
static int activated(struct dpt_graph *graph, int x)
{
    x = dpt_build_flatten(graph, "flat", x);
    x = dpt_build_activation(graph, "fc1", dpt_build_linear(graph, "fc1", x, 6, true), first_kind);
    x = dpt_build_activation(graph, "fc2", dpt_build_linear(graph, "fc2", x, 5, false), second_kind);
    const int y = dpt_build_linear(graph, "fc3", x, 5, true);
    x = dpt_build_combine(graph, "sum", "add", 2, (const int[]){x, y});
    x = dpt_build_activation(graph, "sum", x, first_kind);
    x = dpt_build_activation(graph, "fc4", dpt_build_linear(graph, "fc4", x, 5, true), second_kind);
    return dpt_build_combine(graph, "all", "concat", 2, (const int[]){x, x});
}

static void activations_go_into_products_on_both_sides(void **state)
{
    (void)state;
    for (int kind = DPT_ACTIVATION_KIND_RELU; kind <= DPT_ACTIVATION_KIND_GELU_TANH; kind++) {
        first_kind = (enum dpt_activation_kind)kind;
        second_kind = (enum dpt_activation_kind)(kind % DPT_ACTIVATION_KIND_GELU_TANH + 1);
        assert_saves(activated, 3);
        struct dpt_graph *graph = make(activated, true, true);
        /* That of fc2 is the gradient of a sum, that of fc4 of what is read twice. */
        assert_int_equal(count_nodes(graph, "activation_dx"), 2);
        assert_int_equal(count_nodes(graph, "activation"), 1);
        for (int n = 0; n < graph->nnodes; n++) {
            const struct dpt_node *node = &graph->node[n];
            const struct dpt_linear_param *param = node->param;
            assert_true(strcmp(node->op->name, "linear") != 0 || node->nout == 1 + dpt_activation_reads_x(param->act));
        }
        dpt_graph_free(graph);
        graph = make(activated, false, true); /* nobody reads what the gradient would */
        for (int n = 0; n < graph->nnodes; n++) {
            assert_int_equal(graph->node[n].nout, 1);
        }
        dpt_graph_free(graph);
    }
}

/* Backward nodes of two stages are not made one, or what one of them reads would be sent to the other. */
static void stages_stay_apart(void **state)
{
    (void)state;
    first_kind = second_kind = DPT_ACTIVATION_KIND_GELU;
    for (int cut = 0; cut < 2; cut++) {
        struct dpt_graph *graph = make(activated, true, false);
        int stage[64] = {0};
        assert_true(graph->nnodes < 64);
        for (int n = 0; n < graph->nnodes; n++) {
            stage[n] = cut && strcmp(graph->node[n].name, "fc1") != 0;
        }
        assert_int_equal(count_nodes(graph, "activation_dx"), 4);
        assert_int_equal(dpt_graph_fuse_gradient(graph, stage), DPT_STATUS_OK);
        assert_int_equal(dpt_graph_check(graph), DPT_STATUS_OK);
        assert_int_equal(count_nodes(graph, "activation_dx"), cut ? 3 : 2);
        dpt_graph_free(graph);
    }
}

static int rms_norm(struct dpt_graph *graph, const char *name, int x)
{
    const struct dpt_rms_norm_param param = {1e-5};
    const struct dpt_type *type = &graph->value[x].type;
    const int gamma = dpt_graph_param(graph, name, (struct dpt_init){DPT_INIT_KIND_CONST, 1.0}, false, 1,
                                      type->dim + type->ndim - 1);
    graph->layer = "rms";
    return dpt_graph_add(graph, "rms_norm", &param, 2, (const int[]){x, gamma});
}

/* Two branches that begin with a norm, each around by a residual path; a norm that alone reads the sum. */
static int branches(struct dpt_graph *graph, int x)
{
    x = dpt_build_linear(graph, "in", dpt_build_flatten(graph, "flat", x), 6, true);
    int y = dpt_build_linear(graph, "fc1", dpt_build_layer_norm(graph, "ln1", x, 1e-5), 6, true);
    x = dpt_build_combine(graph, "sum1", "add", 2, (const int[]){x, y});
    y = dpt_build_linear(graph, "fc2", rms_norm(graph, "rms", x), 6, false);
    x = dpt_build_combine(graph, "sum2", "add", 2, (const int[]){y, x});
    return dpt_build_layer_norm(graph, "ln2", x, 1e-5);
}

/* A sum that is read before its norm; readers of x behind which no norm begins; a norm whose dx is the gradient of two values. */
static int not_branches(struct dpt_graph *graph, int x)
{
    x = dpt_build_linear(graph, "in", dpt_build_flatten(graph, "flat", x), 6, true);
    int y = dpt_build_linear(graph, "fc1", dpt_build_linear(graph, "fc0", x, 6, true), 6, true);
    x = dpt_build_combine(graph, "sum1", "add", 2, (const int[]){x, y}); /* the gradient of x is a sum with no norm in it */
    y = dpt_build_activation(graph, "act", x, DPT_ACTIVATION_KIND_GELU);
    x = dpt_build_layer_norm(graph, "ln", x, 1e-5);
    return dpt_build_combine(graph, "all", "concat", 2, (const int[]){x, y});
}

static int count_wide(const struct dpt_graph *graph, const char *op, int nin)
{
    int count = 0;
    for (int n = 0; n < graph->nnodes; n++) {
        count += strcmp(graph->node[n].op->name, op) == 0 && graph->node[n].nin == nin;
    }
    return count;
}

/* Sums in front of two norms of three, and what is added to two gradients of three. */
static void residuals_go_into_norms(void **state)
{
    (void)state;
    assert_saves(branches, 2);
    struct dpt_graph *graph = make(branches, true, true);
    assert_int_equal(count_nodes(graph, "add"), 0);
    assert_int_equal(count_nodes(graph, "add_layer_norm"), 1);
    assert_int_equal(count_nodes(graph, "add_rms_norm"), 1);
    assert_int_equal(count_wide(graph, "layer_norm_dx", 6), 1);
    assert_int_equal(count_wide(graph, "rms_norm_dx", 5), 1);
    assert_int_equal(count_wide(graph, "layer_norm_dx", 5), 1);
    dpt_graph_free(graph);
    assert_saves(not_branches, 0);
    graph = make(not_branches, true, true);
    assert_int_equal(count_nodes(graph, "add"), 3); /* one forward, one for each gradient of what is read twice */
    assert_int_equal(count_nodes(graph, "layer_norm"), 1);
    assert_int_equal(count_wide(graph, "layer_norm_dx", 5), 1);
    dpt_graph_free(graph);
}

static int norms(struct dpt_graph *graph, int x)
{
    x = conv(graph, "conv1", x, 3, false);
    x = relu(graph, "bn1", dpt_build_batch_norm(graph, "bn1", x, &norm));
    return dpt_build_max_pool(graph, "pool", x, &(struct dpt_build_pool){.kernel = {2, 2}});
}

static void relu_goes_into_batch_norm(void **state)
{
    (void)state;
    assert_saves(norms, 1);
}

/* One block with the shortcut of the samples' shape, one with a batch norm on both sides of the addition. */
static int residuals(struct dpt_graph *graph, int x)
{
    x = conv(graph, "conv1", x, 3, false);
    int y = dpt_build_batch_norm(graph, "bn1", conv(graph, "b1", x, 3, false), &norm);
    x = relu(graph, "r1", dpt_build_combine(graph, "r1", "add", 2, (const int[]){x, y}));
    y = dpt_build_batch_norm(graph, "bn2", conv(graph, "b2", x, 4, false), &norm);
    const int z = dpt_build_batch_norm(graph, "bn3", conv(graph, "b3", x, 4, false), &norm);
    return relu(graph, "r2", dpt_build_combine(graph, "r2", "add", 2, (const int[]){y, z}));
}

static void addition_and_relu_go_into_batch_norm(void **state)
{
    (void)state;
    assert_saves(residuals, 4);
}

static int pooled(struct dpt_graph *graph, int x)
{
    const struct dpt_build_pool overlapping = {.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}};
    x = relu(graph, "conv1", conv(graph, "conv1", x, 3, true));
    return dpt_build_max_pool(graph, "pool", x, &overlapping);
}

static void relu_moves_behind_max_pool(void **state)
{
    (void)state;
    assert_saves(pooled, 0);
    struct dpt_graph *graph = make(pooled, true, true);
    assert_string_equal(graph->node[0].op->name, "conv");
    assert_string_equal(graph->node[1].op->name, "max_pool");
    assert_string_equal(graph->node[2].op->name, "activation");
    dpt_graph_free(graph);
}

/* What is used twice stays: the sum before the relu, the relu before the pooling, the product before the relu. */
static int shared(struct dpt_graph *graph, int x)
{
    const int c = conv(graph, "conv1", x, 2, true);
    const int r = relu(graph, "conv1", c);
    const int p = dpt_build_max_pool(graph, "pool", r, &(struct dpt_build_pool){.kernel = {3, 3}, .stride = {1, 1},
                                                                             .pad = {1, 1}});
    const int n = dpt_build_batch_norm(graph, "bn", p, &norm);
    const int s = dpt_build_combine(graph, "sum", "add", 2, (const int[]){n, c});
    const int t = relu(graph, "sum", s);
    return dpt_build_combine(graph, "all", "concat", 4, (const int[]){r, n, s, t});
}

static void what_is_used_twice_stays(void **state)
{
    (void)state;
    assert_saves(shared, 0);
}

static void the_hash_sees_what_changes(void **state)
{
    (void)state;
    struct dpt_graph *a = make(pooled, true, true), *b = make(pooled, true, true), *c = make(pooled, true, false);
    assert_true(dpt_graph_hash(a) == dpt_graph_hash(b));
    assert_true(dpt_graph_hash(a) != dpt_graph_hash(c));
    b->value[b->input].name = "samples";
    assert_true(dpt_graph_hash(a) != dpt_graph_hash(b));
    dpt_graph_free(a);
    dpt_graph_free(b);
    dpt_graph_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(relu_goes_into_products),
        cmocka_unit_test(activations_go_into_products_on_both_sides),
        cmocka_unit_test(stages_stay_apart),
        cmocka_unit_test(residuals_go_into_norms),
        cmocka_unit_test(relu_goes_into_batch_norm),
        cmocka_unit_test(addition_and_relu_go_into_batch_norm),
        cmocka_unit_test(relu_moves_behind_max_pool),
        cmocka_unit_test(what_is_used_twice_stays),
        cmocka_unit_test(the_hash_sees_what_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
