/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/schedule.h"

enum dpt_status dpt_pipeline_check(const struct dpt_pipeline *pipeline)
{
    const bool interleaved = pipeline->schedule == DPT_PIPELINE_INTERLEAVED;
    DPT_ASSERT(pipeline->ranks >= 1 && pipeline->chunks >= 1 && pipeline->micros >= 1);
    DPT_CHECK(interleaved || pipeline->chunks == 1 || pipeline->schedule == DPT_PIPELINE_NONE, DPT_STATUS_USAGE,
              "%d chunks a rank need [parallel] schedule = interleaved:%d", pipeline->chunks, pipeline->chunks);
    DPT_CHECK(!interleaved || pipeline->micros % pipeline->ranks == 0, DPT_STATUS_USAGE,
              "[parallel] schedule = interleaved:%d takes the micro-batches in rounds of as many as there are stages: "
              "micro_batches = %d is no multiple of %d",
              pipeline->chunks, pipeline->micros, pipeline->ranks);
    return DPT_STATUS_OK;
}

bool dpt_pipeline_splits_weights(const struct dpt_pipeline *pipeline)
{
    return pipeline->schedule == DPT_PIPELINE_ZB_H1;
}

struct list {
    struct dpt_unit *unit;
    int count;
};

static void put(struct list *list, enum dpt_unit_kind kind, int chunk, int micro)
{
    list->unit[list->count++] = (struct dpt_unit){kind, chunk, micro};
}

static void none(const struct dpt_pipeline *pipeline, struct list *list)
{
    for (int m = 0; m < pipeline->micros; m++) {
        for (int c = 0; c < pipeline->chunks; c++) {
            put(list, DPT_UNIT_FORWARD, c, m);
        }
        for (int c = pipeline->chunks - 1; c >= 0; c--) {
            put(list, DPT_UNIT_BACKWARD, c, m);
        }
    }
}

static void gpipe(const struct dpt_pipeline *pipeline, struct list *list)
{
    for (int m = 0; m < pipeline->micros; m++) {
        put(list, DPT_UNIT_FORWARD, 0, m);
    }
    for (int m = 0; m < pipeline->micros; m++) {
        put(list, DPT_UNIT_BACKWARD, 0, m);
    }
}

/* Chunk and micro-batch of the k-th forward or backward unit: rounds of P micro-batches through each chunk in turn. */
static void put_kth(const struct dpt_pipeline *pipeline, struct list *list, enum dpt_unit_kind kind, int k)
{
    const int p = pipeline->ranks, v = pipeline->chunks;
    if (v == 1) {
        put(list, kind, 0, k);
        return;
    }
    const int chunk = k % (p * v) / p;
    put(list, kind, kind == DPT_UNIT_FORWARD ? chunk : v - 1 - chunk, k / (p * v) * p + k % p);
}

/* Also interleaved: a warm-up of forward units, then pairs, then the backward units that are left. */
static void one_forward_one_backward(const struct dpt_pipeline *pipeline, int rank, struct list *list)
{
    const int p = pipeline->ranks, v = pipeline->chunks, all = pipeline->micros * v;
    const int wanted = v == 1 ? p - 1 - rank : 2 * (p - 1 - rank) + (v - 1) * p;
    const int warm = wanted < all ? wanted : all;
    for (int k = 0; k < all; k++) {
        if (k == 0) {
            for (int i = 0; i < warm; i++) {
                put_kth(pipeline, list, DPT_UNIT_FORWARD, i);
            }
        }
        if (warm + k < all) {
            put_kth(pipeline, list, DPT_UNIT_FORWARD, warm + k);
        }
        put_kth(pipeline, list, DPT_UNIT_BACKWARD, k);
    }
}

/* 1f1b; the weight gradients of micro-batch j run after the backward unit of j + rank, and after those of the cool-down. */
static void zero_bubble(const struct dpt_pipeline *pipeline, int rank, struct list *list)
{
    const int p = pipeline->ranks, m = pipeline->micros;
    const int warm = p - 1 - rank < m ? p - 1 - rank : m;
    int weights = 0;
    for (int i = 0; i < warm; i++) {
        put(list, DPT_UNIT_FORWARD, 0, i);
    }
    for (int k = 0; k < m; k++) {
        const bool cool = warm + k >= m;
        if (!cool) {
            put(list, DPT_UNIT_FORWARD, 0, warm + k);
        }
        put(list, DPT_UNIT_BACKWARD, 0, k);
        if (cool || k >= rank) {
            put(list, DPT_UNIT_WEIGHT, 0, weights++);
        }
    }
    while (weights < m) {
        put(list, DPT_UNIT_WEIGHT, 0, weights++);
    }
}

int dpt_pipeline_units(const struct dpt_pipeline *pipeline, int rank, struct dpt_arena *arena, struct dpt_unit **unit)
{
    enum { KINDS = 3 };
    struct list list = {
        .unit = dpt_arena_array(arena, (size_t)pipeline->micros * (size_t)pipeline->chunks * KINDS, sizeof *list.unit),
    };
    switch (pipeline->schedule) {
    case DPT_PIPELINE_NONE:
        none(pipeline, &list);
        break;
    case DPT_PIPELINE_GPIPE:
        gpipe(pipeline, &list);
        break;
    case DPT_PIPELINE_1F1B:
    case DPT_PIPELINE_INTERLEAVED:
        one_forward_one_backward(pipeline, rank, &list);
        break;
    case DPT_PIPELINE_ZB_H1:
        zero_bubble(pipeline, rank, &list);
        break;
    }
    *unit = list.unit;
    return list.count;
}
