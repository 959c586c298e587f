/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How it works: a tape holds the values and nodes of one forward op and of what its gradient rule adds, all computed
 * by REF in double. Finite differences rerun the first node; every other question takes one node of the tape at a
 * time with the values that it had there, so that statistics, saved outputs and places of maxima fit together.
 */

#include "optest.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/half.h"
#include "base/rng.h"
#include "optest_impl.h"

enum { MAX_VALUES = 64, MAX_NODES = 24 };
enum { GUARD_BYTE = 0xA5, POISON_BYTE = 0xFF, SEED = 20240229 };

/* ---- memory between guard bytes ---- */

static void *guarded_new(size_t nbytes, int fill)
{
    const size_t body = (nbytes + 63) / 64 * 64;
    unsigned char *block = aligned_alloc(64, body + 2 * GUARD);
    assert_non_null(block);
    memset(block, GUARD_BYTE, body + 2 * GUARD);
    memset(block + GUARD, fill, nbytes);
    return block + GUARD;
}

size_t guarded_nbytes(size_t nbytes)
{
    return GUARD + (nbytes + 63) / 64 * 64 + GUARD;
}

/* True when nothing was written beside the nbytes at data; frees them. */
static bool guarded_free(void *data, size_t nbytes)
{
    if (data == NULL) {
        return true;
    }
    unsigned char *block = (unsigned char *)data - GUARD;
    const size_t end = GUARD + (nbytes + 63) / 64 * 64 + GUARD;
    bool clean = true;
    for (size_t i = 0; i < end; i += i == GUARD - 1 ? 1 + nbytes : 1) {
        clean = clean && block[i] == GUARD_BYTE;
    }
    free(block);
    return clean;
}

struct dpt_tensor tensor_new(const struct dpt_type *type, int fill)
{
    return (struct dpt_tensor){*type, guarded_new(dpt_type_nbytes(type), fill)};
}

void tensor_free(struct dpt_tensor *tensor, const char *what)
{
    if (!guarded_free(tensor->data, dpt_type_nbytes(&tensor->type))) {
        char text[96];
        fail_msg("%s: wrote outside its memory, %s", what, dpt_type_text(text, sizeof text, &tensor->type));
    }
    tensor->data = NULL;
}

struct dpt_tensor tensor_copy(const struct dpt_tensor *from)
{
    struct dpt_tensor copy = tensor_new(&from->type, 0);
    memcpy(copy.data, from->data, dpt_type_nbytes(&from->type));
    return copy;
}

double element(const struct dpt_tensor *tensor, int64_t i)
{
    switch (tensor->type.dtype) {
    case DPT_DTYPE_F32:
        return ((const float *)tensor->data)[i];
    case DPT_DTYPE_F64:
        return ((const double *)tensor->data)[i];
    case DPT_DTYPE_I32:
        return ((const int32_t *)tensor->data)[i];
    case DPT_DTYPE_U8:
        return ((const unsigned char *)tensor->data)[i];
    case DPT_DTYPE_BF16:
    case DPT_DTYPE_F16: {
        float value;
        dpt_half_widen(tensor->type.dtype, 1, (const uint16_t *)tensor->data + i, &value);
        return value;
    }
    default:
        fail_msg("optest: no elements of type %s", dpt_dtype_name(tensor->type.dtype));
        return 0.0;
    }
}

void set_element(const struct dpt_tensor *tensor, int64_t i, double value)
{
    switch (tensor->type.dtype) {
    case DPT_DTYPE_F32:
        ((float *)tensor->data)[i] = (float)value;
        break;
    case DPT_DTYPE_F64:
        ((double *)tensor->data)[i] = value;
        break;
    case DPT_DTYPE_I32:
        ((int32_t *)tensor->data)[i] = (int32_t)value;
        break;
    case DPT_DTYPE_U8:
        ((unsigned char *)tensor->data)[i] = (unsigned char)value;
        break;
    case DPT_DTYPE_BF16:
    case DPT_DTYPE_F16: {
        const float number = (float)value;
        dpt_half_narrow(tensor->type.dtype, 1, &number, (uint16_t *)tensor->data + i);
        break;
    }
    default:
        fail_msg("optest: no elements of type %s", dpt_dtype_name(tensor->type.dtype));
    }
}

