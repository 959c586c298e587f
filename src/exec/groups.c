/* SPDX-License-Identifier: Apache-2.0 */

/* The communicators and exchanges of a plan's groups. */

#include <stdlib.h>

#include "exec/exec.h"

static enum dpt_status new_group(const struct dpt_plan *plan, const struct dpt_plan_group *group, struct dpt_comm **comm)
{
    const struct dpt_mesh *mesh = plan->conf.mesh;
    bool member[64] = {false};
    const int along = group->places ? dpt_mesh_axis(mesh, "pipeline") : -1;
    for (int place = 0; place < 64; place++) {
        member[place] = group->places >> place & 1;
    }
    return dpt_mesh_group(mesh, group->axes, along, member, comm);
}

enum dpt_status dpt_exec_groups_new(const struct dpt_plan *plan, struct dpt_exec_group **groups)
{
    struct dpt_exec_group *made = calloc((size_t)plan->ngroups + 1, sizeof *made);
    *groups = made;
    DPT_CHECK(made, DPT_STATUS_SPACE, "out of memory for %d groups of ranks", plan->ngroups);
    for (int g = 0; g < plan->ngroups; g++) {
        DPT_TRY(new_group(plan, &plan->group[g], &made[g].comm));
        if (plan->group[g].member && !plan->group[g].average && plan->group[g].size > 1) {
            /* Other collectives are under way in a step, and MPI has one caller at a time: no thread. */
            const struct dpt_exchange_conf conf = {
                .comm = made[g].comm,
                .thread = DPT_EXCHANGE_THREAD_OFF,
            };
            DPT_TRY(dpt_exchange_new(&conf, &made[g].exchange));
        }
    }
    return DPT_STATUS_OK;
}

void dpt_exec_groups_free(const struct dpt_plan *plan, struct dpt_exec_group *groups)
{
    for (int g = 0; groups && g < plan->ngroups; g++) {
        dpt_exchange_free(groups[g].exchange);
        dpt_comm_free(groups[g].comm);
    }
    free(groups);
}
