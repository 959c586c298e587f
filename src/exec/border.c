/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Borders of images: each rank of an axis sends the rows (or columns) of its part that another's windows read to that one
 * (halo), or what its windows add to rows of another's part (halo_sum). Whose part is read follows from the plan; as a rule
 * it is the neighbours'. What arrives is added in the order of the ranks, so that the sum has the same bits every time.
 */

#include <stdlib.h>
#include <string.h>

#include "base/add.h"
#include "base/half.h"
#include "exec/internal.h"
#include "op/collective.h"

/* What this rank gives one coordinate of the axis and gets from it, its own included; places of the split dimension. */
struct pair {
    int64_t sent_begin, sent, got_begin, got;
};

struct dpt_exec__border {
    int coords, dim;
    struct pair *pair;                /* of each coordinate                 */
    struct dpt_comm_request *request; /* of each: the send, then the receive */
};

struct dpt_exec__border *dpt_exec__border_new(const struct dpt_plan *plan, int node)
{
    const struct dpt_collective_param *param = plan->graph->node[node].param;
    const int coords = plan->conf.mesh->axis[param->axis].size;
    struct dpt_exec__border *border = calloc(1, sizeof *border);
    if (border) {
        *border = (struct dpt_exec__border){
            .coords = coords,
            .dim = param->to,
            .pair = calloc((size_t)coords, sizeof *border->pair),
            .request = calloc(2 * (size_t)coords, sizeof *border->request),
        };
    }
    if (!border || !border->pair || !border->request) {
        dpt_fatal(DPT_STATUS_SPACE, "out of memory for the borders of %d ranks", coords);
    }
    for (int c = 0; c < coords; c++) {
        struct pair *pair = &border->pair[c];
        pair->sent = dpt_plan_overlap(plan, node, c, true, &pair->sent_begin);
        pair->got = dpt_plan_overlap(plan, node, c, false, &pair->got_begin);
    }
    return border;
}

void dpt_exec__border_free(struct dpt_exec__border *border)
{
    if (border) {
        free(border->pair);
        free(border->request);
        free(border);
    }
}

/* Bytes of so many places of the split dimension. */
static size_t places_nbytes(const struct dpt_type *type, int dim, int64_t places)
{
    struct dpt_type part = *type;
    part.dim[dim] = places;
    return dpt_type_nbytes(&part);
}

static void add(enum dpt_dtype dtype, const void *from, void *to, size_t nbytes)
{
    const int64_t count = (int64_t)(nbytes / dpt_dtype_nbytes(dtype));
    if (dpt_half_is(dtype)) {
        dpt_half_add(dtype, count, from, to);
    } else {
        dpt_add(dtype, count, to, from, to);
    }
}

/* Puts, or adds, places where they belong in `whole`; those of each index before `dim` are `stride` bytes apart, 0: packed. */
static void take(const struct dpt_tensor *whole, int dim, int64_t begin, int64_t places, const char *from,
                 size_t stride, bool sum)
{
    size_t outer = 1, inner = dpt_dtype_nbytes(whole->type.dtype);
    for (int d = 0; d < whole->type.ndim; d++) {
        outer *= d < dim ? (size_t)whole->type.dim[d] : 1;
        inner *= d > dim ? (size_t)whole->type.dim[d] : 1;
    }
    const size_t run = (size_t)places * inner, step = (size_t)whole->type.dim[dim] * inner;
    char *at = (char *)whole->data + (size_t)begin * inner;
    stride = stride ? stride : run;
    for (size_t i = 0; i < outer && run > 0; i++, at += step, from += stride) {
        if (sum) {
            add(whole->type.dtype, from, at, run);
        } else {
            memcpy(at, from, run);
        }
    }
}

/* The part that this rank keeps for itself goes from tensor to tensor. */
static void take_own(const struct dpt_exec__border *border, const struct pair *own, const struct dpt_tensor *in,
                     const struct dpt_tensor *out, bool sum)
{
    size_t inner = dpt_dtype_nbytes(in->type.dtype);
    for (int d = border->dim + 1; d < in->type.ndim; d++) {
        inner *= (size_t)in->type.dim[d];
    }
    take(out, border->dim, own->got_begin, own->got, (const char *)in->data + (size_t)own->sent_begin * inner,
         (size_t)in->type.dim[border->dim] * inner, sum);
}

enum dpt_status dpt_exec__move_border(struct dpt_exec *exec, struct dpt_exec__border *border,
                                      const struct dpt_mesh_axis *axis, const struct dpt_tensor *in,
                                      const struct dpt_tensor *out, bool sum)
{
    char *at = exec->packing, *received;
    for (int c = 0; c < border->coords; c++) {
        const struct pair *pair = &border->pair[c];
        const size_t nbytes = places_nbytes(&out->type, border->dim, pair->got);
        if (c != axis->coord && nbytes > 0) {
            DPT_TRY(dpt_comm_recv_start(axis->comm, c, 0, at, nbytes, &border->request[2 * c + 1]));
            at += nbytes;
        }
    }
    received = exec->packing;
    for (int c = 0; c < border->coords; c++) {
        const struct pair *pair = &border->pair[c];
        const size_t nbytes = places_nbytes(&in->type, border->dim, pair->sent);
        if (c != axis->coord && nbytes > 0) {
            dpt_exec__copy_block(in, border->dim, pair->sent_begin, pair->sent, at, false);
            DPT_TRY(dpt_comm_send_start(axis->comm, c, 0, at, nbytes, &border->request[2 * c]));
            exec->sent += (double)nbytes;
            at += nbytes;
        }
    }
    if (sum && dpt_type_numel(&out->type) > 0) {
        memset(out->data, 0, dpt_type_nbytes(&out->type));
    }
    for (int c = 0; c < border->coords; c++) {
        const struct pair *pair = &border->pair[c];
        const size_t nbytes = places_nbytes(&out->type, border->dim, pair->got);
        if (c == axis->coord) {
            take_own(border, pair, in, out, sum);
        } else if (c != axis->coord && nbytes > 0) {
            DPT_TRY(dpt_comm_request_wait(&border->request[2 * c + 1]));
            take(out, border->dim, pair->got_begin, pair->got, received, 0, sum);
            received += nbytes;
        }
    }
    for (int c = 0; c < border->coords; c++) {
        DPT_TRY(dpt_comm_request_wait(&border->request[2 * c]));
    }
    return DPT_STATUS_OK;
}
