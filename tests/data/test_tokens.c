/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Windows of tokens. Most files hold 0, 1, 2 ... in order, so that a window shows where it was cut, and in which shard:
 * shard s begins with s * 10000.
 */

#include "data/shard.h"
#include "files.h"

enum { CONTEXT = 16, VOCAB = 60000 };

/* Paths that stay, while those of path_of come and go. */
static char *kept_path(const char *name)
{
    static char path[64][512];
    static int turn;
    turn = (turn + 1) % 64;
    snprintf(path[turn], sizeof path[turn], "%s", path_of(name));
    return path[turn];
}

static struct dpt_job tokens_job(const char *train)
{
    struct dpt_job job = plain_job(DPT_DATA_FORMAT_TOKENS);
    job.data.train = kept_path(train);
    job.data.context = CONTEXT;
    job.data.shuffle = true;
    return job;
}

/* Writes `count` tokens that count up from `from`, in shards of at most `most`. */
static void write_shards(const char *name, int32_t from, int64_t count, int64_t most, int64_t vocab)
{
    struct dpt_shard_writer *writer;
    const struct dpt_shard_conf conf = {.folder = folder, .name = name, .vocab = vocab, .end = -1, .tokenizer = 77,
                                        .most = most};
    for (int i = 0; i < 100; i++) {
        char old[64];
        snprintf(old, sizeof old, "%s-%05d.bin", name, i);
        unlink(path_of(old));
    }
    assert_int_equal(dpt_shard_writer_new(&conf, &writer), DPT_STATUS_OK);
    for (int64_t i = 0; i < count;) { /* in pieces of all sizes */
        int32_t id[1000];
        const int64_t n = i % 997 + 1 < count - i ? i % 997 + 1 : count - i;
        for (int64_t k = 0; k < n; k++) {
            id[k] = from + (int32_t)(i + k);
        }
        assert_int_equal(dpt_shard_writer_add(writer, id, n, 3 * n, 0), DPT_STATUS_OK);
        i += n;
    }
    assert_int_equal(dpt_shard_writer_finish(writer, NULL), DPT_STATUS_OK);
    dpt_shard_writer_free(writer);
}

/* All windows of an epoch; they must count up, and the targets must be one token later. */
static int32_t *starts_of(const struct dpt_data *data, int64_t epoch)
{
    const int64_t samples = dpt_data_info(data)->samples;
    int32_t *x = malloc((size_t)samples * CONTEXT * 4), *target = malloc((size_t)samples * CONTEXT * 4);
    int32_t *start = malloc((size_t)samples * 4);
    assert_true(x && target && start);
    assert_int_equal(dpt_data_fetch(data, epoch, 0, samples, x, target), DPT_STATUS_OK);
    for (int64_t i = 0; i < samples; i++) {
        start[i] = x[i * CONTEXT];
        for (int t = 0; t < CONTEXT; t++) {
            assert_int_equal(x[i * CONTEXT + t], start[i] + t);
            assert_int_equal(target[i * CONTEXT + t], start[i] + t + 1);
        }
    }
    free(x);
    free(target);
    return start;
}

static void what_it_says(void **state)
{
    (void)state;
    write_shards("one", 0, 1000, 5000, VOCAB);
    const struct dpt_job job = tokens_job("one");
    struct dpt_data *data = opened(&job, DPT_SPLIT_TRAIN, NULL);
    const struct dpt_data_info *info = dpt_data_info(data);
    assert_int_equal(info->ndim, 1);
    assert_int_equal(info->dim[0], CONTEXT);
    assert_int_equal(info->dtype, DPT_DTYPE_I32);
    assert_int_equal(info->classes, VOCAB);
    assert_int_equal(info->targets, CONTEXT);
    assert_true(info->labelled);
    assert_true(info->token_bytes == 3.0);
    assert_int_equal(info->samples, 1000 / CONTEXT - 1);
    assert_null(dpt_data_tokenizer(dpt_data_preparation(data)));
    dpt_data_close(data);
}

