/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Arenas: many small allocations with one lifetime, freed together. For set-up structures (job, graph, plan), never
 * in a step. Running out of memory ends the job (exit 5), so callers need no check; large blocks that may fail
 * softly come from dev/.
 */

#include <stddef.h>

struct dpt_arena;

/* A new, empty arena; freed with everything in it by dpt_arena_free. Local. */
struct dpt_arena *dpt_arena_new(void);

/* Frees the arena and all that came from it; NULL is fine. Local. */
void dpt_arena_free(struct dpt_arena *arena);

/* `nbytes` zeroed bytes, aligned to 16. Never NULL. Local. */
void *dpt_arena_alloc(struct dpt_arena *arena, size_t nbytes);

/* `count` zeroed objects of `size` bytes; the product is checked. Never NULL. Local. */
void *dpt_arena_array(struct dpt_arena *arena, size_t count, size_t size);

/* A copy of `text`. Local. */
char *dpt_arena_strdup(struct dpt_arena *arena, const char *text);

/* A formatted string. Local. */
char *dpt_arena_printf(struct dpt_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A copy of `nbytes` bytes; NULL for 0 bytes. Local. */
void *dpt_arena_memdup(struct dpt_arena *arena, const void *from, size_t nbytes);

/*
 * Grows an array that doubles: returns room for at least `count` + 1 items, with the old `count` copied.
 * `*capacity` is updated. The old block stays in the arena. Local.
 */
void *dpt_arena_grow(struct dpt_arena *arena, void *array, size_t count, size_t *capacity, size_t size);
