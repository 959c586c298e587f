/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Twins of batch_norm.c. As in batch_norm_cpu.c what a channel needs is made once, in double, and kept as floats, so that
 * passes over images are a multiplication and an addition for each term. Sums are of a few rows in float where that does not
 * tell, and in double.
 *
 * Scratch: the parts of the sums where a kernel has any, then the table: four floats a channel.
 */

#include "op/cuda.cuh"

extern "C" {
#include "op/batch_norm.h"
}

enum { NONE = DPT_OP_MAX_IN }; /* an input that no call has */

/* Rows of the table: z = A x + B; xhat = R x + S, or of dx = A dz + G x + H. */
enum { A, B, R, S, G = R, H = S, ROWS };

static size_t table_nbytes(int64_t c)
{
    return (size_t)(ROWS * c) * sizeof(float);
}

static int64_t channels_of(const struct dpt_type *x)
{
    return x->dim[x->ndim - 1];
}

/* Mean and biased variance of channel k; those of no elements are 0. */
static __device__ void moments(const double *stat, int64_t k, int64_t c, double count, double *mean, double *var)
{
    *mean = count > 0.0 ? stat[k] / count : 0.0;
    *var = count > 0.0 ? fmax(stat[c + k] / count - *mean * *mean, 0.0) : 0.0;
}

static __device__ void set_affine(float *table, int64_t k, int64_t c, double mean, double rstd, double gamma, double beta)
{
    table[A * c + k] = (float)(gamma * rstd);
    table[B * c + k] = (float)(beta - gamma * rstd * mean);
}

/* c channels; gamma and beta, or gstat, may be missing. */
static __global__ void make_table(int64_t c, double count, double eps, const double *stat, const double *gstat,
                                  struct dpt_in gamma, struct dpt_in beta, float *table)
{
    DPT_EACH(k, c)
    {
        double mean, var;
        moments(stat, k, c, count, &mean, &var);
        const double rstd = 1.0 / sqrt(var + eps);
        if (gamma.data) {
            set_affine(table, k, c, mean, rstd, gamma[k], beta[k]);
        }
        if (gstat) { /* gamma rstd (-gstat0 / N - xhat gstat1 / N) = g x + h */
            const double scale = count > 0.0 ? gamma[k] * rstd / count : 0.0, slope = -scale * gstat[c + k] * rstd;
            table[G * c + k] = (float)slope;
            table[H * c + k] = (float)(-scale * gstat[k] - slope * mean);
        } else {
            table[R * c + k] = (float)rstd;
            table[S * c + k] = (float)(-mean * rstd);
        }
    }
}

static __global__ void make_eval_table(int64_t c, double eps, struct dpt_in mean, struct dpt_in var, struct dpt_in gamma,
                                       struct dpt_in beta, float *table)
{
    DPT_EACH(k, c)
    {
        set_affine(table, k, c, mean[k], 1.0 / sqrt((double)var[k] + eps), gamma[k], beta[k]);
    }
}

/* The table of a call whose statistics are input `stat`, behind `before` bytes of the scratch. */
static float *table_of(const struct dpt_op_call *call, int stat, int gstat, int gamma, size_t before)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_batch_norm_param *param = (const struct dpt_batch_norm_param *)call->types->param;
    const struct dpt_in none = {NULL, DPT_DTYPE_F32, DPT_DTYPE_F32};
    const int64_t c = channels_of(&call->in[0].type);
    float *table = (float *)((char *)call->scratch + before);
    DPT_LAUNCH_EACH(cuda, c, make_table, dpt_op__batch_count(call), param->eps, (const double *)call->in[stat].data,
                    gstat < 0 ? (const double *)NULL : (const double *)call->in[gstat].data,
                    gamma < 0 ? none : dpt_in_of(call, gamma), gamma < 0 ? none : dpt_in_of(call, gamma + 1), table);
    return table;
}

static struct dpt_floats row_of(const float *table, int row, int64_t c)
{
    const struct dpt_floats floats = {table + row * c};
    return floats;
}

