/* SPDX-License-Identifier: Apache-2.0 */

/* Command lines: what is given comes to `take` in its order, --help names what is taken, what is wrong is told. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/command.h"

enum { FAR = DPT_COMMAND_LONG, FAST, FORM };

static const struct dpt_command_option table[] = {
    {"number", 'n', "N", "a number"},
    {"far", FAR, "X", "how far\nit goes"},
    {"fast", FAST, NULL, "no stops"},
    {"form", FORM, "[WORD]", "round or square"},
    {"all", 'a', NULL, "everything"},
};

/* What was taken, as "n=3 w=word a far=2.5": each with its letter. */
struct taken {
    char text[256];
    bool refuse;
};

static enum dpt_status take(void *user, int letter, const char *value)
{
    struct taken *taken = user;
    const char *names[] = {[0] = "far", [FAST - FAR] = "fast", [FORM - FAR] = "form"};
    const char one[] = {letter == DPT_COMMAND_WORD ? 'w' : (char)letter, '\0'};
    strcat(strcat(taken->text, taken->text[0] ? " " : ""), letter < DPT_COMMAND_LONG ? one : names[letter - FAR]);
    if (value) {
        strcat(strcat(taken->text, "="), value);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status check(void *user)
{
    const struct taken *taken = user;
    DPT_CHECK(!taken->refuse, DPT_STATUS_USAGE, "these do not go together");
    return DPT_STATUS_OK;
}

static const struct dpt_command command = {
    .name = "dpt-test",
    .begin = "Usage: dpt-test\n",
    .end = "That is all.\n",
    .option = table,
    .noptions = sizeof table / sizeof table[0],
    .take = take,
    .check = check,
};

/* Parses a line of words. */
static enum dpt_status parse(const char *line, struct taken *taken, enum dpt_command_ask *ask)
{
    static char words[256]; /* getopt reorders them, and take gets pointers to them */
    char *argv[32] = {0};
    int argc = 0;
    strcpy(words, line);
    for (char *word = strtok(words, " "); word; word = strtok(NULL, " ")) {
        argv[argc++] = word;
    }
    taken->text[0] = '\0';
    return dpt_command_parse(&command, argc, argv, taken, ask);
}

static void all_is_taken_in_order(void **state)
{
    (void)state;
    const struct {
        const char *line, *taken;
    } good[] = {
        {"x", ""},
        {"x -n3 b --far 2.5 -a c", "n=3 w=b far=2.5 a w=c"},
        {"x --number=-3 --fast --form --form=square -- -a", "n=-3 fast form form=square w=-a"},
        {"x -an 4 - --fas", "a n=4 w=- fast"},
    };
    struct taken taken = {.refuse = false};
    enum dpt_command_ask ask;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(parse(good[i].line, &taken, &ask), DPT_STATUS_OK);
        assert_string_equal(taken.text, good[i].taken);
        assert_int_equal(ask, DPT_COMMAND_ASK_NOTHING);
    }
    taken.refuse = true; /* nothing is checked where something is asked, and help goes before all */
    assert_int_equal(parse("x -V", &taken, &ask), DPT_STATUS_OK);
    assert_int_equal(ask, DPT_COMMAND_ASK_VERSION);
    assert_int_equal(parse("x --version --help -V", &taken, &ask), DPT_STATUS_OK);
    assert_int_equal(ask, DPT_COMMAND_ASK_HELP);
}

static void what_is_wrong_is_told(void **state)
{
    (void)state;
    const struct {
        const char *line, *sentence;
    } bad[] = {
        {"x --nubmer=3", "there is no option --nubmer. Did you mean --number?"},
        {"x --elsewhere", "there is no option --elsewhere"},
        {"x --fa", "--fa could be several options: write more of it"},
        {"x --fast=1", "--fast takes no value"},
        {"x --far", "--far needs a value"},
        {"x -a=1", "-a takes no value"},
        {"x -az", "there is no option -z"},
        {"x b -n", "-n needs a value"},
        {"x b", "these do not go together"},
    };
    struct taken taken = {.refuse = true};
    enum dpt_command_ask ask;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char expected[160] = "";
        strcat(strcat(expected, bad[i].sentence), "\nTry 'dpt-test --help'.");
        assert_int_equal(parse(bad[i].line, &taken, &ask), DPT_STATUS_USAGE);
        assert_string_equal(dpt_error_text(), expected);
    }
}

static void help_names_all(void **state)
{
    (void)state;
    struct dpt_text out = {0};
    dpt_command_add_answer(&command, DPT_COMMAND_ASK_HELP, &out);
    assert_string_equal(out.data, "Usage: dpt-test\n"
                                  "  -n, --number=N     a number\n"
                                  "      --far=X        how far\n"
                                  "                     it goes\n"
                                  "      --fast         no stops\n"
                                  "      --form[=WORD]  round or square\n"
                                  "  -a, --all          everything\n"
                                  "  -h, --help         print this text\n"
                                  "  -V, --version      print the version\n"
                                  "That is all.\n");
    out.length = 0;
    dpt_command_add_answer(&command, DPT_COMMAND_ASK_VERSION, &out);
    assert_string_equal(out.data, "dpt-test " PACKAGE_VERSION "\n");
    dpt_text_free(&out);
}

static void values(void **state)
{
    (void)state;
    static const char *const words[] = {"red", "green", "blue"};
    const char *const no_number[] = {"", "x", "3x", "3.0", "-1", "11", "99999999999999999999", "0x5"};
    const char *const no_real[] = {"", "x", "1e", "-0.5", "1.5", "nan", "inf", "1e999"};
    int64_t number = 7;
    double real = 7.0;
    int word = 7;
    for (size_t i = 0; i < sizeof no_number / sizeof no_number[0]; i++) {
        assert_int_equal(dpt_command_number("n", no_number[i], 0, 10, &number), DPT_STATUS_USAGE);
        assert_int_equal(dpt_command_real("x", no_real[i], 1.0, true, &real), DPT_STATUS_USAGE);
    }
    assert_int_equal(dpt_command_real("x", "0", 1.0, false, &real), DPT_STATUS_USAGE);
    assert_string_equal(dpt_error_text(), "--x=0: expected a number above 0, up to 1");
    assert_int_equal(dpt_command_word("color", "re", words, 3, &word), DPT_STATUS_USAGE);
    assert_string_equal(dpt_error_text(), "--color=re: expected red, green or blue");
    assert_true(number == 7 && real == 7.0 && word == 7);
    assert_int_equal(dpt_command_number("n", "10", 0, 10, &number), DPT_STATUS_OK);
    assert_int_equal(dpt_command_real("x", "0", 1.0, true, &real), DPT_STATUS_OK);
    assert_int_equal(dpt_command_word("color", "blue", words, 3, &word), DPT_STATUS_OK);
    assert_true(number == 10 && real == 0.0 && word == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_taken_in_order),
        cmocka_unit_test(what_is_wrong_is_told),
        cmocka_unit_test(help_names_all),
        cmocka_unit_test(values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
