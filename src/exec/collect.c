/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Nodes that move values between ranks. Parts of a split dimension lie apart in the whole, unless it is the first; they
 * travel as blocks, one a rank, packed and unpacked in exec->packing.
 *
 * Messages between stages: each has a window of buffers. Receives of the first micro-batches of a step are posted when its
 * size is known, that of micro-batch m + window when m has been taken; a send waits for its buffer only. So a stage may run
 * ahead of the next by as many micro-batches, and no stage waits for another to get ready to receive.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "exec/internal.h"
#include "op/collective.h"
#include "op/flat.h"

/* A tensor as outer x (dimension) x inner. */
struct view {
    size_t outer, inner; /* inner in bytes */
};

static struct view view_of(const struct dpt_type *type, int dim)
{
    struct view view = {1, dpt_dtype_nbytes(type->dtype)};
    for (int d = 0; d < type->ndim; d++) {
        view.outer *= d < dim ? (size_t)type->dim[d] : 1;
        view.inner *= d > dim ? (size_t)type->dim[d] : 1;
    }
    return view;
}

void dpt_exec__copy_block(const struct dpt_tensor *whole, int dim, int64_t begin, int64_t length, char *block, bool back)
{
    const struct view view = view_of(&whole->type, dim);
    const size_t run = (size_t)length * view.inner, stride = (size_t)whole->type.dim[dim] * view.inner;
    char *at = (char *)whole->data + (size_t)begin * view.inner;
    for (size_t i = 0; i < view.outer && run > 0; i++, at += stride, block += run) {
        memcpy(back ? at : block, back ? block : at, run);
    }
}

/* All blocks of a dimension that is cut into `parts` of these lengths, one after the other. */
static void copy_blocks(const struct dpt_tensor *whole, int dim, int parts, const int64_t *length, char *blocks,
                        bool back)
{
    const struct view view = view_of(&whole->type, dim);
    int64_t begin = 0;
    for (int p = 0; p < parts; p++) {
        dpt_exec__copy_block(whole, dim, begin, length[p], blocks, back);
        blocks += (size_t)length[p] * view.inner * view.outer;
        begin += length[p];
    }
}

enum { MAX_PARTS = 1024 };

/* Elements of the block of each part. */
static void count_elements(const struct dpt_type *type, int dim, int parts, const int64_t *length, int64_t *count)
{
    const struct view view = view_of(type, dim);
    for (int p = 0; p < parts; p++) {
        count[p] = length[p] * (int64_t)(view.outer * (view.inner / dpt_dtype_nbytes(type->dtype)));
    }
}

/* The exchange over an axis, which has the turn at MPI while gradients are under way; NULL: there is none. */
static struct dpt_exchange *exchange_over(const struct dpt_exec *exec, int axis)
{
    struct dpt_exchange *found = exec->exchange;
    for (int g = 0; exec->group && g < exec->plan->ngroups; g++) {
        const struct dpt_plan_group *group = &exec->plan->group[g];
        found = group->axes == 1u << axis && !group->average && group->places == 0 ? exec->group[g].exchange : found;
    }
    return found;
}

enum { BLOCK = 512 };

/*
 * Sum over the ranks of an axis of 16-bit numbers, of which each keeps its part: they travel as they are, are added up as
 * floats in the order of the ranks, and the sum is rounded once. `mine` may be this rank's part of `all`; `received` has
 * room for as many parts as there are ranks.
 */
static enum dpt_status sum_parts(const struct dpt_mesh_axis *axis, enum dpt_dtype half, const uint16_t *all,
                                 const int64_t *count, uint16_t *mine, uint16_t *received)
{
    const int64_t own = count[axis->coord];
    int64_t from[MAX_PARTS];
    float sum[BLOCK], term[BLOCK];
    for (int r = 0; r < axis->size; r++) {
        from[r] = own;
    }
    DPT_TRY(dpt_comm_all_to_all(axis->comm, all, count, received, from, half));
    for (int64_t at = 0; at < own; at += BLOCK) {
        const int64_t n = own - at < BLOCK ? own - at : BLOCK;
        dpt_half_widen(half, n, received + at, sum);
        for (int r = 1; r < axis->size; r++) {
            dpt_half_widen(half, n, received + r * own + at, term);
            for (int64_t i = 0; i < n; i++) {
                sum[i] += term[i];
            }
        }
        dpt_half_narrow(half, n, sum, mine + at);
    }
    return DPT_STATUS_OK;
}

