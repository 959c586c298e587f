/* SPDX-License-Identifier: Apache-2.0 */
#include "comm/wire.h"

#include <string.h>

#include "base/bf16.h"
#include "base/rng.h"
#include "comm/add.h"

enum { BLOCK = 128, LEVELS = 127, LINE = 64 };

/* ------------------------------------------------------------------------------------------------------- the codes */

static int64_t blocks_of(int64_t n)
{
    return (n + BLOCK - 1) / BLOCK;
}

size_t dpt_comm__code_nbytes(enum dpt_wire_kind kind, int64_t n)
{
    return kind == DPT_WIRE_KIND_BF16 ? (size_t)n * sizeof(uint16_t) : (size_t)n + (size_t)blocks_of(n) * sizeof(float);
}

/* The step between two levels of a block: NaN where a number is not finite. */
static float step_of(int64_t n, const float *x)
{
    uint32_t top = 0;
    float largest;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffff;
        top = bits > top ? bits : top;
    }
    memcpy(&largest, &top, sizeof largest);
    return top >= 0x7f800000 ? __builtin_nanf("") : largest < 1e-35f ? 0.0f : largest / LEVELS;
}

/* 16 random bits a number, from an eighth of a counter. */
static void code_block(const struct dpt_comm__code *code, int turn, int64_t at, int64_t n, const float *x, float step,
                       int8_t *level)
{
    uint32_t word[BLOCK / 2];
    const float inverse = step > 0.0f ? 1.0f / step : 0.0f; /* 0 for NaN */
    dpt_rng_fill(code->seed, DPT_RNG_USE_WIRE, (uint32_t)(2 * code->sender + turn), code->step,
                 (uint64_t)(code->first + at) / 8, BLOCK / 8, word);
    for (int64_t i = 0; i < n; i++) {
        const uint32_t bits = word[i / 2] >> (i % 2 ? 16 : 0) & 0xffff;
        const float up = inverse > 0.0f ? x[i] * inverse + LEVELS + 1.0f + (float)bits * 0x1p-16f : LEVELS + 1.0f;
        const int whole = (int)up - (LEVELS + 1); /* above 0 before, so that it is cut downwards */
        level[i] = (int8_t)(whole > LEVELS ? LEVELS : whole < -LEVELS ? -LEVELS : whole);
    }
}

void dpt_comm__code(const struct dpt_comm__code *code, int turn, int64_t at, int64_t n, const float *x, char *bytes)
{
    if (code->kind == DPT_WIRE_KIND_BF16) {
        dpt_bf16_narrow(n, x, (uint16_t *)(void *)bytes);
        return;
    }
    float *step = (float *)(void *)bytes;
    int8_t *level = (int8_t *)(step + blocks_of(n));
    for (int64_t i = 0; i < n; i += BLOCK) {
        const int64_t m = n - i < BLOCK ? n - i : BLOCK;
        step[i / BLOCK] = step_of(m, x + i);
        code_block(code, turn, at + i, m, x + i, step[i / BLOCK], level + i);
    }
}

void dpt_comm__decode(enum dpt_wire_kind kind, int64_t n, const char *bytes, float *x)
{
    if (kind == DPT_WIRE_KIND_BF16) {
        dpt_bf16_widen(n, (const uint16_t *)(const void *)bytes, x);
        return;
    }
    const float *step = (const float *)(const void *)bytes;
    const int8_t *level = (const int8_t *)(step + blocks_of(n));
    for (int64_t i = 0; i < n; i += BLOCK) {
        const int64_t m = n - i < BLOCK ? n - i : BLOCK;
        for (int64_t k = i; k < i + m; k++) {
            x[k] = (float)level[k] * step[i / BLOCK];
        }
    }
}

/* --------------------------------------------------------------------------------------------------------- the sums */

static int64_t length(struct dpt_range range)
{
    return range.end - range.begin;
}

static size_t padded(size_t nbytes)
{
    return (nbytes + LINE - 1) / LINE * LINE;
}

/*
 * Scratch: floats of the others' parts, then what goes out, then what comes in. The parts of one range from all others are
 * at most an even share of a unit more than `count`, times ranks less one; what is sent or received in pieces is padded
 * for each, and begins a block for each.
 */
