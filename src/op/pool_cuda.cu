/* SPDX-License-Identifier: Apache-2.0 */

/* Twins of pool.c: a thread a place of the result, for one channel or a run of them. */

#include "op/cuda.cuh"

extern "C" {
#include "op/pool.h"
}

/* Kernel places [begin, end) of the window at output place `out` that lie inside the image. */
static __device__ void window(const struct dpt_op__pool &pool, int axis, int64_t out, int64_t *begin, int64_t *end)
{
    const int64_t first = out * pool.stride[axis] - pool.pad[axis], left = pool.in[axis] - first;
    *begin = first < 0 ? -first : 0;
    *end = pool.kernel[axis] < left ? pool.kernel[axis] : left;
}

/* The windows that element `in` of an axis is in: from *first to *last. Padding of a part of an image may be below 0. */
static __device__ void windows_of(const struct dpt_op__pool &pool, int axis, int64_t in, int64_t *first, int64_t *last)
{
    const int64_t at = in + pool.pad[axis], stride = pool.stride[axis], before = at - pool.kernel[axis];
    *first = before >= 0 ? before / stride + 1 : 0;
    *last = at < 0 ? -1 : at / stride < pool.out[axis] ? at / stride : pool.out[axis] - 1;
}

/* W bytes from `i` on, which is a multiple of W, of memory that is aligned by that. */
template <int W> static __device__ void load_bytes(const uint8_t *from, int64_t i, uint8_t (&to)[W])
{
    memcpy(to, __builtin_assume_aligned(from + i, W), W);
}

template <int W> static __device__ void store_bytes(uint8_t *to, int64_t i, const uint8_t (&from)[W])
{
    memcpy(__builtin_assume_aligned(to + i, W), from, W);
}

/* `at` is NULL for the mean. A number that is not one counts as the greatest. */
static __global__ void pool_windows(int64_t numel, struct dpt_op__pool pool, struct dpt_in x, struct dpt_out y,
                                    uint8_t *at)
{
    dpt_each(numel, dpt_lines(pool.c, x, y) && (uintptr_t)at % DPT_RUN == 0, [&](int64_t index, auto w) {
        const int64_t place = dpt_div(index, pool.c), c = index - place * pool.c;
        const struct dpt_pixel pixel = dpt_pixel_of(pool.out, place);
        int64_t top, bottom, left, right;
        window(pool, 0, pixel.y, &top, &bottom);
        window(pool, 1, pixel.x, &left, &right);
        const float places = (float)((bottom - top) * (right - left));
        bool any = false;
        float most[w.n], sum[w.n] = {};
        uint8_t where[w.n];
        DPT_UNROLL for (int k = 0; k < w.n; k++) /* of a window without places */
        {
            most[k] = -INFINITY;
            where[k] = UINT8_MAX;
        }
        for (int64_t i = top; i < bottom; i++) {
            for (int64_t j = left; j < right; j++) {
                const int64_t in_y = pixel.y * pool.stride[0] - pool.pad[0] + i;
                const int64_t in_x = pixel.x * pool.stride[1] - pool.pad[1] + j;
                float value[w.n];
                dpt_load(((pixel.n * pool.in[0] + in_y) * pool.in[1] + in_x) * pool.c + c, x, value);
                DPT_UNROLL for (int k = 0; k < w.n; k++)
                {
                    const bool more = !any || value[k] > most[k] || value[k] != value[k];
                    sum[k] += value[k];
                    most[k] = more ? value[k] : most[k];
                    where[k] = more ? (uint8_t)(i * pool.kernel[1] + j) : where[k];
                }
                any = true;
            }
        }
        if (at) {
            y.store(index, most);
            store_bytes(at, index, where);
        } else {
            DPT_UNROLL for (int k = 0; k < w.n; k++)
            {
                sum[k] /= places;
            }
            y.store(index, sum);
        }
    });
}

static __global__ void pool_windows_dx(int64_t numel, struct dpt_op__pool pool, struct dpt_in dy, const uint8_t *at,
                                       struct dpt_out dx)
{
    dpt_each(numel, dpt_lines(pool.c, dy, dx) && (uintptr_t)at % DPT_RUN == 0, [&](int64_t index, auto w) {
        const int64_t place = dpt_div(index, pool.c), c = index - place * pool.c;
        const struct dpt_pixel pixel = dpt_pixel_of(pool.in, place);
        int64_t top, bottom, left, right;
        float sum[w.n] = {};
        windows_of(pool, 0, pixel.y, &top, &bottom);
        windows_of(pool, 1, pixel.x, &left, &right);
        for (int64_t y = bottom; y >= top; y--) { /* in the order of places in a window, as the cores do it */
            const int64_t i = pixel.y + pool.pad[0] - y * pool.stride[0];
            for (int64_t x = right; x >= left; x--) {
                const int64_t j = pixel.x + pool.pad[1] - x * pool.stride[1];
                const int64_t from = ((pixel.n * pool.out[0] + y) * pool.out[1] + x) * pool.c + c;
                float slope[w.n];
                dpt_load(from, dy, slope);
                if (at) {
                    uint8_t where[w.n];
                    load_bytes(at, from, where);
                    DPT_UNROLL for (int k = 0; k < w.n; k++)
                    {
                        sum[k] += where[k] == i * pool.kernel[1] + j ? slope[k] : 0.0f;
                    }
                } else {
                    int64_t begin[2], end[2];
                    window(pool, 0, y, &begin[0], &end[0]);
                    window(pool, 1, x, &begin[1], &end[1]);
                    DPT_UNROLL for (int k = 0; k < w.n; k++)
                    {
                        sum[k] += slope[k] / (float)((end[0] - begin[0]) * (end[1] - begin[1]));
                    }
                }
            }
        }
        dx.store(index, sum);
    });
}

