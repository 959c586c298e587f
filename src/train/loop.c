/* SPDX-License-Identifier: Apache-2.0 */

/* The training of a job, from the first word to the last: this is the program's table of contents. */

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "train/internal.h"

/* True after the steps at which something that is done every so often falls due. */
static bool is_due(const struct dpt_train *train, struct dpt_span every, int bit, const struct dpt_exec_step *step)
{
    const int64_t steps = dpt_span_steps(every, train->steps_per_epoch);
    const bool passed = steps > 0 && train->state->step / steps > train->last_between / steps;
    return passed || ((int)step->flag[DPT_TRAIN__FLAG_RANK0] & bit);
}

static enum dpt_status diverged(const struct dpt_train *train, const struct dpt_exec_step *step)
{
    char saved[64] = "there is no checkpoint";
    if (train->saved_step >= 0) {
        snprintf(saved, sizeof saved, "the last checkpoint is that of step %" PRId64, train->saved_step);
    }
    return dpt_error_set(DPT_STATUS_DIVERGED, __FILE__, __LINE__,
                         "step %" PRId64 ": the loss is %g and the norm of the gradient %g: the training has diverged; %s. "
                         "Try a smaller optimizer.lr (now %g), a longer schedule.warmup, or optimizer.clip = 1%s",
                         train->state->step, fabs(step->metric[0]) / (double)train->plan->conf.batch_rows,
                         fabs(step->grad_norm), saved, train->job->optimizer.lr, /* fabs: nan has no sign to print */
                         train->job->run.precision == DPT_PRECISION_FP16 ? "; or run.precision = bf16, which has the range" : "");
}

/* A periodic checkpoint that fails does not end the training: the next one may succeed. */
static enum dpt_status save_on_the_way(struct dpt_train *train, bool is_best)
{
    const enum dpt_status status = dpt_train__save(train, is_best);
    if (status == DPT_STATUS_SPACE) {
        dpt_log("WARNING this checkpoint was not saved: %s. The training goes on; make room before the next one\n",
                dpt_error_text());
        return DPT_STATUS_OK;
    }
    return status;
}

/* What is done between steps: evaluate, save. */
static enum dpt_status between_steps(struct dpt_train *train, const struct dpt_exec_step *step)
{
    const struct dpt_job *job = train->job;
    const bool last = train->state->step >= train->steps;
    const bool asked = step->flag[DPT_TRAIN__FLAG_SAVE] > 0.0;
    const bool evaluates = train->valid.data && (last || is_due(train, job->eval.every, DPT_TRAIN__BIT_EVAL, step));
    const bool saves = asked || is_due(train, job->checkpoint.every, DPT_TRAIN__BIT_SAVE, step);
    bool best = false;
    if (last || train->stopped || evaluates || saves) {
        DPT_TRY(dpt_train__stream_join(train));
    }
    if (evaluates) {
        dpt_train__line(train, step, true);
        best = dpt_train__evaluate(train, &train->valid);
    }
    const bool keep_best = best && job->checkpoint.best && job->checkpoint.every.unit != DPT_SPAN_UNIT_NONE;
    if (last || train->stopped) {
        dpt_train__line(train, step, true);
        DPT_TRY(dpt_train__save(train, best && job->checkpoint.best));
    } else if (keep_best || saves) {
        dpt_train__line(train, step, true);
        DPT_TRY(save_on_the_way(train, best && job->checkpoint.best));
    }
    train->last_between = train->state->step;
    train->meter.begin_s = train->meter.steps == 0 ? dpt_clock_s() : train->meter.begin_s;
    return DPT_STATUS_OK;
}

/* A step of the batch that is next for all ranks. */
static enum dpt_status step_in_order(struct dpt_train *train, struct dpt_exec_step *step, bool alone, bool meets)
{
    if (meets) {
        dpt_train__ask(train, step->flag);
    }
    DPT_TRY(dpt_train__local_begin(train));
    dpt_train__must(dpt_exec_train(train->exec, train->loader, step));
    if (alone) {
        dpt_train__must(dpt_train__local_step(train, step, meets));
    }
    return DPT_STATUS_OK;
}

/* A step; *meets: all ranks have done it together, or have met after it. */
static enum dpt_status one_step(struct dpt_train *train, struct dpt_exec_step *step, bool *meets)
{
    const double begin_s = dpt_clock_s();
    const int64_t before = train->state->step;
    const bool alone = dpt_train__alone(train);
    *meets = dpt_train__meets(train);
    *step = (struct dpt_exec_step){
        .lr = dpt_schedule_lr(train->job, train->state->step, train->steps, train->steps_per_epoch),
        .clip = train->job->optimizer.clip,
        .alone = alone ? dpt_train__axis(train, "data") : 0,
    };
    if (train->async) {
        dpt_train__must(dpt_train__async_step(train, step, meets));
    } else {
        DPT_TRY(step_in_order(train, step, alone, *meets));
    }
    if (!dpt_train__scale(train, step)) {
        return diverged(train, step);
    }
    if (train->start_s == 0.0) {
        train->start_s = dpt_clock_process_s();
    }
    dpt_train__meter_add(train, step, train->state->step - before, dpt_clock_s() - begin_s);
    if (*meets || train->async) {
        dpt_train__line(train, step, false);
    }
    if (!*meets) {
        return DPT_STATUS_OK;
    }
    train->stopped = train->state->step < train->steps ? dpt_train__agreed(step->flag) : NULL;
    return DPT_STATUS_OK;
}

