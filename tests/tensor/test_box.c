/* SPDX-License-Identifier: Apache-2.0 */
#include "tensor/box.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Every box of a small tensor, element by element against the plain index. */
static void boxes_copy_what_they_say(void **state)
{
    (void)state;
    enum { Y = 4, X = 3, C = 5 };
    int whole[Y * X * C], part[Y * X * C], back[Y * X * C];
    for (int i = 0; i < Y * X * C; i++) {
        whole[i] = i;
    }
    for (int code = 0; code < Y * Y * X * X * C * C; code++) {
        struct dpt_box box = {.ndim = 3, .whole = {Y, X, C}};
        int rest = code;
        for (int d = 0; d < 3; d++) {
            const int extent = (int)box.whole[d];
            box.begin[d] = rest % extent;
            rest /= extent;
            box.dim[d] = rest % extent + 1;
            rest /= extent;
        }
        if (box.begin[0] + box.dim[0] > Y || box.begin[1] + box.dim[1] > X || box.begin[2] + box.dim[2] > C) {
            continue;
        }
        const int64_t count = box.dim[0] * box.dim[1] * box.dim[2];
        assert_int_equal(dpt_box_run(&box) * dpt_box_runs(&box), count);
        memset(part, 0xff, sizeof part);
        memset(back, 0xff, sizeof back);
        dpt_box_copy(&box, 0, count, sizeof *part, part, whole, false);
        dpt_box_copy(&box, count / 3, count, sizeof *part, part, back, true); /* from the middle of a run on */
        for (int64_t i = 0; i < count; i++) {
            const int64_t y = box.begin[0] + i / (box.dim[1] * box.dim[2]), x = box.begin[1] + i / box.dim[2] % box.dim[1];
            const int64_t at = (y * X + x) * C + box.begin[2] + i % box.dim[2];
            assert_int_equal(part[i], whole[at]);
            assert_int_equal(back[at], i < count / 3 ? -1 : whole[at]);
        }
    }
}

static void a_scalar_and_nothing_are_boxes(void **state)
{
    (void)state;
    int whole[1] = {7}, part[1] = {0};
    const struct dpt_box scalar = {.ndim = 0}, nothing = {.ndim = 1, .dim = {0}, .whole = {5}};
    assert_int_equal(dpt_box_run(&scalar), 1);
    dpt_box_copy(&scalar, 0, 1, sizeof *part, part, whole, false);
    assert_int_equal(part[0], 7);
    assert_int_equal(dpt_box_run(&nothing), 0);
    dpt_box_copy(&nothing, 0, 0, sizeof *part, part, whole, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(boxes_copy_what_they_say),
        cmocka_unit_test(a_scalar_and_nothing_are_boxes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
