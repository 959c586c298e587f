/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

#include <sched.h>

enum { SAMPLES = 47, NUMEL = 6, GLOBAL = 10 };

/* A layout of `ranks` ranks, each with `micros` micro-batches; as in training, shares may be uneven or empty. */
struct layout {
    int64_t ranks, rank, micros;
    int64_t broken_count; /* asks for rows that are not there when the batch has so many */
};

static void rows(const void *layout, int64_t count, int64_t micro, int64_t *first_row, int64_t *nrows,
                 int64_t *micro_rows)
{
    const struct layout *l = layout;
    const int64_t begin = count * micro / l->micros, end = count * (micro + 1) / l->micros;
    *micro_rows = end - begin;
    *first_row = begin + *micro_rows * l->rank / l->ranks;
    *nrows = begin + *micro_rows * (l->rank + 1) / l->ranks - *first_row;
    *nrows += count == l->broken_count ? 1000 : 0;
}

/* Images whose label is their place in the file. */
static struct dpt_data *numbered(bool shuffle)
{
    unsigned char images[16 + SAMPLES * NUMEL], labels[8 + 4 * SAMPLES], pixels[SAMPLES * NUMEL];
    int32_t label[SAMPLES];
    const int64_t dim[] = {SAMPLES, 2, 3};
    for (int i = 0; i < SAMPLES; i++) {
        label[i] = i;
        memset(pixels + i * NUMEL, i, NUMEL);
    }
    write_bytes("images-idx3", images, make_idx(images, 8, 3, dim, pixels));
    write_bytes("labels-idx1", labels, make_idx(labels, 0x0c, 1, dim, label));
    struct dpt_job job = plain_job(DPT_DATA_FORMAT_IDX);
    job.data.train = path_of("images-idx3");
    job.data.shuffle = shuffle;
    job.augment.crop = 1;
    job.augment.flip = true;
    return opened(&job, DPT_SPLIT_TRAIN, NULL);
}

static struct dpt_loader_conf conf_of(const struct dpt_data *data, const struct layout *layout, bool train,
                                      int64_t ahead)
{
    return (struct dpt_loader_conf){.data = data,
                                    .global = GLOBAL,
                                    .micros = layout->micros,
                                    .max_rows = GLOBAL,
                                    .train = train,
                                    .ahead = ahead,
                                    .rows = rows,
                                    .layout = layout};
}

static struct dpt_loader *made(const struct dpt_loader_conf *conf, int64_t step)
{
    struct dpt_loader *loader = NULL;
    assert_int_equal(dpt_loader_new(conf, step, &loader), DPT_STATUS_OK);
    return loader;
}

/* The next micro-batch must be this one, with the values of a direct fetch. */
static void expect_batch(struct dpt_loader *loader, const struct dpt_loader_conf *conf, int64_t step, int64_t micro)
{
    const struct dpt_batch *batch = NULL;
    assert_int_equal(dpt_loader_next(loader, &batch), DPT_STATUS_OK);
    assert_non_null(batch);
    const struct dpt_batch_place place = dpt_batch_place(dpt_data_info(conf->data)->samples, GLOBAL, step);
    int64_t first_row, nrows, micro_rows;
    rows(conf->layout, place.count, micro, &first_row, &nrows, &micro_rows);
    assert_int_equal(batch->step, step);
    assert_int_equal(batch->micro, micro);
    assert_int_equal(batch->epoch, place.epoch);
    assert_int_equal(batch->rows, nrows);
    assert_int_equal(batch->first_row, first_row);
    assert_int_equal(batch->micro_rows, micro_rows);
    assert_int_equal(batch->batch_rows, place.count);
    assert_int_equal((uintptr_t)batch->x % 64, 0);
    assert_int_equal((uintptr_t)batch->target % 64, 0);
    float x[GLOBAL * NUMEL];
    int32_t class[GLOBAL];
    const int64_t epoch = conf->train ? place.epoch : -1;
    assert_int_equal(dpt_data_fetch(conf->data, epoch, place.first + first_row, nrows, x, class), DPT_STATUS_OK);
    if (nrows > 0) {
        assert_memory_equal(batch->x, x, (size_t)nrows * NUMEL * sizeof *x);
        assert_memory_equal(batch->target, class, (size_t)nrows * sizeof *class);
    }
}

