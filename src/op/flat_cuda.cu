/* SPDX-License-Identifier: Apache-2.0 */

/* Twins of flat.c: arithmetic on ranges of flat buffers that is no node of a graph. */

#include "op/cuda.cuh"

extern "C" {
#include "op/flat.h"
}

/* z may be x or y. */
static __global__ void add(int64_t n, const float *x, const float *y, float *z)
{
    const struct dpt_floats from = {x}, more = {y}, to = {z};
    dpt_each(n, dpt_lines(0, from, more, to), [&](int64_t i, auto w) {
        float a[w.n], b[w.n];
        dpt_load(i, from, a, more, b);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            a[k] += b[k];
        }
        dpt_store(z, i, a);
    });
}

extern "C" enum dpt_status dpt_flat__add_cuda(struct dpt_dev *dev, int64_t n, const float *x, const float *y, float *z)
{
    struct dpt_cuda *cuda = dpt_cuda_of(dev);
    DPT_LAUNCH_EACH(cuda, n, add, x, y, z);
    return DPT_STATUS_OK;
}

static __global__ void scale(int64_t n, float factor, float *x)
{
    const struct dpt_floats from = {x};
    dpt_each(n, dpt_lines(0, from), [&](int64_t i, auto w) {
        float at[w.n];
        dpt_load(i, from, at);
        DPT_UNROLL for (int k = 0; k < w.n; k++)
        {
            at[k] *= factor;
        }
        dpt_store(x, i, at);
    });
}

extern "C" enum dpt_status dpt_flat__scale_cuda(struct dpt_dev *dev, int64_t n, double factor, float *x)
{
    struct dpt_cuda *cuda = dpt_cuda_of(dev);
    DPT_LAUNCH_EACH(cuda, n, scale, (float)factor, x);
    return DPT_STATUS_OK;
}

/* ---------------------------------------------------------------------------------------------------------- squares */

/* Ranges that one launch takes, in its arguments. */
struct ranges {
    struct dpt_flat_range range[DPT_CUDA_SQUARES];
};

/* Into how many parts a range is cut: as many whatever ranges are beside it, so that its sum has one order. */
static __host__ __device__ int64_t parts_of(int64_t n)
{
    const int64_t wanted = (n + DPT_BLOCK - 1) / DPT_BLOCK, most = DPT_CUDA_PARTS;
    return wanted < most ? wanted : most;
}

/* A part of the sum of range y a block. */
static __global__ void square(struct ranges ranges, double *part)
{
    const float *x = (const float *)ranges.range[blockIdx.y].x;
    const int64_t n = ranges.range[blockIdx.y].n, parts = parts_of(n);
    double sum = 0.0;
    if (blockIdx.x >= parts) {
        return; /* the whole block: none of it waits */
    }
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += parts * blockDim.x) {
        sum += (double)x[i] * (double)x[i];
    }
    sum = dpt_block_sum(sum);
    if (threadIdx.x == 0) {
        part[(int64_t)blockIdx.y * DPT_CUDA_PARTS + blockIdx.x] = sum;
    }
}

/* The total of a range a block. */
static __global__ void add_up(struct ranges ranges, const double *part, double *total)
{
    const int64_t parts = parts_of(ranges.range[blockIdx.x].n);
    double sum = 0.0;
    for (int64_t i = threadIdx.x; i < parts; i += blockDim.x) {
        sum += part[(int64_t)blockIdx.x * DPT_CUDA_PARTS + i];
    }
    sum = dpt_block_sum(sum);
    if (threadIdx.x == 0) {
        total[blockIdx.x] = sum;
    }
}

extern "C" enum dpt_status dpt_flat__squares_cuda(struct dpt_dev *dev, int count, const struct dpt_flat_range *range,
                                                  double *sum)
{
    struct dpt_cuda *cuda = dpt_cuda_of(dev);
    double *total = cuda->part + (size_t)DPT_CUDA_SQUARES * DPT_CUDA_PARTS;
    for (int first = 0; first < count; first += DPT_CUDA_SQUARES) {
        const int some = count - first < DPT_CUDA_SQUARES ? count - first : (int)DPT_CUDA_SQUARES;
        struct ranges ranges = {};
        int64_t most = 1;
        for (int i = 0; i < some; i++) {
            ranges.range[i] = range[first + i];
            most = parts_of(range[first + i].n) > most ? parts_of(range[first + i].n) : most;
        }
        const dim3 grid((unsigned)most, (unsigned)some);
        DPT_LAUNCH(square, grid, DPT_BLOCK, cuda->stream, ranges, cuda->part);
        DPT_LAUNCH(add_up, (unsigned)some, DPT_BLOCK, cuda->stream, ranges, (const double *)cuda->part, total);
        DPT_CUDA_TRY(cuda, cudaGetLastError(), "the norm of the gradient");
        DPT_TRY(dpt_dev_copy_out_later(dev, sum + first, total, (size_t)some * sizeof *total));
    }
    return DPT_STATUS_OK;
}
