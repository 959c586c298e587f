/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "optim/optim.h"

static void assert_close(double got, double expected)
{
    if (!(fabs(got - expected) <= 1e-14 + 1e-12 * fabs(expected))) {
        fail_msg("got %.17g, expected %.17g", got, expected);
    }
}

static struct dpt_job job_of(enum dpt_schedule_type type)
{
    return (struct dpt_job){
        .optimizer = {.lr = 0.8},
        .schedule = {.type = type, .gamma = 0.1, .final = 0.05, .peak_at = 0.25},
    };
}

static void spans_become_steps(void **state)
{
    (void)state;
    assert_int_equal(dpt_span_steps((struct dpt_span){DPT_SPAN_UNIT_STEPS, 500}, 10), 500);
    assert_int_equal(dpt_span_steps((struct dpt_span){DPT_SPAN_UNIT_EPOCHS, 3}, 10), 30);
    assert_int_equal(dpt_span_steps((struct dpt_span){DPT_SPAN_UNIT_EPOCHS, 0.25}, 10), 3);
    /* 1.1 * 10 is a little more than 11 in binary. */
    assert_int_equal(dpt_span_steps((struct dpt_span){DPT_SPAN_UNIT_EPOCHS, 1.1}, 10), 11);
    assert_int_equal(dpt_span_steps((struct dpt_span){DPT_SPAN_UNIT_SECONDS, 60}, 10), 0);
    assert_int_equal(dpt_span_steps((struct dpt_span){DPT_SPAN_UNIT_NONE, 60}, 10), 0);
    assert_int_equal(dpt_span_steps((struct dpt_span){DPT_SPAN_UNIT_EPOCHS, 1e300}, 10), (int64_t)1 << 62);
}

static void constant_is_constant(void **state)
{
    (void)state;
    const struct dpt_job job = job_of(DPT_SCHEDULE_TYPE_CONSTANT);
    for (int64_t s = 0; s < 20; s++) {
        assert_close(dpt_schedule_lr(&job, s, 20, 5), 0.8);
    }
}

static void cosine_is_half_a_wave(void **state)
{
    (void)state;
    const struct dpt_job job = job_of(DPT_SCHEDULE_TYPE_COSINE);
    assert_close(dpt_schedule_lr(&job, 0, 101, 7), 0.8);
    assert_close(dpt_schedule_lr(&job, 50, 101, 7), 0.8 * (0.05 + 0.95 / 2));
    assert_close(dpt_schedule_lr(&job, 100, 101, 7), 0.8 * 0.05);
    assert_close(dpt_schedule_lr(&job, 25, 101, 7), 0.8 * (0.05 + 0.95 * (1.0 + sqrt(0.5)) / 2));
    /* Beyond the end, and in a run of one step. */
    assert_close(dpt_schedule_lr(&job, 200, 101, 7), 0.8 * 0.05);
    assert_close(dpt_schedule_lr(&job, 0, 1, 7), 0.8);
}

static void linear_is_a_line(void **state)
{
    (void)state;
    const struct dpt_job job = job_of(DPT_SCHEDULE_TYPE_LINEAR);
    for (int64_t s = 0; s <= 10; s++) {
        assert_close(dpt_schedule_lr(&job, s, 11, 3), 0.8 * (1.0 - 0.095 * (double)s));
    }
}

static void step_drops_at_milestones(void **state)
{
    (void)state;
    struct dpt_job job = job_of(DPT_SCHEDULE_TYPE_STEP);
    double epochs[2] = {2, 3.5};
    job.schedule.milestones.unit = DPT_SPAN_UNIT_EPOCHS;
    job.schedule.milestones.count = 2;
    job.schedule.milestones.value = epochs;
    assert_close(dpt_schedule_lr(&job, 19, 50, 10), 0.8);
    assert_close(dpt_schedule_lr(&job, 20, 50, 10), 0.08);
    assert_close(dpt_schedule_lr(&job, 34, 50, 10), 0.08);
    assert_close(dpt_schedule_lr(&job, 35, 50, 10), 0.008);
}

static void one_cycle_rises_and_falls(void **state)
{
    (void)state;
    const struct dpt_job job = job_of(DPT_SCHEDULE_TYPE_ONE_CYCLE);
    assert_close(dpt_schedule_lr(&job, 0, 101, 7), 0.8 / 25);
    assert_close(dpt_schedule_lr(&job, 25, 101, 7), 0.8);
    assert_close(dpt_schedule_lr(&job, 100, 101, 7), 0.8 * 0.05);
    for (int64_t s = 0; s < 100; s++) {
        const double now = dpt_schedule_lr(&job, s, 101, 7), next = dpt_schedule_lr(&job, s + 1, 101, 7);
        assert_true(s < 25 ? next > now : next < now);
    }
    /* The peak at either end is a plain fall or rise. */
    struct dpt_job edge = job;
    edge.schedule.peak_at = 0.0;
    assert_close(dpt_schedule_lr(&edge, 0, 101, 7), 0.8);
    edge.schedule.peak_at = 1.0;
    assert_close(dpt_schedule_lr(&edge, 100, 101, 7), 0.8);
}

static void warmup_climbs_to_the_first_rate(void **state)
{
    (void)state;
    const enum dpt_schedule_type types[] = {DPT_SCHEDULE_TYPE_CONSTANT, DPT_SCHEDULE_TYPE_STEP,
                                            DPT_SCHEDULE_TYPE_COSINE, DPT_SCHEDULE_TYPE_LINEAR,
                                            DPT_SCHEDULE_TYPE_ONE_CYCLE};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct dpt_job job = job_of(types[i]);
        const double first = types[i] == DPT_SCHEDULE_TYPE_ONE_CYCLE ? 0.8 / 25 : 0.8;
        job.schedule.warmup = (struct dpt_span){DPT_SPAN_UNIT_STEPS, 4};
        for (int64_t s = 0; s <= 4; s++) {
            assert_close(dpt_schedule_lr(&job, s, 105, 7), first * (double)(s + 1) / 5.0);
        }
        /* Behind it the schedule runs as it would without, over the steps that are left. */
        const struct dpt_job without = job_of(types[i]);
        for (int64_t s = 0; s <= 100; s++) {
            assert_close(dpt_schedule_lr(&job, s + 4, 105, 7), dpt_schedule_lr(&without, s, 101, 7));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans_become_steps),
        cmocka_unit_test(constant_is_constant),
        cmocka_unit_test(cosine_is_half_a_wave),
        cmocka_unit_test(linear_is_a_line),
        cmocka_unit_test(step_drops_at_milestones),
        cmocka_unit_test(one_cycle_rises_and_falls),
        cmocka_unit_test(warmup_climbs_to_the_first_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
