/* SPDX-License-Identifier: Apache-2.0 */

/* The last page: what came out, where the time went on all ranks, and which key to change. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/log.h"
#include "train/async.h"

static const char *const section_name[DPT_SECTION_COUNT] = {
    [DPT_SECTION_DATA] = "data wait",   [DPT_SECTION_FORWARD] = "forward",       [DPT_SECTION_BACKWARD] = "backward",
    [DPT_SECTION_EXCHANGE] = "sum wait", [DPT_SECTION_UPDATE] = "update",         [DPT_SECTION_EVAL] = "evaluation",
    [DPT_SECTION_CHECKPOINT] = "checkpoint", [DPT_SECTION_LOG] = "log",
};

/* What each rank tells rank 0. */
struct tale {
    double seconds[DPT_SECTION_COUNT];
    double peak_flops; /* a second, of its threads */
    double peak_bytes; /* most memory that the process had */
    char host[64];
};

/* A section over the ranks. */
struct spread {
    double avg, min, max;
    int slowest; /* rank of max */
};

static struct spread spread_of(const struct tale *tale, int ranks, int section)
{
    struct spread spread = {.min = tale[0].seconds[section], .max = tale[0].seconds[section]};
    for (int r = 0; r < ranks; r++) {
        const double s = tale[r].seconds[section];
        spread.avg += s / ranks;
        spread.min = s < spread.min ? s : spread.min;
        if (s > spread.max) {
            spread.max = s;
            spread.slowest = r;
        }
    }
    return spread;
}

static void print_row(const char *name, const struct spread *spread, double wall)
{
    const double imbalance = spread->avg > 0.0 ? 100.0 * (spread->max - spread->min) / spread->avg : 0.0;
    dpt_log("%-12s %9.2f %9.2f %9.2f %7.0f%% %6.1f%%\n", name, spread->avg, spread->min, spread->max,
            spread->max >= 0.005 ? imbalance : 0.0, 100.0 * spread->avg / wall);
}

static void print_table(const struct tale *tale, int ranks, double wall)
{
    double rest = wall;
    dpt_log("\n%-12s %9s %9s %9s %8s %7s   (%d rank%s)\n", "phase", "avg s", "min", "max", "imbal", "share", ranks,
            ranks == 1 ? "" : "s");
    for (int i = 0; i < DPT_SECTION_COUNT; i++) {
        const struct spread spread = spread_of(tale, ranks, i);
        print_row(section_name[i], &spread, wall);
        rest -= spread.avg;
    }
    rest = rest > 0.0 ? rest : 0.0; /* the average is rank 0's wall time, give or take its end */
    dpt_log("%-12s %9.2f %29s %6.1f%%\n", "other", rest, "", 100.0 * rest / wall);
}

/* ---------------------------------------------------------------------------------------------------------- notes */

/* Shares of the wall time that are worth a word, and the seconds below which no share is. */
static const double much = 0.10, short_s = 5.0;

static void note_data(const struct dpt_train *train, double share)
{
    if (share > much) {
        dpt_log("NOTE    %.0f %% of the time the step waits for samples: %s\n", 100.0 * share,
                train->ahead > 0              ? "raise data.prefetch, or leave a core free with run.threads"
                : train->cores.share > 1      ? "set data.prefetch, so that a thread reads ahead"
                                              : "with two cores a rank a thread would read them ahead");
    }
}

/* What helps where one rank is slower than others: what this job can set, and has not. */
static const char *help_slow(const struct dpt_train *train)
{
    const struct dpt_job *job = train->job;
    if (train->async) {
        return job->parallel.max_staleness >= 0 ? "; parallel.max_staleness = -1 lets the others go on" : "";
    }
    const bool shares = !train->share && job->parallel.fragments == 1 && !job->run.reproducible &&
                        !(train->exchange && dpt_exchange_keeps(train->exchange)) && dpt_train__axis(train, "data") > 1;
    return shares ? "; parallel.shares = auto gives it fewer samples" : "";
}

