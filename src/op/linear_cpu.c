/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fast kernels of op/linear.c and op/linear_heads.c. F32 runs in oneDNN where that has a fast kernel that takes no
 * memory, which is with AVX-512: a tenth to a third faster than OpenBLAS where it was measured, and the bias costs
 * nothing. All else, and calls with another number of rows than was prepared for, are products of op/gemm.h.
 */

#include "op/linear.h"

#include <stdlib.h>
#include <string.h>

#include "base/bf16.h"
#include "base/simd.h"
#include "op/gemm.h"

enum dpt_status dpt_op__linear_prep_new(const struct dpt_onednn_matmul *matmul, int64_t rows, void **prep)
{
    struct dpt_onednn *library;
    *prep = NULL;
    DPT_TRY(dpt_onednn_matmul(matmul, &library));
    if (!library) {
        return DPT_STATUS_OK;
    }
    struct dpt_linear_prep *made = malloc(sizeof *made);
    if (!made) {
        dpt_onednn_free(library);
        return dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "no memory to prepare a matrix product");
    }
    *made = (struct dpt_linear_prep){library, rows};
    *prep = made;
    return DPT_STATUS_OK;
}

static enum dpt_status prepare(const struct dpt_op_types *types, enum dpt_run run, int64_t rows,
                               const struct dpt_onednn_matmul *matmul, void **prep)
{
    *prep = NULL;
    return run == DPT_RUN_CPU && types->in[0].dtype == DPT_DTYPE_F32 && rows > 0
               ? dpt_op__linear_prep_new(matmul, rows, prep)
               : DPT_STATUS_OK;
}

enum dpt_status dpt_op__linear_prepare(const struct dpt_op_types *types, enum dpt_run run, int threads, void **prep)
{
    (void)threads; /* the device has set the library's number */
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&types->in[0], &types->in[1], &types->out[0]);
    const struct dpt_onednn_matmul matmul = {
        .tb = true, .bias = types->nin > 2, .m = size.n, .n = size.k, .k = size.h};
    return prepare(types, run, size.n, &matmul, prep);
}

enum dpt_status dpt_op__linear_dx_prepare(const struct dpt_op_types *types, enum dpt_run run, int threads, void **prep)
{
    (void)threads;
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&types->out[0], &types->in[1], &types->in[0]);
    return prepare(types, run, size.n, &(struct dpt_onednn_matmul){.m = size.n, .n = size.h, .k = size.k}, prep);
}

enum dpt_status dpt_op__linear_dw_prepare(const struct dpt_op_types *types, enum dpt_run run, int threads, void **prep)
{
    (void)threads;
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&types->in[0], &types->out[0], &types->in[1]);
    const struct dpt_onednn_matmul matmul = {.ta = true, .m = size.k, .n = size.h, .k = size.n};
    return prepare(types, run, size.n, &matmul, prep);
}

void dpt_op__linear_release(void *prep)
{
    if (prep) {
        dpt_onednn_free(((struct dpt_linear_prep *)prep)->library);
        free(prep);
    }
}

/* Of a prepared product or, for fewer rows and where nothing is prepared, of ours. */
static size_t scratch_of(const struct dpt_op_types *types, enum dpt_run run, const struct dpt_linear_prep *prep, int64_t m,
                         int64_t n, int64_t k)
{
    const size_t library = prep ? dpt_onednn_scratch(prep->library) : 0;
    const size_t ours = run == DPT_RUN_CPU ? dpt_op__gemm_scratch(types->in[0].dtype, m, n, k) : 0;
    return library > ours ? library : ours;
}

size_t dpt_op__linear_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep)
{
    (void)threads;
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&types->in[0], &types->in[1], &types->out[0]);
    return scratch_of(types, run, prep, size.n, size.k, size.h);
}

size_t dpt_op__linear_dx_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep)
{
    (void)threads;
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&types->out[0], &types->in[1], &types->in[0]);
    return scratch_of(types, run, prep, size.n, size.h, size.k);
}

size_t dpt_op__linear_dw_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep)
{
    (void)threads;
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&types->in[0], &types->out[0], &types->in[1]);
    return scratch_of(types, run, prep, size.k, size.h, size.n);
}

/* The prepared product when it is for this number of rows, else NULL. */
static struct dpt_onednn *fitting(const struct dpt_op_call *call, int64_t rows)
{
    const struct dpt_linear_prep *prep = call->prep;
    return prep && prep->rows == rows ? prep->library : NULL;
}

