/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

#include <math.h>

enum { N = 6, H = 4, W = 3, HEAD = 16, IMAGES = N * H * W };

static unsigned char pixels[IMAGES];
static const unsigned char classes[N] = {2, 0, 1, 3, 0, 2};

/* train-images-idx3-ubyte and train-labels-idx1-ubyte, and the same under t10k. */
static void write_set(void)
{
    unsigned char file[256];
    const int64_t dim[] = {N, H, W};
    for (int i = 0; i < IMAGES; i++) {
        pixels[i] = (unsigned char)(37 * i % 256);
    }
    size_t nbytes = make_idx(file, 8, 3, dim, pixels);
    write_bytes("train-images-idx3-ubyte", file, nbytes);
    write_gz("t10k-images-idx3-ubyte.gz", file, nbytes);
    nbytes = make_idx(file, 8, 1, dim, classes);
    write_bytes("train-labels-idx1-ubyte", file, nbytes);
    write_gz("t10k-labels-idx1-ubyte.gz", file, nbytes);
}

static struct dpt_job idx_job(const char *train)
{
    struct dpt_job job = plain_job(DPT_DATA_FORMAT_IDX);
    static char path[512];
    snprintf(path, sizeof path, "%s", path_of(train));
    job.data.train = path;
    return job;
}

static void values_are_those_of_the_file(const struct dpt_data *data, double mean, double std)
{
    float x[IMAGES];
    int32_t class[N];
    assert_int_equal(dpt_data_fetch(data, -1, 0, N, x, class), DPT_STATUS_OK);
    for (int i = 0; i < IMAGES; i++) {
        assert_true(fabs(x[i] - (pixels[i] / 255.0 - mean) / std) < 1e-6);
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(class[i], classes[i]);
    }
}

/* By images file, by prefix and by folder; plain and gzip told apart by content. */
static void ways_to_name_a_set(void **state)
{
    (void)state;
    write_set();
    char *images = path_of("train-images-idx3-ubyte");
    const char *const names[] = {"train-images-idx3-ubyte", "train", "", "t10k", "t10k-images-idx3-ubyte.gz"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct dpt_job job = idx_job(names[i]);
        struct dpt_data *data = opened(&job, DPT_SPLIT_TRAIN, NULL);
        const struct dpt_data_info *info = dpt_data_info(data);
        assert_int_equal(info->samples, N);
        assert_int_equal(info->ndim, 3);
        assert_int_equal(info->dim[0], H);
        assert_int_equal(info->dim[1], W);
        assert_int_equal(info->dim[2], 1);
        assert_int_equal(info->classes, 4);
        assert_int_equal(info->targets, 1);
        assert_true(info->labelled);
        assert_null(dpt_data_class(data, 0));
        assert_string_equal(dpt_data_notes(data), "");
        values_are_those_of_the_file(data, 0.0, 1.0);
        dpt_data_close(data);
    }
    /* The folder gives its other half to test; a gzip file without .gz in its name; labels named by the job. */
    struct dpt_job job = idx_job("");
    job.data.test = job.data.train;
    struct dpt_data *train = opened(&job, DPT_SPLIT_TRAIN, NULL);
    struct dpt_data *test = opened(&job, DPT_SPLIT_TEST, train);
    assert_non_null(strstr(dpt_data_info(test)->source, "t10k-images"));
    values_are_those_of_the_file(test, 0.0, 1.0);
    dpt_data_close(test);
    dpt_data_close(train);
    assert_int_equal(rename(path_of("t10k-images-idx3-ubyte.gz"), path_of("odd")), 0);
    job = idx_job("odd");
    job.data.train_labels = path_of("t10k-labels-idx1-ubyte.gz");
    train = opened(&job, DPT_SPLIT_TRAIN, NULL);
    values_are_those_of_the_file(train, 0.0, 1.0);
    struct dpt_data *none;
    assert_int_equal(dpt_data_open(&job, DPT_SPLIT_VALID, train, &none), DPT_STATUS_OK);
    assert_null(none);
    dpt_data_close(train);
    unlink(images);
}

