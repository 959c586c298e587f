/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fast kernels of op/pool.c in F32: loops over the channels of a place, which lie together. Windows of 2 x 2 without
 * padding, the usual ones, have loops of their own that touch every element once. F64 runs REF.
 */

#include "op/pool.h"

#include <string.h>

#include "base/simd.h"

/* One window: kernel places [top, bottom) x [left, right) lie inside the image. */
struct window {
    int64_t top, bottom, left, right;
    int64_t x, y; /* elements from the start of x to kernel place 0, 0 (which may lie outside); from that of y */
};

static struct window window_at(const struct dpt_op__pool *pool, int64_t n, int64_t y, int64_t x)
{
    struct window window;
    dpt_op__pool_window(pool, 0, y, &window.top, &window.bottom);
    dpt_op__pool_window(pool, 1, x, &window.left, &window.right);
    const int64_t at_y = y * pool->stride[0] - pool->pad[0], at_x = x * pool->stride[1] - pool->pad[1];
    window.x = ((n * pool->in[0] + at_y) * pool->in[1] + at_x) * pool->c;
    window.y = ((n * pool->out[0] + y) * pool->out[1] + x) * pool->c;
    return window;
}

static bool is_two_by_two(const struct dpt_op__pool *pool)
{
    return pool->kernel[0] == 2 && pool->kernel[1] == 2 && pool->pad[0] == 0 && pool->pad[1] == 0;
}

/* No place of the image is in two windows. */
static bool is_disjoint(const struct dpt_op__pool *pool)
{
    return pool->stride[0] >= pool->kernel[0] && pool->stride[1] >= pool->kernel[1];
}

/* Every place of the image is in exactly one window. */
static bool is_tiling(const struct dpt_op__pool *pool)
{
    bool tiling = true;
    for (int a = 0; a < 2; a++) {
        const int64_t covered = pool->out[a] * pool->stride[a] - pool->pad[a];
        tiling = tiling && pool->stride[a] == pool->kernel[a] && covered >= pool->in[a];
    }
    return tiling;
}

static size_t image_nbytes(const struct dpt_op__pool *pool)
{
    return (size_t)(pool->in[0] * pool->in[1] * pool->c) * sizeof(float);
}

/* A row of `count` windows of 2 x 2, `step` elements apart in x; the image has `row` elements a row. */
DPT_SIMD static void dpt_op__max_pool_row(int64_t count, int64_t step, int64_t row, int64_t c, const float *restrict x,
                                          float *restrict y, uint8_t *restrict at)
{
    for (int64_t i = 0; i < count; i++, x += step, y += c, at += c) {
#pragma omp simd
        for (int64_t k = 0; k < c; k++) {
            const float x1 = x[c + k], x2 = x[row + k], x3 = x[row + c + k];
            float max = x[k];
            int32_t place = 0;
            const int more1 = (x1 > max) | (x1 != x1);
            max = more1 ? x1 : max;
            place = more1 ? 1 : place;
            const int more2 = (x2 > max) | (x2 != x2);
            max = more2 ? x2 : max;
            place = more2 ? 2 : place;
            const int more3 = (x3 > max) | (x3 != x3);
            y[k] = more3 ? x3 : max;
            at[k] = (uint8_t)(more3 ? 3 : place);
        }
    }
}

/* Any window: place by place, with the maximum so far in y. */
DPT_SIMD static void dpt_op__max_pool_window(const struct dpt_op__pool *pool, const struct window *window,
                                             const float *restrict x, float *restrict y, uint8_t *restrict at)
{
    const int64_t c = pool->c;
    bool first = true;
    for (int64_t i = window->top; i < window->bottom; i++) {
        for (int64_t j = window->left; j < window->right; j++) {
            const float *from = x + (i * pool->in[1] + j) * c;
            const uint8_t place = (uint8_t)(i * pool->kernel[1] + j);
            if (first) {
                memcpy(y, from, (size_t)c * sizeof *y);
                memset(at, place, (size_t)c);
                first = false;
                continue;
            }
#pragma omp simd
            for (int64_t k = 0; k < c; k++) {
                const int more = (from[k] > y[k]) | (from[k] != from[k]);
                y[k] = more ? from[k] : y[k];
                at[k] = more ? place : at[k];
            }
        }
    }
}

