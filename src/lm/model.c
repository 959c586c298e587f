/* SPDX-License-Identifier: Apache-2.0 */
#include "lm/model.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "data/data.h"

/* Context and vocabulary, from the record of the data that the model learned from. */
static enum dpt_status read_data(struct dpt_lm *lm)
{
    const char *path = dpt_ckpt_path(lm->ckpt), *record = dpt_ckpt_meta(lm->ckpt)->preparation;
    json_t *root = record ? json_loads(record, 0, NULL) : NULL;
    const json_t *shape = json_object_get(root, "shape");
    const json_t *context = json_array_get(shape, 0), *vocab = json_object_get(root, "classes");
    const bool good = json_is_integer(context) && json_is_integer(vocab) && json_integer_value(context) > 0 &&
                      json_integer_value(vocab) > 0;
    if (good) {
        lm->io = (struct dpt_model_io){.ndim = 1, .dim = {json_integer_value(context)}, .dtype = DPT_DTYPE_I32};
        lm->io.classes = json_integer_value(vocab);
        lm->io.targets = lm->io.dim[0];
    }
    json_decref(root);
    DPT_CHECK(good, DPT_STATUS_DATA, "%s: the record of the training data is damaged; use another checkpoint", path);
    if (dpt_model_shape(lm->job, &lm->io, &lm->shape) != DPT_STATUS_OK) {
        return dpt_error_set(DPT_STATUS_DATA, __FILE__, __LINE__, "%s: %s", path, dpt_error_text());
    }
    lm->io.dim[0] = lm->shape.context;
    return DPT_STATUS_OK;
}

static enum dpt_status read_tokenizer(struct dpt_lm *lm)
{
    const char *path = dpt_ckpt_path(lm->ckpt);
    char *text = dpt_data_tokenizer(dpt_ckpt_meta(lm->ckpt)->preparation);
    if (!text) {
        return DPT_STATUS_OK;
    }
    const enum dpt_status status = dpt_tokenizer_read(path, text, strlen(text), &lm->tokenizer);
    free(text);
    DPT_TRY(status);
    DPT_CHECK(dpt_tokenizer_vocab(lm->tokenizer) <= lm->io.classes, DPT_STATUS_DATA,
              "%s: its tokenizer has %lld tokens, the model %lld; use another checkpoint", path,
              (long long)dpt_tokenizer_vocab(lm->tokenizer), (long long)lm->io.classes);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_lm_open(const char *path, enum dpt_ckpt_which which, struct dpt_lm *lm, struct dpt_text *notes)
{
    *lm = (struct dpt_lm){0};
    DPT_TRY(dpt_ckpt_choose(path, which, &lm->ckpt, notes));
    DPT_TRY(dpt_ckpt_job(lm->ckpt, &lm->job));
    DPT_CHECK(dpt_model_is_language(lm->job), DPT_STATUS_DATA,
              "%s: is no language model; [model] type = gpt and llama are", dpt_ckpt_path(lm->ckpt));
    DPT_TRY(read_data(lm));
    return read_tokenizer(lm);
}

void dpt_lm_close(struct dpt_lm *lm)
{
    dpt_tokenizer_free(lm->tokenizer);
    dpt_job_free(lm->job);
    dpt_ckpt_close(lm->ckpt);
    *lm = (struct dpt_lm){0};
}
