/* SPDX-License-Identifier: Apache-2.0 */

/* dpt_predict against an evaluation of the same net by hand, in double, from the tensors of the checkpoint. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../ckpt/toy.h"
#include "base/file.h"
#include "made.h"
#include "train/predict.h"

static const char *folder;

static int make_folder(void **state)
{
    (void)state;
    folder = toy_folder();
    return folder ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    toy_remove(folder);
    return 0;
}

/* The path of a file in the folder; eight results live at a time. */
static const char *path_of(const char *name)
{
    static char path[8][512];
    static int turn;
    turn = (turn + 1) % 8;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static void write_file(const char *name, const void *bytes, size_t nbytes)
{
    FILE *file = fopen(path_of(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, nbytes, file), nbytes);
    assert_int_equal(fclose(file), 0);
}

static void write_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

static char *read_text(const char *name)
{
    char *text;
    size_t nbytes;
    assert_int_equal(dpt_file_read(path_of(name), 1 << 24, &text, &nbytes), DPT_STATUS_OK);
    return text;
}

/* A run of a job; %s in the text is the folder. */
static void make_run(const char *text, int64_t step, bool is_best, bool poison)
{
    char full[2048];
    struct dpt_job *job = NULL;
    struct dpt_text problems = {0};
    snprintf(full, sizeof full, text, folder, folder);
    if (dpt_job_read_text("job.ini", full, &job, &problems) != DPT_STATUS_OK) {
        fail_msg("%s", problems.data);
    }
    dpt_file_mkdir(path_of("run"));
    if (made_run(path_of("run"), job, step, is_best, poison) != DPT_STATUS_OK) {
        fail_msg("%s", dpt_error_text());
    }
    dpt_job_free(job);
}

static struct dpt_predict_conf conf_of(const char *data)
{
    static char run[512], in[512], out[512]; /* they outlive the turns of path_of */
    snprintf(run, sizeof run, "%s", path_of("run"));
    snprintf(in, sizeof in, "%s", path_of(data ? data : ""));
    snprintf(out, sizeof out, "%s", path_of("out"));
    return (struct dpt_predict_conf){
        .checkpoint = run,
        .data = data ? in : NULL,
        .output = out,
        .top = 1,
        .rows = 128,
        .threads = 1,
        .precision = -1,
    };
}

/* Predicts into "out" and returns what it holds; `said` gets the summary. */
static char *predicted(const struct dpt_predict_conf *conf, struct dpt_text *said)
{
    struct dpt_text notes = {0}, summary = {0};
    if (dpt_predict(conf, &notes, &summary) != DPT_STATUS_OK) {
        fail_msg("%s", dpt_error_text());
    }
    dpt_text_free(&notes);
    if (said) {
        *said = summary;
    } else {
        dpt_text_free(&summary);
    }
    return read_text("out");
}

static void refused(const struct dpt_predict_conf *conf, enum dpt_status expected, const char *words)
{
    struct dpt_text notes = {0}, summary = {0};
    const enum dpt_status got = dpt_predict(conf, &notes, &summary);
    if (got != expected || !strstr(dpt_error_text(), words) || summary.length) {
        fail_msg("expected status %d and '%s', got %d and '%s'", expected, words, got, dpt_error_text());
    }
    dpt_text_free(&notes);
    dpt_text_free(&summary);
}

/* -------------------------------------------------------------------------------- a net of two layers, by hand */

enum { IN = 4, HIDDEN = 6, OUT = 3 };

struct net {
    double w1[HIDDEN * IN], b1[HIDDEN], w2[OUT * HIDDEN], b2[OUT];
};

static void load_net(struct net *net, int outputs)
{
    struct dpt_ckpt *ckpt;
    struct dpt_text notes = {0};
    assert_int_equal(dpt_ckpt_open(path_of("run"), false, &ckpt, &notes), DPT_STATUS_OK);
    struct dpt_ckpt_item item[4] = {
        {.name = "fc1.weight", .type = {DPT_DTYPE_F64, 2, {HIDDEN, IN}}, .data = net->w1},
        {.name = "fc1.bias", .type = {DPT_DTYPE_F64, 1, {HIDDEN}}, .data = net->b1},
        {.name = "fc2.weight", .type = {DPT_DTYPE_F64, 2, {outputs, HIDDEN}}, .data = net->w2},
        {.name = "fc2.bias", .type = {DPT_DTYPE_F64, 1, {outputs}}, .data = net->b2},
    };
    for (int i = 0; i < 4; i++) {
        item[i].file = DPT_CKPT_FILE_MODEL;
        memcpy(item[i].extent, item[i].type.dim, sizeof item[i].extent);
    }
    assert_int_equal(dpt_ckpt_load(ckpt, 4, item, false), DPT_STATUS_OK);
    dpt_ckpt_close(ckpt);
    dpt_text_free(&notes);
}

static void run_net(const struct net *net, int outputs, const double *x, double *y)
{
    double h[HIDDEN];
    for (int j = 0; j < HIDDEN; j++) {
        h[j] = net->b1[j];
        for (int i = 0; i < IN; i++) {
            h[j] += net->w1[j * IN + i] * x[i];
        }
        h[j] = tanh(h[j]);
    }
    for (int k = 0; k < outputs; k++) {
        y[k] = net->b2[k];
        for (int j = 0; j < HIDDEN; j++) {
            y[k] += net->w2[k * HIDDEN + j] * h[j];
        }
    }
}

/* ------------------------------------------------------------------------------------------------------ classes */

/* In double, so that only the rounding of the inputs to float is between the two. */
static const char classes_job[] = "[run]\nprecision = fp64\n"
                                  "[data]\nformat = csv\ntrain = %s/train.csv\ntarget = kind\ndelimiter = comma\n"
                                  "[model]\ntype = mlp\nwidths = 6\nactivation = tanh\n[batch]\nglobal = 2\n";

/* Means 2 and 30, deviations 1 and 10; "a" and "b" become two inputs. Names of classes that want quotes. */
static const char classes_train[] = "size,where,weight,kind\n"
                                    "1,a,20,\"big, red\"\n3,b,40,\"the \"\"cat\"\"\"\n1,b,40,plain\n3,a,20,plain\n";

static const struct {
    double size, weight;
    char where;
} sample[] = {{1, 20, 'a'}, {2, 35, 'b'}, {-7, 31, 'a'}, {10, 0, 'b'}, {2.5, 30, 'a'}, {0, 100, 'b'}, {3, 3, 'a'}};
enum { SAMPLES = sizeof sample / sizeof sample[0] };

static void reference(const struct net *net, int s, int outputs, double *y)
{
    const double x[IN] = {(float)(sample[s].size - 2), sample[s].where == 'a', sample[s].where == 'b',
                          (float)((sample[s].weight - 30) / 10)};
    run_net(net, outputs, x, y);
}

/* Columns in another order, one more; with or without the target. */
static void write_samples(const char *name, const char *target)
{
    struct dpt_text text = {0};
    dpt_text_add(&text, "more,weight,where,size%s\n", target ? ",kind" : "");
    for (int s = 0; s < SAMPLES; s++) {
        dpt_text_add(&text, "%d,%g,%c,%g%s%s\n", s, sample[s].weight, sample[s].where, sample[s].size,
                     target ? "," : "", target ? target : "");
    }
    write_text(name, text.data);
    dpt_text_free(&text);
}

static void classes_are_those_of_the_net(void **state)
{
    (void)state;
    static const char *const quoted[OUT] = {"\"big, red\"", "plain", "\"the \"\"cat\"\"\""};
    struct net net;
    struct dpt_text want = {0};
    write_text("train.csv", classes_train);
    make_run(classes_job, 7, false, false);
    unlink(path_of("train.csv")); /* nothing of the training data is needed */
    load_net(&net, OUT);
    write_samples("new.csv", NULL);
    struct dpt_predict_conf conf = conf_of("new.csv");
    conf.top = 2;
    char *got = predicted(&conf, NULL);
    dpt_text_add(&want, "row,class,probability,class_2,probability_2\n");
    for (int s = 0; s < SAMPLES; s++) {
        double y[OUT], sum = 0;
        int first = 0, second;
        reference(&net, s, OUT, y);
        for (int k = 0; k < OUT; k++) {
            first = y[k] > y[first] ? k : first;
            sum += exp(y[k]);
        }
        second = first == 0;
        for (int k = 0; k < OUT; k++) {
            second = k != first && y[k] > y[second] ? k : second;
        }
        dpt_text_add(&want, "%d,%s,%.6g,%s,%.6g\n", s + 1, quoted[first], exp(y[first]) / sum, quoted[second],
                     exp(y[second]) / sum);
    }
    assert_string_equal(got, want.data);
    free(got);

    /* However many samples are computed at a time. */
    for (conf.rows = 1; conf.rows <= SAMPLES + 1; conf.rows++) {
        got = predicted(&conf, NULL);
        assert_string_equal(got, want.data);
        free(got);
    }
    dpt_text_free(&want);
}

static void labels_are_counted(void **state)
{
    (void)state;
    struct dpt_text said = {0};
    char expected[64], *rest = NULL;
    write_text("train.csv", classes_train);
    make_run(classes_job, 7, false, false);
    write_samples("new.csv", "plain");
    struct dpt_predict_conf conf = conf_of("new.csv");
    char *got = predicted(&conf, &said);
    int rows = -1, right = 0;
    for (const char *line = strtok_r(got, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        const bool yes = strstr(line, ",plain,yes"), no = strstr(line, ",plain,no");
        assert_true(rows < 0 ? strcmp(line, "row,class,probability,label,right") == 0 : yes != no);
        /* ",plain," is in the line before the label too when the class is right. */
        assert_true(rows < 0 || yes == (strchr(line, 'p') != strrchr(line, 'p')));
        right += yes;
        rows++;
    }
    assert_int_equal(rows, SAMPLES);
    snprintf(expected, sizeof expected, "7 samples, accuracy %.2f %%\n", 100.0 * right / SAMPLES);
    assert_non_null(strstr(said.data, expected));
    assert_non_null(strstr(said.data, "step-00000007: "));
    dpt_text_free(&said);
    free(got);

    /* Among three of three classes the right one is found. */
    conf.top = 5;
    got = predicted(&conf, &said);
    assert_non_null(strstr(said.data, "right among the first 3 100.00 %"));
    assert_non_null(strstr(got, ",class_3,probability_3,label,right\n"));
    free(got);
    dpt_text_free(&said);

    write_samples("new.csv", "purple");
    refused(&conf, DPT_STATUS_DATA, "'purple' is none of the 3 classes");
}

static void json_says_the_same(void **state)
{
    (void)state;
    write_text("train.csv", classes_train);
    make_run(classes_job, 7, false, false);
    write_samples("new.csv", "\"big, red\"");
    struct dpt_predict_conf conf = conf_of("new.csv");
    char *table = predicted(&conf, NULL), *in_table = NULL, *in_json = NULL;
    conf.format = DPT_PREDICT_FORMAT_JSONL;
    conf.top = 3;
    char *json = predicted(&conf, NULL);
    strtok_r(table, "\n", &in_table);
    for (int s = 0; s < SAMPLES; s++) {
        json_t *record = json_loads(strtok_r(s ? NULL : json, "\n", &in_json), 0, NULL);
        json_t *top = json_object_get(record, "top"), *one;
        const char *line = strtok_r(NULL, "\n", &in_table);
        size_t k;
        double sum = 0, before = 1;
        char number[32];
        assert_non_null(record);
        assert_int_equal(json_integer_value(json_object_get(record, "row")), s + 1);
        assert_string_equal(json_string_value(json_object_get(record, "label")), "big, red");
        assert_int_equal(json_is_true(json_object_get(record, "right")), strstr(line, ",yes") != NULL);
        snprintf(number, sizeof number, ",%.6g,", json_number_value(json_object_get(record, "probability")));
        assert_non_null(strstr(line, number));
        assert_int_equal(json_array_size(top), 3);
        json_array_foreach(top, k, one) {
            const double p = json_number_value(json_object_get(one, "probability"));
            assert_true(p <= before);
            sum += before = p;
        }
        assert_true(fabs(sum - 1) < 1e-5);
        json_decref(record);
    }
    assert_null(strtok_r(NULL, "\n", &in_json));
    free(json);
    free(table);
}

/* ------------------------------------------------------------------------------------------------------ numbers */

static const char numbers_job[] = "[run]\nprecision = fp64\n"
                                  "[data]\nformat = csv\ntrain = %s/train.csv\ntarget = price rent\n"
                                  "[model]\ntype = mlp\nwidths = 6\nactivation = tanh\n[batch]\nglobal = 2\n";

static void numbers_are_those_of_the_net(void **state)
{
    (void)state;
    struct net net;
    struct dpt_text table = {0}, said = {0};
    write_text("train.csv", "size,where,weight,price,rent\n1,a,20,7,1\n3,b,40,8,2\n1,b,40,9,3\n3,a,20,10,4\n");
    make_run(numbers_job, 3, false, false);
    load_net(&net, 2);
    /* Targets far from zero, to see that squares keep their digits. */
    dpt_text_add(&table, "size,where,weight,price,rent\n");
    double error2 = 0, mean = 0, spread = 0;
    for (int s = 0; s < SAMPLES; s++) {
        dpt_text_add(&table, "%g,%c,%g,%d,%d\n", sample[s].size, sample[s].where, sample[s].weight, 100000 + s,
                     100000 - s);
        mean += 200000.0 / (2 * SAMPLES);
    }
    write_text("new.csv", table.data);
    const struct dpt_predict_conf conf = conf_of("new.csv");
    char *got = predicted(&conf, &said), *rest = NULL;
    assert_string_equal(strtok_r(got, "\n", &rest), "row,predicted_price,predicted_rent,target_price,target_rent");
    for (int s = 0; s < SAMPLES; s++) {
        double y[2], p[2], t[2];
        int row;
        reference(&net, s, 2, y);
        assert_int_equal(sscanf(strtok_r(NULL, "\n", &rest), "%d,%lf,%lf,%lf,%lf", &row, &p[0], &p[1], &t[0], &t[1]), 5);
        assert_int_equal(row, s + 1);
        for (int k = 0; k < 2; k++) {
            assert_true(fabs(p[k] - y[k]) < 1e-12);
            assert_true(t[k] == 100000 + (k ? -s : s));
            error2 += (y[k] - t[k]) * (y[k] - t[k]);
            spread += (t[k] - mean) * (t[k] - mean);
        }
    }
    char expected[96];
    snprintf(expected, sizeof expected, "7 samples, RMSE %.6g, R2 %.4f\n", sqrt(error2 / (2 * SAMPLES)),
             1 - error2 / spread);
    assert_non_null(strstr(said.data, expected));
    free(got);
    dpt_text_free(&said);
    dpt_text_free(&table);

    /* Without targets there are only predictions. */
    write_samples("new.csv", NULL);
    got = predicted(&conf, &said);
    assert_memory_equal(got, "row,predicted_price,predicted_rent\n1,", 37);
    assert_null(strstr(said.data, "RMSE"));
    free(got);
    dpt_text_free(&said);
}

/* ------------------------------------------------------------------------------------------------------- images */

static const char images_job[] = "[data]\nformat = idx\ntrain = %s/train\ntest = %s/t10k\n"
                                 "[model]\ntype = resnet\ndepth = 20\n[batch]\nglobal = 4\n";

static void write_images(const char *prefix, int count, int height, int classes)
{
    unsigned char bytes[16 + 32 * 12 * 12] = {0, 0, 8, 3, 0, 0, 0, (unsigned char)count, 0, 0, 0, (unsigned char)height,
                                              0, 0, 0, 12};
    char name[64];
    for (int i = 0; i < count * height * 12; i++) {
        bytes[16 + i] = (unsigned char)(i * 7919 % 251);
    }
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", prefix);
    write_file(name, bytes, 16 + (size_t)(count * height * 12));
    unsigned char label[8 + 32] = {0, 0, 8, 1, 0, 0, 0, (unsigned char)count};
    for (int i = 0; i < count; i++) {
        label[8 + i] = (unsigned char)(i % classes);
    }
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", prefix);
    write_file(name, label, 8 + (size_t)count);
}

static void images_and_the_test_data_of_the_job(void **state)
{
    (void)state;
    struct dpt_text said = {0};
    write_images("train", 8, 12, 4);
    write_images("t10k", 29, 12, 4);
    make_run(images_job, 1, false, false);
    struct dpt_predict_conf conf = conf_of(NULL);
    char *whole = predicted(&conf, &said), *in_whole = NULL, *in_parts = NULL;
    assert_non_null(strstr(said.data, "t10k-images-idx3-ubyte: 29 samples, accuracy"));
    conf.rows = 8; /* three full batches and one of 5 */
    char *parts = predicted(&conf, NULL);
    const char *a = strtok_r(whole, "\n", &in_whole), *b = strtok_r(parts, "\n", &in_parts);
    for (int s = 0; s < 29; s++) {
        int row[2], class[2], label[2];
        double p[2];
        a = strtok_r(NULL, "\n", &in_whole);
        b = strtok_r(NULL, "\n", &in_parts);
        assert_int_equal(sscanf(a, "%d,%d,%lf,%d", &row[0], &class[0], &p[0], &label[0]), 4);
        assert_int_equal(sscanf(b, "%d,%d,%lf,%d", &row[1], &class[1], &p[1], &label[1]), 4);
        assert_true(row[0] == s + 1 && row[1] == s + 1 && label[0] == s % 4 && label[1] == s % 4);
        assert_true(class[0] == class[1] && fabs(p[0] - p[1]) < 1e-4);
        assert_true(class[0] >= 0 && class[0] < 4 && p[0] >= 0.25 && p[0] <= 1);
    }
    free(whole);
    free(parts);
    dpt_text_free(&said);

    /* No labels beside the images: the same predictions. */
    unlink(path_of("t10k-labels-idx1-ubyte"));
    whole = predicted(&conf, &said);
    assert_memory_equal(whole, "row,class,probability\n1,", 24);
    assert_non_null(strstr(said.data, "29 samples\n"));
    free(whole);
    dpt_text_free(&said);

    write_images("other", 3, 10, 4);
    conf = conf_of("other");
    refused(&conf, DPT_STATUS_DATA, "a sample is 10 x 12 x 1, but it was 12 x 12 x 1 in training");
}

/* -------------------------------------------------------------------------------------------- what is not there */

static void checkpoints_are_chosen(void **state)
{
    (void)state;
    struct dpt_text said = {0};
    write_text("train.csv", classes_train);
    make_run(classes_job, 3, false, false);
    write_samples("new.csv", NULL);
    struct dpt_predict_conf conf = conf_of("new.csv");
    conf.which = DPT_CKPT_WHICH_BEST;
    refused(&conf, DPT_STATUS_DATA, "best: names no checkpoint");
    make_run(classes_job, 5, true, false);
    make_run(classes_job, 8, false, false);
    static const struct {
        enum dpt_ckpt_which which;
        const char *path, *step;
    } cases[] = {
        {DPT_CKPT_WHICH_AUTO, "run", "step-00000005"},
        {DPT_CKPT_WHICH_BEST, "run", "step-00000005"},
        {DPT_CKPT_WHICH_LATEST, "run", "step-00000008"},
        {DPT_CKPT_WHICH_AUTO, "run/checkpoints/step-00000003", "step-00000003"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        conf = conf_of("new.csv");
        conf.which = cases[i].which;
        conf.checkpoint = path_of(cases[i].path);
        free(predicted(&conf, &said));
        assert_non_null(strstr(said.data, cases[i].step));
        dpt_text_free(&said);
    }

    /* The newest is damaged: the one before is used, and a note says so. The best is damaged: that is the end. */
    struct dpt_text notes = {0}, summary = {0};
    write_text("run/checkpoints/step-00000008/model.safetensors", "damaged");
    conf = conf_of("new.csv");
    conf.which = DPT_CKPT_WHICH_LATEST;
    assert_int_equal(dpt_predict(&conf, &notes, &summary), DPT_STATUS_OK);
    assert_non_null(strstr(notes.data, "step-00000008: damaged"));
    assert_non_null(strstr(summary.data, "step-00000005"));
    dpt_text_free(&notes);
    dpt_text_free(&summary);
    write_text("run/checkpoints/step-00000005/model.safetensors", "damaged");
    conf.which = DPT_CKPT_WHICH_AUTO;
    refused(&conf, DPT_STATUS_DATA, "step-00000005");
    toy_remove(path_of("run"));
    refused(&conf, DPT_STATUS_DATA, "run: No such file");
    dpt_file_mkdir(path_of("run"));
    refused(&conf, DPT_STATUS_DATA, "has no checkpoint");
}

static void data_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    toy_remove(path_of("run"));
    write_text("train.csv", classes_train);
    make_run(classes_job, 1, false, false);
    struct dpt_predict_conf conf = conf_of("missing.csv");
    refused(&conf, DPT_STATUS_DATA, "missing.csv");
    conf = conf_of(NULL);
    refused(&conf, DPT_STATUS_USAGE, "the job has no [data] test");
    write_text("few.csv", "size,where\n1,a\n");
    conf = conf_of("few.csv");
    refused(&conf, DPT_STATUS_DATA, "no column 'weight'");
    write_text("head.csv", "size,where,weight\n");
    conf = conf_of("head.csv");
    refused(&conf, DPT_STATUS_DATA, "head.csv");
    write_text("text.csv", "size,where,weight\n1,a,heavy\n");
    conf = conf_of("text.csv");
    refused(&conf, DPT_STATUS_DATA, "'heavy' is no number");
    assert_int_equal(access(path_of("out"), F_OK), -1);

    toy_remove(path_of("run"));
    make_run("[data]\nformat = synthetic\nshape = 3\nsamples = 20\n[model]\ntype = mlp\n[batch]\nglobal = 2\n", 1, false,
             false);
    refused(&conf, DPT_STATUS_DATA, "synthetic");
}

static void output_is_whole_or_not_there(void **state)
{
    (void)state;
    toy_remove(path_of("run"));
    write_text("train.csv", classes_train);
    write_samples("new.csv", NULL);
    make_run(classes_job, 1, false, true); /* a parameter is no number */
    write_text("out", "of before\n");
    struct dpt_predict_conf conf = conf_of("new.csv");
    refused(&conf, DPT_STATUS_DIVERGED, "sample 1: output");
    char *got = read_text("out");
    assert_string_equal(got, "of before\n");
    free(got);
    unlink(path_of("out"));
    conf.output = path_of("no/such/folder");
    make_run(classes_job, 2, false, false);
    refused(&conf, DPT_STATUS_FAILED, "no/such/folder: cannot be written: No such file");
    if (access("/dev/full", W_OK) == 0) {
        conf.output = "/dev/full";
        refused(&conf, DPT_STATUS_SPACE, "/dev/full: cannot be written: No space left");
    }
    /* Nothing but what the test itself made was left in the folder. */
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir));) {
        assert_null(strstr(entry->d_name, "out"));
    }
    closedir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(classes_are_those_of_the_net, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(labels_are_counted, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(json_says_the_same, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(numbers_are_those_of_the_net, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(images_and_the_test_data_of_the_job, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(checkpoints_are_chosen, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(data_that_do_not_fit_are_refused, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(output_is_whole_or_not_there, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
