/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Bytes that this rank sends in a step. Collectives of n ranks count what a ring would send: (n - 1) / n of the whole for
 * a gather or a scatter, twice that for a sum that all get, of an exchange of parts what goes to others, and of borders of
 * images what the neighbours read.
 */

#include "comm/fixed.h"
#include "op/collective.h"
#include "plan/internal.h"

double dpt_plan_sent(const struct dpt_op *op, int ranks, double nbytes_in, double nbytes_out)
{
    const double others = (double)(ranks - 1) / ranks;
    return op == &dpt_op_all_reduce       ? 2.0 * others * nbytes_in
           : op == &dpt_op_all_max        ? 2.0 * others * nbytes_in
           : op == &dpt_op_reduce_scatter ? others * nbytes_in
           : op == &dpt_op_all_gather     ? others * nbytes_out
           : op == &dpt_op_all_to_all     ? others * nbytes_in
           : op == &dpt_op_send           ? nbytes_in
                                          : 0.0;
}

double dpt_plan__node_sent(const struct dpt_plan *plan, int node, const struct dpt_op_types *types)
{
    const struct dpt_op *op = plan->graph->node[node].op;
    const struct dpt_collective_param *param = plan->graph->node[node].param;
    if (op == &dpt_op_halo || op == &dpt_op_halo_sum) {
        return (double)dpt_plan__border_nbytes(plan, node, &types->in[0], true);
    }
    const int ranks = param->axis >= 0 ? plan->conf.mesh->axis[param->axis].size : 1;
    const double in = types->nin > 0 ? (double)dpt_type_nbytes(&types->in[0]) : 0.0;
    const double out = types->nout > 0 ? (double)dpt_type_nbytes(&types->out[0]) : 0.0;
    return dpt_plan_sent(op, ranks, in, out);
}

static void add_micro(struct dpt_plan *plan, int64_t rows)
{
    for (int n = 0; n < plan->graph->nnodes; n++) {
        const struct dpt_node *node = &plan->graph->node[n];
        if (!node->op->collective) {
            continue;
        }
        struct dpt_op_types types;
        dpt_plan__types(plan, n, rows, &types);
        const double sent = dpt_plan__node_sent(plan, n, &types);
        if (node->op == &dpt_op_send) {
            plan->traffic.messages += sent;
        } else {
            plan->traffic.values += sent;
        }
    }
}

double dpt_plan_slices_sent(const struct dpt_plan *plan, int b)
{
    const struct dpt_plan_bucket *bucket = &plan->bucket[b];
    const int ranks = bucket->group >= 0 ? plan->group[bucket->group].size : 1;
    const double nbytes = (double)dpt_dtype_nbytes(plan->graph->real) * (double)(bucket->range.end - bucket->range.begin);
    return dpt_plan_sent(&dpt_op_reduce_scatter, ranks, nbytes, nbytes);
}

double dpt_plan_bucket_sent(const struct dpt_plan *plan, int bucket)
{
    const struct dpt_plan_bucket *b = &plan->bucket[bucket];
    const double parts = dpt_plan_is_sliced(plan, bucket) ? 1.0 : 2.0;
    if (plan->conf.fixed) { /* two digits, and a window for every so many numbers */
        const double windows = (double)sizeof(int32_t) / DPT_FIXED_BLOCK / (double)dpt_dtype_nbytes(plan->graph->real);
        return parts * (2.0 + windows) * dpt_plan_slices_sent(plan, bucket);
    }
    if (plan->conf.wire.kind == DPT_WIRE_KIND_FP32 || !b->trained || b->group < 0) {
        return parts * dpt_plan_slices_sent(plan, bucket);
    }
    return 0.5 * parts * dpt_wire_sent(&plan->conf.wire, plan->group[b->group].size, b->range, plan->nmatrices, plan->matrix);
}

void dpt_plan__traffic(struct dpt_plan *plan)
{
    for (int64_t micro = 0; micro < plan->micros; micro++) {
        int64_t first, rows, all;
        dpt_plan_rows(plan, plan->conf.batch_rows, micro, &first, &rows, &all);
        add_micro(plan, rows);
    }
    for (int b = 0; b < plan->nbuckets && plan->graph->training; b++) { /* a sum of slices, and slices made known */
        const struct dpt_plan_bucket *bucket = &plan->bucket[b];
        plan->traffic.gradients += bucket->scatter ? 0.0 : dpt_plan_bucket_sent(plan, b);
        plan->traffic.gradients += bucket->gather || !dpt_plan_is_sliced(plan, b) ? 0.0 : dpt_plan_slices_sent(plan, b);
    }
    for (int s = 0; s < plan->nstays; s++) {
        for (int u = 0; u < plan->nunits; u++) {
            const bool stays = plan->unit[u].chunk == plan->stay[s].chunk && plan->unit[u].kind == plan->stay[s].unit;
            plan->traffic.gradients += stays ? dpt_plan_slices_sent(plan, plan->stay[s].bucket) : 0.0;
        }
    }
}
