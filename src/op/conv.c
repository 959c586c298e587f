/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Convolution in two dimensions. Activations NHWC, weights OIHW as in PyTorch's nn.Conv2d; g groups, each joins its own
 * channels of x with its own channels of y (AlexNet: Krizhevsky, Sutskever, Hinton, 2012). s stride, d dilation, p pad;
 * x outside the image is 0.
 *
 *   forward   y[n,y,x,o]   = act(sum_{i,j,c} x[n, y s + i d - p, x s + j d - p, c] w[o,c,i,j] + bias[o])
 *   backward  dz           = dy masked by act (activation_dx from y)
 *             dx[n,y',x',c] = sum dz[n,y,x,o] w[o,c,i,j]   over o, i, j, y, x with y' = y s + i d - p, x' likewise
 *             dw[o,c,i,j]  = sum_{n,y,x} dz[n,y,x,o] x[n, y s + i d - p, x s + j d - p, c]
 *             dbias[o]     = sum_{n,y,x} dz[n,y,x,o]
 *
 * Size of y: floor((in + 2 p - d (kernel - 1) - 1) / s) + 1 (Dumoulin, Visin: "A guide to convolution arithmetic for
 * deep learning", 2016).
 */

#include "op/conv.h"

#include <string.h>

#include "op/linear.h"

#define DPT_REF "op/conv_ref.inc"
#include "op/real.h"
DPT_REF_RUN(conv, in[0])
DPT_REF_RUN(conv_dx, in[0])
DPT_REF_RUN(conv_dw, in[0])

static const char *const axis_name[2] = {"y", "x"};

struct dpt_op__conv dpt_op__conv_sizes(const struct dpt_conv_param *param, const struct dpt_type *x,
                                       const struct dpt_type *w, const struct dpt_type *y)
{
    struct dpt_op__conv conv = {
        .n = x->dim[0], .groups = param->groups, .o = w->dim[0] / param->groups, .c = w->dim[1]};
    for (int a = 0; a < 2; a++) {
        conv.in[a] = x->dim[1 + a];
        conv.out[a] = y->dim[1 + a];
        conv.kernel[a] = w->dim[2 + a];
        conv.stride[a] = param->stride[a];
        conv.pad[a] = param->pad[a];
        conv.dilation[a] = param->dilation[a];
    }
    return conv;
}

static enum dpt_status check_param(const struct dpt_conv_param *param)
{
    for (int a = 0; a < 2; a++) {
        DPT_CHECK(param->stride[a] >= 1 && param->stride[a] <= INT32_MAX, DPT_STATUS_USAGE,
                  "stride of %s is %lld, expected at least 1", axis_name[a], (long long)param->stride[a]);
        DPT_CHECK(param->pad[a] >= 0 && param->pad[a] <= INT32_MAX, DPT_STATUS_USAGE,
                  "pad of %s is %lld, expected at least 0", axis_name[a], (long long)param->pad[a]);
        DPT_CHECK(param->more[a] >= -param->pad[a] && param->more[a] <= INT32_MAX, DPT_STATUS_USAGE,
                  "pad behind %s is %lld, expected at least 0", axis_name[a],
                  (long long)(param->pad[a] + param->more[a]));
        DPT_CHECK(param->dilation[a] >= 1 && param->dilation[a] <= INT32_MAX, DPT_STATUS_USAGE,
                  "dilation of %s is %lld, expected at least 1 (dense)", axis_name[a], (long long)param->dilation[a]);
    }
    return DPT_STATUS_OK;
}

/* Refuses channels and groups that do not fit: c channels of x, o of y, `depth` = dim 1 of w. */
static enum dpt_status check_channels(int64_t groups, int64_t c, int64_t o, int64_t depth)
{
    DPT_CHECK(groups >= 1 && groups <= c && c % groups == 0, DPT_STATUS_USAGE,
              "x has %lld channels, which do not divide into %lld groups", (long long)c, (long long)groups);
    DPT_CHECK(o >= 1 && o % groups == 0, DPT_STATUS_USAGE,
              "y has %lld channels, which do not divide into %lld groups", (long long)o, (long long)groups);
    DPT_CHECK(c / groups == depth, DPT_STATUS_USAGE,
              "x has %lld channels in %lld groups, but w takes %lld channels a group", (long long)c, (long long)groups,
              (long long)depth);
    return DPT_STATUS_OK;
}

/* out[a]: the size of y along y, x for an image and a kernel. */
static enum dpt_status output_size(const struct dpt_conv_param *param, const int64_t in[2], const int64_t kernel[2],
                                   int64_t out[2])
{
    for (int a = 0; a < 2; a++) {
        DPT_CHECK(kernel[a] >= 1 && kernel[a] <= INT32_MAX, DPT_STATUS_USAGE,
                  "the kernel has %lld places along %s, expected at least 1", (long long)kernel[a], axis_name[a]);
        const int64_t reach = (kernel[a] - 1) * param->dilation[a] + 1;
        const int64_t padded = in[a] + 2 * param->pad[a] + param->more[a];
        DPT_CHECK(in[a] >= 1 && reach <= padded, DPT_STATUS_USAGE,
                  "the kernel reaches over %lld places along %s, but the image with its padding has only %lld",
                  (long long)reach, axis_name[a], (long long)padded);
        out[a] = (padded - reach) / param->stride[a] + 1;
    }
    return DPT_STATUS_OK;
}

/* Refuses a dy that is not the gradient of y for this image and kernel. */
static enum dpt_status check_dy(const struct dpt_conv_param *param, const struct dpt_type *dy, const int64_t in[2],
                                const int64_t kernel[2])
{
    int64_t out[2];
    DPT_TRY(output_size(param, in, kernel, out));
    for (int a = 0; a < 2; a++) {
        DPT_CHECK(dy->dim[1 + a] == out[a], DPT_STATUS_USAGE, "dy has %lld places along %s, but y would have %lld",
                  (long long)dy->dim[1 + a], axis_name[a], (long long)out[a]);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status shape(struct dpt_op_types *types)
{
    const struct dpt_conv_param *param = types->param;
    DPT_TRY(dpt_op__check_inputs(&dpt_op_conv, types));
    DPT_TRY(dpt_op__check_real(types, types->nin));
    DPT_TRY(check_param(param));
    const struct dpt_type *x = &types->in[0], *w = &types->in[1];
    const int64_t o = w->dim[0];
    DPT_TRY(check_channels(param->groups, x->dim[3], o, w->dim[1]));
    DPT_CHECK(types->nin < 3 || types->in[2].dim[0] == o, DPT_STATUS_USAGE,
              "bias has %lld elements, but w %lld output channels", (long long)types->in[2].dim[0], (long long)o);
    const int64_t act = param->act;
    DPT_CHECK(act == DPT_ACTIVATION_KIND_NONE || act == DPT_ACTIVATION_KIND_RELU, DPT_STATUS_USAGE,
              "activation %lld cannot be fused, expected none or relu", (long long)act);
    int64_t out[2];
    DPT_TRY(output_size(param, &x->dim[1], &w->dim[2], out));
    types->nout = 1;
    types->out[0] = (struct dpt_type){x->dtype, 4, {x->dim[0], out[0], out[1], o}};
    return DPT_STATUS_OK;
}

static enum dpt_status shape_dx(struct dpt_op_types *types)
{
    const struct dpt_conv_param *param = types->param;
    DPT_TRY(dpt_op__check_inputs(&dpt_op_conv_dx, types));
    DPT_TRY(dpt_op__check_real(types, 2));
    DPT_TRY(check_param(param));
    const struct dpt_type *dy = &types->in[0], *w = &types->in[1];
    DPT_CHECK(param->groups >= 1 && w->dim[1] <= INT32_MAX && param->groups <= INT32_MAX, DPT_STATUS_USAGE,
              "%lld groups, expected at least 1", (long long)param->groups);
    const int64_t c = param->groups * w->dim[1];
    DPT_TRY(check_channels(param->groups, c, w->dim[0], w->dim[1]));
    DPT_CHECK(dy->dim[3] == w->dim[0], DPT_STATUS_USAGE, "dy has %lld channels, but w %lld output channels",
              (long long)dy->dim[3], (long long)w->dim[0]);
    DPT_TRY(check_dy(param, dy, param->in, &w->dim[2]));
    types->nout = 1;
    types->out[0] = (struct dpt_type){dy->dtype, 4, {dy->dim[0], param->in[0], param->in[1], c}};
    return DPT_STATUS_OK;
}

static enum dpt_status shape_dw(struct dpt_op_types *types)
{
    const struct dpt_conv_param *param = types->param;
    DPT_TRY(dpt_op__check_inputs(&dpt_op_conv_dw, types));
    DPT_TRY(dpt_op__check_real(types, 2));
    DPT_TRY(check_param(param));
    const struct dpt_type *x = &types->in[0], *dy = &types->in[1];
    DPT_CHECK(param->groups >= 1, DPT_STATUS_USAGE, "%lld groups, expected at least 1", (long long)param->groups);
    const int64_t c = x->dim[3], o = dy->dim[3];
    DPT_TRY(check_channels(param->groups, c, o, c / param->groups));
    DPT_CHECK(x->dim[0] == dy->dim[0], DPT_STATUS_USAGE, "x has %lld samples, but dy %lld", (long long)x->dim[0],
              (long long)dy->dim[0]);
    DPT_TRY(check_dy(param, dy, &x->dim[1], param->kernel));
    types->nout = param->bias ? 2 : 1;
    types->out[0] = (struct dpt_type){x->dtype, 4, {o, c / param->groups, param->kernel[0], param->kernel[1]}};
    types->out[1] = (struct dpt_type){x->dtype, 1, {o}};
    return DPT_STATUS_OK;
}

/* Groups tie parts of c to parts of o. The sum over c is not finished on one part of c, so nothing may follow it. */
static const char *whole_for(const struct dpt_op_types *types)
{
    const struct dpt_conv_param *param = types->param;
    const bool more = types->nin > 2 || param->act != DPT_ACTIVATION_KIND_NONE;
    return param->groups > 1 ? "oc" : more ? "c" : "";
}

static const char *whole_for_gradient(const struct dpt_op_types *types)
{
    const struct dpt_conv_param *param = types->param;
    return param->groups > 1 ? "oc" : "";
}

/* Windows of a kernel of i or j places. */
static struct dpt_op_window window_of(const struct dpt_conv_param *param, int axis, int64_t kernel)
{
    return (struct dpt_op_window){
        .stride = param->stride[axis],
        .pad = param->pad[axis],
        .reach = (kernel - 1) * param->dilation[axis] + 1,
    };
}

static void window(const struct dpt_op_types *types, char letter, struct dpt_op_window *window)
{
    const int axis = letter == 'x';
    *window = window_of(types->param, axis, types->in[1].dim[2 + axis]);
}

static void window_dw(const struct dpt_op_types *types, char letter, struct dpt_op_window *window)
{
    const struct dpt_conv_param *param = types->param;
    *window = window_of(param, letter == 'x', param->kernel[letter == 'x']);
}

static void resize(const struct dpt_op_types *part, const struct dpt_op_part *place, void *param)
{
    struct dpt_conv_param *conv = param;
    for (int a = 0; a < 2; a++) {
        const struct dpt_op_window of = window_of(part->param, a, part->in[1].dim[2 + a]);
        dpt_op__window_pads(&of, &part->in[0], &place[0], &part->out[0], &place[part->nin], 1 + a, &conv->pad[a],
                            &conv->more[a]);
    }
}

static void resize_dx(const struct dpt_op_types *part, const struct dpt_op_part *place, void *param)
{
    struct dpt_conv_param *conv = param;
    for (int a = 0; a < 2; a++) {
        const struct dpt_op_window of = window_of(part->param, a, part->in[1].dim[2 + a]);
        dpt_op__window_pads(&of, &part->out[0], &place[part->nin], &part->in[0], &place[0], 1 + a, &conv->pad[a],
                            &conv->more[a]);
        conv->in[a] = part->out[0].dim[1 + a];
    }
}

static void resize_dw(const struct dpt_op_types *part, const struct dpt_op_part *place, void *param)
{
    struct dpt_conv_param *conv = param;
    for (int a = 0; a < 2; a++) {
        const struct dpt_op_window of = window_of(part->param, a, conv->kernel[a]);
        dpt_op__window_pads(&of, &part->in[0], &place[0], &part->in[1], &place[1], 1 + a, &conv->pad[a],
                            &conv->more[a]);
    }
}

/* Multiply and add for every element of y and every element of its part of w; the border counts as an image. */
static double products(const struct dpt_type *y, const struct dpt_type *w)
{
    return 2.0 * (double)dpt_type_numel(y) * (double)w->dim[1] * (double)w->dim[2] * (double)w->dim[3];
}

static void cost(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    const struct dpt_conv_param *param = types->param;
    const double outputs = (double)dpt_type_numel(&types->out[0]);
    cost->flops = products(&types->out[0], &types->in[1]);                 /* n, y, x, o; c, i, j  */
    cost->flops += types->nin > 2 ? outputs : 0.0;                         /* n, y, x, o: add bias */
    cost->flops += param->act != DPT_ACTIVATION_KIND_NONE ? outputs : 0.0; /* n, y, x, o: max(., 0) */
    dpt_op_cost_bytes(types, cost);
}

static void cost_dx(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    cost->flops = products(&types->in[0], &types->in[1]); /* n, y, x, o; c, i, j */
    dpt_op_cost_bytes(types, cost);
}

static void cost_dw(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    const double outputs = (double)dpt_type_numel(&types->in[1]);
    cost->flops = products(&types->in[1], &types->out[0]);  /* n, y, x, o; c, i, j   */
    cost->flops += types->nout > 1 ? outputs : 0.0;          /* n, y, x, o: sum of dy */
    dpt_op_cost_bytes(types, cost);
}

static enum dpt_status grad(struct dpt_op_grad *grad)
{
    struct dpt_conv_param param = *(const struct dpt_conv_param *)grad->types->param;
    const struct dpt_type *type_x = &grad->types->in[0], *type_w = &grad->types->in[1];
    const int x = grad->in[0], w = grad->in[1];
    int dz = grad->dout[0];
    if (param.act != DPT_ACTIVATION_KIND_NONE) {
        const struct dpt_activation_param act = {param.act};
        DPT_TRY(dpt_op__add(grad, "activation_dx", &act, 2, (int[]){dz, grad->out[0]}, &dz));
        param.act = DPT_ACTIVATION_KIND_NONE;
    }
    for (int a = 0; a < 2; a++) {
        param.in[a] = type_x->dim[1 + a];
        param.kernel[a] = type_w->dim[2 + a];
    }
    const bool bias = grad->types->nin > 2 && grad->need[2];
    if (grad->need[1] || bias) {
        struct dpt_conv_param with = param;
        int made;
        with.bias = bias;
        DPT_TRY(dpt_op__add(grad, "conv_dw", &with, 2, (int[]){x, dz}, &made));
        grad->din[1] = grad->need[1] ? made : -1;
        grad->din[2] = bias ? made + 1 : -1;
    }
    if (grad->need[0]) {
        DPT_TRY(dpt_op__add(grad, "conv_dx", &param, 2, (int[]){dz, w}, &grad->din[0]));
    }
    return DPT_STATUS_OK;
}

/* Bias and activation go behind the sum over the channels. */
static void strip(void *param, struct dpt_op_rest *rest)
{
    const struct dpt_linear_param taken = {((struct dpt_conv_param *)param)->act, 0};
    rest->op = &dpt_op_bias_act;
    memcpy(rest->param, &taken, sizeof taken);
    ((struct dpt_conv_param *)param)->act = DPT_ACTIVATION_KIND_NONE;
}

const struct dpt_op dpt_op_conv = {
    .name = "conv",
    .doc = "y = act(convolution of x with w + bias)",
    .param_nbytes = sizeof(struct dpt_conv_param),
    .signature = "byxc,ocij,o?->byxo",
    .whole = "ij",
    .whole_for = whole_for,
    .strip = strip,
    .halo = "yx",
    .window = window,
    .factors = 1u << 0 | 1u << 1,
    .shape = shape,
    .resize = resize,
    .cost = cost,
    .grad = grad,
    .prepare = dpt_op__conv_prepare,
    .release = dpt_op__conv_release,
    .scratch = dpt_op__conv_scratch,
    .run = {[DPT_RUN_REF] = ref_conv, [DPT_RUN_CPU] = dpt_op__conv_cpu},
};

const struct dpt_op dpt_op_conv_dx = {
    .name = "conv_dx",
    .doc = "gradient of the input of conv",
    .param_nbytes = sizeof(struct dpt_conv_param),
    .signature = "byxo,ocij->byxc",
    .whole = "ij",
    .whole_for = whole_for_gradient,
    .halo = "yx",
    .spreads = true,
    .window = window,
    .factors = 1u << 0 | 1u << 1,
    .shape = shape_dx,
    .resize = resize_dx,
    .cost = cost_dx,
    .prepare = dpt_op__conv_dx_prepare,
    .release = dpt_op__conv_release,
    .scratch = dpt_op__conv_dx_scratch,
    .run = {[DPT_RUN_REF] = ref_conv_dx, [DPT_RUN_CPU] = dpt_op__conv_dx_cpu},
};

const struct dpt_op dpt_op_conv_dw = {
    .name = "conv_dw",
    .doc = "gradients of the weight and the bias of conv",
    .param_nbytes = sizeof(struct dpt_conv_param),
    .signature = "byxc,byxo->ocij,o",
    .whole = "ij",
    .whole_for = whole_for_gradient,
    .halo = "yx",
    .window = window_dw,
    .from = {[1] = 1u << 1}, /* dbias comes from dy alone */
    .factors = 1u << 0 | 1u << 1,
    .shape = shape_dw,
    .resize = resize_dw,
    .cost = cost_dw,
    .prepare = dpt_op__conv_dw_prepare,
    .release = dpt_op__conv_release,
    .scratch = dpt_op__conv_dw_scratch,
    .run = {[DPT_RUN_REF] = ref_conv_dw, [DPT_RUN_CPU] = dpt_op__conv_dw_cpu},
};
