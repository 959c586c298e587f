/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Update rules: what the optimizer does with a parameter p, its gradient g and its slots, in place and element by
 * element. c = ctx->grad_scale, lr = ctx->lr, u = ctx->update (1 at the first).
 *
 *   sgd   d = c g + decay p                                       as PyTorch's torch.optim.SGD
 *         m = d at the first update, else momentum m + (1 - dampening) d
 *         p -= lr (d + momentum m with nesterov, else m; d where momentum is 0)
 *
 *   adam  d = c g, + decay p unless decoupled                     Kingma, Ba, 2015
 *         p *= 1 - lr decay if decoupled                          AdamW: Loshchilov, Hutter, 2019
 *         m = beta1 m + (1 - beta1) d;  v = beta2 v + (1 - beta2) d^2
 *         p -= lr (m / (1 - beta1^u)) / (sqrt(v / (1 - beta2^u)) + eps)
 *
 *   ema   p = (1 - rate) p + rate g                               running statistics; neither lr nor c
 */

#include "op/update.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "op/cuda.h"

#define DPT_REF "op/update_ref.inc"
#include "op/real.h"
DPT_REF_RUN(sgd, in[0])
DPT_REF_RUN(adam, in[0])
DPT_REF_RUN(ema, in[0])
DPT_CPU_RUN(sgd, in[0])
DPT_CPU_RUN(adam, in[0])
DPT_CPU_RUN(ema, in[0])

/* All operands of one shape and real type; nothing but what is updated in place comes out. */
static enum dpt_status check(const struct dpt_op *op, struct dpt_op_types *types)
{
    DPT_TRY(dpt_op__check_inputs(op, types));
    DPT_TRY(dpt_op__check_real(types, types->nin));
    for (int i = 1; i < types->nin; i++) {
        DPT_TRY(dpt_op__check_same(types, 0, i));
    }
    types->nout = 0;
    return DPT_STATUS_OK;
}

static enum dpt_status shape_sgd(struct dpt_op_types *types)
{
    const struct dpt_sgd_param *param = types->param;
    DPT_TRY(check(&dpt_op_sgd, types));
    DPT_CHECK((param->momentum != 0.0) == (types->nin == 3), DPT_STATUS_USAGE,
              "momentum is %g, but there is %s slot for it", param->momentum, types->nin == 3 ? "a" : "no");
    DPT_CHECK(!param->nesterov || (param->momentum > 0.0 && param->dampening == 0.0), DPT_STATUS_USAGE,
              "nesterov needs momentum and no dampening");
    return DPT_STATUS_OK;
}

static enum dpt_status shape_adam(struct dpt_op_types *types)
{
    const struct dpt_adam_param *param = types->param;
    DPT_TRY(check(&dpt_op_adam, types));
    DPT_CHECK(param->beta1 >= 0.0 && param->beta1 < 1.0 && param->beta2 >= 0.0 && param->beta2 < 1.0, DPT_STATUS_USAGE,
              "beta1 is %g and beta2 %g, expected 0 <= beta < 1", param->beta1, param->beta2);
    return DPT_STATUS_OK;
}

static enum dpt_status shape_ema(struct dpt_op_types *types)
{
    return check(&dpt_op_ema, types);
}

/* Reads every operand once and writes `written` of them. */
static void cost(const struct dpt_op_types *types, double flops, int written, struct dpt_op_cost *cost)
{
    cost->flops = flops * (double)dpt_type_numel(&types->in[0]);
    dpt_op_cost_bytes(types, cost);
    cost->bytes_written = written * (double)dpt_type_nbytes(&types->in[0]);
}

/* c g, decay p and sum: 3; momentum m, (1 - dampening) d and sum: 3; lr times and difference: 2; nesterov: 2 */
static void cost_sgd(const struct dpt_op_types *types, struct dpt_op_cost *out)
{
    const struct dpt_sgd_param *param = types->param;
    const bool slot = types->nin == 3;
    cost(types, 5.0 + (slot ? 3.0 : 0.0) + (param->nesterov ? 2.0 : 0.0), slot ? 2 : 1, out);
}

