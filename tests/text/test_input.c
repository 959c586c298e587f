/* SPDX-License-Identifier: Apache-2.0 */

/* Streams of text: whatever a file is packed in and however it is cut, the same text comes out; damage is refused. */

#include <zlib.h>
#include <zstd.h>

#include "text/cut.h"
#include "text/input.h"
#include "texts.h"

enum { LONG = 5 << 20 };

static void write_gz(const char *name, const void *bytes, size_t nbytes)
{
    gzFile file = gzopen(path_of(name), "wb");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, bytes, (unsigned)nbytes), nbytes);
    assert_int_equal(gzclose(file), Z_OK);
}

static void write_zst(const char *name, const void *bytes, size_t nbytes)
{
    const size_t most = ZSTD_compressBound(nbytes);
    char *packed = malloc(most);
    assert_non_null(packed);
    write_bytes(name, packed, ZSTD_compress(packed, most, bytes, nbytes, 1));
    free(packed);
}

/* All text of one file, and how many documents it has; the sources and places are looked at on the way. */
static enum dpt_status read_all(const char *name, enum dpt_input_cut cut, struct dpt_text *text, int *documents)
{
    const char *file = path_of(name);
    char kept[512];
    snprintf(kept, sizeof kept, "%s", file);
    const char *const files[] = {kept};
    const struct dpt_input_conf conf = {.nfiles = 1, .file = files, .field = "text", .cut = cut};
    struct dpt_input *input;
    struct dpt_input_piece piece;
    int64_t offset = 0, done = 0, all = 0;
    text->length = 0;
    *documents = 0;
    DPT_TRY(dpt_input_open(&conf, &input));
    enum dpt_status status;
    while ((status = dpt_input_next(input, &piece)) == DPT_STATUS_OK && piece.text) {
        assert_true(piece.offset == offset);
        assert_memory_equal(piece.source, kept, strlen(kept));
        dpt_text_append(text, piece.text, piece.nbytes);
        offset = piece.ends ? 0 : offset + (int64_t)piece.nbytes;
        *documents += piece.ends;
    }
    dpt_input_progress(input, &done, &all);
    assert_true(status != DPT_STATUS_OK || done == all);
    dpt_input_close(input);
    return status;
}

static void test_packings(void **state)
{
    (void)state;
    struct dpt_text text = {0}, got = {0};
    int documents;
    while (text.length < LONG) {
        struct dpt_text more = {0};
        random_text(text.length, 5000, &more);
        dpt_text_append(&text, more.data, more.length);
        dpt_text_free(&more);
    }
    write_bytes("plain.txt", text.data, text.length);
    write_gz("packed.gz", text.data, text.length);
    write_zst("packed.zst", text.data, text.length);
    static const char *const name[] = {"plain.txt", "packed.gz", "packed.zst"};
    for (int i = 0; i < 3; i++) {
        for (int cut = DPT_INPUT_CUT_BYTES; cut <= DPT_INPUT_CUT_WORDS; cut++) {
            must(read_all(name[i], (enum dpt_input_cut)cut, &got, &documents));
            assert_int_equal(documents, 1);
            assert_int_equal(got.length, text.length);
            assert_memory_equal(got.data, text.data, text.length);
        }
    }
    write_text("empty.txt", "");
    must(read_all("empty.txt", DPT_INPUT_CUT_WORDS, &got, &documents));
    assert_int_equal(documents, 1);
    assert_int_equal(got.length, 0);
    dpt_text_free(&text);
    dpt_text_free(&got);
}

/* The tokens of the pieces are those of the whole, wherever a text is cut. */
static void test_cuts(void **state)
{
    (void)state;
    struct dpt_text text = {0};
    struct dpt_tokens whole = {0}, parts = {0};
    struct dpt_tokenizer *tokenizer;
    must(dpt_tokenizer_load(folder, &tokenizer));
    int cuts = 0;
    for (uint64_t i = 0; i < 300; i++) {
        random_text(i, 40, &text);
        whole.count = 0;
        must(dpt_tokenizer_encode(tokenizer, "whole", 0, text.data, text.length, &whole));
        for (size_t n = 0; n <= text.length; n++) {
            const size_t at = dpt_text__cut(DPT_INPUT_CUT_WORDS, text.data, n);
            assert_true(at <= n);
            if (at == 0) {
                continue;
            }
            cuts++;
            parts.count = 0;
            must(dpt_tokenizer_encode(tokenizer, "first", 0, text.data, at, &parts));
            must(dpt_tokenizer_encode(tokenizer, "second", 0, text.data + at, text.length - at, &parts));
            assert_int_equal(parts.count, whole.count);
            assert_memory_equal(parts.id, whole.id, (size_t)whole.count * sizeof *whole.id);
        }
    }
    assert_true(cuts > 1000);
    dpt_tokenizer_free(tokenizer);
    dpt_tokens_free(&whole);
    dpt_tokens_free(&parts);
    dpt_text_free(&text);
}

