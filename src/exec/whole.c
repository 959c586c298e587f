/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Logical tensors from the parts that ranks have, and back: for checkpoints, which know no layout. Every element of a
 * tensor is owned by one rank: of copies by the first. To gather is to sum, as integers, what the owners have and zeros
 * elsewhere: no bit of a number changes.
 */

#include <stdlib.h>
#include <string.h>

#include "exec/internal.h"

/* Where a value of the state lies here. */
struct piece {
    const struct dpt_plan_param *param; /* NULL: not on this rank                      */
    char *data;                         /* of element 0 of this rank's part            */
    struct dpt_range mine;              /* elements of the part that are in its memory */
    bool owned;                         /* they count                                  */
};

static struct piece find_piece(const struct dpt_state *state, int value)
{
    const struct dpt_plan *plan = state->plan;
    const size_t width = dpt_dtype_nbytes(plan->graph->real);
    const bool is_slot = plan->graph->value[value].kind == DPT_VALUE_KIND_SLOT;
    const int of = is_slot ? plan->graph->value[value].of : value;
    struct piece piece = {.param = NULL};
    for (int i = 0; i < plan->nparams; i++) {
        const struct dpt_plan_param *param = &plan->param[i];
        if (param->value != of) {
            continue;
        }
        const struct dpt_plan_bucket *bucket = &plan->bucket[param->bucket];
        const bool sliced = is_slot ? dpt_plan_is_sliced(plan, param->bucket) : bucket->gather;
        const struct dpt_range kept = dpt_plan_kept(plan, param->bucket);
        int64_t offset = param->offset + (is_slot ? 0 : bucket->param_offset);
        char *flat = state->param;
        for (int k = 0; is_slot && k < param->nslots; k++) {
            if (param->slot[k] == value) {
                flat = state->slot[k];
                offset += bucket->slot_offset;
            }
        }
        piece.param = param;
        piece.data = flat + offset * (int64_t)width;
        piece.mine = (struct dpt_range){0, param->numel};
        piece.owned = bucket->counted && (sliced || bucket->group < 0 || dpt_plan_group_rank(plan, bucket->group) == 0);
        if (sliced) {
            const int64_t begin = kept.begin - param->offset, end = kept.end - param->offset;
            piece.mine.begin = begin > 0 ? begin : 0;
            piece.mine.end = end < param->numel ? end : param->numel;
            piece.mine.end = piece.mine.end > piece.mine.begin ? piece.mine.end : piece.mine.begin;
        }
    }
    return piece;
}

/*
 * Copies a piece into the logical tensor or out of it. Where the device is apart there is a copy of the piece between them.
 */
static enum dpt_status copy_piece(const struct dpt_state *state, const struct piece *piece, void *whole, bool into_whole)
{
    const struct dpt_plan *plan = state->plan;
    const size_t width = dpt_dtype_nbytes(plan->graph->real);
    const struct dpt_box box = dpt_exec__box(plan, piece->param->value);
    const size_t nbytes = (size_t)(piece->mine.end - piece->mine.begin) * width;
    const size_t first = (size_t)piece->mine.begin * width;
    if (!dpt_dev_is_apart(state->dev)) {
        dpt_box_copy(&box, piece->mine.begin, piece->mine.end, width, piece->data, whole, into_whole);
        return DPT_STATUS_OK;
    }
    char *host = malloc((size_t)piece->param->numel * width + 1);
    DPT_CHECK(host, DPT_STATUS_SPACE, "no memory for a copy of %s, %zu bytes",
              plan->graph->value[piece->param->value].name, (size_t)piece->param->numel * width);
    enum dpt_status status = DPT_STATUS_OK;
    if (into_whole) {
        status = dpt_dev_copy_out(state->dev, host + first, piece->data + first, nbytes);
    }
    if (status == DPT_STATUS_OK) {
        dpt_box_copy(&box, piece->mine.begin, piece->mine.end, width, host, whole, into_whole);
    }
    if (status == DPT_STATUS_OK && !into_whole) {
        status = dpt_dev_copy_in(state->dev, piece->data + first, host + first, nbytes);
    }
    free(host);
    return status;
}

enum dpt_status dpt_state_gather(const struct dpt_state *state, int value, void *whole)
{
    const struct dpt_plan *plan = state->plan;
    const size_t width = dpt_dtype_nbytes(plan->graph->real);
    const int64_t numel = dpt_type_numel(&plan->logical->value[value].type);
    const struct piece piece = find_piece(state, value);
    enum dpt_status status = DPT_STATUS_OK;
    memset(whole, 0, (size_t)numel * width);
    if (piece.param && piece.owned) {
        status = copy_piece(state, &piece, whole, true);
    }
    DPT_TRY(dpt_agree(status, plan->conf.mesh->world)); /* a device may fail where others do not */
    return dpt_comm_allreduce(plan->conf.mesh->world, whole, numel * (int64_t)(width / sizeof(int32_t)), DPT_DTYPE_I32,
                              DPT_COMM_REDUCE_SUM);
}

enum dpt_status dpt_state_scatter(struct dpt_state *state, int value, const void *whole)
{
    const struct piece piece = find_piece(state, value);
    return piece.param ? copy_piece(state, &piece, (void *)(uintptr_t)whole, false) : DPT_STATUS_OK;
}

bool dpt_state_is_whole(const struct dpt_state *state)
{
    const struct dpt_plan *plan = state->plan;
    bool whole = !dpt_dev_is_apart(state->dev);
    for (int v = 0; v < plan->logical->nvalues; v++) {
        const enum dpt_value_kind kind = plan->logical->value[v].kind;
        if (kind == DPT_VALUE_KIND_PARAM || kind == DPT_VALUE_KIND_BUFFER) {
            whole = whole && plan->value[v].here &&
                    dpt_type_equal(&plan->graph->value[v].type, &plan->logical->value[v].type);
        }
    }
    for (int b = 0; b < plan->nbuckets; b++) {
        whole = whole && !dpt_plan_is_sliced(plan, b);
    }
    return whole;
}
