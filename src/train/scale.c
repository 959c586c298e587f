/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The scale of the loss in fp16 (Micikevicius and others: "Mixed precision training", 2018). Gradients of values are kept in
 * IEEE half, which has nothing below 2^-24: those of 2^k times the loss are not as small. Whether one became too large is
 * seen by the norm of the whole gradient, which all ranks know (the control message): then nothing is updated and k is one
 * less in the next step. After a while without that it is one more. Powers of two change no digit.
 */

#include <math.h>

#include "base/log.h"
#include "train/internal.h"

enum { FIRST = 16, MOST = DPT_CKPT_MAX_LOSS_SHIFT, STEADY = 2000 };

void dpt_train__scale_begin(struct dpt_train *train)
{
    train->state->loss_shift = train->job->run.precision == DPT_PRECISION_FP16 ? FIRST : 0;
    train->state->steady = 0;
}

bool dpt_train__scale(struct dpt_train *train, const struct dpt_exec_step *step)
{
    struct dpt_state *state = train->state;
    if (train->job->run.precision != DPT_PRECISION_FP16) {
        return step->finite;
    }
    if (step->finite) {
        const bool more = ++state->steady >= STEADY && state->loss_shift < MOST;
        state->loss_shift += more;
        state->steady = more ? 0 : state->steady;
        return true;
    }
    if (state->loss_shift == 0 || !isfinite(step->metric[0])) {
        return false; /* a smaller scale would not help */
    }
    state->loss_shift--;
    state->steady = 0;
    train->skipped++;
    return true;
}

void dpt_train__note_scale(const struct dpt_train *train)
{
    if (train->skipped > 0) {
        dpt_log("NOTE    %lld step%s skipped, since a gradient was too large for fp16; the loss counts 2^%d times now\n",
                (long long)train->skipped, train->skipped == 1 ? " was" : "s were", train->state->loss_shift);
    }
}
