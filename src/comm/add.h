/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The sum of what several ranks have, done by one of them. Private to comm/. */

#include <stdint.h>

#include "base/dtype.h"

/*
 * sum[i] = the sum of part[0][i] ... part[parts - 1][i] over the fixed binary tree, (0+1)+(2+3) ..., a tree whose last
 * groups are short where `parts` is no power of two: the same bits as dpt_comm_allreduce_tree where it is one. F32,
 * F64, I32 or I64. `sum` may be one of the parts. Local.
 */
void dpt_comm__add(enum dpt_dtype dtype, int64_t count, int parts, const void *const *part, void *sum);
