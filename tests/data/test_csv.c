/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

#include <math.h>

enum { ROOM = 4096 };

/* A text for a job, which wants it writable; sixteen live at a time. */
static char *text_of(const char *string)
{
    static char text[16][512];
    static int turn;
    turn = (turn + 1) % 16;
    snprintf(text[turn], sizeof text[turn], "%s", string);
    return text[turn];
}

/* A list of one or two names, or none; eight live at a time. */
static struct dpt_names names(const char *first, const char *second)
{
    static char *value[8][2];
    static int turn;
    turn = (turn + 1) % 8;
    value[turn][0] = first ? text_of(first) : NULL;
    value[turn][1] = second ? text_of(second) : NULL;
    return (struct dpt_names){.count = (first != NULL) + (second != NULL), .value = value[turn]};
}

static struct dpt_job csv_job(const char *train)
{
    struct dpt_job job = plain_job(DPT_DATA_FORMAT_CSV);
    job.data.train = text_of(path_of(train));
    job.data.header = true;
    return job;
}

static void fetch_all(const struct dpt_data *data, float *x, void *target)
{
    const int64_t samples = dpt_data_info(data)->samples;
    assert_true(samples * numel_of(data) <= ROOM);
    assert_int_equal(dpt_data_fetch(data, -1, 0, samples, x, target), DPT_STATUS_OK);
}

static void same(const float *x, int count, const double *expected)
{
    for (int i = 0; i < count; i++) {
        if (!(fabs(x[i] - expected[i]) < 1e-6)) {
            fail_msg("value %d is %g, expected %g", i, x[i], expected[i]);
        }
    }
}

static const double ROOT = 1.2247448713915890; /* deviation of 1, 2, 3 is 1 / ROOT */

/* Numbers, categories, missing values, constant columns, ignored columns, class names. */
static void columns_become_inputs(void **state)
{
    (void)state;
    write_text("a.csv", "id,age,colour,flat,class\n"
                        "x1,1,red,5,yes\n"
                        "x2,3,blue,5,no\n"
                        "x3,?,red,5,yes\n"
                        "x4,2,?,5,maybe\n");
    struct dpt_job job = csv_job("a.csv");
    job.data.target = names("class", NULL);
    job.data.ignore = names("id", NULL);
    job.data.missing = text_of("?");
    struct dpt_data *data = opened(&job, DPT_SPLIT_TRAIN, NULL);
    const struct dpt_data_info *info = dpt_data_info(data);
    assert_int_equal(info->samples, 4);
    assert_int_equal(info->ndim, 1);
    assert_int_equal(info->dim[0], 5);
    assert_int_equal(info->classes, 3);
    assert_string_equal(dpt_data_class(data, 0), "maybe");
    assert_string_equal(dpt_data_class(data, 1), "no");
    assert_string_equal(dpt_data_class(data, 2), "yes");
    assert_null(dpt_data_class(data, 3));
    float x[ROOM];
    int32_t class[4];
    fetch_all(data, x, class);
    /* age, missing colour, blue, red, flat */
    const double expected[] = {-ROOT, 0, 0, 1, 0, ROOT, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0};
    same(x, 20, expected);
    assert_memory_equal(class, ((int32_t[]){2, 1, 2, 0}), sizeof class);
    dpt_data_close(data);

    /* Without normalisation a missing number is still the mean. */
    job.data.normalize = DPT_AUTO_OFF;
    data = opened(&job, DPT_SPLIT_TRAIN, NULL);
    fetch_all(data, x, class);
    const double plain[] = {1, 0, 0, 1, 5, 3, 0, 1, 0, 5, 2, 0, 0, 1, 5, 2, 1, 0, 0, 5};
    same(x, 20, plain);
    dpt_data_close(data);

    /* A numeric column may be read as categories: numbers are sorted by value. */
    job = csv_job("b.csv");
    write_text("b.csv", "n,y\n10,1\n9,2\n10,3\n-1,4\n");
    job.data.target = names("y", NULL);
    job.data.categorical = names("n", NULL);
    data = opened(&job, DPT_SPLIT_TRAIN, NULL);
    float y[4];
    fetch_all(data, x, y);
    const double hot[] = {0, 0, 1, 0, 1, 0, 0, 0, 1, 1, 0, 0};
    same(x, 12, hot);
    same(y, 4, (double[]){1, 2, 3, 4});
    assert_int_equal(dpt_data_info(data)->classes, 0);
    dpt_data_close(data);
}

