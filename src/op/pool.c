/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Pooling of NHWC images. W(y, x) = the places of the image in the window of output place y, x: rows y s - p ..
 * y s - p + kernel - 1, columns likewise, without those outside the image.
 *
 *   max_pool    forward   y[n,y,x,c] = max over W(y, x) of x[n,.,.,c]; at = i kernel_x + j of the first greatest
 *               backward  dx[n,i,j,c] = sum of dy over the windows whose greatest it is
 *   avg_pool    forward   y[n,y,x,c] = mean over W(y, x) of x[n,.,.,c]
 *               backward  dx[n,i,j,c] = sum of dy / |W| over the windows that hold it
 *   global_pool forward   y[n,c] = mean over all places (Lin, Chen, Yan: "Network in network", 2014)
 *               backward  dx[n,.,.,c] = dy[n,c] / places
 */

#include "op/pool.h"

#include <string.h>

#define DPT_REF "op/pool_ref.inc"
#include "op/real.h"
DPT_REF_RUN(max_pool, in[0])
DPT_REF_RUN(max_pool_dx, in[0])
DPT_REF_RUN(avg_pool, in[0])
DPT_REF_RUN(avg_pool_dx, in[0])
DPT_REF_RUN(global_pool, in[0])
DPT_REF_RUN(global_pool_dx, in[0])

static const char *const axis_name[2] = {"y", "x"};

struct dpt_op__pool dpt_op__pool_sizes(const struct dpt_pool_param *param, const struct dpt_type *x,
                                       const struct dpt_type *y)
{
    struct dpt_op__pool pool = {.n = x->dim[0], .c = x->dim[3]};
    for (int a = 0; a < 2; a++) {
        pool.in[a] = x->dim[1 + a];
        pool.out[a] = y->dim[1 + a];
        pool.kernel[a] = param->kernel[a];
        pool.stride[a] = param->stride[a];
        pool.pad[a] = param->pad[a];
    }
    return pool;
}

/* out[a]: the size of y along y, x. */
static enum dpt_status output_size(const struct dpt_pool_param *param, const int64_t in[2], int64_t out[2])
{
    for (int a = 0; a < 2; a++) {
        const int64_t kernel = param->kernel[a], stride = param->stride[a], pad = param->pad[a];
        const int64_t behind = pad + param->more[a], padded = in[a] + pad + behind;
        DPT_CHECK(kernel >= 1 && kernel <= INT32_MAX, DPT_STATUS_USAGE,
                  "the window has %lld places along %s, expected at least 1", (long long)kernel, axis_name[a]);
        DPT_CHECK(stride >= 1 && stride <= INT32_MAX, DPT_STATUS_USAGE, "stride of %s is %lld, expected at least 1",
                  axis_name[a], (long long)stride);
        DPT_CHECK(pad >= 0 && pad < kernel, DPT_STATUS_USAGE,
                  "pad of %s is %lld, expected 0 to %lld, so that no window lies outside the image", axis_name[a],
                  (long long)pad, (long long)(kernel - 1));
        DPT_CHECK(behind >= 0 && behind < kernel, DPT_STATUS_USAGE, "pad behind %s is %lld, expected 0 to %lld",
                  axis_name[a], (long long)behind, (long long)(kernel - 1));
        DPT_CHECK(in[a] >= 1 && kernel <= padded, DPT_STATUS_USAGE,
                  "the window has %lld places along %s, but the image with its padding has only %lld",
                  (long long)kernel, axis_name[a], (long long)padded);
        out[a] = (padded - kernel) / stride + 1;
    }
    return DPT_STATUS_OK;
}

static enum dpt_status check_area(const struct dpt_pool_param *param)
{
    DPT_CHECK(param->kernel[0] <= 256 && param->kernel[1] <= 256 && param->kernel[0] * param->kernel[1] <= 256,
              DPT_STATUS_USAGE, "a window of %lld x %lld places, expected at most 256 in all",
              (long long)param->kernel[0], (long long)param->kernel[1]);
    return DPT_STATUS_OK;
}

static enum dpt_status shape_pool(const struct dpt_op *op, struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(op, types));
    DPT_TRY(dpt_op__check_real(types, 1));
    const struct dpt_type *x = &types->in[0];
    int64_t out[2];
    DPT_TRY(output_size(types->param, &x->dim[1], out));
    types->nout = 1;
    types->out[0] = (struct dpt_type){x->dtype, 4, {x->dim[0], out[0], out[1], x->dim[3]}};
    return DPT_STATUS_OK;
}

