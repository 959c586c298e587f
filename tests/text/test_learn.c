/* SPDX-License-Identifier: Apache-2.0 */

/* Learning against its definition, carried out plainly on a list of words. */

#include "text/learn.h"
#include "texts.h"

enum { WORDS = 600, LETTERS = 24, WANTED = 257 + 120 };

/* A word as tokens of the plain learner. */
struct plain {
    int n;
    int32_t id[LETTERS + 1];
};

static struct plain plain[WORDS];
static char piece[WANTED][64];
static int64_t count_of[WANTED][WANTED];

static void must_add(struct dpt_learner *learner, const char *text)
{
    must(dpt_learner_add(learner, "text", 0, text, strlen(text)));
}

/* Random words of few letters, each with a space before it, in `text` and in `plain`; ids by GPT-2's order of bytes. */
static void make_words(struct dpt_text *text)
{
    uint64_t turn = 0;
    for (int w = 0; w < WORDS; w++) {
        const int n = 1 + (int)(draw(1, &turn) % LETTERS);
        plain[w].n = 0;
        plain[w].id[plain[w].n++] = 188 + 32; /* the space: the 33rd of the bytes that are not printable */
        dpt_text_add(text, " ");
        for (int i = 0; i < n; i++) {
            const char letter = "aaabbc"[draw(1, &turn) % 6];
            plain[w].id[plain[w].n++] = letter - 33;
            dpt_text_add(text, "%c", letter);
        }
    }
}

/* One step of the definition; returns the left and right of the pair that comes most often. */
static void plain_step(int ntokens, int32_t *left, int32_t *right)
{
    int64_t most = 0;
    memset(count_of, 0, sizeof count_of);
    for (int w = 0; w < WORDS; w++) {
        for (int i = 0; i + 1 < plain[w].n; i++) {
            count_of[plain[w].id[i]][plain[w].id[i + 1]]++;
        }
    }
    for (int a = 0; a < ntokens; a++) {
        for (int b = 0; b < ntokens; b++) {
            if (count_of[a][b] > most) {
                most = count_of[a][b];
                *left = a;
                *right = b;
            }
        }
    }
    assert_true(most >= 2);
}

static void plain_merge(int32_t left, int32_t right, int32_t result)
{
    for (int w = 0; w < WORDS; w++) {
        int n = 0;
        for (int i = 0; i < plain[w].n; n++) {
            const bool both = i + 1 < plain[w].n && plain[w].id[i] == left && plain[w].id[i + 1] == right;
            plain[w].id[n] = both ? result : plain[w].id[i];
            i += both ? 2 : 1;
        }
        plain[w].n = n;
    }
}

static void test_definition(void **state)
{
    (void)state;
    struct dpt_text text = {0};
    struct dpt_learner *learner;
    struct dpt_tokenizer *tokenizer;
    struct dpt_tokens tokens = {0};
    make_words(&text);
    must(dpt_learner_new(&learner));
    must(dpt_learner_add(learner, "text", 0, text.data, text.length));
    must(dpt_learner_finish(learner, WANTED, &tokenizer));
    dpt_learner_free(learner);
    assert_int_equal(dpt_tokenizer_vocab(tokenizer), WANTED);
    assert_int_equal(dpt_tokenizer_end(tokenizer), WANTED - 1);
    for (int i = 0; i < 256; i++) {
        size_t nbytes;
        const char *bytes = dpt_tokenizer_piece(tokenizer, i, &nbytes);
        assert_int_equal(nbytes, 1);
        snprintf(piece[i], sizeof piece[i], "%c", bytes[0]);
    }
    for (int n = 256; n < WANTED - 1;) {
        int32_t left = 0, right = 0;
        char both[128];
        plain_step(n, &left, &right);
        snprintf(both, sizeof both, "%s%s", piece[left], piece[right]);
        /* Bytes that are a token already stay that token. */
        int id = 256;
        while (id < n && strcmp(piece[id], both) != 0) {
            id++;
        }
        if (id == n) {
            size_t nbytes;
            const char *learned = dpt_tokenizer_piece(tokenizer, n, &nbytes);
            assert_int_equal(nbytes, strlen(both));
            assert_memory_equal(learned, both, nbytes);
            assert_true(nbytes < sizeof piece[n]);
            memcpy(piece[n++], both, nbytes + 1);
        }
        plain_merge(left, right, id);
    }
    /* And encoding merges the text as learning did. */
    round_trip(tokenizer, text.data, text.length, &tokens);
    int64_t at = 0;
    for (int w = 0; w < WORDS; w++) {
        for (int i = 0; i < plain[w].n; i++) {
            assert_int_equal(tokens.id[at++], plain[w].id[i]);
        }
    }
    assert_int_equal(at, tokens.count);
    dpt_tokenizer_free(tokenizer);
    dpt_tokens_free(&tokens);
    dpt_text_free(&text);
}

/* The result does not depend on how the text came: words are counted. */
static void test_pieces(void **state)
{
    (void)state;
    struct dpt_learner *learner;
    struct dpt_tokenizer *one, *other;
    must(dpt_learner_new(&learner));
    must_add(learner, "low low low lower lower newest newest widest");
    must(dpt_learner_finish(learner, 262, &one));
    dpt_learner_free(learner);
    must(dpt_learner_new(&learner));
    must_add(learner, "low low");
    must_add(learner, " newest lower");
    must_add(learner, " lower newest low widest");
    must(dpt_learner_finish(learner, 262, &other));
    dpt_learner_free(learner);
    assert_true(dpt_tokenizer_hash(one) == dpt_tokenizer_hash(other));
    dpt_tokenizer_free(one);
    dpt_tokenizer_free(other);
}

static void test_refusals(void **state)
{
    (void)state;
    struct dpt_learner *learner;
    struct dpt_tokenizer *tokenizer;
    must(dpt_learner_new(&learner));
    must_add(learner, "abc abc");
    refused(dpt_learner_add(learner, "poem", 10, "ab\xff", 3), DPT_STATUS_DATA, "poem: byte 12 is not UTF-8");
    refused(dpt_learner_finish(learner, 256, &tokenizer), DPT_STATUS_USAGE, "expected are 257");
    refused(dpt_learner_finish(learner, 1000, &tokenizer), DPT_STATUS_DATA, "after 259 tokens no pair comes twice");
    assert_null(tokenizer);
    dpt_learner_free(learner);
    must(dpt_learner_new(&learner));
    must(dpt_learner_finish(learner, 257, &tokenizer)); /* bytes and the end */
    dpt_tokenizer_free(tokenizer);
    dpt_learner_free(learner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definition),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
