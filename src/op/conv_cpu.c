/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fast kernels of op/conv.c. F32 runs in loops of our own on the processors where they are the faster ones
 * (op/conv_direct.h), else in oneDNN where that has a fast kernel for the shape, else in those loops where they serve;
 * all else, and calls of the library with another number of samples than was prepared for, as matrix products of BLAS
 * over patches of the image (op/conv_cpu.inc; Chellapilla, Puri, Simard, 2006).
 *
 * The gradient of the input of a convolution with stride 1 is itself a convolution: of dy, with w turned by 180 degrees
 * and its channels exchanged. Where the library has its newer kernels ("brg": batch-reduced products) for the forward
 * pass only, as oneDNN 2 does, that is up to 1.2 times as fast as its backward pass, given two vectors of channels.
 */

#include "op/conv.h"

#include <cblas.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/simd.h"
#include "op/conv_direct.h"
#include "op/onednn.h"

/* What prepare makes for one op: our own loops, for any number of samples, or the library's for `rows` of them. */
struct prep {
    struct dpt_op__direct *direct; /* or NULL                             */
    struct dpt_onednn *library;    /* or NULL; one of the two is not NULL */
    int64_t rows;
    bool turned; /* conv_dx as a forward pass                       */
    bool bias;   /* conv_dw: the library gives the bias gradient too */
};

enum { PATCH_NBYTES = 1 << 18 }; /* of one band of patches: a part of a core's second-level cache */
enum { TURN_CHANNELS = 32 };     /* of dx, from which on the turned convolution is the faster one  */
enum { BIAS_CHANNELS = 16 };     /* of x, below which the library is slow to sum dy                */

/* Rows [begin, end) of y of sample n. */
struct band {
    int64_t n, begin, end, rows;
};

static int64_t patch_depth(const struct dpt_op__conv *conv)
{
    return conv->kernel[0] * conv->kernel[1] * conv->c;
}

static int64_t band_rows(const struct dpt_op__conv *conv, size_t size)
{
    const int64_t fit = PATCH_NBYTES / (patch_depth(conv) * conv->out[1] * (int64_t)size);
    return fit < 1 ? 1 : fit < conv->out[0] ? fit : conv->out[0];
}

static struct band first_band(const struct dpt_op__conv *conv, size_t size)
{
    const int64_t rows = band_rows(conv, size);
    return (struct band){0, 0, rows, rows};
}

static void next_band(const struct dpt_op__conv *conv, struct band *band)
{
    band->begin = band->end;
    if (band->begin == conv->out[0]) {
        band->begin = 0;
        band->n++;
    }
    band->end = band->begin + band->rows < conv->out[0] ? band->begin + band->rows : conv->out[0];
}

/* c[m,n] = a b + beta c, row-major; leading dimensions as in BLAS. */
static void gemm_f32(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int64_t m, int64_t n, int64_t k, const float *a,
                     int64_t lda, const float *b, int64_t ldb, int beta, float *c, int64_t ldc)
{
    cblas_sgemm(CblasRowMajor, ta, tb, (blasint)m, (blasint)n, (blasint)k, 1.0f, a, (blasint)lda, b, (blasint)ldb,
                (float)beta, c, (blasint)ldc);
}

static void gemm_f64(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int64_t m, int64_t n, int64_t k, const double *a,
                     int64_t lda, const double *b, int64_t ldb, int beta, double *c, int64_t ldc)
{
    cblas_dgemm(CblasRowMajor, ta, tb, (blasint)m, (blasint)n, (blasint)k, 1.0, a, (blasint)lda, b, (blasint)ldb,
                (double)beta, c, (blasint)ldc);
}

#define DPT_REF "op/conv_cpu.inc"
#include "op/real.h"

static enum dpt_status check_blas(const struct dpt_op__conv *conv)
{
    const int64_t depth = patch_depth(conv), places = conv->out[0] * conv->out[1], outputs = conv->groups * conv->o;
    DPT_CHECK(depth <= INT_MAX && places <= INT_MAX && outputs <= INT_MAX, DPT_STATUS_FAILED,
              "a convolution with images of %lld places and kernels of %lld weights is beyond the 32-bit sizes of BLAS",
              (long long)places, (long long)depth);
    return DPT_STATUS_OK;
}

/* ---- oneDNN ---- */

static struct dpt_onednn_conv library_spec(const struct dpt_op__conv *conv, enum dpt_onednn_pass pass)
{
    struct dpt_onednn_conv spec = {
        .pass = pass, .n = conv->n, .c = conv->groups * conv->c, .o = conv->groups * conv->o, .groups = conv->groups};
    for (int a = 0; a < 2; a++) {
        spec.in[a] = conv->in[a];
        spec.out[a] = conv->out[a];
        spec.kernel[a] = conv->kernel[a];
        spec.stride[a] = conv->stride[a];
        spec.pad[a] = conv->pad[a];
        spec.dilation[a] = conv->dilation[a];
    }
    return spec;
}

