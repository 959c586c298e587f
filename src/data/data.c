/* SPDX-License-Identifier: Apache-2.0 */

/* Opening, describing and fetching a split: what is the same for every format. */

#include "data/data.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "data/reader.h"

static const struct dpt_data__reader *const readers[] = {
    &dpt_data__idx,
    &dpt_data__csv,
    &dpt_data__tokens,
    &dpt_data__synthetic,
};

/* The choice of what is held back is an order like that of an epoch, with an epoch number that training never has. */
static const uint64_t HOLD_BACK_EPOCH = UINT32_MAX;

static const struct dpt_data__reader *find_reader(enum dpt_data_format format)
{
    for (size_t i = 0; i < sizeof readers / sizeof readers[0]; i++) {
        if (readers[i]->format == format) {
            return readers[i];
        }
    }
    dpt_fatal(DPT_STATUS_FAILED, "data format %d has no reader", (int)format);
}

/* -------------------------------------------------------------------------------------- what readers share */

enum dpt_status dpt_data__alloc(const char *what, int64_t count, int64_t size, void **block)
{
    int64_t nbytes;
    *block = NULL;
    if (count >= 0 && size >= 0 && !__builtin_mul_overflow(count, size, &nbytes)) {
        *block = malloc(nbytes ? (size_t)nbytes : 1);
    }
    DPT_CHECK(*block, DPT_STATUS_SPACE, "%s: no memory for %lld items of %lld bytes", what, (long long)count,
              (long long)size);
    return DPT_STATUS_OK;
}

void dpt_data__stored_target(const struct dpt_data *data, int64_t sample, void *target)
{
    const size_t nbytes = (size_t)data->info.targets * 4;
    memcpy(target, (const char *)data->target + (size_t)sample * nbytes, nbytes);
}

enum dpt_status dpt_data__hold_back(struct dpt_data *data, const struct dpt_data__request *request, int64_t stored,
                                    bool contiguous)
{
    data->info.samples = stored;
    if (request->held_share <= 0.0) {
        return DPT_STATUS_OK;
    }
    const int64_t held = (int64_t)(request->held_share * (double)stored + 0.5);
    DPT_CHECK(held > 0 && held < stored, DPT_STATUS_USAGE,
              "[data] valid_share = %g of the %lld samples of %s leaves %lld for validation and %lld for training; "
              "each part needs one at least",
              request->held_share, (long long)stored, data->info.source, (long long)held, (long long)(stored - held));
    data->nheld = held;
    data->info.samples = stored - held;
    if (contiguous) {
        data->held_first = stored - held;
        return DPT_STATUS_OK;
    }
    int64_t *kept_index = dpt_arena_array(data->arena, (size_t)(stored - held), sizeof *kept_index);
    int64_t *held_index = dpt_arena_array(data->arena, (size_t)held, sizeof *held_index);
    for (int64_t i = 0, k = 0, h = 0; i < stored; i++) {
        if ((int64_t)dpt_rng_permute(data->seed, HOLD_BACK_EPOCH, (uint64_t)i, (uint64_t)stored) < held) {
            held_index[h++] = i;
        } else {
            kept_index[k++] = i;
        }
    }
    data->index = kept_index;
    data->held = held_index;
    return DPT_STATUS_OK;
}

/* -------------------------------------------------------------------------------------------------- opening */

static struct dpt_data *new_data(const struct dpt_job *job)
{
    struct dpt_arena *arena = dpt_arena_new();
    struct dpt_data *data = dpt_arena_alloc(arena, sizeof *data);
    data->arena = arena;
    data->reader = find_reader(job->data.format);
    data->seed = (uint64_t)job->run.seed;
    return data;
}

/* The part of train that train held back: it reads train's blocks. */
static struct dpt_data *open_held_back(const struct dpt_job *job, const struct dpt_data *train)
{
    struct dpt_data *data = new_data(job);
    data->prep = train->prep;
    data->lender = train;
    data->info = train->info;
    data->info.source = dpt_arena_printf(data->arena, "%s (the part held back)", train->info.source);
    data->info.samples = train->nheld;
    data->index = train->held;
    data->first = train->held_first;
    data->x = train->x;
    data->sample_nbytes = train->sample_nbytes;
    data->target = train->target;
    data->tables = train->tables;
    data->preparation = train->preparation;
    return data;
}

