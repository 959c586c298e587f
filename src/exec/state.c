/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The state of a training: flat buffers, first values. A parameter's first values are drawn from the key (seed, name,
 * element): the same under every layout.
 */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/rng.h"
#include "exec/exec.h"

static void store(enum dpt_dtype real, void *data, int64_t i, double value)
{
    if (real == DPT_DTYPE_F32) {
        ((float *)data)[i] = (float)value;
    } else {
        ((double *)data)[i] = value;
    }
}

enum { GROUP = 256 }; /* counters drawn at once */

/* U(-scale, scale): four elements a counter. */
static void draw_uniform(enum dpt_dtype real, void *data, int64_t numel, double scale, uint64_t seed, uint64_t name)
{
    uint32_t word[4 * GROUP];
    for (int64_t first = 0; first < numel; first += 4 * GROUP) {
        dpt_rng_fill(seed, DPT_RNG_USE_INIT, (uint32_t)name & 0xffffff, name >> 24, (uint64_t)first / 4, GROUP, word);
        for (int64_t i = 0; i < 4 * GROUP && first + i < numel; i++) {
            const double unit = ((double)word[i] + 0.5) * 0x1p-32;
            store(real, data, first + i, (2.0 * unit - 1.0) * scale);
        }
    }
}

/* N(0, scale^2): two elements a counter. */
static void draw_normal(enum dpt_dtype real, void *data, int64_t numel, double scale, uint64_t seed, uint64_t name)
{
    uint32_t word[4 * GROUP];
    for (int64_t first = 0; first < numel; first += 2 * GROUP) {
        dpt_rng_fill(seed, DPT_RNG_USE_INIT, (uint32_t)name & 0xffffff, name >> 24, (uint64_t)first / 2, GROUP, word);
        for (int64_t i = 0; i < 2 * GROUP && first + i < numel; i += 2) {
            double normal[2];
            dpt_rng_normal(word + 2 * i, normal);
            store(real, data, first + i, scale * normal[0]);
            if (first + i + 1 < numel) {
                store(real, data, first + i + 1, scale * normal[1]);
            }
        }
    }
}

static void draw(const struct dpt_plan *plan, const struct dpt_plan_param *param, uint64_t seed, void *flat)
{
    const struct dpt_value *value = &plan->graph->value[param->value];
    const enum dpt_dtype real = plan->graph->real;
    const uint64_t name = dpt_hash64(value->name, strlen(value->name)) >> 8; /* 24 + 32 bits go into the key */
    void *data = (char *)flat + (size_t)param->offset * dpt_dtype_nbytes(real);
    switch (value->init.kind) {
    case DPT_INIT_KIND_CONST:
        for (int64_t i = 0; i < param->numel; i++) {
            store(real, data, i, value->init.scale);
        }
        break;
    case DPT_INIT_KIND_NORMAL:
        draw_normal(real, data, param->numel, value->init.scale, seed, name);
        break;
    case DPT_INIT_KIND_UNIFORM:
        draw_uniform(real, data, param->numel, value->init.scale, seed, name);
        break;
    }
}

static size_t flat_nbytes(const struct dpt_plan *plan)
{
    return (size_t)plan->nflat * dpt_dtype_nbytes(plan->graph->real);
}

static enum dpt_status allocate(struct dpt_state *state)
{
    const struct dpt_plan *plan = state->plan;
    const size_t nbytes = flat_nbytes(plan);
    DPT_TRY(dpt_dev_alloc(state->dev, nbytes, "the parameters", &state->param));
    if (plan->graph->training) {
        DPT_TRY(dpt_dev_alloc(state->dev, nbytes, "the gradients", &state->gradient));
    }
    for (int i = 0; i < plan->nlevels; i++) {
        DPT_TRY(dpt_dev_alloc(state->dev, nbytes, "the sums of gradients", &state->accumulator[i]));
    }
    for (int i = 0; i < plan->nslots; i++) {
        DPT_TRY(dpt_dev_alloc(state->dev, nbytes, "the state of the optimizer", &state->slot[i]));
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_state_new(const struct dpt_plan *plan, struct dpt_dev *dev, uint64_t seed,
                              struct dpt_state **state)
{
    *state = calloc(1, sizeof **state);
    DPT_CHECK(*state, DPT_STATUS_SPACE, "no memory for the state of the training");
    **state = (struct dpt_state){.plan = plan, .dev = dev};
    const enum dpt_status status = allocate(*state);
    if (status != DPT_STATUS_OK) {
        dpt_state_free(*state);
        *state = NULL;
        return status;
    }
    for (int i = 0; i < plan->nparams && (*state)->param; i++) { /* the null device has no memory */
        draw(plan, &plan->param[i], seed, (*state)->param);
    }
    return DPT_STATUS_OK;
}

static void release(struct dpt_state *state, void *block)
{
    if (block) {
        dpt_dev_release(state->dev, block, flat_nbytes(state->plan));
    }
}

void dpt_state_free(struct dpt_state *state)
{
    if (!state) {
        return;
    }
    release(state, state->param);
    release(state, state->gradient);
    for (int i = 0; i < DPT_PLAN_MAX_LEVELS; i++) {
        release(state, state->accumulator[i]);
    }
    for (int i = 0; i < DPT_PLAN_MAX_SLOTS; i++) {
        release(state, state->slot[i]);
    }
    free(state);
}

static struct dpt_tensor tensor_in(const struct dpt_state *state, int value, void *flat, int64_t offset)
{
    const size_t width = dpt_dtype_nbytes(state->plan->graph->real);
    return (struct dpt_tensor){state->plan->graph->value[value].type, (char *)flat + (size_t)offset * width};
}

struct dpt_tensor dpt_state_tensor(const struct dpt_state *state, int value)
{
    const struct dpt_plan *plan = state->plan;
    for (int i = 0; i < plan->nparams; i++) {
        const struct dpt_plan_param *param = &plan->param[i];
        if (param->value == value) {
            return tensor_in(state, value, state->param, param->offset);
        }
        for (int k = 0; k < param->nslots; k++) {
            if (param->slot[k] == value) {
                return tensor_in(state, value, state->slot[k], param->offset);
            }
        }
    }
    dpt_fatal(DPT_STATUS_FAILED, "internal error: value %d is not in the state; please report it", value);
}

uint64_t dpt_state_hash(const struct dpt_state *state)
{
    return dpt_hash64(state->param, flat_nbytes(state->plan));
}