/* What helps where exchanging itself takes long. */
static const char *help_sums(const struct dpt_train *train)
{
    if (train->async) {
        return "messages, waits and meetings: a greater parallel.max_staleness, and a longer eval.every and "
               "checkpoint.every, have less of it";
    }
    if (dpt_train__apart(train)) {
        return "meetings of the ranks: a longer parallel.every has less of it";
    }
    if (!train->exchange) {
        return "sums over the ranks: fewer ranks, another parallel.layout or a greater batch.global have less of it";
    }
    switch (train->job->parallel.comm_thread) {
    case DPT_AUTO_ON: return "sums over the ranks: fewer ranks, or a greater batch.global, have less of it";
    case DPT_AUTO_OFF:
        return "sums over the ranks: fewer ranks, or a greater batch.global, have less of it; parallel.comm_thread = auto "
               "hides it behind backward where a core is free";
    default:
        return "sums over the ranks: fewer ranks, or a greater batch.global, have less of it; a free core a rank lets a "
               "thread hide it behind backward (parallel.comm_thread)";
    }
}

static void note_sums(const struct dpt_train *train, const struct tale *tale, int ranks, double wall)
{
    const struct spread wait = spread_of(tale, ranks, DPT_SECTION_EXCHANGE);
    const struct spread work = spread_of(tale, ranks, DPT_SECTION_BACKWARD);
    const bool all_work = train->plan->conf.batch_rows >= dpt_train__axis(train, "data"); /* else the start has said so */
    if (ranks == 1 || wait.avg < much * wall) {
        return;
    }
    if (all_work && work.min > 0.0 && work.max - work.min > 0.5 * wait.avg) {
        dpt_log("NOTE    rank %d (%s) takes %.0f %% longer in backward than the fastest, and the others wait for it: look "
                "what else runs there, and whether each rank has a core of its own%s\n",
                work.slowest, tale[work.slowest].host, 100.0 * (work.max - work.min) / work.min, help_slow(train));
    } else {
        dpt_log("NOTE    %.0f %% of the time goes into %s\n", 100.0 * wait.avg / wall, help_sums(train));
    }
}

static void note_between(const struct tale *tale, int ranks, double wall)
{
    const struct spread eval = spread_of(tale, ranks, DPT_SECTION_EVAL);
    const struct spread save = spread_of(tale, ranks, DPT_SECTION_CHECKPOINT);
    if (eval.avg > 2.0 * much * wall) {
        dpt_log("NOTE    %.0f %% of the time goes into evaluation: a longer eval.every has less of it\n",
                100.0 * eval.avg / wall);
    }
    if (save.avg > much * wall) {
        dpt_log("NOTE    %.0f %% of the time goes into checkpoints: a longer checkpoint.every has less of it\n",
                100.0 * save.avg / wall);
    }
}

static void print_notes(const struct dpt_train *train, const struct tale *tale, int ranks, double wall)
{
    const int64_t steps = train->state->step - train->first_step;
    if (wall > short_s) {
        note_data(train, spread_of(tale, ranks, DPT_SECTION_DATA).avg / wall);
        note_sums(train, tale, ranks, wall);
        note_between(tale, ranks, wall);
    }
    if (train->clipped * 2 > steps) {
        dpt_log("NOTE    the gradient of %.0f %% of the steps was clipped: optimizer.clip = %g works like a smaller "
                "optimizer.lr\n",
                100.0 * (double)train->clipped / (double)steps, train->job->optimizer.clip);
    }
    dpt_train__note_scale(train);
    if (!train->valid.data) {
        dpt_log("NOTE    nothing was held back to watch the training with: data.valid_share = 0.05 does that\n");
    }
}

/* ------------------------------------------------------------------------------------------------------- the page */

/* What the last evaluation of a split came to. */
static void print_score(const struct dpt_train *train, const struct dpt_train__eval *eval,
                        const struct dpt_train__score *score)
{
    struct dpt_text text = {0};
    if (score->samples > 0.0) {
        dpt_train__score_text(train, score, &text);
        dpt_log("%-11s %s\n", eval->name, text.data);
        dpt_text_free(&text);
    }
}

