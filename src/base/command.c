/* SPDX-License-Identifier: Apache-2.0 */
#include "base/command.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { MAX_OPTIONS = 40 };

/* What every program has. */
static const struct dpt_command_option common[] = {
    {"help", 'h', NULL, "print this text"},
    {"version", 'V', NULL, "print the version"},
};
enum { COMMON = sizeof common / sizeof common[0] };

static int count_options(const struct dpt_command *command)
{
    return command->noptions + COMMON;
}

static const struct dpt_command_option *option_at(const struct dpt_command *command, int i)
{
    return i < command->noptions ? &command->option[i] : &common[i - command->noptions];
}

static bool may_be_left_out(const struct dpt_command_option *option)
{
    return option->value && option->value[0] == '[';
}

/* ------------------------------------------------------------------------------------------------------- parsing */

/* getopt's arrays: words come in the order of the command line ('-'), and a missing value is told from others (':'). */
static void make_arrays(const struct dpt_command *command, struct option longs[MAX_OPTIONS + 1],
                        char letters[2 * MAX_OPTIONS + 3])
{
    const int count = count_options(command);
    DPT_ASSERT(count <= MAX_OPTIONS);
    char *at = stpcpy(letters, "-:");
    for (int i = 0; i < count; i++) {
        const struct dpt_command_option *option = option_at(command, i);
        const int argument = !option->value ? no_argument : may_be_left_out(option) ? optional_argument : required_argument;
        longs[i] = (struct option){option->name, argument, NULL, option->letter};
        if (option->letter < DPT_COMMAND_LONG) {
            DPT_ASSERT(argument != optional_argument);
            *at++ = (char)option->letter;
            at = stpcpy(at, argument == required_argument ? ":" : "");
        }
    }
    longs[count] = (struct option){0};
    *at = '\0';
}

/* An option that getopt does not take: `argument` is the word of argv in which it stands. */
static enum dpt_status unknown(const struct dpt_command *command, const char *argument, int letter)
{
    const int count = count_options(command);
    const char *names[MAX_OPTIONS];
    DPT_CHECK(letter != '=', DPT_STATUS_USAGE, "%.2s takes no value", argument);
    DPT_CHECK(strncmp(argument, "--", 2) == 0, DPT_STATUS_USAGE, "there is no option -%c", letter);
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(argument + 2, "="), argument + 2);
    int like = 0;
    for (int i = 0; i < count; i++) {
        names[i] = option_at(command, i)->name;
        like += strncmp(names[i], name, strlen(name)) == 0;
        DPT_CHECK(strcmp(names[i], name) != 0, DPT_STATUS_USAGE, "--%s takes no value", name);
    }
    DPT_CHECK(like < 2, DPT_STATUS_USAGE, "--%s could be several options: write more of it", name);
    const char *nearest = dpt_text_nearest(name, names, (size_t)count);
    DPT_CHECK(nearest, DPT_STATUS_USAGE, "there is no option --%s%s", name, command->hint ? command->hint : "");
    return dpt_error_set(DPT_STATUS_USAGE, __FILE__, __LINE__, "there is no option --%s. Did you mean --%s?", name, nearest);
}

static enum dpt_status take_all(const struct dpt_command *command, int argc, char *const *argv, void *user,
                                enum dpt_command_ask *ask)
{
    struct option longs[MAX_OPTIONS + 1];
    char letters[2 * MAX_OPTIONS + 3];
    make_arrays(command, longs, letters);
    opterr = 0;
    optind = 0;
    for (;;) {
        const int at = optind ? optind : 1;
        const int letter = getopt_long(argc, argv, letters, longs, NULL);
        if (letter == -1) {
            break;
        }
        DPT_CHECK(letter != ':', DPT_STATUS_USAGE, "%.60s needs a value", argv[at]);
        if (letter == '?') {
            return unknown(command, argv[at], optopt);
        }
        if (letter == 'h') {
            *ask = DPT_COMMAND_ASK_HELP;
        } else if (letter == 'V') {
            *ask = *ask ? *ask : DPT_COMMAND_ASK_VERSION;
        } else {
            DPT_TRY(command->take(user, letter, optarg));
        }
    }
    while (optind < argc) { /* after "--" */
        DPT_TRY(command->take(user, DPT_COMMAND_WORD, argv[optind++]));
    }
    return !*ask && command->check ? command->check(user) : DPT_STATUS_OK;
}

enum dpt_status dpt_command_parse(const struct dpt_command *command, int argc, char *const *argv, void *user,
                                  enum dpt_command_ask *ask)
{
    *ask = DPT_COMMAND_ASK_NOTHING;
    const enum dpt_status status = take_all(command, argc, argv, user, ask);
    DPT_CHECK(status != DPT_STATUS_USAGE, status, "%s\nTry '%s --help'.", dpt_error_text(), command->name);
    return status;
}

/* ------------------------------------------------------------------------------------------------------- answers */

/* "-o, --output=FILE"; returns its length. */
static int describe(const struct dpt_command_option *option, char *out, size_t size)
{
    const char *value = option->value ? option->value : "";
    const int inner = (int)strcspn(value + may_be_left_out(option), "]");
    char letter[8] = "    ";
    if (option->letter < DPT_COMMAND_LONG) {
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    }
    return snprintf(out, size, "%s--%s%s%.*s%s", letter, option->name,
                    may_be_left_out(option) ? "[=" : option->value ? "=" : "", inner,
                    value + may_be_left_out(option), may_be_left_out(option) ? "]" : "");
}

