/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Language models: names and shapes in files are those of Hugging Face's transformers, sizes those that are published,
 * and the gradient is that of the loss.
 */

#include <math.h>

#include "../graph/interpret.h"
#include "ckpt/tensors.h"
#include "models.h"

static struct dpt_model_io io_of(int64_t context, int64_t vocab)
{
    return (struct dpt_model_io){
        .ndim = 1, .dim = {context}, .dtype = DPT_DTYPE_I32, .classes = vocab, .targets = context};
}

/* A job with this size; `size` must live as long. */
static struct dpt_job job_of(enum dpt_model_type type, char *size)
{
    return (struct dpt_job){.model = {.type = type, .size = size, .bias = true}};
}

static struct dpt_graph *predict_graph(const struct dpt_job *job, const struct dpt_model_io *io)
{
    struct dpt_graph *graph = dpt_graph_new(DPT_DTYPE_F32, 1, false);
    if (dpt_model_build(job, io, true, graph) != DPT_STATUS_OK) {
        fail_msg("%s", dpt_error_text());
    }
    return graph;
}

static int64_t parameters(const struct dpt_graph *graph, int *count)
{
    int64_t sum = 0;
    *count = 0;
    for (int v = 0; v < graph->nvalues; v++) {
        if (graph->value[v].kind == DPT_VALUE_KIND_PARAM) {
            sum += dpt_type_numel(&graph->value[v].type);
            (*count)++;
        }
    }
    return sum;
}

/* GPT-2's files have these with rows and columns exchanged. */
static bool is_turned(const char *name)
{
    return strstr(name, "c_attn.weight") || strstr(name, "c_proj.weight") || strstr(name, "c_fc.weight");
}

/* The label of tests/model/transformers.txt as a size of ours. */
static struct dpt_graph *labelled(const char *label)
{
    static char size[64];
    const bool gpt = strncmp(label, "gpt", 3) == 0;
    snprintf(size, sizeof size, "%s", strcmp(label, "llama") == 0 ? "tinyllama-1.1b" : label);
    struct dpt_job job = job_of(gpt ? DPT_MODEL_TYPE_GPT : DPT_MODEL_TYPE_LLAMA, size);
    const struct dpt_model_io io = gpt ? io_of(1024, 50257) : io_of(2048, 32000);
    return predict_graph(&job, &io);
}

/* "label parameters N", "label name dim...", a label's lines one after the other. */
static void names_are_transformers(void **state)
{
    (void)state;
    char path[4096], line[256], label[64] = "";
    const char *top = getenv("abs_srcdir");
    if (!top) {
        skip();
    }
    snprintf(path, sizeof path, "%s/tests/model/transformers.txt", top);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    struct dpt_graph *graph = NULL;
    int labels = 0, named = 0, ours = 0;
    while (fgets(line, sizeof line, file)) {
        char here[64], name[128], text[96], want[96];
        int at;
        if (*line == '#' || sscanf(line, "%63s %127s%n", here, name, &at) != 2) {
            continue;
        }
        if (strcmp(label, here) != 0) {
            assert_true(named == 0 || named == ours);
            dpt_graph_free(graph);
            graph = labelled(here);
            strcpy(label, here);
            named = 0;
            labels++;
        }
        if (strcmp(name, "parameters") == 0) {
            assert_int_equal(parameters(graph, &ours), strtoll(line + at, NULL, 10));
            continue;
        }
        struct dpt_type type = type_of(line + at);
        if (is_turned(name)) {
            const int64_t rows = type.dim[0];
            type.dim[0] = type.dim[1];
            type.dim[1] = rows;
        }
        const int id = dpt_graph_find(graph, name);
        if (id < 0) {
            fail_msg("%s: there is no %s", label, name);
        }
        const struct dpt_type stored = dpt_graph_stored(graph, id);
        assert_string_equal(dpt_type_text(text, sizeof text, &stored), dpt_type_text(want, sizeof want, &type));
        named++;
    }
    fclose(file);
    dpt_graph_free(graph);
    assert_int_equal(labels, 7);
}

