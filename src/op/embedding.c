/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rows of a table. n tokens (samples and their positions), h features, v rows of the table of tokens, t rows of the
 * table of positions.
 *
 *   embedding     y[n,:] = w[token[n],:]                      backward  dw[v,:] = sum of dy[n,:] where token[n] = v
 *   position      y[b,s,:] = x[b,s,:] + w[s,:]                backward  dx = dy,  dw[s,:] = sum_b dy[b,s,:]
 *
 * Sums of dw run over n in order, so that they are the same in every run. Rows of dw that no token names are 0.
 */

#include "op/embedding.h"

#include <string.h>

#include "op/op.h"

/* The local row of a table that begins at `begin` and has `rows` rows; -1 for a row that is elsewhere. */
static int64_t local_row(int64_t token, int64_t begin, int64_t rows)
{
    return token >= begin && token < begin + rows ? token - begin : -1;
}

#define DPT_REF "op/embedding_ref.inc"
#include "op/real.h"
DPT_REF_RUN(embedding, in[1])
DPT_REF_RUN(embedding_dw, in[1])
DPT_REF_RUN(position, in[0])
DPT_REF_RUN(position_dw, in[0])
DPT_CPU_RUN(embedding_dw, in[1])
DPT_CPU_RUN(position, in[0])
DPT_CPU_RUN(position_dw, in[0])

/* Refuses tokens that are not integers and a table that does not hold real numbers. */
static enum dpt_status check_table(const struct dpt_op_types *types, int table)
{
    const enum dpt_dtype real = types->in[table].dtype;
    DPT_CHECK(types->in[0].dtype == DPT_DTYPE_I32, DPT_STATUS_USAGE, "tokens hold %s, expected I32",
              dpt_dtype_name(types->in[0].dtype));
    DPT_CHECK(real == DPT_DTYPE_F32 || real == DPT_DTYPE_F64, DPT_STATUS_USAGE,
              "w holds %s, expected real numbers (F32 or F64)", dpt_dtype_name(real));
    return DPT_STATUS_OK;
}

static enum dpt_status shape_embedding(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_embedding, types));
    DPT_TRY(check_table(types, 1));
    const struct dpt_type *tokens = &types->in[0], *w = &types->in[1];
    DPT_CHECK(tokens->ndim < DPT_MAX_DIM, DPT_STATUS_USAGE, "tokens have %d dimensions, at most %d fit", tokens->ndim,
              DPT_MAX_DIM - 1);
    types->nout = 1;
    types->out[0] = *tokens;
    types->out[0].dtype = w->dtype;
    types->out[0].dim[types->out[0].ndim++] = w->dim[1];
    return DPT_STATUS_OK;
}

static enum dpt_status shape_embedding_dw(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_embedding_dw, types));
    DPT_TRY(check_table(types, 2));
    const struct dpt_type *tokens = &types->in[0], *dy = &types->in[1], *w = &types->in[2];
    DPT_CHECK(dy->dtype == w->dtype, DPT_STATUS_USAGE, "dy holds %s, but w %s", dpt_dtype_name(dy->dtype),
              dpt_dtype_name(w->dtype));
    struct dpt_type expected = *tokens;
    DPT_CHECK(expected.ndim < DPT_MAX_DIM, DPT_STATUS_USAGE, "tokens have %d dimensions, at most %d fit",
              expected.ndim, DPT_MAX_DIM - 1);
    expected.dtype = dy->dtype;
    expected.dim[expected.ndim++] = w->dim[1];
    char text[96], text2[96];
    DPT_CHECK(dpt_type_equal(dy, &expected), DPT_STATUS_USAGE, "dy is %s, expected %s",
              dpt_type_text(text, sizeof text, dy), dpt_type_text(text2, sizeof text2, &expected));
    types->nout = 1;
    types->out[0] = *w;
    return DPT_STATUS_OK;
}

/* x (or dy) and a table with as many features and at least as many rows. */
static enum dpt_status check_position(const struct dpt_op *op, const struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(op, types));
    DPT_TRY(dpt_op__check_real(types, 2));
    const struct dpt_type *x = &types->in[0], *w = &types->in[1];
    DPT_CHECK(x->dim[2] == w->dim[1], DPT_STATUS_USAGE, "x has %lld features, but the table of positions %lld",
              (long long)x->dim[2], (long long)w->dim[1]);
    DPT_CHECK(x->dim[1] <= w->dim[0], DPT_STATUS_USAGE, "x has %lld positions, but the table only %lld",
              (long long)x->dim[1], (long long)w->dim[0]);
    return DPT_STATUS_OK;
}

