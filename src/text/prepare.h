/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * From text to tokens, as a stream: which tokenizer, which part is for validation, where documents end. Where the tokens
 * go is the caller's: a sink.
 *
 * Text files are one text in the order given, and of it the last part is for validation. Of JSON lines and the texts of a
 * system, which are documents of one kind, a share is drawn by the seed.
 */

#include <stdbool.h>
#include <stdint.h>

#include "text/input.h"
#include "text/tokenizer.h"

enum dpt_prepare_part { DPT_PREPARE_PART_TRAIN, DPT_PREPARE_PART_VALID, DPT_PREPARE_PARTS };
enum dpt_prepare_separate { DPT_PREPARE_SEPARATE_AUTO, DPT_PREPARE_SEPARATE_YES, DPT_PREPARE_SEPARATE_NO };

struct dpt_prepare_counts {
    int64_t documents, text_nbytes, tokens;
};

/* Where tokens go. Both may fail, which ends the work. */
struct dpt_prepare_sink {
    void *context;
    /* Once, before the first token. */
    enum dpt_status (*begin)(void *context, const struct dpt_tokenizer *tokenizer);
    /* Tokens that stand for `text_nbytes` bytes; `documents` of them end here. */
    enum dpt_status (*add)(void *context, enum dpt_prepare_part part, const int32_t *id, int64_t count,
                           int64_t text_nbytes, int64_t documents);
};

/* Called now and then: what is done ("reading", "learning", "writing"), how much of the input, and what came of it. */
typedef void dpt_prepare_tell(void *context, const char *what, int64_t done, int64_t all,
                              const struct dpt_prepare_counts *counts);

struct dpt_prepare_conf {
    struct dpt_input_conf input; /* `cut` is set here as the tokenizer needs it           */
    const char *tokenizer;       /* "bytes", "chars", "bpe:SIZE" to learn one, or a path  */
    double valid_share;          /* 0: none                                               */
    uint64_t seed;
    enum dpt_prepare_separate separate; /* auto: where there are several documents        */
    dpt_prepare_tell *tell;      /* may be NULL                                           */
    void *tell_context;
};

/*
 * Reads the input (twice where the tokenizer comes of the text or the length of packed text must be known), tokenizes it and
 * gives it to the sink. counts[part] gets the totals. DPT_STATUS_USAGE, DPT_STATUS_DATA, and what the sink returns. Local.
 */
enum dpt_status dpt_prepare_tokens(const struct dpt_prepare_conf *conf, const struct dpt_prepare_sink *sink,
                                   struct dpt_prepare_counts counts[DPT_PREPARE_PARTS]);

/* Learns a BPE of `vocab` tokens from all of the input. Freed by dpt_tokenizer_free. Local. */
enum dpt_status dpt_prepare_bpe(const struct dpt_prepare_conf *conf, int64_t vocab, struct dpt_tokenizer **tokenizer);
