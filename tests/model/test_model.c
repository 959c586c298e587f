/* SPDX-License-Identifier: Apache-2.0 */

/* Names, shapes and sizes of the models, their gradient as a whole, and what they refuse. */

#include "../graph/interpret.h"
#include "models.h"

static char relu[] = "relu";
static int64_t widths[] = {256}, small_widths[] = {6, 5}, channels[] = {32, 64}, small_channels[] = {3, 4};

static const struct dpt_model_io image28 = {.ndim = 3, .dim = {28, 28, 1}, .classes = 10};
static const struct dpt_model_io image32 = {.ndim = 3, .dim = {32, 32, 3}, .classes = 10};
static const struct dpt_model_io image224 = {.ndim = 3, .dim = {224, 224, 3}, .classes = 1000};
static const struct dpt_model_io image8 = {.ndim = 3, .dim = {8, 8, 2}, .classes = 3};
static const struct dpt_model_io table = {.ndim = 1, .dim = {10}, .targets = 1};

static struct dpt_job job_of(enum dpt_model_type type)
{
    return (struct dpt_job){
        .model = {
            .type = type,
            .widths = {1, widths},
            .activation = relu,
            .channels = {2, channels},
            .kernel = 5,
            .hidden = 256,
            .depth = 20,
        },
    };
}

/* The whole life of a training graph up to the updates. */
static struct dpt_graph *build(const struct dpt_job *job, const struct dpt_model_io *io, enum dpt_dtype real,
                               int64_t rows)
{
    struct dpt_graph *graph = dpt_graph_new(real, rows, true);
    if (dpt_model_build(job, io, false, graph) != DPT_STATUS_OK || dpt_graph_fuse(graph) != DPT_STATUS_OK ||
        dpt_graph_gradient(graph) != DPT_STATUS_OK || dpt_graph_check(graph) != DPT_STATUS_OK) {
        fail_msg("%s", dpt_error_text());
    }
    return graph;
}

static int64_t parameters(const struct dpt_graph *graph)
{
    int64_t sum = 0;
    for (int i = 0; i < graph->nvalues; i++) {
        sum += graph->value[i].kind == DPT_VALUE_KIND_PARAM ? dpt_type_numel(&graph->value[i].type) : 0;
    }
    return sum;
}

static void assert_shape(const struct dpt_graph *graph, const char *name, const char *expected)
{
    char text[96];
    const int id = dpt_graph_find(graph, name);
    if (id < 0) {
        fail_msg("there is no %s", name);
    }
    assert_string_equal(dpt_type_text(text, sizeof text, &graph->value[id].type), expected);
}

static void mlp_and_cnn(void **state)
{
    (void)state;
    struct dpt_job job = job_of(DPT_MODEL_TYPE_MLP);
    struct dpt_graph *graph = build(&job, &image28, DPT_DTYPE_F32, 128);
    assert_shape(graph, "fc1.weight", "F32[256,784]");
    assert_shape(graph, "fc2.bias", "F32[10]");
    assert_shape(graph, "input", "F32[128,28,28,1]");
    assert_shape(graph, "target", "I32[128]");
    assert_int_equal(parameters(graph), 784 * 256 + 256 + 256 * 10 + 10);
    const struct dpt_value *weight = &graph->value[dpt_graph_find(graph, "fc1.weight")];
    assert_int_equal(weight->init.kind, DPT_INIT_KIND_UNIFORM);
    assert_float_equal(weight->init.scale, 1.0 / 28.0, 1e-15);
    assert_true(weight->decay);
    assert_false(graph->value[dpt_graph_find(graph, "fc1.bias")].decay);
    dpt_graph_free(graph);

    job = job_of(DPT_MODEL_TYPE_CNN);
    graph = build(&job, &image28, DPT_DTYPE_F32, 128);
    assert_shape(graph, "conv1.weight", "F32[32,1,5,5]");
    assert_shape(graph, "conv2.weight", "F32[64,32,5,5]");
    assert_shape(graph, "fc1.weight", "F32[256,3136]");
    assert_shape(graph, "fc2.weight", "F32[10,256]");
    assert_int_equal(graph->value[graph->metric].kind, DPT_VALUE_KIND_METRIC);
    dpt_graph_free(graph);
}

static void linear_regression(void **state)
{
    (void)state;
    struct dpt_job job = job_of(DPT_MODEL_TYPE_MLP);
    job.model.widths.count = 0;
    struct dpt_graph *graph = build(&job, &table, DPT_DTYPE_F32, 16);
    assert_shape(graph, "fc1.weight", "F32[1,10]");
    assert_shape(graph, "target", "F32[16,1]");
    assert_int_equal(parameters(graph), 11);
    dpt_graph_free(graph);
}

