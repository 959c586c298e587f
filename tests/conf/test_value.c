/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "conf/conf.h"
#include "job_text.h"

/* A value of a type with limits wide enough for all of these tests. */
static bool parse(enum dpt_conf_type type, const char *text, void *field)
{
    static const struct dpt_conf_word words[] = {{"one", ""}, {"two", ""}, {0}};
    const struct dpt_conf_key key = {.type = type, .min = -1e9, .max = 0, .words = words, .zero = "none", .units = ~0u};
    struct dpt_arena *arena = dpt_arena_new();
    struct dpt_text why = {0};
    const bool fine = dpt_conf__parse(&key, text, arena, field, &why);
    dpt_text_free(&why);
    dpt_arena_free(arena);
    return fine;
}

static void whole_numbers(void **state)
{
    (void)state;
    const struct {
        const char *text;
        int64_t value;
    } good[] = {
        {"0", 0},          {"17", 17},     {"-3", -3},         {"+4", 4},     {"10k", 10000},
        {"1.5M", 1500000}, {"1.1k", 1100}, {"2G", 2000000000}, {"1e3", 1000}, {"9007199254740992", INT64_C(1) << 53},
        {"none", 0}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        int64_t value = -77;
        assert_true(parse(DPT_CONF_TYPE_INT, good[i].text, &value));
        assert_true(value == good[i].value);
    }
    static const char *const bad[] = {
        "",    "x",   "1.5", "1.0005k",           "0x10", "10 k", "1kk", "1K", "inf", "nan", "1e400",
        "--1", "1 2", "1,",  "18014398509481984", "k",    ".",    "e5"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int64_t value = -77;
        assert_false(parse(DPT_CONF_TYPE_INT, bad[i], &value));
        assert_true(value == -77);
    }
}

static void numbers(void **state)
{
    (void)state;
    double value;
    assert_true(parse(DPT_CONF_TYPE_REAL, "0.1", &value) && value == 0.1);
    assert_true(parse(DPT_CONF_TYPE_REAL, "1e-3", &value) && value == 1e-3);
    assert_true(parse(DPT_CONF_TYPE_REAL, ".5", &value) && value == 0.5);
    assert_true(parse(DPT_CONF_TYPE_REAL, "5.", &value) && value == 5.0);
    static const char *const bad[] = {"", "1e", "0x1p3", "infinity", "nan", "1e999", "0.1x", "0,1", "1 k"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(parse(DPT_CONF_TYPE_REAL, bad[i], &value));
    }
}

static void sizes(void **state)
{
    (void)state;
    int64_t value;
    assert_true(parse(DPT_CONF_TYPE_BYTES, "64 KiB", &value) && value == 65536);
    assert_true(parse(DPT_CONF_TYPE_BYTES, "1.5MiB", &value) && value == 3 << 19);
    assert_true(parse(DPT_CONF_TYPE_BYTES, "4 MB", &value) && value == 4000000);
    assert_true(parse(DPT_CONF_TYPE_BYTES, "7 B", &value) && value == 7);
    assert_true(parse(DPT_CONF_TYPE_BYTES, "none", &value) && value == 0);
    static const char *const bad[] = {"4", "4 mb", "0.5 B", "MiB", "4 MiB 3", "4 XiB"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(parse(DPT_CONF_TYPE_BYTES, bad[i], &value));
    }
}

static void times(void **state)
{
    (void)state;
    const struct {
        const char *text;
        double seconds;
    } good[] = {{"90 s", 90},         {"15 min", 900},    {"4h", 14400},      {"90m", 5400},   {"1.5 h", 5400},
                {"1 h 30 min", 5400}, {"2 days", 172800}, {"3:30:00", 12600}, {"10:00", 600},  {"1-00:00:00", 86400},
                {"0:59:59", 3599},    {"none", 0},        {"0.5 s", 0.5},     {"2 seconds", 2}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        double value;
        assert_true(parse(DPT_CONF_TYPE_TIME, good[i].text, &value));
        assert_true(value == good[i].seconds);
    }
    static const char *const bad[] = {"90", "",          "-5 s",  "3:60:00",      "3:3:3:3", "1-00:00",    "1:",
                                      ":1", "4 parsecs", "4 h x", "1.5-00:00:00", "3.5:00",  "-1-00:00:00"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        double value;
        assert_false(parse(DPT_CONF_TYPE_TIME, bad[i], &value));
    }
}

static void lengths(void **state)
{
    (void)state;
    struct dpt_span span;
    assert_true(parse(DPT_CONF_TYPE_SPAN, "10 epochs", &span) && span.unit == DPT_SPAN_UNIT_EPOCHS && span.value == 10);
    assert_true(parse(DPT_CONF_TYPE_SPAN, "0.5 epoch", &span) && span.value == 0.5);
    assert_true(parse(DPT_CONF_TYPE_SPAN, "500 steps", &span) && span.unit == DPT_SPAN_UNIT_STEPS && span.value == 500);
    assert_true(parse(DPT_CONF_TYPE_SPAN, "5k steps", &span) && span.value == 5000);
    assert_true(parse(DPT_CONF_TYPE_SPAN, "1step", &span) && span.value == 1);
    assert_true(parse(DPT_CONF_TYPE_SPAN, "15 min", &span) && span.unit == DPT_SPAN_UNIT_SECONDS && span.value == 900);
    assert_true(parse(DPT_CONF_TYPE_SPAN, "1 h 1 s", &span) && span.value == 3601);
    assert_true(parse(DPT_CONF_TYPE_SPAN, "none", &span) && span.unit == DPT_SPAN_UNIT_NONE);
    static const char *const bad[] = {"10", "0 steps",     "-1 epochs", "1.5 steps", "epochs",
                                      "",   "10 epochs 3", "0 s",       "3 e"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(parse(DPT_CONF_TYPE_SPAN, bad[i], &span));
    }
}