/* In place: each rank sums a part, and all get all of them, so the same bits. */
static enum dpt_status all_reduce_half(struct dpt_exec *exec, const struct dpt_mesh_axis *axis, enum dpt_dtype half,
                                       uint16_t *data, int64_t numel)
{
    int64_t count[MAX_PARTS];
    for (int r = 0; r < axis->size; r++) {
        count[r] = dpt_split_begin(numel, axis->size, r + 1) - dpt_split_begin(numel, axis->size, r);
    }
    DPT_TRY(sum_parts(axis, half, data, count, data + dpt_split_begin(numel, axis->size, axis->coord), exec->packing));
    return dpt_comm_all_gather(axis->comm, NULL, count, data, half);
}

static enum dpt_status all_reduce(struct dpt_exec *exec, int axis, const struct dpt_tensor *in,
                                  const struct dpt_tensor *out)
{
    struct dpt_exchange *exchange = exchange_over(exec, axis);
    const int64_t count = dpt_type_numel(&in->type);
    if (out->data != in->data) {
        memcpy(out->data, in->data, dpt_type_nbytes(&in->type));
    }
    if (dpt_half_is(out->type.dtype)) {
        return all_reduce_half(exec, &exec->plan->conf.mesh->axis[axis], out->type.dtype, out->data, count);
    }
    if (exchange) {
        return dpt_exchange_sum(exchange, out->data, count, out->type.dtype);
    }
    return dpt_comm_allreduce(exec->plan->conf.mesh->axis[axis].comm, out->data, count, out->type.dtype, DPT_COMM_REDUCE_SUM);
}

static enum dpt_status all_max(struct dpt_exec *exec, int axis, const struct dpt_tensor *in, const struct dpt_tensor *out)
{
    const size_t nbytes = dpt_type_nbytes(&in->type);
    if (out->data != in->data && nbytes > 0) {
        memcpy(out->data, in->data, nbytes);
    }
    return dpt_comm_allreduce(exec->plan->conf.mesh->axis[axis].comm, out->data, dpt_type_numel(&in->type),
                              out->type.dtype, DPT_COMM_REDUCE_MAX);
}

static enum dpt_status reduce_scatter(struct dpt_exec *exec, const struct dpt_mesh_axis *axis, int dim,
                                      const int64_t *length, const struct dpt_tensor *in, const struct dpt_tensor *out)
{
    int64_t count[MAX_PARTS];
    const bool packed = view_of(&in->type, dim).outer == 1;
    count_elements(&in->type, dim, axis->size, length, count);
    if (!packed) {
        copy_blocks(in, dim, axis->size, length, exec->packing, false);
    }
    if (dpt_half_is(in->type.dtype)) {
        const size_t taken = packed ? 0 : (dpt_type_nbytes(&in->type) + 63) / 64 * 64;
        return sum_parts(axis, in->type.dtype, packed ? in->data : exec->packing, count, out->data,
                         (uint16_t *)(void *)((char *)exec->packing + taken));
    }
    return dpt_comm_reduce_scatter(axis->comm, packed ? in->data : exec->packing, count, out->data, in->type.dtype);
}

static enum dpt_status all_gather(struct dpt_exec *exec, const struct dpt_mesh_axis *axis, int dim,
                                  const int64_t *length, const struct dpt_tensor *in, const struct dpt_tensor *out)
{
    int64_t count[MAX_PARTS];
    const bool packed = view_of(&out->type, dim).outer == 1;
    count_elements(&out->type, dim, axis->size, length, count);
    DPT_TRY(dpt_comm_all_gather(axis->comm, in->data, count, packed ? out->data : exec->packing, in->type.dtype));
    if (!packed) {
        copy_blocks(out, dim, axis->size, length, exec->packing, true);
    }
    return DPT_STATUS_OK;
}

/* Of `in`, whole along `to`, each rank gets its part of that; of `out`, whole along `from`, each sends its part. */
static enum dpt_status all_to_all(struct dpt_exec *exec, const struct dpt_mesh_axis *axis,
                                  const struct dpt_collective_param *param, const struct dpt_exec__lengths *length,
                                  const struct dpt_tensor *in, const struct dpt_tensor *out)
{
    int64_t to[MAX_PARTS], from[MAX_PARTS];
    char *received = (char *)exec->packing + (dpt_type_nbytes(&in->type) + 63) / 64 * 64;
    count_elements(&in->type, param->to, axis->size, length->to, to);
    count_elements(&out->type, param->from, axis->size, length->from, from);
    copy_blocks(in, param->to, axis->size, length->to, exec->packing, false);
    DPT_TRY(dpt_comm_all_to_all(axis->comm, exec->packing, to, received, from, in->type.dtype));
    copy_blocks(out, param->from, axis->size, length->from, received, true);
    return DPT_STATUS_OK;
}

