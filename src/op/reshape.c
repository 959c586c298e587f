/* SPDX-License-Identifier: Apache-2.0 */

/*
 * reshape: the same elements of every sample in the same order, in another shape: y[b, ...] = x[b, ...]. A view: the
 * executor gives y the memory of x. The gradient is dy in the shape of x.
 */

#include "op/reshape.h"

#include <string.h>

#include "op/op.h"

static enum dpt_status shape(struct dpt_op_types *types)
{
    const struct dpt_reshape_param *param = types->param;
    DPT_TRY(dpt_op__check_inputs(&dpt_op_reshape, types));
    DPT_CHECK(param->ndim >= 0 && param->ndim < DPT_MAX_DIM, DPT_STATUS_USAGE,
              "asks for %d dimensions a sample, at most %d fit", param->ndim, DPT_MAX_DIM - 1);
    const struct dpt_type *x = &types->in[0];
    struct dpt_type *y = &types->out[0];
    *y = (struct dpt_type){x->dtype, param->ndim + 1, {x->dim[0]}};
    memcpy(y->dim + 1, param->dim, (size_t)param->ndim * sizeof y->dim[0]);
    DPT_TRY(dpt_type_check(y, "the result"));
    char from[96], to[96];
    DPT_CHECK(dpt_type_numel(x) == dpt_type_numel(y), DPT_STATUS_USAGE, "%s does not have as many elements as %s",
              dpt_type_text(to, sizeof to, y), dpt_type_text(from, sizeof from, x));
    types->nout = 1;
    return DPT_STATUS_OK;
}

/* A dimension is the same in x and y when those before it are. From the first that differs on, parts would be mixed. */
static const char *whole_for(const struct dpt_op_types *types)
{
    const struct dpt_type *x = &types->in[0], *y = &types->out[0];
    int same = 1;
    while (same < x->ndim && same < y->ndim && x->dim[same] == y->dim[same]) {
        same++;
    }
    return &"123456"[same - 1];
}

static void resize(const struct dpt_op_types *part, const struct dpt_op_part *place, void *param)
{
    (void)place;
    memcpy(((struct dpt_reshape_param *)param)->dim, part->out[0].dim + 1,
           (size_t)(part->out[0].ndim - 1) * sizeof part->out[0].dim[0]);
}

static enum dpt_status grad(struct dpt_op_grad *grad)
{
    const struct dpt_type *x = &grad->types->in[0];
    struct dpt_reshape_param back = {.ndim = x->ndim - 1};
    memcpy(back.dim, x->dim + 1, (size_t)back.ndim * sizeof back.dim[0]);
    if (!grad->need[0]) {
        return DPT_STATUS_OK;
    }
    return dpt_op__add(grad, "reshape", &back, 1, &grad->dout[0], &grad->din[0]);
}

const struct dpt_op dpt_op_reshape = {
    .name = "reshape",
    .doc = "the elements of every sample in another shape; a view",
    .param_nbytes = sizeof(struct dpt_reshape_param),
    .signature = "b.->b.",
    .whole_for = whole_for,
    .view = true,
    .shape = shape,
    .resize = resize,
    .grad = grad,
};
