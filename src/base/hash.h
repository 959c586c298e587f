/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Checksums (XXH3 of libxxhash): 64 bits to compare plans and names, 128 bits for files. */

#include <stddef.h>
#include <stdint.h>

/* 64-bit hash of `nbytes` bytes. Local. */
uint64_t dpt_hash64(const void *data, size_t nbytes);

/* 128-bit hash as 32 hex digits and a NUL in `text`. Local. */
void dpt_hash128(const void *data, size_t nbytes, char text[33]);

/* A 128-bit hash of bytes that come piece by piece. */
struct dpt_hash;

/* A hash of nothing yet; ends the job when memory runs out. Freed by dpt_hash_free. Local. */
struct dpt_hash *dpt_hash_new(void);
void dpt_hash_free(struct dpt_hash *hash);

/* Starts again from nothing. Local. */
void dpt_hash_reset(struct dpt_hash *hash);

/* Adds bytes. Local. */
void dpt_hash_add(struct dpt_hash *hash, const void *data, size_t nbytes);

/* The hash of all bytes since the start, as dpt_hash128 writes it; more may follow. Local. */
void dpt_hash_text(const struct dpt_hash *hash, char text[33]);