struct dpt_tensor tensor_convert(const struct dpt_tensor *from, enum dpt_dtype dtype)
{
    struct dpt_type type = from->type;
    type.dtype = dtype;
    struct dpt_tensor to = tensor_new(&type, 0);
    for (int64_t i = 0; i < dpt_type_numel(&type); i++) {
        set_element(&to, i, element(from, i));
    }
    return to;
}

/* A keyed standard normal number. */
static double normal_at(uint32_t stream, int64_t index)
{
    uint32_t word[4];
    double normal[2];
    dpt_rng_words(SEED, DPT_RNG_USE_DATA, stream, 0, (uint64_t)index, word);
    dpt_rng_normal(1, word, normal);
    return normal[0];
}

double optest_positive(double normal)
{
    return fabs(normal) + 0.1;
}

/* ---- one call ---- */

void results_free(struct results *results, const char *op)
{
    for (int i = 0; i < results->count; i++) {
        tensor_free(&results->tensor[i], op);
    }
    results->count = 0;
}

const char *run_name(enum dpt_run run, enum dpt_dtype real)
{
    static const char *const name[DPT_RUN_COUNT][2] = {
        {"REF F32", "REF F64"}, {"CPU F32", "CPU F64"}, {"CUDA F32", "CUDA F64"}};
    return name[run][real == DPT_DTYPE_F64];
}

/* Calls a kernel with prepared library objects and exactly the scratch that the op asks for. */
static void call_kernel(const struct dpt_op *op, enum dpt_run run, struct dpt_op_types *types,
                        const struct dpt_tensor *in, const struct dpt_tensor *out, const struct dpt_op_ctx *ctx,
                        const struct dpt_op_part *parts, bool add)
{
    struct dpt_op_call call = {.types = types, .in = in, .out = out, .ctx = ctx, .part = parts, .add = add};
    if (dpt_op_prepare(op, types, run, 1, run == DPT_RUN_CUDA ? card_device() : NULL, &call.prep) != DPT_STATUS_OK) {
        fail_msg("%s: prepare: %s", op->name, dpt_error_text());
    }
    const size_t nbytes = dpt_op_scratch(op, types, run, 1, call.prep);
    call.scratch = nbytes ? guarded_new(nbytes, POISON_BYTE) : NULL;
    if (op->view) {
        memcpy(out[0].data, in[0].data, dpt_type_nbytes(&in[0].type));
    } else if ((run == DPT_RUN_CUDA ? card_call(op, &call, nbytes) : dpt_op_call(op, run, &call)) != DPT_STATUS_OK) {
        fail_msg("%s: %s", op->name, dpt_error_text());
    }
    if (!guarded_free(call.scratch, nbytes)) {
        fail_msg("%s: wrote outside the %zu bytes of scratch that it asked for", op->name, nbytes);
    }
    dpt_op_release(op, types, run, call.prep);
}

void set_types(const struct dpt_op *op, const void *param, int nin, const struct dpt_tensor *in,
                      struct dpt_op_types *types)
{
    *types = (struct dpt_op_types){.param = param, .nin = nin};
    for (int i = 0; i < nin; i++) {
        types->in[i] = in[i].type;
    }
    if (op->shape(types) != DPT_STATUS_OK) {
        fail_msg("%s: %s", op->name, dpt_error_text());
    }
    for (int i = 0; i < types->nout; i++) {
        assert_int_equal(dpt_type_check(&types->out[i], op->name), DPT_STATUS_OK);
    }
}

/*
 * Runs one kernel on copies of the inputs and gives what it computed. alias >= 0: output 0 takes the memory of that
 * input. Fails when an input changed that should not.
 */
