/* SPDX-License-Identifier: Apache-2.0 */

/* Activations that are computed again: the same gradients to the last bit, less memory, and what is never repeated. */

#include "../exec/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/build.h"
#include "interpret.h"
#include "op/loss.h"

enum { ROWS = 6, CLASSES = 3, BLOCKS = 9, MODES = 3 };

/* Nets by number: layers without numbers; residual blocks with batch norm; blocks with layer norm, dropout and gelu. */
enum { NET_LAYERS, NET_RESIDUAL, NET_ROWS, NETS };

static const char *name_of(char text[32], int block, const char *part)
{
    snprintf(text, 32, "body.%d.%s", block, part);
    return text;
}

static int layers(struct dpt_graph *graph, int x)
{
    char text[32];
    for (int b = 0; b < BLOCKS; b++) {
        snprintf(text, sizeof text, "fc%d", b + 1);
        x = dpt_build_linear(graph, text, x, 8 + b, true);
        x = dpt_build_activation(graph, text, x, b % 2 ? DPT_ACTIVATION_KIND_GELU : DPT_ACTIVATION_KIND_RELU);
        x = dpt_build_dropout(graph, text, x, 0.2);
    }
    return x;
}

static int residual(struct dpt_graph *graph, int x)
{
    char text[32];
    const struct dpt_build_batch_norm norm = {.eps = 1e-5, .momentum = 0.1};
    const struct dpt_build_conv conv = {.filters = 4, .kernel = {3, 3}, .pad = {1, 1}};
    x = dpt_build_conv(graph, "stem", x, &conv);
    for (int b = 0; b < BLOCKS; b++) {
        int y = dpt_build_conv(graph, name_of(text, b, "conv1"), x, &conv);
        y = dpt_build_batch_norm(graph, name_of(text, b, "bn1"), y, &norm);
        y = dpt_build_activation(graph, name_of(text, b, "bn1"), y, DPT_ACTIVATION_KIND_RELU);
        y = dpt_build_conv(graph, name_of(text, b, "conv2"), y, &conv);
        y = dpt_build_batch_norm(graph, name_of(text, b, "bn2"), y, &norm);
        snprintf(text, sizeof text, "body.%d", b);
        x = dpt_build_combine(graph, text, "add", 2, (const int[]){y, x});
        x = dpt_build_activation(graph, text, x, DPT_ACTIVATION_KIND_RELU);
    }
    return dpt_build_global_pool(graph, "pool", x);
}

static int rows(struct dpt_graph *graph, int x)
{
    char text[32];
    x = dpt_build_linear(graph, "in", x, 12, false);
    for (int b = 0; b < BLOCKS; b++) {
        int y = dpt_build_layer_norm(graph, name_of(text, b, "norm"), x, 1e-5);
        y = dpt_build_linear(graph, name_of(text, b, "up"), y, 40, true);
        y = dpt_build_activation(graph, name_of(text, b, "up"), y, DPT_ACTIVATION_KIND_GELU);
        y = dpt_build_linear(graph, name_of(text, b, "down"), y, 12, true);
        y = dpt_build_dropout(graph, name_of(text, b, "down"), y, 0.1);
        snprintf(text, sizeof text, "body.%d", b);
        x = dpt_build_combine(graph, text, "add", 2, (const int[]){x, y});
    }
    return dpt_build_reshape(graph, "flat", x, 1, (const int64_t[]){12});
}

/* A net with its loss, metrics and gradient; fused or not. */
static struct dpt_graph *net_new(int net, enum dpt_dtype real, bool fuse)
{
    static const int64_t features = 7, image[3] = {6, 5, 2};
    struct dpt_graph *graph = dpt_graph_new(real, ROWS, true);
    const struct dpt_cross_entropy_param param = {.smoothing = 0.1};
    const bool images = net == NET_RESIDUAL;
    graph->input = dpt_graph_input(graph, "input", real, images ? 3 : 1, images ? image : &features);
    graph->target = dpt_graph_input(graph, "target", DPT_DTYPE_I32, 0, NULL);
    int y = net == NET_LAYERS ? layers(graph, graph->input)
            : images          ? residual(graph, graph->input)
                              : rows(graph, graph->input);
    graph->output = dpt_build_linear(graph, "head", y, CLASSES, true);
    graph->layer = "loss";
    graph->loss = dpt_graph_add(graph, "cross_entropy", &param, 2, (const int[]){graph->output, graph->target});
    const int metric = dpt_graph_add(graph, "class_metrics", NULL, 3,
                                     (const int[]){graph->output, graph->target, graph->loss});
    if (graph->output < 0 || graph->loss < 0 || metric < 0) {
        fail_msg("%s", dpt_error_text());
    }
    graph->value[metric].kind = DPT_VALUE_KIND_METRIC;
    graph->metric = metric;
    if (fuse) {
        EXPECT_OK(dpt_graph_fuse(graph));
    }
    EXPECT_OK(dpt_graph_gradient(graph));
    return graph;
}

