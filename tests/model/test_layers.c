/* SPDX-License-Identifier: Apache-2.0 */

/* Nets written as sections: what they become, and that each misfit is named with its file and line. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../graph/interpret.h"
#include "model/model.h"
#include "op/batch_norm.h"
#include "op/dropout.h"

enum { MAX_LAYERS = 20, MAX_KEYS = 8, ROWS = 3 };

/* A net in the making. Line 10 i of "net.ini" begins section i, line 10 i + k is its key k. */
struct net {
    struct dpt_job job;
    struct dpt_layer_section section[MAX_LAYERS];
    struct dpt_layer_key key[MAX_LAYERS][MAX_KEYS];
    char text[MAX_LAYERS][128];
};

static void begin(struct net *net)
{
    memset(net, 0, sizeof *net);
    net->job.model.type = DPT_MODEL_TYPE_LAYERS;
    net->job.layer = net->section;
}

/* Appends a section from "name|key=value|key=value". */
static void layer(struct net *net, const char *line)
{
    const int i = net->job.nlayers++;
    assert_true(i < MAX_LAYERS && strlen(line) < sizeof net->text[i]);
    char *at = strcpy(net->text[i], line), *rest = NULL;
    struct dpt_layer_section *section = &net->section[i];
    *section = (struct dpt_layer_section){.name = strtok_r(at, "|", &rest), .file = "net.ini", .line = 10 * (i + 1)};
    section->key = net->key[i];
    for (char *word = strtok_r(NULL, "|", &rest); word; word = strtok_r(NULL, "|", &rest)) {
        assert_true(section->nkeys < MAX_KEYS);
        char *value = strchr(word, '=');
        assert_non_null(value);
        *value++ = '\0';
        const int k = section->nkeys++;
        section->key[k] = (struct dpt_layer_key){word, value, section->file, section->line + k + 1};
    }
}

static const struct dpt_model_io vector = {.ndim = 1, .dim = {10}, .targets = 1};
static const struct dpt_model_io image = {.ndim = 3, .dim = {6, 5, 2}, .classes = 4};

static struct dpt_graph *build(struct net *net, const struct dpt_model_io *io, bool training)
{
    struct dpt_graph *graph = dpt_graph_new(DPT_DTYPE_F64, ROWS, training);
    if (dpt_model_build(&net->job, io, false, graph) != DPT_STATUS_OK || dpt_graph_fuse(graph) != DPT_STATUS_OK ||
        (training && dpt_graph_gradient(graph) != DPT_STATUS_OK) || dpt_graph_check(graph) != DPT_STATUS_OK) {
        fail_msg("%s", dpt_error_text());
    }
    return graph;
}

static const struct dpt_node *find_node(const struct dpt_graph *graph, const char *op)
{
    for (int n = 0; n < graph->nnodes; n++) {
        if (strcmp(graph->node[n].op->name, op) == 0) {
            return &graph->node[n];
        }
    }
    fail_msg("no node %s", op);
    return NULL;
}

static void linear_regression(void **state)
{
    (void)state;
    struct net net;
    begin(&net);
    layer(&net, "out|op=linear|out=1");
    struct dpt_graph *graph = build(&net, &vector, true);
    interpret_check_gradient(graph, 0);
    assert_true(dpt_graph_find(graph, "out.weight") >= 0 && dpt_graph_find(graph, "out.bias") >= 0);
    dpt_graph_free(graph);
}