/* Published sizes of the others, in millions, rounded; without their vocabulary where only that is known. */
static void sizes_are_as_published(void **state)
{
    (void)state;
    static const struct {
        const char *size;
        int64_t context, vocab;
        double millions, tolerance;
    } known[] = {
        {"gpt3-small", 2048, 50257, 125, 1},        {"gpt3-medium", 2048, 50257, 355, 2},
        {"gpt3-large", 2048, 50257, 760, 2},        {"gpt3-xl", 2048, 50257, 1315, 2},
        {"gpt3-2.7b", 2048, 50257, 2650, 5},        {"gpt3-6.7b", 2048, 50257, 6660, 10},
        {"gpt3-13b", 2048, 50257, 12850, 20},       {"gpt3-175b", 2048, 50257, 174600, 100},
        {"llama-13b", 2048, 32000, 13016, 1},       {"llama-30b", 2048, 32000, 32529, 1},
        {"llama-65b", 2048, 32000, 65286, 1},       {"llama3-8b", 8192, 128256, 8030, 1},
        {"llama3-70b", 8192, 128256, 70554, 1},     {"llama2-7b", 4096, 32000, 6738, 1},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        char size[32];
        int count;
        strcpy(size, known[i].size);
        const bool gpt = strncmp(size, "gpt", 3) == 0;
        struct dpt_job job = job_of(gpt ? DPT_MODEL_TYPE_GPT : DPT_MODEL_TYPE_LLAMA, size);
        const struct dpt_model_io io = io_of(known[i].context, known[i].vocab);
        struct dpt_graph *graph = predict_graph(&job, &io);
        const double millions = (double)parameters(graph, &count) * 1e-6;
        if (fabs(millions - known[i].millions) > known[i].tolerance) {
            fail_msg("%s has %.1f million parameters, expected %.1f", size, millions, known[i].millions);
        }
        dpt_graph_free(graph);
    }
}

/* A small model in double with its gradient. */
static struct dpt_graph *trained(const struct dpt_job *job, const struct dpt_model_io *io)
{
    struct dpt_graph *graph = dpt_graph_new(DPT_DTYPE_F64, 2, true);
    if (dpt_model_build(job, io, false, graph) != DPT_STATUS_OK || dpt_graph_fuse(graph) != DPT_STATUS_OK ||
        dpt_graph_gradient(graph) != DPT_STATUS_OK || dpt_graph_fuse_gradient(graph, NULL) != DPT_STATUS_OK ||
        dpt_graph_fuse_norms(graph) != DPT_STATUS_OK || dpt_graph_check(graph) != DPT_STATUS_OK) {
        fail_msg("%s", dpt_error_text());
    }
    return graph;
}

/*
 * Each half of a block begins with a norm; it makes the sum that it reads, and the gradient of the residual path around it is
 * added where that of its input is made.
 */
static void nothing_is_added_by_itself(void **state)
{
    (void)state;
    char size[] = "auto";
    const struct dpt_model_io io = io_of(5, 11);
    for (int gpt = 0; gpt < 2; gpt++) {
        struct dpt_job job = job_of(gpt ? DPT_MODEL_TYPE_GPT : DPT_MODEL_TYPE_LLAMA, size);
        job.model.depth = 3;
        job.model.width = 8;
        job.model.heads = 2;
        struct dpt_graph *graph = trained(&job, &io);
        int both = 0, alone = 0, sums = 0;
        for (int n = 0; n < graph->nnodes; n++) {
            const struct dpt_node *node = &graph->node[n];
            assert_false(node->phase == DPT_PHASE_FORWARD && strcmp(node->op->name, "add") == 0);
            assert_false(node->phase == DPT_PHASE_INPUT_GRADIENT && strcmp(node->op->name, "add") == 0 && gpt);
            sums += strcmp(node->op->name, gpt ? "add_layer_norm" : "add_rms_norm") == 0;
            if (strcmp(node->op->name, gpt ? "layer_norm_dx" : "rms_norm_dx") == 0) {
                both += node->nin == (gpt ? 6 : 5);
                alone += node->nin == (gpt ? 5 : 4);
            }
        }
        assert_int_equal(sums, 2 * 3); /* all but the first one, which reads the embedding */
        assert_int_equal(both, 2 * 3);
        assert_int_equal(alone, 1); /* the last one is read by no residual path */
        dpt_graph_free(graph);
    }
}

static void the_gradient_is_right(void **state)
{
    (void)state;
    char size[] = "auto";
    const struct dpt_model_io io = io_of(5, 11);
    for (int i = 0; i < 6; i++) {
        struct dpt_job job = job_of(i < 3 ? DPT_MODEL_TYPE_GPT : DPT_MODEL_TYPE_LLAMA, size);
        job.model.depth = 2;
        job.model.width = 8;
        job.model.heads = 4;
        job.model.kv_heads = i == 3 ? 2 : i == 4 ? 1 : 0;
        job.model.ffn = 6;
        job.model.bias = i != 1;
        job.model.dropout = i == 2 ? 0.3 : 0.0;
        job.model.tied = i % 2 ? DPT_AUTO_OFF : DPT_AUTO_ON;
        job.model.context = i == 1 ? 7 : 0;
        struct dpt_graph *graph = trained(&job, &io);
        interpret_check_gradient(graph, io.classes);
        dpt_graph_free(graph);
    }
}

