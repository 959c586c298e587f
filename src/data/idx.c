/* SPDX-License-Identifier: Apache-2.0 */

/*
 * IDX files, the format of MNIST and its kin, plain or gzip (told apart by content). A file is two zero bytes, a byte
 * for the type, a byte for the number of dimensions, the dimensions as 32-bit numbers and the values in C order, all
 * big-endian.
 *
 * Images:  N x height x width             bytes or floats   one channel
 *          N x height x width x channels  bytes or floats
 *          N x features                   bytes or floats
 * Labels:  N                              bytes or 32-bit integers: the class of each
 *
 * Bytes stay bytes in memory and become floats when they are fetched: (byte / 255 - mean) / std for each channel, with
 * the mean and std of the job. Floats are (value - mean) / std.
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"
#include "data/reader.h"

enum { IDX_BYTE = 0x08, IDX_INT = 0x0C, IDX_FLOAT = 0x0D };

enum {
    /* Deflate makes at most 1032 bytes of one. */
    DEFLATE_RATIO = 1032,
    /* More classes than this are taken for a damaged label. */
    CLASSES_MAX = 1000000,
};

/* ------------------------------------------------------------------------------------------------- one file */

struct idx {
    const char *path;
    int type;
    int ndim;
    int64_t dim[4];
    int64_t count;  /* of values: the product of dim            */
    int64_t header; /* bytes in front of the values             */
    void *values;   /* in the byte order of this machine        */
};

static int64_t type_nbytes(int type)
{
    return type == IDX_BYTE ? 1 : 4;
}

/* gzread that tells a damaged stream from an early end, and takes any count. *got < nbytes at the end of the file. */
static enum dpt_status read_bytes(gzFile file, const char *path, int64_t at, void *to, int64_t nbytes, int64_t *got)
{
    *got = 0;
    while (*got < nbytes) {
        const int64_t left = nbytes - *got;
        const int n = gzread(file, (char *)to + *got, left < INT_MAX / 2 ? (unsigned)left : INT_MAX / 2);
        int error = Z_OK;
        const char *text = gzerror(file, &error);
        const char *behind = strstr(text, ": "); /* zlib begins with a name of its own for the file: "<fd:5>: " */
        DPT_CHECK(error == Z_OK || error == Z_BUF_ERROR, DPT_STATUS_DATA,
                  "%s: damaged after byte %lld of its content: %s; get the file again", path, (long long)(at + *got),
                  error == Z_ERRNO ? strerror(errno) : behind ? behind + 2 : text);
        if (n <= 0) {
            break;
        }
        *got += n;
    }
    return DPT_STATUS_OK;
}

