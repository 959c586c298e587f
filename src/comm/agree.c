/* SPDX-License-Identifier: Apache-2.0 */

/* Agreement on a failure that perhaps one rank alone knows of: one reduction where all is well. */

#include "comm/comm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm/impl.h"

/* The failure as the rank that has it tells it. */
struct sentence {
    char text[1024];
    char place[160]; /* "src/x.c:12" */
};

/* Puts the owner's failure into this rank's record, place included. */
static enum dpt_status adopt(enum dpt_status status, struct sentence *said, const char *who)
{
    char *colon = strrchr(said->place, ':');
    const int line = colon ? atoi(colon + 1) : 0;
    if (colon) {
        *colon = '\0';
    }
    return dpt_error_set(status, said->place, line, "%s%s", who, said->text);
}

enum dpt_status dpt_agree(enum dpt_status status, struct dpt_comm *comm)
{
    dpt_comm__turn();
    if (comm->size == 1) {
        return status;
    }
    /* The worst status has the largest number; of equal ones MPI gives the lowest rank. */
    struct {
        int status, rank;
    } worst = {(int)status, comm->rank};
    DPT_COMM__TRY(MPI_Allreduce(MPI_IN_PLACE, &worst, 1, MPI_2INT, MPI_MAXLOC, comm->mpi), "an agreement");
    if (worst.status == DPT_STATUS_OK) {
        return DPT_STATUS_OK;
    }
    struct sentence mine = {0}, said;
    snprintf(mine.text, sizeof mine.text, "%s", dpt_error_text());
    snprintf(mine.place, sizeof mine.place, "%s", dpt_error_place());
    said = mine;
    DPT_TRY(dpt_comm_bcast(comm, &said, sizeof said, worst.rank));
    char who[96] = "";
    snprintf(who, sizeof who, "rank %d (%s): ", dpt_comm__process.rank, dpt_comm_host());
    DPT_TRY(dpt_comm_bcast(comm, who, sizeof who, worst.rank));
    /* What every rank found by itself is nobody's failure in particular. */
    int32_t same = (int)status == worst.status && strcmp(mine.text, said.text) == 0;
    DPT_TRY(dpt_comm__allreduce(comm, &same, 1, DPT_DTYPE_I32, DPT_COMM_REDUCE_MIN));
    return adopt((enum dpt_status)worst.status, &said, same ? "" : who);
}
