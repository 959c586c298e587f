/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Checksums (XXH3 of libxxhash): 64 bits to compare plans and names, 128 bits for files. */

#include <stddef.h>
#include <stdint.h>

/* 64-bit hash of `nbytes` bytes. Local. */
uint64_t dpt_hash64(const void *data, size_t nbytes);

/* 128-bit hash as 32 hex digits and a NUL in `text`. Local. */
void dpt_hash128(const void *data, size_t nbytes, char text[33]);