static void print_result(const struct dpt_train *train, double wall)
{
    char time[24];
    dpt_log("\n");
    if (train->stopped) {
        dpt_log("paused %s at step %" PRId64 " of %" PRId64 " after %s; the same command goes on from there\n",
                train->stopped, train->state->step, train->steps, dpt_text_time(time, sizeof time, wall));
    } else {
        dpt_log("finished %" PRId64 " steps in %s\n", train->state->step,
                dpt_text_time(time, sizeof time, train->elapsed_before_s + wall));
    }
    print_score(train, &train->valid, &train->valid_score);
    print_score(train, &train->test, &train->test_score);
    dpt_log("checkpoint  %s/checkpoints/step-%08" PRId64 "\n", train->job->run.output, train->saved_step);
    dpt_log("log         %s/dpt.log, metrics.jsonl\n", train->job->run.output);
}

/* Work done by all ranks together, and what their cores could have done. */
struct speed {
    double samples_per_s, step_ms, flops_per_s, peak_flops, peak_bytes, steps_s;
};

static struct speed measure(const struct dpt_train *train, const struct tale *tale, int ranks, double wall)
{
    const double steps = (double)(train->state->step - train->first_step);
    struct speed speed = {.steps_s = wall};
    for (int r = 0; r < ranks; r++) {
        speed.peak_flops += tale[r].peak_flops;
        speed.peak_bytes = tale[r].peak_bytes > speed.peak_bytes ? tale[r].peak_bytes : speed.peak_bytes;
    }
    for (int i = DPT_SECTION_EVAL; i < DPT_SECTION_COUNT; i++) {
        speed.steps_s -= tale[0].seconds[i];
    }
    const double samples = steps * (double)dpt_data_info(train->data)->samples / (double)train->steps_per_epoch;
    speed.samples_per_s = samples / speed.steps_s;
    speed.step_ms = 1e3 * speed.steps_s / steps;
    speed.flops_per_s = train->plan->flops_step / (double)train->plan->conf.batch_rows * speed.samples_per_s;
    return speed;
}

static void print_speed(const struct dpt_train *train, const struct speed *speed)
{
    char samples[24], flops[24], peak[24];
    const bool tokens = dpt_train__task(train) == DPT_TRAIN__TASK_TOKENS;
    const double per_sample = tokens ? (double)train->io.dim[0] : 1.0;
    dpt_log("speed   %s %s/s | %.2f ms a step | %sflop/s",
            dpt_text_count(samples, sizeof samples, per_sample * speed->samples_per_s), tokens ? "tokens" : "samples",
            speed->step_ms, dpt_text_count(flops, sizeof flops, speed->flops_per_s));
    if (speed->peak_flops > 0.0) {
        dpt_log(", %.1f %% of the cores' peak", 100.0 * speed->flops_per_s / speed->peak_flops);
    }
    dpt_log(" | first step after %.2f s | at most %s a rank\n", train->start_s,
            dpt_text_bytes(peak, sizeof peak, (uint64_t)speed->peak_bytes));
}

/* What went from rank to rank. */
static void print_sums(const struct dpt_train *train, int ranks)
{
    struct dpt_exchange_stats stats;
    char nbytes[24];
    if (ranks > 1 && !train->exchange) { /* a layout with more axes than data */
        dpt_log("sends   %s of each rank\n", dpt_text_bytes(nbytes, sizeof nbytes, (uint64_t)dpt_exec_sent(train->exec)));
        return;
    }
    if (train->async) {
        dpt_train__async_print(train);
        return;
    }
    dpt_exchange_stats(train->exchange, &stats);
    if (ranks > 1) {
        dpt_log("sums    %s of each rank in %" PRIu64 " sums", dpt_text_bytes(nbytes, sizeof nbytes, stats.nbytes),
                stats.ncalls);
        dpt_log(", %s in messages", dpt_text_bytes(nbytes, sizeof nbytes, stats.sent));
        if (train->local.meetings > 0) {
            dpt_log(" | the ranks met %" PRId64 " time%s", train->local.meetings, train->local.meetings == 1 ? "" : "s");
        }
        dpt_log("\n");
    }
}