static void normalisation_is_per_channel(void **state)
{
    (void)state;
    enum { C = 3 };
    unsigned char file[256], bytes[2 * 2 * 2 * C];
    const int64_t dim[] = {2, 2, 2, C};
    double mean[C] = {0.1, 0.5, 0.9}, std[C] = {0.2, 1.0, 3.0};
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)(11 * i);
    }
    write_bytes("colour-images-idx4-ubyte", file, make_idx(file, 8, 4, dim, bytes));
    write_bytes("colour-labels-idx1-ubyte", file, make_idx(file, 8, 1, dim, "\0\1"));
    struct dpt_job job = idx_job("colour");
    job.data.mean.value = mean;
    job.data.std.value = std;
    job.data.mean.count = C;
    job.data.std.count = 1;
    struct dpt_data *data = opened(&job, DPT_SPLIT_TRAIN, NULL);
    assert_int_equal(dpt_data_info(data)->dim[2], C);
    float x[sizeof bytes];
    assert_int_equal(dpt_data_fetch(data, 0, 0, 2, x, NULL), DPT_STATUS_OK);
    for (size_t i = 0; i < sizeof bytes; i++) {
        assert_true(fabs(x[i] - (bytes[i] / 255.0 - mean[i % C]) / std[0]) < 1e-5);
    }
    dpt_data_close(data);
    job.data.std.count = 2;
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_USAGE, "std has 2 numbers");
    job.data.std.count = C;
    std[1] = 0.0;
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_USAGE, "must be more than 0");
}

static void floats_and_integers(void **state)
{
    (void)state;
    unsigned char file[256];
    float features[4][2] = {{0.5f, -1.0f}, {3.0f, 4.0f}, {1e-3f, 1e3f}, {-2.0f, 0.0f}};
    const int32_t many[4] = {999, 0, 70000, 5};
    const int64_t dim[] = {4, 2};
    write_bytes("f-images-idx2-ubyte", file, make_idx(file, 0x0d, 2, dim, features));
    write_bytes("f-labels-idx1-ubyte", file, make_idx(file, 0x0c, 1, dim, many));
    struct dpt_job job = idx_job("f");
    struct dpt_data *data = opened(&job, DPT_SPLIT_TRAIN, NULL);
    float x[4][2];
    int32_t class[4];
    assert_int_equal(dpt_data_info(data)->classes, 70001);
    assert_int_equal(dpt_data_info(data)->ndim, 1);
    assert_int_equal(dpt_data_fetch(data, -1, 0, 4, &x[0][0], class), DPT_STATUS_OK);
    assert_memory_equal(x, features, sizeof x);
    assert_memory_equal(class, many, sizeof class);
    dpt_data_close(data);

    write_bytes("f-labels-idx1-ubyte", file, make_idx(file, 0x0d, 1, dim, features));
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "byte 2 is 0d (floats); labels are");
    features[1][1] = NAN;
    write_bytes("f-images-idx2-ubyte", file, make_idx(file, 0x0d, 2, dim, features));
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "byte 24 is");
}

static void missing_files(void **state)
{
    (void)state;
    struct dpt_job job = idx_job("nowhere");
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "nowhere-images-idx3-ubyte[.gz]");
    assert_null(strstr(dpt_error_text(), "apt"));
    job = idx_job("fashion-mnist/train");
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "apt install dataset-fashion-mnist");
    static char none[] = "";
    job.data.train = none;
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_USAGE, "train is empty");
    write_set();
    unlink(path_of("train-labels-idx1-ubyte"));
    job = idx_job("train");
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "[data] train_labels can name them");
    job.data.train_labels = path_of("lost");
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "lost: cannot be opened");
    job.data.train_labels = folder;
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "is not a file");
}