/* The same table in every dress. */
static void dresses_of_a_table(void **state)
{
    (void)state;
    const struct {
        const char *text, *delimiter;
        bool header;
    } dress[] = {
        {"a,b,c\n1,2,3\n4,5,6\n", "auto", true},
        {"1,2,3\n4,5,6", "auto", false},
        {"\xEF\xBB\xBF\"a\",b,c\r\n1,2,3\r\n4,5,6\r\n\r\n", "auto", true},
        {"a,b,c\r1,2,3\r4,5,6\r", "comma", true},
        {"\n \n a , b,c\n\n  1 ,2, 3\n \n4,\"5\" ,\t6\t\n", "auto", true},
        {"a\tb\tc\n1\t2\t3\n4\t5\t6\n", "auto", true},
        {"a;b;c\n1;2;3\n4;5;6\n", "auto", true},
        {"a b  c\n 1 2\t3 \n4 \"5\" 6\n", "auto", true},
        {"   1.0 2 3\n   4.0 5 6\n", "space", false},
        {"1.0e0,+2,3.\n4,5,60E-1\n", "comma", false},
        {"\"a,;;;\tx\",b,c\n1,2,3\n4,5,6\n", "auto", true},
    };
    const double rows[] = {1, 2, 4, 5}, targets[] = {3, 6};
    for (size_t i = 0; i < sizeof dress / sizeof dress[0]; i++) {
        write_text("dress.csv", dress[i].text);
        struct dpt_job job = csv_job("dress.csv");
        job.data.header = dress[i].header;
        job.data.delimiter = text_of(dress[i].delimiter);
        job.data.target = names("3", NULL);
        job.data.normalize = DPT_AUTO_OFF;
        struct dpt_data *data = opened(&job, DPT_SPLIT_TRAIN, NULL);
        float x[ROOM], y[2];
        fetch_all(data, x, y);
        same(x, 4, rows);
        same(y, 2, targets);
        dpt_data_close(data);
    }
}

/* Quotes of RFC 4180: delimiters, line ends and doubled quotes inside; spaces inside are kept. */
static void quotes(void **state)
{
    (void)state;
    write_text("q.csv", "t,\"the \"\"class\"\"\"\n1,\"a,b\"\n2,\"line\r\nbreak\"\n3,\" a \"\n4,\"\"\"\"\n5,5\"x\"\n");
    struct dpt_job job = csv_job("q.csv");
    job.data.target = names("the \"class\"", NULL);
    struct dpt_data *data = opened(&job, DPT_SPLIT_TRAIN, NULL);
    const char *const expected[] = {" a ", "\"", "5\"x\"", "a,b", "line\r\nbreak"};
    assert_int_equal(dpt_data_info(data)->classes, 5);
    for (int i = 0; i < 5; i++) {
        assert_string_equal(dpt_data_class(data, i), expected[i]);
    }
    dpt_data_close(data);
    /* Lines inside quotes count. */
    write_text("q.csv", "a,b\n\"x\ny\",1\n\"z\n\",2,3\n");
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "line 4 has 3 fields, but line 1 has 2");
}

static void statistics_come_from_the_training_part(void **state)
{
    (void)state;
    enum { ROWS = 40 };
    char text[ROWS * 32];
    size_t used = (size_t)sprintf(text, "v,c,y\n");
    for (int i = 0; i < ROWS; i++) {
        used += (size_t)sprintf(text + used, "%d,c%d,%d\n", i * i, i, i);
    }
    write_text("part.csv", text);
    struct dpt_job job = csv_job("part.csv");
    job.data.target = names("y", NULL);
    job.data.valid_share = 0.25;
    struct dpt_data *train = opened(&job, DPT_SPLIT_TRAIN, NULL), *valid = opened(&job, DPT_SPLIT_VALID, train);
    assert_int_equal(dpt_data_info(train)->samples, 30);
    assert_int_equal(dpt_data_info(valid)->samples, 10);
    assert_int_equal(dpt_data_info(train)->dim[0], 31);
    float x[ROOM], y[ROWS];
    double sum = 0.0, squares = 0.0;
    fetch_all(train, x, y);
    for (int i = 0; i < 30; i++) {
        sum += x[31 * i];
        squares += x[31 * i] * x[31 * i];
    }
    assert_true(fabs(sum) < 1e-4 && fabs(squares / 30 - 1.0) < 1e-5);
    /* The line through two training rows holds for the rows held back: the same mean and deviation. */
    const double slope = (x[31] - x[0]) / (y[1] * y[1] - y[0] * y[0]), offset = x[0] - slope * y[0] * y[0];
    fetch_all(valid, x, y);
    for (int i = 0; i < 10; i++) {
        assert_true(fabs(x[31 * i] - (slope * y[i] * y[i] + offset)) < 1e-4);
        for (int k = 1; k < 31; k++) {
            assert_true(x[31 * i + k] == 0.0f);
        }
    }
    /* Categories that only the rows held back have are unknown. */
    assert_non_null(strstr(dpt_data_notes(train), "so do 10 values in all"));
    dpt_data_close(valid);
    dpt_data_close(train);
}