static void stored_order(void **state)
{
    (void)state;
    write_shards("train", 0, 500, 5000, VOCAB);
    write_shards("valid", 0, CONTEXT * 20 + 1, 5000, VOCAB);
    struct dpt_job job = tokens_job("train");
    job.data.valid = kept_path("valid");
    struct dpt_data *train = opened(&job, DPT_SPLIT_TRAIN, NULL), *valid = opened(&job, DPT_SPLIT_VALID, train);
    assert_int_equal(dpt_data_info(valid)->samples, 20);
    for (int64_t epoch = -1; epoch < 2; epoch++) { /* what is not trained on has one order */
        int32_t *start = starts_of(valid, epoch);
        for (int i = 0; i < 20; i++) {
            assert_int_equal(start[i], i * CONTEXT);
        }
        free(start);
    }
    dpt_data_close(valid);
    dpt_data_close(train);
}

static int compare_ints(const void *a, const void *b)
{
    return *(const int32_t *)a - *(const int32_t *)b;
}

/* An epoch takes each window of each shard once; all windows of a shard are shifted by the same number. */
static void epochs_are_without_replacement(void **state)
{
    (void)state;
    enum { SHARD = 1000, WINDOWS = SHARD / CONTEXT - 1 };
    write_shards("many", 0, 3 * SHARD, SHARD, VOCAB);
    const struct dpt_job job = tokens_job("many");
    struct dpt_data *data = opened(&job, DPT_SPLIT_TRAIN, NULL);
    assert_int_equal(dpt_data_info(data)->samples, 3 * WINDOWS);
    bool begun[CONTEXT] = {0};
    int32_t *before = NULL;
    for (int64_t epoch = 0; epoch < 200; epoch++) {
        int32_t *start = starts_of(data, epoch);
        assert_true(!before || memcmp(start, before, 3 * WINDOWS * sizeof *start) != 0);
        free(before);
        before = malloc(3 * WINDOWS * sizeof *start);
        memcpy(before, start, 3 * WINDOWS * sizeof *start);
        qsort(start, 3 * WINDOWS, sizeof *start, compare_ints);
        for (int s = 0; s < 3; s++) {
            const int32_t shift = start[s * WINDOWS] - s * SHARD;
            assert_true(shift >= 0 && shift < CONTEXT);
            begun[shift] = true;
            for (int i = 0; i < WINDOWS; i++) {
                assert_int_equal(start[s * WINDOWS + i], s * SHARD + shift + i * CONTEXT);
            }
        }
        free(start);
    }
    for (int i = 0; i < CONTEXT; i++) { /* 600 draws of 16 */
        assert_true(begun[i]);
    }
    free(before);
    dpt_data_close(data);
}

/* Every count of tokens: the windows lie inside, and no more would fit beside a shift. */
static void short_files(void **state)
{
    (void)state;
    for (int64_t count = 1; count < 4 * CONTEXT; count++) {
        write_shards("short", 0, count, 5000, VOCAB);
        const struct dpt_job job = tokens_job("short");
        if (count <= CONTEXT) {
            refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_USAGE, "hold no window of [data] context + 1 = 17");
            continue;
        }
        struct dpt_data *data = opened(&job, DPT_SPLIT_TRAIN, NULL);
        const int64_t samples = dpt_data_info(data)->samples;
        assert_int_equal(samples, count < 2 * CONTEXT ? 1 : count / CONTEXT - 1);
        int32_t most = 0;
        for (int64_t epoch = 0; epoch < 100; epoch++) {
            int32_t *start = starts_of(data, epoch);
            for (int64_t i = 0; i < samples; i++) {
                assert_true(start[i] >= 0 && start[i] + CONTEXT < count);
                most = start[i] > most ? start[i] : most;
            }
            free(start);
        }
        const int64_t shift = most - (samples - 1) * CONTEXT;
        assert_int_equal(shift, count < 2 * CONTEXT ? count - CONTEXT - 1 : CONTEXT - 1);
        dpt_data_close(data);
    }
}

