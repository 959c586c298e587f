/* SPDX-License-Identifier: Apache-2.0 */

/*
 * GPT-2's tokenizer from its published files against published cases: ../shared/data/gpt2-bpe beside the sources, which
 * the project does not contain. Without it the test is skipped.
 */

#include <jansson.h>

#include "texts.h"

static char shared[1024];
static struct dpt_tokenizer *gpt2;

/* Unpacks encoder.json and vocab.bpe into the folder. */
static int unpack(void **state)
{
    char command[4096];
    if (make_folder(state) != 0) {
        return -1;
    }
    snprintf(command, sizeof command, "xz -dc '%s/encoder.json.xz' >'%s/encoder.json' && xz -dc '%s/vocab.bpe.xz' >'%s/vocab.bpe'",
             shared, folder, shared, folder);
    return system(command);
}

static int clean(void **state)
{
    dpt_tokenizer_free(gpt2);
    return remove_folder(state);
}

static void same_ids(const char *text, const int32_t *id, int64_t count)
{
    struct dpt_tokens tokens = {0};
    round_trip(gpt2, text, strlen(text), &tokens);
    if (tokens.count != count || (count > 0 && memcmp(tokens.id, id, (size_t)count * sizeof *id) != 0)) {
        fail_msg("other tokens: %s", text);
    }
    dpt_tokens_free(&tokens);
}

static void test_load(void **state)
{
    (void)state;
    must(dpt_tokenizer_load(folder, &gpt2));
    assert_int_equal(dpt_tokenizer_vocab(gpt2), 50257);
    assert_int_equal(dpt_tokenizer_end(gpt2), 50256);
}

/* Lines "text => 1,2,3". */
static void test_cases(void **state)
{
    (void)state;
    char path[1100], line[4096];
    int cases = 0;
    snprintf(path, sizeof path, "%s/gpt-2-token-cases.txt", shared);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        int32_t id[1024];
        int64_t count = 0;
        char *arrow = NULL;
        for (char *at = line; (at = strstr(at, " => ")); at++) {
            arrow = at;
        }
        if (!arrow) {
            continue;
        }
        *arrow = '\0';
        for (char *at = arrow + 4, *end; count < 1024; at = end + 1) {
            id[count] = (int32_t)strtol(at, &end, 10);
            if (end == at) {
                break;
            }
            count++;
            if (*end != ',') {
                break;
            }
        }
        same_ids(line, id, count);
        cases++;
    }
    fclose(file);
    assert_int_equal(cases, 100);
}

static void test_more_cases(void **state)
{
    (void)state;
    char path[1100];
    json_error_t error;
    snprintf(path, sizeof path, "%s/gpt-2-more-cases.json", shared);
    json_t *root = json_load_file(path, 0, &error), *cases = json_object_get(root, "cases");
    assert_int_equal(json_array_size(cases), 7);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *item = json_array_get(cases, i), *ids = json_object_get(item, "ids");
        int32_t id[1024];
        for (size_t k = 0; k < json_array_size(ids) && k < 1024; k++) {
            id[k] = (int32_t)json_integer_value(json_array_get(ids, k));
        }
        same_ids(json_string_value(json_object_get(item, "text")), id, (int64_t)json_array_size(ids));
    }
    json_decref(root);
}

/* The end-of-text token is never made from text; the whole vocabulary survives its files. */
static void test_end_and_files(void **state)
{
    (void)state;
    struct dpt_tokens tokens = {0};
    struct dpt_tokenizer *again;
    round_trip(gpt2, DPT_TOKENIZER_END, strlen(DPT_TOKENIZER_END), &tokens);
    for (int64_t i = 0; i < tokens.count; i++) {
        assert_int_not_equal(tokens.id[i], 50256);
    }
    must(dpt_tokenizer_save(gpt2, folder));
    must(dpt_tokenizer_load(folder, &again));
    assert_true(dpt_tokenizer_hash(again) == dpt_tokenizer_hash(gpt2));
    dpt_tokenizer_free(again);
    dpt_tokens_free(&tokens);
}

static void test_random_texts(void **state)
{
    (void)state;
    struct dpt_text text = {0};
    struct dpt_tokens tokens = {0};
    for (uint64_t i = 0; i < 200; i++) {
        random_text(i, 1 + (int)(i % 100), &text);
        round_trip(gpt2, text.data, text.length, &tokens);
    }
    dpt_text_free(&text);
    dpt_tokens_free(&tokens);
}

int main(void)
{
    const char *top = getenv("abs_srcdir");
    snprintf(shared, sizeof shared, "%s/../shared/data/gpt2-bpe", top ? top : ".");
    if (!dpt_file_is_folder(shared)) {
        printf("skipped: %s is not there\n", shared);
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load),          cmocka_unit_test(test_cases),        cmocka_unit_test(test_more_cases),
        cmocka_unit_test(test_end_and_files), cmocka_unit_test(test_random_texts),
    };
    return cmocka_run_group_tests(tests, unpack, clean);
}
