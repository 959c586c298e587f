/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What tests/op/test_mma.c asks of a card: c[M,N] = a[M,K] b[K,N] by one warp, with what op/cuda_mma.cuh gives. */

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { MMA_M = 16, MMA_N = 16, MMA_K = 32 };

/* How a warp gets its operands. */
enum mma_form {
    MMA_BY_HAND,    /* number by number, as the PTX ISA says which lane has which */
    MMA_BY_ROWS,    /* from tiles that hold a and b                              */
    MMA_TRANSPOSED, /* from tiles that hold their transposes, as `a` and `b` do  */
};

struct dpt_dev;

/*
 * On a card and its memory; width: of tiles, 32, 64 or 128; type: BF16 or F16. By hand every lane takes the numbers of a
 * that lane `lane ^ swap` should. Has to be waited for.
 */
void mma_product(struct dpt_dev *card, int type, enum mma_form form, int width, int swap, const uint16_t *a,
                 const uint16_t *b, float *c);

#ifdef __cplusplus
}
#endif
