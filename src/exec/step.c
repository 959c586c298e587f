/* SPDX-License-Identifier: Apache-2.0 */

/* The walk over the actions of a step. It allocates nothing, opens no file and formats no text. */

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "exec/internal.h"

static enum dpt_status load(struct dpt_exec *exec, struct dpt_loader *loader, int micro)
{
    const struct dpt_batch *batch;
    dpt_comm_action("load", "a batch");
    DPT_TRY(dpt_exec__await_loaded(exec)); /* the loader takes the last one's memory back */
    DPT_TRY(dpt_loader_next(loader, &batch));
    DPT_ASSERT(batch && batch->micro == micro && batch->step == exec->state->step);
    DPT_TRY(dpt_exec__load(exec, batch));
    DPT_TRY(dpt_exec__look_ahead(exec, loader));
    dpt_exec__time(exec, DPT_SECTION_DATA);
    return micro == 0 ? dpt_exec__open_messages(exec) : DPT_STATUS_OK;
}

static enum dpt_section section_of(const struct dpt_node *node)
{
    const bool local = !node->op->collective || node->op == &dpt_op_part;
    return !local                                ? DPT_SECTION_EXCHANGE
           : node->phase == DPT_PHASE_FORWARD ? DPT_SECTION_FORWARD
                                                 : DPT_SECTION_BACKWARD;
}

static enum dpt_status run(struct dpt_exec *exec, int n, int micro)
{
    DPT_TRY(dpt_exec__run(exec, n, micro));
    dpt_exec__time(exec, section_of(&exec->plan->graph->node[n]));
    return DPT_STATUS_OK;
}

/* Sums of gradients, and parameters that other ranks updated. */
static enum dpt_status exchange(struct dpt_exec *exec, const struct dpt_action *action)
{
    struct dpt_exchange *with = dpt_exec__exchange(exec, action->arg);
    const int slot = exec->slot_of[action->arg];
    const struct dpt_range bucket = exec->plan->bucket[action->arg].range;
    const struct dpt_range kept = dpt_plan_kept(exec->plan, action->arg);
    DPT_ASSERT(with);
    if (exec->ring) {
        DPT_TRY(dpt_exec__ring(exec, action));
        dpt_exec__time(exec, DPT_SECTION_EXCHANGE);
        return DPT_STATUS_OK;
    }
    if (exec->plan->conf.shard >= DPT_PLAN_SHARD_GRADIENTS) {
        DPT_TRY(dpt_exec__exchange_slices(exec, action));
        dpt_exec__time(exec, DPT_SECTION_EXCHANGE);
        return DPT_STATUS_OK;
    }
    switch (action->kind) {
    case DPT_ACTION_REDUCE:
        dpt_comm_action("all-reduce", "of gradients");
        exec->sent += dpt_plan_bucket_sent(exec->plan, action->arg);
        DPT_TRY(exec->plan->conf.fixed
                    ? dpt_exec__level_digits(exec, action->arg)
                    : dpt_exec__send_bucket(exec, action->arg, exec->gradient, exec->state->gradient, bucket));
        DPT_TRY(dpt_exchange_start(with, slot));
        break;
    case DPT_ACTION_WAIT:
        dpt_comm_action("all-reduce", "of gradients");
        DPT_TRY(dpt_exchange_wait(with, slot));
        if (exec->plan->conf.fixed) {
            dpt_exec__read_digits(exec, action->arg);
        }
        DPT_TRY(dpt_exec__take_bucket(exec, action->arg, exec->state->gradient, exec->gradient, kept));
        break;
    case DPT_ACTION_PUBLISH:
        dpt_comm_action("gather", "of parameters");
        exec->sent += dpt_plan_slices_sent(exec->plan, action->arg);
        DPT_TRY(dpt_exec__send_bucket(exec, action->arg, exec->param, exec->state->param, kept));
        DPT_TRY(dpt_exchange_publish(with, slot));
        break;
    default:
        dpt_comm_action("gather", "of parameters");
        DPT_TRY(dpt_exchange_publish_wait(with, slot));
        DPT_TRY(dpt_exec__take_bucket(exec, action->arg, exec->state->param, exec->param, bucket));
        break;
    }
    dpt_exec__time(exec, DPT_SECTION_EXCHANGE);
    return DPT_STATUS_OK;
}

