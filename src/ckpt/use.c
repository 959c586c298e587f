/* SPDX-License-Identifier: Apache-2.0 */

/* What programs that use a trained net begin with: the checkpoint that they were told of, and its job. */

#include "ckpt/ckpt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/text.h"

enum dpt_status dpt_ckpt_choose(const char *path, enum dpt_ckpt_which which, struct dpt_ckpt **ckpt,
                                struct dpt_text *notes)
{
    struct stat info;
    struct dpt_text pointer = {0};
    *ckpt = NULL;
    DPT_CHECK(stat(path, &info) == 0, DPT_STATUS_DATA, "%s: %s", path, strerror(errno));
    DPT_CHECK(S_ISDIR(info.st_mode), DPT_STATUS_DATA,
              "%s: is a file; give the run directory or the folder of a checkpoint", path);
    dpt_text_add(&pointer, "%s/checkpoints/best", path); /* dpt-ckpt(5): where there is a best one, this file names it */
    const bool best =
        which == DPT_CKPT_WHICH_BEST || (which == DPT_CKPT_WHICH_AUTO && dpt_file_exists(pointer.data));
    dpt_text_free(&pointer);
    DPT_TRY(dpt_ckpt_open(path, best, ckpt, notes));
    struct dpt_text config = {0};
    dpt_text_add(&config, "%s/config.json", path);
    const bool converts = dpt_file_exists(config.data);
    dpt_text_free(&config);
    DPT_CHECK(*ckpt, DPT_STATUS_DATA, "%s: has no checkpoint%s", path,
              converts ? ", but a config.json: dpt-convert makes a run of what transformers saved" : "");
    return DPT_STATUS_OK;
}

enum dpt_status dpt_ckpt_job(const struct dpt_ckpt *ckpt, struct dpt_job **job)
{
    struct dpt_text name = {0};
    dpt_text_add(&name, "%s/config.ini", dpt_ckpt_path(ckpt));
    const enum dpt_status status = dpt_job_read_text(name.data, dpt_ckpt_meta(ckpt)->config, job, NULL);
    dpt_text_free(&name);
    /* It was good when it was written, so here it is no usage error. */
    DPT_CHECK(status == DPT_STATUS_OK, DPT_STATUS_DATA, "%s (is the checkpoint of a newer dpt?)", dpt_error_text());
    return DPT_STATUS_OK;
}

static enum dpt_status load_one(struct dpt_ckpt *ckpt, struct dpt_ckpt_item item, int i, dpt_ckpt_give_fn *give, void *user)
{
    const size_t nbytes = dpt_type_nbytes(&item.type);
    item.data = malloc(nbytes + 1);
    DPT_CHECK(item.data, DPT_STATUS_SPACE, "no memory for %s, %zu bytes", item.name, nbytes);
    enum dpt_status status = dpt_ckpt_load(ckpt, 1, &item, true);
    if (status == DPT_STATUS_OK) {
        status = give(user, i, item.data, nbytes);
    }
    free(item.data);
    return status;
}

enum dpt_status dpt_ckpt_load_each(struct dpt_ckpt *ckpt, int nitems, const struct dpt_ckpt_item *item,
                                   dpt_ckpt_give_fn *give, void *user)
{
    DPT_TRY(dpt_ckpt_check(ckpt, nitems, item, true));
    for (int i = 0; i < nitems; i++) {
        DPT_TRY(load_one(ckpt, item[i], i, give, user));
    }
    return DPT_STATUS_OK;
}
