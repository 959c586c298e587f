/* SPDX-License-Identifier: Apache-2.0 */

/* What the user reads while the run goes on: banner, lines, evaluations, checkpoints. And the same for programs. */

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "op/onednn.h"
#include "train/internal.h"

/* -------------------------------------------------------------------------------------------------------- banner */

static void tell_ranks(const struct dpt_train *train)
{
    const int ranks = dpt_train__ranks(train);
    char layout[DPT_TRAIN__LAYOUT_SIZE];
    if (!train->world) { /* a dry run */
        dpt_log("ranks   %d (as planned, nothing is started)\n", ranks);
        return;
    }
    const int hosts = dpt_comm_nodes();
    dpt_log("ranks   %d on %d host%s | %d thread%s each, %d core%s on this host | %s", ranks, hosts, hosts == 1 ? "" : "s",
            train->threads, train->threads == 1 ? "" : "s", train->cores.node, train->cores.node == 1 ? "" : "s",
            dpt_comm_library());
    dpt_log("%s%s", ranks == 1 ? "" : train->async ? " | mailboxes: " : " | ",
            ranks == 1        ? ""
            : train->async    ? dpt_train__async_name(train)
            : train->ring     ? train->between
            : train->exchange ? dpt_exchange_name(train->exchange)
                              : dpt_train__layout_text(train, layout));
    const bool is_wire = train->exchange && dpt_exchange_is_wire(train->exchange);
    dpt_log("%s%s%s\n", is_wire ? ", " : "", is_wire ? train->job->parallel.wire : "",
            train->direct ? ", of memory of cards" : "");
    if (!train->devices) {
        dpt_log("device  %s\n", train->dev->name);
    }
    if (*train->dev->convolutions) {
        dpt_log("device  convolutions by %s\n", train->dev->convolutions);
    }
    for (int r = 0; r < ranks && train->devices; r++) {
        dpt_log("device  rank %d: %s\n", r, train->devices + (size_t)r * sizeof train->dev->name);
    }
}

static void tell_bucket(const struct dpt_train *train)
{
    char size[24];
    if (train->bucket_nbytes > 0) {
        dpt_log("buckets of %s, the fastest of 1 to 32 MiB: parallel.bucket = %s takes it without measuring\n",
                dpt_text_bytes(size, sizeof size, (uint64_t)train->bucket_nbytes), size);
    }
}

static void tell_model(const struct dpt_train *train)
{
    char name[96], params[24], flops[24];
    int64_t count = 0;
    for (int v = 0; v < train->graph->nvalues; v++) {
        const bool trained = train->graph->value[v].kind == DPT_VALUE_KIND_PARAM;
        count += trained ? dpt_type_numel(&train->graph->value[v].type) : 0;
    }
    const double work = train->plan->flops_step / (double)train->plan->conf.batch_rows;
    dpt_log("model   %s | %s parameters | %s%sflop a sample | %s\n",
            dpt_model_name(train->job, &train->io, name, sizeof name),
            dpt_text_count(params, sizeof params, (double)count),
            dpt_text_count(flops, sizeof flops, work), work < 1e3 ? " " : "",
            dpt_precision_name(train->job->run.precision));
}

static void tell_data(const struct dpt_train *train)
{
    const struct dpt_data_info *info = dpt_data_info(train->data);
    const bool tokens = info->dtype == DPT_DTYPE_I32;
    dpt_log("data    %s | %" PRId64 " samples of %" PRId64, info->source, info->samples, info->dim[0]);
    for (int i = 1; i < info->ndim; i++) {
        dpt_log(" x %" PRId64, info->dim[i]);
    }
    if (tokens) {
        dpt_log(" tokens, vocabulary %" PRId64, info->classes);
    } else if (info->classes) {
        dpt_log(", %" PRId64 " classes", info->classes);
    }
    const struct dpt_train__eval *eval[2] = {&train->valid, &train->test};
    for (int i = 0; i < 2; i++) {
        if (eval[i]->data) {
            dpt_log(" | %s %" PRId64, eval[i]->name, dpt_data_info(eval[i]->data)->samples);
        }
    }
    dpt_log("\n");
}