enum dpt_status dpt_op__max_pool_cpu(const struct dpt_op_call *call)
{
    if (call->in[0].type.dtype != DPT_DTYPE_F32) {
        return dpt_op_max_pool.run[DPT_RUN_REF](call);
    }
    const struct dpt_op__pool pool = dpt_op__pool_sizes(call->types->param, &call->in[0].type, &call->out[0].type);
    const float *x = call->in[0].data; /* [n,y,x,c] */
    float *out = call->out[0].data;    /* [n,y,x,c] */
    uint8_t *at = call->out[1].data;   /* [n,y,x,c] */
    const int64_t step = pool.stride[1] * pool.c, row = pool.in[1] * pool.c;
    for (int64_t n = 0; n < pool.n; n++) {
        for (int64_t y = 0; y < pool.out[0]; y++) {
            if (is_two_by_two(&pool)) {
                const struct window window = window_at(&pool, n, y, 0);
                dpt_op__max_pool_row(pool.out[1], step, row, pool.c, x + window.x, out + window.y, at + window.y);
                continue;
            }
            for (int64_t i = 0; i < pool.out[1]; i++) {
                const struct window window = window_at(&pool, n, y, i);
                dpt_op__max_pool_window(&pool, &window, x + window.x, out + window.y, at + window.y);
            }
        }
    }
    return DPT_STATUS_OK;
}

/*
 * A row of `count` windows of 2 x 2, as above; writes each place. Eight channels at a time with the places widened
 * first: a loop that reads bytes and writes to four lines at once does not become vector code by itself.
 */
DPT_SIMD static void dpt_op__max_pool_dx_row(int64_t count, int64_t step, int64_t row, int64_t c,
                                             const float *restrict dy, const uint8_t *restrict at, float *restrict dx)
{
    enum { BLOCK = 8 };
    for (int64_t i = 0; i < count; i++, dx += step, dy += c, at += c) {
        int64_t k = 0;
        for (; k + BLOCK <= c; k += BLOCK) {
            int32_t place[BLOCK];
            for (int e = 0; e < BLOCK; e++) {
                place[e] = at[k + e];
            }
            float *const to[4] = {dx + k, dx + c + k, dx + row + k, dx + row + c + k};
            for (int p = 0; p < 4; p++) {
                for (int e = 0; e < BLOCK; e++) {
                    to[p][e] = place[e] == p ? dy[k + e] : 0.0f;
                }
            }
        }
        for (; k < c; k++) {
            dx[k] = at[k] == 0 ? dy[k] : 0.0f;
            dx[c + k] = at[k] == 1 ? dy[k] : 0.0f;
            dx[row + k] = at[k] == 2 ? dy[k] : 0.0f;
            dx[row + c + k] = at[k] == 3 ? dy[k] : 0.0f;
        }
    }
}

/* Any window: adds to dx, or with `set` writes it. */
DPT_SIMD static void dpt_op__max_pool_dx_window(const struct dpt_op__pool *pool, const struct window *window, bool set,
                                                const float *restrict dy, const uint8_t *restrict at,
                                                float *restrict dx)
{
    const int64_t c = pool->c;
    for (int64_t i = window->top; i < window->bottom; i++) {
        for (int64_t j = window->left; j < window->right; j++) {
            float *to = dx + (i * pool->in[1] + j) * c;
            const int32_t place = (int32_t)(i * pool->kernel[1] + j);
            if (set) {
#pragma omp simd
                for (int64_t k = 0; k < c; k++) {
                    to[k] = at[k] == place ? dy[k] : 0.0f;
                }
            } else {
#pragma omp simd
                for (int64_t k = 0; k < c; k++) {
                    to[k] += at[k] == place ? dy[k] : 0.0f;
                }
            }
        }
    }
}

