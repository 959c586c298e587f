/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/schedule.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plan/simulate.h"

enum { MAX_RANKS = 8, KINDS = 3, WINDOW = 1 };

static const char *const name[] = {"none", "gpipe", "1f1b", "interleaved", "zb-h1"};

/* The units of all places of a pipeline. */
struct lists {
    struct dpt_arena *arena;
    struct dpt_pipeline pipeline;
    struct dpt_unit *unit[MAX_RANKS];
    int nunits[MAX_RANKS];
};

static void lists_new(struct lists *lists, enum dpt_pipeline_schedule schedule, int ranks, int chunks, int micros)
{
    *lists = (struct lists){.arena = dpt_arena_new(), .pipeline = {schedule, ranks, chunks, micros}};
    if (dpt_pipeline_check(&lists->pipeline) != DPT_STATUS_OK) {
        fail_msg("%s", dpt_error_text());
    }
    for (int r = 0; r < ranks; r++) {
        lists->nunits[r] = dpt_pipeline_units(&lists->pipeline, r, lists->arena, &lists->unit[r]);
    }
}

static struct dpt_simulation simulate(const struct lists *lists, const struct dpt_simulate_times *times, double message,
                                      int window)
{
    struct dpt_simulation result;
    const struct dpt_simulate_conf conf = {&lists->pipeline, lists->unit, lists->nunits, times, message, window};
    dpt_simulate(&conf, lists->arena, &result);
    return result;
}

/* The same times in all stages: those of a whole place, divided among its chunks. */
static struct dpt_simulation simulate_even(const struct lists *lists, const double place[KINDS])
{
    struct dpt_simulate_times times[64];
    for (int s = 0; s < lists->pipeline.ranks * lists->pipeline.chunks; s++) {
        times[s] = (struct dpt_simulate_times){place[0] / lists->pipeline.chunks, place[1] / lists->pipeline.chunks,
                                               place[2] / lists->pipeline.chunks};
    }
    return simulate(lists, times, 0.0, 0);
}

/* Calls `ask` with every schedule for 1 to 8 places, up to 4 chunks and up to 3 micro-batches a place. */
static void every_pipeline(void (*ask)(const struct lists *lists))
{
    for (int schedule = DPT_PIPELINE_NONE; schedule <= DPT_PIPELINE_ZB_H1; schedule++) {
        const bool interleaved = schedule == DPT_PIPELINE_INTERLEAVED;
        for (int p = 1; p <= MAX_RANKS; p++) {
            for (int v = 1; v <= (interleaved ? 4 : 1); v++) {
                for (int m = interleaved ? p : 1; m <= 3 * p + 1; m += interleaved ? p : 1) {
                    struct lists lists;
                    lists_new(&lists, (enum dpt_pipeline_schedule)schedule, p, v, m);
                    ask(&lists);
                    dpt_arena_free(lists.arena);
                }
            }
        }
    }
}

#define EXPECT(condition, ...)                                                                                         \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            const struct dpt_pipeline *pl = &lists->pipeline;                                                          \
            fprintf(stderr, "%s, %d places, %d chunks, %d micro-batches: ", name[pl->schedule], pl->ranks, pl->chunks, \
                    pl->micros);                                                                                       \
            fail_msg(__VA_ARGS__);                                                                                     \
        }                                                                                                              \
    } while (0)