static void test_json_lines(void **state)
{
    (void)state;
    static const char lines[] = "{\"text\":\"one\\n\\u00e9\",\"id\":1}\n\n  \r\n{\"id\":2,\"text\":\"\"}\r\n{\"text\":\"a\\u0000b\"}";
    static const char expected[] = "one\n\xc3\xa9" "a\0b";
    struct dpt_text got = {0}, text = {0};
    int documents;
    write_text("lines.jsonl", lines);
    write_gz("lines.jsonl.gz", lines, strlen(lines));
    write_zst("lines.ndjson.zst", lines, strlen(lines));
    static const char *const name[] = {"lines.jsonl", "lines.jsonl.gz", "lines.ndjson.zst"};
    for (int i = 0; i < 3; i++) {
        must(read_all(name[i], DPT_INPUT_CUT_WORDS, &got, &documents));
        assert_int_equal(documents, 3);
        assert_int_equal(got.length, sizeof expected - 1);
        assert_memory_equal(got.data, expected, got.length);
    }
    /* A line longer than the buffer. */
    dpt_text_add(&text, "{\"text\":\"");
    for (int i = 0; i < 3 << 20; i++) {
        dpt_text_append(&text, &"ab "[i % 3], 1);
    }
    dpt_text_add(&text, "\"}\n{\"text\":\"!\"}\n");
    write_bytes("long.jsonl", text.data, text.length);
    must(read_all("long.jsonl", DPT_INPUT_CUT_WORDS, &got, &documents));
    assert_int_equal(documents, 2);
    assert_int_equal(got.length, (3 << 20) + 1);
    dpt_text_free(&got);
    dpt_text_free(&text);
}

static void refuses(const char *name, const char *words)
{
    struct dpt_text got = {0};
    int documents;
    dpt_error_clear();
    refused(read_all(name, DPT_INPUT_CUT_WORDS, &got, &documents), DPT_STATUS_DATA, words);
    dpt_text_free(&got);
}

static void test_refusals(void **state)
{
    (void)state;
    refuses("missing.txt", "missing.txt: cannot be opened");
    refuses(".", "is not a file that can be read");
    write_text("bad.jsonl", "{\"text\":\"a\"}\n{\"text\":\n");
    refuses("bad.jsonl", "bad.jsonl: line 2, column");
    write_text("bad.jsonl", "{\"text\":\"a\"}\n\n{\"body\":\"b\"}\n");
    refuses("bad.jsonl", "bad.jsonl: line 3: has no text in the field \"text\"");
    write_text("bad.jsonl", "{\"text\":7}\n");
    refuses("bad.jsonl", "line 1: has no text");
    write_text("bad.jsonl", "{\"text\":\"\xff\"}\n");
    refuses("bad.jsonl", "line 1");
    char *solid = malloc(2 << 20);
    assert_non_null(solid);
    memset(solid, 'a', 2 << 20);
    write_bytes("solid.txt", solid, 2 << 20);
    refuses("solid.txt", "solid.txt: byte 0: no word ends for 1048576 bytes");
    free(solid);
}

/* Packed files that are cut or changed: refused with the path, or read; the sanitizers watch. */
static void test_damage(void **state)
{
    (void)state;
    struct dpt_text text = {0}, got = {0};
    char *bytes = malloc(1 << 20);
    static const char *const name[] = {"packed.gz", "packed.zst", "lines.jsonl"};
    int documents, refusals = 0;
    random_text(3, 3000, &text);
    write_gz(name[0], text.data, text.length);
    write_zst(name[1], text.data, text.length);
    for (int i = 0; i < 3; i++) {
        FILE *file = fopen(path_of(name[i]), "rb");
        assert_non_null(file);
        const size_t nbytes = fread(bytes, 1, 1 << 20, file);
        fclose(file);
        /* Cut anywhere, a packed file is refused. */
        for (size_t n = 20; i < 2 && n < nbytes; n += 97) {
            write_bytes("mutant", bytes, n);
            refuses("mutant", "mutant: damaged after byte");
        }
        for (uint64_t k = 0; k < 400; k++) {
            uint64_t turn = 0;
            const size_t at = draw(k, &turn) % nbytes;
            const char was = bytes[at];
            bytes[at] = (char)draw(k, &turn);
            write_bytes(i == 2 ? "mutant.jsonl" : "mutant", bytes, nbytes);
            if (read_all(i == 2 ? "mutant.jsonl" : "mutant", DPT_INPUT_CUT_WORDS, &got, &documents) != DPT_STATUS_OK) {
                assert_non_null(strstr(dpt_error_text(), "mutant"));
                refusals++;
            }
            bytes[at] = was;
        }
    }
    assert_true(refusals > 100);
    free(bytes);
    dpt_text_free(&text);
    dpt_text_free(&got);
}

/* A folder with a small BPE whose merges go over letters and spaces. */
static int make_tokenizer(void **state)
{
    struct dpt_text vocab = {0};
    if (make_folder(state) != 0) {
        return -1;
    }
    dpt_text_add(&vocab, "{");
    for (int byte = 0; byte < 256; byte++) {
        const bool shown = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
        const int code = shown ? byte : 256 + (byte < 33 ? byte : byte < 161 ? byte - 94 : 67);
        dpt_text_add(&vocab, "%s\"\\u%04x\":%d", byte ? "," : "", code, byte);
    }
    dpt_text_add(&vocab, ",\"th\":256,\"the\":257,\"\\u0120t\":258,\"\\u0120\\u0120\":259,\"\\u010a\\u010a\":260,"
                         "\"\\u0120the\":261,\"ab\":262,\"abab\":263}");
    write_bytes("vocab.json", vocab.data, vocab.length);
    write_text("merges.txt", "t h\nth e\n\xc4\xa0 t\n\xc4\xa0 \xc4\xa0\n\xc4\x8a \xc4\x8a\n\xc4\xa0 the\na b\nab ab\n");
    dpt_text_free(&vocab);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packings), cmocka_unit_test(test_cuts),   cmocka_unit_test(test_json_lines),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, make_tokenizer, remove_folder);
}
