/* SPDX-License-Identifier: Apache-2.0 */
#include "base/add.h"

#include "base/simd.h"
#include "base/status.h"

DPT_SIMD static void dpt_add__f32(int64_t n, const float *x, const float *y, float *z)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        z[i] = x[i] + y[i];
    }
}

DPT_SIMD static void dpt_add__f64(int64_t n, const double *x, const double *y, double *z)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        z[i] = x[i] + y[i];
    }
}

DPT_SIMD static void dpt_add__i32(int64_t n, const int32_t *x, const int32_t *y, int32_t *z)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        z[i] = x[i] + y[i];
    }
}

DPT_SIMD static void dpt_add__i64(int64_t n, const int64_t *x, const int64_t *y, int64_t *z)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        z[i] = x[i] + y[i];
    }
}

void dpt_add(enum dpt_dtype dtype, int64_t n, const void *x, const void *y, void *z)
{
    switch (dtype) {
    case DPT_DTYPE_F32: dpt_add__f32(n, x, y, z); break;
    case DPT_DTYPE_F64: dpt_add__f64(n, x, y, z); break;
    case DPT_DTYPE_I32: dpt_add__i32(n, x, y, z); break;
    case DPT_DTYPE_I64: dpt_add__i64(n, x, y, z); break;
    default: DPT_ASSERT(!"a number type that can be summed");
    }
}
