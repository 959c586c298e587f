/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Text from a trained language model: all of dpt-generate but its command line. */

#include <stdbool.h>

#include "base/text.h"
#include "lm/model.h"
#include "lm/sample.h"

struct dpt_generate_conf {
    const char *checkpoint; /* run directory or folder of one checkpoint                                  */
    enum dpt_ckpt_which which;
    const char *tokenizer;  /* folder or file of a tokenizer; NULL: the checkpoint's                      */
    const char *prompt;     /* bytes; NULL: the beginning of a text                                       */
    size_t prompt_nbytes;
    struct dpt_sample_conf sample;
    int texts;              /* how many, side by side                                                     */
    int64_t tokens;         /* how many more than the prompt, at most                                     */
    int threads;            /* 0: one for each core that the process may use                              */
    int device;             /* an enum dpt_device; -1: as the job says, on cores where there is no card   */
    int precision;          /* an enum dpt_precision; -1: as the job says                                 */
};

/*
 * Takes what was generated: pieces of one text after the other, in whole characters where the tokenizer makes text.
 * `end`: this text is complete. Another status than OK ends the generation with it.
 */
typedef enum dpt_status dpt_generate_fn(void *user, int text, const char *bytes, size_t nbytes, bool end);

/*
 * Generates. A single text comes piece by piece as it is made, several one after the other when all are complete. Each
 * begins with the prompt and stops at the end-of-text token, which is not written. When the model's context is full, it
 * goes on from the last half of it. `notes` gets what the user should know, also after a failure, `summary` one line.
 * DPT_STATUS_DATA, DPT_STATUS_USAGE, DPT_STATUS_DIVERGED when the model's outputs are not finite, DPT_STATUS_SPACE.
 * Local.
 */
enum dpt_status dpt_generate(const struct dpt_generate_conf *conf, dpt_generate_fn *write, void *user,
                             struct dpt_text *notes, struct dpt_text *summary);
