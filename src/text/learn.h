/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Learning a byte-level BPE from text: words are counted, then the pair of neighbouring tokens that comes most often
 * becomes a token, again and again. Of pairs that come equally often the one with the lower left token is taken, then the
 * one with the lower right token; so the result depends on the text alone, and is that of Hugging Face's trainer.
 */

#include <stddef.h>
#include <stdint.h>

#include "text/tokenizer.h"

struct dpt_learner;

/* A learner that has seen nothing. Freed by dpt_learner_free. Local. */
enum dpt_status dpt_learner_new(struct dpt_learner **learner);
void dpt_learner_free(struct dpt_learner *learner);

/*
 * Counts the words of a text, which is cut between words. Words over 256 bytes teach nothing; of more than some millions of
 * different words the rare ones are forgotten. DPT_STATUS_DATA where it is no UTF-8; `source` and `offset` as in
 * dpt_tokenizer_encode. Local.
 */
enum dpt_status dpt_learner_add(struct dpt_learner *learner, const char *source, int64_t offset, const char *text,
                                size_t nbytes);

/*
 * A tokenizer of `vocab` tokens: 256 bytes, merges, and last the end-of-text token. DPT_STATUS_DATA when the text has
 * not so many pairs that come twice. The learner is only good for free afterwards. Local.
 */
enum dpt_status dpt_learner_finish(struct dpt_learner *learner, int64_t vocab, struct dpt_tokenizer **tokenizer);