static bool is_relu(const struct dpt_op_call *call)
{
    return ((const struct dpt_batch_norm_param *)call->types->param)->act == DPT_ACTIVATION_KIND_RELU;
}

/* ------------------------------------------------------------------------------------------------------------- sums */

/*
 * What an element adds to the sums of x and x^2. The products of 16 bits are exact in float, and so are, nearly, the sums of a
 * few; those of 32 are made and added in double, since the variance is a small difference of the two.
 */
template <class NUMBER> struct powers : dpt_column_operand {
    using number = NUMBER;

    template <int W>
    __device__ void add(int64_t, int64_t, const held<W> &, const read<W> &read, NUMBER (&sum)[2][W]) const
    {
        float at[W];
        x.widen(read, at);
        DPT_UNROLL for (int e = 0; e < W; e++)
        {
            sum[0][e] += at[e];
            sum[1][e] += (NUMBER)at[e] * at[e];
        }
    }
};

template <class NUMBER> static void sum_powers(const struct dpt_op_call *call)
{
    const int64_t c = channels_of(&call->in[0].type), n = dpt_type_numel(&call->in[0].type) / c;
    double *stat = (double *)call->out[0].data;
    const struct dpt_columns<2, double> out = {{stat, stat + c}};
    struct powers<NUMBER> value;
    value.k = c;
    value.x = dpt_in_of(call, 0);
    dpt_column_sums<2, double>(dpt_cuda_of(call->dev), n, c, value, call->scratch, out);
}

extern "C" enum dpt_status dpt_op__batch_stat_cuda(const struct dpt_op_call *call)
{
    if (call->in[0].type.dtype == DPT_DTYPE_F32) {
        sum_powers<double>(call);
    } else {
        sum_powers<float>(call);
    }
    return DPT_STATUS_OK;
}

/* Where dz is dy: everywhere, where z = a x + b > 0, or where y > 0; then dz is an output. Elsewhere it is 0. */
enum mask { MASK_NONE, MASK_Z, MASK_Y };

/* What an element adds to the sums of dz and dz xhat. */
template <enum mask MASK> struct terms {
    using number = float;
    static constexpr int rows = 2;
    int64_t c;
    struct dpt_floats a, b, r, s; /* rows of the table */
    struct dpt_in dy, x, y;
    struct dpt_out dz;

    template <int W> struct held {
        float a[W], b[W], r[W], s[W];
    };

    template <int W> struct read {
        struct dpt_raw<W> dy, x, y;
    };

    __device__ bool lines() const { return dpt_lines(c, a, dy, x, y, dz); }

    template <int W> __device__ void hold(int64_t k, held<W> &at) const
    {
        if (MASK == MASK_Z) {
            dpt_load(k, a, at.a, b, at.b);
        }
        dpt_load(k, r, at.r, s, at.s);
    }

    template <int W> __device__ void fetch(int64_t row, int64_t k, bool wanted, read<W> &at) const
    {
        dy.fetch(row * c + k, at.dy, wanted);
        x.fetch(row * c + k, at.x, wanted);
        if (MASK == MASK_Y) {
            y.fetch(row * c + k, at.y, wanted);
        }
    }

    template <int W>
    __device__ void add(int64_t row, int64_t k, const held<W> &held, const read<W> &read, float (&sum)[2][W]) const
    {
        float at[W], slope[W], z[W];
        x.widen(read.x, at);
        dy.widen(read.dy, slope);
        if (MASK == MASK_Y) {
            y.widen(read.y, z);
        }
        DPT_UNROLL for (int e = 0; e < W; e++)
        {
            if (MASK == MASK_Z) {
                z[e] = held.a[e] * at[e] + held.b[e];
            }
            slope[e] = MASK == MASK_NONE || z[e] > 0.0f ? slope[e] : 0.0f;
            sum[0][e] += slope[e];
            sum[1][e] += slope[e] * (held.r[e] * at[e] + held.s[e]);
        }
        if (MASK == MASK_Y) {
            dz.store(row * c + k, slope);
        }
    }
};