static void words_and_switches(void **state)
{
    (void)state;
    static const char *const yes[] = {"yes", "true", "on"}, *const no[] = {"no", "false", "off"};
    for (int i = 0; i < 3; i++) {
        bool on = false, off = true;
        enum dpt_auto a;
        assert_true(parse(DPT_CONF_TYPE_BOOL, yes[i], &on) && on);
        assert_true(parse(DPT_CONF_TYPE_BOOL, no[i], &off) && !off);
        assert_true(parse(DPT_CONF_TYPE_AUTO, yes[i], &a) && a == DPT_AUTO_ON);
        assert_true(parse(DPT_CONF_TYPE_AUTO, no[i], &a) && a == DPT_AUTO_OFF);
    }
    bool b;
    enum dpt_auto a;
    unsigned place;
    assert_false(parse(DPT_CONF_TYPE_BOOL, "1", &b));
    assert_false(parse(DPT_CONF_TYPE_BOOL, "Yes", &b));
    assert_true(parse(DPT_CONF_TYPE_AUTO, "auto", &a) && a == DPT_AUTO_AUTO);
    assert_true(parse(DPT_CONF_TYPE_ENUM, "two", &place) && place == 1);
    assert_false(parse(DPT_CONF_TYPE_ENUM, "three", &place));
}

static void pairs(void **state)
{
    (void)state;
    static const char *const good[] = {"3 5", "3 x 5", "3x5", "3 x5"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        int64_t pair[2] = {0, 0};
        assert_true(parse(DPT_CONF_TYPE_PAIR, good[i], pair));
        assert_true(pair[0] == 3 && pair[1] == 5);
    }
    int64_t pair[2];
    assert_true(parse(DPT_CONF_TYPE_PAIR, "7", pair) && pair[0] == 7 && pair[1] == 7);
    static const char *const bad[] = {"", "3 x", "x 3", "3 5 7", "3.5", "3y5"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(parse(DPT_CONF_TYPE_PAIR, bad[i], pair));
    }
}

/* Lists live in the job's arena, so they are read through a job. */
static void lists(void **state)
{
    (void)state;
    struct dpt_job *job = job_of("[data]\nformat = csv\ntrain = /t\ntarget = hours per week, age\nignore = id\n"
                                 "categorical = hours per week,\n[model]\nwidths = 3, 2 ,1\n");
    assert_int_equal(job->data.target.count, 2);
    assert_string_equal(job->data.target.value[0], "hours per week");
    assert_string_equal(job->data.target.value[1], "age");
    assert_int_equal(job->data.ignore.count, 1);
    assert_int_equal(job->data.categorical.count, 1);
    assert_string_equal(job->data.categorical.value[0], "hours per week");
    assert_int_equal(job->model.widths.count, 3);
    assert_true(job->model.widths.value[0] == 3 && job->model.widths.value[2] == 1);
    dpt_job_free(job);

    job = job_of(
        "[data]\nformat = synthetic\n[model]\nwidths =\n[schedule]\ntype = step\nmilestones = 10k, 20k, 30k steps\n"
        "[run]\nlength = 40k steps\n");
    assert_int_equal(job->model.widths.count, 0);
    assert_int_equal(job->schedule.milestones.count, 3);
    assert_int_equal(job->schedule.milestones.unit, DPT_SPAN_UNIT_STEPS);
    assert_true(job->schedule.milestones.value[1] == 20000);
    dpt_job_free(job);
}

/* Whatever number is written reads back as the same bits. */
static void numbers_read_back(void **state)
{
    (void)state;
    const struct dpt_conf_key key = {.type = DPT_CONF_TYPE_REAL, .min = -1e300};
    for (uint64_t i = 0; i < 20000; i++) {
        uint32_t word[4];
        dpt_rng_words(1, DPT_RNG_USE_INIT, 0, 0, i, word);
        const double value = ldexp((double)word[0] / 4294967296.0, (int)(word[1] % 200) - 100) * (word[2] & 1 ? 1 : -1);
        struct dpt_text text = {0}, why = {0};
        dpt_conf__format(&key, &value, &text);
        double again = 0;
        assert_true(dpt_conf__parse(&key, text.data, NULL, &again, &why));
        assert_true(again == value);
        dpt_text_free(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers), cmocka_unit_test(numbers), cmocka_unit_test(sizes),
        cmocka_unit_test(times),         cmocka_unit_test(lengths), cmocka_unit_test(words_and_switches),
        cmocka_unit_test(pairs),         cmocka_unit_test(lists),   cmocka_unit_test(numbers_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