void run_op(const struct dpt_op *op, const void *param, enum dpt_run run, int nin, const struct dpt_tensor *in,
            const struct dpt_op_ctx *ctx, int alias, const struct dpt_op_part *parts, struct results *results)
{
    struct dpt_op_types types;
    set_types(op, param, nin, in, &types);
    run_types(op, run, &types, in, ctx, alias, parts, results);
}

void run_types(const struct dpt_op *op, enum dpt_run run, const struct dpt_op_types *of, const struct dpt_tensor *in,
               const struct dpt_op_ctx *ctx, int alias, const struct dpt_op_part *parts, struct results *results)
{
    struct dpt_op_types types = *of;
    const int nin = types.nin;
    struct dpt_tensor copy[DPT_OP_MAX_IN], out[DPT_OP_MAX_OUT];
    for (int i = 0; i < nin; i++) {
        copy[i] = tensor_copy(&in[i]);
    }
    for (int i = 0; i < types.nout; i++) {
        out[i] = i == 0 && alias >= 0 ? copy[alias] : tensor_new(&types.out[i], POISON_BYTE);
    }
    if (alias >= 0 && !dpt_type_equal(&types.out[0], &in[alias].type)) {
        fail_msg("%s: alias names input %d, which is not of the type of output 0", op->name, alias);
    }
    call_kernel(op, run, &types, copy, out, ctx, parts, false);

    results->count = 0;
    for (int i = 0; i < types.nout; i++) {
        snprintf(results->what[results->count], sizeof results->what[0], "output %d", i);
        results->operand[results->count] = nin + i;
        results->tensor[results->count++] = out[i];
    }
    for (int i = 0; i < nin; i++) {
        if (op->update && (op->writes >> i & 1)) {
            snprintf(results->what[results->count], sizeof results->what[0], "input %d", i);
            results->operand[results->count] = i;
            results->tensor[results->count++] = copy[i];
        } else if (i != alias) {
            if (memcmp(copy[i].data, in[i].data, dpt_type_nbytes(&in[i].type)) != 0) {
                fail_msg("%s, %s: changed its input %d", op->name, run_name(run, in[0].type.dtype), i);
            }
            tensor_free(&copy[i], op->name);
        }
    }
}

void optest_call(const char *name, enum dpt_run run, const void *param, int nin, const struct dpt_tensor *in, int nout,
                 const struct dpt_tensor *out, const struct dpt_op_ctx *ctx)
{
    const struct dpt_op *op = dpt_op_find(name);
    assert_non_null(op);
    struct dpt_op_types types;
    set_types(op, param, nin, in, &types);
    assert_int_equal(types.nout, nout);
    for (int i = 0; i < nout; i++) {
        assert_true(dpt_type_equal(&types.out[i], &out[i].type));
    }
    call_kernel(op, run, &types, in, out, ctx, NULL, false);
}

/* ---- comparing ---- */

static double largest(const struct dpt_tensor *tensor)
{
    double max = 0.0;
    for (int64_t i = 0; i < dpt_type_numel(&tensor->type); i++) {
        max = fmax(max, fabs(element(tensor, i)));
    }
    return max;
}

/* Fails unless every element is within tolerance * (largest expected element). */
static void compare(const char *op, const char *how, const char *what, const struct dpt_tensor *got,
                    const struct dpt_tensor *expected, double tolerance)
{
    char text[96], text2[96];
    struct dpt_type type = expected->type;
    type.dtype = got->type.dtype;
    if (!dpt_type_equal(&got->type, &type)) {
        fail_msg("%s, %s: %s is %s, expected the shape of %s", op, how, what,
                 dpt_type_text(text, sizeof text, &got->type), dpt_type_text(text2, sizeof text2, &expected->type));
    }
    const bool exact = got->type.dtype != DPT_DTYPE_F32 && got->type.dtype != DPT_DTYPE_F64;
    const double limit = exact ? 0.0 : tolerance * fmax(largest(expected), 1e-30);
    for (int64_t i = 0; i < dpt_type_numel(&got->type); i++) {
        const double g = element(got, i), e = element(expected, i);
        if (!(fabs(g - e) <= limit)) {
            fail_msg("%s, %s: %s, element %lld of %s: got %.17g, expected %.17g (allowed difference %.3g)", op, how,
                     what, (long long)i, dpt_type_text(text, sizeof text, &got->type), g, e, limit);
        }
    }
}

