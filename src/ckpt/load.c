/* SPDX-License-Identifier: Apache-2.0 */

/* Reading boxes of tensors from an opened checkpoint, and what it says about itself. */

#include <stdlib.h>
#include <string.h>

#include "ckpt/private.h"

const struct dpt_ckpt_meta *dpt_ckpt_meta(const struct dpt_ckpt *ckpt)
{
    return &ckpt->manifest.meta;
}

const char *dpt_ckpt_path(const struct dpt_ckpt *ckpt)
{
    return ckpt->path;
}

uint64_t dpt_ckpt_nbytes(const struct dpt_ckpt *ckpt)
{
    uint64_t nbytes = 0;
    for (int i = 0; i < ckpt->manifest.nfiles; i++) {
        nbytes += (uint64_t)ckpt->manifest.file[i].nbytes;
    }
    return nbytes;
}

bool dpt_ckpt_at(const struct dpt_ckpt *ckpt, int i, struct dpt_ckpt_item *item)
{
    if (i < 0 || i >= ckpt->manifest.ntensors) {
        return false;
    }
    const struct dpt_ckpt__tensor *tensor = &ckpt->manifest.tensor[i];
    *item = (struct dpt_ckpt_item){.name = tensor->name, .file = tensor->kind, .type = tensor->type};
    memcpy(item->extent, tensor->type.dim, sizeof item->extent);
    return true;
}

/* The place of an item's tensor in ckpt->by_name, or -1. */
static int find(const struct dpt_ckpt *ckpt, const struct dpt_ckpt_item *item)
{
    const struct dpt_ckpt__tensor key = {.name = item->name, .kind = item->file};
    int low = 0, high = ckpt->manifest.ntensors - 1;
    while (low <= high) {
        const int middle = low + (high - low) / 2;
        const int order = dpt_ckpt__tensor_compare(&key, ckpt->by_name[middle]);
        if (order == 0) {
            return middle;
        }
        if (order < 0) {
            high = middle - 1;
        } else {
            low = middle + 1;
        }
    }
    return -1;
}

static enum dpt_status check_item(const struct dpt_ckpt *ckpt, const struct dpt_ckpt_item *item, bool *used)
{
    char here[96], there[96];
    const char *want = dpt_type_text(here, sizeof here, &item->type);
    const int at = find(ckpt, item);
    DPT_CHECK(at >= 0, DPT_STATUS_DATA,
              "%s: has no %s tensor '%s' (%s is expected); it is of another model or optimizer", ckpt->path, dpt_ckpt__kind_name(item->file), item->name, want);
    const struct dpt_type *type = &ckpt->by_name[at]->type;
    const char *have = dpt_type_text(there, sizeof there, type);
    struct dpt_type cast = item->type;
    cast.dtype = type->dtype;
    DPT_CHECK(dpt_type_equal(type, &cast), DPT_STATUS_DATA,
              "%s: tensor '%s' is %s, but this job needs %s; it is of another model", ckpt->path, item->name, have,
              want);
    DPT_CHECK(type->dtype == item->type.dtype, DPT_STATUS_DATA,
              "%s: tensor '%s' is %s, but this job needs %s; numbers are not converted: use the precision of the "
              "checkpoint ([run] precision)",
              ckpt->path, item->name, have, want);
    for (int d = 0; d < type->ndim; d++) {
        DPT_ASSERT(item->start[d] >= 0 && item->extent[d] >= 0 && item->start[d] + item->extent[d] <= type->dim[d]);
    }
    used[at] = true;
    return DPT_STATUS_OK;
}

static enum dpt_status check_unused(const struct dpt_ckpt *ckpt, const bool *used)
{
    int unused = 0;
    const char *first = NULL;
    for (int i = 0; i < ckpt->manifest.ntensors; i++) {
        if (!used[i] && ckpt->by_name[i]->kind == DPT_CKPT_FILE_MODEL) {
            first = first ? first : ckpt->by_name[i]->name;
            unused++;
        }
    }
    DPT_CHECK(unused == 0, DPT_STATUS_DATA, "%s: has %d tensor%s that this model does not have, first '%s'", ckpt->path,
              unused, unused == 1 ? "" : "s", first);
    return DPT_STATUS_OK;
}

/*
 * Copies the part of the item's box that lies in this piece. Both are row-major, so the part is made of runs that are
 * contiguous in both; a whole tensor is one run.
 */
static enum dpt_status read_piece(const struct dpt_ckpt *ckpt, const struct dpt_ckpt__piece *piece,
                                  const struct dpt_ckpt_item *item)
{
    const int ndim = item->type.ndim;
    const int64_t width = (int64_t)dpt_dtype_nbytes(item->type.dtype);
    int64_t low[DPT_MAX_DIM], high[DPT_MAX_DIM];
    for (int d = 0; d < ndim; d++) {
        const int64_t end_piece = piece->start[d] + piece->extent[d], end_item = item->start[d] + item->extent[d];
        low[d] = piece->start[d] > item->start[d] ? piece->start[d] : item->start[d];
        high[d] = end_piece < end_item ? end_piece : end_item;
        if (low[d] >= high[d]) {
            return DPT_STATUS_OK;
        }
    }

    /* Dimensions from `outer` on form one run: all but the first of them are whole in both boxes. */
    int outer = ndim;
    int64_t run = width;
    while (outer > 0) {
        outer--;
        run *= high[outer] - low[outer];
        if (high[outer] - low[outer] != piece->extent[outer] || high[outer] - low[outer] != item->extent[outer]) {
            break;
        }
    }

    int64_t at[DPT_MAX_DIM];
    memcpy(at, low, sizeof at);
    for (;;) {
        int64_t in_piece = 0, in_item = 0;
        for (int d = 0; d < ndim; d++) {
            in_piece = in_piece * piece->extent[d] + at[d] - piece->start[d];
            in_item = in_item * item->extent[d] + at[d] - item->start[d];
        }
        DPT_TRY(dpt_ckpt__read_at(ckpt->fd[piece->file], ckpt->path, piece->offset + in_piece * width,
                                  (char *)item->data + in_item * width, (size_t)run));
        int d = outer - 1;
        while (d >= 0 && ++at[d] == high[d]) {
            at[d] = low[d];
            d--;
        }
        if (d < 0) {
            return DPT_STATUS_OK;
        }
    }
}

enum dpt_status dpt_ckpt_check(struct dpt_ckpt *ckpt, int nitems, const struct dpt_ckpt_item *item, bool subset)
{
    bool *used = dpt_arena_array(ckpt->arena, (size_t)ckpt->manifest.ntensors, sizeof *used);
    for (int i = 0; i < nitems; i++) {
        DPT_TRY(check_item(ckpt, &item[i], used));
    }
    return subset ? DPT_STATUS_OK : check_unused(ckpt, used);
}

enum dpt_status dpt_ckpt_load(struct dpt_ckpt *ckpt, int nitems, struct dpt_ckpt_item *item, bool subset)
{
    DPT_ASSERT(ckpt->verified);
    DPT_TRY(dpt_ckpt_check(ckpt, nitems, item, subset));
    for (int i = 0; i < nitems; i++) {
        const struct dpt_ckpt__tensor *tensor = ckpt->by_name[find(ckpt, &item[i])];
        for (int k = 0; k < tensor->npieces; k++) {
            DPT_TRY(read_piece(ckpt, &tensor->piece[k], &item[i]));
        }
    }
    return DPT_STATUS_OK;
}