/* "64", or "42-43" where the ranks' parts differ. */
static const char *share_text(const struct dpt_train *train, char *out, size_t size)
{
    const struct dpt_plan *plan = train->plan;
    const int64_t parts =
        plan->conf.shards ? plan->conf.shards : plan->conf.micro_batches * dpt_train__axis(train, "data");
    const int64_t least = plan->conf.batch_rows / parts, rest = plan->conf.batch_rows % parts;
    if (rest) {
        snprintf(out, size, "%" PRId64 "-%" PRId64, least, least + 1);
    } else {
        snprintf(out, size, "%" PRId64, least);
    }
    return out;
}

static void tell_batch(const struct dpt_train *train)
{
    char share[48];
    const struct dpt_plan *plan = train->plan;
    const int ranks = dpt_train__axis(train, "data");
    if (plan->conf.shards) {
        dpt_log("batch   %" PRId64 " samples = %" PRId64 " shards on %d rank%s x ", plan->conf.batch_rows, plan->conf.shards,
                ranks, ranks == 1 ? "" : "s");
    } else {
        dpt_log("batch   %" PRId64 " samples = %d rank%s x ", plan->conf.batch_rows, ranks, ranks == 1 ? "" : "s");
    }
    if (plan->micros > 1 && !plan->conf.shards) {
        dpt_log("%" PRId64 " micro-batches x ", plan->micros);
    }
    dpt_log("%s | %s\n", train->share ? "shares of their own" : share_text(train, share, sizeof share),
            plan->conf.fixed         ? "reproducible: the same bits on any number of ranks"
            : plan->conf.shards      ? "reproducible: the same bits on 1, 2, 4 ... ranks"
            : dpt_train__apart(train) ? "ranks go their own ways and meet (parallel.update)"
                                      : "same curve on any number of ranks");
    dpt_log("length  %" PRId64 " steps, %.4g epochs of %" PRId64 "\n", train->steps,
            (double)train->steps / (double)train->steps_per_epoch, train->steps_per_epoch);
}

struct part {
    const char *name;
    int64_t nbytes;
    bool common; /* where ranks of a host share the state */
};

/* "412 MiB a rank: gradients 12 MiB, ..." of the parts that are common or not. */
static void tell_parts(const struct part *part, int count, bool common, const char *whose)
{
    char text[24];
    int64_t all = 0;
    for (int i = 0; i < count; i++) {
        all += part[i].common == common ? part[i].nbytes : 0;
    }
    dpt_log("%s a %s:", dpt_text_bytes(text, sizeof text, (uint64_t)all), whose);
    const char *comma = "";
    for (int i = 0; i < count; i++) {
        if (part[i].nbytes && part[i].common == common) {
            dpt_log("%s %s %s", comma, part[i].name, dpt_text_bytes(text, sizeof text, (uint64_t)part[i].nbytes));
            comma = ",";
        }
    }
}

static void tell_memory(const struct dpt_train *train)
{
    const struct dpt_plan_memory *memory = &train->plan->memory;
    const bool common = train->state && train->state->common, params = train->state && train->state->common_param;
    const struct part part[] = {
        {"parameters", memory->params, params},
        {"gradients", memory->gradients, false},
        {"sums", memory->accumulators, false},
        {"optimizer", memory->slots, common},
        {"outer optimizer", dpt_train__local_nbytes(train), false},
        {"mailboxes", dpt_train__async_nbytes(train), false},
        {"kept gradients", train->exchange ? (int64_t)dpt_exchange_kept_nbytes(train->exchange) : memory->kept, false},
        {"activations", memory->activations, false},
        {"messages", memory->messages, false},
        {"scratch", memory->scratch, false},
        {"samples", memory->batches * (train->ahead + 1), false},
        {"next samples", memory->ahead, false},
    };
    const int count = sizeof part / sizeof part[0];
    dpt_log("memory  ");
    tell_parts(part, count, false, "rank");
    if (params) {
        dpt_log(" | ");
        tell_parts(part, count, true, "host");
    }
    dpt_log("\n");
}