void compare_results(const char *op, const char *how, const struct results *got, const struct results *expected,
                            double tolerance)
{
    assert_int_equal(got->count, expected->count);
    for (int i = 0; i < got->count; i++) {
        compare(op, how, expected->what[i], &got->tensor[i], &expected->tensor[i], tolerance);
    }
}

static void compare_bits(const char *op, const char *how, const struct results *got, const struct results *expected)
{
    assert_int_equal(got->count, expected->count);
    for (int i = 0; i < got->count; i++) {
        if (memcmp(got->tensor[i].data, expected->tensor[i].data, dpt_type_nbytes(&got->tensor[i].type)) != 0) {
            fail_msg("%s: %s: %s differs in its bits", op, how, expected->what[i]);
        }
    }
}

/* ---- the tape ---- */

struct node {
    const struct dpt_op *op;
    void *param; /* copy */
    int nin, nout;
    int in[DPT_OP_MAX_IN], out[DPT_OP_MAX_OUT];
};

struct tape {
    int nvalues, nnodes;
    struct dpt_tensor value[MAX_VALUES]; /* real ones in F64                        */
    bool real[MAX_VALUES];               /* of the real type, not F64 in any case   */
    struct node node[MAX_NODES];
    struct dpt_op_ctx ctx;
};

static int tape_value(struct tape *tape, struct dpt_tensor tensor, bool real)
{
    assert_true(tape->nvalues < MAX_VALUES);
    tape->value[tape->nvalues] = tensor;
    tape->real[tape->nvalues] = real;
    return tape->nvalues++;
}

/* Output types of an op when the real type is F32: which of its outputs are real. */
static void real_outputs(const struct tape *tape, const struct node *node, bool real[DPT_OP_MAX_OUT])
{
    struct dpt_op_types types = {.param = node->param, .nin = node->nin};
    for (int i = 0; i < node->nin; i++) {
        types.in[i] = tape->value[node->in[i]].type;
        types.in[i].dtype = tape->real[node->in[i]] ? DPT_DTYPE_F32 : types.in[i].dtype;
    }
    if (node->op->shape(&types) != DPT_STATUS_OK) {
        fail_msg("%s: in float: %s", node->op->name, dpt_error_text());
    }
    for (int i = 0; i < types.nout; i++) {
        real[i] = types.out[i].dtype == DPT_DTYPE_F32;
    }
}

/* dpt_op_grad.add: runs the node at once. */
static int tape_add(void *graph, const char *name, const void *param, int nin, const int *in)
{
    struct tape *tape = graph;
    const struct dpt_op *op = dpt_op_find(name);
    if (op == NULL) {
        dpt_error_set(DPT_STATUS_FAILED, __FILE__, __LINE__, "there is no op named %s", name);
        return -1;
    }
    while (nin > 0 && in[nin - 1] == -1) {
        nin--; /* missing optional operands */
    }
    assert_true(tape->nnodes < MAX_NODES && nin <= DPT_OP_MAX_IN);
    struct node *node = &tape->node[tape->nnodes++];
    *node = (struct node){.op = op, .nin = nin};
    if (op->param_nbytes) {
        assert_non_null(param);
        node->param = malloc(op->param_nbytes);
        memcpy(node->param, param, op->param_nbytes);
    }
    struct dpt_tensor tensor[DPT_OP_MAX_IN];
    for (int i = 0; i < nin; i++) {
        assert_in_range(in[i], 0, tape->nvalues - 1);
        node->in[i] = in[i];
        tensor[i] = tape->value[in[i]];
    }
    bool real[DPT_OP_MAX_OUT];
    real_outputs(tape, node, real);
    struct results results;
    run_op(op, node->param, DPT_RUN_REF, nin, tensor, &tape->ctx, -1, NULL, &results);
    if (op->update) {
        results_free(&results, op->name);
        return 0;
    }
    node->nout = results.count;
    for (int i = 0; i < results.count; i++) {
        node->out[i] = tape_value(tape, results.tensor[i], real[i]);
    }
    return node->out[0];
}

