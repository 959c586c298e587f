/* SPDX-License-Identifier: Apache-2.0 */

/*
 * From text to tokens: streaming gives what tokenizing the whole gives, the parts are the parts that were asked for, and
 * documents end where they end. The sink keeps everything.
 */

#include "text/prepare.h"
#include "text/system.h"
#include "texts.h"

struct kept {
    struct dpt_tokenizer *tokenizer;
    struct dpt_tokens tokens[DPT_PREPARE_PARTS];
    int64_t text_nbytes[DPT_PREPARE_PARTS], documents[DPT_PREPARE_PARTS];
    int64_t fail_at; /* tokens after which the sink fails; 0: never */
};

static enum dpt_status keep_tokenizer(void *context, const struct dpt_tokenizer *tokenizer)
{
    struct kept *kept = context;
    struct dpt_text json = {0};
    dpt_tokenizer_json(tokenizer, &json);
    const enum dpt_status status = dpt_tokenizer_read("kept", json.data, json.length, &kept->tokenizer);
    dpt_text_free(&json);
    return status;
}

static enum dpt_status keep_tokens(void *context, enum dpt_prepare_part part, const int32_t *id, int64_t count,
                                   int64_t text_nbytes, int64_t documents)
{
    struct kept *kept = context;
    struct dpt_tokens *tokens = &kept->tokens[part];
    dpt_tokens_reserve(tokens, count);
    for (int64_t i = 0; i < count; i++) {
        tokens->id[tokens->count++] = id[i];
    }
    kept->text_nbytes[part] += text_nbytes;
    kept->documents[part] += documents;
    DPT_CHECK(!kept->fail_at || tokens->count < kept->fail_at, DPT_STATUS_SPACE, "the sink is full");
    return DPT_STATUS_OK;
}

static enum dpt_status run(const struct dpt_prepare_conf *conf, struct kept *kept)
{
    const struct dpt_prepare_sink sink = {.context = kept, .begin = keep_tokenizer, .add = keep_tokens};
    struct dpt_prepare_counts counts[DPT_PREPARE_PARTS];
    const enum dpt_status status = dpt_prepare_tokens(conf, &sink, counts);
    for (int i = 0; i < DPT_PREPARE_PARTS && status == DPT_STATUS_OK; i++) {
        assert_int_equal(counts[i].tokens, kept->tokens[i].count);
        assert_int_equal(counts[i].text_nbytes, kept->text_nbytes[i]);
        assert_int_equal(counts[i].documents, kept->documents[i]);
    }
    return status;
}

static void forget(struct kept *kept)
{
    dpt_tokenizer_free(kept->tokenizer);
    dpt_tokens_free(&kept->tokens[0]);
    dpt_tokens_free(&kept->tokens[1]);
    *kept = (struct kept){0};
}

static const char *file_of(const char *name)
{
    static char path[16][512];
    static int turn;
    turn = (turn + 1) % 16;
    snprintf(path[turn], sizeof path[turn], "%s", path_of(name));
    return path[turn];
}

static struct dpt_prepare_conf conf_of(int nfiles, const char *const *file, const char *tokenizer)
{
    return (struct dpt_prepare_conf){
        .input = {.nfiles = nfiles, .file = file, .field = "text"}, .tokenizer = tokenizer, .seed = 42};
}

/* The text of a part. */
static void decoded(const struct kept *kept, int part, struct dpt_text *text)
{
    text->length = 0;
    must(dpt_tokenizer_decode(kept->tokenizer, kept->tokens[part].id, kept->tokens[part].count, text));
}