/* Section 4.2 of the paper gives 0.27, 0.46, 0.66, 0.85 M for option A; option B adds two 1 x 1 layers with norm. */
static void small_resnets_have_the_papers_sizes(void **state)
{
    (void)state;
    const int64_t size[4][2] = {{20, 269722}, {32, 464154}, {44, 658586}, {56, 853018}};
    for (int i = 0; i < 4; i++) {
        struct dpt_job job = job_of(DPT_MODEL_TYPE_RESNET);
        job.model.depth = size[i][0];
        struct dpt_graph *graph = build(&job, &image32, DPT_DTYPE_F32, 8);
        assert_int_equal(parameters(graph), size[i][1] + 16 * 32 + 32 * 64 + 2 * (32 + 64));
        dpt_graph_free(graph);
    }
}

/* tests/model/torchvision.txt: "depth parameters N", "depth name dim...". */
static void large_resnets_are_torchvisions(void **state)
{
    (void)state;
    char path[4096], line[256];
    const char *top = getenv("abs_srcdir");
    if (!top) {
        skip();
    }
    snprintf(path, sizeof path, "%s/tests/model/torchvision.txt", top);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    struct dpt_graph *graph[153] = {NULL};
    int named[153] = {0};
    while (fgets(line, sizeof line, file)) {
        int depth, at;
        char name[128];
        if (sscanf(line, "%d %127s%n", &depth, name, &at) != 2) {
            continue;
        }
        assert_in_range(depth, 18, 152);
        if (!graph[depth]) {
            struct dpt_job job = job_of(DPT_MODEL_TYPE_RESNET);
            job.model.depth = depth;
            graph[depth] = build(&job, &image224, DPT_DTYPE_F32, 2);
        }
        if (strcmp(name, "parameters") == 0) {
            assert_int_equal(parameters(graph[depth]), strtoll(line + at, NULL, 10));
            continue;
        }
        const struct dpt_type type = type_of(line + at);
        char text[96];
        assert_shape(graph[depth], name, dpt_type_text(text, sizeof text, &type));
        named[depth]++;
    }
    fclose(file);
    for (int depth = 0; depth < 153; depth++) {
        int ours = 0;
        for (int i = 0; graph[depth] && i < graph[depth]->nvalues; i++) {
            const enum dpt_value_kind kind = graph[depth]->value[i].kind;
            ours += kind == DPT_VALUE_KIND_PARAM || kind == DPT_VALUE_KIND_BUFFER;
        }
        assert_true(named[depth] == 0 || named[depth] == ours);
        dpt_graph_free(graph[depth]);
    }
    assert_true(named[18] > 0 && named[50] > 0);
}

static void the_gradient_of_each_model_is_right(void **state)
{
    (void)state;
    struct dpt_job job = job_of(DPT_MODEL_TYPE_MLP);
    job.model.widths = (struct dpt_ints){2, small_widths};
    job.model.activation = (char[]){"silu"};
    job.model.dropout = 0.4;
    job.loss.label_smoothing = 0.1;
    struct dpt_graph *graph = build(&job, &image8, DPT_DTYPE_F64, 5);
    interpret_check_gradient(graph, image8.classes);
    dpt_graph_free(graph);

    graph = build(&job, &table, DPT_DTYPE_F64, 5);
    interpret_check_gradient(graph, 0);
    dpt_graph_free(graph);

    job = job_of(DPT_MODEL_TYPE_CNN);
    job.model.channels = (struct dpt_ints){2, small_channels};
    job.model.hidden = 7;
    job.model.dropout = 0.4;
    graph = build(&job, &image8, DPT_DTYPE_F64, 3);
    interpret_check_gradient(graph, image8.classes);
    dpt_graph_free(graph);

    job = job_of(DPT_MODEL_TYPE_RESNET);
    graph = build(&job, &image8, DPT_DTYPE_F64, 3);
    interpret_check_direction(graph, image8.classes);
    dpt_graph_free(graph);
}