static void write_start(struct dpt_train *train)
{
    struct dpt_text record = {0};
    char name[96], layout[DPT_TRAIN__LAYOUT_SIZE];
    dpt_train__record(train, "start", &record);
    dpt_train__field_text(&record, "version", PACKAGE_VERSION);
    dpt_train__field_text(&record, "job", train->job->run.name);
    dpt_train__field_text(&record, "model", dpt_model_name(train->job, &train->io, name, sizeof name));
    dpt_train__field_text(&record, "mpi", dpt_comm_library());
    dpt_train__field_text(&record, "device", train->dev->name);
    dpt_train__field_real(&record, "ranks", dpt_train__ranks(train));
    dpt_train__field_text(&record, "layout", dpt_train__layout_text(train, layout));
    dpt_train__field_real(&record, "threads", train->threads);
    dpt_train__field_real(&record, "steps", (double)train->steps);
    dpt_train__write(train, &record);
}

/* The steps, from where the run stands to its end or a stop. */
static enum dpt_status run_steps(struct dpt_train *train)
{
    struct dpt_exec_step step;
    bool meets;
    train->last_between = train->line_step = train->state->step;
    DPT_TRY(dpt_agree(dpt_train__new_loader(train), train->world));
    train->begin_s = train->meter.begin_s = train->logged_s = train->saved_s = train->evaluated_s = dpt_clock_s();
    while (train->state->step < train->steps && !train->stopped) {
        DPT_TRY(one_step(train, &step, &meets));
        if (meets) {
            DPT_TRY(between_steps(train, &step));
            DPT_TRY(dpt_train__reshare(train));
        }
    }
    if (train->test.data && !train->stopped) {
        dpt_train__evaluate(train, &train->test);
    }
    if (train->stopped && train->stop_file && train->speaks) {
        remove(train->stop_path);
    }
    return dpt_train__end(train);
}

/* --eval-only: the state that was loaded, on all data that it does not learn from. */
static enum dpt_status evaluate_only(struct dpt_train *train)
{
    bool finished;
    DPT_CHECK(train->valid.data || train->test.data, DPT_STATUS_USAGE,
              "--eval-only: the job has no validation and no test data");
    DPT_TRY(dpt_train__resume(train, &finished));
    dpt_train__banner(train, train->first_step > 0);
    DPT_TRY(dpt_comm_deadline(train->world, train->job->run.deadline_s));
    if (train->valid.data) {
        dpt_train__evaluate(train, &train->valid);
    }
    if (train->test.data) {
        dpt_train__evaluate(train, &train->test);
    }
    return dpt_comm_deadline(train->world, 0.0);
}

static enum dpt_status begin_run(struct dpt_train *train, bool *finished)
{
    DPT_TRY(dpt_train__resume(train, finished));
    if (*finished) {
        dpt_log("%s: the run is finished: step %" PRId64 " of %" PRId64
                ". A greater run.length goes on from here; -o DIR begins another run\n",
                train->job->run.output, train->state->step, train->steps);
        return DPT_STATUS_OK;
    }
    DPT_TRY(dpt_agree(train->speaks ? dpt_train__metrics_open(train) : DPT_STATUS_OK, train->world));
    dpt_train__banner(train, train->first_step > 0);
    write_start(train);
    if (dpt_log_debug("plan") && train->speaks) {
        struct dpt_text text = {0};
        dpt_plan_print(train->plan, &text);
        fputs(text.data, stderr);
        dpt_text_free(&text);
    }
    return DPT_STATUS_OK;
}

/* Threads of a rank: as asked for, or the cores that are its own. One where every bit counts. */
static int choose_threads(const struct dpt_train *train)
{
    const int share = train->cores.share > 0 ? train->cores.share : 1;
    return train->job->run.reproducible ? 1 : train->job->run.threads ? (int)train->job->run.threads : share;
}

static enum dpt_status train_all(struct dpt_train *train, bool *paused)
{
    bool finished;
    DPT_TRY(dpt_train__mesh(train, dpt_comm_size(train->world)));
    DPT_TRY(dpt_comm_cores(train->world, &train->cores));
    train->threads = choose_threads(train);
    /* A rank with one core reads when it needs samples: a thread would only take turns with the step. */
    train->ahead = train->cores.share > 1 ? train->job->data.prefetch : 0;
    DPT_TRY(dpt_train__count_sharers(train));
    DPT_TRY(dpt_agree(dpt_train__plan(train), train->world));
    DPT_TRY(dpt_train__bind(train));
    if (train->options->eval_only) {
        return evaluate_only(train);
    }
    DPT_TRY(begin_run(train, &finished));
    if (finished) {
        return DPT_STATUS_OK;
    }
    DPT_TRY(dpt_comm_deadline(train->world, train->job->run.deadline_s));
    const enum dpt_status status = run_steps(train);
    *paused = status == DPT_STATUS_OK && train->stopped;
    DPT_TRY(dpt_comm_deadline(train->world, 0.0));
    return status;
}

enum dpt_status dpt_train(const struct dpt_job *job, const struct dpt_options *options, struct dpt_comm *world,
                          bool *paused)
{
    struct dpt_train train = {
        .job = job,
        .options = options,
        .world = world,
        .speaks = dpt_comm_rank(world) == 0,
        .arena = dpt_arena_new(),
        .lock = -1,
        .best_step = -1,
        .limit_s = dpt_train__limit(job),
    };
    *paused = false;
    train.stop_path = dpt_train__path(&train, "STOP");
    dpt_log_speak(train.speaks && !options->quiet);
    dpt_train__catch_signals();
    const enum dpt_status status = train_all(&train, paused);
    dpt_train__metrics_close(&train);
    dpt_train__leave(&train);
    dpt_log_open(NULL);
    if (status == DPT_STATUS_OK) {
        dpt_train__free(&train);
    } else { /* the job only ends, others may be stuck in the middle of something; but reading ahead needs the mesh of here */
        dpt_loader_free(train.loader);
    }
    return status;
}