/* The forward pass that computes dx from dy; false where there is none or it would not pay. */
static bool turned_spec(const struct dpt_op__conv *conv, struct dpt_onednn_conv *spec)
{
    *spec = library_spec(conv, DPT_ONEDNN_PASS_FORWARD);
    spec->c = conv->groups * conv->o;
    spec->o = conv->groups * conv->c;
    bool exists = conv->c >= TURN_CHANNELS;
    for (int a = 0; a < 2; a++) {
        spec->in[a] = conv->out[a];
        spec->out[a] = conv->in[a];
        spec->pad[a] = (conv->kernel[a] - 1) * conv->dilation[a] - conv->pad[a];
        exists = exists && conv->stride[a] == 1 && spec->pad[a] >= 0;
    }
    return exists;
}

/* to[gc, o, -i, -j] = from[go, c, i, j]: weights of the turned convolution. */
static void turn_w(const struct dpt_op__conv *conv, const float *restrict from, float *restrict to)
{
    const int64_t area = conv->kernel[0] * conv->kernel[1];
    for (int64_t g = 0; g < conv->groups; g++) {
        for (int64_t c = 0; c < conv->c; c++) {
            for (int64_t o = 0; o < conv->o; o++) {
                const float *kernel = from + ((g * conv->o + o) * conv->c + c) * area;
                float *turned = to + ((g * conv->c + c) * conv->o + o) * area;
                for (int64_t k = 0; k < area; k++) {
                    turned[k] = kernel[area - 1 - k];
                }
            }
        }
    }
}

static bool is_batch_reduced(const struct dpt_onednn *library)
{
    return strncmp(dpt_onednn_name(library), "brg", 3) == 0;
}

/* Makes *out of `made`, whose objects it takes in any case; leaves it NULL where there are none. */
static enum dpt_status new_prep(struct prep made, void **out)
{
    if (!made.library && !made.direct) {
        return DPT_STATUS_OK;
    }
    struct prep *prep = malloc(sizeof *prep);
    if (!prep) {
        dpt_onednn_free(made.library);
        dpt_op__direct_free(made.direct);
        return dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "no memory to prepare a convolution");
    }
    *prep = made;
    *out = prep;
    return DPT_STATUS_OK;
}

/* Our own loops, where they pay, or with `needed` where they can. */
static enum dpt_status prepare_direct(const struct dpt_op__conv *conv, enum dpt_op__direct_pass pass, int threads,
                                      bool needed, void **prep)
{
    struct dpt_op__direct *direct;
    DPT_TRY(dpt_op__direct_new(conv, pass, threads, needed, &direct));
    return new_prep((struct prep){.direct = direct}, prep);
}

static bool wants_library(const struct dpt_op_types *types, enum dpt_run run)
{
    return run == DPT_RUN_CPU && types->in[0].dtype == DPT_DTYPE_F32 && types->in[0].dim[0] > 0;
}

static struct dpt_op__conv forward_sizes(const struct dpt_op_types *types)
{
    return dpt_op__conv_sizes(types->param, &types->in[0], &types->in[1], &types->out[0]);
}

static struct dpt_op__conv dx_sizes(const struct dpt_op_types *types)
{
    return dpt_op__conv_sizes(types->param, &types->out[0], &types->in[1], &types->in[0]);
}

static struct dpt_op__conv dw_sizes(const struct dpt_op_types *types)
{
    return dpt_op__conv_sizes(types->param, &types->in[0], &types->out[0], &types->in[1]);
}

static enum dpt_status prepare_forward(const struct dpt_op_types *types, const struct dpt_op__conv *conv, void **prep)
{
    struct dpt_onednn_conv spec = library_spec(conv, DPT_ONEDNN_PASS_FORWARD);
    spec.bias = types->nin > 2;
    struct dpt_onednn *library;
    DPT_TRY(dpt_onednn_conv(&spec, &library));
    return new_prep((struct prep){.library = library, .rows = conv->n}, prep);
}

static enum dpt_status prepare_dx(const struct dpt_op__conv *conv, void **prep)
{
    struct dpt_onednn_conv spec = library_spec(conv, DPT_ONEDNN_PASS_BACKWARD_DATA);
    struct dpt_onednn *backward, *forward = NULL;
    DPT_TRY(dpt_onednn_conv(&spec, &backward));
    if (backward && is_batch_reduced(backward)) {
        return new_prep((struct prep){.library = backward, .rows = conv->n}, prep);
    }
    if (turned_spec(conv, &spec)) {
        const enum dpt_status status = dpt_onednn_conv(&spec, &forward);
        if (status != DPT_STATUS_OK) {
            dpt_onednn_free(backward);
            return status;
        }
    }
    const bool turned = forward && (!backward || is_batch_reduced(forward));
    dpt_onednn_free(turned ? backward : forward);
    return new_prep((struct prep){.library = turned ? forward : backward, .rows = conv->n, .turned = turned}, prep);
}