static bool has_op(const struct dpt_graph *graph, const struct dpt_op *op)
{
    for (int n = 0; n < graph->nnodes; n++) {
        if (graph->node[n].op == op) {
            return true;
        }
    }
    return false;
}

static void tell_notes(const struct dpt_train *train)
{
    const struct dpt_data *data[3] = {train->data, train->valid.data, train->test.data};
    for (int i = 0; i < 3; i++) {
        for (const char *at = data[i] ? dpt_data_notes(data[i]) : ""; *at; at += strcspn(at, "\n") + 1) {
            dpt_log("NOTE    %.*s\n", (int)strcspn(at, "\n"), at);
            if (!strchr(at, '\n')) {
                break;
            }
        }
    }
    if (train->async && *dpt_train__async_note(train)) {
        dpt_log("NOTE    mailboxes go by %s: %s\n", dpt_train__async_name(train), dpt_train__async_note(train));
    }
    if (train->job->run.precision == DPT_PRECISION_TF32 && !train->anyone_apart) {
        dpt_log("NOTE    run.precision = tf32 is for products on cards: the cores compute in fp32\n");
    }
    if (train->no_card) {
        dpt_log("NOTE    there is a card, but the cores compute: %s\n", train->no_card);
    }
    if (train->anyone_apart && dpt_train__ranks(train) > 1 && !train->ring && !train->direct) {
        dpt_log("NOTE    what ranks exchange goes through memory of the host%s%s%s\n", train->no_ring ? " (" : "",
                train->no_ring ? train->no_ring : "", train->no_ring ? ")" : "");
    }
    if (train->exchange && *dpt_exchange_note(train->exchange)) {
        dpt_log("NOTE    gradients go through MPI and not through the memory of a host: %s\n",
                dpt_exchange_note(train->exchange));
    }
    if (train->exchange && dpt_train__wire(train->job).kind != DPT_WIRE_KIND_FP32 && dpt_train__ranks(train) > 1 &&
        !dpt_exchange_is_wire(train->exchange)) {
        dpt_log("NOTE    parallel.wire = %s is of no use here: no gradient travels in a message\n", train->job->parallel.wire);
    }
    if (has_op(train->graph, &dpt_op_batch_stat) && train->plan->conf.shards) {
        dpt_log("NOTE    a reproducible run takes batch norm statistics over each of the %" PRId64
                " shards, not over the whole batch\n",
                train->plan->conf.shards);
    }
    if (train->job->batch.global > train->plan->conf.batch_rows) {
        dpt_log("NOTE    batch.global = %" PRId64 " is more than there are samples to train with: a step takes all of them\n",
                train->job->batch.global);
    }
    if (train->plan->conf.batch_rows < dpt_train__axis(train, "data")) {
        dpt_log("NOTE    %d ranks share a batch of %" PRId64 ": some of them compute nothing; start fewer, or take a greater "
                "batch.global\n",
                dpt_train__axis(train, "data"), train->plan->conf.batch_rows);
    }
    if (train->world && train->cores.shared) {
        dpt_log("NOTE    ranks of this host take turns on %d core%s: start at most %d a host, or let the launcher bind "
                "each rank to its own\n",
                train->cores.usable, train->cores.usable == 1 ? "" : "s", train->cores.node);
    } else if (train->world && train->threads > train->cores.usable) {
        dpt_log("NOTE    a rank has %d threads and may use %d core%s: set run.threads = auto, or give it more (mpirun "
                "--bind-to none, --map-by slot:PE=%d)\n",
                train->threads, train->cores.usable, train->cores.usable == 1 ? "" : "s", train->threads);
    } else if (train->world && train->cores.bound && train->job->run.threads == 0 &&
               train->cores.share * dpt_comm_node_size() < train->cores.node) {
        dpt_log("NOTE    ranks are bound to %d core%s each, %d of this host's %d cores are not used: mpirun --map-by "
                "slot:PE=%d gives them to the ranks\n",
                train->cores.usable, train->cores.usable == 1 ? "" : "s",
                train->cores.node - train->cores.share * dpt_comm_node_size(), train->cores.node,
                train->cores.node / dpt_comm_node_size());
    }
}

