/* SPDX-License-Identifier: Apache-2.0 */

/*
 * metrics.jsonl: one JSON object a line, for programs. A run that goes on appends; what an earlier start had written
 * after the step of the checkpoint is cut off first, so that a step is there once.
 */

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "train/internal.h"

/* The step of a record, or -1 for what is none. */
static int64_t step_of(const char *line, size_t length)
{
    json_t *record = json_loadb(line, length, 0, NULL);
    const json_t *step = json_object_get(record, "step");
    const int64_t at = json_is_integer(step) ? (int64_t)json_integer_value(step) : -1;
    json_decref(record);
    return at;
}

/* Keeps the records up to `step`. */
static enum dpt_status cut(const char *path, int64_t step)
{
    char *line = NULL;
    size_t room = 0;
    struct dpt_text kept = {0};
    FILE *file = fopen(path, "re");
    DPT_CHECK(file, DPT_STATUS_FAILED, "%s: cannot be read: %s", path, strerror(errno));
    for (ssize_t length = getline(&line, &room, file); length > 0; length = getline(&line, &room, file)) {
        const int64_t here = step_of(line, (size_t)length);
        if (here >= 0 && here <= step && line[length - 1] == '\n') {
            dpt_text_add(&kept, "%s", line);
        }
    }
    const bool whole = !ferror(file);
    free(line);
    fclose(file);
    enum dpt_status status = DPT_STATUS_OK;
    if (whole) {
        status = dpt_file_replace(path, kept.data ? kept.data : "", kept.length);
    } else {
        status = dpt_error_set(DPT_STATUS_FAILED, __FILE__, __LINE__, "%s: cannot be read to its end", path);
    }
    dpt_text_free(&kept);
    return status;
}

enum dpt_status dpt_train__metrics_open(struct dpt_train *train)
{
    const char *path = dpt_train__path(train, "metrics.jsonl");
    if (dpt_file_exists(path)) {
        DPT_TRY(train->first_step > 0 ? cut(path, train->first_step) : dpt_file_replace(path, "", 0));
    }
    train->metrics = fopen(path, "ae");
    DPT_CHECK(train->metrics, dpt_file_write_status(errno), "%s: cannot be opened: %s", path, strerror(errno));
    if (train->job->log.tensorboard) {
        DPT_TRY(dpt_tensorboard_open(train->job->run.output, &train->tensorboard));
    }
    return DPT_STATUS_OK;
}

void dpt_train__metrics_close(struct dpt_train *train)
{
    if (train->metrics) {
        fclose(train->metrics);
    }
    dpt_tensorboard_close(train->tensorboard);
    train->metrics = NULL;
    train->tensorboard = NULL;
}

void dpt_train__record(const struct dpt_train *train, const char *kind, struct dpt_text *record)
{
    char utc[24];
    const int64_t step = train->state->step;
    dpt_clock_utc(utc, sizeof utc);
    dpt_text_add(record, "{\"v\": 1, \"t\": \"%s\", \"kind\": \"%s\", \"step\": %" PRId64, utc, kind, step);
    dpt_text_add(record, ", \"epoch\": %.6g, \"samples\": %" PRId64, (double)step / (double)train->steps_per_epoch,
                 dpt_train__samples(train));
}

void dpt_train__field_real(struct dpt_text *record, const char *name, double value)
{
    if (isfinite(value)) {
        dpt_text_add(record, ", \"%s\": %.10g", name, value);
    } else {
        dpt_text_add(record, ", \"%s\": null", name);
    }
}

void dpt_train__field_text(struct dpt_text *record, const char *name, const char *value)
{
    dpt_text_add(record, ", \"%s\": ", name);
    dpt_text_add_json(record, value);
}

void dpt_train__write(const struct dpt_train *train, struct dpt_text *record)
{
    if (train->metrics) {
        const bool was_well = !ferror(train->metrics);
        fprintf(train->metrics, "%s}\n", record->data);
        if ((fflush(train->metrics) != 0 || ferror(train->metrics)) && was_well) {
            dpt_log("WARNING metrics.jsonl: cannot be written: %s; records from step %" PRId64 " on are missing\n",
                    strerror(errno), train->state->step);
        }
    }
    dpt_text_free(record);
}

void dpt_train__curve(const struct dpt_train *train, const char *tag, double value)
{
    if (train->tensorboard && dpt_tensorboard_scalar(train->tensorboard, tag, train->state->step, value)) {
        dpt_log("WARNING %s\n", dpt_error_text());
    }
}