/* A long text, in three tokenizers: the tokens of the stream are those of its two parts, cut at the right byte. */
static void test_streaming(void **state)
{
    (void)state;
    static const char *const kind[] = {"bytes", "chars", "bpe:300"};
    struct dpt_text text = {0}, got = {0};
    while (text.length < 3 << 20) {
        struct dpt_text more = {0};
        random_text(text.length, 4000, &more);
        dpt_text_append(&text, more.data, more.length);
        dpt_text_free(&more);
    }
    write_bytes("long.txt", text.data, text.length);
    const char *const file[] = {file_of("long.txt")};
    for (int k = 0; k < 3; k++) {
        struct kept kept = {0};
        struct dpt_tokens whole = {0};
        struct dpt_prepare_conf conf = conf_of(1, file, kind[k]);
        conf.valid_share = 0.25;
        must(run(&conf, &kept));
        size_t cut = (size_t)((double)text.length * 0.75);
        while (k > 0 && (text.data[cut] & 0xC0) == 0x80) {
            cut--;
        }
        for (int part = 0; part < 2; part++) {
            const char *from = part ? text.data + cut : text.data;
            const size_t nbytes = part ? text.length - cut : cut;
            whole.count = 0;
            must(dpt_tokenizer_encode(kept.tokenizer, "whole", 0, from, nbytes, &whole));
            assert_int_equal(whole.count, kept.tokens[part].count);
            assert_memory_equal(whole.id, kept.tokens[part].id, (size_t)whole.count * sizeof *whole.id);
            decoded(&kept, part, &got);
            assert_int_equal(got.length, nbytes);
            assert_memory_equal(got.data, from, nbytes);
        }
        forget(&kept);
        dpt_tokens_free(&whole);
    }
    dpt_text_free(&text);
    dpt_text_free(&got);
}

/* The characters of both parts are known, in order; one document has no end-of-text token. */
static void test_chars(void **state)
{
    (void)state;
    write_text("a.txt", "hello");
    write_text("b.txt", "old z\xc3\xa9");
    const char *const file[] = {file_of("a.txt"), file_of("b.txt")};
    struct kept kept = {0};
    struct dpt_text got = {0};
    struct dpt_prepare_conf conf = conf_of(1, file, "chars");
    must(run(&conf, &kept));
    assert_int_equal(dpt_tokenizer_vocab(kept.tokenizer), 4);
    assert_int_equal(dpt_tokenizer_end(kept.tokenizer), -1);
    assert_int_equal(kept.tokens[0].count, 5);
    forget(&kept);

    conf.input.nfiles = 2;
    conf.valid_share = 0.3; /* of 12 bytes: 8 for training, the rest for validation */
    must(run(&conf, &kept));
    assert_int_equal(dpt_tokenizer_vocab(kept.tokenizer), 9); /* e h l o, space d z é, the end */
    decoded(&kept, 0, &got);
    assert_string_equal(got.data, "hello" DPT_TOKENIZER_END "old");
    decoded(&kept, 1, &got);
    assert_string_equal(got.data, " z\xc3\xa9" DPT_TOKENIZER_END);
    assert_int_equal(kept.documents[0], 1);
    assert_int_equal(kept.documents[1], 1);
    forget(&kept);

    conf.separate = DPT_PREPARE_SEPARATE_NO;
    conf.valid_share = 0.0;
    must(run(&conf, &kept));
    decoded(&kept, 0, &got);
    assert_string_equal(got.data, "helloold z\xc3\xa9");
    forget(&kept);
    dpt_text_free(&got);
}

/* Of many documents a share is drawn: each goes whole to one part, by its number and the seed alone. */
static void test_drawn_documents(void **state)
{
    (void)state;
    enum { DOCUMENTS = 2000 };
    struct dpt_text lines = {0}, got[2] = {{0}, {0}};
    for (int i = 0; i < DOCUMENTS; i++) {
        dpt_text_add(&lines, "{\"text\":\"<%d>\"}\n", i);
    }
    write_bytes("many.jsonl", lines.data, lines.length);
    const char *const file[] = {file_of("many.jsonl")};
    struct kept kept = {0};
    struct dpt_prepare_conf conf = conf_of(1, file, "bytes");
    conf.valid_share = 0.2;
    must(run(&conf, &kept));
    assert_int_equal(dpt_tokenizer_end(kept.tokenizer), 256);
    assert_int_equal(kept.documents[0] + kept.documents[1], DOCUMENTS);
    assert_in_range(kept.documents[1], DOCUMENTS / 5 - 80, DOCUMENTS / 5 + 80); /* more than four deviations */
    decoded(&kept, 0, &got[0]);
    decoded(&kept, 1, &got[1]);
    for (int i = 0; i < DOCUMENTS; i++) {
        char whole[64];
        snprintf(whole, sizeof whole, "<%d>" DPT_TOKENIZER_END, i);
        assert_true(!strstr(got[0].data, whole) == !!strstr(got[1].data, whole));
    }
    forget(&kept);
    conf.seed = 43;
    struct dpt_text other = {0};
    must(run(&conf, &kept));
    decoded(&kept, 1, &other);
    assert_string_not_equal(other.data, got[1].data);
    forget(&kept);
    dpt_text_free(&other);
    dpt_text_free(&got[0]);
    dpt_text_free(&got[1]);
    dpt_text_free(&lines);
}

