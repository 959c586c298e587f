/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The folders of Hugging Face's transformers: config.json of GPT2LMHeadModel and LlamaForCausalLM, and how their
 * tensors differ from ours.
 */

#include <stdbool.h>

#include "base/text.h"
#include "model/model.h"

struct dpt_hf {
    bool gpt; /* else llama */
    struct dpt_model_shape shape;
    int64_t end; /* end-of-text token, or -1 */
};

/*
 * Reads <folder>/config.json. DPT_STATUS_DATA with what is missing, and with each setting that would make another model
 * of the same weights than dpt has. Local.
 */
enum dpt_status dpt_hf_read(const char *folder, struct dpt_hf *hf);

/* Appends a config.json; a generation_config.json. Local. */
void dpt_hf_config(const struct dpt_hf *hf, struct dpt_text *json);
void dpt_hf_generation(const struct dpt_hf *hf, struct dpt_text *json);

/* Appends the [model] and [data] sections of a job that has this model. Local. */
void dpt_hf_job(const struct dpt_hf *hf, struct dpt_text *ini);

/* True for weights that GPT-2's files hold as [inputs, outputs] where ours are [outputs, inputs]. Pure. */
bool dpt_hf_transposed(const struct dpt_hf *hf, const char *name);

/* True for tensors that files have beside the weights: masks, wavelengths, an output layer that is the embedding. Pure. */
bool dpt_hf_ignored(const struct dpt_hf *hf, const char *name);
