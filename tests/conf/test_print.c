/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "conf/conf.h"
#include "job_text.h"

static char *print(const struct dpt_job *job, enum dpt_job_print how)
{
    struct dpt_text text = {0};
    dpt_job_print(job, how, &text);
    return text.data;
}

/* Whatever of the three is printed reads back as the same job, and printing that gives the same text. */
static void check_prints(const char *source)
{
    struct dpt_job *job = job_of(source);
    char *full = print(job, DPT_JOB_PRINT_FULL);
    struct dpt_text changed = {0};
    for (int how = DPT_JOB_PRINT_FULL; how <= DPT_JOB_PRINT_EXPLAIN; how++) {
        char *text = print(job, (enum dpt_job_print)how);
        struct dpt_job *again = job_of(text ? text : "");
        char *full_again = print(again, DPT_JOB_PRINT_FULL);
        assert_string_equal(full, full_again);
        assert_true(dpt_job_same(job, again, &changed));
        assert_null(changed.data);
        free(full_again);
        free(text);
        dpt_job_free(again);
    }
    free(full);
    dpt_job_free(job);
}

static void what_is_printed_reads_back(void **state)
{
    (void)state;
    check_prints("[data]\nformat = synthetic\n");
    check_prints(
        "[data]\ntrain = /t\nmean = 0.1307 0.2 0.3\nstd = 0.3081\n[run]\nlength = 1 epoch\nmax_time = 1 h 30 min\n"
        "deadline = none\nthreads = 4\n[schedule]\ntype = step\nmilestones = 0.5 1.25 epochs\nwarmup = 5 steps\n");
    check_prints(
        "[data]\nformat = csv\ntrain = /t\ntarget = a b c,\nignore = x, y z\nmissing =\nnormalize = no\n"
        "[optimizer]\ntype = adam\neps = 3e-9\nlr = 0.3333333333333333\nclip = 1e-3\n[parallel]\nbucket = 4.5 MiB\n");
    check_prints("[data]\nformat = synthetic\n[run]\nname = $${x} and $$${y}\noutput = a \\\n b\n[checkpoint]\n"
                 "every = never\n[eval]\nevery = 90 s\n[log]\nevery = 3 steps\n[model]\ntype = layers\n[layer.a.b]\n"
                 "op = conv\nout = 3\nkernel = 3 x 1\n[layer.c]\nop = add\nin = input, a.b\n");
    /* One of each schedule, optimizer and model brings every key in. */
    check_prints(
        "[data]\nformat = synthetic\n[model]\ntype = cnn\n[schedule]\ntype = one_cycle\n[run]\nreproducible = yes\n");
    check_prints("[data]\nformat = synthetic\n[model]\ntype = resnet\n[schedule]\ntype = cosine\nfinal = 0.01\n");
}

/* Values longer than a line are broken so that reading joins them again. */
static void long_values_read_back(void **state)
{
    (void)state;
    struct dpt_text source = {0};
    dpt_text_add(&source, "[data]\nformat = synthetic\n[run]\noutput = ");
    for (int i = 0; i < 40; i++) {
        dpt_text_add(&source, "/folder;\xC3\xA4\xE2\x82\xAC#[%d]\\\n", i);
    }
    dpt_text_add(&source, "end\n[model]\nwidths = ");
    for (int i = 1; i < 200; i++) {
        dpt_text_add(&source, "%d%s", i, i % 30 ? " " : " \\\n");
    }
    dpt_text_add(&source, "\n");
    struct dpt_job *job = job_of(source.data);
    assert_true(strlen(job->run.output) > 600);
    assert_int_equal(job->model.widths.count, 199);
    char *full = print(job, DPT_JOB_PRINT_FULL);
    for (const char *at = full; *at; at += strcspn(at, "\n") + 1) {
        assert_true(strcspn(at, "\n") <= 190);
    }
    free(full);
    dpt_job_free(job);
    check_prints(source.data);
    dpt_text_free(&source);
}

