/* SPDX-License-Identifier: Apache-2.0 */
#include "comm/comm.h"

enum dpt_status dpt_mesh_data(struct dpt_comm *world, struct dpt_mesh *mesh)
{
    *mesh = (struct dpt_mesh){.world = world, .naxes = 1};
    mesh->axis[0] = (struct dpt_mesh_axis){
        .name = "data",
        .size = dpt_comm_size(world),
        .coord = dpt_comm_rank(world),
        .comm = world,
    };
    return DPT_STATUS_OK;
}
