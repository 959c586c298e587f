/* SPDX-License-Identifier: Apache-2.0 */

/* The op table and what every op shares. */

#include "op/op.h"

#include <string.h>

#define DPT_OP(name) extern const struct dpt_op dpt_op_##name;
#include "op/ops.def"
#undef DPT_OP

static const struct dpt_op *const table[] = {
#define DPT_OP(name) &dpt_op_##name,
#include "op/ops.def"
#undef DPT_OP
};

enum { TABLE_COUNT = sizeof table / sizeof table[0] };

const struct dpt_op *dpt_op_at(int i)
{
    return i >= 0 && i < TABLE_COUNT ? table[i] : NULL;
}

const struct dpt_op *dpt_op_find(const char *name)
{
    for (int i = 0; i < TABLE_COUNT; i++) {
        if (strcmp(table[i]->name, name) == 0) {
            return table[i];
        }
    }
    return NULL;
}

void dpt_op_cost_bytes(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    for (int i = 0; i < types->nin; i++) {
        cost->bytes_read += (double)dpt_type_nbytes(&types->in[i]);
    }
    for (int i = 0; i < types->nout; i++) {
        cost->bytes_written += (double)dpt_type_nbytes(&types->out[i]);
    }
}

void dpt_op_cost(const struct dpt_op *op, const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    *cost = (struct dpt_op_cost){0};
    if (op->cost) {
        op->cost(types, cost);
    } else if (!op->view) {
        dpt_op_cost_bytes(types, cost);
    }
}

enum dpt_status dpt_op_call(const struct dpt_op *op, enum dpt_run run, const struct dpt_op_call *call)
{
    return (op->run[run] ? op->run[run] : op->run[DPT_RUN_REF])(call);
}

/* The text of operand `operand` in "x,y*->z": the pattern up to the next ',' or "->" or end, without ? and *. */
static const char *operand_pattern(const struct dpt_op *op, const struct dpt_op_types *types, int operand, size_t *length)
{
    const char *at = op->signature;
    const bool output = operand >= types->nin;
    if (output) {
        at = strstr(at, "->") + 2;
        operand -= types->nin;
    }
    for (;;) {
        const size_t n = strcspn(at, ",-?*");
        const bool repeats = at[n] == '*';
        if (operand == 0 || repeats) {
            *length = n;
            return at;
        }
        at += n;
        at += *at == '?';
        DPT_ASSERT(*at == ',');
        at++;
        operand--;
    }
}

int dpt_op_index_dim(const struct dpt_op *op, const struct dpt_op_types *types, int operand, char letter)
{
    const struct dpt_type *type =
        operand < types->nin ? &types->in[operand] : &types->out[operand - types->nin];
    size_t length;
    const char *pattern = operand_pattern(op, types, operand, &length);
    const char *dots = memchr(pattern, '.', length);
    const int named = (int)length - (dots ? 1 : 0);
    const int run = dots ? type->ndim - named : 0; /* dimensions that '.' stands for */
    DPT_ASSERT(run >= 0 && named + run == type->ndim);
    int dim = 0;
    for (size_t i = 0; i < length; i++) {
        if (pattern[i] == '.') {
            dim += run;
        } else if (pattern[i] == letter) {
            return dim;
        } else {
            dim++;
        }
    }
    return -1;
}
