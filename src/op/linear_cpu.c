/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fast kernels of op/linear.c and op/linear_heads.c. F32 runs in oneDNN where that has a fast kernel that takes no
 * memory, which is with AVX-512: a tenth to a third faster than OpenBLAS where it was measured, and bias and
 * activation cost nothing. All else, and calls with another number of rows than was prepared for, in BLAS, with bias
 * and activation in one pass over the result.
 */

#include "op/linear.h"

#include <cblas.h>
#include <limits.h>
#include <stdlib.h>

#include "base/simd.h"
#include "op/onednn.h"

/* c[m,n] = a b, all packed and row-major; a is [m,k], or [k,m] with `ta`; b is [k,n], or [n,k] with `tb`. */
static enum dpt_status product(enum dpt_dtype dtype, bool ta, bool tb, int64_t m, int64_t n, int64_t k, const void *a,
                               const void *b, void *c)
{
    DPT_CHECK(m <= INT_MAX && n <= INT_MAX && k <= INT_MAX, DPT_STATUS_FAILED,
              "a matrix product of %lld x %lld x %lld is beyond the 32-bit sizes of BLAS; use smaller micro-batches",
              (long long)m, (long long)n, (long long)k);
    if (m == 0 || n == 0) {
        return DPT_STATUS_OK;
    }
    const CBLAS_TRANSPOSE trans_a = ta ? CblasTrans : CblasNoTrans, trans_b = tb ? CblasTrans : CblasNoTrans;
    const blasint rows = (blasint)m, columns = (blasint)n, depth = (blasint)k;
    const blasint lda = ta ? rows : depth, ldb = tb ? depth : columns;
    if (dtype == DPT_DTYPE_F64) {
        cblas_dgemm(CblasRowMajor, trans_a, trans_b, rows, columns, depth, 1.0, a, lda, b, ldb, 0.0, c, columns);
    } else {
        cblas_sgemm(CblasRowMajor, trans_a, trans_b, rows, columns, depth, 1.0f, a, lda, b, ldb, 0.0f, c, columns);
    }
    return DPT_STATUS_OK;
}

static void epilogue_f32(float *restrict y, const float *restrict bias, int64_t n, int64_t k, bool relu)
{
    for (int64_t i = 0; i < n; i++) {
        for (int64_t o = 0; o < k; o++) {
            const float z = y[i * k + o] + (bias ? bias[o] : 0.0f);
            y[i * k + o] = relu && z < 0.0f ? 0.0f : z;
        }
    }
}

static void epilogue_f64(double *restrict y, const double *restrict bias, int64_t n, int64_t k, bool relu)
{
    for (int64_t i = 0; i < n; i++) {
        for (int64_t o = 0; o < k; o++) {
            const double z = y[i * k + o] + (bias ? bias[o] : 0.0);
            y[i * k + o] = relu && z < 0.0 ? 0.0 : z;
        }
    }
}

/* What prepare makes for one op and one number of rows. */
struct prep {
    struct dpt_onednn *library; /* not NULL */
    int64_t rows;
};

/* *prep stays NULL where the library has nothing for this product. */
static enum dpt_status prepare(const struct dpt_op_types *types, enum dpt_run run, int64_t rows,
                               const struct dpt_onednn_matmul *matmul, void **out)
{
    *out = NULL;
    if (run != DPT_RUN_CPU || types->in[0].dtype != DPT_DTYPE_F32 || rows == 0) {
        return DPT_STATUS_OK;
    }
    struct dpt_onednn *library;
    DPT_TRY(dpt_onednn_matmul(matmul, &library));
    if (!library) {
        return DPT_STATUS_OK;
    }
    struct prep *prep = malloc(sizeof *prep);
    if (!prep) {
        dpt_onednn_free(library);
        return dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "no memory to prepare a matrix product");
    }
    *prep = (struct prep){library, rows};
    *out = prep;
    return DPT_STATUS_OK;
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
        dpt_onednn_free(((struct prep *)prep)->library);
        free(prep);
    }
}

size_t dpt_op__linear_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep)
{
    (void)types, (void)run, (void)threads;
    return prep ? dpt_onednn_scratch(((const struct prep *)prep)->library) : 0;
}