/* Valid, test and files to predict from are matched by name, or by place where there is no header. */
static void other_files(void **state)
{
    (void)state;
    write_text("train.csv", "a,kind,b,class,note\n1,u,10,A,-\n3,v,20,B,-\n");
    struct dpt_job job = csv_job("train.csv");
    job.data.target = names("class", NULL);
    job.data.ignore = names("note", NULL);
    job.data.test = text_of(path_of("test.csv"));
    struct dpt_data *train = opened(&job, DPT_SPLIT_TRAIN, NULL);
    float x[ROOM];
    int32_t class[8];

    /* Other order, other delimiter, a column more, one that was ignored less; an unknown kind; a missing value. */
    write_text("test.csv", "class;b;extra;a;kind\nB;10;0;3;w\n\"A\";;0;2;u\nB.;15;0;2;\n");
    struct dpt_data *test = opened(&job, DPT_SPLIT_TEST, train);
    assert_int_equal(dpt_data_info(test)->samples, 3);
    fetch_all(test, x, class);
    same(x, 12, (double[]){1, 0, 0, -1, 0, 1, 0, 0, 0, 0, 0, 0});
    assert_memory_equal(class, ((int32_t[]){1, 0, 1}), 12);
    assert_string_equal(dpt_data_class(test, 1), "B");
    assert_non_null(strstr(dpt_data_notes(test), "line 2, column 5 (kind): 'w' is none of the 2 categories"));
    assert_non_null(strstr(dpt_data_notes(test), "so do 2 values in all"));
    assert_non_null(strstr(dpt_data_notes(test), "1 of 3 classes end in a full stop"));
    dpt_data_close(test);

    const struct {
        const char *text, *words;
    } bad[] = {
        {"a,kind,b,clas\n1,u,1,A\n", "no column 'class', which the training data have; 'clas' is nearest"},
        {"a,kind,b,b,class\n1,u,1,1,A\n", "columns 3 and 4 are both named 'b'"},
        {"a,kind,b,class\n1,u,1,A\n1,u,abc,A\n", "line 3, column 3 (b): 'abc' is no number, as all values of"},
        {"a,kind,b,class\n1,u,1,A\n\n1,u,1,C\n", "line 4, column 4 (class): 'C' is none of the 2 classes"},
        {"a,kind,b,class\n1,u,1,\n", "line 2, column 4 (class): '' is none"},
        {"a,kind,b,class\n1e308,u,1,A\n", "line 2, column 1 (a): 1e308 is too far from"},
        {"a,kind,b,class\n", "a header in its first line but no rows"},
        {"", "is empty"},
        {"\n \n   \r\n", "is empty"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_text("test.csv", bad[i].text);
        refuses(&job, DPT_SPLIT_TEST, train, DPT_STATUS_DATA, bad[i].words);
        assert_non_null(strstr(dpt_error_text(), "test.csv: "));
    }

    /* A file to predict from: no target column, or an empty one. */
    char *preparation = strdup(dpt_data_preparation(train));
    dpt_data_close(train);
    const char *const unlabelled[] = {"b,a,kind\n20,1,v\n", "b,a,kind,class\n20,1,v,\n"};
    for (int i = 0; i < 2; i++) {
        write_text("new.csv", unlabelled[i]);
        struct dpt_data *data = NULL;
        assert_int_equal(dpt_data_open_file(&job, path_of("new.csv"), preparation, &data), DPT_STATUS_OK);
        assert_false(dpt_data_info(data)->labelled);
        assert_int_equal(dpt_data_info(data)->classes, 2);
        assert_string_equal(dpt_data_class(data, 0), "A");
        assert_string_equal(dpt_data_preparation(data), preparation);
        fetch_all(data, x, NULL);
        same(x, 4, (double[]){-1, 0, 1, 1});
        dpt_data_close(data);
    }
    write_text("new.csv", "b,a,kind,class\n20,1,v,B\n");
    struct dpt_data *data = NULL;
    assert_int_equal(dpt_data_open_file(&job, path_of("new.csv"), preparation, &data), DPT_STATUS_OK);
    assert_true(dpt_data_info(data)->labelled);
    fetch_all(data, x, class);
    assert_int_equal(class[0], 1);
    dpt_data_close(data);
    free(preparation);

    /* Without headers. */
    write_text("train.csv", "1,0,7\n2,1,7\n4,0,8\n");
    job = csv_job("train.csv");
    job.data.header = false;
    job.data.target = names("1", "3");
    train = opened(&job, DPT_SPLIT_TRAIN, NULL);
    assert_int_equal(dpt_data_info(train)->targets, 2);
    float y[6];
    fetch_all(train, x, y);
    same(y, 6, (double[]){1, 7, 2, 7, 4, 8});
    preparation = strdup(dpt_data_preparation(train));
    dpt_data_close(train);
    write_text("new.csv", "1\n0\n");
    assert_int_equal(dpt_data_open_file(&job, path_of("new.csv"), preparation, &data), DPT_STATUS_OK);
    float again[2];
    fetch_all(data, again, NULL);
    assert_true(again[0] == x[1] && again[1] == x[0]);
    dpt_data_close(data);
    write_text("new.csv", "1,2\n");
    refused(dpt_data_open_file(&job, path_of("new.csv"), preparation, &data), DPT_STATUS_DATA,
            "line 1 has 2 columns, but the training data have 3");
    assert_null(data);
    free(preparation);
}

/* The traps of the UCI Adult set: spaces after commas, ? for missing, full stops behind the test labels. */
static void adult(void **state)
{
    (void)state;
    write_text("adult.csv", "39, State-gov, 77516, Male, <=50K\n"
                            "50, ?, 83311, Female, >50K\n"
                            "38, Private, 215646, Male, <=50K\n");
    write_text("adult.test.csv", "25, Private, 226802, Male, <=50K.\n28, Local-gov, 336951, Female, >50K.\n\n");
    struct dpt_job job = csv_job("adult.csv");
    job.data.header = false;
    job.data.target = names("5", NULL);
    job.data.missing = text_of("?");
    job.data.test = text_of(path_of("adult.test.csv"));
    struct dpt_data *train = opened(&job, DPT_SPLIT_TRAIN, NULL), *test = opened(&job, DPT_SPLIT_TEST, train);
    assert_int_equal(dpt_data_info(train)->dim[0], 2 + 3 + 2);
    assert_string_equal(dpt_data_class(train, 0), "<=50K");
    float x[ROOM];
    int32_t class[2];
    fetch_all(test, x, class);
    assert_memory_equal(class, ((int32_t[]){0, 1}), 8);
    assert_non_null(strstr(dpt_data_notes(test), "2 of 2 classes end in a full stop"));
    dpt_data_close(test);
    dpt_data_close(train);
}

static void what_is_a_class(void **state)
{
    (void)state;
    write_text("t.csv", "x,n,t\n1,10,a\n2,9,b\n3,9,a\n");
    struct dpt_job job = csv_job("t.csv");
    const struct {
        const char *target;
        enum dpt_task task;
        enum dpt_loss_type loss;
        int64_t classes;
    } cases[] = {
        {"t", DPT_TASK_AUTO, DPT_LOSS_TYPE_AUTO, 2},
        {"n", DPT_TASK_AUTO, DPT_LOSS_TYPE_AUTO, 0},
        {"n", DPT_TASK_AUTO, DPT_LOSS_TYPE_CROSS_ENTROPY, 2},
        {"n", DPT_TASK_AUTO, DPT_LOSS_TYPE_MSE, 0},
        {"n", DPT_TASK_CLASSIFICATION, DPT_LOSS_TYPE_AUTO, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        job.data.target = names(cases[i].target, NULL);
        job.data.task = cases[i].task;
        job.loss.type = cases[i].loss;
        struct dpt_data *data = opened(&job, DPT_SPLIT_TRAIN, NULL);
        assert_int_equal(dpt_data_info(data)->classes, cases[i].classes);
        if (cases[i].classes && *cases[i].target == 'n') {
            assert_string_equal(dpt_data_class(data, 0), "9");
            assert_string_equal(dpt_data_class(data, 1), "10");
        }
        dpt_data_close(data);
    }
    job.data.target = names("t", NULL);
    job.data.task = DPT_TASK_REGRESSION;
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "line 2, column 3 (t): 'a' is no number; the target");
    job.data.target = names("n", "t");
    job.data.task = DPT_TASK_CLASSIFICATION;
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_USAGE, "target names 2 columns");
}

