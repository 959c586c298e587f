/* SPDX-License-Identifier: Apache-2.0 */

/* Twins of layer_norm.c and rms_norm.c, a block a row; and the gradient of a bias, which is a sum over rows as theirs. */

#include "op/cuda.cuh"

extern "C" {
#include "op/gemm_cuda.h"
#include "op/layer_norm.h"
#include "op/rms_norm.h"
}

/* Adds the gradient from elsewhere to W elements of dx, which are rounded first to what they are kept in. */
template <int W> static __device__ inline void add_more(const struct dpt_in &more, enum dpt_dtype kept, int64_t j, float (&dx)[W])
{
    if (more.data) {
        const struct dpt_in as = {NULL, DPT_DTYPE_F32, kept};
        float with[W];
        dpt_load(j, more, with);
        DPT_UNROLL for (int k = 0; k < W; k++)
        {
            dx[k] = __fadd_rn(as.rounded(dx[k]), with[k]); /* never one operation with the product before */
        }
    }
}

/*
 * W elements of what is normalised: of x, or, where there is more to add, of the sum, which is kept in r and taken as it is
 * kept. A thread finds its own elements there afterwards.
 */
template <int W>
static __device__ inline void load_sum(const struct dpt_in &x, const struct dpt_in &more, const struct dpt_out &r, int64_t j,
                                       float (&at)[W])
{
    float with[W];
    dpt_load(j, x, at, more, with);
    if (more.data) {
        const struct dpt_in as = {NULL, DPT_DTYPE_F32, r.type};
        DPT_UNROLL for (int k = 0; k < W; k++)
        {
            at[k] = as.rounded(at[k] + with[k]);
        }
        r.store(j, at);
    }
}

static const struct dpt_in nothing = {NULL, DPT_DTYPE_F32, DPT_DTYPE_F32};
static const struct dpt_out nowhere = {NULL, DPT_DTYPE_F32};

/* An operand from element `begin` on, or still none. */
static __device__ inline struct dpt_in row_of(const struct dpt_in &in, int64_t begin)
{
    return in.data ? in + begin : in;
}

/* Behind load_sum: the row to go on with. */
static __device__ inline struct dpt_in summed(const struct dpt_in &x, const struct dpt_in &more, const struct dpt_out &r)
{
    const struct dpt_in sum = {r.data, r.type, DPT_DTYPE_F32};
    return more.data ? sum : x;
}

/* ------------------------------------------------------------------------------------------------------ layer norm */

static __global__ void layer_norm(int64_t h, float eps, struct dpt_in x, struct dpt_in more, struct dpt_in gamma,
                                  struct dpt_in beta, struct dpt_out r, struct dpt_out y, struct dpt_out mean,
                                  struct dpt_out rstd)
{
    const int64_t row = blockIdx.x;
    float sum = 0.0f, squares = 0.0f;
    x = x + row * h;
    more = row_of(more, row * h);
    r = r.data ? r + row * h : r;
    y = y + row * h;
    const bool lines = dpt_lines(h, x, more, gamma, beta, r, y);
    dpt_row(h, lines, [&](int64_t j, auto w) {
        float at[w.n];
        load_sum<w.n>(x, more, r, j, at);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            sum += at[k];
        }
    });
    x = summed(x, more, r);
    const float centre = dpt_block_sum(sum) / (float)h;
    dpt_row(h, lines, [&](int64_t j, auto w) {
        float at[w.n];
        dpt_load(j, x, at);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            squares += (at[k] - centre) * (at[k] - centre);
        }
    });
    const float factor = 1.0f / sqrtf(dpt_block_sum(squares) / (float)h + eps);
    dpt_row(h, lines, [&](int64_t j, auto w) {
        float at[w.n], scale[w.n], shift[w.n];
        dpt_load(j, x, at, gamma, scale, beta, shift);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            at[k] = scale[k] * (at[k] - centre) * factor + shift[k];
        }
        y.store(j, at);
    });
    if (threadIdx.x == 0) {
        mean[row] = centre;
        rstd[row] = factor;
    }
}