static int64_t part_room(int ranks, int64_t count)
{
    return (count / ranks + 3 * DPT_EXCHANGE_ALIGN) / DPT_EXCHANGE_ALIGN * DPT_EXCHANGE_ALIGN * (ranks - 1);
}

static size_t pack_room(enum dpt_wire_kind kind, int ranks, int64_t count)
{
    return padded(dpt_comm__code_nbytes(kind, count)) + 2 * LINE * (size_t)ranks;
}

size_t dpt_comm__wire_scratch(enum dpt_wire_kind kind, int ranks, int64_t count)
{
    const int64_t parts = part_room(ranks, count);
    const size_t out = pack_room(kind, ranks, count), in = pack_room(kind, ranks, parts);
    return (size_t)parts * sizeof(float) + LINE + out + (in > out ? in : out);
}

/* Where the three begin, for these ranges. */
struct room {
    float *part;
    char *out, *in;
};

static struct room rooms(const struct dpt_comm *comm, const struct dpt_comm__slices *slices, enum dpt_wire_kind kind,
                         void *scratch)
{
    int64_t count = 0;
    for (int r = 0; r < comm->size; r++) {
        count += length(slices->range[r]);
    }
    struct room room = {.part = scratch};
    room.out = (char *)scratch + padded((size_t)part_room(comm->size, count) * sizeof(float));
    room.in = room.out + pack_room(kind, comm->size, count);
    return room;
}

enum dpt_status dpt_comm__wire_scatter(struct dpt_comm *comm, struct dpt_comm__slices *slices,
                                       const struct dpt_comm__code *code, float *data, void *scratch)
{
    struct room room = rooms(comm, slices, code->kind, scratch);
    const struct dpt_range mine = slices->range[comm->rank];
    for (int r = 0; r < comm->size; r++) {
        const bool here = r == comm->rank;
        const int64_t begin = slices->range[r].begin, n = here ? 0 : length(slices->range[r]);
        const size_t give = dpt_comm__code_nbytes(code->kind, n);
        const size_t take = here ? 0 : dpt_comm__code_nbytes(code->kind, length(mine));
        dpt_comm__code(code, 0, begin, n, data + begin, room.out);
        slices->give[r] = (struct dpt_comm__message){room.out, give};
        slices->take[r] = (struct dpt_comm__message){room.in, take};
        room.out += padded(give);
        room.in += padded(take);
    }
    DPT_TRY(dpt_comm__swap(comm, slices));
    float *part = room.part;
    for (int r = 0; r < comm->size; r++) {
        slices->part[r] = data + mine.begin;
        if (r != comm->rank) {
            dpt_comm__decode(code->kind, length(mine), slices->take[r].data, part);
            slices->part[r] = part;
            part += (length(mine) + DPT_EXCHANGE_ALIGN - 1) / DPT_EXCHANGE_ALIGN * DPT_EXCHANGE_ALIGN;
        }
    }
    dpt_comm__add(DPT_DTYPE_F32, length(mine), comm->size, slices->part, data + mine.begin);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_comm__wire_collect(struct dpt_comm *comm, struct dpt_comm__slices *slices,
                                       const struct dpt_comm__code *code, float *data, void *scratch)
{
    struct room room = rooms(comm, slices, code->kind, scratch);
    const struct dpt_range mine = slices->range[comm->rank];
    const size_t give = dpt_comm__code_nbytes(code->kind, length(mine));
    dpt_comm__code(code, 1, mine.begin, length(mine), data + mine.begin, room.out);
    dpt_comm__decode(code->kind, length(mine), room.out, data + mine.begin);
    for (int r = 0; r < comm->size; r++) {
        const bool here = r == comm->rank;
        const size_t take = here ? 0 : dpt_comm__code_nbytes(code->kind, length(slices->range[r]));
        slices->give[r] = (struct dpt_comm__message){room.out, here ? 0 : give};
        slices->take[r] = (struct dpt_comm__message){room.in, take};
        room.in += padded(take);
    }
    DPT_TRY(dpt_comm__swap(comm, slices));
    for (int r = 0; r < comm->size; r++) {
        if (r != comm->rank) {
            dpt_comm__decode(code->kind, length(slices->range[r]), slices->take[r].data, data + slices->range[r].begin);
        }
    }
    return DPT_STATUS_OK;
}