enum dpt_status dpt_op__linear_cpu(const struct dpt_op_call *call)
{
    const struct dpt_tensor *x = &call->in[0], *w = &call->in[1], *y = &call->out[0];
    void *bias = call->types->nin > 2 ? call->in[2].data : NULL;
    const enum dpt_activation_kind act = dpt_op__linear_act(call->types);
    void *z = call->types->nout > 1 ? call->out[1].data : NULL, *sum = z ? z : y->data;
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&x->type, &w->type, &y->type);
    struct dpt_onednn *library = fitting(call, size.n);
    if (library) {
        DPT_TRY(dpt_onednn_run(library, x->data, w->data, bias, sum, call->scratch));
        /* the activation is left to us: the library's relu would make 0 of nan, and hide that a training diverged */
        if (act != DPT_ACTIVATION_KIND_NONE) {
            dpt_op__activate(act, dpt_type_numel(&y->type), sum, y->data);
        }
        return DPT_STATUS_OK;
    }
    const struct dpt_op__gemm gemm = {
        .dtype = x->type.dtype, .tb = true, .m = size.n, .n = size.k, .k = size.h, .a = x->data, .lda = size.h,
        .b = w->data, .ldb = size.h, .c = y->data, .ldc = size.k, .bias = bias, .act = act, .z = z};
    return dpt_op__gemm(&gemm, call->scratch);
}

enum dpt_status dpt_op__linear_dx_cpu(const struct dpt_op_call *call)
{
    const struct dpt_tensor *dy = &call->in[0], *w = &call->in[1], *dx = &call->out[0];
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&dx->type, &w->type, &dy->type);
    const enum dpt_activation_kind act = dpt_op__linear_act(call->types);
    const void *t = call->types->nin > 2 ? call->in[2].data : NULL;
    struct dpt_onednn *library = fitting(call, size.n);
    if (library) {
        DPT_TRY(dpt_onednn_run(library, dy->data, w->data, NULL, dx->data, call->scratch));
        if (t) {
            dpt_op__activate_dx(act, dpt_type_numel(&dx->type), dx->data, t, dx->data);
        }
        return DPT_STATUS_OK;
    }
    const struct dpt_op__gemm gemm = {
        .dtype = dy->type.dtype, .m = size.n, .n = size.h, .k = size.k, .a = dy->data, .lda = size.k, .b = w->data,
        .ldb = size.h, .c = dx->data, .ldc = size.h, .act = act, .t = t};
    return dpt_op__gemm(&gemm, call->scratch);
}

enum { COLUMNS = 512, ROWS = 128 }; /* sums of so many rows are made in float before they join a sum in double */

/* Adds rows i < n of `count` columns, F32 or BF16, to db; rows lie k apart. */
DPT_SIMD static void linear_bias_block(enum dpt_dtype dtype, int64_t n, int64_t count, int64_t k, const char *dy,
                                       double *db)
{
    const size_t row = (size_t)k * dpt_dtype_nbytes(dtype);
    float sum[COLUMNS] = {0}, wide[COLUMNS];
    for (int64_t i = 0; i < n; i++, dy += row) {
        const float *at = (const float *)dy;
        if (dtype == DPT_DTYPE_BF16) {
            dpt_bf16_widen(count, (const uint16_t *)dy, wide);
            at = wide;
        }
#pragma omp simd
        for (int64_t o = 0; o < count; o++) {
            sum[o] += at[o];
        }
    }
    for (int64_t o = 0; o < count; o++) {
        db[o] += sum[o];
    }
}

static void bias_f64(int64_t n, int64_t k, const double *dy, double *db)
{
    memset(db, 0, (size_t)k * sizeof *db);
    for (int64_t i = 0; i < n; i++, dy += k) {
        for (int64_t o = 0; o < k; o++) {
            db[o] += dy[o];
        }
    }
}

void dpt_op__bias_sums(enum dpt_dtype dtype, int64_t n, int64_t k, const void *dy, void *db)
{
    const size_t width = dpt_dtype_nbytes(dtype);
    if (dtype == DPT_DTYPE_F64) {
        bias_f64(n, k, dy, db);
        return;
    }
    for (int64_t begin = 0; begin < k; begin += COLUMNS) {
        double sum[COLUMNS] = {0};
        const int64_t count = k - begin < COLUMNS ? k - begin : COLUMNS;
        for (int64_t i = 0; i < n; i += ROWS) {
            linear_bias_block(dtype, n - i < ROWS ? n - i : ROWS, count, k,
                              (const char *)dy + (size_t)(i * k + begin) * width, sum);
        }
        for (int64_t o = 0; o < count; o++) {
            ((float *)db)[begin + o] = (float)sum[o];
        }
    }
}

enum dpt_status dpt_op__linear_dw_cpu(const struct dpt_op_call *call)
{
    const struct dpt_tensor *x = &call->in[0], *dy = &call->in[1], *dw = &call->out[0];
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&x->type, &dw->type, &dy->type);
    struct dpt_onednn *library = fitting(call, size.n);
    if (call->types->nout > 1) {
        dpt_op__bias_sums(dy->type.dtype, size.n, size.k, dy->data, call->out[1].data);
    }
    if (library && !call->add) {
        return dpt_onednn_run(library, dy->data, x->data, NULL, dw->data, call->scratch);
    }
    const struct dpt_op__gemm gemm = {
        .dtype = dy->type.dtype, .ta = true, .m = size.k, .n = size.h, .k = size.n, .a = dy->data, .lda = size.k,
        .b = x->data, .ldb = size.h, .c = dw->data, .ldc = size.h, .add = call->add};
    return dpt_op__gemm(&gemm, call->scratch);
}
