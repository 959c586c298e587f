/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"

struct chunk {
    struct chunk *next;
    size_t used, size; /* bytes of data[] */
    _Alignas(16) unsigned char data[];
};

struct dpt_arena {
    struct chunk *chunks; /* newest first */
};

enum { CHUNK_BYTES = 64 * 1024 };

static _Noreturn void out_of_memory(size_t nbytes)
{
    dpt_fatal(DPT_STATUS_SPACE, "out of memory: %zu bytes for set-up data could not be had", nbytes);
}

struct dpt_arena *dpt_arena_new(void)
{
    struct dpt_arena *arena = calloc(1, sizeof *arena);
    if (!arena) {
        out_of_memory(sizeof *arena);
    }
    return arena;
}

void dpt_arena_free(struct dpt_arena *arena)
{
    if (!arena) {
        return;
    }
    for (struct chunk *c = arena->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    free(arena);
}

void *dpt_arena_alloc(struct dpt_arena *arena, size_t nbytes)
{
    if (nbytes > SIZE_MAX / 2) {
        out_of_memory(nbytes);
    }
    const size_t need = (nbytes + 15) & ~(size_t)15;
    struct chunk *c = arena->chunks;
    if (!c || c->size - c->used < need) {
        const size_t size = need > CHUNK_BYTES ? need : CHUNK_BYTES;
        c = calloc(1, sizeof *c + size);
        if (!c) {
            out_of_memory(size);
        }
        c->size = size;
        c->next = arena->chunks;
        arena->chunks = c;
    }
    void *p = c->data + c->used;
    c->used += need;
    return p;
}

void *dpt_arena_array(struct dpt_arena *arena, size_t count, size_t size)
{
    size_t nbytes;
    if (__builtin_mul_overflow(count, size, &nbytes)) {
        out_of_memory(SIZE_MAX);
    }
    return dpt_arena_alloc(arena, nbytes);
}

char *dpt_arena_strdup(struct dpt_arena *arena, const char *text)
{
    return dpt_arena_memdup(arena, text, strlen(text) + 1);
}

char *dpt_arena_printf(struct dpt_arena *arena, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    const int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    DPT_ASSERT(length >= 0);
    char *text = dpt_arena_alloc(arena, (size_t)length + 1);
    vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}

void *dpt_arena_memdup(struct dpt_arena *arena, const void *from, size_t nbytes)
{
    if (nbytes == 0) {
        return NULL;
    }
    return memcpy(dpt_arena_alloc(arena, nbytes), from, nbytes);
}

void *dpt_arena_grow(struct dpt_arena *arena, void *array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity) {
        return array;
    }
    const size_t bigger = *capacity ? 2 * *capacity : 16;
    void *block = dpt_arena_array(arena, bigger, size);
    if (count) {
        memcpy(block, array, count * size);
    }
    *capacity = bigger;
    return block;
}
