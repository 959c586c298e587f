/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

uint64_t dpt_hash64(const void *data, size_t nbytes)
{
    return XXH3_64bits(data, nbytes);
}

void dpt_hash128(const void *data, size_t nbytes, char text[33])
{
    const XXH128_hash_t hash = XXH3_128bits(data, nbytes);
    snprintf(text, 33, "%016" PRIx64 "%016" PRIx64, (uint64_t)hash.high64, (uint64_t)hash.low64);
}
