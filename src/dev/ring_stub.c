/* SPDX-License-Identifier: Apache-2.0 */

/* In builds without NCCL: there is never a ring. */

#include "dev/ring.h"

const char *dpt_dev_ring_library(const char **why)
{
    *why = "this dpt was built without NCCL (configure --with-nccl)";
    return NULL;
}

static enum dpt_status refuse(void)
{
    const char *why;
    dpt_dev_ring_library(&why);
    return dpt_error_set(DPT_STATUS_FAILED, __FILE__, __LINE__, "no ring of cards: %s", why);
}

enum dpt_status dpt_dev_ring_id(struct dpt_dev *dev, unsigned char id[DPT_DEV_RING_ID])
{
    (void)dev, (void)id;
    return refuse();
}

enum dpt_status dpt_dev_ring_new(struct dpt_dev *dev, int ranks, int rank, const unsigned char id[DPT_DEV_RING_ID],
                                 struct dpt_dev_ring **ring)
{
    (void)dev, (void)ranks, (void)rank, (void)id;
    *ring = NULL;
    return refuse();
}

void dpt_dev_ring_free(struct dpt_dev_ring *ring)
{
    (void)ring;
}

enum dpt_status dpt_dev_ring_sum(struct dpt_dev_ring *ring, float *data, int64_t count)
{
    (void)ring, (void)data, (void)count;
    return refuse();
}

enum dpt_status dpt_dev_ring_scatter(struct dpt_dev_ring *ring, float *data, const int64_t *begin)
{
    (void)ring, (void)data, (void)begin;
    return refuse();
}

enum dpt_status dpt_dev_ring_gather(struct dpt_dev_ring *ring, float *data, const int64_t *begin)
{
    (void)ring, (void)data, (void)begin;
    return refuse();
}

enum dpt_status dpt_dev_ring_join(struct dpt_dev_ring *ring)
{
    (void)ring;
    return refuse();
}
