/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Parameters, gradients and slots on the host, for ranks that go their own ways and combine what they have: the state's own
 * memory, or where the device is apart a copy of it.
 */

#include "train/internal.h"

static size_t flat_nbytes(const struct dpt_train *train)
{
    return (size_t)train->plan->nflat * dpt_dtype_nbytes(train->graph->real);
}

/* The host's and the state's, as many as there are. */
static int list(struct dpt_train *train, void **host[2 + DPT_PLAN_MAX_SLOTS], void *state[2 + DPT_PLAN_MAX_SLOTS])
{
    host[0] = &train->host.param;
    state[0] = train->state->param;
    host[1] = &train->host.gradient;
    state[1] = train->state->gradient;
    for (int k = 0; k < train->plan->nslots; k++) {
        host[2 + k] = &train->host.slot[k];
        state[2 + k] = train->state->slot[k];
    }
    return 2 + train->plan->nslots;
}

enum dpt_status dpt_train__host_open(struct dpt_train *train)
{
    void **host[2 + DPT_PLAN_MAX_SLOTS], *state[2 + DPT_PLAN_MAX_SLOTS];
    const int count = list(train, host, state);
    for (int i = 0; i < count && dpt_train__apart(train); i++) {
        if (dpt_dev_is_apart(train->dev)) {
            DPT_TRY(dpt_dev_host_alloc(train->dev, flat_nbytes(train), "a copy of the state on the host", host[i]));
        } else {
            *host[i] = state[i];
        }
    }
    return DPT_STATUS_OK;
}

void dpt_train__host_close(struct dpt_train *train)
{
    void **host[2 + DPT_PLAN_MAX_SLOTS], *state[2 + DPT_PLAN_MAX_SLOTS];
    if (!train->dev || !dpt_dev_is_apart(train->dev) || !train->state) {
        return;
    }
    const int count = list(train, host, state);
    for (int i = 0; i < count; i++) {
        if (*host[i]) {
            dpt_dev_host_release(train->dev, *host[i], flat_nbytes(train));
            *host[i] = NULL;
        }
    }
}

/* Those of `what`, if they are copies, one way or the other. */
static enum dpt_status copy(struct dpt_train *train, unsigned what, struct dpt_range range, bool to_device)
{
    void **host[2 + DPT_PLAN_MAX_SLOTS], *state[2 + DPT_PLAN_MAX_SLOTS];
    const int count = list(train, host, state);
    const size_t width = dpt_dtype_nbytes(train->graph->real), at = (size_t)range.begin * width;
    const size_t nbytes = (size_t)(range.end - range.begin) * width;
    for (int i = 0; i < count && dpt_dev_is_apart(train->dev); i++) {
        char *near = (char *)*host[i] + at, *far = (char *)state[i] + at;
        const unsigned which = i == 0 ? DPT_TRAIN__PARAM : i == 1 ? DPT_TRAIN__GRADIENT : DPT_TRAIN__SLOTS;
        if (what & which) {
            DPT_TRY(to_device ? dpt_dev_copy_in(train->dev, far, near, nbytes)
                              : dpt_dev_copy_out(train->dev, near, far, nbytes));
        }
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_train__fetch(struct dpt_train *train, unsigned what)
{
    return copy(train, what, (struct dpt_range){0, train->plan->nflat}, false);
}

enum dpt_status dpt_train__put(struct dpt_train *train, unsigned what)
{
    return copy(train, what, (struct dpt_range){0, train->plan->nflat}, true);
}

enum dpt_status dpt_train__fetch_params(struct dpt_train *train, struct dpt_range range)
{
    return copy(train, DPT_TRAIN__PARAM, range, false);
}

enum dpt_status dpt_train__put_params(struct dpt_train *train, struct dpt_range range)
{
    return copy(train, DPT_TRAIN__PARAM, range, true);
}
