/* SPDX-License-Identifier: Apache-2.0 */
#include "lm/generate.h"

#include <string.h>

#include "base/clock.h"
#include "comm/comm.h"
#include "exec/device.h"
#include "lm/decode.h"

/* A text in the making. */
struct text {
    struct dpt_tokens tokens; /* with the prompt                            */
    struct dpt_text bytes;    /* what they stand for                        */
    size_t written;           /* bytes of it                                */
    bool ended;               /* by the end-of-text token                   */
};

struct generate {
    const struct dpt_generate_conf *conf;
    struct dpt_lm lm;
    struct dpt_decode *decode;
    struct dpt_sample *sample;
    struct dpt_arena *arena;
    struct text *text;
    int64_t prompt;  /* tokens of it                                        */
    int64_t skip;    /* of these, tokens that are not part of the text      */
    int32_t *next;   /* token of each text                                  */
    int64_t made;    /* tokens of all texts, for the summary                */
    dpt_generate_fn *write;
    void *user;
};

/* ------------------------------------------------------------------------------------------------------- starting */

static enum dpt_status take_tokenizer(struct generate *g)
{
    if (g->conf->tokenizer) {
        struct dpt_tokenizer *other;
        DPT_TRY(dpt_tokenizer_load(g->conf->tokenizer, &other));
        dpt_tokenizer_free(g->lm.tokenizer);
        g->lm.tokenizer = other;
    }
    DPT_CHECK(g->lm.tokenizer, DPT_STATUS_USAGE,
              "%s: has no tokenizer, since none was beside its data: give one with --tokenizer", g->conf->checkpoint);
    DPT_CHECK(dpt_tokenizer_vocab(g->lm.tokenizer) <= g->lm.io.classes, DPT_STATUS_USAGE,
              "%s: has %lld tokens, but the model only %lld", g->conf->tokenizer ? g->conf->tokenizer : "the tokenizer",
              (long long)dpt_tokenizer_vocab(g->lm.tokenizer), (long long)g->lm.io.classes);
    return DPT_STATUS_OK;
}

/* The tokens that every text begins with. Without a prompt that is the end of another text, or a new line. */
static enum dpt_status encode_prompt(struct generate *g, struct dpt_text *notes)
{
    struct dpt_tokens *tokens = &g->text[0].tokens;
    const int32_t end = dpt_tokenizer_end(g->lm.tokenizer);
    if (g->conf->prompt && g->conf->prompt_nbytes > 0) {
        DPT_TRY(dpt_tokenizer_encode(g->lm.tokenizer, "prompt", 0, g->conf->prompt, g->conf->prompt_nbytes, tokens));
    } else if (end >= 0) {
        dpt_tokens_reserve(tokens, 1);
        tokens->id[tokens->count++] = end;
        g->skip = 1;
    } else {
        DPT_CHECK(dpt_tokenizer_encode(g->lm.tokenizer, "prompt", 0, "\n", 1, tokens) == DPT_STATUS_OK, DPT_STATUS_USAGE,
                  "a prompt is needed: the tokenizer has neither an end-of-text token nor a new line");
    }
    g->prompt = tokens->count;
    if (g->prompt > g->lm.io.dim[0]) {
        dpt_text_add(notes, "the prompt has %lld tokens, the model looks at the last %lld\n", (long long)g->prompt,
                     (long long)g->lm.io.dim[0]);
    }
    for (int i = 1; i < g->conf->texts; i++) {
        dpt_tokens_reserve(&g->text[i].tokens, g->prompt);
        memcpy(g->text[i].tokens.id, tokens->id, (size_t)g->prompt * sizeof *tokens->id);
        g->text[i].tokens.count = g->prompt;
    }
    return DPT_STATUS_OK;
}

