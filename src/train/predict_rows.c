/* SPDX-License-Identifier: Apache-2.0 */
#include "train/predict_rows.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

/* Sums over all samples, for the summary. Of the targets `shift`, the first, is taken off: so squares keep digits. */
struct sums {
    int64_t samples;
    int64_t right, right_in_top;
    int64_t elements;
    double shift, error2, target, target2;
};

struct dpt_train__rows {
    struct dpt_arena *arena;
    const struct dpt_data_info *info;
    enum dpt_predict_format format;
    int64_t outputs; /* classes or numbers of a sample                       */
    int top;
    char **name;     /* [outputs] as they stand in a line: quoted if need be */
    double *y, *target; /* [outputs] of the sample at hand                   */
    struct sums sums;
};

/* ----------------------------------------------------------------------------------------------------- names */

/* A field as RFC 4180 has it. */
static void add_csv(struct dpt_text *text, const char *field)
{
    if (*field && !strpbrk(field, ",\"\r\n") && field[0] != ' ' && field[strlen(field) - 1] != ' ') {
        dpt_text_add(text, "%s", field);
        return;
    }
    dpt_text_add(text, "\"");
    for (const char *at = field; *at; at++) {
        dpt_text_add(text, "%s%c", *at == '"' ? "\"" : "", *at);
    }
    dpt_text_add(text, "\"");
}

/* What stands for output `i`: of classes the name or the number, of numbers "PREFIX_NAME" in the head of a CSV. */
static char *make_name(const struct dpt_train__rows *rows, const struct dpt_data *data, int64_t i)
{
    const bool json = rows->format == DPT_PREDICT_FORMAT_JSONL;
    const char *name = rows->info->classes ? dpt_data_class(data, i) : dpt_data_target(data, i);
    struct dpt_text text = {0};
    if (!name && rows->info->classes) {
        dpt_text_add(&text, "%" PRId64, i);
    } else if (json) {
        dpt_text_add_json(&text, name ? name : dpt_arena_printf(rows->arena, "%" PRId64, i + 1));
    } else if (rows->info->classes) {
        add_csv(&text, name);
    } else {
        dpt_text_add(&text, "%s", name ? name : dpt_arena_printf(rows->arena, "%" PRId64, i + 1));
    }
    char *copy = dpt_arena_strdup(rows->arena, text.data);
    dpt_text_free(&text);
    return copy;
}

struct dpt_train__rows *dpt_train__rows_new(const struct dpt_data *data, enum dpt_predict_format format, int top)
{
    const struct dpt_data_info *info = dpt_data_info(data);
    struct dpt_arena *arena = dpt_arena_new();
    struct dpt_train__rows *rows = dpt_arena_alloc(arena, sizeof *rows);
    DPT_ASSERT(top >= 1 && top <= DPT_PREDICT_TOP_MAX);
    rows->arena = arena;
    rows->info = info;
    rows->format = format;
    rows->outputs = info->classes ? info->classes : info->targets;
    rows->top = top < rows->outputs ? top : (int)rows->outputs;
    rows->y = dpt_arena_array(arena, (size_t)rows->outputs, sizeof *rows->y);
    rows->target = dpt_arena_array(arena, (size_t)rows->outputs, sizeof *rows->target);
    rows->name = dpt_arena_array(arena, (size_t)rows->outputs, sizeof *rows->name);
    for (int64_t i = 0; i < rows->outputs; i++) {
        rows->name[i] = make_name(rows, data, i);
    }
    return rows;
}

void dpt_train__rows_free(struct dpt_train__rows *rows)
{
    if (rows) {
        dpt_arena_free(rows->arena);
    }
}

/* ----------------------------------------------------------------------------------------------------- classes */

/* The likeliest classes, best first; of equal ones the lower comes first, as in training's count of right answers. */
struct best {
    int64_t class[DPT_PREDICT_TOP_MAX];
    double logit[DPT_PREDICT_TOP_MAX];
    double probability[DPT_PREDICT_TOP_MAX];
};