/* Damages one file of a good set in every way that has a sentence of its own. */
static void damaged_files(void **state)
{
    (void)state;
    unsigned char good[256], file[1024];
    const int64_t dim[] = {N, H, W};
    write_set();
    struct dpt_job job = idx_job("train");
    const size_t nbytes = make_idx(good, 8, 3, dim, pixels);
    const struct {
        size_t at;
        unsigned char value;
        const char *words;
    } changes[] = {
        {0, 7, "bytes 0 to 3 are 07 00 08 03"},
        {2, 9, "bytes 0 to 3 are 00 00 09 03"},
        {2, 0x0d, "ends after byte 88; its header announces 6 x 4 x 3 values, 304 bytes in all"},
        {3, 1, "byte 3 says 1 dimensions"},
        {3, 200, "begin no IDX file"},
        {7, 0, "bytes 4 to 7 say that dimension 1 is 0"},
        {7, 5, "has 12 bytes after byte 76, where the 5 x 4 x 3 values"},
        {4, 255, "ends after byte 88"},
        {3, 2, "has 52 bytes after byte 36, where the 6 x 4 values"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        memcpy(file, good, nbytes);
        file[changes[i].at] = changes[i].value;
        write_bytes("train-images-idx3-ubyte", file, nbytes);
        refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, changes[i].words);
        assert_non_null(strstr(dpt_error_text(), "train-images-idx3-ubyte: "));
    }
    memset(file, 0xff, sizeof file);
    memcpy(file, "\0\0\10\4", 4);
    write_bytes("train-images-idx3-ubyte", file, sizeof file);
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "announces more than 2^60 bytes");
    write_bytes("train-images-idx3-ubyte", good, 2);
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "ends after byte 2");
    write_bytes("train-images-idx3-ubyte", good, 9);
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "ends after byte 9, inside its header of 16 bytes");
    write_bytes("train-images-idx3-ubyte", good, nbytes - 1);
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "ends after byte 87");
    write_bytes("train-images-idx3-ubyte", "", 0);
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "ends after byte 0");
    write_bytes("train-images-idx3-ubyte", file, make_idx(file, 0x0c, 2, dim, (int32_t[N * H]){0}));
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "images are bytes (08) or floats (0d)");
}

static size_t read_all(const char *name, unsigned char *bytes, size_t size)
{
    FILE *file = fopen(path_of(name), "rb");
    assert_non_null(file);
    const size_t nbytes = fread(bytes, 1, size, file);
    fclose(file);
    return nbytes;
}

/* A label far above the others makes a class of its own, and many that nobody is in: the user is told. */
static void gaps_between_classes(void **state)
{
    (void)state;
    unsigned char file[256], labels[N];
    const int64_t dim[] = {N};
    write_set();
    memcpy(labels, classes, N);
    labels[1] = 9;
    write_bytes("train-labels-idx1-ubyte", file, make_idx(file, 8, 1, dim, labels));
    struct dpt_job job = idx_job("train");
    struct dpt_data *data = opened(&job, DPT_SPLIT_TRAIN, NULL);
    assert_int_equal(dpt_data_info(data)->classes, 10);
    assert_non_null(strstr(dpt_data_notes(data), "labels go to 9, but 5 of the classes have no sample, the first is 4;"));
    dpt_data_close(data);
    labels[1] = 0;
    write_bytes("train-labels-idx1-ubyte", file, make_idx(file, 8, 1, dim, labels));
    data = opened(&job, DPT_SPLIT_TRAIN, NULL);
    assert_string_equal(dpt_data_notes(data), "");
    dpt_data_close(data);
}