enum dpt_status dpt_op__max_pool_dx_cpu(const struct dpt_op_call *call)
{
    if (call->in[0].type.dtype != DPT_DTYPE_F32) {
        return dpt_op_max_pool_dx.run[DPT_RUN_REF](call);
    }
    const struct dpt_op__pool pool = dpt_op__pool_sizes(call->types->param, &call->out[0].type, &call->in[0].type);
    const float *dy = call->in[0].data;   /* [n,y,x,c] */
    const uint8_t *at = call->in[1].data; /* [n,y,x,c] */
    float *dx = call->out[0].data;        /* [n,y,x,c] */
    const bool rows = is_two_by_two(&pool) && is_disjoint(&pool), set = is_disjoint(&pool), tiling = is_tiling(&pool);
    const int64_t step = pool.stride[1] * pool.c, row = pool.in[1] * pool.c;
    for (int64_t n = 0; n < pool.n; n++) {
        if (!tiling) {
            memset(dx + n * pool.in[0] * row, 0, image_nbytes(&pool)); /* one image: it stays in the cache */
        }
        for (int64_t y = 0; y < pool.out[0]; y++) {
            if (rows) {
                const struct window window = window_at(&pool, n, y, 0);
                dpt_op__max_pool_dx_row(pool.out[1], step, row, pool.c, dy + window.y, at + window.y, dx + window.x);
                continue;
            }
            for (int64_t i = 0; i < pool.out[1]; i++) {
                const struct window window = window_at(&pool, n, y, i);
                dpt_op__max_pool_dx_window(&pool, &window, set, dy + window.y, at + window.y, dx + window.x);
            }
        }
    }
    return DPT_STATUS_OK;
}

DPT_SIMD static void dpt_op__avg_pool_window(const struct dpt_op__pool *pool, const struct window *window,
                                             const float *restrict x, float *restrict y)
{
    const int64_t c = pool->c;
    const float share = 1.0f / (float)((window->bottom - window->top) * (window->right - window->left));
    memset(y, 0, (size_t)c * sizeof *y);
    for (int64_t i = window->top; i < window->bottom; i++) {
        for (int64_t j = window->left; j < window->right; j++) {
            const float *from = x + (i * pool->in[1] + j) * c;
#pragma omp simd
            for (int64_t k = 0; k < c; k++) {
                y[k] += from[k];
            }
        }
    }
#pragma omp simd
    for (int64_t k = 0; k < c; k++) {
        y[k] *= share;
    }
}

enum dpt_status dpt_op__avg_pool_cpu(const struct dpt_op_call *call)
{
    if (call->in[0].type.dtype != DPT_DTYPE_F32) {
        return dpt_op_avg_pool.run[DPT_RUN_REF](call);
    }
    const struct dpt_op__pool pool = dpt_op__pool_sizes(call->types->param, &call->in[0].type, &call->out[0].type);
    const float *x = call->in[0].data; /* [n,y,x,c] */
    float *out = call->out[0].data;    /* [n,y,x,c] */
    for (int64_t n = 0; n < pool.n; n++) {
        for (int64_t y = 0; y < pool.out[0]; y++) {
            for (int64_t i = 0; i < pool.out[1]; i++) {
                const struct window window = window_at(&pool, n, y, i);
                dpt_op__avg_pool_window(&pool, &window, x + window.x, out + window.y);
            }
        }
    }
    return DPT_STATUS_OK;
}

/* Adds to dx, or with `set` writes it. */
DPT_SIMD static void dpt_op__avg_pool_dx_window(const struct dpt_op__pool *pool, const struct window *window, bool set,
                                                const float *restrict dy, float *restrict dx)
{
    const int64_t c = pool->c;
    const float share = 1.0f / (float)((window->bottom - window->top) * (window->right - window->left));
    for (int64_t i = window->top; i < window->bottom; i++) {
        for (int64_t j = window->left; j < window->right; j++) {
            float *to = dx + (i * pool->in[1] + j) * c;
            if (set) {
#pragma omp simd
                for (int64_t k = 0; k < c; k++) {
                    to[k] = share * dy[k];
                }
            } else {
#pragma omp simd
                for (int64_t k = 0; k < c; k++) {
                    to[k] += share * dy[k];
                }
            }
        }
    }
}