static enum dpt_status prepare_dw(const struct dpt_op_types *types, const struct dpt_op__conv *conv, void **prep)
{
    struct dpt_onednn_conv spec = library_spec(conv, DPT_ONEDNN_PASS_BACKWARD_WEIGHTS);
    spec.bias = types->nout > 1 && conv->c >= BIAS_CHANNELS;
    struct dpt_onednn *library;
    DPT_TRY(dpt_onednn_conv(&spec, &library));
    return new_prep((struct prep){.library = library, .rows = conv->n, .bias = spec.bias}, prep);
}

enum dpt_status dpt_op__conv_prepare(const struct dpt_op_types *types, enum dpt_run run, int threads, void **prep)
{
    *prep = NULL;
    if (!wants_library(types, run)) {
        return DPT_STATUS_OK;
    }
    const struct dpt_op__conv conv = forward_sizes(types);
    DPT_TRY(prepare_direct(&conv, DPT_OP__DIRECT_FORWARD, threads, false, prep));
    if (!*prep) {
        DPT_TRY(prepare_forward(types, &conv, prep)); /* the device has set the library's number of threads */
    }
    return *prep ? DPT_STATUS_OK : prepare_direct(&conv, DPT_OP__DIRECT_FORWARD, threads, true, prep);
}

enum dpt_status dpt_op__conv_dx_prepare(const struct dpt_op_types *types, enum dpt_run run, int threads, void **prep)
{
    *prep = NULL;
    if (!wants_library(types, run)) {
        return DPT_STATUS_OK;
    }
    const struct dpt_op__conv conv = dx_sizes(types);
    DPT_TRY(prepare_direct(&conv, DPT_OP__DIRECT_TURNED, threads, false, prep));
    if (!*prep) {
        DPT_TRY(prepare_dx(&conv, prep));
    }
    return *prep ? DPT_STATUS_OK : prepare_direct(&conv, DPT_OP__DIRECT_TURNED, threads, true, prep);
}

enum dpt_status dpt_op__conv_dw_prepare(const struct dpt_op_types *types, enum dpt_run run, int threads, void **prep)
{
    *prep = NULL;
    if (!wants_library(types, run)) {
        return DPT_STATUS_OK;
    }
    const struct dpt_op__conv conv = dw_sizes(types);
    DPT_TRY(prepare_direct(&conv, DPT_OP__DIRECT_DW, threads, false, prep));
    if (!*prep) {
        DPT_TRY(prepare_dw(types, &conv, prep));
    }
    return *prep ? DPT_STATUS_OK : prepare_direct(&conv, DPT_OP__DIRECT_DW, threads, true, prep);
}

void dpt_op__conv_release(void *prep)
{
    if (prep) {
        dpt_onednn_free(((struct prep *)prep)->library);
        dpt_op__direct_free(((struct prep *)prep)->direct);
        free(prep);
    }
}

/* ---- memory ---- */

/* Floats of w in a form of our own, in front of the library's scratch memory, a multiple of its alignment. */
static size_t turned_nbytes(const struct dpt_op__conv *conv)
{
    const size_t nbytes = (size_t)(conv->groups * conv->o * patch_depth(conv)) * sizeof(float);
    return (nbytes + 63) / 64 * 64;
}

/* Either way of computing must fit: which one runs depends on the samples of the call. */
static size_t scratch_nbytes(const struct dpt_op__conv *conv, enum dpt_run run, enum dpt_dtype dtype, const void *prep)
{
    if (run != DPT_RUN_CPU) {
        return 0;
    }
    const int64_t w = conv->groups * conv->o * patch_depth(conv);
    const int64_t patch = band_rows(conv, dpt_dtype_nbytes(dtype)) * conv->out[1] * patch_depth(conv);
    const size_t products = (size_t)(w + patch) * dpt_dtype_nbytes(dtype);
    const struct prep *at = prep;
    if (at && at->direct) {
        return dpt_op__direct_scratch(at->direct);
    }
    const size_t library =
        at ? dpt_onednn_scratch(at->library) + (at->turned ? turned_nbytes(conv) : 0) : 0;
    return products > library ? products : library;
}

size_t dpt_op__conv_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep)
{
    (void)threads;
    const struct dpt_op__conv conv = forward_sizes(types);
    return scratch_nbytes(&conv, run, types->in[0].dtype, prep);
}

size_t dpt_op__conv_dx_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep)
{
    (void)threads;
    const struct dpt_op__conv conv = dx_sizes(types);
    return scratch_nbytes(&conv, run, types->in[0].dtype, prep);
}