static void evaluation_has_no_dropout_and_running_statistics(void **state)
{
    (void)state;
    struct dpt_job job = job_of(DPT_MODEL_TYPE_RESNET);
    for (int predict = 0; predict < 2; predict++) {
        struct dpt_graph *graph = dpt_graph_new(DPT_DTYPE_F32, 4, false);
        assert_int_equal(dpt_model_build(&job, &image28, predict != 0, graph), DPT_STATUS_OK);
        assert_int_equal(dpt_graph_fuse(graph), DPT_STATUS_OK);
        assert_int_equal(dpt_graph_check(graph), DPT_STATUS_OK);
        assert_shape(graph, "bn1.running_var", "F32[16]");
        assert_true((graph->target < 0) == (predict != 0) && (graph->loss < 0) == (predict != 0));
        for (int n = 0; n < graph->nnodes; n++) {
            assert_string_not_equal(graph->node[n].op->name, "batch_stat");
        }
        dpt_graph_free(graph);
    }
    job = job_of(DPT_MODEL_TYPE_MLP);
    job.model.dropout = 0.5;
    struct dpt_graph *graph = dpt_graph_new(DPT_DTYPE_F32, 4, false);
    assert_int_equal(dpt_model_build(&job, &image28, false, graph), DPT_STATUS_OK);
    for (int n = 0; n < graph->nnodes; n++) {
        assert_string_not_equal(graph->node[n].op->name, "dropout");
    }
    dpt_graph_free(graph);
}

static void batch_norm_may_be_local(void **state)
{
    (void)state;
    struct dpt_job job = job_of(DPT_MODEL_TYPE_RESNET);
    for (int local = 0; local < 2; local++) {
        job.model.batch_norm = local ? DPT_NORM_MODE_LOCAL : DPT_NORM_MODE_SYNC;
        struct dpt_graph *graph = build(&job, &image28, DPT_DTYPE_F32, 4);
        int nodes = 0;
        for (int n = 0; n < graph->nnodes; n++) {
            const struct dpt_node *node = &graph->node[n];
            if (strncmp(node->op->name, "batch_", 6) == 0 && node->op->local) {
                assert_int_equal(node->op->local(node->param), local);
                nodes++;
            }
        }
        assert_true(nodes > 0);
        dpt_graph_free(graph);
    }
}

static void names_for_the_banner(void **state)
{
    (void)state;
    char out[96];
    struct dpt_job job = job_of(DPT_MODEL_TYPE_MLP);
    assert_string_equal(dpt_model_name(&job, &image28, out, sizeof out), "mlp 784-256-10");
    assert_string_equal(dpt_model_name(&job, &table, out, sizeof out), "mlp 10-256-1");
    job = job_of(DPT_MODEL_TYPE_CNN);
    assert_string_equal(dpt_model_name(&job, &image28, out, sizeof out), "cnn 1-32-64-256-10");
    job = job_of(DPT_MODEL_TYPE_RESNET);
    assert_string_equal(dpt_model_name(&job, &image28, out, sizeof out), "resnet-20");
    /* What does not fit is left out. */
    job = job_of(DPT_MODEL_TYPE_MLP);
    int64_t many[40];
    for (int i = 0; i < 40; i++) {
        many[i] = 4096;
    }
    job.model.widths = (struct dpt_ints){40, many};
    assert_true(strlen(dpt_model_name(&job, &image28, out, sizeof out)) < sizeof out);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct dpt_job job = job_of(DPT_MODEL_TYPE_CNN);
    assert_refused(&job, &table, "[model] type = cnn needs images");
    const struct dpt_model_io tiny = {.ndim = 3, .dim = {3, 3, 1}, .classes = 10};
    assert_refused(&job, &tiny, "images of 3 x 3 can be halved only 1 times");
    job = job_of(DPT_MODEL_TYPE_RESNET);
    assert_refused(&job, &table, "[model] type = resnet needs images");
    job.model.depth = 19;
    assert_refused(&job, &image28, "[model] depth = 19 is none of");
    job = job_of(DPT_MODEL_TYPE_MLP);
    job.loss.type = DPT_LOSS_TYPE_CROSS_ENTROPY;
    assert_refused(&job, &table, "[loss] type = cross_entropy does not fit");
    job.loss.type = DPT_LOSS_TYPE_MSE;
    assert_refused(&job, &image28, "[loss] type = mse does not fit");
    const struct dpt_model_io nothing = {.ndim = 1, .dim = {4}};
    assert_refused(&job, &nothing, "nothing to predict");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mlp_and_cnn),
        cmocka_unit_test(linear_regression),
        cmocka_unit_test(small_resnets_have_the_papers_sizes),
        cmocka_unit_test(large_resnets_are_torchvisions),
        cmocka_unit_test(the_gradient_of_each_model_is_right),
        cmocka_unit_test(evaluation_has_no_dropout_and_running_statistics),
        cmocka_unit_test(batch_norm_may_be_local),
        cmocka_unit_test(names_for_the_banner),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
