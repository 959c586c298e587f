/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cblas.h>
#include <cmocka.h>

#include "base/clock.h"
#include "dev/dev.h"

static void cpu_blocks_are_aligned_zeroed_and_counted(void **state)
{
    (void)state;
    struct dpt_dev *dev;
    assert_int_equal(dpt_dev_cpu(1, &dev), DPT_STATUS_OK);
    const size_t sizes[] = {1, 63, 64, 65, 4096, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (5 << 20) + 123};
    enum { N = sizeof sizes / sizeof sizes[0] };
    void *block[N];
    uint64_t total = 0;
    /* Twice: memory that was used and released must come back zeroed. */
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++) {
            assert_int_equal(dpt_dev_alloc(dev, sizes[i], "a test", &block[i]), DPT_STATUS_OK);
            assert_int_equal((uintptr_t)block[i] % (sizes[i] < 1 << 20 ? 64 : 4096), 0);
            const unsigned char *bytes = block[i];
            unsigned char any = 0;
            for (size_t k = 0; k < sizes[i]; k++) {
                any |= bytes[k];
            }
            assert_int_equal(any, 0);
            memset(block[i], 0xa5, sizes[i]);
            total += sizes[i];
            assert_int_equal(dev->nbytes, total);
        }
        for (int i = 0; i < N; i++) {
            dpt_dev_release(dev, block[i], sizes[i]);
            total -= sizes[i];
            assert_int_equal(dev->nbytes, total);
        }
    }
    uint64_t all = 0;
    for (int i = 0; i < N; i++) {
        all += sizes[i];
    }
    assert_int_equal(dev->nbytes_peak, all);
    dpt_dev_close(dev);
}

static void cpu_has_a_name_and_sets_the_threads(void **state)
{
    (void)state;
    struct dpt_dev *dev;
    assert_int_equal(dpt_dev_cpu(2, &dev), DPT_STATUS_OK);
    assert_int_equal(dev->kind, DPT_DEV_KIND_CPU);
    assert_int_equal(dev->threads, 2);
    assert_int_equal(openblas_get_num_threads(), 2);
    assert_memory_equal(dev->name, "cpu", 3);
    assert_null(strchr(dev->name, '\n'));
    dpt_dev_close(dev);
    assert_int_equal(dpt_dev_cpu(1, &dev), DPT_STATUS_OK);
    assert_int_equal(openblas_get_num_threads(), 1);
    dpt_dev_close(dev);
}

static void cpu_refuses_what_is_not_there(void **state)
{
    (void)state;
    struct dpt_dev *dev;
    void *block = &dev;
    assert_int_equal(dpt_dev_cpu(1, &dev), DPT_STATUS_OK);
    /* 4 PiB, and sizes at which a rounding up would wrap around. */
    const size_t sizes[] = {(size_t)1 << 52, SIZE_MAX / 2 + 1, SIZE_MAX - 10, SIZE_MAX};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(dpt_dev_alloc(dev, sizes[i], "activations", &block), DPT_STATUS_SPACE);
        assert_null(block);
        assert_non_null(strstr(dpt_error_text(), "activations"));
    }
    assert_int_equal(dpt_dev_alloc(dev, (size_t)1 << 52, "gradients", &block), DPT_STATUS_SPACE);
    assert_non_null(strstr(dpt_error_text(), "4.00 PiB"));
    assert_non_null(strstr(dpt_error_text(), "free"));
    assert_int_equal(dev->nbytes, 0);
    assert_int_equal(dev->nbytes_peak, 0);
    assert_int_equal(dpt_dev_alloc(dev, 0, "nothing", &block), DPT_STATUS_OK);
    assert_null(block);
    dpt_dev_release(dev, block, 0);
    dpt_dev_close(dev);
}

static void null_counts_and_has_nothing(void **state)
{
    (void)state;
    struct dpt_dev *dev;
    void *block = &dev;
    assert_int_equal(dpt_dev_null(&dev), DPT_STATUS_OK);
    assert_int_equal(dpt_dev_alloc(dev, (size_t)1 << 52, "a large model", &block), DPT_STATUS_OK);
    assert_null(block);
    assert_int_equal(dev->nbytes, (uint64_t)1 << 52);
    dpt_dev_release(dev, block, (size_t)1 << 52);
    assert_int_equal(dev->nbytes, 0);
    assert_int_equal(dev->nbytes_peak, (uint64_t)1 << 52);
    dpt_dev_close(dev);
}

/* Clocks wander, and other tests run on these cores at the same time: only the order of magnitude is sure. */
static void peak_is_plausible(void **state)
{
    (void)state;
    struct dpt_dev *dev;
    double first, second, two;
    assert_int_equal(dpt_dev_cpu(1, &dev), DPT_STATUS_OK);
    const double start = dpt_clock_s();
    assert_int_equal(dpt_dev_peak(dev, 0.03, &first), DPT_STATUS_OK);
    assert_true(dpt_clock_s() - start < 10);
    assert_int_equal(dpt_dev_peak(dev, 0.03, &second), DPT_STATUS_OK);
    dpt_dev_close(dev);
    assert_true(first > 1e7 && first < 1e13);
    assert_true(second > first / 30 && second < first * 30);
    assert_int_equal(dpt_dev_cpu(2, &dev), DPT_STATUS_OK);
    assert_int_equal(dpt_dev_peak(dev, 0.03, &two), DPT_STATUS_OK);
    dpt_dev_close(dev);
    assert_true(two > first / 30 && two < first * 60);
    assert_int_equal(dpt_dev_null(&dev), DPT_STATUS_OK);
    assert_int_equal(dpt_dev_peak(dev, 0.03, &two), DPT_STATUS_OK);
    assert_true(two == 0);
    dpt_dev_close(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_blocks_are_aligned_zeroed_and_counted),
        cmocka_unit_test(cpu_has_a_name_and_sets_the_threads),
        cmocka_unit_test(cpu_refuses_what_is_not_there),
        cmocka_unit_test(null_counts_and_has_nothing),
        cmocka_unit_test(peak_is_plausible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
