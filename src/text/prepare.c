/* SPDX-License-Identifier: Apache-2.0 */

#include "text/prepare.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "text/cut.h"
#include "text/internal.h"
#include "text/learn.h"

enum { SCALARS = 0x110000 };

static const double TELL_S = 0.2;

struct prepare {
    const struct dpt_prepare_conf *conf;
    const struct dpt_prepare_sink *sink;
    struct dpt_prepare_counts *counts;
    struct dpt_tokenizer *tokenizer;
    bool separate;
    bool drawn;       /* documents are drawn for validation; else the text behind `valid_at` is */
    int64_t text_nbytes; /* of all documents; -1: not counted */
    int64_t valid_at;
    struct dpt_tokens tokens;
    double told_s;
};

static void tell(struct prepare *p, const char *what, const struct dpt_input *input,
                 const struct dpt_prepare_counts *counts)
{
    const double now_s = dpt_clock_s();
    if (p->conf->tell && now_s - p->told_s >= TELL_S) {
        int64_t done, all;
        p->told_s = now_s;
        dpt_input_progress(input, &done, &all);
        p->conf->tell(p->conf->tell_context, what, done, all, counts);
    }
}

/* Something done with every piece of the input. */
typedef enum dpt_status piece_fn(struct prepare *p, const struct dpt_input_piece *piece, void *context);

static enum dpt_status for_each_piece(struct prepare *p, enum dpt_input_cut cut, const char *what, piece_fn *body,
                                      void *context)
{
    struct dpt_input_conf conf = p->conf->input;
    struct dpt_input *input;
    struct dpt_input_piece piece;
    struct dpt_prepare_counts counts = {0};
    conf.cut = cut;
    DPT_TRY(dpt_input_open(&conf, &input));
    enum dpt_status status;
    while ((status = dpt_input_next(input, &piece)) == DPT_STATUS_OK && piece.text) {
        status = body(p, &piece, context);
        if (status != DPT_STATUS_OK) {
            break;
        }
        counts.text_nbytes += (int64_t)piece.nbytes;
        counts.documents += piece.ends;
        counts.tokens = p->counts ? p->counts[0].tokens + p->counts[1].tokens : 0;
        tell(p, what, input, &counts);
    }
    dpt_input_close(input);
    if (status == DPT_STATUS_OK) {
        p->text_nbytes = counts.text_nbytes;
    }
    return status;
}

/* --------------------------------------------------------------------------------------------- the tokenizer */

static enum dpt_status learn_piece(struct prepare *p, const struct dpt_input_piece *piece, void *learner)
{
    (void)p;
    return dpt_learner_add(learner, piece->source, piece->offset, piece->text, piece->nbytes);
}

static enum dpt_status learn_bpe(struct prepare *p, int64_t vocab, struct dpt_tokenizer **tokenizer)
{
    struct dpt_learner *learner;
    DPT_TRY(dpt_learner_new(&learner));
    enum dpt_status status = for_each_piece(p, DPT_INPUT_CUT_WORDS, "learning", learn_piece, learner);
    if (status == DPT_STATUS_OK) {
        status = dpt_learner_finish(learner, vocab, tokenizer);
    }
    dpt_learner_free(learner);
    return status;
}

static enum dpt_status note_chars(struct prepare *p, const struct dpt_input_piece *piece, void *seen)
{
    (void)p;
    DPT_TRY(dpt_text__check_utf8(piece->source, piece->offset, piece->text, piece->nbytes));
    for (size_t at = 0; at < piece->nbytes;) {
        uint32_t code;
        const size_t n = dpt_text_char(piece->text + at, piece->nbytes - at, &code);
        DPT_CHECK(code != 0, DPT_STATUS_DATA, "%s: byte %lld is NUL: this is no text; take bytes as tokens (-t bytes)",
                  piece->source, (long long)piece->offset + (long long)at);
        ((unsigned char *)seen)[code] = 1;
        at += n;
    }
    return DPT_STATUS_OK;
}

