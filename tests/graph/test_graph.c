/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "graph/graph.h"
#include "op/linear.h"

static const struct dpt_init zero = {DPT_INIT_KIND_CONST, 0.0};
static const struct dpt_linear_param plain = {DPT_ACTIVATION_KIND_NONE, 0};

static void assert_refused(int id, const char *words)
{
    assert_int_equal(id, -1);
    if (!strstr(dpt_error_text(), words)) {
        fail_msg("\"%s\" does not say \"%s\"", dpt_error_text(), words);
    }
}

static void given_values_have_their_types(void **state)
{
    (void)state;
    struct dpt_graph *graph = dpt_graph_new(DPT_DTYPE_F32, 7, true);
    const int64_t image[3] = {28, 30, 3}, matrix[2] = {10, 4};
    const int x = dpt_graph_input(graph, "x", DPT_DTYPE_F32, 3, image);
    const int t = dpt_graph_input(graph, "t", DPT_DTYPE_I32, 0, NULL);
    const int w = dpt_graph_param(graph, "w", (struct dpt_init){DPT_INIT_KIND_NORMAL, 0.5}, true, 2, matrix);
    const int m = dpt_graph_slot(graph, w, "momentum");
    const int b = dpt_graph_buffer(graph, "mean", zero, 1, matrix);
    char text[96];
    assert_string_equal(dpt_type_text(text, sizeof text, &graph->value[x].type), "F32[7,28,30,3]");
    assert_string_equal(dpt_type_text(text, sizeof text, &graph->value[t].type), "I32[7]");
    assert_string_equal(dpt_type_text(text, sizeof text, &graph->value[w].type), "F32[10,4]");
    assert_string_equal(dpt_type_text(text, sizeof text, &graph->value[b].type), "F32[10]");
    assert_true(graph->value[x].batch && graph->value[t].batch && !graph->value[w].batch);
    assert_true(graph->value[w].decay && graph->value[w].init.scale == 0.5);
    assert_string_equal(graph->value[m].name, "w.momentum");
    assert_int_equal(graph->value[m].of, w);
    assert_true(dpt_type_equal(&graph->value[m].type, &graph->value[w].type));
    assert_int_equal(dpt_graph_find(graph, "mean"), b);
    assert_int_equal(dpt_graph_find(graph, "median"), -1);
    dpt_graph_free(graph);
}

/* Also those that were given later than others, and those of a graph that has grown many times. */
static void names_are_found_among_many(void **state)
{
    (void)state;
    enum { MANY = 3000 };
    struct dpt_graph *graph = dpt_graph_new(DPT_DTYPE_F32, 1, true);
    char name[32];
    assert_int_equal(dpt_graph_find(graph, "w0"), -1);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "w%d", i);
        assert_int_equal(dpt_graph_param(graph, name, zero, true, 1, (const int64_t[]){2}), i);
    }
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "w%d", i);
        assert_int_equal(dpt_graph_find(graph, name), i);
    }
    assert_int_equal(dpt_graph_find(graph, "w3000"), -1);
    assert_int_equal(dpt_graph_param(graph, "w7", zero, true, 1, (const int64_t[]){2}), -1);
    dpt_graph_free(graph);
}

static void files_may_have_another_shape(void **state)
{
    (void)state;
    struct dpt_graph *graph = dpt_graph_new(DPT_DTYPE_F32, 1, true);
    const int64_t dim[4] = {3, 2, 5, 7};
    const int w = dpt_graph_param(graph, "w", zero, true, 4, dim);
    char text[96];
    struct dpt_type type = dpt_graph_stored(graph, w);
    assert_string_equal(dpt_type_text(text, sizeof text, &type), "F32[3,2,5,7]");
    graph->value[w].merged = 3;
    const int m = dpt_graph_slot(graph, w, "mean");
    type = dpt_graph_stored(graph, w);
    assert_string_equal(dpt_type_text(text, sizeof text, &type), "F32[30,7]");
    type = dpt_graph_stored(graph, m);
    assert_string_equal(dpt_type_text(text, sizeof text, &type), "F32[30,7]");
    graph->value[w].merged = 4;
    const struct dpt_type flat = {DPT_DTYPE_F32, 1, {210}};
    type = dpt_graph_stored(graph, w);
    assert_true(dpt_type_equal(&type, &flat));
    dpt_graph_free(graph);
}

static void nodes_get_shapes_and_names(void **state)
{
    (void)state;
    struct dpt_graph *graph = dpt_graph_new(DPT_DTYPE_F64, 3, true);
    const int64_t in = 4, matrix[2] = {4, 4};
    const int x = dpt_graph_input(graph, "x", DPT_DTYPE_F64, 1, &in);
    const int w = dpt_graph_param(graph, "w", zero, true, 2, matrix);
    graph->layer = "fc";
    /* The missing bias at the end is dropped. */
    const int y = dpt_graph_add(graph, "linear", &plain, 3, (const int[]){x, w, -1});
    const int z = dpt_graph_add(graph, "linear", &plain, 2, (const int[]){y, w});
    assert_int_equal(graph->nnodes, 2);
    assert_int_equal(graph->node[0].nin, 2);
    assert_string_equal(graph->node[1].name, "fc");
    assert_string_equal(graph->value[y].name, "fc.linear");
    assert_string_equal(graph->value[z].name, "fc.linear#2");
    assert_int_equal(graph->value[z].producer, 1);
    assert_true(graph->value[z].batch);
    struct dpt_op_types types;
    dpt_graph_types(graph, &graph->node[1], &types);
    char text[96];
    assert_string_equal(dpt_type_text(text, sizeof text, &types.out[0]), "F64[3,4]");
    /* Products without the sample index are no batch values, although `linear` has the letter b. */
    const int ww = dpt_graph_add(graph, "linear", &plain, 2, (const int[]){w, w});
    assert_false(graph->value[ww].batch);
    dpt_graph_free(graph);
}

static void refusals_say_what_and_where(void **state)
{
    (void)state;
    struct dpt_graph *graph = dpt_graph_new(DPT_DTYPE_F32, 2, true);
    const int64_t in = 5, none = 0, matrix[2] = {3, 4}, huge[2] = {INT64_MAX / 2, 8};
    const int x = dpt_graph_input(graph, "x", DPT_DTYPE_F32, 1, &in);
    const int w = dpt_graph_param(graph, "w", zero, true, 2, matrix);
    assert_refused(dpt_graph_param(graph, "w", zero, true, 2, matrix), "w: this name is taken");
    assert_refused(dpt_graph_param(graph, "v", zero, true, 1, &none), "v: dimension 0 is 0, must be positive");
    assert_refused(dpt_graph_param(graph, "v", zero, true, 2, huge), "v: has more than 2^62 bytes");
    assert_refused(dpt_graph_input(graph, "v", DPT_DTYPE_F32, DPT_MAX_DIM, huge), "v: has 7 dimensions, at most 6");
    graph->layer = "fc3";
    assert_refused(dpt_graph_add(graph, "linear", &plain, 2, (const int[]){x, w}), "fc3: linear: x has 5 features");
    assert_refused(dpt_graph_add(graph, "linera", &plain, 2, (const int[]){x, w}), "no op \"linera\"");
    assert_int_equal(graph->nnodes, 0);
    assert_int_equal(graph->nvalues, 2);
    dpt_graph_free(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_values_have_their_types),
        cmocka_unit_test(names_are_found_among_many),
        cmocka_unit_test(files_may_have_another_shape),
        cmocka_unit_test(nodes_get_shapes_and_names),
        cmocka_unit_test(refusals_say_what_and_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