static int forward_nodes(const struct dpt_graph *graph)
{
    int n = 0;
    while (n < graph->nnodes && graph->node[n].phase == DPT_PHASE_FORWARD) {
        n++;
    }
    return n;
}

/* Copies have values behind those of the graph before, of which there were `nvalues`. */
static bool is_copy(const struct dpt_node *node, int nvalues)
{
    return node->nout > 0 && node->out[0] >= nvalues;
}

static int count_copies(const struct dpt_graph *graph, int nvalues)
{
    int count = 0;
    for (int n = forward_nodes(graph); n < graph->nnodes; n++) {
        const struct dpt_node *node = &graph->node[n];
        if (is_copy(node, nvalues)) {
            const struct dpt_node *of = &graph->node[node->of];
            assert_true(node->phase == DPT_PHASE_INPUT_GRADIENT && of->phase == DPT_PHASE_FORWARD);
            assert_ptr_equal(of->op, node->op);
            assert_string_equal(of->name, node->name);
            count++;
        }
    }
    return count;
}

/* All gradients and the sums for the log have the same bits with and without. */
static void same_bits(void **state)
{
    (void)state;
    for (int i = 0; i < NETS * 2 * 2 * (MODES - 1); i++) {
        const int net = i % NETS, fuse = i / NETS % 2, mode = 1 + i / NETS / 4;
        const enum dpt_dtype real = i / NETS / 2 % 2 ? DPT_DTYPE_F64 : DPT_DTYPE_F32;
        struct dpt_graph *plain = net_new(net, real, fuse), *again = net_new(net, real, fuse);
        EXPECT_OK(dpt_graph_recompute(again, (enum dpt_recompute)mode, NULL));
        EXPECT_OK(dpt_graph_check(again));
        const int copies = count_copies(again, plain->nvalues);
        assert_true(copies >= BLOCKS && again->nnodes == plain->nnodes + copies);
        struct interpret *a = interpret_new(plain, CLASSES), *b = interpret_new(again, CLASSES);
        interpret_run(a, DPT_PHASE_WEIGHT_GRADIENT);
        interpret_run(b, DPT_PHASE_WEIGHT_GRADIENT);
        for (int v = 0; v < plain->nvalues; v++) {
            const struct dpt_value *value = &plain->value[v];
            assert_string_equal(value->name, again->value[v].name);
            if (value->kind == DPT_VALUE_KIND_GRADIENT || value->kind == DPT_VALUE_KIND_METRIC) {
                assert_memory_equal(a->tensor[v].data, b->tensor[v].data, dpt_type_nbytes(&value->type));
            }
        }
        interpret_free(a);
        interpret_free(b);
        dpt_graph_free(plain);
        dpt_graph_free(again);
    }
}

/* Of what forward has made, backward reads what leaves its block and nothing else. */
static void forward_leaves_no_inside(void **state)
{
    (void)state;
    for (int net = 0; net < NETS; net++) {
        struct dpt_graph *graph = net_new(net, DPT_DTYPE_F64, true);
        EXPECT_OK(dpt_graph_recompute(graph, DPT_RECOMPUTE_BLOCKS, NULL));
        const int forward = forward_nodes(graph);
        for (int n = forward; n < graph->nnodes; n++) {
            for (int i = 0; i < graph->node[n].nin; i++) {
                const struct dpt_value *value = &graph->value[graph->node[n].in[i]];
                if (value->producer < 0 || value->producer >= forward || !value->batch) {
                    continue;
                }
                bool leaves = graph->node[n].in[i] == graph->output;
                for (int m = 0; m < forward; m++) {
                    for (int k = 0; k < graph->node[m].nin; k++) {
                        char a[32] = "", b[32] = "";
                        snprintf(a, sizeof a, "%s", graph->node[m].name);
                        snprintf(b, sizeof b, "%s", graph->node[value->producer].name);
                        if (strncmp(a, "body.", 5) == 0 && strncmp(b, "body.", 5) == 0) { /* numbers of one figure */
                            a[6] = b[6] = '\0';
                        }
                        leaves = leaves || (graph->node[m].in[k] == graph->node[n].in[i] && strcmp(a, b) != 0);
                    }
                }
                if (!leaves) {
                    fail_msg("%s: reads %s, which does not leave its block", graph->node[n].name, value->name);
                }
            }
        }
        dpt_graph_free(graph);
    }
}

