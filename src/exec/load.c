/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Batches on their way from the loader to where the plan wants them. On a device that is apart those of a training arrive
 * in memory of their own, beside the kernels. From there they are copied, in line and within the device, to their places,
 * which so are the same in every step, as recordings need it; then the next one may arrive. That is asked for at once, if
 * the loader has read it by then: so each micro-batch comes while the one before it computes, the first of a step while the
 * last of the step before does. What was brought ahead is known by the number that the loader gave it: after a seek it is
 * not taken.
 */

#include "exec/internal.h"

/* What a batch has for the values of the graph that are given. */
struct given {
    int value[2]; /* the input, the target; -1: not here */
    const void *loaded[2];
};

static struct given given_of(const struct dpt_exec *exec, const struct dpt_batch *batch)
{
    const struct dpt_graph *graph = exec->plan->graph;
    return (struct given){{graph->input, graph->target}, {batch->x, batch->target}};
}

enum dpt_status dpt_exec__take_ahead(struct dpt_exec *exec)
{
    void *ahead = NULL;
    DPT_TRY(dpt_dev_mark_new(exec->dev, &exec->loaded_mark));
    DPT_TRY(dpt_dev_mark_new(exec->dev, &exec->taken));
    DPT_TRY(dpt_dev_alloc(exec->dev, (size_t)exec->plan->memory.ahead, "the samples of the next step", &ahead));
    exec->ahead = ahead;
    return dpt_dev_mark_line(exec->dev, exec->taken); /* nothing arrives before the memory was zeroed, in line */
}

void dpt_exec__release_ahead(struct dpt_exec *exec)
{
    if (exec->ahead) {
        dpt_dev_mark_wait(exec->dev, exec->loaded_mark);
        dpt_dev_release(exec->dev, exec->ahead, (size_t)exec->plan->memory.ahead);
    }
    dpt_dev_mark_free(exec->dev, exec->loaded_mark);
    dpt_dev_mark_free(exec->dev, exec->taken);
}

/* Bytes of a given value for so many samples. */
static size_t nbytes_of(const struct dpt_exec *exec, int value, int64_t rows)
{
    struct dpt_type type = exec->plan->value[value].type;
    if (exec->plan->graph->value[value].batch) {
        type.dim[0] = rows;
    }
    return dpt_type_nbytes(&type);
}

/* Begins to bring a batch to where batches arrive, when what was there has been taken. */
static enum dpt_status bring(struct dpt_exec *exec, const struct dpt_batch *batch)
{
    const struct given given = given_of(exec, batch);
    char *at = exec->ahead;
    for (int i = 0; i < 2; i++) {
        const int64_t place = given.value[i] >= 0 ? dpt_plan_ahead(exec->plan, given.value[i]) : 0;
        if (place > 0) {
            DPT_TRY(dpt_dev_copy_in_ahead(exec->dev, at, given.loaded[i], nbytes_of(exec, given.value[i], batch->rows),
                                          exec->taken, exec->loaded_mark));
        }
        at += place;
    }
    exec->arriving = batch->number;
    return DPT_STATUS_OK;
}

/* Takes it from there to its places. */
static enum dpt_status take(struct dpt_exec *exec, const struct dpt_batch *batch)
{
    const struct given given = given_of(exec, batch);
    char *at = exec->ahead;
    DPT_TRY(dpt_dev_follow(exec->dev, exec->loaded_mark));
    for (int i = 0; i < 2; i++) {
        const int64_t place = given.value[i] >= 0 ? dpt_plan_ahead(exec->plan, given.value[i]) : 0;
        if (place > 0) {
            const struct dpt_tensor to = dpt_exec__tensor(exec, given.value[i], (int)batch->micro);
            DPT_TRY(dpt_dev_copy(exec->dev, to.data, at, dpt_type_nbytes(&to.type)));
        }
        at += place;
    }
    return dpt_dev_mark_line(exec->dev, exec->taken);
}

/* Puts what the loader has read to where the plan wants it, in line: real numbers as graph->real. */
static enum dpt_status copy_input(const struct dpt_exec *exec, int value, const struct dpt_batch *batch,
                                  const void *loaded)
{
    const struct dpt_tensor to = dpt_exec__tensor(exec, value, (int)batch->micro);
    const int64_t n = dpt_type_numel(&to.type);
    if (to.type.dtype != DPT_DTYPE_F64) {
        return dpt_dev_copy_in_later(exec->dev, to.data, loaded, (size_t)n * dpt_dtype_nbytes(to.type.dtype),
                                     exec->loaded_mark);
    }
    double *real = exec->staging ? (double *)(void *)exec->staging : to.data;
    for (int64_t i = 0; i < n; i++) {
        real[i] = ((const float *)loaded)[i];
    }
    return real == to.data ? DPT_STATUS_OK : dpt_dev_copy_in(exec->dev, to.data, real, (size_t)n * sizeof *real);
}

/* What was prepared for so many rows; for others the first serves, more slowly. */
static const struct dpt_plan_variant *variant_of(const struct dpt_plan *plan, int64_t rows)
{
    const struct dpt_plan_variant *variant = &plan->variant[0];
    for (int i = 1; i < plan->nvariants; i++) {
        variant = plan->variant[i].rows == rows ? &plan->variant[i] : variant;
    }
    return variant;
}

enum dpt_status dpt_exec__load(struct dpt_exec *exec, const struct dpt_batch *batch)
{
    const struct given given = given_of(exec, batch);
    struct dpt_exec__micro *micro = &exec->micro[batch->micro];
    exec->ctx.step = (uint64_t)batch->step;
    exec->ctx.rows = batch->rows;
    exec->ctx.first_row = batch->first_row;
    exec->ctx.micro_rows = batch->micro_rows;
    exec->ctx.batch_rows = batch->batch_rows;
    micro->ctx = exec->ctx;
    micro->variant = variant_of(exec->plan, batch->rows);
    for (int i = 0; i < exec->nloaded; i++) {
        exec->data[exec->loaded[i]] = exec->loaded_root[i] == given.value[0] ? batch->x : batch->target;
    }
    if (exec->ahead) {
        exec->came_ahead += exec->arriving == batch->number;
        DPT_TRY(exec->arriving == batch->number ? DPT_STATUS_OK : bring(exec, batch));
        DPT_TRY(take(exec, batch));
    }
    for (int i = 0; i < 2; i++) {
        if (given.value[i] >= 0 && exec->plan->value[given.value[i]].offset >= 0 &&
            !(exec->ahead && dpt_plan_ahead(exec->plan, given.value[i]) > 0)) {
            DPT_TRY(copy_input(exec, given.value[i], batch, given.loaded[i]));
        }
    }
    return DPT_STATUS_OK;
}

/* Not the mark of what arrives: that is the next batch's by now. */
enum dpt_status dpt_exec__await_loaded(struct dpt_exec *exec)
{
    return dpt_dev_mark_wait(exec->dev, exec->ahead ? exec->taken : exec->loaded_mark);
}

enum dpt_status dpt_exec__look_ahead(struct dpt_exec *exec, struct dpt_loader *loader)
{
    const struct dpt_batch *batch = exec->ahead ? dpt_loader_peek(loader) : NULL;
    return batch && batch->number != exec->arriving ? bring(exec, batch) : DPT_STATUS_OK;
}

int64_t dpt_exec_came_ahead(const struct dpt_exec *exec)
{
    return exec->came_ahead;
}