static enum dpt_status pool(const struct dpt_op_call *call, uint8_t *at)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_pool_param *param = (const struct dpt_pool_param *)call->types->param;
    const struct dpt_op__pool sizes = dpt_op__pool_sizes(param, &call->in[0].type, &call->out[0].type);
    const int64_t n = dpt_type_numel(&call->out[0].type);
    DPT_LAUNCH_EACH(cuda, n, pool_windows, sizes, dpt_in_of(call, 0), dpt_out_of(call, 0), at);
    return DPT_STATUS_OK;
}

static enum dpt_status pool_dx(const struct dpt_op_call *call, const uint8_t *at)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_pool_param *param = (const struct dpt_pool_param *)call->types->param;
    const struct dpt_op__pool sizes = dpt_op__pool_sizes(param, &call->out[0].type, &call->in[0].type);
    const int64_t n = dpt_type_numel(&call->out[0].type);
    DPT_LAUNCH_EACH(cuda, n, pool_windows_dx, sizes, dpt_in_of(call, 0), at, dpt_out_of(call, 0));
    return DPT_STATUS_OK;
}

extern "C" enum dpt_status dpt_op__max_pool_cuda(const struct dpt_op_call *call)
{
    return pool(call, (uint8_t *)call->out[1].data);
}

extern "C" enum dpt_status dpt_op__max_pool_dx_cuda(const struct dpt_op_call *call)
{
    return pool_dx(call, (const uint8_t *)call->in[1].data);
}

extern "C" enum dpt_status dpt_op__avg_pool_cuda(const struct dpt_op_call *call)
{
    return pool(call, NULL);
}

extern "C" enum dpt_status dpt_op__avg_pool_dx_cuda(const struct dpt_op_call *call)
{
    return pool_dx(call, NULL);
}

/* n: elements of y[b,c]. */
static __global__ void global_pool(int64_t n, int64_t places, int64_t channels, float divisor, struct dpt_in x,
                                   struct dpt_out y)
{
    dpt_each(n, dpt_lines(channels, x, y), [&](int64_t i, auto w) {
        const int64_t sample = dpt_div(i, channels), from = sample * places * channels + (i - sample * channels);
        double sum[w.n] = {};
        float at[w.n];
        for (int64_t p = 0; p < places; p++) {
            dpt_load(from + p * channels, x, at);
            DPT_UNROLL for (int k = 0; k < w.n; k++)
            {
                sum[k] += at[k];
            }
        }
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            at[k] = (float)(sum[k] / divisor);
        }
        y.store(i, at);
    });
}

extern "C" enum dpt_status dpt_op__global_pool_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_type *x = &call->in[0].type;
    const double divisor = (double)dpt_op_whole(call, 0, 1) * (double)dpt_op_whole(call, 0, 2);
    const int64_t n = dpt_type_numel(&call->out[0].type);
    DPT_LAUNCH_EACH(cuda, n, global_pool, x->dim[1] * x->dim[2], x->dim[3], (float)divisor,
                    dpt_in_of(call, 0), dpt_out_of(call, 0));
    return DPT_STATUS_OK;
}

/* n: elements of dx. */
static __global__ void global_pool_dx(int64_t n, int64_t places, int64_t channels, float divisor, struct dpt_in dy,
                                      struct dpt_out dx)
{
    dpt_each(n, dpt_lines(channels, dy, dx), [&](int64_t i, auto w) {
        float at[w.n];
        dpt_load(dpt_div(i, places * channels) * channels + dpt_mod(i, channels), dy, at);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            at[k] /= divisor;
        }
        dx.store(i, at);
    });
}

extern "C" enum dpt_status dpt_op__global_pool_dx_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_type *dx = &call->out[0].type;
    const double divisor = (double)dpt_op_whole(call, 1, 1) * (double)dpt_op_whole(call, 1, 2);
    const int64_t n = dpt_type_numel(dx);
    DPT_LAUNCH_EACH(cuda, n, global_pool_dx, dx->dim[1] * dx->dim[2], dx->dim[3], (float)divisor,
                    dpt_in_of(call, 0), dpt_out_of(call, 0));
    return DPT_STATUS_OK;
}
