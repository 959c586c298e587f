/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Matrix products on a card through cuBLASLt, in F32. */

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct dpt_cuda;

/*
 * c[m,n] = a b + bias, all packed and row-major: a is [m,k], or [k,m] with `ta`; b is [k,n], or [n,k] with `tb`; bias[n],
 * or NULL. With `add` the product is added to c, and there is no bias. All on the card. Local.
 */
struct dpt_cuda_gemm {
    bool ta, tb, add;
    int64_t m, n, k;
    const float *a, *b, *bias;
    float *c;
};
enum dpt_status dpt_cuda_gemm(struct dpt_cuda *cuda, const struct dpt_cuda_gemm *gemm);

#ifdef __cplusplus
}
#endif