static void add_help(const struct dpt_command *command, struct dpt_text *out)
{
    const int count = count_options(command);
    char option[80];
    int width = 0;
    for (int i = 0; i < count; i++) {
        const int n = describe(option_at(command, i), option, sizeof option);
        width = n > width ? n : width;
    }
    dpt_text_add(out, "%s", command->begin);
    for (int i = 0; i < count; i++) {
        describe(option_at(command, i), option, sizeof option);
        dpt_text_add(out, "  %-*s  ", width, option);
        for (const char *at = option_at(command, i)->text; *at;) { /* its lines below each other */
            const int n = (int)strcspn(at, "\n");
            dpt_text_add(out, "%.*s\n%*s", n, at, at[n] ? width + 4 : 0, "");
            at += n + (at[n] == '\n');
        }
    }
    dpt_text_add(out, "%s", command->end);
}

void dpt_command_add_answer(const struct dpt_command *command, enum dpt_command_ask ask, struct dpt_text *out)
{
    if (ask == DPT_COMMAND_ASK_HELP) {
        add_help(command, out);
    } else if (command->version) {
        dpt_text_add(out, "%s", command->version);
    } else {
        dpt_text_add(out, "%s " PACKAGE_VERSION "\n", command->name);
    }
}

/* All that was written to standard output must have left. */
static enum dpt_status flush_output(void)
{
    errno = 0;
    const bool flushed = fflush(stdout) == 0;
    DPT_CHECK(flushed && !ferror(stdout), dpt_file_write_status(errno), "standard output: cannot be written: %s",
              flushed ? "an earlier line was lost" : strerror(errno));
    return DPT_STATUS_OK;
}

enum dpt_status dpt_command_print(const struct dpt_text *text)
{
    errno = 0;
    const bool all = text->length == 0 || fwrite(text->data, 1, text->length, stdout) == text->length;
    DPT_CHECK(all, dpt_file_write_status(errno), "standard output: cannot be written: %s", strerror(errno));
    return flush_output();
}

void dpt_command_tell(const struct dpt_command *command, struct dpt_text *text, bool said)
{
    for (const char *at = said && text->length ? text->data : ""; *at;) {
        const int length = (int)strcspn(at, "\n");
        fprintf(stderr, "%s: %.*s\n", command->name, length, at);
        at += length + (at[length] == '\n');
    }
    dpt_text_free(text);
}

int dpt_command_main(const struct dpt_command *command, int argc, char *const *argv, void *user)
{
    enum dpt_command_ask ask;
    enum dpt_status status = dpt_command_parse(command, argc, argv, user, &ask);
    if (status == DPT_STATUS_OK && ask) {
        struct dpt_text answer = {0};
        dpt_command_add_answer(command, ask, &answer);
        status = dpt_command_print(&answer);
        dpt_text_free(&answer);
    } else if (status == DPT_STATUS_OK) {
        status = command->work(user);
    }
    if (status == DPT_STATUS_OK) {
        status = flush_output();
    }
    if (status != DPT_STATUS_OK && *dpt_error_text()) {
        fprintf(stderr, "%s: %s\n", command->name, dpt_error_text());
    }
    return (int)status;
}

/* -------------------------------------------------------------------------------------------------------- values */

enum dpt_status dpt_command_number(const char *option, const char *text, int64_t min, int64_t max, int64_t *value)
{
    char *end;
    errno = 0;
    const long long number = strtoll(text, &end, 10);
    DPT_CHECK(end != text && *end == '\0' && errno == 0 && number >= min && number <= max, DPT_STATUS_USAGE,
              "--%s=%.60s: expected a whole number from %lld to %lld", option, text, (long long)min, (long long)max);
    *value = number;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_command_int(const char *option, const char *text, int min, int max, int *value)
{
    int64_t number = 0;
    DPT_TRY(dpt_command_number(option, text, min, max, &number));
    *value = (int)number;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_command_real(const char *option, const char *text, double max, bool zero, double *value)
{
    char *end;
    const double number = strtod(text, &end);
    const bool good = end != text && *end == '\0' && isfinite(number) && number <= max && (zero ? number >= 0.0 : number > 0.0);
    DPT_CHECK(good, DPT_STATUS_USAGE, "--%s=%.60s: expected a number %s 0, up to %g", option, text, zero ? "from" : "above",
              max);
    *value = number;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_command_word(const char *option, const char *text, const char *const *words, int count, int *value)
{
    char all[160] = "";
    size_t n = 0;
    for (int i = 0; i < count; i++) {
        if (strcmp(text, words[i]) == 0) {
            *value = i;
            return DPT_STATUS_OK;
        }
        n += (size_t)snprintf(all + n, sizeof all - n, "%s%s", i == 0 ? "" : i + 1 == count ? " or " : ", ", words[i]);
        DPT_ASSERT(n < sizeof all);
    }
    return dpt_error_set(DPT_STATUS_USAGE, __FILE__, __LINE__, "--%s=%.60s: expected %s", option, text, all);
}
