/* SPDX-License-Identifier: Apache-2.0 */
#include "base/square.h"

#include "base/add.h"
#include "base/simd.h"

DPT_SIMD static void dpt_square__f32(int64_t n, const float *x, double sum[DPT_SQUARE_LANES])
{
    for (int64_t i = 0; i + DPT_SQUARE_LANES <= n; i += DPT_SQUARE_LANES) {
#pragma omp simd
        for (int k = 0; k < DPT_SQUARE_LANES; k++) {
            sum[k] += (double)x[i + k] * (double)x[i + k];
        }
    }
}

DPT_SIMD static void dpt_square__f64(int64_t n, const double *x, double sum[DPT_SQUARE_LANES])
{
    for (int64_t i = 0; i + DPT_SQUARE_LANES <= n; i += DPT_SQUARE_LANES) {
#pragma omp simd
        for (int k = 0; k < DPT_SQUARE_LANES; k++) {
            sum[k] += x[i + k] * x[i + k];
        }
    }
}

DPT_SIMD static void dpt_square__sum_f32(int64_t n, const float *x, const float *y, float *z,
                                         double sum[DPT_SQUARE_LANES])
{
    for (int64_t i = 0; i + DPT_SQUARE_LANES <= n; i += DPT_SQUARE_LANES) {
#pragma omp simd
        for (int k = 0; k < DPT_SQUARE_LANES; k++) {
            const float s = x[i + k] + y[i + k];
            z[i + k] = s;
            sum[k] += (double)s * (double)s;
        }
    }
}

void dpt_square_add(enum dpt_dtype dtype, int64_t n, const void *x, struct dpt_square *square)
{
    const int64_t whole = n / DPT_SQUARE_LANES * DPT_SQUARE_LANES;
    if (dtype == DPT_DTYPE_F32) {
        dpt_square__f32(n, x, square->lane);
    } else {
        dpt_square__f64(n, x, square->lane);
    }
    for (int64_t i = whole; i < n; i++) {
        const double v = dtype == DPT_DTYPE_F32 ? ((const float *)x)[i] : ((const double *)x)[i];
        square->lane[i - whole] += v * v;
    }
}

double dpt_square_sum(const struct dpt_square *square)
{
    const double *sum = square->lane;
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

void dpt_square_add_sum(enum dpt_dtype dtype, int64_t n, const void *x, const void *y, void *z, struct dpt_square *square)
{
    const int64_t whole = dtype == DPT_DTYPE_F32 ? n / DPT_SQUARE_LANES * DPT_SQUARE_LANES : 0;
    const size_t offset = (size_t)whole * dpt_dtype_nbytes(dtype);
    if (whole > 0) {
        dpt_square__sum_f32(whole, x, y, z, square->lane);
    }
    dpt_add(dtype, n - whole, (const char *)x + offset, (const char *)y + offset, (char *)z + offset);
    dpt_square_add(dtype, n - whole, (const char *)z + offset, square);
}
