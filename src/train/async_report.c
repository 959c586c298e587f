/* SPDX-License-Identifier: Apache-2.0 */

/* What an asynchronous training says of its messages at the end: how many, what became of them, how late they were
 * used. */

#include <inttypes.h>
#include <math.h>

#include "base/log.h"
#include "train/async.h"

void dpt_train__late(struct dpt_train *train, int64_t late, double count)
{
    struct dpt_train__async_counts *counts = &train->async->counts;
    late = late > 0 ? late : 0;
    counts->stale[late < DPT_TRAIN__STALE ? late : DPT_TRAIN__STALE - 1] += count;
    counts->used += count;
    counts->lateness += count * (double)late;
    counts->latest = fmax(counts->latest, (double)late);
}

enum dpt_status dpt_train__async_sum(struct dpt_train *train)
{
    struct dpt_train__async *async = train->async;
    const struct dpt_mailbox_stats *stats = dpt_mailboxes_stats(async->boxes);
    struct dpt_train__async_counts all = async->counts;
    int64_t sent[] = {(int64_t)stats->posted, (int64_t)stats->posted_nbytes, (int64_t)stats->reclaimed,
                      (int64_t)stats->replaced, (int64_t)stats->taken};
    DPT_TRY(dpt_comm_allreduce(train->world, &all, sizeof all / sizeof(double), DPT_DTYPE_F64, DPT_COMM_REDUCE_SUM));
    all.latest = async->counts.latest;
    DPT_TRY(dpt_comm_allreduce(train->world, &all.latest, 1, DPT_DTYPE_F64, DPT_COMM_REDUCE_MAX));
    DPT_TRY(dpt_comm_allreduce(train->world, sent, sizeof sent / sizeof *sent, DPT_DTYPE_I64, DPT_COMM_REDUCE_SUM));
    async->total = all;
    async->sent = (struct dpt_mailbox_stats){(uint64_t)sent[0], (uint64_t)sent[1], (uint64_t)sent[2], (uint64_t)sent[3],
                                             (uint64_t)sent[4]};
    return DPT_STATUS_OK;
}

/* What is counted in the histogram, and in what its lateness is. */
static const char *things(const struct dpt_train *train)
{
    return train->job->parallel.update == DPT_UPDATE_ASYNC_OWNER ? "gradients" : "copies";
}

static const char *unit(const struct dpt_train *train)
{
    return train->job->parallel.update == DPT_UPDATE_ASYNC_OWNER ? "updates" : "steps";
}

static void print_histogram(const struct dpt_train__async_counts *counts)
{
    for (int i = 0; i < DPT_TRAIN__STALE; i++) {
        if (counts->stale[i] > 0.0) {
            dpt_log(" %d%s: %.1f%%", i, i == DPT_TRAIN__STALE - 1 ? " or more" : "",
                    100.0 * counts->stale[i] / counts->used);
        }
    }
}

void dpt_train__async_print(const struct dpt_train *train)
{
    const struct dpt_train__async *async = train->async;
    const struct dpt_mailbox_stats *sent = &async->sent;
    const struct dpt_train__async_counts *counts = &async->total;
    char nbytes[24];
    dpt_log("sends   %" PRIu64 " messages, %s of all ranks in %.0f shares of work, by %s | the ranks met %" PRId64
            " time%s\n",
            sent->posted, dpt_text_bytes(nbytes, sizeof nbytes, sent->posted_nbytes), counts->shares,
            dpt_train__async_name(train), train->local.meetings, train->local.meetings == 1 ? "" : "s");
    dpt_log("        %" PRIu64 " were not read in time and merged into the next, %" PRIu64 " replaced by newer ones; "
            "lost: %g\n",
            sent->reclaimed, sent->replaced, counts->lost);
    if (counts->used > 0.0) {
        dpt_log("delay   of %s: %.2f %s on average, %.0f at most |", things(train), counts->lateness / counts->used,
                unit(train), counts->latest);
        print_histogram(counts);
        dpt_log("\n");
    }
}

void dpt_train__async_field(const struct dpt_train *train, struct dpt_text *record)
{
    const struct dpt_train__async *async = train->async;
    const struct dpt_train__async_counts *counts = &async->total;
    dpt_text_add(record, ", \"async\": {\"shares\": %.0f, \"messages\": %" PRIu64 ", \"bytes\": %" PRIu64,
                 counts->shares, async->sent.posted, async->sent.posted_nbytes);
    dpt_text_add(record, ", \"merged\": %" PRIu64 ", \"replaced\": %" PRIu64 ", \"lost\": %.10g", async->sent.reclaimed,
                 async->sent.replaced, counts->lost);
    dpt_text_add(record, ", \"delay\": %.10g, \"delay_max\": %.10g, \"delays\": [",
                 counts->used > 0.0 ? counts->lateness / counts->used : 0.0, counts->latest);
    for (int i = 0; i < DPT_TRAIN__STALE; i++) {
        dpt_text_add(record, "%s%.0f", i ? ", " : "", counts->stale[i]);
    }
    dpt_text_add(record, "]}");
}