static void tape_free(struct tape *tape)
{
    for (int i = 0; i < tape->nvalues; i++) {
        tensor_free(&tape->value[i], "optest");
    }
    for (int i = 0; i < tape->nnodes; i++) {
        free(tape->node[i].param);
    }
    *tape = (struct tape){0};
}

/* The op's inputs as the first values of a tape, then the op itself as node 0. */
static void tape_forward(struct tape *tape, const struct optest *test)
{
    const struct dpt_op *op = dpt_op_find(test->op);
    if (op == NULL) {
        fail_msg("there is no op named %s", test->op);
        return;
    }
    struct dpt_op_types types = {.param = test->param, .nin = test->nin};
    int in[DPT_OP_MAX_IN];
    int64_t rows = 1;
    for (int i = 0; i < test->nin; i++) {
        const bool real = test->in[i].dtype == DPT_DTYPE_F32;
        struct dpt_type type = test->in[i];
        type.dtype = real ? DPT_DTYPE_F64 : type.dtype;
        types.in[i] = type;
        struct dpt_tensor tensor = tensor_new(&type, 0);
        for (int64_t k = 0; k < dpt_type_numel(&type); k++) {
            const double normal = normal_at((uint32_t)i, k);
            const double unit = 0.5 * erfc(-normal / sqrt(2.0));
            const double number = test->draw[i] ? test->draw[i](normal) : normal;
            set_element(&tensor, k, test->below[i] ? floor(unit * (double)test->below[i]) : number);
        }
        in[i] = tape_value(tape, tensor, real);
        const int batch_dim = dpt_op_index_dim(op, &types, i, 'b');
        rows = batch_dim >= 0 ? type.dim[batch_dim] : rows;
    }
    tape->ctx = (struct dpt_op_ctx){
        .seed = SEED,
        .step = 3,
        .rows = rows,
        .first_row = 5,
        .micro_rows = rows,
        .batch_rows = 2 * rows + 3,
        .lr = 0.1,
        .grad_scale = 0.5,
        .update = 3,
    };
    if (tape_add(tape, test->op, test->param, test->nin, in) < 0) {
        fail_msg("%s", dpt_error_text());
    }
}

/* ---- gradient ---- */

/* Gives outputs their gradients: keyed random values, or the seed of a loss. */
static void seed_gradient(struct tape *tape, const struct optest *test, int dout[DPT_OP_MAX_OUT])
{
    const struct node *node = &tape->node[0];
    const unsigned mask = test->dout ? test->dout : 1;
    for (int i = 0; i < node->nout; i++) {
        dout[i] = -1;
        if (node->op->seed && i == 0) {
            dout[i] = DPT_OP_SEED;
        } else if (mask >> i & 1) {
            struct dpt_tensor tensor = tensor_new(&tape->value[node->out[i]].type, 0);
            for (int64_t k = 0; k < dpt_type_numel(&tensor.type); k++) {
                set_element(&tensor, k, normal_at((uint32_t)(100 + i), k));
            }
            dout[i] = tape_value(tape, tensor, true);
        }
    }
}

