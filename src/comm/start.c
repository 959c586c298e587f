/* SPDX-License-Identifier: Apache-2.0 */

/* Start and end of MPI, and the checks that make a wrong launch an error instead of N trainings of one folder. */

#include "comm/comm.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "comm/board.h"
#include "comm/impl.h"

#define TO_TEXT(x) #x
#define VALUE_TO_TEXT(x) TO_TEXT(x)

struct dpt_comm__process dpt_comm__process = {.node = MPI_COMM_NULL, .size = 1, .node_size = 1, .nodes = 1};

static void (*hook_before)(enum dpt_status status); /* dpt_fatal_hook as it was */
static char who[128];                               /* "rank 3 (node07): "      */

const char *dpt_comm_host(void)
{
    static char host[65];
    if (!host[0] && (gethostname(host, sizeof host - 1) != 0 || !host[0])) {
        snprintf(host, sizeof host, "unknown");
    }
    return host;
}

const char *dpt_comm_library(void)
{
    /* "Open MPI v4.1.4, package: ...", "MPICH Version:\t4.0.2\n...", "Intel(R) MPI Library 2021.10 for Linux* OS\n". */
    static char name[64];
    char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    if (name[0]) {
        return name;
    }
    MPI_Get_library_version(text, &length);
    text[strcspn(text, ",\n")] = '\0';
    char version[32] = "";
    if (sscanf(text, "Open MPI v%31s", version) == 1) {
        snprintf(name, sizeof name, "Open MPI %s", version);
    } else if (sscanf(text, "MPICH Version: %31s", version) == 1) {
        snprintf(name, sizeof name, "MPICH %s", version);
    } else {
        snprintf(name, sizeof name, "%.60s", text);
    }
    return name;
}

bool dpt_comm_is_serial(void)
{
    return strcmp(dpt_comm_library(), "no MPI") == 0;
}

/*
 * Open MPI and MPICH take temporaries of the size of the message from malloc at every call. glibc returns blocks beyond
 * 32 MiB to the system at once, so that every call faults all its pages in again: keep them. The arena of a thread
 * cannot hold such blocks at all, so there is one arena for all threads, which allocate little. Measured on 2 ranks
 * with 64 MB: 7814 page faults a call without this, 0 with it; 23.8 ms without and 14.9 ms with it (Open MPI 4.1.4),
 * 57 and 38 ms (MPICH 4.0.2).
 */
static void keep_freed_memory(void)
{
#ifdef __GLIBC__
    enum { KEEP = 1 << 30, OLD_GLIBC_LIMIT = 32 << 20 };
    if (!mallopt(M_MMAP_THRESHOLD, KEEP)) {
        mallopt(M_MMAP_THRESHOLD, OLD_GLIBC_LIMIT);
    }
    mallopt(M_TRIM_THRESHOLD, KEEP);
    mallopt(M_ARENA_MAX, 1);
#endif
}

static void abort_job(enum dpt_status status)
{
    dpt_comm_abort(status);
}

_Noreturn void dpt_comm_abort(enum dpt_status status)
{
    /* Another thread may hold a stream's lock, and an abort may wait for a launcher that is gone: never hang here. */
    signal(SIGALRM, SIG_DFL);
    alarm(10);
    fflush(NULL);
    if (dpt_comm__process.running) {
        MPI_Abort(MPI_COMM_WORLD, (int)status);
    }
    _exit((int)status);
}

/* A launcher's word for the number of processes it started. */
struct launcher {
    const char *variable;
    const char *name;
    int base; /* 1 where the variable counts from 0 */
};

static long launcher_says(const struct launcher *launcher)
{
    const char *text = getenv(launcher->variable);
    return text && *text ? strtol(text, NULL, 10) + launcher->base : 0;
}

/*
 * A program linked with one MPI library and started by the launcher of another believes to be alone, N times. The
 * nearest launcher counts: mpirun inside a Slurm step starts its processes itself.
 */
static enum dpt_status check_alone(void)
{
    static const struct launcher launchers[] = {
        {"OMPI_COMM_WORLD_SIZE", "Open MPI's mpirun", 0},
        {"PMI_SIZE", "the mpirun of MPICH or a relative of it, or srun --mpi=pmi2", 0},
        {"SLURM_STEP_NUM_TASKS", "srun", 0},
        {"PMIX_RANK", "a PMIx launcher such as srun --mpi=pmix", 1},
    };
    for (size_t i = 0; i < sizeof launchers / sizeof launchers[0]; i++) {
        const long said = launcher_says(&launchers[i]);
        if (said == 1) {
            return DPT_STATUS_OK;
        }
        DPT_CHECK(said <= 1 || !dpt_comm_is_serial(), DPT_STATUS_COMM,
                  "the launcher started %ld processes (%s=%s, which is set by %s), but dpt was built --without-mpi and has "
                  "one rank: start dpt-train alone, or build dpt with an MPI",
                  said, launchers[i].variable, getenv(launchers[i].variable), launchers[i].name);
        DPT_CHECK(said <= 1, DPT_STATUS_COMM,
                  "this process is alone (rank 0 of 1), but its launcher started %ld processes: %s=%s, which is set by %s, "
                  "while dpt uses the library %s. Two MPI installations are mixed. Start dpt with the mpirun (or srun "
                  "--mpi=...) that belongs to %s, or build dpt with the mpicc that belongs to this launcher "
                  "(./configure CC=/path/to/mpicc)",
                  said, launchers[i].variable, getenv(launchers[i].variable), launchers[i].name, dpt_comm_library(),
                  dpt_comm_library());
    }
    return DPT_STATUS_OK;
}

