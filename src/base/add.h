/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The sum of two arrays, number by number, in vector code. */

#include <stdint.h>

#include "base/dtype.h"

/* z = x + y, n numbers of F32, F64, I32 or I64; z may be one of them. Local. */
void dpt_add(enum dpt_dtype dtype, int64_t n, const void *x, const void *y, void *z);
