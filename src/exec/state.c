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
#include "comm/fixed.h"
#include "exec/internal.h"

static void store(enum dpt_dtype real, void *data, int64_t i, double value)
{
    if (real == DPT_DTYPE_F32) {
        ((float *)data)[i] = (float)value;
    } else {
        ((double *)data)[i] = value;
    }
}

enum { GROUP = 256 }; /* counters drawn at once */

/* Where the first values of a parameter come from. */
struct source {
    struct dpt_init init;
    uint64_t seed, name;
};

/*
 * Elements [first, first + count) of the logical tensor, to elements [at, at + count) of `data`: uniform ones are four a
 * counter, normal ones two.
 */
static void draw_run(const struct source *source, enum dpt_dtype real, void *data, int64_t at, int64_t first,
                     int64_t count)
{
    const bool uniform = source->init.kind == DPT_INIT_KIND_UNIFORM;
    const int64_t each = uniform ? 4 : 2, end = first + count;
    const double scale = source->init.scale;
    uint32_t word[4 * GROUP];
    double value[4 * GROUP];
    for (int64_t counter = first / each; counter * each < end; counter += GROUP) {
        dpt_rng_fill(source->seed, DPT_RNG_USE_INIT, (uint32_t)source->name & 0xffffff, source->name >> 24,
                     (uint64_t)counter, GROUP, word);
        if (uniform) {
            for (int i = 0; i < 4 * GROUP; i++) {
                value[i] = 2.0 * (((double)word[i] + 0.5) * 0x1p-32) - 1.0;
            }
        } else {
            dpt_rng_normal(GROUP, word, value);
        }
        const int64_t drawn = counter * each, least = first > drawn ? first : drawn;
        for (int64_t element = least; element < drawn + GROUP * each && element < end; element++) {
            store(real, data, at + element - first, value[element - drawn] * scale);
        }
    }
}

struct dpt_box dpt_exec__box(const struct dpt_plan *plan, int value)
{
    const struct dpt_type *type = &plan->graph->value[value].type;
    struct dpt_box box = {.ndim = type->ndim};
    for (int d = 0; d < type->ndim; d++) {
        box.begin[d] = plan->value[value].part.begin[d];
        box.whole[d] = plan->value[value].part.whole[d];
        box.dim[d] = type->dim[d];
    }
    return box;
}

/* Elements of a parameter, counted from its first, that this rank keeps. */
static struct dpt_range kept_of(const struct dpt_plan *plan, const struct dpt_plan_param *param)
{
    struct dpt_range range = {0, param->numel};
    if (plan->nbuckets > 0 && plan->bucket[param->bucket].gather) {
        const struct dpt_range kept = dpt_plan_kept(plan, param->bucket);
        range.begin = kept.begin > param->offset ? kept.begin - param->offset : 0;
        range.end = kept.end - param->offset < range.end ? kept.end - param->offset : range.end;
        range.end = range.end > range.begin ? range.end : range.begin;
    }
    return range;
}

/* The first values of a range of a parameter's elements, to `data`. */
static void draw(const struct dpt_plan *plan, const struct dpt_plan_param *param, struct dpt_range range, uint64_t seed,
                 void *data)
{
    const struct dpt_value *value = &plan->graph->value[param->value];
    const enum dpt_dtype real = plan->graph->real;
    const struct source source = {
        .init = value->init,
        .seed = seed,
        .name = dpt_hash64(value->name, strlen(value->name)) >> 8, /* 24 + 32 bits go into the key */
    };
    if (value->init.kind == DPT_INIT_KIND_CONST) {
        for (int64_t i = range.begin; i < range.end; i++) {
            store(real, data, i - range.begin, value->init.scale);
        }
        return;
    }
    const struct dpt_box box = dpt_exec__box(plan, param->value);
    const int64_t run = dpt_box_run(&box);
    for (int64_t i = range.begin; run > 0 && i < range.end;) {
        const int64_t end = (i / run + 1) * run < range.end ? (i / run + 1) * run : range.end;
        draw_run(&source, real, data, i - range.begin, dpt_box_at(&box, i / run) + i % run, end - i);
        i = end;
    }
}

static size_t nbytes_of(const struct dpt_plan *plan, int64_t elements)
{
    return (size_t)elements * dpt_dtype_nbytes(plan->graph->real);
}

static size_t slot_nbytes(const struct dpt_plan *plan)
{
    return nbytes_of(plan, plan->kept.slots);
}