static void damaged_gzip(void **state)
{
    (void)state;
    unsigned char plain[256], gz[512], file[512];
    const int64_t dim[] = {N, H, W};
    write_set();
    struct dpt_job job = idx_job("t10k");
    const char *name = "t10k-images-idx3-ubyte.gz";
    const size_t nbytes = read_all(name, gz, sizeof gz);
    memcpy(file, gz, nbytes);
    file[nbytes - 6] ^= 1; /* of the checksum */
    write_bytes(name, file, nbytes);
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "of its content: incorrect data check; get");
    write_bytes(name, gz, nbytes - 4);
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "cut short after its last value");
    write_bytes(name, gz, nbytes - 20);
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "its content ends after byte");
    memcpy(file, gz, nbytes);
    file[10] = 0x07; /* a block type that deflate has not */
    write_bytes(name, file, nbytes);
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "damaged after byte 0");
    /* Headers that announce less, more, and far more than the stream holds. */
    const size_t whole = make_idx(plain, 8, 3, dim, pixels);
    plain[7] = N - 1;
    write_gz(name, plain, whole);
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "goes on after byte 76");
    plain[7] = N + 1;
    write_gz(name, plain, whole);
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "content ends after byte 88");
    plain[4] = 0x7f;
    write_gz(name, plain, whole);
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "bytes of gzip cannot hold so many");
}

static void labels_that_do_not_fit(void **state)
{
    (void)state;
    unsigned char file[256];
    const int64_t dim[] = {N, 1}, fewer[] = {N - 1};
    write_set();
    struct dpt_job job = idx_job("train");
    write_bytes("train-labels-idx1-ubyte", file, make_idx(file, 8, 1, fewer, classes));
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "has 5 labels (bytes 4 to 7)");
    write_bytes("train-labels-idx1-ubyte", file, make_idx(file, 8, 2, dim, classes));
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "byte 3 says 2 dimensions; labels have 1");
    write_bytes("train-labels-idx1-ubyte", file, make_idx(file, 0x0c, 1, dim, (int32_t[N]){0, 1, 2, -3, 4, 5}));
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "label -3 of sample 3 (byte 20) is out of range");
    write_bytes("train-labels-idx1-ubyte", file, make_idx(file, 0x0c, 1, dim, (int32_t[N]){0, 1 << 30, 2}));
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "label 1073741824 of sample 1");

    /* Test data against train: a class too many, another size, another type. */
    write_set();
    job.data.test = path_of("t10k");
    struct dpt_data *train = opened(&job, DPT_SPLIT_TRAIN, NULL);
    write_gz("t10k-labels-idx1-ubyte.gz", file, make_idx(file, 8, 1, dim, "\0\1\2\3\4\0"));
    refuses(&job, DPT_SPLIT_TEST, train, DPT_STATUS_DATA,
            "label 4 of sample 4 (byte 12) is out of range: expected is 0 to 3");
    const int64_t turned[] = {N, W, H};
    write_gz("t10k-images-idx3-ubyte.gz", file, make_idx(file, 8, 3, turned, pixels));
    refuses(&job, DPT_SPLIT_TEST, train, DPT_STATUS_DATA, "a sample is 3 x 4 x 1, but it was 4 x 3 x 1 in training");
    unsigned char floats[HEAD + 4 * IMAGES];
    static const float zeros[IMAGES];
    const int64_t same[] = {N, H, W};
    write_gz("t10k-images-idx3-ubyte.gz", floats, make_idx(floats, 0x0d, 3, same, zeros));
    refuses(&job, DPT_SPLIT_TEST, train, DPT_STATUS_DATA, "the values are floats, but they were bytes");
    dpt_data_close(train);
}

