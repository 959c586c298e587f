/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Weights to and from folders of Hugging Face's transformers: all of dpt-convert but its command line. */

#include "base/text.h"
#include "lm/model.h"

struct dpt_convert_conf {
    const char *from; /* run directory, checkpoint, or a folder that has config.json */
    enum dpt_ckpt_which which;
    const char *to;   /* a new folder, or an empty one                               */
};

/*
 * Converts. From a checkpoint: config.json, generation_config.json, model.safetensors and the tokenizer's files. From a
 * folder of transformers: a run directory with one checkpoint, of step 0, whose weights a job can begin with. Numbers
 * are those of the source, bit by bit; BF16 and F16 become F32. A weight that GPT-2's files hold transposed is turned here
 * and nowhere else: in a checkpoint every layer's weight is [outputs, inputs], so that a part of it that a rank holds is
 * a box of the file. `notes` gets what the user should know, `summary` one line. DPT_STATUS_DATA, DPT_STATUS_USAGE,
 * DPT_STATUS_SPACE, DPT_STATUS_FAILED. Local.
 */
enum dpt_status dpt_convert(const struct dpt_convert_conf *conf, struct dpt_text *notes, struct dpt_text *summary);