static void pieces_are_the_whole(void **state)
{
    (void)state;
    write_shards("train", 0, 5000, 1234, VOCAB);
    const struct dpt_job job = tokens_job("train");
    struct dpt_data *data = opened(&job, DPT_SPLIT_TRAIN, NULL);
    const int64_t samples = dpt_data_info(data)->samples;
    int32_t *start = starts_of(data, 5);
    for (int64_t i = 0; i < samples; i++) {
        int32_t x[CONTEXT];
        assert_int_equal(dpt_data_fetch(data, 5, i, 1, x, NULL), DPT_STATUS_OK);
        assert_int_equal(x[0], start[i]);
    }
    free(start);
    /* Without shuffling the order is that of the files, and nothing is shifted. */
    dpt_data_close(data);
    struct dpt_job plain = job;
    plain.data.shuffle = false;
    data = opened(&plain, DPT_SPLIT_TRAIN, NULL);
    start = starts_of(data, 5);
    for (int64_t i = 0; i < 1233 / CONTEXT; i++) {
        assert_int_equal(start[i], i * CONTEXT);
    }
    free(start);
    dpt_data_close(data);
}

static void layouts_of_others(void **state)
{
    (void)state;
    unsigned char file[1024 + 2 * 500] = {0};
    struct dpt_job job = tokens_job("llmc.bin");
    for (int i = 0; i < 500; i++) {
        file[1024 + 2 * i] = (unsigned char)i;
        file[1025 + 2 * i] = (unsigned char)(i >> 8);
    }
    const unsigned char head[12] = {0x88, 0xd8, 0x34, 0x01, 1, 0, 0, 0, 500 & 255, 500 >> 8, 0, 0}; /* 20240520 */
    memcpy(file, head, sizeof head);
    write_bytes("llmc.bin", file, sizeof file);
    write_bytes("plain.bin", file + 1024, 1000);
    write_shards("wide", 0, 500, 5000, 100000); /* 4 bytes a token */
    write_shards("narrow", 0, 500, 5000, 50257);
    static const struct {
        const char *name;
        int64_t vocab, classes;
    } cases[] = {{"llmc.bin", 0, 50257}, {"llmc", 50304, 50304}, {"plain.bin", 500, 500}, {"wide", 0, 100000},
                 {"narrow", 0, 50257}};
    for (int i = 0; i < 5; i++) {
        job.data.train = kept_path(cases[i].name);
        job.data.vocab = cases[i].vocab;
        struct dpt_data *data = opened(&job, DPT_SPLIT_TRAIN, NULL);
        assert_int_equal(dpt_data_info(data)->classes, cases[i].classes);
        int32_t *start = starts_of(data, -1);
        for (int64_t k = 0; k < dpt_data_info(data)->samples; k++) {
            assert_int_equal(start[k], k * CONTEXT);
        }
        free(start);
        dpt_data_close(data);
    }
    job.data.vocab = 0;
    job.data.train = kept_path("plain.bin");
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_USAGE, "does not say how many tokens there are");
    write_bytes("plain.bin", file + 1024, 999);
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "999 bytes, an odd number");
    file[4] = 2;
    write_bytes("llmc.bin", file, sizeof file);
    job.data.train = kept_path("llmc.bin");
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "version 2");
    file[4] = 1;
    write_bytes("llmc.bin", file, sizeof file - 2);
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "announces 500 tokens of 2 bytes behind byte 1024");
}