static void loader_equals_direct_fetch(void **state)
{
    (void)state;
    struct dpt_data *data = numbered(true);
    const struct layout layouts[] = {{1, 0, 1, 0}, {3, 1, 2, 0}, {4, 0, 4, 0}};
    const int64_t aheads[] = {0, 1, 2, 7};
    for (int k = 0; k < 12; k++) {
        const struct layout *layout = &layouts[k / 4];
        const struct dpt_loader_conf conf = conf_of(data, layout, true, aheads[k % 4]);
        struct dpt_loader *loader = made(&conf, 3);
        for (int64_t step = 3; step < 17; step++) {
            for (int64_t micro = 0; micro < layout->micros; micro++) {
                expect_batch(loader, &conf, step, micro);
            }
        }
        /* Forward, back, and in the middle of a step. */
        const int64_t seeks[] = {100, 0, 1, 1, 50};
        for (size_t i = 0; i < sizeof seeks / sizeof seeks[0]; i++) {
            assert_int_equal(dpt_loader_seek(loader, seeks[i]), DPT_STATUS_OK);
            for (int64_t n = 0; n < 3; n++) {
                expect_batch(loader, &conf, seeks[i] + n / layout->micros, n % layout->micros);
            }
        }
        dpt_loader_free(loader);
    }
    dpt_data_close(data);
}

/* What is read already can be looked at before it is taken: it is what comes next, unless a seek comes between. */
static void a_look_ahead_takes_nothing(void **state)
{
    (void)state;
    struct dpt_data *data = numbered(true);
    const struct layout layout = {1, 0, 2, 0};
    const struct dpt_loader_conf conf = conf_of(data, &layout, true, 3), direct = conf_of(data, &layout, true, 0);
    struct dpt_loader *loader = made(&conf, 0), *without = made(&direct, 0);
    uint64_t last = 0;
    for (int64_t n = 0; n < 12; n++) {
        const struct dpt_batch *seen, *batch;
        while (!(seen = dpt_loader_peek(loader))) {
            sched_yield();
        }
        const uint64_t number = seen->number;
        assert_true(number > last);
        if (n == 6) { /* the same place again, but another fill */
            assert_int_equal(dpt_loader_seek(loader, n / 2), DPT_STATUS_OK);
        }
        assert_int_equal(dpt_loader_next(loader, &batch), DPT_STATUS_OK);
        assert_int_equal(batch->step * 2 + batch->micro, n);
        assert_true(n == 6 ? batch->number > number : batch == seen && batch->number == number);
        last = batch->number;
        assert_null(dpt_loader_peek(without));
        assert_int_equal(dpt_loader_next(without, &batch), DPT_STATUS_OK);
        assert_int_equal(batch->number, n + 1);
    }
    dpt_loader_free(loader);
    dpt_loader_free(without);
    dpt_data_close(data);
}

/* Over an epoch, all ranks together read every sample once. */
static void every_sample_once(void **state)
{
    (void)state;
    struct dpt_data *data = numbered(true);
    for (int64_t ranks = 1; ranks <= 3; ranks++) {
        for (int64_t epoch = 0; epoch < 2; epoch++) {
            int seen[SAMPLES] = {0};
            int32_t order[SAMPLES];
            for (int64_t rank = 0; rank < ranks; rank++) {
                const struct layout layout = {ranks, rank, 2, 0};
                const struct dpt_loader_conf conf = conf_of(data, &layout, true, 2);
                const int64_t steps = dpt_batch_steps_per_epoch(SAMPLES, GLOBAL);
                struct dpt_loader *loader = made(&conf, epoch * steps);
                for (int64_t n = 0; n < steps * 2; n++) {
                    const struct dpt_batch *batch = NULL;
                    assert_int_equal(dpt_loader_next(loader, &batch), DPT_STATUS_OK);
                    assert_int_equal(batch->epoch, epoch);
                    for (int64_t i = 0; i < batch->rows; i++) {
                        const int32_t label = ((const int32_t *)batch->target)[i];
                        seen[label]++;
                        order[n / 2 * GLOBAL + batch->first_row + i] = label;
                    }
                }
                dpt_loader_free(loader);
            }
            int in_place = 0;
            for (int i = 0; i < SAMPLES; i++) {
                assert_int_equal(seen[i], 1);
                in_place += order[i] == i;
                /* And in the same global order for any number of ranks. */
                assert_int_equal(order[i], dpt_rng_permute(42, (uint64_t)epoch, (uint64_t)i, SAMPLES));
            }
            assert_true(in_place < SAMPLES / 2);
        }
    }
    dpt_data_close(data);
}