static void minimal_has_only_what_differs(void **state)
{
    (void)state;
    struct dpt_job *job = job_of("[data]\nformat = synthetic\nsamples = 60k\n[optimizer]\nlr = 0.5\nmomentum = 0.9\n");
    char *text = print(job, DPT_JOB_PRINT_MINIMAL);
    assert_string_equal(text, "[data]\nformat = synthetic\n\n[optimizer]\nlr = 0.5\n");
    free(text);
    dpt_job_free(job);
}

static void explain_tells_where_from(void **state)
{
    (void)state;
    struct dpt_job *job = job_of("[data]\nformat = synthetic\n[optimizer]\nlr = 0.5\n");
    char *text = print(job, DPT_JOB_PRINT_EXPLAIN);
    assert_non_null(strstr(text, "\nlr = 0.5                        ; t.ini:4\n"));
    assert_non_null(strstr(text, "\nmomentum = 0.9                  ; default\n"));
    free(text);
    dpt_job_free(job);
}

/* ---------------------------------------------------------------------------------------------------- the table */

static void every_key_is_sound(void **state)
{
    (void)state;
    struct dpt_arena *arena = dpt_arena_new();
    for (int i = 0; i < dpt_conf__nkeys; i++) {
        const struct dpt_conf_key *key = &dpt_conf__keys[i];
        struct dpt_text text = {0}, why = {0};
        union {
            int64_t whole[2];
            double real[4];
        } field;
        assert_true(dpt_conf__is_section(key->section));
        assert_ptr_equal(dpt_conf__find(key->section, key->name), key); /* no name twice */
        if (!dpt_conf__parse(key, key->fallback, arena, &field, &why)) {
            fail_msg("%s.%s: the default is refused", key->section, key->name);
        }
        assert_true(key->when == NULL || dpt_conf__find(key->when->section, key->when->name) != NULL);
        assert_true((key->type == DPT_CONF_TYPE_ENUM || key->type == DPT_CONF_TYPE_WORD) == (key->words != NULL));
        assert_int_equal(key->text[strlen(key->text) - 1], '.');
        /* Other names are for hints only: none may be a name that the section has. */
        for (int k = 0; k < dpt_conf__nkeys; k++) {
            if (key->aka && strcmp(dpt_conf__keys[k].section, key->section) == 0 &&
                dpt_conf__in_list(dpt_conf__keys[k].name, key->aka)) {
                fail_msg("%s.%s: the other name %s is a key", key->section, key->name, dpt_conf__keys[k].name);
            }
        }
        char name[64];
        snprintf(name, sizeof name, "%s.%s", key->section, key->name);
        assert_int_equal(dpt_job_explain(name, &text), DPT_STATUS_OK);
        assert_int_equal(strncmp(text.data, name, strlen(name)), 0);
        dpt_text_free(&text);
        dpt_text_free(&why);
    }
    dpt_arena_free(arena);
}