/* Neither statistics over samples nor what is not read again: losses, metrics, contributions to running statistics. */
static void some_nodes_run_once(void **state)
{
    (void)state;
    static const char *const once[] = {"batch_stat", "batch_moments", "cross_entropy", "class_metrics"};
    for (int i = 0; i < NETS * MODES; i++) {
        struct dpt_graph *graph = net_new(i % NETS, DPT_DTYPE_F32, true);
        int count[4] = {0}, before[4] = {0};
        for (int pass = 0; pass < 2; pass++) {
            for (int n = 0; n < graph->nnodes; n++) {
                for (int k = 0; k < 4; k++) {
                    *(pass ? &count[k] : &before[k]) += strcmp(graph->node[n].op->name, once[k]) == 0;
                }
            }
            if (pass == 0) {
                EXPECT_OK(dpt_graph_recompute(graph, (enum dpt_recompute)(i / NETS), NULL));
            }
        }
        assert_memory_equal(count, before, sizeof count);
        assert_true(before[2] == 1 && before[3] == 1);
        dpt_graph_free(graph);
    }
}

/* Bytes of activations in a plan of one rank. */
static int64_t planned_bytes(struct dpt_graph *graph)
{
    struct dpt_mesh mesh = rig_mesh(1, 0);
    const struct dpt_plan_conf conf = {
        .mesh = &mesh, .run = DPT_RUN_REF, .threads = 1, .batch_rows = graph->rows, .micro_batches = 1};
    struct dpt_plan *plan;
    EXPECT_OK(dpt_plan_new(graph, &conf, &plan));
    const int64_t nbytes = plan->memory.activations;
    dpt_plan_free(plan);
    return nbytes;
}

/* Of nine blocks: `blocks` stores less than half, `full` less than three quarters of that. */
static void memory_falls(void **state)
{
    (void)state;
    struct rig *rig = rig_open(RIG_FP32 RIG_MLP RIG_BATCH("8", "1") RIG_SGD);
    for (int net = 1; net < NETS; net++) {
        int64_t nbytes[MODES];
        for (int mode = 0; mode < MODES; mode++) {
            struct dpt_graph *graph = net_new(net, DPT_DTYPE_F32, true);
            EXPECT_OK(dpt_graph_recompute(graph, (enum dpt_recompute)mode, NULL));
            EXPECT_OK(dpt_optim_build(rig->job, graph));
            nbytes[mode] = planned_bytes(graph);
            dpt_graph_free(graph);
        }
        assert_true(2 * nbytes[1] < nbytes[0]);
        assert_true(4 * nbytes[2] < 3 * nbytes[1]);
    }
    rig_free(rig);
}

/* A value that goes to another stage is stored there, wherever blocks and groups would end without stages. */
static void stages_keep_what_they_get(void **state)
{
    (void)state;
    for (int i = 0; i < NETS * 2; i++) {
        struct dpt_graph *plain = net_new(i % NETS, DPT_DTYPE_F64, false);
        const int forward = forward_nodes(plain);
        int *stage = calloc((size_t)forward, sizeof *stage);
        assert_non_null(stage);
        for (int cut = 1; cut < forward; cut += 3) {
            for (int n = 0; n < forward; n++) {
                stage[n] = n < cut ? 0 : 1;
            }
            struct dpt_graph *graph = net_new(i % NETS, DPT_DTYPE_F64, false);
            EXPECT_OK(dpt_graph_recompute(graph, (enum dpt_recompute)(1 + i / NETS), stage));
            EXPECT_OK(dpt_graph_check(graph));
            for (int n = forward; n < graph->nnodes; n++) {
                for (int k = 0; is_copy(&graph->node[n], plain->nvalues) && k < graph->node[n].nin; k++) {
                    const int producer = graph->value[graph->node[n].in[k]].producer;
                    assert_true(producer < forward || stage[graph->node[producer].of] == stage[graph->node[n].of]);
                }
            }
            dpt_graph_free(graph);
        }
        free(stage);
        dpt_graph_free(plain);
    }
}

/* Updates stay behind everything, and none changes nothing. */
static void around_it(void **state)
{
    (void)state;
    struct rig *rig = rig_open(RIG_FP32 RIG_RESNET RIG_BATCH("8", "1") RIG_SGD);
    for (int mode = 0; mode < MODES; mode++) {
        struct dpt_graph *graph = rig_graph(rig, 8, true, true);
        const int before = graph->nnodes;
        EXPECT_OK(dpt_graph_recompute(graph, (enum dpt_recompute)mode, NULL));
        EXPECT_OK(dpt_graph_check(graph));
        assert_int_equal(graph->nnodes > before, mode > 0);
        assert_int_equal(graph->node[graph->nnodes - 1].phase, DPT_PHASE_UPDATE);
        dpt_graph_free(graph);
    }
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits),
        cmocka_unit_test(forward_leaves_no_inside),
        cmocka_unit_test(some_nodes_run_once),
        cmocka_unit_test(memory_falls),
        cmocka_unit_test(stages_keep_what_they_get),
        cmocka_unit_test(around_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
