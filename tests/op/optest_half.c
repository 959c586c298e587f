/* SPDX-License-Identifier: Apache-2.0 */

/* The question of 16 bits: a node that computes in them against the plain kernel in double on the same rounded operands. */

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "optest_impl.h"

/* Types of a node whose operands with the sample index are in 16 bits, but for what is exact. */
static void narrow_types(const struct dpt_op *op, const void *param, enum dpt_dtype half, int nin,
                         const struct dpt_tensor *in, struct dpt_op_types *types)
{
    *types = (struct dpt_op_types){.param = param, .nin = nin, .half = half};
    for (int i = 0; i < nin; i++) {
        types->in[i] = in[i].type;
    }
    for (int pass = 0; pass < 2; pass++) { /* the rule says what outputs there are; then which of them are narrow */
        if (dpt_op_shape(op, types) != DPT_STATUS_OK) {
            fail_msg("%s: in 16 bits: %s", op->name, dpt_error_text());
        }
        for (int o = 0; o < types->nout && pass == 0; o++) {
            const bool narrow = dpt_op_index_dim(op, types, nin + o, 'b') == 0 && !(op->exact >> o & 1) &&
                                types->out[o].dtype == DPT_DTYPE_F32;
            types->narrow |= (unsigned char)(narrow << o);
        }
    }
}

/*
 * The last rounding is off by half a unit of 8 bits, 2^-8 of the element, or of 11; what is before it is as exact as float,
 * and may be rounded the other way by that.
 */
static void compare_narrow(const char *op, const char *how, const struct results *got, const struct results *expected,
                           double tolerance)
{
    assert_int_equal(got->count, expected->count);
    for (int i = 0; i < got->count; i++) {
        const struct dpt_tensor *g = &got->tensor[i], *e = &expected->tensor[i];
        const enum dpt_dtype dtype = g->type.dtype;
        const double rounding = dtype == DPT_DTYPE_BF16 ? 0x1p-8 : dtype == DPT_DTYPE_F16 ? 0x1p-11 : 0.0;
        double most = 0.0;
        for (int64_t k = 0; k < dpt_type_numel(&e->type); k++) {
            most = fmax(most, fabs(element(e, k)));
        }
        for (int64_t k = 0; k < dpt_type_numel(&e->type); k++) {
            const double limit = rounding * fabs(element(e, k)) + 2.0 * tolerance * most;
            const bool none = dtype == DPT_DTYPE_F16 && fabs(element(e, k)) + limit > 65504.0; /* such a half is infinite */
            if (!(fabs(element(g, k) - element(e, k)) <= limit) && !(none && isinf(element(g, k)))) {
                fail_msg("%s, %s: %s, element %lld: got %.9g, expected %.9g (allowed difference %.3g)", op, how,
                         expected->what[i], (long long)k, element(g, k), element(e, k), limit);
            }
        }
    }
}

void check_half(const struct dpt_op *op, const void *param, enum dpt_dtype half, int nin, const struct dpt_tensor *in,
                unsigned exact, const struct dpt_op_ctx *ctx, double tolerance, double card)
{
    if (op->update || op->view || op->collective) {
        return;
    }
    struct dpt_op_types plain, types;
    struct dpt_tensor narrow[DPT_OP_MAX_IN], rounded[DPT_OP_MAX_IN];
    struct results expected, got;
    set_types(op, param, nin, in, &plain);
    for (int i = 0; i < nin; i++) {
        const bool real = in[i].type.dtype == DPT_DTYPE_F32;
        const bool batch = dpt_op_index_dim(op, &plain, i, 'b') == 0 && !(exact >> i & 1);
        narrow[i] = real && batch ? tensor_convert(&in[i], half) : tensor_copy(&in[i]);
        struct dpt_tensor factor = real && (op->factors >> i & 1) ? tensor_convert(&in[i], half)
                                                                  : tensor_copy(&narrow[i]);
        rounded[i] = real ? tensor_convert(&factor, DPT_DTYPE_F64) : tensor_copy(&factor);
        tensor_free(&factor, op->name);
    }
    narrow_types(op, param, half, nin, narrow, &types);
    run_op(op, param, DPT_RUN_REF, nin, rounded, ctx, -1, NULL, &expected);
    const size_t nbytes = dpt_op__slice_nbytes;
    for (int k = half == DPT_DTYPE_BF16 ? 0 : 3; k < 4; k++) { /* both kernels, at once and in slices of a sample or two */
        const enum dpt_run run = k & 1 ? DPT_RUN_CPU : DPT_RUN_REF;
        const char *how = k & 1 ? "CPU in 16 bits" : "REF in 16 bits";
        dpt_op__slice_nbytes = k & 2 ? 1 + dpt_type_nbytes(&in[0].type) / 5 : nbytes;
        for (int alias = -1; alias < nin; alias++) {
            if (alias < 0 || ((op->alias >> alias & 1) && dpt_type_equal(&types.out[0], &narrow[alias].type))) {
                run_types(op, run, &types, narrow, ctx, alias, NULL, &got);
                compare_narrow(op->name, how, &got, &expected, tolerance);
                results_free(&got, op->name);
            }
        }
    }
    dpt_op__slice_nbytes = nbytes;
    if (card_runs(op)) {
        run_types(op, DPT_RUN_CUDA, &types, narrow, ctx, -1, NULL, &got);
        compare_narrow(op->name, "CUDA in 16 bits", &got, &expected, tolerance + card);
        results_free(&got, op->name);
    }
    results_free(&expected, op->name);
    for (int i = 0; i < nin; i++) {
        tensor_free(&narrow[i], op->name);
        tensor_free(&rounded[i], op->name);
    }
}