static void find_best(const struct dpt_train__rows *rows, const double *logit, struct best *best)
{
    int count = 0;
    for (int64_t c = 0; c < rows->outputs; c++) {
        if (count == rows->top && logit[c] <= best->logit[count - 1]) {
            continue;
        }
        int at = count < rows->top ? count++ : count - 1;
        for (; at > 0 && logit[c] > best->logit[at - 1]; at--) {
            best->class[at] = best->class[at - 1];
            best->logit[at] = best->logit[at - 1];
        }
        best->class[at] = c;
        best->logit[at] = logit[c];
    }
    /* Softmax; with the largest taken off nothing overflows, and the sum is 1 at least. */
    double sum = 0.0;
    for (int64_t c = 0; c < rows->outputs; c++) {
        sum += exp(logit[c] - best->logit[0]);
    }
    for (int k = 0; k < rows->top; k++) {
        best->probability[k] = exp(best->logit[k] - best->logit[0]) / sum;
    }
}

static void add_class_csv(const struct dpt_train__rows *rows, const struct best *best, const int32_t *label,
                          struct dpt_text *text)
{
    for (int k = 0; k < rows->top; k++) {
        dpt_text_add(text, ",%s,%.6g", rows->name[best->class[k]], best->probability[k]);
    }
    if (label) {
        dpt_text_add(text, ",%s,%s", rows->name[*label], *label == best->class[0] ? "yes" : "no");
    }
}

static void add_class_json(const struct dpt_train__rows *rows, const struct best *best, const int32_t *label,
                           struct dpt_text *text)
{
    dpt_text_add(text, ", \"class\": %s, \"probability\": %.6g", rows->name[best->class[0]], best->probability[0]);
    for (int k = 0; k < rows->top && rows->top > 1; k++) {
        dpt_text_add(text, "%s{\"class\": %s, \"probability\": %.6g}", k ? ", " : ", \"top\": [",
                     rows->name[best->class[k]], best->probability[k]);
    }
    dpt_text_add(text, "%s", rows->top > 1 ? "]" : "");
    if (label) {
        dpt_text_add(text, ", \"label\": %s, \"right\": %s", rows->name[*label],
                     *label == best->class[0] ? "true" : "false");
    }
}

static void add_class(struct dpt_train__rows *rows, const double *logit, const int32_t *label, struct dpt_text *text)
{
    struct best best;
    find_best(rows, logit, &best);
    (rows->format == DPT_PREDICT_FORMAT_CSV ? add_class_csv : add_class_json)(rows, &best, label, text);
    if (label) {
        rows->sums.right += *label == best.class[0];
        for (int k = 0; k < rows->top; k++) {
            rows->sums.right_in_top += *label == best.class[k];
        }
    }
}

/* ----------------------------------------------------------------------------------------------------- numbers */

/* With as few digits as it takes to read the same number again. */
static void add_number(double value, bool single, struct dpt_text *text)
{
    char number[40];
    int digits = single ? 6 : 15;
    const int most = single ? 9 : 17;
    do {
        snprintf(number, sizeof number, "%.*g", digits, value);
    } while ((single ? (double)strtof(number, NULL) : strtod(number, NULL)) != value && digits++ < most);
    dpt_text_add(text, "%s", number);
}

static void add_numbers(const struct dpt_train__rows *rows, const char *key, const double *value, bool single,
                        struct dpt_text *text)
{
    const bool json = rows->format == DPT_PREDICT_FORMAT_JSONL;
    for (int64_t i = 0; i < rows->outputs; i++) {
        if (json && i == 0) {
            dpt_text_add(text, ", \"%s\": {%s: ", key, rows->name[i]);
        } else if (json) {
            dpt_text_add(text, ", %s: ", rows->name[i]);
        } else {
            dpt_text_add(text, ",");
        }
        add_number(value[i], single, text);
    }
    dpt_text_add(text, "%s", json ? "}" : "");
}

static void count_error(struct sums *sums, double y, double t)
{
    if (sums->elements++ == 0) {
        sums->shift = t;
    }
    sums->error2 += (y - t) * (y - t);
    sums->target += t - sums->shift;
    sums->target2 += (t - sums->shift) * (t - sums->shift);
}