static enum dpt_status shape_position(struct dpt_op_types *types)
{
    DPT_TRY(check_position(&dpt_op_position, types));
    types->nout = 1;
    types->out[0] = types->in[0];
    return DPT_STATUS_OK;
}

static enum dpt_status shape_position_dw(struct dpt_op_types *types)
{
    DPT_TRY(check_position(&dpt_op_position_dw, types));
    types->nout = 1;
    types->out[0] = types->in[1];
    return DPT_STATUS_OK;
}

/* The rows that tokens name are read, not the table. */
static void cost_embedding(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    cost->bytes_read = (double)dpt_type_nbytes(&types->in[0]) + (double)dpt_type_nbytes(&types->out[0]);
    cost->bytes_written = (double)dpt_type_nbytes(&types->out[0]);
}

static void cost_embedding_dw(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    cost->flops = (double)dpt_type_numel(&types->in[1]); /* n, h: add */
    cost->bytes_read = (double)dpt_type_nbytes(&types->in[0]) + 2.0 * (double)dpt_type_nbytes(&types->in[1]);
    cost->bytes_written = (double)dpt_type_nbytes(&types->out[0]) + (double)dpt_type_nbytes(&types->in[1]);
}

static void cost_position_dw(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    cost->flops = (double)dpt_type_numel(&types->in[0]); /* b, s, h: add */
    cost->bytes_read = (double)dpt_type_nbytes(&types->in[0]);
    cost->bytes_written = (double)dpt_type_nbytes(&types->out[0]);
}

static enum dpt_status grad_embedding(struct dpt_op_grad *grad)
{
    DPT_CHECK(!grad->need[0], DPT_STATUS_FAILED, "tokens have no gradient");
    if (!grad->need[1]) {
        return DPT_STATUS_OK;
    }
    return dpt_op__add(grad, "embedding_dw", NULL, 3, (int[]){grad->in[0], grad->dout[0], grad->in[1]}, &grad->din[1]);
}

static enum dpt_status grad_position(struct dpt_op_grad *grad)
{
    if (grad->need[1]) {
        DPT_TRY(dpt_op__add(grad, "position_dw", NULL, 2, (int[]){grad->dout[0], grad->in[1]}, &grad->din[1]));
    }
    grad->din[0] = grad->need[0] ? grad->dout[0] : -1;
    return DPT_STATUS_OK;
}

const struct dpt_op dpt_op_embedding = {
    .name = "embedding",
    .doc = "the rows of a table that tokens name",
    .signature = "b.,vh->b.h",
    .shape = shape_embedding,
    .cost = cost_embedding,
    .grad = grad_embedding,
    .run = {[DPT_RUN_REF] = ref_embedding},
};

const struct dpt_op dpt_op_embedding_dw = {
    .name = "embedding_dw",
    .doc = "gradient of the table of embedding",
    .signature = "b.,b.h,vh->vh",
    .shape = shape_embedding_dw,
    .cost = cost_embedding_dw,
    .adds = 1u << DPT_RUN_REF | 1u << DPT_RUN_CPU,
    .run = {[DPT_RUN_REF] = ref_embedding_dw, [DPT_RUN_CPU] = cpu_embedding_dw},
};

const struct dpt_op dpt_op_position = {
    .name = "position",
    .doc = "adds a learned vector to every position",
    .signature = "bsh,th->bsh",
    .whole = "t",
    .alias = 1u << 0,
    .shape = shape_position,
    .cost = dpt_op__cost_elements,
    .grad = grad_position,
    .run = {[DPT_RUN_REF] = ref_position, [DPT_RUN_CPU] = cpu_position},
};

const struct dpt_op dpt_op_position_dw = {
    .name = "position_dw",
    .doc = "gradient of the table of position",
    .signature = "bsh,th->th",
    .whole = "t",
    .shape = shape_position_dw,
    .cost = cost_position_dw,
    .run = {[DPT_RUN_REF] = ref_position_dw, [DPT_RUN_CPU] = cpu_position_dw},
};