static enum dpt_status shape_pool_dx(const struct dpt_op *op, struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(op, types));
    DPT_TRY(dpt_op__check_real(types, 1));
    const struct dpt_pool_param *param = types->param;
    const struct dpt_type *dy = &types->in[0];
    int64_t out[2];
    DPT_TRY(output_size(param, param->in, out));
    for (int a = 0; a < 2; a++) {
        DPT_CHECK(dy->dim[1 + a] == out[a], DPT_STATUS_USAGE, "dy has %lld places along %s, but y would have %lld",
                  (long long)dy->dim[1 + a], axis_name[a], (long long)out[a]);
    }
    types->nout = 1;
    types->out[0] = (struct dpt_type){dy->dtype, 4, {dy->dim[0], param->in[0], param->in[1], dy->dim[3]}};
    return DPT_STATUS_OK;
}

static enum dpt_status shape_max(struct dpt_op_types *types)
{
    DPT_TRY(check_area(types->param));
    DPT_TRY(shape_pool(&dpt_op_max_pool, types));
    types->nout = 2;
    types->out[1] = types->out[0];
    types->out[1].dtype = DPT_DTYPE_U8;
    return DPT_STATUS_OK;
}

static enum dpt_status shape_max_dx(struct dpt_op_types *types)
{
    DPT_TRY(check_area(types->param));
    DPT_TRY(shape_pool_dx(&dpt_op_max_pool_dx, types));
    DPT_TRY(dpt_op__check_same(types, 0, 1));
    DPT_CHECK(types->in[1].dtype == DPT_DTYPE_U8, DPT_STATUS_USAGE, "at holds %s, expected U8",
              dpt_dtype_name(types->in[1].dtype));
    return DPT_STATUS_OK;
}

static enum dpt_status shape_avg(struct dpt_op_types *types)
{
    return shape_pool(&dpt_op_avg_pool, types);
}

static enum dpt_status shape_avg_dx(struct dpt_op_types *types)
{
    return shape_pool_dx(&dpt_op_avg_pool_dx, types);
}

static enum dpt_status shape_global(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_global_pool, types));
    DPT_TRY(dpt_op__check_real(types, 1));
    const struct dpt_type *x = &types->in[0];
    DPT_CHECK(x->dim[1] >= 1 && x->dim[2] >= 1, DPT_STATUS_USAGE, "the image has %lld x %lld places, expected at least 1",
              (long long)x->dim[1], (long long)x->dim[2]);
    types->nout = 1;
    types->out[0] = (struct dpt_type){x->dtype, 2, {x->dim[0], x->dim[3]}};
    return DPT_STATUS_OK;
}

static enum dpt_status shape_global_dx(struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(&dpt_op_global_pool_dx, types));
    DPT_TRY(dpt_op__check_real(types, 1));
    const struct dpt_pool_param *param = types->param;
    const struct dpt_type *dy = &types->in[0];
    DPT_CHECK(param->in[0] >= 1 && param->in[1] >= 1, DPT_STATUS_USAGE,
              "the image has %lld x %lld places, expected at least 1", (long long)param->in[0],
              (long long)param->in[1]);
    types->nout = 1;
    types->out[0] = (struct dpt_type){dy->dtype, 4, {dy->dim[0], param->in[0], param->in[1], dy->dim[1]}};
    return DPT_STATUS_OK;
}

static void window(const struct dpt_op_types *types, char letter, struct dpt_op_window *window)
{
    const struct dpt_pool_param *param = types->param;
    const int axis = letter == 'x';
    *window = (struct dpt_op_window){param->stride[axis], param->pad[axis], param->kernel[axis]};
}

static void resize(const struct dpt_op_types *part, const struct dpt_op_part *place, void *param)
{
    struct dpt_pool_param *pool = param;
    for (int a = 0; a < 2; a++) {
        struct dpt_op_window of;
        window(part, "yx"[a], &of);
        dpt_op__window_pads(&of, &part->in[0], &place[0], &part->out[0], &place[part->nin], 1 + a, &pool->pad[a],
                            &pool->more[a]);
    }
}

static void resize_dx(const struct dpt_op_types *part, const struct dpt_op_part *place, void *param)
{
    struct dpt_pool_param *pool = param;
    for (int a = 0; a < 2; a++) {
        struct dpt_op_window of;
        window(part, "yx"[a], &of);
        dpt_op__window_pads(&of, &part->out[0], &place[part->nin], &part->in[0], &place[0], 1 + a, &pool->pad[a],
                            &pool->more[a]);
        pool->in[a] = part->out[0].dim[1 + a];
    }
}

static void resize_global_dx(const struct dpt_op_types *part, const struct dpt_op_part *place, void *param)
{
    (void)place;
    memcpy(((struct dpt_pool_param *)param)->in, part->out[0].dim + 1, 2 * sizeof part->out[0].dim[0]);
}

/* Windows as if none crossed the border: n, y, x, c; i, j. */
static double window_places(const struct dpt_op_types *types, const struct dpt_type *y)
{
    const struct dpt_pool_param *param = types->param;
    return (double)dpt_type_numel(y) * (double)param->kernel[0] * (double)param->kernel[1];
}