extern "C" enum dpt_status dpt_op__layer_norm_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_layer_norm_param *param = (const struct dpt_layer_norm_param *)call->types->param;
    const int64_t h = call->in[1].type.dim[0], n = dpt_type_numel(&call->in[0].type) / h;
    DPT_LAUNCH_ROWS(cuda, n, h, layer_norm, h, (float)param->eps, dpt_in_of(call, 0), nothing, dpt_in_of(call, 1),
                    dpt_in_of(call, 2), nowhere, dpt_out_of(call, 0), dpt_out_of(call, 1), dpt_out_of(call, 2));
    return DPT_STATUS_OK;
}

extern "C" enum dpt_status dpt_op__add_layer_norm_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_layer_norm_param *param = (const struct dpt_layer_norm_param *)call->types->param;
    const int64_t h = call->in[2].type.dim[0], n = dpt_type_numel(&call->in[0].type) / h;
    DPT_LAUNCH_ROWS(cuda, n, h, layer_norm, h, (float)param->eps, dpt_in_of(call, 0), dpt_in_of(call, 1), dpt_in_of(call, 2),
                    dpt_in_of(call, 3), dpt_out_of(call, 0), dpt_out_of(call, 1), dpt_out_of(call, 2), dpt_out_of(call, 3));
    return DPT_STATUS_OK;
}

static __global__ void layer_norm_dx(int64_t h, struct dpt_in dy, struct dpt_in x, struct dpt_in mean,
                                     struct dpt_in rstd, struct dpt_in gamma, struct dpt_in more, struct dpt_out dx)
{
    const int64_t row = blockIdx.x;
    const float centre = mean[row], factor = rstd[row];
    float sum = 0.0f, product = 0.0f;
    dy = dy + row * h;
    x = x + row * h;
    dx = dx + row * h;
    more = row_of(more, row * h);
    const bool lines = dpt_lines(h, dy, x, gamma, more, dx);
    dpt_row(h, lines, [&](int64_t j, auto w) {
        float e[w.n], at[w.n], scale[w.n];
        dpt_load(j, dy, e, x, at, gamma, scale);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            e[k] *= scale[k];
            sum += e[k];
            product += e[k] * (at[k] - centre) * factor;
        }
    });
    sum = dpt_block_sum(sum) / (float)h;
    product = dpt_block_sum(product) / (float)h;
    dpt_row(h, lines, [&](int64_t j, auto w) {
        float e[w.n], at[w.n], scale[w.n];
        dpt_load(j, dy, e, x, at, gamma, scale);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            e[k] = factor * (e[k] * scale[k] - sum - (at[k] - centre) * factor * product);
        }
        add_more<w.n>(more, dx.type, j, e);
        dx.store(j, e);
    });
}

extern "C" enum dpt_status dpt_op__layer_norm_dx_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const int64_t h = call->in[4].type.dim[0], n = dpt_type_numel(&call->in[1].type) / h;
    DPT_LAUNCH_ROWS(cuda, n, h, layer_norm_dx, h, dpt_in_of(call, 0), dpt_in_of(call, 1),
                    dpt_in_of(call, 2), dpt_in_of(call, 3), dpt_in_of(call, 4), dpt_in_of(call, 5),
                    dpt_out_of(call, 0));
    return DPT_STATUS_OK;
}

/* What the gradients of gamma, and of beta, are summed of. */
struct norm_dw : dpt_column_rule {
    using number = float;
    static constexpr int rows = 2;
    int64_t h;
    struct dpt_in dy, x;
    const float *rstd; /* an exact output */

    template <int W> struct read {
        struct dpt_raw<W> dy, x;
        float factor;
    };

    __device__ bool lines() const { return dpt_lines(h, dy, x); }

    template <int W> __device__ void fetch(int64_t row, int64_t j, bool wanted, read<W> &at) const
    {
        dy.fetch(row * h + j, at.dy, wanted);
        x.fetch(row * h + j, at.x, wanted);
        at.factor = wanted ? rstd[row] : 0.0f;
    }
};