/* The library that was compiled against and the one that was loaded must be of one family. Local. */
static enum dpt_status check_library(void)
{
#ifdef OPEN_MPI
    const bool built_open = true;
    const char *built = "Open MPI " VALUE_TO_TEXT(OMPI_MAJOR_VERSION) "." VALUE_TO_TEXT(OMPI_MINOR_VERSION);
#else
    const bool built_open = false;
    const char *built = "a library of the MPICH family";
#endif
    const bool runs_open = strncmp(dpt_comm_library(), "Open MPI", 8) == 0;
    DPT_CHECK(built_open == runs_open, DPT_STATUS_COMM,
              "dpt was built with %s but the system loaded %s; mend LD_LIBRARY_PATH or the loaded modules, or build again",
              built, dpt_comm_library());
    return DPT_STATUS_OK;
}

/* All ranks must run the same dpt and MPI on machines that store numbers alike; agrees on `status` too. Collective. */
static enum dpt_status check_same(struct dpt_comm *world, enum dpt_status status)
{
    const uint16_t probe = 1;
    unsigned char low;
    memcpy(&low, &probe, 1);
    char mine[192], first[192];
    snprintf(mine, sizeof mine, "dpt " PACKAGE_VERSION " with %s, %s-endian", dpt_comm_library(), low ? "little" : "big");
    memcpy(first, mine, sizeof first);
    DPT_TRY(dpt_comm_bcast(world, first, sizeof first, 0));
    if (status == DPT_STATUS_OK && strcmp(first, mine) != 0) {
        status = dpt_error_set(DPT_STATUS_COMM, __FILE__, __LINE__,
                               "runs %s, but rank 0 runs %s; all ranks need the same: look at the installation on this host",
                               mine, first);
    }
    return dpt_agree(status, world);
}

/* Finds the ranks of this host. Collective. */
static enum dpt_status find_node(void)
{
    struct dpt_comm__process *p = &dpt_comm__process;
    DPT_COMM__TRY(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, p->rank, MPI_INFO_NULL, &p->node),
                  "finding the ranks of this host");
    MPI_Comm_rank(p->node, &p->node_rank);
    MPI_Comm_size(p->node, &p->node_size);
    p->nodes = p->node_rank == 0;
    DPT_COMM__TRY(MPI_Allreduce(MPI_IN_PLACE, &p->nodes, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD), "counting the hosts");
    return DPT_STATUS_OK;
}

static enum dpt_status start_checked(struct dpt_comm **world)
{
    struct dpt_comm__process *p = &dpt_comm__process;
    DPT_TRY(dpt_comm__new(MPI_COMM_WORLD, p->rank, p->size, world));
    DPT_TRY(check_same(*world, check_library()));
    if (p->size == 1) {
        DPT_TRY(check_alone());
    }
    DPT_TRY(find_node());
    dpt_comm__board_open();
    return DPT_STATUS_OK;
}

enum dpt_status dpt_comm_start(struct dpt_comm **world)
{
    struct dpt_comm__process *p = &dpt_comm__process;
    DPT_ASSERT(!p->running);
    keep_freed_memory();
    *world = NULL;
    const int code = MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &p->thread_level);
    DPT_CHECK(code == MPI_SUCCESS, DPT_STATUS_COMM, "%s could not be started (MPI_Init_thread gave error %d)",
              dpt_comm_library(), code);
    p->running = true;
    hook_before = dpt_fatal_hook;
    dpt_fatal_hook = abort_job;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &p->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &p->size);
    if (p->size > 1) {
        snprintf(who, sizeof who, "rank %d (%s): ", p->rank, dpt_comm_host());
        dpt_fatal_who = who;
    }
    const enum dpt_status status = start_checked(world);
    if (status != DPT_STATUS_OK) {
        dpt_comm_end(*world);
        *world = NULL;
    }
    return status;
}

enum dpt_status dpt_comm_start_alone(struct dpt_comm **world)
{
    return dpt_comm__new(MPI_COMM_NULL, 0, 1, world);
}

void dpt_comm_end(struct dpt_comm *world)
{
    struct dpt_comm__process *p = &dpt_comm__process;
    dpt_comm__turn();
    dpt_comm_deadline(world, 0.0);
    if (p->running) {
        dpt_comm__board_close();
        if (p->node != MPI_COMM_NULL) {
            MPI_Comm_free(&p->node);
        }
        dpt_comm__end_messages();
        p->running = false;
        MPI_Finalize();
        dpt_fatal_hook = hook_before;
        dpt_fatal_who = "";
        *p = (struct dpt_comm__process){.node = MPI_COMM_NULL, .size = 1, .node_size = 1, .nodes = 1};
    }
    free(world);
}
