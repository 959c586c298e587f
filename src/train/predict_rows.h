/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Private to dpt-predict: from the model's outputs to lines of text, and how many of them are right. */

#include <stdint.h>
#include <stdio.h>

#include "base/text.h"
#include "data/data.h"
#include "tensor/tensor.h"
#include "train/predict.h"

struct dpt_train__rows;

/* A writer for the samples of `data`, which must outlive it; `top` is cut to the number of classes. Local. */
struct dpt_train__rows *dpt_train__rows_new(const struct dpt_data *data, enum dpt_predict_format format, int top);

/* NULL is fine. Local. */
void dpt_train__rows_free(struct dpt_train__rows *rows);

/* Appends the line that names the columns; JSON has none. Local. */
void dpt_train__rows_head(struct dpt_train__rows *rows, struct dpt_text *text);

/*
 * Appends a line for each of the samples behind those seen so far. `output` [rows, outputs] are logits or predicted
 * numbers, F32 or F64; `target` is as in struct dpt_batch. DPT_STATUS_DIVERGED where an output is not finite. Local.
 */
enum dpt_status dpt_train__rows_add(struct dpt_train__rows *rows, const struct dpt_tensor *output, const void *target,
                                    struct dpt_text *text);

/* Appends "10000 samples, accuracy 91.23 %" about all that was added. Local. */
void dpt_train__rows_summary(const struct dpt_train__rows *rows, struct dpt_text *text);