enum dpt_status dpt_op__avg_pool_dx_cpu(const struct dpt_op_call *call)
{
    if (call->in[0].type.dtype != DPT_DTYPE_F32) {
        return dpt_op_avg_pool_dx.run[DPT_RUN_REF](call);
    }
    const struct dpt_op__pool pool = dpt_op__pool_sizes(call->types->param, &call->out[0].type, &call->in[0].type);
    const float *dy = call->in[0].data; /* [n,y,x,c] */
    float *dx = call->out[0].data;      /* [n,y,x,c] */
    const bool set = is_disjoint(&pool), tiling = is_tiling(&pool);
    for (int64_t n = 0; n < pool.n; n++) {
        if (!tiling) {
            memset(dx + n * pool.in[0] * pool.in[1] * pool.c, 0, image_nbytes(&pool));
        }
        for (int64_t y = 0; y < pool.out[0]; y++) {
            for (int64_t i = 0; i < pool.out[1]; i++) {
                const struct window window = window_at(&pool, n, y, i);
                dpt_op__avg_pool_dx_window(&pool, &window, set, dy + window.y, dx + window.x);
            }
        }
    }
    return DPT_STATUS_OK;
}

/* The mean over the places of one image; sums of a few channels at a time, in double: images may be large. */
DPT_SIMD static void dpt_op__global_pool_image(int64_t places, double divisor, int64_t c, const float *restrict x,
                                               float *restrict y)
{
    enum { BLOCK = 32 };
    for (int64_t begin = 0; begin < c; begin += BLOCK) {
        const int64_t count = c - begin < BLOCK ? c - begin : BLOCK;
        double sum[BLOCK] = {0.0};
        for (int64_t p = 0; p < places; p++) {
            const float *from = x + p * c + begin;
#pragma omp simd
            for (int64_t k = 0; k < count; k++) {
                sum[k] += from[k];
            }
        }
        for (int64_t k = 0; k < count; k++) {
            y[begin + k] = (float)(sum[k] / divisor);
        }
    }
}

enum dpt_status dpt_op__global_pool_cpu(const struct dpt_op_call *call)
{
    const struct dpt_type *type = &call->in[0].type;
    if (type->dtype != DPT_DTYPE_F32) {
        return dpt_op_global_pool.run[DPT_RUN_REF](call);
    }
    const float *x = call->in[0].data; /* [n,place,c] */
    float *y = call->out[0].data;      /* [n,c]       */
    const int64_t places = type->dim[1] * type->dim[2], c = type->dim[3];
    const double divisor = (double)dpt_op_whole(call, 0, 1) * (double)dpt_op_whole(call, 0, 2);
    for (int64_t n = 0; n < type->dim[0]; n++) {
        dpt_op__global_pool_image(places, divisor, c, x + n * places * c, y + n * c);
    }
    return DPT_STATUS_OK;
}

DPT_SIMD static void dpt_op__global_pool_dx_image(int64_t places, float share, int64_t c, const float *restrict dy,
                                                  float *restrict dx)
{
    for (int64_t p = 0; p < places; p++, dx += c) {
#pragma omp simd
        for (int64_t k = 0; k < c; k++) {
            dx[k] = share * dy[k];
        }
    }
}

enum dpt_status dpt_op__global_pool_dx_cpu(const struct dpt_op_call *call)
{
    const struct dpt_type *type = &call->out[0].type;
    if (type->dtype != DPT_DTYPE_F32) {
        return dpt_op_global_pool_dx.run[DPT_RUN_REF](call);
    }
    const float *dy = call->in[0].data; /* [n,c]       */
    float *dx = call->out[0].data;      /* [n,place,c] */
    const int64_t places = type->dim[1] * type->dim[2], c = type->dim[3];
    const float share = 1.0f / ((float)dpt_op_whole(call, 1, 1) * (float)dpt_op_whole(call, 1, 2));
    for (int64_t n = 0; n < type->dim[0]; n++) {
        dpt_op__global_pool_dx_image(places, share, c, dy + n * c, dx + n * places * c);
    }
    return DPT_STATUS_OK;
}