/* First weights: N(0, 0.02), those behind which a sum stands smaller by the root of twice the blocks; no decay of norms. */
static void first_weights(void **state)
{
    (void)state;
    char size[] = "gpt2";
    struct dpt_job job = job_of(DPT_MODEL_TYPE_GPT, size);
    const struct dpt_model_io io = io_of(1024, 50257);
    struct dpt_graph *graph = predict_graph(&job, &io);
    const struct dpt_value *v = graph->value;
    const struct dpt_value *proj = &v[dpt_graph_find(graph, "transformer.h.3.attn.c_proj.weight")];
    const struct dpt_value *attn = &v[dpt_graph_find(graph, "transformer.h.3.attn.c_attn.weight")];
    const struct dpt_value *norm = &v[dpt_graph_find(graph, "transformer.h.3.ln_1.weight")];
    const struct dpt_value *bias = &v[dpt_graph_find(graph, "transformer.h.3.attn.c_attn.bias")];
    assert_true(proj->init.kind == DPT_INIT_KIND_NORMAL && attn->init.kind == DPT_INIT_KIND_NORMAL);
    assert_float_equal(proj->init.scale, 0.02 / sqrt(24.0), 1e-15);
    assert_float_equal(attn->init.scale, 0.02, 1e-15);
    assert_true(norm->init.kind == DPT_INIT_KIND_CONST && norm->init.scale == 1.0 && !norm->decay);
    assert_true(bias->init.kind == DPT_INIT_KIND_CONST && bias->init.scale == 0.0 && !bias->decay);
    assert_true(proj->decay && attn->decay);
    dpt_graph_free(graph);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    char size[] = "auto";
    const struct dpt_model_io io = io_of(16, 11);
    struct dpt_job job = job_of(DPT_MODEL_TYPE_GPT, size);
    job.model.heads = 7;
    assert_refused(&job, &io, "[model] width = 768 cannot be divided into heads = 7");
    job = job_of(DPT_MODEL_TYPE_GPT, size);
    job.model.context = 15;
    assert_refused(&job, &io, "[model] context = 15 is less than the 16 tokens");
    job = job_of(DPT_MODEL_TYPE_LLAMA, size);
    job.model.heads = 9;
    job.model.kv_heads = 2;
    job.model.width = 36;
    assert_refused(&job, &io, "[model] heads = 9 cannot be divided into groups for kv_heads = 2");
    job.model.width = 27;
    assert_refused(&job, &io, "rotary positions need an even number");
    const struct dpt_model_io table = {.ndim = 1, .dim = {10}, .targets = 1};
    assert_refused(&job, &table, "[data] format = tokens");
}

/* ---------------------------------------------------------------------------------------------------- PyTorch */

static struct dpt_tensors *tensors_of(const char *top, const char *model)
{
    char path[4096];
    struct dpt_tensors *tensors;
    snprintf(path, sizeof path, "%s/tests/reference/%s", top, model);
    if (dpt_tensors_open(path, &tensors) != DPT_STATUS_OK) {
        fail_msg("%s", dpt_error_text());
    }
    return tensors;
}

/* A tensor as our graph has it: GPT-2's matrices turned. From malloc. */
static float *values_of(const struct dpt_tensors *tensors, const char *name, int64_t numel)
{
    const int at = dpt_tensors_find(tensors, name);
    if (at < 0) {
        fail_msg("there is no %s", name);
    }
    const struct dpt_type *type = dpt_tensors_type(tensors, at);
    assert_int_equal(dpt_type_numel(type), numel);
    float *value = malloc((size_t)numel * sizeof *value), *out = malloc((size_t)numel * sizeof *out);
    assert_true(value && out);
    assert_int_equal(dpt_tensors_read(tensors, at, value), DPT_STATUS_OK);
    const int64_t rows = type->dim[0], columns = is_turned(name) ? type->dim[1] : 1;
    for (int64_t i = 0; i < numel; i++) {
        out[i] = is_turned(name) ? value[i % rows * columns + i / rows] : value[i];
    }
    free(value);
    return out;
}

/* tests/reference/language.py: BATCH windows of CONTEXT tokens, one after the other. */
enum { BATCH = 6, CONTEXT = 12, POSITIONS = 16, TOKENS = 24 };

