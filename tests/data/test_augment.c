/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

#include "data/reader.h"

enum { N = 40, H = 6, W = 5, C = 3, NUMEL = H * W * C };

static unsigned char pixels[N * NUMEL];

static struct dpt_job image_job(void)
{
    static unsigned char file[16 + 4 + sizeof pixels], labels[8 + 4 * N];
    static char path[512];
    static double mean[C] = {0.2, 0.3, 0.4}, std[C] = {0.5, 0.6, 0.7};
    int32_t label[N];
    const int64_t dim[] = {N, H, W, C};
    for (int i = 0; i < N * NUMEL; i++) {
        pixels[i] = (unsigned char)(1 + 7 * i % 251);
    }
    for (int i = 0; i < N; i++) {
        label[i] = i;
    }
    write_bytes("images-idx4", file, make_idx(file, 8, 4, dim, pixels));
    write_bytes("labels-idx1", labels, make_idx(labels, 0x0c, 1, dim, label));
    snprintf(path, sizeof path, "%s", path_of("images-idx4"));
    struct dpt_job job = plain_job(DPT_DATA_FORMAT_IDX);
    job.data.train = path;
    job.data.mean = (struct dpt_reals){.count = C, .value = mean};
    job.data.std = (struct dpt_reals){.count = C, .value = std};
    return job;
}

/* Pad and crop, then flip, written the long way: from the padded image. */
static void changed(const float *x, int64_t crop, struct dpt_data__change change, const float *pad, float *out)
{
    for (int64_t y = 0; y < H; y++) {
        for (int64_t i = 0; i < W; i++) {
            const int64_t column = change.flip ? W - 1 - i : i;
            /* Place in the image padded by `crop` on all sides. */
            const int64_t py = y + change.dy + crop, px = column + change.dx + crop;
            const bool inside = py >= crop && py < H + crop && px >= crop && px < W + crop;
            for (int64_t c = 0; c < C; c++) {
                out[(y * W + i) * C + c] = inside ? x[((py - crop) * W + px - crop) * C + c] : pad[c];
            }
        }
    }
}

static void fetch_equals_the_long_way(void **state)
{
    (void)state;
    const int64_t crops[] = {0, 1, 4};
    const float pad[C] = {(float)(-0.2 / 0.5), (float)(-0.3 / 0.6), (float)(-0.4 / 0.7)};
    for (int k = 0; k < 6; k++) {
        struct dpt_job job = image_job();
        job.augment.crop = crops[k / 2];
        job.augment.flip = k % 2;
        struct dpt_data *data = opened(&job, DPT_SPLIT_TRAIN, NULL);
        static float plain[N * NUMEL], augmented[N * NUMEL];
        float expected[NUMEL];
        assert_int_equal(dpt_data_fetch(data, -1, 0, N, plain, NULL), DPT_STATUS_OK);
        for (int64_t epoch = 0; epoch < 5; epoch++) {
            assert_int_equal(dpt_data_fetch(data, epoch, 0, N, augmented, NULL), DPT_STATUS_OK);
            for (int64_t i = 0; i < N; i++) {
                const struct dpt_data__change change =
                    dpt_data__draw((uint64_t)job.run.seed, epoch, i, job.augment.crop, job.augment.flip);
                changed(plain + i * NUMEL, job.augment.crop, change, pad, expected);
                assert_memory_equal(augmented + i * NUMEL, expected, sizeof expected);
            }
        }
        dpt_data_close(data);
    }
}

/* The change belongs to the sample, wherever in the order and in whichever piece it is fetched. */
static void changes_follow_the_sample(void **state)
{
    (void)state;
    struct dpt_job job = image_job();
    job.augment.crop = 2;
    job.augment.flip = true;
    struct dpt_data *stored = opened(&job, DPT_SPLIT_TRAIN, NULL);
    job.data.shuffle = true;
    struct dpt_data *shuffled = opened(&job, DPT_SPLIT_TRAIN, NULL);
    static float all[N * NUMEL], one[NUMEL];
    int32_t label;
    int moved = 0;
    assert_int_equal(dpt_data_fetch(stored, 3, 0, N, all, NULL), DPT_STATUS_OK);
    for (int64_t i = N - 1; i >= 0; i--) {
        assert_int_equal(dpt_data_fetch(shuffled, 3, i, 1, one, &label), DPT_STATUS_OK);
        assert_memory_equal(one, all + label * NUMEL, sizeof one);
        moved += label != i;
    }
    assert_true(moved > N / 2);
    dpt_data_close(shuffled);
    dpt_data_close(stored);
}

/* Every shift and both sides turn up about equally often, and differ by epoch, sample and seed. */
static void draws_are_even(void **state)
{
    (void)state;
    enum { CROP = 2, SIDES = 2 * CROP + 1, DRAWS = 20000 };
    int dy[SIDES] = {0}, dx[SIDES] = {0}, flips = 0, same[3] = {0};
    for (int64_t i = 0; i < DRAWS; i++) {
        const struct dpt_data__change a = dpt_data__draw(1, 0, i, CROP, true);
        const struct dpt_data__change other[3] = {
            dpt_data__draw(1, 1, i, CROP, true),
            dpt_data__draw(2, 0, i, CROP, true),
            dpt_data__draw(1, 0, i + 1, CROP, true),
        };
        assert_true(a.dy >= -CROP && a.dy <= CROP && a.dx >= -CROP && a.dx <= CROP);
        dy[a.dy + CROP]++;
        dx[a.dx + CROP]++;
        flips += a.flip;
        for (int k = 0; k < 3; k++) {
            same[k] += a.dy == other[k].dy && a.dx == other[k].dx && a.flip == other[k].flip;
        }
        assert_false(dpt_data__draw(1, 0, i, CROP, false).flip);
    }
    for (int k = 0; k < SIDES; k++) {
        assert_true(abs(dy[k] - DRAWS / SIDES) < 300 && abs(dx[k] - DRAWS / SIDES) < 300);
    }
    assert_true(abs(flips - DRAWS / 2) < 400);
    for (int k = 0; k < 3; k++) {
        assert_true(abs(same[k] - DRAWS / (2 * SIDES * SIDES)) < 150);
    }
}

static void refusals(void **state)
{
    (void)state;
    struct dpt_job job = image_job();
    job.augment.crop = W;
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_USAGE, "crop = 5 must be less than the height and the width");
    job.augment.crop = W - 1;
    dpt_data_close(opened(&job, DPT_SPLIT_TRAIN, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fetch_equals_the_long_way, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(changes_follow_the_sample, make_folder, remove_folder),
        cmocka_unit_test(draws_are_even),
        cmocka_unit_test_setup_teardown(refusals, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
