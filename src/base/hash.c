/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>
/* On x86 the library can choose AVX2 or AVX-512 at run time: twice as fast as what the distributions compile for. */
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>
#endif

#include "base/status.h"

uint64_t dpt_hash64(const void *data, size_t nbytes)
{
    return XXH3_64bits(data, nbytes);
}

static void print(XXH128_hash_t hash, char text[33])
{
    snprintf(text, 33, "%016" PRIx64 "%016" PRIx64, (uint64_t)hash.high64, (uint64_t)hash.low64);
}

void dpt_hash128(const void *data, size_t nbytes, char text[33])
{
    print(XXH3_128bits(data, nbytes), text);
}

struct dpt_hash {
    XXH3_state_t *state; /* the library allocates it, since it has its own alignment */
};

struct dpt_hash *dpt_hash_new(void)
{
    struct dpt_hash *hash = malloc(sizeof *hash);
    XXH3_state_t *state = XXH3_createState();
    if (!hash || !state) {
        dpt_fatal(DPT_STATUS_SPACE, "out of memory: the state of a checksum could not be had");
    }
    hash->state = state;
    dpt_hash_reset(hash);
    return hash;
}

void dpt_hash_free(struct dpt_hash *hash)
{
    if (hash) {
        XXH3_freeState(hash->state);
        free(hash);
    }
}

void dpt_hash_reset(struct dpt_hash *hash)
{
    XXH3_128bits_reset(hash->state);
}

void dpt_hash_add(struct dpt_hash *hash, const void *data, size_t nbytes)
{
    XXH3_128bits_update(hash->state, data, nbytes);
}

void dpt_hash_text(const struct dpt_hash *hash, char text[33])
{
    print(XXH3_128bits_digest(hash->state), text);
}
