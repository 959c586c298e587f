/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Which cores a rank may use, and how many are left for it when the ranks of a host share. Launchers differ: Open MPI
 * binds each of two ranks to one core, MPICH binds nothing, and a wrong option puts all ranks on the same core.
 */

#include "comm/comm.h"

#include <hwloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limit.h"
#include "comm/impl.h"

enum { MAX_CPUS = 8192 };

/* What one rank tells the others of its host. */
struct mask {
    uint64_t core[MAX_CPUS / 64]; /* a bit for each core that it may use: the number of the core's first processor */
    uint64_t group;               /* control group                                                                 */
};

static int count_bits(const struct mask *mask)
{
    int bits = 0;
    for (int i = 0; i < MAX_CPUS / 64; i++) {
        bits += __builtin_popcountll(mask->core[i]);
    }
    return bits;
}

static bool overlap(const struct mask *a, const struct mask *b)
{
    for (int i = 0; i < MAX_CPUS / 64; i++) {
        if (a->core[i] & b->core[i]) {
            return true;
        }
    }
    return false;
}

/* This process's cores, and the number of those that the host has for its job. Local. */
static enum dpt_status look(struct mask *mine, int *node)
{
    hwloc_topology_t topology;
    DPT_CHECK(hwloc_topology_init(&topology) == 0, DPT_STATUS_FAILED, "hwloc cannot be started");
    hwloc_topology_set_all_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_NONE);
    hwloc_topology_set_type_filter(topology, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
    hwloc_cpuset_t bound = hwloc_bitmap_alloc();
    if (!bound || hwloc_topology_load(topology) != 0) {
        hwloc_bitmap_free(bound);
        hwloc_topology_destroy(topology);
        return dpt_error_set(DPT_STATUS_FAILED, __FILE__, __LINE__, "hwloc cannot read this machine's cores");
    }
    if (hwloc_get_cpubind(topology, bound, HWLOC_CPUBIND_THREAD) != 0) {
        hwloc_bitmap_fill(bound);
    }
    /* Some virtual machines tell of no cores; then processors stand for them. */
    const hwloc_obj_type_t type =
        hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE) > 0 ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
    *node = hwloc_get_nbobjs_by_type(topology, type);
    for (int i = 0; i < *node; i++) {
        const hwloc_obj_t core = hwloc_get_obj_by_type(topology, type, (unsigned)i);
        const int first = hwloc_bitmap_first(core->cpuset);
        if (hwloc_bitmap_intersects(core->cpuset, bound) && first >= 0 && first < MAX_CPUS) {
            mine->core[first / 64] |= UINT64_C(1) << first % 64;
        }
    }
    hwloc_bitmap_free(bound);
    hwloc_topology_destroy(topology);
    return DPT_STATUS_OK;
}

/*
 * The part of rank `self`: ranks whose masks overlap, directly or through others, divide the cores of all these masks;
 * ranks of one control group divide its processor time.
 */
static int share_of(const struct mask *all, int n, int self, double limit_cpus)
{
    struct mask reach = all[self];
    int ranks = 1, same_group = 0;
    bool *in = calloc((size_t)n, sizeof *in);
    if (!in) {
        return 0;
    }
    in[self] = true;
    for (bool grew = true; grew;) {
        grew = false;
        for (int r = 0; r < n; r++) {
            if (!in[r] && overlap(&all[r], &reach)) {
                for (int i = 0; i < MAX_CPUS / 64; i++) {
                    reach.core[i] |= all[r].core[i];
                }
                in[r] = grew = true;
                ranks++;
            }
        }
    }
    free(in);
    for (int r = 0; r < n; r++) {
        same_group += all[r].group == all[self].group;
    }
    const int share = count_bits(&reach) / ranks;
    /* Half a processor for one rank is still a core that it has for itself, only a slow one. */
    const double granted = fmax(limit_cpus, 1.0) / same_group;
    return granted < share ? (int)granted : share;
}

enum dpt_status dpt_comm_cores(struct dpt_comm *world, struct dpt_cores *cores)
{
    const struct dpt_comm__process *p = &dpt_comm__process;
    const int n = p->node_size;
    struct dpt_limit limit;
    dpt_comm__turn();
    dpt_limit_read("", &limit);
    *cores = (struct dpt_cores){0};

    struct mask *all = calloc((size_t)n, sizeof *all);
    enum dpt_status status =
        all ? look(&all[p->node_rank], &cores->node)
            : dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "out of memory for the core masks of %d ranks", n);
    status = dpt_agree(status, world);
    if (status != DPT_STATUS_OK) {
        free(all);
        return status;
    }
    all[p->node_rank].group = limit.group;
    if (n > 1) {
        const int code = MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, (int)sizeof *all, MPI_BYTE, p->node);
        if (code != MPI_SUCCESS) {
            free(all);
            return dpt_comm__failed(code, "comparing core masks");
        }
    }
    cores->usable = count_bits(&all[p->node_rank]);
    cores->bound = cores->usable < cores->node;
    if (fmax(limit.cpus, 1.0) < cores->usable) {
        cores->usable = (int)fmax(limit.cpus, 1.0);
    }
    cores->share = share_of(all, n, p->node_rank, limit.cpus);
    cores->shared = cores->share == 0;
    free(all);
    return DPT_STATUS_OK;
}
