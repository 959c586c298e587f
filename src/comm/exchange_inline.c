/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The way without a thread: a bucket is summed by MPI where it is started, the cheapest where no core is idle. Through
 * shared memory it is summed where it is waited for: then the other ranks have come with theirs, mostly, and jobs are
 * done in their order up to the one that is wanted.
 */

#include <stdlib.h>

#include "comm/exchange_impl.h"

struct own {
    struct dpt_exchange__job *ring; /* job number n is at n % capacity; only without immediate work */
    uint64_t capacity, done;
    uint64_t posted;
};

static enum dpt_status run(struct dpt_exchange *exchange, const struct dpt_exchange__job *job)
{
    struct dpt_exchange__spent spent;
    const enum dpt_status status = dpt_exchange__run(exchange, job, &spent);
    dpt_exchange__count(exchange, &spent);
    return status;
}

static enum dpt_status reserve(struct dpt_exchange *exchange, int jobs)
{
    struct own *own = exchange->own;
    DPT_ASSERT(own->done == own->posted);
    free(own->ring);
    own->ring = calloc((size_t)jobs, sizeof *own->ring);
    own->capacity = own->ring ? (uint64_t)jobs : 0;
    DPT_CHECK(own->ring, DPT_STATUS_SPACE, "out of memory for a queue of %d buckets", jobs);
    return DPT_STATUS_OK;
}

static enum dpt_status open_inline(struct dpt_exchange *exchange)
{
    exchange->own = calloc(1, sizeof(struct own));
    DPT_CHECK(exchange->own, DPT_STATUS_SPACE, "out of memory for the exchange");
    return reserve(exchange, DPT_EXCHANGE_TICKETS + 1);
}

static void close_inline(struct dpt_exchange *exchange)
{
    struct own *own = exchange->own;
    if (own) {
        free(own->ring);
    }
    free(own);
}

static enum dpt_status post(struct dpt_exchange *exchange, const struct dpt_exchange__job *job)
{
    struct own *own = exchange->own;
    DPT_ASSERT(own->posted - own->done < own->capacity);
    own->ring[own->posted++ % own->capacity] = *job;
    if (!exchange->node) {
        own->done++;
        return run(exchange, job);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status finish(struct dpt_exchange *exchange, uint64_t number)
{
    struct own *own = exchange->own;
    while (own->done <= number) {
        DPT_TRY(run(exchange, &own->ring[own->done++ % own->capacity]));
    }
    return DPT_STATUS_OK;
}

const struct dpt_exchange__way dpt_exchange__inline = {
    .name = "inline MPI_Allreduce",
    .tree_name = "inline tree sum",
    .shared_name = "shared memory",
    .hierarchical_name = "shared memory and MPI between hosts",
    .wire_name = "inline messages",
    .open = open_inline,
    .close = close_inline,
    .reserve = reserve,
    .post = post,
    .finish = finish,
};