void dpt_train__banner(const struct dpt_train *train, bool resumed)
{
    char utc[24], left[24];
    dpt_clock_utc(utc, sizeof utc);
    dpt_log("dpt-train %s | %s | job %s | run %s (%s)\n", PACKAGE_VERSION, utc, train->job->run.name,
            train->job->run.output, !train->world             ? "dry run"
            : train->options->eval_only ? "evaluation"
            : resumed                   ? "goes on"
                                        : "new");
    tell_ranks(train);
    tell_bucket(train);
    tell_model(train);
    tell_data(train);
    tell_batch(train);
    tell_memory(train);
    if (isfinite(train->limit_s)) {
        dpt_log("stop    in %s at the latest, with a checkpoint\n",
                dpt_text_time(left, sizeof left, train->limit_s - dpt_clock_process_s()));
    }
    tell_notes(train);
    if (resumed && train->options->eval_only) {
        dpt_log("step    %" PRId64 " of %" PRId64 "\n", train->first_step, train->steps);
    } else if (resumed && train->world) {
        dpt_log("goes on from step %" PRId64 " of %" PRId64 "\n", train->first_step, train->steps);
    }
}

/* --------------------------------------------------------------------------------------------------------- lines */

enum { HEADER_EVERY = 20 };

/* The second figure of a task, beside the loss. */
static const char *const figure_name[] = {
    [DPT_TRAIN__TASK_NUMBERS] = "rmse",
    [DPT_TRAIN__TASK_CLASS] = "accuracy",
    [DPT_TRAIN__TASK_TOKENS] = "perplexity",
};

static double figure(const struct dpt_train *train, const struct dpt_train__score *score)
{
    switch (dpt_train__task(train)) {
    case DPT_TRAIN__TASK_CLASS:
        return score->accuracy;
    case DPT_TRAIN__TASK_TOKENS:
        return score->perplexity;
    default:
        return score->rmse;
    }
}

void dpt_train__meter_add(struct dpt_train *train, const struct dpt_exec_step *step, int64_t steps, double seconds)
{
    struct dpt_train__meter *meter = &train->meter;
    for (int i = 0; i < DPT_EXEC_METRICS; i++) {
        meter->metric[i] += step->metric[i];
    }
    meter->steps += steps;
    train->slowest_s = seconds > train->slowest_s ? seconds : train->slowest_s;
    train->clipped += step->finite && step->clip > 0.0 && step->grad_norm > step->clip;
}

static void print_header(struct dpt_train *train)
{
    if (train->lines++ % HEADER_EVERY == 0) {
        dpt_log("%8s %8s %10s %9s %9s %9s %9s %10s %6s %6s %10s\n", "step", "epoch", "loss",
                figure_name[dpt_train__task(train)], "gradnorm", "lr", "ms/step",
                dpt_train__task(train) == DPT_TRAIN__TASK_TOKENS ? "tokens/s" : "samples/s", "data%", "sum%", "left");
    }
}

/* What a line says. */
struct line {
    struct dpt_train__score score;
    double step_ms, samples_per_s, tokens_per_s, data, exchange, left_s;
};

static struct line measure(const struct dpt_train *train, double now)
{
    const struct dpt_train__meter *meter = &train->meter;
    const double *seconds = dpt_exec_seconds(train->exec), wall = now - meter->begin_s;
    const double step_s = wall / (double)meter->steps;
    struct line line = {
        .score = dpt_train__score(train, train->data, meter->metric),
        .step_ms = 1e3 * step_s,
        .data = (seconds[DPT_SECTION_DATA] - meter->data_s) / wall,
        .exchange = (seconds[DPT_SECTION_EXCHANGE] - meter->exchange_s) / wall,
        .left_s = step_s * (double)(train->steps - train->state->step),
    };
    line.samples_per_s = line.score.samples / wall;
    line.tokens_per_s = line.score.tokens / wall;
    return line;
}

