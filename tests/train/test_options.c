/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "train/options.h"

enum { MAX_ARGS = 24 };

/* Splits a command line at blanks and parses it. getopt may reorder the words, so they are kept by the caller. */
static enum dpt_status parse(const char *line, char words[256], struct dpt_options *options)
{
    char *argv[MAX_ARGS + 1] = {0};
    int argc = 0;
    strcpy(words, line);
    for (char *word = strtok(words, " "); word && argc < MAX_ARGS; word = strtok(NULL, " ")) {
        argv[argc++] = word;
    }
    return dpt_options_parse(argc, argv, options);
}

static void all_options(void **state)
{
    (void)state;
    struct dpt_options o;
    char words[256];
    assert_int_equal(parse("dpt-train a.ini -s x.y=3 -o DIR -c b.ini --config=c.ini -t 4h --set=z.w=1 -r must -q "
                           "--stop-status=75 --plan 8 -- -d.ini",
                           words, &o),
                     DPT_STATUS_OK);
    assert_int_equal(o.ask, DPT_ASK_TRAIN);
    assert_int_equal(o.nfiles, 4);
    assert_string_equal(o.file[0], "a.ini");
    assert_string_equal(o.file[1], "b.ini");
    assert_string_equal(o.file[2], "c.ini");
    assert_string_equal(o.file[3], "-d.ini");
    assert_int_equal(o.noverrides, 4);
    assert_string_equal(o.override[0], "x.y=3");
    assert_string_equal(o.override[1], "run.output=DIR");
    assert_string_equal(o.override[2], "run.max_time=4h");
    assert_string_equal(o.override[3], "z.w=1");
    assert_int_equal(o.resume, DPT_RESUME_MUST);
    assert_true(o.quiet && o.dry_run && o.plan_ranks == 8 && o.stop_status == 75);
    dpt_options_free(&o);

    assert_int_equal(parse("dpt-train x.ini", words, &o), DPT_STATUS_OK);
    assert_true(o.resume == DPT_RESUME_AUTO && !o.quiet && !o.eval_only && !o.dry_run && o.plan_ranks == 0 && o.stop_status == 0);
    dpt_options_free(&o);

    assert_int_equal(parse("dpt-train --eval-only x.ini", words, &o), DPT_STATUS_OK);
    assert_true(o.eval_only && o.ask == DPT_ASK_TRAIN);
    dpt_options_free(&o);

    assert_int_equal(parse("dpt-train -n -r /dev/null x.ini", words, &o), DPT_STATUS_OK);
    assert_true(o.resume == DPT_RESUME_PATH && o.dry_run);
    assert_string_equal(o.resume_path, "/dev/null");
    dpt_options_free(&o);
}