static void explanations_and_lists(void **state)
{
    (void)state;
    static const char *const kinds[] = {"sections", "keys",          "models", "layers",     "activations",
                                        "data",     "augmentations", "losses", "optimizers", "schedules"};
    struct dpt_text text = {0};
    assert_int_equal(dpt_job_list(NULL, &text), DPT_STATUS_OK);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        assert_non_null(strstr(text.data, kinds[i]));
        struct dpt_text list = {0};
        assert_int_equal(dpt_job_list(kinds[i], &list), DPT_STATUS_OK);
        assert_true(list.length > 20);
        dpt_text_free(&list);
    }
    assert_int_equal(dpt_job_list("optimisers", &text), DPT_STATUS_USAGE);
    assert_string_equal(dpt_error_text(), "there is no list 'optimisers'. Did you mean 'optimizers'?");
    assert_int_equal(dpt_job_list("zzzzzzz", &text), DPT_STATUS_USAGE);
    text.length = 0;
    assert_int_equal(dpt_job_list("optimizers", &text), DPT_STATUS_OK);
    assert_string_equal(text.data, "sgd            stochastic gradient descent with momentum\n"
                                   "adam           Adam; weight decay is added to the gradient\n"
                                   "adamw          Adam with decoupled weight decay\n");
    assert_int_equal(dpt_job_explain("optimizer", &text), DPT_STATUS_OK);
    assert_int_equal(dpt_job_explain("layer.conv", &text), DPT_STATUS_OK);
    assert_int_equal(dpt_job_explain("layer.stride", &text), DPT_STATUS_OK);
    assert_int_equal(dpt_job_explain("layer.fc1.stride", &text), DPT_STATUS_OK);
    assert_int_equal(dpt_job_explain("lr", &text), DPT_STATUS_OK);
    assert_int_equal(dpt_job_explain("layer.strode", &text), DPT_STATUS_USAGE);
    assert_int_equal(dpt_job_explain("learning_rate", &text), DPT_STATUS_USAGE);
    assert_string_equal(dpt_error_text(), "there is no key 'learning_rate'. Did you mean 'optimizer.lr'?");
    assert_int_equal(dpt_job_explain("optimizr", &text), DPT_STATUS_USAGE);
    assert_string_equal(dpt_error_text(), "there is no section 'optimizr'. Did you mean 'optimizer'?");
    assert_int_equal(dpt_job_explain("", &text), DPT_STATUS_USAGE);
    text.length = 0;
    dpt_job_complete(&text);
    assert_non_null(strstr(text.data, "\noptimizer.type=\noptimizer.type=sgd\n"));
    assert_non_null(strstr(text.data, "\ndata.shuffle=\ndata.shuffle=yes\ndata.shuffle=no\n"));
    dpt_text_free(&text);
}

/* ----------------------------------------------------------------------------------------------- what differs */

static void check_change(const char *a, const char *b, const char *lines)
{
    struct dpt_job *job_a = job_of(a), *job_b = job_of(b);
    struct dpt_text changed = {0};
    assert_int_equal(dpt_job_same(job_a, job_b, &changed), lines == NULL);
    if (lines) {
        assert_string_equal(changed.data, lines);
    }
    dpt_text_free(&changed);
    dpt_job_free(job_a);
    dpt_job_free(job_b);
}

static void what_may_change_in_a_run(void **state)
{
    (void)state;
    static const char a[] = "[data]\ntrain = /a/train\n";
    check_change(a, "[data]\ntrain = /b/train\n[run]\nlength = 20 epochs\noutput = x\n[log]\nevery = 1 s\n", NULL);
    check_change(a, "[data]\ntrain = /a/other\n[batch]\nglobal = 64\n[run]\nseed = 2\n",
                 "[run] seed: 1 in the run, 2 now\n[data] train: /a/train in the run, /a/other now\n"
                 "[batch] global: 128 in the run, 64 now\n");
    check_change(a, "[data]\ntrain = /a/train\nmean = 1\nstd = 2\n[model]\ntype = cnn\n",
                 "[model] type: mlp in the run, cnn now\n[data] mean: empty in the run, 1 now\n"
                 "[data] std: empty in the run, 2 now\n");
    static const char net[] = "[data]\nformat = synthetic\n[model]\ntype = layers\n[layer.a]\nop = linear\nout = 3\n";
    check_change(net, "[data]\nformat = synthetic\n[model]\ntype = layers\n[layer.a]\nout = 3\nop = linear\n", NULL);
    check_change(net, "[data]\nformat = synthetic\n[model]\ntype = layers\n[layer.a]\nop = linear\nout = 4\n",
                 "[layer.a] differs from that of the run\n");
    check_change(net,
                 "[data]\nformat = synthetic\n[model]\ntype = layers\n[layer.a]\nop = linear\nout = 3\n[layer.b]\n"
                 "op = relu\n",
                 "[layer.NAME]: 1 sections in the run, 2 now\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_printed_reads_back),
        cmocka_unit_test(long_values_read_back),
        cmocka_unit_test(minimal_has_only_what_differs),
        cmocka_unit_test(explain_tells_where_from),
        cmocka_unit_test(every_key_is_sound),
        cmocka_unit_test(explanations_and_lists),
        cmocka_unit_test(what_may_change_in_a_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
