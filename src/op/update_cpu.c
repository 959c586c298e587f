/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fast kernels of op/update.c, in float: every element is read and written once. What they do is bound by memory, so
 * the factors of all variants are multiplied in rather than branched on.
 */

#include "op/update.h"

#include <math.h>

#include "base/simd.h"
#include "op/op.h"

/* p -= lr (c g + decay p) */
DPT_SIMD static void update_sgd_plain(int64_t n, float lr, float c, float decay, const float *restrict g,
                                      float *restrict p)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        p[i] -= lr * (c * g[i] + decay * p[i]);
    }
}

/* m = keep m + take d;  p -= direct d + moved m */
DPT_SIMD static void update_sgd_momentum(int64_t n, float c, float decay, float keep, float take, float direct,
                                         float moved, const float *restrict g, float *restrict m, float *restrict p)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float d = c * g[i] + decay * p[i];
        m[i] = keep * m[i] + take * d;
        p[i] -= direct * d + moved * m[i];
    }
}

void dpt_op__sgd_f32(const struct dpt_op_call *call)
{
    const struct dpt_sgd_param *param = call->types->param;
    const struct dpt_op_ctx *ctx = call->ctx;
    const int64_t n = dpt_type_numel(&call->in[0].type);
    const float c = (float)ctx->grad_scale, decay = (float)param->weight_decay, lr = (float)ctx->lr;
    if (call->types->nin < 3) {
        update_sgd_plain(n, lr, c, decay, call->in[1].data, call->in[0].data);
        return;
    }
    const bool first = ctx->update == 1;
    const float keep = first ? 0.0f : (float)param->momentum;
    const float take = first ? 1.0f : (float)(1.0 - param->dampening);
    const float direct = param->nesterov ? lr : 0.0f;
    const float moved = param->nesterov ? (float)(ctx->lr * param->momentum) : lr;
    update_sgd_momentum(n, c, decay, keep, take, direct, moved, call->in[1].data, call->in[2].data, call->in[0].data);
}

/* The numbers of one Adam update that are the same for all elements. */
struct adam {
    float c, decay;     /* d = c g + decay p        */
    float keep;         /* p *= keep                */
    float beta1, beta2;
    float take1, take2; /* 1 - beta                 */
    float rate;         /* lr / (1 - beta1^u)       */
    float root;         /* 1 / sqrt(1 - beta2^u)    */
    float eps;
};

DPT_SIMD static void update_adam(int64_t n, struct adam a, const float *restrict g, float *restrict m,
                                 float *restrict v, float *restrict p)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float d = a.c * g[i] + a.decay * p[i];
        m[i] = a.beta1 * m[i] + a.take1 * d;
        v[i] = a.beta2 * v[i] + a.take2 * d * d;
        p[i] = a.keep * p[i] - a.rate * m[i] / (sqrtf(v[i]) * a.root + a.eps);
    }
}

void dpt_op__adam_f32(const struct dpt_op_call *call)
{
    const struct dpt_adam_param *param = call->types->param;
    const struct dpt_op_ctx *ctx = call->ctx;
    const struct adam adam = {
        .c = (float)ctx->grad_scale,
        .decay = param->decoupled ? 0.0f : (float)param->weight_decay,
        .keep = param->decoupled ? (float)(1.0 - ctx->lr * param->weight_decay) : 1.0f,
        .beta1 = (float)param->beta1,
        .beta2 = (float)param->beta2,
        .take1 = (float)(1.0 - param->beta1),
        .take2 = (float)(1.0 - param->beta2),
        .rate = (float)(ctx->lr / (1.0 - pow(param->beta1, (double)ctx->update))),
        .root = (float)(1.0 / sqrt(1.0 - pow(param->beta2, (double)ctx->update))),
        .eps = (float)param->eps,
    };
    update_adam(dpt_type_numel(&call->in[0].type), adam, call->in[1].data, call->in[2].data, call->in[3].data,
                call->in[0].data);
}

DPT_SIMD static void update_ema(int64_t n, float keep, float take, const float *restrict g, float *restrict p)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        p[i] = keep * p[i] + take * g[i];
    }
}

void dpt_op__ema_f32(const struct dpt_op_call *call)
{
    const struct dpt_ema_param *param = call->types->param;
    update_ema(dpt_type_numel(&call->in[0].type), (float)(1.0 - param->rate), (float)param->rate, call->in[1].data,
               call->in[0].data);
}