size_t dpt_op__conv_dw_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep)
{
    (void)threads;
    const struct dpt_op__conv conv = dw_sizes(types);
    return scratch_nbytes(&conv, run, types->in[0].dtype, prep);
}

/* ---- calls ---- */

/* What was prepared when it fits this call, else NULL. */
static const struct prep *fitting(const struct dpt_op_call *call)
{
    const struct prep *prep = call->prep;
    return prep && (prep->direct || prep->rows == call->in[0].type.dim[0]) ? prep : NULL;
}

enum dpt_status dpt_op__conv_cpu(const struct dpt_op_call *call)
{
    const struct dpt_conv_param *param = call->types->param;
    const struct dpt_tensor *x = &call->in[0], *w = &call->in[1], *y = &call->out[0];
    void *bias = call->types->nin > 2 ? call->in[2].data : NULL;
    const bool relu = param->act == DPT_ACTIVATION_KIND_RELU;
    const struct dpt_op__conv conv = dpt_op__conv_sizes(param, &x->type, &w->type, &y->type);
    const struct prep *prep = fitting(call);
    if (prep && prep->direct) {
        dpt_op__direct_forward(prep->direct, conv.n, x->data, w->data, bias, relu, y->data, call->scratch);
        return DPT_STATUS_OK;
    }
    if (prep) {
        DPT_TRY(dpt_onednn_run(prep->library, x->data, w->data, bias, y->data, call->scratch));
        if (relu) { /* not the library's, which would make 0 of nan, and hide that a training diverged */
            finish_f32(y->data, NULL, conv.n * conv.out[0] * conv.out[1], conv.groups * conv.o, true);
        }
        return DPT_STATUS_OK;
    }
    DPT_TRY(check_blas(&conv));
    if (x->type.dtype == DPT_DTYPE_F64) {
        conv_gemm_f64(&conv, x->data, w->data, bias, relu, y->data, call->scratch);
    } else {
        conv_gemm_f32(&conv, x->data, w->data, bias, relu, y->data, call->scratch);
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_op__conv_dx_cpu(const struct dpt_op_call *call)
{
    const struct dpt_tensor *dy = &call->in[0], *w = &call->in[1], *dx = &call->out[0];
    const struct dpt_op__conv conv = dpt_op__conv_sizes(call->types->param, &dx->type, &w->type, &dy->type);
    const struct prep *prep = fitting(call);
    if (prep && prep->direct) {
        dpt_op__direct_forward(prep->direct, conv.n, dy->data, w->data, NULL, false, dx->data, call->scratch);
        return DPT_STATUS_OK;
    }
    if (prep && prep->turned) {
        float *turned = call->scratch;
        turn_w(&conv, w->data, turned);
        return dpt_onednn_run(prep->library, dy->data, turned, NULL, dx->data,
                                   (char *)call->scratch + turned_nbytes(&conv));
    }
    if (prep) {
        return dpt_onednn_run(prep->library, dy->data, w->data, NULL, dx->data, call->scratch);
    }
    DPT_TRY(check_blas(&conv));
    if (dy->type.dtype == DPT_DTYPE_F64) {
        conv_dx_gemm_f64(&conv, dy->data, w->data, dx->data, call->scratch);
    } else {
        conv_dx_gemm_f32(&conv, dy->data, w->data, dx->data, call->scratch);
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_op__conv_dw_cpu(const struct dpt_op_call *call)
{
    const struct dpt_tensor *x = &call->in[0], *dy = &call->in[1], *dw = &call->out[0];
    const struct dpt_op__conv conv = dpt_op__conv_sizes(call->types->param, &x->type, &dw->type, &dy->type);
    void *dbias = call->types->nout > 1 ? call->out[1].data : NULL;
    const bool real64 = x->type.dtype == DPT_DTYPE_F64;
    const struct prep *prep = fitting(call);
    if (dbias && !(prep && prep->bias)) {
        if (real64) {
            bias_gradient_f64(&conv, dy->data, call->scratch, dbias);
        } else {
            bias_gradient_f32(&conv, dy->data, call->scratch, dbias);
        }
    }
    if (prep && prep->direct) {
        dpt_op__direct_dw(prep->direct, conv.n, x->data, dy->data, dw->data, call->scratch);
        return DPT_STATUS_OK;
    }
    if (prep) {
        return dpt_onednn_run(prep->library, x->data, dy->data, prep->bias ? dbias : NULL, dw->data, call->scratch);
    }
    DPT_TRY(check_blas(&conv));
    if (real64) {
        conv_dw_gemm_f64(&conv, x->data, dy->data, dw->data, call->scratch);
    } else {
        conv_dw_gemm_f32(&conv, x->data, dy->data, dw->data, call->scratch);
    }
    return DPT_STATUS_OK;
}