static void data_as_a_header(void **state)
{
    (void)state;
    write_text("h.csv", "1,x,0\n2,y,1\n3,x,1\n");
    struct dpt_job job = csv_job("h.csv");
    job.data.target = names("3", NULL);
    struct dpt_data *data = opened(&job, DPT_SPLIT_TRAIN, NULL);
    assert_non_null(strstr(dpt_data_notes(data), "column 1 is named '1', a number; if the first line is data"));
    dpt_data_close(data);
}

static void refusals(void **state)
{
    (void)state;
    const struct {
        const char *text, *target, *categorical, *ignore;
        bool header;
        enum dpt_status status;
        const char *words;
    } cases[] = {
        {"a,b\n1,2\n", NULL, NULL, NULL, true, DPT_STATUS_USAGE, "[data] target is empty"},
        {"alpha,beta\n1,2\n", "betta", NULL, NULL, true, DPT_STATUS_USAGE, "is 'beta' meant?"},
        {"a,b\n1,2\n", "3", NULL, NULL, true, DPT_STATUS_USAGE, "nor is it a number from 1 to 2"},
        {"1,2\n", "b", NULL, NULL, false, DPT_STATUS_USAGE, "has no header"},
        {"a,b\n1,2\n", "b", "b", NULL, true, DPT_STATUS_USAGE, "column 2 is named twice"},
        {"a,b\n1,2\n", "b", NULL, "a", true, DPT_STATUS_USAGE, "no column is left as an input"},
        {"a,a,b\n1,2,3\n", "b", NULL, NULL, true, DPT_STATUS_DATA, "columns 1 and 2 are both named 'a'"},
        {"a,b\n1,2\n3\n", "b", NULL, NULL, true, DPT_STATUS_DATA,
         "line 3 has 1 fields, but line 1 has 2; they are taken to be separated by the comma"},
        {"a,b\n1,\"2\n3\n", "b", NULL, NULL, true, DPT_STATUS_DATA, "line 2, column 2: the quote that opens here"},
        {"a,b\n1,\"2\"x\n3\n", "b", NULL, NULL, true, DPT_STATUS_DATA, "line 2, column 2: there is text behind"},
        {"a,b\n1,\xe4\n", "b", NULL, NULL, true, DPT_STATUS_DATA, "line 2 is not text in UTF-8"},
        {"a,b\n1,2\n2,3\nx,4\n", "b", NULL, NULL, true, DPT_STATUS_DATA,
         "line 4, column 1 (a): 'x' is no number, but 2"},
        {"a,b\n1,2\n3,4\n", "2", NULL, NULL, false, DPT_STATUS_DATA,
         "If this line names the columns, set [data] header = yes"},
        {"a,b\n0x10,2\n2,3\n3,4\n", "b", NULL, NULL, true, DPT_STATUS_DATA, "'0x10' is no number"},
        {"a,b\n1e999,2\n2,3\n3,4\n", "b", NULL, NULL, true, DPT_STATUS_DATA, "'1e999' is no number"},
        {"a,b\nnan,2\n2,3\n3,4\n", "b", NULL, NULL, true, DPT_STATUS_DATA, "put it in [data] missing"},
        {"a,b\n,2\n,3\n", "b", NULL, NULL, true, DPT_STATUS_DATA, "column 1 (a) has no values in the training part"},
        {"a,b\n1e200,2\n-1e200,3\n", "b", NULL, NULL, true, DPT_STATUS_DATA, "too large to be normalised"},
        {"a,b\n1,x\n2,\n", "b", NULL, NULL, true, DPT_STATUS_DATA, "line 3, column 2 (b): the target is missing"},
        {"a,b\n1,2\n2,1e39\n", "b", NULL, NULL, true, DPT_STATUS_DATA, "line 3, column 2 (b): '1e39' is no number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_text("bad.csv", cases[i].text);
        struct dpt_job job = csv_job("bad.csv");
        job.data.header = cases[i].header;
        job.data.target = names(cases[i].target, NULL);
        job.data.categorical = names(cases[i].categorical, NULL);
        job.data.ignore = names(cases[i].ignore, NULL);
        refuses(&job, DPT_SPLIT_TRAIN, NULL, cases[i].status, cases[i].words);
    }
    struct dpt_job job = csv_job("bad.csv");
    write_bytes("bad.csv", "a,b\n1,2\n3\0,4\n", 13);
    job.data.target = names("b", NULL);
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "line 3 is not text in UTF-8 (or holds a NUL byte)");
    job.data.delimiter = text_of("dot");
    write_text("bad.csv", "a,b\n1,2\n");
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_USAGE, "delimiter = dot");
    job = csv_job("lost.csv");
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "lost.csv: cannot be opened");
    /* An augmented table. */
    write_text("good.csv", "a,b\n1,2\n");
    job = csv_job("good.csv");
    job.data.target = names("b", NULL);
    job.augment.flip = true;
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_USAGE, "[augment] crop and flip are for images");
}

