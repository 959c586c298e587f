/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <sched.h>

/* Runs this process on processor `cpu` only. */
static void bind_to(int cpu)
{
    cpu_set_t mask;
    CPU_ZERO(&mask);
    CPU_SET(cpu, &mask);
    assert_int_equal(sched_setaffinity(0, sizeof mask, &mask), 0);
}

/* The driver binds nothing, so all ranks may use all cores and divide them. */
static void unbound_ranks_divide_the_cores(void **state)
{
    (void)state;
    struct dpt_cores cores;
    assert_int_equal(dpt_comm_cores(world, &cores), DPT_STATUS_OK);
    assert_in_range(cores.usable, 1, cores.node);
    assert_in_range(cores.share, 0, cores.usable);
    if (!cores.bound) {
        assert_in_range(cores.share, 0, cores.node / dpt_comm_size(world));
    }
    assert_true(cores.shared == (cores.share == 0));
}

/* The classic accident: every rank on the same core. */
static void ranks_on_one_core_are_noticed(void **state)
{
    (void)state;
    cpu_set_t before;
    struct dpt_cores cores;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    int first = 0;
    while (!CPU_ISSET(first, &before)) {
        first++;
    }
    bind_to(first);
    assert_int_equal(dpt_comm_cores(world, &cores), DPT_STATUS_OK);
    assert_int_equal(cores.usable, 1);
    assert_int_equal(cores.share, dpt_comm_size(world) == 1 ? 1 : 0);
    assert_true(cores.shared == (dpt_comm_size(world) > 1));
    assert_true(cores.bound == (cores.node > 1));
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unbound_ranks_divide_the_cores),
        cmocka_unit_test(ranks_on_one_core_are_noticed),
    };
    return RUN_IN_WORLD(tests);
}