static void cost_forward(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    cost->flops = window_places(types, &types->out[0]); /* n, y, x, c; i, j: compare or add */
    dpt_op_cost_bytes(types, cost);
}

static void cost_dx(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    cost->flops = window_places(types, &types->in[0]); /* n, y, x, c; i, j: add */
    dpt_op_cost_bytes(types, cost);
}

static void cost_global(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    cost->flops = (double)dpt_type_numel(&types->in[0]); /* n, y, x, c: add */
    dpt_op_cost_bytes(types, cost);
}

static void cost_global_dx(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    cost->flops = (double)dpt_type_numel(&types->in[0]); /* n, c: scale */
    dpt_op_cost_bytes(types, cost);
}

/* Adds the gradient op with the image size of the forward one; `in` are its inputs. */
static enum dpt_status add_dx(struct dpt_op_grad *grad, const char *op, int nin, const int *in)
{
    struct dpt_pool_param param = *(const struct dpt_pool_param *)grad->types->param;
    for (int a = 0; a < 2; a++) {
        param.in[a] = grad->types->in[0].dim[1 + a];
    }
    return grad->need[0] ? dpt_op__add(grad, op, &param, nin, in, &grad->din[0]) : DPT_STATUS_OK;
}

static enum dpt_status grad_max(struct dpt_op_grad *grad)
{
    return add_dx(grad, "max_pool_dx", 2, (int[]){grad->dout[0], grad->out[1]});
}

static enum dpt_status grad_avg(struct dpt_op_grad *grad)
{
    return add_dx(grad, "avg_pool_dx", 1, grad->dout);
}

static enum dpt_status grad_global(struct dpt_op_grad *grad)
{
    return add_dx(grad, "global_pool_dx", 1, grad->dout);
}

const struct dpt_op dpt_op_max_pool = {
    .name = "max_pool",
    .doc = "the greatest of each window, and its place",
    .param_nbytes = sizeof(struct dpt_pool_param),
    .signature = "byxc->byxc,byxc",
    .halo = "yx",
    .window = window,
    .shape = shape_max,
    .resize = resize,
    .cost = cost_forward,
    .grad = grad_max,
    .run = {[DPT_RUN_REF] = ref_max_pool, [DPT_RUN_CPU] = dpt_op__max_pool_cpu},
};

const struct dpt_op dpt_op_max_pool_dx = {
    .name = "max_pool_dx",
    .doc = "gradient of the input of max_pool",
    .param_nbytes = sizeof(struct dpt_pool_param),
    .signature = "byxc,byxc->byxc",
    .halo = "yx",
    .spreads = true,
    .window = window,
    .shape = shape_max_dx,
    .resize = resize_dx,
    .cost = cost_dx,
    .run = {[DPT_RUN_REF] = ref_max_pool_dx, [DPT_RUN_CPU] = dpt_op__max_pool_dx_cpu},
};

const struct dpt_op dpt_op_avg_pool = {
    .name = "avg_pool",
    .doc = "the mean of each window",
    .param_nbytes = sizeof(struct dpt_pool_param),
    .signature = "byxc->byxc",
    .halo = "yx",
    .window = window,
    .shape = shape_avg,
    .resize = resize,
    .cost = cost_forward,
    .grad = grad_avg,
    .run = {[DPT_RUN_REF] = ref_avg_pool, [DPT_RUN_CPU] = dpt_op__avg_pool_cpu},
};

const struct dpt_op dpt_op_avg_pool_dx = {
    .name = "avg_pool_dx",
    .doc = "gradient of the input of avg_pool",
    .param_nbytes = sizeof(struct dpt_pool_param),
    .signature = "byxc->byxc",
    .halo = "yx",
    .spreads = true,
    .window = window,
    .shape = shape_avg_dx,
    .resize = resize_dx,
    .cost = cost_dx,
    .run = {[DPT_RUN_REF] = ref_avg_pool_dx, [DPT_RUN_CPU] = dpt_op__avg_pool_dx_cpu},
};

const struct dpt_op dpt_op_global_pool = {
    .name = "global_pool",
    .doc = "the mean over all places of an image",
    .param_nbytes = sizeof(struct dpt_pool_param),
    .signature = "byxc->bc",
    .shape = shape_global,
    .cost = cost_global,
    .grad = grad_global,
    .run = {[DPT_RUN_REF] = ref_global_pool, [DPT_RUN_CPU] = dpt_op__global_pool_cpu},
};

const struct dpt_op dpt_op_global_pool_dx = {
    .name = "global_pool_dx",
    .doc = "gradient of the input of global_pool",
    .param_nbytes = sizeof(struct dpt_pool_param),
    .signature = "bc->byxc",
    .shape = shape_global_dx,
    .resize = resize_global_dx,
    .cost = cost_global_dx,
    .run = {[DPT_RUN_REF] = ref_global_pool_dx, [DPT_RUN_CPU] = dpt_op__global_pool_dx_cpu},
};
