/* SPDX-License-Identifier: Apache-2.0 */

/* Bytes, characters and small BPEs: round trips, files, refusals, mutated files. */

#include "texts.h"

/* Everything that a tokenizer says of itself. */
static void same_tokenizer(const struct dpt_tokenizer *a, const struct dpt_tokenizer *b)
{
    assert_int_equal(dpt_tokenizer_kind(a), dpt_tokenizer_kind(b));
    assert_int_equal(dpt_tokenizer_vocab(a), dpt_tokenizer_vocab(b));
    assert_int_equal(dpt_tokenizer_end(a), dpt_tokenizer_end(b));
    assert_true(dpt_tokenizer_hash(a) == dpt_tokenizer_hash(b));
    for (int64_t id = 0; id < dpt_tokenizer_vocab(a); id++) {
        size_t na, nb;
        const char *pa = dpt_tokenizer_piece(a, (int32_t)id, &na), *pb = dpt_tokenizer_piece(b, (int32_t)id, &nb);
        assert_int_equal(na, nb);
        assert_memory_equal(pa, pb, na);
    }
}

/* Saves, loads from the folder, from the file and from the text. */
static void kept_in_files(const struct dpt_tokenizer *tokenizer)
{
    struct dpt_tokenizer *again;
    struct dpt_text json = {0};
    must(dpt_tokenizer_save(tokenizer, folder));
    must(dpt_tokenizer_load(folder, &again));
    same_tokenizer(tokenizer, again);
    dpt_tokenizer_free(again);
    must(dpt_tokenizer_load(path_of("tokenizer.json"), &again));
    same_tokenizer(tokenizer, again);
    dpt_tokenizer_free(again);
    dpt_tokenizer_json(tokenizer, &json);
    must(dpt_tokenizer_read("text", json.data, json.length, &again));
    same_tokenizer(tokenizer, again);
    dpt_tokenizer_free(again);
    if (dpt_tokenizer_kind(tokenizer) == DPT_TOKENIZER_KIND_BPE) {
        unlink(path_of("tokenizer.json"));
        must(dpt_tokenizer_load(folder, &again));
        same_tokenizer(tokenizer, again);
        dpt_tokenizer_free(again);
    }
    dpt_text_free(&json);
}

static void test_bytes(void **state)
{
    (void)state;
    char all[512];
    struct dpt_tokens tokens = {0};
    for (int i = 0; i < 512; i++) {
        all[i] = (char)i;
    }
    for (int end = 0; end < 2; end++) {
        struct dpt_tokenizer *tokenizer;
        must(dpt_tokenizer_new_bytes(end, &tokenizer));
        assert_int_equal(dpt_tokenizer_vocab(tokenizer), 256 + end);
        assert_int_equal(dpt_tokenizer_end(tokenizer), end ? 256 : -1);
        round_trip(tokenizer, all, sizeof all, &tokens);
        for (int i = 0; i < 512; i++) {
            assert_int_equal(tokens.id[i], i % 256);
        }
        round_trip(tokenizer, "", 0, &tokens);
        kept_in_files(tokenizer);
        dpt_tokenizer_free(tokenizer);
    }
    dpt_tokens_free(&tokens);
}