static void validation_share_is_held_back(void **state)
{
    (void)state;
    enum { MANY = 200 };
    unsigned char file[8 + 4 * MANY], images[12 + MANY];
    int32_t label[MANY];
    int seen[MANY] = {0};
    unsigned char value[MANY];
    const int64_t dim[] = {MANY, 1};
    for (int i = 0; i < MANY; i++) {
        label[i] = i;
        value[i] = (unsigned char)i;
    }
    write_bytes("share-images-idx2-ubyte", images, make_idx(images, 8, 2, dim, value));
    write_bytes("share-labels-idx1-ubyte", file, make_idx(file, 0x0c, 1, dim, label));
    struct dpt_job job = idx_job("share");
    job.data.valid_share = 0.1;
    job.data.shuffle = true;
    struct dpt_data *train = opened(&job, DPT_SPLIT_TRAIN, NULL), *valid = opened(&job, DPT_SPLIT_VALID, train);
    assert_int_equal(dpt_data_info(train)->samples, 180);
    assert_int_equal(dpt_data_info(valid)->samples, 20);
    assert_int_equal(dpt_data_info(valid)->classes, MANY);
    float x[MANY];
    int32_t class[MANY];
    assert_int_equal(dpt_data_fetch(train, 3, 0, 180, x, class), DPT_STATUS_OK);
    assert_int_equal(dpt_data_fetch(valid, 3, 0, 20, x + 180, class + 180), DPT_STATUS_OK);
    int in_order = 0;
    for (int i = 0; i < MANY; i++) {
        seen[class[i]]++;
        assert_true(fabsf(x[i] - (float)class[i] / 255.0f) < 1e-6f);
        /* Validation keeps the stored order in every epoch, training does not. */
        in_order += i > 0 && i < 180 && class[i] > class[i - 1];
        assert_true(i <= 180 || class[i] > class[i - 1]);
    }
    assert_true(in_order < 120);
    assert_int_equal(dpt_data_fetch(train, -1, 0, 180, x, class), DPT_STATUS_OK);
    for (int i = 1; i < 180; i++) {
        assert_true(class[i] > class[i - 1]);
    }
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(seen[i], 1);
    }
    refused(dpt_data_fetch(valid, 0, 15, 6, x, class), DPT_STATUS_FAILED, "samples 15 to 20 were asked for");
    refused(dpt_data_fetch(valid, 0, -1, 2, x, class), DPT_STATUS_FAILED, "there are 20");
    dpt_data_close(valid);
    dpt_data_close(train);
    job.data.valid_share = 0.001;
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_USAGE, "leaves 0 for validation and 200 for training");
}

static void predictions_need_no_labels(void **state)
{
    (void)state;
    unsigned char file[256];
    double mean = 0.25, std = 0.5;
    write_set();
    struct dpt_job job = idx_job("train");
    job.data.mean.count = job.data.std.count = 1;
    job.data.mean.value = &mean;
    job.data.std.value = &std;
    struct dpt_data *train = opened(&job, DPT_SPLIT_TRAIN, NULL), *data = NULL;
    char *preparation = strdup(dpt_data_preparation(train));
    dpt_data_close(train);
    /* What was learned counts, not what the job says now. */
    job.data.mean.count = job.data.std.count = 0;
    assert_int_equal(dpt_data_open_file(&job, path_of("t10k"), preparation, &data), DPT_STATUS_OK);
    assert_true(dpt_data_info(data)->labelled);
    values_are_those_of_the_file(data, mean, std);
    dpt_data_close(data);
    unlink(path_of("t10k-labels-idx1-ubyte.gz"));
    assert_int_equal(dpt_data_open_file(&job, path_of("t10k-images-idx3-ubyte.gz"), preparation, &data), DPT_STATUS_OK);
    assert_false(dpt_data_info(data)->labelled);
    assert_int_equal(dpt_data_info(data)->classes, 4);
    float x[IMAGES];
    int32_t class[N];
    assert_int_equal(dpt_data_fetch(data, -1, 0, N, x, NULL), DPT_STATUS_OK);
    refused(dpt_data_fetch(data, -1, 0, N, x, class), DPT_STATUS_FAILED, "it has none");
    dpt_data_close(data);
    const int64_t turned[] = {N, W, H};
    write_bytes("turned", file, make_idx(file, 8, 3, turned, pixels));
    refused(dpt_data_open_file(&job, path_of("turned"), preparation, &data), DPT_STATUS_DATA, "a sample is 3 x 4 x 1");
    refused(dpt_data_open_file(&job, path_of("lost"), preparation, &data), DPT_STATUS_DATA,
            "lost: there is no such file");
    job.data.format = DPT_DATA_FORMAT_CSV;
    refused(dpt_data_open_file(&job, path_of("turned"), preparation, &data), DPT_STATUS_DATA, "trained on idx data");
    job.data.format = DPT_DATA_FORMAT_SYNTHETIC;
    refused(dpt_data_open_file(&job, path_of("turned"), NULL, &data), DPT_STATUS_DATA, "synthetic");
    free(preparation);
}