static enum dpt_status make_decoder(struct generate *g, struct dpt_text *notes)
{
    struct dpt_decode_conf conf = {.job = g->lm.job,
                                   .io = g->lm.io,
                                   .texts = g->conf->texts,
                                   .device = dpt_exec_used_device(g->conf->device, g->lm.job->device.kind),
                                   .threads = g->conf->threads};
    const int64_t need = g->prompt + g->conf->tokens;
    DPT_TRY(dpt_exec_used_precision(g->conf->precision, g->lm.job->run.precision, &conf.precision));
    if (conf.threads == 0) {
        struct dpt_comm *alone;
        struct dpt_cores cores = {.usable = 1};
        DPT_TRY(dpt_comm_start_alone(&alone));
        const enum dpt_status status = dpt_comm_cores(alone, &cores);
        dpt_comm_end(alone);
        DPT_TRY(status);
        conf.threads = cores.usable > 1 ? cores.usable : 1;
    }
    conf.most = need < conf.io.dim[0] ? need : conf.io.dim[0];
    DPT_TRY(dpt_decode_new(&conf, &g->decode));
    if (*dpt_decode_why(g->decode)) {
        dpt_text_add(notes, "there is a card, but the cores compute: %s\n", dpt_decode_why(g->decode));
    }
    DPT_TRY(dpt_decode_load(g->decode, g->lm.ckpt));
    g->sample = dpt_sample_new(&g->conf->sample, dpt_tokenizer_vocab(g->lm.tokenizer));
    return DPT_STATUS_OK;
}

/* -------------------------------------------------------------------------------------------------------- writing */

/* Bytes at the end of a text that begin a character of UTF-8 whose rest is still to come. */
static size_t unfinished(const char *bytes, size_t nbytes)
{
    for (size_t back = 1; back <= 3 && back <= nbytes; back++) {
        const unsigned char byte = (unsigned char)bytes[nbytes - back];
        if (byte >= 0xc0) {
            const size_t length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
            return length > back ? back : 0;
        }
        if (byte < 0x80) {
            return 0;
        }
    }
    return 0;
}

static enum dpt_status write_text(struct generate *g, int i, bool end)
{
    struct text *text = &g->text[i];
    const size_t held = end ? 0 : unfinished(text->bytes.data, text->bytes.length);
    const size_t nbytes = text->bytes.length - text->written - held;
    const char *from = text->bytes.length > 0 ? text->bytes.data + text->written : "";
    if (nbytes == 0 && !end) {
        return DPT_STATUS_OK;
    }
    text->written += nbytes;
    return g->write(g->user, i, from, nbytes, end);
}

/* Adds the bytes of tokens from `first` on to a text. */
static enum dpt_status spell(struct generate *g, struct text *text, int64_t first)
{
    return dpt_tokenizer_decode(g->lm.tokenizer, text->tokens.id + first, text->tokens.count - first, &text->bytes);
}

/* ----------------------------------------------------------------------------------------------------- generating */

/* Reads the texts so far, or as much of their ends as `most` says; where all are the `same`, the first will do. */
static enum dpt_status read_texts(struct generate *g, int64_t most, bool same, struct dpt_tensor *logits)
{
    for (int i = 0; i < (same ? 1 : g->conf->texts); i++) {
        const struct dpt_tokens *tokens = &g->text[i].tokens;
        const int64_t count = tokens->count < most ? tokens->count : most;
        DPT_TRY(dpt_decode_begin(g->decode, i, tokens->id + tokens->count - count, count, logits));
    }
    for (int i = 1; i < g->conf->texts && same; i++) {
        DPT_TRY(dpt_decode_copy(g->decode, 0, i));
    }
    return DPT_STATUS_OK;
}

static const char *logits_of(const struct dpt_tensor *logits, int text)
{
    const size_t row = (size_t)logits->type.dim[1] * dpt_dtype_nbytes(logits->type.dtype);
    return (const char *)logits->data + (logits->type.dim[0] > 1 ? (size_t)text * row : 0);
}

