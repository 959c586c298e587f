/* SPDX-License-Identifier: Apache-2.0 */

/* The checker finds each kind of damage, and passes a sound graph. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "graph/build.h"
#include "op/loss.h"
#include "op/update.h"

static struct dpt_graph *sound(void)
{
    struct dpt_graph *graph = dpt_graph_new(DPT_DTYPE_F32, 4, true);
    const int64_t features = 5;
    graph->input = dpt_graph_input(graph, "input", DPT_DTYPE_F32, 1, &features);
    int y = dpt_build_linear(graph, "fc1", graph->input, 6, true);
    y = dpt_build_activation(graph, "fc1", y, DPT_ACTIVATION_KIND_TANH);
    graph->output = dpt_build_linear(graph, "fc2", y, 3, true);
    graph->target = dpt_graph_input(graph, "target", DPT_DTYPE_I32, 0, NULL);
    const struct dpt_cross_entropy_param smooth = {.smoothing = 0.0};
    graph->layer = "loss";
    graph->loss = dpt_graph_add(graph, "cross_entropy", &smooth, 2, (const int[]){graph->output, graph->target});
    assert_true(graph->loss >= 0);
    assert_int_equal(dpt_graph_gradient(graph), DPT_STATUS_OK);
    const struct dpt_sgd_param sgd = {.momentum = 0.9};
    for (int i = 0, n = graph->nvalues; i < n; i++) {
        if (graph->value[i].gradient >= 0) {
            const int in[3] = {i, graph->value[i].gradient, dpt_graph_slot(graph, i, "momentum")};
            assert_int_equal(dpt_graph_add(graph, "sgd", &sgd, 3, in), 0);
        }
    }
    return graph;
}

static int find(const struct dpt_graph *graph, const char *name)
{
    const int id = dpt_graph_find(graph, name);
    assert_true(id >= 0);
    return id;
}

static void late(struct dpt_graph *graph)
{
    const struct dpt_node node = graph->node[0];
    graph->node[0] = graph->node[1];
    graph->node[1] = node;
    graph->value[graph->node[0].out[0]].producer = 0;
    graph->value[graph->node[1].out[0]].producer = 1;
}

static void type(struct dpt_graph *graph)
{
    graph->value[find(graph, "fc1.linear")].type.dim[1]++;
}

static void given_type(struct dpt_graph *graph)
{
    graph->value[find(graph, "fc1.bias")].type.dim[0]++;
}

static void producer(struct dpt_graph *graph)
{
    graph->value[find(graph, "fc1.linear")].producer = 1;
}

static void operand(struct dpt_graph *graph)
{
    graph->node[2].in[0] = graph->nvalues;
}

static void phase(struct dpt_graph *graph)
{
    graph->node[0].phase = DPT_PHASE_INPUT_GRADIENT;
}

static void update_phase(struct dpt_graph *graph)
{
    graph->node[graph->nnodes - 1].phase = DPT_PHASE_INPUT_GRADIENT;
}

/* A node that the layer below needs, called a weight gradient. */
static void weight_phase(struct dpt_graph *graph)
{
    for (int n = 0; n < graph->nnodes; n++) {
        if (strcmp(graph->node[n].op->name, "linear_dx") == 0) {
            graph->node[n].phase = DPT_PHASE_WEIGHT_GRADIENT;
        }
    }
}

static void name(struct dpt_graph *graph)
{
    graph->value[find(graph, "fc2.bias")].name = "fc1.bias";
}

static void gradient(struct dpt_graph *graph)
{
    graph->value[find(graph, "fc2.bias.grad")].of = find(graph, "fc2.weight");
}

static void kind(struct dpt_graph *graph)
{
    graph->value[find(graph, "fc1.linear")].kind = DPT_VALUE_KIND_PARAM;
}

static void rows(struct dpt_graph *graph)
{
    graph->value[find(graph, "fc1.weight")].batch = true;
}

static void moved_twice(struct dpt_graph *graph)
{
    const int last = graph->nnodes - 1;
    graph->node[last] = graph->node[last - 1];
}

static void foreign_slot(struct dpt_graph *graph)
{
    graph->value[graph->node[graph->nnodes - 1].in[2]].of = find(graph, "fc2.weight");
}

static void no_loss_target(struct dpt_graph *graph)
{
    graph->target = -1;
}

static void each_damage_is_found(void **state)
{
    (void)state;
    static const struct {
        void (*damage)(struct dpt_graph *graph);
        const char *words;
    } cases[] = {
        {late, "is computed after its use"},
        {type, "has not the type"},
        {given_type, "bias has 7 elements"},
        {producer, "says that it comes from node 1"},
        {operand, "input 0 is no value"},
        {phase, "phase comes before"},
        {update_phase, "phase"},
        {weight_phase, "of a weight gradient"},
        {name, "two values have the name fc1.bias"},
        {gradient, "its gradient is another's"},
        {kind, "is given and computed"},
        {rows, "is not the number of rows"},
        {moved_twice, "is moved twice"},
        {foreign_slot, "which belongs to another value"},
        {no_loss_target, "no target"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct dpt_graph *graph = sound();
        if (dpt_graph_check(graph) != DPT_STATUS_OK) {
            fail_msg("a sound graph: %s", dpt_error_text());
        }
        cases[i].damage(graph);
        dpt_error_clear();
        assert_int_equal(dpt_graph_check(graph), DPT_STATUS_FAILED);
        if (!strstr(dpt_error_text(), cases[i].words)) {
            fail_msg("\"%s\" does not say \"%s\"", dpt_error_text(), cases[i].words);
        }
        dpt_graph_free(graph);
    }
}

static void print_names_every_value(void **state)
{
    (void)state;
    struct dpt_graph *graph = sound();
    struct dpt_text text = {0};
    dpt_graph_print(graph, &text);
    for (int i = 0; i < graph->nvalues; i++) {
        assert_non_null(strstr(text.data, graph->value[i].name));
    }
    dpt_text_free(&text);
    dpt_graph_free(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_damage_is_found),
        cmocka_unit_test(print_names_every_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