static void refuses(struct dpt_prepare_conf conf, enum dpt_status status, const char *words)
{
    struct kept kept = {0};
    dpt_error_clear();
    refused(run(&conf, &kept), status, words);
    forget(&kept);
}

static void test_refusals(void **state)
{
    (void)state;
    write_text("good.txt", "some words here");
    write_text("bad.txt", "some \xff words");
    write_text("nul.jsonl", "{\"text\":\"a\\u0000\"}\n");
    write_text("empty.txt", "");
    const char *const good[] = {file_of("good.txt")}, *const bad[] = {file_of("bad.txt")};
    const char *const nul[] = {file_of("nul.jsonl")}, *const empty[] = {file_of("empty.txt")};
    refuses(conf_of(1, bad, "chars"), DPT_STATUS_DATA, "bad.txt: byte 5 is not UTF-8");
    refuses(conf_of(1, bad, "bpe:260"), DPT_STATUS_DATA, "bad.txt: byte 5 is not UTF-8");
    refuses(conf_of(1, nul, "chars"), DPT_STATUS_DATA, "nul.jsonl: line 1: byte 1 is NUL");
    refuses(conf_of(1, empty, "bytes"), DPT_STATUS_DATA, "no text for training in 1 document");
    refuses(conf_of(1, empty, "chars"), DPT_STATUS_DATA, "no characters");
    refuses(conf_of(1, good, "bpe:none"), DPT_STATUS_USAGE, "bpe:none: expected is the size");
    refuses(conf_of(1, good, "bpe:99999"), DPT_STATUS_DATA, "so little text");
    refuses(conf_of(1, good, "/nowhere"), DPT_STATUS_DATA, "/nowhere: there is no such file or folder with a tokenizer");
    struct dpt_prepare_conf conf = conf_of(1, good, "bytes");
    conf.valid_share = 0.01;
    struct kept kept = {0};
    must(run(&conf, &kept));
    assert_int_equal(kept.tokens[1].count, 1);
    forget(&kept);
    conf.valid_share = 1e-20;
    refuses(conf, DPT_STATUS_USAGE, "leaves nothing for validation");
    conf.valid_share = 0.0;
    kept.fail_at = 3;
    refused(run(&conf, &kept), DPT_STATUS_SPACE, "the sink is full");
    forget(&kept);
}

/* The words of a manual page are all there, and nothing of its language. */
static void test_page(void **state)
{
    (void)state;
    static const char man[] = ".\\\" a comment\n.TH DATE 1\n.de XX\nhidden\n..\n.SH NAME\ndate \\- print \\fBor\\fR set\n"
                              ".SH \"SEE ALSO\"\n.BR time (1),\nand \\(bu\\ more\\&.\n.PP\nNew.\n.nf\n  kept\n  lines\n.fi\nend\n";
    static const char mdoc[] = ".Dd May 1\n.Sh NAME\n.Nm date\n.Nd print it\n.Sh OPTIONS\n.Op Fl v Ar file .\nText\nhere\n";
    struct dpt_text text = {0};
    dpt_system_plain_page(man, strlen(man), &text);
    assert_string_equal(text.data, "NAME\n\ndate - print or set\n\nSEE ALSO\n\ntime(1), and * more.\n\nNew.\n  kept\n  lines\n"
                                   "end\n");
    text.length = 0;
    dpt_system_plain_page(mdoc, strlen(mdoc), &text);
    assert_string_equal(text.data, "NAME\n\ndate print it\n\nOPTIONS\n\n-v file. Text here\n");
    /* Any bytes do no harm. */
    for (uint64_t i = 0; i < 2000; i++) {
        char page[sizeof man];
        uint64_t turn = 0;
        memcpy(page, man, sizeof man);
        for (int k = 0; k < 4; k++) {
            page[draw(i, &turn) % (sizeof man - 1)] = "\\.\"'[(\n fhs*"[draw(i, &turn) % 12];
        }
        text.length = 0;
        dpt_system_plain_page(page, draw(i, &turn) % sizeof man, &text);
    }
    dpt_text_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streaming), cmocka_unit_test(test_chars), cmocka_unit_test(test_drawn_documents),
        cmocka_unit_test(test_refusals),  cmocka_unit_test(test_page),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
