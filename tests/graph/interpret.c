/* SPDX-License-Identifier: Apache-2.0 */
#include "interpret.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/rng.h"

enum { ALIGN = 64 };

static void *allocate(size_t nbytes)
{
    void *block = aligned_alloc(ALIGN, (nbytes / ALIGN + 1) * ALIGN);
    assert_non_null(block);
    return block;
}

double interpret_get(const struct interpret *run, int value, int64_t element)
{
    const struct dpt_tensor *tensor = &run->tensor[value];
    switch (tensor->type.dtype) {
    case DPT_DTYPE_F32:
        return ((const float *)tensor->data)[element];
    case DPT_DTYPE_F64:
        return ((const double *)tensor->data)[element];
    case DPT_DTYPE_I32:
        return ((const int32_t *)tensor->data)[element];
    case DPT_DTYPE_U8:
        return ((const uint8_t *)tensor->data)[element];
    default:
        fail_msg("%s: dtype %s", run->graph->value[value].name, dpt_dtype_name(tensor->type.dtype));
        return 0.0;
    }
}

void interpret_set(struct interpret *run, int value, int64_t element, double number)
{
    struct dpt_tensor *tensor = &run->tensor[value];
    switch (tensor->type.dtype) {
    case DPT_DTYPE_F32:
        ((float *)tensor->data)[element] = (float)number;
        break;
    case DPT_DTYPE_F64:
        ((double *)tensor->data)[element] = number;
        break;
    case DPT_DTYPE_I32:
        ((int32_t *)tensor->data)[element] = (int32_t)number;
        break;
    default:
        fail_msg("%s: dtype %s", run->graph->value[value].name, dpt_dtype_name(tensor->type.dtype));
    }
}

/* What a given value begins with. */
static double first_number(const struct dpt_value *value, int64_t element, int64_t classes)
{
    const uint32_t key = (uint32_t)dpt_hash64(value->name, strlen(value->name));
    uint32_t word[4];
    double normal[2];
    dpt_rng_words(7, DPT_RNG_USE_INIT, key, 0, (uint64_t)element, word);
    dpt_rng_normal(1, word, normal);
    if (value->kind == DPT_VALUE_KIND_INPUT) {
        return value->type.dtype == DPT_DTYPE_I32 ? (double)(word[0] % (uint64_t)classes) : normal[0];
    }
    switch (value->init.kind) {
    case DPT_INIT_KIND_NORMAL:
        return value->init.scale * normal[0];
    case DPT_INIT_KIND_UNIFORM:
        return value->init.scale * (2.0 * dpt_rng_unit64(word[0], word[1]) - 1.0);
    default:
        return value->init.scale;
    }
}

struct interpret *interpret_new(const struct dpt_graph *graph, int64_t classes)
{
    struct interpret *run = calloc(1, sizeof *run);
    assert_non_null(run);
    run->graph = graph;
    run->tensor = calloc((size_t)graph->nvalues, sizeof *run->tensor);
    assert_non_null(run->tensor);
    run->ctx = (struct dpt_op_ctx){
        .seed = 11,
        .step = 3,
        .rows = graph->rows,
        .micro_rows = graph->rows,
        .batch_rows = graph->rows,
        .lr = 0.1,
        .grad_scale = 1.0,
        .update = 1,
    };
    for (int i = 0; i < graph->nvalues; i++) {
        const struct dpt_value *value = &graph->value[i];
        const size_t nbytes = dpt_type_nbytes(&value->type);
        run->tensor[i] = (struct dpt_tensor){value->type, allocate(nbytes)};
        memset(run->tensor[i].data, 0xff, nbytes); /* NaN: what is read before it is written is seen */
        for (int64_t e = 0; value->producer < 0 && e < dpt_type_numel(&value->type); e++) {
            interpret_set(run, i, e, first_number(value, e, classes));
        }
    }
    return run;
}

void interpret_free(struct interpret *run)
{
    for (int i = 0; i < run->graph->nvalues; i++) {
        free(run->tensor[i].data);
    }
    free(run->tensor);
    free(run);
}

static void run_node(struct interpret *run, const struct dpt_node *node)
{
    const struct dpt_op *op = node->op;
    struct dpt_op_types types;
    dpt_graph_types(run->graph, node, &types);
    struct dpt_tensor in[DPT_OP_MAX_IN], out[DPT_OP_MAX_OUT];
    for (int i = 0; i < node->nin; i++) {
        in[i] = run->tensor[node->in[i]];
    }
    for (int i = 0; i < node->nout; i++) {
        out[i] = run->tensor[node->out[i]];
    }
    if (op->view) {
        memcpy(out[0].data, in[0].data, dpt_type_nbytes(&in[0].type));
        return;
    }
    struct dpt_op_call call = {.types = &types, .in = in, .out = out, .ctx = &run->ctx};
    assert_int_equal(dpt_op_prepare(op, &types, DPT_RUN_REF, 1, NULL, &call.prep), DPT_STATUS_OK);
    const size_t nbytes = dpt_op_scratch(op, &types, DPT_RUN_REF, 1, call.prep);
    call.scratch = nbytes ? allocate(nbytes) : NULL;
    if (dpt_op_call(op, DPT_RUN_REF, &call) != DPT_STATUS_OK) {
        fail_msg("%s: %s: %s", node->name, op->name, dpt_error_text());
    }
    free(call.scratch);
    dpt_op_release(op, &types, DPT_RUN_REF, call.prep);
}