/* Every micro-batch once forward, once backward, once for the weights, in this order, on every chunk of every place. */
static void ask_order(const struct lists *lists)
{
    const struct dpt_pipeline *pipeline = &lists->pipeline;
    const bool split = dpt_pipeline_splits_weights(pipeline);
    for (int r = 0; r < pipeline->ranks; r++) {
        int done[4][32] = {{0}}; /* kinds done of each chunk and micro-batch */
        EXPECT(lists->nunits[r] == pipeline->chunks * pipeline->micros * (split ? 3 : 2), "place %d has %d units", r,
               lists->nunits[r]);
        for (int i = 0; i < lists->nunits[r]; i++) {
            const struct dpt_unit *unit = &lists->unit[r][i];
            EXPECT(unit->chunk >= 0 && unit->chunk < pipeline->chunks && unit->micro >= 0 &&
                       unit->micro < pipeline->micros,
                   "place %d, unit %d: chunk %d, micro-batch %d", r, i, unit->chunk, unit->micro);
            EXPECT(done[unit->chunk][unit->micro] == (int)unit->kind, "place %d, unit %d: kind %d after %d others", r, i,
                   (int)unit->kind, done[unit->chunk][unit->micro]);
            done[unit->chunk][unit->micro]++;
        }
    }
}

static void order(void **state)
{
    (void)state;
    every_pipeline(ask_order);
}

/* The bubble of the schedule when all stages take the same times; nan where there is no formula. */
static double bubble(const struct dpt_pipeline *pipeline, const double t[KINDS])
{
    const double p = pipeline->ranks, m = pipeline->micros, all = t[0] + t[1] + t[2];
    switch (pipeline->schedule) {
    case DPT_PIPELINE_NONE:
        return (p - 1) * m * all;
    case DPT_PIPELINE_GPIPE:
    case DPT_PIPELINE_1F1B:
        return (p - 1) * all;
    case DPT_PIPELINE_INTERLEAVED:
        return (p - 1) * all / pipeline->chunks;
    case DPT_PIPELINE_ZB_H1: /* the weights of the first place fill a gap a place, if there are so many of them */
        return m >= p ? (p - 1) * (t[0] + t[1] - t[2]) : NAN;
    }
    return NAN;
}

/* Most micro-batches that place r has stored at once, in chunks. */
static int peak(const struct dpt_pipeline *pipeline, int r)
{
    const int p = pipeline->ranks, m = pipeline->micros, v = pipeline->chunks, all = m * v;
    int most = 0;
    switch (pipeline->schedule) {
    case DPT_PIPELINE_NONE:
        most = v;
        break;
    case DPT_PIPELINE_GPIPE:
        most = m;
        break;
    case DPT_PIPELINE_1F1B:
        most = p - r;
        break;
    case DPT_PIPELINE_INTERLEAVED:
        most = v == 1 ? p - r : 2 * (p - 1 - r) + (v - 1) * p + 1;
        break;
    case DPT_PIPELINE_ZB_H1:
        most = p;
        break;
    }
    return most < all ? most : all;
}

static void ask_formulas(const struct lists *lists)
{
    static const double times[][KINDS] = {{1, 1, 1}, {1, 1.25, 0.75}, {2, 2.5, 1.5}, {3, 4, 1}};
    const struct dpt_pipeline *pipeline = &lists->pipeline;
    for (int i = 0; i < 4; i++) {
        const double *t = times[i], work = pipeline->micros * (t[0] + t[1] + t[2]), expected = bubble(pipeline, t);
        const struct dpt_simulation got = simulate_even(lists, t);
        EXPECT(!got.deadlock, "some place waits for ever");
        EXPECT(isnan(expected) || fabs(got.makespan - work - expected) < 1e-9,
               "times %g %g %g: a bubble of %.12g, expected %.12g", t[0], t[1], t[2], got.makespan - work, expected);
        for (int r = 0; r < pipeline->ranks; r++) {
            EXPECT(got.peak[r] == peak(pipeline, r), "place %d stores %d, expected %d", r, got.peak[r],
                   peak(pipeline, r));
        }
    }
}

static void bubbles_and_peaks(void **state)
{
    (void)state;
    every_pipeline(ask_formulas);
}

