/* SPDX-License-Identifier: Apache-2.0 */

/* Which updates a graph gets, with which slots and decay; and that they lower the loss. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../graph/interpret.h"
#include "graph/build.h"
#include "op/loss.h"
#include "op/update.h"
#include "optim/optim.h"

enum { ROWS = 12, CLASSES = 3 };

static struct dpt_job job_of(enum dpt_optimizer_type type)
{
    return (struct dpt_job){
        .optimizer = {
            .type = type,
            .momentum = 0.9,
            .nesterov = true,
            .beta1 = 0.8,
            .beta2 = 0.95,
            .eps = 1e-7,
            .weight_decay = 0.01,
        },
    };
}

/* A linear layer, batch norm with momentum 0.3, a linear layer. */
static struct dpt_graph *make(const struct dpt_job *job)
{
    struct dpt_graph *graph = dpt_graph_new(DPT_DTYPE_F64, ROWS, true);
    const int64_t features = 5;
    const struct dpt_build_batch_norm norm = {.eps = 1e-5, .momentum = 0.3};
    graph->input = dpt_graph_input(graph, "input", DPT_DTYPE_F64, 1, &features);
    int y = dpt_build_linear(graph, "fc1", graph->input, 6, true);
    y = dpt_build_batch_norm(graph, "bn", y, &norm);
    y = dpt_build_activation(graph, "bn", y, DPT_ACTIVATION_KIND_RELU);
    graph->output = dpt_build_linear(graph, "fc2", y, CLASSES, true);
    graph->target = dpt_graph_input(graph, "target", DPT_DTYPE_I32, 0, NULL);
    const struct dpt_cross_entropy_param smooth = {.smoothing = 0.0};
    graph->loss = dpt_graph_add(graph, "cross_entropy", &smooth, 2, (const int[]){graph->output, graph->target});
    assert_true(graph->loss >= 0);
    if (dpt_graph_gradient(graph) != DPT_STATUS_OK || dpt_optim_build(job, graph) != DPT_STATUS_OK ||
        dpt_graph_check(graph) != DPT_STATUS_OK) {
        fail_msg("%s", dpt_error_text());
    }
    return graph;
}

/* The one update node of a parameter or buffer. */
static const struct dpt_node *update_of(const struct dpt_graph *graph, const char *name)
{
    const int id = dpt_graph_find(graph, name);
    const struct dpt_node *found = NULL;
    for (int n = 0; n < graph->nnodes; n++) {
        if (graph->node[n].phase == DPT_PHASE_UPDATE && graph->node[n].in[0] == id) {
            assert_null(found);
            found = &graph->node[n];
        }
    }
    assert_non_null(found);
    assert_string_equal(found->name, name);
    assert_int_equal(found->in[1], graph->value[id].gradient);
    return found;
}

static void sgd_has_momentum(void **state)
{
    (void)state;
    struct dpt_job job = job_of(DPT_OPTIMIZER_TYPE_SGD);
    struct dpt_graph *graph = make(&job);
    const struct dpt_node *node = update_of(graph, "fc1.weight");
    const struct dpt_sgd_param *param = node->param;
    assert_string_equal(node->op->name, "sgd");
    assert_true(param->momentum == 0.9 && param->dampening == 0.0 && param->nesterov && param->weight_decay == 0.01);
    assert_int_equal(node->nin, 3);
    assert_string_equal(graph->value[node->in[2]].name, "fc1.weight.momentum");
    dpt_graph_free(graph);

    job.optimizer.momentum = 0.0;
    job.optimizer.nesterov = false;
    graph = make(&job);
    assert_int_equal(update_of(graph, "fc1.weight")->nin, 2);
    assert_int_equal(dpt_graph_find(graph, "fc1.weight.momentum"), -1);
    dpt_graph_free(graph);
}

static void adam_has_two_moments(void **state)
{
    (void)state;
    for (int decoupled = 0; decoupled < 2; decoupled++) {
        const struct dpt_job job = job_of(decoupled ? DPT_OPTIMIZER_TYPE_ADAMW : DPT_OPTIMIZER_TYPE_ADAM);
        struct dpt_graph *graph = make(&job);
        const struct dpt_node *node = update_of(graph, "fc2.weight");
        const struct dpt_adam_param *param = node->param;
        assert_true(param->beta1 == 0.8 && param->beta2 == 0.95 && param->eps == 1e-7 && param->weight_decay == 0.01);
        assert_int_equal(param->decoupled, decoupled);
        assert_string_equal(graph->value[node->in[2]].name, "fc2.weight.exp_avg");
        assert_string_equal(graph->value[node->in[3]].name, "fc2.weight.exp_avg_sq");
        dpt_graph_free(graph);
    }
}

static void biases_and_norms_do_not_decay(void **state)
{
    (void)state;
    static const char *const exempt[] = {"fc1.bias", "bn.weight", "bn.bias", "fc2.bias"};
    struct dpt_job job = job_of(DPT_OPTIMIZER_TYPE_SGD);
    for (int all = 0; all < 2; all++) {
        job.optimizer.decay_all = all != 0;
        struct dpt_graph *graph = make(&job);
        for (size_t i = 0; i < sizeof exempt / sizeof exempt[0]; i++) {
            const struct dpt_sgd_param *param = update_of(graph, exempt[i])->param;
            assert_true(param->weight_decay == (all ? 0.01 : 0.0));
        }
        dpt_graph_free(graph);
    }
}

static void running_statistics_move_by_the_layers_momentum(void **state)
{
    (void)state;
    const struct dpt_job job = job_of(DPT_OPTIMIZER_TYPE_SGD);
    struct dpt_graph *graph = make(&job);
    const struct dpt_node *node = update_of(graph, "bn.running_var");
    assert_string_equal(node->op->name, "ema");
    assert_true(((const struct dpt_ema_param *)node->param)->rate == 0.3);
    struct interpret *run = interpret_new(graph, CLASSES);
    interpret_run(run, DPT_PHASE_UPDATE);
    const double step = interpret_get(run, node->in[1], 2);
    assert_float_equal(interpret_get(run, node->in[0], 2), 0.7 * 1.0 + 0.3 * step, 1e-12);
    interpret_free(run);
    dpt_graph_free(graph);
}

static void every_rule_lowers_the_loss(void **state)
{
    (void)state;
    static const enum dpt_optimizer_type types[] = {DPT_OPTIMIZER_TYPE_SGD, DPT_OPTIMIZER_TYPE_ADAM,
                                                    DPT_OPTIMIZER_TYPE_ADAMW};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        const struct dpt_job job = job_of(types[i]);
        struct dpt_graph *graph = make(&job);
        struct interpret *run = interpret_new(graph, CLASSES);
        run->ctx.lr = 0.05;
        interpret_run(run, DPT_PHASE_UPDATE);
        const double first = interpret_loss(run);
        for (int step = 0; step < 100; step++) {
            run->ctx.update++;
            interpret_run(run, DPT_PHASE_UPDATE);
        }
        const double last = interpret_loss(run);
        if (!(last < 0.2 * first)) {
            fail_msg("optimizer %d: loss %g, after 100 steps %g", (int)types[i], first, last);
        }
        interpret_free(run);
        dpt_graph_free(graph);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sgd_has_momentum),
        cmocka_unit_test(adam_has_two_moments),
        cmocka_unit_test(biases_and_norms_do_not_decay),
        cmocka_unit_test(running_statistics_move_by_the_layers_momentum),
        cmocka_unit_test(every_rule_lowers_the_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