/* The scalar that is differentiated: sum of output times dout, or the sum of losses over batch_rows. */
static double objective(const struct tape *tape, const struct dpt_tensor *in, const int dout[DPT_OP_MAX_OUT])
{
    const struct node *node = &tape->node[0];
    struct results results;
    run_op(node->op, node->param, DPT_RUN_REF, node->nin, in, &tape->ctx, -1, NULL, &results);
    double sum = 0.0;
    for (int i = 0; i < results.count; i++) {
        for (int64_t k = 0; k < dpt_type_numel(&results.tensor[i].type) && dout[i] != -1; k++) {
            const double factor =
                dout[i] == DPT_OP_SEED ? 1.0 / (double)tape->ctx.batch_rows : element(&tape->value[dout[i]], k);
            sum += element(&results.tensor[i], k) * factor;
        }
    }
    results_free(&results, node->op->name);
    return sum;
}

static void check_differences(struct tape *tape, int input, int din, const int dout[DPT_OP_MAX_OUT])
{
    enum { MOST = 150 }; /* elements tried of one input */
    const struct node *node = &tape->node[0];
    const struct dpt_tensor *grad = &tape->value[din];
    struct dpt_tensor in[DPT_OP_MAX_IN];
    for (int i = 0; i < node->nin; i++) {
        in[i] = tape->value[node->in[i]];
    }
    if (!dpt_type_equal(&grad->type, &in[input].type)) {
        fail_msg("%s: the gradient of input %d is not of its type", node->op->name, input);
    }
    in[input] = tensor_copy(&in[input]);
    const int64_t numel = dpt_type_numel(&grad->type), stride = numel / MOST + 1;
    const double limit = 1e-6 * fmax(largest(grad), 1e-3);
    for (int64_t k = 0; k < numel; k += stride) {
        const double x = element(&in[input], k), step = 1e-5 * fmax(1.0, fabs(x));
        set_element(&in[input], k, x + step);
        const double above = objective(tape, in, dout);
        set_element(&in[input], k, x - step);
        const double below = objective(tape, in, dout);
        set_element(&in[input], k, x);
        const double expected = (above - below) / (2.0 * step), got = element(grad, k);
        if (!(fabs(got - expected) <= limit)) {
            fail_msg("%s: gradient of input %d, element %lld: got %.12g, finite differences give %.12g (allowed %.3g)",
                     node->op->name, input, (long long)k, got, expected, limit);
        }
    }
    tensor_free(&in[input], node->op->name);
}

static void ask_rule(struct tape *tape, const struct dpt_op_types *types, const int *dout, const bool *need, int *din)
{
    const struct node node = tape->node[0];
    for (int i = 0; i < node.nin; i++) {
        din[i] = -1;
    }
    struct dpt_op_grad grad = {
        .types = types, .in = node.in, .out = node.out, .dout = dout, .need = need, .din = din, .graph = tape,
        .add = tape_add};
    if (node.op->grad(&grad) != DPT_STATUS_OK) {
        fail_msg("%s: gradient: %s", node.op->name, dpt_error_text());
    }
    for (int i = 0; i < node.nin; i++) {
        if ((din[i] >= 0) != need[i]) {
            fail_msg("%s: gradient of input %d: %s", node.op->name, i, need[i] ? "missing" : "not asked for");
        }
    }
}

static void check_gradient(struct tape *tape, const struct optest *test)
{
    const struct node node = tape->node[0];
    int dout[DPT_OP_MAX_OUT], din[DPT_OP_MAX_IN], one[DPT_OP_MAX_IN];
    bool need[DPT_OP_MAX_IN] = {false};
    seed_gradient(tape, test, dout);
    struct dpt_op_types types = {.param = node.param, .nin = node.nin, .nout = node.nout};
    for (int i = 0; i < node.nin; i++) {
        types.in[i] = tape->value[node.in[i]].type;
        need[i] = tape->real[node.in[i]] && !(test->fixed >> i & 1);
    }
    for (int i = 0; i < node.nout; i++) {
        types.out[i] = tape->value[node.out[i]].type;
    }
    ask_rule(tape, &types, dout, need, din);
    const int nnodes = tape->nnodes;
    for (int i = 0; i < node.nin; i++) {
        if (need[i]) {
            check_differences(tape, i, din[i], dout);
            bool alone[DPT_OP_MAX_IN] = {false};
            alone[i] = true;
            ask_rule(tape, &types, dout, alone, one);
            compare(node.op->name, "asked alone", "gradient", &tape->value[one[i]], &tape->value[din[i]], 1e-13);
            for (; tape->nnodes > nnodes; tape->nnodes--) {
                free(tape->node[tape->nnodes - 1].param); /* the values stay until the end */
            }
        }
    }
}

