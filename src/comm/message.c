/* SPDX-License-Identifier: Apache-2.0 */

/* Messages between two ranks that go on beside the computation. The slot of one holds all that MPI needs for it. */

#include "comm/comm.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "comm/impl.h"

/* Tags of messages, above those of the collectives that are made of messages. */
enum { FIRST_TAG = 16, UNIT = 1 << 20 };

_Static_assert(sizeof(MPI_Request) <= sizeof(uint64_t), "a request of MPI fits in its place");
_Static_assert(FIRST_TAG + DPT_COMM_MAX_TAG <= 32767, "MPI promises no larger tags");

/* UNIT bytes: MPI can count no more than 2^31 of anything, so what is longer than that goes in these, and the rest. */
static MPI_Datatype unit = MPI_DATATYPE_NULL;

static enum dpt_status need_unit(void)
{
    if (unit == MPI_DATATYPE_NULL) {
        DPT_COMM__TRY(MPI_Type_contiguous(UNIT, MPI_BYTE, &unit), "a type for long messages");
        DPT_COMM__TRY(MPI_Type_commit(&unit), "a type for long messages");
    }
    return DPT_STATUS_OK;
}

void dpt_comm__end_messages(void)
{
    if (unit != MPI_DATATYPE_NULL) {
        MPI_Type_free(&unit);
    }
}

static bool is_long(size_t nbytes)
{
    return nbytes > (size_t)dpt_comm__piece;
}

static MPI_Request request_of(const struct dpt_comm_request *request, int part)
{
    MPI_Request mpi;
    memcpy(&mpi, &request->handle[part], sizeof mpi);
    return mpi;
}

/* Begins one of the parts of a message. */
static enum dpt_status start_part(struct dpt_comm *comm, int peer, int tag, char *data, int count, MPI_Datatype type,
                                  struct dpt_comm_request *request)
{
    MPI_Request mpi;
    const int code = request->receives
                         ? MPI_Irecv(data, count, type, peer, FIRST_TAG + tag, comm->mpi, &mpi)
                         : MPI_Isend(data, count, type, peer, FIRST_TAG + tag, comm->mpi, &mpi);
    DPT_COMM__TRY(code, request->receives ? "a receive" : "a send");
    memcpy(&request->handle[request->parts++], &mpi, sizeof mpi);
    return DPT_STATUS_OK;
}

/* Two parts with one tag stay in order: MPI does not let a message overtake another. */
static enum dpt_status start(struct dpt_comm *comm, int peer, int tag, char *data, size_t nbytes, bool receives,
                             struct dpt_comm_request *request)
{
    DPT_ASSERT(peer >= 0 && peer < comm->size && peer != comm->rank);
    DPT_ASSERT(tag >= 0 && tag <= DPT_COMM_MAX_TAG && dpt_comm__pending == 0);
    *request = (struct dpt_comm_request){.nbytes = nbytes, .peer = dpt_comm__world(comm)[peer], .receives = receives};
    dpt_comm__progress();
    comm->moved += receives ? 0 : nbytes;
    if (is_long(nbytes)) {
        DPT_TRY(need_unit());
        DPT_ASSERT(nbytes / UNIT <= INT_MAX);
        DPT_TRY(start_part(comm, peer, tag, data, (int)(nbytes / UNIT), unit, request));
        data += nbytes / UNIT * UNIT;
        nbytes %= UNIT;
    }
    return start_part(comm, peer, tag, data, (int)nbytes, MPI_BYTE, request);
}

enum dpt_status dpt_comm_send_start(struct dpt_comm *comm, int peer, int tag, const void *data, size_t nbytes,
                                    struct dpt_comm_request *request)
{
    return start(comm, peer, tag, (char *)data, nbytes, false, request);
}

enum dpt_status dpt_comm_recv_start(struct dpt_comm *comm, int peer, int tag, void *data, size_t nbytes,
                                    struct dpt_comm_request *request)
{
    return start(comm, peer, tag, data, nbytes, true, request);
}

/* A part has ended: its length must be the one that both sides planned. */
static enum dpt_status finish_part(struct dpt_comm_request *request, MPI_Status *status)
{
    const int part = request->finished++;
    if (request->receives) {
        const bool units = is_long(request->nbytes) && part == 0;
        const size_t expected = units                      ? request->nbytes / UNIT
                                : is_long(request->nbytes) ? request->nbytes % UNIT
                                                           : request->nbytes;
        int count = 0;
        DPT_COMM__TRY(MPI_Get_count(status, units ? unit : MPI_BYTE, &count), "the length of a message");
        DPT_CHECK((size_t)count == expected, DPT_STATUS_COMM,
                  "internal error: a message from rank %d has %d bytes, expected %zu; please report it", request->peer,
                  count, expected);
    }
    dpt_comm__progress();
    return DPT_STATUS_OK;
}

static enum dpt_status failed(int code, const struct dpt_comm_request *request)
{
    char what[64];
    snprintf(what, sizeof what, "a %s rank %d", request->receives ? "receive from" : "send to", request->peer);
    return dpt_comm__failed(code, what);
}

enum dpt_status dpt_comm_request_wait(struct dpt_comm_request *request)
{
    DPT_ASSERT(request->finished == request->parts || dpt_comm__pending == 0);
    while (request->finished < request->parts) {
        MPI_Request mpi = request_of(request, request->finished);
        MPI_Status status;
        dpt_comm_waits_for(request->peer);
        const int code = MPI_Wait(&mpi, &status);
        dpt_comm_waits_for(-1);
        if (code != MPI_SUCCESS) {
            return failed(code, request);
        }
        DPT_TRY(finish_part(request, &status));
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_comm_request_test(struct dpt_comm_request *request, bool *done)
{
    DPT_ASSERT(request->finished == request->parts || dpt_comm__pending == 0);
    int flag = 1;
    while (flag && request->finished < request->parts) {
        MPI_Request mpi = request_of(request, request->finished);
        MPI_Status status;
        const int code = MPI_Test(&mpi, &flag, &status);
        if (code != MPI_SUCCESS) {
            return failed(code, request);
        }
        if (flag) {
            DPT_TRY(finish_part(request, &status));
        }
    }
    *done = request->finished == request->parts;
    return DPT_STATUS_OK;
}