void interpret_run(struct interpret *run, enum dpt_phase last)
{
    for (int n = 0; n < run->graph->nnodes && run->graph->node[n].phase <= last; n++) {
        run_node(run, &run->graph->node[n]);
    }
}

double interpret_loss(const struct interpret *run)
{
    const int loss = run->graph->loss;
    double sum = 0.0;
    for (int64_t e = 0; e < dpt_type_numel(&run->tensor[loss].type); e++) {
        sum += interpret_get(run, loss, e);
    }
    return sum / (double)run->ctx.batch_rows;
}

/* The loss with one element of a parameter moved by `by`. */
static double moved_loss(struct interpret *run, int value, int64_t element, double by)
{
    const double here = interpret_get(run, value, element);
    interpret_set(run, value, element, here + by);
    interpret_run(run, DPT_PHASE_FORWARD);
    interpret_set(run, value, element, here);
    return interpret_loss(run);
}

void interpret_check_gradient(const struct dpt_graph *graph, int64_t classes)
{
    enum { SAMPLES = 5 };
    const double step = 1e-6;
    assert_int_equal(graph->real, DPT_DTYPE_F64);
    struct interpret *run = interpret_new(graph, classes), *moved = interpret_new(graph, classes);
    interpret_run(run, DPT_PHASE_WEIGHT_GRADIENT);
    for (int p = 0; p < graph->nvalues; p++) {
        if (graph->value[p].kind != DPT_VALUE_KIND_PARAM) {
            continue;
        }
        const int64_t numel = dpt_type_numel(&graph->value[p].type);
        for (int64_t s = 0; s < (numel < SAMPLES ? numel : SAMPLES); s++) {
            const int64_t e = dpt_split_begin(numel, SAMPLES < numel ? SAMPLES : (int)numel, (int)s);
            const double analytic = interpret_get(run, graph->value[p].gradient, e);
            const double up = moved_loss(moved, p, e, step), down = moved_loss(moved, p, e, -step);
            const double numeric = (up - down) / (2.0 * step);
            if (!(fabs(analytic - numeric) <= 1e-8 + 1e-5 * fabs(numeric))) {
                fail_msg("%s[%lld]: gradient %.10g, finite difference %.10g", graph->value[p].name, (long long)e,
                         analytic, numeric);
            }
        }
    }
    interpret_free(run);
    interpret_free(moved);
}

/* Component of the direction for an element of a parameter. */
static double direction(const struct dpt_value *value, int64_t element)
{
    const struct dpt_value normal = {.name = value->name, .init = {DPT_INIT_KIND_NORMAL, 0.1}};
    return first_number(&normal, element + dpt_type_numel(&value->type), 0);
}

static double loss_along(struct interpret *run, double step)
{
    for (int p = 0; p < run->graph->nvalues; p++) {
        const struct dpt_value *value = &run->graph->value[p];
        for (int64_t e = 0; value->kind == DPT_VALUE_KIND_PARAM && e < dpt_type_numel(&value->type); e++) {
            interpret_set(run, p, e, interpret_get(run, p, e) + step * direction(value, e));
        }
    }
    interpret_run(run, DPT_PHASE_FORWARD);
    return interpret_loss(run);
}

void interpret_check_direction(const struct dpt_graph *graph, int64_t classes)
{
    const double step = 1e-8; /* few of the many kinks of relu lie in so short a way */
    assert_int_equal(graph->real, DPT_DTYPE_F64);
    struct interpret *run = interpret_new(graph, classes);
    interpret_run(run, DPT_PHASE_WEIGHT_GRADIENT);
    double analytic = 0.0;
    for (int p = 0; p < graph->nvalues; p++) {
        const struct dpt_value *value = &graph->value[p];
        for (int64_t e = 0; value->kind == DPT_VALUE_KIND_PARAM && e < dpt_type_numel(&value->type); e++) {
            analytic += direction(value, e) * interpret_get(run, value->gradient, e);
        }
    }
    const double up = loss_along(run, step), down = loss_along(run, -2.0 * step);
    const double numeric = (up - down) / (2.0 * step);
    if (!(fabs(analytic - numeric) <= 1e-8 + 1e-5 * fabs(numeric))) {
        fail_msg("directional derivative %.10g, finite difference %.10g", analytic, numeric);
    }
    interpret_free(run);
}
