/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the normalisations over the last dimension share: shapes of what belongs to a feature or to a row, costs, the sum with
 * another gradient.
 */

#include "base/add.h"
#include "base/half.h"
#include "op/op.h"

/* One value for every feature of x, its last dimension. Local. */
static inline struct dpt_type dpt_op__features(const struct dpt_type *x)
{
    return (struct dpt_type){x->dtype, 1, {x->dim[x->ndim - 1]}};
}

/* One value for every row of x. Local. */
static inline struct dpt_type dpt_op__rows(const struct dpt_type *x)
{
    struct dpt_type type = *x;
    type.ndim--;
    type.dim[type.ndim] = 0;
    return type;
}

/* `each` flops for every element of x, which is input `x`, and the bytes. Local. */
static inline void dpt_op__cost_each(const struct dpt_op_types *types, int x, double each, struct dpt_op_cost *cost)
{
    cost->flops = each * (double)dpt_type_numel(&types->in[x]);
    dpt_op_cost_bytes(types, cost);
}

/* x = x + more, h numbers, x rounded first to what it is kept in: what add gives for an x that lay in memory. Local. */
static inline void dpt_op__add_row(enum dpt_dtype kept, int64_t h, const float *more, float *x)
{
    if (dpt_half_is(kept)) {
        dpt_half_round(kept, h, x, x);
    }
    dpt_add(DPT_DTYPE_F32, h, x, more, x);
}

/* r = x + more, h numbers, rounded to what r is kept in: what a norm finds that reads it from memory. Local. */
static inline void dpt_op__sum_row(enum dpt_dtype kept, int64_t h, const float *x, const float *more, float *r)
{
    dpt_add(DPT_DTYPE_F32, h, x, more, r);
    if (dpt_half_is(kept)) {
        dpt_half_round(kept, h, r, r);
    }
}
