/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A language model out of a checkpoint: its job, its shape, its tokenizer. */

#include "ckpt/ckpt.h"
#include "conf/job.h"
#include "model/model.h"
#include "text/tokenizer.h"

/* An opened language model; all of it is freed by dpt_lm_close, also after a failure to open it. */
struct dpt_lm {
    struct dpt_ckpt *ckpt;
    struct dpt_job *job;
    struct dpt_model_io io;          /* dim[0]: the most positions that the model can look at */
    struct dpt_model_shape shape;
    struct dpt_tokenizer *tokenizer; /* NULL: the checkpoint has none                         */
};

/*
 * Opens the checkpoint of a gpt or llama: a run directory or the folder of one checkpoint. `notes` gets what was passed
 * over, a line each. DPT_STATUS_DATA. Local.
 */
enum dpt_status dpt_lm_open(const char *path, enum dpt_ckpt_which which, struct dpt_lm *lm, struct dpt_text *notes);
void dpt_lm_close(struct dpt_lm *lm);