static void start_meter(struct dpt_train *train, double now)
{
    const double *seconds = dpt_exec_seconds(train->exec);
    train->meter = (struct dpt_train__meter){
        .begin_s = now,
        .data_s = seconds[DPT_SECTION_DATA],
        .exchange_s = seconds[DPT_SECTION_EXCHANGE],
    };
    train->slowest_s = 0.0;
}

static void print_line(struct dpt_train *train, const struct dpt_exec_step *step, const struct line *line)
{
    char left[24], rate[24], third[16];
    const double epoch = (double)train->state->step / (double)train->steps_per_epoch;
    if (dpt_train__task(train) == DPT_TRAIN__TASK_CLASS) {
        snprintf(third, sizeof third, "%.2f%%", 100.0 * line->score.accuracy);
    } else {
        snprintf(third, sizeof third, "%.4g", figure(train, &line->score));
    }
    if (train->job->log.progress == DPT_PROGRESS_BAR) {
        enum { WIDTH = 30 };
        const int done = (int)(WIDTH * train->state->step / train->steps);
        dpt_log_bar("[%.*s%*s] %3.0f%%  step %" PRId64 "  loss %.4f  %s  %s left", done, "##############################",
                    WIDTH - done, "", 100.0 * (double)train->state->step / (double)train->steps, train->state->step,
                    line->score.loss, third, dpt_text_time(left, sizeof left, line->left_s));
        return;
    }
    print_header(train);
    dpt_log("%8" PRId64 " %8.3f %10.5f %9s %9.3g %9.3g %9.2f %10s %6.1f %6.1f %10s\n", train->state->step, epoch,
            line->score.loss, third, step->grad_norm, step->lr, line->step_ms,
            dpt_text_count(rate, sizeof rate, line->tokens_per_s > 0.0 ? line->tokens_per_s : line->samples_per_s), 100.0 * line->data, 100.0 * line->exchange,
            dpt_text_time(left, sizeof left, line->left_s));
}

static void add_score(const struct dpt_train *train, struct dpt_text *record, const struct dpt_train__score *score)
{
    dpt_train__field_real(record, "loss", score->loss);
    if (dpt_train__task(train) == DPT_TRAIN__TASK_TOKENS) {
        dpt_train__field_real(record, "perplexity", score->perplexity);
        if (score->bits_per_byte > 0.0) {
            dpt_train__field_real(record, "bits_per_byte", score->bits_per_byte);
        }
        dpt_train__field_real(record, "accuracy", score->accuracy);
    } else if (train->io.classes) {
        dpt_train__field_real(record, "accuracy", score->accuracy);
        if (train->io.classes > 5) {
            dpt_train__field_real(record, "top5", score->top5);
        }
    } else {
        dpt_train__field_real(record, "rmse", score->rmse);
        dpt_train__field_real(record, "r2", score->r2);
    }
}

static void write_line(const struct dpt_train *train, const struct dpt_exec_step *step, const struct line *line)
{
    struct dpt_text record = {0};
    dpt_train__record(train, "train", &record);
    add_score(train, &record, &line->score);
    dpt_train__field_real(&record, "lr", step->lr);
    dpt_train__field_real(&record, "grad_norm", step->grad_norm);
    if (train->job->run.precision == DPT_PRECISION_FP16) {
        dpt_train__field_real(&record, "loss_scale", ldexp(1.0, train->state->loss_shift));
        dpt_train__field_real(&record, "skipped", (double)(train->state->step - train->state->updates));
    }
    dpt_train__field_real(&record, "step_ms", line->step_ms);
    dpt_train__field_real(&record, "samples_per_s", line->samples_per_s);
    if (line->tokens_per_s > 0.0) {
        dpt_train__field_real(&record, "tokens_per_s", line->tokens_per_s);
    }
    dpt_train__write(train, &record);
    char tag[32];
    snprintf(tag, sizeof tag, "train/%s", figure_name[dpt_train__task(train)]);
    dpt_train__curve(train, "train/loss", line->score.loss);
    dpt_train__curve(train, tag, figure(train, &line->score));
    dpt_train__curve(train, "train/lr", step->lr);
    dpt_train__curve(train, "train/grad_norm", step->grad_norm);
}