/* Of inputs dy, x and y; the table lies behind the sums. */
template <enum mask MASK>
static void sum_terms(const struct dpt_op_call *call, const float *table, int x, int y, const struct dpt_out &dz, double *gstat)
{
    const int64_t c = channels_of(&call->in[0].type), n = dpt_type_numel(&call->in[0].type) / c;
    const struct dpt_columns<2, double> out = {{gstat, gstat + c}};
    struct terms<MASK> value;
    value.c = c;
    value.a = row_of(table, A, c);
    value.b = row_of(table, B, c);
    value.r = row_of(table, R, c);
    value.s = row_of(table, S, c);
    value.dy = dpt_in_of(call, 0);
    value.x = dpt_in_of(call, x);
    value.y = dpt_in_of(call, y);
    value.dz = dz;
    dpt_column_sums<2, double>(dpt_cuda_of(call->dev), n, c, value, call->scratch, out);
}

extern "C" enum dpt_status dpt_op__batch_grad_stat_cuda(const struct dpt_op_call *call)
{
    const int64_t c = channels_of(&call->in[0].type);
    const float *table = table_of(call, 2, -1, 3, dpt_column_scratch<double>(2, c));
    const struct dpt_out nowhere = {NULL, DPT_DTYPE_F32};
    double *gstat = (double *)call->out[0].data;
    if (is_relu(call)) {
        sum_terms<MASK_Z>(call, table, 1, NONE, nowhere, gstat);
    } else {
        sum_terms<MASK_NONE>(call, table, 1, NONE, nowhere, gstat);
    }
    return DPT_STATUS_OK;
}

extern "C" enum dpt_status dpt_op__batch_residual_dx_cuda(const struct dpt_op_call *call)
{
    const int64_t c = channels_of(&call->in[0].type);
    const float *table = table_of(call, 3, -1, -1, dpt_column_scratch<double>(2, c));
    sum_terms<MASK_Y>(call, table, 2, 1, dpt_out_of(call, 0), (double *)call->out[1].data);
    return DPT_STATUS_OK;
}

/* ---------------------------------------------------------------------------------------------------------- y and dx */

/* n elements: y = act(a x + b + residual). A nan stays one. */
static __global__ void normalise(int64_t n, int64_t c, bool relu, struct dpt_floats a, struct dpt_floats b,
                                 struct dpt_in x, struct dpt_in residual, struct dpt_out y)
{
    dpt_each(n, dpt_lines(c, a, x, residual, y), [&](int64_t i, auto w) {
        float z[w.n], more[w.n], scale[w.n], shift[w.n];
        dpt_load(i, x, z, residual, more);
        dpt_load(dpt_mod(i, c), a, scale, b, shift);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            z[k] = scale[k] * z[k] + shift[k] + more[k];
            z[k] = relu && z[k] < 0.0f ? 0.0f : z[k];
        }
        y.store(i, z);
    });
}

static enum dpt_status normalise_all(const struct dpt_op_call *call, const float *table, int residual)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const int64_t c = channels_of(&call->in[0].type), n = dpt_type_numel(&call->in[0].type);
    DPT_LAUNCH_EACH(cuda, n, normalise, c, is_relu(call), row_of(table, A, c), row_of(table, B, c), dpt_in_of(call, 0),
                    dpt_in_of(call, residual), dpt_out_of(call, 0));
    return DPT_STATUS_OK;
}

extern "C" enum dpt_status dpt_op__batch_norm_cuda(const struct dpt_op_call *call)
{
    return normalise_all(call, table_of(call, 1, -1, 2, 0), 4);
}

extern "C" enum dpt_status dpt_op__batch_norm_eval_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_batch_norm_param *param = (const struct dpt_batch_norm_param *)call->types->param;
    const int64_t c = channels_of(&call->in[0].type);
    float *table = (float *)call->scratch;
    DPT_LAUNCH_EACH(cuda, c, make_eval_table, param->eps, dpt_in_of(call, 1), dpt_in_of(call, 2), dpt_in_of(call, 3),
                    dpt_in_of(call, 4), table);
    return normalise_all(call, table, 5);
}

