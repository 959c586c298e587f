/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/simulate.h"

/* What is known so far of all units: when they ended, or NEVER. */
static const double NEVER = -1.0;

struct clock {
    const struct dpt_simulate_conf *conf;
    int stages, micros;
    double *end[3];     /* of each kind, stage and micro-batch: the unit has ended                         */
    double *arrival[3]; /* what it sends is there for the other place; weights send nothing                */
    int *sent[3];       /* of each kind and stage: micro-batches in the order in which they were sent      */
    int *nsent[3];
    int *at;            /* of each place: units that have ended, with their sends                          */
    bool *sends;        /* of each place: unit `at` has run and waits in its send                          */
    double *now;        /* of each place                                                                   */
    int *stored;        /* of each place: pairs that are stored                                            */
};

static int place_of(const struct clock *clock, int stage)
{
    return stage % clock->conf->pipeline->ranks;
}

static double *end_of(const struct clock *clock, enum dpt_unit_kind kind, int stage, int micro)
{
    return &clock->end[kind][stage * clock->micros + micro];
}

/* The stage that reads what a unit makes, or -1. */
static int reader_of(const struct clock *clock, enum dpt_unit_kind kind, int stage)
{
    if (kind == DPT_UNIT_FORWARD) {
        return stage + 1 < clock->stages ? stage + 1 : -1;
    }
    return kind == DPT_UNIT_BACKWARD ? stage - 1 : -1;
}

/* When a unit of this stage could have what it reads; NEVER while that is not known. */
static double ready(const struct clock *clock, enum dpt_unit_kind kind, int stage, int micro)
{
    const int first = kind == DPT_UNIT_FORWARD ? stage - 1 : stage + 1; /* the stage that sends to this one */
    double at = 0.0;
    if (kind != DPT_UNIT_FORWARD) { /* what this place has stored */
        at = *end_of(clock, kind == DPT_UNIT_WEIGHT ? DPT_UNIT_BACKWARD : DPT_UNIT_FORWARD, stage, micro);
    }
    if (at == NEVER || kind == DPT_UNIT_WEIGHT || first < 0 || first >= clock->stages) {
        return at;
    }
    const double arrival = clock->arrival[kind][first * clock->micros + micro];
    return arrival == NEVER ? NEVER : arrival > at ? arrival : at;
}

static double seconds(const struct clock *clock, enum dpt_unit_kind kind, int stage)
{
    const struct dpt_simulate_times *times = &clock->conf->times[stage];
    switch (kind) {
    case DPT_UNIT_FORWARD:
        return times->forward;
    case DPT_UNIT_BACKWARD:
        return times->backward + (dpt_pipeline_splits_weights(clock->conf->pipeline) ? 0.0 : times->weight);
    case DPT_UNIT_WEIGHT:
        return times->weight;
    }
    return 0.0;
}

/* Runs the next unit of a place; false while it lacks something. */
static bool run(struct clock *clock, int place, const struct dpt_unit *unit, struct dpt_simulation *result)
{
    const int stage = unit->chunk * clock->conf->pipeline->ranks + place;
    const double start = ready(clock, unit->kind, stage, unit->micro);
    if (start == NEVER) {
        return false;
    }
    const bool last = unit->kind == (dpt_pipeline_splits_weights(clock->conf->pipeline) ? DPT_UNIT_WEIGHT
                                                                                        : DPT_UNIT_BACKWARD);
    clock->now[place] = (start > clock->now[place] ? start : clock->now[place]) + seconds(clock, unit->kind, stage);
    *end_of(clock, unit->kind, stage, unit->micro) = clock->now[place];
    clock->stored[place] += unit->kind == DPT_UNIT_FORWARD;
    result->peak[place] = clock->stored[place] > result->peak[place] ? clock->stored[place] : result->peak[place];
    clock->stored[place] -= last;
    result->makespan = clock->now[place] > result->makespan ? clock->now[place] : result->makespan;
    return true;
}

/* Sends what a unit has made; false while its receive is not there and the place has to wait for it. */
static bool send(struct clock *clock, int place, const struct dpt_unit *unit)
{
    const enum dpt_unit_kind kind = unit->kind;
    const int stage = unit->chunk * clock->conf->pipeline->ranks + place, reader = reader_of(clock, kind, stage);
    double *arrival = &clock->arrival[kind][stage * clock->micros + unit->micro];
    if (reader < 0 || place_of(clock, reader) == place) {
        *arrival = clock->now[place];
        return true;
    }
    int *sent = &clock->sent[kind][stage * clock->micros], *nsent = &clock->nsent[kind][stage];
    const int before = *nsent - clock->conf->window; /* the message whose place this one takes */
    if (clock->conf->window > 0 && before >= 0) {
        const double read = *end_of(clock, kind, reader, sent[before]);
        if (read == NEVER) {
            return false;
        }
        clock->now[place] = read > clock->now[place] ? read : clock->now[place];
    }
    sent[(*nsent)++] = unit->micro;
    *arrival = clock->now[place] + clock->conf->message;
    return true;
}

/* Goes on with a place as far as it can; true when that was somewhere. */
static bool advance(struct clock *clock, int place, struct dpt_simulation *result)
{
    const int before = clock->at[place];
    const bool sent_before = clock->sends[place];
    while (clock->at[place] < clock->conf->nunits[place]) {
        const struct dpt_unit *unit = &clock->conf->unit[place][clock->at[place]];
        clock->sends[place] = clock->sends[place] || run(clock, place, unit, result);
        if (!clock->sends[place] || !send(clock, place, unit)) {
            break;
        }
        clock->sends[place] = false;
        clock->at[place]++;
    }
    return clock->at[place] > before || clock->sends[place] != sent_before;
}

void dpt_simulate(const struct dpt_simulate_conf *conf, struct dpt_arena *arena, struct dpt_simulation *result)
{
    const int ranks = conf->pipeline->ranks;
    struct clock clock = {
        .conf = conf,
        .stages = ranks * conf->pipeline->chunks,
        .micros = conf->pipeline->micros,
        .at = dpt_arena_array(arena, (size_t)ranks, sizeof(int)),
        .sends = dpt_arena_array(arena, (size_t)ranks, sizeof(bool)),
        .now = dpt_arena_array(arena, (size_t)ranks, sizeof(double)),
        .stored = dpt_arena_array(arena, (size_t)ranks, sizeof(int)),
    };
    const size_t units = (size_t)clock.stages * (size_t)clock.micros;
    for (int kind = 0; kind < 3; kind++) {
        clock.end[kind] = dpt_arena_array(arena, units, sizeof(double));
        clock.arrival[kind] = dpt_arena_array(arena, units, sizeof(double));
        clock.sent[kind] = dpt_arena_array(arena, units, sizeof(int));
        clock.nsent[kind] = dpt_arena_array(arena, (size_t)clock.stages, sizeof(int));
        for (size_t i = 0; i < units; i++) {
            clock.end[kind][i] = clock.arrival[kind][i] = NEVER;
        }
    }
    *result = (struct dpt_simulation){.peak = dpt_arena_array(arena, (size_t)ranks, sizeof(int))};
    /* What a place waits for does not depend on the order in which places go on here. */
    for (bool moved = true; moved;) {
        moved = false;
        for (int place = 0; place < ranks; place++) {
            moved = advance(&clock, place, result) || moved;
        }
    }
    for (int place = 0; place < ranks; place++) {
        result->deadlock = result->deadlock || clock.at[place] < conf->nunits[place];
    }
}