static void write_end(const struct dpt_train *train, const struct tale *tale, int ranks, double wall,
                      const struct speed *speed)
{
    struct dpt_text record = {0};
    /* a layout with more axes than data */
    struct dpt_exchange_stats stats = {.nbytes = (uint64_t)dpt_exec_sent(train->exec), .sent = (uint64_t)dpt_exec_sent(train->exec)};
    if (train->exchange) {
        dpt_exchange_stats(train->exchange, &stats);
    }
    if (train->async) {
        stats.sent += train->async->sent.posted_nbytes / (uint64_t)ranks;
    }
    dpt_train__record(train, "end", &record);
    dpt_train__field_text(&record, "state", train->stopped ? "paused" : "finished");
    dpt_train__field_real(&record, "wall_s", wall);
    dpt_train__field_real(&record, "start_s", train->start_s);
    dpt_train__field_real(&record, "step_ms", speed->step_ms);
    dpt_train__field_real(&record, "samples_per_s", speed->samples_per_s);
    if (dpt_train__task(train) == DPT_TRAIN__TASK_TOKENS) {
        dpt_train__field_real(&record, "tokens_per_s", (double)train->io.dim[0] * speed->samples_per_s);
    }
    dpt_train__field_real(&record, "peak_bytes", speed->peak_bytes);
    dpt_train__field_real(&record, "summed_bytes", (double)stats.nbytes);
    dpt_train__field_real(&record, "sent_bytes", (double)stats.sent);
    dpt_train__field_real(&record, "flops_per_s", speed->flops_per_s);
    dpt_train__field_real(&record, "flops_peak", speed->peak_flops);
    if (train->async) {
        dpt_train__async_field(train, &record);
    }
    dpt_text_add(&record, ", \"share\": {");
    for (int i = 0; i < DPT_SECTION_COUNT; i++) {
        dpt_text_add(&record, "%s\"", i ? ", " : "");
        for (const char *c = section_name[i]; *c; c++) {
            dpt_text_add(&record, "%c", *c == ' ' ? '_' : *c);
        }
        dpt_text_add(&record, "\": %.6g", spread_of(tale, ranks, i).avg / wall);
    }
    dpt_text_add(&record, "}");
    dpt_train__write(train, &record);
}

static double peak_bytes(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return 1024.0 * (double)usage.ru_maxrss;
}

enum dpt_status dpt_train__end(struct dpt_train *train)
{
    const int ranks = dpt_comm_size(train->world);
    const double wall = dpt_clock_s() - train->begin_s;
    struct tale mine = {.peak_bytes = peak_bytes()};
    struct tale *tale = calloc((size_t)ranks, sizeof *tale);
    if (!tale) {
        dpt_fatal(DPT_STATUS_SPACE, "out of memory for the last page");
    }
    DPT_TRY(dpt_comm_barrier(train->world)); /* all measure their peak at the same time, as they computed */
    DPT_TRY(dpt_dev_peak(train->dev, 0.03, &mine.peak_flops));
    memcpy(mine.seconds, dpt_exec_seconds(train->exec), sizeof mine.seconds);
    snprintf(mine.host, sizeof mine.host, "%s", dpt_comm_host());
    if (train->async) {
        DPT_TRY(dpt_train__async_sum(train));
    }
    DPT_TRY(dpt_comm_gather(train->world, &mine, sizeof mine, tale, 0));
    if (train->speaks) {
        const struct speed speed = measure(train, tale, ranks, wall);
        print_result(train, wall);
        print_table(tale, ranks, wall);
        print_speed(train, &speed);
        print_sums(train, ranks);
        print_notes(train, tale, ranks, wall);
        write_end(train, tale, ranks, wall, &speed);
    }
    free(tale);
    return DPT_STATUS_OK;
}