static enum dpt_status zero(struct dpt_exec *exec, int i)
{
    const struct dpt_plan_param *param = &exec->plan->param[i];
    const int64_t width = (int64_t)dpt_dtype_nbytes(exec->plan->graph->real);
    const int64_t at = param->offset + exec->plan->bucket[param->bucket].gradient_offset;
    return dpt_dev_zero(exec->dev, (char *)exec->state->gradient + at * width, (size_t)(param->numel * width));
}

/*
 * The one world-wide reduction of a step: norm, metrics, flags. All ranks get the same numbers and so decide alike
 * whether to update and by how much to clip.
 */
static enum dpt_status control(struct dpt_exec *exec, struct dpt_loader *loader, struct dpt_exec_step *step)
{
    struct dpt_exec__control *message = &exec->control;
    DPT_TRY(dpt_exec__look_ahead(exec, loader)); /* if it was not read when the last micro-batch was loaded */
    DPT_TRY(step->alone ? dpt_exec__ask_squares_alone(exec, step->alone, step->keep) : dpt_exec__ask_squares(exec));
    dpt_exec__time(exec, DPT_SECTION_UPDATE);
    if (dpt_dev_is_apart(exec->dev)) {
        dpt_comm_action("wait", "for the device");
    }
    DPT_TRY(dpt_dev_wait(exec->dev)); /* the one time in a step: kernels of both passes are beside the host */
    dpt_exec__time(exec, DPT_SECTION_BACKWARD);
    dpt_exec__take_metrics(exec);
    if (step->alone) {
        dpt_exec__take_squares_alone(exec, step->alone);
    } else {
        dpt_exec__take_squares(exec);
    }
    memcpy(message->flag, step->flag, sizeof message->flag);
    if (!exec->metric_counts) {
        memset(message->metric, 0, sizeof message->metric);
    }
    dpt_exec__time(exec, DPT_SECTION_UPDATE);
    if (!step->alone) {
        dpt_comm_action("sum", "norm, loss and flags");
        DPT_TRY(dpt_exec__sum_control(exec));
    }
    dpt_exec__time(exec, DPT_SECTION_EXCHANGE);
    memcpy(step->flag, message->flag, sizeof step->flag);
    memcpy(step->metric, message->metric, sizeof step->metric);
    step->grad_norm = ldexp(sqrt(message->square), -exec->ctx.loss_shift);
    step->finite = isfinite(step->grad_norm) && isfinite(step->metric[0]);
    exec->ctx.grad_scale = step->clip > 0.0 && step->grad_norm > step->clip ? step->clip / step->grad_norm : 1.0;
    exec->ctx.grad_scale *= step->alone ? step->alone : 1;
    exec->ctx.grad_scale = ldexp(exec->ctx.grad_scale, -exec->ctx.loss_shift);
    exec->ctx.lr = step->lr;
    exec->ctx.update = exec->state->updates + 1;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_exec_update(const struct dpt_exec *exec, struct dpt_range range, const struct dpt_exec_flat *at,
                                double lr, int64_t update)
{
    const struct dpt_plan *plan = exec->plan;
    const struct dpt_op_ctx ctx = {.seed = exec->ctx.seed, .grad_scale = 1.0, .lr = lr, .update = update};
    void *const flat[2 + DPT_PLAN_MAX_SLOTS] = {at->param, at->gradient, at->slot[0], at->slot[1]};
    for (int u = 0; u < plan->nupdates; u++) {
        const struct dpt_plan_update *rule = &plan->update[u];
        const int64_t begin = rule->begin > range.begin ? rule->begin : range.begin;
        const int64_t end = rule->end < range.end ? rule->end : range.end;
        const struct dpt_type type = {plan->graph->real, 1, {end - begin}};
        const size_t offset = (size_t)(begin - range.begin) * dpt_dtype_nbytes(type.dtype);
        struct dpt_op_types types = {.param = rule->param, .nin = 2 + rule->nslots};
        struct dpt_tensor in[2 + DPT_PLAN_MAX_SLOTS];
        if (begin >= end) {
            continue;
        }
        for (int i = 0; i < types.nin; i++) {
            types.in[i] = type;
            in[i] = (struct dpt_tensor){type, (char *)flat[i] + offset};
        }
        const struct dpt_op_call call = {.types = &types, .in = in, .ctx = &ctx};
        DPT_TRY(dpt_op_call(rule->op, dpt_dev_is_apart(exec->dev) ? DPT_RUN_CPU : plan->conf.run, &call));
    }
    return DPT_STATUS_OK;
}

static enum dpt_status update(struct dpt_exec *exec, int u)
{
    const struct dpt_plan_update *rule = &exec->plan->update[u];
    const int first = exec->first[u], behind = exec->first[u + rule->joined];
    dpt_comm_action("update", rule->op->name);
    DPT_TRY(dpt_update_ranges(exec->dev, rule->op, exec->plan->conf.run, behind - first, &exec->update[first],
                              exec->table[u], &exec->ctx));
    dpt_exec__time(exec, DPT_SECTION_UPDATE);
    return DPT_STATUS_OK;
}

/* Makes the updated slices known to all: the next forward pass, or whoever reads the state, needs those of the others. */
static enum dpt_status publish(struct dpt_exec *exec)
{
    dpt_comm_action("publish", "the parameters");
    for (int b = 0; b < exec->plan->nbuckets; b++) {
        DPT_TRY(dpt_exchange_publish(exec->exchange, b));
    }
    for (int b = 0; b < exec->plan->nbuckets; b++) {
        DPT_TRY(dpt_exchange_publish_wait(exec->exchange, b));
    }
    dpt_exec__time(exec, DPT_SECTION_EXCHANGE);
    return DPT_STATUS_OK;
}

static enum dpt_status act(struct dpt_exec *exec, const struct dpt_action *action, struct dpt_loader *loader,
                           struct dpt_exec_step *step)
{
    switch (action->kind) {
    case DPT_ACTION_LOAD:
        return load(exec, loader, action->micro);
    case DPT_ACTION_RUN:
        return run(exec, action->arg, action->micro);
    case DPT_ACTION_ADD:
        DPT_TRY(dpt_exec__add(exec, action->micro, action->arg));
        dpt_exec__time(exec, DPT_SECTION_BACKWARD);
        return DPT_STATUS_OK;
    case DPT_ACTION_ACCUMULATE:
        DPT_TRY(dpt_exec__accumulate(exec, action->micro, action->arg));
        dpt_exec__time(exec, DPT_SECTION_BACKWARD);
        return DPT_STATUS_OK;
    case DPT_ACTION_METRIC:
        return dpt_exec__ask_metric(exec, action->micro);
    case DPT_ACTION_ZERO:
        return zero(exec, action->arg);
    case DPT_ACTION_REDUCE:
    case DPT_ACTION_WAIT:
    case DPT_ACTION_PUBLISH:
    case DPT_ACTION_COLLECT:
        return step->alone ? DPT_STATUS_OK : exchange(exec, action);
    case DPT_ACTION_GATHER:
    case DPT_ACTION_GATHERED:
    case DPT_ACTION_SCATTER:
    case DPT_ACTION_SCATTERED:
        DPT_TRY(dpt_exec__stay(exec, action));
        dpt_exec__time(exec, DPT_SECTION_EXCHANGE);
        return DPT_STATUS_OK;
    case DPT_ACTION_AVERAGE:
        DPT_TRY(dpt_exec__average(exec, action->arg));
        dpt_exec__time(exec, DPT_SECTION_EXCHANGE);
        return DPT_STATUS_OK;
    case DPT_ACTION_CONTROL:
        return control(exec, loader, step);
    case DPT_ACTION_UPDATE:
        return step->finite && !step->keep ? update(exec, action->arg) : DPT_STATUS_OK;
    }
    return DPT_STATUS_OK;
}

/* What the actions of a step are done with. */
struct walk {
    struct dpt_loader *loader;
    struct dpt_exec_step *step;
};

static enum dpt_status act_in_walk(struct dpt_exec *exec, const struct dpt_action *action, void *user)
{
    const struct walk *walk = user;
    return act(exec, action, walk->loader, walk->step);
}

enum dpt_status dpt_exec_train(struct dpt_exec *exec, struct dpt_loader *loader, struct dpt_exec_step *step)
{
    const struct dpt_plan *plan = exec->plan;
    DPT_ASSERT(!step->alone || (!exec->by_host && plan->conf.shard == DPT_PLAN_SHARD_NONE));
    exec->now = dpt_clock_s();
    exec->ctx.loss_shift = exec->state->loss_shift;
    if (exec->exchange) {
        dpt_exchange_step(exec->exchange, exec->state->step);
    }
    struct walk walk = {loader, step};
    DPT_TRY(dpt_dev_step(exec->dev, (uint64_t)exec->state->step));
    for (int i = 0, next; i < plan->nactions; i = next) {
        DPT_TRY(dpt_exec__play(exec, i, act_in_walk, &walk, &next));
        if (next == i) {
            DPT_TRY(act(exec, &plan->action[next++], loader, step));
        }
    }
    DPT_TRY(dpt_exec__close_messages(exec));
    if (exec->by_host && step->finite) {
        DPT_TRY(publish(exec));
    }
    exec->state->step++;
    exec->state->updates += step->finite && !step->keep;
    return DPT_STATUS_OK;
}

/* What the actions of a batch of an evaluation are done with. */
struct pass {
    struct dpt_loader *loader;
    const struct dpt_batch *batch; /* the last one loaded */
    dpt_exec_output_fn *output;
    void *user;
};

static enum dpt_status load_in_pass(struct dpt_exec *exec, int micro, struct pass *pass)
{
    if (micro > 0) {
        DPT_TRY(dpt_exec__await_loaded(exec));
        DPT_TRY(dpt_loader_next(pass->loader, &pass->batch));
        DPT_ASSERT(pass->batch && pass->batch->micro == micro);
    }
    DPT_TRY(dpt_exec__load(exec, pass->batch));
    return micro == 0 ? dpt_exec__open_messages(exec) : DPT_STATUS_OK;
}

static enum dpt_status act_in_pass(struct dpt_exec *exec, const struct dpt_action *action, void *user)
{
    switch (action->kind) {
    case DPT_ACTION_LOAD:
        return load_in_pass(exec, action->micro, user);
    case DPT_ACTION_RUN:
        return dpt_exec__run(exec, action->arg, action->micro);
    case DPT_ACTION_METRIC:
        return dpt_exec__ask_metric(exec, action->micro);
    case DPT_ACTION_GATHER:
    case DPT_ACTION_GATHERED:
        return dpt_exec__stay(exec, action);
    default:
        DPT_ASSERT(action->kind == DPT_ACTION_CONTROL);
        return DPT_STATUS_OK;
    }
}

/* Shows the predictions of a micro-batch. */
static enum dpt_status show(struct dpt_exec *exec, int micro, const struct pass *pass)
{
    struct dpt_tensor y = dpt_exec__tensor(exec, exec->plan->graph->output, micro);
    DPT_TRY(dpt_exec__on_host(exec, &y));
    return pass->output(pass->user, pass->batch, &y);
}

/* The actions of one batch of an evaluation: no gradients, no updates. */
static enum dpt_status evaluate_batch(struct dpt_exec *exec, struct pass *pass)
{
    const struct dpt_plan *plan = exec->plan;
    for (int i = 0, next; i < plan->nactions; i = next) {
        DPT_TRY(dpt_exec__play(exec, i, act_in_pass, pass, &next));
        if (next == i) {
            DPT_TRY(act_in_pass(exec, &plan->action[next++], pass));
        }
        const int micro = plan->action[next - 1].micro;
        const bool last = plan->action[next < plan->nactions ? next : next - 1].micro != micro;
        if (pass->output && micro >= 0 && last && plan->graph->output >= 0) {
            DPT_TRY(show(exec, micro, pass));
        }
    }
    return dpt_exec__close_messages(exec);
}

enum dpt_status dpt_exec_evaluate(struct dpt_exec *exec, struct dpt_loader *loader, double metric[DPT_EXEC_METRICS],
                                  dpt_exec_output_fn *output, void *user)
{
    struct pass pass = {.loader = loader, .output = output, .user = user};
    for (int i = 0; i < DPT_EXEC_METRICS; i++) {
        metric[i] = 0.0;
    }
    for (;;) {
        dpt_comm_action("load", "a batch of an evaluation");
        DPT_TRY(dpt_loader_next(loader, &pass.batch));
        if (!pass.batch) {
            return DPT_STATUS_OK;
        }
        DPT_TRY(dpt_dev_step(exec->dev, (uint64_t)pass.batch->step)); /* no recording may have it in it */
        DPT_TRY(evaluate_batch(exec, &pass));
        DPT_TRY(dpt_dev_wait(exec->dev));
        dpt_exec__take_metrics(exec);
        if (!exec->metric_counts) {
            memset(exec->control.metric, 0, sizeof exec->control.metric);
        }
        /* Batch by batch, so that the sum over batches has one order on any number of ranks. */
        dpt_comm_action("sum", "loss of an evaluation");
        DPT_TRY(dpt_exec__sum_control(exec));
        for (int i = 0; i < DPT_EXEC_METRICS; i++) {
            metric[i] += exec->control.metric[i];
        }
    }
}
