/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Matrix products on a card through cuBLASLt: of F32 or 16 bits, added up in float. */

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"
#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

struct dpt_cuda;

/*
 * c[m,n] = a b + bias, all packed and row-major: a is [m,k], or [k,m] with `ta`; b is [k,n], or [n,k] with `tb`; bias[n],
 * or NULL. With `add` the product is added to c, and there is no bias. All on the card, at multiples of 16 bytes.
 */
struct dpt_cuda_gemm {
    bool ta, tb, add;
    enum dpt_dtype factors; /* of a and b: F32, BF16 or F16 */
    enum dpt_dtype sums;    /* of c and bias: that, or F32   */
    int64_t m, n, k;
    const void *a, *b, *bias;
    void *c;
};

/* Local. */
enum dpt_status dpt_cuda_gemm(struct dpt_cuda *cuda, const struct dpt_cuda_gemm *gemm);

/* pointwise_cuda.cu: y = max(y, 0), where nan stays; y = x in another type. Local. */
void dpt_op__relu_cuda(struct dpt_cuda *cuda, const struct dpt_tensor *y);
void dpt_op__convert_cuda(struct dpt_cuda *cuda, const struct dpt_tensor *x, enum dpt_dtype dtype, void *y);

#ifdef __cplusplus
}
#endif