static void test_chars(void **state)
{
    (void)state;
    static const uint32_t alphabet[] = {'\n', ' ', '"', '\\', 'a', 'b', 0xE9, 0x6F22, 0x1F600};
    static const char text[] = "ab\n\"\\ \xc3\xa9\xe6\xbc\xa2\xf0\x9f\x98\x80";
    static const int32_t expected[] = {4, 5, 0, 2, 3, 1, 6, 7, 8};
    struct dpt_tokenizer *tokenizer;
    struct dpt_tokens tokens = {0};
    for (int end = 0; end < 2; end++) {
        must(dpt_tokenizer_new_chars(alphabet, 9, end, &tokenizer));
        assert_int_equal(dpt_tokenizer_vocab(tokenizer), 9 + end);
        round_trip(tokenizer, text, strlen(text), &tokens);
        assert_int_equal(tokens.count, 9);
        assert_memory_equal(tokens.id, expected, sizeof expected);
        kept_in_files(tokenizer);
        refused(dpt_tokenizer_encode(tokenizer, "poem", 100, "abba c", 6, &tokens), DPT_STATUS_DATA,
                "poem: byte 105: the character U+0063");
        refused(dpt_tokenizer_encode(tokenizer, "poem", 0, "a\xc3(", 3, &tokens), DPT_STATUS_DATA,
                "poem: byte 1 is not UTF-8");
        dpt_tokenizer_free(tokenizer);
    }
    const uint32_t nul = 0, twice[] = {'a', 'a'};
    refused(dpt_tokenizer_new_chars(alphabet, 0, false, &tokenizer), DPT_STATUS_DATA, "no characters");
    refused(dpt_tokenizer_new_chars(&nul, 1, false, &tokenizer), DPT_STATUS_DATA, "not one character");
    refused(dpt_tokenizer_new_chars(twice, 2, false, &tokenizer), DPT_STATUS_DATA, "the same character");
    dpt_tokens_free(&tokens);
}

/* vocab.json and merges.txt of a BPE with these merges over lower case letters, ids in the order of the bytes. */
static void write_small_bpe(const char *merges)
{
    struct dpt_text vocab = {0};
    char line[64];
    int id = 256;
    dpt_text_add(&vocab, "{");
    for (int byte = 0; byte < 256; byte++) {
        const bool shown = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
        const int code = shown ? byte : 256 + (byte < 33 ? byte : byte < 161 ? byte - 94 : 67);
        dpt_text_add(&vocab, "%s\"\\u%04x\":%d", byte ? "," : "", code, byte);
    }
    for (const char *at = merges; sscanf(at, "%63[^\n]", line) == 1; at += strlen(line) + 1) {
        char *space = strchr(line, ' ');
        dpt_text_add(&vocab, ",\"%.*s%s\":%d", (int)(space - line), line, space + 1, id++);
        if (!at[strlen(line)]) {
            break;
        }
    }
    dpt_text_add(&vocab, ",\"" DPT_TOKENIZER_END "\":%d}", id);
    unlink(path_of("tokenizer.json"));
    write_bytes("vocab.json", vocab.data, vocab.length);
    write_text("merges.txt", merges);
    dpt_text_free(&vocab);
}

/* The definition, word by word: merge the pair of least rank, the leftmost, until there is none. */
static int64_t merge_plainly(const struct dpt_tokenizer *tokenizer, const char *const (*merge)[2], int nmerges,
                             const char *word, int32_t *id)
{
    char part[256][32];
    int count = 0;
    for (; word[count]; count++) {
        snprintf(part[count], sizeof part[count], "%c", word[count]);
    }
    for (bool again = true; again;) {
        again = false;
        for (int m = 0; m < nmerges && !again; m++) {
            for (int i = 0; i + 1 < count && !again; i++) {
                if (strcmp(part[i], merge[m][0]) == 0 && strcmp(part[i + 1], merge[m][1]) == 0) {
                    const size_t nleft = strlen(part[i]), nright = strlen(part[i + 1]);
                    assert_true(nleft + nright < sizeof part[i]);
                    memcpy(part[i] + nleft, part[i + 1], nright);
                    part[i][nleft + nright] = '\0';
                    memmove(part[i + 1], part[i + 2], (size_t)(count - i - 2) * sizeof part[0]);
                    count--;
                    again = true;
                }
            }
        }
    }
    for (int i = 0; i < count; i++) {
        for (int64_t k = 0; k < dpt_tokenizer_vocab(tokenizer); k++) {
            size_t nbytes;
            const char *piece = dpt_tokenizer_piece(tokenizer, (int32_t)k, &nbytes);
            if (nbytes == strlen(part[i]) && memcmp(piece, part[i], nbytes) == 0) {
                id[i] = (int32_t)k;
            }
        }
    }
    return count;
}