static bool has_slices(const struct dpt_plan *plan)
{
    bool sliced = false;
    for (int b = 0; b < plan->nbuckets; b++) {
        sliced = sliced || dpt_plan_is_sliced(plan, b);
    }
    return sliced;
}

/* Memory that the exchange has for this state: all blocks of a kind or none. Collective. */
static enum dpt_status borrow(struct dpt_state *state, struct dpt_exchange *exchange, enum dpt_state_kind kind)
{
    const struct dpt_plan *plan = state->plan;
    const size_t nbytes = nbytes_of(plan, plan->nflat);
    void *block = NULL;
    DPT_ASSERT(!dpt_dev_is_apart(state->dev));
    if (has_slices(plan) && (plan->conf.shard > DPT_PLAN_SHARD_OPTIMIZER || plan->conf.shards)) {
        return DPT_STATUS_OK;
    }
    if (plan->conf.fixed) {
        DPT_TRY(dpt_exchange_alloc(exchange, (size_t)plan->digits_nbytes, DPT_EXCHANGE_MEMORY_OWN, &state->digits));
        state->lent = state->digits != NULL;
        return DPT_STATUS_OK;
    }
    DPT_TRY(dpt_exchange_alloc(exchange, nbytes, DPT_EXCHANGE_MEMORY_OWN, &state->gradient));
    state->lent = state->gradient != NULL;
    if (kind == DPT_STATE_KIND_APART) {
        DPT_TRY(dpt_exchange_alloc(exchange, nbytes, DPT_EXCHANGE_MEMORY_OWN, &state->param));
        state->lent_param = state->param != NULL;
        return DPT_STATUS_OK;
    }
    if (!state->lent || plan->conf.shards) {
        return DPT_STATUS_OK;
    }
    const bool slots = !has_slices(plan); /* else each rank has its part of them already */
    DPT_TRY(dpt_exchange_alloc(exchange, nbytes + (slots ? (size_t)plan->nslots * slot_nbytes(plan) : 0),
                               DPT_EXCHANGE_MEMORY_COMMON, &block));
    state->common_param = state->lent_param = block != NULL;
    state->common = block && slots;
    if (state->common_param) {
        state->param = block;
        for (int i = 0; i < plan->nslots && slots; i++) {
            state->slot[i] = (char *)block + nbytes + (size_t)i * slot_nbytes(plan);
        }
    }
    return DPT_STATUS_OK;
}

static enum dpt_status allocate(struct dpt_state *state)
{
    const struct dpt_plan *plan = state->plan;
    if (!state->lent_param) {
        DPT_TRY(dpt_dev_alloc(state->dev, nbytes_of(plan, plan->kept.params), "the parameters", &state->param));
    }
    if (plan->graph->training && (!state->lent || plan->conf.fixed)) {
        DPT_TRY(dpt_dev_alloc(state->dev, nbytes_of(plan, plan->kept.gradients), "the gradients", &state->gradient));
    }
    if (plan->graph->training && plan->conf.fixed) {
        void *windows;
        if (!state->lent) {
            DPT_TRY(dpt_dev_host_alloc(state->dev, (size_t)plan->digits_nbytes, "the sums of gradients", &state->digits));
        }
        DPT_TRY(dpt_dev_host_alloc(state->dev, (size_t)plan->windows_nbytes, "the sums of gradients", &windows));
        state->window = windows;
        state->top = state->window + plan->nflat / DPT_FIXED_BLOCK;
    }
    for (int i = 0; i < plan->nlevels; i++) {
        DPT_TRY(dpt_dev_alloc(state->dev, nbytes_of(plan, plan->nflat), "the sums of gradients",
                              &state->accumulator[i]));
    }
    for (int i = 0; i < plan->nslots && !state->common; i++) {
        DPT_TRY(dpt_dev_alloc(state->dev, slot_nbytes(plan), "the state of the optimizer", &state->slot[i]));
    }
    return DPT_STATUS_OK;
}

