/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Room-private: where the fields of a shard's header are, for its reader and its writer; see shard.h. */

#define DPT_SHARD__MAGIC "dpttoken"

enum {
    DPT_SHARD__VERSION = 8,
    DPT_SHARD__WIDTH = 12,
    DPT_SHARD__COUNT = 16,
    DPT_SHARD__VOCAB = 24,
    DPT_SHARD__TEXT = 32,
    DPT_SHARD__DOCUMENTS = 40,
    DPT_SHARD__TOKENIZER = 48,
    DPT_SHARD__END = 56,
    DPT_SHARD__NBYTES = 256,
};
