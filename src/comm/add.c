/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A sum over parts in the order of a binary tree, block by block, so that what is between stays in the first cache:
 * every element of a part is read once, every element of the sum written once.
 */

#include "comm/add.h"

#include <string.h>

#include "base/add.h"
#include "base/status.h"

enum { BLOCK = 1024, MAX_LEVELS = 20 };

/*
 * One block: level[l] holds the sum of a finished group of 2^l parts that waits for its neighbour. Parts that no
 * neighbour follows are added from the last level up.
 */
static void add_block(enum dpt_dtype dtype, int64_t n, int parts, const void *const *part, size_t offset, char *sum)
{
    double room[MAX_LEVELS][BLOCK], work[BLOCK];
    const void *level[MAX_LEVELS] = {NULL};
    for (int p = 0; p < parts; p++) {
        const void *at = (const char *)part[p] + offset;
        int l = 0;
        for (; p >> l & 1; l++) {
            double *to = p >> (l + 1) & 1 ? work : room[l + 1]; /* the room of a level that waits is not free */
            dpt_add(dtype, n, level[l], at, to);
            at = to;
            level[l] = NULL;
        }
        level[l] = at;
    }
    const void *rest = NULL;
    for (int l = 0; l < MAX_LEVELS; l++) {
        if (level[l] && rest) {
            dpt_add(dtype, n, level[l], rest, room[l]);
            rest = room[l];
        } else if (level[l]) {
            rest = level[l];
        }
    }
    if (rest != sum) {
        memcpy(sum, rest, (size_t)n * dpt_dtype_nbytes(dtype));
    }
}

void dpt_comm__add(enum dpt_dtype dtype, int64_t count, int parts, const void *const *part, void *sum)
{
    DPT_ASSERT(parts >= 1 && parts < 1 << (MAX_LEVELS - 1));
    if (parts == 2) {
        dpt_add(dtype, count, part[0], part[1], sum);
        return;
    }
    const size_t width = dpt_dtype_nbytes(dtype);
    for (int64_t i = 0; i < count; i += BLOCK) {
        const int64_t n = count - i < BLOCK ? count - i : BLOCK;
        add_block(dtype, n, parts, part, (size_t)i * width, (char *)sum + (size_t)i * width);
    }
}