static void wrong_options(void **state)
{
    (void)state;
    const struct {
        const char *line, *sentence;
    } bad[] = {
        {"dpt-train -q",
         "a job file is needed: dpt-train FILE, or @NAME for one that came with dpt (dpt-train --list=presets)"},
        {"dpt-train run.seed=3 x", "there is no file 'run.seed=3'; a key of the job is set with -s run.seed=3"},
        {"dpt-train -n=3 x", "-n takes no value"},
        {"dpt-train --frobnicate x",
         "there is no option --frobnicate; keys of the job are set with -s section.key=value"},
        {"dpt-train --explian=lr", "there is no option --explian. Did you mean --explain?"},
        {"dpt-train -qx", "there is no option -x"},
        {"dpt-train --quiet=1", "--quiet takes no value"},
        {"dpt-train -c", "-c needs a value"},
        {"dpt-train --set", "--set needs a value"},
        {"dpt-train -r perhaps x",
         "--resume=perhaps: expected auto, never, must or the path of a checkpoint; there is no such file"},
        {"dpt-train --plan=0 x", "--plan=0: expected a whole number from 1 to 16777216"},
        {"dpt-train --stop-status=300 x", "--stop-status=300: expected a whole number from 0 to 125"},
        {"dpt-train --stop-status=7a x", "--stop-status=7a: expected a whole number from 0 to 125"},
        {"dpt-train --print-config=some x", "--print-config=some: expected full, minimal or explain"},
        {"dpt-train --completion=tcsh", "--completion=tcsh: expected bash"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct dpt_options o;
        char words[256], expected[512] = "";
        strcat(strcat(expected, bad[i].sentence), "\nTry 'dpt-train --help'.");
        assert_int_equal(parse(bad[i].line, words, &o), DPT_STATUS_USAGE);
        assert_string_equal(dpt_error_text(), expected);
        dpt_options_free(&o);
    }
}

static void questions(void **state)
{
    (void)state;
    const struct {
        const char *line, *begin;
        enum dpt_ask ask;
    } good[] = {
        {"dpt-train --help", "Usage: dpt-train [OPTION]... [-c] FILE...\n", DPT_ASK_HELP},
        {"dpt-train --version -h", "Usage: dpt-train", DPT_ASK_HELP},
        {"dpt-train -V", "dpt-train (dpt) " PACKAGE_VERSION "\n", DPT_ASK_VERSION},
        {"dpt-train --explain=optimizer.lr", "optimizer.lr = ", DPT_ASK_EXPLAIN},
        {"dpt-train --list", "sections ", DPT_ASK_LIST},
        {"dpt-train --list=optimizers", "sgd ", DPT_ASK_LIST},
        {"dpt-train --print-config -s data.format=synthetic", "[run]\nname = job\n", DPT_ASK_PRINT_CONFIG},
        {"dpt-train --print-config=minimal -s data.format=synthetic", "[data]\nformat = synthetic\n",
         DPT_ASK_PRINT_CONFIG},
        {"dpt-train --completion=bash", "# Completion of dpt-train for bash", DPT_ASK_COMPLETION},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct dpt_options o;
        struct dpt_text out = {0}, problems = {0};
        char words[256];
        assert_int_equal(parse(good[i].line, words, &o), DPT_STATUS_OK);
        assert_int_equal(o.ask, good[i].ask);
        assert_int_equal(dpt_options_answer(&o, &out, &problems), DPT_STATUS_OK);
        assert_int_equal(strncmp(out.data, good[i].begin, strlen(good[i].begin)), 0);
        assert_null(problems.data);
        dpt_text_free(&out);
        dpt_options_free(&o);
    }
    struct dpt_options o;
    struct dpt_text out = {0}, problems = {0};
    char words[256];
    assert_int_equal(parse("dpt-train --print-config -s data.formt=x -s run.sed=3", words, &o), DPT_STATUS_OK);
    assert_int_equal(dpt_options_answer(&o, &out, &problems), DPT_STATUS_USAGE);
    assert_non_null(strstr(problems.data, "'formt'"));
    assert_non_null(strstr(problems.data, "'sed'"));
    assert_null(out.data);
    dpt_text_free(&problems);
    dpt_options_free(&o);
}

/* One screen: 24 lines of 80 columns. */
static void help_fits_a_screen(void **state)
{
    (void)state;
    struct dpt_options o;
    struct dpt_text out = {0}, problems = {0};
    char words[256];
    assert_int_equal(parse("dpt-train --help", words, &o), DPT_STATUS_OK);
    assert_int_equal(dpt_options_answer(&o, &out, &problems), DPT_STATUS_OK);
    int lines = 0;
    for (const char *at = out.data; *at; at += strcspn(at, "\n") + 1) {
        assert_true(strcspn(at, "\n") <= 80);
        lines++;
    }
    assert_true(lines <= 24);
    dpt_text_free(&out);
    dpt_options_free(&o);
}

static void presets(void **state)
{
    (void)state;
    struct dpt_options o;
    struct dpt_text out = {0}, problems = {0};
    char words[256], folder[512];
    const char *source = getenv("abs_srcdir");
    if (!source) {
        skip();
    }
    strcat(strcat(strcpy(folder, "/nowhere:"), source), "/configs");
    setenv("DPT_PATH", folder, 1);
    assert_int_equal(parse("dpt-train @fashion-mnist", words, &o), DPT_STATUS_OK);
    assert_int_equal(strncmp(o.file[0], source, strlen(source)), 0);
    assert_non_null(strstr(o.file[0], "/configs/fashion-mnist.ini"));
    dpt_options_free(&o);
    assert_int_equal(parse("dpt-train --list=presets", words, &o), DPT_STATUS_OK);
    assert_int_equal(dpt_options_answer(&o, &out, &problems), DPT_STATUS_OK);
    assert_non_null(strstr(out.data, "@fashion-mnist\n"));
    dpt_text_free(&out);
    dpt_options_free(&o);
    assert_int_equal(parse("dpt-train @fashion-mnits", words, &o), DPT_STATUS_USAGE);
    assert_non_null(strstr(dpt_error_text(), "Did you mean '@fashion-mnist'?"));
    dpt_options_free(&o);
    assert_int_equal(parse("dpt-train fashion-mnist.ini", words, &o), DPT_STATUS_USAGE);
    assert_non_null(strstr(dpt_error_text(), "Did you mean '@fashion-mnist', which came with dpt?"));
    dpt_options_free(&o);
    assert_int_equal(parse("dpt-train @../secret", words, &o), DPT_STATUS_USAGE);
    dpt_options_free(&o);
    assert_int_equal(parse("dpt-train @", words, &o), DPT_STATUS_USAGE);
    dpt_options_free(&o);
}

static void one_rank_speaks(void **state)
{
    (void)state;
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "MPI_RANKID", "SLURM_PROCID"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        unsetenv(names[i]);
    }
    assert_true(dpt_options_speak());
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        setenv(names[i], "0", 1);
        assert_true(dpt_options_speak());
        setenv(names[i], "1", 1);
        assert_false(dpt_options_speak());
        unsetenv(names[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_options),        cmocka_unit_test(wrong_options), cmocka_unit_test(questions),
        cmocka_unit_test(help_fits_a_screen), cmocka_unit_test(presets),       cmocka_unit_test(one_rank_speaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
