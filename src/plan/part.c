/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Which part of a dimension a place of the mesh has. Parts of one dimension are one partition, however many axes split it.
 * An image that is read in windows lies in the same way, but a rank that reads it needs the places of its windows: its own
 * and a border of the neighbours', of which there are more the wider the windows are. Such parts overlap.
 */

#include "op/collective.h"
#include "plan/internal.h"

/*
 * Begin and end of a dimension of a value at a place of the mesh, this rank's but for coordinate `coord` of `axis`: all axes
 * that split it, the first the slowest, make one partition (so that splits over several axes are not nested roundings).
 */
static void range_of(const struct dpt_plan *plan, int value, int dim, int64_t whole, int axis, int coord,
                     int64_t range[2])
{
    const struct dpt_mesh *mesh = plan->conf.mesh;
    const struct dpt_plan_value *at = &plan->value[value];
    int parts = 1, part = 0, border = 0;
    for (int a = 0; a < mesh->naxes; a++) {
        if (at->place[a].kind == DPT_PLACE_KIND_SPLIT && at->place[a].dim == dim) {
            parts *= mesh->axis[a].size;
            part = part * mesh->axis[a].size + (a == axis ? coord : mesh->axis[a].coord);
            border = at->border[a] ? at->border[a] : border;
        }
    }
    const int64_t places = border ? plan->border[border - 1].windows : whole;
    range[0] = dpt_split_begin(places, parts, part);
    range[1] = dpt_split_begin(places, parts, part + 1);
    if (border) {
        dpt_op_window_range(&plan->border[border - 1].window, range[0], range[1], whole, range);
    }
}

void dpt_plan__range(const struct dpt_plan *plan, int value, int dim, int64_t whole, int64_t range[2])
{
    range_of(plan, value, dim, whole, -1, 0, range);
}

int64_t dpt_plan_extent(const struct dpt_plan *plan, int value, int dim, int axis, int coord)
{
    int64_t range[2];
    range_of(plan, value, dim, plan->value[value].part.whole[dim], axis, coord, range);
    return range[1] - range[0];
}

/* True where the windows of every coordinate read just the part of the image that lies there. */
static bool reads_own(const struct dpt_op_window *window, int64_t windows, int parts, int64_t whole)
{
    bool own = true;
    for (int p = 0; p < parts && own; p++) {
        int64_t range[2];
        dpt_op_window_range(window, dpt_split_begin(windows, parts, p), dpt_split_begin(windows, parts, p + 1), whole,
                            range);
        own = range[0] == dpt_split_begin(whole, parts, p) && range[1] == dpt_split_begin(whole, parts, p + 1);
    }
    return own;
}

int dpt_plan__border(struct dpt_plan *plan, const struct dpt_op_window *window, int64_t windows, int axis, int64_t whole)
{
    if (reads_own(window, windows, plan->conf.mesh->axis[axis].size, whole)) {
        return 0;
    }
    for (int i = 0; i < plan->nborders; i++) {
        const struct dpt_plan_border *at = &plan->border[i];
        if (at->windows == windows && at->window.stride == window->stride && at->window.pad == window->pad &&
            at->window.reach == window->reach) {
            return i + 1;
        }
    }
    plan->border = dpt_arena_grow(plan->arena, plan->border, (size_t)plan->nborders, &plan->border_capacity,
                                  sizeof *plan->border);
    plan->border[plan->nborders++] = (struct dpt_plan_border){*window, windows};
    return plan->nborders;
}

int64_t dpt_plan_overlap(const struct dpt_plan *plan, int node, int coord, bool sent, int64_t *begin)
{
    const struct dpt_node *at = &plan->graph->node[node];
    const struct dpt_collective_param *param = at->param;
    const int mine = sent ? at->in[0] : at->out[0], other = sent ? at->out[0] : at->in[0];
    const int64_t whole = plan->value[mine].part.whole[param->to];
    int64_t own[2], range[2];
    range_of(plan, mine, param->to, whole, -1, 0, own);
    range_of(plan, other, param->to, whole, param->axis, coord, range);
    range[0] = range[0] > own[0] ? range[0] : own[0];
    range[1] = range[1] < own[1] ? range[1] : own[1];
    *begin = range[0] - own[0];
    return range[1] > range[0] ? range[1] - range[0] : 0;
}

int64_t dpt_plan__border_nbytes(const struct dpt_plan *plan, int node, const struct dpt_type *type, bool sent)
{
    const struct dpt_collective_param *param = plan->graph->node[node].param;
    const struct dpt_mesh_axis *axis = &plan->conf.mesh->axis[param->axis];
    struct dpt_type row = *type;
    int64_t rows = 0, begin;
    row.dim[param->to] = 1;
    for (int coord = 0; coord < axis->size; coord++) {
        rows += coord != axis->coord ? dpt_plan_overlap(plan, node, coord, sent, &begin) : 0;
    }
    return rows * (int64_t)dpt_type_nbytes(&row);
}
