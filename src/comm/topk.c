/* SPDX-License-Identifier: Apache-2.0 */
#include "comm/topk.h"

#include <math.h>
#include <string.h>

enum { SIGN_OFF = 0x7fffffff, BINS = 2048 };

/* A number that is sent. */
struct entry {
    uint32_t at;
    float value;
};

int64_t dpt_comm__topk_count(int64_t n, double share)
{
    const int64_t count = (int64_t)ceil(share * (double)n);
    return count > n ? n : count < 1 ? (n > 0 ? 1 : 0) : count;
}

size_t dpt_comm__topk_scratch(int ranks, int64_t n, double share)
{
    return (size_t)ranks * (size_t)dpt_comm__topk_count(n, share) * sizeof(struct entry);
}

static uint32_t size_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & SIGN_OFF;
}

/* 31 bits, the highest first, in three steps of 11, 10 and 10: each counts the numbers that begin like the one that is looked for. */
uint32_t dpt_comm__topk_least(int64_t n, const float *x, int64_t count, int64_t *larger)
{
    static const int step[3] = {11, 10, 10};
    uint32_t found = 0;
    int low = 31;
    *larger = 0;
    DPT_ASSERT(count > 0 && count <= n);
    for (int s = 0; s < 3; s++) {
        int64_t bin[BINS] = {0};
        const int above = low;
        low -= step[s];
        for (int64_t i = 0; i < n; i++) {
            const uint32_t size = size_of(x[i]);
            if (above == 31 || size >> above == found) {
                bin[size >> low & ((1u << step[s]) - 1)]++;
            }
        }
        uint32_t b = (1u << step[s]) - 1;
        while (*larger + bin[b] < count) {
            *larger += bin[b--];
        }
        found = found << step[s] | b;
    }
    return found;
}

/* Moves what is sent to `entry` and leaves the rest. Of equal ones the first go. */
static void choose(int64_t n, float *residual, int64_t count, struct entry *entry)
{
    int64_t larger, sent = 0;
    const uint32_t least = dpt_comm__topk_least(n, residual, count, &larger);
    int64_t equal = count - larger;
    for (int64_t i = 0; i < n; i++) {
        const uint32_t size = size_of(residual[i]);
        if (size > least || (size == least && equal > 0)) {
            equal -= size == least;
            entry[sent++] = (struct entry){(uint32_t)i, residual[i]};
            residual[i] = 0.0f;
        }
    }
    DPT_ASSERT(sent == count);
}

enum dpt_status dpt_comm__topk_sum(struct dpt_comm *comm, struct dpt_comm__slices *slices, int64_t n, float *data,
                                   float *residual, double share, void *scratch)
{
    const int64_t count = dpt_comm__topk_count(n, share);
    struct entry *mine = (struct entry *)scratch + count * comm->rank;
    if (n == 0) {
        return DPT_STATUS_OK;
    }
    for (int64_t i = 0; i < n; i++) {
        residual[i] += data[i];
    }
    choose(n, residual, count, mine);
    for (int r = 0; r < comm->size; r++) {
        struct entry *theirs = (struct entry *)scratch + count * r;
        slices->give[r] = (struct dpt_comm__message){(char *)mine, (size_t)count * sizeof *mine};
        slices->take[r] = (struct dpt_comm__message){(char *)theirs, (size_t)count * sizeof *mine};
    }
    DPT_TRY(dpt_comm__swap(comm, slices));
    memset(data, 0, (size_t)n * sizeof *data);
    for (int64_t i = 0; i < count * comm->size; i++) {
        const struct entry *entry = (const struct entry *)scratch + i;
        DPT_CHECK(entry->at < n, DPT_STATUS_COMM, "a message of gradients names place %u of %lld: it was damaged",
                  (unsigned)entry->at, (long long)n);
        data[entry->at] += entry->value;
    }
    return DPT_STATUS_OK;
}
