/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

static void last_batch_is_short(void **state)
{
    (void)state;
    assert_int_equal(dpt_batch_steps_per_epoch(10, 4), 3);
    assert_int_equal(dpt_batch_steps_per_epoch(8, 4), 2);
    assert_int_equal(dpt_batch_steps_per_epoch(3, 4), 1);
    const int64_t count[] = {4, 4, 2};
    for (int64_t step = 0; step < 9; step++) {
        const struct dpt_batch_place place = dpt_batch_place(10, 4, step);
        assert_int_equal(place.epoch, step / 3);
        assert_int_equal(place.first, step % 3 * 4);
        assert_int_equal(place.count, count[step % 3]);
    }
}

/* A batch larger than the data is the data; counts near the limits do not overflow. */
static void extremes(void **state)
{
    (void)state;
    struct dpt_batch_place place = dpt_batch_place(3, INT64_MAX, 5);
    assert_int_equal(place.epoch, 5);
    assert_int_equal(place.first, 0);
    assert_int_equal(place.count, 3);
    assert_int_equal(dpt_batch_steps_per_epoch(INT64_MAX, 2), INT64_MAX / 2 + 1);
    place = dpt_batch_place(INT64_MAX, 2, INT64_MAX / 2);
    assert_int_equal(place.epoch, 0);
    assert_int_equal(place.count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(last_batch_is_short),
        cmocka_unit_test(extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