/* The characters of the text, all of it: what is tried later must be known as well. */
static enum dpt_status find_chars(struct prepare *p)
{
    unsigned char *seen = calloc(SCALARS, 1);
    uint32_t *code = malloc(SCALARS * sizeof *code);
    int64_t count = 0;
    if (!seen || !code) {
        free(seen);
        free(code);
        return dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "no memory to count characters");
    }
    enum dpt_status status = for_each_piece(p, DPT_INPUT_CUT_CHARS, "reading", note_chars, seen);
    for (uint32_t c = 0; c < SCALARS; c++) {
        if (seen[c]) {
            code[count++] = c;
        }
    }
    if (status == DPT_STATUS_OK) {
        status = dpt_tokenizer_new_chars(code, count, p->separate, &p->tokenizer);
    }
    free(seen);
    free(code);
    return status;
}

static enum dpt_status make_tokenizer(struct prepare *p)
{
    const char *name = p->conf->tokenizer;
    if (strcmp(name, "bytes") == 0) {
        return dpt_tokenizer_new_bytes(p->separate, &p->tokenizer);
    }
    if (strcmp(name, "chars") == 0) {
        return find_chars(p);
    }
    if (strncmp(name, "bpe:", 4) == 0) {
        char *end;
        errno = 0;
        const long long vocab = strtoll(name + 4, &end, 10);
        DPT_CHECK(end != name + 4 && *end == '\0' && errno == 0, DPT_STATUS_USAGE,
                  "%s: expected is the size of the vocabulary to learn, as in bpe:4096", name);
        return learn_bpe(p, vocab, &p->tokenizer);
    }
    DPT_CHECK(dpt_file_exists(name), DPT_STATUS_DATA,
              "%s: there is no such file or folder with a tokenizer; bytes, chars and bpe:SIZE need none", name);
    DPT_TRY(dpt_tokenizer_load(name, &p->tokenizer));
    if (p->separate && dpt_tokenizer_end(p->tokenizer) < 0) {
        DPT_CHECK(p->conf->separate == DPT_PREPARE_SEPARATE_AUTO, DPT_STATUS_USAGE,
                  "%s: has no end-of-text token to separate documents with", name);
        p->separate = false;
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_prepare_bpe(const struct dpt_prepare_conf *conf, int64_t vocab, struct dpt_tokenizer **tokenizer)
{
    struct prepare p = {.conf = conf};
    return learn_bpe(&p, vocab, tokenizer);
}

/* ------------------------------------------------------------------------------------------- training, validation */

static enum dpt_status count_piece(struct prepare *p, const struct dpt_input_piece *piece, void *context)
{
    (void)p;
    (void)piece;
    (void)context;
    return DPT_STATUS_OK;
}

/* Where the text for validation begins, when it is the last part of the text. */
static enum dpt_status find_valid(struct prepare *p)
{
    p->valid_at = INT64_MAX;
    if (p->drawn || p->conf->valid_share <= 0.0) {
        return DPT_STATUS_OK;
    }
    if (p->text_nbytes < 0) {
        DPT_TRY(for_each_piece(p, DPT_INPUT_CUT_BYTES, "reading", count_piece, NULL));
    }
    p->valid_at = (int64_t)((double)p->text_nbytes * (1.0 - p->conf->valid_share));
    DPT_CHECK(p->valid_at > 0 && p->valid_at < p->text_nbytes, DPT_STATUS_USAGE,
              "a share of %g of %lld bytes of text leaves nothing for %s", p->conf->valid_share,
              (long long)p->text_nbytes, p->valid_at > 0 ? "validation" : "training");
    return DPT_STATUS_OK;
}

/* Which part a document belongs to, when documents are drawn. */
static enum dpt_prepare_part draw_part(const struct prepare *p, int64_t document)
{
    uint32_t word[4];
    dpt_rng_words(p->conf->seed, DPT_RNG_USE_DATA, 0, 0, (uint64_t)document, word);
    return dpt_rng_unit64(word[0], word[1]) < p->conf->valid_share ? DPT_PREPARE_PART_VALID : DPT_PREPARE_PART_TRAIN;
}

/* ----------------------------------------------------------------------------------------------------- writing */

/* What is counted while the text goes by. */
struct position {
    int64_t nbytes, documents;
};

/* Tokenizes a part of a piece; `ends`: with it the document ends. */
static enum dpt_status write_part(struct prepare *p, enum dpt_prepare_part part, const struct dpt_input_piece *piece,
                                  size_t from, size_t to, bool ends)
{
    struct dpt_prepare_counts *counts = &p->counts[part];
    p->tokens.count = 0;
    DPT_TRY(dpt_tokenizer_encode(p->tokenizer, piece->source, piece->offset + (int64_t)from, piece->text + from, to - from,
                                 &p->tokens));
    if (ends && p->separate) {
        dpt_tokens_reserve(&p->tokens, 1);
        p->tokens.id[p->tokens.count++] = dpt_tokenizer_end(p->tokenizer);
    }
    counts->documents += ends;
    counts->text_nbytes += (int64_t)(to - from);
    counts->tokens += p->tokens.count;
    return p->sink->add(p->sink->context, part, p->tokens.id, p->tokens.count, (int64_t)(to - from), ends);
}

static enum dpt_status write_piece(struct prepare *p, const struct dpt_input_piece *piece, void *context)
{
    struct position *at = context;
    const int64_t left = p->valid_at - at->nbytes;
    enum dpt_prepare_part part = left > 0 ? DPT_PREPARE_PART_TRAIN : DPT_PREPARE_PART_VALID;
    if (p->drawn) {
        part = draw_part(p, at->documents);
    }
    size_t from = 0;
    if (!p->drawn && left > 0 && left < (int64_t)piece->nbytes) {
        /* The text for validation begins in this piece, with a whole character. */
        from = dpt_tokenizer_kind(p->tokenizer) == DPT_TOKENIZER_KIND_BYTES
                   ? (size_t)left
                   : dpt_text__cut(DPT_INPUT_CUT_CHARS, piece->text, (size_t)left + 1);
        DPT_TRY(write_part(p, DPT_PREPARE_PART_TRAIN, piece, 0, from, false));
        part = DPT_PREPARE_PART_VALID;
    }
    at->nbytes += (int64_t)piece->nbytes;
    at->documents += piece->ends;
    return write_part(p, part, piece, from, piece->nbytes, piece->ends);
}

static enum dpt_status run(struct prepare *p)
{
    static const enum dpt_input_cut cut[] = {
        [DPT_TOKENIZER_KIND_BYTES] = DPT_INPUT_CUT_BYTES,
        [DPT_TOKENIZER_KIND_CHARS] = DPT_INPUT_CUT_CHARS,
        [DPT_TOKENIZER_KIND_BPE] = DPT_INPUT_CUT_WORDS,
    };
    struct position at = {0};
    DPT_TRY(make_tokenizer(p));
    DPT_TRY(find_valid(p));
    DPT_TRY(p->sink->begin(p->sink->context, p->tokenizer));
    DPT_TRY(for_each_piece(p, cut[dpt_tokenizer_kind(p->tokenizer)], "writing", write_piece, &at));
    for (int i = 0; i < (p->conf->valid_share > 0.0 ? 2 : 1); i++) {
        DPT_CHECK(p->counts[i].tokens > 0, DPT_STATUS_DATA, "there is no text for %s in %lld document%s",
                  i == DPT_PREPARE_PART_TRAIN ? "training" : "validation", (long long)at.documents,
                  at.documents == 1 ? "" : "s");
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_prepare_tokens(const struct dpt_prepare_conf *conf, const struct dpt_prepare_sink *sink,
                                   struct dpt_prepare_counts counts[DPT_PREPARE_PARTS])
{
    struct prepare p = {.conf = conf, .sink = sink, .counts = counts, .text_nbytes = -1};
    memset(counts, 0, DPT_PREPARE_PARTS * sizeof *counts);
    p.drawn = dpt_input_is_drawn(&conf->input);
    p.separate = conf->separate == DPT_PREPARE_SEPARATE_YES ||
                 (conf->separate == DPT_PREPARE_SEPARATE_AUTO && (p.drawn || conf->input.nfiles > 1));
    const enum dpt_status status = run(&p);
    dpt_tokenizer_free(p.tokenizer);
    dpt_tokens_free(&p.tokens);
    return status;
}