static void test_merging(void **state)
{
    (void)state;
    /* Ranks that overlap in all ways, so that the order of merging shows. */
    static const char *const merge[][2] = {{"b", "c"}, {"a", "a"}, {"a", "b"}, {"aa", "aa"}, {"bc", "a"}, {"a", "bc"},
                                           {"ab", "ab"}, {"c", "c"}, {"aa", "bc"}, {"abc", "abc"}};
    struct dpt_text text = {0};
    struct dpt_tokenizer *tokenizer;
    struct dpt_tokens tokens = {0};
    for (int i = 0; i < 10; i++) {
        dpt_text_add(&text, "%s %s\n", merge[i][0], merge[i][1]);
    }
    write_small_bpe(text.data);
    dpt_text_free(&text);
    must(dpt_tokenizer_load(folder, &tokenizer));
    assert_int_equal(dpt_tokenizer_vocab(tokenizer), 267);
    assert_int_equal(dpt_tokenizer_end(tokenizer), 266);
    for (uint64_t word = 0; word < 400; word++) {
        char letters[256];
        int32_t id[256];
        uint64_t turn = 0;
        /* Lengths on both sides of where long words are merged in another way. */
        const int length = 1 + (int)(draw(word, &turn) % (word % 2 ? 200 : 20));
        for (int i = 0; i < length; i++) {
            letters[i] = "abc"[draw(word, &turn) % 3];
        }
        letters[length] = '\0';
        const int64_t count = merge_plainly(tokenizer, merge, 10, letters, id);
        for (int again = 0; again < 2; again++) { /* the second time it may be remembered */
            round_trip(tokenizer, letters, (size_t)length, &tokens);
            assert_int_equal(tokens.count, count);
            assert_memory_equal(tokens.id, id, (size_t)count * sizeof *id);
        }
    }
    kept_in_files(tokenizer);
    dpt_tokenizer_free(tokenizer);
    dpt_tokens_free(&tokens);
}

/* A long word must not take quadratic time: a megabyte would take minutes. */
static void test_long_word(void **state)
{
    (void)state;
    enum { LENGTH = 1 << 20 };
    struct dpt_tokenizer *tokenizer;
    struct dpt_tokens tokens = {0};
    char *word = malloc(LENGTH);
    assert_non_null(word);
    memset(word, 'a', LENGTH);
    write_small_bpe("a a\naa aa\naaaa aaaa\n");
    must(dpt_tokenizer_load(folder, &tokenizer));
    round_trip(tokenizer, word, LENGTH, &tokens);
    assert_int_equal(tokens.count, LENGTH / 8);
    assert_int_equal(tokens.id[0], 258);
    dpt_tokenizer_free(tokenizer);
    dpt_tokens_free(&tokens);
    free(word);
}

static void load_refuses(const char *words)
{
    struct dpt_tokenizer *tokenizer;
    dpt_error_clear();
    refused(dpt_tokenizer_load(folder, &tokenizer), DPT_STATUS_DATA, words);
    assert_null(tokenizer);
}

static void json_refuses(const char *json, const char *words)
{
    struct dpt_tokenizer *tokenizer;
    dpt_error_clear();
    refused(dpt_tokenizer_read("t.json", json, strlen(json), &tokenizer), DPT_STATUS_DATA, words);
    assert_null(tokenizer);
}