/* The last tokens are held back: no window of one part has a token of the other. */
static void validation_share_is_held_back(void **state)
{
    (void)state;
    write_shards("train", 0, 10000, 3000, VOCAB);
    struct dpt_job job = tokens_job("train");
    job.data.valid_share = 0.25;
    struct dpt_data *train = opened(&job, DPT_SPLIT_TRAIN, NULL), *valid = opened(&job, DPT_SPLIT_VALID, train);
    for (int64_t epoch = 0; epoch < 20; epoch++) {
        int32_t *start = starts_of(train, epoch);
        for (int64_t i = 0; i < dpt_data_info(train)->samples; i++) {
            assert_true(start[i] + CONTEXT < 7500);
        }
        free(start);
    }
    int32_t *start = starts_of(valid, 0);
    assert_int_equal(start[0], 7500); /* 1500 of the third shard, then the last with 1000 */
    assert_int_equal(dpt_data_info(valid)->samples, 1499 / CONTEXT + 999 / CONTEXT);
    for (int64_t i = 0; i < dpt_data_info(valid)->samples; i++) {
        assert_true(start[i] >= 7500);
    }
    free(start);
    dpt_data_close(valid);
    dpt_data_close(train);
    job.data.valid_share = 0.0001;
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_USAGE, "hold no window");
}

/* Documents 1 2 .. n 0: with documents apart no window has the 0 anywhere but as its last target. */
static void documents_apart(void **state)
{
    (void)state;
    enum { DOCUMENTS = 300 };
    struct dpt_shard_writer *writer;
    const struct dpt_shard_conf conf = {.folder = folder, .name = "docs", .vocab = 1000, .end = 0, .most = 2500};
    int64_t windows = 0, tokens = 0;
    assert_int_equal(dpt_shard_writer_new(&conf, &writer), DPT_STATUS_OK);
    for (int d = 0; d < DOCUMENTS; d++) {
        int32_t id[100];
        const int n = 1 + d * 7 % 90;
        for (int i = 0; i < n; i++) {
            id[i] = i + 1 < n ? i + 1 : 0;
        }
        windows += (n - 1) / CONTEXT;
        tokens += n;
        assert_int_equal(dpt_shard_writer_add(writer, id, n, n, 1), DPT_STATUS_OK);
    }
    assert_int_equal(dpt_shard_writer_finish(writer, NULL), DPT_STATUS_OK);
    dpt_shard_writer_free(writer);
    struct dpt_job job = tokens_job("docs");
    job.data.documents = DPT_DOCUMENTS_APART;
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        job.data.shuffle = shuffle;
        struct dpt_data *data = opened(&job, DPT_SPLIT_TRAIN, NULL);
        const int64_t samples = dpt_data_info(data)->samples;
        /* A document that two shards share is two; nothing else is lost, but for what shifting takes. */
        assert_true(samples <= windows && samples > (shuffle ? windows / 2 : windows - 10));
        assert_non_null(strstr(dpt_data_notes(data), "shorter than [data] context + 1 = 17 are left out"));
        for (int64_t epoch = 0; epoch < 20; epoch++) {
            for (int64_t i = 0; i < samples; i++) {
                int32_t x[CONTEXT], target[CONTEXT];
                assert_int_equal(dpt_data_fetch(data, epoch, i, 1, x, target), DPT_STATUS_OK);
                for (int t = 0; t < CONTEXT; t++) {
                    assert_int_equal(x[t], x[0] + t);
                    assert_true(x[t] > 0 && (target[t] == x[t] + 1 || (t == CONTEXT - 1 && target[t] == 0)));
                }
            }
        }
        dpt_data_close(data);
    }
    /* Joined, they are one stretch a shard. */
    job.data.documents = DPT_DOCUMENTS_JOINED;
    struct dpt_data *data = opened(&job, DPT_SPLIT_TRAIN, NULL);
    assert_true(dpt_data_info(data)->samples >= tokens / CONTEXT - 2 * (tokens / 2500 + 1));
    dpt_data_close(data);
    write_shards("train", 0, 100, 5000, VOCAB);
    job = tokens_job("train");
    job.data.documents = DPT_DOCUMENTS_APART;
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_USAGE, "does not say which token ends a document");
}

struct layout {
    int64_t rank, size;
};

