/* SPDX-License-Identifier: Apache-2.0 */
#include "comm/wire.h"

#include "base/bf16.h"
#include "comm/add.h"

static int64_t length(struct dpt_range range)
{
    return range.end - range.begin;
}

static int64_t padded(int64_t count)
{
    return (count + DPT_EXCHANGE_ALIGN - 1) / DPT_EXCHANGE_ALIGN * DPT_EXCHANGE_ALIGN;
}

/*
 * Scratch: floats of the others' parts, then bfloat16 that goes out, then what comes in. The parts of one range from all
 * others are at most an even share of a unit more than `count`, times ranks less one.
 */
static int64_t part_room(const struct dpt_comm *comm, int64_t count)
{
    return padded(count / comm->size + 2 * DPT_EXCHANGE_ALIGN) * (comm->size - 1);
}

static int64_t pack_room(const struct dpt_comm *comm, int64_t count)
{
    return padded(count) + (int64_t)comm->size * DPT_EXCHANGE_ALIGN;
}

size_t dpt_comm__wire_scratch(const struct dpt_comm *comm, int64_t count)
{
    const size_t parts = (size_t)part_room(comm, count), packed = (size_t)pack_room(comm, count);
    return parts * sizeof(float) + (packed + (parts > packed ? parts : packed)) * sizeof(uint16_t);
}

/* Where the three begin, for these ranges. */
struct room {
    float *part;
    uint16_t *out, *in;
};

static struct room rooms(const struct dpt_comm *comm, const struct dpt_comm__slices *slices, void *scratch)
{
    int64_t count = 0;
    for (int r = 0; r < comm->size; r++) {
        count += length(slices->range[r]);
    }
    struct room room = {.part = scratch};
    room.out = (uint16_t *)(void *)(room.part + part_room(comm, count));
    room.in = room.out + pack_room(comm, count);
    return room;
}

static struct dpt_comm__message message(uint16_t *at, int64_t count)
{
    return (struct dpt_comm__message){.data = (char *)at, .nbytes = (size_t)count * sizeof *at};
}

enum dpt_status dpt_comm__wire_scatter(struct dpt_comm *comm, struct dpt_comm__slices *slices, float *data,
                                       void *scratch)
{
    struct room room = rooms(comm, slices, scratch);
    const struct dpt_range mine = slices->range[comm->rank];
    uint16_t *out = room.out, *in = room.in;
    for (int r = 0; r < comm->size; r++) {
        const int64_t n = r == comm->rank ? 0 : length(slices->range[r]), m = r == comm->rank ? 0 : length(mine);
        dpt_bf16_narrow(n, data + slices->range[r].begin, out);
        slices->give[r] = message(out, n);
        slices->take[r] = message(in, m);
        out += padded(n);
        in += padded(m);
    }
    DPT_TRY(dpt_comm__swap(comm, slices));
    float *part = room.part;
    for (int r = 0; r < comm->size; r++) {
        slices->part[r] = data + mine.begin;
        if (r != comm->rank) {
            dpt_bf16_widen(length(mine), (const uint16_t *)(const void *)slices->take[r].data, part);
            slices->part[r] = part;
            part += padded(length(mine));
        }
    }
    dpt_comm__add(DPT_DTYPE_F32, length(mine), comm->size, slices->part, data + mine.begin);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_comm__wire_collect(struct dpt_comm *comm, struct dpt_comm__slices *slices, float *data,
                                       void *scratch)
{
    struct room room = rooms(comm, slices, scratch);
    const struct dpt_range mine = slices->range[comm->rank];
    uint16_t *in = room.in;
    dpt_bf16_narrow(length(mine), data + mine.begin, room.out);
    dpt_bf16_widen(length(mine), room.out, data + mine.begin);
    for (int r = 0; r < comm->size; r++) {
        const int64_t n = r == comm->rank ? 0 : length(slices->range[r]);
        slices->give[r] = message(room.out, r == comm->rank ? 0 : length(mine));
        slices->take[r] = message(in, n);
        in += padded(n);
    }
    DPT_TRY(dpt_comm__swap(comm, slices));
    for (int r = 0; r < comm->size; r++) {
        if (r != comm->rank) {
            dpt_bf16_widen(length(slices->range[r]), (const uint16_t *)(const void *)slices->take[r].data,
                           data + slices->range[r].begin);
        }
    }
    return DPT_STATUS_OK;
}
