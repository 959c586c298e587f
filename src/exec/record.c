/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Parts of a step that ask nothing but work of the device - kernels, zeroing, sums, metrics - are recorded, when two steps in
 * a row have the same samples on this rank, and from then on played by one call: a launch each would keep the host busy for as
 * long as small kernels take. So are those of an evaluation, when two of its batches in a row are alike; it has recordings of its
 * own, each of one micro-batch, since whoever wants the predictions looks at them behind each. They are made once and
 * serve every pass: a short last batch is done without them.
 * What changes from step to step must not be in a recording: the learning rate and the number of
 * the update are of updates, which stand behind the control reduction and are not recorded; the step, from which random
 * numbers are drawn, is in memory of the device (dpt_dev_step); all else is in the key, and a step with another key is done
 * without the recording. A part that the device does not record is done as if there were no recordings.
 */

#include <string.h>

#include "base/hash.h"
#include "exec/internal.h"

/* Work of the device alone. */
static bool is_recorded(const struct dpt_exec *exec, const struct dpt_action *action)
{
    switch (action->kind) {
    case DPT_ACTION_RUN:
        return !exec->plan->graph->node[action->arg].op->collective;
    case DPT_ACTION_ACCUMULATE:
        return !exec->plan->conf.fixed; /* digits are on the host */
    case DPT_ACTION_ZERO:
    case DPT_ACTION_ADD:
    case DPT_ACTION_METRIC:
        return true;
    default:
        return false;
    }
}

void dpt_exec__prepare_parts(struct dpt_exec *exec)
{
    const struct dpt_plan *plan = exec->plan;
    struct dpt_exec__recorded *part = NULL;
    if (!dpt_dev_records(exec->dev) || exec->slowness > 1.0) {
        return;
    }
    for (int i = 0; i < plan->nactions; i++) {
        if (!is_recorded(exec, &plan->action[i])) {
            part = NULL;
            continue;
        }
        if (!part || (!plan->graph->training && plan->action[i].micro != plan->action[i - 1].micro)) {
            part = &exec->recorded[exec->nrecorded++];
            *part = (struct dpt_exec__recorded){.begin = i, .first = INT64_MAX, .last = -1};
        }
        part->end = i + 1;
        part->metrics += plan->action[i].kind == DPT_ACTION_METRIC;
        part->first = plan->action[i].micro >= 0 && plan->action[i].micro < part->first ? plan->action[i].micro : part->first;
        part->last = plan->action[i].micro > part->last ? plan->action[i].micro : part->last;
    }
}

void dpt_exec__free_parts(struct dpt_exec *exec)
{
    for (int i = 0; i < exec->nrecorded; i++) {
        dpt_dev_tape_free(exec->dev, exec->recorded[i].tape);
    }
}

/* Hash of all that kernels take from the contexts of the part's micro-batches, but the step. */
static uint64_t key_of(const struct dpt_exec *exec, const struct dpt_exec__recorded *part)
{
    uint64_t key = 1;
    for (int64_t m = part->first; m <= part->last; m++) {
        const struct dpt_op_ctx *ctx = &exec->micro[m].ctx;
        const int64_t all[] = {(int64_t)key,     ctx->rows,       ctx->first_row,
                               ctx->micro_rows, ctx->batch_rows, ctx->loss_shift};
        key = dpt_hash64(all, sizeof all);
    }
    return key;
}

/* Records the part with act. *done: and it was. */
static enum dpt_status record(struct dpt_exec *exec, struct dpt_exec__recorded *part, dpt_exec__act_fn *act, void *user,
                              bool *done)
{
    const int nmetrics = exec->nmetrics;
    struct dpt_dev_tape *tape = NULL;
    dpt_dev_tape_free(exec->dev, part->tape);
    part->tape = NULL;
    enum dpt_status status = dpt_dev_record_begin(exec->dev);
    for (int i = part->begin; i < part->end && status == DPT_STATUS_OK; i++) {
        status = act(exec, &exec->plan->action[i], user);
    }
    const enum dpt_status ended = dpt_dev_record_end(exec->dev, &tape);
    exec->nmetrics = nmetrics;
    if (status != DPT_STATUS_OK || ended != DPT_STATUS_OK) {
        dpt_dev_tape_free(exec->dev, tape);
        dpt_error_clear();
        part->refused = true;
        return DPT_STATUS_OK;
    }
    part->tape = tape;
    *done = true;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_exec__play(struct dpt_exec *exec, int action, dpt_exec__act_fn *act, void *user, int *next)
{
    struct dpt_exec__recorded *part = NULL;
    *next = action;
    for (int i = 0; i < exec->nrecorded && !part; i++) {
        part = exec->recorded[i].begin == action ? &exec->recorded[i] : NULL;
    }
    if (!part || part->refused) {
        return DPT_STATUS_OK;
    }
    const uint64_t key = key_of(exec, part);
    const bool again = key == part->before;
    bool ready = part->tape && key == part->key;
    part->before = key;
    if (!ready && again) {
        DPT_TRY(record(exec, part, act, user, &ready));
        part->key = key;
    }
    if (!ready) {
        return DPT_STATUS_OK;
    }
    dpt_comm_action("play", "a part of the step");
    DPT_TRY(dpt_dev_play(exec->dev, part->tape));
    exec->nmetrics += part->metrics;
    exec->played++;
    *next = part->end;
    return DPT_STATUS_OK;
}

int64_t dpt_exec_played(const struct dpt_exec *exec)
{
    return exec->played;
}
