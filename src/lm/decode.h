/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * lm/: what a trained language model is used for: text from it (decode, sample, generate), and its weights in the folders
 * of other programs (hf, convert). Neither needs MPI or the data of the training.
 *
 * This header: a model that reads tokens and says what may come next. Keys and values of what it has read are kept, so
 * that a token costs the work of one position. It knows nothing of families: it runs the nodes of the model's forward
 * graph, built for a few positions, and tells each op that these lie at a later place of the text, as it would be told
 * where a text is shared by ranks. Only attention is seen: its keys and values are those kept.
 */

#include <stdint.h>

#include "ckpt/ckpt.h"
#include "conf/job.h"
#include "model/model.h"

struct dpt_decode;

struct dpt_decode_conf {
    const struct dpt_job *job;
    struct dpt_model_io io; /* dim[0]: the model's context                                   */
    int64_t most;           /* positions of a text that are kept, up to the context          */
    int texts;              /* that are read side by side, each with its own keys and values */
    enum dpt_device device;
    enum dpt_precision precision; /* with 16 bits the kept keys and values have them too     */
    int threads;            /* of the cores                                                  */
};

/*
 * Opens the device; memory for weights and for keys and values. DPT_STATUS_SPACE, DPT_STATUS_USAGE where a card is asked
 * for and there is none. Freed by dpt_decode_free. Local.
 */
enum dpt_status dpt_decode_new(const struct dpt_decode_conf *conf, struct dpt_decode **decode);
void dpt_decode_free(struct dpt_decode *decode);

/* Why it is the cores although there is a card, or "". Local. */
const char *dpt_decode_why(const struct dpt_decode *decode);

/* Reads the weights. DPT_STATUS_DATA where they are not this model's. Local. */
enum dpt_status dpt_decode_load(struct dpt_decode *decode, struct dpt_ckpt *ckpt);

/*
 * The weights, where they lie, on cores to be read or set: the i-th with its name, false past the end. In 16 bits factors
 * of products hold numbers that have been rounded to them. Local.
 */
bool dpt_decode_weight(const struct dpt_decode *decode, int i, const char **name, struct dpt_tensor *tensor);

/*
 * Forgets what text `text` had read and reads 1 to `most` tokens from its first position on; `logits` are those after
 * the last one: io.classes or more numbers, in `real`, on the host. Valid until the next call. Local.
 */
enum dpt_status dpt_decode_begin(struct dpt_decode *decode, int text, const int32_t *id, int64_t count,
                                 struct dpt_tensor *logits);

/* Makes text `to` one that has read what `from` has. DPT_STATUS_FAILED when a card fails. Local. */
enum dpt_status dpt_decode_copy(struct dpt_decode *decode, int from, int to);

/*
 * Reads one more token of every text; all have read the same number, below `most`. `logits` [texts, v] are those
 * after them, valid until the next call. Local.
 */
enum dpt_status dpt_decode_next(struct dpt_decode *decode, const int32_t *id, struct dpt_tensor *logits);

/* Tokens that the texts have read. Local. */
int64_t dpt_decode_position(const struct dpt_decode *decode);