/* What an element adds to dgamma and dbeta. */
struct layer_norm_dw : norm_dw {
    const float *mean; /* an exact output, too */

    template <int W> struct read : norm_dw::read<W> {
        float centre;
    };

    template <int W> __device__ void fetch(int64_t row, int64_t j, bool wanted, read<W> &at) const
    {
        norm_dw::fetch<W>(row, j, wanted, at);
        at.centre = wanted ? mean[row] : 0.0f;
    }

    template <int W>
    __device__ void add(int64_t, int64_t, const held<W> &, const read<W> &at, float (&sum)[2][W]) const
    {
        float slope[W], value[W];
        dy.widen(at.dy, slope);
        x.widen(at.x, value);
        DPT_UNROLL for (int k = 0; k < W; k++)
        {
            sum[0][k] += slope[k] * (value[k] - at.centre) * at.factor;
            sum[1][k] += slope[k];
        }
    }
};

extern "C" enum dpt_status dpt_op__layer_norm_dw_cuda(const struct dpt_op_call *call)
{
    const int64_t h = call->out[0].type.dim[0], n = h ? dpt_type_numel(&call->in[1].type) / h : 0;
    struct layer_norm_dw value;
    value.h = h;
    value.dy = dpt_in_of(call, 0);
    value.x = dpt_in_of(call, 1);
    value.mean = (const float *)call->in[2].data;
    value.rstd = (const float *)call->in[3].data;
    const struct dpt_columns<2> out = {{(float *)call->out[0].data, (float *)call->out[1].data}};
    dpt_column_sums<2>(dpt_cuda_of(call->dev), n, h, value, call->scratch, out);
    return DPT_STATUS_OK;
}

extern "C" size_t dpt_op__layer_norm_dw_scratch_cuda(const struct dpt_op_types *types)
{
    return dpt_column_scratch(2, types->out[0].dim[0]);
}

/* -------------------------------------------------------------------------------------------------------- rms norm */

static __global__ void rms_norm(int64_t h, float eps, struct dpt_in x, struct dpt_in more, struct dpt_in gamma,
                                struct dpt_out r, struct dpt_out y, struct dpt_out rstd)
{
    const int64_t row = blockIdx.x;
    float squares = 0.0f;
    x = x + row * h;
    more = row_of(more, row * h);
    r = r.data ? r + row * h : r;
    y = y + row * h;
    const bool lines = dpt_lines(h, x, more, gamma, r, y);
    dpt_row(h, lines, [&](int64_t j, auto w) {
        float at[w.n];
        load_sum<w.n>(x, more, r, j, at);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            squares += at[k] * at[k];
        }
    });
    x = summed(x, more, r);
    const float factor = 1.0f / sqrtf(dpt_block_sum(squares) / (float)h + eps);
    dpt_row(h, lines, [&](int64_t j, auto w) {
        float at[w.n], scale[w.n];
        dpt_load(j, x, at, gamma, scale);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            at[k] = scale[k] * at[k] * factor;
        }
        y.store(j, at);
    });
    if (threadIdx.x == 0) {
        rstd[row] = factor;
    }
}

extern "C" enum dpt_status dpt_op__rms_norm_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_rms_norm_param *param = (const struct dpt_rms_norm_param *)call->types->param;
    const int64_t h = call->in[1].type.dim[0], n = dpt_type_numel(&call->in[0].type) / h;
    DPT_LAUNCH_ROWS(cuda, n, h, rms_norm, h, (float)param->eps, dpt_in_of(call, 0), nothing, dpt_in_of(call, 1), nowhere,
                    dpt_out_of(call, 0), dpt_out_of(call, 1));
    return DPT_STATUS_OK;
}

extern "C" enum dpt_status dpt_op__add_rms_norm_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_rms_norm_param *param = (const struct dpt_rms_norm_param *)call->types->param;
    const int64_t h = call->in[2].type.dim[0], n = dpt_type_numel(&call->in[0].type) / h;
    DPT_LAUNCH_ROWS(cuda, n, h, rms_norm, h, (float)param->eps, dpt_in_of(call, 0), dpt_in_of(call, 1), dpt_in_of(call, 2),
                    dpt_out_of(call, 0), dpt_out_of(call, 1), dpt_out_of(call, 2));
    return DPT_STATUS_OK;
}