/* ---- one node ---- */

static void check_cost(const struct dpt_op *op, const struct dpt_op_types *types, double flops)
{
    struct dpt_op_cost cost;
    dpt_op_cost(op, types, &cost);
    if (op->view) {
        assert_true(cost.flops == 0.0 && cost.bytes_read == 0.0 && cost.bytes_written == 0.0);
        return;
    }
    if (!(cost.flops >= 0.0 && cost.bytes_read > 0.0 && cost.bytes_written > 0.0)) {
        fail_msg("%s: cost: %g flops, %g bytes read, %g written", op->name, cost.flops, cost.bytes_read,
                 cost.bytes_written);
    }
    if (flops > 0.0 && cost.flops != flops) {
        fail_msg("%s: cost: %.17g flops, counted %.17g", op->name, cost.flops, flops);
    }
}

/* A kernel that adds to what its first output holds; the others are as ever. */
static void check_adding(const struct dpt_op *op, const void *param, enum dpt_run run, int nin, const struct dpt_tensor *in,
                         const struct dpt_op_ctx *ctx, const struct results *expected, double tolerance)
{
    struct dpt_op_types types;
    struct dpt_tensor out[DPT_OP_MAX_OUT], sum = tensor_copy(&expected->tensor[0]);
    set_types(op, param, nin, in, &types);
    for (int o = 0; o < types.nout; o++) {
        out[o] = tensor_new(&types.out[o], POISON_BYTE);
    }
    for (int64_t i = 0; i < dpt_type_numel(&sum.type); i++) {
        set_element(&out[0], i, normal_at(77, i));
        set_element(&sum, i, element(&out[0], i) + element(&expected->tensor[0], i));
    }
    call_kernel(op, run, &types, in, out, ctx, NULL, true);
    for (int o = 0; o < types.nout; o++) {
        compare(op->name, run_name(run, in[0].type.dtype), o == 0 ? "a sum" : "beside a sum", &out[o],
                o == 0 ? &sum : &expected->tensor[o], tolerance);
        tensor_free(&out[o], op->name);
    }
    tensor_free(&sum, op->name);
}

/* The inputs of a node that are outputs of the first one that are never kept in 16 bits, a bit each. */
static unsigned given_exact(const struct tape *tape, const struct node *node)
{
    const struct node *first = &tape->node[0];
    unsigned exact = 0;
    for (int i = 0; i < node->nin; i++) {
        for (int o = 0; o < first->nout; o++) {
            exact |= node->in[i] == first->out[o] && (first->op->exact >> o & 1) ? 1u << i : 0;
        }
    }
    return exact;
}

