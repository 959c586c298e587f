/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fast kernels of op/linear_loss.c and op/vocab_loss.c, in float. The logits of a chunk of positions are made,
 * turned into their own gradient in place, and used for dx and dw while they are warm. Chunks are as few as fit
 * CHUNK_BYTES, since each passes over w and dw once, and equal; where few positions fit, LEAST_ROWS do, so that those
 * passes take little beside the products.
 */

#include "op/linear_loss.h"

#include <math.h>
#include <string.h>

#include "base/simd.h"
#include "op/gemm.h"
#include "op/softmax.h"
#include "op/vocab_loss.h"

enum { CHUNK_BYTES = 1 << 27, LEAST_ROWS = 64, BLOCK = 2048 }; /* BLOCK numbers are summed in float, blocks in double */

/* The positions of the largest chunk; a smaller n needs no more. */
static int64_t most_rows(int64_t n, int64_t classes)
{
    const int64_t fit = CHUNK_BYTES / ((int64_t)sizeof(float) * classes), most = fit > LEAST_ROWS ? fit : LEAST_ROWS;
    return most < n ? most : n;
}

static int64_t chunk_rows(int64_t n, int64_t classes)
{
    const int64_t most = most_rows(n, classes), chunks = n > most ? (n + most - 1) / most : 1;
    return (n + chunks - 1) / chunks;
}

/* The logits of a chunk, with which the scratch begins; rounded, since what follows is aligned. */
static size_t logits_nbytes(int64_t n, int64_t classes)
{
    return ((size_t)(most_rows(n, classes) * classes) * sizeof(float) + 63) / 64 * 64;
}

/* Scratch of the largest of the three products of a chunk. */
static size_t products_nbytes(int64_t rows, int64_t classes, int64_t h)
{
    const size_t nbytes[] = {dpt_op__gemm_scratch(DPT_DTYPE_F32, rows, classes, h),
                             dpt_op__gemm_scratch(DPT_DTYPE_F32, rows, h, classes),
                             dpt_op__gemm_scratch(DPT_DTYPE_F32, classes, h, rows)};
    size_t most = nbytes[0];
    for (int i = 1; i < 3; i++) {
        most = nbytes[i] > most ? nbytes[i] : most;
    }
    return most;
}

size_t dpt_op__linear_loss_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep)
{
    (void)threads, (void)prep;
    const int64_t n = types->in[0].dim[0] * types->in[0].dim[1], classes = types->in[1].dim[0];
    if (run != DPT_RUN_CPU || types->in[0].dtype != DPT_DTYPE_F32) {
        return (size_t)classes * sizeof(double);
    }
    return logits_nbytes(n, classes) + products_nbytes(most_rows(n, classes), classes, types->in[0].dim[2]);
}

static double exp_all(int64_t n, float max, float *z)
{
    double sum = 0.0;
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        sum += dpt_op__exp_f32(n - begin < BLOCK ? n - begin : BLOCK, max, z + begin);
    }
    return sum;
}

DPT_SIMD static void linear_loss_scale(int64_t n, float factor, float *z)
{
#pragma omp simd
    for (int64_t v = 0; v < n; v++) {
        z[v] *= factor;
    }
}

/* What a sample adds up to. */
struct sums {
    double loss, tokens, right;
};

/* Adds one position to the sums and turns its logits into their gradient: `scale` times softmax less the target. */
static void position(int64_t classes, int32_t target, float scale, float *z, struct sums *sums)
{
    if (target < 0) {
        memset(z, 0, (size_t)classes * sizeof *z);
        return;
    }
    DPT_ASSERT(target < classes);
    const float max = dpt_op__max_f32(classes, z, z[0]), mine = z[target];
    bool right = mine == max;
    for (int64_t v = 0; v < target && right; v++) {
        right = z[v] != max;
    }
    const double sum = exp_all(classes, max, z);
    sums->loss += (double)(max - mine) + log(sum);
    sums->tokens += 1.0;
    sums->right += right;
    if (scale != 0.0f) {
        linear_loss_scale(classes, (float)(scale / sum), z);
        z[target] -= scale;
    }
}

/* Both gradients from those of the logits of `rows` positions. */
static enum dpt_status gradients(int64_t rows, int64_t classes, int64_t h, const float *dz, const float *x,
                                 const float *w, float *dx, float *dw, bool first, void *scratch)
{
    const struct dpt_op__gemm to_x = {
        .dtype = DPT_DTYPE_F32, .m = rows, .n = h, .k = classes, .a = dz, .lda = classes, .b = w, .ldb = h, .c = dx,
        .ldc = h};
    const struct dpt_op__gemm to_w = {
        .dtype = DPT_DTYPE_F32, .ta = true, .m = classes, .n = h, .k = rows, .a = dz, .lda = classes, .b = x, .ldb = h,
        .c = dw, .ldc = h, .add = !first};
    DPT_TRY(dpt_op__gemm(&to_x, scratch));
    return dpt_op__gemm(&to_w, scratch);
}

