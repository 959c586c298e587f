/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rings of cards by NCCL. Slices may differ in length, so that they are summed at their owners and told by them one by one, in
 * groups, which NCCL does together.
 */

#include "dev/ring.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dev/cuda_nccl.h"

struct dpt_dev_ring {
    struct dpt_cuda *cuda;
    int ranks, rank;
    ncclComm_t comm;
    cudaEvent_t done; /* in cuda->out: what was asked of the ring so far */
};

static struct dpt_nccl nccl; /* the library; opened once */

_Static_assert(sizeof(ncclUniqueId) == DPT_DEV_RING_ID, "NCCL's id has another size");

static enum dpt_status failed(const struct dpt_cuda *cuda, ncclResult_t result, const char *what)
{
    return dpt_error_set(DPT_STATUS_FAILED, __FILE__, __LINE__,
                         "%s: %s: NCCL: %s; NCCL_DEBUG=WARN in the environment makes it say more, device.exchange = host "
                         "does without it",
                         cuda->dev.name, what, nccl.text(result));
}

#define NCCL_TRY(cuda, call, what)                                                                                     \
    do {                                                                                                               \
        const ncclResult_t nccl_result = (call);                                                                       \
        if (nccl_result != ncclSuccess) {                                                                              \
            return failed(cuda, nccl_result, what);                                                                    \
        }                                                                                                              \
    } while (0)

const char *dpt_dev_ring_library(const char **why)
{
    static char name[32];
    int version = 0;
    *why = nccl.library ? NULL : dpt_cuda__open_nccl(&nccl);
    if (*why) {
        return NULL;
    }
    if (nccl.version(&version) != ncclSuccess) {
        *why = "NCCL does not tell its version";
        return NULL;
    }
    snprintf(name, sizeof name, "NCCL %d.%d.%d", version / 10000, version / 100 % 100, version % 100);
    return name;
}

enum dpt_status dpt_dev_ring_id(struct dpt_dev *dev, unsigned char id[DPT_DEV_RING_ID])
{
    ncclUniqueId made;
    NCCL_TRY(dpt_cuda_of(dev), nccl.id(&made), "an id for the ring of cards");
    memcpy(id, &made, sizeof made);
    return DPT_STATUS_OK;
}

static enum dpt_status open_ring(struct dpt_dev_ring *ring, const ncclUniqueId *id)
{
    struct dpt_cuda *cuda = ring->cuda;
    const char *what = "a ring of cards";
    DPT_CUDA_TRY(cuda, cudaSetDevice(cuda->card), what);
    DPT_CUDA_TRY(cuda, cudaEventCreateWithFlags(&ring->done, cudaEventDisableTiming), what);
    NCCL_TRY(cuda, nccl.open(&ring->comm, ring->ranks, *id, ring->rank), what);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_dev_ring_new(struct dpt_dev *dev, int ranks, int rank, const unsigned char id[DPT_DEV_RING_ID],
                                 struct dpt_dev_ring **ring)
{
    ncclUniqueId told;
    struct dpt_dev_ring *made = calloc(1, sizeof *made);
    *ring = NULL;
    DPT_CHECK(made, DPT_STATUS_SPACE, "out of memory for a ring of cards");
    *made = (struct dpt_dev_ring){.cuda = dpt_cuda_of(dev), .ranks = ranks, .rank = rank};
    memcpy(&told, id, sizeof told);
    const enum dpt_status status = open_ring(made, &told);
    if (status != DPT_STATUS_OK) {
        dpt_dev_ring_free(made);
        return status;
    }
    *ring = made;
    return DPT_STATUS_OK;
}

void dpt_dev_ring_free(struct dpt_dev_ring *ring)
{
    if (!ring) {
        return;
    }
    if (ring->comm) {
        cudaStreamSynchronize(ring->cuda->out);
        nccl.close(ring->comm);
    }
    if (ring->done) {
        cudaEventDestroy(ring->done);
    }
    free(ring);
}

/* What is asked of the ring next comes behind all that was asked of the card. */
static enum dpt_status follow(struct dpt_dev_ring *ring)
{
    struct dpt_cuda *cuda = ring->cuda;
    DPT_CUDA_TRY(cuda, cudaEventRecord(cuda->asked, cuda->stream), "a ring of cards");
    DPT_CUDA_TRY(cuda, cudaStreamWaitEvent(cuda->out, cuda->asked, 0), "a ring of cards");
    return DPT_STATUS_OK;
}

enum dpt_status dpt_dev_ring_sum(struct dpt_dev_ring *ring, float *data, int64_t count)
{
    struct dpt_cuda *cuda = ring->cuda;
    DPT_TRY(follow(ring));
    NCCL_TRY(cuda, nccl.sum(data, data, (size_t)count, ncclFloat32, ncclSum, ring->comm, cuda->out), "a sum over ranks");
    return DPT_STATUS_OK;
}

/* Each rank's slice: summed on it, or told by it. */
static enum dpt_status slices(struct dpt_dev_ring *ring, float *data, const int64_t *begin, bool sums)
{
    struct dpt_cuda *cuda = ring->cuda;
    const char *what = sums ? "sums of slices" : "a collection of slices";
    DPT_TRY(follow(ring));
    NCCL_TRY(cuda, nccl.group_begin(), what);
    for (int r = 0; r < ring->ranks; r++) {
        float *at = data + begin[r];
        const size_t count = (size_t)(begin[r + 1] - begin[r]);
        if (count > 0) {
            NCCL_TRY(cuda,
                     sums ? nccl.sum_at(at, at, count, ncclFloat32, ncclSum, r, ring->comm, cuda->out)
                          : nccl.tell(at, at, count, ncclFloat32, r, ring->comm, cuda->out),
                     what);
        }
    }
    NCCL_TRY(cuda, nccl.group_end(), what);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_dev_ring_scatter(struct dpt_dev_ring *ring, float *data, const int64_t *begin)
{
    return slices(ring, data, begin, true);
}

enum dpt_status dpt_dev_ring_gather(struct dpt_dev_ring *ring, float *data, const int64_t *begin)
{
    return slices(ring, data, begin, false);
}

enum dpt_status dpt_dev_ring_join(struct dpt_dev_ring *ring)
{
    struct dpt_cuda *cuda = ring->cuda;
    DPT_CUDA_TRY(cuda, cudaEventRecord(ring->done, cuda->out), "a ring of cards");
    DPT_CUDA_TRY(cuda, cudaStreamWaitEvent(cuda->stream, ring->done, 0), "a ring of cards");
    return DPT_STATUS_OK;
}