static bool is_due(const struct dpt_train *train, double now)
{
    const struct dpt_span every = train->job->log.every;
    const int64_t steps = dpt_span_steps(every, train->steps_per_epoch);
    return (steps > 0 && train->state->step / steps > train->line_step / steps) ||
           (every.unit == DPT_SPAN_UNIT_SECONDS && now - train->logged_s >= every.value) ||
           (every.unit != DPT_SPAN_UNIT_NONE && train->line_step == train->first_step);
}

void dpt_train__line(struct dpt_train *train, const struct dpt_exec_step *step, bool now)
{
    const double clock = dpt_clock_s();
    if (!train->speaks) {
        return;
    }
    if (train->meter.steps == 0 || !(now || is_due(train, clock))) {
        return;
    }
    const struct line line = measure(train, clock);
    if (line.score.samples == 0.0) { /* others have done these steps, and what they measured was in the last line */
        return;
    }
    write_line(train, step, &line);
    if (train->job->log.progress != DPT_PROGRESS_NONE) {
        print_line(train, step, &line);
    }
    train->line_step = train->state->step;
    train->logged_s = dpt_clock_s();
    dpt_exec_seconds(train->exec)[DPT_SECTION_LOG] += train->logged_s - clock;
    start_meter(train, train->logged_s);
}

/* -------------------------------------------------------------------------------------------------------- events */

void dpt_train__score_text(const struct dpt_train *train, const struct dpt_train__score *score, struct dpt_text *text)
{
    dpt_text_add(text, "loss %.5f", score->loss);
    switch (dpt_train__task(train)) {
    case DPT_TRAIN__TASK_TOKENS:
        dpt_text_add(text, ", perplexity %.5g", score->perplexity);
        if (score->bits_per_byte > 0.0) {
            dpt_text_add(text, ", %.4f bits a byte", score->bits_per_byte);
        }
        break;
    case DPT_TRAIN__TASK_CLASS:
        dpt_text_add(text, ", accuracy %.2f%%", 100.0 * score->accuracy);
        if (train->io.classes > 5) {
            dpt_text_add(text, ", top-5 %.2f%%", 100.0 * score->top5);
        }
        break;
    case DPT_TRAIN__TASK_NUMBERS:
        dpt_text_add(text, ", rmse %.5g, R2 %.4f", score->rmse, score->r2);
        break;
    }
}

void dpt_train__tell_score(struct dpt_train *train, const struct dpt_train__eval *eval,
                           const struct dpt_train__score *score, bool best)
{
    struct dpt_text record = {0}, text = {0};
    char tag[48];
    if (!train->speaks) {
        return;
    }
    dpt_train__score_text(train, score, &text);
    dpt_log("%8" PRId64 " %s: %s", train->state->step, eval->name, text.data);
    dpt_text_free(&text);
    dpt_log("%s\n", best && train->job->checkpoint.best ? " (best)" : "");
    dpt_train__record(train, "eval", &record);
    dpt_train__field_text(&record, "split", eval->name);
    add_score(train, &record, score);
    dpt_train__write(train, &record);
    snprintf(tag, sizeof tag, "%s/loss", eval->name);
    dpt_train__curve(train, tag, score->loss);
    snprintf(tag, sizeof tag, "%s/%s", eval->name, figure_name[dpt_train__task(train)]);
    dpt_train__curve(train, tag, figure(train, score));
}

void dpt_train__tell_saved(struct dpt_train *train, uint64_t nbytes)
{
    struct dpt_text record = {0};
    char size[24];
    if (!train->speaks) {
        return;
    }
    dpt_log("%8" PRId64 " checkpoint: %s in %.2f s\n", train->state->step, dpt_text_bytes(size, sizeof size, nbytes),
            train->save_s);
    dpt_train__record(train, "checkpoint", &record);
    dpt_train__field_real(&record, "nbytes", (double)nbytes);
    dpt_train__field_real(&record, "seconds", train->save_s);
    dpt_train__write(train, &record);
}
