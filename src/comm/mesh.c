/* SPDX-License-Identifier: Apache-2.0 */

/* The ranks as a grid. The last axis counts fastest: its ranks are neighbours, on one host where that can be. */

#include "comm/comm.h"

#include <string.h>

#include "base/text.h"

/* "data:2 tensor:2" */
static void add_layout(struct dpt_text *text, int naxes, const struct dpt_mesh_axis *wanted)
{
    for (int a = 0; a < naxes; a++) {
        dpt_text_add(text, "%s%s:%d", a ? " " : "", wanted[a].name, wanted[a].size);
    }
}

enum dpt_status dpt_mesh_shape(int ranks, int naxes, const struct dpt_mesh_axis *wanted, struct dpt_mesh *mesh)
{
    DPT_ASSERT(ranks >= 1 && naxes >= 0 && naxes <= DPT_MESH_MAX_AXES);
    struct dpt_mesh made = {.naxes = naxes};
    int64_t product = 1;
    for (int a = 0; a < naxes; a++) {
        DPT_CHECK(wanted[a].size >= 1, DPT_STATUS_USAGE, "axis %s has %d ranks, expected at least 1", wanted[a].name,
                  wanted[a].size);
        for (int b = 0; b < a; b++) {
            DPT_CHECK(strcmp(wanted[a].name, wanted[b].name) != 0, DPT_STATUS_USAGE, "axis %s is named twice",
                      wanted[a].name);
        }
        /* Beyond the number of ranks it is wrong, whatever else follows. */
        product = product > ranks ? product : product * wanted[a].size;
        made.axis[a].size = wanted[a].size;
        memcpy(made.axis[a].name, wanted[a].name, sizeof made.axis[a].name);
    }
    if (product != ranks) {
        struct dpt_text text = {0};
        add_layout(&text, naxes, wanted);
        return dpt_error_set(DPT_STATUS_USAGE, __FILE__, __LINE__,
                             "the layout %s is for another number of ranks than the %d of this job: its sizes must "
                             "multiply to %d",
                             text.data, ranks, ranks);
    }
    *mesh = made;
    return DPT_STATUS_OK;
}

int dpt_mesh_axis(const struct dpt_mesh *mesh, const char *name)
{
    int axis = mesh->naxes - 1;
    while (axis >= 0 && strcmp(mesh->axis[axis].name, name) != 0) {
        axis--;
    }
    return axis;
}

void dpt_mesh_place(struct dpt_mesh *mesh, int rank)
{
    for (int a = mesh->naxes - 1; a >= 0; a--) {
        mesh->axis[a].coord = rank % mesh->axis[a].size;
        rank /= mesh->axis[a].size;
    }
    DPT_ASSERT(rank == 0);
}

int dpt_mesh_rank(const struct dpt_mesh *mesh, const int *coord)
{
    int rank = 0;
    for (int a = 0; a < mesh->naxes; a++) {
        DPT_ASSERT(coord[a] >= 0 && coord[a] < mesh->axis[a].size);
        rank = rank * mesh->axis[a].size + coord[a];
    }
    return rank;
}

/* The first of the ranks that differ from this one on the axes of a mask only. */
static int first_rank(const struct dpt_mesh *mesh, unsigned axes)
{
    int coord[DPT_MESH_MAX_AXES];
    for (int a = 0; a < mesh->naxes; a++) {
        coord[a] = axes >> a & 1 ? 0 : mesh->axis[a].coord;
    }
    return dpt_mesh_rank(mesh, coord);
}

/* The group of an axis: the world itself, a rank alone without MPI, or a part of the world. */
static enum dpt_status axis_group(struct dpt_mesh *mesh, int axis)
{
    struct dpt_mesh_axis *a = &mesh->axis[axis];
    if (a->size == dpt_comm_size(mesh->world)) {
        a->comm = mesh->world;
        return DPT_STATUS_OK;
    }
    if (a->size == 1) {
        return dpt_comm_start_alone(&a->comm);
    }
    return dpt_comm_split(mesh->world, first_rank(mesh, 1u << axis), &a->comm);
}

enum dpt_status dpt_mesh_new(struct dpt_comm *world, int naxes, const struct dpt_mesh_axis *wanted,
                             struct dpt_mesh *mesh)
{
    DPT_TRY(dpt_mesh_shape(dpt_comm_size(world), naxes, wanted, mesh));
    dpt_mesh_place(mesh, dpt_comm_rank(world));
    mesh->world = world;
    for (int a = 0; a < naxes; a++) {
        DPT_TRY(axis_group(mesh, a));
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_mesh_data(struct dpt_comm *world, struct dpt_mesh *mesh)
{
    const struct dpt_mesh_axis data = {.name = "data", .size = dpt_comm_size(world)};
    return dpt_mesh_new(world, 1, &data, mesh);
}

void dpt_mesh_free(struct dpt_mesh *mesh)
{
    for (int a = 0; a < mesh->naxes; a++) {
        if (mesh->axis[a].comm != mesh->world) {
            dpt_comm_free(mesh->axis[a].comm);
        }
        mesh->axis[a].comm = NULL;
    }
}

enum dpt_status dpt_mesh_group(const struct dpt_mesh *mesh, unsigned axes, int along, const bool *member,
                               struct dpt_comm **group)
{
    DPT_ASSERT(along < mesh->naxes && axes >> mesh->naxes == 0);
    const bool in = along < 0 || member[mesh->axis[along].coord];
    return dpt_comm_split(mesh->world, in ? first_rank(mesh, axes) : -1, group);
}