/* An evaluation pass ends with NULL, again and again, and starts anew after a seek. */
static void evaluation_is_one_pass(void **state)
{
    (void)state;
    struct dpt_data *data = numbered(true);
    const struct layout layout = {2, 1, 1, 0};
    for (int64_t ahead = 0; ahead < 10; ahead += 3) {
        const struct dpt_loader_conf conf = conf_of(data, &layout, false, ahead);
        struct dpt_loader *loader = made(&conf, 0);
        for (int pass = 0; pass < 3; pass++) {
            for (int64_t step = 0; step < 5; step++) {
                expect_batch(loader, &conf, step, 0);
            }
            for (int i = 0; i < 2; i++) {
                const struct dpt_batch *batch = (const struct dpt_batch *)&layout;
                assert_int_equal(dpt_loader_next(loader, &batch), DPT_STATUS_OK);
                assert_null(batch);
            }
            assert_int_equal(dpt_loader_seek(loader, 0), DPT_STATUS_OK);
        }
        dpt_loader_free(loader);
    }
    dpt_data_close(data);
}

/* What goes wrong in the thread arrives at the call that would have got the batch, and stays until a seek. */
static void failures_arrive(void **state)
{
    (void)state;
    struct dpt_data *data = numbered(false);
    const struct layout layout = {1, 0, 1, SAMPLES % GLOBAL};
    for (int64_t ahead = 0; ahead < 8; ahead += 2) {
        const struct dpt_loader_conf conf = conf_of(data, &layout, true, ahead);
        struct dpt_loader *loader = made(&conf, 2);
        const struct dpt_batch *batch;
        expect_batch(loader, &conf, 2, 0);
        expect_batch(loader, &conf, 3, 0);
        for (int i = 0; i < 2; i++) {
            dpt_error_clear();
            refused(dpt_loader_next(loader, &batch), DPT_STATUS_FAILED, "step 4: rows 0 to 1006 of a batch of 7");
            assert_null(batch);
        }
        assert_int_equal(dpt_loader_seek(loader, 5), DPT_STATUS_OK);
        expect_batch(loader, &conf, 5, 0);
        dpt_loader_free(loader);
    }
    dpt_data_close(data);
}

/* Freed while the ring is empty, full, or being filled. */
static void ends_at_any_time(void **state)
{
    (void)state;
    struct dpt_data *data = numbered(true);
    const struct layout layout = {1, 0, 1, 0};
    uint64_t turn = 0;
    for (int round = 0; round < 200; round++) {
        const struct dpt_loader_conf conf = conf_of(data, &layout, round % 2, 1 + round % 5);
        struct dpt_loader *loader = made(&conf, 0);
        for (uint32_t n = draw(4, &turn) % 4; n > 0; n--) {
            const struct dpt_batch *batch;
            if (draw(4, &turn) % 3 == 0) {
                assert_int_equal(dpt_loader_seek(loader, draw(4, &turn) % 5), DPT_STATUS_OK);
            }
            assert_int_equal(dpt_loader_next(loader, &batch), DPT_STATUS_OK);
        }
        if (round % 7 == 0) {
            usleep(300);
        }
        dpt_loader_free(loader);
    }
    dpt_loader_free(NULL);
    dpt_data_close(data);
}

/* Data without targets, a rank without rows, more memory than there is. */
static void odd_loaders(void **state)
{
    (void)state;
    struct dpt_data *data = numbered(false), *bare = NULL;
    unlink(path_of("labels-idx1"));
    struct dpt_job job = plain_job(DPT_DATA_FORMAT_IDX);
    const char *preparation = dpt_data_preparation(data);
    assert_int_equal(dpt_data_open_file(&job, path_of("images-idx3"), preparation, &bare), DPT_STATUS_OK);
    const struct layout last = {20, 0, 1, 0};
    struct dpt_loader_conf conf = conf_of(bare, &last, false, 1);
    conf.max_rows = 0;
    struct dpt_loader *loader = made(&conf, 0);
    const struct dpt_batch *batch;
    assert_int_equal(dpt_loader_next(loader, &batch), DPT_STATUS_OK);
    assert_int_equal(batch->rows, 0);
    assert_int_equal(batch->batch_rows, GLOBAL);
    assert_null(batch->target);
    dpt_loader_free(loader);
    conf.max_rows = INT64_MAX / 8;
    refused(dpt_loader_new(&conf, 0, &loader), DPT_STATUS_SPACE, "lower [data] prefetch or [batch] global");
    assert_null(loader);
    dpt_data_close(bare);
    dpt_data_close(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(loader_equals_direct_fetch, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_look_ahead_takes_nothing, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(every_sample_once, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(evaluation_is_one_pass, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(failures_arrive, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(ends_at_any_time, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(odd_loaders, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