/* One call in 16 bits, or in F32. */
static void run_in(const struct dpt_op *op, const void *param, enum dpt_run run, enum dpt_dtype half, int nin,
                   const struct dpt_tensor *in, const struct dpt_op_ctx *ctx, struct results *results)
{
    struct dpt_op_types types;
    narrow_types(op, param, half, nin, in, &types);
    run_types(op, run, &types, in, ctx, -1, NULL, results);
}

void check_sum(const struct dpt_op *op, const char *reader, const void *param, enum dpt_dtype half, int nin,
               const struct dpt_tensor *in, unsigned exact, const struct dpt_op_ctx *ctx)
{
    const struct dpt_op *add = dpt_op_find("add");
    struct dpt_op_types types;
    struct dpt_tensor at[DPT_OP_MAX_IN];
    set_types(op, param, nin, in, &types);
    for (int i = 0; i < nin; i++) {
        const bool batch = dpt_op_index_dim(op, &types, i, 'b') == 0 && !(exact >> i & 1);
        at[i] = batch ? tensor_convert(&in[i], half) : tensor_copy(&in[i]);
    }
    for (enum dpt_run run = DPT_RUN_CPU; run <= (card_runs(op) ? DPT_RUN_CUDA : DPT_RUN_CPU); run++) {
        struct results fused, first, second;
        run_in(op, param, run, half, nin, at, ctx, &fused);
        if (reader) {
            struct dpt_tensor rest[DPT_OP_MAX_IN];
            run_in(add, NULL, run, half, 2, at, ctx, &first);
            memcpy(rest + 1, at + 2, (size_t)(nin - 2) * sizeof *at);
            rest[0] = first.tensor[0];
            run_in(dpt_op_find(reader), param, run, half, nin - 1, rest, ctx, &second);
        } else {
            run_in(op, param, run, half, nin - 1, at, ctx, &first);
            run_in(add, NULL, run, half, 2, (const struct dpt_tensor[]){first.tensor[0], at[nin - 1]}, ctx, &second);
        }
        assert_int_equal(fused.count, second.count + (reader ? 1 : 0));
        for (int i = 0; i < fused.count; i++) {
            const struct dpt_tensor *plain = !reader ? &second.tensor[i] : i == 0 ? &first.tensor[0] : &second.tensor[i - 1];
            assert_true(dpt_type_equal(&fused.tensor[i].type, &plain->type));
            if (memcmp(fused.tensor[i].data, plain->data, dpt_type_nbytes(&plain->type)) != 0) {
                char text[96];
                fail_msg("%s, %s, of %s: %s has other bits than in two steps", op->name, run_name(run, DPT_DTYPE_F32),
                         dpt_type_text(text, sizeof text, &at[0].type), fused.what[i]);
            }
        }
        results_free(&fused, op->name);
        results_free(&first, op->name);
        results_free(&second, op->name);
    }
    for (int i = 0; i < nin; i++) {
        tensor_free(&at[i], op->name);
    }
}