/* The formulas of notes and papers for the first place, in their words. */
static void known_values(void **state)
{
    (void)state;
    const double even[KINDS] = {1, 1, 1};
    struct lists lists;
    lists_new(&lists, DPT_PIPELINE_INTERLEAVED, 4, 2, 8);
    struct dpt_simulation got = simulate_even(&lists, even);
    assert_int_equal(got.peak[0], 4 * 2 + 4 - 1);
    assert_true(fabs(got.makespan - (8 * 3 + 3 * 3 / 2.0)) < 1e-9);
    dpt_arena_free(lists.arena);
    /* Zero bubble: a third of the bubble of 1f1b, with its memory. */
    lists_new(&lists, DPT_PIPELINE_ZB_H1, 4, 1, 8);
    got = simulate_even(&lists, even);
    assert_int_equal(got.peak[0], 4);
    assert_true(fabs(got.makespan - (8 * 3 + 3)) < 1e-9);
    dpt_arena_free(lists.arena);
}

/* ---- another way to the same numbers: the longest path ---- */

static uint64_t random_state;

static double random_unit(void)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(random_state >> 11) * 0x1p-53;
}

enum { MAX_NODES = 8 * 4 * 25 * 3 };

/* Start of every unit by relaxation over all its conditions, from zero until nothing moves. */
static double longest_path(const struct lists *lists, const struct dpt_simulate_times *times, double message)
{
    const struct dpt_pipeline *pipeline = &lists->pipeline;
    const int stages = pipeline->ranks * pipeline->chunks, micros = pipeline->micros;
    const bool split = dpt_pipeline_splits_weights(pipeline);
    static double end[MAX_NODES];
    memset(end, 0, sizeof end);
#define END(kind, stage, micro) end[((kind) * stages + (stage)) * micros + (micro)]
    double makespan = 0.0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int r = pipeline->ranks - 1; r >= 0; r--) { /* against the flow, unlike the simulation */
            for (int i = lists->nunits[r] - 1; i >= 0; i--) {
                const struct dpt_unit *u = &lists->unit[r][i], *b = i > 0 ? u - 1 : NULL;
                const int s = u->chunk * pipeline->ranks + r;
                const double far = pipeline->ranks > 1 ? message : 0.0;
                double start = b ? END(b->kind, b->chunk * pipeline->ranks + r, b->micro) : 0.0;
                if (u->kind == DPT_UNIT_FORWARD && s > 0) {
                    start = fmax(start, END(DPT_UNIT_FORWARD, s - 1, u->micro) + far);
                } else if (u->kind == DPT_UNIT_BACKWARD && s < stages - 1) {
                    start = fmax(start, END(DPT_UNIT_BACKWARD, s + 1, u->micro) + far);
                }
                const double took = u->kind == DPT_UNIT_FORWARD  ? times[s].forward
                                    : u->kind == DPT_UNIT_WEIGHT ? times[s].weight
                                                                 : times[s].backward + (split ? 0.0 : times[s].weight);
                if (start + took > END(u->kind, s, u->micro)) {
                    END(u->kind, s, u->micro) = start + took;
                    moved = true;
                }
                makespan = fmax(makespan, END(u->kind, s, u->micro));
            }
        }
    }
#undef END
    return makespan;
}

/* Random times in every stage: the longest path, and never better than the work of the busiest place. */
static void ask_random(const struct lists *lists)
{
    const struct dpt_pipeline *pipeline = &lists->pipeline;
    struct dpt_simulate_times times[64];
    double busiest = 0.0;
    for (int r = 0; r < pipeline->ranks; r++) {
        double work = 0.0;
        for (int s = r; s < pipeline->ranks * pipeline->chunks; s += pipeline->ranks) {
            times[s] = (struct dpt_simulate_times){random_unit(), 2.0 * random_unit(), random_unit()};
            work += pipeline->micros * (times[s].forward + times[s].backward + times[s].weight);
        }
        busiest = fmax(busiest, work);
    }
    const double message = random_unit() < 0.5 ? 0.0 : 0.1 * random_unit();
    const struct dpt_simulation got = simulate(lists, times, message, 0);
    EXPECT(!got.deadlock, "some place waits for ever");
    const double expected = longest_path(lists, times, message);
    EXPECT(fabs(got.makespan - expected) < 1e-9 * expected, "takes %.12g, the longest path %.12g",
           got.makespan, expected);
    EXPECT(got.makespan >= busiest * (1.0 - 1e-12), "takes %.12g, but one place works for %.12g", got.makespan, busiest);
    for (int r = 0; r < pipeline->ranks; r++) {
        EXPECT(got.peak[r] == peak(pipeline, r), "place %d stores %d, expected %d", r, got.peak[r], peak(pipeline, r));
    }
}