static uint32_t big_endian(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* "60000 x 28 x 28" */
static const char *dims_text(char *out, size_t size, const int64_t *dim, int ndim)
{
    size_t used = 0;
    out[0] = '\0';
    for (int i = 0; i < ndim && used < size; i++) {
        const int n = snprintf(out + used, size - used, "%s%lld", i ? " x " : "", (long long)dim[i]);
        used += n > 0 ? (size_t)n : 0;
    }
    return out;
}

/* Reads and checks all that stands in front of the values. */
static enum dpt_status read_header(gzFile file, bool labels, struct idx *idx)
{
    const char *kind = labels ? "labels" : "images";
    unsigned char head[4 + 4 * 4];
    int64_t got;
    DPT_TRY(read_bytes(file, idx->path, 0, head, 4, &got));
    DPT_CHECK(got == 4, DPT_STATUS_DATA, "%s: ends after byte %lld; an IDX file of %s was expected", idx->path,
              (long long)got, kind);
    idx->type = head[2];
    idx->ndim = head[3];
    DPT_CHECK(head[0] == 0 && head[1] == 0 &&
                  (idx->type == IDX_BYTE || idx->type == IDX_INT || idx->type == IDX_FLOAT) && idx->ndim >= 1 &&
                  idx->ndim <= 4,
              DPT_STATUS_DATA,
              "%s: bytes 0 to 3 are %02x %02x %02x %02x, which begin no IDX file of %s (expected is 00 00, then 08 for "
              "bytes, 0c for integers or 0d for floats, then the number of dimensions)",
              idx->path, head[0], head[1], head[2], head[3], kind);
    DPT_CHECK((idx->ndim == 1) == labels, DPT_STATUS_DATA,
              "%s: byte 3 says %d dimensions; %s have %s. Are images and labels exchanged?", idx->path, idx->ndim,
              kind, labels ? "1" : "2 to 4");
    DPT_TRY(read_bytes(file, idx->path, 4, head + 4, 4 * idx->ndim, &got));
    DPT_CHECK(got == 4 * idx->ndim, DPT_STATUS_DATA, "%s: ends after byte %lld, inside its header of %d bytes",
              idx->path, (long long)(4 + got), 4 + 4 * idx->ndim);
    idx->header = 4 + 4 * idx->ndim;
    idx->count = 1;
    int64_t nbytes = type_nbytes(idx->type);
    for (int i = 0; i < idx->ndim; i++) {
        idx->dim[i] = big_endian(head + 4 + 4 * i);
        DPT_CHECK(idx->dim[i] > 0, DPT_STATUS_DATA, "%s: bytes %d to %d say that dimension %d is 0", idx->path,
                  4 + 4 * i, 7 + 4 * i, i + 1);
        DPT_CHECK(!__builtin_mul_overflow(nbytes, idx->dim[i], &nbytes) && nbytes < INT64_MAX / 8, DPT_STATUS_DATA,
                  "%s: its header (bytes 4 to %d) announces more than 2^60 bytes", idx->path, (int)idx->header - 1);
        idx->count *= idx->dim[i];
    }
    return DPT_STATUS_OK;
}

/* Compares what the header announces with what the file can hold, before memory is asked for. */
static enum dpt_status check_size(gzFile file, int64_t size, const struct idx *idx)
{
    char dims[96];
    const int64_t nbytes = idx->count * type_nbytes(idx->type), whole = idx->header + nbytes;
    dims_text(dims, sizeof dims, idx->dim, idx->ndim);
    if (!gzdirect(file)) {
        DPT_CHECK(nbytes / DEFLATE_RATIO <= size, DPT_STATUS_DATA,
                  "%s: its header announces %s values, %lld bytes, but %lld bytes of gzip cannot hold so many",
                  idx->path, dims, (long long)nbytes, (long long)size);
        return DPT_STATUS_OK;
    }
    DPT_CHECK(size >= whole, DPT_STATUS_DATA,
              "%s: ends after byte %lld; its header announces %s values, %lld bytes in all. Get the file again",
              idx->path, (long long)size, dims, (long long)whole);
    DPT_CHECK(size == whole, DPT_STATUS_DATA,
              "%s: has %lld bytes after byte %lld, where the %s values that its header announces end", idx->path,
              (long long)(size - whole), (long long)whole, dims);
    return DPT_STATUS_OK;
}

static enum dpt_status read_values(gzFile file, struct idx *idx)
{
    char dims[96];
    const int64_t nbytes = idx->count * type_nbytes(idx->type);
    int64_t got, more;
    DPT_TRY(dpt_data__alloc(idx->path, idx->count, type_nbytes(idx->type), &idx->values));
    DPT_TRY(read_bytes(file, idx->path, idx->header, idx->values, nbytes, &got));
    dims_text(dims, sizeof dims, idx->dim, idx->ndim);
    DPT_CHECK(got == nbytes, DPT_STATUS_DATA,
              "%s: its content ends after byte %lld; its header announces %s values, %lld bytes in all. Get the file "
              "again",
              idx->path, (long long)(idx->header + got), dims, (long long)(idx->header + nbytes));
    /* Reading on also makes zlib compare the checksum at the end. */
    char beyond;
    DPT_TRY(read_bytes(file, idx->path, idx->header + nbytes, &beyond, 1, &more));
    DPT_CHECK(more == 0, DPT_STATUS_DATA,
              "%s: its content goes on after byte %lld, where the %s values that its header announces end", idx->path,
              (long long)(idx->header + nbytes), dims);
    int error = Z_OK;
    gzerror(file, &error);
    DPT_CHECK(error == Z_OK, DPT_STATUS_DATA,
              "%s: the gzip stream is cut short after its last value; get the file again", idx->path);
    if (idx->type != IDX_BYTE) {
        uint32_t *word = idx->values;
        for (int64_t i = 0; i < idx->count; i++) {
            word[i] = big_endian((const unsigned char *)&word[i]);
        }
    }
    return DPT_STATUS_OK;
}

/* Reads a whole file. On failure idx->values may be set; the caller frees it in any case. */
static enum dpt_status read_file(const char *path, bool labels, struct idx *idx)
{
    *idx = (struct idx){.path = path};
    struct stat info;
    /* O_NONBLOCK: opening a named pipe must not wait for a writer. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    DPT_CHECK(fd >= 0, DPT_STATUS_DATA, "%s: cannot be opened: %s", path, strerror(errno));
    const bool plain = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
    gzFile file = plain ? gzdopen(fd, "rb") : NULL;
    if (!file) {
        close(fd);
    }
    DPT_CHECK(plain, DPT_STATUS_DATA, "%s: is not a file that can be read", path);
    DPT_CHECK(file, DPT_STATUS_SPACE, "%s: no memory to read it", path);
    gzbuffer(file, 256 * 1024);
    enum dpt_status status = read_header(file, labels, idx);
    if (status == DPT_STATUS_OK) {
        status = check_size(file, info.st_size, idx);
    }
    if (status == DPT_STATUS_OK) {
        status = read_values(file, idx);
    }
    gzclose_r(file);
    return status;
}

/* -------------------------------------------------------------------------------------------- finding files */

/* The first of PATH, PATH.gz, PATH without .gz that exists, or NULL. */
static const char *with_or_without_gz(struct dpt_arena *arena, const char *path)
{
    if (dpt_file_exists(path)) {
        return path;
    }
    const size_t length = strlen(path);
    const bool gz = length > 3 && strcmp(path + length - 3, ".gz") == 0;
    const char *other = gz ? dpt_arena_printf(arena, "%.*s", (int)length - 3, path)
                           : dpt_arena_printf(arena, "%s.gz", path);
    return dpt_file_exists(other) ? other : NULL;
}

/* The images of "folder" or "folder/prefix": <prefix>-images-idx3-ubyte[.gz], also with a dot as in some copies. */
static const char *find_images(struct dpt_arena *arena, const char *prefix)
{
    static const char *const names[] = {"-images-idx3-ubyte", "-images.idx3-ubyte", "-images-idx4-ubyte",
                                        "-images.idx4-ubyte", "-images-idx2-ubyte", "-images.idx2-ubyte"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *found = with_or_without_gz(arena, dpt_arena_printf(arena, "%s%s", prefix, names[i]));
        if (found) {
            return found;
        }
    }
    return NULL;
}

/* The labels beside images: "images" in the name becomes "labels", and idx3 becomes idx1; or NULL. */
static const char *find_labels(struct dpt_arena *arena, const char *images)
{
    char *path = dpt_arena_strdup(arena, images);
    char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    char *word = NULL;
    for (char *at = base; (at = strstr(at, "images")); at++) {
        word = at;
    }
    if (!word) {
        return NULL;
    }
    memcpy(word, "labels", 6);
    char *idx = strstr(word, "idx");
    if (idx && idx[3]) {
        idx[3] = '1';
    }
    return with_or_without_gz(arena, path);
}

/* Which files are meant; *labels is NULL where there are none and the request allows that. */
static enum dpt_status find_files(const struct dpt_data__request *request, struct dpt_arena *arena,
                                  const char **images, const char **labels)
{
    const char *path = request->path;
    if (dpt_file_is_folder(path)) {
        *images = find_images(arena, dpt_arena_printf(arena, "%s/%s", path, request->first ? "train" : "t10k"));
    } else {
        *images = dpt_file_exists(path) ? path : find_images(arena, path);
    }
    DPT_CHECK(*images, DPT_STATUS_DATA, "%s%s: there is no such file, and no %s%s-images-idx3-ubyte[.gz]%s",
              request->where, path, path, dpt_file_is_folder(path) ? (request->first ? "/train" : "/t10k") : "",
              strstr(path, "fashion-mnist") ? "; on Debian and Ubuntu: apt install dataset-fashion-mnist" : "");
    *labels = *request->labels ? request->labels : find_labels(arena, *images);
    DPT_CHECK(*labels || request->predict, DPT_STATUS_DATA,
              "%s: no labels stand beside it (images in its name changed to labels); [data] %s can name them",
              *images, request->labels_key);
    return DPT_STATUS_OK;
}

/* --------------------------------------------------------------------------------------- images and labels */

/*
 * How values become inputs: value * scale + offset. Both repeat with the channels; they are stored for `period` values,
 * a multiple of the channels, so that the loop over them is long enough for vector instructions.
 */
struct tables {
    int64_t period;
    float *scale, *offset;
};

static void make_tables(struct dpt_data *data, const struct dpt_data__prep *prep)
{
    const int64_t channels = prep->ndim == 3 ? prep->dim[2] : 1;
    struct tables *tables = dpt_arena_alloc(data->arena, sizeof *tables);
    tables->period = channels * (channels < 256 ? 256 / channels : 1);
    tables->scale = dpt_arena_array(data->arena, (size_t)tables->period, sizeof(float));
    tables->offset = dpt_arena_array(data->arena, (size_t)tables->period, sizeof(float));
    for (int64_t i = 0; i < tables->period; i++) {
        const int64_t c = i % channels;
        tables->scale[i] = (float)(1.0 / ((prep->bytes ? 255.0 : 1.0) * prep->std[c]));
        tables->offset[i] = (float)(-prep->mean[c] / prep->std[c]);
    }
    data->tables = tables;
    data->pad = tables->offset;
}

static void scale_bytes(const uint8_t *restrict p, const float *restrict scale, const float *restrict offset,
                        int64_t count, float *restrict x)
{
    for (int64_t i = 0; i < count; i++) {
        x[i] = (float)p[i] * scale[i] + offset[i];
    }
}

static void scale_floats(const float *restrict p, const float *restrict scale, const float *restrict offset,
                         int64_t count, float *restrict x)
{
    for (int64_t i = 0; i < count; i++) {
        x[i] = p[i] * scale[i] + offset[i];
    }
}

static void values(const struct dpt_data *data, int64_t sample, int64_t first, int64_t count, float *x)
{
    const struct dpt_data__prep *prep = data->prep;
    const struct tables *tables = data->tables;
    const int64_t numel = prep->ndim == 3 ? prep->dim[0] * prep->dim[1] * prep->dim[2] : prep->dim[0];
    const int64_t at = sample * numel + first;
    for (int64_t i = 0; i < count; i += tables->period) {
        const int64_t n = count - i < tables->period ? count - i : tables->period;
        if (prep->bytes) {
            scale_bytes((const uint8_t *)data->x + at + i, tables->scale, tables->offset, n, x + i);
        } else {
            scale_floats((const float *)data->x + at + i, tables->scale, tables->offset, n, x + i);
        }
    }
}

/* [data] mean or std for each channel: one for all, or one each; `fallback` where the job gives none. */
static enum dpt_status per_channel(const struct dpt_reals *given, const char *key, double fallback, int64_t channels,
                                   const char *path, struct dpt_arena *arena, double **value)
{
    DPT_CHECK(given->count == 0 || given->count == 1 || given->count == channels, DPT_STATUS_USAGE,
              "[data] %s has %d numbers; %s has %lld channels: give 1 or %lld", key, given->count, path,
              (long long)channels, (long long)channels);
    *value = dpt_arena_array(arena, (size_t)channels, sizeof **value);
    for (int64_t c = 0; c < channels; c++) {
        (*value)[c] = given->count == 0 ? fallback : given->value[given->count == 1 ? 0 : c];
        DPT_CHECK(isfinite((*value)[c]), DPT_STATUS_USAGE, "[data] %s has a number that is not finite", key);
    }
    return DPT_STATUS_OK;
}

/* Learns shape and normalisation; classes and targets follow with the labels. */
static enum dpt_status learn(const struct dpt_job *job, const struct idx *images, struct dpt_arena *arena,
                             struct dpt_data__prep *prep)
{
    prep->format = DPT_DATA_FORMAT_IDX;
    prep->bytes = images->type == IDX_BYTE;
    prep->ndim = images->ndim == 2 ? 1 : 3;
    prep->dim[0] = images->dim[1];
    prep->dim[1] = images->ndim == 2 ? 0 : images->dim[2];
    prep->dim[2] = images->ndim == 2 ? 0 : images->ndim == 3 ? 1 : images->dim[3];
    const int64_t channels = prep->ndim == 3 ? prep->dim[2] : 1;
    DPT_TRY(per_channel(&job->data.mean, "mean", 0.0, channels, images->path, arena, &prep->mean));
    DPT_TRY(per_channel(&job->data.std, "std", 1.0, channels, images->path, arena, &prep->std));
    for (int64_t c = 0; c < channels; c++) {
        DPT_CHECK(prep->std[c] > 0.0, DPT_STATUS_USAGE, "[data] std must be more than 0, %g is not", prep->std[c]);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status check_like_train(const struct idx *images, const struct dpt_data__prep *prep)
{
    char here[96], there[96];
    const int64_t rest[3] = {images->dim[1], images->ndim < 3 ? 0 : images->dim[2],
                             images->ndim < 3 ? 0 : images->ndim == 3 ? 1 : images->dim[3]};
    const int ndim = images->ndim == 2 ? 1 : 3;
    DPT_CHECK(ndim == prep->ndim && memcmp(rest, prep->dim, sizeof rest) == 0, DPT_STATUS_DATA,
              "%s: a sample is %s, but it was %s in training", images->path, dims_text(here, sizeof here, rest, ndim),
              dims_text(there, sizeof there, prep->dim, prep->ndim));
    DPT_CHECK((images->type == IDX_BYTE) == prep->bytes, DPT_STATUS_DATA,
              "%s: byte 2 says that the values are %s, but they were %s in training", images->path,
              prep->bytes ? "floats" : "bytes", prep->bytes ? "bytes" : "floats");
    return DPT_STATUS_OK;
}

static enum dpt_status check_floats(const struct idx *idx)
{
    const float *value = idx->values;
    for (int64_t i = 0; idx->type == IDX_FLOAT && i < idx->count; i++) {
        DPT_CHECK(isfinite(value[i]), DPT_STATUS_DATA, "%s: the value at byte %lld is %f; all must be finite",
                  idx->path, (long long)(idx->header + 4 * i), (double)value[i]);
    }
    return DPT_STATUS_OK;
}

/* A single damaged label would widen the net without a word. */
static void note_gaps(const struct idx *labels, const int32_t *class, int64_t classes, struct dpt_data *data)
{
    bool *seen = dpt_arena_alloc(data->arena, (size_t)classes * sizeof *seen);
    for (int64_t i = 0; i < labels->count; i++) {
        seen[class[i]] = true;
    }
    int64_t lacking = 0, first = 0;
    for (int64_t k = classes - 1; k >= 0; k--) {
        lacking += !seen[k];
        first = seen[k] ? first : k;
    }
    if (lacking > 0) {
        dpt_text_add(&data->notes, "%s: labels go to %lld, but %lld of the classes have no sample, the first is %lld; is "
                     "a label wrong?\n",
                     labels->path, (long long)(classes - 1), (long long)lacking, (long long)first);
    }
}

/* Turns labels into int32_t classes in data->target. Learns how many there are where `learning` is not NULL. */
static enum dpt_status take_labels(const struct idx *images, const struct idx *labels,
                                   struct dpt_data__prep *learning, struct dpt_data *data)
{
    void *block;
    DPT_CHECK(labels->dim[0] == images->dim[0], DPT_STATUS_DATA,
              "%s: has %lld labels (bytes 4 to 7), but %s has %lld samples", labels->path, (long long)labels->dim[0],
              images->path, (long long)images->dim[0]);
    DPT_CHECK(labels->type != IDX_FLOAT, DPT_STATUS_DATA,
              "%s: byte 2 is 0d (floats); labels are bytes (08) or integers (0c)", labels->path);
    DPT_TRY(dpt_data__alloc(labels->path, labels->count, 4, &block));
    data->target = block;
    int32_t *class = block;
    const int64_t limit = learning ? CLASSES_MAX : data->prep->classes;
    int64_t most = 0;
    for (int64_t i = 0; i < labels->count; i++) {
        class[i] = labels->type == IDX_BYTE ? ((const uint8_t *)labels->values)[i]
                                            : ((const int32_t *)labels->values)[i];
        DPT_CHECK(class[i] >= 0 && class[i] < limit, DPT_STATUS_DATA,
                  "%s: label %d of sample %lld (byte %lld) is out of range: expected is 0 to %lld%s", labels->path,
                  class[i], (long long)i, (long long)(labels->header + i * type_nbytes(labels->type)),
                  (long long)(limit - 1), learning ? "" : ", the classes of the training data");
        most = class[i] > most ? class[i] : most;
    }
    if (learning) {
        learning->classes = most + 1;
        learning->targets = 1;
        note_gaps(labels, class, most + 1, data);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status open_files(const struct dpt_job *job, const struct dpt_data__request *request,
                                  struct dpt_data *data)
{
    const char *images_path, *labels_path;
    DPT_TRY(find_files(request, data->arena, &images_path, &labels_path));
    data->info.source = images_path;

    struct idx images;
    const enum dpt_status status = read_file(images_path, false, &images);
    data->x = images.values;
    DPT_TRY(status);
    data->sample_nbytes = images.count / images.dim[0] * type_nbytes(images.type);
    DPT_CHECK(images.type != IDX_INT, DPT_STATUS_DATA,
              "%s: byte 2 is 0c (integers); images are bytes (08) or floats (0d)", images_path);
    DPT_TRY(check_floats(&images));

    struct dpt_data__prep *learning = NULL;
    if (data->prep) {
        DPT_TRY(check_like_train(&images, data->prep));
    } else {
        learning = dpt_arena_alloc(data->arena, sizeof *learning);
        DPT_TRY(learn(job, &images, data->arena, learning));
        data->prep = learning;
    }
    make_tables(data, data->prep);

    if (labels_path) {
        struct idx labels;
        enum dpt_status labelled = read_file(labels_path, true, &labels);
        if (labelled == DPT_STATUS_OK) {
            labelled = take_labels(&images, &labels, learning, data);
        }
        free(labels.values);
        DPT_TRY(labelled);
        data->info.labelled = true;
    }
    return dpt_data__hold_back(data, request, images.dim[0], false);
}

const struct dpt_data__reader dpt_data__idx = {
    .format = DPT_DATA_FORMAT_IDX,
    .name = "idx",
    .open = open_files,
    .values = values,
    .target = dpt_data__stored_target,
};
