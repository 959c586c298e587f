/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Matrix products on a card through cuBLASLt: of F32 or 16 bits, added up in float. What follows a product is done by the
 * library where it knows how, else in a pass behind it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"
#include "op/activation.h"
#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

struct dpt_cuda;

/*
 * c[m,n] = act(z), z = a b + bias, all row-major and packed but for a, whose rows may be `a_row` numbers apart: a is [m,k], or
 * [k,m] with `ta`; b is [k,n], or [n,k] with `tb`; bias[n], or NULL, has the type of z where that is kept, else that of c. With
 * t[m,n] c = act'(t) (a b), and with `add` the product is added to c; then there is neither bias nor z. With db[m], of F32 as c
 * then is, db = the sum over k of a, which is packed [k,m], and there is no activation: the gradients of a weight and its bias.
 * All on the card, at multiples of 16 bytes. In 16 bits the library has its fast kernels where rows are such multiples, too.
 */
struct dpt_cuda_gemm {
    bool ta, tb, add;
    enum dpt_dtype factors; /* of a and b: F32, BF16 or F16 */
    enum dpt_dtype sums;    /* of c: that, or F32            */
    enum dpt_activation_kind act;
    int64_t m, n, k, a_row; /* a_row 0: a is packed      */
    const void *a, *b, *bias;
    void *c;
    float *db;              /* or NULL                       */
    bool db_apart;          /* never by the library: other ranks have b with another n, and the same db */
    void *db_scratch;       /* of dpt_op__bias_scratch_cuda  */
    struct dpt_tensor z, t; /* data NULL: none               */
};

/* Local. */
enum dpt_status dpt_cuda_gemm(struct dpt_cuda *cuda, const struct dpt_cuda_gemm *gemm);

/*
 * pointwise_cuda.cu: y = act(x), or with t y = act'(t) x, of n numbers; y may be x. y = x in another type. y = act(y + bias), one
 * number of bias, which may be NULL, for each of the last dimension of y. Local.
 */
void dpt_op__activate_cuda(struct dpt_cuda *cuda, enum dpt_activation_kind act, int64_t n, const struct dpt_tensor *x,
                           const struct dpt_tensor *t, const struct dpt_tensor *y);
void dpt_op__convert_cuda(struct dpt_cuda *cuda, const struct dpt_tensor *x, enum dpt_dtype dtype, void *y);
void dpt_op__bias_cuda(struct dpt_cuda *cuda, enum dpt_activation_kind act, const struct dpt_tensor *y,
                       const struct dpt_tensor *bias);

/* norm_cuda.cu: db[k] = the sum over n of dy[n,k], of any type, and the bytes of scratch that takes. Local. */
void dpt_op__bias_sums_cuda(struct dpt_cuda *cuda, int64_t n, int64_t k, enum dpt_dtype dtype, const void *dy, void *scratch,
                            float *db);
size_t dpt_op__bias_scratch_cuda(int64_t k);

#ifdef __cplusplus
}
#endif