static enum dpt_status set_order(const struct dpt_job *job, struct dpt_data *data)
{
    data->shuffle = job->data.shuffle;
    data->crop = job->augment.crop;
    data->flip = job->augment.flip;
    if (data->crop > 0 || data->flip) {
        DPT_CHECK(data->info.ndim == 3, DPT_STATUS_USAGE,
                  "[augment] crop and flip are for images, but a sample of %s is a row of %lld numbers; remove them",
                  data->info.source, (long long)data->info.dim[0]);
        DPT_CHECK(data->crop < data->info.dim[0] && data->crop < data->info.dim[1], DPT_STATUS_USAGE,
                  "[augment] crop = %lld must be less than the height and the width of the images of %s, %lld x %lld",
                  (long long)data->crop, data->info.source, (long long)data->info.dim[0],
                  (long long)data->info.dim[1]);
    }
    return DPT_STATUS_OK;
}

/* Lets the reader work, then completes what all formats have. */
static enum dpt_status read_source(const struct dpt_job *job, const struct dpt_data__request *request,
                                   struct dpt_data *data)
{
    data->info.source = dpt_arena_strdup(data->arena, request->path);
    DPT_TRY(data->reader->open(job, request, data));
    const struct dpt_data__prep *prep = data->prep;
    data->info.ndim = prep->ndim;
    memcpy(data->info.dim, prep->dim, sizeof data->info.dim);
    data->info.classes = prep->classes;
    data->info.targets = prep->targets;
    data->info.dtype = prep->format == DPT_DATA_FORMAT_TOKENS ? DPT_DTYPE_I32 : DPT_DTYPE_F32;
    data->preparation = dpt_data__prep_text(prep, data->arena);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_data_open(const struct dpt_job *job, enum dpt_split split, const struct dpt_data *train,
                              struct dpt_data **data)
{
    const bool synthetic = job->data.format == DPT_DATA_FORMAT_SYNTHETIC;
    const bool share = !*job->data.valid && job->data.valid_share > 0.0;
    struct dpt_data__request request = {0};
    *data = NULL;
    DPT_ASSERT((split == DPT_SPLIT_TRAIN) == !train);
    switch (split) {
    case DPT_SPLIT_TRAIN:
        request.where = "[data] train = ";
        request.path = synthetic ? "synthetic" : job->data.train;
        request.labels = job->data.train_labels;
        request.labels_key = "train_labels";
        request.first = true;
        request.held_share = share ? job->data.valid_share : 0.0;
        DPT_CHECK(*request.path, DPT_STATUS_USAGE, "[data] train is empty; it names the file to train on");
        break;
    case DPT_SPLIT_VALID:
        if (share) {
            *data = open_held_back(job, train);
            return DPT_STATUS_OK;
        }
        request.where = "[data] valid = ";
        request.path = synthetic ? "" : job->data.valid;
        request.labels = job->data.valid_labels;
        request.labels_key = "valid_labels";
        break;
    case DPT_SPLIT_TEST:
        request.where = "[data] test = ";
        request.path = synthetic ? "" : job->data.test;
        request.labels = job->data.test_labels;
        request.labels_key = "test_labels";
        break;
    }
    if (!*request.path) {
        return DPT_STATUS_OK;
    }
    struct dpt_data *opened = new_data(job);
    opened->prep = train ? train->prep : NULL;
    enum dpt_status status = read_source(job, &request, opened);
    if (status == DPT_STATUS_OK && split == DPT_SPLIT_TRAIN) {
        status = set_order(job, opened);
    }
    if (status != DPT_STATUS_OK) {
        dpt_data_close(opened);
        return status;
    }
    *data = opened;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_data_open_file(const struct dpt_job *job, const char *path, const char *preparation,
                                   struct dpt_data **data)
{
    *data = NULL;
    DPT_CHECK(job->data.format != DPT_DATA_FORMAT_SYNTHETIC && preparation, DPT_STATUS_DATA,
              "%s: cannot be read, since the model was trained on synthetic data, which come from no file", path);
    DPT_CHECK(job->data.format != DPT_DATA_FORMAT_TOKENS, DPT_STATUS_USAGE,
              "%s: the model was trained on tokens: dpt-generate writes what follows a text", path);
    const struct dpt_data__request request = {.where = "", .path = path, .labels = "", .predict = true};
    struct dpt_data *opened = new_data(job);
    enum dpt_status status = dpt_data__prep_read(preparation, job->data.format, opened->arena, &opened->prep);
    if (status == DPT_STATUS_OK) {
        status = read_source(job, &request, opened);
    }
    if (status != DPT_STATUS_OK) {
        dpt_data_close(opened);
        return status;
    }
    *data = opened;
    return DPT_STATUS_OK;
}

void dpt_data_close(struct dpt_data *data)
{
    if (!data) {
        return;
    }
    if (!data->lender) {
        free(data->x);
        free(data->target);
        if (data->reader->close) {
            data->reader->close(data);
        }
    }
    dpt_text_free(&data->notes);
    dpt_arena_free(data->arena);
}

/* --------------------------------------------------------------------------------------------- describing */

const struct dpt_data_info *dpt_data_info(const struct dpt_data *data)
{
    return &data->info;
}

const char *dpt_data_notes(const struct dpt_data *data)
{
    return data->notes.data ? data->notes.data : "";
}

const char *dpt_data_preparation(const struct dpt_data *data)
{
    return data->preparation;
}

const char *dpt_data_class(const struct dpt_data *data, int64_t index)
{
    const struct dpt_data__prep *prep = data->prep;
    return prep->class_name && index >= 0 && index < prep->classes ? prep->class_name[index] : NULL;
}

const char *dpt_data_target(const struct dpt_data *data, int64_t index)
{
    const struct dpt_data__prep *prep = data->prep;
    for (int64_t i = 0; i < prep->ncolumns; i++) {
        if (prep->column[i].kind == DPT_DATA__KIND_TARGET && index-- == 0) {
            return prep->column[i].name;
        }
    }
    return NULL;
}

/* ----------------------------------------------------------------------------------------------- fetching */

/* The stored sample at a place of an epoch's order. */
static int64_t sample_at(const struct dpt_data *data, int64_t epoch, int64_t place)
{
    if (data->shuffle && epoch >= 0) {
        place = (int64_t)dpt_rng_permute(data->seed, (uint64_t)epoch, (uint64_t)place, (uint64_t)data->info.samples);
    }
    return data->index ? data->index[place] : data->first + place;
}

/* Asks for the beginning of a stored sample; from there the processor goes on by itself. */
static void touch(const struct dpt_data *data, int64_t sample)
{
    const int64_t nbytes = data->sample_nbytes < 1024 ? data->sample_nbytes : 1024;
    for (int64_t at = 0; at < nbytes; at += 64) {
        __builtin_prefetch((const char *)data->x + sample * data->sample_nbytes + at);
    }
}

/* Samples that the reader makes as a whole. */
static enum dpt_status fetch_windows(const struct dpt_data *data, int64_t epoch, int64_t first, int64_t count,
                                     int32_t *x, int32_t *target)
{
    const int64_t numel = data->info.dim[0];
    for (int64_t i = 0; i < count; i++) {
        DPT_TRY(data->reader->window(data, data->shuffle ? epoch : -1, sample_at(data, epoch, first + i), x + i * numel,
                                     target ? target + i * numel : NULL));
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_data_fetch(const struct dpt_data *data, int64_t epoch, int64_t first, int64_t count, void *x,
                               void *target)
{
    const struct dpt_data_info *info = &data->info;
    DPT_CHECK(first >= 0 && count >= 0 && count <= info->samples && first <= info->samples - count, DPT_STATUS_FAILED,
              "%s: samples %lld to %lld were asked for, but there are %lld", info->source, (long long)first,
              (long long)(first + count - 1), (long long)info->samples);
    DPT_CHECK(!target || info->labelled, DPT_STATUS_FAILED, "%s: targets were asked for, but it has none",
              info->source);
    if (data->reader->window) {
        return fetch_windows(data, epoch, first, count, x, target);
    }
    const bool augment = epoch >= 0 && (data->crop > 0 || data->flip);
    const int64_t numel = info->ndim == 1 ? info->dim[0] : info->dim[0] * info->dim[1] * info->dim[2];
    /* In groups, so that the memory of all samples of a group is on its way before the first is used. */
    enum { GROUP = 16 };
    int64_t sample[GROUP];
    for (int64_t begin = 0; begin < count; begin += GROUP) {
        const int64_t n = count - begin < GROUP ? count - begin : GROUP;
        for (int64_t k = 0; k < n; k++) {
            sample[k] = sample_at(data, epoch, first + begin + k);
            touch(data, sample[k]);
        }
        for (int64_t k = 0; k < n; k++) {
            const int64_t i = begin + k;
            if (augment) {
                dpt_data__augment(data, sample[k],
                                  dpt_data__draw(data->seed, epoch, sample[k], data->crop, data->flip),
                                  (float *)x + i * numel);
            } else {
                data->reader->values(data, sample[k], 0, numel, (float *)x + i * numel);
            }
            if (target) {
                data->reader->target(data, sample[k], (char *)target + i * info->targets * 4);
            }
        }
    }
    return DPT_STATUS_OK;
}