/* ------------------------------------------------------------------------------------------------ nodes */

static int64_t *lengths_of(const struct dpt_exec *exec, int value, int dim, int axis)
{
    const int size = exec->plan->conf.mesh->axis[axis].size;
    int64_t *length = calloc((size_t)size, sizeof *length);
    if (!length) {
        dpt_fatal(DPT_STATUS_SPACE, "out of memory for the parts of %d ranks", size);
    }
    for (int c = 0; c < size; c++) {
        length[c] = dpt_plan_extent(exec->plan, value, dim, axis, c);
    }
    return length;
}

void dpt_exec__prepare_moves(struct dpt_exec *exec)
{
    const struct dpt_plan *plan = exec->plan;
    for (int n = 0; n < plan->graph->nnodes; n++) {
        const struct dpt_node *node = &plan->graph->node[n];
        const struct dpt_collective_param *param = node->param;
        if (node->op == &dpt_op_halo || node->op == &dpt_op_halo_sum) {
            exec->border[n] = dpt_exec__border_new(plan, n);
        } else if (node->op->collective && param->axis >= 0) {
            DPT_ASSERT(plan->conf.mesh->axis[param->axis].size <= MAX_PARTS);
            exec->lengths[n] = (struct dpt_exec__lengths){
                .from = param->from >= 0 ? lengths_of(exec, node->in[0], param->from, param->axis) : NULL,
                .to = param->to >= 0 ? lengths_of(exec, node->out[0], param->to, param->axis) : NULL,
            };
        }
    }
}

enum dpt_status dpt_exec__move(struct dpt_exec *exec, int n, int micro, const struct dpt_tensor *in,
                               const struct dpt_tensor *out)
{
    const struct dpt_plan *plan = exec->plan;
    const struct dpt_node *node = &plan->graph->node[n];
    const struct dpt_collective_param *param = node->param;
    const struct dpt_mesh_axis *axis = param->axis >= 0 ? &plan->conf.mesh->axis[param->axis] : NULL;
    const struct dpt_exec__lengths *length = &exec->lengths[n];
    exec->sent += dpt_plan_sent(node->op, axis ? axis->size : 1, in ? (double)dpt_type_nbytes(&in->type) : 0.0,
                                out ? (double)dpt_type_nbytes(&out->type) : 0.0);
    dpt_comm_action(node->op->name, param->message >= 0 ? exec->message[param->message].what
                                                        : plan->graph->value[node->in[0]].name);
    if (exec->border[n]) {
        return dpt_exec__move_border(exec, exec->border[n], axis, in, out, node->op == &dpt_op_halo_sum);
    }
    if (node->op == &dpt_op_all_reduce) {
        return all_reduce(exec, param->axis, in, out);
    }
    if (node->op == &dpt_op_all_max) {
        return all_max(exec, param->axis, in, out);
    }
    if (node->op == &dpt_op_reduce_scatter) {
        return reduce_scatter(exec, axis, param->to, length->to, in, out);
    }
    if (node->op == &dpt_op_all_gather) {
        return all_gather(exec, axis, param->from, length->from, in, out);
    }
    if (node->op == &dpt_op_all_to_all) {
        return all_to_all(exec, axis, param, length, in, out);
    }
    if (node->op == &dpt_op_send) {
        return dpt_exec__send(exec, param->message, micro, in);
    }
    if (node->op == &dpt_op_receive) {
        return dpt_exec__receive(exec, param->message, micro, out);
    }
    const int64_t begin = plan->value[node->out[0]].part.begin[param->to] - plan->value[node->in[0]].part.begin[param->to];
    dpt_exec__copy_block(in, param->to, begin, out->type.dim[param->to], out->data, false);
    return DPT_STATUS_OK;
}

/* ------------------------------------------------------------------------------------------------ once a step */

enum dpt_status dpt_exec__sum_world(struct dpt_exec *exec, double *data, int64_t count)
{
    if (exec->exchange) {
        return dpt_exchange_sum(exec->exchange, data, count, DPT_DTYPE_F64);
    }
    return exec->group ? dpt_comm_allreduce(exec->plan->conf.mesh->world, data, count, DPT_DTYPE_F64,
                                            DPT_COMM_REDUCE_SUM)
                       : DPT_STATUS_OK;
}

