/* SPDX-License-Identifier: Apache-2.0 */

/* How good the model is: figures from the sums that metric ops make, and evaluations. */

#include <math.h>

#include "base/clock.h"
#include "train/internal.h"

int64_t dpt_train__samples(const struct dpt_train *train)
{
    const int64_t step = train->state->step, per_epoch = train->steps_per_epoch;
    return step / per_epoch * dpt_data_info(train->data)->samples + step % per_epoch * train->job->batch.global;
}

enum dpt_train__task dpt_train__task(const struct dpt_train *train)
{
    return train->io.dtype == DPT_DTYPE_I32 ? DPT_TRAIN__TASK_TOKENS
           : train->io.classes              ? DPT_TRAIN__TASK_CLASS
                                            : DPT_TRAIN__TASK_NUMBERS;
}

const char *dpt_train__watched(const struct dpt_train *train)
{
    return dpt_train__task(train) == DPT_TRAIN__TASK_CLASS ? "valid accuracy" : "valid loss";
}

/* token_metrics: loss (of a sample: the sum over its tokens by the positions it has), right, tokens, samples */
static struct dpt_train__score token_score(const struct dpt_train *train, const struct dpt_data *data,
                                           const double metric[DPT_EXEC_METRICS])
{
    const double nbytes = dpt_data_info(data)->token_bytes;
    const double loss = metric[0] * (double)train->io.dim[0] / metric[2];
    return (struct dpt_train__score){
        .samples = metric[3],
        .loss = loss,
        .accuracy = metric[1] / metric[2],
        .tokens = metric[2],
        .perplexity = exp(loss),
        .bits_per_byte = nbytes > 0.0 ? loss / log(2.0) / nbytes : 0.0,
    };
}

struct dpt_train__score dpt_train__score(const struct dpt_train *train, const struct dpt_data *data,
                                         const double metric[DPT_EXEC_METRICS])
{
    if (dpt_train__task(train) == DPT_TRAIN__TASK_TOKENS) {
        return token_score(train, data, metric);
    }
    if (train->io.classes) { /* class_metrics: loss, right, right in the first 5, samples */
        const double samples = metric[3];
        return (struct dpt_train__score){
            .samples = samples,
            .loss = metric[0] / samples,
            .accuracy = metric[1] / samples,
            .top5 = metric[2] / samples,
        };
    }
    /* real_metrics: loss, (y - t)^2, t, t^2, elements, samples */
    const double elements = metric[4], spread = metric[3] - metric[2] * metric[2] / elements;
    return (struct dpt_train__score){
        .samples = metric[5],
        .loss = metric[0] / metric[5],
        .rmse = sqrt(metric[1] / elements),
        .r2 = spread > 0.0 ? 1.0 - metric[1] / spread : 0.0,
    };
}

void dpt_train__must(enum dpt_status status)
{
    if (status != DPT_STATUS_OK) {
        dpt_fatal(status, "%s", dpt_error_text());
    }
}

static void pass(const struct dpt_train *train, struct dpt_train__eval *eval, double metric[DPT_EXEC_METRICS])
{
    struct dpt_loader *loader;
    const struct dpt_plan *plan = eval->plan;
    const struct dpt_loader_conf conf = {
        .data = eval->data,
        .global = plan->conf.batch_rows,
        .micros = plan->micros,
        .max_rows = plan->max_rows,
        .dev = train->dev,
        .rows = dpt_plan_rows,
        .layout = plan,
    };
    dpt_train__must(dpt_loader_new(&conf, 0, &loader));
    dpt_train__must(dpt_exec_evaluate(eval->exec, loader, metric, NULL, NULL));
    dpt_loader_free(loader);
}

bool dpt_train__evaluate(struct dpt_train *train, struct dpt_train__eval *eval)
{
    const double begin_s = dpt_clock_s();
    double metric[DPT_EXEC_METRICS];
    pass(train, eval, metric);
    const struct dpt_train__score score = dpt_train__score(train, eval->data, metric);
    bool best = false;
    if (eval == &train->valid) {
        const bool by_accuracy = dpt_train__task(train) == DPT_TRAIN__TASK_CLASS, first = train->best_step < 0;
        const double value = by_accuracy ? score.accuracy : score.loss;
        best = first || (by_accuracy ? value > train->best_value : value < train->best_value);
        if (best) {
            train->best_step = train->state->step;
            train->best_value = value;
        }
        train->valid_score = score;
    } else {
        train->test_score = score;
    }
    train->evaluated_s = dpt_clock_s();
    dpt_exec_seconds(train->exec)[DPT_SECTION_EVAL] += train->evaluated_s - begin_s;
    dpt_train__tell_score(train, eval, &score, best && !train->options->eval_only);
    return best;
}
