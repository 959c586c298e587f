/* SPDX-License-Identifier: Apache-2.0 */
#include "op/flat.h"

#include "base/add.h"
#include "base/simd.h"
#include "op/cuda.h"

/* Squares in double: no float overflows there. Eight sums side by side, in a fixed order on every machine. */
enum { LANES = 8 };

DPT_SIMD static void flat_square_f32(int64_t n, const float *x, double sum[LANES])
{
    for (int64_t i = 0; i + LANES <= n; i += LANES) {
#pragma omp simd
        for (int k = 0; k < LANES; k++) {
            sum[k] += (double)x[i + k] * (double)x[i + k];
        }
    }
}

DPT_SIMD static void flat_square_f64(int64_t n, const double *x, double sum[LANES])
{
    for (int64_t i = 0; i + LANES <= n; i += LANES) {
#pragma omp simd
        for (int k = 0; k < LANES; k++) {
            sum[k] += x[i + k] * x[i + k];
        }
    }
}

static double square(enum dpt_dtype real, int64_t n, const void *data)
{
    double sum[LANES] = {0.0};
    const int64_t whole = n / LANES * LANES;
    if (real == DPT_DTYPE_F32) {
        flat_square_f32(n, data, sum);
    } else {
        flat_square_f64(n, data, sum);
    }
    for (int64_t i = whole; i < n; i++) {
        const double x = real == DPT_DTYPE_F32 ? ((const float *)data)[i] : ((const double *)data)[i];
        sum[i - whole] += x * x;
    }
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

/* Cards have F32 alone: dpt_op_check_run refuses other nodes. */
static bool is_card(const struct dpt_dev *dev)
{
    return dev && dev->kind == DPT_DEV_KIND_CUDA;
}

enum dpt_status dpt_flat_add(struct dpt_dev *dev, enum dpt_dtype real, int64_t n, const void *x, const void *y, void *z)
{
    if (is_card(dev)) {
        return dpt_flat__add_cuda(dev, n, x, y, z);
    }
    DPT_TRY(dpt_dev_kernel_begin(dev));
    dpt_add(real, n, x, y, z);
    return dpt_dev_kernel_end(dev);
}

enum dpt_status dpt_flat_scale(struct dpt_dev *dev, enum dpt_dtype real, int64_t n, double factor, void *x)
{
    if (is_card(dev)) {
        return dpt_flat__scale_cuda(dev, n, factor, x);
    }
    DPT_TRY(dpt_dev_kernel_begin(dev));
    for (int64_t i = 0; i < n; i++) {
        if (real == DPT_DTYPE_F32) {
            ((float *)x)[i] *= (float)factor;
        } else {
            ((double *)x)[i] *= factor;
        }
    }
    return dpt_dev_kernel_end(dev);
}

enum dpt_status dpt_flat_square(struct dpt_dev *dev, enum dpt_dtype real, int64_t n, const void *x, double *sum)
{
    if (is_card(dev)) {
        return dpt_flat__square_cuda(dev, n, x, sum);
    }
    DPT_TRY(dpt_dev_kernel_begin(dev));
    *sum = square(real, n, x);
    return dpt_dev_kernel_end(dev);
}