/* n elements: dx = a dz + g x + h, where with `relu` dz = dy where a x + b > 0. */
static __global__ void back(int64_t n, int64_t c, bool relu, struct dpt_floats a, struct dpt_floats b, struct dpt_floats g,
                            struct dpt_floats h, struct dpt_in dy, struct dpt_in x, struct dpt_out dx)
{
    dpt_each(n, dpt_lines(c, a, dy, x, dx), [&](int64_t i, auto w) {
        float slope[w.n], value[w.n], scale[w.n], shift[w.n], more[w.n], rest[w.n];
        dpt_load(i, dy, slope, x, value);
        dpt_load(dpt_mod(i, c), a, scale, b, shift, g, more, h, rest);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            const float dz = relu && !(scale[k] * value[k] + shift[k] > 0.0f) ? 0.0f : slope[k];
            slope[k] = scale[k] * dz + (more[k] * value[k] + rest[k]);
        }
        dx.store(i, slope);
    });
}

extern "C" enum dpt_status dpt_op__batch_norm_dx_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const int64_t c = channels_of(&call->in[0].type), n = dpt_type_numel(&call->in[0].type);
    const float *table = table_of(call, 2, 3, 4, 0);
    DPT_LAUNCH_EACH(cuda, n, back, c, is_relu(call), row_of(table, A, c), row_of(table, B, c), row_of(table, G, c),
                    row_of(table, H, c), dpt_in_of(call, 0), dpt_in_of(call, 1), dpt_out_of(call, 0));
    return DPT_STATUS_OK;
}

/* --------------------------------------------------------------------------------------------------- contributions */

static __global__ void weight_gradients(int64_t c, double share, const double *gstat, struct dpt_out dgamma,
                                        struct dpt_out dbeta)
{
    DPT_EACH(k, c)
    {
        dgamma[k] = (float)(share * gstat[c + k]);
        dbeta[k] = (float)(share * gstat[k]);
    }
}

extern "C" enum dpt_status dpt_op__batch_norm_dw_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_batch_norm_param *param = (const struct dpt_batch_norm_param *)call->types->param;
    const struct dpt_op_ctx *ctx = call->ctx;
    const int64_t c = call->in[0].type.dim[1];
    const bool whole = param->local || ctx->rows == ctx->micro_rows;
    DPT_LAUNCH_EACH(cuda, c, weight_gradients, whole ? 1.0 : (double)ctx->rows / (double)ctx->micro_rows,
                    (const double *)call->in[0].data, dpt_out_of(call, 0), dpt_out_of(call, 1));
    return DPT_STATUS_OK;
}

static __global__ void running_moments(int64_t c, double count, double share, double unbiased, const double *stat,
                                       struct dpt_out to_mean, struct dpt_out to_var)
{
    DPT_EACH(k, c)
    {
        double mean, var;
        moments(stat, k, c, count, &mean, &var);
        to_mean[k] = (float)(share * mean);
        to_var[k] = (float)(share * unbiased * var);
    }
}

extern "C" enum dpt_status dpt_op__batch_moments_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_batch_norm_param *param = (const struct dpt_batch_norm_param *)call->types->param;
    const struct dpt_op_ctx *ctx = call->ctx;
    const int64_t c = call->in[0].type.dim[1];
    const double count = (double)param->per_sample * (double)(param->local ? ctx->rows : ctx->micro_rows);
    DPT_LAUNCH_EACH(cuda, c, running_moments, count, (double)ctx->rows / (double)ctx->batch_rows,
                    count > 1.0 ? count / (count - 1.0) : 1.0, (const double *)call->in[0].data, dpt_out_of(call, 0),
                    dpt_out_of(call, 1));
    return DPT_STATUS_OK;
}

/* --------------------------------------------------------------------------------------------------------- scratch */

extern "C" size_t dpt_op__batch_table_scratch_cuda(const struct dpt_op_types *types)
{
    return table_nbytes(channels_of(&types->in[0]));
}

extern "C" size_t dpt_op__batch_sums_scratch_cuda(const struct dpt_op_types *types)
{
    const int64_t c = channels_of(&types->in[0]);
    return dpt_column_scratch<double>(2, c) + table_nbytes(c);
}