static __global__ void rms_norm_dx(int64_t h, struct dpt_in dy, struct dpt_in x, struct dpt_in rstd, struct dpt_in gamma,
                                   struct dpt_in more, struct dpt_out dx)
{
    const int64_t row = blockIdx.x;
    const float factor = rstd[row];
    float product = 0.0f;
    dy = dy + row * h;
    x = x + row * h;
    dx = dx + row * h;
    more = row_of(more, row * h);
    const bool lines = dpt_lines(h, dy, x, gamma, more, dx);
    dpt_row(h, lines, [&](int64_t j, auto w) {
        float e[w.n], at[w.n], scale[w.n];
        dpt_load(j, dy, e, x, at, gamma, scale);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            product += e[k] * scale[k] * at[k] * factor;
        }
    });
    product = dpt_block_sum(product) / (float)h;
    dpt_row(h, lines, [&](int64_t j, auto w) {
        float e[w.n], at[w.n], scale[w.n];
        dpt_load(j, dy, e, x, at, gamma, scale);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            e[k] = factor * (e[k] * scale[k] - at[k] * factor * product);
        }
        add_more<w.n>(more, dx.type, j, e);
        dx.store(j, e);
    });
}

extern "C" enum dpt_status dpt_op__rms_norm_dx_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const int64_t h = call->in[3].type.dim[0], n = dpt_type_numel(&call->in[1].type) / h;
    DPT_LAUNCH_ROWS(cuda, n, h, rms_norm_dx, h, dpt_in_of(call, 0), dpt_in_of(call, 1),
                    dpt_in_of(call, 2), dpt_in_of(call, 3), dpt_in_of(call, 4), dpt_out_of(call, 0));
    return DPT_STATUS_OK;
}

/* What an element adds to dgamma. */
struct rms_norm_dw : norm_dw {
    template <int W>
    __device__ void add(int64_t, int64_t, const held<W> &, const read<W> &at, float (&sum)[1][W]) const
    {
        float slope[W], value[W];
        dy.widen(at.dy, slope);
        x.widen(at.x, value);
        DPT_UNROLL for (int k = 0; k < W; k++)
        {
            sum[0][k] += slope[k] * (value[k] * at.factor);
        }
    }
};

extern "C" enum dpt_status dpt_op__rms_norm_dw_cuda(const struct dpt_op_call *call)
{
    const int64_t h = call->out[0].type.dim[0], n = h ? dpt_type_numel(&call->in[1].type) / h : 0;
    struct rms_norm_dw value;
    value.h = h;
    value.dy = dpt_in_of(call, 0);
    value.x = dpt_in_of(call, 1);
    value.rstd = (const float *)call->in[2].data;
    const struct dpt_columns<1> out = {{(float *)call->out[0].data}};
    dpt_column_sums<1>(dpt_cuda_of(call->dev), n, h, value, call->scratch, out);
    return DPT_STATUS_OK;
}

extern "C" size_t dpt_op__rms_norm_dw_scratch_cuda(const struct dpt_op_types *types)
{
    return dpt_column_scratch(1, dpt_type_numel(&types->out[0]));
}

/* ------------------------------------------------------------------------------------------------------------ bias */

extern "C" void dpt_op__bias_sums_cuda(struct dpt_cuda *cuda, int64_t n, int64_t k, enum dpt_dtype dtype, const void *dy,
                                       void *scratch, float *db)
{
    const struct dpt_in x = {dy, dtype, DPT_DTYPE_F32};
    struct dpt_column_values value;
    value.k = k;
    value.x = x;
    const struct dpt_columns<1> out = {{db}};
    dpt_column_sums<1>(cuda, n, k, value, scratch, out);
}

extern "C" size_t dpt_op__bias_scratch_cuda(int64_t k)
{
    return dpt_column_scratch(1, k);
}