static void check_node(const struct tape *tape, const struct node *node, const struct optest *test, double flops)
{
    const struct dpt_op *op = node->op;
    const double tolerance = test->tolerance > 0.0 ? test->tolerance : 2e-5;
    /* The inputs in float, and in double with the float's values. */
    struct dpt_tensor in32[DPT_OP_MAX_IN], in64[DPT_OP_MAX_IN];
    for (int i = 0; i < node->nin; i++) {
        const struct dpt_tensor *value = &tape->value[node->in[i]];
        const bool real = tape->real[node->in[i]];
        in32[i] = real ? tensor_convert(value, DPT_DTYPE_F32) : tensor_copy(value);
        in64[i] = real ? tensor_convert(&in32[i], DPT_DTYPE_F64) : tensor_copy(value);
    }
    struct dpt_op_types types;
    set_types(op, node->param, node->nin, in32, &types);
    check_cost(op, &types, flops);

    struct results expected, first, second;
    run_op(op, node->param, DPT_RUN_REF, node->nin, in64, &tape->ctx, -1, NULL, &expected);
    const bool card = card_runs(op);
    for (enum dpt_run run = DPT_RUN_REF; run <= (card ? DPT_RUN_CUDA : DPT_RUN_CPU); run++) {
        for (int real = 0; real < (run == DPT_RUN_CUDA ? 1 : 2); real++) {
            const struct dpt_tensor *in = real ? in64 : in32;
            const char *how = run_name(run, real ? DPT_DTYPE_F64 : DPT_DTYPE_F32);
            run_op(op, node->param, run, node->nin, in, &tape->ctx, -1, NULL, &first);
            compare_results(op->name, how, &first, &expected, real ? 1e-12 : tolerance);
            run_op(op, node->param, run, node->nin, in, &tape->ctx, -1, NULL, &second);
            compare_bits(op->name, "run twice", &second, &first);
            results_free(&second, op->name);
            if (op->adds >> run & 1) {
                check_adding(op, node->param, run, node->nin, in, &tape->ctx, &expected,
                             real ? 1e-12 : tolerance);
            }
            for (int i = 0; i < node->nin; i++) {
                if (op->alias >> i & 1) {
                    run_op(op, node->param, run, node->nin, in, &tape->ctx, i, NULL, &second);
                    compare_bits(op->name, "in the memory of an input", &second, &first);
                    results_free(&second, op->name);
                }
            }
            results_free(&first, op->name);
        }
    }
    check_splits(op, node->param, node->nin, in64, in32, &tape->ctx, tolerance, &expected);
    const unsigned exact = given_exact(tape, node) | (node == &tape->node[0] ? test->exact : 0);
    check_half(op, node->param, DPT_DTYPE_BF16, node->nin, in32, exact, &tape->ctx, tolerance + test->all16, test->card16);
    check_half(op, node->param, DPT_DTYPE_F16, node->nin, in32, exact, &tape->ctx, tolerance + test->all16 / 8,
               test->card16 / 8);
    for (int i = 0; i < 3 && node == &tape->node[0] && (test->sum || test->reader); i++) {
        const enum dpt_dtype type[] = {DPT_DTYPE_F32, DPT_DTYPE_BF16, DPT_DTYPE_F16};
        check_sum(op, test->reader, node->param, type[i], node->nin, in32, exact, &tape->ctx);
    }
    results_free(&expected, op->name);
    for (int i = 0; i < node->nin; i++) {
        tensor_free(&in32[i], op->name);
        tensor_free(&in64[i], op->name);
    }
}

void optest_run(const struct optest *test)
{
    struct tape tape = {0};
    tape_forward(&tape, test);
    if (tape.node[0].op->grad) {
        check_gradient(&tape, test);
    }
    for (int i = 0; i < tape.nnodes; i++) {
        check_node(&tape, &tape.node[i], test, i == 0 ? test->flops : 0.0);
    }
    tape_free(&tape);
}

void optest_refuses(const struct optest *test, const char *words)
{
    const struct dpt_op *op = dpt_op_find(test->op);
    assert_non_null(op);
    struct dpt_op_types types = {.param = test->param, .nin = test->nin};
    memcpy(types.in, test->in, sizeof types.in);
    dpt_error_clear();
    if (op->shape(&types) == DPT_STATUS_OK) {
        fail_msg("%s: accepted what it should refuse (%s)", op->name, words);
    }
    if (!strstr(dpt_error_text(), words)) {
        fail_msg("%s: refused with \"%s\", expected \"...%s...\"", op->name, dpt_error_text(), words);
    }
}