/* The prepared product when it is for this number of rows, else NULL. */
static struct dpt_onednn *fitting(const struct dpt_op_call *call, int64_t rows)
{
    const struct prep *prep = call->prep;
    return prep && prep->rows == rows ? prep->library : NULL;
}

enum dpt_status dpt_op__linear_cpu(const struct dpt_op_call *call)
{
    const struct dpt_tensor *x = &call->in[0], *w = &call->in[1], *y = &call->out[0];
    void *bias = call->types->nin > 2 ? call->in[2].data : NULL;
    const bool relu = dpt_op__linear_act(call->types) == DPT_ACTIVATION_KIND_RELU;
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&x->type, &w->type, &y->type);
    const int64_t n = size.n, k = size.k, h = size.h;
    struct dpt_onednn *library = fitting(call, n);
    if (library) {
        DPT_TRY(dpt_onednn_run(library, x->data, w->data, bias, y->data, call->scratch));
        bias = NULL; /* relu is left to us: the library's would make 0 of nan, and hide that a training diverged */
    } else {
        DPT_TRY(product(x->type.dtype, false, true, n, k, h, x->data, w->data, y->data));
    }
    if (!bias && !relu) {
        return DPT_STATUS_OK;
    }
    if (x->type.dtype == DPT_DTYPE_F64) {
        epilogue_f64(y->data, bias, n, k, relu);
    } else {
        epilogue_f32(y->data, bias, n, k, relu);
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_op__linear_dx_cpu(const struct dpt_op_call *call)
{
    const struct dpt_tensor *dy = &call->in[0], *w = &call->in[1], *dx = &call->out[0];
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&dx->type, &w->type, &dy->type);
    struct dpt_onednn *library = fitting(call, size.n);
    if (library) {
        return dpt_onednn_run(library, dy->data, w->data, NULL, dx->data, call->scratch);
    }
    return product(dy->type.dtype, false, false, size.n, size.h, size.k, dy->data, w->data, dx->data);
}

enum dpt_status dpt_op__linear_dw_cpu(const struct dpt_op_call *call)
{
    const struct dpt_tensor *x = &call->in[0], *dy = &call->in[1], *dw = &call->out[0];
    const struct dpt_linear_sizes size = dpt_op__linear_sizes(&x->type, &dw->type, &dy->type);
    struct dpt_onednn *library = fitting(call, size.n);
    if (library) {
        return dpt_onednn_run(library, dy->data, x->data, NULL, dw->data, call->scratch);
    }
    return product(dy->type.dtype, true, false, size.k, size.h, size.n, dy->data, x->data, dw->data);
}

enum { COLUMNS = 512, ROWS = 128 }; /* sums of so many rows are made in float before they join a sum in double */

/* Adds rows i < n of `count` columns to db; rows lie k apart. */
DPT_SIMD static void linear_bias_block(int64_t n, int64_t count, int64_t k, const float *dy, double *db)
{
    float sum[COLUMNS] = {0};
    for (int64_t i = 0; i < n; i++, dy += k) {
#pragma omp simd
        for (int64_t o = 0; o < count; o++) {
            sum[o] += dy[o];
        }
    }
    for (int64_t o = 0; o < count; o++) {
        db[o] += sum[o];
    }
}

static void bias_f32(int64_t n, int64_t k, const float *dy, float *db)
{
    for (int64_t begin = 0; begin < k; begin += COLUMNS) {
        double sum[COLUMNS] = {0};
        const int64_t count = k - begin < COLUMNS ? k - begin : COLUMNS;
        for (int64_t i = 0; i < n; i += ROWS) {
            linear_bias_block(n - i < ROWS ? n - i : ROWS, count, k, dy + i * k + begin, sum);
        }
        for (int64_t o = 0; o < count; o++) {
            db[begin + o] = (float)sum[o];
        }
    }
}

enum dpt_status dpt_op__bias_dw_cpu(const struct dpt_op_call *call)
{
    const struct dpt_type *dy = &call->in[0].type;
    const int64_t k = dpt_type_numel(&call->out[0].type), n = k ? dpt_type_numel(dy) / k : 0;
    if (dy->dtype == DPT_DTYPE_F64) {
        return dpt_op__bias_dw_ref(call);
    }
    bias_f32(n, k, call->in[0].data, call->out[0].data);
    return DPT_STATUS_OK;
}
