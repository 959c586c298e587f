/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Products of matrices: all that ops multiply goes through here. In float on one thread of a processor with AVX2 they
 * run in loops of our own over packed panels (Goto, van de Geijn, "Anatomy of high-performance matrix multiplication",
 * 2008), which start from a bias for nothing and end with an activation while a block is in a cache; else in BLAS.
 *
 * It promises: a fixed order of sums; in our own loops an element of c depends on its row of a, its column of b and k,
 * not on how many others there are, from 6 rows on. It takes no memory but the caller's. It knows no ops.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"
#include "op/activation.h"

/*
 * c[m,n] = act(z), z[m,n] = a[m,k] b[k,n] + bias[n] + c, all row-major, with lda, ldb, ldc numbers from row to row. With ta
 * (tb) the memory of a (b) is that of its transpose. With t[m,n] it is the gradient of the activation, act'(t) z. k may be
 * 0. What is not a number stays so.
 */
struct dpt_op__gemm {
    enum dpt_dtype dtype; /* F32 or F64, of all                    */
    bool ta, tb;
    int64_t m, n, k;
    const void *a, *b;
    void *c;
    int64_t lda, ldb, ldc;
    const void *bias;     /* or NULL                               */
    bool add;             /* adds to c, not with z; else what c held is gone */
    enum dpt_activation_kind act; /* or NONE                       */
    void *z;              /* takes z, ldc from row to row; or NULL */
    const void *t;        /* the same ldc; or NULL                 */
};

/* Bytes of scratch for products of at most these sizes. Local. */
size_t dpt_op__gemm_scratch(enum dpt_dtype dtype, int64_t m, int64_t n, int64_t k);

/* Computes it. `scratch` is 64-byte aligned. FAILED where sizes are beyond those of BLAS. Local. */
enum dpt_status dpt_op__gemm(const struct dpt_op__gemm *gemm, void *scratch);