/* More different texts than categories may be: a column of names or numbers. */
static void too_many_categories(void **state)
{
    (void)state;
    enum { ROWS = 10001 };
    char *text = malloc(ROWS * 16 + 16);
    size_t used = (size_t)sprintf(text, "name,y\n");
    for (int i = 0; i < ROWS; i++) {
        used += (size_t)sprintf(text + used, "n%d,%d\n", i, i);
    }
    write_text("many.csv", text);
    free(text);
    struct dpt_job job = csv_job("many.csv");
    job.data.target = names("y", NULL);
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "column 1 (name) has 10001 different values");
    job.data.ignore = names("name", NULL);
    job.data.task = DPT_TASK_CLASSIFICATION;
    refuses(&job, DPT_SPLIT_TRAIN, NULL, DPT_STATUS_DATA, "too many to be classes");
}

/* Tables with random changes are read or refused, and never more than that. */
static void mutated_tables(void **state)
{
    (void)state;
    static const char good[] = "age,work,\"pay, net\",class\n39,State,7.5,yes\n50, ?,\"8.25\",no\n"
                               "38,\"Pri\"\"vate\",,yes\n7,x,-1e3,no\n";
    static const char odd[] = "\",\n\r;\t .0?x\xff\xc3\xa4-e5\0";
    const enum dpt_status expected = DPT_STATUS_DATA;
    int accepted = 0, refused_count = 0;
    uint64_t turn = 0;
    struct dpt_job job = csv_job("m.csv");
    job.data.target = names("4", NULL);
    job.data.missing = text_of("?");
    for (int round = 0; round < 3000; round++) {
        char text[512];
        size_t size = sizeof good - 1;
        memcpy(text, good, size);
        job.data.header = round % 2;
        job.data.task = (enum dpt_task)(round / 2 % 3);
        for (uint32_t changes = 1 + draw(2, &turn) % 4; changes > 0; changes--) {
            const size_t at = draw(2, &turn) % size;
            switch (draw(2, &turn) % 3) {
            case 0:
                text[at] = odd[draw(2, &turn) % (sizeof odd - 1)];
                break;
            case 1:
                memmove(text + at, text + at + 1, --size - at);
                break;
            default:
                memmove(text + at + 1, text + at, size++ - at);
                text[at] = odd[draw(2, &turn) % (sizeof odd - 1)];
            }
        }
        write_bytes("m.csv", text, size);
        struct dpt_data *data = NULL;
        const enum dpt_status status = dpt_data_open(&job, DPT_SPLIT_TRAIN, NULL, &data);
        if (status == DPT_STATUS_OK) {
            float x[ROOM], y[ROOM];
            fetch_all(data, x, y);
            accepted++;
        } else {
            assert_true(status == expected || status == DPT_STATUS_USAGE);
            refused_count++;
        }
        dpt_data_close(data);
    }
    assert_true(accepted > 100 && refused_count > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(columns_become_inputs, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(dresses_of_a_table, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(quotes, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(statistics_come_from_the_training_part, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(other_files, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(adult, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(what_is_a_class, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(data_as_a_header, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(refusals, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(too_many_categories, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(mutated_tables, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