static void rows_of(const void *layout, int64_t count, int64_t micro, int64_t *first_row, int64_t *rows,
                    int64_t *micro_rows)
{
    const struct layout *at = layout;
    (void)micro;
    *first_row = count * at->rank / at->size;
    *rows = count * (at->rank + 1) / at->size - *first_row;
    *micro_rows = count;
}

/* Steps from the third on, on 1 to 4 ranks that begin there: the windows of a run that has come there from the start. */
static void resume_in_any_layout(void **state)
{
    (void)state;
    enum { BATCH = 10, STEPS = 60 };
    write_shards("train", 0, 3000, 700, VOCAB);
    const struct dpt_job job = tokens_job("train");
    struct dpt_data *data = opened(&job, DPT_SPLIT_TRAIN, NULL);
    assert_true(STEPS * BATCH > 2 * dpt_data_info(data)->samples); /* over several epochs */
    int32_t expected[STEPS * BATCH];
    for (int64_t size = 1; size <= 4; size++) {
        for (int64_t rank = 0; rank < size; rank++) {
            const struct layout layout = {rank, size};
            const struct dpt_loader_conf conf = {.data = data, .global = BATCH, .micros = 1, .max_rows = BATCH,
                                                 .train = true, .ahead = rank, .rows = rows_of, .layout = &layout};
            struct dpt_loader *loader;
            const struct dpt_batch *batch;
            const int64_t begin = size == 1 ? 0 : 3;
            assert_int_equal(dpt_loader_new(&conf, begin, &loader), DPT_STATUS_OK);
            for (int64_t step = begin; step < STEPS; step++) {
                assert_int_equal(dpt_loader_next(loader, &batch), DPT_STATUS_OK);
                const int32_t *x = batch->x, *target = batch->target;
                for (int64_t i = 0; i < batch->rows; i++) {
                    int32_t *start = &expected[step * BATCH + batch->first_row + i];
                    *start = size == 1 ? x[i * CONTEXT] : *start;
                    assert_int_equal(x[i * CONTEXT], *start);
                    assert_int_equal(target[i * CONTEXT + CONTEXT - 1], *start + CONTEXT);
                }
            }
            dpt_loader_free(loader);
        }
    }
    dpt_data_close(data);
}

static void tokenizer_beside(void **state)
{
    (void)state;
    static const char json[] = "{\"model\": {\"vocab\": {\"a\": 0}}}\n";
    write_shards("train", 0, 100, 5000, VOCAB);
    write_text("tokenizer.json", json);
    const struct dpt_job job = tokens_job("train");
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "tokenizer.json: is not the tokenizer that made");
    write_text("tokenizer.json", "{\"a\": \n");
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "tokenizer.json: line 2");
    write_text("tokenizer.json", "[]");
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "is no JSON object");
    write_text("tokenizer.json", json);
    unsigned char tokens[200] = {0}; /* a file that does not say which tokenizer */
    write_bytes("plain.bin", tokens, sizeof tokens);
    struct dpt_job plain = tokens_job("plain.bin");
    plain.data.vocab = 10;
    struct dpt_data *data = opened(&plain, DPT_SPLIT_TRAIN, NULL);
    char *text = dpt_data_tokenizer(dpt_data_preparation(data));
    assert_string_equal(text, "{\"model\":{\"vocab\":{\"a\":0}}}");
    free(text);
    dpt_data_close(data);
    assert_null(dpt_data_tokenizer(NULL));
    assert_null(dpt_data_tokenizer("{"));
    unlink(path_of("tokenizer.json"));
}