/* Draws every parameter: where the device is apart on the host first. */
static enum dpt_status draw_all(struct dpt_state *state, uint64_t seed)
{
    const struct dpt_plan *plan = state->plan;
    const size_t width = dpt_dtype_nbytes(plan->graph->real);
    for (int i = 0; i < plan->nparams; i++) {
        const struct dpt_plan_param *param = &plan->param[i];
        const struct dpt_range kept = kept_of(plan, param);
        char *at = (char *)state->param + (size_t)(dpt_plan_param_at(plan, param) + kept.begin) * width;
        if (!dpt_dev_is_apart(state->dev)) {
            draw(plan, param, kept, seed, at);
            continue;
        }
        const size_t nbytes = (size_t)(kept.end - kept.begin) * width;
        void *host = malloc(nbytes + 1);
        DPT_CHECK(host, DPT_STATUS_SPACE, "no memory for the first values of %s, %zu bytes",
                  plan->graph->value[param->value].name, nbytes);
        draw(plan, param, kept, seed, host);
        const enum dpt_status status = dpt_dev_copy_in(state->dev, at, host, nbytes);
        free(host);
        DPT_TRY(status);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status new_state(const struct dpt_plan *plan, struct dpt_dev *dev, struct dpt_exchange *exchange,
                                 enum dpt_state_kind kind, uint64_t seed, struct dpt_state **state)
{
    struct dpt_state *made = calloc(1, sizeof *made);
    DPT_CHECK(made, DPT_STATUS_SPACE, "no memory for the state of the training");
    *made = (struct dpt_state){.plan = plan, .dev = dev};
    enum dpt_status status = exchange ? borrow(made, exchange, kind) : DPT_STATUS_OK;
    status = status == DPT_STATUS_OK ? allocate(made) : status;
    if (status == DPT_STATUS_OK && made->param) { /* the null device has no memory */
        status = draw_all(made, seed);
    }
    if (status != DPT_STATUS_OK) {
        dpt_state_free(made);
        return status;
    }
    *state = made;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_state_new(const struct dpt_plan *plan, struct dpt_dev *dev, uint64_t seed,
                              struct dpt_state **state)
{
    *state = NULL;
    return new_state(plan, dev, NULL, DPT_STATE_KIND_TOGETHER, seed, state);
}

enum dpt_status dpt_state_new_shared(const struct dpt_plan *plan, struct dpt_dev *dev, struct dpt_exchange *exchange,
                                     enum dpt_state_kind kind, uint64_t seed, struct dpt_state **state)
{
    *state = NULL;
    return dpt_agree(new_state(plan, dev, exchange, kind, seed, state), plan->conf.mesh->world);
}

static void release(struct dpt_state *state, void *block, size_t nbytes)
{
    if (block) {
        dpt_dev_release(state->dev, block, nbytes);
    }
}

void dpt_state_free(struct dpt_state *state)
{
    if (!state) {
        return;
    }
    const struct dpt_plan *plan = state->plan;
    if (!state->lent_param) {
        release(state, state->param, nbytes_of(plan, plan->kept.params));
    }
    if (!state->lent || plan->conf.fixed) {
        release(state, state->gradient, nbytes_of(plan, plan->kept.gradients));
    }
    if (!state->lent && state->digits) {
        dpt_dev_host_release(state->dev, state->digits, (size_t)state->plan->digits_nbytes);
    }
    if (state->window) {
        dpt_dev_host_release(state->dev, state->window, (size_t)state->plan->windows_nbytes);
    }
    for (int i = 0; i < DPT_PLAN_MAX_LEVELS; i++) {
        release(state, state->accumulator[i], nbytes_of(plan, plan->nflat));
    }
    for (int i = 0; i < DPT_PLAN_MAX_SLOTS && !state->common; i++) {
        release(state, state->slot[i], slot_nbytes(plan));
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
            return tensor_in(state, value, state->param, dpt_plan_param_at(plan, param));
        }
        for (int k = 0; k < param->nslots; k++) {
            if (param->slot[k] == value) {
                return tensor_in(state, value, state->slot[k],
                                 param->offset + (plan->nbuckets > 0 ? plan->bucket[param->bucket].slot_offset : 0));
            }
        }
    }
    dpt_fatal(DPT_STATUS_FAILED, "internal error: value %d is not in the state; please report it", value);
}

uint64_t dpt_state_hash(const struct dpt_state *state)
{
    const size_t nbytes = nbytes_of(state->plan, state->plan->kept.params);
    if (!dpt_dev_is_apart(state->dev)) {
        return dpt_hash64(state->param, nbytes);
    }
    void *host = malloc(nbytes + 1);
    if (!host || dpt_dev_copy_out(state->dev, host, state->param, nbytes) != DPT_STATUS_OK) {
        dpt_fatal(DPT_STATUS_FAILED, "the parameters cannot be copied from the device: %s",
                  host ? dpt_error_text() : "no memory on the host");
    }
    const uint64_t hash = dpt_hash64(host, nbytes);
    free(host);
    return hash;
}