/* Draws the next token of each text and adds it. */
static enum dpt_status draw(struct generate *g, const struct dpt_tensor *logits, bool *running)
{
    const int32_t end = dpt_tokenizer_end(g->lm.tokenizer);
    *running = false;
    for (int i = 0; i < g->conf->texts; i++) {
        struct text *text = &g->text[i];
        const int64_t position = text->tokens.count;
        const int32_t id = dpt_sample_draw(g->sample, logits->type.dtype, logits_of(logits, i), i, position);
        DPT_CHECK(id >= 0, DPT_STATUS_DIVERGED,
                  "%s: the model's outputs are not finite: the training has diverged, or the weights are damaged",
                  g->conf->checkpoint);
        g->next[i] = id;
        dpt_tokens_reserve(&text->tokens, 1); /* also behind the end: all texts keep one length */
        text->tokens.id[text->tokens.count++] = id;
        text->ended = text->ended || id == end;
        if (!text->ended) {
            DPT_TRY(spell(g, text, position));
            g->made++;
            *running = true;
        }
        if (g->conf->texts == 1) {
            DPT_TRY(write_text(g, 0, text->ended));
        }
    }
    return DPT_STATUS_OK;
}

static enum dpt_status generate(struct generate *g)
{
    const int64_t most = g->lm.io.dim[0];
    struct dpt_tensor logits;
    bool running = true;
    for (int i = 0; i < g->conf->texts; i++) {
        DPT_TRY(spell(g, &g->text[i], g->skip));
    }
    DPT_TRY(g->conf->texts == 1 ? write_text(g, 0, false) : DPT_STATUS_OK);
    DPT_TRY(read_texts(g, most, true, &logits));
    for (int64_t made = 0; made < g->conf->tokens && running; made++) {
        DPT_TRY(draw(g, &logits, &running));
        if (!running || made + 1 == g->conf->tokens) {
            break;
        }
        if (dpt_decode_position(g->decode) == most) { /* full: all but the last token of the last half, then that one */
            for (int i = 0; i < g->conf->texts; i++) {
                g->text[i].tokens.count--;
            }
            DPT_TRY(read_texts(g, most / 2, false, &logits));
            for (int i = 0; i < g->conf->texts; i++) {
                g->text[i].tokens.count++;
            }
        }
        DPT_TRY(dpt_decode_next(g->decode, g->next, &logits));
    }
    for (int i = 0; i < g->conf->texts; i++) {
        if (g->conf->texts > 1 || !g->text[0].ended) {
            DPT_TRY(write_text(g, i, true));
        }
    }
    return DPT_STATUS_OK;
}

static enum dpt_status run(struct generate *g, struct dpt_text *notes, struct dpt_text *summary)
{
    DPT_TRY(dpt_lm_open(g->conf->checkpoint, g->conf->which, &g->lm, notes));
    DPT_TRY(take_tokenizer(g));
    DPT_TRY(encode_prompt(g, notes));
    DPT_CHECK(g->lm.io.dim[0] >= 2, DPT_STATUS_DATA, "%s: looks at one token, which makes no text", g->conf->checkpoint);
    DPT_TRY(make_decoder(g, notes));
    const double begin_s = dpt_clock_s();
    DPT_TRY(generate(g));
    const double seconds = dpt_clock_s() - begin_s;
    dpt_text_add(summary, "%s: %lld tokens in %.2f s, %.1f tokens/s\n", dpt_ckpt_path(g->lm.ckpt), (long long)g->made,
                 seconds, seconds > 0.0 ? (double)g->made / seconds : 0.0);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_generate(const struct dpt_generate_conf *conf, dpt_generate_fn *write, void *user,
                             struct dpt_text *notes, struct dpt_text *summary)
{
    struct generate g = {.conf = conf, .arena = dpt_arena_new(), .write = write, .user = user};
    g.text = dpt_arena_array(g.arena, (size_t)conf->texts, sizeof *g.text);
    g.next = dpt_arena_array(g.arena, (size_t)conf->texts, sizeof *g.next);
    const enum dpt_status status = run(&g, notes, summary);
    for (int i = 0; i < conf->texts; i++) {
        dpt_tokens_free(&g.text[i].tokens);
        dpt_text_free(&g.text[i].bytes);
    }
    dpt_sample_free(g.sample);
    dpt_decode_free(g.decode);
    dpt_lm_close(&g.lm);
    dpt_arena_free(g.arena);
    return status;
}
