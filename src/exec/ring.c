/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What ranks along data exchange in a ring of their cards: gradients and parameters where they lie, beside the kernels, with
 * the host asking and not waiting.
 */

#include "exec/internal.h"

/* Where the slices of the ranks begin in a bucket; exec->cut. */
static const int64_t *cut(struct dpt_exec *exec, int bucket)
{
    const struct dpt_range range = exec->plan->bucket[bucket].range, all = {0, range.end - range.begin};
    const int ranks = dpt_comm_size(exec->plan->conf.mesh->world);
    for (int r = 0; r < ranks; r++) {
        exec->cut[r] = dpt_exchange_slice_of(all, ranks, r).begin;
    }
    exec->cut[ranks] = all.end;
    return exec->cut;
}

enum dpt_status dpt_exec__ring_slices(struct dpt_exec *exec, int bucket, bool sum, void *data)
{
    exec->sent += dpt_plan_slices_sent(exec->plan, bucket);
    return (sum ? dpt_dev_ring_scatter : dpt_dev_ring_gather)(exec->ring, data, cut(exec, bucket));
}

enum dpt_status dpt_exec__ring(struct dpt_exec *exec, const struct dpt_action *action)
{
    const struct dpt_plan *plan = exec->plan;
    const struct dpt_plan_bucket *bucket = &plan->bucket[action->arg];
    const struct dpt_range range = bucket->range;
    float *gradient = (float *)exec->state->gradient + range.begin + bucket->gradient_offset;
    float *param = (float *)exec->state->param + range.begin + bucket->param_offset;
    if (action->kind == DPT_ACTION_PUBLISH) {
        dpt_comm_action("gather", "of parameters");
        return dpt_exec__ring_slices(exec, action->arg, false, param);
    }
    if (action->kind != DPT_ACTION_REDUCE) {
        return dpt_dev_ring_join(exec->ring);
    }
    dpt_comm_action("sum", "of gradients");
    if (dpt_plan_is_sliced(plan, action->arg)) {
        return dpt_exec__ring_slices(exec, action->arg, true, gradient);
    }
    exec->sent += dpt_plan_bucket_sent(plan, action->arg);
    return dpt_dev_ring_sum(exec->ring, gradient, range.end - range.begin);
}