static void any_times(void **state)
{
    (void)state;
    random_state = 1;
    for (int i = 0; i < 3; i++) {
        every_pipeline(ask_random);
    }
}

/*
 * No circle: every place gets to the end even when each send waits for its receive, with the two receives on every edge
 * that are posted ahead, and no order of finishing times changes that.
 */
static void ask_rendezvous(const struct lists *lists)
{
    struct dpt_simulate_times times[64];
    for (int s = 0; s < lists->pipeline.ranks * lists->pipeline.chunks; s++) {
        times[s] = (struct dpt_simulate_times){random_unit(), random_unit(), random_unit()};
    }
    const double free_of_charge = simulate(lists, times, 0.0, 0).makespan;
    for (int window = WINDOW; window <= 4; window++) {
        const struct dpt_simulation got = simulate(lists, times, 0.0, window);
        EXPECT(!got.deadlock, "with %d receives ahead some place waits for ever", window);
        EXPECT(got.makespan >= free_of_charge * (1.0 - 1e-12), "waiting makes it faster");
    }
}

static void no_circle(void **state)
{
    (void)state;
    random_state = 2;
    every_pipeline(ask_rendezvous);
}

/* Places that want first what the other does later, at once or when a send waits for its receive: this is said. */
static void circles_are_found(void **state)
{
    (void)state;
    struct lists lists;
    lists_new(&lists, DPT_PIPELINE_1F1B, 2, 1, 2);
    const struct dpt_simulate_times times[2] = {{1, 1, 1}, {1, 1, 1}};
    assert_false(simulate(&lists, times, 0.0, 0).deadlock);
    const struct dpt_unit first = lists.unit[0][0];
    lists.unit[0][0] = lists.unit[0][2]; /* a backward unit before its forward unit */
    lists.unit[0][2] = first;
    assert_true(simulate(&lists, times, 0.0, 0).deadlock);
    dpt_arena_free(lists.arena);

    lists_new(&lists, DPT_PIPELINE_GPIPE, 2, 1, 2);
    const struct dpt_unit second = lists.unit[1][0]; /* reads the messages in another order than they are sent */
    lists.unit[1][0] = lists.unit[1][1];
    lists.unit[1][1] = second;
    assert_false(simulate(&lists, times, 0.0, 0).deadlock);
    assert_true(simulate(&lists, times, 0.0, 1).deadlock);
    assert_false(simulate(&lists, times, 0.0, 2).deadlock);
    dpt_arena_free(lists.arena);
}

static void refuses(struct dpt_pipeline pipeline, const char *words)
{
    dpt_error_clear();
    assert_int_equal(dpt_pipeline_check(&pipeline), DPT_STATUS_USAGE);
    if (!strstr(dpt_error_text(), words)) {
        fail_msg("refused with \"%s\", expected \"...%s...\"", dpt_error_text(), words);
    }
}

static void refusals(void **state)
{
    (void)state;
    refuses((struct dpt_pipeline){DPT_PIPELINE_INTERLEAVED, 4, 2, 6}, "micro_batches = 6 is no multiple of 4");
    refuses((struct dpt_pipeline){DPT_PIPELINE_1F1B, 4, 2, 8}, "interleaved:2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order),         cmocka_unit_test(bubbles_and_peaks), cmocka_unit_test(known_values),
        cmocka_unit_test(any_times),     cmocka_unit_test(no_circle),         cmocka_unit_test(circles_are_found),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