static void test_refusals(void **state)
{
    (void)state;
    struct dpt_tokenizer *tokenizer;
    refused(dpt_tokenizer_load(path_of("missing"), &tokenizer), DPT_STATUS_DATA, "cannot be opened");
    write_small_bpe("a b\n");
    write_text("merges.txt", "#version: 0.2\na b\na  b\n");
    load_refuses("merges.txt: line 3: expected are the two sides");
    write_text("merges.txt", "a b\nb a\n");
    load_refuses("merges.txt: line 2: the result of the merge");
    write_text("merges.txt", "a b\na b\n");
    load_refuses("merges 1 and 2 are the same");
    write_text("merges.txt", "ab\n");
    load_refuses("merges.txt: line 1");
    write_text("merges.txt", "");
    write_text("vocab.json", "{\"a\":0,\"b\":0}");
    load_refuses("vocab.json: the token \"b\" of the vocabulary has the id 0");
    write_text("vocab.json", "{\"a\":0,\"b\":7}");
    load_refuses("has the id 7: expected are 0 to 1");
    write_text("vocab.json", "{\"a\":0,\"b b\":1}");
    load_refuses("stands for no bytes");
    write_text("vocab.json", "{\"a\":0}");
    load_refuses("no token for the byte 0x00");
    write_text("vocab.json", "{\"a\":0,");
    load_refuses("vocab.json: line 1, column 7");
    write_text("vocab.json", "[]");
    load_refuses("has 0 tokens");

    json_refuses("[]", "t.json: is no JSON object");
    json_refuses("{\"model\":{\"type\":\"WordPiece\"}}", "model.type is WordPiece");
    json_refuses("{\"normalizer\":{},\"model\":{\"type\":\"BPE\"}}", "has a normalizer");
    json_refuses("{\"pre_tokenizer\":{\"type\":\"Metaspace\"},\"model\":{\"type\":\"BPE\"}}", "pre_tokenizer is Metaspace");
    json_refuses("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"ab\":0}}}", "token 0 is not one character");
    json_refuses("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":2}}}", "has the id 2");
    json_refuses("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}}", "no pre_tokenizer");
    json_refuses("{\"added_tokens\":[{\"id\":5,\"content\":\"x\"}],\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}",
                 "added token 0");
    json_refuses("{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"use_regex\":false},\"model\":{\"type\":\"BPE\","
                 "\"vocab\":{\"a\":0}}}",
                 "token 0 is not its byte");
}

static void test_decoding_refuses(void **state)
{
    (void)state;
    struct dpt_tokenizer *tokenizer;
    struct dpt_text text = {0};
    must(dpt_tokenizer_new_bytes(false, &tokenizer));
    const int32_t beyond[] = {65, 256}, below = -1;
    refused(dpt_tokenizer_decode(tokenizer, beyond, 2, &text), DPT_STATUS_DATA, "token 1 is 256");
    refused(dpt_tokenizer_decode(tokenizer, &below, 1, &text), DPT_STATUS_DATA, "token 0 is -1");
    dpt_tokenizer_free(tokenizer);
    dpt_text_free(&text);
}

/* Damaged files are refused or read, but nothing worse: for the sanitizers. What is read must still round trip. */
static void test_mutations(void **state)
{
    (void)state;
    static const uint32_t alphabet[] = {'\n', ' ', 'a', 'b', 0xE9, 0x1F600};
    struct dpt_tokenizer *tokenizer[3], *got;
    struct dpt_text json = {0}, text = {0};
    struct dpt_tokens tokens = {0};
    int read = 0;
    must(dpt_tokenizer_new_bytes(true, &tokenizer[0]));
    must(dpt_tokenizer_new_chars(alphabet, 6, true, &tokenizer[1]));
    write_small_bpe("a b\nab a\n");
    must(dpt_tokenizer_load(folder, &tokenizer[2]));
    random_text(7, 200, &text);
    for (int t = 0; t < 3; t++) {
        json.length = 0;
        dpt_tokenizer_json(tokenizer[t], &json);
        for (uint64_t i = 0; i < 1000; i++) {
            uint64_t turn = 0;
            const size_t at = draw(i, &turn) % json.length;
            const char was = json.data[at];
            json.data[at] = (char)draw(i, &turn);
            const size_t nbytes = i % 8 ? json.length : at;
            if (dpt_tokenizer_read("mutated", json.data, nbytes, &got) == DPT_STATUS_OK) {
                read++;
                if (dpt_tokenizer_kind(got) != DPT_TOKENIZER_KIND_CHARS) {
                    round_trip(got, text.data, text.length, &tokens);
                }
                dpt_tokenizer_free(got);
            }
            json.data[at] = was;
        }
        dpt_tokenizer_free(tokenizer[t]);
    }
    assert_true(read > 0 && read < 3000);
    dpt_text_free(&json);
    dpt_text_free(&text);
    dpt_tokens_free(&tokens);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),     cmocka_unit_test(test_chars),
        cmocka_unit_test(test_merging),   cmocka_unit_test(test_long_word),
        cmocka_unit_test(test_refusals),  cmocka_unit_test(test_decoding_refuses),
        cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