enum dpt_status dpt_op__linear_loss_f32(const struct dpt_op_call *call)
{
    const struct dpt_linear_loss_param *param = call->types->param;
    const float *x = call->in[0].data, *w = call->in[1].data;
    const int32_t *target = call->in[2].data;
    const int64_t b = call->in[0].type.dim[0], s = call->in[0].type.dim[1], h = call->in[0].type.dim[2];
    const int64_t n = b * s, classes = call->in[1].type.dim[0], rows = chunk_rows(n, classes);
    const double positions = (double)dpt_op_whole(call, 0, 1);
    const float scale = param->gradients ? (float)(dpt_op_seed(call->ctx) / positions) : 0.0f;
    float *loss = call->out[0].data, *count = call->out[1].data, *z = call->scratch;
    void *scratch = (char *)call->scratch + logits_nbytes(n, classes);
    float *dx = param->gradients ? call->out[2].data : NULL, *dw = param->gradients ? call->out[3].data : NULL;
    if (dw && n == 0) {
        memset(dw, 0, (size_t)(classes * h) * sizeof *dw);
    }
    struct sums sums = {0.0, 0.0, 0.0};
    for (int64_t begin = 0; begin < n; begin += rows) {
        const int64_t here = n - begin < rows ? n - begin : rows;
        const struct dpt_op__gemm logits = {
            .dtype = DPT_DTYPE_F32, .tb = true, .m = here, .n = classes, .k = h, .a = x + begin * h, .lda = h, .b = w,
            .ldb = h, .c = z, .ldc = classes};
        DPT_TRY(dpt_op__gemm(&logits, scratch));
        for (int64_t i = begin; i < begin + here; i++) {
            position(classes, target[i], scale, z + (i - begin) * classes, &sums);
            if (i % s == s - 1) {
                loss[i / s] = (float)(sums.loss / positions);
                count[2 * (i / s)] = (float)sums.tokens;
                count[2 * (i / s) + 1] = (float)sums.right;
                sums = (struct sums){0.0, 0.0, 0.0};
            }
        }
        if (param->gradients) {
            DPT_TRY(gradients(here, classes, h, z, x + begin * h, w, dx + begin * h, dw, begin == 0, scratch));
        }
    }
    return DPT_STATUS_OK;
}

/* Sizes of a call of vocab_stat or vocab_loss_dx, and chunks of its positions. */
struct part {
    const float *x, *w;
    const int32_t *target;
    int64_t n, h, classes, rows, begin; /* begin: the first token that is here */
    float *z;
    void *scratch; /* of products */
};

static struct part part_of(const struct dpt_op_call *call)
{
    const struct dpt_type *x = &call->in[0].type;
    struct part part = {
        .x = call->in[0].data,
        .w = call->in[1].data,
        .target = call->in[2].data,
        .n = x->dim[0] * x->dim[1],
        .h = x->dim[2],
        .classes = call->in[1].type.dim[0],
        .begin = dpt_op_begin(call, 1, 0),
        .z = call->scratch,
    };
    part.rows = chunk_rows(part.n, part.classes);
    part.scratch = (char *)call->scratch + logits_nbytes(part.n, part.classes);
    return part;
}

/* The logits of the positions of a chunk, [begin, begin + *here). */
static enum dpt_status make_logits(const struct part *part, int64_t begin, int64_t *here)
{
    *here = part->n - begin < part->rows ? part->n - begin : part->rows;
    const struct dpt_op__gemm logits = {
        .dtype = DPT_DTYPE_F32, .tb = true, .m = *here, .n = part->classes, .k = part->h,
        .a = part->x + begin * part->h, .lda = part->h, .b = part->w, .ldb = part->h, .c = part->z,
        .ldc = part->classes};
    return dpt_op__gemm(&logits, part->scratch);
}

enum dpt_status dpt_op__vocab_stat_f32(const struct dpt_op_call *call)
{
    const struct part part = part_of(call);
    int64_t here;
    double *top = call->out[0].data, *stat = call->out[1].data;
    for (int64_t begin = 0; begin < part.n; begin += part.rows) {
        DPT_TRY(make_logits(&part, begin, &here));
        for (int64_t i = begin; i < begin + here; i++) {
            float *z = part.z + (i - begin) * part.classes;
            const int64_t mine = part.target[i] - part.begin;
            double *at = stat + 3 * i;
            top[i] = at[0] = at[1] = at[2] = 0.0;
            if (part.target[i] < 0) {
                continue;
            }
            const float max = dpt_op__max_f32(part.classes, z, z[0]);
            int64_t first = 0;
            while (first < part.classes - 1 && z[first] != max) {
                first++;
            }
            top[i] = max;
            at[1] = mine >= 0 && mine < part.classes ? z[mine] : 0.0;
            at[2] = (double)(part.begin + first);
            at[0] = exp_all(part.classes, max, z);
        }
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_op__vocab_loss_dx_f32(const struct dpt_op_call *call)
{
    const struct part part = part_of(call);
    int64_t here;
    const double *top = call->in[3].data, *sums = call->in[4].data;
    const double scale = dpt_op_seed(call->ctx) / (double)dpt_op_whole(call, 0, 1);
    float *dx = call->out[0].data, *dw = call->out[1].data;
    if (part.n == 0) {
        memset(dw, 0, (size_t)(part.classes * part.h) * sizeof *dw);
    }
    for (int64_t begin = 0; begin < part.n; begin += part.rows) {
        DPT_TRY(make_logits(&part, begin, &here));
        for (int64_t i = begin; i < begin + here; i++) {
            float *z = part.z + (i - begin) * part.classes;
            const int64_t mine = part.target[i] - part.begin;
            if (part.target[i] < 0) {
                memset(z, 0, (size_t)part.classes * sizeof *z);
                continue;
            }
            exp_all(part.classes, (float)top[i], z);
            linear_loss_scale(part.classes, (float)(scale / sums[3 * i]), z);
            if (mine >= 0 && mine < part.classes) {
                z[mine] -= (float)scale;
            }
        }
        DPT_TRY(gradients(here, part.classes, part.h, part.z, part.x + begin * part.h, part.w, dx + begin * part.h, dw,
                          begin == 0, part.scratch));
    }
    return DPT_STATUS_OK;
}
