/* SPDX-License-Identifier: Apache-2.0 */
#include "lm/model.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "data/data.h"

static enum dpt_status open_checkpoint(const char *path, enum dpt_lm_which which, struct dpt_lm *lm,
                                       struct dpt_text *notes)
{
    struct stat info;
    struct dpt_text pointer = {0};
    DPT_CHECK(stat(path, &info) == 0, DPT_STATUS_DATA, "%s: %s", path, strerror(errno));
    DPT_CHECK(S_ISDIR(info.st_mode), DPT_STATUS_DATA,
              "%s: is a file; give the run directory or the folder of a checkpoint", path);
    dpt_text_add(&pointer, "%s/checkpoints/best", path); /* dpt-ckpt(5): where there is a best one, this file names it */
    const bool best =
        which == DPT_LM_WHICH_BEST || (which == DPT_LM_WHICH_AUTO && dpt_file_exists(pointer.data));
    dpt_text_free(&pointer);
    DPT_TRY(dpt_ckpt_open(path, best, &lm->ckpt, notes));
    DPT_CHECK(lm->ckpt, DPT_STATUS_DATA, "%s: has no checkpoint", path);
    return DPT_STATUS_OK;
}

static enum dpt_status read_job(struct dpt_lm *lm)
{
    const char *path = dpt_ckpt_path(lm->ckpt);
    if (dpt_job_read_text(path, dpt_ckpt_meta(lm->ckpt)->config, &lm->job, NULL) != DPT_STATUS_OK) {
        /* It was good when it was written, so here it is no usage error. */
        return dpt_error_set(DPT_STATUS_DATA, __FILE__, __LINE__, "%s/config.ini: %s (is the checkpoint of a newer dpt?)",
                             path, dpt_error_text());
    }
    DPT_CHECK(dpt_model_is_language(lm->job), DPT_STATUS_DATA,
              "%s: is no language model; [model] type = gpt and llama are", path);
    return DPT_STATUS_OK;
}

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

enum dpt_status dpt_lm_open(const char *path, enum dpt_lm_which which, struct dpt_lm *lm, struct dpt_text *notes)
{
    *lm = (struct dpt_lm){0};
    DPT_TRY(open_checkpoint(path, which, lm, notes));
    DPT_TRY(read_job(lm));
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
