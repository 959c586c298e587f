/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

#include <math.h>

static struct dpt_job synthetic_job(int ndim, int64_t a, int64_t b, int64_t c, int64_t classes)
{
    static int64_t shape[3];
    shape[0] = a;
    shape[1] = b;
    shape[2] = c;
    struct dpt_job job = plain_job(DPT_DATA_FORMAT_SYNTHETIC);
    job.data.samples = 3000;
    job.data.shape = (struct dpt_ints){.count = ndim, .value = shape};
    job.data.classes = classes;
    return job;
}

/* A linear rule learned by ridge-free means: the nearest class mean of the first half classifies the second half. */
static void classes_can_be_learned(void **state)
{
    (void)state;
    enum { NUMEL = 6 * 5 * 2, CLASSES = 7, HALF = 1500 };
    struct dpt_job job = synthetic_job(3, 6, 5, 2, CLASSES);
    struct dpt_data *data = opened(&job, DPT_SPLIT_TRAIN, NULL);
    const struct dpt_data_info *info = dpt_data_info(data);
    assert_int_equal(info->samples, 2 * HALF);
    assert_int_equal(info->ndim, 3);
    assert_int_equal(info->classes, CLASSES);
    assert_string_equal(info->source, "synthetic");
    assert_null(dpt_data_preparation(data));
    static float x[2 * HALF * NUMEL];
    static int32_t class[2 * HALF];
    double mean[CLASSES][NUMEL] = {{0}};
    int count[CLASSES] = {0}, right = 0;
    assert_int_equal(dpt_data_fetch(data, -1, 0, 2 * HALF, x, class), DPT_STATUS_OK);
    for (int i = 0; i < HALF; i++) {
        assert_true(class[i] >= 0 && class[i] < CLASSES);
        count[class[i]]++;
        for (int k = 0; k < NUMEL; k++) {
            mean[class[i]][k] += x[i * NUMEL + k];
        }
    }
    for (int c = 0; c < CLASSES; c++) {
        assert_true(abs(count[c] - HALF / CLASSES) < 80);
        for (int k = 0; k < NUMEL; k++) {
            mean[c][k] /= count[c];
        }
    }
    for (int i = HALF; i < 2 * HALF; i++) {
        int best = 0;
        double least = INFINITY;
        for (int c = 0; c < CLASSES; c++) {
            double distance = 0.0;
            for (int k = 0; k < NUMEL; k++) {
                distance += pow(x[i * NUMEL + k] - mean[c][k], 2);
            }
            if (distance < least) {
                least = distance;
                best = c;
            }
        }
        right += best == class[i];
    }
    assert_true(right > HALF * 9 / 10);
    dpt_data_close(data);
}

/* y is linear in x up to noise of 0.1: least squares on the normal equations finds the map. */
static void regression_is_linear(void **state)
{
    (void)state;
    enum { F = 3, N = 3000 };
    struct dpt_job job = synthetic_job(1, F, 0, 0, 0);
    struct dpt_data *data = opened(&job, DPT_SPLIT_TRAIN, NULL);
    assert_int_equal(dpt_data_info(data)->classes, 0);
    assert_int_equal(dpt_data_info(data)->targets, 1);
    static float x[N * F], y[N];
    assert_int_equal(dpt_data_fetch(data, 0, 0, N, x, y), DPT_STATUS_OK);
    double a[F][F + 1] = {{0}};
    for (int n = 0; n < N; n++) {
        for (int i = 0; i < F; i++) {
            for (int j = 0; j < F; j++) {
                a[i][j] += (double)x[n * F + i] * x[n * F + j];
            }
            a[i][F] += (double)x[n * F + i] * y[n];
        }
    }
    for (int i = 0; i < F; i++) {
        for (int r = 0; r < F; r++) {
            const double factor = r == i ? 0.0 : a[r][i] / a[i][i];
            for (int j = i; j <= F; j++) {
                a[r][j] -= factor * a[i][j];
            }
        }
    }
    double squares = 0.0, total = 0.0;
    for (int n = 0; n < N; n++) {
        double rest = y[n];
        for (int i = 0; i < F; i++) {
            rest -= a[i][F] / a[i][i] * x[n * F + i];
        }
        squares += rest * rest;
        total += (double)y[n] * y[n];
    }
    assert_true(fabs(sqrt(squares / N) - 0.1) < 0.01);
    assert_true(total / N > 0.1);
    dpt_data_close(data);
}

/* A sample is a function of (seed, sample): not of the number of samples, the order or the piece. */
static void samples_are_keyed(void **state)
{
    (void)state;
    enum { NUMEL = 4 * 4 };
    struct dpt_job job = synthetic_job(3, 4, 4, 1, 5);
    struct dpt_data *a = opened(&job, DPT_SPLIT_TRAIN, NULL);
    job.data.samples = INT64_MAX;
    job.data.valid_share = 0.5;
    struct dpt_data *b = opened(&job, DPT_SPLIT_TRAIN, NULL), *valid = opened(&job, DPT_SPLIT_VALID, b), *test = b;
    assert_int_equal(dpt_data_info(valid)->samples + dpt_data_info(b)->samples, INT64_MAX);
    assert_int_equal(dpt_data_open(&job, DPT_SPLIT_TEST, b, &test), DPT_STATUS_OK);
    assert_null(test);
    job.run.seed = 43;
    struct dpt_data *c = opened(&job, DPT_SPLIT_TRAIN, NULL);
    float x[8 * NUMEL], y[NUMEL];
    int32_t p[8], q;
    assert_int_equal(dpt_data_fetch(a, 0, 10, 8, x, p), DPT_STATUS_OK);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(dpt_data_fetch(b, 7, 10 + i, 1, y, &q), DPT_STATUS_OK);
        assert_int_equal(q, p[i]);
        assert_memory_equal(y, x + i * NUMEL, sizeof y);
        assert_int_equal(dpt_data_fetch(c, 0, 10 + i, 1, y, &q), DPT_STATUS_OK);
        assert_memory_not_equal(y, x + i * NUMEL, sizeof y);
        assert_int_equal(dpt_data_fetch(valid, 0, 10 + i, 1, y, &q), DPT_STATUS_OK);
        assert_memory_not_equal(y, x + i * NUMEL, sizeof y);
    }
    dpt_data_close(c);
    dpt_data_close(valid);
    dpt_data_close(b);
    dpt_data_close(a);
}

static void refusals(void **state)
{
    (void)state;
    struct dpt_job job = synthetic_job(2, 4, 4, 0, 5);
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_USAGE, "shape has 2 numbers");
    job = synthetic_job(3, 4, 0, 1, 5);
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_USAGE, "shape: its numbers must be more than 0");
    job = synthetic_job(3, INT64_MAX, INT64_MAX, 2, 5);
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_USAGE, "their product at most");
    job = synthetic_job(1, 4, 0, 0, -1);
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_USAGE, "classes = -1");
    job = synthetic_job(1, 4, 0, 0, 2);
    job.data.samples = 0;
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_USAGE, "samples = 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_can_be_learned),
        cmocka_unit_test(regression_is_linear),
        cmocka_unit_test(samples_are_keyed),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