static void refusals(void **state)
{
    (void)state;
    struct dpt_job job = tokens_job("nothing");
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "none that begins so and ends in .bin");
    job.data.train = folder;
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_USAGE, "is a folder");
    write_text("empty.bin", "");
    job.data.train = kept_path("empty.bin");
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "empty.bin: is empty");

    /* A token out of the vocabulary is found when it is read, with its place. */
    write_shards("high", 0, 200, 5000, 150);
    job.data.train = kept_path("high");
    struct dpt_data *data = opened(&job, DPT_SPLIT_TRAIN, NULL);
    int32_t x[CONTEXT], target[CONTEXT];
    assert_int_equal(dpt_data_fetch(data, -1, 8, 1, x, target), DPT_STATUS_OK); /* up to 144 */
    refused(dpt_data_fetch(data, -1, 9, 1, x, target), DPT_STATUS_DATA,
            "high-00000.bin: token 150 is 150, but the vocabulary has the tokens 0 to 149");
    dpt_data_close(data);

    job.data.vocab = 149;
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "its vocabulary has 150 tokens, but [data] vocab says 149");

    struct dpt_job pair = tokens_job("high");
    write_shards("more", 0, 200, 5000, 151);
    data = opened(&pair, DPT_SPLIT_TRAIN, NULL);
    pair.data.valid = kept_path("more");
    refuses(&pair, DPT_SPLIT_VALID, data, DPT_STATUS_DATA, "has 151 tokens, but the training data says 150");
    dpt_data_close(data);
    refused(dpt_data_open_file(&pair, path_of("high"), "{}", &data), DPT_STATUS_USAGE, "dpt-generate");
}

static void read_file(const char *name, unsigned char *bytes, size_t size, size_t *nbytes)
{
    FILE *file = fopen(path_of(name), "rb");
    assert_non_null(file);
    *nbytes = fread(bytes, 1, size, file);
    fclose(file);
}

/* Another tokenizer's shard among the others; then headers with any byte changed, and files cut anywhere. */
static void mutated_files(void **state)
{
    (void)state;
    unsigned char bytes[4096], was[4096];
    size_t nbytes;
    int good = 0, bad = 0;
    write_shards("mutant", 0, 600, 300, VOCAB);
    read_file("mutant-00001.bin", was, sizeof was, &nbytes);
    assert_int_equal(nbytes, 256 + 600);
    const struct dpt_job job = tokens_job("mutant");
    memcpy(bytes, was, nbytes);
    bytes[48]++;
    write_bytes("mutant-00001.bin", bytes, nbytes);
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "another tokenizer than");
    for (uint64_t i = 0; i < 3000; i++) {
        uint64_t turn = 0;
        memcpy(bytes, was, nbytes);
        bytes[draw(i, &turn) % (i % 3 ? 64 : nbytes)] = (unsigned char)draw(i, &turn);
        const size_t length = i % 5 ? nbytes : draw(i, &turn) % (nbytes + 1);
        write_bytes("mutant-00001.bin", bytes, length);
        struct dpt_data *data;
        if (dpt_data_open(&job, DPT_SPLIT_TRAIN, NULL, &data) != DPT_STATUS_OK) {
            assert_non_null(strstr(dpt_error_text(), "mutant"));
            bad++;
            continue;
        }
        good++;
        for (int64_t k = 0; k < dpt_data_info(data)->samples; k++) {
            int32_t x[CONTEXT], target[CONTEXT];
            const int64_t vocab = dpt_data_info(data)->classes;
            if (dpt_data_fetch(data, 3, k, 1, x, target) == DPT_STATUS_OK) {
                for (int t = 0; t < CONTEXT; t++) {
                    assert_true(x[t] >= 0 && x[t] < vocab && target[t] >= 0 && target[t] < vocab);
                }
            }
        }
        dpt_data_close(data);
    }
    assert_true(good > 100 && bad > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_it_says),      cmocka_unit_test(stored_order),
        cmocka_unit_test(epochs_are_without_replacement),
        cmocka_unit_test(short_files),       cmocka_unit_test(pieces_are_the_whole),
        cmocka_unit_test(layouts_of_others), cmocka_unit_test(validation_share_is_held_back),
        cmocka_unit_test(documents_apart),   cmocka_unit_test(resume_in_any_layout),
        cmocka_unit_test(tokenizer_beside),  cmocka_unit_test(refusals),
        cmocka_unit_test(mutated_files),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