/* Files with random changes are read or refused, and never more than that. */
static void mutated_files(void **state)
{
    (void)state;
    unsigned char good[2][512], file[600];
    size_t nbytes[2];
    write_set();
    const char *const name[2] = {"train-images-idx3-ubyte", "t10k-images-idx3-ubyte.gz"};
    const char *const prefix[2] = {"train", "t10k"};
    uint64_t turn = 0;
    int accepted = 0, refusals = 0;
    for (int k = 0; k < 2; k++) {
        nbytes[k] = read_all(name[k], good[k], sizeof good[k]);
        struct dpt_job job = idx_job(prefix[k]);
        for (int round = 0; round < 1500; round++) {
            size_t size = nbytes[k];
            memcpy(file, good[k], size);
            for (uint32_t changes = 1 + draw(1, &turn) % 3; changes > 0; changes--) {
                const size_t at = draw(1, &turn) % (round % 2 ? HEAD + 4 : size);
                file[at] = (unsigned char)(draw(1, &turn) % 4 ? draw(1, &turn) : draw(1, &turn) % 2 * 255);
            }
            if (draw(1, &turn) % 4 == 0) {
                size = draw(1, &turn) % (size + 40);
            }
            write_bytes(name[k], file, size);
            struct dpt_data *data = NULL;
            const enum dpt_status status = dpt_data_open(&job, DPT_SPLIT_TRAIN, NULL, &data);
            if (status == DPT_STATUS_OK) {
                float *x = malloc((size_t)(numel_of(data) * dpt_data_info(data)->samples) * sizeof *x);
                assert_int_equal(dpt_data_fetch(data, 0, 0, dpt_data_info(data)->samples, x, NULL), DPT_STATUS_OK);
                free(x);
                accepted++;
            } else {
                assert_int_equal(status, DPT_STATUS_DATA);
                assert_null(data);
                refusals++;
            }
            dpt_data_close(data);
        }
    }
    assert_true(accepted > 10 && refusals > 1000);
}

static void fashion_mnist(void **state)
{
    (void)state;
    static char train_path[] = "/usr/share/datasets/fashion-mnist/train";
    static char test_path[] = "/usr/share/datasets/fashion-mnist";
    if (!dpt_file_exists(test_path)) {
        print_message("skipped: %s is not there (Debian: dataset-fashion-mnist)\n", test_path);
        skip();
    }
    struct dpt_job job = plain_job(DPT_DATA_FORMAT_IDX);
    job.data.train = train_path;
    job.data.test = test_path;
    struct dpt_data *train = opened(&job, DPT_SPLIT_TRAIN, NULL), *test = opened(&job, DPT_SPLIT_TEST, train);
    assert_int_equal(dpt_data_info(train)->samples, 60000);
    assert_int_equal(dpt_data_info(test)->samples, 10000);
    assert_int_equal(dpt_data_info(train)->classes, 10);
    float x[100 * 784];
    int32_t class[100];
    int64_t count[10] = {0};
    double sum = 0.0;
    for (int64_t first = 0; first < 60000; first += 100) {
        assert_int_equal(dpt_data_fetch(train, -1, first, 100, x, class), DPT_STATUS_OK);
        for (int i = 0; i < 100 * 784; i++) {
            sum += x[i];
        }
        for (int i = 0; i < 100; i++) {
            count[class[i]]++;
        }
    }
    assert_true(fabs(sum / (60000.0 * 784) - 0.2860) < 5e-5);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(count[i], 6000);
    }
    dpt_data_close(test);
    dpt_data_close(train);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ways_to_name_a_set, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(normalisation_is_per_channel, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(floats_and_integers, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(missing_files, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(damaged_files, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(gaps_between_classes, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(damaged_gzip, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(labels_that_do_not_fit, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(validation_share_is_held_back, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(predictions_need_no_labels, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(mutated_files, make_folder, remove_folder),
        cmocka_unit_test(fashion_mnist),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
