/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The number types that tensors, messages and files share. */

#include <stddef.h>

enum dpt_dtype {
    DPT_DTYPE_F32,
    DPT_DTYPE_F64,
    DPT_DTYPE_I32,
    DPT_DTYPE_I64,
    DPT_DTYPE_U8,
    DPT_DTYPE_BF16, /* the upper half of an F32 */
    DPT_DTYPE_F16,  /* IEEE half */
    DPT_DTYPE_COUNT
};

/* Bytes of one element. Local. */
static inline size_t dpt_dtype_nbytes(enum dpt_dtype dtype)
{
    static const unsigned char nbytes[DPT_DTYPE_COUNT] = {4, 8, 4, 8, 1, 2, 2};
    return nbytes[dtype];
}

/* "F32", "I64" ...: the names of the safetensors format. Local. */
static inline const char *dpt_dtype_name(enum dpt_dtype dtype)
{
    static const char *const name[DPT_DTYPE_COUNT] = {"F32", "F64", "I32", "I64", "U8", "BF16", "F16"};
    return name[dtype];
}