/* ----------------------------------------------------------------------------------------------------- samples */

void dpt_train__rows_head(struct dpt_train__rows *rows, struct dpt_text *text)
{
    static const char *const prefix[2] = {"predicted_", "target_"};
    if (rows->format == DPT_PREDICT_FORMAT_JSONL) {
        return;
    }
    dpt_text_add(text, "row");
    if (rows->info->classes) {
        dpt_text_add(text, ",class,probability");
        for (int k = 2; k <= rows->top; k++) {
            dpt_text_add(text, ",class_%d,probability_%d", k, k);
        }
        dpt_text_add(text, "%s\n", rows->info->labelled ? ",label,right" : "");
        return;
    }
    for (int p = 0; p < (rows->info->labelled ? 2 : 1); p++) {
        for (int64_t i = 0; i < rows->outputs; i++) {
            dpt_text_add(text, ",");
            add_csv(text, dpt_arena_printf(rows->arena, "%s%s", prefix[p], rows->name[i]));
        }
    }
    dpt_text_add(text, "\n");
}

/* Appends one line without its begin and end. `y` are the model's outputs. */
static void add_row(struct dpt_train__rows *rows, const double *y, bool single, const void *target, int64_t at,
                    struct dpt_text *text)
{
    if (rows->info->classes) {
        add_class(rows, y, target ? (const int32_t *)target + at : NULL, text);
        return;
    }
    add_numbers(rows, "predicted", y, single, text);
    if (target) {
        for (int64_t i = 0; i < rows->outputs; i++) {
            rows->target[i] = ((const float *)target)[at * rows->outputs + i];
            count_error(&rows->sums, y[i], rows->target[i]);
        }
        add_numbers(rows, "target", rows->target, true, text);
    }
}

enum dpt_status dpt_train__rows_add(struct dpt_train__rows *rows, const struct dpt_tensor *output, const void *target,
                                    struct dpt_text *text)
{
    const int64_t n = rows->outputs, count = output->type.dim[0];
    const bool single = output->type.dtype == DPT_DTYPE_F32, json = rows->format == DPT_PREDICT_FORMAT_JSONL;
    DPT_ASSERT(dpt_type_numel(&output->type) == count * n);
    for (int64_t r = 0; r < count; r++) {
        const int64_t row = ++rows->sums.samples;
        for (int64_t i = 0; i < n; i++) {
            const int64_t at = r * n + i;
            rows->y[i] = single ? (double)((const float *)output->data)[at] : ((const double *)output->data)[at];
            DPT_CHECK(isfinite(rows->y[i]), DPT_STATUS_DIVERGED,
                      "%s: sample %" PRId64 ": output %" PRId64 " of the model is %g; its training diverged, or the "
                      "sample is far from all training data",
                      rows->info->source, row, i + 1, rows->y[i]);
        }
        dpt_text_add(text, json ? "{\"row\": %" PRId64 : "%" PRId64, row);
        add_row(rows, rows->y, single, target, r, text);
        dpt_text_add(text, json ? "}\n" : "\n");
    }
    return DPT_STATUS_OK;
}

void dpt_train__rows_summary(const struct dpt_train__rows *rows, struct dpt_text *text)
{
    const struct sums *s = &rows->sums;
    const double samples = (double)s->samples, elements = (double)s->elements;
    dpt_text_add(text, "%" PRId64 " sample%s", s->samples, s->samples == 1 ? "" : "s");
    if (!rows->info->labelled) {
        return;
    }
    if (rows->info->classes) {
        dpt_text_add(text, ", accuracy %.2f %%", 100.0 * (double)s->right / samples);
        if (rows->top > 1) {
            dpt_text_add(text, ", right among the first %d %.2f %%", rows->top,
                         100.0 * (double)s->right_in_top / samples);
        }
        return;
    }
    dpt_text_add(text, ", RMSE %.6g", sqrt(s->error2 / elements));
    const double spread = s->target2 - s->target * s->target / elements;
    if (spread > 0.0) {
        dpt_text_add(text, ", R2 %.4f", 1.0 - s->error2 / spread);
    }
}