/* c g and decay: 3; m: 3; v: 4; root, eps, quotients, lr, difference: 6 */
static void cost_adam(const struct dpt_op_types *types, struct dpt_op_cost *out)
{
    cost(types, 16.0, 3, out);
}

static void cost_ema(const struct dpt_op_types *types, struct dpt_op_cost *out)
{
    cost(types, 3.0, 1, out); /* two products and a sum */
}

const struct dpt_op dpt_op_sgd = {
    .name = "sgd",
    .doc = "stochastic gradient descent with momentum",
    .param_nbytes = sizeof(struct dpt_sgd_param),
    .signature = ".,.,.?->",
    .update = true,
    .writes = 1u << 0 | 1u << 2,
    .shape = shape_sgd,
    .cost = cost_sgd,
    .run = {[DPT_RUN_REF] = ref_sgd, [DPT_RUN_CPU] = cpu_sgd},
};

const struct dpt_op dpt_op_adam = {
    .name = "adam",
    .doc = "Adam, or AdamW when the decay is decoupled",
    .param_nbytes = sizeof(struct dpt_adam_param),
    .signature = ".,.,.,.->",
    .update = true,
    .writes = 1u << 0 | 1u << 2 | 1u << 3,
    .shape = shape_adam,
    .cost = cost_adam,
    .run = {[DPT_RUN_REF] = ref_adam, [DPT_RUN_CPU] = cpu_adam},
};

const struct dpt_op dpt_op_ema = {
    .name = "ema",
    .doc = "moves a running statistic towards the one of this step",
    .param_nbytes = sizeof(struct dpt_ema_param),
    .signature = ".,.->",
    .update = true,
    .writes = 1u << 0,
    .shape = shape_ema,
    .cost = cost_ema,
    .run = {[DPT_RUN_REF] = ref_ema, [DPT_RUN_CPU] = cpu_ema},
};

/* ---- ranges ---- */

/* Where that number is in the parameters. */
static size_t own_at(const struct dpt_op *op)
{
    return op == &dpt_op_sgd    ? offsetof(struct dpt_sgd_param, weight_decay)
           : op == &dpt_op_adam ? offsetof(struct dpt_adam_param, weight_decay)
                                : offsetof(struct dpt_ema_param, rate);
}

double dpt_update__own(const struct dpt_op *op, const void *param)
{
    double own;
    memcpy(&own, (const char *)param + own_at(op), sizeof own);
    return own;
}

bool dpt_update_joins(const struct dpt_op *op, const void *a, const void *b)
{
    const char *one = a, *other = b;
    const size_t before = own_at(op), behind = before + sizeof(double);
    return memcmp(one, other, before) == 0 &&
           memcmp(one + behind, other + behind, op->param_nbytes - behind) == 0;
}

enum dpt_status dpt_update_prepare(struct dpt_dev *dev, const struct dpt_op *op, int count,
                                   const struct dpt_update_range *range, struct dpt_update_table **table)
{
    *table = NULL;
    return dev->kind == DPT_DEV_KIND_CUDA && count > 0 ? dpt_update__table_cuda(dev, op, count, range, table)
                                                       : DPT_STATUS_OK;
}

void dpt_update_release(struct dpt_dev *dev, struct dpt_update_table *table)
{
    if (table) {
        dpt_update__table_free_cuda(dev, table);
    }
}

enum dpt_status dpt_update_ranges(struct dpt_dev *dev, const struct dpt_op *op, enum dpt_run run, int count,
                                  const struct dpt_update_range *range, struct dpt_update_table *table,
                                  const struct dpt_op_ctx *ctx)
{
    for (int i = 0; i < (table ? 1 : count); i++) {
        const struct dpt_op_call call = {
            .types = &range[i].types, .in = range[i].in, .prep = table, .dev = dev, .ctx = ctx};
        DPT_TRY(dpt_op_call(op, run, &call));
    }
    return DPT_STATUS_OK;
}