struct dpt_exchange *dpt_exec__exchange(const struct dpt_exec *exec, int bucket)
{
    const int group = exec->plan->bucket[bucket].group;
    return group < 0 ? NULL : exec->group ? exec->group[group].exchange : exec->exchange;
}

enum dpt_status dpt_exec__out(const struct dpt_exec *exec, void *host, const void *flat, struct dpt_range range)
{
    const size_t width = dpt_dtype_nbytes(exec->plan->graph->real), at = (size_t)range.begin * width;
    return host == flat ? DPT_STATUS_OK
                        : dpt_dev_copy_out(exec->dev, (char *)host + at, (const char *)flat + at,
                                           (size_t)(range.end - range.begin) * width);
}

enum dpt_status dpt_exec__in(const struct dpt_exec *exec, void *flat, const void *host, struct dpt_range range)
{
    const size_t width = dpt_dtype_nbytes(exec->plan->graph->real), at = (size_t)range.begin * width;
    return host == flat ? DPT_STATUS_OK
                        : dpt_dev_copy_in(exec->dev, (char *)flat + at, (const char *)host + at,
                                          (size_t)(range.end - range.begin) * width);
}

static enum dpt_status arrived(void *arg)
{
    const struct dpt_exec__arrival *arrival = arg;
    return dpt_dev_mark_wait(arrival->dev, arrival->mark);
}

enum dpt_status dpt_exec__send_out(const struct dpt_exec *exec, struct dpt_exchange *exchange, int arrival, void *host,
                                   const void *flat, size_t nbytes)
{
    struct dpt_exec__arrival *at = &exec->arrival[arrival];
    if (host == flat && !exec->direct) {
        return DPT_STATUS_OK;
    }
    /* Memory of the device that the exchange takes must be there too. */
    DPT_TRY(dpt_dev_copy_out_beside(exec->dev, host, flat, host == flat ? 0 : nbytes, at->mark));
    if (at->mark) {
        dpt_exchange_await(exchange, arrived, at);
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_exec__send_bucket(const struct dpt_exec *exec, int bucket, void *host, const void *flat,
                                      struct dpt_range range)
{
    const size_t width = dpt_dtype_nbytes(exec->plan->graph->real), at = (size_t)range.begin * width;
    return dpt_exec__send_out(exec, dpt_exec__exchange(exec, bucket), bucket, (char *)host + at, (const char *)flat + at,
                              (size_t)(range.end - range.begin) * width);
}

enum dpt_status dpt_exec__take_bucket(const struct dpt_exec *exec, int bucket, void *flat, const void *host,
                                      struct dpt_range range)
{
    const size_t width = dpt_dtype_nbytes(exec->plan->graph->real), at = (size_t)range.begin * width;
    if (host == flat) {
        return DPT_STATUS_OK;
    }
    DPT_TRY(dpt_dev_mark_wait(exec->dev, exec->arrival[bucket].mark)); /* an exchange of one rank does not wait for it */
    return dpt_dev_copy_in_beside(exec->dev, (char *)flat + at, (const char *)host + at,
                                  (size_t)(range.end - range.begin) * width);
}

enum dpt_status dpt_exec__average(struct dpt_exec *exec, int group)
{
    const struct dpt_plan *plan = exec->plan;
    const enum dpt_dtype real = plan->graph->real;
    for (int i = 0; i < plan->nparams; i++) {
        const struct dpt_plan_param *param = &plan->param[i];
        if (param->average == group) {
            const int64_t at = dpt_plan_param_at(plan, param);
            const struct dpt_range range = {at, at + param->numel};
            char *data = (char *)exec->param + (size_t)at * dpt_dtype_nbytes(real);
            dpt_comm_action("average", plan->graph->value[param->value].name);
            DPT_TRY(dpt_exec__out(exec, exec->param, exec->state->param, range));
            DPT_TRY(dpt_comm_allreduce(exec->group[group].comm, data, param->numel, real, DPT_COMM_REDUCE_SUM));
            DPT_TRY(dpt_flat_scale(NULL, real, param->numel, 1.0 / plan->group[group].size, data));
            DPT_TRY(dpt_exec__in(exec, exec->state->param, exec->param, range));
        }
    }
    return DPT_STATUS_OK;
}