static void read_tokens(struct interpret *run, const char *top, const char *model)
{
    char path[4096];
    unsigned char pair[2 * (BATCH * CONTEXT + 1)];
    snprintf(path, sizeof path, "%s/tests/reference/%s/tokens.bin", top, model);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(pair, 1, sizeof pair, file), sizeof pair);
    fclose(file);
    for (int64_t i = 0; i < BATCH * CONTEXT; i++) {
        interpret_set(run, run->graph->input, i, pair[2 * i]);
        interpret_set(run, run->graph->target, i, pair[2 * i + 2]);
    }
}

/* Loss and every gradient of the first step, in float with the plain kernels. */
static void check_reference(const char *model, const struct dpt_job *job)
{
    const char *top = getenv("abs_srcdir");
    char gradients[64];
    if (!top) {
        skip();
    }
    const struct dpt_model_io io = io_of(CONTEXT, TOKENS);
    struct dpt_graph *graph = dpt_graph_new(DPT_DTYPE_F32, BATCH, true);
    if (dpt_model_build(job, &io, false, graph) != DPT_STATUS_OK || dpt_graph_fuse(graph) != DPT_STATUS_OK ||
        dpt_graph_gradient(graph) != DPT_STATUS_OK || dpt_graph_fuse_gradient(graph, NULL) != DPT_STATUS_OK ||
        dpt_graph_fuse_norms(graph) != DPT_STATUS_OK) {
        fail_msg("%s", dpt_error_text());
    }
    struct interpret *run = interpret_new(graph, TOKENS);
    struct dpt_tensors *weights = tensors_of(top, model);
    snprintf(gradients, sizeof gradients, "%s/gradients", model);
    struct dpt_tensors *expected = tensors_of(top, gradients);
    for (int v = 0; v < graph->nvalues; v++) {
        if (graph->value[v].kind == DPT_VALUE_KIND_PARAM) {
            const int64_t numel = dpt_type_numel(&graph->value[v].type);
            float *value = values_of(weights, graph->value[v].name, numel);
            for (int64_t i = 0; i < numel; i++) {
                interpret_set(run, v, i, value[i]);
            }
            free(value);
        }
    }
    read_tokens(run, top, model);
    interpret_run(run, DPT_PHASE_WEIGHT_GRADIENT);
    char path[4096];
    double loss;
    snprintf(path, sizeof path, "%s/tests/reference/%s/losses.txt", top, model);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*[^\n] %*d %lf", &loss), 1);
    fclose(file);
    assert_float_equal(interpret_loss(run), loss, 1e-5 * loss);
    for (int v = 0; v < graph->nvalues; v++) {
        if (graph->value[v].kind != DPT_VALUE_KIND_PARAM) {
            continue;
        }
        const int64_t numel = dpt_type_numel(&graph->value[v].type);
        float *value = values_of(expected, graph->value[v].name, numel);
        double largest = 0.0;
        for (int64_t i = 0; i < numel; i++) {
            largest = fabs((double)value[i]) > largest ? fabs((double)value[i]) : largest;
        }
        for (int64_t i = 0; i < numel; i++) {
            const double ours = interpret_get(run, graph->value[v].gradient, i);
            if (fabs(ours - (double)value[i]) > 1e-4 * largest) {
                fail_msg("%s, element %lld of the gradient: %.8g, PyTorch has %.8g", graph->value[v].name, (long long)i,
                         ours, (double)value[i]);
            }
        }
        free(value);
    }
    dpt_tensors_close(weights);
    dpt_tensors_close(expected);
    interpret_free(run);
    dpt_graph_free(graph);
}

static void gpt_is_pytorchs(void **state)
{
    (void)state;
    char size[] = "auto";
    struct dpt_job job = job_of(DPT_MODEL_TYPE_GPT, size);
    job.model.depth = 2;
    job.model.width = 16;
    job.model.heads = 4;
    job.model.context = POSITIONS;
    check_reference("gpt", &job);
}

static void llama_is_pytorchs(void **state)
{
    (void)state;
    char size[] = "auto";
    struct dpt_job job = job_of(DPT_MODEL_TYPE_LLAMA, size);
    job.model.depth = 2;
    job.model.width = 16;
    job.model.heads = 4;
    job.model.kv_heads = 2;
    job.model.ffn = 24;
    job.model.tied = DPT_AUTO_OFF;
    check_reference("llama", &job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_transformers),
        cmocka_unit_test(sizes_are_as_published),
        cmocka_unit_test(the_gradient_is_right),
        cmocka_unit_test(nothing_is_added_by_itself),
        cmocka_unit_test(first_weights),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(gpt_is_pytorchs),
        cmocka_unit_test(llama_is_pytorchs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