/* Every op that a section can name, with branches. */
static void every_op(void **state)
{
    (void)state;
    struct net net;
    begin(&net);
    layer(&net, "c1|op=conv|out=4|kernel=3|pad=1|bias=no");
    layer(&net, "n1|op=batch_norm|momentum=0.25|eps=0.001");
    layer(&net, "r1|op=relu");
    layer(&net, "c2|op=conv|in=input|out=4|kernel=1");
    layer(&net, "s|op=add|in=r1 c2");
    layer(&net, "g|op=silu");
    layer(&net, "m|op=mul|in=s, g, r1");
    layer(&net, "p1|op=max_pool|kernel=2|stride=1");
    layer(&net, "p2|op=avg_pool|in=m|kernel=2 2|stride=1");
    layer(&net, "cat|op=concat|in=p1 p2");
    layer(&net, "c3|op=conv|out=6|kernel=3 x 2|stride=2 1|groups=2");
    layer(&net, "t|op=tanh");
    layer(&net, "pool|op=global_pool");
    layer(&net, "flat|op=flatten|in=t");
    layer(&net, "fc1|op=linear|out=6");
    layer(&net, "ln|op=layer_norm");
    layer(&net, "sum|op=add|in=ln pool");
    layer(&net, "ge|op=gelu");
    layer(&net, "d|op=dropout|rate=0.25");
    layer(&net, "fc|op=linear|out=4");
    struct dpt_graph *graph = build(&net, &image, true);
    interpret_check_gradient(graph, image.classes);
    assert_true(((const struct dpt_dropout_param *)find_node(graph, "dropout")->param)->rate == 0.25);
    assert_true(((const struct dpt_batch_norm_param *)find_node(graph, "batch_norm")->param)->eps == 0.001);
    assert_true(graph->value[dpt_graph_find(graph, "n1.running_mean")].rate == 0.25);
    assert_int_equal(dpt_graph_find(graph, "c1.bias"), -1);
    dpt_graph_free(graph);
    graph = build(&net, &image, false);
    dpt_graph_free(graph);
}

static void reshape_and_sigmoid(void **state)
{
    (void)state;
    struct net net;
    begin(&net);
    layer(&net, "r|op=reshape|shape=5 2 1");
    layer(&net, "c|op=conv|out=2|kernel=2 1");
    layer(&net, "f|op=flatten");
    layer(&net, "a|op=sigmoid");
    layer(&net, "o|op=linear|out=1|bias=no");
    struct dpt_graph *graph = build(&net, &vector, true);
    interpret_check_gradient(graph, 0);
    dpt_graph_free(graph);
}

static void assert_refused(struct net *net, const struct dpt_model_io *io, const char *place, const char *words)
{
    struct dpt_graph *graph = dpt_graph_new(DPT_DTYPE_F32, ROWS, true);
    assert_int_equal(dpt_model_build(&net->job, io, false, graph), DPT_STATUS_USAGE);
    if (strncmp(dpt_error_text(), place, strlen(place)) != 0 || !strstr(dpt_error_text(), words)) {
        fail_msg("\"%s\" is not at \"%s\" or does not say \"%s\"", dpt_error_text(), place, words);
    }
    dpt_graph_free(graph);
}

static void misfits_are_named_with_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *second; /* behind a convolution with 3 filters: 6 x 5 x 3 */
        const char *place, *words;
    } cases[] = {
        {"fc|op=linear|out=4", "net.ini:20: fc: ", "op = flatten before it"},
        {"c|op=conv|out=4|kernel=9", "net.ini:20: c: conv: ", ""},
        {"c|op=conv|out=4|kernel=1|groups=2", "net.ini:20: c: ", "3 channels and 4 filters cannot be divided"},
        {"a|op=add|in=c1 input", "net.ini:20: a: add: ", ""},
        {"a|op=add", "net.ini:20: a: ", "takes two inputs or more"},
        {"a|op=relu|in=c1 input", "net.ini:20: a: ", "takes one input, `in` names 2"},
        {"a|op=relu|in=c9", "net.ini:22: [layer.a] in: ", "no section [layer.c9] before this one"},
        {"a|op=relu|in=a", "net.ini:22: [layer.a] in: ", "no section [layer.a] before this one"},
        {"a|op=rleu", "net.ini:20: a: ", "--list=layers"},
        {"r|op=reshape|shape=7 7", "net.ini:20: r: reshape: ", ""},
        {"c|op=max_pool|kernel=2|stride=0", "net.ini:2", "stride"},
        {"g|op=global_pool", "net.ini:20: g: ", "is 3, but the data has 4 classes; end with op = linear, out = 4"},
        {"g|op=relu", "net.ini:20: g: ", "is 6 x 5 x 3, but"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct net net;
        begin(&net);
        layer(&net, "c1|op=conv|out=3|kernel=3|pad=1");
        layer(&net, cases[i].second);
        assert_refused(&net, &image, cases[i].place, cases[i].words);
    }
    struct net net;
    begin(&net);
    assert_refused(&net, &image, "[model] type = layers needs", "there are none");
    layer(&net, "c1|op=conv|out=3|kernel=3");
    assert_refused(&net, &vector, "net.ini:10: c1: ", "needs images");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_regression),
        cmocka_unit_test(every_op),
        cmocka_unit_test(reshape_and_sigmoid),
        cmocka_unit_test(misfits_are_named_with_their_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
