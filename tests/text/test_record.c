/* SPDX-License-Identifier: Apache-2.0 */

/* The text of a line of JSON: what jansson makes of the whole line, for good lines, damaged ones and traps. */

#include "text/record.h"
#include "texts.h"

/* Reads a line both ways; `apart` says whether the text was decoded by us. */
static void same(struct dpt_text__record *record, const char *line, size_t nbytes, bool *apart)
{
    const char *text = NULL;
    size_t length = 0;
    json_t *whole = json_loadb(line, nbytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    const json_t *expected = json_object_get(whole, "text");
    const bool good = json_is_string(expected);
    dpt_text__record_free(record);
    dpt_error_clear();
    const enum dpt_status status = dpt_text__record_read(record, "file", 7, "text", line, nbytes, &text, &length);
    if ((status == DPT_STATUS_OK) != good) {
        fail_msg("%.*s: status %d, jansson says %d", (int)nbytes, line, status, good);
    }
    if (good) {
        assert_int_equal(length, json_string_length(expected));
        assert_memory_equal(text, json_string_value(expected), length);
    }
    *apart = record->text.data == text && text;
    json_decref(whole);
}

static void test_traps(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        bool apart; /* decoded here, not by jansson */
    } trap[] = {
        {"{\"text\":\"a\"}", true},
        {" {\"id\" : [1,{\"text\":\"no\"}], \"text\" :\t\"\\u00e9\\ud83d\\ude00\\\"\\\\\", \"x\":\"\\\\\"} ", true},
        {"{\"text\":\"\"}", true},
        {"{\"text\":\"\\u0000\\b\\f\\/\"}", true},
        {"{\"a\":\"text\",\"text\":\"b\"}", true},
        {"{\"text\":\"text\\\":\"}", true},
        {"{\"text\":\"\\ud800\"}", false},
        {"{\"text\":\"\\udc00\\ud800\"}", false},
        {"{\"text\":\"\\ud800\\u0041\"}", false},
        {"{\"text\":\"\\x\"}", false},
        {"{\"text\":\"\\u12\"}", false},
        {"{\"text\":\"\\u00\x11\x11\"}", false},
        {"{\"text\":\"a\tb\"}", false},
        {"{\"text\":\"a\",\"text\":\"b\"}", false},
        {"{\"text\":\"a\",\"te\\u0078t\":\"b\"}", false},
        {"{\"te\\u0078t\":\"b\"}", false},
        {"{\"x\":1,\"x\":2,\"text\":\"b\"}", false},
        {"{\"x\":{\"text\":\"b\"}}", false},
        {"[\"text\",\"b\"]", false},
        {"[\"text\":\"b\"]", false},
        {"{\"text\":\"b\"", false},
        {"{\"text\":\"b", false},
        {"{\"text\":\"b\\\"}", false},
        {"{\"text\":\"b\"}}", false},
        {"{\"text\":7}", false},
        {"{\"text\"", false},
        {"{\"text\":", false},
        {"]{\"text\":\"b\"}", false},
        {"{]\"text\":\"b\"}", false},
        {"\"", false},
        {"", false},
    };
    struct dpt_text__record record = {0};
    for (size_t i = 0; i < sizeof trap / sizeof trap[0]; i++) {
        bool apart;
        same(&record, trap[i].line, strlen(trap[i].line), &apart);
        if (apart != trap[i].apart) {
            fail_msg("%s: decoded here: %d", trap[i].line, apart);
        }
    }
    dpt_text__record_free(&record);
}

/* Random lines as jansson writes them, with one byte or two changed. */
static void test_mutants(void **state)
{
    (void)state;
    static const char pick[] = "\"\\{}[]:,ut0\x1f\x80\xff";
    struct dpt_text__record record = {0};
    struct dpt_text text = {0};
    int parts = 0, refusals = 0;
    bool apart;
    for (uint64_t k = 0; k < 3000; k++) {
        uint64_t turn = 0;
        text.length = 0;
        dpt_text_append(&text, "", 0);
        const uint64_t count = draw(k, &turn) % 12;
        for (uint64_t i = 0; i < count; i++) {
            const uint32_t bits = draw(k, &turn) % 4 == 0 ? 0x10FFFF : 0xFF, code = draw(k, &turn) & bits;
            dpt_text_add_char(&text, code > 0x10FFFF || (code >= 0xD800 && code < 0xE000) ? '"' : code);
        }
        json_t *line = json_object();
        json_object_set_new(line, "id", json_pack("[i,n,{s:s}]", 7, "text", "\\"));
        json_object_set_new(line, "text", json_stringn(text.data, text.length));
        char *bytes = json_dumps(line, k % 2 ? JSON_ENSURE_ASCII | JSON_SORT_KEYS : JSON_COMPACT);
        assert_non_null(bytes);
        const size_t nbytes = strlen(bytes);
        same(&record, bytes, nbytes, &apart);
        assert_true(apart);
        for (int i = 0; i < 8; i++) {
            bytes[draw(k, &turn) % nbytes] = pick[draw(k, &turn) % (sizeof pick - 1)];
            same(&record, bytes, nbytes, &apart);
            parts += apart;
            refusals += !record.whole && !apart;
        }
        free(bytes);
        json_decref(line);
    }
    assert_true(parts > 300 && refusals > 1000);
    dpt_text__record_free(&record);
    dpt_text_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_traps), cmocka_unit_test(test_mutants)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
