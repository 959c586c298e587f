/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Which size of buckets is fastest is a matter of the library, the network and the number of ranks: some libraries are
 * slow with one large sum, some with many small ones. So it is measured, with the exchange that will be used.
 */

#include <stdlib.h>

#include "base/clock.h"
#include "comm/exchange_impl.h"
#include "comm/exchange_node.h"

enum { CANDIDATES = 6, MOST_NBYTES = 64 << 20, DEFAULT = 3 }; /* 1, 2, 4, 8, 16, 32 MiB */

/* Other than the default only what is clearly faster. */
static const double better = 0.9;

static int64_t size_of(int candidate)
{
    return INT64_C(1) << (20 + candidate);
}

/* Seconds of the slowest rank for the sums of all buckets of a size. Collective. */
static enum dpt_status measure(struct dpt_exchange *exchange, float *data, int64_t count, int64_t nbytes,
                               struct dpt_range *bucket, double *seconds)
{
    const int64_t step = nbytes / (int64_t)sizeof *data;
    const int nbuckets = (int)((count + step - 1) / step);
    for (int b = 0; b < nbuckets; b++) {
        bucket[b] = (struct dpt_range){b * step, (b + 1) * step < count ? (b + 1) * step : count};
    }
    DPT_TRY(dpt_exchange_bind(exchange, data, DPT_DTYPE_F32, nbuckets, bucket));
    DPT_TRY(dpt_comm_barrier(exchange->comm));
    const double begin_s = dpt_clock_s();
    for (int b = 0; b < nbuckets; b++) {
        DPT_TRY(dpt_exchange_start(exchange, b));
    }
    for (int b = 0; b < nbuckets; b++) {
        DPT_TRY(dpt_exchange_wait(exchange, b));
    }
    *seconds = dpt_clock_s() - begin_s;
    return dpt_comm_allreduce(exchange->comm, seconds, 1, DPT_DTYPE_F64, DPT_COMM_REDUCE_MAX);
}

/* Turn by turn, so that what else the machine does meets all alike; the least time of each counts. Collective. */
static enum dpt_status compare(struct dpt_exchange *exchange, float *data, int64_t count, double budget_s,
                               struct dpt_range *bucket, int *best)
{
    double least[CANDIDATES] = {0.0}, spent = 0.0, small = 0.0;
    *best = -1;
    for (int i = 0; i < 2; i++) { /* the first one warms up */
        DPT_TRY(measure(exchange, data, size_of(0) / (int64_t)sizeof *data, size_of(0), bucket, &small));
    }
    /* As much as fits in the time. On a network so slow that this is little its speed decides, and not the pieces. */
    const double fits = budget_s / (2 * CANDIDATES) / small * (double)(size_of(0) / (int64_t)sizeof *data);
    count = fits < (double)count ? (int64_t)fits / DPT_EXCHANGE_ALIGN * DPT_EXCHANGE_ALIGN : count;
    if (count * (int64_t)sizeof *data < 2 * size_of(DEFAULT)) {
        return DPT_STATUS_OK;
    }
    *best = DEFAULT;
    for (int round = 0; round < 2 || (round < 10 && spent < budget_s); round++) { /* the first one warms up */
        for (int c = 0; c < CANDIDATES; c++) {
            double seconds;
            DPT_TRY(measure(exchange, data, count, size_of(c), bucket, &seconds));
            spent += seconds;
            least[c] = round < 2 || seconds < least[c] ? seconds : least[c];
        }
    }
    for (int c = 0; c < CANDIDATES; c++) { /* the same numbers on all ranks */
        if (least[c] < better * least[DEFAULT] && least[c] < least[*best]) {
            *best = c;
        }
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_exchange_probe(const struct dpt_exchange_conf *conf, size_t nbytes, double budget_s,
                                   int64_t *bucket_nbytes)
{
    struct dpt_exchange *exchange;
    const size_t most = nbytes < MOST_NBYTES ? nbytes : MOST_NBYTES;
    const int64_t count = (int64_t)(most / sizeof(float)) / DPT_EXCHANGE_ALIGN * DPT_EXCHANGE_ALIGN;
    void *block = NULL;
    int best = DEFAULT;
    *bucket_nbytes = 0;
    DPT_TRY(dpt_exchange_new(conf, &exchange));
    enum dpt_status status = DPT_STATUS_OK;
    /* Through memory alone the size decides nothing, and small sums are one bucket anyway. */
    if (exchange->way && (!exchange->node || exchange->node->rail) && most > (size_t)size_of(DEFAULT)) {
        struct dpt_range *bucket = calloc(MOST_NBYTES / size_of(0) + 1, sizeof *bucket);
        float *own = NULL;
        status = dpt_exchange_alloc(exchange, most, DPT_EXCHANGE_MEMORY_OWN, &block);
        if (status == DPT_STATUS_OK) {
            own = block ? NULL : calloc((size_t)count + 1, sizeof *own);
            const bool room = bucket && (block || own);
            status = dpt_agree(room ? DPT_STATUS_OK
                                    : dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__,
                                                    "out of memory: %zu bytes to measure sums with", most),
                               conf->comm);
        }
        if (status == DPT_STATUS_OK) {
            status = compare(exchange, block ? block : own, count, budget_s, bucket, &best);
            *bucket_nbytes = best >= 0 ? size_of(best) : 0;
        }
        free(own);
        free(bucket);
    }
    dpt_exchange_free(exchange);
    return status;
}
